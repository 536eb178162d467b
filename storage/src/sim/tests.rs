use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::Clock as _;
use crate::disk::{Disk as _, DiskFile, Open};

fn options(mode: DiskMode) -> DiskOptions {
    DiskOptions {
        mode,
        server_lease_ns: 3_000_000_000,
        latency_ns: 500_000,
        slow_permille: 5,
        slow_ns: 50_000_000,
    }
}

fn run(seed: u64, mode: DiskMode, body: impl FnOnce(&Sim) + Send + 'static) {
    Sim::run(seed, options(mode), 100_000, false, body).expect("the run is well");
}

fn written(disk: &SimDisk, path: &str, how: Open, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.open(Path::new(path), how).expect("opens");
    file.write_all_at(bytes, 0).expect("writes");
    file
}

fn content(disk: &SimDisk, path: &str) -> Vec<u8> {
    let mut buffer = [0; 64];
    let file = disk.open(Path::new(path), Open::Read).expect("opens");
    let length = file.read_at(&mut buffer, 0).expect("reads");
    buffer[..length].to_vec()
}

#[test]
fn a_seed_replays_and_another_one_differs() {
    let fingerprint = |seed| {
        let found = Arc::new(AtomicU64::new(0));
        let for_lab = Arc::clone(&found);
        run(seed, DiskMode::Local, move |sim| {
            let process = sim.process(sim.host(0));
            for name in ["a", "b", "c"] {
                let (disk, clock) = (sim.disk(process), sim.clock(process));
                sim.spawn(process, name, move || {
                    for turn in 0..20 {
                        written(&disk, name, Open::ReadWrite, &[turn]);
                        clock.sleep(Duration::from_millis(1));
                    }
                });
            }
            sim.sleep(Duration::from_secs(1));
            for_lab.store(sim.fingerprint(), Ordering::Relaxed);
        });
        found.load(Ordering::Relaxed)
    };
    assert_eq!(fingerprint(1), fingerprint(1));
    assert_ne!(fingerprint(1), fingerprint(2));
}

#[test]
fn everybody_waiting_for_ever_and_a_panic_end_the_run() {
    let forever = Sim::run(1, options(DiskMode::Local), 1000, false, |sim| {
        sim.lab_clock().signal().wait(None);
    });
    let failure = forever.expect_err("nobody ever wakes it");
    assert!(failure.what.contains("waits for ever"), "{failure}");
    let told = Sim::run(1, options(DiskMode::Local), 1000, false, |sim| {
        sim.sleep(Duration::from_secs(3));
        sim.fail("on purpose");
        unreachable!("fail does not come back");
    });
    let failure = told.expect_err("told");
    assert_eq!(
        (failure.at, &*failure.what),
        (Duration::from_secs(3), "on purpose")
    );
}

#[test]
fn a_power_failure_loses_only_what_was_not_synced() {
    let mut lost = 0;
    for seed in 0..20 {
        let (sender, receiver) = channel();
        run(seed, DiskMode::Local, move |sim| {
            let host = sim.host(0);
            let process = sim.process(host);
            let disk = sim.disk(process);
            sim.spawn(process, "writer", move || {
                let synced = written(&disk, "synced", Open::CreateNew, b"abc");
                synced.sync().expect("syncs");
                disk.sync_directory(Path::new(".")).expect("syncs");
                let _open = written(&disk, "unsynced", Open::CreateNew, b"abc");
                std::mem::forget(synced);
            });
            sim.sleep(Duration::from_secs(1));
            sim.power_off(host);
            let disk = sim.lab_disk();
            assert_eq!(content(&disk, "synced"), b"abc");
            let names = disk.list(Path::new(".")).expect("lists");
            let is_lost =
                !names.contains(&"unsynced".to_owned()) || content(&disk, "unsynced") != b"abc";
            sender.send(is_lost).expect("somebody listens");
        });
        lost += u32::from(receiver.recv().expect("told"));
    }
    assert!((1..20).contains(&lost), "{lost} of 20");
}

