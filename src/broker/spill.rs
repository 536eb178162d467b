//! Between a queue and the temporary store: when messages go there, and when they come back.
//!
//! Writing and reading happen in the background, a run at a time, while the queue goes on. Its order
//! holds: whatever comes while something waits in the temporary store goes behind that. Only persistent
//! messages of the same queue may overtake it.

use std::sync::Arc;
use std::time::Duration;

use super::consumer::Consumer;
use super::queue::{Effects, Queue, State};
use super::spool::{Body, Files, Place, Returning, Spool, SpoolError, Unwritten};
use super::stock::Key;
use super::{Broker, Message};

/// How soon to try again what the temporary store did not take.
const PAUSE: Duration = Duration::from_millis(250);

/// A run to be written.
pub(super) type Spill = (Arc<Files>, Vec<Unwritten>);
/// A run to be taken back.
pub(super) type Unspill = Returning<Key>;

impl Queue {
    /// Where a message that came in goes if it does not stay in memory.
    pub(super) fn spill_to<'a>(
        &self,
        broker: &'a Broker,
        state: &State,
        message: &Message,
    ) -> Option<&'a Arc<Spool>> {
        let spool = &broker.usage().spool;
        if !spool.is_enabled() || self.policy().keep_in_memory {
            return None;
        }
        let mark = self.policy().cursor_memory_high_water_mark;
        // With the message itself, which counts already.
        let is_short = || {
            let usage = self.usage();
            broker.memory().is_above(mark) || usage.is_some_and(|usage| usage.is_above(mark))
        };
        (state.stock.has_overflow(message.priority()) || is_short()).then_some(spool)
    }

    /// Has written what is to be written, and read what may come back.
    pub(super) fn overflow_round(&self, broker: &Broker, state: &mut State, effects: &mut Effects) {
        if state.stock.overflow().len() == 0 {
            return;
        }
        let overflow = state.stock.overflow();
        if !broker.usage().spool.is_stuck() {
            effects.spill = overflow.begin_writing();
        } else if overflow.has_unwritten() && !overflow.is_waited_for {
            overflow.is_waited_for = true;
            effects.spill_later = true;
        }
        let mark = self.policy().cursor_memory_high_water_mark;
        let wants_more = state.consumers.iter().any(Consumer::has_room);
        let has_room = wants_more && !broker.memory().is_above(mark);
        if !state.consumers.is_empty() && state.stock.wants_overflow(has_room) {
            effects.unspill = state.stock.overflow().begin_reading();
        }
    }

    pub(super) fn spill(self: &Arc<Self>, broker: &Arc<Broker>, spill: Spill) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let (files, run) = spill;
            let bodies: Vec<&[u8]> = run
                .iter()
                .map(|unwritten| &unwritten.message.stored().bytes()[..])
                .collect();
            let written = files.append(&bodies);
            drop(bodies);
            if let Err(error) = &written {
                tell(&queue, error);
            }
            let places: Option<Vec<Place>> = written.ok();
            queue.change(&owner, |state| {
                state.stock.overflow().written(run, places);
            });
        }));
    }

    /// Looks again soon whether what is unwritten can be written.
    pub(super) fn spill_later(self: &Arc<Self>, broker: &Arc<Broker>) {
        let (queue, owner) = (Arc::downgrade(self), Arc::downgrade(broker));
        broker.runtime().spawn(async move {
            tokio::time::sleep(PAUSE).await;
            if let (Some(queue), Some(owner)) = (queue.upgrade(), owner.upgrade()) {
                queue.change(&owner, |state| {
                    state.stock.overflow().is_waited_for = false;
                });
            }
        });
    }

    pub(super) fn unspill(self: &Arc<Self>, broker: &Arc<Broker>, unspill: Unspill) {
        let (queue, owner) = (Arc::clone(self), Arc::clone(broker));
        broker.background().run(Box::new(move || {
            let (files, run) = unspill;
            let back: Vec<(Key, Option<Arc<Message>>)> = run
                .into_iter()
                .map(|(key, body)| (key, queue.body(&owner, files.as_deref(), body)))
                .collect();
            queue.change(&owner, |state| {
                state.stock.overflow().end_reading();
                for (key, message) in back {
                    if let Some(message) = message {
                        if let Some(usage) = queue.usage() {
                            message.charge_to(usage);
                        }
                        state.stock.insert_memory(key, message);
                    }
                }
            });
        }));
    }

    fn body(&self, broker: &Broker, files: Option<&Files>, body: Body) -> Option<Arc<Message>> {
        let place = match body {
            Body::Memory(message) => return Some(message),
            Body::Disk(place) => place,
        };
        let files = files?;
        let read = files
            .read(place)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                Message::read_back(bytes, broker.memory()).map_err(|error| error.to_string())
            });
        files.release(place);
        read.inspect_err(|error| {
            tracing::error!(
                queue = %self.name(),
                %error,
                "A non-persistent message is lost: it cannot be read from the temporary store."
            );
        })
        .ok()
        .map(Arc::new)
    }
}

fn tell(queue: &Queue, error: &SpoolError) {
    match error {
        SpoolError::Full { .. } => {
            tracing::debug!(queue = %queue.name(), %error, "Messages stay in memory.");
        }
        _ => tracing::error!(
            queue = %queue.name(),
            %error,
            "The temporary store fails: messages stay in memory, and producers wait when that is full."
        ),
    }
}
