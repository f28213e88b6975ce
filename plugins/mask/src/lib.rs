//! Hides most of a text: card numbers, addresses, whatever. The README says how.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_sdk::{Col, ColumnType, Keep, Reject, Row, Rows, Table, pointer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    columns: BTreeMap<String, Rule>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "write `all`, `card`, `email`, or `{ keep: 4, from: end }`")]
enum Rule {
    Named(Named),
    Partial(Partial),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Named {
    /// Nothing stays, not even the length.
    All,
    /// The last four digits stay.
    Card,
    /// The domain stays, and the first character before it.
    Email,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Partial {
    keep: usize,
    #[serde(default)]
    from: End,
    #[serde(default = "star")]
    with: char,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    #[default]
    End,
    Start,
}

fn star() -> char {
    '*'
}

/// What stands for a text of which nothing is shown.
const HIDDEN: &str = "***";
/// A card number has this many digits at least (ISO/IEC 7812); of fewer, none is shown.
const CARD_DIGITS_MIN: usize = 12;
const CARD_DIGITS_SHOWN: usize = 4;

impl Rule {
    fn masked(&self, text: &str) -> String {
        match self {
            Rule::Named(Named::All) => HIDDEN.into(),
            Rule::Named(Named::Card) => card(text),
            Rule::Named(Named::Email) => email(text),
            Rule::Partial(partial) => partial.masked(text),
        }
    }
}

/// Not part of a card number.
fn is_foreign(c: char) -> bool {
    c.is_alphanumeric() && !c.is_ascii_digit()
}

/// What is no digit stays where it is: people know `**** **** **** 1111` for what it is.
fn card(text: &str) -> String {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if digits < CARD_DIGITS_MIN || text.chars().any(is_foreign) {
        return HIDDEN.into();
    }
    let mut left = digits;
    let mask = |c: char| {
        if !c.is_ascii_digit() {
            return c;
        }
        left -= 1;
        if left < CARD_DIGITS_SHOWN { c } else { '*' }
    };
    text.chars().map(mask).collect()
}

fn email(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() => {
            let first: String = name.chars().take(1).collect();
            format!("{first}{HIDDEN}@{domain}")
        }
        _ => HIDDEN.into(),
    }
}

impl Partial {
    /// A text that is not longer than what may be shown is not shown at all.
    fn masked(&self, text: &str) -> String {
        let count = text.chars().count();
        let hidden = if count <= self.keep { count } else { count - self.keep };
        let shows = |at: usize| match self.from {
            End::End => at >= hidden,
            End::Start => at < count - hidden,
        };
        text.chars().enumerate().map(|(at, c)| if shows(at) { c } else { self.with }).collect()
    }
}

struct Mask {
    columns: Vec<(Col, Rule)>,
}

impl Rows for Mask {
    type Config = Config;
    const SUMMARY: &'static str =
        "Hides most of a text: card numbers, e-mail addresses, or all but a few characters";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Config) -> Self {
        if config.columns.is_empty() {
            table.error("/columns", "name a column: `columns: { email: email }`");
        }
        let mut columns = Vec::new();
        for (name, rule) in config.columns {
            let path = pointer(&["columns", &name]);
            let column = table.retype_from(&path, &name, &[ColumnType::Text], ColumnType::Text);
            table.computed_from(column, &[column]);
            // Stars may be longer than what was there.
            table.native(column, "");
            columns.push((column, rule));
        }
        Mask { columns }
    }

    fn row(&self, row: &mut Row) -> Result<Keep, Reject> {
        for (column, rule) in &self.columns {
            if let Some(text) = row.text(*column) {
                row.set_text(*column, &rule.masked(text));
            }
        }
        Ok(Keep::Yes)
    }
}

sluice_sdk::export_rows!(Mask);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_shows_its_last_digits_if_it_is_one() {
        assert_eq!(card("4111 1111 1111 1111"), "**** **** **** 1111");
        assert_eq!(card("378282246310005"), "***********0005");
        for no_card in
            ["", "1234", "4111 1111 111", "call 4111111111111111", "４１１１１１１１１１１１１１１１"]
        {
            assert_eq!(card(no_card), HIDDEN, "{no_card}");
        }
    }

    #[test]
    fn what_is_no_address_is_hidden() {
        assert_eq!(email("ann.lee@example.org"), "a***@example.org");
        assert_eq!(email("\u{e9}@x"), "\u{e9}***@x");
        assert_eq!(email("\"a@b\"@x"), "\"***@x");
        for none in ["", "ann", "@x", "ann@"] {
            assert_eq!(email(none), HIDDEN, "{none}");
        }
    }

    #[test]
    fn never_all_of_it_is_shown() {
        let of = |keep, from, text: &str| Partial { keep, from, with: '#' }.masked(text);
        assert_eq!(of(2, End::End, "žluťoučký"), "#######ký");
        assert_eq!(of(2, End::Start, "12345"), "12###");
        assert_eq!(of(2, End::Start, "12"), "##");
        assert_eq!(of(9, End::End, "12"), "##");
        assert_eq!(of(0, End::End, "12"), "##");
        assert_eq!(of(1, End::End, ""), "");
    }
}
