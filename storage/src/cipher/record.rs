//! Records: the payload is encrypted, and a tag stands behind it.
//!
//! The header stays as it is, with the length of all of it and the checksum of what is written. The
//! tag binds kind and length; LSN, epoch and segment are bound by nonce and key.

use std::sync::Arc;

use super::file::{FileKey, TAG_BYTES};
use crate::position::Lsn;
use crate::record::{Kind, Malformed, RECORD_HEADER_BYTES, RawRecord, Record};

/// What a record does not check out with if its tag does not fit.
pub(crate) const RECORD_CHANGED: &str =
    "a record's authenticity (it was changed after it was written)";
const CHANGED: Malformed = Malformed(RECORD_CHANGED);

/// How the payloads of one segment's records are written.
#[derive(Clone)]
pub(crate) enum RecordCipher {
    Plain,
    Encrypted(Arc<FileKey>),
}

/// What the tag binds besides the payload.
fn bound(length: u32, kind: u8) -> [u8; 5] {
    let mut bound = [kind; 5];
    bound[..4].copy_from_slice(&length.to_le_bytes());
    bound
}

/// Tools find the chain of tenures without a key.
fn is_clear(kind: u8) -> bool {
    kind == Kind::Seal as u8
}

impl FileKey {
    /// Encrypts the payload of a record, of which `record` has the header's room, the payload and
    /// the tag's room.
    pub(crate) fn encrypt_record(&self, lsn: Lsn, kind: u8, record: &mut [u8]) {
        let bound = bound(record.len() as u32, kind);
        let payload = &mut record[RECORD_HEADER_BYTES..];
        let (payload, tag) = payload.split_at_mut(payload.len() - TAG_BYTES);
        let made = if is_clear(kind) {
            self.encrypt(lsn.0, &[&bound, &*payload].concat(), &mut [])
        } else {
            self.encrypt(lsn.0, &bound, payload)
        };
        tag.copy_from_slice(&made);
    }

    fn check_clear(&self, raw: &RawRecord<'_>, payload: &[u8], tag: &[u8]) -> bool {
        let bound = bound(raw.length, raw.kind);
        let bound = [&bound, payload].concat();
        self.decrypt(raw.lsn.0, &bound, &[], tag, &mut [])
    }
}

impl RecordCipher {
    /// Bytes that a record is longer than a plain one.
    pub(crate) fn tag_bytes(&self) -> usize {
        match self {
            RecordCipher::Plain => 0,
            RecordCipher::Encrypted(_) => TAG_BYTES,
        }
    }

    /// What the record says. `scratch` is for what had to be decrypted.
    pub(crate) fn decode<'a>(
        &self,
        raw: &RawRecord<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Record<'a>, Malformed> {
        let RecordCipher::Encrypted(key) = self else {
            return Record::decode(raw.kind, raw.payload);
        };
        let (payload, tag) = raw.payload.split_last_chunk::<TAG_BYTES>().ok_or(CHANGED)?;
        if is_clear(raw.kind) {
            let is_right = key.check_clear(raw, payload, tag);
            return match is_right {
                true => Record::decode(raw.kind, payload),
                false => Err(CHANGED),
            };
        }
        scratch.clear();
        scratch.resize(payload.len(), 0);
        let bound = bound(raw.length, raw.kind);
        match key.decrypt(raw.lsn.0, &bound, payload, tag, scratch) {
            true => Record::decode(raw.kind, scratch),
            false => Err(CHANGED),
        }
    }

    /// Decrypts a record where it lies; answers where its payload ends. `lsn`, `kind` and `length` are
    /// those of its header.
    pub(crate) fn decrypt_in_place(
        &self,
        (lsn, kind, length): (Lsn, u8, u32),
        record: &mut [u8],
    ) -> Result<usize, Malformed> {
        let RecordCipher::Encrypted(key) = self else {
            return Ok(length as usize);
        };
        let payload = record
            .get_mut(RECORD_HEADER_BYTES..length as usize)
            .ok_or(CHANGED)?;
        let plain = key.decrypt_in_place(lsn.0, &bound(length, kind), payload);
        Ok(RECORD_HEADER_BYTES + plain.ok_or(CHANGED)?.len())
    }
}
