//! Keys that plugins seal, open and hash values with, and never see.
//!
//! A sealed value is `version (1 byte) | key id (4) | nonce (12) | ciphertext | tag (16)`: AES-256-GCM-SIV (RFC 8452) with a random
//! nonce. Should two values of one key ever get the same nonce, only their equality would show, so a key need not be counted. The
//! header and the place that the value belongs to are authenticated with it. What encrypts, what hashes and what names the key are
//! derived from the configured 32 bytes by HMAC-SHA-256, each under a label of its own.

use std::fmt;
use std::hash::{Hash, Hasher};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sluice_types::{Error, ErrorKind, Result};

/// Bytes of a configured key.
pub const KEY_BYTES: usize = 32;
/// The only format so far.
const VERSION: u8 = 1;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + ID_BYTES;
/// What a sealed value is longer than the value.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// What a sealed value belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
}

/// A key by name: what seals now, and the older ones whose values still open.
#[derive(Clone)]
pub struct KeyRing {
    name: String,
    current: Key,
    old: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: [u8; ID_BYTES],
    cipher: Aes256GcmSiv,
    mac: Hmac<Sha256>,
}

impl Key {
    fn new(secret: &[u8; KEY_BYTES]) -> Key {
        let derived = |label: &str| keyed(secret).chain_update(label.as_bytes()).finalize().into_bytes();
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&derived("sluice key id v1")[..ID_BYTES]);
        Key {
            id,
            cipher: Aes256GcmSiv::new(&derived("sluice seal v1")),
            mac: keyed(&derived("sluice hash v1").into()),
        }
    }
}

fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    // A key that is shorter than a block is filled up with zeros (RFC 2104).
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(key);
    <Hmac<Sha256> as Mac>::new(&block.into())
}

impl KeyRing {
    /// A key of this name, and those that it has replaced.
    pub fn new(name: &str, current: &[u8; KEY_BYTES], old: &[[u8; KEY_BYTES]]) -> KeyRing {
        KeyRing { name: name.into(), current: Key::new(current), old: old.iter().map(Key::new).collect() }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands in sealed values for the key that seals now, as hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.current.id)
    }

    /// Appends the sealed value.
    pub(crate) fn seal(
        &self,
        place: &Place<'_>,
        nonce: [u8; NONCE_BYTES],
        value: &[u8],
        to: &mut Vec<u8>,
    ) -> Result<()> {
        let Key { id, cipher, .. } = &self.current;
        let aad = bound(*id, place);
        let sealed = cipher.encrypt(Nonce::from_slice(&nonce), Payload { msg: value, aad: &aad });
        let sealed =
            sealed.map_err(|_| Error::new(ErrorKind::ValueTooLarge, "a value is too long to be sealed"))?;
        to.push(VERSION);
        to.extend_from_slice(id);
        to.extend_from_slice(&nonce);
        to.extend_from_slice(&sealed);
        Ok(())
    }

    /// The value; `None` where it was not sealed by this key for this place, or is not as it was sealed.
    pub(crate) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES)?;
        let (version, id) = header.split_first()?;
        if *version != VERSION {
            return None;
        }
        let key = std::iter::once(&self.current).chain(&self.old).find(|key| key.id == *id)?;
        let aad = bound(key.id, place);
        key.cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: text, aad: &aad }).ok()
    }

    /// The keyed hash of a value, for one purpose.
    pub(crate) fn hash(&self, domain: &str, value: &[u8]) -> [u8; 32] {
        let length = (domain.len() as u64).to_be_bytes();
        let mac = self.current.mac.clone().chain_update(length).chain_update(domain).chain_update(value);
        mac.finalize().into_bytes().into()
    }
}

/// Fresh nonces.
pub(crate) fn nonces(count: usize) -> Result<Vec<[u8; NONCE_BYTES]>> {
    let mut nonces = vec![[0; NONCE_BYTES]; count];
    getrandom::fill(nonces.as_flattened_mut()).map_err(|why| {
        Error::new(ErrorKind::Internal, "the system gives no random numbers").because(why.to_string())
    })?;
    Ok(nonces)
}

/// What is authenticated beside the value: each part with its length before it, so that no two places look the same.
fn bound(id: [u8; ID_BYTES], place: &Place<'_>) -> Vec<u8> {
    let mut bound = vec![VERSION];
    bound.extend_from_slice(&id);
    for part in [place.pipeline, place.table, place.column] {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound
}

// Two are the same if they have the same name and the same keys, of which the ids tell.
impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for KeyRing {}

impl Hash for KeyRing {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.identity().hash(to);
    }
}

