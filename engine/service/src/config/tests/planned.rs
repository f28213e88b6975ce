//! Pipelines and discovered tables made into lines.

use sluice_pipeline::{ConflictStrategy, OnLarge, TruncatePolicy};
use sluice_types::{Error, ErrorKind, TableId};

use super::super::lines::PlannedLine;
use super::{parse, with_pipeline};

async fn lines(text: &str) -> Result<Vec<PlannedLine>, Error> {
    let config = parse(text).unwrap_or_else(|findings| panic!("{findings:#?}"));
    config.pipelines["p"].lines("p", &config).await
}

async fn routes(pipeline: &str) -> Vec<(String, String)> {
    let lines = lines(&with_pipeline(pipeline)).await.unwrap();
    let routes = lines[0].spec.tables.iter();
    routes.map(|route| (route.from.to_string(), route.to.to_string())).collect()
}

#[tokio::test]
async fn patterns_names_and_templates() {
    let pair = |from: &str, to: &str| (from.to_string(), to.to_string());
    assert_eq!(routes("tables: [orders]").await, [pair("public.orders", "public.orders")]);
    let templates = "tables: [{ from: \"*s\", to: \"t_{table}\", key: [id] }, { from: log.orders, to: x.y }]";
    assert_eq!(
        routes(templates).await,
        [
            pair("public.customers", "public.t_customers"),
            pair("public.orders", "public.t_orders"),
            pair("log.orders", "x.y"),
            pair("public.events", "public.t_events"),
        ]
    );
    let named_wins =
        "tables:\n  - { from: \"*.orders\", to: \"{schema}_{table}\" }\n  - { from: log.orders, to: mine }\n";
    assert_eq!(
        routes(named_wins).await,
        [pair("public.orders", "public.public_orders"), pair("log.orders", "public.mine")]
    );
}

#[tokio::test]
async fn what_does_not_fit_the_tables_is_found_all_at_once() {
    for (pipeline, kind, expected) in [
        (
            "tables: [custmers]",
            ErrorKind::TableMissing,
            &[
                "tables[0].from: there is no table `public.custmers` in the source. did you mean `public.customers`?",
            ][..],
        ),
        ("tables: [events]", ErrorKind::KeyMissing, &["tables[0].key: the table `public.events` has no key"]),
        (
            "tables: [{ from: events, key: [idd] }]",
            ErrorKind::Config,
            &["tables[0].key: the table `public.events` has no column `idd`. did you mean `id`?"],
        ),
        (
            "tables: [{ from: orders, key: [id] }]",
            ErrorKind::Config,
            &["tables[0].key: the table `public.orders` has a key of its own"],
        ),
        (
            "tables: [{ from: orders, columns: { exclude: [id, nam] } }]",
            ErrorKind::Config,
            &[
                "columns.exclude[0]: `id` is part of the key",
                "columns.exclude[1]: the table `public.orders` has no column `nam`. did you mean `name`?",
            ],
        ),
        (
            "tables: [\"*.orders\"]",
            ErrorKind::Config,
            &["`log.orders` would all be written to `public.orders`"],
        ),
        (
            "tables: [{ from: orders, to: x }, { from: customers, to: x }]",
            ErrorKind::Config,
            &["tables[0].to: ", "tables[1].to: "],
        ),
        (
            "tables: [orders, public.orders]",
            ErrorKind::Config,
            &["tables[1].from: the table `public.orders` is named twice"],
        ),
        (
            "tables: [{ from: orders, to: sluice_checkpoint }]",
            ErrorKind::Config,
            &["the name of a table of sluice itself"],
        ),
        (
            "tables: [\"nothing_*\"]",
            ErrorKind::TableMissing,
            &["pipelines.p.tables: the pipeline has no table"],
        ),
        (
            "tables: [{ from: \"*s\", key: [id], columns: { exclude: [nope] } }]",
            ErrorKind::Config,
            &["none of the tables"],
        ),
    ] {
        let error =
            lines(&with_pipeline(pipeline)).await.err().unwrap_or_else(|| panic!("{pipeline} is fine"));
        let said: Vec<String> = error.all_findings().iter().map(ToString::to_string).collect();
        assert_eq!(error.kind(), kind, "{pipeline}: {said:#?}");
        let found =
            said.len() == expected.len() && said.iter().zip(expected).all(|(line, part)| line.contains(part));
        assert!(found, "{pipeline}\n{said:#?}\n{expected:#?}");
    }
}

