//! One case, through the host.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_types::ports::Transform;
use sluice_types::{Change, Error, ErrorKind, Event, PipelineId, Row, TableSchema, Value};
use sluice_wasm::{ChainSpec, Host, StepSpec};

use super::case::{Case, ChangeDef, EventCase, ExpectedError, ExpectedReject, Fields, described};
use super::value;

/// Where the step would stand in a configuration file.
pub const PATH: &str = "step";

/// Opens the plugin of this name on the case's table and compares what becomes of its events.
pub async fn run(host: &Host, name: &str, case: &Case) -> Result<(), String> {
    let schema = Arc::new(case.schema());
    let grant = Arc::new(case.grants()?);
    let step = StepSpec { grant, ..StepSpec::new(name, case.config.to_string(), PATH) };
    let tables = BTreeMap::from([(schema.table.clone(), vec![step])]);
    let spec = ChainSpec { tables };
    let chains = host.chains(&PipelineId("cases".into()), spec).await.map_err(told)?;
    let mut transform = chains.transform();
    let opened = match transform.open(&schema, &schema).await {
        Ok(_) if !case.errors.is_empty() => return Err("the configuration was taken".into()),
        Ok(opened) => opened,
        Err(error) => return refused(error, &case.errors),
    };
    if let Some(output) = &case.output {
        let mut expected = output.clone();
        for column in &mut expected {
            column.nullable.get_or_insert(!column.key);
        }
        let found = described(&opened.outputs[0]);
        if found != expected {
            return Err(format!("the columns are\n  {found:?}\ninstead of\n  {expected:?}"));
        }
    }
    apply(&mut *transform, &schema, &opened.outputs[0], opened.active, &case.events).await
}

pub fn told(error: Error) -> String {
    let findings: Vec<String> = error.all_findings().iter().map(ToString::to_string).collect();
    let mut told = format!("{error} {}", findings.join("; "));
    if let Some(text) = error.guest_text() {
        // In a running engine it is data; here it is what the plugin's author looks for.
        told.push_str(&format!("\nThe plugin says: {text}"));
    } else if error.kind() == ErrorKind::PluginTrap {
        told.push_str("\nWhat it may have said is lost with its instance: a unit test of its own says more");
    }
    told.trim_end().to_string()
}

/// Compares what is wrong with what should be.
fn refused(error: Error, expected: &[ExpectedError]) -> Result<(), String> {
    let found: Vec<(String, String)> =
        error.all_findings().iter().map(|finding| (finding.path.clone(), finding.what.clone())).collect();
    let same = found.len() == expected.len()
        && expected.iter().all(|expected| {
            let path = format!("{PATH}.config{}", dotted(&expected.path));
            found.iter().any(|(at, what)| *at == path && what.contains(&expected.message))
        });
    if same {
        Ok(())
    } else {
        Err(format!("the mistakes are\n  {found:?}\ninstead of\n  {expected:?}\n({})", told(error)))
    }
}

/// A JSON Pointer as findings write it.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        let plain = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        path.push_str(&match key.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) if plain => format!(".{key}"),
            Err(_) => format!("[\"{key}\"]"),
        });
    }
    path
}

/// What became of one event.
#[derive(Default)]
struct Outcome {
    gives: Vec<String>,
    rejects: Option<(Option<String>, String)>,
}

async fn apply(
    transform: &mut dyn Transform,
    schema: &Arc<TableSchema>,
    output: &Arc<TableSchema>,
    active: bool,
    events: &[EventCase],
) -> Result<(), String> {
    let mut input = Vec::new();
    for (index, case) in events.iter().enumerate() {
        input.push(Event::new(schema.clone(), change(&case.event, schema)?, 0, index as u64));
    }
    let mut outcomes: Vec<Outcome> = events.iter().map(|_| Outcome::default()).collect();
    if active {
        let transformed = transform.apply(input).await.map_err(|failed| told(failed.error))?;
        for event in transformed.events {
            outcomes[event.index as usize].gives.push(shown(&event.change, &event.table));
        }
        for rejection in transformed.rejected {
            let message = rejection.reason.guest_text.unwrap_or(rejection.reason.what);
            outcomes[rejection.event.index as usize].rejects = Some((rejection.reason.column, message));
        }
    } else {
        for event in input {
            outcomes[event.index as usize].gives.push(shown(&event.change, &event.table));
        }
    }
    for (index, (case, outcome)) in events.iter().zip(outcomes).enumerate() {
        check(case, outcome, output).map_err(|why| format!("event {}: {why}", index + 1))?;
    }
    Ok(())
}

fn check(case: &EventCase, outcome: Outcome, output: &TableSchema) -> Result<(), String> {
    match (&case.gives, &case.rejects, outcome.rejects) {
        (Some(gives), None, None) => {
            let gives = gives.iter().map(|def| change(def, output).map(|change| shown(&change, output)));
            let expected: Vec<String> = gives.collect::<Result<_, _>>()?;
            if expected == outcome.gives {
                return Ok(());
            }
            Err(format!("gives\n  {}\ninstead of\n  {}", outcome.gives.join("\n  "), expected.join("\n  ")))
        }
        (None, Some(ExpectedReject { column, message }), Some((found_column, found))) => {
            if *column == found_column && found.contains(message) {
                return Ok(());
            }
            Err(format!(
                "is refused for {found_column:?} with '{found}' instead of {column:?} with '{message}'"
            ))
        }
        (None, Some(_), None) => Err(format!("is not refused, but gives\n  {}", outcome.gives.join("\n  "))),
        (Some(_), None, Some((column, why))) => Err(format!("is refused for {column:?}: {why}")),
        _ => Err("has to have either `gives` or `rejects`".into()),
    }
}

pub fn change(def: &ChangeDef, schema: &TableSchema) -> Result<Change, String> {
    Ok(match def {
        ChangeDef::Snapshot(fields) => Change::Snapshot(row(fields, schema)?),
        ChangeDef::Insert(fields) => Change::Insert(row(fields, schema)?),
        ChangeDef::Delete(fields) => Change::Delete(row(fields, schema)?),
        ChangeDef::Update { before, after } => Change::Update {
            before: before.as_ref().map(|fields| row(fields, schema)).transpose()?,
            after: row(after, schema)?,
        },
    })
}

/// A row in the schema's slots.
fn row(fields: &Fields, schema: &TableSchema) -> Result<Row, String> {
    let mut values = vec![Value::Absent; schema.slots()];
    for (name, json) in fields {
        let column = schema.columns.iter().find(|column| *column.name == **name);
        let column = column.ok_or_else(|| format!("there is no column {name}"))?;
        values[column.slot as usize] = value::read(json, column.ty)?;
    }
    Ok(Row::new(values))
}

/// A change in the order of its columns, to be compared and to be read.
fn shown(change: &Change, schema: &TableSchema) -> String {
    let image = |row: &Row| {
        let columns = schema.columns.iter();
        let fields = columns.map(|column| format!("{}: {:?}", column.name, row.get(column.slot)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    };
    match change {
        Change::Update { before, after } => {
            format!("update {} to {}", before.as_ref().map_or("nothing".into(), image), image(after))
        }
        Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => {
            format!("{} {}", change.name(), image(row))
        }
        Change::Truncate => change.name().into(),
    }
}
