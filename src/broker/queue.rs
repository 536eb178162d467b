//! A queue; also a durable subscription, which is a queue that a topic fills and one consumer reads.
//!
//! All that changes is behind one lock that is held for a short, bounded time. What takes longer or needs
//! other locks, an operation collects as [`Effects`] and does after the lock is let go. The backlog's
//! own lock and the outboxes' locks nest inside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use openwire::{ConnectionId, ConsumerId, Destination};
use parking_lot::Mutex;
use storage::store::{AppendError, Enqueued, NewMessage, ProducerSequence};
use storage::{Backlog, Location, Lsn, Position};

use super::browse::{Browser, Sight};
use super::consumer::{Consumer, Credit, InFlight, LastDelivered, TransactionNumber};
use super::dead_letter::Letters;
use super::descriptor::{Descriptor, SubscriptionKey};
use super::destination::order_of;
use super::groups::Groups;
use super::names::has_wildcard;
use super::outbox::Outbox;
use super::policy::Policy;
use super::spill::{Spill, Unspill};
use super::spool::Glimpse;
use super::stock::{Key, Place, Run, Slot, Stock};
use super::usage::DestinationUsage;
use super::window::Window;
use super::{Broker, Message, Receipt, Refusal};

/// A queue or a durable subscription.
pub(crate) struct Queue {
    /// The queue; of a subscription, its topic.
    name: Destination,
    subscription: Option<Descriptor>,
    /// The connection that made it, for a temporary queue.
    owner: Option<ConnectionId>,
    pub(super) state: Mutex<State>,
    pub(super) counters: Counters,
    pub(super) letters: Letters,
    policy: Arc<Policy>,
    usage: Option<Arc<DestinationUsage>>,
}

/// What status pages say of a destination.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) enqueued: AtomicU64,
    pub(super) dequeued: AtomicU64,
    /// Of all that were enqueued outside transactions.
    pub(super) enqueued_bytes: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) producers: AtomicUsize,
    /// Open or prepared transactions whose commit brings messages.
    pub(super) promised: AtomicUsize,
}

/// What changes in a queue.
pub(super) struct State {
    pub(super) stock: Stock,
    pub(super) consumers: Vec<Consumer>,
    /// Where the search for the next consumer starts.
    pub(super) turn: usize,
    pub(super) browsers: Vec<Browser>,
    /// In flight to consumers that are gone, held by open transactions.
    pub(super) orphans: Vec<InFlight>,
    /// The only consumer that gets anything.
    pub(super) exclusive: Option<ConsumerId>,
    /// Consumers differ in priority, or one is exclusive.
    pub(super) has_ranks: bool,
    /// Until then dispatch waits for more consumers.
    pub(super) awaits_until: Option<Instant>,
    /// Message groups are kept together; they have no meaning to a subscription.
    pub(super) has_groups: bool,
    /// None until a message of a group was dispatched.
    pub(super) groups: Option<Box<Groups>>,
    pub(super) policy: Arc<Policy>,
    /// The number of the last dispatch.
    pub(super) sequence: u64,
    /// The dispatcher comes when this is released.
    pub(super) visit: Option<Lsn>,
    pub(super) is_reading: bool,
    is_deleted: bool,
}

/// What is to be done once the queue's lock is let go.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) wakes: Vec<Arc<Outbox>>,
    pub(super) visit: Option<Lsn>,
    pub(super) read: Vec<(Key, Position, Location)>,
    pub(super) browse: Vec<(ConsumerId, Vec<Sight>)>,
    pub(super) expired: Vec<Slot>,
    /// On their way to another queue.
    pub(super) moving: Vec<Browser>,
    /// To be looked at for consumers that do not want everything.
    pub(super) runs: Vec<Run>,
    pub(super) spill: Option<Spill>,
    pub(super) spill_later: bool,
    pub(super) glimpses: Vec<(ConsumerId, Vec<(Key, Glimpse)>)>,
    pub(super) unspill: Option<Unspill>,
}

impl Effects {
    pub(super) fn wake(&mut self, outbox: &Arc<Outbox>) {
        if !self.wakes.iter().any(|other| Arc::ptr_eq(other, outbox)) {
            self.wakes.push(Arc::clone(outbox));
        }
    }
}

