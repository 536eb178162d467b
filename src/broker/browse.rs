//! Queue browsers: they see what is in the queue at one moment, in order, and change nothing.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openwire::ConsumerId;
use storage::{Location, Lsn, Position};

use super::consumer::{Address, InFlight, Terms};
use super::interest::Interest;
use super::outbox::Delivery;
use super::queue::{Effects, Queue, State};
use super::spool::Glimpse;
use super::stock::{Key, Place, Slot, Stock};
use super::{Broker, Message, Refusal, wall_ms};

/// Messages looked at in one go.
const RUN_MESSAGES: usize = 64;
/// Bytes read back in one go; one message is read anyway.
const RUN_BYTES: usize = 1 << 20;
/// Messages of the temporary store that a browser gets to see.
const OVERFLOW_SEEN: usize = 10_000;

/// A message of the backlog that a browser comes to.
#[derive(Debug)]
pub(super) struct Sight {
    key: Key,
    position: Position,
    location: Location,
    message: Option<Arc<Message>>,
}

/// The queues that a browser looks at one after the other.
pub(super) struct Trail {
    pub(super) queues: Vec<Arc<Queue>>,
    is_closed: AtomicBool,
}

impl Trail {
    pub(super) fn new(queues: Vec<Arc<Queue>>) -> Arc<Self> {
        Arc::new(Trail {
            queues,
            is_closed: AtomicBool::new(false),
        })
    }

    /// The browser is closed: it goes no further.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}

/// One browser of a queue.
pub(super) struct Browser {
    pub(super) address: Address,
    interest: Interest,
    prefetch: usize,
    outstanding: usize,
    has_pull: bool,
    /// Where in the backlog it is.
    cursor: Position,
    /// Journaled messages that become visible later come after the browser.
    end: Lsn,
    has_seen_backlog: bool,
    /// Wanted, in memory and not yet sent.
    ready: VecDeque<(Key, Arc<Message>)>,
    /// What was in memory only when the browser came.
    memory: VecDeque<(Key, Arc<Message>)>,
    /// What memory had no room for then.
    overflow: VecDeque<(Key, Glimpse)>,
    is_reading: bool,
    has_ended: bool,
    /// All queues that it looks at, and which of them comes after this one.
    trail: Option<(Arc<Trail>, usize)>,
}

impl Browser {
    /// A browser that has yet to come to a queue.
    fn new(address: Address, terms: Terms, trail: Option<(Arc<Trail>, usize)>) -> Self {
        Browser {
            address,
            interest: terms.interest,
            prefetch: terms.prefetch,
            outstanding: 0,
            has_pull: false,
            cursor: Position::default(),
            end: Lsn::default(),
            has_seen_backlog: true,
            ready: VecDeque::new(),
            memory: VecDeque::new(),
            overflow: VecDeque::new(),
            is_reading: false,
            has_ended: false,
            trail,
        }
    }

    /// It comes to a queue.
    fn enter(&mut self, stock: &Stock, memory: VecDeque<(Key, Arc<Message>)>, end: Lsn) {
        self.cursor = Position::default();
        self.end = end;
        self.has_seen_backlog = stock.backlog().is_none();
        self.memory = memory;
        self.overflow = stock.glimpses(OVERFLOW_SEEN).into();
    }

    /// Whether it has seen all of this queue, and there is another one.
    fn is_moving(&self) -> bool {
        let is_done = self.has_seen_backlog
            && !self.is_reading
            && self.ready.is_empty()
            && self.memory.is_empty()
            && self.overflow.is_empty();
        let next = self.trail.as_ref();
        is_done && next.is_some_and(|(trail, next)| *next < trail.queues.len())
    }

    pub(super) fn set_prefetch(&mut self, prefetch: usize) {
        self.prefetch = prefetch;
    }

    pub(super) fn pull(&mut self) {
        self.has_pull = true;
    }

    /// The client has taken some of what was sent.
    pub(super) fn acknowledged(&mut self, count: usize) {
        self.outstanding = self.outstanding.saturating_sub(count);
    }

    fn has_room(&self) -> bool {
        let has_credit = if self.prefetch == 0 {
            self.has_pull
        } else {
            self.outstanding < self.prefetch
        };
        has_credit && !self.address.outbox.is_full()
    }

    fn send(&mut self, message: Option<Arc<Message>>) {
        self.has_pull = false;
        self.outstanding += usize::from(message.is_some());
        self.address.outbox.push(Delivery {
            consumer: self.address.tag,
            message,
            redeliveries: 0,
            sequence: self.outstanding as u64,
            is_first_in_group: false,
        });
    }

