//! What a guest may ask of its host while it runs: the interfaces of `wit/host.wit`, each within its grant.

use std::sync::Arc;
use std::time::Instant;

use sluice_types::{Error, ErrorKind, Result};

use crate::contract::{Blobs, crypto, log};
use crate::keys::{self, KeyRing, OVERHEAD_BYTES, Place};
use crate::limits::{ANSWER_BYTES, LOG_BYTES, LOG_LINES, LOG_PERIOD, Limiter};
use crate::spec::{CryptoOp, Grants};
use crate::text::printable;

/// What a store holds beside the guest: its limits, and what it may ask for.
pub(crate) struct Hosted {
    pub(crate) limiter: Limiter,
    caller: Caller,
    lines: Lines,
}

/// In whose name an instance runs.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) pipeline: Arc<str>,
    pub(crate) plugin: String,
    pub(crate) grant: Arc<Grants>,
}

impl Hosted {
    pub(crate) fn new(limiter: Limiter, caller: Caller) -> Hosted {
        Hosted { limiter, caller, lines: Lines::default() }
    }

    /// The key of this name, if it may be used for this.
    fn key(&self, name: &str, op: CryptoOp) -> Result<&KeyRing, String> {
        let granted = self.caller.grant.crypto.as_ref().filter(|granted| granted.ops.contains(&op));
        let key = granted.and_then(|granted| granted.keys.iter().find(|key| key.name() == name));
        key.ok_or_else(|| {
            let name = printable(name, 100);
            format!("the step is not granted `crypto: {{ keys: [{name}], ops: [{}] }}`", op.word())
        })
    }

    fn place<'a>(&'a self, place: &'a crypto::Place) -> Place<'a> {
        let pipeline = if place.pipeline.is_empty() { &self.caller.pipeline } else { &place.pipeline[..] };
        Place { pipeline, table: &place.table, column: &place.column }
    }
}

impl crypto::Host for Hosted {
    fn seal(&mut self, key: String, place: crypto::Place, values: Blobs) -> Result<Blobs, String> {
        let (key, place) = (self.key(&key, CryptoOp::Seal)?, self.place(&place));
        let values = Values::of(&values)?;
        values.answered_by(OVERHEAD_BYTES)?;
        let nonces = keys::nonces(values.count()).map_err(told)?;
        let mut sealed =
            Answer::with_capacity(values.count(), values.bytes() + values.count() * OVERHEAD_BYTES);
        for (value, nonce) in values.iter().zip(nonces) {
            key.seal(&place, nonce, value, &mut sealed.data).map_err(told)?;
            sealed.next()?;
        }
        Ok(sealed.into())
    }

    fn open(&mut self, key: String, place: crypto::Place, sealed: Blobs) -> Result<crypto::Opened, String> {
        let (key, place) = (self.key(&key, CryptoOp::Open)?, self.place(&place));
        let sealed = Values::of(&sealed)?;
        let mut values = Answer::with_capacity(sealed.count(), sealed.bytes());
        let mut failed = Vec::new();
        for (at, value) in (0u32..).zip(sealed.iter()) {
            match key.open(&place, value) {
                Some(value) => values.data.extend_from_slice(&value),
                None => failed.push(at),
            }
            values.next()?;
        }
        Ok(crypto::Opened { values: values.into(), failed })
    }

    fn hash(&mut self, key: String, domain: String, values: Blobs) -> Result<Blobs, String> {
        let key = self.key(&key, CryptoOp::Hash)?;
        let values = Values::of(&values)?;
        values.answered_by(32)?;
        let mut hashes = Answer::with_capacity(values.count(), values.count() * 32);
        for value in values.iter() {
            hashes.data.extend_from_slice(&key.hash(&domain, value));
            hashes.next()?;
        }
        Ok(hashes.into())
    }
}

/// The text of our own error: nothing of a value is in it.
fn told(error: Error) -> String {
    error.what().to_string()
}

/// Byte strings that a guest has sent, checked.
struct Values<'a> {
    offsets: &'a [u32],
    data: &'a [u8],
}

