//! Threads, processes, hosts and time: who runs next.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::random::Random;
use super::server::{DiskMode, DiskOptions, Server, WriteUnderWay};
use super::{Killed, SimFailure, guarded};

/// A simulated host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) usize);

/// A simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub(super) usize);

/// The process outside the simulated world.
pub(super) const LAB: ProcessId = ProcessId(0);
pub(super) const LAB_HOST: HostId = HostId(0);
const NOBODY: usize = usize::MAX;

thread_local! {
    static ME: Cell<usize> = const { Cell::new(NOBODY) };
}

/// What a thread waits for.
pub(super) enum Status {
    Ready,
    Sleeping(u64),
    Waiting {
        flag: Arc<AtomicBool>,
        deadline: Option<u64>,
    },
    Joining(usize),
    /// Until its host reaches the server again.
    CutOff,
    Done,
}

struct Thread {
    name: String,
    process: ProcessId,
    status: Status,
    must_die: bool,
    has_panicked: bool,
    /// What is lost or done in part if it dies now.
    under_way: Option<WriteUnderWay>,
    handle: Option<JoinHandle<()>>,
}

struct Process {
    host: HostId,
    is_alive: bool,
    is_paused: bool,
}

pub(super) struct Host {
    drift_ppm: i64,
    pub(super) is_cut: bool,
    pub(super) is_frozen: bool,
    pub(super) is_off: bool,
    /// Since when the server has not heard of it.
    pub(super) silent_since: Option<u64>,
    pub(super) stalled_until: u64,
    pub(super) breaks_next_write: bool,
}

/// Everything, under one lock that is never held while a thread waits.
pub(super) struct State {
    pub(super) now_ns: u64,
    pub(super) random: Random,
    pub(super) server: Server,
    pub(super) hosts: Vec<Host>,
    pub(super) fingerprint: u64,
    processes: Vec<Process>,
    threads: Vec<Thread>,
    /// Those that are not done.
    live: Vec<usize>,
    timers: BTreeMap<(u64, u64), Timer>,
    timers_made: u64,
    steps: u64,
    steps_max: u64,
    is_ending: bool,
    is_traced: bool,
    failure: Option<SimFailure>,
}

/// What happens without a thread.
pub(super) enum Timer {
    /// The server hears that a killed process has closed its files.
    Closed(ProcessId),
    /// A write of somebody long gone arrives.
    LateWrite(WriteUnderWay),
}

pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    current: AtomicUsize,
    ended: Mutex<Sender<()>>,
}

impl Inner {
    pub(super) fn new(
        seed: u64,
        disk: DiskOptions,
        steps_max: u64,
        is_traced: bool,
        ended: Sender<()>,
    ) -> Inner {
        let lab = Process {
            host: LAB_HOST,
            is_alive: true,
            is_paused: false,
        };
        Inner {
            state: Mutex::new(State {
                now_ns: 0,
                random: Random::new(seed),
                server: Server::new(disk),
                hosts: vec![Host::new(0)],
                fingerprint: seed,
                processes: vec![lab],
                threads: Vec::new(),
                live: Vec::new(),
                timers: BTreeMap::new(),
                timers_made: 0,
                steps: 0,
                steps_max,
                is_ending: false,
                is_traced,
                failure: None,
            }),
            current: AtomicUsize::new(NOBODY),
            ended: Mutex::new(ended),
        }
    }

    pub(super) fn add_host(&self, drift_ppm: i64) -> HostId {
        let mut state = self.state.lock();
        state.hosts.push(Host::new(drift_ppm));
        HostId(state.hosts.len() - 1)
    }

    pub(super) fn add_process(&self, host: HostId) -> ProcessId {
        let mut state = self.state.lock();
        state.processes.push(Process {
            host,
            is_alive: true,
            is_paused: false,
        });
        ProcessId(state.processes.len() - 1)
    }

