//! The suite that makes a connector.

use crate::harness::SourceHarness;

sluice_kit::source_conformance!(SourceHarness);
