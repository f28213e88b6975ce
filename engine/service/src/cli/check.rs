//! `sluice check`.

use super::args::Common;
use super::failure::Failure;

/// Looks for everything that could go wrong.
pub async fn check(common: &Common, offline: bool) -> Result<(), Failure> {
    let _ = (common, offline);
    Err(Failure::WrongUse("check can't be run yet".into()))
}
