//! A crash at every point of the sequence of writes: what was released is there, what is there is
//! whole, and the next tenure can begin.
//!
//! `PROPTEST_CASES` makes it run longer.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use storage::clock::RealClock;
use storage::disk::Disk;
use storage::journal::{Callbacks, InFlight, Journal, JournalOptions};
use storage::sim::Random;
use storage::tail::{Follower, TakeoverPoint};
use storage::tenure::gate::Gate;
use storage::{Epoch, Lsn};

use support::history::{Action, Model, Run, SMALL, action, cases};
use support::*;

/// A history with rolls, checkpoints and removed segments, over two tenures.
fn history() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let options = JournalOptions {
        checkpoint_bytes: 6000,
        ..OPTIONS
    };
    for epoch in 1..=2 {
        let tenure = begin(&disk, epoch, options);
        let queue = match tenure.store.backlogs().first() {
            Some(queue) => queue.clone(),
            None => tenure.backlog("queue"),
        };
        for number in 0..20_u8 {
            let positions: Vec<_> = (0..4)
                .map(|_| tenure.send(&queue, &[number; 150]))
                .collect();
            // Few segments have something that stays.
            let kept = usize::from(number % 8 == 0);
            tenure
                .store
                .acknowledge(&queue, &positions[kept..])
                .unwrap();
            tenure.settle();
        }
        tenure.store.shut_down();
    }
    disk
}

/// What a crash at one point is judged by.
struct Judge<'a> {
    run: &'a Run,
    seed: u64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Operations of histories at which there was a crash.
    points: usize,
    /// Directories that were recovered.
    recoveries: usize,
    /// Of these: with something that was appended and not released.
    more_than_released: usize,
    /// Tenures that began, worked, crashed and were recovered.
    tenures: usize,
}

impl Judge<'_> {
    /// Recovers a directory. It must be what the model was at some LSN at or behind `least`.
    fn judge(&mut self, disk: &FaultyDisk, changes: usize, survival: &str) -> Lsn {
        let at = format!("seed {}, {changes} changes, {survival}", self.seed);
        let finished = open(disk).and_then(|follower| follower.finish(Epoch(1000)));
        let point = finished.unwrap_or_else(|error| panic!("{at}: {error}"));
        let (found, least) = (point.sealed_lsn, self.run.released_at(changes));
        assert!(found >= least, "{at}: LSN {found} of {least} released");
        let matching = self.matching(found, |model| model.check_state(&point.state));
        let matching = located(&at, || matching.expect("a model before or after that LSN"));
        self.counts.recoveries += 1;
        self.counts.more_than_released += usize::from(found > least);
        matching
    }

    /// The end of the action after which the model is as `check` wants it. Moves come between
    /// actions, and change nothing that a model knows: so it is the last action up to `found`, or the
    /// next one, if a move came before anybody asked where that one had ended.
    fn matching(&self, found: Lsn, check: impl Fn(&Model)) -> Option<Lsn> {
        let models = &self.run.models;
        let before = models.range(..=found).next_back();
        let after = models.range(found..).next();
        let mut both = before.into_iter().chain(after);
        let found = both.find(|(_, model)| catch_unwind(AssertUnwindSafe(|| check(model))).is_ok());
        found.map(|(lsn, _)| *lsn)
    }

    /// The next tenure begins there, works, writes a checkpoint, crashes, and is recovered.
    fn go_on(&mut self, disk: &FaultyDisk, found: Lsn, random: &mut Random, at: usize) {
        let at = format!("seed {}, {at} changes, goes on at LSN {found}", self.seed);
        let options = JournalOptions {
            checkpoint_bytes: 1500,
            ..SMALL
        };
        let disk = disk.copy();
        let before = disk.paths("checkpoints");
        let tenure = begin(&disk, 1000, options);
        let mut model = self.run.models[&found].clone();
        model.take_over();
        located(&at, || model.check_store(&tenure.store));
        let queue = tenure.backlog("after the crash");
        for number in 0..8 {
            tenure.send(&queue, &[number; 400]);
            tenure.settle();
        }
        let is_new = |path: &PathBuf| path.extension().unwrap() == "ckpt" && !before.contains(path);
        wait_for("a checkpoint", || {
            disk.paths("checkpoints").iter().any(is_new)
        });
        let expected = view(&tenure.store.backlogs());
        tenure.store.abandon();
        tenure.store.shut_down();
        assert_eq!(tenure.failure(), None, "{at}");
        let state = recover(&disk.crash(random)).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(view(&state.backlogs()), expected, "{at}");
        self.counts.tenures += 1;
    }
}