impl Queue {
    /// A queue as it is found at start, or made on first use.
    pub(super) fn new(
        name: Destination,
        subscription: Option<Descriptor>,
        owner: Option<ConnectionId>,
        backlog: Option<Arc<Backlog>>,
        policy: Arc<Policy>,
        usage: Option<Arc<DestinationUsage>>,
    ) -> Arc<Self> {
        Arc::new(Queue {
            name,
            owner,
            state: Mutex::new(State {
                stock: Stock::new(backlog, policy.prioritized_messages),
                consumers: Vec::new(),
                turn: 0,
                browsers: Vec::new(),
                orphans: Vec::new(),
                exclusive: None,
                has_ranks: false,
                awaits_until: None,
                has_groups: subscription.is_none(),
                groups: None,
                policy: Arc::clone(&policy),
                sequence: 0,
                visit: None,
                is_reading: false,
                is_deleted: false,
            }),
            counters: Counters::default(),
            subscription,
            letters: Letters::default(),
            policy,
            usage,
        })
    }

    pub(super) fn name(&self) -> &Destination {
        &self.name
    }

    /// What operators chose for it; of a subscription, for its topic.
    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Its memory, if its policy limits it.
    pub(super) fn usage(&self) -> Option<&Arc<DestinationUsage>> {
        self.usage.as_ref()
    }

    /// Whether a persistent message waits or is in flight.
    pub(super) fn is_pending(&self, position: Position) -> bool {
        let state = self.state.lock();
        let backlog = state.stock.backlog();
        backlog.is_some_and(|backlog| backlog.entry(position).is_some())
    }

    /// What the subscription was made with; None for a queue.
    pub(super) fn subscription(&self) -> Option<&Descriptor> {
        self.subscription.as_ref()
    }

    pub(super) fn subscription_key(&self) -> Option<&SubscriptionKey> {
        match &self.subscription {
            Some(Descriptor::Subscription { key, .. }) => Some(key),
            _ => None,
        }
    }

    /// The connection that may consume from it, when only one may.
    pub(super) fn owner(&self) -> Option<&ConnectionId> {
        self.owner.as_ref()
    }

    /// The journal's part of the queue, made now if there is none.
    pub(super) fn backlog(&self, broker: &Broker) -> Result<Arc<Backlog>, AppendError> {
        let mut state = self.state.lock();
        if let Some(backlog) = state.stock.backlog() {
            return Ok(Arc::clone(backlog));
        }
        let descriptor = self
            .subscription
            .clone()
            .unwrap_or_else(|| Descriptor::Queue {
                name: self.name.clone(),
            });
        let (backlog, _) = broker.store().create_backlog(descriptor.encode())?;
        if state.is_deleted {
            // Who found the queue before it was deleted sends into the void, and the next tenure must
            // not find it again.
            broker.store().remove_backlog(&backlog)?;
        }
        state.stock.attach(Arc::clone(&backlog));
        Ok(backlog)
    }

