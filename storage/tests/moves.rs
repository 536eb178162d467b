//! Space comes back: live messages move out of sparse segments, and nothing about them changes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::journal::JournalOptions;
use storage::store::AppendError;
use storage::tail::Follower;
use storage::{Backlog, Decision};

use support::*;

const SEGMENT: u64 = 4096;

const SPARSE: JournalOptions = JournalOptions {
    segment_bytes: SEGMENT as u32,
    checkpoint_bytes: 1 << 30,
    preallocate: false,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: storage::journal::SyncMethod::Auto,
};

/// Messages that come and go.
fn churn(tenure: &Tenure, queue: &Arc<Backlog>, rounds: usize) {
    for _ in 0..rounds {
        let positions: Vec<_> = (0..10).map(|_| tenure.send(queue, &[1; 200])).collect();
        tenure.store.acknowledge(queue, &positions).unwrap();
        tenure.settle();
    }
}

/// Twice what is live and two segments; small segments are prepared at once, so one more; and a
/// checkpoint is about as large as such a segment.
fn is_in_bounds(disk: &FaultyDisk, tenure: &Tenure) -> bool {
    let segments = disk.paths("journal").len() as u64;
    segments * SEGMENT <= 2 * tenure.store.space().live_bytes + 3 * SEGMENT
}

#[test]
fn a_stuck_message_in_every_queue_pins_no_segment() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, SPARSE);
    let traffic = tenure.backlog("traffic");
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    for number in 0..30_u8 {
        let queue = tenure.backlog(&format!("queue {number}"));
        tenure.send(&queue, &[number; 100]);
        churn(&tenure, &traffic, 3);
    }
    let before = view(&tenure.store.backlogs());
    wait_for("the space", || is_in_bounds(&disk, &tenure));
    assert!(
        tenure.store.space().moved_messages >= 25,
        "{:?}",
        tenure.store.space()
    );
    assert!(tenure.store.space().removed_segments > 20);
    catch_up(&mut follower, &tenure);
    assert_eq!(view(&tenure.store.backlogs()), before);
    assert_eq!(view(&follower.state().backlogs()), before);
    tenure.store.abandon();
    let next = begin(&disk, 2, SPARSE);
    assert_eq!(view(&next.store.backlogs()), before);
    for (number, queue) in next.store.backlogs().iter().skip(1).enumerate() {
        assert_eq!(bodies(&next.store, queue), [[number as u8; 100]]);
    }
    next.store.shut_down();
}

#[test]
fn a_message_with_several_targets_is_live_once_and_moves_with_those_that_still_have_it() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, SPARSE);
    let traffic = tenure.backlog("traffic");
    let subscriptions: Vec<_> = (0..5)
        .map(|number| tenure.backlog(&number.to_string()))
        .collect();
    tenure
        .store
        .enqueue(&subscriptions, message(&[9; 500]))
        .unwrap();
    tenure.settle();
    let live = tenure.store.space().live_bytes;
    assert!((500..700).contains(&live), "{live}");
    let (at, old) = entries(&subscriptions[0])[0];
    tenure.store.acknowledge(&subscriptions[0], &[at]).unwrap();
    churn(&tenure, &traffic, 10);
    // Its new segment may become sparse as well: then it has moved again.
    wait_for("the move", || tenure.store.space().moved_messages >= 1);
    assert!(
        subscriptions[0].is_empty(),
        "what was consumed does not come back"
    );
    wait_for("one new place for all that still have it", || {
        let places: Vec<_> = subscriptions[1..]
            .iter()
            .map(|one| entries(one)[0].1.location)
            .collect();
        places
            .iter()
            .all(|place| *place == places[0] && *place != old.location)
    });
    // Counted once; a move has some bytes more for its places.
    let moved = tenure.store.space().live_bytes;
    assert!((500..800).contains(&moved), "{moved}");
    for one in &subscriptions[1..] {
        let (position, _) = entries(one)[0];
        // Whoever kept the old place finds the message.
        wait_for("the old segment to go", || {
            tenure.store.read(old.location).is_err()
        });
        let read = tenure.store.read_at(one, position, old.location).unwrap();
        assert_eq!(read.unwrap(), [9; 500][..]);
        tenure.store.acknowledge(one, &[position]).unwrap();
        let gone = tenure.store.read_at(one, position, old.location).unwrap();
        assert_eq!(gone, None);
    }
    assert_eq!(tenure.store.space().live_bytes, 0);
    tenure.store.shut_down();
}

