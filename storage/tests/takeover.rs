//! Two members on a directory that fails: what a takeover needs is there, also without a free byte.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use storage::clock::RealClock;
use storage::disk::Disk;
use storage::member::{Cause, Fence, Takeover};
use storage::store::AppendError;
use storage::{Backlog, Event, Member, MemberOptions, Store};

use support::*;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn options(name: &str) -> MemberOptions {
    MemberOptions {
        name: name.to_owned(),
        lease_duration: Duration::from_secs(1),
        renewal_interval: Duration::from_millis(100),
        lock_poll_interval: Duration::from_millis(10),
        tail_poll_interval: Duration::from_millis(10),
        clock_drift_permille: 10,
        takeover: Takeover::LockOrLease,
        fence: Fence::Lease,
        segment_bytes: 32 << 10,
        checkpoint_bytes: 64 << 10,
        preallocate: true,
        keys: Default::default(),
        in_flight: storage::journal::JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
    }
}

struct Broker {
    member: Member,
    events: Receiver<Event>,
    /// What it said, for failing tests.
    said: Mutex<Vec<String>>,
}

fn start(disk: Arc<dyn Disk>, name: &str) -> Broker {
    let (sender, events) = channel();
    let on_event = move |event| {
        // Whoever does not listen any more does not want to know.
        let _ = sender.send(event);
    };
    let clock = Arc::new(RealClock::new());
    let member = Member::start(disk, clock, options(name), Box::new(on_event)).unwrap();
    Broker {
        member,
        events,
        said: Mutex::default(),
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Standby => "standby".to_owned(),
        Event::TakingOver { cause, epoch } => format!("taking over {epoch} by {cause:?}"),
        Event::Active(store) => format!("active {}", store.epoch()),
        Event::Fenced(reason) => format!("fenced: {reason:?}"),
        Event::Released => "released".to_owned(),
        Event::Failed(what) => format!("failed: {what}"),
        Event::KeyMissing(_) => "a key is missing".to_owned(),
    }
}

impl Broker {
    fn next(&self) -> Event {
        let event = self.events.recv_timeout(PATIENCE);
        let event = event.unwrap_or_else(|_| panic!("nothing after {:?}", self.said));
        self.said.lock().unwrap().push(describe(&event));
        event
    }

    fn until_standby(&self) {
        while !matches!(self.next(), Event::Standby) {}
    }

    fn until_active(&self) -> (Cause, Arc<Store>) {
        let mut seen = None;
        loop {
            match self.next() {
                Event::Standby => {}
                Event::TakingOver { cause, .. } => seen = Some(cause),
                Event::Active(store) => return (seen.unwrap(), store),
                other => panic!("{} after {:?}", describe(&other), self.said),
            }
        }
    }

    fn until_active_or_over(&self) -> Result<Arc<Store>, String> {
        loop {
            match self.next() {
                Event::Standby | Event::TakingOver { .. } => {}
                Event::Active(store) => return Ok(store),
                over => return Err(describe(&over)),
            }
        }
    }

    fn until_over(&self) -> Event {
        loop {
            match self.next() {
                Event::Standby | Event::TakingOver { .. } | Event::Active(_) => {}
                over => return over,
            }
        }
    }
}

fn wait_released(store: &Store) {
    let lsn = store.appended();
    wait_for("the release", || store.released() >= lsn);
}

