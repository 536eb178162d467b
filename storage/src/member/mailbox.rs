//! Messages between the threads of a member.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Signal};

/// A queue with one reader, who sleeps on the clock's signal.
pub(super) struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    signal: Arc<dyn Signal>,
}

impl<T> Mailbox<T> {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Mailbox {
            queue: Mutex::new(VecDeque::new()),
            signal: clock.signal(),
        }
    }

    pub(super) fn push(&self, message: T) {
        self.queue.lock().push_back(message);
        self.signal.notify();
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.queue.lock().pop_front()
    }

    /// Wakes the reader without a message.
    pub(super) fn wake(&self) {
        self.signal.notify();
    }

    /// Waits for a message or a wake-up that came since the last wait.
    pub(super) fn wait(&self, timeout: Option<Duration>) {
        if timeout != Some(Duration::ZERO) {
            self.signal.wait(timeout);
        }
    }
}
