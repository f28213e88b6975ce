//! What `serve` costs while nothing happens, and how large the binary is.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{cpu_seconds, rss_mib};
use crate::table::{Limit, Table};
use crate::{Bench, data};

/// The serve part.
pub fn run(bench: &Bench, table: &mut Table) {
    let size = std::fs::metadata(&bench.sluice).expect("the binary").len() as f64 / 1e6;
    table.add("serve", "release binary", size, "MB", Limit::Most(45.0), "");

    let dir = bench.dir.join("serve");
    std::fs::create_dir(&dir).expect("a folder");
    data::fill(&dir.join("a.db"), 1000);
    let chain = "        transform:\n          - plugin: type-conversion\n            config: { columns: { amount: integer } }\n";
    let config = data::config(&dir, chain);
    let mut serve = Command::new(&bench.sluice)
        .args(["serve", "-c"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("serve starts");
    let ready = || {
        let output = Command::new(&bench.sluice)
            .args(["status", "--json", "-c"])
            .arg(&config)
            .output()
            .expect("status runs");
        String::from_utf8_lossy(&output.stdout).replace(' ', "").contains("\"ready\":true")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "serve did not become ready");
        std::thread::sleep(Duration::from_millis(100)); // asking another process: there is no event to wait for
    }
    let before = cpu_seconds(serve.id());
    let window = Duration::from_secs(20);
    std::thread::sleep(window); // what is measured is this time
    let used = (cpu_seconds(serve.id()) - before) / window.as_secs_f64() * 100.0;
    table.add("serve", "idle CPU", used, "% core", Limit::Most(1.0), "over 20 s, one line, one plugin");
    table.add("serve", "idle RSS", rss_mib(serve.id()), "MiB", Limit::Most(40.0), "");
    let _ = serve.kill();
    let _ = serve.wait();
}
