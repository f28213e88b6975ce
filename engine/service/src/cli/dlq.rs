//! `dlq list` and `dlq show`.

use serde_json::{Value, json};

use super::args::{Common, Dlq};
use super::client::part;
use super::failure::Failure;
use super::status::text;
use super::{Doer, out};

pub async fn dlq(common: &Common, command: Dlq) -> Result<(), Failure> {
    let doer = Doer::find(common).await?;
    match command {
        Dlq::List { pipeline, after, limit } => {
            let letters = list(&doer, &pipeline, after, limit).await?;
            if common.json {
                out::json(&json!({ "dead_letters": letters }));
            } else {
                show_list(&pipeline, &letters);
            }
        }
        Dlq::Show { pipeline, id, values } => {
            let id = match id {
                Some(id) => id,
                None => oldest(&doer, &pipeline).await?,
            };
            let letter = one(&doer, &pipeline, &id, values).await?;
            if common.json {
                out::json(&letter);
            } else {
                show_one(&letter, values);
            }
        }
    }
    Ok(())
}

async fn list(doer: &Doer, pipeline: &str, after: u64, limit: usize) -> Result<Vec<Value>, Failure> {
    match doer {
        Doer::Service(client) => {
            let path = format!("/api/v1/dlq/{}?after={after}&limit={limit}", part(pipeline));
            Ok(client.get(&path)?["dead_letters"].as_array().cloned().unwrap_or_default())
        }
        Doer::Here(engine) => {
            let letters = engine.dead_letters(pipeline, after, limit).await?;
            Ok(letters.iter().map(|letter| json!(letter)).collect())
        }
    }
}

async fn oldest(doer: &Doer, pipeline: &str) -> Result<String, Failure> {
    let letters = list(doer, pipeline, 0, 1).await?;
    letters.first().map(|letter| text(&letter["id"]).to_string()).ok_or_else(|| missing("", pipeline))
}

async fn one(doer: &Doer, pipeline: &str, id: &str, values: bool) -> Result<Value, Failure> {
    match doer {
        // The id goes as the rest of the path: its slashes stay.
        Doer::Service(client) => {
            let id: Vec<String> = id.split('/').map(part).collect();
            client.get(&format!("/api/v1/dlq/{}/{}?values={values}", part(pipeline), id.join("/")))
        }
        Doer::Here(engine) => {
            let letter = engine.dead_letter(pipeline, id, values).await?;
            letter.map(|letter| json!(letter)).ok_or_else(|| missing(id, pipeline))
        }
    }
}

fn missing(id: &str, pipeline: &str) -> Failure {
    let message = match id {
        "" => format!("{pipeline} has no dead letters"),
        id => format!(
            "there is no dead letter `{id}` in {pipeline}; `sluice dlq list {pipeline}` shows what there is"
        ),
    };
    Failure::Service { code: "dead-letter-missing".into(), message }
}

fn show_list(pipeline: &str, letters: &[Value]) {
    if letters.is_empty() {
        out::line(format_args!("{pipeline} has no dead letters here"));
        return;
    }
    let row = |letter: &Value| {
        [
            letter["number"].to_string(),
            text(&letter["id"]).to_string(),
            text(&letter["table"]).to_string(),
            text(&letter["change"]).to_string(),
            text(&letter["code"]).to_string(),
            text(&letter["column"]).to_string(),
            text(&letter["recorded"]).to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = letters.iter().map(row).collect();
    out::table(["NUMBER", "ID", "TABLE", "CHANGE", "CODE", "COLUMN", "RECORDED"], &rows);
}

fn show_one(letter: &Value, values: bool) {
    for key in ["id", "number", "table", "change", "position", "code", "what", "column", "plugin", "recorded"]
    {
        let shown = match &letter[key] {
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
    for image in ["before", "after"] {
        let Some(columns) = letter["values"][image].as_object() else { continue };
        out::line(format_args!("\n{image}:"));
        columns.iter().for_each(|(column, value)| out::line(format_args!("  {column}: {value}")));
    }
    // Text made by a plugin is data: as JSON it is escaped, so it can't play with the terminal.
    if !letter["values"]["plugin_text"].is_null() {
        out::line(format_args!("\nplugin's own words: {}", letter["values"]["plugin_text"]));
    }
}
