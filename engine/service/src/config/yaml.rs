//! Text to a tree.

/// The tree of the file, twice: as written, and with `${..}` filled in.
#[derive(Clone)]
pub struct Document {}
