//! Checkpoints: each frame is encrypted, and a tag stands behind it.

use std::io;

use super::file::{FileKey, Purpose, TAG_BYTES};
use super::header::CipherHeader;
use super::keyring::Keyring;
use crate::checkpoint::ReplayStart;

/// The key of one checkpoint file.
pub(crate) struct CheckpointCipher {
    header: CipherHeader,
    key: FileKey,
}

/// A frame's kind and its place among all frames.
#[derive(Clone, Copy)]
pub(crate) struct FramePlace {
    pub(crate) kind: u8,
    pub(crate) index: u64,
    /// It is authenticated only.
    pub(crate) is_clear: bool,
}

impl CheckpointCipher {
    /// For a checkpoint that is about to be written; None: it is written plain.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn begin(
        keys: &Keyring,
        start: ReplayStart,
    ) -> io::Result<Option<CheckpointCipher>> {
        let Some(master) = keys.writing() else {
            return Ok(None);
        };
        let header = CipherHeader::draw(master.id())?;
        let purpose = Purpose::Checkpoint(start.lsn.0);
        let key = FileKey::derive(master, &header, start.epoch, purpose);
        Ok(Some(CheckpointCipher { header, key }))
    }

    /// For one that is read; None: its key is not there.
    pub(crate) fn of(
        keys: &Keyring,
        header: CipherHeader,
        start: ReplayStart,
    ) -> Option<CheckpointCipher> {
        let master = keys.find(header.key)?;
        let purpose = Purpose::Checkpoint(start.lsn.0);
        let key = FileKey::derive(master, &header, start.epoch, purpose);
        Some(CheckpointCipher { header, key })
    }

    /// What stands in the first frame.
    pub(crate) fn header(&self) -> &CipherHeader {
        &self.header
    }

    /// Encrypts a payload and puts the tag behind it.
    pub(crate) fn encrypt(&self, place: FramePlace, payload: &mut Vec<u8>) {
        let tag = if place.is_clear {
            let bound = [&[place.kind], &payload[..]].concat();
            self.key.encrypt(place.index, &bound, &mut [])
        } else {
            self.key.encrypt(place.index, &[place.kind], payload)
        };
        payload.extend_from_slice(&tag);
    }

    /// The payload, decrypted in place; None if it was changed.
    pub(crate) fn decrypt<'a>(&self, place: FramePlace, payload: &'a mut [u8]) -> Option<&'a [u8]> {
        if !place.is_clear {
            return self
                .key
                .decrypt_in_place(place.index, &[place.kind], payload);
        }
        let (clear, tag) = payload.split_last_chunk::<TAG_BYTES>()?;
        let bound = [&[place.kind], clear].concat();
        let is_right = self.key.decrypt(place.index, &bound, &[], tag, &mut []);
        is_right.then_some(clear)
    }
}
