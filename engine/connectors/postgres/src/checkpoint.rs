//! Where the line's checkpoint is kept: in the target, saved in the transaction of the rows (I2).

use sluice_types::{Checkpoint, Error, ErrorKind, PipelineId, Result};
use tokio_postgres::{Client, Statement};

/// The table, with its schema.
pub(crate) const TABLE: &str = "sluice.sluice_checkpoint";

/// Room is left in its pages, so that saving stays where it is.
pub(crate) const MAKE: &str = "CREATE TABLE sluice.sluice_checkpoint(\
    pipeline text PRIMARY KEY, epoch bigint NOT NULL, checkpoint text NOT NULL) WITH (fillfactor = 50)";

/// Whoever reads that there is no checkpoint keeps others from making one until its transaction ends.
const LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sluice_checkpoint ' || $1, 0))";

/// Whether the table is there.
pub(crate) async fn is_there(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&TABLE]).await?;
    row.try_get(0)
}

/// The text of the checkpoint, as the session sees it.
pub(crate) async fn read(
    client: &Client,
    pipeline: &PipelineId,
) -> Result<Option<String>, tokio_postgres::Error> {
    let pipeline = &*pipeline.0;
    let sql = "SELECT checkpoint FROM sluice.sluice_checkpoint WHERE pipeline = $1";
    client.query_opt(sql, &[&pipeline]).await?.map(|row| row.try_get(0)).transpose()
}

/// The same, locked until the transaction ends.
pub(crate) async fn lock(
    client: &Client,
    pipeline: &PipelineId,
) -> Result<Option<String>, tokio_postgres::Error> {
    let pipeline = &*pipeline.0;
    let sql = "SELECT checkpoint FROM sluice.sluice_checkpoint WHERE pipeline = $1 FOR UPDATE";
    let read = async || client.query_opt(sql, &[&pipeline]).await?.map(|row| row.try_get(0)).transpose();
    match read().await? {
        Some(text) => Ok(Some(text)),
        None => {
            client.query_one(LOCK, &[&pipeline]).await?;
            read().await
        }
    }
}

/// Saves it for a line that has none yet. `false`: there is one.
pub(crate) async fn begin(
    client: &Client,
    checkpoint: &Checkpoint,
    text: &str,
) -> Result<bool, tokio_postgres::Error> {
    let (pipeline, epoch) = (&*checkpoint.pipeline.0, checkpoint.epoch as i64);
    client.query_one(LOCK, &[&pipeline]).await?;
    let sql = "INSERT INTO sluice.sluice_checkpoint VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(client.execute(sql, &[&pipeline, &epoch, &text]).await? == 1)
}

/// Saves it where the epoch is still the expected one.
pub(crate) const SAVE: &str =
    "UPDATE sluice.sluice_checkpoint SET epoch = $2, checkpoint = $3 WHERE pipeline = $1 AND epoch = $4";

/// Runs [`SAVE`]. `false`: another engine's epoch is there.
pub(crate) async fn save(
    client: &Client,
    statement: &Statement,
    checkpoint: &Checkpoint,
    text: &str,
    expected: u64,
) -> Result<bool, tokio_postgres::Error> {
    let (pipeline, epoch) = (&*checkpoint.pipeline.0, checkpoint.epoch as i64);
    Ok(client.execute(statement, &[&pipeline, &epoch, &text, &(expected as i64)]).await? == 1)
}

/// Removes it.
pub(crate) async fn forget(client: &Client, pipeline: &PipelineId) -> Result<(), tokio_postgres::Error> {
    client
        .execute("DELETE FROM sluice.sluice_checkpoint WHERE pipeline = $1", &[&&*pipeline.0])
        .await
        .map(drop)
}

/// The checkpoint that a text says.
pub(crate) fn parse(text: &str) -> Result<Checkpoint> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "the checkpoint in the target can't be read")
            .because(error)
            .remedy("It was written by another version, or damaged; `sluice delete` and begin anew")
    })
}

/// Its text.
pub(crate) fn text(checkpoint: &Checkpoint) -> Result<String> {
    serde_json::to_string(checkpoint)
        .map_err(|error| Error::new(ErrorKind::Internal, "the checkpoint can't be written").because(error))
}

/// What a saver is told whose epoch is not the target's any more.
pub(crate) fn fenced() -> Error {
    Error::new(ErrorKind::Fenced, "another engine has taken the pipeline over in this target")
        .remedy("Only one engine may run a pipeline; stop the other, or this one")
}
