//! From entries to commands: whole batches of statements as raw BSON.

use std::ops::Range;
use std::sync::Arc;

use mongodb::bson::{Bson, Document, RawDocumentBuf};
use sluice_types::{Error, ErrorKind, Event, Result, Row};

use crate::encode::{self, close, open, push_index, raw_bool, raw_element, raw_string, ty};
use crate::fold::{Entry, Fold, Layers, Op};
use crate::plan::{Field, ID_NAME, Plan};

/// Bytes of a command's body after which it is sent. More are no faster, and each is held several times on its way.
const COMMAND_BYTES: usize = 512 << 10;
/// Ids in one delete.
const DELETES_MAX: usize = 10_000;

/// The limits of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Statements of a command.
    pub statements: usize,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Truncate,
    Delete,
    Update,
    Insert,
}

/// One statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub kind: Kind,
    pub entry: usize,
}

/// A command, ready to be sent.
pub(crate) struct Command {
    pub kind: Kind,
    pub collection: Arc<str>,
    pub body: RawDocumentBuf,
    /// Its statements, as indexes of the steps.
    pub steps: Range<usize>,
}

/// The statements of a fold in an order that unique indexes mind least: what goes first, then what changes, then what is new.
pub(crate) fn folded(fold: &Fold, inserts: impl Fn(&Plan) -> bool) -> Vec<Step> {
    let mut collections: Vec<&str> = vec![];
    let mut steps: Vec<(usize, Step)> = Vec::with_capacity(fold.entries.len());
    for (index, entry) in fold.entries.iter().enumerate() {
        let name = &*entry.plan.collection;
        let order = match collections.iter().rposition(|known| *known == name) {
            Some(order) => order,
            None => {
                collections.push(name);
                collections.len() - 1
            }
        };
        let as_new = entry.fresh && inserts(&entry.plan);
        steps.extend(statements(entry, as_new).map(|kind| (order, Step { kind, entry: index })));
    }
    steps.sort_by_key(|(order, step)| (*order, step.kind));
    steps.into_iter().map(|(_, step)| step).collect()
}

/// The statements of a fold in the order of its entries.
pub(crate) fn in_order(fold: &Fold) -> Vec<Step> {
    let entries = fold.entries.iter().enumerate();
    entries
        .flat_map(|(index, entry)| statements(entry, false).map(move |kind| Step { kind, entry: index }))
        .collect()
}

fn statements(entry: &Entry, as_new: bool) -> impl Iterator<Item = Kind> + use<> {
    let (first, second) = match entry.op {
        Op::Truncate => (Kind::Truncate, None),
        Op::Delete => (Kind::Delete, None),
        Op::Merge | Op::Patch => (Kind::Update, None),
        Op::Put if as_new => (Kind::Insert, None),
        Op::Put if entry.plan.exact_ids => (Kind::Delete, Some(Kind::Insert)),
        Op::Put => (Kind::Update, None),
    };
    std::iter::once(first).chain(second)
}

/// Writes statements.
pub(crate) struct Writer<'a> {
    pub events: &'a [Event],
    pub fold: &'a Fold,
    pub steps: &'a [Step],
    pub limits: Limits,
}

