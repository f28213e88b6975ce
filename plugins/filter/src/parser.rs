//! From tokens to a tree, without knowledge of the table.
//!
//! ```text
//! or        := and { "or" and }
//! and       := not { "and" not }
//! not       := "not" not | test
//! test      := operand [ sign operand | "is" ["not"] "null" | ["not"] "in" "(" literal { "," literal } ")"
//!                      | ["not"] "like" text | ["not"] "between" operand "and" operand ] | "(" or ")"
//! operand   := column | literal
//! ```

use crate::lexer::{Mistake, Token, tokens};

/// How deep parentheses and `not` may nest: each level costs stack.
const DEPTH: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sign {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Column(String),
    Text(String),
    Number(String),
    Bool(bool),
}

/// An operand and its place.
pub type Placed = (usize, Operand);

#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Or(Vec<Tree>),
    And(Vec<Tree>),
    Not(Box<Tree>),
    Compare(Placed, Sign, Placed),
    IsNull(Placed),
    In(Placed, Vec<Placed>),
    Like(Placed, String),
    /// A boolean on its own.
    Is(Placed),
}

pub fn parse(text: &str) -> Result<Tree, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let tree = parser.or()?;
    match parser.next() {
        (_, Token::End) => Ok(tree),
        (at, token) => {
            Err(Mistake::new(at, format!("expected `and`, `or` or the end, found {}", shown(&token))))
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn or(&mut self) -> Result<Tree, Mistake> {
        let mut parts = vec![self.and()?];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        Ok(one_or(parts, Tree::Or))
    }

    fn and(&mut self) -> Result<Tree, Mistake> {
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Tree::And))
    }

    fn not(&mut self) -> Result<Tree, Mistake> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Mistake::new(self.place(), format!("nested more than {DEPTH} deep")));
        }
        let tree = if self.take_word("not") {
            Tree::Not(Box::new(self.not()?))
        } else if self.take_sign("(") {
            let inner = self.or()?;
            self.need_sign(")")?;
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn test(&mut self) -> Result<Tree, Mistake> {
        let left = self.operand()?;
        if let Some(sign) = self.take_comparison() {
            return Ok(Tree::Compare(left, sign, self.operand()?));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.expected("`null`, as in `is null` or `is not null`"));
            }
            return Ok(negate(negated, Tree::IsNull(left)));
        }
        let negated = self.take_word("not");
        if self.take_word("in") {
            return Ok(negate(negated, Tree::In(left, self.list()?)));
        }
        if self.take_word("like") {
            return match self.next() {
                (_, Token::Text(pattern)) => Ok(negate(negated, Tree::Like(left, pattern))),
                (at, token) => Err(Mistake::new(
                    at,
                    format!("expected a pattern in single quotes, found {}", shown(&token)),
                )),
            };
        }
        if self.take_word("between") {
            let low = self.operand()?;
            if !self.take_word("and") {
                return Err(self.expected("`and`, as in `between 1 and 9`"));
            }
            let high = self.operand()?;
            let between = Tree::And(vec![
                Tree::Compare(left.clone(), Sign::GreaterOrEqual, low),
                Tree::Compare(left, Sign::LessOrEqual, high),
            ]);
            return Ok(negate(negated, between));
        }
        if negated {
            return Err(self.expected("`in`, `like` or `between` after `not`"));
        }
        Ok(Tree::Is(left))
    }

    fn list(&mut self) -> Result<Vec<Placed>, Mistake> {
        self.need_sign("(")?;
        let mut items = Vec::new();
        loop {
            let item = self.operand()?;
            if matches!(item.1, Operand::Column(_)) {
                return Err(Mistake::new(item.0, "a list holds texts, numbers, true and false, not columns"));
            }
            items.push(item);
            if !self.take_sign(",") {
                break;
            }
        }
        self.need_sign(")")?;
        Ok(items)
    }

    fn operand(&mut self) -> Result<Placed, Mistake> {
        const KEYWORDS: [&str; 7] = ["and", "or", "not", "is", "in", "like", "between"];
        let (at, token) = self.next();
        let operand = match token {
            Token::Quoted(name) => Operand::Column(name),
            Token::Text(text) => Operand::Text(text),
            Token::Number(number) => Operand::Number(number),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Operand::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Operand::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => {
                return Err(Mistake::new(at, "nothing equals null; write `is null` or `is not null`"));
            }
            Token::Word(word) if KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => {
                let what = format!(
                    "expected a column or a value, found `{word}`; a column of that name is written \"{word}\""
                );
                return Err(Mistake::new(at, what));
            }
            Token::Word(word) => Operand::Column(word),
            token => {
                return Err(Mistake::new(
                    at,
                    format!("expected a column or a value, found {}", shown(&token)),
                ));
            }
        };
        Ok((at, operand))
    }

    fn take_comparison(&mut self) -> Option<Sign> {
        let sign = match self.peek() {
            Token::Sign("=") => Sign::Equal,
            Token::Sign("!=") => Sign::NotEqual,
            Token::Sign("<") => Sign::Less,
            Token::Sign("<=") => Sign::LessOrEqual,
            Token::Sign(">") => Sign::Greater,
            Token::Sign(">=") => Sign::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(sign)
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn need_sign(&mut self, sign: &str) -> Result<(), Mistake> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn expected(&self, what: &str) -> Mistake {
        Mistake::new(self.place(), format!("expected {what}, found {}", shown(self.peek())))
    }

    fn place(&self) -> usize {
        self.tokens[self.at].0
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    /// The end is never passed.
    fn next(&mut self) -> (usize, Token) {
        let token = self.tokens[self.at].clone();
        if token.1 != Token::End {
            self.at += 1;
        }
        token
    }
}

fn one_or(mut parts: Vec<Tree>, make: fn(Vec<Tree>) -> Tree) -> Tree {
    if parts.len() == 1 { parts.remove(0) } else { make(parts) }
}

fn negate(negated: bool, tree: Tree) -> Tree {
    if negated { Tree::Not(Box::new(tree)) } else { tree }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Quoted(name) => format!("`\"{name}\"`"),
        Token::Text(text) => format!("'{text}'"),
        Token::Number(number) => format!("`{number}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".into(),
    }
}
