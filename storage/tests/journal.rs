//! The store end to end: append, release, read back, take over, follow.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use storage::clock::{Clock, RealClock};
use storage::disk::RealDisk;
use storage::error::BeginError;
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::store::{AppendError, Enqueued, NewMessage};
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::{Epoch, Lsn, Position};

use support::*;

#[test]
fn messages_survive_a_takeover_on_a_real_directory() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let options = JournalOptions {
        segment_bytes: 1 << 20,
        preallocate: true,
        in_flight: JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
        ..OPTIONS
    };
    let first = begin(&disk, 1, options);
    let orders = first.backlog("orders");
    for number in 0..1000_u32 {
        first.send(&orders, format!("order {number}").as_bytes());
    }
    let positions: Vec<Position> = entries(&orders)
        .iter()
        .map(|(at, _)| *at)
        .take(10)
        .collect();
    let lsn = first.store.acknowledge(&orders, &positions).unwrap();
    first.wait_released(lsn);
    let expected = view(&first.store.backlogs());
    first.store.shut_down();
    let second = begin(&disk, 2, options);
    assert_eq!(view(&second.store.backlogs()), expected);
    let orders = second.store.backlogs()[0].clone();
    let bodies = bodies(&second.store, &orders);
    assert_eq!(bodies.len(), 990);
    assert_eq!(bodies[0], b"order 10");
    assert_eq!(bodies[989], b"order 999");
    second.store.shut_down();
}

#[test]
fn what_was_just_appended_can_be_read_before_it_is_written() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for size in [0, 1, 1000, 70_000, 1_500_000] {
        let body = vec![size as u8; size];
        let enqueued = tenure.store.enqueue(one(&queue), message(&body)).unwrap();
        let Enqueued::Appended { location, lsn, .. } = enqueued else {
            panic!("no duplicate")
        };
        assert_eq!(tenure.store.read(location).unwrap(), body);
        tenure.wait_released(lsn);
        assert_eq!(tenure.store.read(location).unwrap(), body, "from the file");
    }
    tenure.store.shut_down();
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own_and_survives() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"before");
    tenure.send(&queue, &vec![7; 3_000_000]);
    tenure.send(&queue, b"after");
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    assert_eq!(view(&next.store.backlogs()), expected);
    let read = bodies(&next.store, &next.store.backlogs()[0]);
    assert_eq!(
        read,
        [b"before".to_vec(), vec![7; 3_000_000], b"after".to_vec()]
    );
    next.store.shut_down();
}

#[test]
fn a_record_beyond_every_limit_is_refused_and_changes_nothing() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    let before = tenure.store.appended();
    let error = tenure
        .try_send(&queue, &vec![0; (256 << 20) + 1])
        .unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { limit_bytes, .. } if limit_bytes == 256 << 20));
    assert_eq!((queue.len(), tenure.store.appended()), (0, before));
    tenure.store.shut_down();
}

#[test]
fn nothing_is_released_while_the_gate_is_closed_and_all_of_it_after_a_late_renewal() {
    let disk = FaultyDisk::default();
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    let tenure = begin_gated(Arc::new(disk.clone()), Arc::clone(&gate), 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"held back");
    wait_for("the sync", || {
        tenure.store.durable() == tenure.store.appended()
    });
    assert_eq!(tenure.store.released(), Lsn(0));
    assert!(!tenure.store.may_acknowledge());
    keep_open(&gate);
    tenure.settle();
    assert!(tenure.store.may_acknowledge());
    tenure.store.shut_down();
}

#[test]
fn an_abandoned_tenure_refuses_appends_and_releases_nothing_any_more() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.settle();
    let released = tenure.store.released();
    tenure.store.abandon();
    let error = tenure.try_send(&queue, b"late").unwrap_err();
    assert!(matches!(error, AppendError::Fenced { epoch: Epoch(1) }));
    assert_eq!((queue.len(), tenure.store.released()), (0, released));
    tenure.store.shut_down();
    assert!(tenure.failures.lock().unwrap().is_empty());
}

#[test]
fn released_callbacks_come_in_order_and_reach_the_end() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    tenure
        .store
        .on_released(Box::new(move |lsn| told.lock().unwrap().push(lsn)));
    for _ in 0..200 {
        tenure.send(&queue, b"x");
    }
    tenure.store.shut_down();
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(seen.last(), Some(&tenure.store.appended()));
}

