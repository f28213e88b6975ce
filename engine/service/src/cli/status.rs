//! `sluice status`.

use serde_json::Value;

use super::args::Common;
use super::client::Client;
use super::failure::Failure;
use super::{out, plugins};

/// Asks the running service how it stands.
pub fn status(common: &Common) -> Result<(), Failure> {
    let config = super::config(common)?;
    let Some(client) = Client::find(&config)? else {
        let state = config.state.dir.display();
        let what = format!("no service runs on the state folder {state}");
        let remedy = format!("start one: sluice serve -c {}", common.config.display());
        return Err(sluice::Error::new(sluice::ErrorKind::Unreachable, what).remedy(remedy).into());
    };
    let mut status = client.get("/api/v1/status")?;
    let plugins = client.get("/api/v1/plugins")?;
    if common.json {
        status["candidates"] = plugins::candidates(&plugins).cloned().collect();
        out::json(&status);
    } else {
        show(&status);
        plugins::show_candidates(&plugins);
    }
    Ok(())
}

fn show(status: &Value) {
    let lines = status["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<[String; 7]> = lines.iter().map(row).collect();
    out::table(["PIPELINE", "TARGET", "PHASE", "READY", "BEHIND", "DEAD LETTERS", "PLUGINS"], &rows);
    for line in lines {
        if let Some([code, why]) = line["reason"].as_array().map(Vec::as_slice) {
            out::line(format_args!("\n{}: {}: {}", text(&line["name"]), text(code), text(why)));
        }
        let tables = line["tables"].as_array().map(Vec::as_slice).unwrap_or_default();
        for table in tables.iter().filter(|table| table["snapshot_done"] == false) {
            out::line(format_args!("\n{}: {}", text(&line["name"]), copying(table)));
        }
    }
    if let Some(why) = status["config_refused"].as_str() {
        out::line(format_args!("\nthe changed configuration is not in use: {why}"));
    }
}

fn row(line: &Value) -> [String; 7] {
    let behind = match line["lag"].as_u64().unwrap_or(0) {
        0 => "0".to_string(),
        lag => {
            let seconds = line["lag_seconds"].as_f64().unwrap_or(0.0);
            format!("{} {} ({seconds:.1} s)", out::count(lag), text(&line["lag_unit"]))
        }
    };
    let plugins = line["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let version = |plugin: &Value| format!("{}@{}", text(&plugin[0]), short(text(&plugin[1])));
    [
        text(&line["name"]).to_string(),
        text(&line["target"]).to_string(),
        text(&line["phase"]).to_string(),
        if line["ready"] == true { "yes" } else { "no" }.to_string(),
        behind,
        out::count(line["dead_letters"].as_u64().unwrap_or(0)),
        plugins.iter().map(version).collect::<Vec<_>>().join(" "),
    ]
}

fn copying(table: &Value) -> String {
    let rows = out::count(table["snapshot_rows"].as_u64().unwrap_or(0));
    let of = table["snapshot_estimate"].as_u64().map(|rows| format!(" of about {}", out::count(rows)));
    let (from, to) = (text(&table["from"]), text(&table["to"]));
    format!("copying {from} to {to}: {rows}{} rows", of.unwrap_or_default())
}

/// A text of an answer; nothing where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The first digits of a digest, enough for people.
pub fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..12).unwrap_or(digits)
}
