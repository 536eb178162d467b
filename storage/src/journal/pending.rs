//! What is appended and not yet written.
//!
//! One short lock gives each record its LSN and its place. A batch's header is reserved at its
//! beginning, so that places are known before anything is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::batch::{BATCH_BYTES, BATCH_HEADER_BYTES, Batch, SharedBatch};
use crate::checkpoint::ReplayStart;
use crate::cipher::TenureCipher;
use crate::journal::Prepared;
use crate::position::{Epoch, Location, Lsn, SegmentNumber};
use crate::record::{Frame, RECORD_BYTES_MAX};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::spare::small_bytes;
use crate::store::AppendError;

/// Whether a record makes the journal fuller or lets it get emptier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Refused while the directory is full.
    Message,
    /// Accepted as long as a segment has room: it is small, and acknowledgements make space.
    Control,
    /// A message that moves, which makes space later. While the directory is full it may not take
    /// the room that acknowledgements need.
    Move,
}

/// A record that got its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) lsn: Lsn,
    pub(crate) location: Location,
    /// The journal's thread sleeps: notify it, once no lock is held any more.
    pub(crate) must_wake: bool,
}

/// What the journal's thread finds.
pub(crate) enum Take {
    Batch(SharedBatch),
    /// Nothing now.
    Idle,
    /// Nothing, and nothing will come.
    Ended,
}

/// See the module.
pub(crate) struct Pending {
    epoch: Epoch,
    cipher: Arc<TenureCipher>,
    segment_bytes: u64,
    /// The tenure's first segment if it is to be left for the first prepared one: it had no time
    /// to be filled with zeros, and writing into a hole is slow.
    makeshift: Option<SegmentNumber>,
    appended: AtomicU64,
    unwritten: AtomicUsize,
    inner: Mutex<Inner>,
}

struct Inner {
    next_lsn: Lsn,
    /// Where the next record goes.
    segment: SegmentNumber,
    offset: u64,
    /// Bytes of that segment.
    room: u64,
    /// Bytes of the prepared ones behind it.
    ahead: VecDeque<u64>,
    /// Segments up to this one can be written.
    prepared_through: SegmentNumber,
    /// There is no space for another segment.
    is_full: bool,
    free_bytes: u64,
    open: Option<Batch>,
    closed: VecDeque<SharedBatch>,
    writing: Option<SharedBatch>,
    /// Buffers to be used again.
    buffers: Vec<Vec<u8>>,
    is_writer_asleep: bool,
    has_ended: bool,
}

/// While the directory is full, moves leave this part of a segment to acknowledgements.
const MOVE_RESERVE_PART: u64 = 4;

/// Buffers kept for the next batches, and the largest that is worth keeping.
const BUFFERS: usize = 3;
const BUFFER_BYTES_MAX: usize = 2 * BATCH_BYTES;

impl Pending {
    /// Continues behind the seal, which is in `first` and ends at `offset`. A makeshift is left for
    /// the first segment that is prepared.
    pub(crate) fn new(
        epoch: Epoch,
        cipher: Arc<TenureCipher>,
        first: &Prepared,
        offset: u64,
        seal_lsn: Lsn,
        segment_bytes: u32,
        is_makeshift: bool,
    ) -> Pending {
        let segment = first.number;
        Pending {
            epoch,
            cipher,
            segment_bytes: u64::from(segment_bytes),
            makeshift: is_makeshift.then_some(segment),
            appended: AtomicU64::new(seal_lsn.0),
            unwritten: AtomicUsize::new(0),
            inner: Mutex::new(Inner {
                next_lsn: Lsn(seal_lsn.0 + 1),
                segment,
                offset,
                room: u64::from(first.bytes),
                ahead: VecDeque::new(),
                prepared_through: segment,
                is_full: false,
                free_bytes: u64::MAX,
                open: None,
                closed: VecDeque::new(),
                writing: None,
                buffers: Vec::new(),
                is_writer_asleep: false,
                has_ended: false,
            }),
        }
    }

