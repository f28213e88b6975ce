//! Who may ask what of a service, and how it answers.

use crate::place::{PEOPLE, Place, mode};

#[test]
fn changing_needs_the_token_and_looking_does_not() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    assert_eq!(mode(&place.path("state/token")), 0o600);
    for (path, marker) in
        [("/health", "ok"), ("/metrics", "sluice_info"), ("/api/v1/status", "\"lines\""), ("/", "sluice")]
    {
        let (status, body) = served.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.contains(marker), "{path}: {body}");
    }
    for headers in [&[][..], &["Authorization: Bearer wrong"], &["Authorization: Basic dG9rZW4="]] {
        for (method, path) in [
            ("POST", "/api/v1/pipelines/people/pause"),
            ("DELETE", "/api/v1/pipelines/people"),
            ("POST", "/api/v1/reload"),
            ("GET", "/api/v1/dlq/people"),
        ] {
            let (status, body) = served.ask(method, path, headers, "");
            assert_eq!(status, 401, "{method} {path} {headers:?}: {body}");
            assert!(body.contains("token-needed") && !body.contains(&served.token), "{body}");
        }
    }
    assert_eq!(served.post("/api/v1/pipelines/people/pause", "").0, 200);
    let (_, log) = served.stop();
    let token = std::fs::read_to_string(place.path("state/token")).unwrap();
    assert!(!log.contains(token.trim()), "the log names the token");
}

#[test]
fn foreign_names_and_origins_are_refused() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    for (headers, code) in [
        (["Host: evil.example:8687", "A: b"], "host-refused"),
        (["Host: localhost", "Origin: https://evil.example"], "origin-refused"),
        (["Host: localhost", "Origin: null"], "origin-refused"),
    ] {
        let (status, body) = served.ask("GET", "/api/v1/status", &headers, "");
        assert_eq!(status, 403, "{headers:?}");
        assert!(body.contains(code), "{body}");
    }
    assert_eq!(served.ask("GET", "/health", &["Host: localhost:1"], "").0, 200);
}

#[test]
fn errors_are_a_code_and_a_message() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    for ((status, body), expected, code) in [
        (served.get("/nowhere"), 404, "not-found"),
        (
            served.ask("PUT", "/health", &[&format!("Authorization: Bearer {}", served.token)], ""),
            405,
            "method-not-allowed",
        ),
        (served.post("/api/v1/pipelines/poeple/resume", ""), 404, "pipeline-missing"),
        (served.post("/api/v1/pipelines/people/pause", "{\"resaon\": 1}"), 400, "bad-request"),
        (served.post("/api/v1/plugins/none/swap", "{}"), 404, "plugin-missing"),
    ] {
        assert_eq!(status, expected, "{body}");
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    }
}

#[test]
fn what_plugins_do_to_columns_is_told_by_table() {
    let step =
        "where: id > 0, transform: [{ plugin: field-mapping, config: { rename: { name: full_name } } }]";
    let place =
        Place::new(&PEOPLE.replace("tables: [people]", &format!("tables: [{{ from: people, {step} }}]")));
    let served = place.serve();
    served.ready();
    let (status, body) = served.get("/api/v1/pipelines/people/lineage");
    assert_eq!(status, 200, "{body}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["lines"][0]["line"], "people");
    let steps = &told["lines"][0]["tables"][0]["steps"];
    assert_eq!(
        (&steps[0]["plugin"], &steps[0]["plan"]["reads"][0]),
        (&"filter".into(), &"id".into()),
        "{body}"
    );
    assert_eq!(steps[1]["plan"]["renames"][0], serde_json::json!(["name", "full_name"]), "{body}");
    assert_eq!(served.get("/api/v1/pipelines/poeple/lineage").0, 404);
}

#[test]
fn ready_says_who_is_not() {
    let place = Place::new(PEOPLE);
    std::fs::remove_file(place.path("source.db")).unwrap();
    let served = place.serve();
    let (status, body) = served.get("/ready");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"people\""), "{body}");
    assert_eq!(served.get("/health").0, 200, "it lives all the same");
}

#[test]
fn every_metric_is_described() {
    let place = Place::new(PEOPLE);
    let served = place.serve();
    served.ready();
    let described = include_str!("../API.md");
    let (_, metrics) = served.get("/metrics");
    let names: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    assert!(names.len() > 20, "{metrics}");
    for name in names {
        let name = name.split(' ').next().unwrap();
        assert!(described.contains(&format!("`{name}`")), "API.md does not describe {name}");
    }
}
