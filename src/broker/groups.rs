//! Message groups of one queue: which consumer has which group, and what waits for that consumer.
//!
//! All messages of a group go to the consumer that got its first one. A message whose consumer has no
//! room is parked here, so that it does not stand in the way of other groups. A group that ends, or
//! loses its consumer, is given anew only when nothing of it is in flight any more: two consumers never
//! have messages of the same group at the same time.
//!
//! A group with messages in flight is never forgotten. Of those without, the longest unused are, beyond
//! a number much larger than ActiveMQ's default of 1024: losing an assignment costs the application its
//! caches, keeping one costs some hundred bytes.

use std::collections::{BTreeMap, HashMap};

use openwire::{ConsumerId, WireString};

use super::message::Group;
use super::stock::{Key, Place, Slot};

/// Groups remembered without messages in flight.
const IDLE_MAX: usize = 1 << 15;
/// Messages that may be parked in one queue ...
const PARKED_MAX: usize = 10_000;
/// ... and their bytes. Beyond that dispatch waits for the consumers that have no room.
const PARKED_BYTES_MAX: usize = 16 << 20;

/// What is to be done with the next message of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may go to any consumer, which then has the group.
    Assign,
    /// It goes to this consumer.
    Owner(ConsumerId),
    /// It waits until nothing of the group is in flight.
    Wait,
}

/// The message groups of one queue.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: HashMap<WireString, Assignment>,
    /// Groups without messages in flight, by when they were last used.
    idle: BTreeMap<u64, WireString>,
    clock: u64,
    /// How many groups each consumer has.
    loads: HashMap<ConsumerId, usize>,
    /// What waits for its consumer to have room.
    parked: HashMap<ConsumerId, BTreeMap<Key, Slot>>,
    /// What waits for its group to be given anew.
    waiting: BTreeMap<Key, Slot>,
    parked_count: usize,
    parked_bytes: usize,
}

#[derive(Debug)]
struct Assignment {
    owner: ConsumerId,
    in_flight: usize,
    /// It is given anew once nothing is in flight.
    is_ending: bool,
    used: u64,
}

impl Groups {
    /// What is to be done with a message of `group`; `is_served` says whether a consumer may get
    /// anything at all.
    pub(super) fn decide(
        &mut self,
        group: &Group,
        is_served: impl FnOnce(&ConsumerId) -> bool,
    ) -> Decision {
        let Some(assignment) = self.by_id.get_mut(&group.id) else {
            return Decision::Assign;
        };
        let is_stranded = !is_served(&assignment.owner);
        // The first of a new run of the same group, which need not go where the last one went.
        let is_anew = group.sequence == 1 && !self.parked.contains_key(&assignment.owner);
        if assignment.in_flight == 0 && (is_stranded || is_anew) {
            self.end(&group.id);
            return Decision::Assign;
        }
        assignment.is_ending |= is_stranded;
        if assignment.is_ending {
            Decision::Wait
        } else {
            Decision::Owner(assignment.owner.clone())
        }
    }

    /// How many groups a consumer has.
    pub(super) fn load(&self, consumer: &ConsumerId) -> usize {
        self.loads.get(consumer).copied().unwrap_or(0)
    }

    /// Gives a group to a consumer.
    pub(super) fn assign(&mut self, group: &Group, owner: &ConsumerId) {
        *self.loads.entry(owner.clone()).or_default() += 1;
        let assignment = Assignment {
            owner: owner.clone(),
            in_flight: 0,
            is_ending: false,
            used: 0,
        };
        self.by_id.insert(group.id.clone(), assignment);
    }

    /// A message of the group was dispatched to its owner.
    pub(super) fn dispatched(&mut self, group: &Group) {
        if let Some(assignment) = self.by_id.get_mut(&group.id) {
            self.idle.remove(&assignment.used);
            assignment.in_flight += 1;
            assignment.is_ending |= group.sequence < 0;
        }
    }

