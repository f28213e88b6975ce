//! What every language is asked besides: that it is there whole, and that it can be swapped under load (I8). The other tests of this
//! program run over all languages too, where they are about what a guest does ([`TestHost::every_language`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_guests::{folder, guest, languages, names};
use sluice_types::ports::Swapped;
use sluice_types::{Change, Digest, Value};
use sluice_wasm::StepSpec;
use tokio::sync::watch;

use crate::support::{Line, TestHost, insert, people, spec};
use crate::swaps::boundary;

/// A line may stand still this long for a swap, whatever the plugin is written in.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// Row images per batch.
const ROWS: i64 = 200;

/// A language is a folder with an `sdk.toml`, and nothing of it is left untested.
#[test]
fn every_sdk_has_a_probe_a_template_and_a_readme() {
    let sdks = folder("rust-probe").unwrap().parent().unwrap().parent().unwrap();
    let mut known = 0;
    for sdk in std::fs::read_dir(sdks).unwrap() {
        let sdk = sdk.unwrap().path();
        if sdk.join("sdk.toml").exists() {
            let language = sdk.file_name().unwrap().to_str().unwrap();
            for kind in ["probe", "template"] {
                assert!(names().any(|name| name == format!("{language}-{kind}")), "{language} has no {kind}");
            }
            assert!(sdk.join("README.md").exists(), "{language} has no README.md");
            known += 1;
        }
    }
    assert_eq!(languages().count(), known);
}

/// The same component with another digest: a custom section is nobody's business.
pub fn another(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend_from_slice(b"\x00\x05\x04mark");
    bytes
}

/// What wrote a batch: the version by its digest, and by what its configuration lets it write into each row.
type Writer = (Digest, String);

/// One batch, of which every row has to be there once and written by the same version.
async fn batch(line: &mut Line) -> Writer {
    let made = line.apply((0..ROWS).map(|id| insert(id, "Änn")).collect()).await.unwrap();
    let at = line.outputs[0].column_index("version").unwrap();
    let mut versions = Vec::new();
    for (id, event) in (0..).zip(&made.events) {
        let Change::Insert(row) = &event.change else { panic!("{event:?}") };
        let values = line.values(row);
        assert_eq!(values[0], Value::Int64(id));
        let Value::Text(version) = &values[at] else { panic!("{values:?}") };
        versions.push(version.to_string());
    }
    assert_eq!(versions.len(), ROWS as usize);
    versions.dedup();
    assert_eq!(versions.len(), 1, "a batch by several versions: {versions:?}");
    (line.transform.versions()["swapped"], versions.remove(0))
}

/// Some further batches.
async fn some(counted: &mut watch::Receiver<u64>) {
    let upto = *counted.borrow() + 5;
    counted.wait_for(|count| *count >= upto).await.expect("the load goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_under_load_each_row_is_of_one_version() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let first = guest(&format!("{language}-probe"));
        let second = another(first);
        let steps = |version: &str| {
            let config = format!(r#"{{"do":"nothing","read":["name"],"version":"{version}"}}"#);
            vec![StepSpec::new("swapped", config, "p")]
        };
        // Compiled before the load: that takes seconds, and no line waits for it.
        host.host.inspect(second.clone().into()).await.unwrap();
        host.put("swapped", first);
        let mut line = host.open(&people(), steps("one")).await.unwrap();
        let chains = line.chains.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let (count, mut counted) = watch::channel(0);
        let load = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut writers, mut pause): (Vec<Writer>, _) = (Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::Acquire) {
                    let started = Instant::now();
                    if boundary(&mut line).await {
                        pause = pause.max(started.elapsed());
                    }
                    let writer = batch(&mut line).await;
                    if writers.last() != Some(&writer) {
                        writers.push(writer);
                    }
                    count.send_modify(|count| *count += 1);
                }
                (writers, pause)
            }
        });
        // By file, by configuration, and back.
        let mut expected = vec![(Digest::of(first), "one".to_string())];
        some(&mut counted).await;
        for (bytes, version) in [(&second[..], "two"), (first, "three"), (&second[..], "four")] {
            host.put("swapped", bytes);
            let report = host.host.swap("swapped", false).await.unwrap();
            assert_eq!(report.outcome, Swapped::Promoted, "{language}: {report:?}");
            some(&mut counted).await;
            chains.reconfigure(spec(steps(version))).await.unwrap();
            some(&mut counted).await;
            let before = expected.last().unwrap().1.clone();
            expected.extend([(Digest::of(bytes), before), (Digest::of(bytes), version.to_string())]);
        }
        stop.store(true, Ordering::Release);
        let (writers, pause) = load.await.unwrap();
        assert_eq!(writers, expected, "{language}");
        println!("{language}: the longest pause for a swap was {pause:?}");
        assert!(pause < PAUSE_MAX, "{language}: {pause:?}");
    }
}
