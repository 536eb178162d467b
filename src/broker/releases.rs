//! How far the journal is released, and who waits for it to get further.
//!
//! A release follows every batch, and most of those who wait do not wait for that one: waking all of
//! them each time costs more than everything else that a send does. So each is woken for what it waits for.
//! The journal's thread has the next batch to write, and waking from outside the runtime takes it longer than
//! anything else between two writes: it wakes one task, which wakes the others if there are several.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};

use parking_lot::Mutex;
use storage::Lsn;
use tokio::sync::Notify;

use super::Broker;

/// What the journal has released.
pub struct Releases {
    lsn: AtomicU64,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    /// There are more to wake.
    more: Notify,
}

/// By position only.
struct Waiting {
    lsn: Lsn,
    waker: Arc<Notify>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.lsn == other.lsn
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.lsn.cmp(&other.lsn)
    }
}

impl Releases {
    pub(super) fn new(lsn: Lsn) -> Self {
        Releases {
            lsn: AtomicU64::new(lsn.0),
            waiting: Mutex::default(),
            more: Notify::new(),
        }
    }

    /// Everything up to there is released.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(atomic::Ordering::Acquire))
    }

    /// The journal has released `lsn`; it may have told of more already.
    pub(super) fn advance(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.0, atomic::Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        let Some(first) = self.pop_due(&mut waiting) else {
            return;
        };
        let is_only = waiting
            .peek()
            .is_none_or(|Reverse(next)| next.lsn > self.lsn());
        if is_only {
            drop(waiting);
            first.waker.notify_one();
        } else {
            waiting.push(Reverse(first));
            drop(waiting);
            self.more.notify_one();
        }
    }

    fn pop_due(&self, waiting: &mut BinaryHeap<Reverse<Waiting>>) -> Option<Waiting> {
        let is_due = waiting.peek()?.0.lsn <= self.lsn();
        is_due.then(|| waiting.pop())?.map(|Reverse(first)| first)
    }

    /// The first whose position is released. It is woken without the lock, because it asks for more.
    fn next_due(&self) -> Option<Arc<Notify>> {
        let mut waiting = self.waiting.lock();
        self.pop_due(&mut waiting).map(|first| first.waker)
    }

    fn wake_due(&self) {
        while let Some(waker) = self.next_due() {
            waker.notify_one();
        }
    }

    /// Gives `waker` a permit once `lsn` is released, which may be now. That it is not wanted any more
    /// cannot be said: the permit of one that is gone reaches nobody.
    pub fn wake_at(&self, lsn: Lsn, waker: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        // Under the lock: whoever advances it later finds what is added here.
        if lsn <= self.lsn() {
            drop(waiting);
            waker.notify_one();
            return;
        }
        waiting.push(Reverse(Waiting {
            lsn,
            waker: Arc::clone(waker),
        }));
    }

    /// Waits until `lsn` is released.
    pub async fn reach(&self, lsn: Lsn) {
        let waker = Arc::new(Notify::new());
        while lsn > self.lsn() {
            self.wake_at(lsn, &waker);
            waker.notified().await;
        }
    }
}

/// Wakes those whom the journal's thread leaves, until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let releases = broker.releases();
    loop {
        releases.wake_due();
        tokio::select! {
            () = releases.more.notified() => {}
            () = broker.ended() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_told(waker: &Notify) -> bool {
        let notified = waker.notified();
        let mut notified = std::pin::pin!(notified);
        let mut context = Context::from_waker(Waker::noop());
        notified.as_mut().poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn everybody_is_woken_for_what_they_wait_for_and_for_nothing_else() {
        let releases = Releases::new(Lsn(5));
        let wakers: [Arc<Notify>; 4] = Default::default();
        for (waker, lsn) in wakers.iter().zip([9, 7, 5, 8]) {
            releases.wake_at(Lsn(lsn), waker);
        }
        let woken = || wakers.each_ref().map(|waker| is_told(waker));
        assert_eq!(woken(), [false, false, true, false], "released before");
        releases.advance(Lsn(6));
        assert_eq!(woken(), [false; 4]);
        assert!(!is_told(&releases.more));
        releases.advance(Lsn(7));
        assert_eq!(woken(), [false, true, false, false], "alone: at once");
        releases.advance(Lsn(8));
        assert_eq!(woken(), [false, false, false, true]);
        releases.advance(Lsn(7));
        assert_eq!(releases.lsn(), Lsn(8), "it never goes back");
        releases.advance(Lsn(20));
        assert_eq!(woken(), [true, false, false, false]);
        for waker in &wakers {
            releases.wake_at(Lsn(21), waker);
        }
        assert!(!is_told(&releases.more));
        releases.advance(Lsn(21));
        assert_eq!(woken(), [false; 4], "several: by the task");
        assert!(is_told(&releases.more));
        releases.wake_due();
        assert_eq!(woken(), [true; 4]);
    }

    #[test]
    fn nobody_is_forgotten_while_releases_and_waits_meet() {
        let releases = Arc::new(Releases::new(Lsn(0)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime");
        let last = 20_000;
        let waiters = (0..4).map(|offset| {
            let releases = Arc::clone(&releases);
            runtime.spawn(async move {
                for lsn in (offset..=last).step_by(4) {
                    releases.reach(Lsn(lsn)).await;
                }
            })
        });
        let waiters: Vec<_> = waiters.collect();
        for lsn in 1..=last {
            releases.advance(Lsn(lsn));
            if is_told(&releases.more) {
                releases.wake_due();
            }
        }
        runtime.block_on(async {
            for waiter in waiters {
                waiter.await.expect("all were woken");
            }
        });
        assert!(releases.waiting.lock().is_empty());
    }
}