#[test]
fn on_nfs_a_lost_lock_refuses_its_descriptor_and_nobody_else() {
    run(3, DiskMode::Nfs, |sim| {
        let (old_host, new_host) = (sim.host(0), sim.host(0));
        let (old, new) = (sim.process(old_host), sim.process(new_host));
        let (old_disk, new_disk) = (sim.disk(old), sim.disk(new));
        let (old_sim, new_sim) = (sim.clone(), sim.clone());
        sim.spawn(old, "old", move || {
            let locked = written(&old_disk, "locked", Open::CreateNew, b"old");
            let free = written(&old_disk, "free", Open::CreateNew, b"old");
            assert!(locked.try_lock().expect("tries"));
            locked.sync().expect("syncs");
            free.sync().expect("syncs");
            old_sim.sleep(Duration::from_secs(20));
            let refused = |file: &dyn DiskFile| {
                file.write_all_at(b"late", 0)
                    .and_then(|()| file.sync())
                    .is_err()
            };
            assert!(refused(&*locked) && refused(&*locked));
            assert!(!refused(&*free));
        });
        sim.spawn(new, "new", move || {
            new_sim.sleep(Duration::from_secs(2));
            let disk = &new_disk;
            let lock = || disk.open(Path::new("locked"), Open::Write).expect("opens");
            assert!(!lock().try_lock().expect("tries"));
            new_sim.sleep(Duration::from_secs(5));
            let lock = lock();
            assert!(lock.try_lock().expect("tries"));
            lock.write_all_at(b"new", 0).expect("writes");
            lock.sync().expect("syncs");
            new_sim.sleep(Duration::from_secs(20));
        });
        sim.sleep(Duration::from_secs(1));
        sim.cut(old_host);
        sim.sleep(Duration::from_secs(10));
        sim.heal(old_host);
        sim.sleep(Duration::from_secs(20));
        assert_eq!(content(&sim.lab_disk(), "locked"), b"new");
        assert_eq!(content(&sim.lab_disk(), "free"), b"late");
    });
}

#[test]
fn on_nfs_writes_are_seen_elsewhere_after_the_sync() {
    run(5, DiskMode::Nfs, |sim| {
        let process = sim.process(sim.host(0));
        let (disk, within) = (sim.disk(process), sim.clone());
        sim.spawn(process, "writer", move || {
            let file = written(&disk, "x", Open::CreateNew, b"abc");
            within.sleep(Duration::from_secs(2));
            file.sync().expect("syncs");
        });
        sim.sleep(Duration::from_secs(1));
        assert_eq!(content(&sim.lab_disk(), "x"), b"");
        sim.sleep(Duration::from_secs(2));
        assert_eq!(content(&sim.lab_disk(), "x"), b"abc");
    });
}

#[test]
fn a_killed_process_does_nothing_more_and_its_locks_go() {
    run(7, DiskMode::Local, |sim| {
        let process = sim.process(sim.host(0));
        let (disk, clock) = (sim.disk(process), sim.clock(process));
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        sim.spawn(process, "worker", move || {
            let lock = disk
                .open(Path::new("lock"), Open::ReadWrite)
                .expect("opens");
            assert!(lock.try_lock().expect("tries"));
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                clock.sleep(Duration::from_millis(10));
            }
        });
        sim.sleep(Duration::from_secs(1));
        let disk = sim.lab_disk();
        let lock = disk.open(Path::new("lock"), Open::Write).expect("opens");
        assert!(!lock.try_lock().expect("tries"));
        sim.pause(process);
        let before = turns.load(Ordering::Relaxed);
        assert!(before > 10);
        sim.sleep(Duration::from_secs(1));
        assert!(turns.load(Ordering::Relaxed) <= before + 1);
        assert!(
            !lock.try_lock().expect("tries"),
            "a paused process keeps it"
        );
        sim.kill(process);
        assert!(lock.try_lock().expect("tries"));
        assert!(!sim.is_alive(process));
    });
}
