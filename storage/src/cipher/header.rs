//! What stands in the header of an encrypted file, in the clear.

use std::io;

use super::keyring::{KeyId, draw};
use crate::record::Malformed;

/// Bytes of it.
pub(crate) const CIPHER_HEADER_BYTES: usize = 36;
const SALT_BYTES: usize = 24;
/// AES-256-GCM with keys by HKDF-SHA256, as the module above says.
const AES_256_GCM: u32 = 1;

/// Which master key a file is encrypted with, and the salt from which its own key follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CipherHeader {
    pub(crate) key: KeyId,
    pub(super) salt: [u8; SALT_BYTES],
}

impl CipherHeader {
    /// With a salt that nobody has drawn before.
    pub(super) fn draw(key: KeyId) -> io::Result<CipherHeader> {
        let mut salt = [0; SALT_BYTES];
        draw(&mut salt)?;
        Ok(CipherHeader { key, salt })
    }

    pub(crate) fn encode(&self) -> [u8; CIPHER_HEADER_BYTES] {
        let mut bytes = [0; CIPHER_HEADER_BYTES];
        bytes[..4].copy_from_slice(&AES_256_GCM.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.key.0);
        bytes[12..].copy_from_slice(&self.salt);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<CipherHeader, Malformed> {
        let malformed = Malformed("the cipher of the file (written by a newer release?)");
        let (cipher, rest) = bytes.split_first_chunk::<4>().ok_or(malformed)?;
        let (key, rest) = rest.split_first_chunk::<8>().ok_or(malformed)?;
        let salt = rest.try_into().map_err(|_| malformed)?;
        if u32::from_le_bytes(*cipher) != AES_256_GCM {
            return Err(malformed);
        }
        Ok(CipherHeader {
            key: KeyId(*key),
            salt,
        })
    }
}
