//! `conflicts list`, `conflicts show` and `conflicts decide`.

use serde_json::{Map, Value, json};
use sluice::{DecidedRow, Error, ErrorKind};

use super::args::{Common, Conflicts};
use super::client::part;
use super::failure::Failure;
use super::status::text;
use super::{Doer, out};

pub async fn conflicts(common: &Common, command: Conflicts) -> Result<(), Failure> {
    let doer = Doer::find(common).await?;
    match command {
        Conflicts::List { pipeline, parked, after, limit } => {
            let conflicts = list(&doer, &pipeline, parked, after, limit).await?;
            if common.json {
                out::json(&json!({ "conflicts": conflicts }));
            } else {
                show_list(&pipeline, &conflicts);
            }
        }
        Conflicts::Show { pipeline, id, values } => {
            let conflict = one(&doer, &pipeline, &id, values).await?;
            if common.json {
                out::json(&conflict);
            } else {
                show_one(&conflict, values);
            }
        }
        Conflicts::Decide { pipeline, id, source, target: _, values, force, by } => {
            let row = match (source, values) {
                (_, Some(text)) => DecidedRow::Values(columns(&text)?),
                (true, None) => DecidedRow::Source,
                (false, None) => DecidedRow::Target,
            };
            let user =
                || ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
            let by = by.or_else(user).unwrap_or_else(|| "somebody".into());
            let decided = decide(&doer, &pipeline, &id, row, &by, force).await?;
            if common.json {
                out::json(&decided);
            } else {
                out::line(format_args!("{id} is decided by {by}: {}", text(&decided["decision"])));
            }
        }
    }
    Ok(())
}

async fn decide(
    doer: &Doer,
    pipeline: &str,
    id: &str,
    row: DecidedRow,
    by: &str,
    force: bool,
) -> Result<Value, Failure> {
    match doer {
        Doer::Service(client) => {
            let mut body = json!({ "by": by, "force": force });
            body["choice"] = json!(match row {
                DecidedRow::Source => "source",
                DecidedRow::Target => "target",
                DecidedRow::Values(values) => {
                    body["values"] = Value::Object(values);
                    "values"
                }
            });
            client.post(&path(pipeline, id), &body)
        }
        Doer::Here(engine) => Ok(json!(engine.decide(pipeline, id, row, by, force).await?)),
    }
}

/// What `--values` says.
fn columns(text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let what = format!("what `--values` says is no JSON object: {error}");
        Error::new(ErrorKind::Config, what).remedy("Write it like `--values '{\"name\": \"Ann\"}'`.").into()
    })
}

/// The id goes as the rest of the path: its slashes stay.
fn path(pipeline: &str, id: &str) -> String {
    let id: Vec<String> = id.split('/').map(part).collect();
    format!("/api/v1/conflicts/{}/{}", part(pipeline), id.join("/"))
}

async fn list(
    doer: &Doer,
    pipeline: &str,
    parked: bool,
    after: u64,
    limit: usize,
) -> Result<Vec<Value>, Failure> {
    match doer {
        Doer::Service(client) => {
            let path =
                format!("/api/v1/conflicts/{}?parked={parked}&after={after}&limit={limit}", part(pipeline));
            Ok(client.get(&path)?["conflicts"].as_array().cloned().unwrap_or_default())
        }
        Doer::Here(engine) => {
            let conflicts = engine.conflicts(pipeline, parked, after, limit).await?;
            Ok(conflicts.iter().map(|conflict| json!(conflict)).collect())
        }
    }
}

async fn one(doer: &Doer, pipeline: &str, id: &str, values: bool) -> Result<Value, Failure> {
    match doer {
        Doer::Service(client) => client.get(&format!("{}?values={values}", path(pipeline, id))),
        Doer::Here(engine) => {
            let conflict = engine.conflict(pipeline, id, values).await?;
            conflict.map(|conflict| json!(conflict)).ok_or_else(|| missing(id, pipeline))
        }
    }
}

fn missing(id: &str, pipeline: &str) -> Failure {
    let message = format!(
        "there is no conflict `{id}` in {pipeline}; `sluice conflicts list {pipeline}` shows what there is"
    );
    Failure::Service { code: "conflict-missing".into(), message }
}

fn show_list(pipeline: &str, conflicts: &[Value]) {
    if conflicts.is_empty() {
        out::line(format_args!("{pipeline} has no conflicts here"));
        return;
    }
    let row = |conflict: &Value| {
        let shown = |key: &str| text(&conflict[key]).to_string();
        [
            conflict["number"].to_string(),
            shown("id"),
            shown("table"),
            shown("kind"),
            shown("decision"),
            shown("by"),
            shown("recorded"),
        ]
    };
    let rows: Vec<[String; 7]> = conflicts.iter().map(row).collect();
    out::table(["NUMBER", "ID", "TABLE", "KIND", "DECISION", "BY", "RECORDED"], &rows);
}

fn show_one(conflict: &Value, values: bool) {
    let keys = [
        "id", "number", "table", "kind", "decision", "reason", "strategy", "by", "position", "later",
        "recorded", "decided",
    ];
    for key in keys {
        let shown = match &conflict[key] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out::line(format_args!("{key:<10} {shown}"));
    }
    if !values {
        out::line("the rows are shown with --values");
        return;
    }
    for side in ["before", "incoming", "existing", "merged"] {
        let Some(columns) = conflict["values"][side].as_object() else { continue };
        out::line(format_args!("\n{side}:"));
        columns.iter().for_each(|(column, value)| out::line(format_args!("  {column}: {value}")));
    }
}
