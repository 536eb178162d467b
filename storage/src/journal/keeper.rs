//! The keeper: prepares segments ahead, writes checkpoints, moves pending messages out of sparse
//! segments, removes what nobody needs.
//!
//! Whatever takes it long asks in between whether the journal wants a segment.

mod full;
mod mover;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use self::space::{Ages, Full, Look};
use super::shared::{Shared, written_place};
use crate::chain::{CHECKPOINT_DIRECTORY, CheckpointName, JOURNAL_DIRECTORY, SegmentName, survey};
use crate::checkpoint::{ReplayStart, is_whole, read_start, write_checkpoint};
use crate::disk::Open;
use crate::position::{Lsn, SegmentNumber};
use crate::spare::is_no_space;

/// Time between two looks at the free space: while there is enough, and while there is not.
const SPACE_POLL: Duration = Duration::from_secs(5);
const FULL_POLL: Duration = Duration::from_secs(1);
/// Segments whose length is asked for in one look.
const LENGTHS_PER_LOOK: usize = 16;
/// A last checkpoint of more entries would delay a planned end.
const LAST_CHECKPOINT_ENTRIES: usize = 200_000;
/// Checkpoints that are kept: the second is there for the day on which the first cannot be read.
const CHECKPOINTS_KEPT: usize = 2;
const WRITE_BYTES: usize = 1 << 20;
/// Time between two looks at what the space is used for, while there is something to win.
const LOOK_POLL: Duration = Duration::from_millis(500);
/// A checkpoint comes not before so many times the bytes of the last one were written to the
/// journal, however much that is: so checkpoints of a large state take a quarter of the writing.
const CHECKPOINT_FACTOR: u64 = 4;
/// After a checkpoint that space asked for, the next such one waits so many times as long as it took.
const CHECKPOINT_REST: u32 = 4;
/// How long preparing a segment is taken to last before one was prepared.
const PREPARE_GUESS: Duration = Duration::from_millis(500);
/// A checkpoint of so many bytes does not hold up the beginning of a tenure.
const QUICK_CHECKPOINT_BYTES: u64 = 4 << 20;
/// Smaller segments are prepared at once.
const LATE_FROM: u64 = 1 << 20;
/// The next segment is begun so many times as long before it is needed as it takes.
const PREPARE_LEAD: u32 = 4;

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
    /// Messages are refused.
    is_full: bool,
    /// The directory tells of too few free bytes.
    is_short: bool,
    looked_at: Option<Duration>,
    /// When preparing a segment last failed for lack of space, whatever free space was told.
    no_space_at: Option<Duration>,
    /// When the last checkpoint was tried, and its end if it came to that.
    checkpoint_at: Duration,
    checkpoint_end: Lsn,
    checkpoint_failed_at: Option<Duration>,
    /// Checkpoints since the last record that was anybody's: dead segments go with the second.
    idle_checkpoints: usize,
    /// The last record that only made a second checkpoint possible.
    nudge: Lsn,
    /// Free bytes when it looked last, and how many of them are not wanted.
    free: u64,
    surplus: u64,
    /// When the spare files were last looked at.
    spare_at: Option<Duration>,
    /// How long the last checkpoint took.
    checkpoint_took: Duration,
    /// The space was looked at: when, and while which segment was being written.
    space_looked_at: Option<(Duration, SegmentNumber)>,
    /// What was seen then.
    look: Look,
    ages: Ages,
    /// Bytes of segments as far as they are known: those made while space was short are small.
    lengths: BTreeMap<SegmentName, u64>,
    /// Replay starts of checkpoints that were read, and their bytes.
    starts: BTreeMap<CheckpointName, (ReplayStart, u64)>,
    /// How long the last moving took.
    move_took: Duration,
    /// Moving met a full directory.
    move_failed_at: Option<Duration>,
    /// Segments with a message that cannot be read: they stay.
    unreadable: BTreeSet<SegmentName>,
    filling: Filling,
    prepare_took: Duration,
    /// What former tenures left is still to be looked at: see [`Keeper::begin`].
    is_beginning: bool,
}

/// The segment being filled.
#[derive(Clone, Copy)]
struct Filling {
    segment: SegmentNumber,
    /// When it was begun.
    since: Duration,
    /// What had moved in this tenure until then.
    moved_bytes: u64,
}

