//! A full directory: messages are refused, consumers go on, and it ends by itself.
//!
//! "Full" is taken literally: not one byte, or not one inode, in memory and on a real file system.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use storage::Backlog;
use storage::disk::RealDisk;
use storage::journal::{JournalOptions, SyncMethod};
use storage::store::AppendError;

use support::*;

const SMALL: JournalOptions = JournalOptions {
    checkpoint_bytes: 8 << 10,
    ..OPTIONS
};
/// What brokers do by default: segments have their space before they are used.
const HELD: JournalOptions = JournalOptions {
    segment_bytes: 32 << 10,
    checkpoint_bytes: 64 << 10,
    preallocate: true,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: SyncMethod::Auto,
};

/// Sends until the directory is full.
fn fill(tenure: &Tenure, queue: &Arc<Backlog>) -> AppendError {
    for _ in 0..10_000 {
        if let Err(error) = tenure.try_send(queue, &[5; 100]) {
            return error;
        }
        tenure.settle();
    }
    panic!("the directory never gets full");
}

#[test]
fn a_full_directory_refuses_messages_and_goes_on_with_acknowledgements() {
    let disk = FaultyDisk::default();
    disk.set_capacity(Some(100 << 10));
    let tenure = begin(&disk, 1, SMALL);
    let queue = tenure.backlog("queue");
    let error = fill(&tenure, &queue);
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    assert!(
        error.to_string().contains("consume messages or free space"),
        "{error}"
    );
    let pending = entries(&queue);
    assert!(pending.len() > 100, "{}", pending.len());
    // Consuming everything makes space, without anybody's help.
    for (position, _) in &pending {
        // Only when not even a small record has a place, there is a pause to make some.
        wait_for("a place for an acknowledgement", || {
            match tenure.store.acknowledge(&queue, &[*position]) {
                Ok(lsn) => {
                    tenure.wait_released(lsn);
                    true
                }
                Err(AppendError::Full { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        });
    }
    assert!(queue.is_empty());
    wait_for("space", || tenure.try_send(&queue, b"again").is_ok());
    tenure.settle();
    assert!(tenure.failures.lock().unwrap().is_empty());
    assert!(disk.used() <= 100 << 10);
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

#[test]
fn messages_are_accepted_again_when_somebody_else_frees_space() {
    let disk = FaultyDisk::default();
    disk.set_capacity(Some(64 << 10));
    let tenure = begin(&disk, 1, SMALL);
    let queue = tenure.backlog("queue");
    fill(&tenure, &queue);
    let before = queue.len();
    assert!(
        tenure
            .store
            .enqueue_in_transaction(b"t", one(&queue), message(b"x"))
            .is_err()
    );
    assert_eq!(queue.len(), before);
    disk.set_capacity(None);
    wait_for("space", || tenure.try_send(&queue, b"again").is_ok());
    tenure.settle();
    tenure.store.shut_down();
    assert!(tenure.failures.lock().unwrap().is_empty());
}

#[test]
fn a_directory_that_hides_that_it_is_full_is_noticed_when_a_segment_is_prepared() {
    let disk = FaultyDisk::default();
    disk.set_capacity(Some(40 << 10));
    disk.tell_free(Some(1 << 40));
    let tenure = begin(
        &disk,
        1,
        JournalOptions {
            preallocate: true,
            ..OPTIONS
        },
    );
    let queue = tenure.backlog("queue");
    wait_for("refusal", || match tenure.try_send(&queue, &[5; 100]) {
        Ok(_) => {
            // What is appended may have to wait for its segment: not for ever, though.
            std::thread::sleep(std::time::Duration::from_millis(2));
            false
        }
        Err(error) => matches!(error, AppendError::Full { .. }),
    });
    disk.set_capacity(None);
    tenure.settle();
    wait_for("space", || tenure.try_send(&queue, b"again").is_ok());
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    assert!(tenure.failures.lock().unwrap().is_empty());
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

/// Sends until messages are refused, then takes the last free byte away.
fn fill_to_the_last_byte(disk: &FaultyDisk, tenure: &Tenure) -> Arc<Backlog> {
    disk.set_capacity(Some(1 << 20));
    let queue = tenure.backlog("queue");
    wait_for("the spare files", || disk.paths("spare").len() == 4);
    let error = fill(tenure, &queue);
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    wait_for("quiet", || tenure.store.space_status().is_full);
    disk.leave_free(0);
    queue
}

/// Acknowledges everything, one by one. Nothing may be refused.
fn consume(tenure: &Tenure, queue: &Arc<Backlog>) {
    for (position, entry) in entries(queue) {
        // It may have moved meanwhile.
        let read = tenure.store.read_at(queue, position, entry.location);
        assert!(read.expect("readable").is_some());
        let lsn = tenure.store.acknowledge(queue, &[position]).unwrap();
        tenure.wait_released(lsn);
    }
    assert!(queue.is_empty());
}

/// The directory has space again, and is used.
fn expect_space(tenure: &Tenure) {
    wait_for("space", || !tenure.store.space_status().is_full);
    let queue = tenure.store.backlogs()[0].clone();
    tenure.send(&queue, b"again");
    tenure.settle();
    assert_eq!(tenure.failure(), None);
    assert_eq!(tenure.store.space_status().full_since_ms, None);
}

#[test]
fn consumers_go_on_without_a_free_byte_until_there_is_space_again() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, HELD);
    let queue = fill_to_the_last_byte(&disk, &tenure);
    let space = tenure.store.space_status();
    assert!(space.is_full && space.full_since_ms.is_some(), "{space:?}");
    let capacity = disk.used();
    consume(&tenure, &queue);
    expect_space(&tenure);
    wait_for("what was consumed to go", || disk.used() <= capacity / 2);
    wait_for("the spare files", || disk.paths("spare").len() == 4);
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    assert_eq!(view(&recover(&disk).unwrap().backlogs()), expected);
}

#[test]
fn what_is_consumed_at_once_makes_space_without_another_record() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, HELD);
    let queue = fill_to_the_last_byte(&disk, &tenure);
    let positions: Vec<_> = entries(&queue).iter().map(|(at, _)| *at).collect();
    tenure.store.acknowledge(&queue, &positions).unwrap();
    expect_space(&tenure);
    tenure.store.shut_down();
}

#[test]
fn a_tenure_begins_without_a_free_byte_and_serves_consumers() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, HELD);
    fill_to_the_last_byte(&disk, &tenure);
    let expected = view(&tenure.store.backlogs());
    tenure.store.abandon();
    tenure.store.shut_down();
    // The first dies before anybody has made space, and others take every byte that it left.
    disk.leave_free(0);
    let tenure = begin(&disk, 2, HELD);
    assert_eq!(view(&tenure.store.backlogs()), expected);
    let queue = tenure.store.backlogs()[0].clone();
    wait_for("the refusal", || {
        matches!(tenure.try_send(&queue, b"x"), Err(AppendError::Full { .. }))
    });
    for (position, _) in entries(&queue).into_iter().take(5) {
        let lsn = tenure.store.acknowledge(&queue, &[position]).unwrap();
        tenure.wait_released(lsn);
    }
    let expected = view(&tenure.store.backlogs());
    tenure.store.abandon();
    tenure.store.shut_down();
    assert_eq!(tenure.failure(), None);
    disk.leave_free(0);
    let tenure = begin(&disk, 3, HELD);
    assert_eq!(view(&tenure.store.backlogs()), expected);
    consume(&tenure, &tenure.store.backlogs()[0].clone());
    expect_space(&tenure);
    tenure.store.shut_down();
}

