//! The key of one file.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use super::header::CipherHeader;
use super::keyring::{KEY_BYTES, MasterKey};
use crate::position::Epoch;

/// Bytes that authenticate one record or frame; they stand behind it.
pub(crate) const TAG_BYTES: usize = 16;

/// What a file key is for: keys for different purposes have nothing in common.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// The records of the segment of this number.
    Segment(u32),
    /// The frames of a checkpoint from which replay begins at this LSN.
    Checkpoint(u64),
}

/// Encrypts and decrypts what is in one file. The callers see to it that no number is used for two
/// plaintexts: see the module above.
pub(crate) struct FileKey(LessSafeKey);

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Derives `out` from a secret.
pub(super) fn expand(salt: &hkdf::Salt, secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let length = Length(out.len());
    salt.extract(secret)
        .expand(info, length)
        .and_then(|derived| derived.fill(out))
        .expect("a few bytes can always be derived");
}

impl FileKey {
    pub(super) fn derive(
        master: &MasterKey,
        header: &CipherHeader,
        epoch: Epoch,
        purpose: Purpose,
    ) -> FileKey {
        let (name, number): (&[u8], u64) = match purpose {
            Purpose::Segment(number) => (b"batonmq segment", u64::from(number)),
            Purpose::Checkpoint(lsn) => (b"batonmq checkpoint", lsn),
        };
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &header.salt);
        let (epoch, number) = (epoch.0.to_le_bytes(), number.to_le_bytes());
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        expand(
            &salt,
            master.secret(),
            &[name, &epoch, &number],
            &mut *bytes,
        );
        let key = UnboundKey::new(&AES_256_GCM, &*bytes).expect("the key has the right length");
        FileKey(LessSafeKey::new(key))
    }

    /// Encrypts `text` in place; answers the tag.
    pub(super) fn encrypt(&self, number: u64, bound: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(number), Aad::from(bound), text)
            .expect("shorter than any limit of the cipher");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts `text` into `out`, which is as long; false if any of it was changed.
    #[must_use]
    pub(super) fn decrypt(
        &self,
        number: u64,
        bound: &[u8],
        text: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> bool {
        self.0
            .open_separate_gather(nonce(number), Aad::from(bound), text, tag, out)
            .is_ok()
    }

    /// Decrypts `text`, behind which the tag stands, in place; None if any of it was changed.
    #[must_use]
    pub(super) fn decrypt_in_place<'a>(
        &self,
        number: u64,
        bound: &[u8],
        text: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let opened = self.0.open_in_place(nonce(number), Aad::from(bound), text);
        opened.ok().map(|plain| &*plain)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
