//! The commands.

use serde::Deserialize;
use sluice_sdk::raw::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    #[serde(rename = "do")]
    pub action: Action,
    /// The columns to read, by name; all of them if left out.
    pub read: Option<Vec<String>>,
    /// Only images in which this column is this text (or integer); all if left out. The column must be read.
    pub when: Option<When>,
    /// Adds a text column `version` that holds this.
    pub version: Option<String>,
    /// How many copies `fan-out` makes; how many entries some of the nonsense has.
    #[serde(default = "two")]
    pub times: u32,
    /// Asks for text joined by U+0000.
    #[serde(default)]
    pub joined: bool,
    /// Asks for no before images.
    #[serde(default)]
    pub no_before_images: bool,
    /// Declares `selects` without need.
    #[serde(default)]
    pub selects: bool,
    #[serde(default)]
    pub rename: Vec<(String, String)>,
    #[serde(default)]
    pub drop: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    pub column: String,
    pub equals: String,
}

fn two() -> u32 {
    2
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    // What a guest may do.
    /// Reads and writes nothing back.
    Nothing,
    /// Writes every column it reads, unchanged: every type crosses in both directions.
    Echo,
    /// Isn't interested in the table.
    Decline,
    Drop,
    Reject,
    FanOut,
    /// Sends to the route `side`.
    Route,
    SoftDelete,
    History,
    /// Answers `err` for the batch.
    Fail,
    /// Answers `open` with two configuration errors.
    ConfigErrors,
    // What ends the instance.
    Trap,
    Spin,
    Allocate,
    Recurse,
    TrapAtOpen,
    SpinAtOpen,
    // Plans that make no sense.
    PlanReadsUnknown,
    PlanReadsTwice,
    PlanWritesUnknown,
    PlanWritesTwice,
    PlanRenamesToExisting,
    PlanDropsUnknown,
    PlanFromUnknown,
    // Answers that make no sense. They apply to the first written column where they are about one.
    ShortColumn,
    LongColumn,
    WrongType,
    UndeclaredColumn,
    ColumnTwice,
    BadState,
    ShortState,
    BadBool,
    DescendingOffsets,
    OffsetsBeyondEnd,
    OffsetsInCharacter,
    FirstOffsetNotZero,
    JoinedCount,
    DescendingSelect,
    SelectBeyondEnd,
    SelectUndeclared,
    ShortKinds,
    BadKind,
    KindsUndeclared,
    ShortRoutes,
    BadRoute,
    RejectBeyondEnd,
    RejectUnknownColumn,
    /// `times` rejects of the first row.
    TooManyRejects,
    /// One reject with a message of `times` bytes.
    LongReject,
    /// `times` rejects whose messages are all the same 1 MiB of memory.
    AliasedRejects,
    /// `times` columns whose text is all the same 1 MiB of memory.
    AliasedColumns,
    /// The first written column (text) holds `times` bytes per row.
    HugeOutput,
}

impl Config {
    pub fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
        let error = |path: &str, message: String| vec![ConfigError { path: path.into(), message }];
        let config: Config = serde_json::from_str(text).map_err(|bad| error("", bad.to_string()))?;
        if config.action == Action::ConfigErrors {
            let mut errors = error("/do", "told to refuse this".into());
            errors.extend(error("/version", "and this".into()));
            return Err(errors);
        }
        Ok(config)
    }

    pub fn plan(&self, table: &TableInfo) -> Result<Plan, Vec<ConfigError>> {
        let index = |path: &str, name: &str| {
            table.columns.iter().position(|column| column.name == name).map(|at| at as u32).ok_or_else(|| {
                vec![ConfigError { path: path.into(), message: format!("there is no column `{name}`") }]
            })
        };
        let read = match &self.read {
            None => (0..table.columns.len() as u32).collect::<Vec<_>>(),
            Some(names) => names.iter().map(|name| index("/read", name)).collect::<Result<_, _>>()?,
        };
        let mut write = Vec::new();
        if !matches!(self.action, Action::Nothing) && self.version.is_none() {
            write.extend(read.iter().map(|&index| Written {
                index,
                column: table.columns[index as usize].clone(),
                from: vec![index],
                deterministic: true,
            }));
        }
        if self.version.is_some() {
            write.push(Written {
                index: table.columns.len() as u32,
                column: ColumnInfo {
                    name: "version".into(),
                    type_: ColumnType::Text,
                    native: String::new(),
                    nullable: false,
                    key: false,
                },
                from: Vec::new(),
                deterministic: true,
            });
        }
        let rename = self.rename.iter().map(|(from, to)| index("/rename", from).map(|at| (at, to.clone())));
        let selects = [
            Action::Drop,
            Action::FanOut,
            Action::History,
            Action::DescendingSelect,
            Action::SelectBeyondEnd,
        ];
        let routes = [Action::Route, Action::BadRoute, Action::ShortRoutes];
        let kinds = [Action::SoftDelete, Action::History, Action::BadKind, Action::ShortKinds];
        Ok(Plan {
            read,
            write,
            rename: rename.collect::<Result<_, _>>()?,
            drop: self.drop.iter().map(|name| index("/drop", name)).collect::<Result<_, _>>()?,
            before_images: !self.no_before_images,
            selects: self.selects || selects.contains(&self.action),
            changes_kinds: kinds.contains(&self.action),
            joined_text: self.joined || self.action == Action::JoinedCount,
            routes: if routes.contains(&self.action) { vec!["side".into()] } else { Vec::new() },
        })
    }
}
