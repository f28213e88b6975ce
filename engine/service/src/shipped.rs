//! The plugins that come with the binary. `build.rs` builds every folder of `plugins/` and lists it here.

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));