#[test]
fn the_first_segment_is_left_for_the_first_one_that_is_filled_with_zeros() {
    let disk = FaultyDisk::default();
    let options = JournalOptions {
        segment_bytes: 64 << 10,
        preallocate: true,
        in_flight: JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
        ..OPTIONS
    };
    for epoch in 1..=3 {
        let tenure = begin(&disk, epoch, options);
        let queue = tenure.backlog("queue");
        let of_epoch = format!("-{epoch:010}.seg");
        let is_of_epoch = |path: &PathBuf| path.display().to_string().ends_with(&of_epoch);
        let first = disk.paths("journal").into_iter().find(is_of_epoch).unwrap();
        wait_for("the next segment", || {
            tenure.send(&queue, b"x");
            tenure.settle();
            let (_, last) = *entries(&queue).last().unwrap();
            let number = format!("{:010}-", last.location.segment.0);
            !first
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&number)
        });
        let used = disk
            .bytes(&first)
            .iter()
            .rposition(|byte| *byte != 0)
            .unwrap();
        assert!(
            used < 32 << 10,
            "{used} bytes of the first segment are used"
        );
        for _ in 0..2000 {
            tenure.send(&queue, &[1; 100]);
        }
        tenure.settle();
        let expected = view(&tenure.store.backlogs());
        assert_eq!(view(&recover(&disk.copy()).unwrap().backlogs()), expected);
        tenure.store.shut_down();
    }
}

#[test]
fn many_producers_share_syncs() {
    let disk = FaultyDisk::default();
    let tenure = begin(
        &disk,
        1,
        JournalOptions {
            segment_bytes: 1 << 20,
            ..OPTIONS
        },
    );
    let queue = tenure.backlog("queue");
    let before = disk.syncs();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    tenure.send(&queue, b"body");
                }
            });
        }
    });
    tenure.settle();
    assert_eq!(queue.len(), 4000);
    assert!(
        disk.syncs() - before < 4000,
        "{} syncs",
        disk.syncs() - before
    );
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

#[test]
fn dispatch_order_follows_the_order_class_and_then_the_sequence() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for (order, body) in [(4, "a"), (9, "b"), (0, "c"), (4, "d"), (9, "e")] {
        let message = NewMessage {
            order,
            ..message(body.as_bytes())
        };
        tenure.store.enqueue(one(&queue), message).unwrap();
    }
    assert_eq!(
        bodies(&tenure.store, &queue),
        [b"b", b"e", b"a", b"d", b"c"]
    );
    tenure.store.shut_down();
}

#[test]
fn a_message_for_several_backlogs_is_one_record_with_a_place_in_each() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let (a, b) = (tenure.backlog("a"), tenure.backlog("b"));
    tenure.send(&b, b"only in b");
    let targets = [b.clone(), a.clone()];
    let enqueued = tenure.store.enqueue(&targets, message(b"both")).unwrap();
    let Enqueued::Appended {
        positions,
        location,
        ..
    } = enqueued
    else {
        panic!("no duplicate")
    };
    assert_eq!(positions, [Position::new(4, 2), Position::new(4, 1)]);
    assert_eq!(a.entry(positions[1]).unwrap().location, location);
    assert_eq!(b.entry(positions[0]).unwrap().location, location);
    tenure.store.acknowledge(&a, &positions[1..]).unwrap();
    assert_eq!((a.len(), b.len()), (0, 2));
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

#[test]
fn a_removed_backlog_is_skipped_as_a_target_and_takes_no_acknowledgements() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let (kept, gone) = (tenure.backlog("kept"), tenure.backlog("gone"));
    let position = tenure.send(&gone, b"x");
    tenure.store.remove_backlog(&gone).unwrap();
    let end = tenure.store.appended();
    assert_eq!(
        tenure.store.remove_backlog(&gone).unwrap(),
        end,
        "twice is once"
    );
    assert_eq!(tenure.store.acknowledge(&gone, &[position]).unwrap(), end);
    assert_eq!(
        tenure.store.describe_backlog(&gone, Bytes::new()).unwrap(),
        end
    );
    assert_eq!(tenure.store.reserve_dispatch(&gone, 10).unwrap(), end);
    let targets = [gone.clone(), kept.clone()];
    let enqueued = tenure.store.enqueue(&targets, message(b"y")).unwrap();
    let Enqueued::Appended { positions, .. } = enqueued else {
        panic!("no duplicate")
    };
    assert_eq!(gone.entry(positions[0]), None);
    assert!(kept.entry(positions[1]).is_some());
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    assert_eq!(view(&next.store.backlogs()), expected);
    let another = next.backlog("another");
    assert_eq!(another.id().0, 3, "numbers are never used twice");
    next.store.shut_down();
}