impl KeyRing {
    fn identity(&self) -> (&str, [u8; ID_BYTES], Vec<[u8; ID_BYTES]>) {
        (&self.name, self.current.id, self.old.iter().map(|key| key.id).collect())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'static> = Place { pipeline: "p", table: "public.people", column: "ssn" };

    fn sealed(ring: &KeyRing, value: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        ring.seal(&PLACE, nonces(1).unwrap()[0], value, &mut sealed).unwrap();
        sealed
    }

    #[test]
    fn a_value_opens_only_where_it_belongs_and_as_it_was_sealed() {
        let ring = KeyRing::new("pii", &[1; 32], &[]);
        let one = sealed(&ring, b"123-45-6789");
        assert_eq!(one.len(), 11 + OVERHEAD_BYTES);
        assert_ne!(one, sealed(&ring, b"123-45-6789"), "a nonce each");
        assert_eq!(ring.open(&PLACE, &one).as_deref(), Some(&b"123-45-6789"[..]));
        for place in [
            Place { pipeline: "q", ..PLACE },
            Place { table: "public.peopl", column: "essn", ..PLACE },
            Place { column: "salary", ..PLACE },
        ] {
            assert_eq!(ring.open(&place, &one), None, "{place:?}");
        }
        for at in 0..one.len() {
            let mut changed = one.clone();
            changed[at] ^= 1;
            assert_eq!(ring.open(&PLACE, &changed), None, "byte {at}");
            assert_eq!(ring.open(&PLACE, &one[..at]), None, "{at} bytes");
        }
        assert_eq!(KeyRing::new("pii", &[2; 32], &[]).open(&PLACE, &one), None);
    }

    #[test]
    fn after_a_rotation_old_values_open_and_new_ones_have_the_new_key() {
        let old = KeyRing::new("pii", &[1; 32], &[]);
        let new = KeyRing::new("pii", &[2; 32], &[[1; 32]]);
        assert_eq!(new.open(&PLACE, &sealed(&old, b"x")).as_deref(), Some(&b"x"[..]));
        assert_eq!(old.open(&PLACE, &sealed(&new, b"x")), None);
        assert_ne!(old.hash("", b"x"), new.hash("", b"x"));
        assert!(old != new && old == KeyRing::new("pii", &[1; 32], &[]));
    }

    /// RFC 2104 over what this module says it hashes, written out: whoever joins elsewhere can compute it.
    #[test]
    fn a_hash_is_what_is_documented() {
        let secret = [7; 32];
        let mac = |key: &[u8], parts: &[&[u8]]| {
            let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes()
        };
        let derived = mac(&secret, &[b"sluice hash v1"]);
        let expected = mac(&derived, &[&4u64.to_be_bytes(), b"join", b"ann"]);
        let ring = KeyRing::new("k", &secret, &[]);
        assert_eq!(ring.hash("join", b"ann")[..], expected[..]);
        assert_ne!(ring.hash("joi", b"nann"), ring.hash("join", b"ann"));
    }

    /// Values that were sealed once have to open for ever.
    #[test]
    fn the_format_stays() {
        let ring = KeyRing::new("k", &[7; 32], &[]);
        let place = Place { pipeline: "cases", table: "t", column: "ssn" };
        let mut sealed = Vec::new();
        ring.seal(&place, [9; NONCE_BYTES], b"\x06123-45-6789", &mut sealed).unwrap();
        let expected =
            "01dfddd16f090909090909090909090909978159084ca29bc96a860646b10b525e186ed9404dc3ca9a803c4830";
        assert_eq!(hex::encode(sealed), expected);
    }

    #[test]
    fn a_key_is_never_printed() {
        let ring = KeyRing::new("pii", b"0123456789abcdef0123456789abcdef", &[]);
        assert_eq!(format!("{ring:?}"), "key pii");
    }

    proptest! {
        #[test]
        fn anything_comes_back(value in prop::collection::vec(any::<u8>(), 0..300)) {
            let ring = KeyRing::new("k", &[3; 32], &[]);
            prop_assert_eq!(ring.open(&PLACE, &sealed(&ring, &value)), Some(value));
        }

        #[test]
        fn nonsense_does_not_open(value in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(KeyRing::new("k", &[3; 32], &[]).open(&PLACE, &value), None);
        }
    }
}
