//! Following a journal that somebody else writes: the warm standby's reader.
//!
//! Every look opens its files anew and read-only and takes names from a fresh listing, because
//! caches of the NFS client answer everything else with the past. What is not a valid batch is not
//! there yet; only what can never become one is damage.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use self::read::{Stop, Tail};
use crate::chain::{
    Chain, ChainError, FirstBatch, Look, SegmentName, chain_from, damage, first_batch,
    list_segments, read_up_to, scan_for_batch,
};
use crate::cipher::{CipherHeader, Keyring};
use crate::disk::{Disk, Open};
use crate::error::FollowError;
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::recovery::{RecoveryMeter, find_beginning};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::state::{State, Tenure};

mod read;

/// What one look at the journal brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last LSN applied.
    pub lsn: Lsn,
    /// Bytes that this look applied.
    pub applied_bytes: u64,
    /// Bytes known to lie ahead, at most.
    pub behind_bytes: u64,
    /// True when all that was there is applied; false: look again at once.
    pub is_at_end: bool,
}

/// A batch as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// The segment.
    pub segment: SegmentName,
    /// Its first byte in the segment.
    pub offset: u64,
    /// The LSN of its last record.
    pub last_lsn: Lsn,
    /// All of it.
    pub bytes: Vec<u8>,
    /// How its segment is encrypted.
    pub(crate) cipher: Option<CipherHeader>,
}

/// Where a tenure can begin: everything that counts of the former ones is applied.
pub struct TakeoverPoint {
    /// The fold of it.
    pub state: Arc<State>,
    /// The epoch that is to be sealed; 0 in a new journal.
    pub previous_epoch: Epoch,
    /// The last LSN that counts of it.
    pub sealed_lsn: Lsn,
    /// The segment in which that LSN is.
    pub segment: SegmentNumber,
    /// The first byte in the segment that does not count.
    pub end_offset: u64,
    /// The last batches read, in order: all that are perhaps visible and not durable.
    pub last_batches: Vec<LastBatch>,
    /// The number for the next tenure's first segment.
    pub next_number: SegmentNumber,
    /// The keys with which the journal was read, and is to be written.
    pub keys: Keyring,
}

/// The place up to which the journal was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) segment: SegmentName,
    pub(crate) offset: u64,
    pub(crate) next_lsn: Lsn,
}

impl Cursor {
    fn at_start_of(segment: SegmentName, next_lsn: Lsn) -> Cursor {
        Cursor {
            segment,
            offset: SEGMENT_HEADER_BYTES as u64,
            next_lsn,
        }
    }

    fn lsn(&self) -> Lsn {
        Lsn(self.next_lsn.0 - 1)
    }
}

/// Bytes that one look applies at most, so that whoever looks can do other things in between.
const LOOK_BYTES: u64 = 16 << 20;
/// A standby that has to begin again so often without getting anywhere says what is missing.
const RESTARTS_MAX: u32 = 3;

/// Reads what the active writes and applies it.
pub struct Follower {
    disk: Arc<dyn Disk>,
    keys: Keyring,
    state: Arc<State>,
    /// None: nothing was ever read.
    cursor: Option<Cursor>,
    /// The last batches read that may not be durable yet.
    unproven: VecDeque<LastBatch>,
    /// Seals that were read; they never change.
    known: BTreeMap<SegmentName, Tenure>,
    /// Lengths of segments, each asked for once: they are made as long as they can become.
    lengths: BTreeMap<SegmentName, u64>,
    meter: Arc<RecoveryMeter>,
    /// Restarts since the last record that was new.
    restarts: u32,
    /// The last LSN applied before a restart.
    furthest: Lsn,
    /// Looks in a row that found the same invalid bytes at the end.
    invalid_looks: u32,
    /// Broken on purpose: see [`Follower::ignore_seals`].
    ignores_seals: bool,
}

