//! Reads a part of the configuration and collects every finding on the way, instead of stopping at the first.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::error::{ErrorKind, Finding, Severity};

/// A mapping of the configuration, read key by key.
///
/// Every `take_*` method removes its key and remembers that it is known; [`Settings::finish`] reports what is left as unknown,
/// with the nearest known key as a suggestion. A wrong type is a finding and reads as if the key were missing.
#[derive(Debug)]
pub struct Settings {
    path: String,
    map: Map<String, Json>,
    known: Vec<&'static str>,
    findings: Vec<Finding>,
}

impl Settings {
    /// Reads `value`, which stands at `path` of the file. Anything but a mapping is a finding.
    pub fn new(path: impl Into<String>, value: Json) -> Self {
        let path = path.into();
        let mut findings = Vec::new();
        let map = match value {
            Json::Object(map) => map,
            Json::Null => Map::new(),
            other => {
                let what = format!("expected a mapping, found {}", kind_of(&other));
                findings.push(Finding::error(
                    ErrorKind::Config,
                    &path,
                    what,
                    "write `key: value` lines here",
                ));
                Map::new()
            }
        };
        Settings { path, map, known: Vec::new(), findings }
    }

    /// The path of this mapping in the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of one of its keys.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// Adds a finding.
    pub fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds an error about one of its keys.
    pub fn reject(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::error(ErrorKind::Config, self.path_of(key), what, remedy));
    }

    /// Whether an error was found so far. Unknown keys are found by [`Settings::finish`], not before.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Whether the key is there, without taking it.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The raw value; null reads as missing.
    pub fn take(&mut self, key: &'static str) -> Option<Json> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// A known key whose feature is not built yet: an error if it is there.
    pub fn not_built(&mut self, key: &'static str, remedy: &str) {
        if self.take(key).is_some() {
            let what = format!("`{key}` is not built yet in this version");
            self.findings.push(Finding::error(ErrorKind::NotBuilt, self.path_of(key), what, remedy));
        }
    }

    /// Text.
    pub fn take_text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Json::String(text) => Some(text),
            other => self.wrong_type(key, "text", &other),
        }
    }

    /// Text that must be there.
    pub fn need_text(&mut self, key: &'static str, remedy: &str) -> Option<String> {
        if !self.map.contains_key(key) {
            self.reject(key, format!("`{key}` is missing"), remedy);
        }
        self.take_text(key)
    }

    /// One of a few words, with a suggestion when it is none of them.
    pub fn take_word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.take_text(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let remedy = format!("{}one of: {}", did_you_mean(&text, names.iter().copied()), names.join(", "));
        self.reject(key, format!("`{text}` is not a value of `{key}`"), remedy);
        None
    }

    /// true or false; the words as text too, since that is what `${env:..}` gives.
    pub fn take_bool(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Json::Bool(value) => Some(value),
            Json::String(text) if text == "true" => Some(true),
            Json::String(text) if text == "false" => Some(false),
            other => self.wrong_type(key, "true or false", &other),
        }
    }

    /// A whole number from `least` on; its digits as text too, since that is what `${env:..}` gives.
    pub fn take_number(&mut self, key: &'static str, least: u64) -> Option<u64> {
        let value = self.take(key)?;
        match value.as_u64().or_else(|| value.as_str().and_then(|digits| digits.parse().ok())) {
            Some(number) if number >= least => Some(number),
            Some(_) => {
                self.reject(key, format!("`{key}` is too small"), format!("{least} or more"));
                None
            }
            None => self.wrong_type(key, "a whole number, 0 or more", &value),
        }
    }

    /// A size: a whole number of bytes or a number with `KiB`, `MiB`, `GiB`, `TiB` (or `kB`, `MB`, `GB`, `TB`).
    pub fn take_size(&mut self, key: &'static str) -> Option<u64> {
        let value = self.take(key)?;
        let bytes = value.as_u64().or_else(|| value.as_str().and_then(parse_size));
        bytes.or_else(|| self.wrong_type(key, "a size such as 64MiB", &value))
    }

    /// A list of text.
    pub fn take_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<Vec<String>>>()
        });
        texts.or_else(|| self.wrong_type(key, "a list of text", &value))
    }

    /// A nested mapping, to be read in turn; give its findings back with [`Settings::absorb`].
    pub fn take_settings(&mut self, key: &'static str) -> Option<Settings> {
        let value = self.take(key)?;
        Some(Settings::new(self.path_of(key), value))
    }

    /// A mapping of names that the user chose to settings.
    pub fn take_named(&mut self, key: &'static str) -> BTreeMap<String, Settings> {
        match self.take(key) {
            None => BTreeMap::new(),
            Some(Json::Object(map)) => {
                let path = self.path_of(key);
                map.into_iter()
                    .map(|(name, value)| (name.clone(), Settings::new(format!("{path}.{name}"), value)))
                    .collect()
            }
            Some(other) => self.wrong_type(key, "a mapping of names", &other).unwrap_or_default(),
        }
    }

    /// Takes over the findings of a nested mapping that has been read.
    pub fn absorb(&mut self, nested: Settings) {
        self.findings.extend(nested.finish());
    }

    /// Leaves the other keys unread: nobody knows what may be here.
    pub fn ignore_rest(&mut self) {
        self.map.clear();
    }

    /// Ends the reading: every finding, unknown keys included.
    pub fn finish(mut self) -> Vec<Finding> {
        for key in self.map.keys() {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let remedy = did_you_mean(key, self.known.iter().copied());
            let remedy =
                if remedy.is_empty() { format!("known here: {}", self.known.join(", ")) } else { remedy };
            self.findings.push(Finding::error(
                ErrorKind::Config,
                path,
                format!("unknown key `{key}`"),
                remedy.trim_end(),
            ));
        }
        self.findings
    }

    fn wrong_type<T>(&mut self, key: &str, expected: &str, found: &Json) -> Option<T> {
        self.reject(key, format!("`{key}` is {}", kind_of(found)), format!("write {expected}"));
        None
    }
}

