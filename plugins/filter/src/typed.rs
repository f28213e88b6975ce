//! The tree with columns looked up and types checked: every mistake that can be found before a row flows is found here.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use sluice_sdk::{Col, ColumnType, Decimal, Table};

use crate::lexer::Mistake;
use crate::like::Pattern;
use crate::parser::{Operand, Placed, Sign, Tree};

#[derive(Debug)]
pub enum Node {
    Or(Vec<Node>),
    And(Vec<Node>),
    Not(Box<Node>),
    Compare(Side, Sign, Side),
    IsNull(Col),
    In(Side, Vec<Constant>),
    Like(Side, Pattern),
    Is(Side),
}

#[derive(Debug)]
pub enum Side {
    Column(Col),
    Constant(Constant),
}

/// A literal, as the type that it is compared with.
#[derive(Debug)]
pub enum Constant {
    Int(i64),
    Float(f64),
    Decimal(String),
    Text(String),
    Bool(bool),
    /// Days or microseconds, as the column has them.
    Moment(i64),
    Uuid([u8; 16]),
}

/// What can be compared with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Number,
    Text,
    Bool,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Uuid,
    /// Known by being null or not, nothing else.
    Opaque,
}

impl Class {
    fn of(ty: ColumnType) -> Class {
        match ty {
            ColumnType::Int64
            | ColumnType::Uint64
            | ColumnType::Float32
            | ColumnType::Float64
            | ColumnType::Decimal => Class::Number,
            ColumnType::Text | ColumnType::Enumeration => Class::Text,
            ColumnType::Boolean => Class::Bool,
            ColumnType::Date => Class::Date,
            ColumnType::Time => Class::Time,
            ColumnType::Timestamp => Class::Timestamp,
            ColumnType::Timestamptz => Class::Timestamptz,
            ColumnType::Uuid => Class::Uuid,
            ColumnType::Bytes
            | ColumnType::Interval
            | ColumnType::Json
            | ColumnType::Array
            | ColumnType::Document
            | ColumnType::ObjectId
            | ColumnType::Extended => Class::Opaque,
        }
    }
}

/// Checks a tree against a table; the columns in it are read from now on.
pub struct Checker<'t> {
    pub table: &'t mut Table,
    pub path: &'t str,
    pub mistakes: Vec<Mistake>,
    pub columns: Vec<Col>,
}

