//! Whether an image is meant.

use std::cmp::Ordering;

use sluice_sdk::{Batch, Col, Decimal, Kind, State, Value};

use crate::parser::Sign;
use crate::typed::{Constant, Node, Side};

/// SQL's three truth values, and a fourth: a value that decides was not in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Truth {
    True,
    False,
    /// Something compared is null.
    Unknown,
    /// Something compared is absent: the answer exists, but not here.
    Undecidable,
}

/// A value to compare.
#[derive(Clone, Copy, Debug)]
enum Cell<'a> {
    Absent,
    Null,
    Int(i64),
    Uint(u64),
    Float(f64),
    Decimal(Decimal<'a>),
    Text(&'a str),
    Bool(bool),
    Moment(i64),
    Uuid([u8; 16]),
}

/// One image of a batch.
#[derive(Clone, Copy)]
pub struct Image<'b> {
    batch: &'b Batch,
    row: usize,
    /// The image before it in the same event.
    before: Option<usize>,
}

impl<'b> Image<'b> {
    pub fn new(batch: &'b Batch, row: usize) -> Image<'b> {
        let paired = batch.kind(row) == Kind::After && row > 0 && batch.kind(row - 1) == Kind::Before;
        Image { batch, row, before: paired.then(|| row - 1) }
    }

    /// Absent in the image after a change means unchanged: then the image before has the value, if it came.
    fn row_of(&self, column: Col) -> usize {
        match self.before {
            Some(before) if self.batch.state(column, self.row) == State::Absent => before,
            _ => self.row,
        }
    }

    pub fn is_absent(&self, column: Col) -> bool {
        self.batch.state(column, self.row_of(column)) == State::Absent
    }

    fn cell(&self, column: Col) -> Cell<'b> {
        match self.batch.value(column, self.row_of(column)) {
            Value::Absent => Cell::Absent,
            Value::Null => Cell::Null,
            Value::Bool(value) => Cell::Bool(value),
            Value::Int(value) => Cell::Int(value),
            Value::Uint(value) => Cell::Uint(value),
            Value::Float(value) => Cell::Float(value),
            Value::Decimal(value) => Cell::Decimal(value),
            Value::Text(value)
            | Value::Enumeration(value)
            | Value::Interval(value)
            | Value::Json(value)
            | Value::Array(value)
            | Value::Document(value)
            | Value::Extended(value) => Cell::Text(value),
            Value::Date(value) => Cell::Moment(value.into()),
            Value::Time(value) | Value::Timestamp(value) | Value::Timestamptz(value) => Cell::Moment(value),
            Value::Uuid(value) => Cell::Uuid(value),
            // The check lets only `is null` at these.
            Value::Bytes(_) | Value::ObjectId(_) => Cell::Text(""),
        }
    }

    fn side<'s>(&self, side: &'s Side) -> Cell<'s>
    where
        'b: 's,
    {
        match side {
            Side::Column(column) => self.cell(*column),
            Side::Constant(constant) => constant_cell(constant),
        }
    }
}

fn constant_cell(constant: &Constant) -> Cell<'_> {
    match constant {
        Constant::Int(value) => Cell::Int(*value),
        Constant::Float(value) => Cell::Float(*value),
        Constant::Decimal(digits) => Cell::Decimal(Decimal(digits)),
        Constant::Text(text) => Cell::Text(text),
        Constant::Bool(value) => Cell::Bool(*value),
        Constant::Moment(value) => Cell::Moment(*value),
        Constant::Uuid(value) => Cell::Uuid(*value),
    }
}

