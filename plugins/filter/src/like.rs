//! `like`: `%` is any run of characters, `_` is one, `\` takes the meaning from the next.

#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece {
    Run,
    One,
    Char(char),
}

/// A pattern, ready to compare.
#[derive(Debug)]
pub struct Pattern(Vec<Piece>);

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '%' => Piece::Run,
                '_' => Piece::One,
                '\\' => Piece::Char(chars.next().unwrap_or('\\')),
                c => Piece::Char(c),
            });
        }
        Pattern(pieces)
    }

    /// Whether the whole text is like this. Goes back to the last `%` only, so a hostile text costs length times length at most.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // The last run: the piece after it, and the text that it has not taken yet.
        let mut run: Option<(usize, std::str::Chars)> = None;
        loop {
            let mut ahead = rest.clone();
            match (self.0.get(at), ahead.next()) {
                (Some(Piece::Run), _) => {
                    at += 1;
                    run = Some((at, rest.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some(Piece::One), Some(_)) => {}
                (Some(Piece::Char(wanted)), Some(found)) if *wanted == found => {}
                _ => {
                    let Some((after, taken)) = &mut run else { return false };
                    if taken.next().is_none() {
                        return false;
                    }
                    at = *after;
                    rest = taken.clone();
                    continue;
                }
            }
            at += 1;
            rest = ahead;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_single_characters() {
        for (pattern, text, yes) in [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("%", "abc", true),
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("_", "é", true),
            ("a%b%c", "a-b-b-c", true),
            ("a%b%c", "a-c-b", false),
            ("%ab", "aab", true),
            ("100\\%", "100%", true),
            ("100\\%", "1000", false),
            ("A%", "abc", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), yes, "{pattern} {text}");
        }
    }
}
