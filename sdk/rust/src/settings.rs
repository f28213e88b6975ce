//! A plugin's configuration: typed by serde, or read key by key so that all mistakes are found at once.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::raw::ConfigError;

/// Reads the whole configuration. A mistake has its place and, for an unknown key, the nearest known one.
pub(crate) fn parse<C: DeserializeOwned>(text: &str) -> Result<C, Vec<ConfigError>> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut path = String::new();
        for segment in error.path() {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => path.push_str(&format!("/{index}")),
                Segment::Map { key } => path.push_str(&pointer(&[key])),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let message = error.into_inner().to_string();
        // The place in the JSON text means nothing to somebody who wrote YAML.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        vec![ConfigError { path, message: with_hint(message) }]
    })
}

/// serde names the unknown word and all known ones, each in backticks; adds the nearest.
fn with_hint(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match words.split_first() {
        Some((wrong, known)) if message.starts_with("unknown ") => {
            let hint = did_you_mean(wrong, known.iter().copied());
            if hint.is_empty() { message.into() } else { format!("{message}; {hint}") }
        }
        _ => message.into(),
    }
}

/// A JSON Pointer to a key below keys: `pointer(&["columns", "a/b"])` is `/columns/a~1b`.
pub fn pointer(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
}

/// `did you mean X?` for the nearest of the candidates, or nothing when none is near.
pub fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let nearest = candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    nearest.map_or(String::new(), |(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// A mapping of the configuration, read key by key; every mistake is kept, and a wrong type reads as if the key were missing.
pub struct Settings {
    path: String,
    map: Map<String, Json>,
    known: Vec<&'static str>,
    errors: Vec<ConfigError>,
}

impl Settings {
    /// Reads `json`, which stands at `path`.
    pub fn new(path: &str, json: Json) -> Settings {
        let mut settings =
            Settings { path: path.into(), map: Map::new(), known: Vec::new(), errors: Vec::new() };
        match json {
            Json::Object(map) => settings.map = map,
            Json::Null => {}
            other => settings.error_at(path, format!("write a mapping here, not {}", kind_of(&other))),
        }
        settings
    }

    /// The place of a key.
    pub fn path_of(&self, key: &str) -> String {
        format!("{}{}", self.path, pointer(&[key]))
    }

    /// A mistake about a key.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        let path = self.path_of(key);
        self.error_at(&path, message);
    }

    /// A mistake somewhere below.
    pub fn error_at(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(ConfigError { path: path.into(), message: message.into() });
    }

    /// Whether there is no mistake so far.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The raw value, null included.
    pub fn take(&mut self, key: &'static str) -> Option<Json> {
        self.known.push(key);
        self.map.remove(key)
    }

    /// Text.
    pub fn take_text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Json::String(text) => Some(text),
            other => self.wrong(key, "text", &other),
        }
    }

    /// One of a few words.
    pub fn take_word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.take_text(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.error(key, unknown_word(&text, words.iter().map(|(word, _)| *word)));
        }
        found.map(|(_, value)| *value)
    }

    /// true or false.
    pub fn take_bool(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Json::Bool(value) => Some(value),
            other => self.wrong(key, "true or false", &other),
        }
    }

    /// A list of text.
    pub fn take_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<Vec<String>>>()
        });
        texts.or_else(|| self.wrong(key, "a list of text", &value))
    }

    /// A mapping whose keys the user chose.
    pub fn take_map(&mut self, key: &'static str) -> Option<Map<String, Json>> {
        match self.take(key)? {
            Json::Object(map) => Some(map),
            other => self.wrong(key, "a mapping", &other),
        }
    }

    /// Ends the reading: every mistake, unknown keys included.
    pub fn finish(mut self) -> Vec<ConfigError> {
        let unknown: Vec<String> = self.map.keys().cloned().collect();
        for key in unknown {
            let message = format!("unknown key {}", unknown_word(&key, self.known.iter().copied()));
            self.error(&key, message);
        }
        self.errors
    }

    fn wrong<T>(&mut self, key: &str, expected: &str, found: &Json) -> Option<T> {
        self.error(key, format!("write {expected} here, not {}", kind_of(found)));
        None
    }
}

fn unknown_word<'a>(text: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = did_you_mean(text, words.clone());
    let all: Vec<&str> = words.collect();
    let hint = if hint.is_empty() { hint } else { format!("{hint} ") };
    format!("`{text}`; {hint}allowed: {}", all.join(", "))
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Config {
        columns: std::collections::BTreeMap<String, Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        size: u32,
    }

    #[test]
    fn a_mistake_has_its_place() {
        let one = |text| parse::<Config>(text).unwrap_err().remove(0);
        let error = one(r#"{"columns": {"a/b": {"size": "x"}}}"#);
        assert_eq!(error.path, "/columns/a~1b/size");
        let error = one(r#"{"columns": {"a": {"siez": 1}}}"#);
        assert_eq!(error.path, "/columns/a/siez");
        assert_eq!(error.message, "unknown field `siez`, expected `size`; did you mean `size`?");
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let mut settings = Settings::new("", json!({"kep": [], "drop": "x", "mode": "fats"}));
        assert_eq!(settings.take_texts("keep"), None);
        assert_eq!(settings.take_texts("drop"), None);
        assert_eq!(settings.take_word("mode", &[("fast", 1), ("slow", 2)]), None);
        let shown: Vec<String> =
            settings.finish().into_iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
        assert_eq!(
            shown,
            [
                "/drop: write a list of text here, not text",
                "/mode: `fats`; did you mean `fast`? allowed: fast, slow",
                "/kep: unknown key `kep`; did you mean `keep`? allowed: keep, drop, mode",
            ]
        );
    }
}
