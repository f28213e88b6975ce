//! `pause`, `resume`, `delete`, `resnapshot`: by the running service, or on state and databases directly when none runs.

use serde_json::json;
use sluice_types::TableId;

use super::args::Common;
use super::client::{Client, part};
use super::failure::Failure;
use super::{Doer, out};

pub async fn pause(
    common: &Common,
    pipeline: Option<&str>,
    ddl: bool,
    tables: &[String],
    reason: Option<&str>,
) -> Result<(), Failure> {
    let doer = Doer::find(common).await?;
    for name in meant(common, pipeline)? {
        match &doer {
            Doer::Service(client) => {
                let body = json!({ "ddl": ddl, "tables": tables, "reason": reason });
                client.post(&path(&name, "/pause"), &body)?;
            }
            Doer::Here(engine) if ddl => engine.pause_for_ddl(&name, &table_ids(tables)).await?,
            Doer::Here(engine) => engine.pause(&name, reason).await?,
        }
        let ddl = if ddl {
            "; its tables can be altered now, and are read again after `sluice resume`"
        } else {
            ""
        };
        told(common, &name, &format!("{name} is paused{ddl}"));
    }
    Ok(())
}

pub async fn resume(common: &Common, pipeline: Option<&str>) -> Result<(), Failure> {
    let doer = Doer::find(common).await?;
    for name in meant(common, pipeline)? {
        let accepted: Vec<String> = match &doer {
            Doer::Service(client) => {
                let answer = client.post(&path(&name, "/resume"), &json!({}))?;
                let tables = answer["accepted"].as_array().into_iter().flatten();
                tables.filter_map(|table| table.as_str().map(str::to_string)).collect()
            }
            Doer::Here(engine) => engine.resume(&name).await?.iter().map(TableId::to_string).collect(),
        };
        let when = if matches!(doer, Doer::Service(_)) { "goes on" } else { "goes on when it is started" };
        let with = match accepted.as_slice() {
            [] => String::new(),
            altered => format!("; altered, and taken as they are: {}", altered.join(", ")),
        };
        told(common, &name, &format!("{name} {when}{with}"));
    }
    Ok(())
}

pub async fn delete(common: &Common, pipeline: &str) -> Result<(), Failure> {
    match Doer::find(common).await? {
        Doer::Service(client) => drop(client.delete(&path(pipeline, ""))?),
        Doer::Here(engine) => engine.delete(pipeline).await?,
    }
    let next =
        "the target's rows stay; take it out of the configuration, or the next start copies everything anew";
    told(common, pipeline, &format!("{pipeline} is deleted: {next}"));
    Ok(())
}

pub async fn resnapshot(common: &Common, pipeline: &str, tables: &[String]) -> Result<(), Failure> {
    match Doer::find(common).await? {
        Doer::Service(client) => {
            let client: Client = client;
            client.post(&path(pipeline, "/resnapshot"), &json!({ "tables": tables }))?;
        }
        Doer::Here(engine) => engine.resnapshot(pipeline, &table_ids(tables)).await?,
    }
    let which = if tables.is_empty() { "every table".to_string() } else { tables.join(", ") };
    told(common, pipeline, &format!("{pipeline} reads {which} again"));
    Ok(())
}

/// The pipeline that was named, or all of the configuration.
fn meant(common: &Common, pipeline: Option<&str>) -> Result<Vec<String>, Failure> {
    match pipeline {
        Some(name) => Ok(vec![name.to_string()]),
        None => Ok(super::config(common)?.pipelines.into_keys().collect()),
    }
}

fn path(pipeline: &str, operation: &str) -> String {
    format!("/api/v1/pipelines/{}{operation}", part(pipeline))
}

fn table_ids(names: &[String]) -> Vec<TableId> {
    names.iter().map(|name| TableId::parse(name)).collect()
}

fn told(common: &Common, pipeline: &str, text: &str) {
    if common.json {
        out::json(&json!({ "pipeline": pipeline, "done": true }));
    } else {
        out::line(text);
    }
}
