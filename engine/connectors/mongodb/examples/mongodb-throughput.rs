//! How fast rows get into MongoDB, against a bare loop of raw documents in the same transactions. On a private server, in turns:
//!
//! ```text
//! cargo run --release -p sluice-mongodb --example mongodb-throughput -- [ROWS] [ROWS_PER_TRANSACTION]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{
    Binary, DateTime, Decimal128, RawArrayBuf, RawBson, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype,
};
use mongodb::options::WriteConcern;
use mongodb::{Client, ClientSession, Collection};
use serde_json::json;
use sluice_kit::statement::TableDef;
use sluice_mongodb::Connector;
use sluice_servers::Mongo;
use sluice_types::ports::{Clock, Connector as _, LineContext, Sink, SpillRoom, TargetTable};
use sluice_types::{
    Change, Checkpoint, ColumnType, Event, Position, Row, Settings, SnapshotProgress, TableId, TableSchema,
    Value,
};

/// Times that each side runs.
const TURNS: usize = 3;

struct Now;

#[async_trait::async_trait]
impl Clock for Now {
    fn now_micros(&self) -> i64 {
        0
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn schema() -> Arc<TableSchema> {
    use ColumnType::*;
    let mut def = TableDef::new(&TableId::new("", "rows")).column("id", Int64);
    for number in 0..4 {
        def = def.column(&format!("int_{number}"), Int64).column(&format!("text_{number}"), Text);
        def = def.column(&format!("at_{number}"), Timestamptz);
    }
    def = def.column("price", Decimal).column("share", Float64).column("active", Boolean);
    def = def.column("uid", Uuid).column("data", Bytes).column("note", Text).column("born", Date);
    def.key(&["id"]).schema("shop", "postgres")
}

fn text(id: i64, number: i64) -> String {
    format!("text number {number} of row {id} with some words in it")
}

fn row(id: i64, turn: i64) -> Row {
    let mut row = Row::with_columns(20);
    row.push(Value::Int64(id));
    for number in 0..4 {
        row.push(Value::Int64(id * 7 + number + turn));
        row.push(Value::Text(text(id, number).into()));
        row.push(Value::Timestamptz((1_700_000_000_000 + id) * 1000));
    }
    row.push(Value::Decimal(format!("{}.{:02}", id, id % 100).into()));
    row.push(Value::Float64(id as f64 / 3.0));
    row.push(Value::Bool(id % 2 == 0));
    row.push(Value::Uuid([id as u8; 16]));
    row.push(Value::Bytes(vec![id as u8; 32].into()));
    row.push(Value::Text("a note of some length, as people write them, ".repeat(2).into()));
    row.push(Value::Date((id % 20_000) as i32));
    row
}

/// What a program would write by hand.
fn document(row: &Row, schema: &TableSchema) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (column, value) in schema.columns.iter().zip(row.values()) {
        let name = if &*column.name == "id" { "_id" } else { &*column.name };
        match value {
            Value::Int64(number) => document.append(name, *number),
            Value::Text(text) => document.append_ref(name, &**text),
            Value::Timestamptz(micros) => document.append(name, DateTime::from_millis(micros / 1000)),
            Value::Date(days) => document.append(name, DateTime::from_millis(i64::from(*days) * 86_400_000)),
            Value::Decimal(digits) => document.append(name, digits.parse::<Decimal128>().unwrap()),
            Value::Float64(number) => document.append(name, *number),
            Value::Bool(truth) => document.append(name, *truth),
            Value::Uuid(bytes) => {
                document.append(name, Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() })
            }
            Value::Bytes(bytes) => {
                document.append(name, Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
            }
            other => panic!("{other:?}"),
        }
    }
    document
}

fn checkpoint(at: u64) -> Checkpoint {
    Checkpoint {
        pipeline: "p".into(),
        install: "i".into(),
        source: "s".into(),
        epoch: 1,
        position: Position::from_number(at, at.to_string()),
        part: 0,
        snapshot: SnapshotProgress::default(),
        plugins: Default::default(),
    }
}

/// The bare loop.
struct Bare {
    session: ClientSession,
    rows: Collection<RawDocumentBuf>,
}

impl Bare {
    async fn begin(&mut self) {
        let mut concern = WriteConcern::majority();
        concern.journal = Some(true);
        self.session.start_transaction().write_concern(concern).await.unwrap();
    }

    async fn commit(&mut self, at: u64) {
        let database = self.session.client().database("bare");
        let save = doc! { "update": "checkpoint", "updates": [{ "q": { "_id": "p" }, "u": { "$set": { "at": at as i64 } }, "upsert": true }] };
        database.run_command(save).session(&mut self.session).await.unwrap();
        self.session.commit_transaction().await.unwrap();
    }

