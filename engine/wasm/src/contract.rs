//! The plugin contract as Rust types, generated from `wit/` in place: there is no other copy of it.

#[allow(missing_docs, clippy::all)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "transform-plugin",
        // Arguments are borrowed from the host's buffers: nothing is allocated to hand over a batch.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub use generated::TransformPlugin;
