//! The start of a session: whose line is it, where does it stand, and can the source go on from there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_types::ports::{Altered, LineState, Sink, SinkTx, Source, StreamStart, TargetTable};
use sluice_types::{
    Change, Checkpoint, Error, ErrorKind, Event, InstallId, PipelineId, Position, RangeProgress, Result,
    SnapshotProgress, TableId, TableProgress, TableSchema, Visibility,
};

use crate::route::{Router, adopt};
use crate::session::Context;
use crate::spec::{LineSpec, OnPositionLost, SnapshotMode};

/// The code of the finding that a first copy is laid over rows.
pub const TARGET_NOT_EMPTY: &str = "target-not-empty";

/// Reads the target's checkpoint and refuses it if it is not ours to go on from.
pub(crate) async fn read(context: &Context, sink: &mut dyn Sink, source: &str) -> Result<Option<Checkpoint>> {
    sink.prepare(&[]).await?;
    let Some(found) = sink.checkpoint(&context.spec.pipeline).await? else { return Ok(None) };
    verify(&found, &context.spec, context.ports.state.install(), source)?;
    // A line that tries again after an error does not take back what another engine has taken over meanwhile: only a new start,
    // which is somebody's wish, claims a line from another.
    let claimed = context.epoch.load(Relaxed);
    if claimed != 0 && found.epoch > claimed {
        return Err(overtaken());
    }
    Ok(Some(found))
}

fn verify(found: &Checkpoint, spec: &LineSpec, install: &InstallId, source: &str) -> Result<()> {
    if found.install != *install && !spec.take_over {
        let what = format!(
            "the target belongs to installation {} and this is {}",
            found.install.short(),
            install.short()
        );
        return Err(Error::new(ErrorKind::Fenced, what)
            .remedy("If the other one is stopped for good, start this one with `--take-over`."));
    }
    if &*found.source != source {
        let what = format!("the target was filled from source {} and this is {source}", found.source);
        return Err(Error::new(ErrorKind::SourceChanged, what).remedy(
            "Point the pipeline at the source it was made from, or `sluice delete` it and let it start anew.",
        ));
    }
    Ok(())
}

/// Refuses a target that has lost a table into which rows were copied: made anew it would be empty, and nothing would fill it.
pub(crate) async fn copies_are_there(
    found: &Checkpoint,
    again: &[TableId],
    sink: &mut dyn Sink,
    router: &Router,
) -> Result<()> {
    let copied = |table: &TableId| {
        let progress = found.snapshot.tables.get(&table.to_string());
        let begun = |range: &RangeProgress| range.done || range.cursor.is_some();
        progress.is_some_and(|progress| progress.ranges.iter().any(begun)) && !again.contains(table)
    };
    let tables: Vec<Arc<TableSchema>> = router.defaults(copied);
    match sink.missing(&tables).await?.first() {
        None => Ok(()),
        Some(gone) => {
            Err(Error::new(ErrorKind::TargetSchema, "rows were copied into this table and it is gone")
                .at_table(gone)
                .remedy("`sluice resnapshot` makes it and reads everything again, then `sluice resume`."))
        }
    }
}

/// Tables with rows over which a first copy is to be laid: what the source does not have would stay in them. None of those that are
/// emptied before.
pub(crate) async fn covered(
    context: &Context,
    targets: &[TargetTable],
    router: &Router,
) -> Result<Vec<TableId>> {
    let Context { spec, ports, line_state, .. } = context;
    if spec.snapshot == SnapshotMode::Never {
        return Ok(vec![]);
    }
    let (_, emptied) = router.together(Some(&line_state.resnapshot));
    let mut tables: Vec<TableId> = targets.iter().map(|target| target.schema.table.clone()).collect();
    tables.retain(|table| emptied.iter().all(|schema| schema.table != *table));
    ports.target.filled(&spec.pipeline, &tables).await
}

/// Tells of them once: with the claim the line has a checkpoint.
pub(crate) fn tell_covered(pipeline: &PipelineId, tables: &[TableId]) {
    for table in tables {
        tracing::warn!(
            %pipeline, %table, code = TARGET_NOT_EMPTY,
            "the table has rows already, and the first copy is laid over them: what the source does not have stays. `sluice resnapshot` \
             empties the table and reads it again"
        );
    }
}

