//! Keeps or drops rows by a predicate on their columns. The language is described in the README.

mod eval;
mod lexer;
mod like;
mod parser;
mod typed;

use eval::{Image, Truth};
use sluice_sdk::{Answer, Batch, Col, Columns, Json, Kind, Settings, Table};
use typed::{Checker, Node};

/// An expression may be this long, in characters.
const LENGTH: usize = 65_536;

struct Filter {
    /// `None` only where `open` has failed.
    predicate: Option<Node>,
    /// What becomes of an image for which the predicate holds.
    keep: bool,
    /// The columns in the predicate.
    columns: Vec<Col>,
}

impl Columns for Filter {
    type Config = Json;
    const SUMMARY: &'static str = "Keeps or drops rows by a predicate on their columns";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Json) -> Self {
        let mut settings = Settings::new("", config);
        let (keep, drop) = (settings.take_text("keep"), settings.take_text("drop"));
        let wrong_type = !settings.is_clean();
        match (&keep, &drop) {
            (Some(_), Some(_)) => settings.error("drop", "write `keep` or `drop`, not both"),
            (None, None) if !wrong_type => {
                settings.error_at("", "write `keep: \"predicate\"` or `drop: \"predicate\"`");
            }
            _ => {}
        }
        table.errors(settings.finish());
        let (path, text) = match (&keep, &drop) {
            (None, Some(text)) => ("/drop", text.as_str()),
            (text, _) => ("/keep", text.as_deref().unwrap_or_default()),
        };
        table.selects();
        let mut filter = Filter { predicate: None, keep: path == "/keep", columns: Vec::new() };
        if keep.is_some() || drop.is_some() {
            filter.read(table, path, text);
        }
        filter
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        let predicate = self.predicate.as_ref().ok_or("the filter was opened with mistakes")?;
        let mut select = Vec::with_capacity(batch.rows());
        for row in 0..batch.rows() {
            let image = Image::new(batch, row);
            let keep = match predicate.holds(image) {
                Truth::True => self.keep,
                Truth::False | Truth::Unknown => !self.keep,
                // What can't be known of a row as it was is answered with "it was there": the target deletes or changes at most a row
                // that it doesn't have.
                Truth::Undecidable if matches!(batch.kind(row), Kind::Before | Kind::Delete) => true,
                Truth::Undecidable => {
                    let missing = self.columns.iter().find(|column| image.is_absent(**column));
                    let message = "the log did not carry this column, on which the filter depends; \
                                   let the source log full rows (for PostgreSQL: REPLICA IDENTITY FULL)";
                    answer
                        .reject(row, missing.map_or_else(|| message.into(), |column| column.reject(message)));
                    true
                }
            };
            if keep {
                select.push(row as u32);
            }
        }
        if select.len() < batch.rows() {
            answer.select(select);
        }
        Ok(())
    }
}

impl Filter {
    /// Reads the expression; mistakes go to the table, each with its place in the text.
    fn read(&mut self, table: &mut Table, path: &str, text: &str) {
        if text.chars().count() > LENGTH {
            return table.error(path, format!("longer than {LENGTH} characters"));
        }
        let mistakes = match parser::parse(text) {
            Err(mistake) => vec![mistake],
            Ok(tree) => {
                let mut checker = Checker { table, path, mistakes: Vec::new(), columns: Vec::new() };
                self.predicate = checker.check(tree);
                self.columns = checker.columns;
                checker.mistakes
            }
        };
        for mistake in mistakes {
            table.error(path, format!("at character {}: {}", mistake.at, mistake.what));
        }
    }
}

sluice_sdk::export_columns!(Filter);

#[cfg(test)]
mod tests;
