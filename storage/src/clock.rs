//! Time, and the threads that live in it: the second door to the outside.

use std::sync::Arc;
use std::time::Duration;

mod real;

pub use real::RealClock;

/// Time and threads, real or simulated.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed point, counting the time that the host was suspended
    /// (`CLOCK_BOOTTIME`). Never goes back.
    fn now(&self) -> Duration;

    /// Milliseconds since 1970, for people and message timestamps; it may jump.
    fn wall_ms(&self) -> u64;

    /// Processor time of the calling thread; zero where nobody counts it.
    fn processor_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Suspends the calling thread.
    fn sleep(&self, duration: Duration);

    /// A new signal.
    fn signal(&self) -> Arc<dyn Signal>;

    /// Runs `body` on a thread of its own.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Box<dyn Joiner>;
}

/// A binary semaphore: a notification before the wait is not lost, several count as one.
pub trait Signal: Send + Sync {
    /// Wakes one waiter, now or at its next wait.
    fn notify(&self);

    /// Waits for a notification; false if `timeout` ran out first.
    fn wait(&self, timeout: Option<Duration>) -> bool;
}

/// Waits for a thread's end.
pub trait Joiner: Send {
    /// Waits until the thread has ended; false if it panicked.
    fn join(self: Box<Self>) -> bool;
}