/// Makes the line ours: a new checkpoint for one that has none, or the next epoch of the one that was found, with which
/// another engine that still runs it is fenced off. Tables that are to be read again are emptied with it (I2).
pub(crate) async fn claim(
    context: &Context,
    found: Option<Checkpoint>,
    sink: &mut dyn Sink,
    source: &mut dyn Source,
    router: &Router,
    identity: Arc<str>,
) -> Result<Checkpoint> {
    let expected = found.as_ref().map(|found| found.epoch);
    let again = &context.line_state.resnapshot;
    let (fresh, since, mut emptied) = match &found {
        Some(_) if again.is_empty() => (None, None, vec![]),
        Some(_) => (None, seen_from_now_on(source, router, again).await?, vec![]),
        // I5: changes are held, and from where is durable in the target, before the first row of the snapshot is read.
        None => {
            let tables: Vec<TableId> = router.sources().iter().map(|schema| schema.table.clone()).collect();
            let mut checkpoint = first(context, identity, hold_anew(source, router, &tables).await?);
            let mut emptied = vec![];
            if !again.is_empty() {
                // Capture was taken away before there was a checkpoint: the log that is held has a hole.
                let since = seen_from_now_on(source, router, again).await?;
                emptied = read_again(&mut checkpoint, router, Some(again), since);
            }
            (Some(checkpoint), None, emptied)
        }
    };
    let mut tx = sink.begin().await?;
    let mut checkpoint = match fresh {
        Some(fresh) => fresh,
        None => {
            // I6: the engine that is fenced off by this may have committed since the checkpoint was first looked at.
            let latest = tx.checkpoint(&context.spec.pipeline).await?;
            let latest = latest.filter(|latest| Some(latest.epoch) == expected).ok_or_else(overtaken)?;
            let mut checkpoint = next_epoch(latest, context);
            if !again.is_empty() {
                emptied = read_again(&mut checkpoint, router, Some(again), since);
            }
            checkpoint
        }
    };
    let tables: Vec<TableId> = context.spec.tables.iter().map(|route| route.from.clone()).collect();
    adopt(&mut checkpoint.snapshot, &tables, &unread(&context.spec));
    context.epoch.store(checkpoint.epoch, Relaxed);
    save(tx, &checkpoint, expected, &[]).await?;
    if !emptied.is_empty() {
        // I6: the line is ours, durably, before a row goes: a target that can't empty a large table in one transaction does it in
        // steps, and may do so only while nobody else writes. A crash in between begins here again, since the tables that are
        // to be read again are still in the line's state.
        save(sink.begin().await?, &checkpoint, Some(checkpoint.epoch), &emptied).await?;
    }
    forget_superseded(context, expected.is_none(), router).await?;
    Ok(checkpoint)
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Fenced, "another engine has taken the pipeline over in this target")
        .remedy("Only one engine may run a pipeline; stop the other, or this one")
}

fn first(context: &Context, source: Arc<str>, position: Position) -> Checkpoint {
    Checkpoint {
        pipeline: context.spec.pipeline.clone(),
        install: context.ports.state.install().clone(),
        source,
        epoch: 1,
        position,
        part: 0,
        snapshot: SnapshotProgress::default(),
        plugins: Default::default(),
    }
}

fn next_epoch(mut found: Checkpoint, context: &Context) -> Checkpoint {
    found.epoch += 1;
    found.install = context.ports.state.install().clone();
    found
}

/// What is known of a table that the checkpoint does not know: nothing, or, when no snapshot is wanted, that it is complete.
fn unread(spec: &LineSpec) -> TableProgress {
    match spec.snapshot {
        SnapshotMode::Initial | SnapshotMode::Only => TableProgress::default(),
        SnapshotMode::Never => {
            let whole = RangeProgress { done: true, ..RangeProgress::default() };
            TableProgress { ranges: vec![whole], ..TableProgress::default() }
        }
    }
}

/// Has changes captured again, and says up to where in the log every later view has seen everything. `None` where only the views
/// themselves can tell; such a source takes no capture away for DDL either.
async fn seen_from_now_on(
    source: &mut dyn Source,
    router: &Router,
    again: &[TableId],
) -> Result<Option<Position>> {
    let tables = router.sources();
    hold_anew(source, router, again).await?;
    let Some(table) = tables.first() else { return Ok(None) };
    let (_, mark) = source.reread(table, &[]).await?;
    Ok((mark.visibility == Visibility::ByPosition).then_some(mark.high))
}

/// Holds the line's tables, some of which are read from their start. Where a source refuses because the capture of one has a gap (its triggers are gone, its columns are
/// others), the tables that are read from their start anyway are given up and captured anew: nothing is missed by that.
async fn hold_anew(source: &mut dyn Source, router: &Router, again: &[TableId]) -> Result<Position> {
    let tables = router.sources();
    let (again, _) = router.together(Some(again));
    let held = match source.hold(&tables).await {
        Err(error)
            if matches!(error.kind(), ErrorKind::SchemaChanged | ErrorKind::CaptureBroken)
                // What is said of a table that is not read again is for somebody to hear.
                && error.place().table.as_ref().is_none_or(|table| again.iter().any(|one| one.name == table.name)) =>
        {
            tracing::info!(%error, "captured anew, since it is read again");
            // Whatever was done to them.
            let taken: Vec<Altered> =
                again.iter().map(|table| Altered { table: table.clone(), seen: None }).collect();
            source.accept(&taken).await?;
            source.detach(&again).await?;
            source.hold(&tables).await?
        }
        held => held?,
    };
    source.read_anew(&again).await?;
    Ok(held)
}

