//! The keeper and the free space: segments prepared ahead, and what happens when there is none.
//!
//! While the directory is full, what there is goes in this order: the checkpoint that lets dead
//! segments go, then small segments for acknowledgements. Messages are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::{FULL_POLL, Keeper, SPACE_POLL};
use crate::chain::{SegmentName, survey};
use crate::checkpoint::is_whole;
use crate::journal::pending::Class;
use crate::journal::prepare::prepare_segment;
use crate::journal::shared::SpaceStatus;
use crate::position::SegmentNumber;
use crate::record::{ForgetProducers, Frame, Record};
use crate::segment::SEGMENT_BYTES_MIN;
use crate::spare::{
    KEPT_FOR_CHECKPOINTS, KEPT_FOR_TAKEOVER, SPARE_FILES, give_back, is_no_space, refill,
    small_bytes,
};
use crate::state::Place;
use crate::store::AppendError;

/// Time between two checkpoints that a full directory asks for.
const FULL_CHECKPOINT: Duration = Duration::from_secs(2);

impl Keeper<'_> {
    /// Has one segment ready beyond the one being filled.
    pub(super) fn prepare(&mut self) {
        self.note_filling();
        self.look_at_space();
        while !self.shared.is_over() && (self.wants_segment() || self.wants_proof()) {
            let usual = self.shared.options.segment_bytes;
            let bytes = match self.is_full {
                true => self.bytes_while_full(),
                false => Some(usual),
            };
            if !bytes.is_some_and(|bytes| self.prepare_next(bytes)) {
                return;
            }
        }
    }

    /// Prepares a segment of so many bytes; false: not now.
    fn prepare_next(&mut self, bytes: u32) -> bool {
        let shared = self.shared;
        let number = SegmentNumber(self.prepared_through.0 + 1);
        let name = SegmentName {
            number,
            epoch: shared.epoch,
        };
        // While space is short, somebody else could take it before it is written to.
        let is_held = shared.options.preallocate || self.is_full;
        let started = shared.clock.now();
        let length = self.length_of(number, bytes);
        match prepare_segment(shared, name, length, is_held, self.is_full) {
            Ok(prepared) => {
                self.prepare_took = shared.clock.now().saturating_sub(started);
                self.prepared_through = number;
                (shared.callbacks.on_prepared)();
                let mut segments = shared.segments.lock();
                segments.insert(number, Arc::new(prepared));
                drop(segments);
                self.lengths.insert(name, u64::from(length));
                if let Some(lane) = shared.pending.set_prepared(number, length) {
                    shared.lanes[lane].notify();
                }
                if bytes == shared.options.segment_bytes {
                    self.no_space_at = None;
                }
                self.looked_at = None;
                self.note_filling();
                self.look_at_space();
                true
            }
            Err(error) if is_no_space(&error) => {
                self.no_space_at = Some(shared.clock.now());
                self.set_full(true, 0);
                let small = small_bytes(shared.options.segment_bytes);
                let is_next = self.wants_segment();
                // Each try has less to ask for, or one spare file less.
                is_next && (bytes > small || self.gives_back()) && self.prepare_next(small)
            }
            Err(error) => {
                shared.fail_io("prepare", name, &error);
                false
            }
        }
    }

    /// A segment that is awaited has at least room for what is appended for it.
    fn length_of(&self, number: SegmentNumber, bytes: u32) -> u32 {
        let pending = &self.shared.pending;
        if pending.segment() != number {
            return bytes;
        }
        let usual = self.shared.options.segment_bytes;
        let taken = pending.filled_bytes().next_multiple_of(4096);
        bytes.max(taken.min(u64::from(usual)) as u32)
    }

    /// Something is appended for a segment that is not there.
    fn is_awaited(&self) -> bool {
        self.prepared_through < self.shared.pending.segment()
    }

    fn gives_back(&self) -> bool {
        let kept = match self.is_awaited() {
            true => 0,
            false => KEPT_FOR_CHECKPOINTS,
        };
        give_back(&*self.shared.disk, kept).unwrap_or(false)
    }

    /// The directory says that there is space, and there was none: another segment shows it.
    fn wants_proof(&self) -> bool {
        let ahead =
            self.prepared_through.0 - self.shared.pending.segment().0.min(self.prepared_through.0);
        let is_draining = self.shared.is_draining.load(Ordering::Acquire);
        self.is_full && !self.is_short && ahead < 2 && !is_draining
    }

    /// Has the spare files that a full directory will want.
    pub(super) fn keep_spare(&mut self) {
        let now = self.shared.clock.now();
        let is_early = self.spare_at.is_some_and(|at| now < at + SPACE_POLL);
        if is_early || self.is_full || self.shared.is_draining.load(Ordering::Acquire) {
            return;
        }
        self.spare_at = Some(now);
        let bytes = small_bytes(self.shared.options.segment_bytes);
        let all = SPARE_FILES as u64 * u64::from(bytes);
        while !self.is_full && self.surplus >= all && !self.shared.is_over() {
            match refill(&*self.shared.disk, bytes) {
                Ok(true) => self.prepare(),
                Ok(false) => return,
                Err(error) => {
                    warn!(%error, "Cannot keep space for bad days; trying again.");
                    return;
                }
            }
        }
    }

    /// While the directory is full: how large a segment there is space for. None: not now.
    fn bytes_while_full(&self) -> Option<u32> {
        let now = self.shared.clock.now();
        if self.no_space_at.is_some_and(|at| now < at + FULL_POLL) {
            return None;
        }
        let usual = self.shared.options.segment_bytes;
        let small = small_bytes(usual);
        let mut free = self.shared.disk.free_bytes().unwrap_or(0);
        if !self.shared.options.preallocate {
            // What is prepared may have no place on the disk yet.
            free = free.saturating_sub(self.shared.pending.room_bytes());
        }
        // The last bytes are for the checkpoint that makes space: without it there is none, ever.
        let checkpoint = self.checkpoint_estimate();
        if free >= u64::from(small) + checkpoint {
            let is_tight = self.is_short && self.free < u64::from(usual) + checkpoint;
            return Some(if is_tight { small } else { usual });
        }
        if self.shared.pending.room_bytes() >= u64::from(small) / 2 {
            return None;
        }
        if self.is_awaited() {
            // What is appended must be written: until then no checkpoint can end.
            return (free >= u64::from(small) || self.gives_back()).then_some(small);
        }
        // Nobody can empty anything without a place for acknowledgements and moves. Then the checkpoint
        // may have to take the place of the older one.
        let checkpoint = checkpoint.saturating_sub(self.replaceable_bytes());
        // Bytes that are too few for a checkpoint anyhow are kept for nothing.
        let kept = if free < checkpoint { 0 } else { checkpoint };
        let half = small / 2;
        if free >= u64::from(small) + kept || self.gives_back() {
            Some(small)
        } else {
            (half >= SEGMENT_BYTES_MIN / 2 && free >= u64::from(half) + kept).then_some(half)
        }
    }

    /// What [`Keeper::make_room`] can take away for a checkpoint.
    fn replaceable_bytes(&self) -> u64 {
        let bytes = self.starts.values().map(|(_, bytes)| *bytes);
        match self.starts.len() {
            0 | 1 => 0,
            _ => bytes.min().unwrap_or(0),
        }
    }

    /// Bytes of the next checkpoint, about.
    pub(super) fn checkpoint_estimate(&self) -> u64 {
        let state = &self.shared.state;
        let entries: usize = state.backlogs().iter().map(|backlog| backlog.len()).sum();
        let producers: usize = state
            .producers
            .iter()
            .map(|shard| shard.lock().producers.len())
            .sum();
        entries as u64 * 36 + producers as u64 * 96
    }

    fn look_at_space(&mut self) {
        let now = self.shared.clock.now();
        let pause = if self.is_full { FULL_POLL } else { SPACE_POLL };
        if self.looked_at.is_some_and(|at| now < at + pause) {
            return;
        }
        self.looked_at = Some(now);
        let Ok(free) = self.shared.disk.free_bytes() else {
            return;
        };
        let segment = u64::from(self.shared.options.segment_bytes);
        let is_next_ready = self.prepared_through > self.shared.pending.segment();
        // One segment more than is needed: checkpoints, too, need space to make space.
        let segments = if is_next_ready { segment } else { 2 * segment };
        let mut wanted = segments + self.checkpoint_estimate();
        if !self.shared.options.preallocate {
            // What is prepared has no place on the disk before it is written to.
            wanted += self.shared.pending.room_bytes();
        }
        self.is_short = free < wanted;
        self.free = free;
        self.surplus = free.saturating_sub(wanted);
        self.set_full(self.is_short || self.no_space_at.is_some(), free);
    }

    fn set_full(&mut self, is_full: bool, free_bytes: u64) {
        self.is_full = is_full;
        let now_ms = self.shared.clock.wall_ms();
        let was_full = self.shared.pending.set_space(is_full, free_bytes);
        let since_ms = {
            let space = &mut *self.shared.fullness.lock();
            let since_ms = space.full_since_ms.unwrap_or(now_ms);
            *space = SpaceStatus {
                is_full,
                free_bytes,
                full_since_ms: is_full.then_some(since_ms),
            };
            since_ms
        };
        if is_full && !was_full {
            warn!(
                free_bytes,
                "The journal directory is full; messages are refused, consumers go on."
            );
        } else if was_full && !is_full {
            let full_ms = now_ms.saturating_sub(since_ms);
            info!(
                free_bytes,
                full_ms, "The journal directory has space again."
            );
        }
    }

    /// Time between two checkpoints while the directory is full: less while acknowledgements are about
    /// to have no place.
    pub(super) fn full_pause(&self) -> Duration {
        let small = u64::from(small_bytes(self.shared.options.segment_bytes));
        if self.shared.pending.room_bytes() < small {
            FULL_CHECKPOINT / 10
        } else {
            FULL_CHECKPOINT
        }
    }

    /// Whether anybody appended anything since the last checkpoint.
    pub(super) fn has_news(&self) -> bool {
        self.shared.pending.appended() > self.checkpoint_end.max(self.nudge)
    }

    /// Appends a record that says nothing: dead segments go with the second checkpoint, which
    /// must have another end than the first.
    pub(super) fn nudge(&mut self) {
        let shared = self.shared;
        let record = Record::ForgetProducers(ForgetProducers {
            producers: Vec::new(),
        });
        let appended = shared.state.with_locks(&record, |locked| {
            let appended = shared.pending.append(Frame::new(&record), Class::Control)?;
            let place = Place {
                lsn: appended.lsn,
                epoch: shared.epoch,
                location: appended.location,
            };
            locked.apply(place, &record).expect("it speaks of nothing");
            Ok::<_, AppendError>(appended)
        });
        if let Ok(appended) = appended {
            self.nudge = appended.lsn;
            if let Some(lane) = appended.wakes {
                shared.lanes[lane].notify();
            }
        }
    }

    /// A checkpoint did not fit: a spare file may go before, or what it replaces. The only one that is
    /// left then must be readable.
    pub(super) fn make_room(&self) -> bool {
        let disk = &*self.shared.disk;
        let made = give_back(disk, KEPT_FOR_TAKEOVER).and_then(|is_given| {
            match survey(disk)?.checkpoints[..] {
                [newest, .., oldest] if !is_given && is_whole(disk, newest)? => {
                    disk.remove(&oldest.path()).map(|()| true)
                }
                _ => Ok(is_given),
            }
        });
        made.unwrap_or_else(|error| {
            warn!(%error, "Cannot make room for a checkpoint.");
            false
        })
    }
}
