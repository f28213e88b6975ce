//! Words, numbers, texts and signs of an expression.

/// A mistake in the expression.
#[derive(Debug, PartialEq)]
pub struct Mistake {
    /// In characters, from 1.
    pub at: usize,
    pub what: String,
}

impl Mistake {
    pub fn new(at: usize, what: impl Into<String>) -> Mistake {
        Mistake { at, what: what.into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name without quotes: a keyword or a column.
    Word(String),
    /// A column in double quotes.
    Quoted(String),
    /// A text in single quotes.
    Text(String),
    /// A number, sign included.
    Number(String),
    /// `= != < <= > >= ( ) ,`; `<>` is given as `!=`.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "<", ">", "=", "(", ")", ","];

/// The tokens with their places. The last one is the end.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Mistake> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (place, c) = (at + 1, chars[at]);
        let token = match c {
            _ if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' => Token::Text(quoted(&chars, &mut at, '\'', "text")?),
            '"' => Token::Quoted(quoted(&chars, &mut at, '"', "column name")?),
            _ if c.is_ascii_digit() || c == '-' => Token::Number(number(&chars, &mut at)?),
            _ if c.is_alphabetic() || c == '_' => {
                let start = at;
                while at < chars.len()
                    && (chars[at].is_alphanumeric() || chars[at] == '_' || chars[at] == '$')
                {
                    at += 1;
                }
                Token::Word(chars[start..at].iter().collect())
            }
            _ => {
                let pair: String = chars[at..].iter().take(2).collect();
                let Some(sign) = SIGNS.iter().find(|sign| pair.starts_with(**sign)) else {
                    return Err(Mistake::new(place, format!("`{c}` has no meaning here")));
                };
                at += sign.len();
                Token::Sign(if *sign == "<>" { "!=" } else { sign })
            }
        };
        tokens.push((place, token));
    }
    tokens.push((chars.len() + 1, Token::End));
    Ok(tokens)
}

/// What stands between two quotes; a doubled quote is one.
fn quoted(chars: &[char], at: &mut usize, quote: char, what: &str) -> Result<String, Mistake> {
    let start = *at + 1;
    let mut text = String::new();
    *at += 1;
    while let Some(&c) = chars.get(*at) {
        *at += 1;
        if c != quote {
            text.push(c);
        } else if chars.get(*at) == Some(&quote) {
            text.push(quote);
            *at += 1;
        } else {
            return Ok(text);
        }
    }
    Err(Mistake::new(start, format!("the {what} that begins here has no closing {quote}")))
}

fn number(chars: &[char], at: &mut usize) -> Result<String, Mistake> {
    let start = *at;
    *at += 1;
    while let Some(&c) = chars.get(*at) {
        let exponent_sign = matches!(c, '+' | '-') && matches!(chars[*at - 1], 'e' | 'E');
        if !(c.is_alphanumeric() || c == '.' || c == '_' || exponent_sign) {
            break;
        }
        *at += 1;
    }
    let text: String = chars[start..*at].iter().collect();
    match sluice_sdk::Decimal::parse(&text) {
        Some(_) => Ok(text),
        None => Err(Mistake::new(start + 1, format!("`{text}` is not a number"))),
    }
}
