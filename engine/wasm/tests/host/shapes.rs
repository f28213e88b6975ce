//! What a guest makes of events: dropped, multiplied, routed, of another kind, rejected.

use sluice_types::ports::Transformed;
use sluice_types::{Change, Row, Value};

use crate::support::{Line, TestHost, insert, people, person, update};

/// Changes as `kind id name->name`, for tables of expectations.
fn shown(line: &Line, made: &Transformed) -> Vec<String> {
    let name = |row: &Row| match &line.values(row)[1] {
        Value::Text(name) => name.to_string(),
        Value::Absent => "?".into(),
        other => format!("{other:?}"),
    };
    made.events
        .iter()
        .map(|event| {
            let at = match &*event.table.table.name {
                "people" => String::new(),
                other => format!("@{other} "),
            };
            let change = match &event.change {
                Change::Update { before: Some(before), after } => {
                    format!("update {}->{}", name(before), name(after))
                }
                Change::Update { before: None, after } => format!("update ->{}", name(after)),
                Change::Truncate => "truncate".into(),
                Change::Snapshot(row) | Change::Insert(row) | Change::Delete(row) => {
                    format!("{} {}", event.change.name(), name(row))
                }
            };
            format!("{at}{change}")
        })
        .collect()
}

/// One of everything.
fn changes() -> Vec<Change> {
    vec![
        Change::Snapshot(person(1, "snap")),
        insert(2, "new"),
        update(3, "old", "x"),
        update(4, "x", "old"),
        update(5, "x", "x"),
        Change::Update { before: None, after: person(6, "x") },
        Change::Update { before: None, after: person(7, "keep") },
        Change::Delete(person(8, "x")),
        Change::Delete(person(9, "gone")),
        Change::Truncate,
        insert(10, "x"),
    ]
}

#[tokio::test]
async fn images_pair_as_the_contract_says() {
    for host in TestHost::every_language().await {
        host.language();
        images_pair(&host).await;
    }
}