#[test]
fn a_duplicate_is_recognised_for_every_producer_and_over_takeovers() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    let targets = [queue.clone()];
    let ids: Vec<String> = (0..500)
        .map(|number| format!("ID:host-{number}:1:1"))
        .collect();
    for id in &ids {
        for sequence in [1, 2, 3] {
            let message = from_producer(id.as_bytes(), sequence, b"m");
            let enqueued = tenure.store.enqueue(&targets, message).unwrap();
            assert!(matches!(enqueued, Enqueued::Appended { .. }));
        }
    }
    tenure.settle();
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    let queue = next.store.backlogs()[0].clone();
    for id in &ids {
        assert_eq!(next.store.producer_sequence(id.as_bytes()), Some(3));
        let resent = from_producer(id.as_bytes(), 3, b"m");
        let end = next.store.appended();
        let enqueued = next.store.enqueue(one(&queue), resent).unwrap();
        assert_eq!(enqueued, Enqueued::Duplicate { lsn: end });
    }
    let mut unchecked = from_producer(ids[0].as_bytes(), 2, b"m");
    unchecked.producer.as_mut().unwrap().suppress_duplicate = false;
    let enqueued = next.store.enqueue(one(&queue), unchecked).unwrap();
    assert!(matches!(enqueued, Enqueued::Appended { .. }));
    assert_eq!(
        next.store.producer_sequence(ids[0].as_bytes()),
        Some(3),
        "the highest stays"
    );
    assert_eq!(queue.len(), 1501);
    next.store.shut_down();
}

#[test]
fn a_send_without_targets_still_counts_for_its_producer() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    tenure
        .store
        .enqueue(&[], from_producer(b"p", 8, b""))
        .unwrap();
    tenure.settle();
    tenure.store.shut_down();
    assert_eq!(recover(&disk).unwrap().producer_sequence(b"p"), Some(8));
}

#[test]
fn producers_are_forgotten_when_closed_or_idle_and_not_when_in_use() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    for id in ["closed", "idle", "used"] {
        tenure
            .store
            .enqueue(&[], from_producer(id.as_bytes(), 1, b""))
            .unwrap();
    }
    tenure
        .store
        .forget_producers(&[Bytes::from("closed"), Bytes::from("unknown")])
        .unwrap();
    let end = tenure.store.appended();
    assert_eq!(
        tenure
            .store
            .forget_producers(&[Bytes::from("closed")])
            .unwrap(),
        end
    );
    assert_eq!(
        tenure.store.forget_idle_producers(0, &|_| false).unwrap(),
        0,
        "nobody is so old"
    );
    let later = RealClock::new().wall_ms() + 1;
    let forgotten = tenure
        .store
        .forget_idle_producers(later, &|id| id == b"used")
        .unwrap();
    assert_eq!(forgotten, 1);
    tenure.settle();
    tenure.store.shut_down();
    let state = recover(&disk).unwrap();
    let known = ["closed", "idle", "used"].map(|id| state.producer_sequence(id.as_bytes()));
    assert_eq!(known, [None, None, Some(1)]);
}

#[test]
fn a_transaction_is_visible_whole_with_its_commit_and_so_are_its_acknowledgements() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let (from, to) = (tenure.backlog("from"), tenure.backlog("to"));
    let position = tenure.send(&from, b"in");
    let store = &tenure.store;
    store
        .enqueue_in_transaction(b"t1", one(&to), message(b"out 1"))
        .unwrap();
    let second = from_producer(b"p", 5, b"out 2");
    store
        .enqueue_in_transaction(b"t1", one(&to), second)
        .unwrap();
    store
        .enqueue_in_transaction(b"t2", one(&to), message(b"never"))
        .unwrap();
    assert_eq!((from.len(), to.len()), (1, 0));
    assert_eq!(
        store.producer_sequence(b"p"),
        None,
        "it counts with the commit"
    );
    let commit = store
        .commit(b"t1", &[(from.clone(), vec![position])])
        .unwrap();
    assert_eq!((from.len(), to.len()), (0, 2));
    assert!(
        entries(&to)
            .iter()
            .all(|(_, entry)| entry.visible == commit)
    );
    assert_eq!(bodies(store, &to), [b"out 1", b"out 2"]);
    assert_eq!(store.producer_sequence(b"p"), Some(5));
    assert!(store.roll_back(b"t2").unwrap().is_some());
    assert_eq!(store.roll_back(b"t2").unwrap(), None);
    assert_eq!(
        store.commit(b"t2", &[]).unwrap(),
        store.appended(),
        "nothing to write"
    );
    tenure.settle();
    let expected = view(&store.backlogs());
    store.shut_down();
    let state = recover(&disk).unwrap();
    assert_eq!(view(&state.backlogs()), expected);
    assert_eq!(state.producer_sequence(b"p"), Some(5));
}

