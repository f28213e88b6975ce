//! Errors for the person who must act: what happened, where, and what to do.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::ids::PipelineId;
use crate::position::Position;
use crate::schema::TableId;

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the line does about an error. See [`ErrorKind::disposition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// The line restarts from the target's checkpoint, after a growing pause, for as long as it takes. Nobody need act.
    Retry,
    /// The fault is in one event: after the configured retries it becomes a dead letter and the line goes on.
    DeadLetter,
    /// The pipeline stands still, nothing is lost, until somebody has acted and resumes it.
    Pause,
    /// The pipeline ends: this process must not go on with it.
    Stop,
}

macro_rules! error_kinds {
    ($( $(#[$doc:meta])* $kind:ident = $code:literal => $disposition:ident ),* $(,)?) => {
        /// The kinds of errors, each with a stable code used alike by CLI, API, metrics and docs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $( $(#[$doc])* $kind ),* }

        impl ErrorKind {
            /// Every kind, for documentation and tests.
            pub const ALL: &'static [ErrorKind] = &[ $( ErrorKind::$kind ),* ];

            /// The stable code, kebab-case.
            pub fn code(self) -> &'static str {
                match self { $( ErrorKind::$kind => $code ),* }
            }

            /// What the line does about it. Total: no kind is without an answer.
            pub fn disposition(self) -> Disposition {
                match self { $( ErrorKind::$kind => Disposition::$disposition ),* }
            }
        }
    };
}

error_kinds! {
    // The configuration.
    /// The configuration is wrong; the findings say where.
    Config = "config-invalid" => Stop,
    /// A known key whose feature this version does not have.
    NotBuilt = "not_built" => Stop,
    /// No pipeline of that name.
    PipelineMissing = "pipeline-missing" => Stop,
    // Servers and files: never a fault of an event, so never a dead letter.
    /// The database can't be reached, or the connection broke.
    Unreachable = "unreachable" => Retry,
    /// The database is there but busy: locked, starting up, out of connections.
    Busy = "busy" => Retry,
    /// An operation took longer than its limit.
    Timeout = "timeout" => Retry,
    /// A large transaction breaks a constraint of the target as a whole; other writers may heal that.
    Unsettled = "unsettled" => Retry,
    /// The disk is full, at the target, the source or the state.
    DiskFull = "disk-full" => Retry,
    /// The server refused who we are.
    Authentication = "authentication" => Pause,
    /// The server or file system refused what we do.
    Permission = "permission" => Pause,
    /// The database is damaged, or answered what no server of its kind answers.
    Corrupt = "corrupt" => Pause,
    // The source.
    /// The source can't deliver from the target's checkpoint any more (I12). Answered by `on_position_lost`.
    PositionLost = "position-lost" => Pause,
    /// The source is not the one that the checkpoint was made from.
    SourceChanged = "source-changed" => Pause,
    /// The source keeps more log for the line than `retained.limit` allows.
    RetainedLimit = "retained-limit" => Pause,
    /// A table changed its shape in a way that needs a decision.
    SchemaChanged = "schema-changed" => Pause,
    /// A table that is to be read is not there.
    TableMissing = "table-missing" => Pause,
    /// What captures changes (triggers, slot, publication) was removed or changed by somebody else.
    CaptureBroken = "capture-broken" => Pause,
    /// A table has no key, or none that the target can be addressed by.
    KeyMissing = "key-missing" => Pause,
    /// A table was truncated and the policy says to ask.
    TruncateHeld = "truncate-held" => Pause,
    /// A transaction is above `large_transactions` and the policy says to fail.
    TransactionTooLarge = "transaction-too-large" => Pause,
    // The target.
    /// Another engine took this line over, or owns it.
    Fenced = "fenced" => Stop,
    /// A checkpoint would overlap or go back (I6).
    CheckpointStepBack = "checkpoint-step-back" => Stop,
    /// The target's table can't take the rows: a column is missing or of the wrong kind.
    TargetSchema = "target-schema" => Pause,
    // One event.
    /// The target can't hold the value exactly (I7).
    ValueUnrepresentable = "value-unrepresentable" => DeadLetter,
    /// A constraint between rows of the target refused the row: unique, foreign key, exclusion, or what a trigger of the target
    /// looks after. See [`ErrorKind::heals_by_others`].
    Constraint = "constraint" => DeadLetter,
    /// A constraint on the row alone refused it: check, not null, a validator. Whatever other rows do, it is refused again.
    RowRefused = "row-refused" => DeadLetter,
    /// An image with absent values whose row is neither in the target nor in the source (I13).
    PartialRow = "partial_row" => DeadLetter,
    /// A plugin rejected the event.
    PluginReject = "plugin-reject" => DeadLetter,
    /// A projected value is above the plugin's limit.
    ValueTooLarge = "value_too_large" => DeadLetter,
    /// A projected value is not of its column's declared type (sources with dynamic types).
    TypeMismatch = "type-mismatch" => DeadLetter,
    /// A plugin answered for the whole batch that it failed.
    PluginFailed = "plugin-failed" => DeadLetter,
    /// A plugin trapped: a panic, an abort, an access out of bounds, its stack.
    PluginTrap = "plugin-trap" => DeadLetter,
    /// A plugin was still running at the end of its time.
    PluginTimeout = "plugin-timeout" => DeadLetter,
    /// A plugin asked for more memory than its limit.
    PluginMemory = "plugin-memory" => DeadLetter,
    /// A plugin answered what the contract does not allow.
    PluginOutput = "plugin-output" => DeadLetter,
    /// An earlier event of the same key is a dead letter, so this one follows it (park-key).
    Parked = "parked" => DeadLetter,
    // Plugins as a whole.
    /// The file is not a component of a known world, or is over a limit.
    PluginInvalid = "plugin-invalid" => Pause,
    /// The component needs what the configuration does not grant, or plans more than it may.
    PluginRefused = "plugin-refused" => Pause,
    /// The plugin refused its configuration; the findings say where.
    PluginConfig = "plugin-config" => Pause,
    /// No plugin of that name.
    PluginMissing = "plugin-missing" => Pause,
    /// More poison events in one batch than the limit: the circuit is open.
    TooManyPoison = "too-many-poison" => Pause,
    // Ourselves.
    /// The state folder can't be written or read.
    State = "state-unavailable" => Retry,
    /// The state folder was written by a newer version.
    StateVersion = "state-version" => Stop,
    /// Another process uses the state folder.
    StateLocked = "state-locked" => Stop,
    /// A pipeline has as many dead letters as the state keeps: nothing is dropped, so it stands still.
    DeadLettersFull = "dead-letters-full" => Pause,
    /// More conflicts wait for somebody than the state keeps.
    ConflictsFull = "conflicts-full" => Pause,
    /// There is no such conflict in the state.
    ConflictMissing = "conflict-missing" => Pause,
    /// A conflict can't be decided so: it is not what it was when it was recorded.
    ConflictRefused = "conflict-refused" => Pause,
    /// A fault of sluice itself.
    Internal = "internal" => Pause,
}

impl ErrorKind {
    /// Whether writing the same event again may do because other rows have changed meanwhile: the one that was missing is there,
    /// the one in the way is gone. Total: what is said of a row alone does not heal.
    pub fn heals_by_others(self) -> bool {
        self == ErrorKind::Constraint
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

/// Where something happened. Never a value of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// The database's name in the configuration.
    pub database: Option<String>,
    /// The table.
    pub table: Option<TableId>,
    /// The column.
    pub column: Option<String>,
    /// The place in the source's log.
    pub position: Option<Position>,
    /// The plugin, as `name@digest`.
    pub plugin: Option<String>,
}

impl Place {
    fn is_empty(&self) -> bool {
        *self == Place::default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, name: &str, shown: Option<String>| -> fmt::Result {
            let Some(shown) = shown else { return Ok(()) };
            write!(f, "{separator}{name} {shown}")?;
            separator = ", ";
            Ok(())
        };
        part(f, "pipeline", self.pipeline.as_ref().map(ToString::to_string))?;
        part(f, "database", self.database.clone())?;
        part(f, "table", self.table.as_ref().map(ToString::to_string))?;
        part(f, "column", self.column.clone())?;
        part(f, "position", self.position.as_ref().map(ToString::to_string))?;
        part(f, "plugin", self.plugin.clone())
    }
}

/// One error: kind, what happened, where, what to do, and its cause.
///
/// Boxed, so that a `Result` stays small on the hot path.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    place: Place,
    remedy: Option<Cow<'static, str>>,
    event: Option<usize>,
    findings: Vec<Finding>,
    guest_text: Option<GuestText>,
    seen: Option<Arc<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Text that is never printed.
struct GuestText(String);

impl fmt::Debug for GuestText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Error {
    /// An error of this kind. `what` is one clause in lower case, without values of rows.
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        let inner = Inner {
            kind,
            what: what.into(),
            place: Place::default(),
            remedy: None,
            event: None,
            findings: vec![],
            guest_text: None,
            seen: None,
            source: None,
        };
        Error(Box::new(inner))
    }

    /// Several findings as one error.
    pub fn findings(kind: ErrorKind, what: impl Into<Cow<'static, str>>, findings: Vec<Finding>) -> Self {
        let mut error = Error::new(kind, what);
        error.0.findings = findings;
        error
    }

    /// With its cause. A cause's text is for the log; it must not carry values of rows.
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// With what to do, as a sentence or a statement to run.
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// With what a plugin said of it: data, which may hold values of the row. Neither `Display` nor `Debug` shows it; it belongs
    /// into [`crate::Reason::guest_text`].
    pub fn with_guest_text(mut self, text: impl Into<String>) -> Self {
        self.0.guest_text = Some(GuestText(text.into()));
        self
    }

    /// With what was seen of the table that it is about, in its connector's own words ([`crate::ports::Altered`]).
    pub fn seen_as(mut self, seen: impl Into<Arc<str>>) -> Self {
        self.0.seen = Some(seen.into());
        self
    }

    /// Of one event: its index in the slice that was handed over. Lets the line isolate it without halving.
    pub fn of_event(mut self, index: usize) -> Self {
        self.0.event = Some(index);
        self
    }

    /// Fills in where it happened; what is known already stays.
    pub fn at(mut self, fill: impl FnOnce(&mut Place)) -> Self {
        let mut outer = Place::default();
        fill(&mut outer);
        let place = &mut self.0.place;
        place.pipeline = place.pipeline.take().or(outer.pipeline);
        place.database = place.database.take().or(outer.database);
        place.table = place.table.take().or(outer.table);
        place.column = place.column.take().or(outer.column);
        place.position = place.position.take().or(outer.position);
        place.plugin = place.plugin.take().or(outer.plugin);
        self
    }

    /// In this table.
    pub fn at_table(self, table: &TableId) -> Self {
        self.at(|place| place.table = Some(table.clone()))
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the line does about it.
    pub fn disposition(&self) -> Disposition {
        self.0.kind.disposition()
    }

    /// What happened, without place and remedy.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// What to do, where somebody knows.
    pub fn remedy_text(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// The index of the failing event in the slice that was handed over.
    pub fn event(&self) -> Option<usize> {
        self.0.event
    }

    /// What was seen of the table that it is about.
    pub fn seen(&self) -> Option<&Arc<str>> {
        self.0.seen.as_ref()
    }

    /// What a plugin said of it: data, for the dead letter only.
    pub fn guest_text(&self) -> Option<&str> {
        self.0.guest_text.as_ref().map(|text| text.0.as_str())
    }

    /// The findings that it is made of.
    pub fn all_findings(&self) -> &[Finding] {
        &self.0.findings
    }
}

impl fmt::Display for Error {
    /// `code: what (where): cause. remedy`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "{}: {}", inner.kind, inner.what)?;
        if !inner.place.is_empty() {
            write!(f, " ({})", inner.place)?;
        }
        let mut cause = inner.source.as_deref().map(|cause| cause as &dyn std::error::Error);
        while let Some(link) = cause {
            write!(f, ": {link}")?;
            cause = link.source();
        }
        if let Some(remedy) = &inner.remedy {
            write!(f, ". {remedy}")?;
        }
        for finding in &inner.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; `check` still answers 0.
    Warning,
    /// Must be mended before the pipeline can run.
    Error,
}

/// One thing that `check` found: where in the configuration, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code (that of an [`ErrorKind`] where one fits).
    pub code: Cow<'static, str>,
    /// The path in the configuration file, as `pipelines.customers.tables[0].to`.
    pub path: String,
    /// What is wrong, one clause.
    pub what: String,
    /// What to do: a sentence, or a statement to run.
    pub remedy: String,
}

impl Finding {
    /// Something that must be mended.
    pub fn error(
        kind: ErrorKind,
        path: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let code = kind.code().into();
        Finding {
            severity: Severity::Error,
            code,
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Something worth knowing.
    pub fn warning(
        code: &'static str,
        path: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let code = code.into();
        Finding {
            severity: Severity::Warning,
            code,
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The same finding under a longer path: `prefix` and this path joined by a dot.
    pub fn under(mut self, prefix: &str) -> Self {
        self.path = match (prefix, self.path.as_str()) {
            (_, "") => prefix.to_string(),
            ("", _) => self.path,
            (_, path) if path.starts_with('[') => format!("{prefix}{path}"),
            (_, path) => format!("{prefix}.{path}"),
        };
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity} {}: {}: {}", self.code, self.path, self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ". {}", self.remedy) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_stable_and_unique() {
        let codes: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn only_faults_of_an_event_become_dead_letters() {
        use ErrorKind::*;
        for kind in [Unreachable, Busy, Timeout, DiskFull, Permission, Authentication, State] {
            assert_ne!(kind.disposition(), Disposition::DeadLetter, "{kind}");
        }
    }

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let cause = std::io::Error::other("no route");
        let error = Error::new(ErrorKind::Unreachable, "the target did not answer")
            .at_table(&TableId::parse("public.orders"))
            .at(|place| place.table = Some(TableId::parse("ignored")))
            .because(cause)
            .remedy("Is it running?");
        let shown = "unreachable: the target did not answer (table public.orders): no route. Is it running?";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn paths_are_joined() {
        let finding = |path: &str| Finding::error(ErrorKind::Config, path, "w", "r");
        assert_eq!(finding("[0].to").under("tables").path, "tables[0].to");
        assert_eq!(finding("to").under("tables[0]").path, "tables[0].to");
        assert_eq!(finding("").under("tables").path, "tables");
    }
}
