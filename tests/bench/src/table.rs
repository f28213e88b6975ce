//! The one table of the run.

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Limit {
    /// Nothing: shown for comparison.
    None,
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

struct Line {
    part: &'static str,
    what: String,
    figure: f64,
    unit: &'static str,
    limit: Limit,
    note: String,
}

/// Collects lines and prints them at the end.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// A figure that is only shown.
    pub fn show(&mut self, part: &'static str, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.add(part, what, figure, unit, Limit::None, String::new());
    }

    /// A figure with a limit, and a note for people.
    pub fn add(
        &mut self,
        part: &'static str,
        what: impl Into<String>,
        figure: f64,
        unit: &'static str,
        limit: Limit,
        note: impl Into<String>,
    ) {
        let line = Line { part, what: what.into(), figure, unit, limit, note: note.into() };
        println!("{}", shown(&line));
        self.lines.push(line);
    }

    /// Prints every line again, together.
    pub fn print(&self) {
        println!("\n{:<10} {:<58} {:>12} {:<9} {:<12} note", "part", "what", "figure", "unit", "limit");
        for line in &self.lines {
            println!("{}", shown(line));
        }
    }

    /// Whether every limit was reached.
    pub fn all_reached(&self) -> bool {
        self.lines.iter().all(reached)
    }
}

fn reached(line: &Line) -> bool {
    match line.limit {
        Limit::None => true,
        Limit::Most(most) => line.figure <= most,
        Limit::Least(least) => line.figure >= least,
    }
}

fn shown(line: &Line) -> String {
    let limit = match line.limit {
        Limit::None => String::new(),
        Limit::Most(most) => format!("<= {most}"),
        Limit::Least(least) => format!(">= {least}"),
    };
    let verdict = match (line.limit, reached(line)) {
        (Limit::None, _) => "",
        (_, true) => "reached ",
        (_, false) => "MISSED ",
    };
    let figure = if line.figure.abs() >= 1000.0 {
        format!("{:.0}", line.figure)
    } else {
        format!("{:.2}", line.figure)
    };
    format!(
        "{:<10} {:<58} {figure:>12} {:<9} {limit:<12} {verdict}{}",
        line.part, line.what, line.unit, line.note
    )
}
