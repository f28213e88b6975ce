//! What people type.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps databases in step.
///
/// Exit code: 0 good, 1 a finding or failure, 2 wrong use.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 110)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Common {
    /// The configuration file
    #[arg(
        short = 'c',
        long = "file",
        value_name = "FILE",
        global = true,
        default_value = "sluice.yaml",
        env = "SLUICE_CONFIG"
    )]
    pub config: PathBuf,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What is logged to standard error: error, warn, info, debug, trace, also per part (`info,sluice_wasm=debug`)
    #[arg(long, global = true, value_name = "FILTER", env = "SLUICE_LOG")]
    pub log: Option<String>,
    /// How it is logged
    #[arg(long, global = true, value_name = "FORMAT", env = "SLUICE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look for everything that could go wrong, before a row flows; changes nothing
    Check {
        /// Connect to nothing
        #[arg(long)]
        offline: bool,
    },
    /// Run to completion: copy if needed, then all changes up to now, then end
    ///
    /// A pipeline that was paused is resumed. SIGTERM or SIGINT: it stops after the current batch, and goes on from there when it is
    /// run again.
    Sync {
        /// Which pipelines; all when none is named
        pipelines: Vec<String>,
        /// Take them over from another installation that wrote to the same targets
        #[arg(long)]
        take_over: bool,
        /// At the end let the sources forget the pipelines (slots, publications, captures): for a copy that is not continued
        #[arg(long)]
        drop_slot: bool,
    },
    /// Run as a service: every pipeline, the plugin folder, HTTP
    ///
    /// SIGTERM or SIGINT: every pipeline finishes its current batch, and the service ends with 0 within 12 seconds; what is not done by
    /// then is broken off, which loses nothing. A second one: at once. SIGHUP: the configuration is read again and taken into
    /// use. When the file changes, its plugin parts are taken into use by themselves.
    Serve {
        /// Take pipelines over from another installation that wrote to the same targets
        #[arg(long)]
        take_over: bool,
        /// Where to listen instead of `service.listen`; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// How the service and its pipelines stand
    Status,
    /// Bring a pipeline to a stand, until it is resumed
    Pause {
        /// Which pipeline; all when none is named
        pipeline: Option<String>,
        /// Also take away what stands in the way of changing the shape of source tables; resuming reads them again
        #[arg(long)]
        ddl: bool,
        /// With --ddl: which source tables; all when none is named
        #[arg(long = "table", value_name = "TABLE", requires = "ddl")]
        tables: Vec<String>,
        /// Shown in the status
        #[arg(long, conflicts_with = "ddl")]
        reason: Option<String>,
    },
    /// Let a pipeline go on
    Resume {
        /// Which pipeline; all when none is named
        pipeline: Option<String>,
    },
    /// Remove everything that was made for a pipeline, at source, target and here; the target's rows stay
    Delete {
        /// Which pipeline
        pipeline: String,
    },
    /// Read tables again from the start
    Resnapshot {
        /// Which pipeline
        pipeline: String,
        /// Which source tables; all when none is named
        #[arg(long = "table", value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// Make the source's secondary indexes, unique constraints, checks and foreign keys at a target of the same kind (PostgreSQL)
    ///
    /// Once the first copy is done: a copy into indexes takes longer. `check` lists the statements. What is there already (by its name) is
    /// left alone, so it can be run again; a statement that fails is told, and the others are run. While an index is made, the
    /// pipeline's writes to that table wait, and are tried again.
    Indexes {
        /// Which pipeline; all when none is named
        pipeline: Option<String>,
    },
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Look at plugins and change their versions
    #[command(subcommand)]
    Plugin(Plugin),
    /// Look at conflicts: rows of the target that somebody else had changed
    #[command(subcommand)]
    Conflicts(Conflicts),
    /// Look at dead letters: events that could not be applied
    #[command(subcommand)]
    Dlq(Dlq),
    /// What compiles a plugin in a process of its own
    #[command(name = sluice::COMPILE_PLUGIN, hide = true)]
    CompilePlugin,
}

#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Start a plugin: a folder NAME with one that works, its cases, and what it is built with
    ///
    /// Nothing is fetched: template and SDK are in this program. Its language's own tools are yours to install; `plugin build`
    /// says what is missing.
    New {
        /// What it is called: small letters, digits and `-`
        name: String,
        /// What it is written in; a wrong one shows what there is
        #[arg(long, value_name = "LANGUAGE")]
        lang: String,
    },
    /// Build a plugin into a component, by its language's tools
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// The component to be written. Default: FOLDER/NAME.wasm, called as the folder
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// What a plugin file says about itself, what it has to be granted, and what it plans for a table
    Inspect {
        /// The component
        file: PathBuf,
        /// Open it on a table, as DATABASE.TABLE with a database of the configuration
        #[arg(long, value_name = "DATABASE.TABLE")]
        table: Option<String>,
        /// With this plugin configuration, as JSON
        #[arg(long = "config", value_name = "JSON", default_value = "{}", requires = "table")]
        settings: String,
    },
    /// Run a plugin's cases: what it is to do with which event, written down as YAML (plugins/README.md)
    ///
    /// They go through the real host, with all its checks. Exit code 1 if one does not hold; what differs is shown.
    Test {
        /// The component
        file: PathBuf,
        /// The folder of the cases. Default: `cases` beside the component, else in the working directory
        #[arg(long, value_name = "FOLDER")]
        cases: Option<PathBuf>,
    },
    /// Measure a plugin by its cases: time per row, rows per second, memory, compilation, start
    Bench {
        /// The component
        file: PathBuf,
        /// The folder of the cases. Default: `cases` beside the component, else in the working directory
        #[arg(long, value_name = "FOLDER")]
        cases: Option<PathBuf>,
    },
    /// Every plugin, its version, and candidates that were refused or wait
    List,
    /// Take the plugin folder's file now
    Swap {
        /// Which plugin
        name: String,
        /// Also when it reads, writes or drops more than what runs
        #[arg(long)]
        promote: bool,
    },
    /// Put an earlier version back
    Rollback {
        /// Which plugin
        name: String,
        /// Which version; the one before when none is given
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Dead letters, oldest first
    List {
        /// Of which pipeline
        pipeline: String,
        /// From after this number on
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One dead letter
    Show {
        /// Of which pipeline
        pipeline: String,
        /// Which one; the oldest when none is given
        id: Option<String>,
        /// Show the rows, too
        #[arg(long)]
        values: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Conflicts {
    /// Conflicts, oldest first
    List {
        /// Of which pipeline
        pipeline: String,
        /// Only those that wait for somebody
        #[arg(long)]
        parked: bool,
        /// From after this number on
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One conflict: what was met, what was decided, and by whom
    Show {
        /// Of which pipeline
        pipeline: String,
        /// Which one
        id: String,
        /// Show both sides' rows, too
        #[arg(long)]
        values: bool,
    },
    /// Decide a parked conflict: which row is to be in the target
    #[command(group = clap::ArgGroup::new("row").required(true).args(["source", "target", "values"]))]
    Decide {
        /// Of which pipeline
        pipeline: String,
        /// Which one
        id: String,
        /// The source's row, with all that came later of it
        #[arg(long)]
        source: bool,
        /// The target's row, as it is there
        #[arg(long)]
        target: bool,
        /// The source's row with these values: `{"column": value, ..}`
        #[arg(long, value_name = "JSON")]
        values: Option<String>,
        /// Also when the target's row was changed since the conflict was recorded
        #[arg(long)]
        force: bool,
        /// Who decides; the user's name when it is not given
        #[arg(long)]
        by: Option<String>,
    },
}