async fn images_pair(host: &TestHost) {
    let table = people();
    let when = r#""read":["name"],"when":{"column":"name","equals":"x"}"#;
    let cases: &[(&str, &[&str])] = &[
        (
            r#"{"do":"echo","read":["name"]}"#,
            &[
                "snapshot snap",
                "insert new",
                "update old->x",
                "update x->old",
                "update x->x",
                "update ->x",
                "update ->keep",
                "delete x",
                "delete gone",
                "truncate",
                "insert x",
            ],
        ),
        (
            // A filter: a row that leaves is deleted, one that enters is inserted, one that was never there is nobody's business.
            &format!(r#"{{"do":"drop",{when}}}"#),
            &[
                "snapshot snap",
                "insert new",
                "delete old",
                "insert old",
                "delete x?",
                "update ->keep",
                "delete gone",
                "truncate",
            ],
        ),
        (
            &format!(r#"{{"do":"fan-out","times":2,{when}}}"#),
            &[
                "snapshot snap",
                "insert new",
                "update old->x",
                "insert x",
                "update x->old",
                "delete x",
                "update x->x",
                "update x->x",
                "update ->x",
                "update ->x",
                "update ->keep",
                "delete x",
                "delete x",
                "delete gone",
                "truncate",
                "insert x",
                "insert x",
            ],
        ),
        (
            &format!(r#"{{"do":"route",{when}}}"#),
            &[
                "snapshot snap",
                "insert new",
                "delete old",
                "@side insert x",
                "@side delete x",
                "insert old",
                "@side update x->x",
                "@side delete x",
                "delete gone",
                "truncate",
                "@side insert x",
            ],
        ),
        (
            &format!(r#"{{"do":"soft-delete",{when}}}"#),
            &[
                "snapshot snap",
                "insert new",
                "update old->x",
                "update x->old",
                "update x->x",
                "update ->x",
                "update ->keep",
                "update ->x",
                "delete gone",
                "truncate",
                "insert x",
            ],
        ),
        (
            r#"{"do":"history","read":["name"]}"#,
            &[
                "snapshot snap",
                "insert new",
                "insert x",
                "insert old",
                "insert x",
                "insert x",
                "insert keep",
                "insert x",
                "insert gone",
                "truncate",
                "insert x",
            ],
        ),
    ];
    for (config, expected) in cases {
        let mut line = host.probe(&table, config).await.unwrap();
        let mut handed_over = changes();
        if config.contains("route") {
            // What decides on the route is in every image of before.
            handed_over.retain(has_before);
        }
        let made = line.apply(handed_over).await.unwrap();
        // A delete by key of a row that the guest gave no values for: what it writes is not known.
        let expected: Vec<String> =
            expected.iter().map(|line| line.replace("delete x?", "delete ?")).collect();
        assert_eq!(shown(&line, &made), expected, "{config}");
        let truncate = |change: &Change| matches!(change, Change::Truncate);
        for event in made.events.iter().filter(|event| !truncate(&event.change)) {
            let Value::Int64(id) = event.source_keys().0.unwrap().0[0] else { panic!("a key") };
            let source = changes()
                .into_iter()
                .find(|change| change.identity().is_some_and(|row| row.get(0) == &Value::Int64(id)));
            assert_eq!(event.to_original().change, source.unwrap(), "{config}");
        }
    }
}

fn has_before(change: &Change) -> bool {
    !matches!(change, Change::Update { before: None, .. })
}

#[tokio::test]
async fn a_rejected_event_goes_back_whole_and_the_rest_goes_on() {
    for host in TestHost::every_language().await {
        host.language();
        a_rejected_event(&host).await;
    }
}

async fn a_rejected_event(host: &TestHost) {
    let table = people();
    for action in ["reject", "reject\",\"selects\":true,\"version\":\"v"] {
        let config =
            format!(r#"{{"do":"{action}","read":["name"],"when":{{"column":"name","equals":"x"}}}}"#);
        let mut line = host.probe(&table, &config).await.unwrap();
        let made = line.apply(changes()).await.unwrap();
        let rejected: Vec<Change> =
            made.rejected.iter().map(|rejection| rejection.event.change.clone()).collect();
        let all = changes();
        assert_eq!(rejected, [2, 3, 4, 5, 7, 10].map(|at: usize| all[at].clone()));
        assert_eq!(made.events.len(), all.len() - rejected.len());
        let reason = &made.rejected[0].reason;
        assert_eq!(reason.code, "plugin-reject");
        assert_eq!(reason.column.as_deref(), Some("name"));
        assert_eq!(reason.guest_text.as_deref(), Some("told to reject"));
        assert!(!reason.what.contains("told"), "a guest's text is data");
        assert!(std::sync::Arc::ptr_eq(&made.rejected[0].event.table, &table));
    }
}

#[tokio::test]
async fn a_failed_batch_comes_back_as_it_was() {
    let host = TestHost::new().await;
    let table = people();
    let when = r#""when":{"column":"name","equals":"poison"}"#;
    // The second step fails after the first has dropped, multiplied and routed.
    for first in ["echo", "drop", "fan-out", "route", "history", "reject"] {
        let step = |config: String| sluice_wasm::StepSpec::new("probe", config, "p");
        let steps = vec![
            step(format!(r#"{{"do":"{first}","read":["name"],"when":{{"column":"name","equals":"x"}}}}"#)),
            step(format!(r#"{{"do":"trap","read":["name"],{when}}}"#)),
        ];
        let mut line = host.open(&table, steps).await.unwrap();
        let mut all = changes();
        all.retain(|change| first != "route" || has_before(change));
        all.push(insert(11, "poison"));
        let handed_over = crate::support::events(&table, all.clone());
        let failed = line.transform.apply(handed_over.clone()).await.unwrap_err();
        assert_eq!(failed.error.kind(), sluice_types::ErrorKind::PluginTrap, "{first}: {}", failed.error);
        assert_eq!(failed.events, handed_over, "{first}");
        // And without the poison the same instance's successor takes them.
        let mut rest = failed.events;
        rest.pop();
        line.transform.apply(rest).await.unwrap();
    }
}

#[tokio::test]
async fn values_of_another_type_than_declared_are_rejected_alone() {
    let host = TestHost::new().await;
    let table = people();
    let mut step = sluice_wasm::StepSpec::new("probe", r#"{"do":"echo","read":["id","name"]}"#, "p");
    step.limits.value = 100;
    let mut line = host.open(&table, vec![step]).await.unwrap();
    let mut dynamic = person(1, "a");
    dynamic = Row::new(vec![dynamic.get(0).clone(), Value::Int64(5), Value::Null]);
    let made = line
        .apply(vec![insert(1, "a"), Change::Insert(dynamic), insert(3, &"x".repeat(101)), insert(4, "b")])
        .await
        .unwrap();
    let codes: Vec<&str> = made.rejected.iter().map(|rejection| rejection.reason.code.as_str()).collect();
    assert_eq!(codes, ["type-mismatch", "value_too_large"]);
    assert_eq!(shown(&line, &made), ["insert a", "insert b"]);
}

#[tokio::test]
async fn events_of_several_tables_keep_their_order() {
    let host = TestHost::new().await;
    let (people, mut others) = (people(), (*people()).clone());
    others.table = sluice_types::TableId::parse("others");
    let others = std::sync::Arc::new(others);
    let step = |config: &str| vec![sluice_wasm::StepSpec::new("probe", config, "p")];
    let when = r#""read":["name"],"when":{"column":"name","equals":"x"}"#;
    let spec = sluice_wasm::ChainSpec {
        tables: [
            (people.table.clone(), step(&format!(r#"{{"do":"drop",{when}}}"#))),
            (others.table.clone(), step(&format!(r#"{{"do":"fan-out","times":2,{when}}}"#))),
        ]
        .into(),
    };
    let chains = host.host.chains(&"p".into(), spec).await.unwrap();
    let mut transform = chains.transform();
    transform.open(&people, &people).await.unwrap();
    transform.open(&others, &others).await.unwrap();
    let event = |table, id, name| {
        sluice_types::Event::new(std::sync::Arc::clone(table), insert(id, name), 0, id as u64)
    };
    let events = vec![
        event(&others, 0, "x"),
        event(&people, 1, "x"),
        event(&people, 2, "a"),
        event(&others, 3, "b"),
        event(&people, 4, "c"),
    ];
    let made = transform.apply(events).await.unwrap();
    let order: Vec<u64> = made.events.iter().map(|event| event.index).collect();
    assert_eq!(order, [0, 0, 2, 3, 4]);
}
