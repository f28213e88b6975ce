//! A thousand swaps in a row, in every language. A program of its own, so that what it holds is what they left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests
#![allow(dead_code)] // the other tests' support

#[path = "../host/support.rs"]
mod support;

use sluice_guests::guest;
use sluice_types::ports::Swapped;
use sluice_types::{Change, Value};
use sluice_wasm::StepSpec;

use support::{Line, TestHost, insert, people, spec};

const SWAPS: usize = 1_000;
/// Until everything has its size: pools, caches, the rows that candidates are probed with.
const WARM: usize = 200;
/// A component is loaded anew this often; in between it is opened anew with another configuration. Loading means reading 60 MB of compiled
/// code for a Python guest.
const LOADED_EVERY: usize = 10;
/// What the process may hold more after all of it, in bytes. One instance has several times that.
const GROWTH: u64 = 8 << 20;

fn steps(version: usize) -> Vec<StepSpec> {
    let config = format!(r#"{{"do":"nothing","read":["name"],"version":"v{version}"}}"#);
    vec![StepSpec::new("swapped", config, "p")]
}

/// The same component with another digest.
fn another(component: &[u8]) -> Vec<u8> {
    [component, b"\x00\x05\x04mark"].concat()
}

/// Bytes that the process holds, without those of files.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn version_of(line: &mut Line) -> String {
    let made = line.apply(vec![insert(1, "Ann")]).await.unwrap();
    let Change::Insert(row) = &made.events[0].change else { panic!("{:?}", made.events) };
    let at = line.outputs[0].column_index("version").unwrap();
    let Value::Text(version) = &line.values(row)[at] else { panic!("{row:?}") };
    version.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_leave_nothing_behind() {
    for host in TestHost::every_language().await {
        let language = host.language();
        let first = guest(&format!("{language}-probe"));
        let versions = [first.to_vec(), another(first)];
        host.put("swapped", &versions[0]);
        let mut line = host.open(&people(), steps(0)).await.unwrap();
        let (mut memory_warm, mut handles_warm) = (0, 0);
        for swap in 1..=SWAPS {
            if swap % LOADED_EVERY == 0 {
                host.put("swapped", &versions[swap / LOADED_EVERY % 2]);
                let report = host.host.swap("swapped", false).await.unwrap();
                assert_eq!(report.outcome, Swapped::Promoted, "{language}: {report:?}");
                assert!(line.transform.take_over().await.unwrap());
                line.outputs = line.transform.open(&line.table, &line.table).await.unwrap().outputs;
                version_of(&mut line).await;
            }
            line.chains.reconfigure(spec(steps(swap))).await.unwrap();
            assert!(line.transform.take_over().await.unwrap());
            line.outputs = line.transform.open(&line.table, &line.table).await.unwrap().outputs;
            assert_eq!(version_of(&mut line).await, format!("v{swap}"), "{language}");
            if swap == WARM {
                (memory_warm, handles_warm) = (memory(), handles());
            }
        }
        let (memory, handles) = (memory(), handles());
        println!(
            "{language}: {memory_warm} bytes and {handles_warm} handles after {WARM} swaps, {memory} and \
             {handles} after {SWAPS}"
        );
        assert!(memory < memory_warm + GROWTH, "{language}: {memory_warm} bytes grew to {memory}");
        assert!(handles <= handles_warm, "{language}: {handles_warm} handles grew to {handles}");
    }
}
