//! Reads that lie: wrong bits and stale content, once, at any read of a takeover, of a standby and of a check.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use storage::disk::{Disk as _, Open};
use storage::inspect::Verdict;
use storage::journal::JournalOptions;
use storage::tail::Follower;
use storage::{Epoch, Lsn};

use support::inspected::check;
use support::*;

const SMALL: JournalOptions = JournalOptions {
    checkpoint_bytes: 6000,
    ..OPTIONS
};

const PLACES: u64 = 30;

/// A journal of two tenures with checkpoints, and its last LSN.
fn journal() -> (FaultyDisk, Lsn) {
    let disk = FaultyDisk::default();
    let mut end = Lsn(0);
    for epoch in 1..=2 {
        let tenure = begin(&disk, epoch, SMALL);
        let queue = match tenure.store.backlogs().first() {
            Some(queue) => queue.clone(),
            None => tenure.backlog("queue"),
        };
        for number in 0..60_u8 {
            tenure.send(&queue, &[number; 150]);
            tenure.settle();
        }
        end = tenure.store.released();
        tenure.store.abandon();
        tenure.store.shut_down();
    }
    (disk.copy(), end)
}

/// Runs once for each read there is.
fn at_every_read(
    disk: &FaultyDisk,
    effect: Effect,
    call: Call,
    run: impl Fn(&FaultyDisk, u64),
) -> u64 {
    for nth in 0.. {
        // Each flip of a disk hits another place.
        for place in 0..PLACES {
            let disk = disk.copy();
            disk.inject(Fault::on(&[call]).of("other").with(effect));
            disk.set_bytes(Path::new("other"), vec![0; 8]);
            let other = disk.open(Path::new("other"), Open::Read).unwrap();
            for _ in 0..place {
                other.read_at(&mut [0; 8], 0).unwrap();
            }
            let before = disk.count(call, "") as u64;
            disk.inject(Fault::on(&[call]).after(nth).once().with(effect));
            run(&disk, nth);
            if disk.count(call, "") as u64 - before <= nth {
                return nth;
            }
        }
    }
    unreachable!("reads come to an end")
}

#[test]
fn a_wrong_bit_in_any_read_of_a_takeover_loses_nothing() {
    let (disk, end) = journal();
    let reads = at_every_read(&disk, Effect::FlipBit, Call::Read, |disk, nth| {
        let finished = Follower::open(Arc::new(disk.clone()));
        let finished = finished.and_then(|follower| follower.finish(Epoch(3)));
        // Damage that nobody finds the second time ends this process, and the next one reads again.
        if let Ok(point) = finished {
            assert!(
                point.sealed_lsn >= end,
                "read {nth}: {} of {end}",
                point.sealed_lsn
            );
        }
    });
    assert!(reads > 5, "{reads}");
}

#[test]
fn a_wrong_bit_in_any_read_of_a_standby_ends_it_or_does_not_matter() {
    let (disk, end) = journal();
    at_every_read(&disk, Effect::FlipBit, Call::Read, |disk, nth| {
        let Ok(mut follower) = Follower::open(Arc::new(disk.clone())) else {
            return;
        };
        for _ in 0..100 {
            match follower.poll() {
                Ok(progress) if progress.lsn >= end => return,
                Ok(_) => {}
                Err(error) if error.is_transient() => {}
                Err(_) => return,
            }
        }
        panic!("read {nth}: the standby stays at {}", follower.lsn());
    });
}

#[test]
fn stale_content_of_any_open_is_read_again() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, SMALL);
    let queue = tenure.backlog("queue");
    for nth in 0..30 {
        let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
        follow(&mut follower);
        let stale = Fault::on(&[Call::OpenRead]).after(nth % 5).once();
        disk.inject(stale.with(Effect::Stale));
        for number in 0..5 {
            tenure.send(&queue, &[number; 300]);
            tenure.settle();
            let _ = follower.poll();
        }
        catch_up(&mut follower, &tenure);
        assert_eq!(
            view(&follower.state().backlogs()),
            view(&tenure.store.backlogs())
        );
        disk.heal();
    }
    tenure.store.shut_down();
    tenure.store.abandon();
}

#[test]
fn a_check_ends_whatever_single_bit_a_read_brings_wrong() {
    let (disk, _) = journal();
    let mut verdicts = Vec::new();
    for nth in 0..60 {
        let disk = disk.copy();
        let flip = Fault::on(&[Call::Read]).after(nth).once();
        disk.inject(flip.with(Effect::FlipBit));
        verdicts.push(check(&disk, &keys()).verdict);
    }
    assert!(verdicts.contains(&Verdict::Healthy));
}
