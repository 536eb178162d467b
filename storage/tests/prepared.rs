//! Prepared transactions: they outlive tenures, keep what they need, and end once.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;

use storage::journal::JournalOptions;
use storage::{Backlog, Decision, Position};

use support::*;

const OPTIONS: JournalOptions = JournalOptions {
    segment_bytes: 4096,
    checkpoint_bytes: 8192,
    preallocate: false,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: storage::journal::SyncMethod::Auto,
};

/// Prepares a transaction that moves the message in `from` to `to`.
fn prepare_move(tenure: &Tenure, key: &[u8], from: &Arc<Backlog>, to: &Arc<Backlog>) -> Position {
    let position = tenure.send(from, b"in");
    let store = &tenure.store;
    let location = store
        .enqueue_in_transaction(key, one(to), from_producer(b"p", 5, b"out"))
        .unwrap()
        .expect("no duplicate");
    assert_eq!(store.read(location).unwrap(), &b"out"[..]);
    store
        .prepare(key, &[(from.clone(), vec![position])])
        .unwrap();
    position
}

/// Ends the tenure and begins the next one.
fn take_over(disk: &FaultyDisk, tenure: Tenure, is_crash: bool) -> Tenure {
    tenure.settle();
    if is_crash {
        tenure.store.abandon();
    } else {
        tenure.store.shut_down();
    }
    assert!(tenure.failures.lock().unwrap().is_empty());
    let epoch = tenure.store.epoch().0 + 1;
    drop(tenure);
    begin(disk, epoch, OPTIONS)
}

fn churn(tenure: &Tenure, rounds: usize) {
    let queue = tenure.backlog("churn");
    for _ in 0..rounds {
        let positions: Vec<_> = (0..10).map(|_| tenure.send(&queue, &[1; 200])).collect();
        tenure.store.acknowledge(&queue, &positions).unwrap();
        tenure.settle();
    }
}

#[test]
fn a_prepared_transaction_waits_over_takeovers_and_is_committed_by_anybody() {
    for is_crash in [false, true] {
        let disk = FaultyDisk::default();
        let mut tenure = begin(&disk, 1, OPTIONS);
        let (from, to) = (tenure.backlog("from"), tenure.backlog("to"));
        let position = prepare_move(&tenure, b"t", &from, &to);
        let prepared = tenure.store.prepared();
        assert_eq!(prepared.len(), 1);
        assert_eq!((&prepared[0].key[..], prepared[0].messages), (&b"t"[..], 1));
        assert_eq!(prepared[0].targets, [(to.id(), 1)]);
        assert_eq!(prepared[0].acknowledged, [(from.id(), vec![position])]);
        assert!(prepared[0].time_ms > 0);
        for _ in 0..3 {
            tenure = take_over(&disk, tenure, is_crash);
            assert_eq!(tenure.store.prepared(), prepared);
            assert_eq!(tenure.store.producer_sequence(b"p"), None);
        }
        let backlogs = tenure.store.backlogs();
        let (from, to) = (&backlogs[0], &backlogs[1]);
        assert_eq!((from.len(), to.len()), (1, 0));
        let lsn = tenure.store.decide(b"t", Decision::Commit, false).unwrap();
        assert_eq!(entries(to)[0].1.visible, lsn.expect("it was prepared"));
        assert_eq!((from.len(), to.len()), (0, 1));
        assert_eq!(bodies(&tenure.store, to), [b"out"]);
        assert_eq!(tenure.store.producer_sequence(b"p"), Some(5));
        assert_eq!(tenure.store.prepared(), []);
        let again = tenure.store.decide(b"t", Decision::RollBack, false);
        assert_eq!(again.unwrap(), None, "it is decided");
        let tenure = take_over(&disk, tenure, is_crash);
        let outcome = tenure.store.outcome(b"t").expect("it is remembered");
        assert_eq!(
            (outcome.decision, outcome.is_heuristic),
            (Decision::Commit, false)
        );
        assert_eq!(tenure.store.backlogs()[1].len(), 1);
        tenure.store.shut_down();
    }
}

