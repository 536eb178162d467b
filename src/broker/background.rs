//! Work that may block on the journal: reading bodies back, moving messages to a dead letter queue.
//!
//! A few threads do it in the order it came, however many queues ask at the same time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

const THREADS_MAX: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// A short queue of blocking work.
pub(crate) struct Background {
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl Background {
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Background {
            runtime,
            state: Mutex::default(),
        })
    }

    /// Runs `job` soon, on a thread that may block.
    pub(crate) fn run(self: &Arc<Self>, job: Job) {
        {
            let mut state = self.state.lock();
            state.jobs.push_back(job);
            if state.threads == THREADS_MAX {
                return;
            }
            state.threads += 1;
        }
        let this = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            let _slot = Slot(&this);
            while let Some(job) = this.next() {
                job();
            }
        });
    }

    fn next(&self) -> Option<Job> {
        self.state.lock().jobs.pop_front()
    }
}

/// Gives the thread's place free, also when a job panics.
struct Slot<'a>(&'a Arc<Background>);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads -= 1;
        // A job that came between the last look and now found all places taken.
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            self.0.run(job);
        }
    }
}
