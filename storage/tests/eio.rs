//! EIO at every call of every kind: the tenure ends or goes on, never acknowledges what is not
//! durable, never tries a failed sync again, and what comes after it has the right state.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::clock::RealClock;
use storage::journal::JournalOptions;
use storage::store::AppendError;
use storage::tenure::gate::Gate;

use support::*;

const SMALL: JournalOptions = JournalOptions {
    segment_bytes: 4096,
    checkpoint_bytes: 6000,
    preallocate: true,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: storage::journal::SyncMethod::Auto,
};

const CALLS: [Call; 15] = [
    Call::Lock,
    Call::OpenRead,
    Call::OpenWrite,
    Call::Create,
    Call::List,
    Call::CreateDirectory,
    Call::Rename,
    Call::Remove,
    Call::SyncDirectory,
    Call::FreeBytes,
    Call::Read,
    Call::Write,
    Call::Sync,
    Call::Length,
    Call::SetLength,
];

/// What was sent, in order, and what of it is certain.
#[derive(Clone, Default)]
struct Ledger {
    sent: u32,
    /// Sends that were released, acknowledgements that were begun and that were released.
    kept: BTreeSet<u32>,
    taken: BTreeSet<u32>,
    gone: BTreeSet<u32>,
}

fn body(number: u32) -> Vec<u8> {
    let mut body = format!("{number:08}").into_bytes();
    body.resize(150, b'.');
    body
}

fn number_of(body: &[u8]) -> u32 {
    std::str::from_utf8(&body[..8]).unwrap().parse().unwrap()
}

/// True once everything appended is released; false when the tenure is over.
fn is_released(tenure: &Tenure) -> bool {
    let lsn = tenure.store.appended();
    wait_for("a release or the end", || {
        tenure.store.released() >= lsn || tenure.gate.is_fenced()
    });
    tenure.store.released() >= lsn
}

/// Sends, reads and takes until the tenure ends or `rounds` are done.
fn work(tenure: &Tenure, ledger: &mut Ledger, rounds: u32) {
    let refused =
        |error: AppendError| assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    let queue = match tenure.store.backlogs().first() {
        Some(queue) => queue.clone(),
        None => match tenure.store.create_backlog("queue".into()) {
            Ok((queue, _)) => queue,
            Err(error) => return refused(error),
        },
    };
    for round in 0..rounds {
        ledger.sent += 1;
        if let Err(error) = tenure.try_send(&queue, &body(ledger.sent)) {
            return refused(error);
        }
        if !is_released(tenure) {
            return;
        }
        ledger.kept.insert(ledger.sent);
        // Few messages stay for long, so that there is something to move and to remove.
        let skip = (round % 7) as usize;
        let Some((position, entry)) = entries(&queue).into_iter().nth(skip) else {
            continue;
        };
        let Ok(Some(read)) = tenure.store.read_at(&queue, position, entry.location) else {
            // It is said to who wanted it, and nothing else happens.
            continue;
        };
        let number = number_of(&read);
        ledger.taken.insert(number);
        if let Err(error) = tenure.store.acknowledge(&queue, &[position]) {
            return refused(error);
        }
        if !is_released(tenure) {
            return;
        }
        ledger.gone.insert(number);
    }
}

/// What a directory has must be what the ledger says.
fn judge(disk: &FaultyDisk, epoch: u64, ledger: &Ledger, at: &str) {
    let gate = Gate::new(Arc::new(RealClock::new()));
    keep_open(&gate);
    let tenure = try_begin(Arc::new(disk.clone()), gate, epoch, SMALL);
    let tenure = tenure.unwrap_or_else(|error| panic!("{at}: {error}"));
    let found: Vec<u32> = match tenure.store.backlogs().first() {
        Some(queue) => bodies(&tenure.store, queue)
            .iter()
            .map(|body| number_of(body))
            .collect(),
        None => Vec::new(),
    };
    assert!(found.is_sorted(), "{at}: in order: {found:?}");
    let there: BTreeSet<u32> = found.iter().copied().collect();
    assert_eq!(there.len(), found.len(), "{at}: nothing twice");
    for number in &ledger.kept {
        let is_there = there.contains(number) || ledger.taken.contains(number);
        assert!(is_there, "{at}: {number} was acknowledged and is lost");
    }
    for number in &there {
        assert!(*number <= ledger.sent, "{at}: nobody sent {number}");
        assert!(!ledger.gone.contains(number), "{at}: {number} comes back");
    }
    let mut after = ledger.clone();
    work(&tenure, &mut after, 3);
    assert_eq!(tenure.failure(), None, "{at}");
    tenure.store.shut_down();
    tenure.store.abandon();
}

