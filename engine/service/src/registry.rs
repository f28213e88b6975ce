//! Which kinds of databases there are.

use std::sync::Arc;

use sluice_types::ports::Connector;

/// The connectors by the word after `kind:`. An embedder may add its own.
#[derive(Clone, Default)]
pub struct Registry {
    connectors: Vec<Arc<dyn Connector>>,
}

impl Registry {
    /// The connectors that come with sluice. A further database is one line here.
    pub fn shipped() -> Self {
        Registry::empty()
            .with(Arc::new(sluice_sqlite::Connector))
            .with(Arc::new(sluice_postgres::Connector))
            .with(Arc::new(sluice_mongodb::Connector))
    }

    /// No connector at all.
    pub fn empty() -> Self {
        Registry::default()
    }

    /// With one more connector; it takes the place of one of the same kind.
    pub fn with(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connectors.retain(|known| known.kind() != connector.kind());
        self.connectors.push(connector);
        self
    }

    /// The connector of a kind.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Connector>> {
        self.connectors.iter().find(|connector| connector.kind() == kind)
    }

    /// Every kind there is, for messages.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.connectors.iter().map(|connector| connector.kind())
    }

    /// Every connector.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Connector>> {
        self.connectors.iter()
    }
}