    /// Sends what can be sent. Answers what must be released before it can go on.
    fn round(&mut self, stock: &Stock, released: Lsn, effects: &mut Effects) -> Option<Lsn> {
        let (mut has_sent, mut wait) = (false, None);
        while self.has_room() && !self.is_reading {
            if self.ready.is_empty() && !self.has_seen_backlog {
                wait = self.look(stock, released, effects);
                if wait.is_some() && self.ready.is_empty() {
                    break;
                }
                continue;
            }
            if self.is_out_of_messages() && !self.overflow.is_empty() {
                let count = self.overflow.len().min(RUN_MESSAGES);
                let run = self.overflow.drain(..count).collect();
                self.is_reading = true;
                effects.glimpses.push((self.address.id.clone(), run));
                break;
            }
            let message = self.next();
            if message.is_none() && !self.overflow.is_empty() {
                continue;
            }
            if message.is_none() && self.is_moving() {
                break;
            }
            if message.is_none() && self.has_ended && !self.has_pull {
                break;
            }
            self.has_ended |= message.is_none();
            self.send(message);
            has_sent = true;
        }
        if has_sent {
            effects.wake(&self.address.outbox);
        }
        wait
    }

    fn is_out_of_messages(&self) -> bool {
        self.ready.is_empty() && self.memory.is_empty()
    }

    /// The next message, of the journaled ones and those in memory.
    fn next(&mut self) -> Option<Arc<Message>> {
        loop {
            let journaled = self.ready.front().map(|(key, _)| *key);
            let in_memory = self.memory.front().map(|(key, _)| *key);
            let is_journaled = match (journaled, in_memory) {
                (None, None) => return None,
                (Some(journaled), Some(in_memory)) => journaled < in_memory,
                (journaled, None) => journaled.is_some(),
                (None, Some(_)) => false,
            };
            let next = if is_journaled {
                self.ready.pop_front()
            } else {
                self.memory.pop_front()
            };
            let (_, message) = next?;
            // What nobody will get any more is not shown either.
            let is_shown = !message.is_expired(wall_ms());
            if is_shown && (is_journaled || self.interest.wants(&message, 0)) {
                return Some(message);
            }
        }
    }

    /// Looks at the next part of the backlog: takes what is in memory up to the first body that
    /// is not, or has a run of those read; with a selector, has a run of any looked at. Answers what
    /// must be released before the next one can be seen.
    fn look(&mut self, stock: &Stock, released: Lsn, effects: &mut Effects) -> Option<Lsn> {
        let Some(backlog) = stock.backlog() else {
            self.has_seen_backlog = true;
            return None;
        };
        let mut unread: Vec<Sight> = Vec::new();
        let (mut bytes, mut wait) = (0, None);
        let (mut cursor, end, now_ms) = (self.cursor, self.end, wall_ms());
        let (ready, takes_all) = (&mut self.ready, self.interest.is_all());
        let mut is_at_end = true;
        backlog.scan(cursor, &mut |position, entry| {
            let length = entry.location.length as usize;
            let count = ready.len() + unread.len();
            let is_enough = count == RUN_MESSAGES || count > 0 && bytes + length > RUN_BYTES;
            let is_mine = entry.visible <= end;
            wait = (is_mine && entry.visible > released).then_some(entry.visible);
            if is_enough || wait.is_some() {
                is_at_end = false;
                return ControlFlow::Break(());
            }
            let is_expired = entry.expiration_ms > 0 && entry.expiration_ms <= now_ms;
            if is_mine && !is_expired {
                let key = Key::journaled(position);
                match stock.cached(entry.location) {
                    Some(message) if unread.is_empty() && takes_all => {
                        ready.push_back((key, message));
                    }
                    message => unread.push(Sight {
                        key,
                        position,
                        location: entry.location,
                        message,
                    }),
                }
                bytes += length;
            }
            cursor = Position(position.0 + 1);
            ControlFlow::Continue(())
        });
        self.cursor = cursor;
        self.has_seen_backlog = is_at_end;
        if !unread.is_empty() {
            self.is_reading = true;
            effects.browse.push((self.address.id.clone(), unread));
        }
        wait
    }
}

impl State {
    /// All messages that are kept nowhere but in memory, in order.
    fn memory_messages(&self) -> VecDeque<(Key, Arc<Message>)> {
        let consumers = self.consumers.iter();
        let in_flight = consumers.flat_map(|consumer| &consumer.in_flight);
        let in_flight = in_flight.chain(&self.orphans);
        let parked = self.groups.iter().flat_map(|groups| groups.slots());
        let slots = self.stock.waiting().chain(parked);
        let slots = slots.chain(in_flight.map(|in_flight: &InFlight| &in_flight.slot));
        let in_memory = |slot: &&Slot| slot.place == Place::Memory;
        let mut messages: Vec<(Key, Arc<Message>)> = slots
            .filter(in_memory)
            .filter_map(|slot| Some((slot.key, Arc::clone(slot.message.as_ref()?))))
            .collect();
        messages.sort_unstable_by_key(|(key, _)| *key);
        messages.into()
    }

