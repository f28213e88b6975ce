//! Laws of the text: sizes, one contract, numbered invariants, words that don't belong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file longer than this hides a concept that wants a name.
const FILE_LINES_MAX: usize = 600;

/// The files that git knows of (or would, once added), relative to the root.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(crate::root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    listed.lines().map(PathBuf::from).filter(|path| crate::root().join(path).exists()).collect()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(crate::root().join(path)).ok()
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<String> = files()
        .iter()
        .filter(|path| extension(path) == "rs")
        .filter_map(|path| Some((path, read(path)?.lines().count())))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| {
            format!("{}: {lines} lines, limit {FILE_LINES_MAX}: split by concept", path.display())
        })
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn there_is_one_copy_of_the_contract() {
    // Test guests may describe worlds of their own; none may carry the package itself.
    let copies: Vec<_> = files()
        .into_iter()
        .filter(|path| extension(path) == "wit")
        .filter(|path| read(path).is_some_and(|text| text.contains("package sluice:plugin")))
        .collect();
    assert!(!copies.is_empty() && copies.iter().all(|path| path.starts_with("wit")), "{copies:?}");
}

#[test]
fn every_invariant_is_described_and_upheld_somewhere() {
    let map = read(Path::new("engine/ARCHITECTURE.md")).expect("engine/ARCHITECTURE.md");
    let code: String = files()
        .iter()
        .filter(|path| path.starts_with("engine") && extension(path) == "rs")
        .filter_map(|path| read(path))
        .collect();
    for number in (1..=13).filter(|number| *number != 9) {
        // I9 is about resolvers, which have a port but no implementation yet.
        assert!(map.contains(&format!("**I{number}**")), "ARCHITECTURE.md does not describe I{number}");
        let cited =
            [" ", ")", ":", ",", ".", ";"].iter().any(|after| code.contains(&format!("I{number}{after}")));
        assert!(cited, "no code cites I{number}");
    }
}

/// Finds what must not be in the project: paths of a machine that it was built on, and tests that don't run.
fn offences(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = format!("{}:{}", path.display(), number + 1);
        for home in ["/root/", "/home/"] {
            if line.contains(home) {
                found.push(format!("{at}: a path of one machine: {home}"));
            }
        }
        if extension(path) == "rs" && line.trim_start().starts_with("#[ignore") {
            found.push(format!("{at}: a test that doesn't run is no test"));
        }
    }
    found
}

#[test]
fn nothing_is_there_that_does_not_belong() {
    let own = Path::new("tests/tidy");
    let found: Vec<String> = files()
        .iter()
        .filter(|path| !path.starts_with(own) && path.file_name().is_some_and(|name| name != "Cargo.lock"))
        .filter_map(|path| Some(offences(path, &read(path)?)))
        .flatten()
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_offence_is_noticed() {
    let text = "let a = \"/root/.cargo\";\n    #[ignore]\nfine\n";
    assert_eq!(offences(Path::new("a.rs"), text).len(), 2);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files().iter().filter(|path| extension(path) == "md") {
        let text = read(path).unwrap_or_default();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new(""));
            if !crate::root().join(folder).join(target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}