    /// The last LSN appended.
    pub(crate) fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }

    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Gives the record its LSN and its place.
    pub(crate) fn append(&self, frame: Frame<'_>, class: Class) -> Result<Appended, AppendError> {
        let bytes = frame.bytes() + self.cipher.tag_bytes();
        if bytes > u64::from(RECORD_BYTES_MAX) {
            return Err(AppendError::TooLarge {
                bytes,
                limit_bytes: u64::from(RECORD_BYTES_MAX),
            });
        }
        let inner = &mut *self.inner.lock();
        if inner.has_ended {
            return Err(AppendError::Fenced { epoch: self.epoch });
        }
        let is_makeshift = self.makeshift == Some(inner.segment);
        let must_roll =
            !self.fits(inner, bytes) || is_makeshift && inner.segment < inner.prepared_through;
        if self.is_refused(inner, bytes, must_roll, class) {
            return Err(AppendError::Full {
                free_bytes: inner.free_bytes,
            });
        }
        if must_roll {
            inner.close();
            inner.segment = SegmentNumber(inner.segment.0 + 1);
            inner.offset = SEGMENT_HEADER_BYTES as u64;
            inner.room = inner.ahead.pop_front().unwrap_or(self.segment_bytes);
        }
        let batch = inner.open_batch(self.epoch, &self.cipher);
        let (lsn, location) = batch.push(frame);
        let is_batch_full = batch.bytes() >= BATCH_BYTES;
        inner.offset = batch.end_offset();
        inner.next_lsn = Lsn(lsn.0 + 1);
        if is_batch_full {
            inner.close();
        }
        self.appended.store(lsn.0, Ordering::Release);
        self.unwritten.fetch_add(bytes as usize, Ordering::Relaxed);
        let must_wake = std::mem::take(&mut inner.is_writer_asleep);
        Ok(Appended {
            lsn,
            location,
            must_wake,
        })
    }

    /// A record that is too large for any segment goes to the beginning of one and extends it.
    fn fits(&self, inner: &Inner, bytes: u64) -> bool {
        let header = if inner.open.is_some() {
            0
        } else {
            BATCH_HEADER_BYTES as u64
        };
        let is_fresh = inner.offset == SEGMENT_HEADER_BYTES as u64;
        is_fresh || inner.offset + header + bytes <= inner.room
    }

    /// Nothing goes into a segment for which there may be no space: what is appended can always
    /// be written and released, so a checkpoint can end and make space.
    fn is_refused(&self, inner: &Inner, bytes: u64, must_roll: bool, class: Class) -> bool {
        let is_oversized = bytes + SEGMENT_HEADER_BYTES as u64 > self.segment_bytes;
        if is_oversized && inner.free_bytes < bytes + self.segment_bytes {
            return true;
        }
        let is_unprepared = must_roll && inner.segment >= inner.prepared_through;
        if class == Class::Move {
            let ahead: u64 = inner.ahead.iter().sum();
            let room = inner.room.saturating_sub(inner.offset) + ahead;
            // Segments are small then.
            let segment = u64::from(small_bytes(self.segment_bytes as u32));
            let reserve = segment / MOVE_RESERVE_PART;
            return is_unprepared || inner.is_full && room < bytes + reserve;
        }
        if !inner.is_full {
            return false;
        }
        // Only what has its place already can be written for sure.
        let room = match must_roll {
            true => inner.ahead.front().copied().unwrap_or(self.segment_bytes),
            false => inner.room,
        };
        let headers = (SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES) as u64;
        class == Class::Message || is_unprepared || headers + bytes > room
    }

    /// Takes the next batch to be written.
    pub(crate) fn take(&self) -> Take {
        let inner = &mut *self.inner.lock();
        if inner.closed.is_empty() {
            inner.close();
        }
        match inner.closed.pop_front() {
            Some(batch) => {
                inner.writing = Some(Arc::clone(&batch));
                Take::Batch(batch)
            }
            None if inner.has_ended => Take::Ended,
            None => {
                inner.is_writer_asleep = true;
                Take::Idle
            }
        }
    }

    /// The batch that was taken is durable: readers find it in the file.
    pub(crate) fn finish(&self, batch: SharedBatch) {
        let bytes = batch.bytes().saturating_sub(BATCH_HEADER_BYTES);
        self.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        let written = self.inner.lock().writing.take();
        drop(written);
        // A reader may still hold it: then the buffer is simply freed later.
        if let Some(batch) = Arc::into_inner(batch) {
            let buffer = batch.into_buffer();
            let inner = &mut *self.inner.lock();
            if inner.buffers.len() < BUFFERS && buffer.capacity() <= BUFFER_BYTES_MAX {
                inner.buffers.push(buffer);
            }
        }
    }

    /// The bytes of a record that is not durable yet.
    pub(crate) fn find(&self, location: Location) -> Option<Vec<u8>> {
        let batch = {
            let inner = self.inner.lock();
            if let Some(found) = inner.open.as_ref().and_then(|open| open.find(location)) {
                return Some(found.to_vec());
            }
            let mut batches = inner.writing.iter().chain(&inner.closed);
            Arc::clone(batches.find(|batch| batch.find(location).is_some())?)
        };
        batch.find(location).map(<[u8]>::to_vec)
    }

    /// Where replay must begin to meet everything appended from this moment on.
    pub(crate) fn replay_start(&self) -> ReplayStart {
        let inner = self.inner.lock();
        let (segment, offset, lsn) = match &inner.open {
            Some(open) => (open.segment, open.offset, open.first_lsn),
            None => (inner.segment, inner.offset, inner.next_lsn),
        };
        ReplayStart {
            epoch: self.epoch,
            segment,
            offset,
            lsn,
        }
    }

    /// The segment in which the next record goes.
    pub(crate) fn segment(&self) -> SegmentNumber {
        self.inner.lock().segment
    }

    /// Bytes of it that are taken.
    pub(crate) fn filled_bytes(&self) -> u64 {
        self.inner.lock().offset
    }

    /// The segment being filled is to be left for the first one that is prepared.
    pub(crate) fn is_makeshift(&self) -> bool {
        self.makeshift == Some(self.segment())
    }

    /// Bytes that can be appended before another segment has to be prepared.
    pub(crate) fn room_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        if inner.segment > inner.prepared_through {
            return 0;
        }
        inner.room.saturating_sub(inner.offset) + inner.ahead.iter().sum::<u64>()
    }

    pub(crate) fn set_prepared(&self, through: SegmentNumber, bytes: u32) {
        let inner = &mut *self.inner.lock();
        inner.prepared_through = through;
        // What was appended for it already was given its place as if it had the usual length: what is
        // beyond its end extends it.
        if through > inner.segment {
            inner.ahead.push_back(u64::from(bytes));
        } else if through == inner.segment {
            inner.room = u64::from(bytes).max(inner.offset);
        }
    }

    /// Answers whether it was full before.
    pub(crate) fn set_space(&self, is_full: bool, free_bytes: u64) -> bool {
        let inner = &mut *self.inner.lock();
        inner.free_bytes = free_bytes;
        std::mem::replace(&mut inner.is_full, is_full)
    }

    /// Nothing can be appended from now on.
    pub(crate) fn end(&self) {
        self.inner.lock().has_ended = true;
    }
}

impl Inner {
    fn open_batch(&mut self, epoch: Epoch, cipher: &TenureCipher) -> &mut Batch {
        let (segment, offset, lsn) = (self.segment, self.offset, self.next_lsn);
        let buffers = &mut self.buffers;
        self.open.get_or_insert_with(|| {
            let buffer = buffers.pop().unwrap_or_default();
            Batch::new(segment, offset, lsn, epoch, buffer).encrypted(cipher.of(segment))
        })
    }

    fn close(&mut self) {
        if let Some(mut batch) = self.open.take() {
            batch.close();
            self.closed.push_back(Arc::new(batch));
        }
    }
}