    async fn insert(&mut self, rows: &[Row], schema: &TableSchema, at: u64) {
        self.begin().await;
        let documents: Vec<RawDocumentBuf> = rows.iter().map(|row| document(row, schema)).collect();
        self.rows.insert_many(&documents).session(&mut self.session).await.unwrap();
        self.commit(at).await;
    }

    async fn replace(&mut self, rows: &[Row], schema: &TableSchema, at: u64) {
        self.begin().await;
        for rows in rows.chunks(10_000) {
            let mut updates = RawArrayBuf::new();
            for row in rows {
                let document = document(row, schema);
                let id = document.get_i64("_id").unwrap();
                let mut update = rawdoc! { "q": { "_id": id } };
                update.append("u", document);
                update.append("upsert", true);
                updates.push(update);
            }
            let mut command = rawdoc! { "update": "rows" };
            command.append("updates", RawBson::Array(updates));
            let database = self.session.client().database("bare");
            database.run_raw_command(command).session(&mut self.session).await.unwrap();
        }
        self.commit(at).await;
    }

    async fn delete(&mut self, rows: &[Row], at: u64) {
        self.begin().await;
        let mut deletes = RawArrayBuf::new();
        for row in rows {
            let Value::Int64(id) = row.get(0) else { panic!() };
            deletes.push(rawdoc! { "q": { "_id": *id }, "limit": 1 });
        }
        let mut command = rawdoc! { "delete": "rows" };
        command.append("deletes", RawBson::Array(deletes));
        let database = self.session.client().database("bare");
        database.run_raw_command(command).session(&mut self.session).await.unwrap();
        self.commit(at).await;
    }
}

async fn ours(sink: &mut Box<dyn Sink>, events: &[Event], at: u64) {
    let mut tx = sink.begin().await.unwrap();
    tx.write(events).await.unwrap();
    tx.save(&checkpoint(at), (at > 1).then_some(1)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (rows, per) = (arguments.next().unwrap_or(100_000), arguments.next().unwrap_or(10_000));
    let server = Mongo::start();
    let schema = schema();
    let mut settings = Settings::new("", json!({ "url": server.url(), "database": "ours" }));
    let endpoint = Connector.parse("d", &mut settings, Path::new("/")).unwrap();
    let line = LineContext {
        pipeline: "p".into(),
        install: "i".into(),
        clock: Arc::new(Now),
        spill: SpillRoom::new("spill", 0),
    };
    let mut sink = endpoint.sink(&line).await.unwrap();
    sink.prepare(&[TargetTable { schema: schema.clone(), path: String::new() }]).await.unwrap();
    let client = Client::with_uri_str(server.url()).await.unwrap();
    let database = client.database("bare");
    for name in ["rows", "checkpoint"] {
        database.create_collection(name).await.unwrap();
    }
    let mut bare = Bare { session: client.start_session().await.unwrap(), rows: database.collection("rows") };

    println!("{rows} rows, {per} in a transaction; rows per second");
    println!("{:<10}{:>12}{:>12}{:>10}", "", "bare", "sluice", "ratio");
    let (mut at, mut sums) = (0u64, [[0.0f64; 2]; 3]);
    for turn in 0..TURNS as i64 {
        let all: Vec<Row> = (0..rows as i64).map(|id| row(id, turn)).collect();
        for (kind, name) in ["insert", "replace", "delete"].iter().enumerate() {
            let mut seconds = [0.0f64; 2];
            for some in all.chunks(per) {
                at += 1;
                let change = |row: &Row| match kind {
                    0 => Change::Insert(row.clone()),
                    1 => Change::Update { before: None, after: row.clone() },
                    _ => Change::Delete(row.clone()),
                };
                let events: Vec<Event> =
                    some.iter().map(|row| Event::new(schema.clone(), change(row), 0, 0)).collect();
                // In turns, so that what else the machine does is the same for both.
                for side in [(at % 2) as usize, 1 - (at % 2) as usize] {
                    let started = Instant::now();
                    match (side, kind) {
                        (0, 0) => bare.insert(some, &schema, at).await,
                        (0, 1) => bare.replace(some, &schema, at).await,
                        (0, _) => bare.delete(some, at).await,
                        _ => ours(&mut sink, &events, at).await,
                    }
                    seconds[side] += started.elapsed().as_secs_f64();
                }
            }
            for side in 0..2 {
                sums[kind][side] += seconds[side];
            }
            let rate = |seconds: f64| rows as f64 / seconds;
            println!(
                "{name:<10}{:>12.0}{:>12.0}{:>10.2}",
                rate(seconds[0]),
                rate(seconds[1]),
                seconds[0] / seconds[1]
            );
        }
    }
    for (name, [bare, ours]) in ["insert", "replace", "delete"].iter().zip(sums) {
        println!("{name:<10} all turns: ratio {:.2}", bare / ours);
    }
}
