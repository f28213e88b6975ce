//! What the author of a plugin starts from: a folder with a plugin in it that works, and what builds it.
//!
//! The binary carries the SDKs, their templates and the contract (`build.rs`). A new plugin gets its language's SDK beside it, in `.sluice`, laid out
//! as in the repository: it builds wherever the folder goes, against the contract that it was made for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sluice_types::{Error, ErrorKind, Result};

include!(concat!(env!("OUT_DIR"), "/sdks.rs"));

/// Where a plugin's own copy of its SDK lies.
const OWN: &str = ".sluice";
/// What the templates are called, as people and as programs write it.
const TEMPLATE_NAME: [&str; 2] = ["my-plugin", "my_plugin"];
/// What need not be kept under version control. The SDK is: the plugin is built with it.
const IGNORED: &str = "*.wasm\n.sluice/target/\nnode_modules/\ntarget/\n__pycache__/\n";

/// The languages that a plugin can be started in.
pub fn languages() -> Vec<&'static str> {
    let language = |place: &&'static str| place.strip_prefix("sdk/")?.strip_suffix("/sdk.toml");
    FILES.iter().filter_map(|(place, ..)| language(place)).collect()
}

/// Makes the folder `within/name` with a plugin of that name in it, which builds and holds its cases.
///
/// # Errors
/// `config` where the name or the language is none, or the folder is there already; `state` where it can't be written.
pub fn create(within: &Path, name: &str, language: &str) -> Result<PathBuf> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(is_word)
        || name.ends_with('-')
    {
        let what = format!("`{name}` can't be a plugin's name");
        return Err(
            Error::new(ErrorKind::Config, what).remedy("Write small letters, digits and `-`: tidy-emails")
        );
    }
    if !languages().contains(&language) {
        let what = format!("there is no template in `{language}`");
        return Err(
            Error::new(ErrorKind::Config, what).remedy(format!("There are: {}", languages().join(", ")))
        );
    }
    let folder = within.join(name);
    if folder.exists() {
        let what = format!("{} is there already", folder.display());
        return Err(Error::new(ErrorKind::Config, what).remedy("Choose another name, or remove it"));
    }
    let template = format!("sdk/{language}/template/");
    let sdk = format!("{OWN}/sdk/{language}");
    for (place, is_program, bytes) in FILES {
        let Some(place) = place.strip_prefix(&template) else { continue };
        write(&folder.join(place), *is_program, &named(bytes, name, &sdk))?;
    }
    write(&folder.join(".gitignore"), false, IGNORED.as_bytes())?;
    unpack(&folder.join(OWN), language)?;
    Ok(folder)
}

/// A template's file with the plugin's name in it, and with the place of the SDK, which is above the template in the repository.
fn named(bytes: &[u8], name: &str, sdk: &str) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    text.replace(TEMPLATE_NAME[0], name)
        .replace(TEMPLATE_NAME[1], &name.replace('-', "_"))
        .replace("\"..\"", &format!("\"{sdk}\""))
        .replace("\"file:..\"", &format!("\"file:{sdk}\""))
        .into_bytes()
}

/// Builds the plugin in a folder into a component, by its language's tools, which write to standard error.
///
/// # Errors
/// `config` where the folder holds no plugin; `plugin-invalid` where it does not build.
pub fn build(folder: &Path, out: &Path) -> Result<()> {
    let cant = |error: std::io::Error| {
        Error::new(ErrorKind::Config, format!("{} can't be read", folder.display())).because(error)
    };
    let folder = folder.canonicalize().map_err(cant)?;
    let root = tools(&folder)?;
    let built = Command::new(root.join("scripts/build-guest"))
        .arg(&folder)
        .arg(out)
        .stdin(Stdio::null())
        // What is asked for is on standard output: where the component lies.
        .stdout(std::io::stderr())
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => {
            let what = format!("the plugin in {} does not build", folder.display());
            Err(Error::new(ErrorKind::PluginInvalid, what).remedy("Its tools said above what is wrong"))
        }
        Err(error) => {
            let what = "what builds plugins can't be run";
            Err(Error::new(ErrorKind::PluginInvalid, what).because(error).remedy("It is a script for `bash`"))
        }
    }
}

/// The folder that `scripts/build-guest`, `sdk` and `wit` lie in: the plugin's own, that of the repository around it, or, where there is neither,
/// its own out of the binary.
fn tools(folder: &Path) -> Result<PathBuf> {
    let has_tools = |root: &Path| root.join("scripts/build-guest").exists() && root.join("sdk").exists();
    let own = folder.join(OWN);
    if has_tools(&own) {
        return Ok(own);
    }
    if let Some(root) = folder.ancestors().find(|root| has_tools(root)) {
        return Ok(root.to_path_buf());
    }
    let Some(language) = language_of(folder) else {
        let markers: Vec<String> = languages().into_iter().filter_map(marker).collect();
        let what = format!("{} holds no plugin: none of {}", folder.display(), markers.join(", "));
        return Err(
            Error::new(ErrorKind::Config, what).remedy("`sluice plugin new NAME --lang LANGUAGE` makes one")
        );
    };
    unpack(&own, language)?;
    Ok(own)
}

fn language_of(folder: &Path) -> Option<&'static str> {
    let is_marked = |language: &&str| marker(language).is_some_and(|marker| folder.join(marker).exists());
    languages().into_iter().find(is_marked)
}

/// The file by which plugins in a language are known.
fn marker(language: &str) -> Option<String> {
    let place = format!("sdk/{language}/sdk.toml");
    let (.., toml) = FILES.iter().find(|(known, ..)| *known == place)?;
    let line = std::str::from_utf8(toml).ok()?.lines().find(|line| line.starts_with("marker"))?;
    line.split('"').nth(1).map(str::to_string)
}

/// Writes a language's SDK, the contract, and what builds.
fn unpack(root: &Path, language: &str) -> Result<()> {
    let (sdk, template) = (format!("sdk/{language}/"), format!("sdk/{language}/template/"));
    for (place, is_program, bytes) in FILES {
        let is_others = place.starts_with("sdk/") && !place.starts_with(&sdk);
        if !is_others && !place.starts_with(&template) {
            write(&root.join(place), *is_program, bytes)?;
        }
    }
    Ok(())
}

fn write(path: &Path, is_program: bool, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().unwrap_or(path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, bytes)).and_then(|()| {
        let mode = if is_program { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    });
    written.map_err(|error| {
        Error::new(ErrorKind::State, format!("{} can't be written", path.display())).because(error)
    })
}
