//! Brokers on simulated hosts, with everything that can happen to them, and what must hold all the
//! same: nothing acknowledged is lost, and never two acknowledge.
//!
//! `BATON_SIM_SEEDS=10000` runs more seeds, `BATON_SIM_FIRST=n` begins with another one, and
//! `BATON_SIM_SEED=n` replays one with a trace on standard error.

#[path = "tenure/broker.rs"]
mod broker;
#[path = "tenure/faults.rs"]
mod faults;
#[path = "tenure/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::time::Instant;

use storage::member::Sabotage;

use faults::{Plan, run};

/// In a debug build about half a minute on two cores.
const SEEDS: u64 = 60;
/// Within so many seeds a broken protocol must show.
const SABOTAGE_SEEDS: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[test]
fn nothing_acknowledged_is_lost_and_never_two_acknowledge() {
    let replayed = number("BATON_SIM_SEED");
    let first = replayed.or_else(|| number("BATON_SIM_FIRST")).unwrap_or(0);
    let seeds = replayed.map_or_else(|| number("BATON_SIM_SEEDS").unwrap_or(SEEDS), |_| 1);
    let started = Instant::now();
    let (mut counts, mut promises, mut progress_ms) = (BTreeMap::new(), 0, 0);
    for seed in first..first + seeds {
        let plan = Plan {
            seed,
            sabotage: Sabotage::default(),
            is_traced: replayed.is_some(),
            is_aimed: false,
        };
        let (outcome, ledger) = run(&plan);
        let ledger = ledger
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (what, count) in &ledger.counts {
            *counts.entry(*what).or_insert(0) += count;
        }
        promises += ledger.promises;
        progress_ms = progress_ms.max(ledger.progress_ms);
        if let Err(failure) = outcome {
            panic!("seed {seed}: {failure}; replay it with BATON_SIM_SEED={seed}");
        }
    }
    println!("{seeds} seeds from {first} in {:?}", started.elapsed());
    println!("{promises} acknowledgements; longest wait after all faults {progress_ms} ms");
    for (what, count) in counts {
        println!("{count:8} {what}");
    }
}

/// The number of a seed that notices.
fn caught(sabotage: Sabotage) -> u64 {
    caught_by(sabotage, false)
}

/// As [`caught`], with faults aimed at what this mistake needs to show.
fn caught_by_hold_ups(sabotage: Sabotage) -> u64 {
    caught_by(sabotage, true)
}

fn caught_by(sabotage: Sabotage, is_aimed: bool) -> u64 {
    for seed in 0..SABOTAGE_SEEDS {
        let plan = Plan {
            seed,
            sabotage,
            is_traced: false,
            is_aimed,
        };
        if let (Err(failure), _) = run(&plan) {
            println!("{sabotage:?} is caught by seed {seed}: {failure}");
            return seed;
        }
    }
    panic!("{sabotage:?} is not caught by {SABOTAGE_SEEDS} seeds");
}

#[test]
fn a_broker_without_acknowledgement_gate_is_caught() {
    caught(Sabotage {
        no_gate: true,
        ..Sabotage::default()
    });
}

#[test]
fn readers_that_ignore_the_seal_are_caught() {
    caught_by_hold_ups(Sabotage {
        no_seal: true,
        ..Sabotage::default()
    });
}

#[test]
fn a_tenure_that_goes_on_in_the_old_epoch_is_caught() {
    caught(Sabotage {
        old_epoch: true,
        ..Sabotage::default()
    });
}

#[test]
fn a_takeover_with_the_lock_file_alone_is_caught() {
    caught(Sabotage {
        no_old_locks: true,
        ..Sabotage::default()
    });
}

#[test]
fn a_renewal_that_does_not_look_for_claims_is_caught() {
    caught(Sabotage {
        no_claim_check: true,
        ..Sabotage::default()
    });
}

#[test]
fn a_claim_without_the_wait_is_caught() {
    caught_by_hold_ups(Sabotage {
        no_wait: true,
        ..Sabotage::default()
    });
}

#[test]
fn a_release_out_of_order_is_caught() {
    caught(Sabotage {
        unordered: true,
        ..Sabotage::default()
    });
}

