//! What the state promises, with the real file, other processes and a folder that resists.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod child;
mod conflicts;
mod faults;
mod keeps;

use std::path::Path;
use std::sync::Arc;

use sluice_store::Store;
use sluice_types::{
    Change, Column, ColumnType, DeadLetter, DeadLetterId, Digest, Event, Position, Reason, Row, Secret,
    TableId, TableSchema, Value,
};

/// A key: base64 of 32 bytes, all the same letter.
fn key(letter: char) -> Option<Secret> {
    Some(Secret::new(format!("{}=", letter.to_string().repeat(43))))
}

fn open(dir: &Path) -> Store {
    Store::open(dir, None).unwrap()
}

/// A dead letter whose row and guest text hold `secret`.
fn letter(pipeline: &str, table: &str, number: i64, secret: &str) -> DeadLetter {
    let column =
        |name: &str, ty, slot| Column { name: name.into(), ty, native: "".into(), nullable: true, slot };
    let schema = Arc::new(TableSchema {
        table: TableId::new("", table),
        database: "a".into(),
        kind: "sqlite".into(),
        version: 1,
        columns: vec![column("id", ColumnType::Int64, 0), column("name", ColumnType::Text, 1)],
        key: vec![0],
        before_images: false,
    });
    let change = Change::Insert(Row::new(vec![Value::Int64(number), secret.into()]));
    let event = Event::new(schema.clone(), change, 0, 0);
    let position = Position::from_number(number as u64, number.to_string());
    DeadLetter {
        pipeline: pipeline.into(),
        id: DeadLetterId::of(&event, &position),
        number: 0,
        keys: vec![event.source_keys().0.unwrap()],
        position,
        event,
        reason: Reason {
            code: "plugin-reject".into(),
            what: "refused".into(),
            plugin: Some(("check".into(), Digest::of(b"check"))),
            column: Some("name".into()),
            guest_text: Some(format!("bad: {secret}")),
        },
        recorded_micros: 7,
    }
}

/// Everything that lies in the folder, as bytes.
fn all_bytes(dir: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(dir).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
