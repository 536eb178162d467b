//! The keeper: prepares segments ahead, writes checkpoints, removes what nobody needs.
//!
//! Whatever takes it long asks in between whether the journal wants a segment.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::prepare::{is_no_space, prepare_segment};
use super::shared::Shared;
use crate::chain::{
    CHECKPOINT_DIRECTORY, CheckpointName, JOURNAL_DIRECTORY, SegmentName, list_segments, survey,
};
use crate::checkpoint::{ReplayStart, read_start, write_checkpoint};
use crate::disk::Open;
use crate::position::{Lsn, SegmentNumber};

/// Time between two looks at the free space: while there is enough, and while there is not.
const SPACE_POLL: Duration = Duration::from_secs(5);
const FULL_POLL: Duration = Duration::from_secs(1);
/// Time between two checkpoints that a full directory asks for.
const FULL_CHECKPOINT: Duration = Duration::from_secs(2);
/// A last checkpoint of more entries would delay a planned end.
const LAST_CHECKPOINT_ENTRIES: usize = 200_000;
/// Checkpoints that are kept: the second is there for the day on which the first cannot be read.
const CHECKPOINTS_KEPT: usize = 2;
const WRITE_BYTES: usize = 1 << 20;

/// Why a piece of work was not finished.
enum Stop {
    /// The tenure is over.
    Over,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

struct Keeper<'a> {
    shared: &'a Shared,
    prepared_through: SegmentNumber,
    is_full: bool,
    looked_at: Option<Duration>,
    /// When preparing a segment last failed for lack of space, whatever free space was told.
    no_space_at: Option<Duration>,
    /// When the last checkpoint was tried, and its end if it came to that.
    checkpoint_at: Duration,
    checkpoint_end: Lsn,
    checkpoint_failed_at: Option<Duration>,
    /// Something may be removable.
    may_remove: bool,
}

/// Works until the tenure ends. `first` is the tenure's first segment.
pub(crate) fn run(shared: &Shared, first: SegmentNumber) {
    let mut keeper = Keeper {
        shared,
        prepared_through: first,
        is_full: false,
        looked_at: None,
        no_space_at: None,
        checkpoint_at: shared.clock.now(),
        checkpoint_end: Lsn(0),
        checkpoint_failed_at: None,
        may_remove: true,
    };
    keeper.remove_temporary_files();
    while !shared.is_over() {
        keeper.prepare();
        if shared.is_draining.load(Ordering::Acquire)
            && shared.is_writer_done.load(Ordering::Acquire)
        {
            keeper.finish();
            return;
        }
        if keeper.wants_checkpoint() {
            keeper.checkpoint();
        }
        if keeper.may_remove && !shared.is_over() {
            keeper.may_remove = false;
            if let Err(Stop::Io(error)) = keeper.remove_dead_segments() {
                warn!(%error, "Cannot remove old segments; trying again with the next checkpoint.");
            }
        }
        // Waits inside of the work may have used up the signal for what came meanwhile.
        if !keeper.has_work() {
            shared.keeper_signal.wait(Some(keeper.pause()));
        }
    }
}

