//! The JSON Schema of the file, for editors (`sluice schema`).

use crate::Registry;

/// The schema; each connector of the registry brings its own part.
pub fn json_schema(_registry: &Registry) -> serde_json::Value {
    serde_json::Value::Bool(true)
}