impl<'a> Values<'a> {
    fn of(blobs: &'a Blobs) -> Result<Values<'a>, String> {
        let Blobs { offsets, data } = blobs;
        let ends_right = match (offsets.first(), offsets.last()) {
            (None, None) => data.is_empty(),
            (Some(first), Some(last)) => *first == 0 && *last as usize == data.len(),
            _ => false,
        };
        if !ends_right || !offsets.is_sorted() {
            return Err("the offsets are not ascending from 0 to the end of the data".into());
        }
        Ok(Values { offsets, data })
    }

    /// Whether an answer that is so much longer for each value is not too large for this machine (I10).
    fn answered_by(&self, more: usize) -> Result<(), String> {
        let bytes = self.count().saturating_mul(more + size_of::<u32>()).saturating_add(self.bytes());
        if bytes > ANSWER_BYTES {
            return Err(format!(
                "the answer would have more than {ANSWER_BYTES} bytes: ask for fewer values at once"
            ));
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn bytes(&self) -> usize {
        self.data.len()
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.offsets.windows(2).map(|ends| &self.data[ends[0] as usize..ends[1] as usize])
    }
}

/// Byte strings for a guest.
struct Answer {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl Answer {
    fn with_capacity(count: usize, bytes: usize) -> Answer {
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        Answer { offsets, data: Vec::with_capacity(bytes) }
    }

    /// What was added to the data is one value.
    fn next(&mut self) -> Result<(), String> {
        let end = u32::try_from(self.data.len()).map_err(|_| "the values have more than 4 GiB together")?;
        self.offsets.push(end);
        Ok(())
    }
}

impl From<Answer> for Blobs {
    fn from(Answer { offsets, data }: Answer) -> Self {
        Blobs { offsets, data }
    }
}

/// How many lines were written in the present period.
#[derive(Default)]
struct Lines {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// Whether one more may be written, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= LOG_PERIOD) {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= LOG_LINES {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl log::Host for Hosted {
    fn log(&mut self, level: log::Level, message: String) {
        if !self.caller.grant.log {
            return; // a component that imports it without the grant is not opened
        }
        let Some(left_out) = self.lines.admit(Instant::now()) else { return };
        let Caller { pipeline, plugin, .. } = &self.caller;
        let message = printable(&message, LOG_BYTES);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "sluice::plugin", %pipeline, %plugin, left_out, "{message}")
            };
        }
        match level {
            log::Level::Debug => line!(debug),
            log::Level::Info => line!(info),
            log::Level::Warn => line!(warn),
            log::Level::Error => line!(error),
        }
    }
}

/// What a component imports of `wit/host.wit`, by the word that grants it.
pub(crate) fn interface_of(import: &str) -> Option<&'static str> {
    let interface = import.strip_prefix("sluice:plugin/")?.split('@').next()?;
    ["crypto", "log"].into_iter().find(|known| *known == interface)
}

/// What a step writes under `grant` for an import.
pub(crate) fn grant_for(import: &str) -> Option<&'static str> {
    interface_of(import).map(grant_of)
}

fn grant_of(interface: &str) -> &'static str {
    match interface {
        "crypto" => "crypto: { keys: [NAME], ops: [seal] }",
        _ => "log: {}",
    }
}

/// A step's plugin imports what the step does not grant it.
pub(crate) fn not_granted(imports: &[String], grant: &Grants) -> Option<Error> {
    let missing = imports.iter().find_map(|import| {
        let interface = interface_of(import)?;
        let granted = match interface {
            "crypto" => grant.crypto.is_some(),
            _ => grant.log,
        };
        (!granted).then_some((import, interface))
    });
    let (import, interface) = missing?;
    let write = grant_of(interface);
    let what = format!("it imports `{}`, which it was not granted", printable(import, 200));
    Some(
        Error::new(ErrorKind::PluginRefused, what)
            .remedy(format!("Write `grant: {{ {write} }}` at the step, if it may have that")),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_many_lines_only_the_number_is_told() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let admitted = (0..50).filter(|_| lines.admit(start).is_some()).count();
        assert_eq!(admitted as u32, LOG_LINES);
        assert_eq!(lines.admit(start + LOG_PERIOD), Some(50 - u64::from(LOG_LINES)));
        assert_eq!(lines.admit(start + LOG_PERIOD + Duration::from_millis(1)), Some(0));
    }

    #[test]
    fn offsets_of_a_guest_are_checked() {
        let blobs = |offsets: &[u32], data: &str| Blobs { offsets: offsets.to_vec(), data: data.into() };
        for (offsets, data) in [
            (&[0, 2][..], "abc"),
            (&[1, 3], "abc"),
            (&[0, 9], "abc"),
            (&[0, 2, 1, 3], "abc"),
            (&[], "a"),
            (&[1], "a"),
        ] {
            assert!(Values::of(&blobs(offsets, data)).is_err(), "{offsets:?}");
        }
        let many = Blobs { offsets: vec![0; 4 << 20], data: vec![] };
        assert!(Values::of(&many).unwrap().answered_by(OVERHEAD_BYTES).is_err());
        for (offsets, data, count) in [(&[][..], "", 0), (&[0], "", 0), (&[0, 0, 3], "abc", 2)] {
            let blobs = blobs(offsets, data);
            let values = Values::of(&blobs).unwrap();
            assert_eq!((values.count(), values.iter().count()), (count, count));
        }
    }
}
