//! The lab: sets up hosts and brokers, does things to them, and judges the end.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use storage::journal::{InFlight, SyncMethod};
use storage::member::{Fence, Sabotage, Takeover};
use storage::sim::{DiskMode, DiskOptions, HostId, ProcessId, Random, Sim, SimFailure};
use storage::state::State;
use storage::tail::Follower;
use storage::{Backlog, Entry, Event, Keyring, Lsn, Member, MemberOptions, Position, Store};

use super::broker::{self, Handle, PRODUCERS, World};
use super::ledger::Ledger;

const LEASE: Duration = Duration::from_secs(1);
/// From the end of all faults to an acknowledgement: what is left of a server's lease, two leases of
/// ours, and time to start, read and be unlucky twice.
const PROGRESS: Duration = Duration::from_secs(20);
const STEPS_MAX: u64 = 2_000_000;

/// Everything that a seed decides before the run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) sabotage: Sabotage,
    pub(crate) is_traced: bool,
    /// Only faults that hold a host up about as long as its lease lasts, on NFS: where rare
    /// mistakes of the protocol show.
    pub(crate) is_aimed: bool,
}

/// Pause, cut off, freeze and stall, as [`Lab::fault`] numbers them.
const HOLD_UPS: [u64; 5] = [2, 3, 8, 9, STALL];
const STALL: u64 = 11;

/// A place for a broker.
struct Slot {
    host: HostId,
    name: String,
    process: ProcessId,
    handle: Handle,
    is_dead: bool,
}

struct Lab {
    world: World,
    random: Random,
    mode: DiskMode,
    is_aimed: bool,
    hosts: Vec<HostId>,
    slots: Arc<Mutex<Vec<Slot>>>,
    observer: Observer,
    /// No broker is started any more.
    is_over: Arc<AtomicBool>,
}

/// Runs one seed; what happened is in the ledger.
pub(crate) fn run(plan: &Plan) -> (Result<(), SimFailure>, Arc<Mutex<Ledger>>) {
    let mut random = Random::new(plan.seed.wrapping_mul(0x9E37_79B9));
    let mode = if random.chance(500) && !plan.is_aimed {
        DiskMode::Local
    } else {
        DiskMode::Nfs
    };
    // A server may take locks away before our own lease is over: then two may say what both have,
    // and still nothing is lost.
    let is_server_impatient = mode == DiskMode::Nfs && random.chance(150);
    let server_lease_ns = match is_server_impatient {
        true => 100_000_000 + random.below(900_000_000),
        false => 1_300_000_000 + random.below(2_500_000_000),
    };
    let disk = DiskOptions {
        mode,
        server_lease_ns,
        latency_ns: 200_000 + random.below(4_000_000),
        slow_permille: random.below(10),
        slow_ns: random.below(1_500_000_000),
    };
    let options = MemberOptions {
        name: String::new(),
        lease_duration: LEASE,
        renewal_interval: Duration::from_millis(150 + random.below(200)),
        lock_poll_interval: Duration::from_millis(60),
        tail_poll_interval: Duration::from_millis(80),
        clock_drift_permille: 10,
        takeover: Takeover::LockOrLease,
        fence: if random.chance(300) {
            Fence::Strict
        } else {
            Fence::Lease
        },
        segment_bytes: 8 << 10,
        checkpoint_bytes: 12 << 10,
        // No draw of its own: known seeds go on showing what they show.
        keys: match plan.seed % 4 == 3 && plan.sabotage == Sabotage::default() {
            true => storage::testing::keyring(&[1]),
            false => Default::default(),
        },
        preallocate: random.chance(300),
        in_flight: match random.below(4) {
            0 => InFlight::UpTo(1),
            more => InFlight::Always(1 + more as usize + random.below(3) as usize),
        },
        sync: SyncMethod::Auto,
    };
    let ledger = Arc::new(Mutex::new(Ledger::new(is_server_impatient)));
    let (sabotage, is_aimed) = (plan.sabotage, plan.is_aimed);
    let for_lab = Arc::clone(&ledger);
    let outcome = Sim::run(plan.seed, disk, STEPS_MAX, plan.is_traced, move |sim| {
        let world = World {
            sim: sim.clone(),
            ledger: for_lab,
            options,
            sabotage,
        };
        let keys = world.options.keys.clone();
        let mut lab = Lab {
            world,
            random,
            mode,
            is_aimed,
            hosts: Vec::new(),
            slots: Arc::default(),
            observer: Observer::with(keys),
            is_over: Arc::default(),
        };
        lab.observer.start(sim);
        lab.set_up();
        lab.trouble();
        lab.judge();
    });
    (outcome, ledger)
}