/// Has tables read from their start (all when `None`). Says which target tables are to be emptied for it.
fn read_again(
    checkpoint: &mut Checkpoint,
    router: &Router,
    tables: Option<&[TableId]>,
    since: Option<Position>,
) -> Vec<Arc<TableSchema>> {
    let (sources, targets) = router.together(tables);
    for table in sources {
        let unread = TableProgress { since: since.clone(), ..TableProgress::default() };
        checkpoint.snapshot.tables.insert(table.to_string(), unread);
        checkpoint.snapshot.postponed.remove(&table.to_string());
    }
    targets
}

async fn save(
    mut tx: Box<dyn SinkTx + '_>,
    checkpoint: &Checkpoint,
    expected: Option<u64>,
    emptied: &[Arc<TableSchema>],
) -> Result<()> {
    let truncate = |table: &Arc<TableSchema>| Event::new(table.clone(), Change::Truncate, 0, 0);
    let events: Vec<Event> = emptied.iter().map(truncate).collect();
    if !events.is_empty() {
        tx.write(&events).await?;
    }
    tx.save(checkpoint, expected).await?;
    tx.commit().await
}

/// After the tables' new start is durable: their dead letters are superseded, and what was asked for is done. A crash before
/// this does it all once more.
async fn forget_superseded(context: &Context, is_new: bool, router: &Router) -> Result<()> {
    let Context { spec, ports, line_state, .. } = context;
    if !line_state.resnapshot.is_empty() {
        let (tables, targets) = router.together(Some(&line_state.resnapshot));
        ports.state.supersede_dead_letters(&spec.pipeline, &tables).await?;
        supersede_conflicts(context, &targets).await?;
        let resnapshot = line_state.resnapshot.clone();
        context.done(LineState { resnapshot, ..LineState::default() }).await?;
    }
    if is_new && spec.snapshot != SnapshotMode::Never {
        ports.state.supersede_dead_letters(&spec.pipeline, &[]).await?;
        supersede_conflicts(context, &router.together(None).1).await?;
    }
    Ok(())
}

/// What is read again is compared again: nobody has to decide of what was parked of it.
async fn supersede_conflicts(context: &Context, targets: &[Arc<TableSchema>]) -> Result<()> {
    let tables: Vec<TableId> = targets.iter().map(|target| target.table.clone()).collect();
    context.ports.state.supersede_conflicts(&context.spec.pipeline, &tables, "resnapshot").await?;
    Ok(())
}

/// Opens the stream where the checkpoint stands (I12). If the source can't deliver from there, `on_position_lost` decides: with
/// `resnapshot` everything is read again from a start that the source can deliver from.
pub(crate) async fn open(
    context: &Context,
    checkpoint: &mut Checkpoint,
    sink: &mut dyn Sink,
    source: &mut dyn Source,
    router: &Router,
) -> Result<()> {
    let tables = router.sources();
    source.hold(&tables).await?;
    let start = StreamStart { position: checkpoint.position.clone(), part: checkpoint.part };
    let lost = match source.open(&start, &tables).await {
        Err(error) if error.kind() == ErrorKind::PositionLost => error,
        opened => return opened,
    };
    // Whoever asked for everything to be read again has answered the question already.
    let all_again = router.covers_all(&context.line_state.resnapshot);
    if context.spec.on_position_lost == OnPositionLost::Fail && !all_again {
        return Err(lost.remedy(
            "Run `sluice resnapshot` to read everything again, then `sluice resume`; or set `on_position_lost: resnapshot`.",
        ));
    }
    tracing::warn!(pipeline = %context.spec.pipeline, error = %lost, "every table is read again");
    let position = open_anew(source, &tables).await?;
    let expected = checkpoint.epoch;
    let mut fresh = first(context, source.identity().await?, position);
    fresh.epoch = expected + 1;
    context.epoch.store(fresh.epoch, Relaxed);
    let emptied = read_again(&mut fresh, router, None, None);
    // I5: before the first row is read.
    save(sink.begin().await?, &fresh, Some(expected), &emptied).await?;
    context.ports.state.supersede_dead_letters(&context.spec.pipeline, &[]).await?;
    supersede_conflicts(context, &emptied).await?;
    *checkpoint = fresh;
    Ok(())
}

/// Opens the stream at a start that the source can deliver from: where it holds its log for this line, or, if it has lost even
/// that, where it stands after everything was made anew.
async fn open_anew(source: &mut dyn Source, tables: &[Arc<TableSchema>]) -> Result<Position> {
    let names: Vec<TableId> = tables.iter().map(|schema| schema.table.clone()).collect();
    let held = source.hold(tables).await?;
    source.read_anew(&names).await?;
    match source.open(&StreamStart { position: held.clone(), part: 0 }, tables).await {
        Err(error) if error.kind() == ErrorKind::PositionLost => {}
        opened => return opened.map(|()| held),
    }
    source.release().await?;
    let position = source.hold(tables).await?;
    source.read_anew(&names).await?;
    source.open(&StreamStart { position: position.clone(), part: 0 }, tables).await?;
    Ok(position)
}
