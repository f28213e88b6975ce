//! What the configuration says of one column.

use jiff::tz::TimeZone;
use sluice_sdk::raw::ColumnInfo;
use sluice_sdk::{ColumnType, Decimal, Json, Settings, Table, Value};

use crate::convert::{Converted, convert};
use crate::moments;

/// What a column is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Integer,
    Float,
    Decimal,
    Text,
    Boolean,
    Date,
    Datetime,
    Json,
}

impl To {
    pub const COUNT: usize = 8;

    pub fn word(self) -> &'static str {
        TO.iter().find(|(_, to)| *to == self).map_or("", |(word, _)| word)
    }
}

pub const TO: &[(&str, To)] = &[
    ("integer", To::Integer),
    ("float", To::Float),
    ("decimal", To::Decimal),
    ("text", To::Text),
    ("boolean", To::Boolean),
    ("date", To::Date),
    ("datetime", To::Datetime),
    ("json", To::Json),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnErrorWord {
    Reject,
    Null,
    Default,
}

pub const ON_ERROR: &[(&str, OnErrorWord)] =
    &[("reject", OnErrorWord::Reject), ("null", OnErrorWord::Null), ("default", OnErrorWord::Default)];

/// What becomes of a value that can't be converted.
pub enum OnError {
    Reject,
    Null,
    Default(Converted),
}

/// How many of it a second has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
}

const UNITS: &[(&str, Unit)] =
    &[("seconds", Unit::Seconds), ("milliseconds", Unit::Milliseconds), ("microseconds", Unit::Microseconds)];

/// One column's conversion.
pub struct Rule {
    pub to: To,
    pub from: ColumnType,
    pub on_error: OnError,
    /// Spaces around text don't count.
    pub trim: bool,
    /// As in strftime; ISO 8601 without.
    pub format: Option<String>,
    /// Where a clock without zone stands.
    pub zone: Option<TimeZone>,
    /// What an integer counts from 1970 on.
    pub unit: Option<Unit>,
}

impl Rule {
    /// Reads `integer` or `{to: integer, ...}`. `None`: there are mistakes, which the table has got.
    pub fn read(
        table: &mut Table,
        path: &str,
        json: Json,
        info: &ColumnInfo,
        on_error: OnErrorWord,
    ) -> Option<Rule> {
        let json = match json {
            Json::String(word) => Json::from_iter([("to", word)]),
            other => other,
        };
        let mut settings = Settings::new(path, json);
        if settings.is_clean() && !settings.has("to") {
            settings.error("to", "is missing: write what to convert to");
        }
        let to = settings.take_word("to", TO);
        let on_error = settings.take_word("on_error", ON_ERROR).unwrap_or(on_error);
        let default = settings.take("default");
        let trim = settings.take_bool("trim").unwrap_or(false);
        let format = settings.take_text("format");
        let zone = settings.take_text("zone");
        let unit = settings.take_word("unit", UNITS);

        let zone = zone.and_then(|name| match moments::zone(&name) {
            Some(zone) => Some(zone),
            None => {
                settings.error(
                    "zone",
                    format!("there is no zone `{name}`; write one as Europe/Berlin, UTC or +02:00"),
                );
                None
            }
        });
        let mut rule =
            to.map(|to| Rule { to, from: info.type_, on_error: OnError::Reject, trim, format, zone, unit });
        if let Some(rule) = &mut rule {
            rule.check(&mut settings, info);
            rule.on_error = match on_error {
                OnErrorWord::Reject => OnError::Reject,
                OnErrorWord::Null => OnError::Null,
                OnErrorWord::Default => rule.default(&mut settings, default.as_ref()),
            };
            if info.key && on_error == OnErrorWord::Null {
                settings.error("on_error", format!("`{}` is part of the key and can't be null", info.name));
            }
        }
        if default.is_some() && on_error != OnErrorWord::Default {
            settings.error("default", "is used only with `on_error: default`");
        }
        let clean = settings.is_clean();
        let errors = settings.finish();
        let clean = clean && errors.is_empty();
        table.errors(errors);
        rule.filter(|_| clean)
    }

    /// The type that the column gets.
    pub fn output(&self) -> ColumnType {
        match self.to {
            To::Integer => ColumnType::Int64,
            To::Float => ColumnType::Float64,
            To::Decimal => ColumnType::Decimal,
            To::Text => ColumnType::Text,
            To::Boolean => ColumnType::Boolean,
            To::Date => ColumnType::Date,
            To::Json => ColumnType::Json,
            To::Datetime if self.has_zone() => ColumnType::Timestamptz,
            To::Datetime => ColumnType::Timestamp,
        }
    }

