//! Servers that die, step down, lose replies or say nothing: what was acknowledged is there, what was not is not, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_servers::bson::{Bson, Document, doc};
use sluice_servers::{Mongo, MongoOptions, Proxy};
use sluice_types::ports::{Endpoint, Sink, SinkTx};
use sluice_types::{Checkpoint, Disposition, Error, ErrorKind};

use crate::harness::{checkpoint, endpoint, insert, line, table, target};

/// A server of its own, for one that is going to suffer.
struct Suffering {
    server: Mongo,
    endpoint: Arc<dyn Endpoint>,
}

impl Suffering {
    fn start(settings: serde_json::Value) -> Self {
        let arguments = ["--setParameter", "enableTestCommands=1"].map(String::from).into();
        let server = Mongo::start_with(MongoOptions { arguments, ..MongoOptions::default() });
        let endpoint = endpoint(&server.url(), "app", settings);
        Suffering { server, endpoint }
    }

    async fn sink(&self) -> Box<dyn Sink> {
        self.endpoint.sink(&line()).await.unwrap()
    }

    /// A sink whose line stands at 1 and has row 1.
    async fn begun(&self) -> Box<dyn Sink> {
        let mut sink = self.sink().await;
        sink.prepare(&[target(&table("t"))]).await.unwrap();
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, 1, None).await;
        tx.commit().await.unwrap();
        sink
    }

    /// The rows and where the checkpoint stands, as a new sink finds them.
    async fn found(&self) -> (usize, u64) {
        let checkpoint = self.sink().await.checkpoint(&"p".into()).await.unwrap().unwrap();
        (self.server.find("app", "t").len(), checkpoint.position.number().unwrap())
    }

    fn fail_commit(&self, mode: impl Into<Bson>, how: Document) {
        let mut data = doc! { "failCommands": ["commitTransaction"] };
        data.extend(how);
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        self.server.command("admin", command);
    }
}

/// Row and checkpoint of a number.
async fn fill(tx: &mut dyn SinkTx, number: i64, expected: Option<u64>) {
    tx.write(&[insert(&table("t"), number, "x", number)]).await.unwrap();
    tx.save(&checkpoint(number as u64), expected).await.unwrap();
}

fn assert_retried(error: &Error) {
    assert_eq!(error.disposition(), Disposition::Retry, "{error}");
}

/// Who is logged in stays so; who has to log in anew is refused, which pauses the line (nothing heals it but somebody), and with the
/// right password it goes on where it stood.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_pauses_the_line_until_it_is_given() {
    let role = doc! { "role": "readWrite", "db": "app" };
    let writer = doc! { "createUser": "writer", "pwd": "w", "roles": [role], "$db": "app" };
    let server =
        Mongo::start_with(MongoOptions { auth: true, users: vec![writer], ..MongoOptions::default() });
    let url = |password: &str| {
        let url = server.url().replace("root:secret@", &format!("writer:{password}@"));
        url.replace("authSource=admin", "authSource=app")
    };
    let (old, new) = (endpoint(&url("w"), "app", json!({})), endpoint(&url("new"), "app", json!({})));
    let mut place = Suffering { endpoint: old, server };
    let mut sink = place.begun().await;
    let root = mongodb::Client::with_uri_str(place.server.url()).await.unwrap();
    root.database("app").run_command(doc! { "updateUser": "writer", "pwd": "new" }).await.unwrap();
    let mut tx = sink.begin().await.unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    tx.commit().await.unwrap();

    place.server.restart();
    let refused = async {
        let mut tx = sink.begin().await?;
        tx.write(&[insert(&table("t"), 3, "x", 3)]).await
    };
    let first = refused.await.unwrap_err();
    // The connections that broke are tried again; that is what the next session of the line does.
    let again = async { place.endpoint.sink(&line()).await?.checkpoint(&"p".into()).await };
    let again = again.await.unwrap_err();
    assert!(matches!(first.disposition(), Disposition::Pause | Disposition::Retry), "{first}");
    assert_eq!(
        (again.kind(), again.disposition()),
        (ErrorKind::Authentication, Disposition::Pause),
        "{again}"
    );
    assert!(!again.to_string().contains("writer:w"), "{again}");

    place.endpoint = new;
    for number in [3, 4] {
        let mut sink = place.sink().await;
        let stands = sink.checkpoint(&"p".into()).await.unwrap().unwrap();
        assert_eq!(stands.position.number(), Some(number - 1));
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, number as i64, Some(1)).await;
        tx.commit().await.unwrap();
    }
}

