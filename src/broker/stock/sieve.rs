//! The search for messages when consumers want different ones.
//!
//! Consumers that want the same share a *lane*: a cursor of its own through the backlog, and a short
//! window of messages that they want. So a message that nobody here wants is passed over once by each
//! lane and never stands in the way of others, and what is held in memory does not depend on how far
//! apart the wanted messages are. What is dispatched through one lane is taken out of all.
//!
//! While there are lanes, `ready` holds only what the backlog cannot tell: messages that are in memory
//! only, and those that came back with another count of deliveries than they would have by themselves.
//! `withdrawn` holds the positions in `ready` and in flight, which the lanes' cursors must skip. What
//! is consumed is taken out of it when it has grown: a position is never used again.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use storage::{Backlog, Entry, Location, Lsn, Position};

use super::super::Message;
use super::super::interest::Interest;
use super::{ALL_ORDERS, CACHED_AHEAD, Key, ORDERS, Place, RESERVED_AHEAD, Slot, Stock};

/// Below this many messages a lane looks for more ...
const LANE_LOW: usize = 32;
/// Bytes of records in the windows of all lanes together.
const LANES_BYTES: usize = 8 << 20;
/// Messages looked at in one go.
const RUN_MESSAGES: usize = 256;
/// Bytes of records looked at in one go; one message is looked at anyway.
const RUN_BYTES: usize = 1 << 20;
/// More messages than this are not examined under the queue's lock.
const JUDGED_AT_ONCE: usize = 64;
/// Entries that are skipped under the queue's lock before the search goes on another time.
const SKIPPED_AT_ONCE: usize = 1 << 14;
/// Below this `withdrawn` is left as it is.
const PRUNED_ABOVE: usize = 4096;

/// Which lane a consumer searches in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct LaneNumber(u64);

/// All lanes of a queue.
#[derive(Default)]
pub(super) struct Sieve {
    lanes: Vec<Lane>,
    last_number: u64,
    prune_above: usize,
}

struct Lane {
    number: LaneNumber,
    interest: Interest,
    /// The next sequence to look at, by order.
    cursors: [u64; ORDERS],
    /// Orders that may have messages at or beyond their cursor.
    unseen: u16,
    /// Messages behind the cursors, or in `ready`, that are still to be looked at.
    unjudged: BTreeSet<Key>,
    /// Wanted messages.
    window: BTreeMap<Key, Slot>,
    window_bytes: usize,
    /// A run from here on is being looked at elsewhere.
    looking_from: Option<Key>,
}

/// Messages to be looked at.
pub(in super::super) struct Run {
    lane: LaneNumber,
    interest: Interest,
    slots: Vec<Slot>,
}

/// Those of a [`Run`] that are wanted.
pub(in super::super) struct Judged {
    lane: LaneNumber,
    wanted: Vec<Slot>,
}

/// What a lane has for its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Candidate {
    /// This is the next message.
    Ready(Key),
    /// More has to be looked at first.
    Unknown,
    /// There is none.
    Nothing,
}

impl Run {
    /// Looks at the messages, with `read` for the bodies that are not in memory.
    pub(in super::super) fn judge(
        self,
        read: impl Fn(Position, Location) -> Option<Arc<Message>>,
    ) -> Judged {
        let mut wanted = Vec::new();
        for mut slot in self.slots {
            if let (None, Place::Journal { position, location }) = (&slot.message, slot.place) {
                slot.message = read(position, location);
            }
            let is_wanted =
                |message: &Arc<Message>| self.interest.wants(message, slot.redeliveries);
            if slot.message.as_ref().is_some_and(is_wanted) {
                wanted.push(slot);
            }
        }
        Judged {
            lane: self.lane,
            wanted,
        }
    }
}

impl Lane {
    fn has_passed(&self, position: Position) -> bool {
        position.sequence() < self.cursors[usize::from(position.order())]
    }

