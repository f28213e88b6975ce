//! The suite that makes a connector.

use crate::harness::PostgresHarness;

sluice_kit::sink_conformance!(PostgresHarness);
