//! Builds the shipped plugins by `scripts/build-guest`, to be part of the binary, and lists the files of the SDKs, for `plugin new`.

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
    if let Err(error) = std::fs::write(out.join("sdks.rs"), sdks(&root)) {
        fail(&format!("the list of the SDKs' files can't be written: {error}"));
    }
}

/// What an author needs of this repository: the contract, the SDKs without what they are tested with, and what builds.
fn sdks(root: &Path) -> String {
    let mut files = vec![root.join("scripts/build-guest")];
    collect(&root.join("wit"), &mut files);
    for sdk in plugin_folders(&root.join("sdk")) {
        if sdk.join("sdk.toml").exists() {
            collect(&sdk, &mut files);
        }
    }
    let mut table = String::from(
        "/// Every file: its place in the repository, whether it is a program, and what is in it.\npub static FILES: &[(&str, bool, &[u8])] = &[\n",
    );
    for file in files {
        let place = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let is_program = std::fs::read(&file).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        let _ = writeln!(
            table,
            "    ({place:?}, {is_program}, include_bytes!({:?})),",
            file.display().to_string()
        );
    }
    table.push_str("];\n");
    table
}

/// The files below a folder, without what builds leave behind and what only this repository's tests use.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    const LEFT_OUT: &[&str] =
        &["probe", "forbidden", "tests", "test", "target", "node_modules", "__pycache__"];
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&&*name) || name.ends_with(".wasm") {
            continue;
        }
        if entry.is_dir() { collect(&entry, files) } else { files.push(entry) }
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