    fn insert(&mut self, slot: Slot) {
        self.window_bytes += bytes_of(&slot);
        if let Some(old) = self.window.insert(slot.key, slot) {
            self.window_bytes -= bytes_of(&old);
        }
    }

    fn remove(&mut self, key: Key) -> Option<Slot> {
        self.unjudged.remove(&key);
        let slot = self.window.remove(&key)?;
        self.window_bytes -= bytes_of(&slot);
        Some(slot)
    }

    fn candidate(&self) -> Candidate {
        let has_more = self.looking_from.is_some() || self.unseen != 0 || !self.unjudged.is_empty();
        let Some((&key, _)) = self.window.first_key_value() else {
            return if has_more {
                Candidate::Unknown
            } else {
                Candidate::Nothing
            };
        };
        let order = key.position.order();
        // Bits above that of `order`.
        let higher = !((2_u16 << order) - 1);
        let is_first = self.looking_from.is_none_or(|from| key < from)
            && self.unjudged.first().is_none_or(|first| key < *first)
            && self.unseen & higher == 0;
        if is_first {
            Candidate::Ready(key)
        } else {
            Candidate::Unknown
        }
    }
}

fn bytes_of(slot: &Slot) -> usize {
    match slot.place {
        Place::Journal { location, .. } => location.length as usize,
        Place::Memory => 0,
    }
}

impl Stock {
    /// Whether consumers want different messages.
    pub(in super::super) fn is_sifted(&self) -> bool {
        self.sieve.is_some()
    }

    /// All present consumers want everything: one window serves them all.
    pub(in super::super) fn unsift(&mut self) {
        if self.sieve.take().is_some() {
            self.cursors = [0; ORDERS];
            self.unseen |= self.used;
            self.has_pool = true;
        }
    }

    /// Makes a lane for each of these interests, which differ; those that have one keep it.
    /// `in_flight` are the positions that are not to be dispatched again. Answers the lanes'
    /// numbers.
    pub(in super::super) fn sift(
        &mut self,
        interests: Vec<Interest>,
        in_flight: impl Iterator<Item = Position>,
    ) -> Vec<LaneNumber> {
        if self.sieve.is_none() {
            self.sieve = Some(Box::default());
            self.has_pool = false;
            self.withdrawn.extend(in_flight);
            let here = self.ready.values().filter_map(Slot::position);
            self.withdrawn.extend(here);
        }
        let Some(sieve) = &mut self.sieve else {
            return Vec::new();
        };
        let mut old = mem::take(&mut sieve.lanes);
        for interest in interests {
            let known = old.iter().position(|lane| lane.interest == interest);
            let lane = match known {
                Some(index) => old.swap_remove(index),
                None => {
                    sieve.last_number += 1;
                    Lane {
                        number: LaneNumber(sieve.last_number),
                        interest,
                        cursors: [0; ORDERS],
                        unseen: self.used,
                        unjudged: self.ready.keys().copied().collect(),
                        window: BTreeMap::new(),
                        window_bytes: 0,
                        looking_from: None,
                    }
                }
            };
            sieve.lanes.push(lane);
        }
        let numbers = sieve.lanes.iter().map(|lane| lane.number).collect();
        if !old.is_empty() {
            // Nobody would drop what only those that are gone had not passed.
            self.cached.clear();
            self.cached_bytes = 0;
        }
        numbers
    }

    /// The lanes have more to look at.
    pub(super) fn look_again_in_lanes(&mut self) {
        if let Some(sieve) = &mut self.sieve {
            for lane in &mut sieve.lanes {
                lane.unseen |= self.used;
            }
        }
    }

    /// How far the nearest lane is from a position that is beyond all of them; None: there are no
    /// lanes.
    pub(super) fn lanes_distance(&self, position: Position) -> Option<u64> {
        let sieve = self.sieve.as_ref()?;
        let order = usize::from(position.order());
        let nearest = sieve.lanes.iter().map(|lane| lane.cursors[order]).max();
        Some(position.sequence().saturating_sub(nearest.unwrap_or(0)))
    }