impl Keeper<'_> {
    fn has_work(&self) -> bool {
        let shared = self.shared;
        let is_last = shared.is_draining.load(Ordering::Acquire)
            && shared.is_writer_done.load(Ordering::Acquire);
        is_last || self.wants_checkpoint() || (self.wants_segment() && !self.is_full)
    }

    fn pause(&self) -> Duration {
        if self.is_full || self.checkpoint_failed_at.is_some() {
            FULL_POLL
        } else {
            SPACE_POLL
        }
    }

    /// Has one segment ready beyond the one being filled.
    fn prepare(&mut self) {
        self.look_at_space();
        while !self.shared.is_over() && self.wants_segment() {
            if self.is_full && !self.may_try() {
                return;
            }
            let number = SegmentNumber(self.prepared_through.0 + 1);
            let name = SegmentName {
                number,
                epoch: self.shared.epoch,
            };
            match prepare_segment(self.shared, name) {
                Ok(prepared) => {
                    self.prepared_through = number;
                    (self.shared.callbacks.on_prepared)();
                    self.shared.prepared.lock().push_back(prepared);
                    self.shared.pending.set_prepared(number);
                    self.shared.writer_signal.notify();
                    self.no_space_at = None;
                    self.looked_at = None;
                    self.look_at_space();
                }
                Err(error) if is_no_space(&error) => {
                    self.no_space_at = Some(self.shared.clock.now());
                    self.set_full(true, 0);
                    return;
                }
                Err(error) => {
                    self.shared.fail_io("prepare", name, &error);
                    return;
                }
            }
        }
    }

    fn wants_segment(&self) -> bool {
        let filled = self.shared.pending.segment();
        if self.shared.is_draining.load(Ordering::Acquire) {
            self.prepared_through < filled
        } else {
            self.prepared_through <= filled
        }
    }

    /// While the directory is full: there is space for just this segment, and either the journal
    /// waits for it or somebody may have made space since the last try.
    fn may_try(&self) -> bool {
        let now = self.shared.clock.now();
        let is_again = self.no_space_at.is_some_and(|at| now >= at + FULL_POLL);
        let is_first = self.no_space_at.is_none();
        let is_awaited = self.prepared_through <= self.shared.pending.segment();
        let free = self.shared.disk.free_bytes().unwrap_or(0);
        let segment = u64::from(self.shared.options.segment_bytes);
        (is_again || is_first && is_awaited) && free >= segment + self.checkpoint_estimate()
    }

    /// Bytes of the next checkpoint, about.
    fn checkpoint_estimate(&self) -> u64 {
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
        let wanted = segments + self.checkpoint_estimate();
        self.set_full(free < wanted || self.no_space_at.is_some(), free);
    }

    fn set_full(&mut self, is_full: bool, free_bytes: u64) {
        self.is_full = is_full;
        let was_full = self.shared.pending.set_space(is_full, free_bytes);
        if is_full && !was_full {
            warn!(
                free_bytes,
                "The journal directory is full; messages are refused."
            );
        } else if was_full && !is_full {
            info!(free_bytes, "The journal directory has space again.");
        }
    }

    fn wants_checkpoint(&self) -> bool {
        let shared = self.shared;
        let bytes = shared.bytes_since_checkpoint.load(Ordering::Acquire);
        let now = shared.clock.now();
        if self
            .checkpoint_failed_at
            .is_some_and(|at| now < at + FULL_POLL)
        {
            return false;
        }
        let is_due = bytes >= shared.options.checkpoint_bytes;
        let is_needed =
            self.is_full && bytes > 0 && shared.clock.now() >= self.checkpoint_at + FULL_CHECKPOINT;
        (is_due || is_needed) && !shared.is_draining.load(Ordering::Acquire)
    }

    fn checkpoint(&mut self) {
        let shared = self.shared;
        self.checkpoint_at = shared.clock.now();
        let bytes = shared.bytes_since_checkpoint.swap(0, Ordering::AcqRel);
        match self.try_checkpoint() {
            Ok(()) => {
                self.may_remove = true;
                self.checkpoint_failed_at = None;
            }
            Err(Stop::Over) => {}
            Err(Stop::Io(error)) => {
                // It stays due; the next try comes with the next look.
                shared
                    .bytes_since_checkpoint
                    .fetch_add(bytes, Ordering::AcqRel);
                warn!(%error, "Cannot write a checkpoint; trying again.");
                self.remove_temporary_files();
            }
        }
    }

    fn try_checkpoint(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        let start = shared.pending.replay_start();
        let temporary = CheckpointName {
            lsn: start.lsn,
            epoch: shared.epoch,
        }
        .temporary_path();
        match shared.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = shared.disk.open(&temporary, Open::CreateNew)?;
        let started = shared.clock.now();
        let (mut buffer, mut offset) = (Vec::with_capacity(WRITE_BYTES), 0);
        let time_ms = shared.clock.wall_ms();
        let mut sink = |bytes: &[u8]| {
            buffer.extend_from_slice(bytes);
            if buffer.len() < WRITE_BYTES {
                return Ok(());
            }
            file.write_all_at(&buffer, offset)?;
            offset += buffer.len() as u64;
            buffer.clear();
            self.prepare();
            if shared.is_over() {
                Err(io::Error::other("the tenure is over"))
            } else {
                Ok(())
            }
        };
        let cut = || shared.pending.appended();
        let end = write_checkpoint(&shared.state, start, time_ms, &cut, &mut sink)?;
        file.write_all_at(&buffer, offset)?;
        offset += buffer.len() as u64;
        file.sync()?;
        drop(file);
        self.wait_released(end)?;
        let name = CheckpointName {
            lsn: end,
            epoch: shared.epoch,
        };
        shared.disk.rename(&temporary, &name.path())?;
        shared.disk.sync_directory(CHECKPOINT_DIRECTORY.as_ref())?;
        self.checkpoint_end = end;
        let took_ms = (shared.clock.now() - started).as_millis() as u64;
        info!(end = %end, replay_from = %start.lsn, bytes = offset, took_ms, "Wrote a checkpoint.");
        self.remove_old_checkpoints()?;
        Ok(())
    }

    /// Waits until everything up to `lsn` is released and the gate is open: then whatever follows
    /// is in the next active's view, however late it is performed.
    fn wait_released(&mut self, lsn: Lsn) -> Result<(), Stop> {
        let shared = self.shared;
        loop {
            if shared.is_over() {
                return Err(Stop::Over);
            }
            shared.keeper_waits_for.store(lsn.0, Ordering::Release);
            if shared.watermark.released() >= lsn && shared.gate.is_open() {
                shared.keeper_waits_for.store(u64::MAX, Ordering::Release);
                return Ok(());
            }
            if shared.is_writer_done.load(Ordering::Acquire) && shared.watermark.released() < lsn {
                return Err(Stop::Over);
            }
            self.prepare();
            shared.keeper_signal.wait(Some(Duration::from_millis(100)));
        }
    }

    fn remove_old_checkpoints(&self) -> io::Result<()> {
        for name in survey(&*self.shared.disk)?
            .checkpoints
            .iter()
            .skip(CHECKPOINTS_KEPT)
        {
            self.shared.disk.remove(&name.path())?;
        }
        Ok(())
    }

    fn remove_temporary_files(&self) {
        let disk = &self.shared.disk;
        let names = disk.list(CHECKPOINT_DIRECTORY.as_ref()).unwrap_or_default();
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            let path = std::path::Path::new(CHECKPOINT_DIRECTORY).join(name);
            if let Err(error) = disk.remove(&path) {
                warn!(path = %path.display(), %error, "Cannot remove an unfinished checkpoint.");
            }
        }
    }

    /// Removes the segments that no pending message is in and that no kept checkpoint replays.
    fn remove_dead_segments(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        let Some(start) = self.oldest_replay_start()? else {
            return Ok(());
        };
        let names =
            list_segments(&*shared.disk).map_err(|error| io::Error::other(error.to_string()))?;
        let is_before = |name: &&SegmentName| {
            name.epoch < start.epoch || (name.epoch == start.epoch && name.number < start.segment)
        };
        let dead: Vec<_> = {
            let segments = shared.state.segments.lock();
            names
                .iter()
                .filter(is_before)
                .filter(|name| !segments.is_live(**name))
                .collect()
        };
        if dead.is_empty() {
            return Ok(());
        }
        // What made them dead must be released before they go.
        self.wait_released(shared.pending.appended())?;
        for name in dead {
            shared.readers.lock().retain(|(open, _)| open != name);
            match shared.disk.remove(&name.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {
                    let path = name.path();
                    info!(segment = %path.display(), "Removed a segment without pending messages.");
                }
            }
            self.prepare();
            self.wait_released(Lsn(0))?;
        }
        shared.disk.sync_directory(JOURNAL_DIRECTORY.as_ref())?;
        Ok(())
    }

    /// Where the oldest kept checkpoint replays from; None while there are not enough.
    fn oldest_replay_start(&self) -> io::Result<Option<ReplayStart>> {
        let checkpoints = survey(&*self.shared.disk)?.checkpoints;
        let Some(oldest) = checkpoints.get(CHECKPOINTS_KEPT - 1) else {
            return Ok(None);
        };
        read_start(&*self.shared.disk, *oldest)
    }

    /// A last checkpoint, if that is quick.
    fn finish(&mut self) {
        let shared = self.shared;
        let entries: usize = shared
            .state
            .backlogs()
            .iter()
            .map(|backlog| backlog.len())
            .sum();
        let is_new = shared.watermark.released() == shared.pending.appended()
            && shared.pending.appended() > self.checkpoint_end;
        if is_new && entries <= LAST_CHECKPOINT_ENTRIES && !self.is_full {
            self.checkpoint();
        }
    }
}
