//! What pipelines were told to do.

use rusqlite::{Connection, OptionalExtension, params};
use sluice_types::ports::LineState;
use sluice_types::{Error, ErrorKind, PipelineId, Result};

use crate::errors::{Said, damaged};

pub(crate) fn state(connection: &mut Connection, pipeline: &PipelineId) -> Result<LineState> {
    let text: Option<String> = connection
        .query_row("select state from lines where pipeline = ?", [&*pipeline.0], |row| row.get(0))
        .optional()
        .said("can't read the pipeline's state")?;
    match text.as_deref() {
        None | Some("{}") => Ok(LineState::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|cause| damaged("the pipeline's state can't be read").because(cause))
            .map_err(|error| error.at(|place| place.pipeline = Some(pipeline.clone()))),
    }
}

pub(crate) fn set_state(connection: &mut Connection, pipeline: &PipelineId, state: &LineState) -> Result<()> {
    let text = serde_json::to_string(state).map_err(|cause| {
        Error::new(ErrorKind::Internal, "a pipeline's state can't be written down").because(cause)
    })?;
    connection
        .execute(
            "insert into lines (pipeline, state) values (?, ?) on conflict do update set state = excluded.state",
            params![&*pipeline.0, text],
        )
        .said("can't remember the pipeline's state")?;
    Ok(())
}

pub(crate) fn forget(connection: &mut Connection, pipeline: &PipelineId) -> Result<()> {
    let run = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        transaction.execute("delete from dead_letters where pipeline = ?", [&*pipeline.0])?;
        transaction.execute("delete from conflicts where pipeline = ?", [&*pipeline.0])?;
        transaction.execute("delete from lines where pipeline = ?", [&*pipeline.0])?;
        transaction.commit()
    };
    run(connection).said("can't forget the pipeline")
}