    /// A message in `ready` is to be looked at by all lanes.
    pub(super) fn offer_to_lanes(&mut self, key: Key) {
        if let Some(sieve) = &mut self.sieve {
            for lane in &mut sieve.lanes {
                lane.unjudged.insert(key);
            }
        }
    }

    /// Takes back a message while there are lanes.
    pub(super) fn put_back_to_lanes(&mut self, slot: Slot) {
        let key = slot.key;
        let Place::Journal { position, .. } = slot.place else {
            self.insert(slot);
            return self.offer_to_lanes(key);
        };
        if slot.redeliveries == self.redeliveries_of(position) {
            // The backlog tells the same of it.
            self.withdrawn.remove(&position);
        } else {
            self.withdrawn.insert(position);
            self.insert(slot);
            return self.offer_to_lanes(key);
        }
        if let Some(sieve) = &mut self.sieve {
            for lane in &mut sieve.lanes {
                if lane.has_passed(position) {
                    lane.unjudged.insert(key);
                } else {
                    lane.unseen |= 1 << position.order();
                }
            }
        }
    }

    /// A message is not to be dispatched through any lane any more.
    pub(super) fn remove_from_lanes(&mut self, key: Key) {
        if let Some(sieve) = &mut self.sieve {
            for lane in &mut sieve.lanes {
                lane.remove(key);
            }
        }
    }

    /// Looks for messages for a lane whose consumers have room. Answers the position in the journal
    /// that has to be released before more can be seen, and what is to be looked at without the
    /// queue's lock.
    pub(in super::super) fn search(
        &mut self,
        number: LaneNumber,
        released: Lsn,
    ) -> (Option<Lsn>, Option<Run>) {
        let Some(sieve) = &mut self.sieve else {
            return (None, None);
        };
        let Some(index) = sieve.lanes.iter().position(|lane| lane.number == number) else {
            return (None, None);
        };
        let mut lanes = mem::take(&mut sieve.lanes);
        let found = self.search_in(&mut lanes, index, released);
        if let Some(sieve) = &mut self.sieve {
            sieve.lanes = lanes;
        }
        found
    }

    fn search_in(
        &mut self,
        lanes: &mut [Lane],
        index: usize,
        released: Lsn,
    ) -> (Option<Lsn>, Option<Run>) {
        let share_bytes = LANES_BYTES / lanes.len();
        let mut judged = 0;
        let mut wait = None;
        loop {
            let lane = &mut lanes[index];
            let has_enough = lane.window.len() >= LANE_LOW
                || !lane.window.is_empty() && lane.window_bytes >= share_bytes;
            // What comes before that in the order has to be looked at all the same.
            let has_enough = has_enough && lane.candidate() != Candidate::Unknown;
            if has_enough || lane.looking_from.is_some() {
                return (wait, None);
            }
            let mut slots = self.unjudged_run(lane);
            if slots.is_empty() {
                // A full window is filled further only with what comes before it.
                let is_full = lane.window.len() >= LANE_LOW || lane.window_bytes >= share_bytes;
                let first = lane.window.keys().next().filter(|_| is_full);
                let above = first.map(|key| key.position.order());
                let unreleased;
                (slots, unreleased) = self.backlog_run(lanes, (index, above), released);
                wait = wait.or(unreleased);
            }
            let lane = &mut lanes[index];
            let Some(first) = slots.first().map(|slot| slot.key) else {
                let is_done = lane.unseen == 0 || lane.candidate() != Candidate::Unknown;
                if is_done && lane.unjudged.is_empty() {
                    return (wait, None);
                }
                // Only what is skipped was seen so far.
                continue;
            };
            judged += slots.len();
            let run = Run {
                lane: lane.number,
                interest: lane.interest.clone(),
                slots,
            };
            let is_here = run.slots.iter().all(|slot| slot.message.is_some());
            if is_here && judged <= JUDGED_AT_ONCE {
                for slot in run.judge(|_, _| None).wanted {
                    lane.insert(slot);
                }
                continue;
            }
            lane.looking_from = Some(first);
            return (wait, Some(run));
        }
    }

