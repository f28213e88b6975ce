//! The text format that Prometheus reads (version 0.0.4).

use std::fmt::Write;

/// What to answer as `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric's name, kind and help.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name, in base units, `_total` for a counter.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// One line for people.
    pub help: &'static str,
}

impl Family {
    /// Something that only grows while the process lives.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Family { name, kind: "counter", help }
    }

    /// Something that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Family { name, kind: "gauge", help }
    }
}

/// The text, as it is being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Writes a family with its samples: labels and value. None: nothing is written.
    pub fn family<L, V>(&mut self, family: Family, samples: impl IntoIterator<Item = (L, V)>)
    where
        L: AsRef<[(&'static str, String)]>,
        V: Into<f64>,
    {
        let Family { name, kind, help } = family;
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            self.text.push_str(name);
            let mut separator = '{';
            for (label, text) in labels.as_ref() {
                let _ = write!(self.text, "{separator}{label}=\"{}\"", escaped(text));
                separator = ',';
            }
            let end = if separator == ',' { "}" } else { "" };
            let _ = writeln!(self.text, "{end} {}", value.into());
        }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_that_prometheus_reads() {
        let mut exposition = Exposition::default();
        let labels = vec![("pipeline", "a\"b\\c\nd".to_string()), ("unit", "changes".into())];
        exposition.family(Family::gauge("lag", "How far behind."), [(labels, 3.0)]);
        exposition.family(Family::counter("up_total", "One."), [(vec![], 1.5)]);
        exposition.family(Family::counter("none_total", "None."), Vec::<(Vec<_>, f64)>::new());
        let expected = "# HELP lag How far behind.\n# TYPE lag gauge\n\
            lag{pipeline=\"a\\\"b\\\\c\\nd\",unit=\"changes\"} 3\n\
            # HELP up_total One.\n# TYPE up_total counter\nup_total 1.5\n";
        assert_eq!(exposition.finish(), expected);
    }
}
