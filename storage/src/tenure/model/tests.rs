//! Runs the model: the protocol within some bounds, and what is left of it without one of its parts.
//!
//! The tests that are ignored by default search larger bounds, for minutes and some GB. With
//! `BATON_MODEL_SECONDS=n` each search ends after that time, done or not.

use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries};

use super::*;

/// Where two brokers start, one takes over, and nothing goes wrong.
const CALM: Bounds = Bounds {
    variant: Variant::Sound,
    brokers: 2,
    starts: false,
    newcomers: false,
    claims: 2,
    records: 1,
    in_flight: 1,
    second_segment: false,
    faults: 1,
    restarts: 0,
    pauses: false,
    cuts: false,
    freezes: false,
    stops_clocks: false,
    kills: false,
    loses_locks: false,
    deletes_lock: false,
    deletes_all: false,
    releases: false,
    drifts: false,
    answers_are_late: false,
    seekers_renew: false,
    is_strict: false,
    takeover: Takeover::LockOrLease,
    server_lease: 3,
};

/// The server takes locks away whenever it likes, and segments are made meanwhile.
const LOCKS_LOST: Bounds = Bounds {
    loses_locks: true,
    second_segment: true,
    records: 2,
    ..CALM
};

/// Hosts stop together with their clocks.
const STRICT: Bounds = Bounds {
    stops_clocks: true,
    is_strict: true,
    ..CALM
};

const THREE: Bounds = Bounds {
    brokers: 3,
    claims: 3,
    kills: true,
    seekers_renew: true,
    ..CALM
};

/// Searches everything; `reaches` are the properties that must have an example.
fn holds(name: &str, bounds: Bounds, reaches: &[&'static str]) {
    let started = Instant::now();
    let checker = bounds.checker().threads(2);
    let seconds = std::env::var("BATON_MODEL_SECONDS").ok();
    let checker = match seconds.and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => checker.timeout(Duration::from_secs(seconds)),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    println!(
        "{name}: {} states, {} unique, depth {}, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for (property, path) in checker.discoveries() {
        if checker
            .model()
            .property(property)
            .expectation
            .discovery_is_failure()
        {
            panic!(
                "{name}: {property} does not hold: {}",
                steps(path.into_actions())
            );
        }
    }
    for property in reaches {
        assert!(
            checker.discovery(property).is_some(),
            "{name}: {property} is never seen: the model is too narrow"
        );
    }
}

/// Searches until `property` does not hold.
fn breaks(name: &str, bounds: Bounds, property: &'static str) {
    let started = Instant::now();
    let checker = bounds.checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyOf([property].into()));
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{name} is not caught in {states} states");
    };
    let actions = path.into_actions();
    println!(
        "{name}: {property} is broken in {} steps ({states} states, {:?}): {}",
        actions.len(),
        started.elapsed(),
        steps(actions)
    );
}

fn steps(actions: Vec<Action>) -> String {
    let text = actions.iter().map(|action| match action {
        Action::Broker(_, 0, deed) => format!("{deed:?}"),
        Action::Broker(_, epoch, deed) => format!("{epoch} {deed:?}"),
        other => format!("{other:?}"),
    });
    text.collect::<Vec<_>>().join(", ")
}

// The protocol holds.

#[test]
fn both_promises_hold_when_the_active_is_killed() {
    let bounds = Bounds {
        kills: true,
        ..CALM
    };
    holds("killed", bounds, &[BY_LOCK, TWO_TENURES]);
}

#[test]
fn both_promises_hold_when_the_active_is_paused() {
    let bounds = Bounds {
        pauses: true,
        ..CALM
    };
    holds("paused", bounds, &[BY_LEASE, TWO_TENURES, LATE_WRITE]);
}

#[test]
fn both_promises_hold_when_the_active_is_cut_off() {
    let bounds = Bounds { cuts: true, ..CALM };
    holds("cut off", bounds, &[BY_LOCK, BY_LEASE, LATE_WRITE]);
}

#[test]
fn both_promises_hold_when_the_host_freezes() {
    let bounds = Bounds {
        freezes: true,
        ..CALM
    };
    holds("frozen", bounds, &[BY_LOCK, BY_LEASE, LATE_WRITE]);
}