    /// Adds a thread; it runs when it is picked. None if the process is dead.
    pub(super) fn spawn(
        self: &Arc<Self>,
        process: ProcessId,
        name: &str,
        body: Box<dyn FnOnce() + Send>,
    ) -> Option<usize> {
        let mut state = self.state.lock();
        if !state.is_alive(process) {
            return None;
        }
        let id = state.threads.len();
        let inner = Arc::clone(self);
        let handle = std::thread::Builder::new()
            .name(format!("sim-{name}"))
            .spawn(move || {
                ME.set(id);
                inner.wait_for_turn(id);
                if inner.state.lock().threads[id].must_die {
                    inner.finish(id, false, None);
                    return;
                }
                let (is_well, panic) = guarded(body);
                inner.finish(id, !is_well, panic);
            })
            .expect("the system has room for one more thread");
        state.threads.push(Thread {
            name: name.to_owned(),
            process,
            status: Status::Ready,
            must_die: false,
            has_panicked: false,
            under_way: None,
            handle: Some(handle),
        });
        state.live.push(id);
        Some(id)
    }

    pub(super) fn start(&self) {
        let mut state = self.state.lock();
        self.hand_over(&mut state);
    }

    fn wait_for_turn(&self, me: usize) {
        while self.current.load(Ordering::Acquire) != me {
            std::thread::park();
        }
    }

    /// Gives the turn to whoever is next.
    fn hand_over(&self, state: &mut State) -> usize {
        let next = state.pick();
        self.current.store(next, Ordering::Release);
        if next == NOBODY {
            // The receiver is gone if the test has given up already.
            let _ = self.ended.lock().send(());
        } else if let Some(handle) = &state.threads[next].handle {
            handle.thread().unpark();
        }
        next
    }

    /// The scheduling point: waits for what `status` says and for its turn.
    pub(super) fn switch(&self, status: Status) {
        let me = ME.get();
        if me == NOBODY || std::thread::panicking() {
            return;
        }
        let mut state = self.state.lock();
        state.threads[me].status = status;
        let next = self.hand_over(&mut state);
        drop(state);
        if next != me {
            self.wait_for_turn(me);
        }
        if self.state.lock().threads[me].must_die {
            resume_unwind(Box::new(Killed));
        }
    }

    /// True for a thread that is being unwound: its calls have no effect.
    pub(super) fn is_dying(&self) -> bool {
        let me = ME.get();
        std::thread::panicking() || (me != NOBODY && self.state.lock().threads[me].must_die)
    }

    /// Unwinds the calling thread if it must die and is not unwinding already.
    pub(super) fn die_if_killed(&self) {
        if !std::thread::panicking() && self.is_dying() {
            resume_unwind(Box::new(Killed));
        }
    }

    /// What is lost or done in part if the calling thread dies from here on.
    pub(super) fn set_under_way(&self, under_way: Option<WriteUnderWay>) {
        let me = ME.get();
        if me != NOBODY {
            self.state.lock().threads[me].under_way = under_way;
        }
    }

    fn finish(&self, me: usize, has_panicked: bool, panic: Option<String>) {
        let mut state = self.state.lock();
        let name = state.threads[me].name.clone();
        if let Some(panic) = panic {
            state.set_failure(format!("thread {name} panicked: {panic}"));
        }
        let thread = &mut state.threads[me];
        thread.has_panicked = has_panicked;
        thread.status = Status::Done;
        state.live.retain(|id| *id != me);
        self.hand_over(&mut state);
    }

    /// True if the thread ended without a panic.
    pub(super) fn join(&self, thread: usize) -> bool {
        self.switch(Status::Joining(thread));
        !self.state.lock().threads[thread].has_panicked
    }

    pub(super) fn fail(&self, what: String) {
        self.state.lock().set_failure(what);
        self.die_if_killed();
    }

    pub(super) fn end_all(&self) {
        self.state.lock().end_all();
    }

