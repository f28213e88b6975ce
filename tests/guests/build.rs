//! Builds every guest of the repository by `scripts/build-guest` and writes down where each lies.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// One guest package.
struct Guest {
    /// Its folder's name; an SDK's have the language in front: `rust-probe`.
    name: String,
    dir: PathBuf,
    shipped: bool,
}

fn main() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(std::env::var("OUT_DIR").unwrap_or_default());
    let root = here.join("../..");
    for watched in ["wit", "sdk", "plugins", "examples", "tests/guests", "scripts/build-guest"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }

    let mut code = String::from("const GUESTS: &[(&str, &str, bool, &str)] = &[\n");
    for guest in guests(&root) {
        let component = out.join(format!("{}.wasm", guest.name));
        let built = Command::new(root.join("scripts/build-guest")).arg(&guest.dir).arg(&component).output();
        match built {
            Ok(built) if built.status.success() => {}
            Ok(built) => fail(&guest, &String::from_utf8_lossy(&built.stderr)),
            Err(error) => fail(&guest, &error.to_string()),
        }
        let _ = writeln!(code, "    ({:?}, {:?}, {}, {component:?}),", guest.name, guest.dir, guest.shipped);
    }
    code.push_str("];\n");
    if let Err(error) = std::fs::write(out.join("guests.rs"), code) {
        println!("cargo::error=can't write the list of guests: {error}");
        exit(1);
    }
}

fn fail(guest: &Guest, why: &str) -> ! {
    println!("cargo::error=the guest {} does not build:", guest.name);
    why.lines().for_each(|line| println!("cargo::error={line}"));
    exit(1)
}

/// Every folder below `tests/guests`, `examples`, `plugins` and `sdk/*/{probe,template,forbidden}` that holds a package.
fn guests(root: &Path) -> Vec<Guest> {
    let mut guests = Vec::new();
    let sdks = folders(&root.join("sdk"));
    let markers: Vec<String> = sdks.iter().filter_map(|sdk| marker(sdk)).collect();
    let is_package = |dir: &Path| markers.iter().any(|marker| dir.join(marker).exists());
    for (folder, shipped) in [("tests/guests", false), ("examples", false), ("plugins", true)] {
        for dir in folders(&root.join(folder)) {
            if is_package(&dir) {
                guests.push(Guest { name: name(&dir), dir, shipped });
            }
        }
    }
    for sdk in sdks {
        for kind in ["probe", "template", "forbidden"] {
            let dir = sdk.join(kind);
            if is_package(&dir) {
                guests.push(Guest { name: format!("{}-{kind}", name(&sdk)), dir, shipped: false });
            }
        }
    }
    guests
}

/// The file by which plugins in an SDK's language are known.
fn marker(sdk: &Path) -> Option<String> {
    let toml = std::fs::read_to_string(sdk.join("sdk.toml")).ok()?;
    let line = toml.lines().find(|line| line.starts_with("marker"))?;
    line.split('"').nth(1).map(str::to_string)
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
