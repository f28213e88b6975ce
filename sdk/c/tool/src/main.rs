//! What C's own tools can't do for a plugin: bindings made from the contract, and a component made of a linked module.
//! The work is wit-bindgen's and wit-component's; their own programs take three times as long to build.
//!
//! - `sluice-c bindings WIT OUT [WORLD.wit]` writes `sl_contract.h`, `.c` and `_component_type.o` into the folder OUT, for the world
//!   of a hosted transform in the folder WIT, or for the one world in the file WORLD.wit.
//! - `sluice-c component MODULE OUT` makes a component of a module.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload};
use wit_bindgen_core::{Files, wit_parser::Resolve};

/// What a plugin is, in the contract.
const WORLD: &str = "sluice:plugin/hosted-transform-plugin@0.1.0";
/// What the generated files are called, and the first word of names that belong to no interface.
const NAME: &str = "sl_contract";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["bindings", wit, out] => bindings(wit, out, None),
        ["bindings", wit, out, world] => bindings(wit, out, Some(world)),
        ["component", module, out] => component(module, out),
        _ => {
            eprintln!("usage: sluice-c bindings WIT OUT [WORLD.wit] | sluice-c component MODULE OUT");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-c: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bindings(wit: &str, out: &str, own: Option<&str>) -> Result<()> {
    let mut resolve = Resolve::default();
    let (contract, _) = resolve.push_path(wit).with_context(|| format!("the contract in {wit}"))?;
    let world = match own {
        None => resolve.select_world(&[contract], Some(WORLD))?,
        Some(file) => {
            let package = resolve.push_file(file).with_context(|| format!("the world in {file}"))?;
            resolve.select_world(&[package], None).with_context(|| format!("the world in {file}"))?
        }
    };
    let options = wit_bindgen_c::Opts { rename_world: Some(NAME.into()), ..Default::default() };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    for (name, contents) in files.iter() {
        let file = Path::new(out).join(name);
        std::fs::write(&file, contents).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn component(module: &str, out: &str) -> Result<()> {
    let bytes = std::fs::read(module).with_context(|| format!("reading {module}"))?;
    if bytes.is_empty() {
        bail!("{module} is empty");
    }
    let system = system_calls(&bytes).with_context(|| format!("reading {module}"))?;
    if !system.is_empty() {
        bail!(
            "it calls for what needs a system (files, a clock, the environment, randomness), and there is none in the sandbox: {}",
            system.join(", ")
        );
    }
    let component = wit_component::ComponentEncoder::default().validate(true).module(&bytes)?.encode()?;
    std::fs::write(out, component).with_context(|| format!("writing {out}"))
}

/// What a C library asks a system for, under WASI's names. Closing, seeking and writing files comes along with anything else, since
/// the library's own replace `src/nofiles.c` then, and is not what was called for.
fn system_calls(module: &[u8]) -> Result<Vec<String>> {
    const COME_ALONG: [&str; 4] = ["fd_close", "fd_write", "fd_seek", "fd_fdstat_get"];
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(imports) = payload? {
            for import in imports.into_imports() {
                let import = import?;
                if import.module == "wasi_snapshot_preview1" {
                    names.push(import.name.to_string());
                }
            }
        }
    }
    if names.iter().any(|name| !COME_ALONG.contains(&name.as_str())) {
        names.retain(|name| !COME_ALONG.contains(&name.as_str()));
    }
    Ok(names)
}
