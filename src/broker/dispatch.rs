//! Dispatch: from what waits in a queue to consumers with room, in order and in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openwire::ConsumerId;
use storage::{Location, Lsn, Position};

use super::consumer::Consumer;
use super::groups::{Decision, Groups};
use super::queue::{Effects, Queue, State};
use super::stock::{Candidate, Key, LaneNumber, Next, Run, Slot};
use super::{Broker, Message, wall_ms};

/// How long dispatch waits for the wanted number of consumers when no time was chosen.
const CONSUMERS_AWAITED: Duration = Duration::from_secs(1);

impl State {
    /// Dispatches all that can be dispatched now.
    pub(super) fn dispatch_round(&mut self, broker: &Broker, effects: &mut Effects) {
        let released = broker.released();
        self.browse_round(released, effects);
        if self.consumers.is_empty() || self.is_awaiting_consumers() {
            return;
        }
        if self.stock.is_sifted() {
            return self.dispatch_sifted(broker, released, effects);
        }
        let last = self.dispatch_to_consumers(broker, released, effects);
        if matches!(last, Next::Unread) || self.is_worth_reading_ahead() {
            self.start_reading(effects);
        }
        if matches!(last, Next::Nothing) {
            for consumer in &mut self.consumers {
                if consumer.found_nothing() {
                    effects.wake(&consumer.address.outbox);
                }
            }
        }
    }

    /// Answers what stopped it: no message, or one that must wait. With consumers' room used up
    /// there is none that waits for a message, so `Ready` stands for that.
    fn dispatch_to_consumers(
        &mut self,
        broker: &Broker,
        released: Lsn,
        effects: &mut Effects,
    ) -> Next {
        let now_ms = wall_ms();
        while let Some(index) = self.next_consumer() {
            if let Some(lsn) = self.stock.refill(released) {
                self.want_visit(lsn, effects);
            }
            let first = self.stock.first();
            if first.is_some_and(|slot| slot.is_expired(now_ms)) {
                effects.expired.extend(self.stock.take_first());
                continue;
            }
            if self.groups.is_some() {
                let first = first.map(|slot| slot.key);
                if self.dispatch_parked(first, now_ms, broker, effects) {
                    continue;
                }
            }
            match self.stock.next(broker.store(), released) {
                Ok(Next::Ready) => {
                    if !self.dispatch_first(index, broker, effects) {
                        return Next::Ready;
                    }
                }
                Ok(Next::Unreserved(lsn)) => {
                    self.want_visit(lsn, effects);
                    return Next::Unreserved(lsn);
                }
                Ok(next) => return next,
                Err(error) => {
                    tracing::debug!(%error, "Dispatch stops: no reservation.");
                    return Next::Unreserved(released);
                }
            }
        }
        Next::Ready
    }

    /// The next consumer with room, in turn.
    fn next_consumer(&self) -> Option<usize> {
        if self.has_ranks {
            return self.next_ranked(Consumer::has_room);
        }
        let count = self.consumers.len();
        (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&index| self.consumers[index].has_room())
    }

    /// The next consumer that `may_get` something: the exclusive one if there is one, else one of the
    /// highest priority, in turn.
    fn next_ranked(&self, may_get: impl Fn(&Consumer) -> bool) -> Option<usize> {
        let count = self.consumers.len();
        let mut best: Option<usize> = None;
        for step in 0..count {
            let index = (self.turn + step) % count;
            let consumer = &self.consumers[index];
            let is_better =
                best.is_none_or(|best| self.rank(consumer) > self.rank(&self.consumers[best]));
            if is_better && self.is_served(&consumer.address.id) && may_get(consumer) {
                best = Some(index);
            }
        }
        best
    }

    fn rank(&self, consumer: &Consumer) -> i8 {
        if self.policy.use_consumer_priority {
            consumer.terms.priority
        } else {
            0
        }
    }

    /// Whether a consumer gets anything while there is an exclusive one.
    fn is_served(&self, id: &ConsumerId) -> bool {
        self.exclusive
            .as_ref()
            .is_none_or(|exclusive| exclusive == id)
    }

    /// Dispatches the first message that waits to this consumer, or to that of its group. False: it
    /// stays until a consumer has room.
    fn dispatch_first(&mut self, index: usize, broker: &Broker, effects: &mut Effects) -> bool {
        let Some(mut slot) = self.stock.take_first() else {
            return true;
        };
        let Some(message) = slot.message.take() else {
            self.stock.put_back(slot);
            return true;
        };
        if self.has_groups && message.group().is_some() {
            slot.message = Some(message);
            return self.dispatch_grouped(slot, &|_, _| true, broker, effects);
        }
        self.hand_over(index, slot, message, false, broker, effects);
        true
    }

