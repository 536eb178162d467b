//! Reading one segment from a place on.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Cursor, LastBatch};
use crate::batch::{BATCH_BYTES, BatchView, Found, find_batch};
use crate::chain::{FirstBatch, Look, batch_at, damage, first_batch, read_up_to, scan_for_batch};
use crate::cipher::{CipherHeader, Keyring, RecordCipher};
use crate::disk::{Disk, DiskFile, Open};
use crate::error::{Damage, FollowError};
use crate::position::{Location, Lsn};
use crate::record::{Malformed, Seal};
use crate::recovery::RecoveryMeter;
use crate::segment::{SEGMENT_HEADER_BYTES, check_header};
use crate::state::{Place, State};

/// Why a look did not come to its end.
pub(super) enum Stop {
    Follow(FollowError),
    /// What was applied is not what counts, or what comes next is gone.
    Restart(String),
}

impl From<FollowError> for Stop {
    fn from(error: FollowError) -> Self {
        Stop::Follow(error)
    }
}

/// The first read of a look: mostly nothing is there.
const FIRST_READ_BYTES: usize = 16 << 10;

/// Reads grow to this while there is more. Several of the largest usual batches fit in: what is behind
/// the last whole one is read again.
const READ_BYTES_MAX: usize = 8 * BATCH_BYTES;

/// A segment that is being read.
pub(super) struct Tail<'a> {
    state: &'a Arc<State>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// How the segment is encrypted.
    header: Option<CipherHeader>,
    cipher: RecordCipher,
    /// What of the segment's epoch counts, once that is decided.
    bound: Option<Seal>,
    meter: &'a RecoveryMeter,
    pub(super) cursor: Cursor,
    /// The batches read that may not be durable, by what the last of them says.
    pub(super) unproven: VecDeque<LastBatch>,
    /// The journal is proven to be durable up to here.
    pub(super) durable: Lsn,
    /// At the cursor there is something that is no batch.
    pub(super) is_invalid: bool,
}

