//! Watching the plugin folder.

/// Watches the plugin folder until it is dropped.
#[derive(Debug)]
pub struct Watcher {}