    /// A message of the group is no longer in flight. Answers what need not wait any more.
    pub(super) fn left(&mut self, group: &Group) -> Vec<Slot> {
        let Some(assignment) = self.by_id.get_mut(&group.id) else {
            return Vec::new();
        };
        assignment.in_flight = assignment.in_flight.saturating_sub(1);
        if assignment.in_flight > 0 {
            return Vec::new();
        }
        if assignment.is_ending {
            self.end(&group.id);
            return self.unpark(|slot| is_of(slot, &group.id));
        }
        self.clock += 1;
        assignment.used = self.clock;
        self.idle.insert(self.clock, group.id.clone());
        if self.idle.len() > IDLE_MAX
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.end(&oldest);
            // Nothing of it is in flight, so its owner has room or has nothing of it parked.
            return self.unpark(|slot| is_of(slot, &oldest));
        }
        Vec::new()
    }

    fn end(&mut self, id: &WireString) {
        let Some(assignment) = self.by_id.remove(id) else {
            return;
        };
        self.idle.remove(&assignment.used);
        if let Some(load) = self.loads.get_mut(&assignment.owner) {
            *load -= 1;
            if *load == 0 {
                self.loads.remove(&assignment.owner);
            }
        }
    }

    /// A consumer is gone: its groups are given anew, those with messages that a transaction holds
    /// when that one ends. Answers what need not wait any more.
    pub(super) fn consumer_gone(&mut self, consumer: &ConsumerId) -> Vec<Slot> {
        let mut ended = Vec::new();
        for (id, assignment) in &mut self.by_id {
            if assignment.owner == *consumer {
                assignment.is_ending = true;
                if assignment.in_flight == 0 {
                    ended.push(id.clone());
                }
            }
        }
        for id in &ended {
            self.end(id);
        }
        // What still waits for a transaction moves aside.
        if let Some(parked) = self.parked.remove(consumer) {
            self.waiting.extend(parked);
        }
        let by_id = std::mem::take(&mut self.by_id);
        let free = self.unpark(|slot| {
            let group = slot.message.as_ref().and_then(|message| message.group());
            group.is_none_or(|group| !by_id.contains_key(&group.id))
        });
        self.by_id = by_id;
        free
    }

    /// Takes out of all that is parked what need not wait any more.
    fn unpark(&mut self, is_free: impl Fn(&Slot) -> bool) -> Vec<Slot> {
        if self.parked_count == 0 {
            return Vec::new();
        }
        let mut free = Vec::new();
        for parked in self.parked.values_mut().chain([&mut self.waiting]) {
            let keys: Vec<Key> = parked
                .values()
                .filter(|slot| is_free(slot))
                .map(|slot| slot.key)
                .collect();
            free.extend(keys.iter().filter_map(|key| parked.remove(key)));
        }
        self.parked.retain(|_, parked| !parked.is_empty());
        for slot in &free {
            self.unparked(slot);
        }
        free
    }

    fn unparked(&mut self, slot: &Slot) {
        self.parked_count -= 1;
        self.parked_bytes -= bytes_of(slot);
    }

    /// Whether another message can be parked.
    pub(super) fn has_room(&self) -> bool {
        self.parked_count < PARKED_MAX && self.parked_bytes < PARKED_BYTES_MAX
    }

    /// Keeps a message until its consumer has room, or without one until its group is given anew.
    pub(super) fn park(&mut self, owner: Option<&ConsumerId>, slot: Slot) {
        self.parked_count += 1;
        self.parked_bytes += bytes_of(&slot);
        let parked = match owner {
            Some(owner) => self.parked.entry(owner.clone()).or_default(),
            None => &mut self.waiting,
        };
        parked.insert(slot.key, slot);
    }

    /// The first message that waits for a consumer to have room.
    pub(super) fn first_parked(&self, owner: &ConsumerId) -> Option<Key> {
        let parked = self.parked.get(owner)?;
        parked.first_key_value().map(|(key, _)| *key)
    }

    /// Takes the first message that waits for a consumer to have room.
    pub(super) fn take_parked(&mut self, owner: &ConsumerId) -> Option<Slot> {
        let parked = self.parked.get_mut(owner)?;
        let (_, slot) = parked.pop_first()?;
        if parked.is_empty() {
            self.parked.remove(owner);
        }
        self.unparked(&slot);
        Some(slot)
    }

    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Everything that is parked.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let parked = self.parked.values().flat_map(BTreeMap::values);
        parked.chain(self.waiting.values())
    }

    /// Messages parked here that are kept nowhere else.
    pub(super) fn memory_len(&self) -> usize {
        self.slots()
            .filter(|slot| slot.place == Place::Memory)
            .count()
    }
}

fn is_of(slot: &Slot, id: &WireString) -> bool {
    let group = slot.message.as_ref().and_then(|message| message.group());
    group.is_some_and(|group| group.id == *id)
}

fn bytes_of(slot: &Slot) -> usize {
    slot.message.as_ref().map_or(0, |message| message.len())
}