#[test]
fn both_promises_hold_with_clocks_that_differ_as_much_as_is_allowed() {
    let bounds = Bounds {
        drifts: true,
        server_lease: 5,
        ..CALM
    };
    holds("drift", bounds, &[BY_LEASE, TWO_TENURES]);
}

#[test]
fn both_promises_hold_over_a_planned_release() {
    let bounds = Bounds {
        releases: true,
        ..CALM
    };
    holds("released", bounds, &[BY_LOCK, AFTER_RELEASE, TWO_TENURES]);
}

#[test]
fn nothing_is_lost_when_the_server_takes_locks_away_at_any_time() {
    let bounds = Bounds {
        takeover: Takeover::Lock,
        ..LOCKS_LOST
    };
    holds("locks lost", bounds, &[BY_LOCK, LATE_WRITE]);
}

#[test]
fn a_deleted_lock_file_gives_two_holders_and_one_active() {
    let bounds = Bounds {
        deletes_lock: true,
        ..CALM
    };
    holds("lock deleted", bounds, &[BY_LEASE, TWO_TENURES]);
}

#[test]
fn a_deleted_directory_does_not_give_two_actives_to_those_who_knew_it() {
    let bounds = Bounds {
        deletes_all: true,
        ..CALM
    };
    holds("directory deleted", bounds, &[BY_LEASE]);
}

#[test]
fn a_broker_started_in_a_deleted_directory_overlaps_for_no_longer_than_a_lease() {
    let bounds = Bounds {
        deletes_all: true,
        newcomers: true,
        ..CALM
    };
    holds("directory deleted, newcomer", bounds, &[]);
}

#[test]
fn writes_under_way_land_in_any_order() {
    let bounds = Bounds {
        records: 2,
        in_flight: 2,
        ..CALM
    };
    holds("two under way", bounds, &[BY_LEASE, LATE_WRITE]);
}

#[test]
fn answers_may_come_late() {
    let bounds = Bounds {
        answers_are_late: true,
        ..CALM
    };
    holds("late answers", bounds, &[BY_LEASE, TWO_TENURES]);
}

#[test]
fn two_brokers_may_start_at_once() {
    let bounds = Bounds {
        starts: true,
        kills: true,
        ..CALM
    };
    holds("first start", bounds, &[BY_LOCK]);
}

#[test]
fn a_strict_fence_keeps_what_is_acknowledged_though_clocks_stand_still() {
    holds("strict, clocks stop", STRICT, &[BY_LEASE, LATE_WRITE]);
}

#[test]
fn three_brokers_keep_both_promises() {
    let bounds = Bounds {
        takeover: Takeover::Lock,
        ..THREE
    };
    holds("three brokers, by lock", bounds, &[BY_LOCK, TWO_TENURES]);
}

// Larger bounds.

#[test]
#[ignore = "takes minutes"]
fn large_bounds_three_brokers_paused() {
    let bounds = Bounds {
        brokers: 3,
        pauses: true,
        ..CALM
    };
    holds(
        "large: three brokers, paused",
        bounds,
        &[BY_LEASE, LATE_WRITE],
    );
}

#[test]
#[ignore = "takes minutes"]
fn large_bounds_three_brokers_cut_off() {
    let bounds = Bounds {
        brokers: 3,
        cuts: true,
        ..CALM
    };
    holds("large: three brokers, cut off", bounds, &[BY_LEASE]);
}

#[test]
#[ignore = "takes minutes"]
fn large_bounds_three_brokers_and_a_deleted_lock_file() {
    let bounds = Bounds {
        brokers: 3,
        claims: 3,
        deletes_lock: true,
        ..CALM
    };
    holds("large: three brokers, lock deleted", bounds, &[BY_LEASE]);
}

#[test]
#[ignore = "takes minutes"]
fn large_bounds_locks_lost() {
    holds("large: locks lost", LOCKS_LOST, &[BY_LOCK, BY_LEASE]);
}

#[test]
fn a_strict_fence_needs_no_server_that_takes_locks_away() {
    let bounds = Bounds {
        server_lease: NEVER,
        ..STRICT
    };
    holds("strict, no locks taken away", bounds, &[BY_LEASE]);
}

#[test]
#[ignore = "takes minutes"]
fn large_bounds_three_brokers() {
    holds("large: three brokers", THREE, &[BY_LOCK, BY_LEASE]);
}

