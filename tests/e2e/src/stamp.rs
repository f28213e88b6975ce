//! Versions of the guest `stamp` (tests/guests/stamp), and files that are no plugins.

/// What stands in the component as it was built.
const BUILD: &[u8; 32] = b"stamp-build:v0      plain       ";

/// A version of `stamp` that writes this name into `made_by`, with a behaviour: `plain`, or `wider` (reads every column),
/// `traps`, `spins`, `fails`, `refuses` (its configuration), `retypes` (the column). `built` is the component as it was built.
///
/// # Panics
/// If the component doesn't hold the place to write it to exactly once.
pub fn version(built: &[u8], name: &str, behaviour: &str) -> Vec<u8> {
    let places: Vec<usize> = built
        .windows(BUILD.len())
        .enumerate()
        .filter(|(_, window)| window == BUILD)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "the guest holds its build once");
    let build = format!("stamp-build:{name:<8}{behaviour:<12}");
    assert_eq!(build.len(), BUILD.len(), "names and behaviours are short");
    let mut patched = built.to_vec();
    patched[places[0]..places[0] + build.len()].copy_from_slice(build.as_bytes());
    patched
}

/// A component that does what `built` does and also imports what nobody offers: a resource `evil`.
pub fn importing(built: &[u8]) -> Vec<u8> {
    // Section 10 (imports), 9 bytes: one, a plain name of 4 bytes, a type, a fresh resource.
    [built, &[10, 9, 1, 0, 4, b'e', b'v', b'i', b'l', 3, 1]].concat()
}

/// A component that exports nothing: the preamble alone.
pub fn without_exports() -> Vec<u8> {
    b"\0asm\x0d\0\x01\0".to_vec()
}

/// A WebAssembly module, which is no component.
pub fn module() -> Vec<u8> {
    b"\0asm\x01\0\0\0".to_vec()
}
