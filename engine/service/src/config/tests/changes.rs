//! What a changed file means for a running service.

use super::super::diff::{Difference, diff};
use super::{parse, with_pipeline};

const STEP: &str = "tables: [{ from: orders, transform: [{ plugin: mask, config: { size: 1 } }] }]";

fn between(old: &str, new: &str) -> Difference {
    let parse = |text: &str| parse(text).unwrap_or_else(|findings| panic!("{findings:#?}"));
    diff(&parse(old), &parse(new))
}

#[test]
fn nothing_changed() {
    assert_eq!(
        between(&with_pipeline(STEP), &(with_pipeline(STEP) + "# a comment\n")),
        Difference::default()
    );
}

#[test]
fn a_plugins_configuration_is_applied_live() {
    let old = with_pipeline(STEP);
    let difference = between(&old, &old.replace("size: 1", "size: 2"));
    let shown = ["~ pipelines.p.tables[0].transform[0].config.size: 1 -> 2".to_string()];
    assert_eq!(
        difference,
        Difference { live: vec!["p".into()], shown: shown.into(), ..Difference::default() }
    );
    let limits = between(&old, &old.replace("plugin: mask", "plugin: mask, limits: { memory: 1MiB }"));
    assert_eq!(limits.live, ["p"]);
}

#[test]
fn the_rest_of_a_pipeline_needs_its_line_restarted() {
    let old = with_pipeline(STEP);
    for (from, to) in [
        ("source: a", "source: a\n    truncate: pause"),
        ("from: orders", "from: customers"),
        ("from: orders", "from: orders, to: x"),
        // Now a plain copy, whose default for a truncate is another.
        ("transform: [{ plugin: mask, config: { size: 1 } }]", "key: [id]"),
        ("b: { kind: fake }", "b: { kind: fake, mode: slow }"),
    ] {
        let difference = between(&old, &old.replace(from, to));
        assert_eq!(
            (&difference.restart[..], &difference.live[..]),
            (&["p".to_string()][..], &[][..]),
            "{to}"
        );
    }
}

#[test]
fn pipelines_come_and_go_and_the_process_stays() {
    let old = with_pipeline(STEP);
    let new = old.replace("  p:\n", "  q:\n").replace("version: 1", "version: 1\nlimits: { memory: 1GiB }");
    let difference = between(&old, &new);
    assert_eq!((difference.added, difference.removed), (vec!["q".into()], vec!["p".into()]));
    assert_eq!(difference.process, ["limits"]);
    assert!(
        difference.shown.contains(&r#"+ limits: {"memory":"1GiB"}"#.to_string()),
        "{:?}",
        difference.shown
    );
}

/// Another key under the same name: the steps that may use it are opened anew, and nothing else happens.
#[test]
fn a_key_is_changed_live() {
    let key = |letter: char| String::from_iter([letter; 43]) + "=";
    let step =
        "tables: [{ from: x, transform: [{ plugin: a, grant: { crypto: { keys: [pii], ops: [seal] } } }] }]";
    let with =
        |keys: String| with_pipeline(step).replace("version: 1", &format!("version: 1\nkeys: {{ {keys} }}"));
    let old = with(format!("pii: {}, other: {}", key('A'), key('A')));
    let new = with(format!("pii: {{ seal: {}, open: [{}] }}, other: {}", key('E'), key('A'), key('A')));
    let difference = between(&old, &new);
    assert_eq!((&difference.live[..], &difference.process[..]), (&["p".to_string()][..], &[][..]));
    assert!(!format!("{difference:?}").contains("AAAA") && !difference.shown.is_empty(), "{difference:?}");
    let other = between(&old, &old.replace(&format!("other: {}", key('A')), &format!("other: {}", key('E'))));
    assert_eq!(
        (other.live.len(), other.process.len(), other.restart.len()),
        (0, 0, 0),
        "nobody is granted it"
    );
}

#[test]
fn a_difference_shows_no_secret() {
    let old = with_pipeline(STEP);
    let new = old
        .replace("b: { kind: fake }", "b: { kind: fake, password: swordfish }")
        .replace("version: 1", "version: 1\nservice: { token: swordfish-swordfish }");
    let difference = between(&old, &new);
    assert!(!format!("{difference:?}").contains("swordfish"), "{difference:?}");
    assert!(
        difference.shown.contains(&"+ databases.b.password: \"***\"".to_string())
            || difference.shown.contains(&"+ databases.b.password: ***".to_string()),
        "{difference:?}"
    );
    let again = between(&new, &new.replace("swordfish", "angelfish"));
    assert!(again.shown.contains(&"~ databases.b.password: its value has changed".to_string()), "{again:?}");
    assert_eq!(again.process, ["service"]);
    let by_env = between(&new, &new.replace("password: swordfish", "password: \"${env:PW}\""));
    assert!(!format!("{by_env:?}").contains("hunter2"), "{by_env:?}");
    assert!(by_env.shown[0].contains("${env:PW}"), "a reference may be shown: {by_env:?}");
}