/// Says where it happened.
fn located<T>(at: &str, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        eprintln!("{at}");
        resume_unwind(panic)
    })
}

/// A crash at every operation of a history, with several survivals of what was not synced.
fn crash_everywhere(run: &Run, seed: u64) -> Counts {
    let changes = run.disk.changes();
    let mut random = Random::new(seed);
    let mut judge = Judge {
        run,
        seed,
        counts: Counts::default(),
    };
    let now = FaultyDisk::default();
    for count in 0..=changes.len() {
        now.replay(&changes[count.saturating_sub(1)..count]);
        judge.counts.points += 1;
        judge.judge(&now, count, "a process that died");
        for survival in 0..3 {
            let crashed = now.crash(&mut random);
            let found = judge.judge(&crashed, count, &format!("survival {survival}"));
            if random.chance(8) {
                judge.go_on(&crashed, found, &mut random, count);
            }
        }
    }
    judge.counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(6), max_shrink_iters: 30, failure_persistence: None, ..Default::default() })]

    #[test]
    fn after_a_crash_at_any_operation_the_journal_is_what_the_model_was(
        actions in proptest::collection::vec(action(), 60..220),
        seed in any::<u64>(),
        preallocate in any::<bool>(),
        is_encrypted in any::<bool>(),
    ) {
        use_keys(if is_encrypted { &[1] } else { &[] });
        let mut run = Run::with(JournalOptions { preallocate, ..SMALL });
        for action in actions {
            run.act(action);
        }
        run.tenure.store.shut_down();
        prop_assert_eq!(run.tenure.failure(), None);
        let counts = crash_everywhere(&run, seed);
        eprintln!("seed {seed}, encrypted {is_encrypted}: {counts:?}");
        prop_assert!(counts.points > 10);
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    for (call, path) in [
        (Call::Sync, "journal/"),
        (Call::SyncDirectory, "journal"),
        (Call::SyncDirectory, "."),
    ] {
        let disk = FaultyDisk::default();
        disk.inject(Fault::on(&[call]).of(path).with(Effect::Lie));
        let mut run = Run::on(disk, SMALL);
        run.act(Action::Create);
        for _ in 0..40 {
            let (targets, order, producer, length) = (vec![0], 4, None, 280);
            run.act(Action::Send {
                targets,
                order,
                producer,
                length,
            });
            run.act(Action::Settle);
        }
        run.tenure.store.shut_down();
        let judged = catch_unwind(AssertUnwindSafe(|| crash_everywhere(&run, 1)));
        assert!(judged.is_err(), "{call:?} of {path}");
    }
}

/// The LSNs that can be read after the given changes.
fn readable(disk: &FaultyDisk) -> Lsn {
    let follower = open(disk).unwrap();
    follower.finish(Epoch(99)).unwrap().sealed_lsn
}

#[test]
fn a_history_with_rolls_checkpoints_and_removed_segments_loses_nothing_at_any_operation() {
    let changes = history().changes();
    let is_removal =
        |change: &&Change| matches!(change, Change::Remove(path) if path.starts_with("journal"));
    assert!(changes.iter().filter(is_removal).count() > 3, "{changes:?}");
    let now = FaultyDisk::default();
    let mut random = Random::new(7);
    let mut synced = Lsn(0);
    for change in &changes {
        now.replay([change]);
        let least = readable(&now.synced());
        assert!(least >= synced, "{change:?} takes back {synced} to {least}");
        synced = least;
        for _ in 0..3 {
            let found = readable(&now.crash(&mut random));
            assert!(found >= synced, "after {change:?}: {found} of {synced}");
        }
    }
    assert!(synced > Lsn(100), "the history is long enough");
}

#[test]
fn a_tenure_can_begin_after_every_crash_and_its_records_count() {
    let changes = history().changes();
    for count in (0..=changes.len()).step_by(7) {
        let disk = FaultyDisk::after(&changes[..count]);
        let tenure = begin(&disk, 99, OPTIONS);
        let queue = tenure.backlog("after the crash");
        tenure.send(&queue, b"counts");
        tenure.settle();
        let expected = view(&tenure.store.backlogs());
        tenure.store.abandon();
        let state = recover(&disk.copy()).unwrap_or_else(|error| panic!("{count}: {error}"));
        assert_eq!(view(&state.backlogs()), expected, "after {count} changes");
    }
}

