//! Storage that fails: what was not synced is never tried again, nothing is acknowledged, and the next
//! tenure has what was released.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;

use storage::disk::Disk as _;
use storage::error::Failure;
use storage::journal::JournalOptions;
use storage::store::AppendError;

use support::*;

const SMALL: JournalOptions = JournalOptions {
    checkpoint_bytes: 8 << 10,
    ..OPTIONS
};

#[test]
fn a_failed_sync_fences_and_is_never_retried() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.settle();
    let released = tenure.store.released();
    disk.fail_syncs("journal/0000000001");
    tenure.send(&queue, b"not durable");
    wait_for("the failure", || {
        !tenure.failures.lock().unwrap().is_empty()
    });
    disk.heal();
    let failures = tenure.failures.lock().unwrap().clone();
    assert_eq!(failures.len(), 1);
    let Failure::Storage(reason) = &failures[0] else {
        panic!("{failures:?}")
    };
    assert!(
        reason.starts_with("cannot sync `journal/0000000001-0000000001.seg`: "),
        "{reason}"
    );
    assert!(tenure.gate.is_fenced());
    assert!(matches!(
        tenure.try_send(&queue, b"late"),
        Err(AppendError::Fenced { .. })
    ));
    let syncs = disk.syncs();
    tenure.store.shut_down();
    assert_eq!((tenure.store.released(), disk.syncs()), (released, syncs));
}

#[test]
fn a_failed_write_fences() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.settle();
    disk.fail_writes("journal/0000000001");
    tenure.send(&queue, b"not written");
    wait_for("the failure", || {
        !tenure.failures.lock().unwrap().is_empty()
    });
    assert!(tenure.gate.is_fenced());
    let failure = tenure.failures.lock().unwrap()[0].to_string();
    assert!(
        failure.starts_with("the journal failed: cannot write `journal/"),
        "{failure}"
    );
    tenure.store.shut_down();
}

#[test]
fn a_panic_in_the_journal_s_thread_fences_and_is_told() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.settle();
    disk.panic_writes("journal/0000000001");
    tenure.send(&queue, b"x");
    wait_for("the failure", || {
        !tenure.failures.lock().unwrap().is_empty()
    });
    assert!(tenure.gate.is_fenced());
    let failure = tenure.failures.lock().unwrap()[0].clone();
    assert_eq!(failure, Failure::Panic("a bug in the disk".to_owned()));
    tenure.store.shut_down();
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_disturb_the_journal() {
    let disk = FaultyDisk::default();
    disk.fail_writes("checkpoints/");
    let tenure = begin(&disk, 1, SMALL);
    let queue = tenure.backlog("queue");
    for _ in 0..300 {
        tenure.send(&queue, &[1; 100]);
    }
    tenure.settle();
    assert!(
        disk.paths("checkpoints")
            .iter()
            .all(|path| path.extension().unwrap() != "ckpt")
    );
    disk.heal();
    wait_for("a checkpoint", || {
        disk.paths("checkpoints")
            .iter()
            .any(|path| path.extension().unwrap() == "ckpt")
    });
    tenure.store.shut_down();
    assert!(tenure.failures.lock().unwrap().is_empty());
    let names = disk.list("checkpoints".as_ref()).unwrap();
    assert!(
        names.iter().all(|name| name.ends_with(".ckpt")),
        "{names:?}"
    );
}

#[test]
fn a_checkpoint_waits_for_the_gate() {
    let disk = FaultyDisk::default();
    let clock = Arc::new(storage::clock::RealClock::new());
    let gate = storage::tenure::gate::Gate::new(clock.clone());
    let tenure = begin_gated(Arc::new(disk.clone()), Arc::clone(&gate), 1, SMALL);
    let queue = tenure.backlog("queue");
    for _ in 0..300 {
        tenure.send(&queue, &[1; 100]);
    }
    wait_for("the syncs", || {
        tenure.store.durable() == tenure.store.appended()
    });
    let is_published = || {
        disk.paths("checkpoints")
            .iter()
            .any(|path| path.extension().unwrap() == "ckpt")
    };
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!is_published());
    keep_open(&gate);
    wait_for("the checkpoint", is_published);
    tenure.store.shut_down();
}
