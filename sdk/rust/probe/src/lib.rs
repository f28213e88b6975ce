//! A guest that does, on command, everything a guest may do and much that it may not: the host is tested with it.
//! The commands are in [`config`]. It answers by the generated bindings, without the SDK's help, which would not let it misbehave.

mod config;
mod misbehave;

use std::cell::RefCell;
use std::collections::HashMap;

use config::{Action, Config};
use sluice_sdk::raw::*;

/// One opened table.
struct Opened {
    config: Config,
    plan: Plan,
    /// Where the column of `when` stands in a batch.
    when: Option<usize>,
}

thread_local! {
    static OPENED: RefCell<HashMap<u32, Opened>> = RefCell::default();
}

struct Probe;
sluice_sdk::raw::export_transformer!(Probe with_types_in sluice_sdk::raw);

impl Guest for Probe {
    fn describe() -> Info {
        Info {
            name: "probe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Does what its configuration says, right or wrong".into(),
            config_schema: r#"{"type": "object", "required": ["do"]}"#.into(),
        }
    }

    fn open(handle: u32, table: TableInfo, config: String) -> Result<Option<Plan>, Vec<ConfigError>> {
        let config = Config::parse(&config)?;
        match config.action {
            Action::Decline => return Ok(None),
            Action::TrapAtOpen => panic!("told to trap at open"),
            Action::SpinAtOpen => misbehave::spin(),
            _ => {}
        }
        let mut plan = config.plan(&table)?;
        misbehave::plan(config.action, &table, &mut plan);
        let when = config.when.as_ref().and_then(|when| {
            plan.read.iter().position(|&column| table.columns[column as usize].name == when.column)
        });
        OPENED.with_borrow_mut(|all| all.insert(handle, Opened { config, plan: plan.clone(), when }));
        Ok(Some(plan))
    }

    fn close(handle: u32) {
        OPENED.with_borrow_mut(|all| all.remove(&handle));
    }

    fn transform(handle: u32, batch: Batch) -> Result<Output, String> {
        OPENED.with_borrow(|all| {
            let opened = all.get(&handle).ok_or_else(|| format!("no table is open as {handle}"))?;
            opened.transform(batch)
        })
    }
}

impl Opened {
    fn transform(&self, batch: Batch) -> Result<Output, String> {
        let meant = self.meant(&batch);
        if !meant.contains(&true) {
            let all = vec![false; meant.len()];
            return Ok(self.obey(&all, batch));
        }
        match self.config.action {
            Action::Trap => panic!("told to trap"),
            Action::Spin => misbehave::spin(),
            Action::Allocate => misbehave::allocate(),
            Action::Recurse => misbehave::recurse(),
            Action::Fail => Err("told to fail the batch".into()),
            action => {
                let kinds = batch.kinds.clone();
                let mut output = self.obey(&meant, batch);
                misbehave::output(action, &self.config, &self.plan, &kinds, &mut output);
                Ok(output)
            }
        }
    }

    /// Which images the command is about.
    fn meant(&self, batch: &Batch) -> Vec<bool> {
        let rows = 0..batch.rows as usize;
        let Some(when) = &self.config.when else { return rows.map(|_| true).collect() };
        let Some(column) = self.when.map(|at| &batch.columns[at]) else {
            return rows.map(|_| false).collect();
        };
        let joined: Vec<&str> = match &column.data {
            ColumnData::Strings(text) if text.offsets.is_empty() => text.data.split('\0').collect(),
            _ => Vec::new(),
        };
        rows.map(|row| {
            column.state.get(row).is_none_or(|&state| state == 0)
                && match &column.data {
                    ColumnData::Ints(all) => all[row].to_string() == when.equals,
                    ColumnData::Uints(all) => all[row].to_string() == when.equals,
                    ColumnData::Strings(_) if !joined.is_empty() => joined[row] == when.equals,
                    ColumnData::Strings(text) => {
                        let (from, to) = (text.offsets[row] as usize, text.offsets[row + 1] as usize);
                        text.data[from..to] == when.equals
                    }
                    _ => false,
                }
        })
        .collect()
    }