impl Node {
    pub fn holds(&self, image: Image<'_>) -> Truth {
        match self {
            Node::Or(parts) => fold(parts, image, Truth::True, Truth::False),
            Node::And(parts) => fold(parts, image, Truth::False, Truth::True),
            Node::Not(inner) => match inner.holds(image) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                other => other,
            },
            Node::Compare(left, sign, right) => {
                compare(image.side(left), image.side(right), |ordering| sign.accepts(ordering))
            }
            Node::IsNull(column) => match image.batch.state(*column, image.row_of(*column)) {
                State::Absent => Truth::Undecidable,
                state => truth(state == State::Null),
            },
            Node::In(left, items) => {
                let left = image.side(left);
                let mut found = Truth::False;
                for item in items {
                    match compare(left, constant_cell(item), Ordering::is_eq) {
                        Truth::False => {}
                        other => {
                            found = other;
                            break;
                        }
                    }
                }
                found
            }
            Node::Like(left, pattern) => match image.side(left) {
                Cell::Absent => Truth::Undecidable,
                Cell::Text(text) => truth(pattern.matches(text)),
                _ => Truth::Unknown,
            },
            Node::Is(side) => match image.side(side) {
                Cell::Absent => Truth::Undecidable,
                Cell::Bool(value) => truth(value),
                _ => Truth::Unknown,
            },
        }
    }
}

/// `and` and `or`: one `decisive` part decides; else an undecidable one, else an unknown one.
fn fold(parts: &[Node], image: Image<'_>, decisive: Truth, neutral: Truth) -> Truth {
    let mut result = neutral;
    for part in parts {
        let truth = part.holds(image);
        if truth == decisive {
            return decisive;
        }
        if truth == Truth::Undecidable || (truth == Truth::Unknown && result == neutral) {
            result = truth;
        }
    }
    result
}

fn truth(value: bool) -> Truth {
    if value { Truth::True } else { Truth::False }
}

impl Sign {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Sign::Equal => ordering.is_eq(),
            Sign::NotEqual => ordering.is_ne(),
            Sign::Less => ordering.is_lt(),
            Sign::LessOrEqual => ordering.is_le(),
            Sign::Greater => ordering.is_gt(),
            Sign::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Null beside anything is unknown, even beside what is absent.
fn compare(left: Cell<'_>, right: Cell<'_>, accepts: impl FnOnce(Ordering) -> bool) -> Truth {
    match (left, right) {
        (Cell::Null, _) | (_, Cell::Null) => Truth::Unknown,
        (Cell::Absent, _) | (_, Cell::Absent) => Truth::Undecidable,
        _ => order(left, right).map_or(Truth::Unknown, |ordering| truth(accepts(ordering))),
    }
}

/// The check lets only cells of one class meet; anything else has no order.
fn order(left: Cell<'_>, right: Cell<'_>) -> Option<Ordering> {
    Some(match (left, right) {
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(&b),
        (Cell::Moment(a), Cell::Moment(b)) => a.cmp(&b),
        (Cell::Uuid(a), Cell::Uuid(b)) => a.cmp(&b),
        (Cell::Decimal(a), Cell::Decimal(b)) => a.compare(b),
        (Cell::Float(a), Cell::Float(b)) => order_floats(a, b),
        // A decimal beside a float means the nearest float.
        (Cell::Float(a), Cell::Decimal(b)) => order_floats(a, b.0.parse().ok()?),
        (Cell::Decimal(_), Cell::Float(_))
        | (Cell::Int(_) | Cell::Uint(_), Cell::Decimal(_) | Cell::Float(_)) => order(right, left)?.reverse(),
        (Cell::Float(a), b) => order_float_and_integer(a, integer(b)?),
        (Cell::Decimal(a), b) => a.compare(Decimal(&integer(b)?.to_string())),
        (a, b) => integer(a)?.cmp(&integer(b)?),
    })
}

fn integer(cell: Cell<'_>) -> Option<i128> {
    match cell {
        Cell::Int(value) => Some(value.into()),
        Cell::Uint(value) => Some(value.into()),
        _ => None,
    }
}

/// As PostgreSQL orders them: NaN equals itself and is above everything; -0 equals 0.
fn order_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Exact, also where the integer has no float of its own.
fn order_float_and_integer(float: f64, integer: i128) -> Ordering {
    // Beyond any 64-bit integer the cast saturates, on the right side; NaN is above everything.
    if float.is_nan() {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    (whole as i128).cmp(&integer).then_with(|| order_floats(float, whole))
}
