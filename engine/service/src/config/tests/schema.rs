//! The JSON Schema and the parser know the same keys.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::super::schema::json_schema;
use super::super::yaml::Document;
use super::{parse, registry, with_pipeline};

/// A key that nothing is near to, so that the finding lists what is known.
pub(super) const STRANGE: &str = "xyzzy-xyzzy-xyzzy";

/// The keys that the parser knows in the mapping at a JSON pointer of the whole example.
fn known_to_the_parser(pointer: &str) -> BTreeSet<String> {
    let mut tree = Document::parse(include_str!("whole.yaml")).unwrap().tree;
    let mapping = tree.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not in whole.yaml"));
    mapping.as_object_mut().unwrap().insert(STRANGE.into(), json!(1));
    let findings = parse(&tree.to_string()).err().unwrap();
    let finding = findings.iter().find(|finding| finding.what.contains(STRANGE)).unwrap();
    let known = finding.remedy.strip_prefix("known here: ").unwrap();
    known.split(", ").map(str::to_string).collect()
}

/// The mapping of the schema at a path of keys; `*` stands for a name, `[]` for an item.
fn mapping_of_the_schema<'a>(schema: &'a Json, path: &[&str]) -> &'a Json {
    let Some((first, rest)) = path.split_first() else { return schema };
    let next = match *first {
        "*" => &schema["additionalProperties"],
        "[]" => &schema["items"],
        key => &schema["properties"][key],
    };
    let alternatives = next["anyOf"].as_array().or(next["oneOf"].as_array());
    let mapping = alternatives.and_then(|all| all.iter().find(|one| one["type"] == "object"));
    mapping_of_the_schema(mapping.unwrap_or(next), rest)
}

#[test]
fn the_schema_has_the_parsers_keys() {
    let schema = json_schema(&registry());
    let table = ["pipelines", "*", "tables", "[]"];
    let step = [&table[..], &["transform", "[]"]].concat();
    let at = "/pipelines/customers";
    let in_table = |rest: &str| format!("{at}/tables/0{rest}");
    let in_step = |rest: &str| in_table(&format!("/transform/0{rest}"));
    let with = |path: &[&'static str], rest: &'static str| [path, &[rest]].concat();
    for (pointer, path) in [
        (String::new(), vec![]),
        ("/state".into(), vec!["state"]),
        ("/service".into(), vec!["service"]),
        ("/limits".into(), vec!["limits"]),
        ("/plugins".into(), vec!["plugins"]),
        ("/databases/shop".into(), vec!["databases", "*"]),
        (at.into(), vec!["pipelines", "*"]),
        (format!("{at}/batch"), vec!["pipelines", "*", "batch"]),
        (format!("{at}/large_transactions"), vec!["pipelines", "*", "large_transactions"]),
        (format!("{at}/schema_changes"), vec!["pipelines", "*", "schema_changes"]),
        (format!("{at}/on_error"), vec!["pipelines", "*", "on_error"]),
        (in_table(""), table.to_vec()),
        (in_table("/columns"), with(&table, "columns")),
        (in_step(""), step.clone()),
        ("/keys/tax".into(), vec!["keys", "*"]),
        (in_step("/grant"), with(&step, "grant")),
        (in_step("/grant/crypto"), [&step[..], &["grant", "crypto"]].concat()),
        (in_step("/limits"), with(&step, "limits")),
        (in_step("/columns"), with(&step, "columns")),
    ] {
        let properties = mapping_of_the_schema(&schema, &path)["properties"].as_object().unwrap();
        let in_schema: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(in_schema, known_to_the_parser(&pointer), "{path:?}");
    }
}

#[test]
fn the_examples_are_valid_and_the_wrong_ones_are_not() {
    let schema = json_schema(&registry());
    let errors = |text: &str| {
        let mut errors = Vec::new();
        validate(&schema, &Document::parse(text).unwrap().tree, "", &mut errors);
        errors
    };
    for good in [include_str!("whole.yaml"), &with_pipeline("tables: [\"*\"]")] {
        assert_eq!(errors(good), Vec::<String>::new());
    }
    for (pipeline, path) in [
        ("tables: [{ form: x }]", "pipelines.p.tables[0]"),
        ("tables: [x]\nbatch: { rows: 0 }", "pipelines.p.batch.rows"),
        ("tables: [x]\nmode: fast", "pipelines.p.mode"),
        ("tables: [x]\natomic: true", "pipelines.p.atomic"),
        ("tables: [x]\nlarge_transactions: { bytes: lots }", "pipelines.p.large_transactions.bytes"),
    ] {
        assert_eq!(errors(&with_pipeline(pipeline)), [path], "{pipeline}");
    }
}

/// As much of JSON Schema as the schema uses; the paths of what is not valid.
pub(super) fn validate(schema: &Json, value: &Json, path: &str, errors: &mut Vec<String>) {
    let valid = |schema: &Json| {
        let mut errors = Vec::new();
        validate(schema, value, path, &mut errors);
        errors.is_empty()
    };
    let one_of = |key: &str| schema[key].as_array().is_none_or(|all| all.iter().any(valid));
    let is = |ty: &Json| match ty.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        other => panic!("type {other:?}"),
    };
    let types = match &schema["type"] {
        Json::Null => true,
        Json::Array(any) => any.iter().any(is),
        one => is(one),
    };
    let good = types
        && one_of("anyOf")
        && one_of("oneOf")
        && schema.get("not").is_none()
        && schema.get("const").is_none_or(|constant| constant == value)
        && schema["enum"].as_array().is_none_or(|words| words.contains(value))
        && schema["minimum"].as_u64().is_none_or(|least| value.as_u64().is_none_or(|number| number >= least))
        && schema["maximum"].as_u64().is_none_or(|most| value.as_u64().is_none_or(|number| number <= most))
        && schema["minItems"]
            .as_u64()
            .is_none_or(|least| value.as_array().is_none_or(|a| a.len() as u64 >= least))
        && schema["pattern"]
            .as_str()
            .is_none_or(|pattern| value.as_str().is_none_or(|text| like(pattern, text)));
    let none = Map::new();
    let (map, properties) =
        (value.as_object().unwrap_or(&none), schema["properties"].as_object().unwrap_or(&none));
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let unknown =
        schema["additionalProperties"] == json!(false) && map.keys().any(|key| !properties.contains_key(key));
    if !good || unknown || required.into_iter().any(|key| !map.contains_key(key)) {
        errors.push(path.to_string());
        return;
    }
    for (key, value) in map {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if let Some(schema) = properties.get(key).or(schema.get("additionalProperties")) {
            validate(schema, value, &path, errors);
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            validate(schema, item, &format!("{path}[{index}]"), errors);
        }
    }
}

/// The two patterns of values that there are.
fn like(pattern: &str, text: &str) -> bool {
    if pattern.contains("env|file") {
        return (text.starts_with("${env:") || text.starts_with("${file:")) && text.ends_with('}');
    }
    sluice_types::settings::parse_size(text).is_some()
}