/// Whether or not the driver tries once more by itself: the line does, after a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_shutting_down_is_waited_for() {
    let place = Suffering::start(json!({ "retry_reads": true }));
    let mut sink = place.begun().await;
    let data = doc! { "failCommands": ["find"], "errorCode": 91 };
    let command = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    place.server.command("admin", command);
    if let Err(error) = sink.checkpoint(&"p".into()).await {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert_retried(&error);
    }
    assert_eq!(place.found().await, (1, 1));
}

/// Its user may do no more than read and write.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_engine_has_left_open_is_ended_by_the_next() {
    let role = doc! { "role": "readWrite", "db": "app" };
    let writer = doc! { "createUser": "writer", "pwd": "w", "roles": [role], "$db": "app" };
    let server =
        Mongo::start_with(MongoOptions { auth: true, users: vec![writer], ..MongoOptions::default() });
    let url = server.url().replace("root:secret@", "writer:w@").replace("authSource=admin", "authSource=app");
    let engine = || endpoint(&url, "app", json!({}));
    let place = Suffering { endpoint: engine(), server };
    drop(place.begun().await);
    // One that had only just taken it over, too.
    let mut dead = engine().sink(&line()).await.unwrap();
    let mut tx = dead.begin().await.unwrap();
    tx.checkpoint(&"p".into()).await.unwrap().unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    std::mem::forget(tx);

    let began = Instant::now();
    let mut sink = engine().sink(&line()).await.unwrap();
    sink.prepare(&[]).await.unwrap();
    let mut tx = sink.begin().await.unwrap();
    assert_eq!(tx.checkpoint(&"p".into()).await.unwrap().unwrap().epoch, 1);
    fill(&mut *tx, 2, Some(1)).await;
    tx.commit().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let found = sink.checkpoint(&"p".into()).await.unwrap().unwrap();
    assert_eq!(found.position.number(), Some(2));
}

/// A network may bring a command late: it begins a transaction again in a session that was ended, and nobody ends that one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_late_command_has_begun_is_ended_when_the_line_is_taken_up_again() {
    let place = Suffering::start(json!({}));
    drop(place.begun().await);
    let noted = |place: &Suffering| -> Document {
        let found: Vec<Document> = place.server.find("app", "sluice_checkpoint");
        found.iter().find_map(|found| found.get_document("session").ok()).unwrap().clone()
    };
    let first = noted(&place);
    let engine = endpoint(&place.server.url(), "app", json!({}));
    let mut sink = engine.sink(&line()).await.unwrap();
    let mut tx = sink.begin().await.unwrap();
    tx.checkpoint(&"p".into()).await.unwrap().unwrap();
    let late = doc! {
        "insert": "t", "documents": [{ "_id": 2_i64 }],
        "lsid": first.clone(), "txnNumber": 99_i64, "startTransaction": true, "autocommit": false,
    };
    place.server.command("app", late);
    let error = tx.write(&[insert(&table("t"), 2, "x", 2)]).await.unwrap_err();
    assert_retried(&error);
    drop(tx);
    drop(sink);

    let began = Instant::now();
    let mut sink = engine.sink(&line()).await.unwrap();
    let mut tx = sink.begin().await.unwrap();
    tx.checkpoint(&"p".into()).await.unwrap().unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    tx.commit().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_ne!(noted(&place), first);
    assert_eq!(place.found().await, (2, 2));
}

/// What others hold in the cache meanwhile is not this line's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_is_waited_for() {
    let place = Suffering::start(json!({}));
    let mut sink = place.begun().await;
    let data = doc! { "failCommands": ["insert", "update"], "errorCode": 388 };
    let fail = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    place.server.command("admin", fail);
    let mut tx = sink.begin().await.unwrap();
    let error = tx.write(&[insert(&table("t"), 2, "x", 2)]).await.unwrap_err();
    assert_retried(&error);
    assert!(error.to_string().contains("TransactionTooLargeForCache"), "{error}");
}

