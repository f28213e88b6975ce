//! sluice keeps databases in step: the service, and the face for programs that embed the engine.

mod registry;

pub use registry::Registry;
