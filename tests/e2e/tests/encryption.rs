//! Columns that are sealed on their way, opened again by who has the key, and hashed.

use std::path::Path;

use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;

/// Base64 of 32 bytes each.
const OLD: &str = "c2x1aWNlLWUyZS1vbGQta2V5LTMyLWJ5dGVzLWxvbmc=";
const NEW: &str = "c2x1aWNlLWUyZS1uZXcta2V5LTMyLWJ5dGVzLWxvbmc=";

/// `copy` seals and hashes into `target.db`, `back` opens from there into `back.db`.
fn configuration(keys: &str, copy_ops: &str) -> String {
    format!(
        "version: 1
state: {{ dir: ./state, key: \"{NEW}\" }}
service: {{ listen: \"127.0.0.1:0\" }}
plugins: {{ dir: ./plugins }}
keys: {{ pii: {keys} }}
databases:
  source: {{ kind: sqlite, path: ./source.db }}
  target: {{ kind: sqlite, path: ./target.db }}
  back: {{ kind: sqlite, path: ./back.db }}
pipelines:
  copy:
    source: source
    target: target
    tables:
      - from: people
        transform:
          - plugin: encryption
            config: {{ key: pii, columns: [ssn] }}
            grant: {{ crypto: {{ keys: [pii], ops: [{copy_ops}] }} }}
          - plugin: encryption
            config: {{ key: pii, mode: hash, columns: [email] }}
            grant: {{ crypto: {{ keys: [pii], ops: [hash] }} }}
  back:
    source: target
    target: back
    tables:
      - from: people
        transform:
          - plugin: encryption
            config: {{ key: pii, mode: open, columns: {{ ssn: text }}, sealed: {{ pipeline: copy }} }}
            grant: {{ crypto: {{ keys: [pii], ops: [open] }} }}
"
    )
}

fn people(site: &Site, rows: &str) {
    site.source().execute_batch(&format!("INSERT INTO people VALUES {rows}")).expect("rows can be added");
}

fn values(site: &Site, file: &str, column: &str) -> Vec<String> {
    let connection = site.open(file);
    let query = format!("SELECT coalesce({column}, 'null') FROM people ORDER BY id");
    let Ok(mut statement) = connection.prepare(&query) else { return vec![] }; // not made yet
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("text")
}

/// Every file below a folder.
fn contents(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        all.extend(if path.is_dir() { contents(&path) } else { std::fs::read(&path).unwrap_or_default() });
    }
    all
}

#[test]
fn sealed_on_the_way_and_opened_by_who_has_the_key() {
    let site = Site::new();
    site.source()
        .execute_batch("CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, ssn TEXT)")
        .expect("a table can be made");
    people(&site, "(1, 'ann@x.org', '123-45-6789'), (2, 'bob@x.org', NULL)");

    // A grant that does not fit is told before a row is read.
    site.write("sluice.yaml", configuration(&format!("\"{OLD}\""), "hash"));
    site.sluice(&["check"])
        .ended_with(1)
        .says(&["pipelines.copy.tables[0].transform[0].config.key", "keys: [pii], ops: [seal]"]);

    site.write("sluice.yaml", configuration(&format!("\"{OLD}\""), "seal"));
    // The table that the way back begins at has to be there before it: a line whose table is missing waits for somebody.
    site.sluice(&["sync", "copy"]).ended_with(0);
    let serve = Serve::start(&site);
    let opened = |expected: &[&str]| {
        wait::until("the values to be opened", || {
            wait::when(values(&site, "back.db", "ssn"), |found| found == expected)
        });
    };
    opened(&["123-45-6789", "null"]);
    let before = values(&site, "target.db", "ssn");
    assert!(before[0].len() > 40 && !before[0].contains("6789") && before[1] == "null", "{before:?}");

    // The key is changed while it runs: what is new has the new one, what is old still opens.
    site.write("sluice.yaml", configuration(&format!("{{ seal: \"{NEW}\", open: [\"{OLD}\"] }}"), "seal"));
    assert_eq!(serve.post("/api/v1/reload").status, 200);
    people(&site, "(3, 'ann@x.org', '987-65-4321')");
    opened(&["123-45-6789", "null", "987-65-4321"]);
    let after = values(&site, "target.db", "ssn");
    assert_eq!(after[..2], before[..], "what was there is not written again");
    // AQ == version and the first bits of the key's id.
    assert_ne!(after[0][..6], after[2][..6], "the id of the key is another");
    let hashes = values(&site, "target.db", "email");
    assert!(hashes.iter().all(|hash| hash.len() == 64 && !hash.contains('@')), "{hashes:?}");
    assert_ne!(hashes[0], hashes[2], "another key, another hash");
    serve.stop();

    let kept = [contents(&site.path("state")), site.log().into_bytes()].concat();
    for key in [OLD, NEW] {
        let raw = &b"sluice-e2e-old-key-32-bytes-long"[..];
        let raw =
            if key == OLD { raw.to_vec() } else { String::from_utf8_lossy(raw).replace("old", "new").into() };
        for secret in [key.as_bytes(), &raw] {
            assert!(
                !kept.windows(secret.len()).any(|window| window == secret),
                "a key is in the state or a log"
            );
        }
    }
}
