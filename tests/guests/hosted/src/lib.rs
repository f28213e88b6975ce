//! A guest that asks its host for everything, on command, and writes what it got into the column `v`.

use serde::Deserialize;
use sluice_sdk::crypto::{Gathered, Place, nth};
use sluice_sdk::raw::Blobs;
use sluice_sdk::{Answer, Batch, Col, Columns, Table, Value, crypto, log, repeat};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(rename = "do")]
    action: Action,
    #[serde(default)]
    key: String,
    #[serde(default = "one")]
    times: u32,
    /// What to look for in the guest's memory: hexadecimal digits of the bytes, each turned over, so that this is not what is found.
    #[serde(default)]
    turned: String,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// Seals and opens again.
    Seal,
    /// Opens what is not sealed.
    Open,
    Hash,
    /// Seals with offsets that make no sense.
    BadOffsets,
    /// Logs the value, `times` times.
    Log,
    /// Seals, then says how often the bytes stand in its memory.
    Scan,
}

struct Hosted {
    config: Config,
    v: Col,
}

impl Columns for Hosted {
    type Config = Config;

    fn open(table: &mut Table, config: Config) -> Self {
        let v = table.edit("", "v");
        Hosted { config, v }
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        let value = match batch.value(self.v, 0) {
            Value::Text(text) => text.to_string(),
            _ => String::new(),
        };
        let told = self.ask(&value).unwrap_or_else(|why| format!("refused: {why}"));
        let (data, state) = repeat(Value::Text(&told), self.v.column_type(), batch.rows());
        answer.put(self.v, data, state);
        Ok(())
    }
}

impl Hosted {
    fn ask(&self, value: &str) -> Result<String, String> {
        let Config { action, key, times, turned } = &self.config;
        let place = Place { pipeline: String::new(), table: "t".into(), column: "v".into() };
        let mut blobs = Gathered::with_capacity(1, value.len());
        blobs.push(&[value.as_bytes()]);
        let blobs = blobs.finish();
        match action {
            Action::Seal => {
                let sealed = crypto::seal(key, &place, &blobs)?;
                let opened = crypto::open(key, &place, &sealed)?;
                let text = String::from_utf8_lossy(nth(&opened.values, 0)).into_owned();
                Ok(format!("{} bytes, {} failed: {text}", sealed.data.len(), opened.failed.len()))
            }
            Action::Open => Ok(format!("failed: {:?}", crypto::open(key, &place, &blobs)?.failed)),
            Action::Hash => {
                let hash = crypto::hash(key, "", &blobs)?;
                Ok(nth(&hash, 0).iter().map(|byte| format!("{byte:02x}")).collect())
            }
            Action::BadOffsets => {
                let blobs = Blobs { offsets: vec![0, 9, 3], data: vec![1, 2, 3] };
                crypto::seal(key, &place, &blobs).map(|_| "sealed".into())
            }
            Action::Log => {
                (0..*times).for_each(|_| log::warn(value));
                Ok("logged".into())
            }
            Action::Scan => {
                let sealed = crypto::seal(key, &place, &blobs)?;
                crypto::open(key, &place, &sealed)?;
                let digit = |at: usize| u8::from_str_radix(&turned[at..at + 2], 16).unwrap_or_default();
                let turned: Vec<u8> = (0..turned.len()).step_by(2).map(digit).collect();
                Ok(format!("{} times", found(&turned)))
            }
        }
    }
}

/// How often the bytes whose complement is given stand in the whole memory of this guest.
#[cfg(target_family = "wasm")]
fn found(turned: &[u8]) -> usize {
    let end = core::arch::wasm32::memory_size(0) * 65536;
    // SAFETY: all of a guest's memory may be read.
    let byte = |at: usize| unsafe { core::ptr::read_volatile(at as *const u8) };
    let here = |at: usize| turned.iter().enumerate().all(|(offset, turned)| byte(at + offset) == !turned);
    (1..end - turned.len()).filter(|&at| here(at)).count()
}

#[cfg(not(target_family = "wasm"))]
fn found(_: &[u8]) -> usize {
    0
}

sluice_sdk::export_columns!(Hosted);