/// It must end, whatever failed.
fn shut_down(tenure: &Tenure) {
    let (store, is_done) = (Arc::clone(&tenure.store), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&is_done);
    std::thread::spawn(move || {
        store.shut_down();
        store.abandon();
        told.store(true, Ordering::Release);
    });
    wait_for("the end of a tenure", || is_done.load(Ordering::Acquire));
}

/// No segment is written or synced again after a sync of it failed.
fn expect_no_second_try(disk: &FaultyDisk, at: &str) {
    let calls = disk.calls();
    let failed = calls
        .iter()
        .position(|one| one.call == Call::Sync && !one.is_ok && one.path.starts_with("journal"));
    let Some(failed) = failed else { return };
    let path = &calls[failed].path;
    let again = calls[failed + 1..]
        .iter()
        .find(|one| one.path == *path && matches!(one.call, Call::Write | Call::Sync) && one.is_ok);
    assert_eq!(again, None, "{at}");
}

/// A journal of two tenures, with checkpoints and removed segments.
fn history() -> (FaultyDisk, Ledger) {
    let (disk, mut ledger) = (FaultyDisk::default(), Ledger::default());
    for epoch in 1..=2 {
        let tenure = begin(&disk, epoch, SMALL);
        work(&tenure, &mut ledger, 40);
        assert_eq!(tenure.failure(), None);
        tenure.store.abandon();
        tenure.store.shut_down();
    }
    (disk.copy(), ledger)
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum End {
    NoSuchCall,
    Refused,
    Fenced,
    WentOn,
}

fn run(base: &FaultyDisk, before: &Ledger, call: Call, nth: u64, stays: bool) -> End {
    let at = format!("{call:?} number {nth}, stays: {stays}");
    let (disk, mut ledger) = (base.copy(), before.clone());
    let fault = Fault::on(&[call]).after(nth);
    disk.inject(if stays { fault } else { fault.once() });
    let gate = Gate::new(Arc::new(RealClock::new()));
    keep_open(&gate);
    let end = match try_begin(Arc::new(disk.clone()), gate, 3, SMALL) {
        Err(reason) => {
            assert!(reason.contains("Input/output error"), "{at}: {reason}");
            End::Refused
        }
        Ok(tenure) => {
            work(&tenure, &mut ledger, 40);
            let released = tenure.store.released();
            let failure = tenure.failure();
            shut_down(&tenure);
            match failure {
                None => End::WentOn,
                Some(failure) => {
                    let text = failure.to_string();
                    assert!(text.contains("Input/output error"), "{at}: {text}");
                    assert_eq!(tenure.store.released(), released, "{at}");
                    End::Fenced
                }
            }
        }
    };
    let has_struck = disk.count(call, "") as u64 > nth;
    expect_no_second_try(&disk, &at);
    disk.heal();
    // The process is gone and the host is not; and the host is gone, too.
    judge(&disk.copy(), 4, &ledger, &format!("{at}, {end:?}"));
    judge(
        &disk.synced(),
        4,
        &ledger,
        &format!("{at}, {end:?}, power failure"),
    );
    if has_struck { end } else { End::NoSuchCall }
}

/// Strikes each call of every kind, or every so many, and says how it ended.
fn strike(step: usize, stays: bool) {
    let (base, ledger) = history();
    for call in CALLS {
        let mut ends = std::collections::BTreeMap::new();
        for nth in (0..).step_by(step) {
            let end = run(&base, &ledger, call, nth, stays);
            *ends.entry(end).or_insert(0) += 1;
            if end == End::NoSuchCall {
                break;
            }
        }
        println!("{call:?}: {ends:?}");
        if matches!(call, Call::Sync | Call::Write | Call::Create) {
            assert!(ends.contains_key(&End::Fenced), "{call:?}: {ends:?}");
        }
    }
}

#[test]
fn an_error_of_any_call_ends_the_tenure_or_does_no_harm() {
    strike(1, false);
}

/// A disk that is broken stays so: nobody may wait for it, try for ever, or let it take the journal along.
#[test]
fn an_error_that_stays_ends_the_tenure_or_does_no_harm() {
    strike(11, true);
}