    /// What a well-behaved guest answers: the written columns for every output image.
    fn obey(&self, meant: &[bool], batch: Batch) -> Output {
        let mut output = Output {
            columns: Vec::new(),
            select: None,
            kinds: Vec::new(),
            routes: Vec::new(),
            rejects: Vec::new(),
        };
        let mut kinds = batch.kinds;
        match self.config.action {
            Action::Drop => {
                output.select = Some((0..batch.rows).filter(|&row| !meant[row as usize]).collect())
            }
            Action::FanOut => {
                let times = |row: u32| if meant[row as usize] { self.config.times } else { 1 };
                output.select = Some(
                    (0..batch.rows).flat_map(|row| std::iter::repeat_n(row, times(row) as usize)).collect(),
                );
            }
            Action::Reject => {
                output.rejects = (0..batch.rows)
                    .filter(|&row| meant[row as usize])
                    .map(|row| RowError {
                        row,
                        column: self.plan.read.first().copied(),
                        message: "told to reject".into(),
                    })
                    .collect();
            }
            _ => {}
        }
        let images = output.select.clone().unwrap_or_else(|| (0..batch.rows).collect());
        match self.config.action {
            Action::Route => {
                output.routes = images.iter().map(|&row| u16::from(meant[row as usize])).collect()
            }
            // A deleted row stays, as an update.
            Action::SoftDelete => {
                for (kind, meant) in kinds.iter_mut().zip(meant) {
                    *kind = if *kind == 4 && *meant { 3 } else { *kind };
                }
                output.kinds = kinds;
            }
            // Every change is a new row: before images go, after images are inserts.
            Action::History => {
                let kept: Vec<u32> = images.into_iter().filter(|&row| kinds[row as usize] != 2).collect();
                output.kinds = kept.iter().map(|&row| if kinds[row as usize] == 0 { 0 } else { 1 }).collect();
                output.select = Some(kept);
            }
            _ => {}
        }
        let selected = output.select.clone();
        let rows = selected.as_ref().map_or(batch.rows as usize, Vec::len);
        for written in &self.plan.write {
            if let Some(at) = self.plan.read.iter().position(|&read| read == written.index) {
                output.columns.push(gather(&batch.columns[at], batch.rows, selected.as_deref()));
            } else if let Some(version) = &self.config.version {
                let offsets = (0..=rows).map(|row| (row * version.len()) as u32).collect();
                let data = ColumnData::Strings(Strings { offsets, data: version.repeat(rows) });
                output.columns.push(Column { index: written.index, state: Vec::new(), data });
            }
        }
        output
    }
}

/// The values of the selected images.
fn gather(column: &Column, rows: u32, select: Option<&[u32]>) -> Column {
    let Some(select) = select else { return column.clone() };
    fn pick<T: Copy>(all: &[T], select: &[u32]) -> Vec<T> {
        select.iter().map(|&row| all[row as usize]).collect()
    }
    let data = match &column.data {
        ColumnData::Bools(all) => ColumnData::Bools(pick(all, select)),
        ColumnData::Ints(all) => ColumnData::Ints(pick(all, select)),
        ColumnData::Uints(all) => ColumnData::Uints(pick(all, select)),
        ColumnData::Floats(all) => ColumnData::Floats(pick(all, select)),
        ColumnData::Days(all) => ColumnData::Days(pick(all, select)),
        ColumnData::Micros(all) => ColumnData::Micros(pick(all, select)),
        ColumnData::Uuids(all) => ColumnData::Uuids(
            select.iter().flat_map(|&row| all[row as usize * 16..][..16].to_vec()).collect(),
        ),
        ColumnData::Strings(text) if text.offsets.is_empty() && rows > 0 => {
            let values: Vec<&str> = text.data.split('\0').collect();
            ColumnData::Strings(Strings { offsets: Vec::new(), data: pick(&values, select).join("\0") })
        }
        ColumnData::Strings(text) => {
            let values = |row: u32| {
                &text.data[text.offsets[row as usize] as usize..text.offsets[row as usize + 1] as usize]
            };
            let mut picked = Strings { offsets: vec![0], data: String::new() };
            for &row in select {
                picked.data.push_str(values(row));
                picked.offsets.push(picked.data.len() as u32);
            }
            ColumnData::Strings(picked)
        }
        ColumnData::Blobs(blobs) => {
            let mut picked = Blobs { offsets: vec![0], data: Vec::new() };
            for &row in select {
                picked.data.extend_from_slice(
                    &blobs.data
                        [blobs.offsets[row as usize] as usize..blobs.offsets[row as usize + 1] as usize],
                );
                picked.offsets.push(picked.data.len() as u32);
            }
            ColumnData::Blobs(picked)
        }
    };
    let state = if column.state.is_empty() { Vec::new() } else { pick(&column.state, select) };
    Column { index: column.index, state, data }
}
