//! From output images to events: which images make an update, which a delete or an insert.
//!
//! Copy j of a before image pairs with copy j of its after image. A pair is an update; a lone before image a delete; a lone after
//! image an insert. An after image whose before image the source did not send is an update however often it comes, and a delete by key
//! when it does not come at all. A kind that differs from the input image's is meant as it stands; one that doesn't goes by these rules.

use sluice_types::{Change, Event, Row, Value};

use crate::contract::kind;
use crate::lift::{Answer, Defect};
use crate::lower::{Images, image_count};
use crate::plan::CheckedPlan;

/// What became of the events of one call.
#[derive(Default)]
pub(crate) struct Reshaped {
    /// The events that go on: of which input event, by which route (0: as before), and the event.
    pub(crate) events: Vec<(u32, u16, Event)>,
    /// Input events that don't go on as they are: whole, as they were before.
    pub(crate) kept: Vec<(u32, Event)>,
}

/// The output images of one event: where the copies of its first and second image stand.
struct Copies {
    first: std::ops::Range<usize>,
    second: std::ops::Range<usize>,
}

/// Reads an answer image by image.
struct Cursor<'a> {
    images: &'a Images,
    answer: &'a Answer,
    /// The next input image, and the next entry of the selection.
    image: usize,
    entry: usize,
}

impl Cursor<'_> {
    /// The copies of the next input image.
    fn next(&mut self) -> std::ops::Range<usize> {
        let image = self.image;
        self.image += 1;
        let Some(select) = &self.answer.select else { return image..image + 1 };
        let start = self.entry;
        while select.get(self.entry).is_some_and(|&from| from as usize == image) {
            self.entry += 1;
        }
        start..self.entry
    }

    fn kind(&self, copy: usize, input: u8) -> u8 {
        self.answer.kinds.get(copy).copied().unwrap_or(input)
    }

    fn route(&self, copy: usize) -> u16 {
        self.answer.routes.get(copy).copied().unwrap_or(0)
    }
}

/// Rebuilds the events of a call. `excluded` says which of them were not sent or are rejected.
///
/// On a defect everything is in `to.kept` or `to.events`, so that nothing is lost.
pub(crate) fn reshape(
    events: Vec<Event>,
    images: &Images,
    answer: &Answer,
    plan: &CheckedPlan,
    sent: impl Fn(u32) -> bool,
    rejected: impl Fn(u32) -> bool,
    to: &mut Reshaped,
) -> Result<(), Defect> {
    let mut cursor = Cursor { images, answer, image: 0, entry: 0 };
    let mut result = Ok(());
    for (index, mut event) in (0u32..).zip(events) {
        if result.is_err() || !sent(index) {
            to.kept.push((index, event));
            continue;
        }
        let count = image_count(&event, plan.before_images);
        if count == 0 {
            to.events.push((index, 0, event)); // a truncate
            continue;
        }
        let first = cursor.next();
        let second = if count == 2 { cursor.next() } else { 0..0 };
        if rejected(index) {
            to.kept.push((index, event));
            continue;
        }
        let copies = Copies { first, second };
        match in_place(&mut event, &copies, count, &cursor, plan) {
            Ok(Some(route)) => to.events.push((index, route, event)),
            Ok(None) => {
                let built = build(&event, &copies, count, &cursor, plan);
                match built {
                    Ok(changes) => {
                        for (change, route) in changes {
                            to.events.push((index, route, derive(&event, change)));
                        }
                    }
                    Err(defect) => result = Err(defect),
                }
                to.kept.push((index, event));
            }
            Err(defect) => {
                result = Err(defect);
                to.kept.push((index, event));
            }
        }
    }
    result
}

/// An event with another change, which remembers what the source delivered.
fn derive(event: &Event, change: Change) -> Event {
    let original = match &event.original {
        Some(original) => original.clone(),
        None => Box::new(event.change.clone()),
    };
    Event {
        change,
        original: Some(original),
        table: event.table.clone(),
        source: event.source.clone(),
        ..*event
    }
}

/// The common case: every image came back once, with its kind, and both by one route. The rows only get their new values.
fn in_place(
    event: &mut Event,
    copies: &Copies,
    count: usize,
    cursor: &Cursor<'_>,
    plan: &CheckedPlan,
) -> Result<Option<u16>, Defect> {
    if copies.first.len() != 1 || (count == 2 && copies.second.len() != 1) {
        return Ok(None);
    }
    let (first, second) = (copies.first.start, copies.second.start);
    let base = cursor.image - count;
    let unchanged = |copy: usize, image: usize| {
        let input = cursor.images.kinds[image];
        cursor.kind(copy, input) == input
    };
    let route = cursor.route(first);
    if !unchanged(first, base)
        || (count == 2 && (!unchanged(second, base + 1) || cursor.route(second) != route))
    {
        return Ok(None);
    }
    match &mut event.change {
        Change::Update { before: Some(before), after } if count == 2 => {
            cursor.answer.push(plan, before, first)?;
            cursor.answer.push(plan, after, second)?;
        }
        Change::Update { before, after } => {
            if let Some(before) = before {
                pad(before, plan);
            }
            cursor.answer.push(plan, after, first)?;
        }
        Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => {
            cursor.answer.push(plan, row, first)?
        }
        Change::Truncate => {}
    }
    Ok(Some(route))
}

