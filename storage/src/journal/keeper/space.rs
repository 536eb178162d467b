//! What the directory's space is used for, and what is worth doing about it: plain arithmetic.
//!
//! The promise is: all files together take at most twice the bytes of pending messages plus two
//! segments. The two segments are the one being filled and the next one. So the full segments and
//! the checkpoints must stay below twice what is live; dead segments go with checkpoints, and sparse
//! ones by moving the rest of them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::CHECKPOINTS_KEPT;
use crate::chain::SegmentName;
use crate::checkpoint::ReplayStart;
use crate::journal::usage::SpaceCounters;
use crate::position::SegmentNumber;

/// Messages begin to move when full segments and checkpoints take so much more than what is live,
/// and until they take so much: in percent.
const BEGIN_PERCENT: u64 = 160;
const ENOUGH_PERCENT: u64 = 140;
/// Moving more than this out of a segment frees too little: in percent of the segment.
const WORTH_PERCENT: u64 = 75;
/// A segment with so little in it is emptied at once; others when nothing goes by itself any more.
const SPARSE_PERCENT: u64 = 15;
/// A segment loses messages by itself while it loses such a part of itself in [`SETTLED_AFTER`].
const SETTLED_PART: u64 = 64;
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// A checkpoint is written when it frees so many times what it takes; when space is short, once.
const GAIN_FACTOR: u64 = 4;

/// A segment that nothing is added to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) name: SegmentName,
    /// On disk.
    pub(super) bytes: u64,
    /// Of pending messages.
    pub(super) live: u64,
    /// Somebody may want to read it.
    pub(super) is_live: bool,
}

impl Full {
    fn is_worth_moving(&self) -> bool {
        self.is_live && self.live * 100 <= self.bytes * WORTH_PERCENT
    }
}

/// One look at the directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) full: Vec<Full>,
    /// The segment being filled and those prepared.
    pub(super) spare_bytes: u64,
    pub(super) spare_segments: u64,
    pub(super) segment_bytes: u64,
    /// Of all pending messages, each counted once.
    pub(super) live_bytes: u64,
    /// Of the files that are there.
    pub(super) checkpoint_bytes: u64,
    /// What another checkpoint would take.
    pub(super) checkpoint_cost: u64,
    /// Where the checkpoints that are kept replay from, newest first.
    pub(super) starts: Vec<ReplayStart>,
}

impl Look {
    /// All files together.
    pub(super) fn disk_bytes(&self) -> u64 {
        let full: u64 = self.full.iter().map(|full| full.bytes).sum();
        full + self.spare_bytes + self.checkpoint_bytes
    }

    /// What was promised to be enough.
    fn allowed_bytes(&self) -> u64 {
        2 * self.live_bytes + 2 * self.segment_bytes
    }

    /// The promise is nearly broken.
    pub(super) fn is_tight(&self) -> bool {
        self.disk_bytes() + self.segment_bytes / 4 > self.allowed_bytes()
    }

    /// The next segment would break the promise: something that is full has to go first.
    pub(super) fn is_cramped(&self) -> bool {
        !self.full.is_empty()
            && self.spare_segments < 2
            && self.disk_bytes() + self.segment_bytes > self.allowed_bytes()
    }

    /// What is live in segments that are worth moving it out of.
    pub(super) fn movable_bytes(&self) -> u64 {
        let worth = self.full.iter().filter(|full| full.is_worth_moving());
        worth.map(|full| full.live).sum()
    }

    fn is_before(name: SegmentName, start: ReplayStart) -> bool {
        name.epoch < start.epoch || (name.epoch == start.epoch && name.number < start.segment)
    }

    /// Dead segments that are still there for a checkpoint's sake, as far as they are counted.
    fn dead_bytes(&self, is_counted: impl Fn(SegmentName) -> bool) -> u64 {
        let oldest = self.starts.get(CHECKPOINTS_KEPT - 1).copied();
        let is_free = |name| oldest.is_some_and(|oldest| Self::is_before(name, oldest));
        let dead = self.full.iter().filter(|full| !full.is_live);
        let dead = dead.filter(|full| !is_free(full.name) && is_counted(full.name));
        dead.map(|full| full.bytes).sum()
    }