    /// Appends a persistent message.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        message: &Arc<Message>,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        let backlog = self.backlog(broker)?;
        let order = order_of(message, &self.policy);
        let new = NewMessage {
            producer,
            order,
            expiration_ms: message.expiration_ms(),
            body: message.stored().bytes(),
        };
        match broker.store().enqueue(&[backlog], new)? {
            Enqueued::Appended {
                lsn,
                location,
                positions,
            } => {
                for position in positions {
                    self.arrived(broker, lsn, position, location, message);
                }
                Ok(Receipt::At(lsn))
            }
            Enqueued::Duplicate { lsn } => Ok(Receipt::At(lsn)),
        }
    }

    /// A message as it looks in this queue: with the queue as its destination, and the one that it was
    /// sent to, if that is another, as the original one.
    pub(super) fn shown(&self, broker: &Broker, message: Arc<Message>) -> Arc<Message> {
        if self.subscription.is_some() && has_wildcard(&self.name) {
            // It came by one of many topics, and which one is in the message only.
            return message;
        }
        broker.shown_at(&self.name, message)
    }

    /// Reads a message back as it looks in this queue.
    pub(super) fn read_body(
        &self,
        broker: &Broker,
        position: Position,
        location: Location,
    ) -> Option<Arc<Message>> {
        let backlog = self.state.lock().stock.backlog().map(Arc::clone)?;
        let message = Arc::new(broker.read_back(&backlog, position, location)?);
        Some(self.shown(broker, message))
    }

    /// Whether one of the consumers that are there now wants a message.
    pub(super) fn has_consumer_for(&self, message: &Message) -> bool {
        let state = self.state.lock();
        let mut consumers = state.consumers.iter();
        consumers.any(|consumer| consumer.terms.interest.wants(message, 0))
    }

    /// A journaled message came in; it can be dispatched once `lsn` is released.
    pub(super) fn arrived(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        lsn: Lsn,
        position: Position,
        location: Location,
        message: &Arc<Message>,
    ) {
        self.counters.enqueued.fetch_add(1, Ordering::Relaxed);
        let message = &self.shown(broker, Arc::clone(message));
        broker.usage().store.grew(message.len());
        if let Some(usage) = &self.usage {
            usage.count(position, message.len());
        }
        let mut effects = Effects::default();
        {
            let mut state = self.state.lock();
            let may_cache = state.may_cache(broker);
            state.stock.arrived(position, location, message, may_cache);
            if !state.consumers.is_empty() {
                state.reserve_for_arrival(position, broker);
                state.want_visit(lsn, &mut effects);
            }
        }
        self.apply(broker, effects);
        self.advise_arrival(broker, message);
    }

    /// Keeps the body of a message that comes with a commit, if it is of use before it is read back
    /// anyway.
    pub(super) fn keep_body(
        &self,
        broker: &Broker,
        location: Location,
        message: &Arc<Message>,
    ) -> bool {
        let message = self.shown(broker, Arc::clone(message));
        let mut state = self.state.lock();
        let is_of_use = state.may_cache(broker) && !state.is_deleted;
        if is_of_use {
            state.stock.cache(location, message);
        }
        is_of_use
    }

    /// What was kept does not come.
    pub(super) fn drop_bodies(&self, locations: &[Location]) {
        if !locations.is_empty() {
            self.state.lock().stock.drop_cached(locations);
        }
    }

    /// A transaction committed at `lsn` brought `count` messages.
    pub(super) fn committed(self: &Arc<Self>, broker: &Arc<Broker>, lsn: Lsn, count: u64) {
        self.counters.enqueued.fetch_add(count, Ordering::Relaxed);
        let mut effects = Effects::default();
        {
            let mut state = self.state.lock();
            state.stock.committed();
            if !state.consumers.is_empty() {
                state.want_visit(lsn, &mut effects);
            }
        }
        self.apply(broker, effects);
    }

    /// Takes a message that is kept nowhere else, and dispatches.
    pub(super) fn enqueue_memory(self: &Arc<Self>, broker: &Arc<Broker>, message: Arc<Message>) {
        self.counters.enqueued.fetch_add(1, Ordering::Relaxed);
        let message = self.shown(broker, message);
        self.advise_arrival(broker, &message);
        if let Some(usage) = &self.usage {
            message.charge_to(usage);
        }
        self.change(broker, |state| {
            if !state.is_deleted {
                let spool = self.spill_to(broker, state, &message);
                state.stock.push_memory(message, spool);
            }
        });
    }

    /// Counts, and tells who wants to know, that a message came. Subscriptions leave that to their topic.
    pub(super) fn advise_arrival(&self, broker: &Arc<Broker>, message: &Message) {
        self.counters
            .enqueued_bytes
            .fetch_add(message.len() as u64, Ordering::Relaxed);
        if self.subscription.is_some() {
            return;
        }
        broker.advise_delivered(&self.name, message, &self.policy);
        if self.policy.send_advisory_if_no_consumers && self.consumer_count() == 0 {
            broker.advise_no_consumers(&self.name, message, &self.policy);
        }
    }

    /// Tells who wants to know that messages were consumed.
    pub(super) fn advise_departure(self: &Arc<Self>, broker: &Arc<Broker>, taken: &[InFlight]) {
        if !self.policy.advisory_for_consumed {
            return;
        }
        let slots: Vec<Slot> = taken
            .iter()
            .map(|in_flight| in_flight.slot.clone())
            .collect();
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        // The bodies may have to be read back, for which the journal keeps them long enough.
        broker.background().run(Box::new(move || {
            for slot in slots {
                let message = match (slot.message, slot.place) {
                    (Some(message), _) => Some(message),
                    (None, Place::Journal { position, location }) => {
                        queue.read_body(&owner, position, location)
                    }
                    (None, Place::Memory) => None,
                };
                if let Some(message) = message {
                    owner.advise_consumed(&queue.name, &message, &queue.policy);
                }
            }
        }));
    }

    /// Adds a consumer and dispatches to it. False: it is there already.
    pub(super) fn add_consumer(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: Consumer,
    ) -> Result<bool, Refusal> {
        let mut wait = None;
        let is_new = self.change(broker, |state| {
            if state.is_deleted {
                return Err(Refusal::NoSuchDestination(self.name.clone()));
            }
            if state.consumer(&consumer.address.id).is_some() {
                return Ok(false);
            }
            if let Some(key) = self.subscription_key()
                && !state.consumers.is_empty()
            {
                return Err(Refusal::SubscriptionInUse {
                    client_id: key.client_id.clone(),
                    name: key.name.clone(),
                });
            }
            if state.consumers.is_empty() && state.has_groups {
                wait = state.await_consumers();
            }
            state.add(consumer);
            Ok(true)
        })?;
        if let Some(time) = wait {
            self.dispatch_after(broker, time);
        }
        Ok(is_new)
    }

    /// A consumer with a window of its own for this queue.
    pub(super) fn window(&self, prefetch: usize) -> Credit {
        Credit::Own(Window::new(prefetch, self.policy.use_prefetch_extension))
    }

    /// Removes a consumer; what was in flight to it goes back to its place in the order.
    pub(super) fn remove_consumer(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        id: &ConsumerId,
        last_delivered: LastDelivered,
        unsent_from: Option<u64>,
    ) {
        self.change(broker, |state| {
            state.browsers.retain(|browser| browser.address.id != *id);
            state.remove(id, last_delivered, unsent_from);
        });
    }

    /// Changes the window of a consumer.
    pub(super) fn set_prefetch(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        id: &ConsumerId,
        prefetch: usize,
    ) {
        self.change(broker, |state| {
            if let Some(consumer) = state.consumer(id) {
                consumer.set_prefetch(prefetch);
            } else if let Some(browser) = state.browser(id) {
                browser.set_prefetch(prefetch);
            }
        });
    }

    /// Asks for one message. Answers the pull's number if it is to be given up after a time.
    pub(super) fn pull(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        id: &ConsumerId,
        is_immediate: bool,
    ) -> Option<u64> {
        self.change(broker, |state| {
            if let Some(consumer) = state.consumer(id) {
                return Some(consumer.pull(is_immediate).number);
            }
            if let Some(browser) = state.browser(id) {
                browser.pull();
            }
            None
        })
    }

    /// The time of a pull is over: tells the client if it got nothing.
    pub(super) fn give_up_pull(&self, id: &ConsumerId, number: u64) {
        let mut state = self.state.lock();
        if let Some(consumer) = state.consumer(id)
            && consumer.give_up_pull(Some(number))
        {
            consumer.address.outbox.wake();
        }
    }

    /// The dispatcher's visit: more is released.
    pub(super) fn visit(self: &Arc<Self>, broker: &Arc<Broker>) {
        self.change(broker, |state| {
            state.visit = None;
            state.stock.look_again();
        });
    }

    /// Dispatches whatever can be dispatched.
    pub(super) fn dispatch(self: &Arc<Self>, broker: &Arc<Broker>) {
        self.change(broker, |_| ());
    }

    /// Changes the state under the lock, then dispatches, then does what that calls for.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        change: impl FnOnce(&mut State) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let result = {
            let mut state = self.state.lock();
            let result = change(&mut state);
            state.dispatch_round(broker, &mut effects);
            self.overflow_round(broker, &mut state, &mut effects);
            result
        };
        self.apply(broker, effects);
        result
    }

    /// Does what an operation called for, without the lock.
    fn apply(self: &Arc<Self>, broker: &Arc<Broker>, effects: Effects) {
        for outbox in effects.wakes {
            outbox.wake();
        }
        if let Some(spill) = effects.spill {
            self.spill(broker, spill);
        }
        if effects.spill_later {
            self.spill_later(broker);
        }
        for (browser, glimpses) in effects.glimpses {
            self.read_glimpses(broker, browser, glimpses);
        }
        if let Some(unspill) = effects.unspill {
            self.unspill(broker, unspill);
        }
        // Whatever happened may have made room.
        broker.usage().waiters.wake();
        if let Some(lsn) = effects.visit {
            broker.dispatcher().visit_at(lsn, self);
        }
        if !effects.read.is_empty() {
            self.read_back(broker, effects.read);
        }
        for run in effects.runs {
            self.judge(broker, run);
        }
        for browser in effects.moving {
            broker.move_browser(browser);
        }
        for (browser, sights) in effects.browse {
            self.look_for_browser(broker, browser, sights);
        }
        if !effects.expired.is_empty() {
            broker.dead_letter(self, effects.expired, super::dead_letter::Cause::Expired);
        }
    }

    /// Deletes the queue, in the journal as well, unless the journal refuses.
    pub(super) fn delete_durably(&self, broker: &Broker) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if let Some(backlog) = state.stock.backlog() {
            broker.store().remove_backlog(backlog)?;
        }
        state.empty();
        Ok(())
    }

    /// Deletes a temporary queue with all that is in it.
    pub(super) fn delete(&self) {
        self.state.lock().empty();
    }

    pub(super) fn consumer_count(&self) -> usize {
        let state = self.state.lock();
        state.consumers.len() + state.browsers.len()
    }

    /// How many messages a consumer was sent, and how many it has not acknowledged.
    pub(super) fn progress_of(&self, id: &ConsumerId) -> Option<(u64, u64)> {
        let mut state = self.state.lock();
        let consumer = state.consumer(id)?;
        Some((consumer.dispatched, consumer.in_flight.len() as u64))
    }

    /// Removes what `taken` holds from the journal. None: nothing of it is there.
    pub(super) fn consumed(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        taken: &[InFlight],
    ) -> Result<Option<Lsn>, Refusal> {
        let positions: Vec<Position> = taken
            .iter()
            .filter_map(|in_flight| in_flight.slot.position())
            .collect();
        self.counters
            .dequeued
            .fetch_add(taken.len() as u64, Ordering::Relaxed);
        self.advise_departure(broker, taken);
        if positions.is_empty() {
            return Ok(None);
        }
        let backlog = self.backlog(broker)?;
        Ok(Some(broker.store().acknowledge(&backlog, &positions)?))
    }
}