/// Gives an image that the plugin was not asked about its place for the written values: they are not known.
pub(crate) fn pad(row: &mut Row, plan: &CheckedPlan) {
    for _ in &plan.writes {
        row.push(Value::Absent);
    }
}

/// All other cases, from copies of the rows.
fn build(
    event: &Event,
    copies: &Copies,
    count: usize,
    cursor: &Cursor<'_>,
    plan: &CheckedPlan,
) -> Result<Vec<(Change, u16)>, Defect> {
    let written = |row: &Row, copy: usize| -> Result<Row, Defect> {
        let mut row = row.clone();
        cursor.answer.push(plan, &mut row, copy)?;
        Ok(row)
    };
    let mut changes = Vec::new();
    match &event.change {
        Change::Update { before: Some(before), after } if count == 2 => {
            for copy in 0..copies.first.len().max(copies.second.len()) {
                let old = copies.first.clone().nth(copy).map(|at| (at, cursor.kind(at, kind::BEFORE)));
                let new = copies.second.clone().nth(copy).map(|at| (at, cursor.kind(at, kind::AFTER)));
                match (old, new) {
                    (Some((old, kind::BEFORE)), Some((new, kind::AFTER))) => {
                        let (from, to) = (cursor.route(old), cursor.route(new));
                        let (before, after) = (written(before, old)?, written(after, new)?);
                        if from == to {
                            changes.push((Change::Update { before: Some(before), after }, to));
                        } else {
                            // At one target the row goes, at the other it comes.
                            changes.push((Change::Delete(before), from));
                            changes.push((Change::Insert(after), to));
                        }
                    }
                    (Some((old, kind::BEFORE)), None) => {
                        changes.push((Change::Delete(written(before, old)?), cursor.route(old)));
                    }
                    (None, Some((new, kind::AFTER))) => {
                        changes.push((Change::Insert(written(after, new)?), cursor.route(new)));
                    }
                    (Some((_, kind::BEFORE)), Some(_)) | (Some(_), Some((_, kind::AFTER))) => {
                        let what =
                            "it changes the kind of one image of an update and not of the other".to_string();
                        return Err(Defect { what, column: None });
                    }
                    (old, new) => {
                        let sides =
                            old.map(|old| (old, before)).into_iter().chain(new.map(|new| (new, after)));
                        for ((at, code), row) in sides {
                            changes.push((literal(code, written(row, at)?)?, cursor.route(at)));
                        }
                    }
                }
            }
        }
        Change::Snapshot(row)
        | Change::Insert(row)
        | Change::Delete(row)
        | Change::Update { after: row, .. } => {
            let input = cursor.images.kinds[cursor.image - 1];
            for at in copies.first.clone() {
                let code = cursor.kind(at, input);
                changes.push((literal(code, written(row, at)?)?, cursor.route(at)));
            }
            // No before image was sent, so nothing else says that the row must go.
            if input == kind::AFTER && copies.first.is_empty() {
                changes.push((Change::Delete(key_image(row, plan)?), 0));
            }
        }
        Change::Truncate => {}
    }
    Ok(changes)
}

/// The change that a kind stands for when it stands alone.
fn literal(code: u8, row: Row) -> Result<Change, Defect> {
    match code {
        kind::SNAPSHOT => Ok(Change::Snapshot(row)),
        kind::INSERT => Ok(Change::Insert(row)),
        kind::AFTER => Ok(Change::Update { before: None, after: row }),
        kind::DELETE => Ok(Change::Delete(row)),
        _ => Err(Defect {
            what: "an image before an update comes without the one after it".into(),
            column: None,
        }),
    }
}

/// A row of which only what the plugin did not write is known.
fn key_image(row: &Row, plan: &CheckedPlan) -> Result<Row, Defect> {
    let mut row = row.clone();
    pad(&mut row, plan);
    let schema = &plan.output.schema;
    if schema.key_columns().any(|column| !row.get(column.slot).is_present()) {
        let what = "it drops an update whose image before was not sent, and writes the key: which row is to go is not known";
        return Err(Defect { what: what.into(), column: None });
    }
    Ok(row)
}
