//! `${env:NAME}` and `${file:PATH}` in the configuration: filled in once, and never shown.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sluice_types::{ErrorKind, Finding};

/// The longest secret that is read from a file, in bytes (I10).
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;
/// A value shorter than this is only taken out of messages about the very place where it was filled in.
const TELLING_BYTES_MIN: usize = 4;

/// Where `${..}` are looked up.
pub(crate) struct Lookup<'a> {
    /// Relative paths are meant from here.
    pub base: &'a Path,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A tree with everything filled in, and what must not be shown.
pub(crate) struct Filled {
    /// The tree.
    pub tree: Json,
    /// What could not be filled in.
    pub findings: Vec<Finding>,
    /// The files that were read: a change of one is a change of the configuration.
    pub files: Vec<PathBuf>,
    hidden: Vec<Hidden>,
}

struct Hidden {
    path: String,
    written: String,
    value: String,
}

/// Fills in every `${env:..}` and `${file:..}`. `$${` stands for `${`.
pub(crate) fn fill(tree: &Json, lookup: &Lookup<'_>) -> Filled {
    let mut filled = Filled { tree: Json::Null, findings: Vec::new(), files: Vec::new(), hidden: Vec::new() };
    filled.tree = filled.walk(tree, "", lookup);
    filled
}

impl Filled {
    fn walk(&mut self, tree: &Json, path: &str, lookup: &Lookup<'_>) -> Json {
        match tree {
            Json::String(text) => Json::String(self.text(text, path, lookup)),
            Json::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.walk(item, &format!("{path}[{index}]"), lookup)).collect()
            }
            Json::Object(map) => {
                let entries = map.iter().map(|(key, value)| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    (key.clone(), self.walk(value, &path, lookup))
                });
                Json::Object(entries.collect())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, written: &str, path: &str, lookup: &Lookup<'_>) -> String {
        if !written.contains("${") {
            return written.to_string();
        }
        if is_shown(path) {
            self.find(
                path,
                "`${..}` is not allowed here: configurations of plugins are shown",
                "write the value itself, or, for a secret, give it where it is kept secret",
            );
            return written.to_string();
        }
        let (mut out, mut rest) = (String::new(), written);
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                self.find(path, "`${` without its `}`", "close it, or write `$${` for the two characters");
                return out;
            };
            let reference = &rest[at + 2..at + end];
            match self.look_up(reference, lookup) {
                Ok(value) => {
                    let written = format!("${{{reference}}}");
                    self.hidden.push(Hidden { path: path.to_string(), written, value: value.clone() });
                    out.push_str(&value);
                }
                Err((what, remedy)) => self.find(path, what, remedy),
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        out
    }

    fn look_up(&mut self, reference: &str, lookup: &Lookup<'_>) -> Result<String, (String, String)> {
        match reference.split_once(':') {
            Some(("env", name)) => match (lookup.env)(name).map(OsString::into_string) {
                Some(Ok(value)) => Ok(value),
                Some(Err(_)) => {
                    Err((format!("the environment variable `{name}` is not UTF-8"), "set it to text".into()))
                }
                None => Err((
                    format!("the environment variable `{name}` is not set"),
                    "set it for the process that runs sluice".into(),
                )),
            },
            Some(("file", name)) => {
                let file = lookup.base.join(name);
                self.files.push(file.clone());
                read_secret(&file).map_err(|why| {
                    (
                        format!("the file `{name}` can't be read: {why}"),
                        "it must be text that sluice's user can read".into(),
                    )
                })
            }
            _ => Err((
                format!("`${{{reference}}}` is neither `${{env:NAME}}` nor `${{file:PATH}}`"),
                "write one of these, or `$${` for the two characters".into(),
            )),
        }
    }

    fn find(&mut self, path: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::error(ErrorKind::Config, path, what, remedy));
    }

    /// Takes every filled-in value out of a finding again: a message that quotes its input must not quote a secret.
    pub(crate) fn conceal(&self, mut finding: Finding) -> Finding {
        for Hidden { path, written, value } in &self.hidden {
            let here = finding.path == *path && !value.is_empty();
            if here || value.len() >= TELLING_BYTES_MIN {
                finding.what = finding.what.replace(value, written);
                finding.remedy = finding.remedy.replace(value, written);
            }
        }
        finding
    }
}

/// Whether what stands at this path is shown to people: a plugin's configuration, and `where`, which is one.
fn is_shown(path: &str) -> bool {
    let Some((_, rest)) = path.strip_prefix("pipelines.").and_then(|rest| rest.split_once(".tables[")) else {
        return false;
    };
    let Some((_, inner)) = rest.split_once("].") else { return false };
    let in_config =
        inner.strip_prefix("transform[").and_then(|inner| inner.split_once("].")).map(|(_, key)| key);
    inner == "where"
        || in_config
            .and_then(|key| key.strip_prefix("config"))
            .is_some_and(|k| k.is_empty() || k.starts_with(['.', '[']))
}

fn read_secret(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|cause| cause.to_string())?.len();
    if size > SECRET_FILE_BYTES_MAX {
        return Err(format!("it has more than {SECRET_FILE_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|cause| cause.to_string())?;
    // Editors end a file with a newline; no secret does.
    Ok(text.trim_end_matches(['\n', '\r']).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(tree: Json) -> Filled {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pw"), "from a file\n").unwrap();
        let env = |name: &str| (name == "PW").then(|| OsString::from("hunter2"));
        fill(&tree, &Lookup { base: dir.path(), env: &env })
    }

    #[test]
    fn references_are_filled_in_anywhere() {
        let tree = json!({"a": ["x ${env:PW} y ${file:pw}"], "n": 1, "dollar": "$${env:PW} $5", "b": true});
        let filled = filled(tree);
        assert_eq!(filled.findings, []);
        let expected = json!({"a": ["x hunter2 y from a file"], "n": 1, "dollar": "${env:PW} $5", "b": true});
        assert_eq!(filled.tree, expected);
        assert_eq!(filled.files.len(), 1);
    }

    #[test]
    fn what_cant_be_filled_in_is_found_all_at_once() {
        let filled = filled(json!({
            "a": "${env:NOPE}", "b": "${file:nope}", "c": "${vault:x}", "d": "${env:PW",
            "pipelines": {"p": {"tables": [
                {"where": "x = '${env:PW}'", "transform": [{"plugin": "${env:PW}", "config": {"k": "${env:PW}"}}]},
            ]}},
        }));
        let mut paths: Vec<&str> = filled.findings.iter().map(|finding| finding.path.as_str()).collect();
        paths.sort_unstable();
        let table = "pipelines.p.tables[0]";
        assert_eq!(
            paths,
            ["a", "b", "c", "d", &format!("{table}.transform[0].config.k"), &format!("{table}.where")]
        );
        assert!(filled.findings.iter().all(|finding| !finding.to_string().contains("hunter2")));
    }

    #[test]
    fn a_secret_is_taken_out_of_findings() {
        let filled = filled(json!({"a": "${env:PW}"}));
        let finding = Finding::error(ErrorKind::Config, "b", "`hunter2` is not a word", "write no hunter2");
        let shown = filled.conceal(finding).to_string();
        assert!(!shown.contains("hunter2") && shown.contains("${env:PW}"), "{shown}");
    }
}
