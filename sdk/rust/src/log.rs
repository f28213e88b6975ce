//! Lines for the engine's log, with pipeline and plugin. The step needs `grant: { log: {} }`; a component imports this only if it
//! calls it. A line is cut after 1 KiB, and of more than 10 a second only their number is told.

use crate::raw::log::{Level, log};

/// For those who look for a fault of the plugin.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Something is odd.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Something is wrong.
pub fn error(message: &str) {
    log(Level::Error, message);
}
