//! A host's clock, and threads of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::scheduler::{Inner, ProcessId, Status};
use crate::clock::{Clock, Joiner, Signal};

/// When the world begins, for people.
const WALL_START_MS: u64 = 1_700_000_000_000;

/// The clock of one simulated process.
pub struct SimClock {
    inner: Arc<Inner>,
    process: ProcessId,
}

impl SimClock {
    pub(super) fn new(inner: Arc<Inner>, process: ProcessId) -> Self {
        SimClock { inner, process }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        let state = self.inner.state.lock();
        Duration::from_nanos(state.host_time(state.host_of(self.process)))
    }

    fn wall_ms(&self) -> u64 {
        WALL_START_MS + self.inner.state.lock().now_ns / 1_000_000
    }

    fn sleep(&self, duration: Duration) {
        self.inner.die_if_killed();
        let until = {
            let state = self.inner.state.lock();
            state.after(state.host_of(self.process), duration)
        };
        self.inner.switch(Status::Sleeping(until));
    }

    fn signal(&self) -> Arc<dyn Signal> {
        Arc::new(SimSignal {
            inner: Arc::clone(&self.inner),
            process: self.process,
            flag: Arc::new(AtomicBool::new(false)),
        })
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Box<dyn Joiner> {
        Box::new(SimJoiner {
            thread: self.inner.spawn(self.process, name, body),
            inner: Arc::clone(&self.inner),
        })
    }
}

struct SimSignal {
    inner: Arc<Inner>,
    process: ProcessId,
    flag: Arc<AtomicBool>,
}

impl Signal for SimSignal {
    fn notify(&self) {
        self.flag.store(true, Ordering::Release);
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        self.inner.die_if_killed();
        let deadline = timeout.map(|timeout| {
            let state = self.inner.state.lock();
            state.after(state.host_of(self.process), timeout)
        });
        self.inner.switch(Status::Waiting {
            flag: Arc::clone(&self.flag),
            deadline,
        });
        self.flag.swap(false, Ordering::AcqRel)
    }
}

struct SimJoiner {
    inner: Arc<Inner>,
    thread: Option<usize>,
}

impl Joiner for SimJoiner {
    fn join(self: Box<Self>) -> bool {
        self.inner.die_if_killed();
        self.thread.is_some_and(|thread| self.inner.join(thread))
    }
}