    /// Whether it is known where on earth a value's clock stands.
    fn has_zone(&self) -> bool {
        self.zone.is_some()
            || self.unit.is_some()
            || self.from == ColumnType::Timestamptz
            || self.format.as_deref().is_some_and(moments::format_has_zone)
    }

    /// Whether values stay what they are.
    pub fn changes_nothing(&self, from: ColumnType) -> bool {
        self.output() == from && !(self.trim && from == ColumnType::Text)
    }

    /// Whether values of the column's type can be converted at all, and whether the options mean something.
    fn check(&self, settings: &mut Settings, info: &ColumnInfo) {
        use ColumnType as From;
        let textual = matches!(self.from, From::Text | From::Enumeration);
        let moment = matches!(self.from, From::Date | From::Timestamp | From::Timestamptz);
        let number =
            matches!(self.from, From::Int64 | From::Uint64 | From::Float32 | From::Float64 | From::Decimal);
        let integer = matches!(self.from, From::Int64 | From::Uint64);
        let json = self.from == From::Json;
        let possible = match self.to {
            To::Integer => textual || number || json || self.from == From::Boolean,
            To::Float | To::Decimal => textual || number || json,
            To::Boolean => textual || integer || json || matches!(self.from, From::Boolean | From::Decimal),
            To::Date => textual || moment,
            To::Datetime => textual || moment || integer,
            To::Text => !matches!(self.from, From::Bytes),
            To::Json => {
                textual || number || moment || json || matches!(self.from, From::Boolean | From::Uuid)
            }
        };
        if !possible {
            let message = format!(
                "`{}` is {}, which can't be converted to {}",
                info.name,
                info.type_.word(),
                self.to.word()
            );
            settings.error("to", message);
        }
        if self.trim && !textual {
            settings.error(
                "trim",
                format!("means something for text only, and `{}` is {}", info.name, info.type_.word()),
            );
        }
        let parses_moment = textual && matches!(self.to, To::Date | To::Datetime);
        let prints_moment = moment && self.to == To::Text;
        if let Some(format) = &self.format {
            if !parses_moment && !prints_moment {
                settings.error(
                    "format",
                    "is how dates are written: for text to date or datetime, and for these to text",
                );
            } else if let Err(why) = moments::check_format(format, self.to, self.from) {
                settings.error("format", why);
            }
        }
        let zoned =
            matches!(self.to, To::Datetime) || (self.from == From::Timestamptz && self.to != To::Json);
        if self.zone.is_some() && !(zoned && (textual || moment)) {
            settings.error("zone", "means something for datetime, and for timestamptz to date or text");
        }
        if self.from == From::Timestamptz && self.to == To::Date && self.zone.is_none() {
            settings.error("zone", "is missing: the date of a point in time depends on where you are; UTC, Europe/Berlin, +02:00");
        }
        match (self.to == To::Datetime && integer, self.unit) {
            (true, None) => settings.error(
                "unit",
                "is missing: what does the integer count since 1970? seconds, milliseconds or microseconds",
            ),
            (false, Some(_)) => settings.error("unit", "means something for an integer to datetime"),
            _ => {}
        }
    }

    /// The default, written as the target type: a text for decimals, dates and points in time.
    fn default(&self, settings: &mut Settings, json: Option<&Json>) -> OnError {
        let plain = |from| Rule {
            from,
            on_error: OnError::Reject,
            trim: false,
            format: None,
            unit: None,
            zone: self.zone.clone(),
            ..*self
        };
        let converted = match json {
            None => Err("is missing: `on_error: default` needs it".to_string()),
            Some(Json::Null) => Err("for null write `on_error: null`".to_string()),
            Some(Json::Bool(value)) if self.to == To::Boolean => Ok(Converted::Bool(*value)),
            Some(Json::String(text)) if self.to != To::Boolean => {
                convert(Value::Text(text), &plain(ColumnType::Text))
            }
            Some(Json::Number(number)) if matches!(self.to, To::Integer | To::Float) => {
                let digits = number.to_string();
                convert(Value::Decimal(Decimal(&digits)), &plain(ColumnType::Decimal))
            }
            Some(json) if self.to == To::Json => Ok(Converted::Text(json.to_string())),
            Some(_) => {
                Err(format!("is no {}; decimals, dates and datetimes are written as text", self.to.word()))
            }
        };
        match converted {
            Ok(converted) => OnError::Default(converted),
            Err(why) => {
                settings.error("default", why);
                OnError::Reject
            }
        }
    }
}
