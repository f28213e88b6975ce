//! `plugin new`, `build`, `test`, `bench`: the author's loop.

use std::path::{Path, PathBuf};

use serde_json::json;
use sluice::authoring;
use sluice::cases::{self, CaseFigures, Outcome};

use super::args::Common;
use super::failure::Failure;
use super::out;
use super::plugins::read;

pub fn new(common: &Common, name: &str, language: &str) -> Result<(), Failure> {
    let folder = authoring::create(Path::new(""), name, language)?;
    if common.json {
        out::json(&json!({ "folder": folder, "language": language }));
        return Ok(());
    }
    out::line(format_args!("{name}/ is a plugin in {language} that works. Next:\n"));
    out::line(format_args!("  cd {name}"));
    out::line("  sluice plugin build               # says what to install, if something is missing");
    out::line(format_args!("  sluice plugin test {name}.wasm    # runs cases/"));
    out::line(format_args!("  sluice plugin bench {name}.wasm"));
    out::line("\nREADME.md says how to go on. .sluice/ is what it is built with: keep it with the plugin.");
    Ok(())
}

pub fn build(common: &Common, folder: &Path, out: Option<PathBuf>) -> Result<(), Failure> {
    let out = match out {
        Some(out) => out,
        None => {
            let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
            let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folder.join(format!("{name}.wasm"))
        }
    };
    authoring::build(folder, &out)?;
    let size = read(&out)?.len() as u64;
    if common.json {
        out::json(&json!({ "file": out, "size": size }));
    } else {
        out::line(format_args!("{} has {} bytes", out.display(), out::count(size)));
    }
    Ok(())
}

/// The name under which a file is loaded where nobody gives it one.
fn stem(file: &Path) -> String {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// The folder that was named, else that beside the component, else that in the working directory.
fn cases_of(file: &Path, named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| {
        let beside = file.with_file_name("cases");
        if beside.is_dir() { beside } else { PathBuf::from("cases") }
    })
}

pub async fn test(common: &Common, file: &Path, cases: Option<PathBuf>) -> Result<(), Failure> {
    let component = read(file)?;
    let files = cases::files(&cases_of(file, cases))?;
    let outcomes = cases::run(&stem(file), &component, &files).await?;
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    if common.json {
        out::json(&json!({ "cases": outcomes, "failed": failed }));
    } else {
        for Outcome { case, about, failure } in &outcomes {
            match failure {
                None => out::line(format_args!("ok      {case}: {about}")),
                Some(why) => out::line(format_args!(
                    "FAILED  {case}: {about}\n        {}",
                    why.replace('\n', "\n        ")
                )),
            }
        }
        out::line(format_args!("\n{} of {} cases hold", outcomes.len() - failed, outcomes.len()));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Told) }
}

pub async fn bench(common: &Common, file: &Path, cases: Option<PathBuf>) -> Result<(), Failure> {
    let component = read(file)?;
    let files = cases::files(&cases_of(file, cases))?;
    let figures = cases::bench(&stem(file), &component, &files).await?;
    if common.json {
        out::json(&figures);
        return Ok(());
    }
    if figures.cases.is_empty() {
        return Err(Failure::WrongUse(
            "no case has events that come through: there is nothing to measure".into(),
        ));
    }
    let row = |figures: &CaseFigures| {
        [
            figures.case.clone(),
            whole(figures.ns_per_row),
            whole(figures.fastest_ns_per_row),
            whole(figures.rows_per_second),
        ]
    };
    let rows: Vec<[String; 4]> = figures.cases.iter().map(row).collect();
    out::table(["CASE", "NS PER ROW", "FASTEST", "ROWS PER SECOND"], &rows);
    out::line(format_args!(
        "\ncompile  {} ms, once per version, beside the running pipeline",
        whole(figures.compile_ms)
    ));
    out::line(format_args!("start    {:.1} ms, from compiled code to an open table", figures.start_ms));
    out::line(format_args!("memory   {} bytes after the run", out::count(figures.memory)));
    out::line(
        "\nBatches of 1,000 events, on this machine, with the crossing into the plugin and all checks.",
    );
    if cfg!(debug_assertions) {
        out::line(
            "This is a debug build of sluice: its own part of it is several times what it is in a release.",
        );
    }
    Ok(())
}

fn whole(number: f64) -> String {
    out::count(number.round() as u64)
}
