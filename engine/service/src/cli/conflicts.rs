//! `conflicts list` and `conflicts show`.

use serde_json::{Value, json};

use super::args::{Common, Conflicts};
use super::client::part;
use super::failure::Failure;
use super::status::text;
use super::{Doer, out};

pub async fn conflicts(common: &Common, command: Conflicts) -> Result<(), Failure> {
    let doer = Doer::find(common).await?;
    match command {
        Conflicts::List { pipeline, after, limit } => {
            let conflicts = list(&doer, &pipeline, after, limit).await?;
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
    }
    Ok(())
}

async fn list(doer: &Doer, pipeline: &str, after: u64, limit: usize) -> Result<Vec<Value>, Failure> {
    match doer {
        Doer::Service(client) => {
            let path = format!("/api/v1/conflicts/{}?after={after}&limit={limit}", part(pipeline));
            Ok(client.get(&path)?["conflicts"].as_array().cloned().unwrap_or_default())
        }
        Doer::Here(engine) => {
            let conflicts = engine.conflicts(pipeline, after, limit).await?;
            Ok(conflicts.iter().map(|conflict| json!(conflict)).collect())
        }
    }
}

async fn one(doer: &Doer, pipeline: &str, id: &str, values: bool) -> Result<Value, Failure> {
    match doer {
        // The id goes as the rest of the path: its slashes stay.
        Doer::Service(client) => {
            let id: Vec<String> = id.split('/').map(part).collect();
            client.get(&format!("/api/v1/conflicts/{}/{}?values={values}", part(pipeline), id.join("/")))
        }
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
    for key in ["id", "number", "table", "kind", "decision", "strategy", "by", "position", "recorded"] {
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
