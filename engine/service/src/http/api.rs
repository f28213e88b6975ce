//! The handlers of `/api/v1`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_types::{Digest, TableId};

use super::error::ApiError;
use crate::engine::{ConflictView, DeadLetterView, DecidedRow, Engine, Reloaded, Scope, Status};

type Answer<T> = Result<Json<T>, ApiError>;

/// Dead letters or conflicts in one answer when no limit is given.
const LISTED: usize = 100;

pub(super) async fn status(State(engine): State<Engine>) -> Json<Status> {
    Json(engine.status())
}

/// The body of a pause.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pause {
    /// Shown in the status.
    reason: Option<String>,
    /// Also take away what stands in the way of changing the tables' shape.
    ddl: bool,
    /// The source's tables that are to be changed; all when there is none.
    tables: Vec<String>,
}

pub(super) async fn pause(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<Value> {
    let pause: Pause = read(&body)?;
    match (pause.ddl, pause.tables.is_empty()) {
        (true, _) => engine.pause_for_ddl(&name, &tables(&pause.tables)).await?,
        (false, true) => engine.pause(&name, pause.reason.as_deref()).await?,
        (false, false) => return Err(bad_request("`tables` belong to `ddl: true`")),
    }
    done()
}

pub(super) async fn resume(State(engine): State<Engine>, Path(name): Path<String>) -> Answer<Value> {
    let accepted: Vec<String> = engine.resume(&name).await?.iter().map(TableId::to_string).collect();
    Ok(Json(json!({ "done": true, "accepted": accepted })))
}

/// The body of a resnapshot.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Resnapshot {
    /// The source's tables; all when there is none.
    tables: Vec<String>,
}

pub(super) async fn resnapshot(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<Value> {
    let wanted: Resnapshot = read(&body)?;
    engine.resnapshot(&name, &tables(&wanted.tables)).await?;
    done()
}

pub(super) async fn delete(State(engine): State<Engine>, Path(name): Path<String>) -> Answer<Value> {
    engine.delete(&name).await?;
    done()
}

pub(super) async fn plugins(State(engine): State<Engine>) -> Answer<Value> {
    Ok(Json(json!({ "plugins": engine.plugins().await? })))
}

pub(super) async fn lineage(State(engine): State<Engine>, Path(name): Path<String>) -> Answer<Value> {
    Ok(Json(json!({ "lines": engine.lineage(&name)? })))
}

/// The body of a swap.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Swap {
    /// Also when it wants more than what runs.
    promote: bool,
}

pub(super) async fn swap(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<Value> {
    let swap: Swap = read(&body)?;
    Ok(Json(json!(engine.swap(&name, swap.promote).await?)))
}

/// The body of a rollback.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rollback {
    /// The version; the one before when there is none.
    to: Option<String>,
}

pub(super) async fn rollback(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<Value> {
    let rollback: Rollback = read(&body)?;
    let parse = |to: String| Digest::parse(&to).ok_or_else(|| bad_request("`to` is not a sha256 digest"));
    let to = rollback.to.map(parse).transpose()?;
    Ok(Json(json!(engine.rollback(&name, to).await?)))
}

/// What part of the dead letters or conflicts is asked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    /// From after this number on.
    after: u64,
    /// At most so many.
    limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Page { after: 0, limit: LISTED }
    }
}

pub(super) async fn dead_letters(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<Value> {
    let letters = engine.dead_letters(&name, page.after, page.limit).await?;
    Ok(Json(json!({ "dead_letters": letters })))
}

/// Whether rows are asked for too.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Show {
    values: bool,
}

pub(super) async fn dead_letter(
    State(engine): State<Engine>,
    Path((name, id)): Path<(String, String)>,
    Query(show): Query<Show>,
) -> Answer<DeadLetterView> {
    let found = engine.dead_letter(&name, &id, show.values).await?;
    let missing = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "dead-letter-missing",
            format!("no dead letter `{id}` in {name}"),
        )
    };
    found.map(Json).ok_or_else(missing)
}

/// What part of the conflicts is asked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConflictPage {
    /// From after this number on.
    after: u64,
    /// At most so many.
    limit: usize,
    /// Only those that wait for somebody.
    parked: bool,
}

impl Default for ConflictPage {
    fn default() -> Self {
        ConflictPage { after: 0, limit: LISTED, parked: false }
    }
}

pub(super) async fn conflicts(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    Query(page): Query<ConflictPage>,
) -> Answer<Value> {
    let conflicts = engine.conflicts(&name, page.parked, page.after, page.limit).await?;
    Ok(Json(json!({ "conflicts": conflicts })))
}

pub(super) async fn conflict(
    State(engine): State<Engine>,
    Path((name, id)): Path<(String, String)>,
    Query(show): Query<Show>,
) -> Answer<ConflictView> {
    let found = engine.conflict(&name, &id, show.values).await?;
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, "conflict-missing", format!("no conflict `{id}` in {name}"));
    found.map(Json).ok_or_else(missing)
}

/// The body of a decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    /// `source`, `target` or `values`.
    choice: DecideWord,
    /// With `values`: columns and what they are to hold.
    #[serde(default)]
    values: Option<serde_json::Map<String, Value>>,
    /// Who decides.
    #[serde(default)]
    by: Option<String>,
    /// Also when the row was changed since.
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DecideWord {
    Source,
    Target,
    Values,
}

pub(super) async fn decide(
    State(engine): State<Engine>,
    Path((name, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer<ConflictView> {
    let decide: Decide = serde_json::from_slice(&body)
        .map_err(|error| bad_request(format!("the body is not what is expected: {error}")))?;
    let row = match (decide.choice, decide.values) {
        (DecideWord::Source, None) => DecidedRow::Source,
        (DecideWord::Target, None) => DecidedRow::Target,
        (DecideWord::Values, Some(values)) => DecidedRow::Values(values),
        (_, _) => return Err(bad_request("`values` belong to `choice: values`")),
    };
    let by = decide.by.as_deref().unwrap_or("the API");
    Ok(Json(engine.decide(&name, &id, row, by, decide.force).await?))
}

pub(super) async fn reload(State(engine): State<Engine>) -> Answer<Reloaded> {
    let reloaded = engine.reload(Scope::Everything).await?;
    tracing::info!(difference = ?reloaded.difference, "the configuration was reloaded by request");
    Ok(Json(reloaded))
}

/// A body as JSON; an empty one means the defaults.
fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| bad_request(format!("the body is not what is expected: {error}")))
}

fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad-request", message)
}

fn tables(names: &[String]) -> Vec<TableId> {
    names.iter().map(|name| TableId::parse(name)).collect()
}

fn done() -> Answer<Value> {
    Ok(Json(json!({ "done": true })))
}
