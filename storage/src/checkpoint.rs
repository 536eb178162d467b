//! Checkpoints: the state at (nearly) one moment, so that recovery is short and old segments can go.
//!
//! A checkpoint is fuzzy: each object is copied under its own lock, together with the LSN through
//! which it is complete. The transaction table comes first, so every other object is complete
//! through at least as much. The file is a row of frames, each with its CRC, specified in the
//! crate's head; the last frame vouches for all of them.

mod read;
mod write;

pub(crate) use self::read::{
    CheckpointRead, Loaded, check_frames, is_whole, key_of, read_checkpoint,
    read_checkpoint_metered, read_start,
};
pub(crate) use self::write::write_checkpoint;
use crate::chain::SegmentName;
use crate::cipher::FramePlace;
use crate::position::{Epoch, Lsn, SegmentNumber};

/// Where replay begins: the place of a batch, or the place where the next one would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayStart {
    pub(crate) epoch: Epoch,
    pub(crate) segment: SegmentNumber,
    pub(crate) offset: u64,
    /// The first LSN at that place.
    pub(crate) lsn: Lsn,
}

impl ReplayStart {
    /// The segment in which replay begins.
    pub(crate) fn segment_name(&self) -> SegmentName {
        SegmentName {
            number: self.segment,
            epoch: self.epoch,
        }
    }
}

/// The first frame: tells the file's kind.
pub(crate) const CHECKPOINT_MAGIC: [u8; 8] = *b"BATONCKP";
pub(crate) const CHECKPOINT_VERSION: u32 = 1;
/// Encrypted.
pub(crate) const ENCRYPTED_VERSION: u32 = 2;
/// Kind, three zeros, payload length, CRC.
pub(crate) const FRAME_HEADER_BYTES: usize = 12;
/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: usize = 36;
/// Entries of one frame.
const ENTRIES_PER_FRAME: usize = 16 << 10;

/// The persisted numbers of the frames' kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum FrameKind {
    Head = 1,
    Tenures = 2,
    Transactions = 3,
    Transaction = 4,
    Producers = 5,
    Directory = 6,
    Backlog = 7,
    Entries = 8,
    End = 9,
    Prepared = 10,
    Outcomes = 11,
}

impl FrameKind {
    /// Tools need it without a key, and it holds neither names nor contents.
    fn is_clear(self) -> bool {
        matches!(self, FrameKind::Head | FrameKind::Tenures | FrameKind::End)
    }

    /// What the cipher binds the frame of this number to.
    fn place(self, index: u64) -> FramePlace {
        FramePlace {
            kind: self as u8,
            index,
            is_clear: self.is_clear(),
        }
    }

    fn from_byte(byte: u8) -> Option<FrameKind> {
        use FrameKind::*;
        [
            Head,
            Tenures,
            Transactions,
            Transaction,
            Producers,
            Directory,
            Backlog,
            Entries,
            End,
            Prepared,
            Outcomes,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

fn frame_crc(kind: u8, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(payload);
    crc.update(&(payload.len() as u32).to_le_bytes());
    crc.update(&[kind]);
    crc.finalize()
}

#[cfg(test)]
mod tests;