    /// Messages behind the cursors, or in `ready`, that a lane has not looked at.
    fn unjudged_run(&self, lane: &mut Lane) -> Vec<Slot> {
        let (mut bytes, mut run) = (0, Vec::new());
        while run.len() < RUN_MESSAGES
            && (run.is_empty() || bytes < RUN_BYTES)
            && let Some(key) = lane.unjudged.pop_first()
        {
            let slot = match self.ready.get(&key) {
                Some(slot) => Some(slot.clone()),
                None => self.slot_at(key.position),
            };
            bytes += slot.as_ref().map_or(0, bytes_of);
            run.extend(slot);
        }
        run
    }

    fn slot_at(&self, position: Position) -> Option<Slot> {
        if self.withdrawn.contains(&position) {
            return None;
        }
        let entry = self.backlog.as_ref()?.entry(position)?;
        Some(self.slot_of(position, &entry))
    }

    fn slot_of(&self, position: Position, entry: &Entry) -> Slot {
        Slot {
            key: Key::journaled(position),
            place: Place::Journal {
                position,
                location: entry.location,
            },
            expiration_ms: entry.expiration_ms,
            redeliveries: self.redeliveries_of(position),
            message: self.cached(entry.location),
        }
    }

    /// The next messages of the backlog that a lane has not looked at, those of an order above
    /// `above` if it is given.
    fn backlog_run(
        &mut self,
        lanes: &mut [Lane],
        (index, above): (usize, Option<u8>),
        released: Lsn,
    ) -> (Vec<Slot>, Option<Lsn>) {
        let (mut run, mut wait) = (Vec::new(), None::<Lsn>);
        let Some(backlog) = self.backlog.clone() else {
            lanes[index].unseen = 0;
            return (run, None);
        };
        let mut bytes = 0;
        for order in (0..=9_u8).rev() {
            if above.is_some_and(|above| order <= above) {
                break;
            }
            if lanes[index].unseen & (1 << order) == 0 {
                continue;
            }
            match self.backlog_run_of(
                &backlog,
                lanes,
                (index, order),
                released,
                &mut bytes,
                &mut run,
            ) {
                Scanned::All => lanes[index].unseen &= !(1 << order),
                Scanned::Enough => break,
                Scanned::Unreleased(lsn) => {
                    lanes[index].unseen &= !(1 << order);
                    wait = Some(wait.map_or(lsn, |other| other.min(lsn)));
                }
            }
        }
        (run, wait)
    }

    fn backlog_run_of(
        &mut self,
        backlog: &Backlog,
        lanes: &mut [Lane],
        (index, order): (usize, u8),
        released: Lsn,
        bytes: &mut usize,
        run: &mut Vec<Slot>,
    ) -> Scanned {
        let (mut scanned, mut skipped) = (Scanned::All, 0);
        let from = Position::new(order, lanes[index].cursors[usize::from(order)]);
        let mut passed = Vec::new();
        backlog.scan(from, &mut |position, entry| {
            if position.order() != order {
                return ControlFlow::Break(());
            }
            if entry.visible > released {
                scanned = Scanned::Unreleased(entry.visible);
                return ControlFlow::Break(());
            }
            let is_full = run.len() >= RUN_MESSAGES || !run.is_empty() && *bytes >= RUN_BYTES;
            if is_full || skipped >= SKIPPED_AT_ONCE {
                scanned = Scanned::Enough;
                return ControlFlow::Break(());
            }
            lanes[index].cursors[usize::from(order)] = position.sequence() + 1;
            if self.withdrawn.contains(&position) {
                skipped += 1;
                return ControlFlow::Continue(());
            }
            *bytes += entry.location.length as usize;
            let slot = self.slot_of(position, entry);
            if slot.message.is_some() && lanes.iter().all(|lane| lane.has_passed(position)) {
                passed.push(entry.location);
            }
            run.push(slot);
            ControlFlow::Continue(())
        });
        for location in passed {
            self.uncache(location);
        }
        scanned
    }

