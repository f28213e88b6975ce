//! Builds the shipped plugins by `scripts/build-guest`, to be part of the binary.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let root = folder("CARGO_MANIFEST_DIR").join("../..");
    let out = folder("OUT_DIR");
    for watched in ["wit", "sdk", "plugins", "scripts/build-guest"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }

    let mut table = String::from(
        "/// Every shipped plugin: its name and its component. A static, so that there is one copy of each.\npub static PLUGINS: &[(&str, &[u8])] = &[\n",
    );
    for dir in plugin_folders(&root.join("plugins")) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component = out.join(format!("{name}.wasm"));
        build(&root, &dir, &component);
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "    ({name:?}, include_bytes!({:?})),", component.display().to_string());
    }
    table.push_str("];\n");
    if let Err(error) = std::fs::write(out.join("shipped.rs"), table) {
        fail(&format!("the list of shipped plugins can't be written: {error}"));
    }
}

fn build(root: &Path, dir: &Path, component: &Path) {
    let script = root.join("scripts/build-guest");
    match Command::new(&script).arg(dir).arg(component).output() {
        Ok(built) if built.status.success() => {}
        Ok(built) => fail(&format!(
            "the plugin in {} does not build:\n{}",
            dir.display(),
            String::from_utf8_lossy(&built.stderr)
        )),
        Err(error) => fail(&format!("{} can't be run: {error}", script.display())),
    }
}

/// Every folder of `plugins/`. A clone without that folder makes a binary without shipped plugins.
fn plugin_folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| is_plugin(path)).collect();
    folders.sort();
    folders
}

/// A folder with something in it; what language it is in is for `scripts/build-guest` to find out.
fn is_plugin(dir: &Path) -> bool {
    dir.is_dir()
        && dir.file_name().is_some_and(|name| name != "target" && !name.to_string_lossy().starts_with('.'))
}

fn folder(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| fail(&format!("{variable} is not set by cargo")))
}

fn fail(why: &str) -> ! {
    why.lines().for_each(|line| println!("cargo::error={line}"));
    exit(1)
}