    /// Sends to browsers what can be sent.
    pub(super) fn browse_round(&mut self, released: Lsn, effects: &mut Effects) {
        let stock = &self.stock;
        let browsers = self.browsers.iter_mut();
        let wait = browsers
            .filter_map(|browser| browser.round(stock, released, effects))
            .min();
        if let Some(lsn) = wait {
            self.want_visit(lsn, effects);
        }
        let moving = self.browsers.extract_if(.., |browser| browser.is_moving());
        effects.moving.extend(moving);
    }
}

impl Queue {
    /// Adds a browser, which sees what is in the queue now, in flight or not.
    pub(super) fn add_browser(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        address: Address,
        terms: Terms,
    ) -> Result<bool, Refusal> {
        self.receive_browser(broker, Browser::new(address, terms, None))
    }

    fn receive_browser(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        mut browser: Browser,
    ) -> Result<bool, Refusal> {
        self.change(broker, |state| {
            if state.is_deleted() {
                return Err(Refusal::NoSuchDestination(self.name().clone()));
            }
            let trail = browser.trail.as_ref();
            let is_closed = trail.is_some_and(|(trail, _)| trail.is_closed.load(Ordering::SeqCst));
            if is_closed || state.browser(&browser.address.id).is_some() {
                return Ok(false);
            }
            let (memory, end) = (state.memory_messages(), broker.store().appended());
            browser.enter(&state.stock, memory, end);
            state.browsers.push(browser);
            Ok(true)
        })
    }

    /// Looks at messages for a browser on a thread that may block.
    pub(super) fn look_for_browser(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        browser: ConsumerId,
        sights: Vec<Sight>,
    ) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        let interest = {
            let mut state = self.state.lock();
            let browser = state.browser(&browser);
            browser.map(|browser| browser.interest.clone())
        };
        let Some(interest) = interest else {
            return;
        };
        broker.background().run(Box::new(move || {
            let mut seen = Vec::new();
            for sight in sights {
                // What was consumed in the meantime may be gone from the journal as well.
                let message = sight
                    .message
                    .or_else(|| queue.read_body(&owner, sight.position, sight.location));
                let message = message.filter(|message| interest.wants(message, 0));
                seen.extend(message.map(|message| (sight.key, message)));
            }
            queue.change(&owner, |state| {
                if let Some(browser) = state.browser(&browser) {
                    browser.is_reading = false;
                    browser.ready.extend(seen);
                }
            });
        }));
    }

    /// Reads what a browser is to see of the temporary store, on a thread that may block.
    pub(super) fn read_glimpses(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        browser: ConsumerId,
        glimpses: Vec<(Key, Glimpse)>,
    ) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let read = |glimpse: Glimpse| match glimpse {
                Glimpse::Memory(message) => Some(message),
                // What was consumed in the meantime is gone.
                Glimpse::Disk(files, place) => {
                    let bytes = files.read(place).ok()?;
                    Message::read_back(bytes, owner.memory()).ok().map(Arc::new)
                }
            };
            let messages: Vec<(Key, Arc<Message>)> = glimpses
                .into_iter()
                .filter_map(|(key, glimpse)| Some((key, read(glimpse)?)))
                .collect();
            queue.change(&owner, |state| {
                if let Some(browser) = state.browser(&browser) {
                    browser.is_reading = false;
                    browser.memory.extend(messages);
                }
            });
        }));
    }
}

impl Broker {
    /// Has a browser look at several queues, one after the other.
    pub(super) fn browse(self: &Arc<Self>, address: Address, terms: Terms, trail: &Arc<Trail>) {
        let browser = Browser::new(address, terms, Some((Arc::clone(trail), 0)));
        self.move_browser(browser);
    }

    /// A browser goes on to its next queue.
    pub(super) fn move_browser(self: &Arc<Self>, mut browser: Browser) {
        let Some((trail, next)) = &mut browser.trail else {
            return;
        };
        let Some(queue) = trail.queues.get(*next).map(Arc::clone) else {
            // Nothing to look at, not even one queue.
            browser.send(None);
            return browser.address.outbox.wake();
        };
        *next += 1;
        if let Err(refusal) = queue.receive_browser(self, browser) {
            tracing::debug!(%refusal, "A browser ends at a queue that is being deleted.");
        }
    }
}
