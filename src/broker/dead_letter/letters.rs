//! The dead letters of one queue on their way, which leave it in the order in which they became that.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Cause;
use crate::broker::Broker;
use crate::broker::queue::Queue;
use crate::broker::stock::Slot;

/// Messages that became dead letters together, and why.
type Batch = (Vec<Slot>, Cause);

/// The dead letters of one queue on their way.
#[derive(Default)]
pub(in crate::broker) struct Letters(Mutex<State>);

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Somebody moves them.
    is_moving: bool,
}

/// Lets the next one move them when this one ends, by a panic too.
struct Mover<'a>(&'a Letters);

impl Drop for Mover<'_> {
    fn drop(&mut self) {
        self.0.0.lock().is_moving = false;
    }
}

impl Letters {
    /// Adds messages. True: nobody moves them, so the caller has to see to it.
    fn add(&self, batch: Batch) -> bool {
        let mut state = self.0.lock();
        state.batches.push_back(batch);
        !std::mem::replace(&mut state.is_moving, true)
    }

    /// The next ones to move; None = there are none, and whoever moved them is done.
    fn next(&self) -> Option<Batch> {
        let mut state = self.0.lock();
        let batch = state.batches.pop_front();
        state.is_moving = batch.is_some();
        batch
    }
}

impl Broker {
    /// Moves messages, which nobody else holds any more, out of `queue`. It may have to read the
    /// journal, so it happens a little later.
    pub(in crate::broker) fn dead_letter(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
        slots: Vec<Slot>,
        cause: Cause,
    ) {
        if slots.is_empty() || !queue.letters.add((slots, cause)) {
            return;
        }
        let (broker, queue) = (Arc::clone(self), Arc::clone(queue));
        self.background().run(Box::new(move || {
            let mover = Mover(&queue.letters);
            while let Some((slots, cause)) = queue.letters.next() {
                broker.bury_all(&queue, &slots, &cause);
            }
            std::mem::forget(mover);
        }));
    }
}
