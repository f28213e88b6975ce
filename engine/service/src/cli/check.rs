//! `sluice check`.

use std::ffi::OsString;
use std::sync::Arc;

use sluice::check::{Check, Lacking};
use sluice::{COMPILE_PLUGIN, Error, ErrorKind, Registry, SystemClock};
use sluice_wasm::Compiler;

use super::args::Common;
use super::failure::Failure;
use super::{out, own_program};

fn asked(common: &Common, offline: bool) -> Result<Check, Failure> {
    Ok(Check {
        file: common.config.clone(),
        offline,
        registry: Registry::shipped(),
        clock: Arc::new(SystemClock),
        compiler: Compiler::Child { program: own_program()?, args: vec![OsString::from(COMPILE_PLUGIN)] },
    })
}

/// Makes what targets lack of their sources' indexes and constraints. A configuration with errors is refused as by `check`.
pub async fn indexes(common: &Common, pipeline: Option<&str>) -> Result<(), Failure> {
    let (report, lacking) = asked(common, false)?.look().await;
    if report.exit_code() != 0 {
        out::line(&report);
        return Err(Failure::Told);
    }
    let meant = |one: &&Lacking| pipeline.is_none_or(|name| one.pipeline == name || &*one.line.0 == name);
    let lacking: Vec<&Lacking> = lacking.iter().filter(meant).collect();
    if let (true, Some(name)) = (lacking.is_empty(), pipeline) {
        let what = format!("no pipeline `{name}` has a target of its source's kind");
        return Err(Error::new(ErrorKind::Config, what).remedy("`sluice check` lists the pipelines").into());
    }
    let mut failed = false;
    for one in lacking {
        for statement in &one.statements {
            match one.target.make(&one.line, statement).await {
                Ok(()) => out::line(format_args!("{}: {statement}", one.line)),
                Err(error) => {
                    failed = true;
                    out::line(format_args!("{}: FAILED: {statement}\n  {error}", one.line));
                }
            }
        }
        if one.statements.is_empty() {
            out::line(format_args!("{}: everything is there", one.line));
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// Looks for everything that could go wrong; an error among the findings is a failure.
pub async fn check(common: &Common, offline: bool) -> Result<(), Failure> {
    let report = asked(common, offline)?.run().await;
    if common.json {
        out::json(&report);
    } else {
        out::line(&report);
    }
    if report.exit_code() == 0 { Ok(()) } else { Err(Failure::Told) }
}
