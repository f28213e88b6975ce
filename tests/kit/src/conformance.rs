//! The suite that makes a connector: whatever passes it is one.
//!
//! A connector gives a [`Harness`]: a private database, statements run in it by a client that knows nothing of sluice, its rows
//! read back. The whole of `tests/main.rs` of a connector is then
//!
//! ```text
//! mod harness;
//! sluice_kit::conformance!(harness::SqliteHarness);   // or source_conformance!, sink_conformance! alone
//! ```
//!
//! Every case starts a database of its own through [`Harness::start`] and is a `#[test]` of its own in the modules `source` and
//! `sink`. [`crate::Statement::to_sql`] writes the statements for databases that speak SQL. `tests/kit/tests/memory.rs` is the
//! harness of the memory database and shows the shape.
//!
//! The tables of the cases have integer keys named `id` and columns `a` (text) and `n` (integer); values are integers, text and
//! null, unless [`Harness::values`] says more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the whole module is a test

mod follow;
mod harness;
mod present;
pub mod sink;
pub mod source;
mod values;
mod world;

pub use harness::{Harness, NativeValue};
pub use world::run;

/// All cases, for a connector with both a source and a sink.
#[macro_export]
macro_rules! conformance {
    ($harness:ty) => {
        $crate::source_conformance!($harness);
        $crate::sink_conformance!($harness);
    };
}

/// The cases of a source.
#[macro_export]
macro_rules! source_conformance {
    ($harness:ty) => {
        mod source {
            #[allow(unused_imports)]
            use super::*;
            $crate::conformance_tests! { source $harness:
                identity_is_stable
                missing_table_is_named
                own_tables_are_not_discovered
                snapshot_reads_every_row_once
                snapshot_under_writes
                snapshot_resumes_in_the_middle
                a_chunk_says_what_it_has_seen
                reread_by_key
                every_kind_of_change
                absent_is_not_null
                key_change
                truncate
                order_and_atomicity
                a_large_transaction_comes_in_parts
                rolled_back_is_never_seen
                waiting_next_is_woken
                dropped_next_consumes_nothing
                other_tables_are_not_delivered
                head_is_reached
                unconfirmed_comes_again
                confirmed_may_go_and_never_leaves_a_gap
                lag_shrinks_to_nothing
                reconnect
                a_restored_source_is_noticed
                values_by_snapshot
                values_by_stream
                detach_and_hold_again
                release_removes_everything
            }
        }
    };
}

/// The cases of a sink.
#[macro_export]
macro_rules! sink_conformance {
    ($harness:ty) => {
        mod sink {
            #[allow(unused_imports)]
            use super::*;
            $crate::conformance_tests! { sink $harness:
                prepare_makes_what_is_missing
                rows_without_a_checkpoint_are_seen
                a_table_that_does_not_fit_is_left_alone
                every_kind_of_change
                replay_changes_nothing
                absent_leaves_the_column
                absent_is_never_inserted
                key_change
                key_change_chain
                key_change_onto_a_held_key
                truncate
                current_rows
                current_holds_the_rows
                rows_come_back_as_stored
                data_and_checkpoint_commit_together
                a_dropped_transaction_leaves_nothing
                checkpoint_comes_back_as_saved
                checkpoint_is_compared_and_set
                two_pipelines_do_not_mix
                savepoints
                a_constraint_error_names_its_event
                an_unrepresentable_value_is_refused
                lost_commit_reply
                a_target_restored_from_an_older_copy
                reconnect
                a_large_transaction
                values_round_trip
            }
        }
    };
}

/// One test per case; used by the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($module:ident $harness:ty: $($case:ident)*) => { $(
        #[test]
        fn $case() {
            $crate::conformance::run($crate::conformance::$module::$case::<$harness>());
        }
    )* };
}