impl<'a> Tail<'a> {
    pub(super) fn open(
        disk: &dyn Disk,
        keys: &Keyring,
        state: &'a Arc<State>,
        cursor: Cursor,
        bound: Option<Seal>,
        meter: &'a RecoveryMeter,
    ) -> Result<Tail<'a>, Stop> {
        if let Some(bound) = bound
            && bound.sealed_lsn < cursor.lsn()
        {
            return Err(Stop::Restart(format!(
                "LSN {} was applied, but epoch {} was sealed at {}",
                cursor.lsn(),
                cursor.segment.epoch,
                bound.sealed_lsn
            )));
        }
        let path = cursor.segment.path();
        let file = match disk.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Stop::Restart(format!("`{}` is gone", path.display())));
            }
            Err(error) => return Err(FollowError::io(&path, error).into()),
        };
        let mut tail = Tail {
            state,
            file,
            path,
            header: None,
            cipher: RecordCipher::Plain,
            bound,
            meter,
            cursor,
            unproven: VecDeque::new(),
            durable: Lsn(0),
            is_invalid: false,
        };
        let header = tail.bytes_at(0, SEGMENT_HEADER_BYTES)?;
        let malformed = match check_header(&header, cursor.segment) {
            Ok(header) => {
                let cipher = keys.cipher(cursor.segment, header);
                tail.cipher = cipher.map_err(FollowError::from)?;
                tail.header = header;
                return Ok(tail);
            }
            Err(malformed) => malformed,
        };
        // What was never synced is shown on its own host until it fails to reach the server.
        match first_batch(disk, cursor.segment, Look::Quick, Lsn(0))? {
            None | Some(FirstBatch::None) => Err(Stop::Restart(format!(
                "the beginning of `{}` is no longer there",
                tail.path.display()
            ))),
            Some(_) => Err(damage(&tail.path, 0, malformed.0).into()),
        }
    }

    fn bytes_at(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, FollowError> {
        read_up_to(&*self.file, offset, bytes).map_err(|error| FollowError::io(&self.path, error))
    }

    fn is_at_bound(&self) -> bool {
        self.bound
            .is_some_and(|bound| self.cursor.lsn() == bound.sealed_lsn)
    }

    /// Applies batches until there is none, the bound is reached or `budget` is used up.
    pub(super) fn read(&mut self, disk: &dyn Disk, budget: u64, look: Look) -> Result<(), Stop> {
        let end = self.cursor.offset.saturating_add(budget);
        let (mut wanted, mut is_again) = (FIRST_READ_BYTES, false);
        while !self.is_at_bound() && self.cursor.offset < end {
            let start = self.cursor.offset;
            let bytes = self.bytes_at(start, wanted)?;
            let found = self.apply_batches(&bytes, end)?;
            let has_progress = self.cursor.offset > start;
            self.meter.applied(self.cursor.offset - start);
            let is_end = match found {
                // The file ends inside of it.
                Rest::More(_) => bytes.len() < wanted && !has_progress,
                Rest::Nothing | Rest::Invalid => !has_progress,
                Rest::Enough => false,
            };
            if is_end {
                if !self.look_behind(disk, look)? {
                    self.is_invalid = matches!(found, Rest::Invalid);
                    return Ok(());
                }
                if is_again {
                    let offset = self.cursor.offset;
                    return Err(damage(&self.path, offset, "each other read of the batch").into());
                }
                // What this descriptor has read once may come from a cache.
                let opened = disk.open(&self.path, Open::Read);
                self.file = opened.map_err(|error| FollowError::io(&self.path, error))?;
                (wanted, is_again) = (FIRST_READ_BYTES, true);
                continue;
            }
            is_again &= !has_progress;
            match found {
                Rest::More(needed) => {
                    wanted = needed.max((2 * wanted).clamp(BATCH_BYTES, READ_BYTES_MAX));
                }
                // It may have been written since the bytes were read.
                Rest::Nothing | Rest::Invalid => wanted = FIRST_READ_BYTES,
                Rest::Enough => {}
            }
        }
        Ok(())
    }

    /// Behind what is no batch there must be none that was sent after it was durable: else it is
    /// damage, not the journal's end. True: there is a batch now, so it was read wrong before or written
    /// since, and is to be read again.
    fn look_behind(&self, disk: &dyn Disk, look: Look) -> Result<bool, Stop> {
        let Cursor {
            segment, offset, ..
        } = self.cursor;
        if look != Look::Thorough || self.bound.is_some() {
            return Ok(false);
        }
        if self.has_come(disk)? {
            return Ok(true);
        }
        let after = self.cursor.lsn();
        match scan_for_batch(&*self.file, segment, offset, after)? {
            None => Ok(false),
            Some(_) if self.has_come(disk)? => Ok(true),
            Some(_) => Err(damage(&self.path, offset, "the batch there").into()),
        }
    }

    /// True if the batch at the cursor is there when it is read through a fresh descriptor.
    fn has_come(&self, disk: &dyn Disk) -> Result<bool, Stop> {
        let Cursor {
            segment, offset, ..
        } = self.cursor;
        let found = batch_at(disk, segment, offset)?;
        Ok(found.is_some_and(|first_lsn| first_lsn == self.cursor.next_lsn))
    }

    fn apply_batches(&mut self, bytes: &[u8], end: u64) -> Result<Rest, Stop> {
        let start = self.cursor.offset;
        let mut at = 0;
        let mut recent: VecDeque<(usize, usize, Lsn)> = VecDeque::new();
        let rest = loop {
            if at == bytes.len() {
                break Rest::More(BATCH_BYTES);
            }
            if self.is_at_bound() || self.cursor.offset >= end {
                break Rest::Enough;
            }
            match find_batch(&bytes[at..], self.cursor.segment, self.cursor.offset) {
                Found::Batch(batch) if batch.first_lsn == self.cursor.next_lsn => {
                    self.apply(&batch)?;
                    self.durable = self.durable.max(batch.durable);
                    let durable = self.durable;
                    recent.retain(|(_, _, last_lsn)| *last_lsn > durable);
                    recent.push_back((at, batch.bytes.len(), batch.last_lsn()));
                    at += batch.bytes.len();
                }
                Found::Batch(_) | Found::Invalid => break Rest::Invalid,
                Found::Incomplete(needed) => break Rest::More(needed),
                Found::Nothing => break Rest::Nothing,
            }
        };
        self.unproven.retain(|batch| batch.last_lsn > self.durable);
        let segment = self.cursor.segment;
        let recent = recent.into_iter().map(|(at, length, last_lsn)| LastBatch {
            segment,
            offset: start + at as u64,
            last_lsn,
            bytes: bytes[at..at + length].to_vec(),
            cipher: self.header,
        });
        self.unproven.extend(recent);
        Ok(rest)
    }

    fn apply(&mut self, batch: &BatchView<'_>) -> Result<(), Stop> {
        let segment = self.cursor.segment;
        if let Some(bound) = self.bound
            && batch.last_lsn() > bound.sealed_lsn
        {
            return Err(damage(&self.path, self.cursor.offset, "the batch at the seal").into());
        }
        let mut scratch = Vec::new();
        for (at, raw) in batch.records() {
            let offset = self.cursor.offset + at as u64;
            let record = self
                .cipher
                .decode(&raw, &mut scratch)
                .map_err(|error| record_damage(&self.path, offset, raw.lsn, error))?;
            let location = Location {
                segment: segment.number,
                offset: offset as u32,
                length: raw.length,
            };
            let place = Place {
                lsn: raw.lsn,
                epoch: batch.epoch,
                location,
            };
            self.state.apply(place, &record).map_err(|error| {
                let path = self.path.display().to_string();
                FollowError::Damaged(Damage {
                    path,
                    offset,
                    reason: error.to_string(),
                })
            })?;
        }
        self.cursor.offset += batch.bytes.len() as u64;
        self.cursor.next_lsn = Lsn(batch.last_lsn().0 + 1);
        Ok(())
    }
}

fn record_damage(path: &Path, offset: u64, lsn: Lsn, malformed: Malformed) -> FollowError {
    FollowError::Damaged(Damage {
        path: path.display().to_string(),
        offset,
        reason: format!("LSN {lsn}: {malformed}"),
    })
}

/// What stopped the reading of a buffer.
enum Rest {
    /// So many bytes from the cursor on are needed.
    More(usize),
    Nothing,
    Invalid,
    Enough,
}
