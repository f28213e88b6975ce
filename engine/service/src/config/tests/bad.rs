//! Wrong files, and every finding that they get at once: code, path, what, remedy.

use super::{parse, with_pipeline};

/// The findings of a text, one a line.
fn said(text: &str) -> String {
    match parse(text) {
        Ok(_) => String::from("fine"),
        Err(findings) => findings.iter().map(|finding| format!("{finding}\n")).collect(),
    }
}

/// Each of these is said, in this order, and nothing else.
fn says(text: &str, expected: &[&str]) {
    let said = said(text);
    let lines: Vec<&str> = said.lines().collect();
    let matches =
        lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, part)| line.contains(part));
    assert!(matches, "expected\n{}\nsaid\n{said}", expected.join("\n"));
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn an_empty_file() {
    let expected = [
        "databases: `databases` is missing",
        "pipelines: `pipelines` is missing",
        "version: `version` is missing",
    ];
    says("", &expected);
    says("# nothing\n", &expected);
    says("- a list\n", &["config-invalid: line 1, column 1: the file is not a mapping"]);
}

#[test]
fn many_things_at_once() {
    let text = "
version: 2
stat: ./x
state: { dir: 5, kee: x }
service: { listen: nowhere, token: short, tls: {} }
limits: { memory: lots }
keys: { pii: x, a b: { open: [y] } }
databases:
  a b: { kind: fake }
  c: { kind: fake, mode: fats }
  d: { kind: postgres, url: x }
  e: { kind: sqlight }
  f: { url: x }
pipelines:
  p: { source: cc, target: d, targets: [c], tables: { a: b }, batch: { rows: 0, byts: 1 } }
";
    says(
        text,
        &[
            "config-invalid: version: version 2 is not known",
            "config-invalid: stat: unknown key `stat`. did you mean `state`?",
            "config-invalid: state.dir: `dir` is a number. write text",
            "config-invalid: state.kee: unknown key `kee`. did you mean `key`?",
            "config-invalid: service.listen: `nowhere` is not an address and a port",
            "config-invalid: service.token: the token has less than 16 characters",
            "not_built: service.tls: `tls` is not built yet",
            "config-invalid: limits.memory: `memory` is text. write a size such as 64MiB",
            "config-invalid: keys.pii: this is not base64 of 32 bytes. make one with",
            "config-invalid: keys.a b: `a b` can't be the name of a key",
            "config-invalid: keys.a b.seal: `seal` is missing",
            "config-invalid: keys.a b.open: this is not base64 of 32 bytes",
            "config-invalid: databases.a b: `a b` can't be the name of a database",
            "config-invalid: databases.c.mode: `fats` is not a value of `mode`. did you mean `fast`?",
            "not_built: databases.d.kind: databases of kind `postgres` are not built yet",
            "config-invalid: databases.e.kind: there is no kind of database `sqlight`",
            "config-invalid: databases.f.kind: `kind` is missing. one of: fake",
            "config-invalid: pipelines.p.source: there is no database `cc`. did you mean `c`?",
            "config-invalid: pipelines.p.targets: there are both `target` and `targets`",
            "config-invalid: pipelines.p.tables: `tables` is not a list",
            "config-invalid: pipelines.p.batch.rows: `rows` is too small. 1 or more",
            "config-invalid: pipelines.p.batch.byts: unknown key `byts`. did you mean `bytes`?",
        ],
    );
}

#[test]
fn a_policy_for_conflicts_has_what_it_needs() {
    for (conflict, expected) in [
        ("{ strategy: latest }", "pipelines.p.conflict.column: `column` is missing"),
        (
            "{ strategy: target-wins, column: at }",
            "pipelines.p.conflict.column: this strategy looks at no column",
        ),
        ("{ column: at }", "pipelines.p.conflict.strategy: `strategy` is missing"),
        ("{ strategy: newest }", "pipelines.p.conflict.strategy: "),
        (
            "{ strategy: target-wins, colum: at }",
            "pipelines.p.conflict.colum: unknown key `colum`. did you mean `column`?",
        ),
    ] {
        says(&with_pipeline(&format!("conflict: {conflict}\ntables: [x]")), &[expected]);
    }
    says(
        &with_pipeline("tables: [{ from: x, conflict: { strategy: version } }]"),
        &["pipelines.p.tables[0].conflict.column: `column` is missing"],
    );
}

#[test]
fn what_is_not_built_yet_is_never_ignored() {
    for (key, path) in [
        ("atomic: true", "atomic"),
        ("direction: both", "direction"),
        ("schedule: daily", "schedule"),
        ("new_tables: add", "new_tables"),
        ("conflict: { strategy: plugin, plugin: mine }", "conflict.strategy"),
        ("schema_changes: { add_column: apply }", "schema_changes.add_column"),
        ("on_position_lost: repair", "on_position_lost"),
        ("undo: true", "undo"),
        ("retain: 1d", "retain"),
    ] {
        says(&with_pipeline(&format!("{key}\ntables: [x]")), &[&format!("not_built: pipelines.p.{path}: ")]);
    }
    let steps =
        "tables: [{ from: x, transform: [{ plugin: a, grant: { metrics: {} }, shadow: { events: 1 } }] }]";
    says(
        &with_pipeline(steps),
        &["tables[0].transform[0].grant.metrics: ", "tables[0].transform[0].shadow: "],
    );
}

