//! Reads as much of a `CREATE INDEX` statement as SQLite's pragmas don't tell: expressions and the predicate.

/// What an index is over, as SQL text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexSql {
    /// The indexed terms, without `ASC` and `DESC`.
    pub terms: Vec<String>,
    /// The predicate of a partial index.
    pub predicate: Option<String>,
}

/// Reads the statement as `sqlite_schema` keeps it; `None` if it has another form than SQLite writes.
pub(crate) fn parse(sql: &str) -> Option<IndexSql> {
    let mut terms = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, mark) in (Marks { sql, at: 0 }) {
        match mark {
            b'(' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b',' if depth == 1 => {
                terms.push(without_direction(&sql[start..at]));
                start = at + 1;
            }
            b')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    terms.push(without_direction(&sql[start..at]));
                    return Some(IndexSql { terms, predicate: predicate(&sql[at + 1..])? });
                }
            }
            _ => {}
        }
    }
    None
}

fn without_direction(term: &str) -> String {
    let term = term.trim();
    let last = term.rsplit(char::is_whitespace).next().unwrap_or_default();
    let directed = last.len() < term.len() && matches!(last.to_ascii_uppercase().as_str(), "ASC" | "DESC");
    let kept = if directed { &term[..term.len() - last.len()] } else { term };
    kept.trim().to_string()
}

/// `Some(None)`: there is none.
fn predicate(rest: &str) -> Option<Option<String>> {
    let rest = rest.trim();
    if rest.is_empty() {
        return Some(None);
    }
    let (word, text) = (rest.get(..5)?, rest.get(5..)?);
    word.eq_ignore_ascii_case("where").then(|| Some(text.trim().to_string()))
}

/// The parentheses and commas of a statement that stand outside of quotes and comments.
struct Marks<'a> {
    sql: &'a str,
    at: usize,
}

impl Iterator for Marks<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        let bytes = self.sql.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            let here = self.at;
            let rest = &self.sql.as_bytes()[here..];
            let skip = |end: &[u8], from: usize| {
                rest.windows(end.len())
                    .skip(from)
                    .position(|window| window == end)
                    .map(|at| at + from + end.len())
            };
            let step = match byte {
                // A doubled quote inside of quotes reads as two quoted parts, which is as good.
                b'\'' | b'"' | b'`' => skip(&[byte], 1),
                b'[' => skip(b"]", 1),
                b'-' if rest.starts_with(b"--") => skip(b"\n", 2),
                b'/' if rest.starts_with(b"/*") => skip(b"*/", 2),
                _ => Some(1),
            };
            self.at = here + step.unwrap_or(rest.len());
            if matches!(byte, b'(' | b')' | b',') {
                return Some((here, byte));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> (Vec<String>, Option<String>) {
        let index = parse(sql).unwrap();
        (index.terms, index.predicate)
    }

    #[test]
    fn terms_and_predicate_are_told_apart() {
        let (terms, predicate) = read(
            "CREATE UNIQUE INDEX \"i(\" ON [t,(](a, lower(b || ',)') COLLATE NOCASE DESC, \"d\"\",\" asc /* ) */) WHERE c > '('",
        );
        assert_eq!(terms, ["a", "lower(b || ',)') COLLATE NOCASE", "\"d\"\",\" asc /* ) */"]);
        assert_eq!(predicate.as_deref(), Some("c > '('"));
    }

    #[test]
    fn an_index_without_a_predicate() {
        assert_eq!(read("CREATE UNIQUE INDEX i ON t (a ASC)"), (vec!["a".to_string()], None));
        assert_eq!(parse("CREATE UNIQUE INDEX i ON t (a"), None);
    }
}
