//! The chains of one line.

use sluice_types::Result;
use sluice_types::ports::Transform;

use crate::inspect::TableLineage;
use crate::spec::ChainSpec;

/// The chains of one line: a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Chains {}

impl Chains {
    /// The line's port to its chains, for `Line::new`. A line that starts again asks for a new one.
    pub fn transform(&self) -> Box<dyn Transform> {
        unimplemented!()
    }

    /// Takes a changed configuration of plugins. It is checked against every live table first and applied like a swap, at a batch
    /// boundary; on an error what runs goes on.
    pub async fn reconfigure(&self, _spec: ChainSpec) -> Result<()> {
        unimplemented!()
    }

    /// Which plugin reads, writes, renames and drops which column, of the tables that are open.
    pub fn lineage(&self) -> Vec<TableLineage> {
        unimplemented!()
    }
}
