use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::*;
use crate::clock::RealClock;
use crate::disk::RealDisk;
use crate::store::{Enqueued, NewMessage};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn options() -> MemberOptions {
    MemberOptions {
        name: "a".to_owned(),
        lease_duration: Duration::from_secs(2),
        renewal_interval: Duration::from_millis(200),
        lock_poll_interval: Duration::from_millis(10),
        tail_poll_interval: Duration::from_millis(10),
        clock_drift_permille: 10,
        takeover: Takeover::LockOrLease,
        fence: Fence::Lease,
        segment_bytes: 1 << 20,
        checkpoint_bytes: 1 << 20,
        keys: Default::default(),
        preallocate: false,
        in_flight: crate::journal::JournalOptions::IN_FLIGHT,
        sync: crate::journal::SyncMethod::Auto,
    }
}

fn start(directory: &Path, options: MemberOptions) -> (Member, Receiver<Event>) {
    let disk = Arc::new(RealDisk::open(directory).expect("usable"));
    let (sender, receiver) = channel();
    let on_event = move |event| {
        // Whoever does not listen any more does not want to know.
        let _ = sender.send(event);
    };
    let clock = Arc::new(RealClock::new());
    let member = Member::start(disk, clock, options, Box::new(on_event)).expect("starts");
    (member, receiver)
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).expect("an event in time")
}

fn until_active(events: &Receiver<Event>) -> (Cause, Arc<Store>) {
    let mut seen = None;
    loop {
        match next(events) {
            Event::Standby => {}
            Event::TakingOver { cause, .. } => seen = Some(cause),
            Event::Active(store) => return (seen.expect("takes over before"), store),
            Event::Fenced(reason) => panic!("fenced: {reason:?}"),
            Event::KeyMissing(error) => panic!("{error}"),
            Event::Failed(what) => panic!("failed: {what}"),
            Event::Released => panic!("released"),
        }
    }
}

fn until_released_to(store: &Store, lsn: Lsn) {
    let started = std::time::Instant::now();
    while store.released() < lsn {
        assert!(started.elapsed() < PATIENCE, "{lsn} is not released");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn send(store: &Store, backlog: &Arc<crate::Backlog>, body: &[u8]) -> Lsn {
    let message = NewMessage {
        producer: None,
        order: 4,
        expiration_ms: 0,
        body,
    };
    match store.enqueue(std::slice::from_ref(backlog), message) {
        Ok(Enqueued::Appended { lsn, .. }) => lsn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_start_serves_and_a_release_hands_over_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (first, first_events) = start(directory.path(), options());
    let (cause, store) = until_active(&first_events);
    assert_eq!((cause, store.epoch()), (Cause::FirstStart, Epoch(1)));
    let (backlog, _) = store
        .create_backlog(Bytes::from_static(b"q"))
        .expect("open");
    let lsn = send(&store, &backlog, b"hello");
    until_released_to(&store, lsn);
    assert!(store.may_acknowledge());
    assert_eq!(first.status().lsn, lsn);

    let (second, second_events) = start(directory.path(), options());
    assert!(matches!(next(&second_events), Event::Standby));
    let started = std::time::Instant::now();
    while second.status().holder.is_none() {
        assert!(started.elapsed() < PATIENCE, "the holder is not seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.release();
    assert!(matches!(next(&first_events), Event::Released));
    assert!(!store.may_acknowledge());
    let (cause, store) = until_active(&second_events);
    assert_eq!((cause, store.epoch()), (Cause::Lock, Epoch(2)));
    assert_eq!(store.backlogs().len(), 1);
    assert_eq!(store.backlogs()[0].len(), 1);
    second.release();
    assert!(matches!(next(&second_events), Event::Released));
}

#[test]
fn a_dropped_member_lets_go_by_itself() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (first, first_events) = start(directory.path(), options());
    let (_, store) = until_active(&first_events);
    let (_second, second_events) = start(directory.path(), options());
    drop(first);
    let (cause, successor) = until_active(&second_events);
    assert_eq!((cause, successor.epoch()), (Cause::Lock, Epoch(2)));
    assert!(!store.may_acknowledge());
}

#[test]
fn a_newer_claim_fences_and_a_lease_that_stands_still_is_taken_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (_first, first_events) = start(directory.path(), options());
    let (_, store) = until_active(&first_events);
    // Somebody claims and then does nothing, and holds the lock of the claim.
    let disk = RealDisk::open(directory.path()).expect("usable");
    let claim = crate::tenure::claim::claim_path(Epoch(2));
    let claim = disk
        .open(&claim, crate::disk::Open::CreateNew)
        .expect("creates");
    assert!(claim.try_lock().expect("tries"));
    let Event::Fenced(reason) = next(&first_events) else {
        panic!("not fenced");
    };
    assert_eq!(reason, FenceReason::NewerClaim(Epoch(2)));
    assert!(!store.may_acknowledge());
    let (_second, second_events) = start(directory.path(), options());
    let (cause, successor) = until_active(&second_events);
    assert_eq!((cause, successor.epoch()), (Cause::Lease, Epoch(3)));
}

#[test]
fn with_lock_takeover_only_a_stale_lease_changes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (first, first_events) = start(directory.path(), options());
    drop(until_active(&first_events));
    let disk = RealDisk::open(directory.path()).expect("usable");
    let claim = crate::tenure::claim::claim_path(Epoch(2));
    let claim = disk
        .open(&claim, crate::disk::Open::CreateNew)
        .expect("creates");
    assert!(claim.try_lock().expect("tries"));
    drop(first);
    let mut only_locks = options();
    only_locks.takeover = Takeover::Lock;
    let (_second, second_events) = start(directory.path(), only_locks);
    assert!(matches!(next(&second_events), Event::Standby));
    let wait = options().lease_duration * 3;
    assert!(second_events.recv_timeout(wait).is_err(), "it took over");
    drop(claim);
    let (cause, successor) = until_active(&second_events);
    assert_eq!((cause, successor.epoch()), (Cause::Lock, Epoch(3)));
}

#[test]
fn a_standby_is_released_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (_first, first_events) = start(directory.path(), options());
    drop(until_active(&first_events));
    let (second, second_events) = start(directory.path(), options());
    assert!(matches!(next(&second_events), Event::Standby));
    second.release();
    assert!(matches!(next(&second_events), Event::Released));
}

#[test]
fn options_out_of_bounds_are_refused_with_name_and_value() {
    assert_eq!(options().check(), Ok(()));
    type Change = fn(&mut MemberOptions);
    let cases: [(Change, &str); 8] = [
        (|o| o.name = String::new(), "`name`"),
        (|o| o.name = "a\nb".to_owned(), r"`a\nb`"),
        (
            |o| o.lease_duration = Duration::from_millis(1),
            "`lease` is 1ms",
        ),
        (
            |o| o.renewal_interval = Duration::from_secs(1),
            "`renewal` is 1s",
        ),
        (
            |o| o.lock_poll_interval = Duration::ZERO,
            "`lock_poll` is 0ns",
        ),
        (
            |o| o.clock_drift_permille = 501,
            "`clock_drift_permille` is 501",
        ),
        (|o| o.segment_bytes = 1, "`segment_size` is 1 bytes"),
        (|o| o.checkpoint_bytes = 0, "`checkpoint_every` is 0"),
    ];
    for (change, expected) in cases {
        let mut changed = options();
        change(&mut changed);
        let error = changed.check().expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}
