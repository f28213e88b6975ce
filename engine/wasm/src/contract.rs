//! The plugin contract as Rust types, generated from `wit/` in place: there is no other copy of it.

#[allow(missing_docs, clippy::all)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "hosted-transform-plugin",
        // Arguments are borrowed from the host's buffers: nothing is allocated to hand over a batch.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(crate) use generated::exports::sluice::plugin::transformer::{Batch, Output, Plan, RowError, Written};
pub(crate) use generated::sluice::plugin::types::{
    Blobs, Column, ColumnData, ColumnInfo, ColumnType as WitType, ConfigError, Strings, TableInfo,
};
pub(crate) use generated::sluice::plugin::{crypto, log};
pub(crate) use generated::{
    HostedTransformPlugin as TransformPlugin, HostedTransformPluginPre as TransformPluginPre,
};
use sluice_types::ColumnType;

/// The version of the contract's package.
pub(crate) const CONTRACT: &str = "0.1.0";

/// The codes of row images in a batch.
pub(crate) mod kind {
    pub(crate) const SNAPSHOT: u8 = 0;
    pub(crate) const INSERT: u8 = 1;
    pub(crate) const BEFORE: u8 = 2;
    pub(crate) const AFTER: u8 = 3;
    pub(crate) const DELETE: u8 = 4;
}

/// The codes of a column's `state`.
pub(crate) mod state {
    pub(crate) const VALUE: u8 = 0;
    pub(crate) const NULL: u8 = 1;
    pub(crate) const ABSENT: u8 = 2;
}

macro_rules! same_types {
    ($($name:ident),*) => {
        /// A canonical type as the contract has it.
        pub(crate) fn to_wit(ty: ColumnType) -> WitType {
            match ty { $(ColumnType::$name => WitType::$name),* }
        }
        /// A type of the contract as the engine has it.
        pub(crate) fn from_wit(ty: WitType) -> ColumnType {
            match ty { $(WitType::$name => ColumnType::$name),* }
        }
    };
}
same_types!(
    Boolean,
    Int64,
    Uint64,
    Float32,
    Float64,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Array,
    Document,
    ObjectId,
    Enumeration,
    Extended
);

/// The case of `column-data` that carries a type: the table in the contract's comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Bools,
    Ints,
    Uints,
    Floats,
    Days,
    Micros,
    Strings,
    Blobs,
    Uuids,
}

impl Case {
    pub(crate) fn of(ty: ColumnType) -> Case {
        use ColumnType::*;
        match ty {
            Boolean => Case::Bools,
            Int64 | Time => Case::Ints,
            Uint64 => Case::Uints,
            Float32 | Float64 => Case::Floats,
            Date => Case::Days,
            Timestamp | Timestamptz => Case::Micros,
            Text | Decimal | Interval | Json | Array | Document | Enumeration | Extended => Case::Strings,
            Bytes | ObjectId => Case::Blobs,
            Uuid => Case::Uuids,
        }
    }

    /// An empty buffer of this case.
    pub(crate) fn empty(self) -> ColumnData {
        match self {
            Case::Bools => ColumnData::Bools(Vec::new()),
            Case::Ints => ColumnData::Ints(Vec::new()),
            Case::Uints => ColumnData::Uints(Vec::new()),
            Case::Floats => ColumnData::Floats(Vec::new()),
            Case::Days => ColumnData::Days(Vec::new()),
            Case::Micros => ColumnData::Micros(Vec::new()),
            Case::Strings => ColumnData::Strings(Strings { offsets: Vec::new(), data: String::new() }),
            Case::Blobs => ColumnData::Blobs(Blobs { offsets: Vec::new(), data: Vec::new() }),
            Case::Uuids => ColumnData::Uuids(Vec::new()),
        }
    }
}
