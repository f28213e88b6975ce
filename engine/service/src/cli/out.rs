//! What people see: aligned text, or JSON. Never a row's values, but where they were asked for.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// Writes a line to standard output. A reader that has gone (`| head`) is nobody to tell about it.
pub fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Writes a line to standard error, where progress and failures go.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes JSON, indented.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => line(format_args!("{{ \"code\": \"internal\", \"message\": \"{error}\" }}")),
    }
}

/// Writes rows under headings, each column as wide as its widest cell.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    line(aligned(headings, rows));
}

fn aligned<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let row_of = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut lines = vec![row_of(headings)];
    lines.extend(rows.iter().map(|row| row_of(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// A count in groups of three, as people read it: 1 234 567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 row`, `1 000 rows`.
pub fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", count(number)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["ä".to_string(), "1".into()], ["longer".into(), String::new()]];
        assert_eq!(aligned(["NAME", "N"], &rows), "NAME    N\nä       1\nlonger");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(123), "123");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(counted(1, "row"), "1 row");
    }
}
