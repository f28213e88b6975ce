//! What the sink does in a transaction can be prepared instead of committed: a temporary table would forbid it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::json;
use sluice_servers::{Postgres, PostgresOptions};
use sluice_types::{Change, Row, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{endpoint_with, line, target};
use crate::sink::{events, numbers, row, update, write};

const COMMIT: &[u8] = b"COMMIT\0";
const PREPARE: &[u8] = b"PREPARE TRANSACTION 'sluice'\0";

/// Hands on what the client says, with its first commit after `from` turned into a prepare.
async fn hand_on(
    mut client: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
    armed: Arc<AtomicBool>,
) -> io::Result<()> {
    // The first message has no tag: the start of the session.
    let mut tag = None;
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        let commits = tag == Some(b'Q') && body.ends_with(COMMIT);
        if commits && armed.swap(false, Relaxed) {
            body.truncate(body.len() - COMMIT.len());
            body.extend(PREPARE);
        }
        if let Some(tag) = tag {
            server.write_u8(tag).await?;
        }
        server.write_u32(body.len() as u32 + 4).await?;
        server.write_all(&body).await?;
        tag = Some(client.read_u8().await?);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_does_can_be_prepared() {
    let server = tokio::task::spawn_blocking(|| {
        let conf = vec!["max_prepared_transactions = 2".to_string()];
        Postgres::start_with(PostgresOptions { conf, ..PostgresOptions::default() })
    });
    let server = server.await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = (listener.local_addr().unwrap().port(), server.port());
    let armed = Arc::new(AtomicBool::new(false));
    let switch = armed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", there)).await.unwrap();
            let ((from_client, mut to_client), (mut from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(hand_on(from_client, to_server, switch.clone()));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });

    let url = server.url_at(here, "postgres", "postgres");
    let endpoint = endpoint_with(json!({ "url": url, "tls": { "mode": "disable" } }));
    let schema = numbers("t");
    let mut sink = endpoint.sink(&line("p")).await.unwrap();
    sink.prepare(&[target(&schema)]).await.unwrap();
    write(&mut sink, &events(&schema, (0..10).map(|id| Change::Insert(row(id, id, "old"))))).await.unwrap();

    // A copy, an update, an upsert, a delete, a change of a key: each of the ways of writing.
    let mut changes: Vec<Change> = (1000..30_000).map(|id| Change::Insert(row(id, id, "new"))).collect();
    let partial = Row::new(vec![2.into(), Value::Absent, "part".into()]);
    changes.extend([
        update(None, row(1, 1, "changed")),
        update(None, partial),
        Change::Insert(row(3, 3, "again")),
    ]);
    changes.extend([Change::Delete(row(4, 4, "old")), update(Some(row(5, 5, "old")), row(50, 5, "moved"))]);
    let mut transaction = sink.begin().await.unwrap();
    transaction.write(&events(&schema, changes)).await.unwrap();
    armed.store(true, Relaxed);
    transaction.commit().await.unwrap();

    let one = |sql: &str| server.one("postgres", sql);
    assert_eq!(one("SELECT string_agg(gid, ',') FROM pg_prepared_xacts"), "sluice");
    assert_eq!(one("SELECT count(*) FROM t"), "10", "nothing of it is to be seen yet");
    server.sql("postgres", "COMMIT PREPARED 'sluice'");
    assert_eq!(one("SELECT count(*) FROM t"), (10 + 29_000 - 1).to_string());
    let found =
        one("SELECT string_agg(id || ' ' || a, ', ' ORDER BY id) FROM t WHERE id < 1000 AND a <> 'old'");
    assert_eq!(found, "1 changed, 2 part, 3 again, 50 moved");
}