impl Checker<'_> {
    /// `None`: there are mistakes.
    pub fn check(&mut self, tree: Tree) -> Option<Node> {
        match tree {
            Tree::Or(parts) => self.all(parts).map(Node::Or),
            Tree::And(parts) => self.all(parts).map(Node::And),
            Tree::Not(inner) => Some(Node::Not(Box::new(self.check(*inner)?))),
            Tree::Compare(left, sign, right) => {
                let ty = self.meeting(&left, &right)?;
                let (left, right) = (self.side(left, ty), self.side(right, ty));
                Some(Node::Compare(left?, sign, right?))
            }
            Tree::IsNull((at, operand)) => match operand {
                Operand::Column(name) => self.column(at, &name).map(Node::IsNull),
                _ => self.mistake(at, "only a column can be null"),
            },
            Tree::In(left, items) => {
                let ty = self.type_of(&left)?;
                let items: Vec<Option<Constant>> =
                    items.into_iter().map(|(at, item)| self.constant(at, &item, ty)).collect();
                Some(Node::In(self.side(left, ty)?, items.into_iter().collect::<Option<_>>()?))
            }
            Tree::Like(left, pattern) => {
                let ty = self.type_of(&left)?;
                if Class::of(ty) != Class::Text {
                    return self.mistake(left.0, format!("`like` compares text, and this is {}", ty.word()));
                }
                Some(Node::Like(self.side(left, ty)?, Pattern::new(&pattern)))
            }
            Tree::Is(operand) => {
                let ty = self.type_of(&operand)?;
                if Class::of(ty) != Class::Bool {
                    let what = format!("this is {}, and alone only a boolean means something", ty.word());
                    return self.mistake(operand.0, what);
                }
                Some(Node::Is(self.side(operand, ty)?))
            }
        }
    }

    /// All parts are checked, so that all mistakes are found.
    fn all(&mut self, parts: Vec<Tree>) -> Option<Vec<Node>> {
        let nodes: Vec<Option<Node>> = parts.into_iter().map(|part| self.check(part)).collect();
        nodes.into_iter().collect()
    }

    /// The type by which two sides are compared: a column's, if there is one.
    fn meeting(&mut self, left: &Placed, right: &Placed) -> Option<ColumnType> {
        let (left_ty, right_ty) = (self.type_of(left), self.type_of(right));
        let (left_ty, right_ty) = (left_ty?, right_ty?);
        match (&left.1, &right.1) {
            (Operand::Column(_), Operand::Column(_)) if Class::of(left_ty) != Class::of(right_ty) => {
                let what = format!("{} and {} can't be compared", left_ty.word(), right_ty.word());
                self.mistake(left.0, what)
            }
            (Operand::Column(_), _) => Some(left_ty),
            _ => Some(right_ty),
        }
    }

    fn type_of(&mut self, (at, operand): &Placed) -> Option<ColumnType> {
        match operand {
            Operand::Text(_) => Some(ColumnType::Text),
            Operand::Number(_) => Some(ColumnType::Decimal),
            Operand::Bool(_) => Some(ColumnType::Boolean),
            Operand::Column(name) => {
                let ty = self.column(*at, name)?.column_type();
                if Class::of(ty) == Class::Opaque {
                    let what = format!(
                        "`{name}` is {}, which can only be tested by `is null` and `is not null`",
                        ty.word()
                    );
                    return self.mistake(*at, what);
                }
                Some(ty)
            }
        }
    }

    fn column(&mut self, at: usize, name: &str) -> Option<Col> {
        let columns = self.table.columns();
        if !columns.iter().any(|column| column.name == name) {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let hint = sluice_sdk::did_you_mean(name, names.iter().copied());
            let hint = if hint.is_empty() { format!("it has: {}", names.join(", ")) } else { hint };
            let what = format!("table `{}` has no column `{name}`; {hint}", self.table.name());
            let text = "; text stands in single quotes";
            return self.mistake(at, format!("{what}{}", if hint.starts_with("it has") { text } else { "" }));
        }
        let column = self.table.read(self.path, name);
        if !self.columns.iter().any(|known| known.index() == column.index()) {
            self.columns.push(column);
        }
        Some(column)
    }

    fn side(&mut self, (at, operand): Placed, ty: ColumnType) -> Option<Side> {
        match operand {
            Operand::Column(name) => self.column(at, &name).map(Side::Column),
            literal => self.constant(at, &literal, ty).map(Side::Constant),
        }
    }

    /// A literal as a value of that type.
    fn constant(&mut self, at: usize, literal: &Operand, ty: ColumnType) -> Option<Constant> {
        let found = match (literal, Class::of(ty)) {
            (Operand::Bool(value), Class::Bool) => Ok(Constant::Bool(*value)),
            (Operand::Number(digits), Class::Number) => number(digits, ty),
            (Operand::Text(text), Class::Text) => Ok(Constant::Text(text.clone())),
            (Operand::Text(text), Class::Date) => date(text),
            (Operand::Text(text), Class::Time) => time(text),
            (Operand::Text(text), Class::Timestamp) => timestamp(text),
            (Operand::Text(text), Class::Timestamptz) => timestamptz(text),
            (Operand::Text(text), Class::Uuid) => uuid(text),
            (Operand::Text(_), _) => Err(format!("{} can't be compared with text", ty.word())),
            (Operand::Number(_), Class::Text) => {
                Err("text can't be compared with a number; put it in single quotes".into())
            }
            (Operand::Number(_), _) => Err(format!("{} can't be compared with a number", ty.word())),
            (Operand::Bool(_), _) => Err(format!("{} can't be compared with true or false", ty.word())),
            (Operand::Column(_), _) => Err("a column can't stand here".into()),
        };
        match found {
            Ok(constant) => Some(constant),
            Err(what) => self.mistake(at, what),
        }
    }

    fn mistake<T>(&mut self, at: usize, what: impl Into<String>) -> Option<T> {
        let mistake = Mistake::new(at, what);
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
        None
    }
}

