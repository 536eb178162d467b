//! The policy step by step.

use super::*;

type Policy = ReconnectPolicy<&'static str>;

fn policy(change: impl FnOnce(&mut FailoverOptions), listed: &[&'static str]) -> Policy {
    let mut options = FailoverOptions {
        randomize: false,
        ..FailoverOptions::default()
    };
    change(&mut options);
    ReconnectPolicy::new(options, listed.to_vec(), Vec::new(), 7)
}

/// The next steps as short words: addresses, pauses, the end.
fn steps(policy: &mut Policy, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| match policy.next() {
            Step::Wait { delay, .. } => format!("{}ms", delay.as_millis()),
            Step::Try(address) => address.to_owned(),
            Step::GiveUp { rounds } => format!("gave up after {rounds}"),
        })
        .collect()
}

fn connect(policy: &mut Policy) -> &'static str {
    for _ in 0..100 {
        if let Step::Try(address) = policy.next() {
            policy.connected();
            return address;
        }
    }
    panic!("no address in a hundred steps");
}

#[test]
fn the_first_round_begins_at_once_and_pauses_double() {
    let mut policy = policy(|_| {}, &["a", "b"]);
    assert_eq!(
        steps(&mut policy, 9),
        ["a", "b", "10ms", "a", "b", "20ms", "a", "b", "40ms"]
    );
}

#[test]
fn a_lost_connection_waits_the_initial_delay_and_its_address_goes_last() {
    let mut policy = policy(
        |o| o.initial_reconnect_delay = Duration::from_millis(5),
        &["a", "b"],
    );
    assert_eq!(connect(&mut policy), "a");
    assert_eq!(policy.lost("a"), Loss::Reconnect);
    assert_eq!(
        steps(&mut policy, 7),
        ["5ms", "b", "a", "10ms", "b", "a", "20ms"]
    );
}

#[test]
fn success_resets_the_pauses() {
    let mut policy = policy(|_| {}, &["a"]);
    steps(&mut policy, 8);
    connect(&mut policy);
    policy.lost("a");
    assert_eq!(steps(&mut policy, 3), ["10ms", "a", "20ms"]);
}

#[test]
fn pauses_grow_to_the_longest() {
    let mut policy = policy(
        |o| {
            o.max_reconnect_delay = Duration::from_millis(50);
            o.reconnect_delay_exponent = 3.0;
        },
        &["a"],
    );
    assert_eq!(
        steps(&mut policy, 8),
        ["a", "10ms", "a", "30ms", "a", "50ms", "a", "50ms"]
    );
}

#[test]
fn constant_pauses_are_the_initial_delay() {
    let mut policy = policy(
        |o| {
            o.use_exponential_back_off = false;
            o.initial_reconnect_delay = Duration::from_millis(7);
            o.reconnect_delay = Duration::from_millis(99);
        },
        &["a"],
    );
    assert_eq!(steps(&mut policy, 4), ["a", "7ms", "a", "7ms"]);
}

#[test]
fn reconnect_delay_only_counts_before_the_first_connection() {
    let mut policy = policy(|o| o.reconnect_delay = Duration::from_millis(100), &["a"]);
    assert_eq!(steps(&mut policy, 4), ["a", "100ms", "a", "200ms"]);
    connect(&mut policy);
    policy.lost("a");
    assert_eq!(steps(&mut policy, 1), ["10ms"]);
}

#[test]
fn an_attempt_is_a_round_over_the_whole_list() {
    let mut policy = policy(|o| o.max_reconnect_attempts = Some(2), &["a", "b"]);
    assert_eq!(
        steps(&mut policy, 7),
        [
            "a",
            "b",
            "10ms",
            "a",
            "b",
            "gave up after 2",
            "gave up after 2"
        ]
    );
}

#[test]
fn zero_startup_attempts_give_up_after_the_first_failed_round() {
    let mut policy = policy(|o| o.startup_max_reconnect_attempts = Some(0), &["a", "b"]);
    assert_eq!(steps(&mut policy, 3), ["a", "b", "gave up after 1"]);
}

#[test]
fn startup_attempts_end_with_the_first_connection() {
    let mut policy = policy(|o| o.startup_max_reconnect_attempts = Some(1), &["a"]);
    connect(&mut policy);
    assert_eq!(policy.lost("a"), Loss::Reconnect);
    assert_eq!(steps(&mut policy, 5), ["10ms", "a", "20ms", "a", "40ms"]);
}

