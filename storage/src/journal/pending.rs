//! What is appended and not yet written.
//!
//! One short lock gives each record its LSN and its place. A batch's header is reserved at its
//! beginning, so that places are known before anything is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::pace::Pace;
use super::{InFlight, Sealed};
use crate::batch::{BATCH_BYTES, BATCH_HEADER_BYTES, Batch, IN_FLIGHT_BYTES_MAX, SharedBatch};
use crate::checkpoint::ReplayStart;
use crate::cipher::TenureCipher;
use crate::position::{Epoch, Location, Lsn, SegmentNumber};
use crate::record::{Frame, RECORD_BYTES_MAX};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::spare::small_bytes;
use crate::store::AppendError;
use crate::watermark::Watermark;

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
    /// This lane sleeps and is to write it: notify it, once no lock is held any more.
    pub(crate) wakes: Option<Lane>,
}

/// What a lane finds.
pub(crate) enum Take {
    Batch(Taken),
    /// Nothing to do before that time, if there is one, or before somebody wakes the lane.
    Idle(Option<Duration>),
    /// The next batch's segment is not prepared yet.
    NoSegment(SegmentNumber),
    /// Nothing is left to be sent, and nothing will come.
    Ended,
}

/// A batch to be written.
pub(crate) struct Taken {
    pub(crate) batch: SharedBatch,
    /// The first batch of its segment.
    pub(crate) is_first: bool,
    /// Another lane that has something to do.
    pub(crate) wakes: Option<Lane>,
}

/// What the end of a batch brought.
pub(crate) struct Finished {
    /// Segments below this one are written no more.
    pub(crate) needed: SegmentNumber,
    /// Bytes of the batch.
    pub(crate) bytes: u64,
    /// Everything before this place is durable, if that has grown.
    pub(crate) durable_through: Option<(SegmentNumber, u64)>,
}

/// One of the threads that write.
pub(crate) type Lane = usize;

/// See the module.
pub(crate) struct Pending {
    epoch: Epoch,
    cipher: Arc<TenureCipher>,
    segment_bytes: u64,
    /// The tenure's first segment if it is to be left for the first prepared one: it had no time
    /// to be filled with zeros, and writing into a hole is slow.
    makeshift: Option<SegmentNumber>,
    /// Broken on purpose: see [`InFlight::Unordered`].
    is_unordered: bool,
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
    /// Full; the header is filled in when it is sent.
    closed: VecDeque<Batch>,
    /// Sent, in order; the first one has not arrived yet.
    in_flight: VecDeque<Flying>,
    in_flight_bytes: usize,
    pace: Pace,
    lanes: Lanes,
    /// The segment of the last batch that was sent.
    sent_segment: SegmentNumber,
    /// Buffers to be used again.
    buffers: Vec<Vec<u8>>,
    has_ended: bool,
}

/// While the directory is full, moves leave this part of a segment to acknowledgements.
const MOVE_RESERVE_PART: u64 = 4;

/// A batch that was sent.
struct Flying {
    batch: SharedBatch,
    sent_at: Duration,
    /// Nothing else has been in flight since it was sent.
    is_alone: bool,
    /// When its segment was locked, once it has arrived.
    arrived: Option<Duration>,
}

/// What the lanes do.
struct Lanes {
    /// Asleep until somebody wakes them.
    idle: Vec<Lane>,
    /// Asleep until the next batch may leave.
    timing: Option<Lane>,
    /// On their way to [`Pending::take`]: so many, and those whose way may be long.
    seeking: usize,
    busy: Vec<Lane>,
}

/// Bytes of buffers kept for the next batches, and the largest that is worth keeping.
const BUFFERS_BYTES: usize = 6 * BATCH_BYTES;
const BUFFER_BYTES_MAX: usize = 2 * BATCH_BYTES;