    /// False: it was not dispatched, because other queues used up the consumer's room.
    fn hand_over(
        &mut self,
        index: usize,
        slot: Slot,
        message: Arc<Message>,
        is_first_in_group: bool,
        broker: &Broker,
        effects: &mut Effects,
    ) -> bool {
        let position = slot.position();
        let consumer = &mut self.consumers[index];
        let sent = consumer.dispatch(slot, message, is_first_in_group, &mut self.sequence);
        if let Err((mut slot, message)) = sent {
            slot.message = Some(message);
            self.stock.put_back(slot);
            return false;
        }
        effects.wake(&consumer.address.outbox);
        if !self.policy.strict_order_dispatch {
            self.turn = index + 1;
        }
        if let Some(position) = position
            && let Err(error) = self
                .stock
                .reserve_around(position.sequence(), broker.store())
        {
            tracing::debug!(%error, "No dispatch reservation.");
        }
        true
    }

    fn is_worth_reading_ahead(&self) -> bool {
        self.stock.should_read_ahead() && self.next_consumer().is_some()
    }

    fn start_reading(&mut self, effects: &mut Effects) {
        if self.is_reading {
            return;
        }
        effects.read = self.stock.unread_run();
        self.is_reading = !effects.read.is_empty();
    }
}

/// Message groups.
impl State {
    /// Dispatches a message of a group, or parks it until the group's consumer has room. `wants` says
    /// whether a consumer wants it. False: it stays until a consumer has room.
    fn dispatch_grouped(
        &mut self,
        mut slot: Slot,
        wants: &dyn Fn(&State, &Consumer) -> bool,
        broker: &Broker,
        effects: &mut Effects,
    ) -> bool {
        let Some(message) = slot.message.take() else {
            self.stock.put_back(slot);
            return true;
        };
        let Some(group) = message.group().map(Arc::clone) else {
            slot.message = Some(message);
            self.stock.put_back(slot);
            return true;
        };
        let mut groups = self.groups.take().unwrap_or_default();
        let decision = groups.decide(&group, |owner| self.is_served(owner));
        let (index, owner) = match &decision {
            Decision::Assign => (self.next_for_group(&groups, wants), None),
            Decision::Owner(owner) => {
                let at = self.consumers.iter().position(|c| c.address.id == *owner);
                let at = at.filter(|&index| wants(self, &self.consumers[index]));
                let owner = at.map(|_| owner);
                (at.filter(|&index| self.consumers[index].has_room()), owner)
            }
            Decision::Wait => (None, None),
        };
        let mut is_done = true;
        if let Some(index) = index {
            let id = self.consumers[index].address.id.clone();
            let is_first = decision == Decision::Assign;
            if self.hand_over(index, slot, message, is_first, broker, effects) {
                if is_first {
                    groups.assign(&group, &id);
                }
                groups.dispatched(&group);
            }
        } else {
            slot.message = Some(message);
            is_done = decision != Decision::Assign && groups.has_room();
            if is_done {
                groups.park(owner, slot);
            } else {
                self.stock.put_back(slot);
            }
        }
        self.groups = Some(groups);
        is_done
    }

    /// The consumer for a new group: of those with room and the highest priority, one with the fewest
    /// groups.
    fn next_for_group(
        &self,
        groups: &Groups,
        wants: &dyn Fn(&State, &Consumer) -> bool,
    ) -> Option<usize> {
        let count = self.consumers.len();
        let with_room = (0..count)
            .map(|step| (self.turn + step) % count)
            .filter(|&index| {
                let consumer = &self.consumers[index];
                self.is_served(&consumer.address.id) && wants(self, consumer) && consumer.has_room()
            });
        with_room.min_by_key(|&index| {
            let consumer = &self.consumers[index];
            let rank = -i16::from(self.rank(consumer));
            (rank, groups.load(&consumer.address.id))
        })
    }

    /// Dispatches a parked message to a consumer that has room again, if it comes before `first`.
    /// True: something changed.
    fn dispatch_parked(
        &mut self,
        first: Option<Key>,
        now_ms: i64,
        broker: &Broker,
        effects: &mut Effects,
    ) -> bool {
        let Some(groups) = self.groups.as_ref().filter(|groups| groups.has_parked()) else {
            return false;
        };
        let with_room = self.consumers.iter().filter(|consumer| consumer.has_room());
        let next = with_room
            .filter_map(|consumer| {
                let id = &consumer.address.id;
                Some((groups.first_parked(id)?, id))
            })
            .min_by_key(|(key, _)| *key);
        let Some((key, owner)) = next else {
            return false;
        };
        if first.is_some_and(|first| first < key) {
            return false;
        }
        let owner = owner.clone();
        let taken = self
            .groups
            .as_mut()
            .and_then(|groups| groups.take_parked(&owner));
        let Some(slot) = taken else {
            return false;
        };
        if slot.is_expired(now_ms) {
            effects.expired.push(slot);
            return true;
        }
        let wants = |_: &State, consumer: &Consumer| consumer.address.id == owner;
        self.dispatch_grouped(slot, &wants, broker, effects)
    }
}