impl Lab {
    fn set_up(&mut self) {
        let brokers = 2 + self.random.below(2);
        for number in 0..brokers {
            if self.mode == DiskMode::Nfs || self.hosts.is_empty() {
                let drift = self.random.below(9_000) as i64 - 4_500;
                self.hosts.push(self.world.sim.host(drift));
            }
            let host = self.hosts[self.hosts.len() - 1];
            let process = self.world.sim.process(host);
            let name = format!("broker {number}");
            let handle = broker::start(&self.world, process, &name);
            self.slots
                .lock()
                .expect("nobody panics with it")
                .push(Slot {
                    host,
                    name,
                    process,
                    handle,
                    is_dead: false,
                });
            let pause = self.random.below(300);
            self.world.sim.sleep(Duration::from_millis(pause));
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Slot>) -> T) -> T {
        look(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place of the active in three of four cases, any in the others.
    fn target(&mut self) -> (usize, HostId, ProcessId) {
        let active = self.world.with(|ledger| ledger.active());
        let any = self.random.below(self.with(|slots| slots.len()) as u64) as usize;
        let of_active = active.and_then(|(process, _)| {
            self.with(|slots| slots.iter().position(|slot| slot.process == process))
        });
        let index = match of_active {
            Some(index) if self.random.chance(750) => index,
            _ => any,
        };
        self.with(|slots| (index, slots[index].host, slots[index].process))
    }

    fn trouble(&mut self) {
        for _ in 0..3 + self.random.below(6) {
            // Some faults strike while the one before is being dealt with.
            let pause = match self.random.below(3) {
                0 => self.random.below(250),
                _ => self.random.below(2_400),
            };
            self.world.sim.sleep(Duration::from_millis(pause));
            self.check();
            self.fault();
        }
        self.world.sim.sleep(Duration::from_secs(4));
    }

    fn check(&self) {
        self.world
            .must(self.world.with(|ledger| ledger.check_gates()));
    }

    fn fault(&mut self) {
        let (slot, host, process) = self.target();
        let sim = self.world.sim.clone();
        // Often just around the time after which a lease is found to have run out.
        let time = match self.random.below(2) {
            variant if variant == 0 || self.is_aimed => {
                LEASE + Duration::from_millis(self.random.below(600))
            }
            _ => Duration::from_millis(50 + self.random.below(3_500)),
        };
        let kind = match self.is_aimed {
            true => HOLD_UPS[self.random.below(HOLD_UPS.len() as u64) as usize],
            false => self.random.below(STALL),
        };
        match (kind, self.mode) {
            (0 | 1, _) => {
                self.count("kill");
                self.kill(slot);
                self.restart_later(slot, time / 3);
            }
            (2 | 3, _) => {
                self.count("pause");
                sim.pause(process);
                let dies = self.random.chance(250);
                self.later(time, move |lab| match dies {
                    true => lab.kill(slot),
                    false => lab.world.sim.resume(process),
                });
                if dies {
                    self.restart_later(slot, time * 2);
                }
            }
            (4, _) => {
                self.count("power loss");
                self.power_off(host, time / 2);
            }
            (5, _) => {
                self.count("planned switchover");
                self.with(|slots| slots[slot].handle.release());
            }
            (6, _) => {
                self.count("disk full");
                sim.set_full(true);
                self.later(time, |lab| lab.world.sim.set_full(false));
            }
            (7, _) => {
                self.count("I/O error");
                sim.break_next_write(host);
            }
            (8, DiskMode::Nfs) => {
                self.count("cut off");
                sim.cut(host);
                if self.random.chance(300) {
                    self.count("kill while cut off");
                    self.kill(slot);
                    self.restart_later(slot, time + Duration::from_millis(200));
                }
                let time = time * (1 + self.random.below(2) as u32);
                self.later(time, move |lab| lab.world.sim.heal(host));
            }
            (9, DiskMode::Nfs) => {
                self.count("host freeze");
                sim.freeze(host);
                let time = time * (1 + self.random.below(2) as u32);
                self.later(time, move |lab| lab.world.sim.thaw(host));
            }
            (10, _) => {
                self.count("lock file deleted");
                // It may not be there yet.
                let _ = storage::disk::Disk::remove(&*sim.lab_disk(), "lock".as_ref());
                sim.pause(process);
                self.later(time, move |lab| lab.world.sim.resume(process));
            }
            _ => {
                self.count("storage stall");
                sim.stall(host, time);
            }
        }
    }

    fn count(&self, what: &'static str) {
        self.world.sim.trace(|| format!("FAULT: {what}"));
        self.world.count(what);
    }

    /// Does something after `delay`, on a thread of its own.
    fn later(&self, delay: Duration, act: impl FnOnce(&mut Lab) + Send + 'static) {
        let mut lab = Lab {
            world: self.world.clone(),
            random: self.random.clone(),
            mode: self.mode,
            is_aimed: self.is_aimed,
            hosts: self.hosts.clone(),
            slots: Arc::clone(&self.slots),
            observer: self.observer.clone(),
            is_over: Arc::clone(&self.is_over),
        };
        let sim = self.world.sim.clone();
        sim.clone().spawn(sim.lab(), "later", move || {
            sim.sleep(delay);
            act(&mut lab);
        });
    }

    fn kill(&self, slot: usize) {
        let process = self.with(|slots| {
            slots[slot].is_dead = true;
            slots[slot].process
        });
        self.world.with(|ledger| ledger.deactivated(process));
        self.world.sim.kill(process);
    }

    fn restart_later(&self, slot: usize, delay: Duration) {
        self.later(delay, move |lab| lab.restart(slot));
    }

    /// Starts a new process where one is dead.
    fn restart(&self, slot: usize) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        let dead = self.with(|slots| {
            let slot = &slots[slot];
            slot.is_dead.then(|| (slot.host, slot.name.clone()))
        });
        if let Some((host, name)) = dead {
            let process = self.world.sim.process(host);
            let handle = broker::start(&self.world, process, &name);
            self.with(|slots| {
                let slot = &mut slots[slot];
                (slot.process, slot.handle, slot.is_dead) = (process, handle, false);
            });
        }
    }

    fn power_off(&self, host: HostId, time: Duration) {
        let on_host = self.with(|slots| {
            let indices = 0..slots.len();
            let on_host = indices.filter(|index| slots[*index].host == host);
            on_host.collect::<Vec<_>>()
        });
        for slot in &on_host {
            let process = self.with(|slots| slots[*slot].process);
            self.world.with(|ledger| ledger.deactivated(process));
            self.with(|slots| slots[*slot].is_dead = true);
        }
        if self.mode == DiskMode::Local {
            self.observer.begin_again();
        }
        self.world.sim.power_off(host);
        self.later(time, move |lab| {
            lab.world.sim.power_on(host);
            for slot in on_host {
                lab.restart(slot);
            }
        });
    }

    /// Ends all faults, waits for progress, and compares what is there with what must be.
    fn judge(&mut self) {
        let sim = self.world.sim.clone();
        sim.trace(|| "all faults end".to_owned());
        sim.set_full(false);
        for host in &self.hosts {
            sim.heal(*host);
            sim.thaw(*host);
            sim.power_on(*host);
        }
        for slot in 0..self.with(|slots| slots.len()) {
            let process = self.with(|slots| slots[slot].process);
            sim.resume(process);
            self.restart(slot);
        }
        self.wait_for_progress();
        self.is_over.store(true, Ordering::Release);
        for slot in 0..self.with(|slots| slots.len()) {
            self.kill(slot);
        }
        if self.mode == DiskMode::Local && self.random.chance(500) {
            self.observer.begin_again();
            sim.power_off(self.hosts[0]);
            sim.power_on(self.hosts[0]);
        }
        self.compare();
    }

    fn wait_for_progress(&self) {
        let sim = &self.world.sim;
        let before = self.world.with(|ledger| ledger.promises);
        let started = sim.now();
        while self.world.with(|ledger| ledger.promises) < before + 10 {
            if sim.now() > started + PROGRESS {
                sim.fail("no acknowledgement after all faults");
            }
            self.check();
            sim.sleep(Duration::from_millis(50));
        }
        let took_ms = (sim.now() - started).as_millis() as u64;
        self.world
            .with(|ledger| ledger.progress_ms = ledger.progress_ms.max(took_ms));
    }

    /// A last member reads everything; nobody sends or consumes any more.
    fn compare(&self) {
        let sim = &self.world.sim;
        let store = self.last_tenure();
        let mut queues = Vec::new();
        for backlog in store.backlogs() {
            let mut entries = Vec::new();
            backlog.scan(Position(0), &mut |position, entry| {
                entries.push((position, *entry));
                ControlFlow::Continue(())
            });
            let read = |(position, entry): &(Position, Entry)| match store.read_at(
                &backlog,
                *position,
                entry.location,
            ) {
                Ok(Some(body)) => broker::parse(&body),
                Ok(None) => panic!("a message vanished while nobody consumes"),
                Err(error) => panic!("a pending message cannot be read: {error}"),
            };
            queues.push(entries.iter().map(read).collect());
        }
        self.world
            .must(self.world.with(|ledger| ledger.check_final(&queues)));
        self.world
            .must(self.world.with(|ledger| ledger.check_found(&store)));
        self.compare_with(&store, "what followed all the time", &self.observer);
        let recovered = Observer::with(self.observer.keys.clone());
        recovered.start(sim);
        self.compare_with(&store, "a recovery", &recovered);
    }

    /// Nobody sends any more, but the store may still be moving messages.
    fn compare_with(&self, store: &Store, what: &str, observer: &Observer) {
        let sim = &self.world.sim;
        let started = sim.now();
        let state = loop {
            let state = observer.state_at(sim, store.appended());
            if state.applied() == store.appended() {
                break state;
            }
            if sim.now() > started + PROGRESS {
                sim.fail(format!("{what} does not catch up"));
            }
            sim.sleep(Duration::from_millis(50));
        };
        let in_store = dump(&store.backlogs(), |producer| {
            store.producer_sequence(producer)
        });
        let found = dump(&state.backlogs(), |producer| {
            state.producer_sequence(producer)
        });
        if state.prepared() != store.prepared() {
            sim.fail(format!("{what} has other prepared transactions"));
        }
        if found != in_store {
            let first = found.iter().zip(&in_store).find(|(a, b)| a != b);
            sim.fail(format!("{what} differs from the active: {first:?}"));
        }
    }

    /// The store of a member of its own, once it is the active. Calls can still be so slow that it is
    /// fenced: then another one tries.
    fn last_tenure(&self) -> Arc<Store> {
        let sim = &self.world.sim;
        let process = sim.process(self.hosts[0]);
        let started = sim.now();
        loop {
            let last: Arc<Mutex<Option<Event>>> = Arc::default();
            let for_events = Arc::clone(&last);
            let member = Member::start(
                sim.disk(process),
                sim.clock(process),
                MemberOptions {
                    name: "judge".to_owned(),
                    ..self.world.options.clone()
                },
                Box::new(move |event| *for_events.lock().expect("no panic") = Some(event)),
            );
            let member = member.expect("the options are in bounds");
            loop {
                match last.lock().expect("no panic").take() {
                    Some(Event::Active(store)) => {
                        // It lives as long as the world.
                        std::mem::forget(member);
                        return store;
                    }
                    Some(Event::Failed(what)) => sim.fail(format!("the judge failed: {what}")),
                    Some(Event::Fenced(_)) => break,
                    _ => {}
                }
                if sim.now() > started + PROGRESS {
                    sim.fail("the last member does not become the active");
                }
                sim.sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Follows the journal from the outside, untouched by faults, while the brokers come and go.
#[derive(Clone, Default)]
struct Observer {
    keys: Keyring,
    follower: Arc<Mutex<Option<Follower>>>,
    /// A power failure takes back what a reader on that host has seen: it is gone as well.
    begins_again: Arc<AtomicBool>,
}

impl Observer {
    fn with(keys: Keyring) -> Observer {
        Observer {
            keys,
            ..Observer::default()
        }
    }

    fn start(&self, sim: &Sim) {
        let (observer, sim) = (self.clone(), sim.clone());
        sim.clone().spawn(sim.lab(), "observer", move || {
            loop {
                observer.look(&sim);
                sim.sleep(Duration::from_millis(70));
            }
        });
    }

    fn begin_again(&self) {
        self.begins_again.store(true, Ordering::Release);
    }

    fn look(&self, sim: &Sim) {
        let mut follower = self.follower.lock().expect("no panic").take();
        if self.begins_again.swap(false, Ordering::AcqRel) {
            follower = None;
        }
        let followed = match follower {
            None => Follower::open_with_keys(sim.lab_disk(), self.keys.clone()),
            Some(mut follower) => follower.poll().map(|_| follower),
        };
        match followed {
            Ok(follower) => *self.follower.lock().expect("no panic") = Some(follower),
            Err(error) if error.is_transient() => {}
            Err(error) => sim.fail(format!("a follower fails: {error}")),
        }
    }

    fn state_at(&self, sim: &Sim, end: Lsn) -> Arc<State> {
        let started = sim.now();
        loop {
            let state = {
                let follower = self.follower.lock().expect("no panic");
                let follower = follower.as_ref().filter(|follower| follower.lsn() >= end);
                follower.map(|follower| Arc::clone(follower.state()))
            };
            if let Some(state) = state {
                return state;
            }
            if sim.now() > started + PROGRESS {
                sim.fail(format!("a follower does not reach {end}"));
            }
            sim.sleep(Duration::from_millis(50));
        }
    }
}

/// All that can be seen of a state.
fn dump(
    backlogs: &[Arc<Backlog>],
    producer_sequence: impl Fn(&[u8]) -> Option<u64>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for backlog in backlogs {
        lines.push(format!("{:?} {:?}", backlog.id(), backlog.descriptor()));
        backlog.scan(Position(0), &mut |position, entry| {
            lines.push(format!("{position:?} {entry:?}"));
            ControlFlow::Continue(())
        });
    }
    for producer in 0..PRODUCERS {
        let sequence = producer_sequence(&producer.to_le_bytes());
        lines.push(format!("producer {producer}: {sequence:?}"));
    }
    lines
}