#[test]
fn both_promises_hold_over_two_faults() {
    let bounds = Bounds {
        pauses: true,
        cuts: true,
        kills: true,
        faults: 2,
        ..CALM
    };
    holds("two faults", bounds, &[BY_LOCK, BY_LEASE]);
}

#[test]
#[ignore = "takes minutes"]
fn large_bounds_three_brokers_two_faults() {
    let bounds = Bounds {
        pauses: true,
        cuts: true,
        faults: 2,
        ..THREE
    };
    holds("large: three brokers, two faults", bounds, &[BY_LOCK]);
}

#[test]
fn with_takeover_by_lock_only_clocks_may_stand_still() {
    let bounds = Bounds {
        stops_clocks: true,
        takeover: Takeover::Lock,
        ..CALM
    };
    holds("by lock only, clocks stop", bounds, &[BY_LOCK]);
}

// What is left out is missed.

fn without(variant: Variant) -> Bounds {
    Bounds { variant, ..CALM }
}

#[test]
fn without_the_gate_promises_break() {
    breaks("no gate", without(Variant::NoGate), I1);
}

#[test]
fn without_the_seal_readers_see_what_came_too_late() {
    breaks("no seal", without(Variant::NoSeal), ONE_ORDER);
}

#[test]
fn going_on_in_the_old_epoch_hides_what_is_acknowledged() {
    breaks("same epoch", without(Variant::SameEpoch), I1);
}

#[test]
fn the_lock_alone_is_not_enough() {
    let bounds = Bounds {
        deletes_lock: true,
        ..without(Variant::LockAlone)
    };
    breaks("lock alone", bounds, I1);
}

#[test]
fn a_renewal_has_to_look_for_claims() {
    breaks("no claim check", without(Variant::NoClaimCheck), I1);
}

#[test]
fn a_claim_without_the_wait_is_too_early() {
    breaks("no wait", without(Variant::NoWait), I1);
}

#[test]
fn a_wait_of_the_lease_alone_is_too_short_for_a_slow_clock() {
    let bounds = Bounds {
        drifts: true,
        server_lease: 5,
        ..without(Variant::ShortWait)
    };
    breaks("short wait", bounds, I1);
}

#[test]
fn a_renewal_counts_from_its_start() {
    let bounds = Bounds {
        answers_are_late: true,
        ..without(Variant::CountsFromTheEnd)
    };
    breaks("counts from the end", bounds, I1);
}

#[test]
fn the_gate_is_asked_after_the_sync() {
    breaks("gate before sync", without(Variant::GateBeforeSync), I1);
}

#[test]
fn a_segment_locked_after_the_loss_of_the_locks_proves_nothing() {
    let bounds = Bounds {
        loses_locks: true,
        second_segment: true,
        records: 2,
        ..without(Variant::NoLockTime)
    };
    breaks("no lock time", bounds, I1);
}

#[test]
fn a_claim_is_more_than_its_name() {
    let bounds = Bounds {
        deletes_all: true,
        newcomers: true,
        ..without(Variant::ClaimsByName)
    };
    breaks("claims by name", bounds, I2);
}

#[test]
fn a_standby_remembers_that_there_were_claims() {
    let bounds = Bounds {
        deletes_all: true,
        ..without(Variant::ForgetsClaims)
    };
    breaks("forgets claims", bounds, I2);
}

#[test]
fn segments_are_written_through_locked_descriptors() {
    let bounds = Bounds {
        loses_locks: true,
        ..without(Variant::UnlockedSegments)
    };
    breaks("unlocked segments", bounds, I1);
}

#[test]
fn the_journal_is_read_after_the_wait() {
    let variant = Variant::ReadsBeforeTheWait;
    breaks("read before the wait", without(variant), I1);
}

#[test]
fn the_gate_is_shut_before_the_lease_is_released() {
    let bounds = Bounds {
        releases: true,
        ..without(Variant::ReleasesBeforeTheGateIsShut)
    };
    breaks("released before the gate is shut", bounds, I1);
}

#[test]
fn a_lease_is_no_fence_where_clocks_stand_still() {
    let bounds = Bounds {
        stops_clocks: true,
        ..CALM
    };
    breaks("lease, clocks stop", bounds, I1);
}