/// Consumers that want different messages.
impl State {
    fn dispatch_sifted(&mut self, broker: &Broker, released: Lsn, effects: &mut Effects) {
        let now_ms = wall_ms();
        loop {
            let lanes = self.lanes_with_room();
            if lanes.is_empty() {
                return;
            }
            let Some(key) = self.first_candidate(&lanes, released, effects) else {
                if !self.dispatch_parked(None, now_ms, broker, effects) {
                    break;
                }
                continue;
            };
            if self.dispatch_parked(Some(key), now_ms, broker, effects) {
                continue;
            }
            let slot = self.stock.in_lanes(key);
            let (is_expired, position) = slot.map_or((false, None), |slot| {
                (slot.is_expired(now_ms), slot.position())
            });
            if is_expired {
                effects.expired.extend(self.stock.take_from_lanes(key));
                continue;
            }
            match self.stock.reserve(position, broker.store(), released) {
                Ok(None) => {}
                Ok(Some(lsn)) => return self.want_visit(lsn, effects),
                Err(error) => {
                    tracing::debug!(%error, "Dispatch stops: no reservation.");
                    return;
                }
            }
            if !self.dispatch_candidate(key, broker, effects) {
                return;
            }
        }
        self.give_up_pulls_in_lanes(effects);
    }

    /// Lanes of consumers that may get something, each once.
    fn lanes_with_room(&self) -> Vec<LaneNumber> {
        let mut lanes = Vec::new();
        for consumer in &self.consumers {
            if self.is_served(&consumer.address.id)
                && !lanes.contains(&consumer.lane)
                && consumer.has_room()
            {
                lanes.push(consumer.lane);
            }
        }
        lanes
    }

    /// The first message that waits for one of these lanes.
    fn first_candidate(
        &mut self,
        lanes: &[LaneNumber],
        released: Lsn,
        effects: &mut Effects,
    ) -> Option<Key> {
        let mut first: Option<Key> = None;
        for &lane in lanes {
            let (wait, run) = self.stock.search(lane, released);
            if let Some(lsn) = wait {
                self.want_visit(lsn, effects);
            }
            effects.runs.extend(run);
            if let Candidate::Ready(key) = self.stock.candidate(lane) {
                first = Some(first.map_or(key, |first| first.min(key)));
            }
        }
        first
    }

    /// False: it stays until a consumer has room.
    fn dispatch_candidate(&mut self, key: Key, broker: &Broker, effects: &mut Effects) -> bool {
        let wants = |state: &State, consumer: &Consumer| {
            state.stock.candidate(consumer.lane) == Candidate::Ready(key)
        };
        let next = self.next_ranked(|consumer| consumer.has_room() && wants(self, consumer));
        // What is asked of them must be asked before the message is taken out.
        let wanting: Vec<LaneNumber> = {
            let consumers = self.consumers.iter();
            let mut lanes: Vec<LaneNumber> = consumers.map(|consumer| consumer.lane).collect();
            lanes.retain(|&lane| self.stock.candidate(lane) == Candidate::Ready(key));
            lanes
        };
        let Some(mut slot) = self.stock.take_from_lanes(key) else {
            return false;
        };
        let (Some(index), Some(message)) = (next, slot.message.take()) else {
            self.stock.put_back(slot);
            return false;
        };
        if self.has_groups && message.group().is_some() {
            let wants = |_: &State, consumer: &Consumer| {
                wanting.contains(&consumer.lane) || consumer.terms.interest.wants(&message, 0)
            };
            slot.message = Some(Arc::clone(&message));
            return self.dispatch_grouped(slot, &wants, broker, effects);
        }
        self.hand_over(index, slot, message, false, broker, effects);
        true
    }

    fn give_up_pulls_in_lanes(&mut self, effects: &mut Effects) {
        for consumer in &mut self.consumers {
            if self.stock.candidate(consumer.lane) == Candidate::Nothing && consumer.found_nothing()
            {
                effects.wake(&consumer.address.outbox);
            }
        }
    }
}

