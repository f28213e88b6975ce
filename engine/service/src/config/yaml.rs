//! Text to a tree, with the line of everything in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};
use serde_saphyr::Spanned;
use sluice_types::{Error, ErrorKind, Finding};

/// A place in the text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// The tree of the file as it is written, `${..}` not filled in.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The tree.
    pub tree: Json,
    /// Where each path stands.
    spots: BTreeMap<String, Spot>,
}

impl Document {
    /// Reads a text. What is wrong with it as YAML is one finding, with line and column.
    pub fn parse(text: &str) -> Result<Document, Box<Finding>> {
        let mut document = Document::default();
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(document);
        }
        let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| Box::new(syntax_finding(&error)))?;
        let (line, column) = (node.referenced.line(), node.referenced.column());
        document.tree = document.plant(node, String::new());
        if !document.tree.is_object() {
            let path = format!("line {line}, column {column}");
            let what = "the file is not a mapping";
            return Err(Box::new(Finding::error(
                ErrorKind::Config,
                path,
                what,
                "start it with `version: 1`",
            )));
        }
        Ok(document)
    }

    /// Where a path stands, or the nearest thing around it that does.
    pub fn spot(&self, path: &str) -> Option<Spot> {
        let mut path = path;
        loop {
            if let Some(spot) = self.spots.get(path) {
                return Some(*spot);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn plant(&mut self, node: Spanned<Node>, path: String) -> Json {
        let spot = Spot { line: node.referenced.line(), column: node.referenced.column() };
        let json = match node.value {
            Node::Leaf(leaf) => leaf,
            Node::List(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(index, item)| self.plant(item, format!("{path}[{index}]"))).collect()
            }
            Node::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    map.insert(key, self.plant(value, path));
                }
                Json::Object(map)
            }
        };
        self.spots.insert(path, spot);
        json
    }
}

/// YAML 1.2: `no` and `y` are text, as in `country: no`.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

/// What the reader says, without the text around it: that may hold a password.
fn syntax_finding(error: &serde_saphyr::Error) -> Finding {
    let error = error.without_snippet();
    let path =
        error.location().map_or(String::new(), |at| format!("line {}, column {}", at.line(), at.column()));
    let remedy = "mend the YAML there; lists and mappings are indented with spaces, text with `: ` or `#` in it is quoted";
    Finding::error(ErrorKind::Config, path, format!("not YAML: {error}"), remedy)
}

enum Node {
    Leaf(Json),
    List(Vec<Spanned<Node>>),
    Mapping(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false, a list or a mapping")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(Json::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(Json::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(Json::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Node::Leaf(Json::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(Json::from(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Json::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Json::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

/// The findings as one error about `file`.
pub(super) fn refused(file: &std::path::Path, findings: Vec<Finding>) -> Error {
    Error::findings(ErrorKind::Config, format!("{} can't be used", file.display()), findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_has_its_line() {
        let text = "# a comment\nversion: 1\nlist:\n  - a: x\n  - b: [1, 2.5, -3]\nempty:\nquoted: \"1\"\nnorway: no\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(
            document.tree,
            json!({"version": 1, "list": [{"a": "x"}, {"b": [1, 2.5, -3]}], "empty": null, "quoted": "1", "norway": "no"})
        );
        assert_eq!(document.spot("list[1].b").map(|spot| spot.line), Some(5));
        assert_eq!(document.spot("list[1].missing").map(|spot| spot.line), Some(5));
        assert_eq!(document.spot("nowhere"), None);
    }

    #[test]
    fn what_is_not_yaml_says_where_and_quotes_nothing() {
        for (text, place) in [
            ("a: 1\nb: [1, 2\nc: 3\n", "line "),
            ("a: 1\na: 2\n", "line 2"),
            ("password: \"hunter2\n", "line "),
            ("a: *nowhere\n", "line 1"),
        ] {
            let finding = Document::parse(text).unwrap_err();
            assert!(finding.path.starts_with(place), "{text}: {finding}");
            assert!(!finding.to_string().contains("hunter2"), "{finding}");
        }
        assert_eq!(Document::parse("\n# nothing\n").unwrap().tree, Json::Null);
    }
}