    /// The segments that can go now: dead, and before `oldest`, where the oldest checkpoint that is
    /// kept replays from.
    pub(super) fn removable(&self, oldest: ReplayStart) -> Vec<SegmentName> {
        let dead = self.full.iter().filter(|full| !full.is_live);
        let names = dead.map(|full| full.name);
        names
            .filter(|name| Self::is_before(*name, oldest))
            .collect()
    }

    /// Whether the space that a checkpoint sets free, or this one and the next, is worth its bytes.
    pub(super) fn is_checkpoint_worthwhile(&self) -> bool {
        let newest = self.starts.first().copied();
        let with_one =
            self.dead_bytes(|name| newest.is_some_and(|newest| Self::is_before(name, newest)));
        let with_two = self.dead_bytes(|_| true);
        let factor = if self.is_tight() { 1 } else { GAIN_FACTOR };
        let least = |checkpoints: u64| {
            (checkpoints * factor * self.checkpoint_cost).max(self.segment_bytes)
        };
        with_two > 0 && (with_one >= least(1) || with_two >= least(2))
    }

    /// The segments that live messages are to be moved out of, sparsest first. If it `is_pressing`, also
    /// those that lose messages by themselves.
    pub(super) fn victims(&self, ages: &Ages, now: Duration, is_pressing: bool) -> Vec<Full> {
        let in_use = self.full.iter().filter(|full| full.is_live);
        let mut used = in_use.map(|full| full.bytes).sum::<u64>() + self.checkpoint_bytes;
        if used * 100 <= self.live_bytes * BEGIN_PERCENT {
            return Vec::new();
        }
        let is_candidate = |full: &&Full| {
            full.is_worth_moving()
                && (is_pressing
                    || full.live * 100 <= full.bytes * SPARSE_PERCENT
                    || ages.is_settled(full.name.number, now))
        };
        let mut candidates: Vec<Full> = self.full.iter().filter(is_candidate).copied().collect();
        candidates.sort_by_key(|full| (full.live * 1000 / full.bytes.max(1), full.name));
        let mut victims = Vec::new();
        for full in candidates {
            if used * 100 <= self.live_bytes * ENOUGH_PERCENT {
                break;
            }
            // What is moved takes its place again at the tail.
            used = used.saturating_sub(full.bytes - full.live.min(full.bytes));
            victims.push(full);
        }
        victims
    }
}

impl SpaceCounters {
    pub(super) fn note(&self, look: &Look) {
        let segments = look.full.len() as u64 + look.spare_segments;
        self.disk_bytes.store(look.disk_bytes(), Ordering::Relaxed);
        self.segments.store(segments, Ordering::Relaxed);
        self.checkpoint_bytes
            .store(look.checkpoint_bytes, Ordering::Relaxed);
    }
}

/// Since when segments have been as live as they are, nearly.
#[derive(Debug, Default)]
pub(super) struct Ages {
    since: BTreeMap<SegmentNumber, (u64, Duration)>,
}

impl Ages {
    pub(super) fn note(&mut self, look: &Look, now: Duration) {
        let mut before = std::mem::take(&mut self.since);
        for full in look.full.iter().filter(|full| full.is_live) {
            let number = full.name.number;
            let known = before.remove(&number).filter(|(live, _)| {
                live.saturating_sub(full.live) < (full.bytes / SETTLED_PART).max(1)
            });
            self.since.insert(number, known.unwrap_or((full.live, now)));
        }
    }