#[test]
fn a_rolled_back_one_leaves_what_it_acknowledged_where_it_was() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let (from, to) = (tenure.backlog("from"), tenure.backlog("to"));
    let position = prepare_move(&tenure, b"t", &from, &to);
    let tenure = take_over(&disk, tenure, true);
    let decided = tenure.store.decide(b"t", Decision::RollBack, true).unwrap();
    assert!(decided.is_some());
    let tenure = take_over(&disk, tenure, true);
    let backlogs = tenure.store.backlogs();
    assert_eq!(entries(&backlogs[0])[0].0, position);
    assert_eq!(backlogs[1].len(), 0);
    assert_eq!(tenure.store.prepared(), []);
    let heuristic = tenure.store.heuristic_outcomes();
    assert_eq!(heuristic.len(), 1);
    assert_eq!(heuristic[0].1.decision, Decision::RollBack);
    assert!(tenure.store.forget_outcome(b"t").unwrap().is_some());
    assert_eq!(tenure.store.forget_outcome(b"t").unwrap(), None);
    let tenure = take_over(&disk, tenure, true);
    assert_eq!(tenure.store.outcome(b"t"), None);
    tenure.store.shut_down();
}

#[test]
fn the_seal_drops_what_is_open_and_keeps_what_is_prepared() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for key in [b"open", b"kept"] {
        tenure
            .store
            .enqueue_in_transaction(key, one(&queue), message(key))
            .unwrap();
    }
    tenure.store.prepare(b"kept", &[]).unwrap();
    let end = tenure.store.appended();
    let again = tenure.store.prepare(b"kept", &[]).unwrap();
    assert_eq!(again, end, "prepared already: nothing is written");
    let tenure = take_over(&disk, tenure, false);
    assert_eq!(tenure.store.roll_back(b"open").unwrap(), None);
    assert_eq!(
        tenure.store.roll_back(b"kept").unwrap(),
        None,
        "not this way"
    );
    tenure
        .store
        .decide(b"kept", Decision::Commit, false)
        .unwrap();
    let queue = tenure.store.backlogs()[0].clone();
    assert_eq!(bodies(&tenure.store, &queue), [b"kept"]);
    tenure.store.shut_down();
}

#[test]
fn what_is_prepared_moves_out_of_its_segments_and_is_decided_all_the_same() {
    for decision in [Decision::Commit, Decision::RollBack] {
        let disk = FaultyDisk::default();
        let tenure = begin(&disk, 1, OPTIONS);
        let (from, to) = (tenure.backlog("from"), tenure.backlog("to"));
        prepare_move(&tenure, b"t", &from, &to);
        tenure.settle();
        let first = disk.paths("journal")[0].clone();
        churn(&tenure, 100);
        let tenure = take_over(&disk, tenure, false);
        churn(&tenure, 100);
        wait_for("the segment to go", || {
            !disk.paths("journal").contains(&first)
        });
        assert!(tenure.store.space().moved_messages > 0);
        // Once more by a tenure that has never seen the first record.
        let tenure = take_over(&disk, tenure, true);
        tenure.store.decide(b"t", decision, false).unwrap();
        let backlogs = tenure.store.backlogs();
        let (queue, body) = match decision {
            Decision::Commit => (&backlogs[1], b"out".to_vec()),
            Decision::RollBack => (&backlogs[0], b"in".to_vec()),
        };
        assert_eq!(bodies(&tenure.store, queue), [body]);
        let positions: Vec<_> = entries(queue).iter().map(|(at, _)| *at).collect();
        tenure.store.acknowledge(queue, &positions).unwrap();
        churn(&tenure, 100);
        assert_eq!(tenure.store.space().live_bytes, 0);
        tenure.store.shut_down();
    }
}

#[test]
fn backlogs_that_are_removed_meanwhile_do_not_disturb_the_decision() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let (from, to) = (tenure.backlog("from"), tenure.backlog("to"));
    prepare_move(&tenure, b"t", &from, &to);
    tenure.store.remove_backlog(&from).unwrap();
    tenure.store.remove_backlog(&to).unwrap();
    let tenure = take_over(&disk, tenure, true);
    assert_eq!(tenure.store.prepared().len(), 1);
    let decided = tenure.store.decide(b"t", Decision::Commit, false).unwrap();
    assert!(decided.is_some());
    let tenure = take_over(&disk, tenure, true);
    assert!(tenure.store.backlogs().is_empty());
    tenure.store.shut_down();
}

#[test]
fn outcomes_are_remembered_up_to_a_bound_and_heuristic_ones_apart() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    tenure.store.prepare(b"odd", &[]).unwrap();
    tenure.store.decide(b"odd", Decision::Commit, true).unwrap();
    for number in 0..1100_u32 {
        let key = number.to_le_bytes();
        tenure.store.prepare(&key, &[]).unwrap();
        tenure.store.decide(&key, Decision::Commit, false).unwrap();
    }
    let tenure = take_over(&disk, tenure, false);
    let known = |number: u32| tenure.store.outcome(&number.to_le_bytes()).is_some();
    assert!(!known(75) && known(76) && known(1099));
    assert!(tenure.store.outcome(b"odd").is_some());
    tenure.store.shut_down();
}