#[test]
fn a_transaction_left_open_is_dropped_by_the_next_tenure() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    let open = from_producer(b"p", 1, b"open");
    tenure
        .store
        .enqueue_in_transaction(b"t", one(&queue), open)
        .unwrap();
    tenure.settle();
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    let queue = next.store.backlogs()[0].clone();
    assert_eq!(next.store.roll_back(b"t").unwrap(), None);
    // The client sends the whole transaction again: it must not look like a duplicate.
    let again = from_producer(b"p", 1, b"open");
    next.store
        .enqueue_in_transaction(b"t", one(&queue), again)
        .unwrap();
    next.store.commit(b"t", &[]).unwrap();
    assert_eq!(bodies(&next.store, &queue), [b"open"]);
    next.store.shut_down();
}

#[test]
fn what_was_reserved_for_dispatch_is_redelivered_after_a_takeover() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    assert_eq!(
        (queue.reserved_below().0, queue.redelivered_below()),
        (0, 0)
    );
    let lsn = tenure.store.reserve_dispatch(&queue, 1000).unwrap();
    assert_eq!(queue.reserved_below(), (1000, lsn));
    assert_eq!(
        tenure.store.reserve_dispatch(&queue, 500).unwrap(),
        lsn,
        "reserved already"
    );
    tenure.settle();
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    let queue = next.store.backlogs()[0].clone();
    assert_eq!(
        (queue.reserved_below().0, queue.redelivered_below()),
        (1000, 1),
        "what comes from now on was dispatched by nobody"
    );
    next.store.shut_down();
}

#[test]
fn a_descriptor_can_be_replaced() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("old words");
    tenure
        .store
        .describe_backlog(&queue, Bytes::from("new words"))
        .unwrap();
    assert_eq!(queue.descriptor(), "new words");
    tenure.settle();
    tenure.store.shut_down();
    assert_eq!(
        recover(&disk).unwrap().backlogs()[0].descriptor(),
        "new words"
    );
}

#[test]
fn a_follower_has_the_active_s_state_while_segments_roll_and_tenures_change() {
    let disk = FaultyDisk::default();
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    assert!(follower.poll().unwrap().is_at_end, "an empty directory");
    for epoch in 1..=5 {
        let tenure = begin(&disk, epoch, OPTIONS);
        let queue = tenure.backlog(&format!("queue {epoch}"));
        for number in 0..100 {
            tenure.send(&queue, format!("{number}").repeat(20).as_bytes());
            if number % 10 == 0 {
                catch_up(&mut follower, &tenure);
            }
        }
        tenure.settle();
        follow(&mut follower);
        assert_eq!(follower.epoch(), Epoch(epoch));
        assert_eq!(
            view(&follower.state().backlogs()),
            view(&tenure.store.backlogs())
        );
        let tail = follower.tail_segments().unwrap();
        assert!((1..=2).contains(&tail.len()), "{tail:?}");
        tenure.store.shut_down();
    }
}

#[test]
fn a_follower_that_applied_what_the_seal_excludes_begins_again() {
    let disk = FaultyDisk::default();
    let old = begin(&disk, 1, OPTIONS);
    let queue = old.backlog("queue");
    old.send(&queue, b"counts");
    old.settle();
    let successor = Follower::open(Arc::new(disk.clone())).unwrap();
    let point = successor.finish(Epoch(2)).unwrap();
    // The old active writes on after the successor's last read.
    old.send(&queue, b"does not count");
    old.settle();
    let mut third = Follower::open(Arc::new(disk.clone())).unwrap();
    follow(&mut third);
    assert_eq!(third.state().backlogs()[0].len(), 2);
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    keep_open(&gate);
    let callbacks = Callbacks {
        on_failed: Box::new(|_| {}),
        on_prepared: Box::new(|| {}),
    };
    let next = Journal::begin(
        Arc::new(disk.clone()),
        clock,
        gate,
        Epoch(2),
        point,
        OPTIONS,
        callbacks,
    )
    .unwrap();
    old.send(&queue, b"does not count either");
    old.settle();
    follow(&mut third);
    assert_eq!(view(&third.state().backlogs()), view(&next.backlogs()));
    assert_eq!(bodies(&next, &third.state().backlogs()[0]), [b"counts"]);
    old.store.abandon();
    next.shut_down();
}

