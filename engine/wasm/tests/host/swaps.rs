//! Replacing plugins under a line (I8), and what a restart runs (I11).

use std::sync::Arc;
use std::time::Duration;

use sluice_guests::guest;
use sluice_types::ports::Swapped;
use sluice_types::{Change, Digest, ErrorKind, TableSchema, Value};
use sluice_wasm::{Compiler, StepSpec, SwapReport};

use crate::support::{Line, TestHost, insert, people, spec};

fn v1() -> &'static [u8] {
    guest("tag-v1")
}
fn v2() -> &'static [u8] {
    guest("tag-v2")
}
fn wider() -> &'static [u8] {
    guest("tag-wider")
}

fn tag() -> Vec<StepSpec> {
    vec![StepSpec::new("tag", "{}", "p")]
}

/// Takes over at a batch boundary, as a line does; whether a version changed.
pub async fn boundary(line: &mut Line) -> bool {
    let changed = line.transform.take_over().await.unwrap();
    if changed {
        line.outputs = line.transform.open(&line.table, &line.table).await.unwrap().outputs;
    }
    changed
}

/// The version that writes a row now.
async fn writes(line: &mut Line) -> String {
    let made = line.apply(vec![insert(1, "Ann")]).await.unwrap();
    let Change::Insert(row) = &made.events[0].change else { panic!("{:?}", made.events) };
    let at = line.outputs[0].column_index("version").unwrap();
    match &line.values(row)[at] {
        Value::Text(version) => version.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn running(host: &TestHost) -> (TestHostLine, Arc<TableSchema>) {
    let table = people();
    host.put("tag", v1());
    let mut line = host.open(&table, tag()).await.unwrap();
    assert_eq!(writes(&mut line).await, "v1");
    (line, table)
}
type TestHostLine = Line;

fn assert_outcome(report: &SwapReport, outcome: Swapped, says: &str) {
    assert_eq!(report.outcome, outcome, "{report:?}");
    assert!(report.why.contains(says), "{report:?}");
}

#[tokio::test]
async fn a_good_version_takes_over_at_a_batch_boundary() {
    let host = TestHost::new().await;
    let (mut line, _) = running(&host).await;
    host.put("tag", v2());
    let report = host.host.swap("tag", false).await.unwrap();
    assert_outcome(&report, Swapped::Promoted, "passed");
    assert_eq!(report.pipelines, ["p"]);
    assert_eq!((report.from, report.to), (Some(Digest::of(v1())), Digest::of(v2())));
    // Not before the boundary.
    assert_eq!(writes(&mut line).await, "v1");
    assert_eq!(line.transform.versions()["tag"], Digest::of(v1()));
    assert!(boundary(&mut line).await);
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(line.transform.versions()["tag"], Digest::of(v2()));
    assert!(!boundary(&mut line).await, "once");
    assert_eq!(host.host.metrics().swaps, 1);
}

#[tokio::test]
async fn a_bad_version_is_kept_out_and_reported() {
    let host = TestHost::new().await;
    let (mut line, _) = running(&host).await;
    let half = &v2()[..v2().len() / 2];
    for (bytes, says) in [
        (b"not wasm".as_slice(), "not a valid WebAssembly component"),
        (half, "not a valid WebAssembly component"),
        (guest("resolver"), "does not implement the world"),
        (guest("rust-forbidden"), "wasi:clocks"),
        // it does not know this configuration
        (sluice_guests::PROBE, "configuration"),
        // it drops a column of the target
        (wider(), "drops the target's column `note`"),
    ] {
        host.put("tag", bytes);
        let report = host.host.swap("tag", true).await.unwrap();
        assert_outcome(&report, Swapped::Refused, says);
        assert!(!boundary(&mut line).await);
        assert_eq!(writes(&mut line).await, "v1");
    }
    assert_eq!(host.host.metrics().refusals, 6);
    let list = host.host.list().await.unwrap();
    let tag = list.iter().find(|plugin| plugin.name == "tag").unwrap();
    assert_eq!(tag.digest, Some(Digest::of(v1())));
    assert_eq!(tag.used_by, ["p"]);
    assert_eq!(tag.candidate.as_ref().unwrap().outcome, Swapped::Refused);
    assert_eq!(tag.candidate.as_ref().unwrap().digest, Some(Digest::of(wider())));
}

/// The probe in the place of the probe: what it does is in its configuration, so a candidate traps on rows, not at open.
#[tokio::test]
async fn a_candidate_is_probed_with_recent_rows() {
    let host = TestHost::new().await;
    let table = people();
    let echo = |config: &str| vec![StepSpec::new("probe", config, "p")];
    let mut line = host.open(&table, echo(r#"{"do":"echo","read":["name"]}"#)).await.unwrap();
    line.apply(vec![insert(1, "Ann"), insert(2, "Bob")]).await.unwrap();
    for (config, kind) in [
        (r#"{"do":"trap","read":["name"]}"#, ErrorKind::PluginTrap),
        (r#"{"do":"short-column","read":["name"]}"#, ErrorKind::PluginOutput),
        (r#"{"do":"reject","read":["name"]}"#, ErrorKind::PluginReject),
        (r#"{"do":"config-errors"}"#, ErrorKind::PluginConfig),
        (r#"{"do":"nothing","drop":["note"]}"#, ErrorKind::PluginRefused),
    ] {
        let error = line.chains.reconfigure(spec(echo(config))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{config}: {error}");
        assert!(!boundary(&mut line).await);
    }
    line.chains.reconfigure(spec(echo(r#"{"do":"nothing","version":"new"}"#))).await.unwrap();
    assert!(boundary(&mut line).await);
    assert_eq!(writes(&mut line).await, "new");
}

#[tokio::test]
async fn a_version_that_wants_more_waits_for_a_person() {
    let host = TestHost::new().await;
    let table = people();
    // Only the table without a column that `wider` would drop: it reads more, and that is all.
    let table = Arc::new(TableSchema { columns: table.columns[..1].to_vec(), ..(*table).clone() });
    host.put("tag", v1());
    let mut line = host.open(&table, tag()).await.unwrap();
    let row = || Change::Insert(sluice_types::Row::new(vec![Value::Int64(1)]));
    line.apply(vec![row()]).await.unwrap();
    host.put("tag", wider());
    let report = host.host.swap("tag", false).await.unwrap();
    assert_outcome(&report, Swapped::Waiting, "reads `id`");
    assert!(!boundary(&mut line).await);
    let list = host.host.list().await.unwrap();
    let waiting = list.iter().find(|plugin| plugin.name == "tag").unwrap().candidate.clone().unwrap();
    assert_eq!(waiting.outcome, Swapped::Waiting);
    let report = host.host.swap("tag", true).await.unwrap();
    assert_outcome(&report, Swapped::Promoted, "reads `id`");
    assert!(boundary(&mut line).await);
    line.apply(vec![row()]).await.unwrap();
}

#[tokio::test]
async fn a_restart_runs_what_ran_before() {
    let host = TestHost::new().await;
    let (_line, table) = running(&host).await;
    host.put("tag", v2());
    // No swap: the process dies, and the folder has another file now.
    let host = host.restarted().await;
    let mut line = host.open(&table, tag()).await.unwrap();
    assert_eq!(writes(&mut line).await, "v1");
    host.host.swap("tag", false).await.unwrap();
    // It dies again, before the line reached a boundary; and the file is gone.
    std::fs::remove_file(host.folder.path().join("tag.wasm")).unwrap();
    let host = host.restarted().await;
    let mut line = host.open(&table, tag()).await.unwrap();
    assert_eq!(writes(&mut line).await, "v2");
    let report = host.host.rollback("tag", None).await.unwrap();
    assert_outcome(&report, Swapped::Promoted, "passed");
    assert!(boundary(&mut line).await);
    assert_eq!(writes(&mut line).await, "v1");
    let host = host.restarted().await;
    let mut line = host.open(&table, tag()).await.unwrap();
    assert_eq!(writes(&mut line).await, "v1");
}

/// Waits until `done`, which an event of the file system brings about.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let all = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_folder_is_watched() {
    let host = TestHost::new().await;
    let (mut line, table) = running(&host).await;
    let _watcher = host.host.watch().unwrap();
    host.put("tag", b"not wasm");
    eventually("the bad file is refused", async || host.host.metrics().refusals == 1).await;
    // Half of the file, then the rest: never loaded half.
    let path = host.folder.path().join("tag.wasm");
    std::fs::write(&path, v2()).unwrap();
    eventually("the good file is taken", async || boundary(&mut line).await).await;
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(host.host.metrics().refusals, 1);
    drop(_watcher);

    // The bad file comes back while nobody looks: it is known, and not tried again.
    host.put("tag", b"not wasm");
    let host = host.restarted().await;
    let mut line = host.open(&table, tag()).await.unwrap();
    let _watcher = host.host.watch().unwrap();
    host.put("tag", v1());
    eventually("the next file is taken", async || boundary(&mut line).await).await;
    assert_eq!(writes(&mut line).await, "v1");
    assert_eq!(host.host.metrics().refusals, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_half_written_file_is_not_loaded() {
    use std::io::Write;
    let host = TestHost::new().await;
    let (mut line, _) = running(&host).await;
    let _watcher = host.host.watch().unwrap();
    let mut file = std::fs::File::create(host.folder.path().join("tag.wasm")).unwrap();
    for part in v2().chunks(v2().len() / 8 + 1) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    drop(file);
    eventually("the whole file is taken", async || boundary(&mut line).await).await;
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(host.host.metrics().refusals, 0);
}

/// What runs stays what runs, also in the history, when the version that was to come back is refused.
#[tokio::test]
async fn a_refused_rollback_puts_nothing_out() {
    let host = TestHost::new().await;
    let (mut line, _) = running(&host).await;
    host.put("tag", v2());
    host.host.swap("tag", false).await.unwrap();
    assert!(boundary(&mut line).await);
    let outcomes = async || -> Vec<(Digest, Swapped)> {
        let history = host.state.plugin_history(Some("tag")).await.unwrap();
        history.iter().map(|version| (version.digest, version.outcome)).collect()
    };
    host.put("tag", wider());
    let report = host.host.rollback("tag", Some(Digest::of(wider()))).await.unwrap();
    assert_outcome(&report, Swapped::Refused, "drops the target's column `note`");
    assert_eq!(outcomes().await[0], (Digest::of(wider()), Swapped::Refused));
    assert!(outcomes().await.iter().all(|(_, outcome)| *outcome != Swapped::RolledBack));
    host.host.rollback("tag", Some(Digest::of(v1()))).await.unwrap();
    let put_back = [(Digest::of(v1()), Swapped::Promoted), (Digest::of(v2()), Swapped::RolledBack)];
    assert_eq!(outcomes().await[..2], put_back);
    assert!(boundary(&mut line).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_beyond_the_limit_is_a_refused_candidate() {
    let host = TestHost::new().await;
    let (_line, table) = running(&host).await;
    let large = std::fs::File::create(host.folder.path().join("incoming")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    std::fs::rename(host.folder.path().join("incoming"), host.folder.path().join("tag.wasm")).unwrap();
    // It keeps nobody from running what ran.
    let host = host.restarted().await;
    let mut line = host.open(&table, tag()).await.unwrap();
    let _watcher = host.host.watch().unwrap();
    eventually("it is refused", async || host.host.metrics().refusals == 1).await;
    let list = host.host.list().await.unwrap();
    let candidate = list.iter().find(|plugin| plugin.name == "tag").unwrap().candidate.clone().unwrap();
    assert_eq!((candidate.digest, candidate.outcome), (None, Swapped::Refused));
    assert!(candidate.why.contains("the limit is 67108864"), "{}", candidate.why);
    host.put("other", b"so that the folder is looked at again");
    host.put("tag", v2());
    eventually("the next file is taken", async || boundary(&mut line).await).await;
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(host.host.metrics().refusals, 1, "once");
    assert_eq!(host.host.list().await.unwrap()[0].candidate, None);
}

/// A compiler that breaks says nothing about the candidate.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn own_trouble_is_no_refusal_and_the_file_is_tried_again() {
    let cache = tempfile::tempdir().unwrap();
    let first = TestHost::new().await;
    let host = async |compiler| {
        let cache = cache.path().to_path_buf();
        TestHost::compiling(first.state.clone(), first.folder.clone(), cache, compiler).await
    };
    let working = host(Compiler::InProcess).await;
    working.host.inspect(v1().into()).await.unwrap();
    working.host.inspect(sluice_guests::PROBE.into()).await.unwrap();
    let asked = cache.path().join("asked");
    let script = format!(": > '{}'; exit 3", asked.display());
    let broken =
        host(Compiler::Child { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }).await;
    let (mut line, _) = running(&broken).await;
    let _watcher = broken.host.watch().unwrap();
    broken.put("tag", v2());
    eventually("the compiler is asked", async || asked.exists()).await;
    assert_eq!(broken.host.metrics().refusals, 0);
    // From here on nothing has to be compiled any more: the trouble is over.
    working.host.inspect(v2().into()).await.unwrap();
    eventually("the file is tried again", async || boundary(&mut line).await).await;
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(broken.host.metrics().refusals, 0);
}

#[tokio::test]
async fn a_file_replaces_a_shipped_plugin_only_when_told_to() {
    let host = TestHost::new().await;
    let table = people();
    host.put("probe", v1());
    let step = |config: &str| StepSpec::new("probe", config, "p");
    // the probe knows this configuration, the tagging plugin takes any
    let config = r#"{"do":"nothing","version":"probe"}"#;
    let mut shipped = host.open(&table, vec![step(config)]).await.unwrap();
    assert_eq!(writes(&mut shipped).await, "probe");
    let mut replaced =
        host.open(&table, vec![StepSpec { override_shipped: true, ..step(config) }]).await.unwrap();
    assert_eq!(writes(&mut replaced).await, "v1");
    let digest = Some(Digest::of(v1()));
    let mut pinned = host.open(&table, vec![StepSpec { digest, ..step(config) }]).await.unwrap();
    assert_eq!(writes(&mut pinned).await, "v1");
    // A pinned step is never swapped, the overridden one is.
    host.put("probe", v2());
    host.host.swap("probe", false).await.unwrap();
    assert!(!boundary(&mut pinned).await && !boundary(&mut shipped).await);
    assert!(boundary(&mut replaced).await);
    assert_eq!(writes(&mut replaced).await, "v2");
}

/// Both came while the line stood still: the later one does not undo the earlier one.
#[tokio::test]
async fn a_swap_keeps_a_configuration_that_waits_for_its_boundary() {
    let host = TestHost::new().await;
    let (mut line, _) = running(&host).await;
    let echo = StepSpec::new("probe", r#"{"do":"echo","read":["name"]}"#, "q");
    line.chains.reconfigure(spec([tag(), vec![echo]].concat())).await.unwrap();
    host.put("tag", v2());
    assert_outcome(&host.host.swap("tag", false).await.unwrap(), Swapped::Promoted, "passed");
    assert!(boundary(&mut line).await);
    assert_eq!(writes(&mut line).await, "v2");
    assert_eq!(line.chains.lineage()[0].steps.len(), 2);
}