mod kill {
    //! The same with real processes on a real directory: `kill -9` to [`Event::Active`].

    use std::io::{BufRead as _, BufReader, Write as _};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use storage::clock::RealClock;
    use storage::disk::RealDisk;
    use storage::member::{Cause, Fence, Takeover};
    use storage::{Event, Member, MemberOptions};

    const DIRECTORY: &str = "BATON_TEST_KILLED_MEMBER";
    const PATIENCE: Duration = Duration::from_secs(30);
    const ROUNDS: usize = 5;

    fn start(directory: &Path) -> (Member, Receiver<(Instant, Event)>) {
        let options = MemberOptions {
            name: "killed".to_owned(),
            lease_duration: Duration::from_secs(5),
            renewal_interval: Duration::from_secs(1),
            lock_poll_interval: Duration::from_millis(20),
            tail_poll_interval: Duration::from_millis(20),
            clock_drift_permille: 10,
            takeover: Takeover::LockOrLease,
            fence: Fence::Lease,
            segment_bytes: 16 << 20,
            checkpoint_bytes: 64 << 20,
            keys: Default::default(),
            preallocate: true,
            in_flight: storage::journal::JournalOptions::IN_FLIGHT,
            sync: storage::journal::SyncMethod::Auto,
        };
        let (sender, receiver) = channel();
        let member = Member::start(
            Arc::new(RealDisk::open(directory).expect("usable")),
            Arc::new(RealClock::new()),
            options,
            Box::new(move |event| {
                // Nobody listens after the end.
                let _ = sender.send((Instant::now(), event));
            }),
        );
        (member.expect("the options are in bounds"), receiver)
    }

    /// When it took over and when it was the active, and why.
    fn until_active(events: &Receiver<(Instant, Event)>) -> (Instant, Instant, Cause) {
        let mut taken = None;
        loop {
            match events.recv_timeout(PATIENCE).expect("an event in time") {
                (at, Event::TakingOver { cause, .. }) => taken = Some((at, cause)),
                (at, Event::Active(_)) => {
                    let (taken, cause) = taken.expect("it takes over before");
                    return (taken, at, cause);
                }
                (_, Event::Standby) => {}
                _ => panic!("the member ended"),
            }
        }
    }

    /// The process that is killed; without the variable it has nothing to do.
    #[test]
    fn member_that_is_killed() {
        let Some(directory) = std::env::var_os(DIRECTORY) else {
            return;
        };
        let (_member, events) = start(Path::new(&directory));
        until_active(&events);
        let mut out = std::io::stdout();
        writeln!(out, "\nactive")
            .and_then(|()| out.flush())
            .expect("somebody reads");
        // The parent kills this process; if it is gone itself, this ends all the same.
        std::thread::sleep(PATIENCE);
    }

    fn killed_member(directory: &Path) -> Child {
        let this = std::env::current_exe().expect("a path");
        let mut child = Command::new(this)
            .args(["--exact", "kill::member_that_is_killed", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let is_active =
            |line: &std::io::Result<String>| matches!(line, Ok(line) if line == "active");
        assert!(out.lines().any(|line| is_active(&line)), "it ended early");
        child
    }

    #[test]
    fn a_killed_active_is_replaced_at_once() {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut child = killed_member(directory.path());
            let (member, events) = start(directory.path());
            assert!(matches!(
                events.recv_timeout(PATIENCE),
                Ok((_, Event::Standby))
            ));
            let killed = Instant::now();
            child.kill().expect("kills");
            let (taken, active, cause) = until_active(&events);
            assert_eq!(cause, Cause::Lock);
            times.push((active - killed, taken - killed));
            child.wait().expect("ends");
            member.release();
            while !matches!(
                events.recv_timeout(PATIENCE).expect("ends").1,
                Event::Released
            ) {}
        }
        times.sort();
        println!("kill -9 to active, of that to the claim: {times:?}");
        // The lock alone could explain milliseconds; the lease would take five seconds.
        assert!(times[ROUNDS / 2].0 < Duration::from_secs(2), "{times:?}");
    }
}
