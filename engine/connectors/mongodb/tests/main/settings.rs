//! What the connection settings do, as the server sees it.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sluice_servers::bson::{Document, doc};
use sluice_servers::{Mongo, MongoOptions};
use sluice_types::ports::Sink;
use sluice_types::{Disposition, ErrorKind};

use crate::harness::{checkpoint, endpoint, insert, line, table, target};

const APP: &str = "the shop's";

/// A server that notes every command on the database, and fails where it is told to.
fn noting() -> Mongo {
    let arguments = ["--setParameter", "enableTestCommands=1"].map(String::from).into();
    let server = Mongo::start_with(MongoOptions { arguments, ..MongoOptions::default() });
    server.command("app", doc! { "profile": 2 });
    server
}

/// Commands of this application fail so.
fn fail(server: &Mongo, mode: Document, command: &str, how: Document) {
    let mut data = doc! { "failCommands": [command], "appName": APP };
    data.extend(how);
    server.command("admin", doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
}

async fn sink(server: &Mongo, mut settings: Json) -> Box<dyn Sink> {
    settings["application_name"] = APP.into();
    let mut sink = endpoint(&server.url(), "app", settings).sink(&line()).await.unwrap();
    sink.prepare(&[target(&table("t"))]).await.unwrap();
    sink
}

async fn write(sink: &mut Box<dyn Sink>) {
    let mut tx = sink.begin().await.unwrap();
    tx.write(&[insert(&table("t"), 1, "x", 1)]).await.unwrap();
    tx.save(&checkpoint(1), None).await.unwrap();
    tx.commit().await.unwrap();
}

/// Only the primary is there: what would be read elsewhere would find nobody.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_the_name_and_goes_to_the_primary() {
    let server = noting();
    for preference in ["primary", "secondary"] {
        let settings = json!({ "read_preference": preference, "timeouts": { "select_ms": 2000 } });
        let mut sink = sink(&server, settings).await;
        if preference == "primary" {
            write(&mut sink).await;
        }
        assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), Some(checkpoint(1)), "{preference}");
    }
    let noted = server.find("app", "system.profile");
    let command = |document: &Document| document.get_document("command").cloned().unwrap_or_default();
    let of_tables = |document: &&Document| {
        let ns = document.get_str("ns").unwrap_or_default();
        ["app.t", "app.sluice_checkpoint"].contains(&ns)
    };
    let ours: Vec<_> = noted.iter().filter(of_tables).collect();
    assert!(ours.len() >= 3, "{noted:#?}");
    for document in ours {
        assert_eq!(document.get_str("appName"), Ok(APP), "{document:#?}");
        let command = command(document);
        let preference = command.get_document("$readPreference").and_then(|mode| mode.get_str("mode"));
        // A primary is what a command goes to that says nothing.
        assert!(preference.is_err() || preference == Ok("primary"), "{command:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_and_a_write_that_fail_once_are_tried_again_unless_that_is_switched_off() {
    let server = noting();
    // A router that did not reach its shard says so; the connection and the server remain what they were.
    let once = || (doc! { "times": 1 }, doc! { "errorCode": 6 });
    for retries in [true, false] {
        let mut sink = sink(
            &server,
            json!({ "retry_reads": retries, "retry_writes": retries, "timeouts": { "select_ms": 9000 } }),
        )
        .await;
        let (mode, how) = once();
        fail(&server, mode, "find", how);
        let read = sink.checkpoint(&"p".into()).await;
        assert_eq!(read.is_ok(), retries, "{read:?}");
        let (mode, how) = once();
        fail(&server, mode, "delete", how);
        let written = sink.forget(&"p".into()).await;
        assert_eq!(written.is_ok(), retries, "{written:?}");
        for error in read.err().into_iter().chain(written.err()) {
            assert_eq!(error.disposition(), Disposition::Retry, "the line tries again itself: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_given_up_in_time() {
    let server = noting();
    let mut sink = sink(&server, json!({ "timeouts": { "operation_ms": 500, "select_ms": 5000 } })).await;
    fail(&server, doc! { "times": 1 }, "find", doc! { "blockConnection": true, "blockTimeMS": 20_000 });
    let begun = Instant::now();
    let error = sink.checkpoint(&"p".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let took = begun.elapsed();
    assert!((Duration::from_millis(450)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(sink.checkpoint(&"p".into()).await.unwrap(), None, "and the next one is answered");
}

/// The system accepts for it; nobody ever reads or answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_accepts_and_says_nothing_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", silent.local_addr().unwrap().port());
    let timeouts = json!({ "timeouts": { "connect_ms": 300, "select_ms": 1000 } });
    let begun = Instant::now();
    let opened = async { endpoint(&url, "app", timeouts).sink(&line()).await?.checkpoint(&"p".into()).await };
    let error = opened.await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