impl Follower {
    /// [`Follower::open_with_keys`] for a journal that is not encrypted.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn open(disk: Arc<dyn Disk>) -> Result<Follower, FollowError> {
        Self::open_with_keys(disk, Keyring::default())
    }

    /// Loads the newest checkpoint that can be read; reads nothing of the journal behind it yet.
    ///
    /// # Errors
    /// [`FollowError`]; a key that pending messages need and that is missing is one.
    pub fn open_with_keys(disk: Arc<dyn Disk>, keys: Keyring) -> Result<Follower, FollowError> {
        Self::open_metered(disk, keys, Arc::default())
    }

    /// [`Follower::open_with_keys`], with its progress told to `meter`.
    pub(crate) fn open_metered(
        disk: Arc<dyn Disk>,
        keys: Keyring,
        meter: Arc<RecoveryMeter>,
    ) -> Result<Follower, FollowError> {
        let mut known = BTreeMap::new();
        let beginning = find_beginning(&*disk, &keys, &mut known, &meter)?;
        meter.replays();
        Ok(Follower {
            disk,
            keys,
            state: beginning.state,
            cursor: beginning.cursor,
            unproven: VecDeque::new(),
            known,
            lengths: BTreeMap::new(),
            meter,
            restarts: 0,
            furthest: Lsn(0),
            invalid_looks: 0,
            ignores_seals: false,
        })
    }

    /// Reads on behind the end of sealed epochs, so that a test can show that it would notice.
    #[doc(hidden)]
    pub fn ignore_seals(&mut self) {
        self.ignores_seals = true;
    }

    /// The fold of what was applied. It is another one after a restart from a checkpoint.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The last LSN applied.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.cursor.as_ref().map_or(Lsn(0), Cursor::lsn)
    }

    /// The epoch whose records are being read; 0 in a new journal.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.cursor.map_or(Epoch(0), |cursor| cursor.segment.epoch)
    }

    /// The segment that is being read; None in a new journal.
    #[must_use]
    pub fn segment(&self) -> Option<SegmentName> {
        self.cursor.map(|cursor| cursor.segment)
    }

    /// The segments that the active of [`Follower::epoch`] may be writing or about to write, by a
    /// fresh listing: the one being read and all later ones of that epoch. Empty in a new journal.
    ///
    /// # Errors
    /// [`FollowError::Io`]
    pub fn tail_segments(&self) -> Result<Vec<PathBuf>, FollowError> {
        let Some(cursor) = self.cursor else {
            return Ok(Vec::new());
        };
        let (epoch, number) = (cursor.segment.epoch, cursor.segment.number);
        let segments = list_segments(&*self.disk)?;
        let tail = segments
            .iter()
            .filter(|name| name.epoch == epoch && name.number >= number);
        Ok(tail.map(|name| name.path()).collect())
    }

    /// Applies what came since the last look, up to some MiB.
    ///
    /// # Errors
    /// [`FollowError`]; after a transient one just poll again.
    pub fn poll(&mut self) -> Result<Progress, FollowError> {
        // Looking closely costs reads: rarely, and only while something invalid stays there.
        let look = if self.invalid_looks >= 16 && self.invalid_looks.is_power_of_two() {
            Look::Thorough
        } else {
            Look::Quick
        };
        match self.advance(LOOK_BYTES, look) {
            Ok(progress) => Ok(progress),
            Err(Stop::Follow(error)) => Err(error),
            Err(Stop::Restart(reason)) => {
                self.restart(&reason)?;
                Ok(Progress {
                    lsn: self.lsn(),
                    ..Progress::default()
                })
            }
        }
    }

    /// Reads to the end through fresh descriptors, once nobody else can acknowledge any more.
    /// `epoch` is the one that will begin there.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn finish(mut self, epoch: Epoch) -> Result<TakeoverPoint, FollowError> {
        // A seal that was seen and never synced can be gone again.
        self.known.clear();
        self.meter.replays();
        if !self.are_unproven_there()? {
            self.restart("a batch that was read is no longer there")?;
        }
        loop {
            match self.advance(u64::MAX, Look::Thorough) {
                Ok(progress) if progress.is_at_end => break,
                Ok(_) => {}
                Err(Stop::Follow(error)) => return Err(error),
                Err(Stop::Restart(reason)) => self.restart(&reason)?,
            }
        }
        let segments = list_segments(&*self.disk)?;
        let last_used = segments.iter().map(|name| name.number.0).max().unwrap_or(0);
        let cursor = self.cursor;
        let number = cursor.map_or(SegmentNumber(0), |cursor| cursor.segment.number);
        info!(lsn = %self.lsn(), previous = %self.epoch(), %epoch, "Read the journal to its end.");
        Ok(TakeoverPoint {
            previous_epoch: self.epoch(),
            sealed_lsn: self.lsn(),
            segment: number,
            end_offset: cursor.map_or(0, |cursor| cursor.offset),
            last_batches: self.unproven.into(),
            next_number: SegmentNumber(last_used.max(number.0) + 1),
            state: self.state,
            keys: self.keys,
        })
    }

    /// Begins again with the newest checkpoint.
    fn restart(&mut self, reason: &str) -> Result<(), FollowError> {
        warn!(lsn = %self.lsn(), %reason, "Begins again with the newest checkpoint.");
        let restarts = self.restarts + 1;
        if restarts > RESTARTS_MAX {
            return Err(FollowError::NoStart {
                first_epoch: self.epoch(),
                reason: reason.into(),
            });
        }
        let furthest = self.furthest.max(self.lsn());
        *self = Follower {
            restarts,
            furthest,
            ignores_seals: self.ignores_seals,
            ..Follower::open_metered(
                Arc::clone(&self.disk),
                self.keys.clone(),
                Arc::clone(&self.meter),
            )?
        };
        Ok(())
    }

    /// False when a batch that was read was lost with the host that showed it: of those that were
    /// on their way at the same time any may be, whatever became of the later ones.
    fn are_unproven_there(&self) -> Result<bool, FollowError> {
        for batch in &self.unproven {
            let path = batch.segment.path();
            let read = self
                .disk
                .open(&path, Open::Read)
                .and_then(|file| read_up_to(&*file, batch.offset, batch.bytes.len()));
            match read {
                Ok(bytes) if bytes == batch.bytes => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(FollowError::io(&path, error)),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, budget: u64, look: Look) -> Result<Progress, Stop> {
        let segments = list_segments(&*self.disk)?;
        let chain = match chain_from(&*self.disk, &segments, self.epoch(), &mut self.known, look) {
            Ok(chain) => chain,
            Err(ChainError::Follow(error)) => return Err(error.into()),
            Err(ChainError::Detached { newest }) => {
                let epoch = self.epoch();
                return Err(Stop::Restart(format!(
                    "epoch {newest} does not follow epoch {epoch}"
                )));
            }
        };
        if self.cursor.is_none() {
            self.cursor = chain.successor(Epoch(0)).map(start_of);
        }
        if self.meter.progress().is_some() {
            let ahead = self.bytes_ahead(&segments);
            self.meter.lies_ahead(ahead);
        }
        let mut applied_bytes = 0;
        while let Some(cursor) = self.cursor {
            applied_bytes += self.read_segment(cursor, &chain, budget - applied_bytes, look)?;
            let is_at_end = applied_bytes < budget && !self.go_on(&segments, &chain, look)?;
            if is_at_end || applied_bytes >= budget {
                let behind_bytes = if is_at_end {
                    self.meter.ended();
                    0
                } else {
                    self.bytes_ahead(&segments)
                };
                return Ok(Progress {
                    lsn: self.lsn(),
                    applied_bytes,
                    behind_bytes,
                    is_at_end,
                });
            }
        }
        self.meter.ended();
        Ok(Progress {
            is_at_end: true,
            ..Progress::default()
        })
    }

    /// Applies what the cursor's segment has; answers the bytes.
    fn read_segment(
        &mut self,
        cursor: Cursor,
        chain: &Chain,
        budget: u64,
        look: Look,
    ) -> Result<u64, Stop> {
        let bound = chain
            .successor(cursor.segment.epoch)
            .map(|successor| successor.seal)
            .filter(|_| !self.ignores_seals);
        let mut tail = Tail::open(
            &*self.disk,
            &self.keys,
            &self.state,
            cursor,
            bound,
            &self.meter,
        )?;
        let is_read = tail.read(&*self.disk, budget, look);
        let (cursor, unproven) = (tail.cursor, std::mem::take(&mut tail.unproven));
        let durable = tail.durable;
        self.invalid_looks = if tail.is_invalid {
            self.invalid_looks + 1
        } else {
            0
        };
        let applied = cursor.offset - self.cursor.map_or(cursor.offset, |old| old.offset);
        self.cursor = Some(cursor);
        if !unproven.is_empty() {
            self.unproven.retain(|batch| batch.last_lsn > durable);
            self.unproven.extend(unproven);
            if self.lsn() > self.furthest {
                self.restarts = 0;
            }
        }
        is_read?;
        Ok(applied)
    }

    /// Moves the cursor to the segment in which the journal goes on, if there is one.
    fn go_on(&mut self, segments: &[SegmentName], chain: &Chain, look: Look) -> Result<bool, Stop> {
        let Some(cursor) = self.cursor else {
            return Ok(false);
        };
        let path = cursor.segment.path();
        let successor = chain.successor(cursor.segment.epoch);
        if let Some(successor) = successor
            && (successor.seal.sealed_lsn == cursor.lsn()
                || self.ignores_seals && successor.seal.sealed_lsn < cursor.lsn())
        {
            self.cursor = Some(start_of(successor));
            return Ok(true);
        }
        let next = SegmentName {
            number: SegmentNumber(cursor.segment.number.0 + 1),
            epoch: cursor.segment.epoch,
        };
        match self.first_of(next, segments, look)? {
            FirstBatch::Other { first_lsn, .. } if first_lsn == cursor.next_lsn => {
                self.cursor = Some(Cursor::at_start_of(next, cursor.next_lsn));
                return Ok(true);
            }
            FirstBatch::None if successor.is_none() => return Ok(false),
            // The end of this segment was still on its way when that was sent: it is there later,
            // or the journal ends here.
            FirstBatch::Other { durable, .. }
                if successor.is_none()
                    && durable < cursor.next_lsn
                    && !(look == Look::Thorough && self.is_proven_later(segments)?) =>
            {
                return Ok(false);
            }
            _ => {}
        }
        // The active may have written the rest of this segment since it was read.
        self.read_segment(cursor, chain, u64::MAX, look)?;
        if self.cursor == Some(cursor) {
            // The rest of a sealed epoch can be gone as a whole: the active removed what is dead.
            if successor.is_some() && !list_segments(&*self.disk)?.contains(&next) {
                return Err(Stop::Restart(format!(
                    "`{}` is gone",
                    next.path().display()
                )));
            }
            return Err(damage(&path, cursor.offset, "the batch expected there").into());
        }
        Ok(true)
    }

    /// The first batch of `next`, the segment behind the cursor's; none if none of the later ones
    /// has any.
    fn first_of(
        &self,
        next: SegmentName,
        segments: &[SegmentName],
        look: Look,
    ) -> Result<FirstBatch, Stop> {
        let gone = || Stop::Restart(format!("`{}` is gone", next.path().display()));
        let is_later = |name: &&SegmentName| name.epoch == next.epoch && **name > next;
        // The last one first: if it was sent after everything in `next` was durable, it proves it.
        for name in segments.iter().rev().filter(is_later) {
            if !segments.contains(&next) {
                return Err(gone());
            }
            let is_proof = match first_batch(&*self.disk, *name, look, self.lsn())? {
                None | Some(FirstBatch::None) => continue,
                Some(FirstBatch::Other { durable, .. }) => durable > self.lsn(),
                Some(FirstBatch::Seal { .. }) => true,
            };
            return match first_batch(&*self.disk, next, look, self.lsn())? {
                None => Err(gone()),
                Some(FirstBatch::None) if is_proof => {
                    let at = SEGMENT_HEADER_BYTES as u64;
                    Err(damage(&next.path(), at, "the first batch").into())
                }
                Some(first) => Ok(first),
            };
        }
        if segments.contains(&next) {
            let first = first_batch(&*self.disk, next, look, self.lsn())?;
            return Ok(first.unwrap_or(FirstBatch::None));
        }
        Ok(FirstBatch::None)
    }

    /// Whether any batch in a later segment was sent after what is missing at the cursor was durable.
    fn is_proven_later(&self, segments: &[SegmentName]) -> Result<bool, Stop> {
        let Some(Cursor { segment, .. }) = self.cursor else {
            return Ok(false);
        };
        let is_later = |name: &&SegmentName| name.epoch == segment.epoch && **name > segment;
        for name in segments.iter().filter(is_later) {
            let path = name.path();
            let file = match self.disk.open(&path, Open::Read) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.map_err(|error| FollowError::io(&path, error))?,
            };
            let start = SEGMENT_HEADER_BYTES as u64;
            if scan_for_batch(&*file, *name, start, self.lsn())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// At most; segments are as long as they can become.
    fn bytes_ahead(&mut self, segments: &[SegmentName]) -> u64 {
        let Some(cursor) = self.cursor else { return 0 };
        let (disk, lengths) = (&self.disk, &mut self.lengths);
        lengths.retain(|name, _| *name >= cursor.segment);
        let mut length = |name: SegmentName| {
            *lengths.entry(name).or_insert_with(|| {
                disk.open(&name.path(), Open::Read)
                    .and_then(|file| file.length())
                    .unwrap_or(0)
            })
        };
        let rest = length(cursor.segment).saturating_sub(cursor.offset);
        let later = segments.iter().filter(|name| {
            name.number > cursor.segment.number && name.epoch >= cursor.segment.epoch
        });
        rest + later.map(|name| length(*name)).sum::<u64>()
    }
}

fn start_of(tenure: Tenure) -> Cursor {
    let segment = SegmentName {
        number: tenure.segment,
        epoch: tenure.epoch,
    };
    Cursor::at_start_of(segment, tenure.lsn)
}