    fn is_settled(&self, number: SegmentNumber, now: Duration) -> bool {
        let since = self.since.get(&number);
        since.is_some_and(|(_, since)| now >= *since + SETTLED_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Lsn};

    const SEGMENT: u64 = 1000;

    fn full(number: u32, live: u64) -> Full {
        Full {
            name: SegmentName {
                number: SegmentNumber(number),
                epoch: Epoch(1),
            },
            bytes: SEGMENT,
            live,
            is_live: live > 0,
        }
    }

    fn look(live: &[u64]) -> Look {
        let numbers = 1..;
        Look {
            full: numbers
                .zip(live)
                .map(|(number, live)| full(number, *live))
                .collect(),
            spare_bytes: 2 * SEGMENT,
            segment_bytes: SEGMENT,
            live_bytes: live.iter().sum(),
            ..Look::default()
        }
    }

    fn start(segment: u32) -> ReplayStart {
        ReplayStart {
            epoch: Epoch(1),
            segment: SegmentNumber(segment),
            offset: 64,
            lsn: Lsn(1),
        }
    }

    fn numbers(victims: &[Full]) -> Vec<u32> {
        victims.iter().map(|full| full.name.number.0).collect()
    }

    #[test]
    fn messages_move_out_of_the_sparsest_segments_until_the_space_is_used_well() {
        let look = look(&[900, 5, 800, 1, 900, 700]);
        let (ages, now) = (Ages::default(), Duration::ZERO);
        assert_eq!(numbers(&look.victims(&ages, now, false)), [4, 2]);
    }

    #[test]
    fn nothing_moves_where_it_would_free_little() {
        let victims = |look: &Look| look.victims(&Ages::default(), Duration::ZERO, true);
        assert_eq!(victims(&look(&[760, 800, 900])), []);
        assert_eq!(victims(&look(&[0, 0])), []);
        // Little is wasted in all.
        let mut well_used = look(&[1]);
        well_used.live_bytes = 700;
        assert_eq!(victims(&well_used), []);
    }

    #[test]
    fn a_segment_that_empties_by_itself_is_left_alone_unless_that_is_pressing() {
        let mut ages = Ages::default();
        let mut look = look(&[400, 990, 400]);
        ages.note(&look, Duration::ZERO);
        assert!(look.victims(&ages, Duration::ZERO, false).is_empty());
        look.full[0].live = 300;
        let later = Duration::from_millis(1500);
        ages.note(&look, later);
        assert_eq!(numbers(&look.victims(&ages, later, false)), [3]);
        assert_eq!(numbers(&look.victims(&ages, later, true)), [1]);
    }

    #[test]
    fn one_segment_more_is_too_many_while_a_full_one_has_little_in_it() {
        let mut look = look(&[450]);
        look.spare_bytes = SEGMENT;
        look.spare_segments = 1;
        assert!(look.is_cramped() && !look.is_tight());
        assert_eq!(look.movable_bytes(), 450);
        look.spare_segments = 2;
        assert!(!look.is_cramped(), "it is there already");
        look.spare_segments = 1;
        look.live_bytes = 500;
        assert!(!look.is_cramped());
        look.live_bytes = 0;
        look.full.clear();
        assert!(!look.is_cramped());
    }

    #[test]
    fn a_checkpoint_is_written_when_it_frees_more_than_it_takes() {
        let mut look = look(&[0, 5000]);
        look.starts = vec![start(3), start(1)];
        assert!(look.is_checkpoint_worthwhile());
        assert_eq!(look.removable(start(1)), []);
        assert_eq!(look.removable(start(2)), [full(1, 0).name]);
        look.checkpoint_cost = 300;
        assert!(
            !look.is_checkpoint_worthwhile(),
            "four times 300 is more than a segment"
        );
        look.spare_bytes += 9000;
        assert!(look.is_tight() && look.is_checkpoint_worthwhile());
        look.starts = vec![start(1), start(1)];
        assert!(look.is_checkpoint_worthwhile(), "this one and the next");
        look.checkpoint_cost = 600;
        assert!(!look.is_checkpoint_worthwhile());
        look.checkpoint_cost = 0;
        look.starts = vec![start(2), start(2)];
        assert!(!look.is_checkpoint_worthwhile(), "it can go already");
    }
}