/// `did you mean X? ` for the nearest of the candidates, or nothing when none is near.
pub fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let nearest = candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    nearest.map_or(String::new(), |(_, candidate)| format!("did you mean `{candidate}`? "))
}

/// Reads `64MiB`, `1.5 GB`, `1000`.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit: u64 = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let number: f64 = digits.parse().ok()?;
    let bytes = number * unit as f64;
    (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
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
    use serde_json::json;

    use super::*;

    #[test]
    fn all_findings_come_at_once() {
        let mut settings =
            Settings::new("databases.a", json!({"pth": "x", "timeout": "long", "mode": "fats", "n": 0}));
        assert!(!settings.has_errors());
        assert_eq!(settings.need_text("path", "the file"), None);
        assert!(settings.has_errors());
        assert_eq!(settings.take_number("timeout", 1), None);
        assert_eq!(settings.take_word("mode", &[("fast", 1), ("slow", 2)]), None);
        assert_eq!(settings.take_number("n", 1), None);
        let findings = settings.finish();
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "error config-invalid: databases.a.path: `path` is missing. the file",
                "error config-invalid: databases.a.timeout: `timeout` is text. write a whole number, 0 or more",
                "error config-invalid: databases.a.mode: `fats` is not a value of `mode`. did you mean `fast`? one of: fast, slow",
                "error config-invalid: databases.a.n: `n` is too small. 1 or more",
                "error config-invalid: databases.a.pth: unknown key `pth`. did you mean `path`?",
            ]
        );
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("8MiB", Some(8 << 20)),
            ("1.5 GB", Some(1_500_000_000)),
            ("1000", Some(1000)),
            ("5 potatoes", None),
            ("-1MiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_known_key_that_is_not_built_is_an_error() {
        let mut settings = Settings::new("", json!({"atomic": true}));
        settings.not_built("atomic", "leave it out");
        assert_eq!(settings.finish()[0].code, "not_built");
    }
}
