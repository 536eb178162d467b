//! A soak in simulated time: at no moment does the directory take more than was promised.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use storage::clock::Clock as _;
use storage::disk::{Disk as _, Open};
use storage::journal::{InFlight, SyncMethod};
use storage::member::{Fence, Takeover};
use storage::sim::{DiskMode, DiskOptions, ProcessId, Sim, SimDisk};
use storage::store::Enqueued;
use storage::testing::{entries, message, one};
use storage::{Backlog, Event, Member, MemberOptions, Position, Store};

/// The smallest at which the next segment is prepared late, as in a real journal.
const SEGMENT: u32 = 1 << 20;
const BODY: [u8; 1000] = [0xA5; 1000];
/// Messages that wait for a consumer.
const DEPTH: usize = 20;
/// So many messages are never consumed: one of ten until they are there.
const STUCK: usize = 450;
const STUCK_EVERY: u64 = 10;
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const TAKEOVER: Duration = Duration::from_millis(500);
const STEPS_MAX: u64 = 50_000_000;

/// The store of whoever is the active.
type Active = Arc<Mutex<Option<Arc<Store>>>>;

fn options(name: String) -> MemberOptions {
    MemberOptions {
        name,
        lease_duration: Duration::from_secs(2),
        renewal_interval: Duration::from_millis(400),
        lock_poll_interval: Duration::from_millis(100),
        tail_poll_interval: Duration::from_millis(100),
        clock_drift_permille: 10,
        takeover: Takeover::LockOrLease,
        fence: Fence::Lease,
        segment_bytes: SEGMENT,
        checkpoint_bytes: 64 << 20,
        keys: Default::default(),
        preallocate: false,
        in_flight: InFlight::UpTo(1),
        sync: SyncMethod::Auto,
    }
}

fn active_of(active: &Active) -> Option<Arc<Store>> {
    let active = active.lock().unwrap_or_else(PoisonError::into_inner);
    active.clone()
}

/// Starts a broker, which serves the load once it is the active.
fn start(sim: &Sim, active: &Active, name: &str, pause: Duration) -> ProcessId {
    let process = sim.process(sim.host(0));
    let (world, active, options) = (sim.clone(), Arc::clone(active), options(name.to_owned()));
    sim.spawn(process, "node", move || {
        let clock = world.clock(process);
        let signal = clock.signal();
        let (for_events, for_active) = (Arc::clone(&signal), Arc::clone(&active));
        let on_event = move |event| {
            if let Event::Active(store) = event {
                let mut active = for_active.lock().unwrap_or_else(PoisonError::into_inner);
                *active = Some(store);
                for_events.notify();
            }
        };
        let disk = world.disk(process);
        let member = Member::start(disk, clock, options, Box::new(on_event));
        let _member = member.expect("the options are in bounds");
        signal.wait(None);
        let store = active_of(&active).expect("its own");
        serve(&world, &store, pause);
    });
    process
}

fn backlog(store: &Store, name: &'static str) -> Arc<Backlog> {
    let known = store.backlogs();
    let found = known.into_iter().find(|one| one.descriptor() == name);
    found.unwrap_or_else(|| {
        let created = store.create_backlog(Bytes::from(name));
        created.expect("it is the active").0
    })
}

/// A message every `pause`, until the process is killed.
fn serve(sim: &Sim, store: &Store, pause: Duration) {
    let (traffic, stuck) = (backlog(store, "traffic"), backlog(store, "stuck"));
    let pending = entries(&traffic);
    let mut depth: VecDeque<Position> = pending.into_iter().map(|(at, _)| at).collect();
    for number in 0_u64.. {
        let is_stuck = number.is_multiple_of(STUCK_EVERY) && stuck.len() < STUCK;
        let target = if is_stuck { &stuck } else { &traffic };
        let sent = store.enqueue(one(target), message(&BODY));
        let Ok(Enqueued::Appended { positions, .. }) = sent else {
            panic!("refused: {:?}", sent.err());
        };
        if !is_stuck {
            depth.push_back(positions[0]);
        }
        if depth.len() > DEPTH {
            let first = depth.pop_front().expect("it is longer");
            let consumed = store.acknowledge(&traffic, &[first]);
            consumed.expect("it is the active");
        }
        sim.sleep(pause);
    }
}

/// Bytes of all files in `directory`.
fn used(disk: &SimDisk, directory: &str) -> u64 {
    let names = disk.list(Path::new(directory)).unwrap_or_default();
    let length = |name: &String| {
        let file = disk.open(&Path::new(directory).join(name), Open::Read);
        file.and_then(|file| file.length()).unwrap_or(0)
    };
    names.iter().map(length).sum()
}

/// `tenures`, each so long and ended by a kill, with a message every `pause`.
fn soak(seed: u64, pause: Duration, tenures: u32, each: Duration) {
    let disk = DiskOptions {
        mode: DiskMode::Nfs,
        server_lease_ns: 1_500_000_000,
        latency_ns: 1_000_000,
        slow_permille: 0,
        slow_ns: 0,
    };
    let outcome = Sim::run(seed, disk, STEPS_MAX, false, move |sim| {
        let active = Active::default();
        let mut serving = start(sim, &active, "broker 0", pause);
        let (disk, mut removed) = (sim.lab_disk(), 0);
        for tenure in 1..=tenures {
            while active_of(&active).is_none() {
                sim.sleep(SAMPLE_EVERY);
            }
            let store = active_of(&active).expect("it is there");
            let standby = start(sim, &active, &format!("broker {tenure}"), pause);
            // What the former tenure had prepared goes as soon as this one's seal is durable.
            sim.sleep(TAKEOVER);
            let until = sim.now() + each;
            while sim.now() < until {
                let live = store.space().live_bytes;
                let [journal, checkpoints] =
                    ["journal", "checkpoints"].map(|name| used(&disk, name));
                let bound = 2 * live + 2 * u64::from(SEGMENT);
                if journal + checkpoints > bound {
                    sim.fail(format!(
                        "{journal} bytes of segments and {checkpoints} of checkpoints are more than \
                         {bound}, with {live} live bytes, in tenure {tenure}"
                    ));
                }
                sim.sleep(SAMPLE_EVERY);
            }
            removed += store.space().removed_segments;
            *active.lock().unwrap_or_else(PoisonError::into_inner) = None;
            sim.kill(serving);
            serving = standby;
        }
        assert!(removed > 5, "{removed}: too little happened");
    });
    outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
}

#[test]
fn a_soak_with_stuck_messages_keeps_the_bound_at_every_moment() {
    soak(1, Duration::from_millis(16), 2, Duration::from_secs(60));
    soak(2, Duration::from_millis(4), 3, Duration::from_secs(20));
}