impl Writer<'_> {
    /// The command that begins with this step and takes as many of the next as fit.
    pub fn command(&self, first: usize) -> Result<Command> {
        let Step { kind, entry } = self.steps[first];
        let collection = self.fold.entries[entry].plan.collection.clone();
        let mut out = Vec::with_capacity(64 << 10);
        let at = open(&mut out);
        let (verb, list): (&[u8], &[u8]) = match kind {
            Kind::Insert => (b"insert\0", b"documents\0"),
            Kind::Update => (b"update\0", b"updates\0"),
            Kind::Delete | Kind::Truncate => (b"delete\0", b"deletes\0"),
        };
        raw_string(&mut out, verb, &collection);
        raw_bool(&mut out, b"ordered\0", true);
        out.push(ty::ARRAY);
        out.extend_from_slice(list);
        let array = open(&mut out);
        let end = match kind {
            Kind::Insert | Kind::Update => self.push_statements(&mut out, first, &collection)?,
            Kind::Delete => self.push_deletes(&mut out, first, &collection),
            Kind::Truncate => {
                push_delete(&mut out, 0, |_| {});
                first + 1
            }
        };
        close(&mut out, array);
        close(&mut out, at);
        // It is kept until the transaction ends.
        out.shrink_to_fit();
        let body = RawDocumentBuf::from_bytes(out).map_err(|error| {
            Error::new(ErrorKind::Internal, "a command was not written well").because(error)
        })?;
        Ok(Command { kind, collection, body, steps: first..end })
    }

    /// Whether a step goes on with the command that `first` began.
    fn continues(&self, first: usize, step: usize, collection: &str) -> bool {
        self.steps.get(step).is_some_and(|next| {
            next.kind == self.steps[first].kind
                && *self.fold.entries[next.entry].plan.collection == *collection
        })
    }

    fn push_statements(&self, out: &mut Vec<u8>, first: usize, collection: &str) -> Result<usize> {
        let mut step = first;
        while self.continues(first, step, collection) && step - first < self.limits.statements {
            let start = out.len();
            let entry = &self.fold.entries[self.steps[step].entry];
            out.push(ty::DOCUMENT);
            push_index(out, step - first);
            match self.steps[first].kind {
                Kind::Insert => self.push_document(out, entry)?,
                _ => self.push_update(out, entry)?,
            }
            if step > first && out.len() > COMMAND_BYTES {
                // It begins the next one.
                out.truncate(start);
                break;
            }
            step += 1;
        }
        Ok(step)
    }

    fn push_update(&self, out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
        let at = open(out);
        out.push(ty::DOCUMENT);
        out.extend_from_slice(b"q\0");
        let query = open(out);
        self.push_id(out, entry);
        close(out, query);
        out.push(ty::DOCUMENT);
        out.extend_from_slice(b"u\0");
        match entry.op {
            Op::Put => {
                self.push_document(out, entry)?;
                raw_bool(out, b"upsert\0", true);
            }
            Op::Merge => {
                self.push_set(out, entry)?;
                raw_bool(out, b"upsert\0", true);
            }
            _ => self.push_set(out, entry)?,
        }
        close(out, at);
        Ok(())
    }

    fn push_id(&self, out: &mut Vec<u8>, entry: &Entry) {
        if let Some((&ty, body)) = self.fold.arena[entry.id.clone()].split_first() {
            raw_element(out, ty, ID_NAME, body);
        }
    }

    /// A whole document.
    fn push_document(&self, out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
        let at = open(out);
        self.push_id(out, entry);
        match (&entry.layers, &entry.base) {
            (Layers::One(event), None) => {
                let row = self.image(*event)?;
                for field in &entry.plan.fields {
                    let written = entry.plan.push_field(out, field, row.get(field.slot));
                    written.map_err(|error| error.of_event(*event as usize))?;
                }
            }
            _ => self.push_merged(out, entry)?,
        }
        close(out, at);
        let size = out.len() - at;
        if size <= self.limits.document_bytes {
            return Ok(());
        }
        let what =
            format!("the document would have {size} bytes, and MongoDB holds {}", self.limits.document_bytes);
        Err(Error::new(ErrorKind::ValueUnrepresentable, what)
            .remedy("Leave out large columns with `columns: { exclude: [..] }`, or keep them elsewhere")
            .at_table(&entry.plan.schema.table)
            .of_event(entry.layers.last()))
    }

    /// A document of several images, and of the one that was there.
    fn push_merged(&self, out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
        let base = entry.base.as_deref();
        for field in &entry.plan.fields {
            if self.push_newest(out, entry, field)? {
                continue;
            }
            let name = field_name(field);
            if let Some(stored) = base.and_then(|base| base.get(name).ok().flatten()) {
                push_stored(out, &field.name, stored);
            }
        }
        // What others have put into the document stays with it.
        for (name, stored) in base.into_iter().flat_map(|base| base.iter()).flatten() {
            let ours =
                name == crate::plan::ID || entry.plan.fields.iter().any(|field| field_name(field) == name);
            if !ours {
                push_stored(out, &[name.as_bytes(), &[0]].concat(), stored);
            }
        }
        Ok(())
    }

    /// `$set` of what the images have: an absent value leaves its field as it is.
    fn push_set(&self, out: &mut Vec<u8>, entry: &Entry) -> Result<()> {
        let update = open(out);
        out.push(ty::DOCUMENT);
        out.extend_from_slice(b"$set\0");
        let set = open(out);
        for field in &entry.plan.fields {
            self.push_newest(out, entry, field)?;
        }
        close(out, set);
        close(out, update);
        Ok(())
    }

    /// The field's last present value, if any image has one.
    fn push_newest(&self, out: &mut Vec<u8>, entry: &Entry, field: &Field) -> Result<bool> {
        for &event in entry.layers.events().iter().rev() {
            let value = self.image(event)?.get(field.slot);
            if value.is_present() {
                let written = entry.plan.push_field(out, field, value);
                written.map_err(|error| error.of_event(event as usize))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn image(&self, event: u32) -> Result<&Row> {
        let image = self.events.get(event as usize).and_then(|event| event.change.after());
        image.ok_or_else(|| Error::new(ErrorKind::Internal, "an event without an image was to be written"))
    }

    /// One statement for all: `_id` in a list.
    fn push_deletes(&self, out: &mut Vec<u8>, first: usize, collection: &str) -> usize {
        let mut step = first;
        push_delete(out, 0, |out| {
            out.push(ty::DOCUMENT);
            out.extend_from_slice(ID_NAME);
            let condition = open(out);
            out.push(ty::ARRAY);
            out.extend_from_slice(b"$in\0");
            let list = open(out);
            while self.continues(first, step, collection)
                && step - first < DELETES_MAX
                && out.len() < COMMAND_BYTES
            {
                let entry = &self.fold.entries[self.steps[step].entry];
                push_in_list(out, step - first, &self.fold.arena[entry.id.clone()]);
                step += 1;
            }
            close(out, list);
            close(out, condition);
        });
        step
    }
}

/// An element of an array.
pub(crate) fn push_in_list(out: &mut Vec<u8>, index: usize, id: &[u8]) {
    if let Some((&ty, body)) = id.split_first() {
        out.push(ty);
        push_index(out, index);
        out.extend_from_slice(body);
    }
}

/// `{q: {...}, limit: 0}`
fn push_delete(out: &mut Vec<u8>, index: usize, condition: impl FnOnce(&mut Vec<u8>)) {
    out.push(ty::DOCUMENT);
    push_index(out, index);
    let at = open(out);
    out.push(ty::DOCUMENT);
    out.extend_from_slice(b"q\0");
    let query = open(out);
    condition(out);
    close(out, query);
    encode::raw_int32(out, b"limit\0", 0);
    close(out, at);
}

fn field_name(field: &Field) -> &str {
    std::str::from_utf8(&field.name[..field.name.len() - 1]).unwrap_or_default()
}

fn push_stored(out: &mut Vec<u8>, name: &[u8], stored: mongodb::bson::RawBsonRef<'_>) {
    let mut value = vec![];
    crate::key::push_raw(&mut value, stored);
    if let Some((&ty, body)) = value.split_first() {
        raw_element(out, ty, name, body);
    }
}

/// What the server answered to a write.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Documents written.
    pub count: u64,
    /// The first statement that failed.
    pub error: Option<WriteError>,
}

/// A statement that the server refused.
#[derive(Debug)]
pub(crate) struct WriteError {
    /// The statement's index in the command.
    pub index: usize,
    pub code: i32,
    /// The fields of the unique index that the document violates.
    pub index_fields: Vec<String>,
}

impl WriteError {
    /// The document is there already.
    pub fn is_same_id(&self) -> bool {
        self.code == crate::errors::DUPLICATE_KEY && self.index_fields == [crate::plan::ID]
    }
}

impl Reply {
    /// Reads a reply. The server's own words are left out: they hold values of the row.
    pub fn read(reply: &Document) -> Self {
        let number = |document: &Document, name: &str| match document.get(name) {
            Some(Bson::Int32(number)) => i64::from(*number),
            Some(Bson::Int64(number)) => *number,
            Some(Bson::Double(number)) => *number as i64,
            _ => 0,
        };
        let errors = reply.get_array("writeErrors").ok();
        let first = errors.and_then(|errors| errors.first()).and_then(Bson::as_document);
        let error = first.map(|error| WriteError {
            index: number(error, "index").max(0) as usize,
            code: number(error, "code") as i32,
            index_fields: error
                .get_document("keyPattern")
                .map(|keys| keys.keys().cloned().collect())
                .unwrap_or_default(),
        });
        Reply { count: number(reply, "n").max(0) as u64, error }
    }
}
