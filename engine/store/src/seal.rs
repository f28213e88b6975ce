//! Sealing what may hold values of rows.
//!
//! A sealed field is one byte of format and then, for `1`, a nonce of 12 bytes and the text under AES-256-GCM-SIV, bound to the
//! pipeline, the letter and the field that it belongs to: moved to another place it can't be opened. `0`: the plain text, where
//! no key is configured.

use std::fmt;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine;
use sha2::{Digest as _, Sha256};
use sluice_types::ports::{SpillPlace, SpillSeal};
use sluice_types::{DeadLetterId, Error, ErrorKind, PipelineId, Result, Secret};

use crate::errors::damaged;
use crate::folder::fill_random;

const PLAIN: u8 = 0;
const AES_256_GCM_SIV: u8 = 1;
const NONCE_BYTES: usize = 12;

/// `state.key`: 32 bytes. Never printed.
#[derive(Clone)]
pub struct SealKey {
    cipher: Aes256GcmSiv,
    name: String,
}

impl SealKey {
    /// Reads base64 of 32 bytes.
    pub fn parse(text: &Secret) -> Result<SealKey> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.expose().trim());
        let bytes: [u8; 32] = bytes.ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            Error::new(ErrorKind::Config, "`state.key` is not base64 of 32 bytes")
                .remedy("Make one with: head -c 32 /dev/urandom | base64")
        })?;
        // Says which key it is without telling anything about it: a digest of 32 random bytes can't be turned around.
        let name =
            hex::encode(Sha256::new().chain_update(b"sluice state key").chain_update(bytes).finalize());
        Ok(SealKey { cipher: Aes256GcmSiv::new(&bytes.into()), name })
    }

    /// By what the state remembers which key it was sealed with.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl SpillSeal for SealKey {
    fn seal(&self, place: SpillPlace, text: &[u8]) -> Result<Vec<u8>> {
        self.encrypt(&of_block(place), text)
    }

    fn open(&self, place: SpillPlace, sealed: &[u8]) -> Result<Vec<u8>> {
        self.decrypt(&of_block(place), sealed)
    }
}

fn of_block(SpillPlace { file, block }: SpillPlace) -> Vec<u8> {
    [&b"sluice spill"[..], &file.to_be_bytes(), &block.to_be_bytes()].concat()
}

impl SealKey {
    /// A nonce, and the text behind it under this key.
    fn encrypt(&self, associated: &[u8], text: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce)?;
        let sealed = self
            .cipher
            .encrypt(Nonce::from_slice(&nonce), Payload { msg: text, aad: associated })
            .map_err(|_| Error::new(ErrorKind::Internal, "it is too large to be sealed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let split = sealed.split_at_checked(NONCE_BYTES);
        let opened = split.and_then(|(nonce, text)| {
            self.cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: text, aad: associated }).ok()
        });
        opened.ok_or_else(|| {
            damaged("it can't be opened: it was sealed with another `state.key`, or changed since")
        })
    }
}

/// Where a sealed field belongs.
pub(crate) struct Place<'a> {
    pub pipeline: &'a PipelineId,
    pub id: &'a DeadLetterId,
    pub field: &'static str,
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for part in [self.field, &self.pipeline.0, &self.id.0] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

pub(crate) fn seal(key: Option<&SealKey>, place: &Place<'_>, text: &[u8]) -> Result<Vec<u8>> {
    let Some(key) = key else {
        return Ok([&[PLAIN], text].concat());
    };
    Ok([&[AES_256_GCM_SIV][..], &key.encrypt(&place.associated_data(), text)?].concat())
}

pub(crate) fn open(key: Option<&SealKey>, place: &Place<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
    match sealed.split_first() {
        Some((&PLAIN, text)) => Ok(text.to_vec()),
        Some((&AES_256_GCM_SIV, rest)) => {
            let key = key.ok_or_else(|| {
                Error::new(ErrorKind::Config, "it is sealed, and `state.key` is missing")
                    .remedy("Put back the key that was used before.")
            })?;
            key.decrypt(&place.associated_data(), rest)
        }
        _ => Err(damaged("it is sealed in a format that this version does not know")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::parse(&Secret::new(base64::engine::general_purpose::STANDARD.encode([byte; 32]))).unwrap()
    }

    #[test]
    fn only_the_same_key_opens_it_and_only_in_its_place() {
        let (pipeline, id) = (PipelineId::from("p"), DeadLetterId("1/0".into()));
        let other_id = DeadLetterId("1/1".into());
        let place = Place { pipeline: &pipeline, id: &id, field: "body" };
        let other = Place { pipeline: &pipeline, id: &other_id, field: "body" };
        let sealed = seal(Some(&key(1)), &place, b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(open(Some(&key(1)), &place, &sealed).unwrap(), b"hunter2");
        for (key, place) in [(Some(&key(2)), &place), (Some(&key(1)), &other), (None, &place)] {
            assert!(open(key, place, &sealed).is_err());
        }
        let plain = seal(None, &place, b"hunter2").unwrap();
        assert_eq!(open(Some(&key(1)), &place, &plain).unwrap(), b"hunter2", "kept before there was a key");
        assert!(open(None, &place, &[9, 9]).is_err() && open(None, &place, &[]).is_err());
    }

    #[test]
    fn a_block_of_spill_is_opened_in_its_place_alone() {
        let place = SpillPlace { file: 3, block: 1 };
        let sealed = SpillSeal::seal(&key(1), place, b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(SpillSeal::open(&key(1), place, &sealed).unwrap(), b"hunter2");
        for other in [SpillPlace { file: 1, block: 3 }, SpillPlace { file: 3, block: 2 }] {
            assert!(SpillSeal::open(&key(1), other, &sealed).is_err());
        }
        assert!(
            SpillSeal::open(&key(2), place, &sealed).is_err()
                && SpillSeal::open(&key(1), place, b"short").is_err()
        );
    }

    #[test]
    fn a_key_is_32_bytes() {
        for text in ["", "abc", "AAAA", "!!!!"] {
            let error = SealKey::parse(&Secret::new(text)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("AAAA"));
        }
    }
}
