//! PostgreSQL to MongoDB, beside a bare loop that writes ready rows as raw documents in the same transactions.

use std::process::Command;
use std::time::Instant;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::options::{Acknowledgment, TransactionOptions, WriteConcern};
use mongodb::{Client, ClientSession};
use sluice_servers::Mongo;

use crate::Bench;
use crate::data::mix;
use crate::measure::server_cpu;
use crate::postgres::{SOURCE, Servers, config, settings};
use crate::race::{Race, Run};
use crate::table::{Limit, Table};

/// Bytes of documents in one transaction of the loop: what a batch of sluice grows to.
const TRANSACTION_BYTES: usize = 8 << 20;

/// Documents in one command.
const COMMAND_ROWS: usize = 1000;

const ROUNDS: usize = 2;

/// The MongoDB part.
pub fn run(bench: &Bench, table: &mut Table) {
    let servers = Servers::start(bench.rows);
    let mongo = Mongo::start();
    let dir = bench.dir.join("mongodb");
    std::fs::create_dir(&dir).expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut race = Race::new(format!("snapshot of {} rows, PG to MongoDB", bench.rows), bench.rows);
    for _ in 0..ROUNDS {
        mongo.command("bare", doc! { "dropDatabase": 1 });
        let (before, own, started) =
            (server_cpu(mongo.pid()), crate::measure::cpu_seconds(std::process::id()), Instant::now());
        runtime.block_on(bare(&mongo.url(), bench.rows)).expect("the loop");
        let run = Run {
            wall: started.elapsed().as_secs_f64(),
            engine: crate::measure::cpu_seconds(std::process::id()) - own,
            target: server_cpu(mongo.pid()) - before,
            ..Run::default()
        };
        race.ran("bare RawDocumentBuf loop", run);
        assert_eq!(mongo.count("bare", "customers"), bench.rows);

        mongo.command("copied", doc! { "dropDatabase": 1 });
        mongo.command("sluice", doc! { "dropDatabase": 1 });
        let _ = std::fs::remove_dir_all(dir.join("state"));
        let target = format!("{{ kind: mongodb, url: \"{}\", database: copied }}", mongo.url());
        let config = config(&dir, &settings(&servers.source, SOURCE), &target, "");
        let (before, source) = (server_cpu(mongo.pid()), server_cpu(servers.source.pid()));
        let mut sync = Command::new(&bench.sluice);
        let usage = crate::measure::run(sync.args(["sync", "--drop-slot", "-c"]).arg(&config));
        let run = Run {
            wall: usage.wall,
            engine: usage.cpu,
            source: server_cpu(servers.source.pid()) - source,
            target: server_cpu(mongo.pid()) - before,
            rss_mib: usage.rss_mib,
        };
        race.ran("sluice sync", run);
        assert_eq!(mongo.count("copied", "customers"), bench.rows);
    }
    race.print("bare RawDocumentBuf loop");
    let ratio = race.ratio("sluice sync", "bare RawDocumentBuf loop");
    table.add("mongodb", "PG to MongoDB / bare loop", ratio, "x", Limit::Least(0.8), "rate against rate");
    table.show("mongodb", "engine's CPU", race.engine_cpu("sluice sync"), "s/Mrow");
    table.add("mongodb", "peak RSS", race.racer("sluice sync").rss_mib(), "MiB", Limit::Most(128.0), "");
}

/// Writes as many documents as there are rows, in transactions of [`TRANSACTION_BYTES`], each with a checkpoint.
async fn bare(url: &str, rows: u64) -> mongodb::error::Result<()> {
    let client = Client::with_uri_str(url).await?;
    client.database("bare").create_collection("customers").await?;
    client.database("bare").create_collection("checkpoint").await?;
    let mut session = client.start_session().await?;
    let mut next = 1;
    while next <= rows {
        let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let options = TransactionOptions::builder().write_concern(durable).build();
        session.start_transaction().with_options(options).await?;
        let mut bytes = 0;
        while next <= rows && bytes < TRANSACTION_BYTES {
            let last = rows.min(next + COMMAND_ROWS as u64 - 1);
            let mut documents = RawArrayBuf::new();
            for id in next..=last {
                documents.push(document(id));
            }
            bytes += documents.as_bytes().len();
            command(
                &client,
                &mut session,
                rawdoc! { "insert": "customers", "documents": documents, "ordered": false },
            )
            .await?;
            next = last + 1;
        }
        let position =
            rawdoc! { "q": { "_id": "p" }, "u": { "_id": "p", "position": next as i64 }, "upsert": true };
        command(&client, &mut session, rawdoc! { "update": "checkpoint", "updates": [position] }).await?;
        session.commit_transaction().await?;
    }
    Ok(())
}

async fn command(
    client: &Client,
    session: &mut ClientSession,
    command: RawDocumentBuf,
) -> mongodb::error::Result<()> {
    client.database("bare").run_raw_command(command).session(session).await.map(drop)
}

/// A document like that of a row of the PostgreSQL table.
fn document(id: u64) -> RawDocumentBuf {
    let r = mix(id);
    let text = |salt: u64, length: usize| -> String {
        let mut text = format!("{:016x}", mix(r ^ salt)).repeat(length / 16 + 1);
        text.truncate(length);
        text
    };
    let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
    let decimal: mongodb::bson::Decimal128 =
        format!("{}.{:02}", r % 100_000, r % 100).parse().expect("a number");
    let mut document = RawDocumentBuf::new();
    document.append("_id", id as i64);
    document.append("external_id", binary(BinarySubtype::Uuid, &u128::from(r).to_be_bytes()));
    document.append("first_name", text(2, 9));
    document.append("last_name", text(3, 12));
    document.append("email", format!("User.{}@Example{}.com", r % 1_000_003, r % 97));
    document.append("phone", text(4, 14));
    document.append("street", text(5, 32));
    document.append("city", text(6, 12));
    document.append("country", "NL");
    document.append("amount", (r % 1_000_000).to_string());
    document.append("balance", decimal);
    document.append("score", id as f64 / 3.0);
    document.append("visits", (r % 500) as i64);
    document.append("flags", (r % 16) as i64);
    document.append("parent", (r % 100_003) as i64);
    document.append("active", !r.is_multiple_of(3));
    document.append("created", DateTime::from_millis(id as i64 * 1000));
    document.append("updated", DateTime::from_millis(id as i64 * 60_000));
    document.append("profile", rawdoc! { "tags": [(r % 10) as i64, text(7, 3)], "notes": text(8, 128) });
    document.append("avatar", binary(BinarySubtype::Generic, text(9, 32).as_bytes()));
    document
}
