//! The macros that make a component of a plugin.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::columns::{ByColumn, Columns};
use crate::raw::{Batch, ConfigError, Info, Output, Plan, TableInfo};
use crate::row::{ByRow, Rows};

type Open<O> = fn(TableInfo, &str) -> Result<Option<(Plan, O)>, Vec<ConfigError>>;

/// The opened tables of a plugin, by the host's handles.
pub struct Transformer<O> {
    summary: &'static str,
    config_schema: &'static str,
    open: Open<O>,
    transform: fn(&O, Batch) -> Result<Output, String>,
    tables: RefCell<BTreeMap<u32, O>>,
}

/// For [`export_rows!`](crate::export_rows).
pub fn by_row<P: Rows>() -> Transformer<ByRow<P>> {
    Transformer {
        summary: P::SUMMARY,
        config_schema: P::CONFIG_SCHEMA,
        open: ByRow::open,
        transform: ByRow::transform,
        tables: RefCell::default(),
    }
}

/// For [`export_columns!`](crate::export_columns).
pub fn by_column<P: Columns>() -> Transformer<ByColumn<P>> {
    Transformer {
        summary: P::SUMMARY,
        config_schema: P::CONFIG_SCHEMA,
        open: ByColumn::open,
        transform: ByColumn::transform,
        tables: RefCell::default(),
    }
}

impl<O> Transformer<O> {
    #[allow(missing_docs)]
    pub fn describe(&self, name: &str, version: &str) -> Info {
        Info {
            name: name.into(),
            version: version.into(),
            summary: self.summary.into(),
            config_schema: self.config_schema.into(),
        }
    }

    #[allow(missing_docs)]
    pub fn open(
        &self,
        handle: u32,
        table: TableInfo,
        config: &str,
    ) -> Result<Option<Plan>, Vec<ConfigError>> {
        Ok((self.open)(table, config)?.map(|(plan, opened)| {
            self.tables.borrow_mut().insert(handle, opened);
            plan
        }))
    }

    #[allow(missing_docs)]
    pub fn close(&self, handle: u32) {
        self.tables.borrow_mut().remove(&handle);
    }

    #[allow(missing_docs)]
    pub fn transform(&self, handle: u32, batch: Batch) -> Result<Output, String> {
        let tables = self.tables.borrow();
        let opened = tables.get(&handle).ok_or_else(|| format!("no table is open as {handle}"))?;
        (self.transform)(opened, batch)
    }
}

/// Makes a component of a [`Rows`] plugin. Once per crate, at its root; name and version are the crate's.
#[macro_export]
macro_rules! export_rows {
    ($plugin:ty) => {
        $crate::__export!($crate::ByRow<$plugin>, $crate::by_row());
    };
}

/// Makes a component of a [`Columns`] plugin. Once per crate, at its root; name and version are the crate's.
#[macro_export]
macro_rules! export_columns {
    ($plugin:ty) => {
        $crate::__export!($crate::ByColumn<$plugin>, $crate::by_column());
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($opened:ty, $transformer:expr) => {
        // The same crate is also built for the machine at hand, for its unit tests: then it only has to be right.
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> $crate::Transformer<$opened> = || $transformer;
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static TRANSFORMER: $crate::Transformer<$opened> = $transformer;
            }
            struct Guest;
            impl $crate::raw::Guest for Guest {
                fn describe() -> $crate::raw::Info {
                    TRANSFORMER.with(|it| it.describe(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")))
                }
                fn open(
                    handle: u32,
                    table: $crate::raw::TableInfo,
                    config: ::std::string::String,
                ) -> ::std::result::Result<
                    ::std::option::Option<$crate::raw::Plan>,
                    ::std::vec::Vec<$crate::raw::ConfigError>,
                > {
                    TRANSFORMER.with(|it| it.open(handle, table, &config))
                }
                fn close(handle: u32) {
                    TRANSFORMER.with(|it| it.close(handle))
                }
                fn transform(
                    handle: u32,
                    batch: $crate::raw::Batch,
                ) -> ::std::result::Result<$crate::raw::Output, ::std::string::String> {
                    TRANSFORMER.with(|it| it.transform(handle, batch))
                }
            }
    $crate::raw::export_transformer!(Guest with_types_in $crate::raw);
        };
    };
}