/// Beside a float column a number means the nearest float of that size, as everywhere; else it is exact.
fn number(digits: &str, ty: ColumnType) -> Result<Constant, String> {
    let float = || digits.parse::<f64>().map_err(|_| format!("`{digits}` is not a number"));
    Ok(match ty {
        ColumnType::Float64 => Constant::Float(float()?),
        ColumnType::Float32 => Constant::Float(f64::from(float()? as f32)),
        _ => match Decimal(digits).to_i128().map(i64::try_from) {
            Some(Ok(integer)) => Constant::Int(integer),
            _ => Constant::Decimal(digits.into()),
        },
    })
}

fn date(text: &str) -> Result<Constant, String> {
    match text {
        "infinity" => return Ok(Constant::Moment(i32::MAX.into())),
        "-infinity" => return Ok(Constant::Moment(i32::MIN.into())),
        _ => {}
    }
    let wrong = || format!("'{text}' is no date; write it as '2024-12-31'");
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date: Date = plain.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
    Ok(Constant::Moment(
        micros(date.to_datetime(Time::midnight())).ok_or_else(wrong)?.div_euclid(86_400_000_000),
    ))
}

fn time(text: &str) -> Result<Constant, String> {
    let wrong = || format!("'{text}' is no time; write it as '23:59:00'");
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
    let time: Time = plain.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
    micros(Date::constant(1970, 1, 1).to_datetime(time)).map(Constant::Moment).ok_or_else(wrong)
}

fn timestamp(text: &str) -> Result<Constant, String> {
    if let Some(infinity) = infinity(text) {
        return Ok(infinity);
    }
    let wrong = || format!("'{text}' is no point in time without zone; write it as '2024-12-31 23:59:00'");
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:. T".contains(&byte))
        && text.bytes().filter(|&byte| byte == b'-').count() == 2;
    let moment: DateTime = plain.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
    micros(moment).map(Constant::Moment).ok_or_else(wrong)
}

fn timestamptz(text: &str) -> Result<Constant, String> {
    if let Some(infinity) = infinity(text) {
        return Ok(infinity);
    }
    let moment: Option<Timestamp> = text.parse().ok();
    let exact = moment.filter(|moment| moment.as_nanosecond() % 1000 == 0);
    exact.map(|moment| Constant::Moment(moment.as_microsecond())).ok_or_else(|| {
        format!("'{text}' is no point in time; write it with its zone, as '2024-12-31 23:59:00Z' or '2024-12-31 23:59:00+01:00'")
    })
}

fn infinity(text: &str) -> Option<Constant> {
    match text {
        "infinity" => Some(Constant::Moment(i64::MAX)),
        "-infinity" => Some(Constant::Moment(i64::MIN)),
        _ => None,
    }
}

/// Microseconds since 1970 on a clock without a zone; none if it is more exact than that.
fn micros(moment: DateTime) -> Option<i64> {
    let since = jiff::tz::Offset::UTC.to_timestamp(moment).ok()?;
    (since.as_nanosecond() % 1000 == 0).then(|| since.as_microsecond())
}

fn uuid(text: &str) -> Result<Constant, String> {
    let wrong = || format!("'{text}' is no uuid; write it as '01234567-89ab-cdef-0123-456789abcdef'");
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut uuid = [0; 16];
    for (at, byte) in uuid.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).map_err(|_| wrong())?;
    }
    Ok(Constant::Uuid(uuid))
}