/// What changes with the consumers.
impl State {
    /// The set of consumers has changed: finds out how messages are to be given to them.
    pub(super) fn consumers_changed(&mut self) {
        let priorities = self.consumers.iter().map(|consumer| self.rank(consumer));
        let first = self.consumers.first().map(|consumer| self.rank(consumer));
        let differ = priorities.into_iter().any(|rank| Some(rank) != first);
        self.has_ranks = differ || self.exclusive.is_some();
        if self
            .consumers
            .iter()
            .all(|consumer| consumer.terms.interest.is_all())
        {
            return self.stock.unsift();
        }
        let mut interests = Vec::new();
        for consumer in &self.consumers {
            if !interests.contains(&consumer.terms.interest) {
                interests.push(consumer.terms.interest.clone());
            }
        }
        let in_flight = self
            .consumers
            .iter()
            .flat_map(|consumer| &consumer.in_flight)
            .chain(&self.orphans)
            .filter_map(|in_flight| in_flight.slot.position());
        let parked = self.groups.iter().flat_map(|groups| groups.slots());
        let parked = parked.filter_map(Slot::position);
        let lanes = self.stock.sift(interests.clone(), in_flight.chain(parked));
        for consumer in &mut self.consumers {
            let at = interests
                .iter()
                .position(|interest| *interest == consumer.terms.interest);
            consumer.lane = at.map_or_else(LaneNumber::default, |at| lanes[at]);
        }
    }

    /// A consumer came that may be the exclusive one.
    pub(super) fn consumer_came(&mut self, index: usize) {
        let came = &self.consumers[index];
        if !came.terms.is_exclusive && !self.policy.all_consumers_exclusive_by_default {
            return;
        }
        let present = self.exclusive.as_ref().and_then(|id| {
            let mut consumers = self.consumers.iter();
            consumers.find(|consumer| consumer.address.id == *id)
        });
        if present.is_none_or(|present| {
            came.terms.priority == i8::MAX || came.terms.priority > present.terms.priority
        }) {
            self.exclusive = Some(came.address.id.clone());
        }
    }

    /// A consumer is gone: if it was the exclusive one, the next takes its place.
    pub(super) fn consumer_went(&mut self, id: &ConsumerId) {
        if self.exclusive.as_ref() != Some(id) {
            return;
        }
        let all = self.policy.all_consumers_exclusive_by_default;
        let mut next: Option<&Consumer> = None;
        for consumer in &self.consumers {
            let is_higher = next.is_none_or(|next| consumer.terms.priority > next.terms.priority);
            if (all || consumer.terms.is_exclusive) && is_higher {
                next = Some(consumer);
            }
        }
        self.exclusive = next.map(|consumer| consumer.address.id.clone());
    }

    /// The first consumer came: dispatch may have to wait for others. Answers how long.
    pub(super) fn await_consumers(&mut self) -> Option<Duration> {
        let time = self.policy.time_before_dispatch_starts;
        if self.policy.consumers_before_dispatch_starts == 0 && time.is_zero() {
            return None;
        }
        let time = if time.is_zero() {
            CONSUMERS_AWAITED
        } else {
            time
        };
        self.awaits_until = Some(Instant::now() + time);
        Some(time)
    }

    fn is_awaiting_consumers(&mut self) -> bool {
        let Some(until) = self.awaits_until else {
            return false;
        };
        let wanted = self.policy.consumers_before_dispatch_starts as usize;
        let is_complete = wanted > 0 && self.consumers.len() >= wanted;
        if is_complete || Instant::now() >= until {
            self.awaits_until = None;
        }
        self.awaits_until.is_some()
    }
}

impl Queue {
    /// Reads bodies back on a thread that may block, then dispatches.
    pub(super) fn read_back(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        run: Vec<(Key, Position, Location)>,
    ) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let read: Vec<(Key, Option<Arc<Message>>)> = run
                .into_iter()
                .map(|(key, position, location)| (key, queue.read_body(&owner, position, location)))
                .collect();
            queue.change(&owner, |state| {
                state.is_reading = false;
                for (key, message) in read {
                    match message {
                        Some(message) => state.stock.fill(key, message),
                        // It stays in the journal for whoever can repair it.
                        None => drop(state.stock.take(key)),
                    }
                }
            });
        }));
    }

    /// Looks at messages on a thread that may block, then dispatches those that are wanted.
    pub(super) fn judge(self: &Arc<Self>, broker: &Arc<Broker>, run: Run) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let judged =
                run.judge(|position, location| queue.read_body(&owner, position, location));
            queue.change(&owner, |state| state.stock.judged(judged));
        }));
    }

    /// Dispatches after a time.
    pub(super) fn dispatch_after(self: &Arc<Self>, broker: &Arc<Broker>, time: Duration) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.runtime().spawn(async move {
            tokio::time::sleep(time).await;
            queue.dispatch(&owner);
        });
    }
}