#[test]
fn a_segment_is_released_only_after_a_renewal_that_started_after_its_lock() {
    let disk = FaultyDisk::default();
    let point = Follower::open(Arc::new(disk.clone()))
        .unwrap()
        .finish(Epoch(1))
        .unwrap();
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    gate.renewed(clock.now(), FOREVER);
    let prepared = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&prepared);
    let callbacks = Callbacks {
        on_failed: Box::new(|_| {}),
        on_prepared: Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let store = Journal::begin(
        Arc::new(disk),
        clock.clone(),
        Arc::clone(&gate),
        Epoch(1),
        point,
        OPTIONS,
        callbacks,
    )
    .unwrap();
    wait_for("the journal to ask for a renewal", || {
        prepared.load(Ordering::SeqCst) > 0
    });
    // By the second one's sync the release of the first was tried.
    for _ in 0..2 {
        let (_, lsn) = store.create_backlog(Bytes::from_static(b"q")).unwrap();
        wait_for("the sync", || store.durable() >= lsn);
    }
    assert!(gate.is_open());
    assert_eq!(store.released(), Lsn(0));
    gate.renewed(clock.now(), FOREVER);
    wait_for("the release", || store.released() == store.appended());
    store.shut_down();
}

#[test]
fn an_epoch_can_begin_once_only() {
    let disk = FaultyDisk::default();
    let follower = || {
        Follower::open(Arc::new(disk.clone()))
            .unwrap()
            .finish(Epoch(1))
            .unwrap()
    };
    let (point, again) = (follower(), follower());
    let begin = |point| {
        let clock = Arc::new(RealClock::new());
        let gate = Gate::new(clock.clone());
        let callbacks = Callbacks {
            on_failed: Box::new(|_| {}),
            on_prepared: Box::new(|| {}),
        };
        let disk = Arc::new(disk.clone());
        Journal::begin(disk, clock, gate, Epoch(1), point, OPTIONS, callbacks)
    };
    let store = begin(point).unwrap();
    let error = begin(again).err().unwrap();
    assert!(matches!(error, BeginError::Segment { .. }), "{error}");
    store.abandon();
}

#[test]
fn a_segment_size_out_of_bounds_is_refused() {
    let disk: Arc<dyn storage::disk::Disk> = Arc::new(FaultyDisk::default());
    let point = Follower::open(Arc::clone(&disk))
        .unwrap()
        .finish(Epoch(1))
        .unwrap();
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    let callbacks = Callbacks {
        on_failed: Box::new(|_| {}),
        on_prepared: Box::new(|| {}),
    };
    let options = JournalOptions {
        segment_bytes: 4095,
        ..OPTIONS
    };
    let error = Journal::begin(disk, clock, gate, Epoch(1), point, options, callbacks);
    let error = error.err().unwrap();
    assert_eq!(
        error.to_string(),
        "a segment of 4095 bytes is out of bounds: 4096 to 1073741824"
    );
}

/// Sends and acknowledges until segments are gone; answers the last positions.
fn churn(tenure: &Tenure, rounds: usize) {
    let queue = tenure.store.backlogs()[0].clone();
    for _ in 0..rounds {
        let positions: Vec<_> = (0..10).map(|_| tenure.send(&queue, &[1; 200])).collect();
        tenure.store.acknowledge(&queue, &positions).unwrap();
        tenure.settle();
    }
}

const CHURNING: JournalOptions = JournalOptions {
    checkpoint_bytes: 8192,
    ..OPTIONS
};

#[test]
fn dead_segments_go_and_a_pending_message_keeps_its_own() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, CHURNING);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"old");
    churn(&tenure, 100);
    wait_for("segments to go", || disk.paths("journal").len() < 20);
    assert!(disk.paths("checkpoints").len() <= 3);
    assert_eq!(bodies(&tenure.store, &queue), [b"old"]);
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    let next = begin(&disk, 2, OPTIONS);
    assert_eq!(view(&next.store.backlogs()), expected);
    assert_eq!(bodies(&next.store, &next.store.backlogs()[0]), [b"old"]);
    next.store.shut_down();
}

