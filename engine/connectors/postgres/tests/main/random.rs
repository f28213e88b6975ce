//! Random histories of a table, as a source writes them, through the sink in batches of any size: the target ends like the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use sluice_types::{Change, ColumnType, Event, Row, TableSchema, Value};

use crate::harness::{Place, endpoint_with, line, target};
use crate::sink::schema;

/// A generator of numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The source's table: by key the unique value and two texts.
#[derive(Default)]
struct Source {
    rows: BTreeMap<i64, (i64, String, String)>,
    changes: Vec<Change>,
    next_unique: i64,
    version: u64,
}

impl Source {
    fn image(&self, id: i64) -> Row {
        let (u, a, b) = &self.rows[&id];
        Row::new(vec![id.into(), (*u).into(), a.as_str().into(), b.as_str().into()])
    }

    fn text(&mut self) -> String {
        self.version += 1;
        format!("v{}", self.version)
    }

    fn unique(&mut self) -> i64 {
        self.next_unique += 1;
        self.next_unique
    }

    fn some_key(&self, random: &mut Random) -> Option<i64> {
        let at = random.below(self.rows.len().max(1) as u64) as usize;
        self.rows.keys().nth(at).copied()
    }

    fn insert(&mut self, id: i64, u: Option<i64>) {
        let u = u.unwrap_or_else(|| self.unique());
        let row = (u, self.text(), self.text());
        self.rows.insert(id, row);
        self.changes.push(Change::Insert(self.image(id)));
    }

    /// Changes a row in place; large values that did not change may be left out of the image.
    fn update(&mut self, random: &mut Random, id: i64, change: impl FnOnce(&mut (i64, String, String))) {
        let old = self.rows[&id].clone();
        change(self.rows.get_mut(&id).unwrap());
        let mut values = self.image(id).values().to_vec();
        let new = &self.rows[&id];
        if new.1 == old.1 && random.chance(70) {
            values[2] = Value::Absent;
        }
        if new.2 == old.2 && random.chance(70) {
            values[3] = Value::Absent;
        }
        let key = Row::new(vec![id.into(), Value::Absent, Value::Absent, Value::Absent]);
        let before = random.chance(50).then_some(key);
        self.changes.push(Change::Update { before, after: Row::new(values) });
    }

    fn delete(&mut self, id: i64) -> i64 {
        self.changes.push(Change::Delete(self.image(id)));
        self.rows.remove(&id).unwrap().0
    }

    fn step(&mut self, random: &mut Random) {
        let (new, some) = (random.below(60) as i64, self.some_key(random));
        match (random.below(100), some) {
            (0..30, _) if !self.rows.contains_key(&new) => self.insert(new, None),
            (0..55, Some(id)) => {
                let text = self.text();
                self.update(random, id, |row| row.1 = text);
            }
            (55..62, Some(id)) => {
                let (u, text) = (self.unique(), self.text());
                self.update(random, id, |row| (row.0, row.2) = (u, text));
            }
            (62..75, Some(id)) => drop(self.delete(id)),
            // The row's unique value goes on to another row at once.
            (75..80, Some(id)) => {
                let u = self.delete(id);
                if !self.rows.contains_key(&new) {
                    self.insert(new, Some(u));
                }
            }
            // Two rows exchange their unique values by way of a free one.
            (80..88, Some(id)) => {
                let Some(other) = self.some_key(random).filter(|other| *other != id) else { return };
                let (a, b, free) = (self.rows[&id].0, self.rows[&other].0, self.unique());
                self.update(random, id, |row| row.0 = free);
                self.update(random, other, |row| row.0 = a);
                self.update(random, id, |row| row.0 = b);
            }
            (88..98, Some(id)) if !self.rows.contains_key(&new) => {
                let row = self.rows.remove(&id).unwrap();
                self.rows.insert(new, row);
                let mut values = self.image(new).values().to_vec();
                if random.chance(50) {
                    values[2..].fill(Value::Absent);
                }
                let before = Row::new(vec![id.into(), Value::Absent, Value::Absent, Value::Absent]);
                self.changes.push(Change::Update { before: Some(before), after: Row::new(values) });
            }
            (98, _) if random.chance(20) => {
                self.rows.clear();
                self.changes.push(Change::Truncate);
            }
            _ => {}
        }
    }
}

fn table() -> Arc<TableSchema> {
    use ColumnType::{Int64, Text};
    schema("t", "other", 1, &[("id", Int64, ""), ("u", Int64, ""), ("a", Text, ""), ("b", Text, "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn any_history_ends_like_its_source() {
    for (sql, fire) in [
        ("CREATE TABLE t(id bigint PRIMARY KEY, u bigint NOT NULL UNIQUE, a text, b text)", false),
        ("CREATE TABLE t(id bigint PRIMARY KEY, u bigint NOT NULL UNIQUE DEFERRABLE, a text, b text)", true),
        // A domain: rows go as one array per column. And a type that goes by text.
        (
            "CREATE DOMAIN d AS text; CREATE TABLE t(id numeric PRIMARY KEY, u bigint UNIQUE, a d, b xml)",
            false,
        ),
        (
            "CREATE TABLE t(id bigint PRIMARY KEY, u bigint, a text, b text) PARTITION BY HASH (id);
             CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            false,
        ),
    ] {
        let place = Place::with(sql);
        let endpoint = endpoint_with(json!({ "url": place.url(), "fire_triggers": fire }));
        let schema = table();
        let mut sink = endpoint.sink(&line("p")).await.unwrap();
        sink.prepare(&[target(&schema)]).await.unwrap();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut source = Source::default();
        for round in 0..60 {
            let steps = [1, 3, 20, 300][random.below(4) as usize];
            for _ in 0..steps {
                source.step(&mut random);
            }
            let changes = std::mem::take(&mut source.changes);
            let events: Vec<Event> = changes
                .into_iter()
                .enumerate()
                .map(|(at, change)| Event::new(schema.clone(), change, 0, at as u64))
                .collect();
            let mut transaction = sink.begin().await.unwrap();
            for part in events.chunks(1 + random.below(400) as usize) {
                transaction.savepoint().await.unwrap();
                if random.chance(20) {
                    // Written, undone, and written again.
                    transaction.write(part).await.unwrap();
                    transaction.rollback_to_savepoint().await.unwrap();
                }
                let written = transaction.write(part).await.unwrap();
                assert_eq!(written.partial, [0; 0], "round {round}");
            }
            transaction.commit().await.unwrap();
            let expected: Vec<String> =
                source.rows.iter().map(|(id, (u, a, b))| format!("{id}|{u}|{a}|{b}")).collect();
            assert_eq!(place.rows("SELECT * FROM t ORDER BY id"), expected, "round {round}");
        }
    }
}
