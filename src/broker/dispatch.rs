//! Dispatch: from what waits in a queue to consumers with room, in order and in turn.

use std::sync::Arc;

use storage::{Location, Lsn};

use super::queue::{Effects, Queue, State};
use super::stock::{Key, Next};
use super::{Broker, Message, wall_ms};

impl State {
    /// Dispatches all that can be dispatched now.
    pub(super) fn dispatch_round(&mut self, broker: &Broker, effects: &mut Effects) {
        let released = broker.released();
        self.browse_round(released, effects);
        if self.consumers.is_empty() {
            return;
        }
        let last = self.dispatch_to_consumers(broker, released, effects);
        if matches!(last, Next::Unread) || self.is_worth_reading_ahead() {
            self.start_reading(effects);
        }
        if matches!(last, Next::Nothing) {
            self.give_up_pulls(effects);
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
            if self
                .stock
                .first()
                .is_some_and(|slot| slot.is_expired(now_ms))
            {
                effects.expired.extend(self.stock.take_first());
                continue;
            }
            match self.stock.next(broker.store(), released) {
                Ok(Next::Ready) => self.dispatch_first(index, broker, effects),
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
        let count = self.consumers.len();
        (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&index| self.consumers[index].has_room())
    }

    fn dispatch_first(&mut self, index: usize, broker: &Broker, effects: &mut Effects) {
        let Some(mut slot) = self.stock.take_first() else {
            return;
        };
        let Some(message) = slot.message.take() else {
            self.stock.put_back(slot);
            return;
        };
        self.turn = index + 1;
        self.sequence += 1;
        let position = slot.position();
        let consumer = &mut self.consumers[index];
        consumer.dispatch(slot, message, self.sequence);
        effects.wake(&consumer.address.outbox);
        if let Some(position) = position
            && let Err(error) = self
                .stock
                .reserve_around(position.sequence(), broker.store())
        {
            tracing::debug!(%error, "No dispatch reservation.");
        }
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

    fn give_up_pulls(&mut self, effects: &mut Effects) {
        for consumer in &mut self.consumers {
            if consumer.give_up_pull(None) {
                effects.wake(&consumer.address.outbox);
            }
        }
    }
}

impl Queue {
    /// Reads bodies back on a thread that may block, then dispatches.
    pub(super) fn read_back(self: &Arc<Self>, broker: &Arc<Broker>, run: Vec<(Key, Location)>) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let read: Vec<(Key, Option<Arc<Message>>)> = run
                .into_iter()
                .map(|(key, location)| (key, queue.read_body(&owner, location)))
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
}