impl State {
    pub(super) fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// Drops everything. Its part of the journal stays known, for acknowledgements that come late.
    fn empty(&mut self) {
        self.is_deleted = true;
        self.stock.clear();
        self.groups = None;
        for consumer in self.consumers.drain(..) {
            consumer.lose_queue();
        }
        self.browsers.clear();
        self.orphans.clear();
    }

    pub(super) fn consumer(&mut self, id: &ConsumerId) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|consumer| {
            // The numbers differ far more often than the text.
            consumer.address.id.value == id.value && consumer.address.id == *id
        })
    }

    fn add(&mut self, consumer: Consumer) {
        self.consumers.push(consumer);
        self.consumer_came(self.consumers.len() - 1);
        self.consumers_changed();
        self.stock.look_again();
    }

    fn remove(&mut self, id: &ConsumerId, last_delivered: LastDelivered, unsent_from: Option<u64>) {
        let Some(index) = self.consumers.iter().position(|c| c.address.id == *id) else {
            return;
        };
        let consumer = self.consumers.remove(index);
        if self.turn > index {
            self.turn -= 1;
        }
        for in_flight in consumer.into_in_flight(last_delivered, unsent_from) {
            if in_flight.held_by.is_some() {
                self.orphans.push(in_flight);
            } else {
                self.no_longer_in_flight(&in_flight);
                self.stock.put_back(in_flight.slot);
            }
        }
        if let Some(groups) = &mut self.groups {
            for slot in groups.consumer_gone(id) {
                self.stock.put_back(slot);
            }
        }
        self.consumer_went(id);
        self.consumers_changed();
    }

    /// Must be told of everything that was in flight and is no more.
    pub(super) fn no_longer_in_flight(&mut self, in_flight: &InFlight) {
        if let (Some(group), Some(groups)) = (&in_flight.group, &mut self.groups) {
            for slot in groups.left(group) {
                self.stock.put_back(slot);
            }
        }
    }

    pub(super) fn browser(&mut self, id: &ConsumerId) -> Option<&mut Browser> {
        self.browsers
            .iter_mut()
            .find(|browser| browser.address.id == *id)
    }

    pub(super) fn want_visit(&mut self, lsn: Lsn, effects: &mut Effects) {
        if self.visit.is_none_or(|visit| lsn < visit) {
            self.visit = Some(lsn);
            effects.visit = Some(lsn);
        }
    }

    /// A body is worth keeping when there is room, or when it is about to be dispatched.
    fn may_cache(&self, broker: &Broker) -> bool {
        let memory = broker.memory();
        memory.has_room_for_cache() && self.stock.cached_bytes() < memory.share_bytes()
            || self.stock.cached_bytes() < 64 << 10 && self.consumers.iter().any(Consumer::has_room)
    }

    /// Reserves early, so that the message and its reservation are released together.
    fn reserve_for_arrival(&mut self, position: Position, broker: &Broker) {
        if self.stock.is_near(position)
            && let Err(error) = self
                .stock
                .reserve_around(position.sequence(), broker.store())
        {
            // Dispatch asks again and waits.
            tracing::debug!(%error, "No dispatch reservation.");
        }
    }

    /// Ends a transaction's hold on what stays outstanding; what has no consumer any more goes back
    /// to its place.
    pub(super) fn let_go(&mut self, transaction: TransactionNumber) {
        for consumer in &mut self.consumers {
            consumer.let_go(transaction);
        }
        for in_flight in self.take_orphans(transaction) {
            self.no_longer_in_flight(&in_flight);
            self.stock.put_back(in_flight.slot);
        }
    }

    /// Takes out what a committed transaction holds.
    pub(super) fn take_held(&mut self, transaction: TransactionNumber) -> Vec<InFlight> {
        let mut taken = self.take_orphans(transaction);
        for position in taken.iter().filter_map(|orphan| orphan.slot.position()) {
            self.stock.withdrawal_done(position);
        }
        for consumer in &mut self.consumers {
            taken.extend(consumer.take_held(transaction));
        }
        for in_flight in &taken {
            self.no_longer_in_flight(in_flight);
        }
        taken
    }

    /// The journal positions that a transaction holds.
    pub(super) fn held_positions(&self, transaction: TransactionNumber) -> Vec<Position> {
        let orphans = self
            .orphans
            .iter()
            .filter(|in_flight| in_flight.held_by == Some(transaction))
            .filter_map(|in_flight| in_flight.slot.position());
        self.consumers
            .iter()
            .flat_map(|consumer| consumer.held_positions(transaction))
            .chain(orphans)
            .collect()
    }

    fn take_orphans(&mut self, transaction: TransactionNumber) -> Vec<InFlight> {
        let (taken, kept) = std::mem::take(&mut self.orphans)
            .into_iter()
            .partition(|in_flight| in_flight.held_by == Some(transaction));
        self.orphans = kept;
        taken
    }

    /// Messages that wait or are in flight.
    pub(super) fn pending(&self) -> usize {
        let in_memory = |in_flight: &&InFlight| in_flight.slot.place == Place::Memory;
        let in_flight: usize = self
            .consumers
            .iter()
            .map(|consumer| consumer.in_flight.iter().filter(in_memory).count())
            .sum();
        self.stock.backlog().map_or(0, |backlog| backlog.len())
            + self.stock.memory_len()
            + in_flight
            + self.groups.as_ref().map_or(0, |groups| groups.memory_len())
            + self.orphans.iter().filter(in_memory).count()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.orphans.len()
            + self
                .consumers
                .iter()
                .map(|consumer| consumer.in_flight.len())
                .sum::<usize>()
    }
}