    /// Those of a run that are wanted are known.
    pub(in super::super) fn judged(&mut self, judged: Judged) {
        let Some(sieve) = &mut self.sieve else {
            return;
        };
        let lane = sieve
            .lanes
            .iter_mut()
            .find(|lane| lane.number == judged.lane);
        let Some(lane) = lane else {
            return;
        };
        lane.looking_from = None;
        for slot in judged.wanted {
            // Meanwhile another lane's consumer may have got it, and even consumed it.
            let is_there = self.ready.contains_key(&slot.key)
                || slot.position().is_some_and(|position| {
                    let backlog = self.backlog.as_ref();
                    !self.withdrawn.contains(&position)
                        && backlog.is_some_and(|backlog| backlog.entry(position).is_some())
                });
            if is_there {
                lane.insert(slot);
            }
        }
    }

    /// What a lane has for its consumers.
    pub(in super::super) fn candidate(&self, number: LaneNumber) -> Candidate {
        let lanes = self.sieve.iter().flat_map(|sieve| &sieve.lanes);
        let lane = lanes.into_iter().find(|lane| lane.number == number);
        lane.map_or(Candidate::Nothing, Lane::candidate)
    }

    /// A message in the window of a lane.
    pub(in super::super) fn in_lanes(&self, key: Key) -> Option<&Slot> {
        let lanes = &self.sieve.as_ref()?.lanes;
        lanes.iter().find_map(|lane| lane.window.get(&key))
    }

    /// Takes a message out of all lanes.
    pub(in super::super) fn take_from_lanes(&mut self, key: Key) -> Option<Slot> {
        let sieve = self.sieve.as_mut()?;
        let mut taken = None;
        for lane in &mut sieve.lanes {
            let slot = lane.remove(key);
            taken = taken.or(slot);
        }
        if let Some(slot) = self.ready.remove(&key) {
            self.taken(&slot);
        }
        if let Some(Place::Journal { position, location }) = taken.as_ref().map(|slot| slot.place) {
            self.withdrawn.insert(position);
            self.uncache(location);
            self.prune_withdrawn();
        }
        taken
    }

    fn prune_withdrawn(&mut self) {
        let Some(sieve) = &mut self.sieve else {
            return;
        };
        if self.withdrawn.len() <= sieve.prune_above.max(PRUNED_ABOVE) {
            return;
        }
        if let Some(backlog) = &self.backlog {
            self.withdrawn
                .retain(|position| backlog.entry(*position).is_some());
        }
        sieve.prune_above = 2 * self.withdrawn.len();
    }

    /// All orders that a message may have here.
    pub(super) fn all_orders(&mut self) {
        self.used = ALL_ORDERS;
        self.look_again_in_lanes();
    }

    /// Whether the body of a message that came in should be kept for a lane.
    pub(super) fn is_of_use_to_lanes(&self, position: Position) -> Option<bool> {
        Some(self.lanes_distance(position)? <= CACHED_AHEAD)
    }

    /// Whether a lane will soon be at this position.
    pub(super) fn is_near_lanes(&self, position: Position) -> Option<bool> {
        Some(self.lanes_distance(position)? < RESERVED_AHEAD / 2)
    }
}

enum Scanned {
    /// The cursor is at the end.
    All,
    /// The run is long enough.
    Enough,
    /// The next one is not released.
    Unreleased(Lsn),
}
