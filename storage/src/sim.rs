//! A deterministic world for the real code: simulated hosts, processes, clocks and one shared
//! directory, driven by a seed.
//!
//! Every thread of the code under test is a real thread, but exactly one runs at a time: each call of
//! [`crate::disk::Disk`], and each sleep, wait or join, hands over to another one that the seed
//! picks. Time stands still while anybody can run, and jumps to the next deadline when nobody can. So
//! a run of a minute takes milliseconds, and a seed replays.
//!
//! It knows nothing of members or journals: a test puts them together and judges. The
//! code under test must hold no mutex across those calls, and use no other means of waiting.

mod clock;
mod disk;
mod random;
mod scheduler;
mod server;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

pub use self::clock::SimClock;
pub use self::disk::SimDisk;
pub use self::random::Random;
pub use self::scheduler::{HostId, ProcessId};
use self::scheduler::{Inner, LAB, Status};
pub use self::server::{DiskMode, DiskOptions};

/// A run that takes longer in real time has a thread that waits outside the simulation.
const REAL_TIME_MAX: Duration = Duration::from_secs(300);

/// The world of one seed. Clones are the same world.
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at:?} of simulated time: {what}")]
pub struct SimFailure {
    /// When, by the lab's clock.
    pub at: Duration,
    /// What.
    pub what: String,
}

/// What a killed thread is unwound with.
struct Killed;

impl Sim {
    /// Runs `body` as the lab: outside all hosts, untouched by faults. Everything ends with it.
    ///
    /// # Errors
    /// What [`Sim::fail`] was first called with, a panic anywhere, everybody waiting for ever, or
    /// more than `steps_max` steps.
    ///
    /// # Panics
    /// If a thread waits outside the simulation.
    pub fn run(
        seed: u64,
        disk: DiskOptions,
        steps_max: u64,
        is_traced: bool,
        body: impl FnOnce(&Sim) + Send + 'static,
    ) -> Result<(), SimFailure> {
        let (ended, wait_for_end) = channel();
        let inner = Arc::new(Inner::new(seed, disk, steps_max, is_traced, ended));
        let sim = Sim {
            inner: Arc::clone(&inner),
        };
        let lab = sim.clone();
        inner.spawn(
            LAB,
            "lab",
            Box::new(move || {
                body(&lab);
                lab.inner.end_all();
            }),
        );
        inner.start();
        if wait_for_end.recv_timeout(REAL_TIME_MAX).is_err() {
            panic!(
                "seed {seed}: a thread waits outside the simulation; threads: {}",
                inner.dump()
            );
        }
        inner.join_all();
        inner.failure().map_or(Ok(()), Err)
    }

    /// A host. Its clock runs `drift_ppm` faster than the lab's (slower if negative).
    #[must_use]
    pub fn host(&self, drift_ppm: i64) -> HostId {
        self.inner.add_host(drift_ppm)
    }

    /// A process on a host, without threads.
    #[must_use]
    pub fn process(&self, host: HostId) -> ProcessId {
        self.inner.add_process(host)
    }

    /// The process of the lab: for threads that no fault touches.
    #[must_use]
    pub fn lab(&self) -> ProcessId {
        LAB
    }

    /// The clock of a process.
    #[must_use]
    pub fn clock(&self, process: ProcessId) -> Arc<SimClock> {
        Arc::new(SimClock::new(Arc::clone(&self.inner), process))
    }

    /// The shared directory as a process sees it.
    #[must_use]
    pub fn disk(&self, process: ProcessId) -> Arc<SimDisk> {
        Arc::new(SimDisk::new(Arc::clone(&self.inner), process))
    }

    /// The lab's own clock.
    #[must_use]
    pub fn lab_clock(&self) -> Arc<SimClock> {
        self.clock(LAB)
    }

    /// The directory without a host in between: no faults, no delays.
    #[must_use]
    pub fn lab_disk(&self) -> Arc<SimDisk> {
        self.disk(LAB)
    }

    /// Starts a thread in a process.
    pub fn spawn(&self, process: ProcessId, name: &str, body: impl FnOnce() + Send + 'static) {
        self.inner.spawn(process, name, Box::new(body));
    }

    /// Time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.inner.state.lock().now_ns)
    }

    /// Lets the lab or any thread sleep, by the lab's clock.
    pub fn sleep(&self, duration: Duration) {
        let until = self.inner.state.lock().now_ns + duration.as_nanos() as u64;
        self.inner.switch(Status::Sleeping(until));
    }

    /// A random number below `bound`, from the seed.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.inner.state.lock().random.below(bound)
    }

    /// Ends the run as failed. The calling thread does not come back, unless it is unwinding.
    pub fn fail(&self, what: impl Into<String>) {
        self.inner.fail(what.into());
    }

    /// Adds a line to the trace.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        self.inner.state.lock().trace(what);
    }

    /// A number that every scheduling decision and every disk operation went into.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.inner.state.lock().fingerprint
    }

    /// `kill -9`. Its threads never run again; its writes under way land whole, in part or not.
    pub fn kill(&self, process: ProcessId) {
        self.inner.kill(process);
    }

    /// True until the process is killed or ends with the run.
    #[must_use]
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.inner.state.lock().is_alive(process)
    }

    /// `SIGSTOP`: no thread runs until [`Sim::resume`]; the clock goes on, and so does the kernel.
    pub fn pause(&self, process: ProcessId) {
        self.inner.state.lock().set_paused(process, true);
    }

    /// `SIGCONT`.
    pub fn resume(&self, process: ProcessId) {
        self.inner.state.lock().set_paused(process, false);
    }

    /// The host loses its power: everything on it dies. On a local disk, what was not synced is lost in
    /// part or whole. [`Sim::power_on`] brings the host back.
    pub fn power_off(&self, host: HostId) {
        self.inner.power_off(host);
    }

    /// The host is up again, without processes.
    pub fn power_on(&self, host: HostId) {
        self.inner.state.lock().power_on(host);
    }

    /// Cuts a host off the server (NFS only): all its calls block.
    pub fn cut(&self, host: HostId) {
        self.inner.state.lock().cut(host);
    }

    /// Ends [`Sim::cut`].
    pub fn heal(&self, host: HostId) {
        self.inner.state.lock().heal(host);
    }

    /// Freezes a whole host, its kernel included.
    pub fn freeze(&self, host: HostId) {
        self.inner.state.lock().freeze(host);
    }

    /// Ends [`Sim::freeze`].
    pub fn thaw(&self, host: HostId) {
        self.inner.state.lock().thaw(host);
    }

    /// All calls of a host take until `duration` from now at least.
    pub fn stall(&self, host: HostId, duration: Duration) {
        let mut state = self.inner.state.lock();
        let until = state.now_ns + duration.as_nanos() as u64;
        state.stall(host, until);
    }

    /// Whether there is space for anything new.
    pub fn set_full(&self, is_full: bool) {
        self.inner.state.lock().server.is_full = is_full;
    }

    /// The host's next write or sync fails with EIO.
    pub fn break_next_write(&self, host: HostId) {
        self.inner.state.lock().break_next_write(host);
    }
}

/// True for the payload that unwinds killed threads.
fn is_kill(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Killed>()
}

/// Runs a thread's body; what it panicked with, if that was not a kill.
fn guarded(body: Box<dyn FnOnce() + Send>) -> (bool, Option<String>) {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => (true, None),
        Err(panic) if is_kill(&*panic) => (false, None),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            (false, Some(text.unwrap_or_else(|| "no message".to_owned())))
        }
    }
}

#[cfg(test)]
mod tests;