#[test]
fn messages_of_open_transactions_move_and_are_committed() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, SPARSE);
    let (traffic, queue) = (tenure.backlog("traffic"), tenure.backlog("queue"));
    let told = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&told);
    tenure.store.on_moved(move |moved| {
        counter.fetch_add(moved.len() as u64, Ordering::Relaxed);
    });
    for key in [b"open", b"prep"] {
        let sent = from_producer(b"p", 5, key);
        tenure
            .store
            .enqueue_in_transaction(key, one(&queue), sent)
            .unwrap();
    }
    tenure.store.prepare(b"prep", &[]).unwrap();
    churn(&tenure, &traffic, 10);
    wait_for("the moves", || tenure.store.space().moved_messages >= 2);
    assert!(queue.is_empty() && tenure.store.producer_sequence(b"p").is_none());
    assert!(told.load(Ordering::Relaxed) >= 2);
    tenure.store.commit(b"open", &[]).unwrap();
    tenure.settle();
    assert_eq!(tenure.store.producer_sequence(b"p"), Some(5));
    tenure.store.abandon();
    let next = begin(&disk, 2, SPARSE);
    next.store.decide(b"prep", Decision::Commit, false).unwrap();
    let queue = next.store.backlogs()[1].clone();
    assert_eq!(bodies(&next.store, &queue), [b"open", b"prep"]);
    next.store.shut_down();
}

#[test]
fn a_full_directory_of_sparse_segments_gets_space_by_moving() {
    let disk = FaultyDisk::default();
    disk.set_capacity(Some(96 << 10));
    let tenure = begin(&disk, 1, SPARSE);
    let (traffic, stuck) = (tenure.backlog("traffic"), tenure.backlog("stuck"));
    let mut sent = 0_u64;
    // Far more than the capacity passes through, and something of every segment stays.
    for _ in 0..150 {
        wait_for("space", || match tenure.try_send(&stuck, &[2; 40]) {
            Ok(_) => true,
            Err(AppendError::Full { .. }) => false,
            Err(error) => panic!("{error}"),
        });
        sent += 1;
        for _ in 0..10 {
            wait_for("space", || match tenure.try_send(&traffic, &[1; 200]) {
                Ok(position) => {
                    let gone = || tenure.store.acknowledge(&traffic, &[position]).is_ok();
                    wait_for("a place for an acknowledgement", gone);
                    true
                }
                Err(AppendError::Full { .. }) => false,
                Err(error) => panic!("{error}"),
            });
        }
        tenure.settle();
    }
    assert_eq!(stuck.len() as u64, sent);
    assert!(tenure.store.space().moved_messages > 0);
    assert_eq!(tenure.failure(), None);
    tenure.store.shut_down();
    assert_eq!(
        recover(&disk.copy()).unwrap().backlogs()[1].len() as u64,
        sent
    );
}

#[test]
fn well_used_segments_are_left_alone() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, SPARSE);
    let queue = tenure.backlog("queue");
    for number in 0..200_u8 {
        let position = tenure.send(&queue, &[number; 200]);
        if number % 5 == 0 {
            tenure.store.acknowledge(&queue, &[position]).unwrap();
        }
    }
    tenure.settle();
    // Several looks come and go.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(
        tenure.store.space().moved_messages,
        0,
        "a fifth of each is dead"
    );
    tenure.store.shut_down();
}