#[test]
fn zero_attempts_make_a_loss_final() {
    let mut policy = policy(|o| o.max_reconnect_attempts = Some(0), &["a"]);
    connect(&mut policy);
    assert_eq!(policy.lost("a"), Loss::Final);
    assert_eq!(policy.next(), Step::GiveUp { rounds: 0 });
}

#[test]
fn the_first_and_each_tenth_failed_round_is_a_warning() {
    let mut policy = policy(|_| {}, &["a"]);
    let mut warned = Vec::new();
    for _ in 0..60 {
        if let Step::Wait {
            failed: Some(failed),
            ..
        } = policy.next()
            && failed.is_warning
        {
            warned.push(failed.rounds);
        }
    }
    assert_eq!(warned, [1, 10, 20, 30]);
}

#[test]
fn pushed_addresses_come_before_the_listed_ones() {
    let mut policy = policy(|_| {}, &["a", "b"]);
    assert!(policy.push(vec!["c", "b"]));
    assert!(
        !policy.push(vec!["b", "c"]),
        "the same addresses are no change"
    );
    assert_eq!(policy.connect_list(), ["b", "c", "a"]);
}

#[test]
fn pushed_addresses_can_be_switched_off() {
    let mut policy = policy(|o| o.update_uris_supported = false, &["a"]);
    assert!(!policy.push(vec!["c"]));
    assert_eq!(policy.connect_list(), ["a"]);
}

#[test]
fn a_failed_address_that_is_pushed_again_keeps_its_place() {
    let mut policy = policy(|_| {}, &["a", "b"]);
    connect(&mut policy);
    policy.lost("a");
    assert_eq!(policy.connect_list(), ["b", "a"]);
    policy.push(vec!["a"]);
    assert_eq!(policy.connect_list(), ["a", "b"]);
}

#[test]
fn a_wanted_address_is_first_once_and_without_a_pause() {
    let mut policy = policy(|_| {}, &["a", "b"]);
    connect(&mut policy);
    assert!(policy.reconnect_to("c"));
    policy.left();
    assert_eq!(steps(&mut policy, 6), ["c", "a", "b", "10ms", "a", "b"]);
}

#[test]
fn obedience_can_be_switched_off() {
    let mut policy = policy(|o| o.reconnect_supported = false, &["a"]);
    assert!(!policy.reconnect_to("c"));
    assert_eq!(policy.connect_list(), ["a"]);
}

#[test]
fn a_rebalance_moves_only_when_another_address_is_first() {
    let mut policy = policy(|_| {}, &["a", "b"]);
    assert!(!policy.should_move(&"a"));
    assert!(policy.should_move(&"b"));
}

#[test]
fn priority_is_the_first_listed_address_unless_named() {
    let mut plain = policy(|o| o.priority_backup = true, &["a", "b"]);
    assert!(plain.is_priority(&"a") && !plain.is_priority(&"b"));
    assert_eq!(plain.backup_list(&"b"), ["a"]);
    let options = FailoverOptions {
        priority_backup: true,
        ..FailoverOptions::default()
    };
    let named = ReconnectPolicy::new(options, vec!["a", "b"], vec!["b"], 1);
    assert!(named.is_priority(&"b") && !named.is_priority(&"a"));
    assert!(
        !policy(|_| {}, &["a"]).is_priority(&"a"),
        "only with priorityBackup"
    );
}

#[test]
fn a_random_order_follows_its_seed_and_keeps_every_address() {
    let listed = vec!["a", "b", "c", "d", "e"];
    let order = |seed| {
        let options = FailoverOptions::default();
        ReconnectPolicy::new(options, listed.clone(), Vec::new(), seed).connect_list()
    };
    assert_eq!(order(1), order(1));
    let orders: std::collections::HashSet<_> = (0..50).map(order).collect();
    assert!(orders.len() > 10, "{} orders of 50 seeds", orders.len());
    for mut order in orders {
        order.sort_unstable();
        assert_eq!(order, listed);
    }
}

#[test]
fn a_random_order_keeps_the_failed_address_last() {
    for seed in 0..50 {
        let options = FailoverOptions::default();
        let mut policy = ReconnectPolicy::new(options, vec!["a", "b", "c"], Vec::new(), seed);
        policy.lost("b");
        assert_eq!(policy.connect_list().last(), Some(&"b"), "seed {seed}");
    }
}

#[test]
fn equal_addresses_count_once() {
    let mut policy = policy(|_| {}, &["a", "b", "a"]);
    assert_eq!(policy.connect_list(), ["a", "b"]);
}
