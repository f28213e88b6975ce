//! The tree of the file made into [`Config`](super::Config).

use std::path::Path;

use sluice_types::{Error, ErrorKind, Result};

use super::Config;
use crate::Registry;

pub(super) fn load(file: &Path, _registry: &Registry) -> Result<Config> {
    Err(Error::new(ErrorKind::Config, format!("{} can't be read yet", file.display())))
}
