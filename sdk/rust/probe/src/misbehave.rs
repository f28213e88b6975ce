//! What a guest may not do.

use std::hint::black_box;

use sluice_sdk::raw::*;

use crate::config::{Action, Config};

pub fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns).wrapping_add(1);
    }
}

pub fn allocate() -> ! {
    loop {
        std::mem::forget(black_box(vec![1u8; 1 << 20]));
    }
}

pub fn recurse() -> ! {
    #[allow(unconditional_recursion)]
    fn deeper(depth: u64) -> u64 {
        let here = black_box([depth; 64]);
        black_box(deeper(here[3] + 1)) + here[1]
    }
    deeper(0);
    unreachable!()
}

/// Spoils a plan.
pub fn plan(action: Action, table: &TableInfo, plan: &mut Plan) {
    let beyond = table.columns.len() as u32 + 7;
    match action {
        Action::PlanReadsUnknown => plan.read.push(beyond),
        Action::PlanReadsTwice => plan.read.push(plan.read[0]),
        Action::PlanWritesUnknown => plan.write[0].index = beyond,
        Action::PlanWritesTwice => plan.write.push(plan.write[0].clone()),
        Action::PlanRenamesToExisting => plan.rename.push((0, table.columns[1].name.clone())),
        Action::PlanDropsUnknown => plan.drop.push(beyond),
        Action::PlanFromUnknown => plan.write[0].from.push(beyond),
        _ => {}
    }
}

/// Spoils an answer.
pub fn output(action: Action, config: &Config, plan: &Plan, kinds: &[u8], output: &mut Output) {
    let rows = kinds.len();
    let reject = |row: u32| RowError { row, column: None, message: "told to reject".into() };
    match action {
        Action::ShortColumn => resize(&mut output.columns[0].data, -1),
        Action::LongColumn => resize(&mut output.columns[0].data, 1),
        Action::WrongType => {
            let column = &mut output.columns[0];
            column.data = match column.data {
                ColumnData::Ints(_) => ColumnData::Floats(vec![0.5; rows]),
                _ => ColumnData::Ints(vec![7; rows]),
            };
        }
        Action::UndeclaredColumn => output.columns[0].index = plan.write.len() as u32 + 1000,
        Action::ColumnTwice => output.columns.push(output.columns[0].clone()),
        Action::BadState => output.columns[0].state = vec![7; rows],
        Action::ShortState => output.columns[0].state = vec![0; rows.saturating_sub(1).max(1) + 2],
        Action::BadBool => output.columns[0].data = ColumnData::Bools(vec![2; rows]),
        Action::DescendingOffsets => offsets(output, |offsets| offsets.reverse()),
        Action::OffsetsBeyondEnd => {
            offsets(output, |offsets| offsets.iter_mut().for_each(|at| *at += 1_000_000))
        }
        Action::FirstOffsetNotZero => offsets(output, |offsets| offsets[0] = 1),
        Action::OffsetsInCharacter => {
            let data = "é".repeat(rows);
            let offsets = (0..=rows as u32)
                .map(|row| if row == 0 || row == rows as u32 { row * 2 } else { row * 2 - 1 });
            let mut offsets: Vec<u32> = offsets.collect();
            if rows == 1 {
                offsets = vec![0, 1];
            }
            output.columns[0].data = ColumnData::Strings(Strings { offsets, data });
        }
        Action::JoinedCount => {
            output.columns[0].data =
                ColumnData::Strings(Strings { offsets: Vec::new(), data: "\0".repeat(rows + 3) });
        }
        Action::DescendingSelect => {
            let mut select: Vec<u32> = (0..rows as u32).rev().collect();
            if rows == 1 {
                select = vec![0, 1];
            }
            output.select = Some(select);
        }
        Action::SelectBeyondEnd => {
            if let Some(last) = output.select.get_or_insert_with(|| (0..rows as u32).collect()).last_mut() {
                *last = rows as u32;
            }
        }
        Action::SelectUndeclared => output.select = Some((0..rows as u32).collect()),
        Action::ShortKinds => output.kinds = vec![1; rows + 1],
        Action::BadKind => output.kinds = vec![9; rows],
        Action::KindsUndeclared => output.kinds = kinds.to_vec(),
        Action::ShortRoutes => output.routes = vec![0; rows + 1],
        Action::BadRoute => output.routes = vec![2; rows],
        Action::RejectBeyondEnd => output.rejects.push(reject(rows as u32)),
        Action::RejectUnknownColumn => output.rejects.push(RowError { column: Some(1000), ..reject(0) }),
        Action::TooManyRejects => output.rejects = (0..config.times).map(|_| reject(0)).collect(),
        Action::LongReject => {
            output.rejects.push(RowError { message: "x".repeat(config.times as usize), ..reject(0) });
        }
        Action::AliasedRejects => {
            let text = shared_text();
            output.rejects =
                (0..config.times).map(|_| RowError { message: alias(text), ..reject(0) }).collect();
        }
        Action::AliasedColumns => {
            let text = shared_text();
            output.columns = (0..config.times)
                .map(|_| {
                    let data = Strings { offsets: vec![0, text.len() as u32], data: alias(text) };
                    Column { index: plan.write[0].index, state: Vec::new(), data: ColumnData::Strings(data) }
                })
                .collect();
        }
        Action::HugeOutput => {
            let each = config.times as usize;
            let offsets = (0..=rows).map(|row| (row * each) as u32).collect();
            let data = ColumnData::Strings(Strings { offsets, data: "x".repeat(rows * each) });
            output.columns[0] = Column { index: output.columns[0].index, state: Vec::new(), data };
        }
        _ => {}
    }
}

fn shared_text() -> &'static str {
    Box::leak("x".repeat(1 << 20).into_boxed_str())
}

/// A string that owns memory which others own too. Freed more than once, if the host gets so far: that is the sandbox's problem.
fn alias(text: &'static str) -> String {
    // SAFETY: none. The point is to answer with lists that overlap, which safe code can't make.
    unsafe { String::from_raw_parts(text.as_ptr().cast_mut(), text.len(), text.len()) }
}

fn offsets(output: &mut Output, spoil: impl FnOnce(&mut Vec<u32>)) {
    for column in &mut output.columns {
        if let ColumnData::Strings(text) = &mut column.data {
            spoil(&mut text.offsets);
            return;
        }
    }
}

/// One value too few or too many.
fn resize(data: &mut ColumnData, by: isize) {
    fn to<T: Clone + Default>(all: &mut Vec<T>, by: isize, each: isize) {
        all.resize((all.len() as isize + by * each).max(0) as usize, T::default());
    }
    match data {
        ColumnData::Bools(all) => to(all, by, 1),
        ColumnData::Ints(all) => to(all, by, 1),
        ColumnData::Uints(all) => to(all, by, 1),
        ColumnData::Floats(all) => to(all, by, 1),
        ColumnData::Days(all) => to(all, by, 1),
        ColumnData::Micros(all) => to(all, by, 1),
        ColumnData::Uuids(all) => to(all, by, 16),
        ColumnData::Strings(text) => one_offset(&mut text.offsets, text.data.len(), by),
        ColumnData::Blobs(blobs) => one_offset(&mut blobs.offsets, blobs.data.len(), by),
    }
}

fn one_offset(offsets: &mut Vec<u32>, end: usize, by: isize) {
    if by > 0 {
        offsets.push(end as u32);
    } else if offsets.len() > 1 {
        offsets.remove(offsets.len() - 2);
    }
}