#[tokio::test]
async fn a_table_is_never_copied_onto_itself() {
    let text = with_pipeline("tables: [orders]").replace("target: b", "target: a");
    let error = lines(&text).await.err().unwrap();
    assert!(error.to_string().contains("would go round for ever"), "{error}");
}

#[tokio::test]
async fn a_line_per_target_and_the_defaults_that_depend_on_it() {
    let text = with_pipeline("tables: [orders]");
    let line = lines(&text).await.unwrap().remove(0);
    assert_eq!(&*line.spec.pipeline.0, "p");
    assert_eq!(line.spec.truncate, TruncatePolicy::Apply);
    assert_eq!(
        line.spec.large_transactions.then,
        OnLarge::Parts,
        "the target can't hold a transaction of any size"
    );
    assert_eq!((line.spec.large_transactions.rows, line.spec.large_transactions.bytes), (1_000, 64 << 20));
    assert!(line.chain.tables.is_empty());
    let written = with_pipeline("tables: [orders]\nlarge_transactions: { rows: 7 }");
    let large = lines(&written).await.unwrap().remove(0).spec.large_transactions;
    assert_eq!((large.rows, large.bytes), (7, 64 << 20), "what is written stands, the rest suits the target");

    let both = text.replace("target: b", "targets: [b, a]").replace("[orders]", "[{ from: orders, to: x }]");
    let ids: Vec<String> =
        lines(&both).await.unwrap().iter().map(|line| line.spec.pipeline.to_string()).collect();
    assert_eq!(ids, ["p@b", "p@a"]);

    let chained =
        lines(&with_pipeline("tables: [{ from: orders, where: \"id > 1\" }]")).await.unwrap().remove(0);
    assert_eq!(chained.spec.truncate, TruncatePolicy::Pause);
    assert_eq!(chained.chain.tables[&TableId::new("public", "orders")].len(), 1);

    let other = "  q: { source: a, target: b, tables: [{ from: customers, to: orders }] }\n";
    assert_eq!(
        lines(&(text.clone() + other)).await.unwrap()[0].spec.truncate,
        TruncatePolicy::Pause,
        "shared"
    );
    let other = "  q: { source: a, target: b, tables: [customers] }\n";
    assert_eq!(lines(&(text + other)).await.unwrap()[0].spec.truncate, TruncatePolicy::Apply);
}

#[tokio::test]
async fn a_table_has_its_own_policy_or_the_pipelines() {
    let tables = "tables:\n  - orders\n  - { from: customers, conflict: { strategy: none } }\n  \
                  - { from: events, key: [id], conflict: { strategy: version, column: name } }\n";
    let line = lines(&with_pipeline(&format!("conflict: {{ strategy: target-wins }}\n{tables}")))
        .await
        .unwrap()
        .remove(0);
    let policy = |name: &str| {
        let table = line.spec.tables.iter().find(|table| &*table.from.name == name).unwrap();
        table.conflict.as_ref().map(|policy| (policy.strategy.clone(), policy.path.clone()))
    };
    assert_eq!(policy("orders"), Some((ConflictStrategy::TargetWins, "pipelines.p.conflict".into())));
    assert_eq!(policy("customers"), None);
    let version = ConflictStrategy::Version("name".into());
    assert_eq!(policy("events"), Some((version, "pipelines.p.tables[2].conflict".into())));
    let none = lines(&with_pipeline("tables: [orders]")).await.unwrap().remove(0);
    assert!(none.spec.tables[0].conflict.is_none());
}

#[tokio::test]
async fn a_pattern_without_tables_is_worth_knowing() {
    let line = lines(&with_pipeline("tables: [orders, \"nothing_*\"]")).await.unwrap().remove(0);
    assert_eq!(line.warnings[0].code, "matches-nothing");
    assert_eq!(line.warnings[0].path, "pipelines.p.tables[1].from");
}