#[test]
fn a_follower_whose_segment_was_removed_begins_with_the_newest_checkpoint() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, CHURNING);
    tenure.backlog("queue");
    tenure.settle();
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    follow(&mut follower);
    let read = follower.tail_segments().unwrap()[0].clone();
    churn(&tenure, 100);
    wait_for("the segment to go", || {
        !disk.paths("journal").contains(&read)
    });
    tenure.settle();
    follow(&mut follower);
    assert_eq!(follower.lsn(), tenure.store.appended());
    assert_eq!(
        view(&follower.state().backlogs()),
        view(&tenure.store.backlogs())
    );
    tenure.store.shut_down();
}

#[test]
fn checkpoints_and_segments_of_many_tenures_stay_bounded() {
    let disk = FaultyDisk::default();
    for epoch in 1..=20 {
        let tenure = begin(&disk, epoch, CHURNING);
        if epoch == 1 {
            tenure.backlog("queue");
        }
        churn(&tenure, 10);
        tenure.store.shut_down();
        assert!(tenure.failures.lock().unwrap().is_empty());
    }
    let last = begin(&disk, 21, CHURNING);
    churn(&last, 20);
    wait_for("old segments to go", || disk.paths("journal").len() < 20);
    last.store.shut_down();
    assert_eq!(disk.paths("checkpoints").len(), 2);
}

#[test]
fn checkpoints_taken_under_load_recover_to_the_same_state() {
    let disk = FaultyDisk::default();
    let options = JournalOptions {
        segment_bytes: 64 << 10,
        checkpoint_bytes: 32 << 10,
        ..OPTIONS
    };
    let tenure = begin(&disk, 1, options);
    let queues: Vec<_> = (0..4)
        .map(|number| tenure.backlog(&format!("{number}")))
        .collect();
    let next_id = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (tenure, queues, next_id) = (&tenure, &queues, &next_id);
            scope.spawn(move || work(tenure, queues, worker, next_id));
        }
    });
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    wait_for("a checkpoint", || !disk.paths("checkpoints").is_empty());
    let crashed = disk.copy();
    tenure.store.shut_down();
    let state = recover(&crashed).unwrap();
    assert_eq!(view(&state.backlogs()), expected);
    for worker in 0..4_u64 {
        let id = format!("producer {worker}");
        let known = tenure.store.producer_sequence(id.as_bytes());
        assert_eq!(state.producer_sequence(id.as_bytes()), known);
    }
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

fn work(tenure: &Tenure, queues: &[Arc<storage::Backlog>], worker: u64, next_id: &AtomicU64) {
    let id = format!("producer {worker}");
    let store = &tenure.store;
    for round in 1..=300_u64 {
        let targets = [
            queues[(round % 4) as usize].clone(),
            queues[worker as usize].clone(),
        ];
        store
            .enqueue(&targets, from_producer(id.as_bytes(), round, &[9; 100]))
            .unwrap();
        let transaction = next_id.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        store
            .enqueue_in_transaction(&transaction, &targets, message(b"in transaction"))
            .unwrap();
        let own = &queues[worker as usize];
        let first: Vec<_> = entries(own).iter().map(|(at, _)| *at).take(3).collect();
        if round % 3 == 0 {
            store.commit(&transaction, &[(own.clone(), first)]).unwrap();
        } else if round % 3 == 1 {
            store.acknowledge(own, &first).unwrap();
            store.roll_back(&transaction).unwrap();
        }
        if round % 50 == 0 {
            let passing = tenure.backlog("passing");
            store
                .enqueue(&[passing.clone(), own.clone()], message(b"p"))
                .unwrap();
            store.remove_backlog(&passing).unwrap();
            store
                .forget_producers(&[Bytes::from(format!("producer {}", (worker + 1) % 4))])
                .unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn an_unreadable_checkpoint_gives_way_to_the_one_before() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, CHURNING);
    tenure.backlog("queue");
    churn(&tenure, 100);
    tenure.store.shut_down();
    let expected = view(&tenure.store.backlogs());
    let checkpoints = disk.paths("checkpoints");
    assert_eq!(checkpoints.len(), 2);
    disk.flip(&checkpoints[1], 100);
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
    disk.flip(&checkpoints[0], 100);
    let error = recover(&disk).err().expect("no way to begin").to_string();
    assert!(error.contains("no readable checkpoint"), "{error}");
    assert!(error.contains(checkpoints[0].to_str().unwrap()), "{error}");
}
