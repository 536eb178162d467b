//! Topics, and the consumers that see only what is published while they are there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openwire::{AckKind, ConnectionId, ConsumerId, Destination};
use parking_lot::Mutex;

use super::consumer::{Acknowledgement, Address};
use super::expiry::Expired;
use super::outbox::Delivery;
use super::policy::Policy;
use super::queue::{Counters, Queue};
use super::usage::{DestinationUsage, Memory};
use super::{Message, wall_ms};

/// How much of the broker's memory may be used before topic consumers lose messages.
const OVERFLOW_PERCENT: u32 = 150;

/// A topic.
pub(crate) struct Topic {
    name: Destination,
    /// The connection that made it, for a temporary topic.
    owner: Option<ConnectionId>,
    members: Mutex<Members>,
    pub(super) counters: Counters,
    policy: Arc<Policy>,
    usage: Option<Arc<DestinationUsage>>,
}

#[derive(Default)]
struct Members {
    /// Replaced as a whole, so that publishing needs no copy.
    consumers: Arc<[Arc<TopicConsumer>]>,
    durable: Arc<[Arc<Queue>]>,
}

impl Topic {
    pub(super) fn new(
        name: Destination,
        owner: Option<ConnectionId>,
        policy: Arc<Policy>,
        usage: Option<Arc<DestinationUsage>>,
    ) -> Arc<Self> {
        Arc::new(Topic {
            policy,
            usage,
            name,
            owner,
            members: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// What operators chose for it.
    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(super) fn name(&self) -> &Destination {
        &self.name
    }

    /// Its memory, if its policy limits it.
    pub(super) fn usage(&self) -> Option<&Arc<DestinationUsage>> {
        self.usage.as_ref()
    }

    /// A message came in: it is in the topic's memory as long as anybody has it.
    pub(super) fn charge(&self, message: &Message) {
        if let Some(usage) = &self.usage {
            message.charge_to(usage);
        }
    }

    pub(super) fn owner(&self) -> Option<&ConnectionId> {
        self.owner.as_ref()
    }

    pub(super) fn delete(&self) {
        *self.members.lock() = Members::default();
    }

    pub(super) fn add_consumer(&self, consumer: &Arc<TopicConsumer>) {
        let mut members = self.members.lock();
        members.consumers = members
            .consumers
            .iter()
            .chain([consumer])
            .map(Arc::clone)
            .collect();
    }

    pub(super) fn remove_consumer(&self, id: &ConsumerId) {
        let mut members = self.members.lock();
        members.consumers = members
            .consumers
            .iter()
            .filter(|consumer| consumer.address.id != *id)
            .map(Arc::clone)
            .collect();
    }

    pub(super) fn add_subscription(&self, queue: &Arc<Queue>) {
        let mut members = self.members.lock();
        members.durable = members
            .durable
            .iter()
            .chain([queue])
            .map(Arc::clone)
            .collect();
    }

    pub(super) fn remove_subscription(&self, queue: &Arc<Queue>) {
        let mut members = self.members.lock();
        members.durable = members
            .durable
            .iter()
            .filter(|other| !Arc::ptr_eq(other, queue))
            .map(Arc::clone)
            .collect();
    }

    /// Its durable subscriptions.
    pub(super) fn durable(&self) -> Arc<[Arc<Queue>]> {
        Arc::clone(&self.members.lock().durable)
    }

    /// Its other consumers.
    pub(super) fn consumers(&self) -> Arc<[Arc<TopicConsumer>]> {
        Arc::clone(&self.members.lock().consumers)
    }

    /// How many messages a consumer was sent, and how many it has not acknowledged.
    pub(super) fn progress_of(&self, id: &ConsumerId) -> Option<(u64, u64)> {
        let consumers = self.consumers();
        let found = consumers.iter().find(|other| other.address.id == *id)?;
        let state = found.state.lock();
        Some((state.sequence, state.outstanding as u64))
    }

    pub(super) fn consumer_count(&self) -> usize {
        let members = self.members.lock();
        members.consumers.len() + members.durable.len()
    }
}

/// Hands a message to consumers of a topic.
pub(super) fn offer(consumers: &[Arc<TopicConsumer>], message: &Arc<Message>) {
    for consumer in consumers {
        consumer.offer(message);
    }
}

/// A consumer of one or several topics, without memory of its own in the journal.
pub(crate) struct TopicConsumer {
    pub(super) address: Address,
    no_local: bool,
    /// How many messages may wait beyond the prefetch.
    pending_limit: usize,
    memory: Arc<Memory>,
    expired: Arc<Expired>,
    state: Mutex<State>,
    discarded: AtomicU64,
}

struct State {
    prefetch: usize,
    extension: usize,
    outstanding: usize,
    pending: VecDeque<Arc<Message>>,
    sequence: u64,
    /// The number of the pull that waits, and whether it is answered at once.
    pull: Option<(u64, bool)>,
    pulls: u64,
}

impl TopicConsumer {
    pub(super) fn new(
        address: Address,
        prefetch: usize,
        no_local: bool,
        pending_limit: usize,
        memory: Arc<Memory>,
        expired: Arc<Expired>,
    ) -> Arc<Self> {
        Arc::new(TopicConsumer {
            address,
            no_local,
            pending_limit,
            memory,
            expired,
            state: Mutex::new(State {
                prefetch,
                extension: 0,
                outstanding: 0,
                pending: VecDeque::new(),
                sequence: 0,
                pull: None,
                pulls: 0,
            }),
            discarded: AtomicU64::new(0),
        })
    }

    /// Dispatches a message, or lets it wait for room.
    pub(super) fn offer(&self, message: &Arc<Message>) {
        if self.no_local && self.is_own(message) {
            return;
        }
        let mut state = self.state.lock();
        state.pending.push_back(Arc::clone(message));
        self.round(&mut state);
        if !state.pending.is_empty() {
            // Even a persistent one is nowhere else for a consumer like this.
            message.hold();
        }
        // Producers wait at the limit. What the broker itself publishes does not, but must end too.
        while state.pending.len() > self.pending_limit
            || state.pending.len() > 1 && self.memory.is_above(OVERFLOW_PERCENT, 0)
        {
            state.pending.pop_front();
            self.count_discarded();
        }
    }

    fn is_own(&self, message: &Message) -> bool {
        message
            .producer()
            .is_some_and(|producer| producer.connection_id == self.address.connection.value)
    }

    fn count_discarded(&self) {
        if self.discarded.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                consumer = %self.address.id,
                limit = self.pending_limit,
                "A topic consumer is too slow: its oldest messages are discarded."
            );
        }
    }

    /// Sends what there is room for.
    fn round(&self, state: &mut State) {
        let now_ms = wall_ms();
        let mut has_sent = false;
        while state.has_room() && !self.address.outbox.is_full() {
            let Some(message) = state.pending.pop_front() else {
                break;
            };
            if message.is_expired(now_ms) {
                self.expired.push(message);
                continue;
            }
            state.outstanding += 1;
            state.sequence += 1;
            state.pull = None;
            self.send(Some(message), state.sequence);
            has_sent = true;
        }
        if state.pending.is_empty()
            && let Some((_, true)) = state.pull
        {
            state.pull = None;
            self.send(None, 0);
            has_sent = true;
        }
        if has_sent {
            self.address.outbox.wake();
        }
    }

    fn send(&self, message: Option<Arc<Message>>, sequence: u64) {
        self.address.outbox.push(Delivery {
            consumer: self.address.tag,
            message,
            redeliveries: 0,
            sequence,
            is_first_in_group: false,
        });
    }

    /// Sends again after the outbox was full.
    pub(super) fn resume(&self) {
        self.round(&mut self.state.lock());
    }

    /// Only the count of an acknowledgement matters here.
    pub(super) fn acknowledge(&self, acknowledgement: &Acknowledgement) {
        let mut state = self.state.lock();
        match acknowledgement.kind {
            AckKind::Delivered => {
                state.extension = (state.extension + acknowledgement.count).min(state.outstanding);
            }
            AckKind::Redelivered | AckKind::Unmatched => {}
            AckKind::Individual => state.consumed(1),
            AckKind::Standard | AckKind::Poison | AckKind::Expired => {
                state.consumed(acknowledgement.count);
            }
        }
        self.round(&mut state);
    }

    pub(super) fn set_prefetch(&self, prefetch: usize) {
        let mut state = self.state.lock();
        state.prefetch = prefetch;
        self.round(&mut state);
    }

    /// Asks for one message. Answers the number of the pull.
    pub(super) fn pull(&self, is_immediate: bool) -> u64 {
        let mut state = self.state.lock();
        state.pulls += 1;
        let number = state.pulls;
        state.pull = Some((number, is_immediate));
        self.round(&mut state);
        number
    }

    /// The time of a pull is over.
    pub(super) fn give_up_pull(&self, number: u64) {
        let mut state = self.state.lock();
        if matches!(state.pull, Some((waiting, _)) if waiting == number) {
            state.pull = None;
            self.send(None, 0);
            self.address.outbox.wake();
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        if self.prefetch == 0 {
            return self.pull.is_some();
        }
        self.outstanding < self.prefetch + self.extension
    }

    fn consumed(&mut self, count: usize) {
        self.outstanding = self.outstanding.saturating_sub(count);
        self.extension = self.extension.saturating_sub(count);
    }
}
