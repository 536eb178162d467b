//! The operating system's clocks and threads.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};

use super::{Clock, Joiner, Signal};

/// `CLOCK_BOOTTIME` and threads named `baton-<name>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock {}

impl RealClock {
    /// All instances show the same time.
    #[must_use]
    pub fn new() -> Self {
        RealClock {}
    }
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
        Duration::from(now)
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn processor_time(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
    }

    fn sleep(&self, duration: Duration) {
        wake_precisely();
        std::thread::sleep(duration);
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::new(RealSignal::default())
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Box<dyn Joiner> {
        let handle = std::thread::Builder::new()
            .name(format!("baton-{name}"))
            .spawn(body)
            .expect("the system has room for one more thread");
        Box::new(RealJoiner(handle))
    }
}

/// Longer waits for a signal do not care.
const PRECISE_BELOW: Duration = Duration::from_millis(5);

/// The kernel wakes a thread up to 50 us late, to wake several at once. That is half of what a good disk
/// takes; threads that sleep for a disk's sake do without.
fn wake_precisely() {
    thread_local! {
        static IS_PRECISE: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_PRECISE.replace(true) {
        // Without it, sleeps are less precise and nothing else.
        let _ = set_timerslack(1);
    }
}

#[derive(Default)]
struct RealSignal {
    is_notified: Mutex<bool>,
    changed: Condvar,
}

impl Signal for RealSignal {
    fn notify(&self) {
        *self
            .is_notified
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        if timeout.is_some_and(|timeout| timeout < PRECISE_BELOW) {
            wake_precisely();
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_notified = self
            .is_notified
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !*is_notified {
            is_notified = match deadline {
                None => self
                    .changed
                    .wait(is_notified)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.changed
                        .wait_timeout(is_notified, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        *is_notified = false;
        true
    }
}

struct RealJoiner(JoinHandle<()>);

impl Joiner for RealJoiner {
    fn join(self: Box<Self>) -> bool {
        self.0.join().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_wait_is_not_lost_and_several_count_as_one() {
        let signal = RealClock::new().signal();
        signal.notify();
        signal.notify();
        assert!(signal.wait(None));
        assert!(!signal.wait(Some(Duration::from_millis(1))));
    }

    #[test]
    fn a_waiter_is_woken_by_another_thread() {
        let clock = RealClock::new();
        let (here, there) = (clock.signal(), clock.signal());
        let (here_too, there_too) = (here.clone(), there.clone());
        let joiner = clock.spawn(
            "test",
            Box::new(move || {
                assert!(there_too.wait(Some(Duration::from_secs(20))));
                here_too.notify();
            }),
        );
        there.notify();
        assert!(here.wait(Some(Duration::from_secs(20))));
        assert!(joiner.join());
    }

    #[test]
    fn a_panic_shows_in_the_join() {
        let joiner = RealClock::new().spawn(
            "test",
            Box::new(|| std::panic::resume_unwind(Box::new("on purpose"))),
        );
        assert!(!joiner.join());
    }

    #[test]
    fn short_sleeps_are_hardly_longer_than_asked() {
        let clock = RealClock::new();
        let asked = Duration::from_micros(200);
        let best = (0..200).map(|_| {
            let before = clock.now();
            clock.sleep(asked);
            clock.now() - before
        });
        let best = best.min().expect("some");
        assert!(
            best >= asked && best < asked + Duration::from_micros(45),
            "{best:?}"
        );
    }

    #[test]
    fn time_does_not_go_back() {
        let clock = RealClock::new();
        let before = clock.now();
        clock.sleep(Duration::from_millis(2));
        assert!(clock.now() >= before + Duration::from_millis(2));
    }
}
