//! `plugin inspect`, `list`, `swap`, `rollback`; what its author has is in `authors`.

use std::path::Path;

use serde_json::{Value, json};
use sluice_types::Digest;

use super::args::{Common, Plugin};
use super::client::part;
use super::failure::Failure;
use super::status::{short, text};
use super::{Doer, authors, out};

pub async fn plugin(common: &Common, command: Plugin) -> Result<(), Failure> {
    match command {
        Plugin::Inspect { file, table, settings } => {
            inspect(common, &file, table.as_deref(), &settings).await
        }
        Plugin::New { name, lang } => authors::new(common, &name, &lang),
        Plugin::Build { folder, out } => authors::build(common, &folder, out),
        Plugin::Test { file, cases } => authors::test(common, &file, cases).await,
        Plugin::Bench { file, cases } => authors::bench(common, &file, cases).await,
        Plugin::List => list(common).await,
        Plugin::Swap { name, promote } => {
            let report = match Doer::find(common).await? {
                Doer::Service(client) => {
                    client.post(&path(&name, "/swap"), &json!({ "promote": promote }))?
                }
                Doer::Here(engine) => json!(engine.swap(&name, promote).await?),
            };
            swapped(common, &report)
        }
        Plugin::Rollback { name, to } => {
            let to = to.map(|to| whole_digest(&to)).transpose()?;
            let report = match Doer::find(common).await? {
                Doer::Service(client) => client.post(&path(&name, "/rollback"), &json!({ "to": to }))?,
                Doer::Here(engine) => json!(engine.rollback(&name, to).await?),
            };
            swapped(common, &report)
        }
    }
}

fn whole_digest(text: &str) -> Result<Digest, Failure> {
    Digest::parse(text).ok_or_else(|| {
        let help =
            "a digest is `sha256:` and 64 hexadecimal digits; `sluice plugin list --json` shows them whole";
        Failure::WrongUse(format!("`{text}` is not a digest: {help}"))
    })
}

fn path(name: &str, operation: &str) -> String {
    format!("/api/v1/plugins/{}{operation}", part(name))
}

/// Tells what came of a swap. One that was refused or waits is a failure.
fn swapped(common: &Common, report: &Value) -> Result<(), Failure> {
    let outcome = text(&report["outcome"]);
    if common.json {
        out::json(report);
    } else {
        let (name, to, why) = (text(&report["name"]), short(text(&report["to"])), text(&report["why"]));
        let from =
            report["from"].as_str().map(|from| format!(" (before: {})", short(from))).unwrap_or_default();
        out::line(format_args!("{name}@{to}: {outcome}{from}. {why}"));
    }
    if outcome == "promoted" { Ok(()) } else { Err(Failure::Told) }
}

async fn list(common: &Common) -> Result<(), Failure> {
    let plugins = match Doer::find(common).await? {
        Doer::Service(client) => client.get("/api/v1/plugins")?,
        Doer::Here(engine) => json!({ "plugins": engine.plugins().await? }),
    };
    if common.json {
        out::json(&plugins);
        return Ok(());
    }
    let rows: Vec<[String; 4]> = each(&plugins).iter().map(row).collect();
    out::table(["PLUGIN", "VERSION", "FROM", "USED BY"], &rows);
    show_candidates(&plugins);
    Ok(())
}

fn row(plugin: &Value) -> [String; 4] {
    let users = plugin["used_by"].as_array().map(Vec::as_slice).unwrap_or_default();
    [
        text(&plugin["name"]).to_string(),
        plugin["digest"].as_str().map_or("-", short).to_string(),
        text(&plugin["source"]).to_string(),
        users.iter().map(text).collect::<Vec<_>>().join(" "),
    ]
}

fn each(plugins: &Value) -> &[Value] {
    plugins["plugins"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The plugins that have a version which was refused or waits.
pub fn candidates(plugins: &Value) -> impl Iterator<Item = &Value> {
    each(plugins).iter().filter(|plugin| plugin["candidate"].is_object())
}

/// Tells which versions were refused or wait, and why.
pub fn show_candidates(plugins: &Value) {
    for plugin in candidates(plugins) {
        let candidate = &plugin["candidate"];
        let name = text(&plugin["name"]);
        // A file that is not even read has no digest.
        let which = candidate["digest"]
            .as_str()
            .map_or_else(|| format!("{name}.wasm"), |digest| format!("{name}@{}", short(digest)));
        let (outcome, why) = (text(&candidate["outcome"]), text(&candidate["why"]));
        out::line(format_args!("\n{which} is {outcome}: {why}"));
    }
}

pub fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|error| Failure::WrongUse(format!("{} can't be read: {error}", file.display())))
}

async fn inspect(common: &Common, file: &Path, table: Option<&str>, settings: &str) -> Result<(), Failure> {
    let component = read(file)?;
    let on = match table {
        None => None,
        Some(table) => {
            let (database, name) = table.split_once('.').ok_or_else(|| {
                Failure::WrongUse(format!(
                    "`{table}` is not DATABASE.TABLE with a database of the configuration"
                ))
            })?;
            Some((super::config(common)?, database, name))
        }
    };
    let on = on.as_ref().map(|(config, database, name)| (config, *database, *name));
    let inspected = sluice::inspect(component, on, settings).await?;
    if common.json {
        out::json(&inspected);
        return Ok(());
    }
    let sluice::Inspected { about, plan } = inspected;
    out::line(format_args!("{} {}: {}", about.name, about.version, about.summary));
    out::line(format_args!("digest   {}", about.digest));
    out::line(format_args!("size     {} bytes", out::count(about.size)));
    out::line(format_args!("world    {}", about.world));
    let imports = if about.imports.is_empty() { "nothing".to_string() } else { about.imports.join(", ") };
    out::line(format_args!("imports  {imports}"));
    let needs = if about.grants.is_empty() {
        "no grant: it can do nothing but compute".to_string()
    } else {
        format!("grant: {{ {} }}", about.grants.join(", "))
    };
    out::line(format_args!("needs    {needs}"));
    match (table, plan) {
        (None, _) => {}
        (Some(table), None) => out::line(format_args!("\nit does nothing to {table}")),
        (Some(table), Some(plan)) => {
            out::line(format_args!("\nits plan for {table}:"));
            out::line(serde_json::to_string_pretty(&plan).unwrap_or_default());
        }
    }
    Ok(())
}
