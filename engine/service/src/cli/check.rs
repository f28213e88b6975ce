//! `sluice check`.

use std::ffi::OsString;
use std::sync::Arc;

use sluice::check::Check;
use sluice::{COMPILE_PLUGIN, Registry, SystemClock};
use sluice_wasm::Compiler;

use super::args::Common;
use super::failure::Failure;
use super::{out, own_program};

/// Looks for everything that could go wrong; an error among the findings is a failure.
pub async fn check(common: &Common, offline: bool) -> Result<(), Failure> {
    let check = Check {
        file: common.config.clone(),
        offline,
        registry: Registry::shipped(),
        clock: Arc::new(SystemClock),
        compiler: Compiler::Child { program: own_program()?, args: vec![OsString::from(COMPILE_PLUGIN)] },
    };
    let report = check.run().await;
    if common.json {
        out::json(&report);
    } else {
        out::line(&report);
    }
    if report.exit_code() == 0 { Ok(()) } else { Err(Failure::Told) }
}