/// Sends until the directory is full; answers what was released.
fn fill(store: &Store, queue: &Arc<Backlog>) {
    for _ in 0..10_000 {
        match store.enqueue(one(queue), message(&[5; 100])) {
            Ok(_) => wait_released(store),
            Err(AppendError::Full { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the directory never gets full");
}

fn consume(store: &Store) {
    let queue = store.backlogs()[0].clone();
    for (position, entry) in entries(&queue) {
        let body = store.read_at(&queue, position, entry.location).unwrap();
        assert_eq!(&body.unwrap()[..], [5; 100]);
        store.acknowledge(&queue, &[position]).unwrap();
        wait_released(store);
    }
}

/// The first active of a directory of 1 MiB, filled to the last message that it takes.
fn full_active(disk: &FaultyDisk) -> (Broker, Arc<Store>) {
    disk.set_capacity(Some(1 << 20));
    let broker = start(Arc::new(disk.clone()), "a");
    let (cause, store) = broker.until_active();
    assert_eq!(cause, Cause::FirstStart);
    let (queue, _) = store.create_backlog("queue".into()).unwrap();
    wait_for("the spare files", || disk.paths("spare").len() == 4);
    fill(&store, &queue);
    wait_for("quiet", || store.space_status().is_full);
    (broker, store)
}

#[test]
fn the_first_takeover_works_without_a_free_byte() {
    let disk = FaultyDisk::default();
    let (first, store) = full_active(&disk);
    let second = start(Arc::new(disk.clone()), "b");
    second.until_standby();
    let expected = view(&store.backlogs());
    assert!(expected[0].entries.len() > 100);
    disk.leave_free(0);
    // It dies: its threads end without a word, and its locks go.
    drop((first, store));
    let (cause, store) = second.until_active();
    assert_eq!(cause, Cause::Lock);
    let after = view(&store.backlogs());
    assert_eq!(after[0].entries, expected[0].entries);
    consume(&store);
    wait_for("space", || !store.space_status().is_full);
    let queue = store.backlogs()[0].clone();
    store.enqueue(one(&queue), message(b"again")).unwrap();
    wait_released(&store);
    second.member.release();
    assert!(matches!(second.until_over(), Event::Released));
}

#[test]
fn where_missing_space_is_told_by_syncs_only_a_takeover_works_too() {
    let disk = FaultyDisk::default();
    let (first, store) = full_active(&disk);
    let expected = entries(&store.backlogs()[0]).len();
    let spare = disk.paths("spare").len();
    first.member.release();
    assert!(matches!(first.until_over(), Event::Released));
    drop(store);
    // As on NFS: the write is taken, and its sync says that there is no block for it.
    let no_space = Fault::on(&[Call::Sync]).of("claims/").once();
    disk.inject(no_space.with(Effect::Fail(Errno::NoSpace)));
    // If it has not said yet that it takes over, it tries again; else its node starts it again.
    let (second, store) = loop {
        let second = start(Arc::new(disk.clone()), "b");
        match second.until_active_or_over() {
            Ok(store) => break (second, store),
            Err(over) => assert!(over.contains("cannot claim the epoch"), "{over}"),
        }
    };
    assert_eq!(entries(&store.backlogs()[0]).len(), expected);
    assert!(disk.paths("spare").len() < spare, "one was given up");
    consume(&store);
    second.member.release();
    assert!(matches!(second.until_over(), Event::Released));
}

#[test]
fn a_first_start_without_any_space_waits_for_some() {
    let disk = FaultyDisk::default();
    disk.leave_free(0);
    let broker = start(Arc::new(disk.clone()), "a");
    std::thread::sleep(Duration::from_millis(300));
    while let Ok(event) = broker.events.try_recv() {
        assert!(
            matches!(event, Event::Standby | Event::TakingOver { .. }),
            "{}",
            describe(&event)
        );
    }
    assert!(disk.paths("").len() <= 2, "{:?}", disk.paths(""));
    disk.set_capacity(None);
    let (_, store) = broker.until_active();
    assert!(store.backlogs().is_empty());
}

#[test]
fn a_member_survives_an_error_of_any_call_or_ends_with_its_reason() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for number in 0..30_u8 {
        tenure.send(&queue, &[number; 200]);
    }
    tenure.settle();
    tenure.store.shut_down();
    tenure.store.abandon();
    let (disk, expected) = (disk.copy(), view(&tenure.store.backlogs()));
    let calls = [
        Call::OpenRead,
        Call::Create,
        Call::List,
        Call::CreateDirectory,
        Call::SyncDirectory,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::Length,
        Call::Lock,
    ];
    for (call, nth) in calls
        .into_iter()
        .flat_map(|call| (0..8).map(move |nth| (call, nth)))
    {
        let disk = disk.copy();
        disk.inject(Fault::on(&[call]).after(nth).once());
        let mut ends = Vec::new();
        // Its node starts it again; the error comes once.
        let (broker, store) = loop {
            let broker = start(Arc::new(disk.clone()), "a");
            match broker.until_active_or_over() {
                Ok(store) => break (broker, store),
                Err(over) => ends.push(over),
            }
        };
        let is_told = |over: &String| over.contains("Input/output error");
        assert!(
            ends.len() <= 1 && ends.iter().all(is_told),
            "{call:?} {nth}: {ends:?}"
        );
        let entries = |views: &[View]| views[0].entries.clone();
        let found = view(&store.backlogs());
        assert_eq!(entries(&found), entries(&expected), "{call:?} {nth}");
        drop(broker);
    }
}

/// A stall that outlasts the lease: who stalled acknowledges nothing any more, and the other has all.
#[test]
fn a_stall_beyond_the_lease_is_a_takeover_without_a_loss() {
    // Only the active writes its claim.
    for call in [Call::Write, Call::Sync] {
        let disk = FaultyDisk::default();
        let first = start(Arc::new(disk.clone()), "a");
        let (_, store) = first.until_active();
        let (queue, _) = store.create_backlog("queue".into()).unwrap();
        let second = start(Arc::new(disk.clone()), "b");
        second.until_standby();
        let mut sent = 0;
        let mut send = || {
            let sent_one = store.enqueue(one(&queue), message(&[5; 100])).is_ok();
            sent += usize::from(sent_one);
            sent_one
        };
        for _ in 0..20 {
            send();
        }
        wait_released(&store);
        let stall = Effect::Stall(Duration::from_secs(4));
        disk.inject(Fault::on(&[call]).of("claims").once().with(stall));
        wait_for("the gate to close", || !send() || !store.may_acknowledge());
        let over = describe(&first.until_over());
        assert!(over.starts_with("fenced: "), "{call:?}: {over}");
        let released = store.released();
        // The lock goes with the process; this one only says that it is over.
        let (_, successor) = second.until_active();
        assert!(!store.may_acknowledge(), "{call:?}");
        assert_eq!(store.released(), released, "{call:?}");
        assert!(successor.appended() >= released, "{call:?}");
        let found = entries(&successor.backlogs()[0]).len();
        assert!((20..=sent).contains(&found), "{call:?}: {found} of {sent}");
        second.member.release();
        assert!(matches!(second.until_over(), Event::Released));
    }
}