/// Two lines of one process: the driver may give the session that the first has left to the second.
#[tokio::test]
async fn a_session_that_another_line_writes_in_is_not_ended() {
    let place = Suffering::start(json!({}));
    drop(place.begun().await);
    // The driver takes the session back in a task of its own.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut other = place.sink().await;
    let mut tx = other.begin().await.unwrap();
    let of_the_other = Checkpoint { pipeline: "q".into(), ..checkpoint(1) };
    tx.save(&of_the_other, None).await.unwrap();
    tx.commit().await.unwrap();
    let found: Vec<Document> = place.server.find("app", "sluice_checkpoint");
    let sessions: Vec<_> = found.iter().filter_map(|found| found.get_document("session").ok()).collect();
    assert_eq!(sessions.len(), 2, "{found:?}");
    assert_eq!(sessions[0], sessions[1], "the session was not given on, so nothing is shown");

    let mut tx = other.begin().await.unwrap();
    tx.write(&[insert(&table("t"), 7, "x", 7)]).await.unwrap();
    let mut sink = place.sink().await;
    let mut claim = sink.begin().await.unwrap();
    claim.checkpoint(&"p".into()).await.unwrap().unwrap();
    drop(claim);
    tx.write(&[insert(&table("t"), 8, "x", 8)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(place.server.find("app", "t").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_a_transaction_has_none_of_it() {
    let place = Suffering::start(json!({}));
    let mut sink = place.begun().await;
    let mut tx = sink.begin().await.unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    place.server.kill();
    place.server.start_again();
    assert_retried(&tx.commit().await.unwrap_err());
    assert_eq!(place.found().await, (1, 1));
    // The line opens a new sink; even the old one would do.
    for mut sink in [sink, place.sink().await] {
        let (rows, at) = place.found().await;
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, at as i64 + 1, Some(1)).await;
        tx.commit().await.unwrap();
        assert_eq!(place.found().await, (rows + 1, at + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_nine() {
    let place = Suffering::start(json!({}));
    let mut sink = place.begun().await;
    for number in 2..5 {
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, number, Some(1)).await;
        tx.commit().await.unwrap();
        place.server.kill();
        place.server.start_again();
        assert_eq!(place.found().await, (number as usize, number as u64));
        sink = place.sink().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_steps_down_is_waited_for() {
    let place = Suffering::start(json!({}));
    let mut sink = place.begun().await;
    let mut tx = sink.begin().await.unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    // A set of one member has nobody to hand over to: it is its own next primary.
    place.server.command("admin", doc! { "replSetStepDown": 1, "force": true });
    assert_retried(&tx.commit().await.unwrap_err());
    let until = Instant::now() + Duration::from_secs(30);
    let mut sink = loop {
        match place.endpoint.sink(&line()).await.unwrap().prepare(&[target(&table("t"))]).await {
            Ok(()) => break place.sink().await,
            Err(error) => assert_retried(&error),
        }
        assert!(Instant::now() < until, "no primary");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(place.found().await, (1, 1));
    let mut tx = sink.begin().await.unwrap();
    fill(&mut *tx, 2, Some(1)).await;
    tx.commit().await.unwrap();
    assert_eq!(place.found().await, (2, 2));
}

/// The driver asks for a commit twice; after that it is for us to know.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_is_asked_for_until_it_is_known() {
    let place = Suffering::start(json!({}));
    let mut sink = place.begun().await;
    let lost = doc! { "closeConnection": true };
    let late = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    for (number, times, how) in [(2, 1, &lost), (3, 3, &lost), (4, 3, &late)] {
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, number, Some(1)).await;
        place.fail_commit(doc! { "times": times }, how.clone());
        tx.commit().await.unwrap();
        assert_eq!(place.found().await, (number as usize, number as u64), "{how}");
    }
}

/// And if nobody answers in time, the checkpoint tells what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_tells_of_an_unknown_commit() {
    let place = Suffering::start(json!({ "timeouts": { "commit_ms": 400, "select_ms": 5000 } }));
    let lost = doc! { "closeConnection": true };
    let late = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    drop(place.begun().await);
    let mut at = 1;
    for (how, worked) in [(lost, false), (late, true)] {
        let mut sink = place.sink().await;
        let mut tx = sink.begin().await.unwrap();
        fill(&mut *tx, at + 1, Some(1)).await;
        place.fail_commit("alwaysOn", how.clone());
        assert_retried(&tx.commit().await.unwrap_err());
        place.fail_commit("off", doc! {});
        drop(sink);
        // Who takes the line over waits for a commit that is still on its way, and goes on from where it is then.
        let mut sink = place.sink().await;
        let until = Instant::now() + Duration::from_secs(30);
        let found = loop {
            match sink.begin().await.unwrap().checkpoint(&"p".into()).await {
                Ok(found) => break found.unwrap(),
                Err(error) => assert_retried(&error),
            }
            assert!(Instant::now() < until, "the transaction before never ended");
        };
        at += i64::from(worked);
        assert_eq!(found.position.number(), Some(at as u64), "{how}");
        assert_eq!(place.found().await, (at as usize, at as u64), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let server = Mongo::shared();
    let database = server.database("silent");
    let proxy = Proxy::to(server.port());
    let timeouts =
        json!({ "timeouts": { "operation_ms": 400, "commit_ms": 400, "select_ms": 400, "connect_ms": 400 } });
    let endpoint = endpoint(&server.url_at(proxy.port()), &database, timeouts);
    let mut sink = endpoint.sink(&line()).await.unwrap();
    sink.prepare(&[target(&table("t"))]).await.unwrap();
    let mut tx = sink.begin().await.unwrap();
    fill(&mut *tx, 1, None).await;
    proxy.stall(true);
    let started = Instant::now();
    let error = tx.commit().await.unwrap_err();
    assert_retried(&error);
    let mut tx = sink.begin().await.unwrap();
    assert_retried(&tx.write(&[insert(&table("t"), 2, "x", 2)]).await.unwrap_err());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop(tx);
    proxy.stall(false);
    proxy.cut();
}

/// Cut at any byte of what goes up or comes down: the line comes to know, and ends right.
#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_anywhere_lose_and_double_nothing() {
    let server = Mongo::shared();
    let database = server.database("cut");
    let proxy = Proxy::to(server.port());
    let timeouts = json!({ "timeouts": { "operation_ms": 5000, "commit_ms": 5000, "select_ms": 5000 } });
    let endpoint = endpoint(&server.url_at(proxy.port()), &database, timeouts);
    let t = table("t");
    let mut sink = endpoint.sink(&line()).await.unwrap();
    sink.prepare(&[target(&t)]).await.unwrap();
    let (mut at, mut failures) = (0u64, 0);
    for attempt in 0..60u64 {
        let direction =
            if attempt % 2 == 0 { sluice_servers::Direction::Up } else { sluice_servers::Direction::Down };
        proxy.cut_after(direction, 1 + attempt * 97 % 1_500);
        let next = at + 1;
        let tried = async {
            let mut tx = sink.begin().await?;
            // The same claim as a line makes: it waits for what an earlier one has left.
            tx.checkpoint(&"p".into()).await?;
            tx.write(&[insert(&t, next as i64, "x", 1)]).await?;
            tx.save(&checkpoint(next), (at > 0).then_some(1)).await?;
            tx.commit().await
        };
        let tried = tried.await;
        if let Err(error) = &tried {
            assert_retried(error);
            failures += 1;
            sink = loop {
                match endpoint.sink(&line()).await {
                    Ok(sink) => break sink,
                    Err(error) => assert_retried(&error),
                }
            };
        }
        // What the checkpoint says is what is there: no more, no less.
        let found = loop {
            let mut tx = sink.begin().await.unwrap();
            match tx.checkpoint(&"p".into()).await {
                Ok(found) => break found.map_or(0, |found| found.position.number().unwrap()),
                Err(error) => assert_retried(&error),
            }
        };
        assert!(found == next || (found == at && tried.is_err()), "{found} after {at}");
        assert_eq!(server.find(&database, "t").len() as u64, found);
        at = found;
    }
    assert!(failures > 5 && at > 5, "{failures} failures, {at} written");
}

#[tokio::test]
async fn an_error_of_the_target_is_told_with_its_database() {
    let endpoint =
        endpoint("mongodb://127.0.0.1:1/?replicaSet=rs0", "app", json!({ "timeouts": { "select_ms": 300 } }));
    let error = endpoint.sink(&line()).await.err().unwrap();
    assert_eq!(
        (error.kind(), error.place().database.as_deref()),
        (ErrorKind::Unreachable, Some("d")),
        "{error}"
    );
    assert!(error.to_string().contains("127.0.0.1:1/app"), "{error}");
}
