//! Queue browsers: they see what is in the queue at one moment, in order, and change nothing.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use openwire::ConsumerId;
use storage::{Location, Lsn, Position};

use super::consumer::Address;
use super::outbox::Delivery;
use super::queue::{Effects, Queue, State};
use super::stock::Stock;
use super::{Broker, Message, Refusal, wall_ms};

/// Messages looked at in one go.
const RUN_MESSAGES: usize = 64;
/// Bytes read back in one go; one message is read anyway.
const RUN_BYTES: usize = 1 << 20;

/// One browser of a queue.
#[derive(Debug)]
pub(super) struct Browser {
    pub(super) address: Address,
    prefetch: usize,
    outstanding: usize,
    has_pull: bool,
    /// Where in the backlog it is.
    cursor: Position,
    /// Journaled messages that become visible later come after the browser.
    end: Lsn,
    has_seen_backlog: bool,
    /// Read and not yet sent.
    ready: VecDeque<Arc<Message>>,
    /// What was in memory only when the browser came.
    memory: VecDeque<Arc<Message>>,
    is_reading: bool,
    has_ended: bool,
}

impl Browser {
    fn new(address: Address, prefetch: usize, stock: &Stock, end: Lsn) -> Self {
        Browser {
            address,
            prefetch,
            outstanding: 0,
            has_pull: false,
            cursor: Position::default(),
            end,
            has_seen_backlog: stock.backlog().is_none(),
            ready: VecDeque::new(),
            memory: stock.memory_messages().cloned().collect(),
            is_reading: false,
            has_ended: false,
        }
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
        });
    }

    /// Sends what can be sent. Answers what must be released before it can go on.
    fn round(&mut self, stock: &Stock, released: Lsn, effects: &mut Effects) -> Option<Lsn> {
        let (mut has_sent, mut wait) = (false, None);
        let now_ms = wall_ms();
        while self.has_room() && !self.is_reading {
            if self.ready.is_empty() && !self.has_seen_backlog {
                wait = self.look(stock, released, effects);
                if wait.is_some() && self.ready.is_empty() {
                    break;
                }
                continue;
            }
            if self.ready.is_empty() {
                std::mem::swap(&mut self.ready, &mut self.memory);
            }
            let message = self.ready.pop_front();
            // What nobody will get any more is not shown either.
            if message.as_ref().is_some_and(|it| it.is_expired(now_ms)) {
                continue;
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

    /// Looks at the next part of the backlog: takes what is in memory up to the first body that
    /// is not, or has a run of those read. Answers what must be released before the next one can be
    /// seen.
    fn look(&mut self, stock: &Stock, released: Lsn, effects: &mut Effects) -> Option<Lsn> {
        let Some(backlog) = stock.backlog() else {
            self.has_seen_backlog = true;
            return None;
        };
        let mut unread: Vec<Location> = Vec::new();
        let (mut bytes, mut wait) = (0, None);
        let (mut cursor, end) = (self.cursor, self.end);
        let ready = &mut self.ready;
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
            if is_mine {
                match stock.cached(entry.location) {
                    Some(message) if unread.is_empty() => ready.push_back(message),
                    _ => unread.push(entry.location),
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
    }
}

impl Queue {
    /// Adds a browser, which sees what is in the queue now.
    pub(super) fn add_browser(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        address: Address,
        prefetch: usize,
    ) -> Result<bool, Refusal> {
        if self.is_deleted() {
            return Err(Refusal::NoSuchDestination(self.name().clone()));
        }
        self.change(broker, |state| {
            if state.browser(&address.id).is_some() {
                return Ok(false);
            }
            let browser = Browser::new(address, prefetch, &state.stock, broker.store().appended());
            state.browsers.push(browser);
            Ok(true)
        })
    }

    /// Reads bodies for a browser on a thread that may block.
    pub(super) fn read_for_browser(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        browser: ConsumerId,
        locations: Vec<Location>,
    ) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            // What was consumed in the meantime may be gone from the journal as well.
            let read: Vec<Option<Arc<Message>>> = locations
                .into_iter()
                .map(|location| queue.read_body(&owner, location))
                .collect();
            queue.change(&owner, |state| {
                if let Some(browser) = state.browser(&browser) {
                    browser.is_reading = false;
                    browser.ready.extend(read.into_iter().flatten());
                }
            });
        }));
    }
}