#[test]
fn a_batch_that_was_seen_and_then_lost_is_not_taken_over() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"durable");
    tenure.settle();
    let durable = disk.copy();
    tenure.send(&queue, b"lost with the server's cache");
    tenure.settle();
    tenure.store.abandon();
    let mut follower = open(&disk).unwrap();
    follow(&mut follower);
    assert_eq!(follower.state().backlogs()[0].len(), 2);
    for path in durable.paths("journal") {
        disk.set_bytes(&path, durable.bytes(&path));
    }
    let point = follower.finish(Epoch(2)).unwrap();
    assert_eq!(point.state.backlogs()[0].len(), 1);
}

#[test]
fn the_last_batch_read_is_made_durable_before_it_is_sealed_in() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"seen");
    tenure.settle();
    tenure.store.abandon();
    let copy = disk.copy();
    let before = copy.changes().len();
    let next = begin(&copy, 2, OPTIONS);
    next.store.abandon();
    let changes = copy.changes();
    let rewrite = &changes[before..before + 2];
    let Change::Write {
        path,
        bytes,
        offset,
    } = &rewrite[0]
    else {
        panic!("{rewrite:?}")
    };
    let whole = (path.clone(), *offset, bytes.len());
    assert!(
        matches!(&rewrite[1], Change::SyncPart(path, offset, length)
            if (path.clone(), *offset, *length) == whole),
        "{rewrite:?}"
    );
    let file = disk.bytes(path);
    assert_eq!(
        file[*offset as usize..][..bytes.len()],
        bytes[..],
        "the same bytes"
    );
    assert!(bytes.windows(4).any(|window| window == b"seen"));
}

/// A journal whose last three batches are visible and not durable: they were on their way at once.
fn seen_and_not_synced() -> FaultyDisk {
    let disk = FaultyDisk::default();
    disk.let_overlap();
    let options = JournalOptions {
        in_flight: InFlight::Always(4),
        ..OPTIONS
    };
    let tenure = begin(&disk, 1, options);
    let queue = tenure.backlog("queue");
    tenure.settle();
    let stall = Effect::Stall(Duration::from_secs(1));
    disk.inject(Fault::on(&[Call::Sync]).of("journal/").with(stall));
    let first = PathBuf::from("journal/0000000001-0000000001.seg");
    for number in 1..=3_u8 {
        tenure.send(&queue, &[number; 800]);
        wait_for("the batch on the disk", || {
            let bytes = disk.bytes(&first);
            bytes.windows(50).any(|window| window == [number; 50])
        });
    }
    let copy = disk.copy();
    assert!(copy.synced().bytes(&first) != copy.bytes(&first));
    tenure.store.abandon();
    copy
}

/// Takes over from `point` on, and loses the host's power right after.
fn take_over_and_crash(disk: &FaultyDisk, point: TakeoverPoint) -> Result<Lsn, String> {
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    let callbacks = Callbacks {
        on_failed: Box::new(|_| {}),
        on_prepared: Box::new(|| {}),
    };
    let whole: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Journal::begin(whole, clock, gate, Epoch(2), point, OPTIONS, callbacks).unwrap();
    store.abandon();
    drop(store);
    let left = Arc::new(disk.synced());
    let follower = Follower::open(left).map_err(|error| error.to_string())?;
    let point = follower
        .finish(Epoch(3))
        .map_err(|error| error.to_string())?;
    Ok(point.sealed_lsn)
}

#[test]
fn all_batches_that_may_not_be_durable_are_made_so_before_they_are_sealed_in() {
    let disk = seen_and_not_synced();
    let point = |disk: &FaultyDisk| {
        let follower = Follower::open(Arc::new(disk.clone())).unwrap();
        follower.finish(Epoch(2)).unwrap()
    };
    let whole = point(&disk);
    let (batches, sealed_lsn) = (whole.last_batches.len(), whole.sealed_lsn);
    assert!(batches >= 3, "{batches}");
    let after = take_over_and_crash(&disk.copy(), whole);
    assert!(
        after.as_ref().is_ok_and(|lsn| *lsn > sealed_lsn),
        "{after:?}"
    );
    // A takeover that makes only the last one durable would be noticed here.
    let copy = disk.copy();
    let mut last_only = point(&copy);
    last_only.last_batches.drain(..batches - 1);
    let after = take_over_and_crash(&copy, last_only);
    assert!(
        !after.as_ref().is_ok_and(|lsn| *lsn > sealed_lsn),
        "{after:?}"
    );
}