#[test]
fn a_grant_names_keys_and_operations_that_there_are() {
    let with = |grant: &str| {
        let step = format!("tables: [{{ from: x, transform: [{{ plugin: a, grant: {grant} }}] }}]");
        let key = format!("version: 1\nkeys: {{ pii: {} }}", "A".repeat(43) + "=");
        with_pipeline(&step).replace("version: 1", &key)
    };
    let at = "pipelines.p.tables[0].transform[0].grant";
    says(
        &with("{ crypto: {} }"),
        &[
            &format!("{at}.crypto.keys: no key is granted"),
            &format!("{at}.crypto.ops: no operation is granted"),
        ],
    );
    says(
        &with("{ crypto: { keys: [pi], ops: [sel, seal] }, lug: {} }"),
        &[
            &format!("{at}.crypto.keys: there is no key `pi`. did you mean `pii`?"),
            &format!("{at}.crypto.ops: there is no operation `sel`. one or more of: seal, open, hash"),
            &format!("{at}.lug: unknown key `lug`. did you mean `log`?"),
        ],
    );
}

#[test]
fn wrong_words_and_types_in_a_pipeline() {
    for (key, expected) in [
        ("direction: bothh", "did you mean `both`?"),
        ("mode: 5", "pipelines.p.mode: `mode` is a number. write text"),
        ("snapshot: firts", "pipelines.p.snapshot: `firts` is not a value"),
        ("concurrency: 1000", "pipelines.p.concurrency: `concurrency` is too large. 64 or less"),
        ("concurrency: many", "pipelines.p.concurrency: `concurrency` is text. write a whole number"),
        ("on_error: { base_ms: 10, max_ms: 5 }", "pipelines.p.on_error.max_ms: `max_ms` is below `base_ms`"),
        (
            "large_transactions: { then: explode }",
            "pipelines.p.large_transactions.then: `explode` is not a value",
        ),
        ("id: a/b", "pipelines.p.id: this can't be an id"),
        ("truncat: apply", "pipelines.p.truncat: unknown key `truncat`. did you mean `truncate`?"),
        ("conflict_: 1", "did you mean `conflict`?"),
    ] {
        says(&with_pipeline(&format!("{key}\ntables: [x]")), &[expected]);
    }
}

#[test]
fn wrong_tables_and_steps() {
    let tables = "tables:
  - 5
  - { to: x }
  - { from: x, to: \"{schema}.{tabel}\", key: [], columns: { exclud: [a] } }
  - { from: y, to: \"z*\", transform: { plugin: a } }
  - from: z
    transform:
      - { config: {} }
      - { plugin: ../evil, config: [1], digest: abc, limits: { memory: 0, batch: 1 }, overide: true }
";
    says(
        &with_pipeline(tables),
        &[
            "pipelines.p.tables[0]: expected a mapping, found a number",
            "pipelines.p.tables[0].from: `from` is missing",
            "pipelines.p.tables[1].from: `from` is missing",
            "pipelines.p.tables[2].to: `{schema}.{tabel}` holds another placeholder",
            "pipelines.p.tables[2].key: `key` is empty",
            "pipelines.p.tables[2].columns.exclud: unknown key `exclud`. did you mean `exclude`?",
            "pipelines.p.tables[3].to: `to` can't hold a `*`",
            "pipelines.p.tables[3].transform: `transform` is not a list",
            "pipelines.p.tables[4].transform[0].plugin: `plugin` is missing",
            "pipelines.p.tables[4].transform[1].plugin: this can't be the name of a plugin",
            "pipelines.p.tables[4].transform[1].config: `config` is not a mapping",
            "pipelines.p.tables[4].transform[1].digest: this is not a digest",
            "pipelines.p.tables[4].transform[1].limits.memory: `memory` is zero",
            "pipelines.p.tables[4].transform[1].limits.batch: unknown key `batch`",
            "pipelines.p.tables[4].transform[1].overide: unknown key `overide`. did you mean `override`?",
        ],
    );
}

#[test]
fn secrets_are_missing_misplaced_and_never_printed() {
    let text =
        with_pipeline("tables: [{ from: x, transform: [{ plugin: a, config: { k: \"${env:PW}\" } }] }]")
            .replace("b: { kind: fake }", "b: { kind: fake, mode: \"${env:PW}\", password: \"${env:NOPE}\" }")
            .replace("version: 1", "version: 1\nservice: { listen: \"${env:PW}\" }");
    says(
        &text,
        &[
            "service.listen: `${env:PW}` is not an address",
            "databases.b.mode: `${env:PW}` is not a value of `mode`",
            "databases.b.password: the environment variable `NOPE` is not set",
            "tables[0].transform[0].config.k: `${..}` is not allowed here",
        ],
    );
}

#[test]
fn listening_beyond_loopback_must_be_said() {
    let text =
        with_pipeline("tables: [x]").replace("version: 1", "version: 1\nservice: { listen: \"0.0.0.0:80\" }");
    says(&text, &["service.listen: 0.0.0.0:80 can be reached from other machines"]);
}

#[test]
fn two_pipelines_with_one_id() {
    let text = with_pipeline("tables: [x]") + "  q: { id: p, source: a, target: b, tables: [x] }\n";
    says(&text, &["pipelines.q.id: the pipeline `p` has the id `p`, too"]);
}

#[test]
fn what_is_not_yaml_says_where() {
    says("version: 1\ndatabases: [\n", &["config-invalid: line "]);
    says("version: 1\nversion: 1\n", &["config-invalid: line 2"]);
}
