//! Who waits for room, and is to be called when there may be some.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many are called for each piece of room that comes free. Whoever is called and finds none has
/// taken nothing from the others: all of them look by themselves from time to time as well.
const CALLED_AT_ONCE: usize = 8;

/// Who waits for room.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    calls: Mutex<VecDeque<Arc<Notify>>>,
}

impl Waiters {
    /// Somebody begins to wait.
    pub(super) fn add(self: &Arc<Self>) -> Waiter {
        let call = Arc::new(Notify::new());
        self.calls.lock().push_back(Arc::clone(&call));
        self.count.fetch_add(1, Ordering::SeqCst);
        Waiter {
            waiters: Arc::clone(self),
            call,
        }
    }

    /// There may be room. Costs next to nothing while nobody waits. May be called under any lock.
    pub(crate) fn wake(&self) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut calls = self.calls.lock();
        for _ in 0..CALLED_AT_ONCE.min(calls.len()) {
            let Some(call) = calls.pop_front() else {
                return;
            };
            call.notify_one();
            calls.push_back(call);
        }
    }
}

/// A place among those who wait; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    call: Arc<Notify>,
}

impl Waiter {
    /// Waits for a call. One that came since the last time is not lost.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.count.fetch_sub(1, Ordering::SeqCst);
        let mut calls = self.waiters.calls.lock();
        calls.retain(|call| !Arc::ptr_eq(call, &self.call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_comes_before_the_wait_is_not_lost() {
        let waiters = Arc::new(Waiters::default());
        waiters.wake();
        let waiter = waiters.add();
        waiters.wake();
        waiter.called().await;
        drop(waiter);
        assert!(waiters.calls.lock().is_empty());
    }
}