/// Works until the tenure ends. `first` is the tenure's first segment.
pub(crate) fn run(shared: &Shared, first: SegmentNumber) {
    let mut keeper = Keeper {
        shared,
        prepared_through: first,
        is_full: false,
        is_short: false,
        looked_at: None,
        no_space_at: None,
        checkpoint_at: shared.clock.now(),
        checkpoint_end: Lsn(0),
        checkpoint_failed_at: None,
        idle_checkpoints: 0,
        nudge: Lsn(0),
        free: 0,
        surplus: 0,
        spare_at: None,
        checkpoint_took: Duration::ZERO,
        space_looked_at: None,
        look: Look::default(),
        ages: Ages::default(),
        lengths: BTreeMap::new(),
        starts: BTreeMap::new(),
        move_took: Duration::ZERO,
        move_failed_at: None,
        unreadable: BTreeSet::new(),
        filling: Filling {
            segment: first,
            since: shared.clock.now(),
            moved_bytes: 0,
        },
        prepare_took: PREPARE_GUESS,
        is_beginning: true,
    };
    keeper.remove_temporary_files();
    keeper.begin();
    while !shared.is_over() {
        keeper.prepare();
        if shared.is_draining.load(Ordering::Acquire)
            && shared.is_writer_done.load(Ordering::Acquire)
        {
            keeper.finish();
            return;
        }
        keeper.keep_spare();
        if keeper.wants_checkpoint() {
            keeper.checkpoint();
        }
        if !shared.is_over() {
            keeper.keep_space();
        }
        // Waits inside of the work may have used up the signal for what came meanwhile.
        if !keeper.has_work() {
            shared
                .keeper_signal
                .wait(Some(keeper.pause().min(keeper.checkpoint_rest())));
        }
    }
}

