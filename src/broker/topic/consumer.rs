//! A consumer of one or several topics, without memory of its own in the journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use openwire::AckKind;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Allowance, Topic};
use crate::broker::consumer::{Acknowledgement, Address};
use crate::broker::expiry::Expired;
use crate::broker::outbox::Delivery;
use crate::broker::selector::{MessageView, Selector};
use crate::broker::slow::Sight;
use crate::broker::usage::Memory;
use crate::broker::{Message, wall_ms};

/// How much of the broker's memory may be used before topic consumers lose messages.
const OVERFLOW_PERCENT: u32 = 150;
/// Stands for no topic.
const NO_SOURCE: u32 = u32::MAX;

/// What a consumer of topics asks for.
pub(in crate::broker) struct Request {
    pub(in crate::broker) address: Address,
    pub(in crate::broker) prefetch: usize,
    /// None: everything.
    pub(in crate::broker) selector: Option<Selector>,
    pub(in crate::broker) no_local: bool,
    /// It wants to see what was published before it came.
    pub(in crate::broker) is_retroactive: bool,
    pub(in crate::broker) allowance: Allowance,
}

/// A consumer of one or several topics, without memory of its own in the journal.
pub(crate) struct TopicConsumer {
    pub(in crate::broker) address: Address,
    selector: Option<Selector>,
    no_local: bool,
    is_retroactive: bool,
    allowance: Allowance,
    memory: Arc<Memory>,
    expired: Arc<Expired>,
    state: Mutex<State>,
    discarded: AtomicU64,
}

/// A message that waits for room, and the topic that it came from.
pub(super) struct Waiting {
    pub(super) source: u32,
    pub(super) message: Arc<Message>,
}

/// Something that happened at a consumer and that others may want to know.
pub(in crate::broker) enum Deed {
    /// A message went for lack of room.
    Discarded(Arc<Topic>, Arc<Message>),
    /// So many messages wait that it must be slow.
    BecameSlow(Arc<Topic>),
}

struct State {
    prefetch: usize,
    extension: usize,
    outstanding: usize,
    /// The topics of the outstanding messages in dispatch order, equal neighbours together.
    outstanding_from: VecDeque<(u32, usize)>,
    /// The topics that it is attached to, by their numbers here.
    sources: Vec<Arc<Topic>>,
    pending: VecDeque<Waiting>,
    sequence: u64,
    /// The number of the pull that waits, and whether it is answered at once.
    pull: Option<(u64, bool)>,
    pulls: u64,
    is_slow: bool,
    /// Who is telling others of its deeds just now: if that comes back here, it could go on for ever.
    reporter: Option<ThreadId>,
    acknowledged_at: Instant,
    is_closed: bool,
}

impl TopicConsumer {
    pub(in crate::broker) fn new(
        request: Request,
        memory: Arc<Memory>,
        expired: Arc<Expired>,
    ) -> Arc<Self> {
        Arc::new(TopicConsumer {
            address: request.address,
            selector: request.selector,
            no_local: request.no_local,
            is_retroactive: request.is_retroactive,
            allowance: request.allowance,
            memory,
            expired,
            state: Mutex::new(State {
                prefetch: request.prefetch,
                extension: 0,
                outstanding: 0,
                outstanding_from: VecDeque::new(),
                sources: Vec::new(),
                pending: VecDeque::new(),
                sequence: 0,
                pull: None,
                pulls: 0,
                is_slow: false,
                reporter: None,
                acknowledged_at: Instant::now(),
                is_closed: false,
            }),
            discarded: AtomicU64::new(0),
        })
    }

    pub(super) fn is_retroactive(&self) -> bool {
        self.is_retroactive
    }

    /// The number of a new topic. None: it is attached already, or gone.
    pub(super) fn attach(&self, topic: &Arc<Topic>) -> Option<u32> {
        let mut state = self.state.lock();
        if state.is_closed || state.sources.iter().any(|other| Arc::ptr_eq(other, topic)) {
            return None;
        }
        let source = u32::try_from(state.sources.len()).ok()?;
        state.sources.push(Arc::clone(topic));
        Some(source)
    }