impl Pending {
    /// Continues behind the seal. A makeshift first segment is left for the first one that is
    /// prepared.
    pub(super) fn new(
        epoch: Epoch,
        cipher: Arc<TenureCipher>,
        sealed: &Sealed,
        segment_bytes: u32,
        is_makeshift: bool,
        in_flight: InFlight,
    ) -> Pending {
        let (first, offset, seal_lsn) = (&sealed.first, sealed.end_offset, sealed.lsn);
        let (pace, lanes) = match in_flight {
            InFlight::UpTo(depth) => (Pace::new(depth), depth),
            InFlight::Always(depth) | InFlight::Unordered(depth) => (Pace::forced(depth), depth),
        };
        let segment = first.number;
        Pending {
            epoch,
            cipher,
            segment_bytes: u64::from(segment_bytes),
            makeshift: is_makeshift.then_some(segment),
            is_unordered: matches!(in_flight, InFlight::Unordered(_)),
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
                in_flight: VecDeque::new(),
                in_flight_bytes: 0,
                pace,
                lanes: Lanes {
                    idle: Vec::new(),
                    timing: None,
                    // Each begins with a look.
                    seeking: lanes,
                    busy: Vec::new(),
                },
                sent_segment: segment,
                buffers: Vec::new(),
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
        Ok(Appended {
            lsn,
            location,
            wakes: inner.next_lane(),
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

    /// Takes the next batch to be written, if it may leave now.
    pub(crate) fn take(&self, lane: Lane, now: Duration, watermark: &Watermark) -> Take {
        let inner = &mut *self.inner.lock();
        inner.lanes.begin(lane);
        if inner.has_nothing_to_send() {
            if inner.has_ended {
                return Take::Ended;
            }
            return inner.sleep(lane, None);
        }
        if !inner.has_room() {
            return inner.sleep(lane, None);
        }
        if let Some(segment) = inner.missing_segment() {
            inner.lanes.idle.push(lane);
            return Take::NoSegment(segment);
        }
        let is_held_back = !inner.in_flight.is_empty() && inner.closed.is_empty();
        if is_held_back && now < inner.pace.next_at() {
            return inner.sleep(lane, Some(inner.pace.next_at()));
        }
        // Nobody advances it meanwhile: that needs the lock.
        Take::Batch(inner.send(now, watermark.durable()))
    }

    /// A lane's batch was written and is durable, in a segment locked at `locked_at`. Advances
    /// `watermark` over all batches that have arrived before the first one that has not. `is_slow`:
    /// the lane may be held up by what it does before it looks for the next batch.
    pub(crate) fn finish(
        &self,
        lane: Lane,
        first_lsn: Lsn,
        locked_at: Duration,
        now: Duration,
        watermark: &Watermark,
        is_slow: bool,
    ) -> Finished {
        let mut done = Vec::new();
        let inner = &mut *self.inner.lock();
        if is_slow {
            inner.lanes.busy.push(lane);
        } else {
            inner.lanes.seeking += 1;
        }
        let mut bytes = 0;
        let flying = inner.in_flight.iter_mut();
        for flying in flying.filter(|flying| flying.batch.first_lsn == first_lsn) {
            flying.arrived = Some(locked_at);
            bytes = flying.batch.bytes();
            inner.pace.arrived(flying.sent_at, now, flying.is_alone);
        }
        if self.is_unordered {
            watermark.set_durable(inner.last_of(first_lsn), locked_at);
        }
        while let Some(arrived) = inner.in_flight.front().and_then(|first| first.arrived) {
            let Some(first) = inner.in_flight.pop_front() else {
                break;
            };
            watermark.set_durable(first.batch.last_lsn(), arrived);
            inner.in_flight_bytes -= first.batch.bytes();
            done.push(first.batch);
        }
        let durable_through = done.last();
        let durable_through = durable_through.map(|batch| (batch.segment, batch.end_offset()));
        for batch in done {
            let record_bytes = batch.bytes().saturating_sub(BATCH_HEADER_BYTES);
            self.unwritten.fetch_sub(record_bytes, Ordering::Relaxed);
            // A reader may still hold it: then the buffer is simply freed later.
            if let Some(batch) = Arc::into_inner(batch) {
                inner.keep_buffer(batch.into_buffer());
            }
        }
        Finished {
            needed: inner.needed_segment(),
            bytes: bytes as u64,
            durable_through,
        }
    }

    /// The bytes of a record that is not durable yet.
    pub(crate) fn find(&self, location: Location) -> Option<Vec<u8>> {
        let batch = {
            let inner = self.inner.lock();
            let mut unsent = inner.open.iter().chain(&inner.closed);
            if let Some(found) = unsent.find_map(|batch| batch.find(location)) {
                return Some(found.to_vec());
            }
            let mut sent = inner.in_flight.iter();
            let holds = |flying: &&Flying| flying.batch.find(location).is_some();
            Arc::clone(&sent.find(holds)?.batch)
        };
        batch.find(location).map(<[u8]>::to_vec)
    }

    /// Batches in flight, how many may be, and the usual round trip.
    pub(crate) fn depth(&self) -> (usize, usize, Duration) {
        let inner = self.inner.lock();
        let pace = &inner.pace;
        (inner.in_flight.len(), pace.depth(), pace.round_trip())
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

    /// Answers the lane that has something to do now.
    pub(crate) fn set_prepared(&self, through: SegmentNumber, bytes: u32) -> Option<Lane> {
        let inner = &mut *self.inner.lock();
        inner.prepared_through = through;
        // What was appended for it already was given its place as if it had the usual length: what is
        // beyond its end extends it.
        if through > inner.segment {
            inner.ahead.push_back(u64::from(bytes));
        } else if through == inner.segment {
            inner.room = u64::from(bytes).max(inner.offset);
        }
        inner.next_lane()
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
        self.closed.extend(self.open.take());
    }

    fn has_nothing_to_send(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }

    fn next_to_send(&self) -> Option<&Batch> {
        self.closed.front().or(self.open.as_ref())
    }

    /// Whether one more may be in flight: one of any length alone, several up to a bound together.
    fn has_room(&self) -> bool {
        let bytes = self.next_to_send().map_or(0, Batch::bytes);
        self.in_flight.is_empty()
            || self.in_flight.len() < self.pace.depth()
                && self.in_flight_bytes + bytes <= IN_FLIGHT_BYTES_MAX
    }

    fn missing_segment(&self) -> Option<SegmentNumber> {
        let next = self.next_to_send()?.segment;
        (next > self.prepared_through).then_some(next)
    }

    /// The lane that should look for something to do, if there is something and none is about to.
    /// The caller wakes it.
    fn next_lane(&mut self) -> Option<Lane> {
        let is_possible =
            !self.has_nothing_to_send() && self.has_room() && self.missing_segment().is_none();
        if !is_possible || self.lanes.seeking > 0 {
            return None;
        }
        let must_wait = !self.in_flight.is_empty() && self.closed.is_empty();
        let lane = match self.lanes.timing {
            // It will look when the time has come.
            Some(_) if must_wait => return None,
            Some(_) => self.lanes.timing.take(),
            None => self.lanes.idle.pop(),
        }?;
        self.lanes.seeking += 1;
        Some(lane)
    }

    fn sleep(&mut self, lane: Lane, until: Option<Duration>) -> Take {
        match until {
            Some(until) if self.lanes.timing.is_none() => {
                self.lanes.timing = Some(lane);
                Take::Idle(Some(until))
            }
            _ => {
                self.lanes.idle.push(lane);
                Take::Idle(None)
            }
        }
    }

    fn send(&mut self, now: Duration, durable: Lsn) -> Taken {
        if self.closed.is_empty() {
            self.close();
        }
        let mut batch = self.closed.pop_front().expect("there is something to send");
        batch.close(durable);
        let batch = Arc::new(batch);
        let is_alone = self.in_flight.is_empty();
        for flying in &mut self.in_flight {
            flying.is_alone = false;
        }
        self.in_flight_bytes += batch.bytes();
        self.in_flight.push_back(Flying {
            batch: Arc::clone(&batch),
            sent_at: now,
            is_alone,
            arrived: None,
        });
        self.pace.sent(now);
        let is_first = std::mem::replace(&mut self.sent_segment, batch.segment) != batch.segment;
        Taken {
            batch,
            is_first,
            wakes: self.next_lane(),
        }
    }

    /// The first segment that is still written, or will be.
    fn needed_segment(&self) -> SegmentNumber {
        let in_flight = self.in_flight.front().map(|first| first.batch.segment);
        in_flight
            .or_else(|| self.next_to_send().map(|next| next.segment))
            .unwrap_or(self.segment)
    }

    fn last_of(&self, first_lsn: Lsn) -> Lsn {
        let mut sent = self.in_flight.iter().map(|flying| &flying.batch);
        let batch = sent.find(|batch| batch.first_lsn == first_lsn);
        batch.map_or(Lsn(0), |batch| batch.last_lsn())
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        let kept: usize = self.buffers.iter().map(Vec::capacity).sum();
        let capacity = buffer.capacity();
        if capacity <= BUFFER_BYTES_MAX && kept + capacity <= BUFFERS_BYTES {
            self.buffers.push(buffer);
        }
    }
}

impl Lanes {
    /// A lane looks for something to do, woken or on its own.
    fn begin(&mut self, lane: Lane) {
        if self.timing == Some(lane) {
            self.timing = None;
        } else if let Some(at) = self.idle.iter().position(|idle| *idle == lane) {
            self.idle.remove(at);
        } else if let Some(at) = self.busy.iter().position(|busy| *busy == lane) {
            self.busy.swap_remove(at);
        } else {
            self.seeking = self.seeking.saturating_sub(1);
        }
    }
}