impl Keeper<'_> {
    /// Takes back what the former tenure had prepared, before this one takes space for its own.
    fn begin(&mut self) {
        self.look_at_use();
        if let Err(Stop::Io(error)) = self.remove_unused_segments() {
            warn!(%error, "Cannot remove segments that were never used; trying again.");
        }
        for _ in 0..CHECKPOINTS_KEPT {
            let is_quick = self.look.checkpoint_cost <= QUICK_CHECKPOINT_BYTES;
            if !is_quick || !self.look.is_checkpoint_worthwhile() || self.shared.is_over() {
                break;
            }
            self.checkpoint();
            self.look_at_use();
        }
        if let Err(Stop::Io(error)) = self.remove_dead_segments() {
            warn!(%error, "Cannot remove old segments; trying again.");
        }
        self.is_beginning = false;
    }

    fn has_work(&self) -> bool {
        let shared = self.shared;
        let is_last = shared.is_draining.load(Ordering::Acquire)
            && shared.is_writer_done.load(Ordering::Acquire);
        is_last || self.wants_checkpoint() || (self.wants_segment() && !self.is_full)
    }

    /// Time between two looks at what the space is used for.
    fn pause(&self) -> Duration {
        let is_worth_a_look = || {
            let look = &self.look;
            look.is_tight()
                || look.is_cramped()
                || !look.victims(&self.ages, Duration::MAX, false).is_empty()
        };
        if is_worth_a_look() {
            LOOK_POLL
        } else if self.is_full || self.checkpoint_failed_at.is_some() {
            FULL_POLL
        } else {
            SPACE_POLL
        }
    }

    /// Time until a checkpoint may follow the last one.
    fn checkpoint_rest(&self) -> Duration {
        let left = self.rested_at().saturating_sub(self.shared.clock.now());
        match self.look.is_checkpoint_worthwhile() && !left.is_zero() {
            true => left,
            false => Duration::MAX,
        }
    }

    /// Messages have to move now: together with them the segment being filled is full enough for the
    /// next one, which would be one too many.
    fn is_pressing(&self) -> bool {
        let look = &self.look;
        look.is_tight()
            || look.is_cramped() && self.shared.pending.filled_bytes() >= self.press_at()
    }

    /// How full the segment being filled is when that becomes pressing: moving takes its time, and so do
    /// two checkpoints, without which nothing goes.
    fn press_at(&self) -> u64 {
        let checkpoints = self.checkpoint_took * (1 + CHECKPOINT_REST) * CHECKPOINTS_KEPT as u32;
        let ahead = self.bytes_in(self.move_took + checkpoints) + self.look.movable_bytes();
        self.prepare_at().saturating_sub(ahead)
    }

    fn wants_segment(&self) -> bool {
        let filled = self.shared.pending.segment();
        if self.shared.is_draining.load(Ordering::Acquire) || self.prepared_through < filled {
            return self.prepared_through < filled;
        }
        self.prepared_through == filled
            && (self.is_full || self.shared.pending.filled_bytes() >= self.prepare_at())
    }

    /// How full the segment being filled is when the next one is begun: as late as the time allows,
    /// because a segment that waits takes space, too.
    fn prepare_at(&self) -> u64 {
        let pending = &self.shared.pending;
        let segment = u64::from(self.shared.options.segment_bytes);
        if self.is_beginning {
            return segment;
        }
        if segment < LATE_FROM
            || pending.is_makeshift()
            || self.filling.segment != pending.segment()
        {
            return 0;
        }
        let ahead = self.bytes_in(self.prepare_took * PREPARE_LEAD);
        let latest = match self.look.is_cramped() {
            true => segment / 8 * 7,
            false => segment / 4 * 3,
        };
        segment.saturating_sub(ahead).clamp(segment / 4, latest)
    }

    /// What comes in such a time, at the rate of the segment being filled until now. What moves there is
    /// no part of the rate: it ends by itself.
    fn bytes_in(&self, time: Duration) -> u64 {
        let Filling {
            since, moved_bytes, ..
        } = self.filling;
        let moved = self.moved_bytes().saturating_sub(moved_bytes);
        let came = self.shared.pending.filled_bytes().saturating_sub(moved);
        let passed = self.shared.clock.now().saturating_sub(since);
        came.saturating_mul(time.as_millis() as u64) / (passed.as_millis() as u64).max(1)
    }

    fn moved_bytes(&self) -> u64 {
        self.shared.space.moved_bytes.load(Ordering::Relaxed)
    }

    fn note_filling(&mut self) {
        let filled = self.shared.pending.segment();
        if self.filling.segment != filled {
            self.filling = Filling {
                segment: filled,
                since: self.shared.clock.now(),
                moved_bytes: self.moved_bytes(),
            };
        }
        // The journal's thread wakes this one when that much is written.
        let segment = u64::from(self.shared.options.segment_bytes);
        let (press_at, prepare_at) = (self.press_at(), (segment / 4).max(self.prepare_at()));
        let wake_at = if self.shared.written_segment() < filled {
            // From then on the one before can be looked at as a full one.
            written_place(filled, 0)
        } else if self.prepared_through > filled {
            written_place(SegmentNumber(filled.0 + 1), 0)
        } else if self.look.is_cramped() && self.shared.pending.filled_bytes() < press_at {
            written_place(filled, press_at)
        } else {
            written_place(filled, prepare_at)
        };
        self.shared.wake_keeper_at.store(wake_at, Ordering::Release);
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
        let is_due = bytes >= self.checkpoint_interval();
        let is_needed = self.is_full
            && (self.has_news() || self.idle_checkpoints < CHECKPOINTS_KEPT)
            && now >= self.checkpoint_at + self.full_pause();
        let is_worthwhile = self.look.is_checkpoint_worthwhile() && now >= self.rested_at();
        (is_due || is_needed || is_worthwhile) && !shared.is_draining.load(Ordering::Acquire)
    }

    /// When a checkpoint that space asks for may follow the last one.
    fn rested_at(&self) -> Duration {
        self.checkpoint_at + self.checkpoint_took * (1 + CHECKPOINT_REST)
    }

    /// Journal bytes between two checkpoints that nothing but the time of recovery asks for.
    fn checkpoint_interval(&self) -> u64 {
        let options = &self.shared.options;
        options
            .checkpoint_bytes
            .max(CHECKPOINT_FACTOR * self.look.checkpoint_cost)
    }

    fn checkpoint(&mut self) {
        let shared = self.shared;
        self.checkpoint_at = shared.clock.now();
        let bytes = shared.bytes_since_checkpoint.swap(0, Ordering::AcqRel);
        if self.has_news() {
            self.idle_checkpoints = 0;
        } else {
            self.nudge();
        }
        match self.try_checkpoint() {
            Ok(()) => {
                self.idle_checkpoints += 1;
                self.checkpoint_failed_at = None;
                self.looked_at = None;
                self.checkpoint_took = shared.clock.now().saturating_sub(self.checkpoint_at);
                // What it set free goes with the next look, which comes at once.
                self.space_looked_at = None;
            }
            Err(Stop::Over) => {}
            Err(Stop::Io(error)) => {
                // It stays due; the next try comes with the next look.
                shared
                    .bytes_since_checkpoint
                    .fetch_add(bytes, Ordering::AcqRel);
                warn!(%error, "Cannot write a checkpoint; trying again.");
                self.remove_temporary_files();
                let has_made_room = is_no_space(&error) && self.make_room();
                self.checkpoint_failed_at = (!has_made_room).then(|| shared.clock.now());
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
        let end = write_checkpoint(&shared.state, &shared.keys, start, time_ms, &cut, &mut sink)?;
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
        self.starts.insert(name, (start, offset));
        shared.space.checkpoints.fetch_add(1, Ordering::Relaxed);
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

    /// Looks what the space is used for, if it is time, and does what is worth doing.
    fn keep_space(&mut self) {
        let now = self.shared.clock.now();
        let written = self.shared.written_segment();
        let pause = self.pause();
        let is_pressing =
            self.is_pressing() && !self.look.victims(&self.ages, now, true).is_empty();
        let is_fresh =
            |(at, segment): &(Duration, SegmentNumber)| *segment == written && now < *at + pause;
        if !is_pressing && self.space_looked_at.as_ref().is_some_and(is_fresh) {
            return;
        }
        self.look_at_use();
        if let Err(Stop::Io(error)) = self.remove_dead_segments() {
            warn!(%error, "Cannot remove old segments; trying again.");
        }
        let is_draining = self.shared.is_draining.load(Ordering::Acquire);
        let has_failed = |at: Duration| now < at + FULL_POLL;
        if is_draining || self.move_failed_at.is_some_and(has_failed) {
            return;
        }
        self.move_failed_at = None;
        let is_pressing = self.is_pressing();
        let mut victims = self.look.victims(&self.ages, now, is_pressing);
        victims.retain(|victim| !self.unreadable.contains(&victim.name));
        if !victims.is_empty() {
            // An error is the end of the tenure, which the loop sees by itself.
            let _ = self.move_out_of(&victims, is_pressing);
            self.look_at_use();
        }
    }

    fn look_at_use(&mut self) {
        let now = self.shared.clock.now();
        let written = self.shared.written_segment();
        match self.try_look_at_use() {
            Ok(look) => {
                self.ages.note(&look, now);
                self.shared.space.note(&look);
                self.look = look;
            }
            Err(error) => {
                warn!(%error, "Cannot look what the journal directory's space is used for.");
            }
        }
        self.space_looked_at = Some((now, written));
    }

    fn try_look_at_use(&mut self) -> io::Result<Look> {
        let shared = self.shared;
        let seen = survey(&*shared.disk)?;
        let mut starts = Vec::new();
        let (mut checkpoint_bytes, mut known) = (0, BTreeMap::new());
        for name in &seen.checkpoints {
            let start = match self.starts.get(name) {
                Some(start) => *start,
                None => match self.read_checkpoint_start(*name) {
                    Ok(start) => start,
                    // Nobody can tell what it needs: it goes with the next ones.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            known.insert(*name, start);
            starts.push(start.0);
            checkpoint_bytes += start.1;
        }
        self.starts = known;
        starts.truncate(CHECKPOINTS_KEPT);
        self.look_at_lengths(&seen.segments);
        let written = shared.written_segment();
        let segment_bytes = u64::from(shared.options.segment_bytes);
        let segments = shared.state.segments.lock();
        let live: BTreeMap<SegmentName, u64> = segments
            .live()
            .map(|live| (live.segment, live.bytes))
            .collect();
        let (mut full, mut spare_bytes, mut spare_segments) = (Vec::new(), 0, 0);
        for name in seen.segments {
            let (live, is_live) = (live.get(&name).copied(), segments.is_live(name));
            let live = live.unwrap_or(0);
            let length = self.lengths.get(&name).copied();
            let bytes = length.unwrap_or(segment_bytes).max(live);
            if name.epoch == shared.epoch && name.number >= written {
                spare_bytes += bytes;
                spare_segments += 1;
            } else {
                full.push(Full {
                    name,
                    bytes,
                    live,
                    is_live,
                });
            }
        }
        let live_bytes = segments.bytes();
        drop(segments);
        Ok(Look {
            full,
            spare_bytes,
            spare_segments,
            segment_bytes,
            live_bytes,
            checkpoint_bytes,
            checkpoint_cost: self.checkpoint_estimate(),
            starts,
        })
    }

    /// Asks for the lengths of some segments that it did not know: not of all at once, because a new
    /// tenure has no time for that.
    fn look_at_lengths(&mut self, segments: &[SegmentName]) {
        let disk = &*self.shared.disk;
        let mut known = std::mem::take(&mut self.lengths);
        let mut asked = 0;
        for name in segments {
            let mut length = known.remove(name);
            if length.is_none() && asked < LENGTHS_PER_LOOK {
                asked += 1;
                let file = disk.open(&name.path(), Open::Read);
                // What cannot be asked for now is taken to have the usual length.
                length = file.and_then(|file| file.length()).ok();
            }
            if let Some(length) = length {
                self.lengths.insert(*name, length);
            }
        }
    }

    /// Where a checkpoint replays from, and its bytes. One that cannot be read is taken to need
    /// everything.
    fn read_checkpoint_start(&self, name: CheckpointName) -> io::Result<(ReplayStart, u64)> {
        let disk = &*self.shared.disk;
        let bytes = disk.open(&name.path(), crate::disk::Open::Read)?.length()?;
        let unknown = ReplayStart {
            epoch: crate::position::Epoch(0),
            segment: SegmentNumber(0),
            offset: 0,
            lsn: Lsn(0),
        };
        Ok((read_start(disk, name)?.unwrap_or(unknown), bytes))
    }

    /// The only checkpoint that is left can be read.
    fn is_only_one_whole(&self) -> io::Result<bool> {
        match self.starts.keys().next_back() {
            Some(name) => is_whole(&*self.shared.disk, *name),
            None => Ok(false),
        }
    }

    /// Removes the segments that no pending message is in and that no kept checkpoint replays.
    fn remove_dead_segments(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        // None while there are not enough. A full directory may have had to give up the second.
        let starts = &self.look.starts;
        let second = starts.get(CHECKPOINTS_KEPT - 1);
        let only = starts.first().filter(|_| self.is_full);
        let Some(oldest) = second.or(only).copied() else {
            return Ok(());
        };
        let dead = self.look.removable(oldest);
        if dead.is_empty() || second.is_none() && !self.is_only_one_whole()? {
            return Ok(());
        }
        // What made them dead must be released before they go.
        self.wait_released(shared.pending.appended())?;
        self.remove_segments(dead)
    }

    /// Removes what former tenures had prepared: it lies behind the end that this tenure's seal gave
    /// them. Once that is released it is the end for every later active, too; before, one that takes
    /// over from this broker may have read more, and may need it.
    fn remove_unused_segments(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        let last = shared.state.tenures.lock().last().copied();
        let Some(own) = last.filter(|tenure| tenure.epoch == shared.epoch) else {
            return Ok(());
        };
        let names = self.look.full.iter().map(|full| full.name);
        let is_unused =
            |name: &SegmentName| name.epoch < own.epoch && name.number > own.seal.segment;
        let unused: Vec<SegmentName> = names.filter(is_unused).collect();
        if unused.is_empty() {
            return Ok(());
        }
        self.wait_released(own.lsn)?;
        self.remove_segments(unused)
    }

    fn remove_segments(&mut self, names: Vec<SegmentName>) -> Result<(), Stop> {
        let shared = self.shared;
        for name in names {
            shared.readers.lock().retain(|(open, _)| *open != name);
            match shared.disk.remove(&name.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {
                    let path = name.path();
                    info!(segment = %path.display(), "Removed a segment without pending messages.");
                }
            }
            self.look.full.retain(|full| full.name != name);
            shared
                .space
                .removed_segments
                .fetch_add(1, Ordering::Relaxed);
            self.prepare();
            self.wait_released(Lsn(0))?;
        }
        shared.disk.sync_directory(JOURNAL_DIRECTORY.as_ref())?;
        shared.space.note(&self.look);
        Ok(())
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