    /// Ends it: its topics forget it.
    pub(in crate::broker) fn close(&self) {
        let sources = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.pending.clear();
            std::mem::take(&mut state.sources)
        };
        for topic in sources {
            topic.remove_consumer(&self.address.id);
        }
    }

    fn wants(&self, message: &Message, view: &MessageView<'_>) -> bool {
        let selector = self.selector.as_ref();
        !(self.no_local && self.is_own(message))
            && selector.is_none_or(|selector| selector.selects(view))
    }

    fn is_own(&self, message: &Message) -> bool {
        message
            .producer()
            .is_some_and(|producer| producer.connection_id == self.address.connection.value)
    }

    /// Dispatches a message, or lets it wait for room.
    pub(super) fn offer(
        &self,
        source: u32,
        message: &Arc<Message>,
        view: &MessageView<'_>,
    ) -> Vec<Deed> {
        if !self.wants(message, view) {
            return Vec::new();
        }
        let mut state = self.state.lock();
        if state.is_closed || state.is_told_by_itself() {
            return Vec::new();
        }
        state.pending.push_back(Waiting {
            source,
            message: Arc::clone(message),
        });
        self.round(&mut state);
        if state.pending.is_empty() {
            state.is_slow = false;
            return Vec::new();
        }
        // Even a persistent one is nowhere else for a consumer like this.
        message.hold();
        let deeds = self.make_room(&mut state, source);
        if !deeds.is_empty() {
            state.reporter = Some(thread::current().id());
        }
        deeds
    }

    /// What was told of its deeds has been told.
    pub(super) fn reported(&self) {
        self.state.lock().reporter = None;
    }

    /// Gives it a message of the past, while its topic waits.
    pub(super) fn recover(&self, source: u32, message: &Arc<Message>) {
        if !self.wants(message, &MessageView::new(message)) {
            return;
        }
        let mut state = self.state.lock();
        state.pending.push_back(Waiting {
            source,
            message: Arc::clone(message),
        });
        self.round(&mut state);
        self.make_room(&mut state, source);
    }

    /// Gives it a message that was never published.
    pub(in crate::broker) fn replay(&self, message: &Arc<Message>) {
        self.recover(NO_SOURCE, message);
    }

    /// Keeps what waits within what is allowed.
    fn make_room(&self, state: &mut State, source: u32) -> Vec<Deed> {
        let mut deeds = Vec::new();
        let is_slow = state.prefetch > 1 && state.pending.len() > state.prefetch;
        if is_slow && !state.is_slow {
            state.is_slow = true;
            let topic = state.sources.get(source as usize);
            deeds.extend(topic.cloned().map(Deed::BecameSlow));
        }
        let limit = self.allowance.limit.unwrap_or(usize::MAX);
        // Producers wait at the limit. What the broker itself publishes does not, but must end too.
        while state.pending.len() > limit
            || state.pending.len() > 1 && self.memory.is_above(OVERFLOW_PERCENT)
        {
            for waiting in self.allowance.evict(&mut state.pending) {
                self.count_discarded();
                let topic = state.sources.get(waiting.source as usize).cloned();
                deeds.extend(topic.map(|topic| Deed::Discarded(topic, waiting.message)));
            }
        }
        deeds
    }

    fn count_discarded(&self) {
        if self.discarded.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                consumer = %self.address.id,
                limit = self.allowance.limit,
                "A topic consumer is too slow: messages that wait for it are discarded."
            );
        }
    }

    /// It as it is now.
    pub(super) fn sight(&self) -> Sight {
        let state = self.state.lock();
        Sight {
            address: self.address.clone(),
            is_behind: state.is_slow,
            outstanding: state.outstanding,
            acknowledged_at: state.acknowledged_at,
            is_told: true,
        }
    }

    /// How many messages it was sent, and how many it has not acknowledged.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.sequence, state.outstanding as u64)
    }

    /// Messages that were discarded because it was slow.
    pub(in crate::broker) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Sends what there is room for.
    fn round(&self, state: &mut State) {
        let now_ms = wall_ms();
        let mut has_sent = false;
        while state.has_room() && !self.address.outbox.is_full() {
            let Some(waiting) = state.pending.pop_front() else {
                break;
            };
            if waiting.message.is_expired(now_ms) {
                self.expired.push(waiting.message);
                continue;
            }
            state.dispatched(waiting.source);
            self.send(Some(waiting.message), state.sequence);
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
    pub(in crate::broker) fn resume(&self) {
        self.round(&mut self.state.lock());
    }

    /// Only the count of an acknowledgement matters here.
    pub(in crate::broker) fn acknowledge(&self, acknowledgement: &Acknowledgement) {
        let mut state = self.state.lock();
        state.acknowledged_at = Instant::now();
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

    pub(in crate::broker) fn set_prefetch(&self, prefetch: usize) {
        let mut state = self.state.lock();
        state.prefetch = prefetch;
        self.round(&mut state);
    }

    /// Asks for one message. Answers the number of the pull.
    pub(in crate::broker) fn pull(&self, is_immediate: bool) -> u64 {
        let mut state = self.state.lock();
        state.pulls += 1;
        let number = state.pulls;
        state.pull = Some((number, is_immediate));
        self.round(&mut state);
        number
    }

    /// The time of a pull is over.
    pub(in crate::broker) fn give_up_pull(&self, number: u64) {
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

    fn is_told_by_itself(&self) -> bool {
        self.reporter
            .is_some_and(|reporter| reporter == thread::current().id())
    }

    fn dispatched(&mut self, source: u32) {
        self.outstanding += 1;
        self.sequence += 1;
        self.pull = None;
        match self.outstanding_from.back_mut() {
            Some((last, count)) if *last == source => *count += 1,
            _ => self.outstanding_from.push_back((source, 1)),
        }
    }

    fn consumed(&mut self, count: usize) {
        let mut left = count.min(self.outstanding);
        self.outstanding -= left;
        self.extension = self.extension.saturating_sub(count);
        while left > 0
            && let Some((source, run)) = self.outstanding_from.front_mut()
        {
            let taken = left.min(*run);
            if let Some(topic) = self.sources.get(*source as usize) {
                let dequeued = &topic.counters.dequeued;
                dequeued.fetch_add(taken as u64, Ordering::Relaxed);
            }
            *run -= taken;
            left -= taken;
            if *run == 0 {
                self.outstanding_from.pop_front();
            }
        }
    }
}
