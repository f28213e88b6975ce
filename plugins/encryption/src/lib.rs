//! Seals, opens and hashes columns by keys that never leave the host. The README says how.

mod bytes;
mod config;

use bytes::{Grown, HASHED, code, does_not_open, read, with_bytes, with_text, written};
use config::{Config, Form, Mode, Named};
use sluice_sdk::crypto::{self, Gathered, Place, nth};
use sluice_sdk::raw::Blobs;
use sluice_sdk::{Answer, Batch, Col, ColumnType, Columns, State, Table};

struct Encryption {
    key: String,
    mode: Mode,
    form: Form,
    domain: String,
    columns: Vec<Sealed>,
}

struct Sealed {
    column: Col,
    place: Place,
    /// What is written.
    ty: ColumnType,
}

impl Columns for Encryption {
    type Config = Config;
    const SUMMARY: &'static str = "Seals, opens and hashes columns by keys that never leave the host";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Config) -> Self {
        let named = config.named(table);
        if !table.has_errors() {
            // Whether the step may use the key is found out before a row is at stake.
            let nothing = Blobs { offsets: vec![], data: vec![] };
            let place = crypto::place(table.info(), "");
            let allowed = match config.mode {
                Mode::Seal => crypto::seal(&config.key, &place, &nothing).err(),
                Mode::Open => crypto::open(&config.key, &place, &nothing).err(),
                Mode::Hash => crypto::hash(&config.key, "", &nothing).err(),
            };
            allowed.into_iter().for_each(|why| table.error("/key", why));
        }
        let columns = named.into_iter().map(|named| open_column(table, &config, named)).collect();
        let Config { key, mode, form, domain, .. } = config;
        Encryption { key, mode, form, domain: domain.unwrap_or_default(), columns }
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        for sealed in &self.columns {
            match self.mode {
                Mode::Seal => self.seal(sealed, batch, answer)?,
                Mode::Hash => self.hash(sealed, batch, answer)?,
                Mode::Open => self.unseal(sealed, batch, answer)?,
            }
        }
        Ok(())
    }
}

fn open_column(table: &mut Table, config: &Config, Named { path, name, ty }: Named) -> Sealed {
    let written = match config.mode {
        Mode::Open => ty,
        Mode::Seal | Mode::Hash => config.form.column_type(),
    };
    let sealed = [ColumnType::Text, ColumnType::Bytes];
    let column = match config.mode {
        Mode::Seal => table.retype(&path, &name, written),
        Mode::Hash => table.retype_from(&path, &name, &HASHED, written),
        Mode::Open => table.retype_from(&path, &name, &sealed, written),
    };
    table.computed_from(column, &[column]);
    table.native(column, ""); // what is written need not fit a varchar(11)
    if config.mode == Mode::Seal {
        table.not_deterministic(column); // a nonce each, so nothing rests on it
        table.no_before_images();
    }
    let mut place = crypto::place(table.info(), &name);
    if let Some(sealed) = &config.sealed {
        place.pipeline.clone_from(&sealed.pipeline);
        place.table = sealed.table.clone().unwrap_or(place.table);
        place.column = sealed.columns.get(&name).cloned().unwrap_or(place.column);
    }
    Sealed { column, place, ty: written }
}

/// The rows that have a value in a column.
fn rows_with_values(batch: &Batch, column: Col) -> Vec<usize> {
    (0..batch.rows()).filter(|&row| batch.state(column, row) == State::Value).collect()
}

impl Encryption {
    fn seal(
        &self,
        Sealed { column, place, .. }: &Sealed,
        batch: &Batch,
        answer: &mut Answer,
    ) -> Result<(), String> {
        let rows = rows_with_values(batch, *column);
        let mut plain = Gathered::with_capacity(rows.len(), rows.len() * 32);
        let code = [code(column.column_type())];
        for &row in &rows {
            with_bytes(batch.column(*column), row, |bytes| plain.push(&[&code, bytes]));
        }
        let made = crypto::seal(&self.key, place, &plain.finish())?;
        self.put(*column, &rows, &made, batch, answer)
    }

    fn hash(&self, Sealed { column, .. }: &Sealed, batch: &Batch, answer: &mut Answer) -> Result<(), String> {
        let rows = rows_with_values(batch, *column);
        let mut plain = Gathered::with_capacity(rows.len(), rows.len() * 32);
        for &row in &rows {
            with_text(batch.column(*column), row, |bytes| plain.push(&[bytes]));
        }
        let made = crypto::hash(&self.key, &self.domain, &plain.finish())?;
        self.put(*column, &rows, &made, batch, answer)
    }

    /// Writes what the host made of these rows' values.
    fn put(
        &self,
        column: Col,
        rows: &[usize],
        made: &Blobs,
        batch: &Batch,
        answer: &mut Answer,
    ) -> Result<(), String> {
        let mut grown = Grown::new(self.form.column_type(), batch.rows());
        let mut next = rows.iter().enumerate().peekable();
        for row in 0..batch.rows() {
            match next.next_if(|(_, at)| **at == row) {
                None => grown.skip(),
                Some((at, _)) => written(self.form, nth(made, at), self.mode == Mode::Hash, &mut grown)
                    .ok_or("what the host made can't be written")?,
            }
        }
        answer.put(column, grown.finish(), batch.column(column).state.clone());
        Ok(())
    }

    fn unseal(
        &self,
        Sealed { column, place, ty }: &Sealed,
        batch: &Batch,
        answer: &mut Answer,
    ) -> Result<(), String> {
        let mut rows = rows_with_values(batch, *column);
        let mut gathered = Gathered::with_capacity(rows.len(), rows.len() * 64);
        rows.retain(|&row| match read(batch.column(*column), row) {
            Ok(bytes) => {
                gathered.push(&[&bytes]);
                true
            }
            Err(why) => {
                answer.reject(row, column.reject(why));
                false
            }
        });
        let opened = crypto::open(&self.key, place, &gathered.finish())?;
        let mut grown = Grown::new(*ty, batch.rows());
        let mut next = rows.iter().enumerate().peekable();
        for row in 0..batch.rows() {
            let Some((at, _)) = next.next_if(|(_, at)| **at == row) else {
                grown.skip();
                continue;
            };
            if opened.failed.binary_search(&(at as u32)).is_ok() {
                answer.reject(row, does_not_open(*column));
                grown.skip();
                continue;
            }
            let taken = match nth(&opened.values, at).split_first() {
                Some((sealed, bytes)) if *sealed == code(*ty) => grown.push(bytes),
                _ => None,
            };
            if taken.is_none() {
                let what = format!("the value that was sealed is no {}", ty.word());
                answer.reject(row, column.reject(what));
                grown.skip();
            }
        }
        answer.put(*column, grown.finish(), batch.column(*column).state.clone());
        Ok(())
    }
}

sluice_sdk::export_columns!(Encryption);