    pub(super) fn kill(&self, process: ProcessId) {
        self.state.lock().kill(process, Death::Killed);
    }

    pub(super) fn power_off(&self, host: HostId) {
        self.state.lock().power_off(host);
    }

    pub(super) fn failure(&self) -> Option<SimFailure> {
        self.state.lock().failure.clone()
    }

    pub(super) fn join_all(&self) {
        let handles: Vec<_> = {
            let mut state = self.state.lock();
            let threads = state.threads.iter_mut();
            threads.filter_map(|thread| thread.handle.take()).collect()
        };
        for handle in handles {
            // A panic has become the run's failure.
            let _ = handle.join();
        }
    }

    pub(super) fn dump(&self) -> String {
        let current = self.current.load(Ordering::Acquire);
        // The lock may be held by whoever is stuck.
        match self.state.try_lock() {
            Some(state) => format!("thread {current} has the turn of {}", state.dump()),
            None => format!("thread {current} has the turn"),
        }
    }
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Killed,
    PowerLoss,
}

impl Host {
    fn new(drift_ppm: i64) -> Host {
        Host {
            drift_ppm,
            is_cut: false,
            is_frozen: false,
            is_off: false,
            silent_since: None,
            stalled_until: 0,
            breaks_next_write: false,
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_cut || self.is_frozen || self.is_off
    }
}

impl State {
    pub(super) fn host_of(&self, process: ProcessId) -> HostId {
        self.processes[process.0].host
    }

    pub(super) fn is_alive(&self, process: ProcessId) -> bool {
        self.processes[process.0].is_alive
    }

    /// A host's time for the lab's.
    pub(super) fn host_time(&self, host: HostId) -> u64 {
        let drift = self.hosts[host.0].drift_ppm;
        let skew = i128::from(self.now_ns) * i128::from(drift) / 1_000_000;
        // Each host began its clock at another time.
        let start = 1_000_000_000 * (1 + host.0 as i128 * 977);
        u64::try_from(start + i128::from(self.now_ns) + skew).unwrap_or(0)
    }

