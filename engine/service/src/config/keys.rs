//! `keys:`, and what of them `grant:` gives to a step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use serde_json::{Value as Json, json};
use sluice_types::settings::did_you_mean;
use sluice_types::{ErrorKind, Finding, Settings};
use sluice_wasm::{CryptoGrant, CryptoOp, Grants, KEY_BYTES, KeyRing};

use super::read::check_name;

/// Keys that one has replaced and whose values still open (I10).
const OLD_KEYS_MAX: usize = 100;

const MAKE_ONE: &str = "make one with: head -c 32 /dev/urandom | base64";

/// `keys:` by name; `None`: it is wrong, and a finding says so.
pub(super) type Keys = BTreeMap<String, Option<KeyRing>>;

/// `keys: { pii: "${env:PII}", other: { seal: "${env:NEW}", open: ["${env:OLD}"] } }`
pub(super) fn read(settings: &mut Settings) -> Keys {
    let keys = match settings.take("keys") {
        None => return Keys::new(),
        Some(Json::Object(keys)) => keys,
        Some(_) => {
            settings.reject("keys", "`keys` is not a mapping", "write `name: \"${env:NAME}\"` lines in it");
            return Keys::new();
        }
    };
    let path = settings.path_of("keys");
    let mut read = Keys::new();
    for (name, value) in keys {
        // The short form is the long one with `seal` alone, which is then not written.
        let short = !value.is_object();
        let value = if short { json!({ "seal": value }) } else { value };
        let mut nested = Settings::new(format!("{path}.{name}"), value);
        check_name(&mut nested, "key", &name);
        let ring = one(&mut nested, &name, if short { "" } else { "seal" });
        settings.absorb(nested);
        read.insert(name, ring);
    }
    read
}

fn one(key: &mut Settings, name: &str, place: &str) -> Option<KeyRing> {
    let current = key.need_text("seal", MAKE_ONE);
    let old = key.take_texts("open").unwrap_or_default();
    if old.len() > OLD_KEYS_MAX {
        key.reject("open", format!("there are more than {OLD_KEYS_MAX} old keys"), "seal old values anew");
    }
    let mut secret = |at: &str, text: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok();
        let bytes: Option<[u8; KEY_BYTES]> = bytes.and_then(|bytes| bytes.try_into().ok());
        if bytes.is_none() {
            let path = if at.is_empty() { key.path().to_string() } else { key.path_of(at) };
            let what = format!("this is not base64 of {KEY_BYTES} bytes");
            key.find(Finding::error(ErrorKind::Config, path, what, MAKE_ONE));
        }
        bytes
    };
    let old: Vec<Option<_>> = old.iter().map(|text| secret("open", text)).collect();
    let current = secret(place, &current?)?;
    Some(KeyRing::new(name, &current, &old.into_iter().collect::<Option<Vec<_>>>()?))
}

/// `grant: { crypto: { keys: [pii], ops: [seal] }, log: {} }`
pub(super) fn grants(settings: &mut Settings, keys: &Keys) -> Arc<Grants> {
    let Some(mut grant) = settings.take_settings("grant") else { return Arc::default() };
    let crypto = grant.take_settings("crypto").map(|mut nested| {
        let crypto = crypto(&mut nested, keys);
        grant.absorb(nested);
        crypto
    });
    let log = grant.take_settings("log").map(|nested| grant.absorb(nested)).is_some();
    for interface in ["lookup", "metrics"] {
        grant.not_built(interface, "leave it out: plugins that import it can't run yet");
    }
    settings.absorb(grant);
    Arc::new(Grants { crypto, log })
}

fn crypto(granted: &mut Settings, keys: &Keys) -> CryptoGrant {
    let mut rings = Vec::new();
    let names = granted.take_texts("keys").unwrap_or_default();
    if names.is_empty() {
        granted.reject("keys", "no key is granted", "name keys of the section `keys:`");
    }
    for name in names {
        match keys.get(&name) {
            Some(ring) => rings.extend(ring.clone()),
            None => {
                let hint = did_you_mean(&name, keys.keys().map(String::as_str));
                let remedy = format!("{hint}keys stand under `keys:` at the top of the file");
                granted.reject("keys", format!("there is no key `{name}`"), remedy);
            }
        }
    }
    let words = CryptoOp::ALL.map(CryptoOp::word).join(", ");
    let mut ops = BTreeSet::new();
    let wanted = granted.take_texts("ops").unwrap_or_default();
    if wanted.is_empty() {
        granted.reject("ops", "no operation is granted", format!("one or more of: {words}"));
    }
    for word in wanted {
        match CryptoOp::ALL.into_iter().find(|op| op.word() == word) {
            Some(op) => drop(ops.insert(op)),
            None => granted.reject(
                "ops",
                format!("there is no operation `{word}`"),
                format!("one or more of: {words}"),
            ),
        }
    }
    CryptoGrant { keys: rings, ops }
}
