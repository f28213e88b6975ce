//! The JSON Schema of the file, for editors (`sluice schema`). A test compares it, key by key, with what the parser knows.

use serde_json::{Map, Value as Json, json};

use sluice_wasm::CryptoOp;

use super::conflict::STRATEGIES;

use crate::Registry;

/// The schema; each connector of the registry brings its own part.
pub fn json_schema(registry: &Registry) -> Json {
    let databases: Vec<Json> =
        registry.iter().map(|connector| with_references(connector.settings_schema())).collect();
    let database =
        if databases.is_empty() { json!({ "type": "object" }) } else { json!({ "oneOf": databases }) };
    let mut schema = mapping(
        &["version", "databases", "pipelines"],
        [
            ("version", json!({ "const": 1 })),
            ("state", state()),
            ("service", service()),
            (
                "limits",
                mapping(
                    &[],
                    [
                        ("memory", size("What all pipelines together may hold in memory.", "512MiB")),
                        (
                            "spill",
                            size(
                                "Disk for source transactions that are not whole yet, inside the state folder.",
                                "20GiB",
                            ),
                        ),
                    ],
                ),
            ),
            (
                "plugins",
                mapping(
                    &[],
                    [("dir", text("The watched folder of NAME.wasm files, relative to this file."))],
                ),
            ),
            (
                "keys",
                named(key(), "What plugins may be granted to seal, open and hash with, by a name of yours."),
            ),
            ("alerts", not_built()),
            ("databases", named(database, "The servers and files, by a name of yours.")),
            ("pipelines", named(pipeline(), "What is kept in step with what, by a name of yours.")),
        ],
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("sluice");
    schema
}

fn state() -> Json {
    let nested = mapping(
        &[],
        [
            ("dir", text("The state folder, relative to this file. Default: ./sluice-state")),
            (
                "key",
                text(
                    "Base64 of 32 bytes: seals dead letters, conflicts, and what of large transactions waits on the disk. Write ${env:NAME}, never the key itself.",
                ),
            ),
        ],
    );
    json!({ "anyOf": [text("The state folder, relative to this file."), nested] })
}

fn service() -> Json {
    mapping(
        &[],
        [
            ("listen", text("Address and port of the HTTP API. Default: 127.0.0.1:8687")),
            (
                "token",
                text(
                    "What changing anything needs; 16 characters or more. Without one, one is made in the state folder.",
                ),
            ),
            ("insecure", truth("Listening beyond loopback without TLS is wanted.")),
            ("tls", not_built()),
        ],
    )
}

fn pipeline() -> Json {
    mapping(
        &["source", "tables"],
        [
            ("id", text("What checkpoints are filed under. Default: the pipeline's name")),
            ("source", text("The name of a database.")),
            ("target", text("The name of a database.")),
            ("targets", texts("Several targets: a line of its own to each.")),
            ("atomic", not_built()),
            ("mode", word(&["realtime", "batch"])),
            ("schedule", not_built()),
            ("direction", word(&["one-way"])),
            ("snapshot", word(&["initial", "never", "only"])),
            (
                "batch",
                mapping(
                    &[],
                    [
                        ("rows", number(1, "Events in a batch at idle.", 1000)),
                        ("bytes", size("To what a target transaction may grow under backlog.", "8MiB")),
                        ("age_ms", number(0, "How long gathering may go on, in milliseconds.", 50)),
                    ],
                ),
            ),
            ("concurrency", number(1, "Snapshot chunks that are read at once.", 4)),
            (
                "large_transactions",
                mapping(
                    &[],
                    [
                        (
                            "rows",
                            number(
                                1,
                                "Events above which a transaction is large; some targets begin lower (mongodb: 100000).",
                                1_000_000,
                            ),
                        ),
                        (
                            "bytes",
                            size(
                                "Bytes above which it is; some targets begin lower (mongodb: 64MiB).",
                                "512MiB",
                            ),
                        ),
                        ("then", word(&["spill", "parts", "fail"])),
                    ],
                ),
            ),
            ("truncate", word(&["apply", "ignore", "pause"])),
            ("new_tables", word(&["ignore"])),
            (
                "tables",
                json!({ "type": "array", "minItems": 1, "items": { "anyOf": [text("A table or a pattern."), table()] } }),
            ),
            ("conflict", conflict()),
            ("undo", not_built()),
            ("retain", not_built()),
            (
                "schema_changes",
                mapping(
                    &[],
                    ["add_column", "drop_column", "modify_column"].map(|class| (class, word(&["pause"]))),
                ),
            ),
            (
                "on_error",
                mapping(
                    &[],
                    [
                        ("retries", number(0, "How often a failing event is tried again.", 3)),
                        ("base_ms", number(1, "The first pause, in milliseconds.", 1000)),
                        ("max_ms", number(1, "The longest pause, in milliseconds.", 300_000)),
                        ("then", word(&["dead-letter", "pause"])),
                    ],
                ),
            ),
            ("on_position_lost", word(&["fail", "resnapshot"])),
        ],
    )
}

fn table() -> Json {
    mapping(
        &["from"],
        [
            ("from", text("The source's table, or a pattern such as public.*")),
            (
                "to",
                text(
                    "The target's table; {schema} and {table} are filled in. Default: the name without schema",
                ),
            ),
            ("key", texts("The key's columns, only where the source's table has no key.")),
            ("columns", mapping(&[], [("exclude", texts("Columns that are left out."))])),
            ("where", text("Which rows: the predicate language of the plugin `filter`.")),
            ("transform", json!({ "type": "array", "items": step() })),
            ("conflict", conflict()),
        ],
    )
}

fn conflict() -> Json {
    let column =
        "Of `latest` and `version`: the column of the target's table that tells which row is the later one.";
    mapping(&["strategy"], [("strategy", word(&STRATEGIES)), ("column", text(column))])
}

fn step() -> Json {
    mapping(
        &["plugin"],
        [
            ("plugin", text("A shipped plugin, or NAME of NAME.wasm in the plugin folder.")),
            (
                "config",
                json!({ "type": "object", "description": "The plugin's own configuration. No ${..} in here: it is shown." }),
            ),
            ("grant", grant()),
            (
                "limits",
                mapping(
                    &[],
                    [
                        ("memory", size("Memory of one instance.", "64MiB")),
                        ("batch_ms", number(1, "Time for one batch, in milliseconds.", 2000)),
                        ("output", size("What one batch may answer.", "64MiB")),
                        ("value", size("The longest value that is shown to it.", "8MiB")),
                    ],
                ),
            ),
            ("columns", mapping(&[], [("deny", texts("Columns that the plugin must not see."))])),
            (
                "override",
                truth("A file in the plugin folder may stand in for the shipped plugin of that name."),
            ),
            ("digest", text("sha256:.. of the only version that will do.")),
            ("shadow", not_built()),
        ],
    )
}

fn key() -> Json {
    let one = "Base64 of 32 bytes. Write ${env:NAME}, never the key itself.";
    let old = texts("Keys that it has replaced: what they sealed still opens.");
    json!({ "anyOf": [text(one), mapping(&["seal"], [("seal", text(one)), ("open", old)])] })
}

fn grant() -> Json {
    let ops =
        json!({ "type": "array", "minItems": 1, "items": { "enum": CryptoOp::ALL.map(CryptoOp::word) } });
    let crypto = mapping(&["keys", "ops"], [("keys", texts("Names of `keys:`.")), ("ops", ops)]);
    let log = mapping(&[], []);
    mapping(&[], [("crypto", crypto), ("lookup", not_built()), ("log", log), ("metrics", not_built())])
}

fn mapping<const N: usize>(required: &[&str], properties: [(&str, Json); N]) -> Json {
    let properties: Map<String, Json> =
        properties.into_iter().map(|(key, of)| (key.to_string(), of)).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn named(of: Json, description: &str) -> Json {
    json!({
        "type": "object",
        "description": description,
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,40}$" },
        "additionalProperties": of,
    })
}

fn text(description: &str) -> Json {
    json!({ "type": "string", "description": description })
}

fn texts(description: &str) -> Json {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn word(words: &[&str]) -> Json {
    json!({ "anyOf": [{ "enum": words }, reference()] })
}

fn truth(description: &str) -> Json {
    json!({ "anyOf": [{ "type": "boolean" }, reference()], "description": description })
}

fn number(least: u64, description: &str, default: u64) -> Json {
    json!({
        "anyOf": [{ "type": "integer", "minimum": least }, reference()],
        "description": description,
        "default": default,
    })
}

fn size(description: &str, default: &str) -> Json {
    let written = json!({ "type": "string", "pattern": "^[0-9.]+ ?([kKMGT]i?)?B?$" });
    json!({
        "anyOf": [{ "type": "integer", "minimum": 0 }, written, reference()],
        "description": description,
        "default": default,
    })
}

/// `${env:..}` and `${file:..}` stand for a value of any type.
fn reference() -> Json {
    json!({ "type": "string", "pattern": "^\\$\\{(env|file):[^}]+\\}$" })
}

/// A connector's part: it knows values, and nothing of the references that may stand for them.
fn with_references(mut schema: Json) -> Json {
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    for (_, of) in properties.filter(|(key, _)| *key != "kind") {
        let is_any_text = match &of["type"] {
            Json::Array(types) => types.iter().any(|ty| ty == "string"),
            ty => ty == "string",
        };
        if of["type"] == "object" {
            *of = with_references(of.take());
        } else if !is_any_text {
            let mut either = json!({ "anyOf": [of.take(), reference()] });
            for key in ["description", "default"] {
                // Where an editor looks for them.
                if let Some(told) = either["anyOf"][0].as_object_mut().and_then(|own| own.remove(key)) {
                    either[key] = told;
                }
            }
            *of = either;
        }
    }
    schema
}

/// A key that is known, so that its name is told, and refused.
fn not_built() -> Json {
    json!({ "not": {}, "description": "Not built yet in this version." })
}