    /// When `duration` of the host's time will have passed, in the lab's.
    pub(super) fn after(&self, host: HostId, duration: Duration) -> u64 {
        let drift = self.hosts[host.0].drift_ppm;
        let wanted = duration.as_nanos().min(u128::from(u64::MAX / 4)) as i128;
        let lab = wanted * 1_000_000 / (1_000_000 + i128::from(drift));
        // A deadline is never early by the host's own clock.
        self.now_ns + u64::try_from(lab).unwrap_or(0) + 2
    }

    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            let now = Duration::from_nanos(self.now_ns).as_secs_f64();
            let me = ME.get();
            let thread = self.threads.get(me);
            let (name, process) =
                thread.map_or(("-", 0), |thread| (&*thread.name, thread.process.0));
            eprintln!("{now:12.6} p{process} {name:<14} {}", what());
        }
    }

    pub(super) fn mix(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint ^ value)
            .wrapping_mul(0x0000_0100_0000_01B3)
            .rotate_left(17);
    }

    fn dump(&self) -> String {
        let describe = |id: &usize| {
            let thread = &self.threads[*id];
            let status = match &thread.status {
                Status::Ready => "ready".to_owned(),
                Status::Sleeping(until) => format!("sleeping until {until}"),
                Status::Waiting { deadline, .. } => format!("waiting until {deadline:?}"),
                Status::Joining(other) => format!("joining {other}"),
                Status::CutOff => "cut off".to_owned(),
                Status::Done => "done".to_owned(),
            };
            let process = thread.process.0;
            format!("{id} {} of process {process}: {status}", thread.name)
        };
        let threads: Vec<_> = self.live.iter().map(describe).collect();
        threads.join("; ")
    }

    fn set_failure(&mut self, what: String) {
        // What threads say while they are unwound means nothing.
        if self.is_ending {
            return;
        }
        self.trace(|| format!("FAILURE: {what}"));
        self.failure = Some(SimFailure {
            at: Duration::from_nanos(self.now_ns),
            what,
        });
        self.end_all();
    }

    pub(super) fn end_all(&mut self) {
        self.is_ending = true;
        self.timers.clear();
        for process in &mut self.processes {
            process.is_alive = false;
        }
        for id in self.live.clone() {
            self.threads[id].must_die = true;
        }
    }

    /// Who runs next.
    fn pick(&mut self) -> usize {
        loop {
            if let Some(dying) = self.live.iter().find(|id| self.threads[**id].must_die) {
                return *dying;
            }
            if self.live.is_empty() {
                return NOBODY;
            }
            self.steps += 1;
            if self.steps > self.steps_max {
                self.set_failure(format!("no end after {} steps", self.steps_max));
                continue;
            }
            let ready: Vec<usize> = {
                let live = self.live.iter().copied();
                live.filter(|id| self.is_ready(*id)).collect()
            };
            if !ready.is_empty() {
                let next = ready[self.random.below(ready.len() as u64) as usize];
                self.mix(next as u64);
                self.threads[next].status = Status::Ready;
                return next;
            }
            if !self.advance() {
                let dump = self.dump();
                self.set_failure(format!("everybody waits for ever: {dump}"));
            }
        }
    }

    fn is_running(&self, process: ProcessId) -> bool {
        let process = &self.processes[process.0];
        !process.is_paused && !self.hosts[process.host.0].is_frozen
    }

    fn is_ready(&self, id: usize) -> bool {
        let thread = &self.threads[id];
        if !self.is_running(thread.process) {
            return false;
        }
        match &thread.status {
            Status::Ready => true,
            Status::Sleeping(until) => *until <= self.now_ns,
            Status::Waiting { flag, deadline } => {
                flag.load(Ordering::Acquire) || deadline.is_some_and(|at| at <= self.now_ns)
            }
            Status::Joining(other) => matches!(self.threads[*other].status, Status::Done),
            Status::CutOff => !self.hosts[self.host_of(thread.process).0].is_silent(),
            Status::Done => false,
        }
    }

    /// Moves time to the next deadline or timer. False if there is none.
    fn advance(&mut self) -> bool {
        let deadline = |id: &usize| {
            let thread = &self.threads[*id];
            if !self.is_running(thread.process) {
                return None;
            }
            match thread.status {
                Status::Sleeping(until) => Some(until),
                Status::Waiting { deadline, .. } => deadline,
                _ => None,
            }
        };
        let next = self.live.iter().filter_map(deadline).min();
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        let Some(at) = next.into_iter().chain(timer).min() else {
            return false;
        };
        self.now_ns = self.now_ns.max(at);
        while let Some((&key, _)) = self.timers.first_key_value()
            && key.0 <= self.now_ns
        {
            if let Some(timer) = self.timers.remove(&key) {
                self.fire(timer);
            }
        }
        true
    }

    pub(super) fn set_timer(&mut self, delay_ns: u64, timer: Timer) {
        self.timers_made += 1;
        self.timers
            .insert((self.now_ns + delay_ns, self.timers_made), timer);
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Closed(process) => self.server_closes(process),
            Timer::LateWrite(write) => self.server.land_late(&write, &mut self.random),
        }
    }

    pub(super) fn set_paused(&mut self, process: ProcessId, is_paused: bool) {
        self.processes[process.0].is_paused = is_paused;
    }

    fn kill(&mut self, process: ProcessId, death: Death) {
        if !std::mem::take(&mut self.processes[process.0].is_alive) {
            return;
        }
        self.processes[process.0].is_paused = false;
        self.trace(|| format!("process {} dies", process.0));
        let dying: Vec<usize> = {
            let live = self.live.iter().copied();
            live.filter(|id| self.threads[*id].process == process)
                .collect()
        };
        for id in dying {
            self.threads[id].must_die = true;
            if let Some(under_way) = self.threads[id].under_way.take() {
                self.server.interrupt(&under_way, &mut self.random);
            }
        }
        match (self.server.mode(), death) {
            (DiskMode::Local, _) | (_, Death::PowerLoss) => {}
            (DiskMode::Nfs, Death::Killed) => {
                // The kernel flushes and unlocks; cut off, it does so after the heal.
                let delay = self.random.below(50_000_000);
                self.set_timer(delay, Timer::Closed(process));
            }
        }
        if self.server.mode() == DiskMode::Local {
            self.server.unlock_all_of(process);
        }
    }

    /// The server learns that a dead process closed its files, if it can.
    fn server_closes(&mut self, process: ProcessId) {
        let host = self.host_of(process);
        let host = &self.hosts[host.0];
        if host.is_off {
            return;
        }
        if host.is_silent() {
            self.server.closes_after_heal.push(process);
            return;
        }
        let late = self.server.close_all_of(process, &mut self.random);
        for write in late {
            let delay = self.random.below(3_000_000_000);
            self.set_timer(delay, Timer::LateWrite(write));
        }
    }

    fn power_off(&mut self, host: HostId) {
        let on_host = |process: &ProcessId| self.processes[process.0].host == host;
        let processes = (1..self.processes.len()).map(ProcessId);
        for process in processes.filter(on_host).collect::<Vec<_>>() {
            self.kill(process, Death::PowerLoss);
        }
        self.trace(|| format!("host {} loses its power", host.0));
        self.silence(host, |host| host.is_off = true);
        match self.server.mode() {
            DiskMode::Local => self.server.lose_unsynced(&mut self.random),
            DiskMode::Nfs => self.server.drop_cache_of(host),
        }
    }

    pub(super) fn power_on(&mut self, host: HostId) {
        if !self.hosts[host.0].is_off {
            return;
        }
        // A client that comes back with a new identity has its old locks removed.
        self.server.forget_host(host);
        self.unsilence(host, |host| host.is_off = false);
    }

    pub(super) fn cut(&mut self, host: HostId) {
        self.trace(|| format!("host {} is cut off", host.0));
        self.silence(host, |host| host.is_cut = true);
    }

    pub(super) fn heal(&mut self, host: HostId) {
        self.trace(|| format!("host {} is connected again", host.0));
        self.unsilence(host, |host| host.is_cut = false);
    }

    pub(super) fn freeze(&mut self, host: HostId) {
        self.trace(|| format!("host {} freezes", host.0));
        self.silence(host, |host| host.is_frozen = true);
    }

    pub(super) fn thaw(&mut self, host: HostId) {
        self.trace(|| format!("host {} thaws", host.0));
        self.unsilence(host, |host| host.is_frozen = false);
    }

    fn silence(&mut self, host: HostId, change: impl FnOnce(&mut Host)) {
        let now = self.now_ns;
        let host = &mut self.hosts[host.0];
        change(host);
        host.silent_since.get_or_insert(now);
    }

    fn unsilence(&mut self, id: HostId, change: impl FnOnce(&mut Host)) {
        let host = &mut self.hosts[id.0];
        change(host);
        if host.is_silent() {
            return;
        }
        host.silent_since = None;
        self.server.finish_closes(id);
        for process in std::mem::take(&mut self.server.closes_after_heal) {
            if self.host_of(process) == id {
                let delay = self.random.below(100_000_000);
                self.set_timer(delay, Timer::Closed(process));
            } else {
                self.server.closes_after_heal.push(process);
            }
        }
    }

    pub(super) fn stall(&mut self, host: HostId, until: u64) {
        let host = &mut self.hosts[host.0];
        host.stalled_until = host.stalled_until.max(until);
    }

    pub(super) fn break_next_write(&mut self, host: HostId) {
        self.hosts[host.0].breaks_next_write = true;
    }
}
