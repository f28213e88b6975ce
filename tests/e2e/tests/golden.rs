//! What a target holds of every value of a matrix, compared with what was written down in `golden/`.
//!
//! `SLUICE_GOLDEN=write` writes the files anew: read the difference before you commit it.

use std::collections::BTreeMap;
use std::fmt::Write;

use sluice_e2e::binary;
use sluice_e2e::site::Site;

/// Rows of the stream have keys from here on; those of the snapshot begin at 1.
pub const STREAMED: usize = 1000;

/// A type, and values of it as SQL.
pub type Of = (&'static str, &'static [&'static str]);

/// The table of a type.
pub fn table(index: usize) -> String {
    format!("v{index:02}")
}

/// Why values were refused, by table and key.
pub fn refused(site: &Site) -> BTreeMap<(String, usize), String> {
    let listed = site.sluice(&["dlq", "list", "copy", "--limit", "1000", "--json"]).ended_with(0).json();
    let letters = listed["dead_letters"].as_array().expect("a list");
    letters
        .iter()
        .map(|letter| {
            let id = letter["id"].as_str().expect("an id");
            let shown = site.sluice(&["dlq", "show", "copy", id, "--values", "--json"]).ended_with(0).json();
            let table = letter["table"].as_str().expect("a table").trim_start_matches("public.");
            let key = &shown["values"]["after"]["id"];
            let key = key.as_u64().or_else(|| key.as_str()?.parse().ok());
            let key = key.unwrap_or_else(|| panic!("no key: {shown:#}")) as usize;
            ((table.to_string(), key), format!("refused: {}", letter["what"].as_str().unwrap_or_default()))
        })
        .collect()
}

/// What a target holds, type by type and value by value: what was sent, what is there, or why it was refused. Snapshot and stream
/// must agree.
pub fn golden(name: &str, matrix: &[Of], site: &Site, held: impl Fn(&str) -> BTreeMap<usize, String>) {
    let letters = refused(site);
    let mut text = String::new();
    for (index, (ty, values)) in matrix.iter().enumerate() {
        let name = table(index);
        let held = held(&name);
        writeln!(text, "{ty}").unwrap();
        for (number, value) in values.iter().chain(&["NULL"]).enumerate() {
            let of = |id: usize| {
                held.get(&id)
                    .or_else(|| letters.get(&(name.clone(), id)))
                    .cloned()
                    .unwrap_or("MISSING".into())
            };
            let (copied, streamed) = (of(1 + number), of(STREAMED + number));
            assert_eq!(copied, streamed, "{ty} {value}: by snapshot and by stream");
            assert_ne!(copied, "MISSING", "{ty} {value}: neither held nor refused: {letters:#?}");
            let shown: String = copied.chars().take(100).collect();
            let more = if copied.chars().count() > 100 {
                format!(".. ({} bytes)", copied.len())
            } else {
                String::new()
            };
            writeln!(text, "  {value:<44} {shown}{more}").unwrap();
        }
    }
    let path = binary::root().join("tests/e2e/golden").join(format!("{name}.txt"));
    if std::env::var("SLUICE_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (wanted, found)) in std::iter::zip(wanted.lines(), text.lines()).enumerate() {
        assert_eq!(wanted, found, "{}, line {}", path.display(), line + 1);
    }
    assert_eq!(wanted.lines().count(), text.lines().count(), "{}", path.display());
}