#[test]
fn a_tenure_begins_without_a_free_inode_and_without_quota() {
    for is_quota in [false, true] {
        let disk = FaultyDisk::default();
        let tenure = begin(&disk, 1, HELD);
        fill_to_the_last_byte(&disk, &tenure);
        tenure.store.abandon();
        tenure.store.shut_down();
        if is_quota {
            // The file system has space, and this user has none.
            disk.tell_free(Some(1 << 40));
        } else {
            disk.set_capacity(None);
            disk.set_names_max(Some(disk.names()));
        }
        let tenure = begin(&disk, 2, HELD);
        consume(&tenure, &tenure.store.backlogs()[0].clone());
        assert_eq!(tenure.failure(), None);
        disk.set_names_max(None);
        disk.set_capacity(None);
        expect_space(&tenure);
        tenure.store.shut_down();
    }
}

/// Where the real file system is that a test may fill.
const DIRECTORY: &str = "BATON_FULL_DIRECTORY";

/// As root on a tmpfs of its own, in a mount name space that ends with it. Anybody can name another
/// small file system in `BATON_FULL_DIRECTORY`; it will be filled.
#[test]
fn a_real_file_system_without_a_free_byte_serves_consumers_over_a_takeover() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return serve_without_a_free_byte(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let may_mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("NOT RUN: mounting a tmpfs takes root and `unshare`; or set {DIRECTORY}");
        return;
    }
    let name = "a_real_file_system_without_a_free_byte_serves_consumers_over_a_takeover";
    let script =
        format!("mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$1\" --exact {name} --nocapture");
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && text.contains("bytes free at the takeover"),
        "{text}"
    );
    eprint!("{text}");
}

fn serve_without_a_free_byte(directory: &Path) {
    let disk = RealDisk::open(directory).unwrap();
    let mut ballast = std::fs::File::create(directory.join("ballast")).unwrap();
    let free_bytes = || storage::disk::Disk::free_bytes(&disk).unwrap();
    while free_bytes() > 2 << 20 {
        ballast.write_all(&[1; 64 << 10]).unwrap();
        ballast.sync_all().unwrap();
    }
    let begin = |epoch| begin(&disk, epoch, HELD);
    let tenure = begin(1);
    let queue = tenure.backlog("queue");
    wait_for("the spare files", || directory.join("spare/3").exists());
    fill(&tenure, &queue);
    fill_up(&mut ballast);
    for (position, _) in entries(&queue).into_iter().take(200) {
        tenure.store.acknowledge(&queue, &[position]).unwrap();
    }
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.abandon();
    tenure.store.shut_down();
    fill_up(&mut ballast);
    let free = free_bytes();
    eprintln!(
        "{free} bytes free at the takeover, {} messages",
        queue.len()
    );
    assert!(free < 4096);
    let tenure = begin(2);
    assert_eq!(view(&tenure.store.backlogs()), expected);
    fill_up(&mut ballast);
    consume(&tenure, &tenure.store.backlogs()[0].clone());
    expect_space(&tenure);
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    let tenure = begin(3);
    assert_eq!(view(&tenure.store.backlogs()), expected);
    tenure.store.shut_down();
}

/// Writes until not one byte more has a place.
fn fill_up(ballast: &mut std::fs::File) {
    for bytes in [64 << 10, 4096, 512, 1] {
        while ballast.write_all(&vec![1; bytes]).is_ok() {}
    }
}
