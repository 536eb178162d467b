//! The ledger against hand-made histories, and against a naive model of the same rules.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::drill::random::Random;

fn key(producer: u32, sequence: u64) -> MessageKey {
    MessageKey { producer, sequence }
}

/// A ledger with `count` acknowledged messages of producer 0 and two consumers.
fn ledger_with(count: u64) -> Ledger {
    let mut ledger = Ledger::new(2, 2);
    for _ in 0..count {
        let key = ledger.begin_send(0);
        ledger.acknowledged(key);
    }
    ledger
}

#[test]
fn everything_sent_and_consumed_once_is_in_order() {
    let mut ledger = ledger_with(4);
    for sequence in 0..4 {
        ledger.delivered((sequence % 2) as usize, key(0, sequence), false, None);
    }
    ledger.committed(0);
    ledger.committed(1);
    let tally = ledger.tally();
    assert_eq!(tally.violations(), [""; 0]);
    assert_eq!(
        (tally.acknowledged, tally.consumed, tally.order_checked),
        (4, 4, 4)
    );
}

#[test]
fn acknowledged_message_that_never_comes_is_lost() {
    let mut ledger = ledger_with(3);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(0, key(0, 2), false, None);
    ledger.committed(0);
    let tally = ledger.tally();
    assert_eq!((tally.lost, tally.lost_never_delivered), (1, 1));
    assert_eq!(
        tally.examples,
        ["lost: producer 0, message 1, never delivered"]
    );
}

#[test]
fn rolled_back_message_that_does_not_come_again_is_lost() {
    let mut ledger = ledger_with(1);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.rolled_back(0);
    let tally = ledger.tally();
    assert_eq!((tally.lost, tally.lost_never_delivered), (1, 0));
}

#[test]
fn message_of_an_undecided_commit_is_not_lost() {
    let mut ledger = ledger_with(2);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(0, key(0, 1), false, None);
    ledger.in_doubt(0);
    let tally = ledger.tally();
    assert_eq!(tally.violations(), [""; 0]);
    assert_eq!(tally.consumed_in_doubt, 2);
}

#[test]
fn undecided_commit_that_comes_again_in_part_is_torn() {
    let mut ledger = ledger_with(2);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(0, key(0, 1), false, None);
    ledger.in_doubt(0);
    ledger.delivered(1, key(0, 1), true, None);
    ledger.committed(1);
    assert_eq!(ledger.tally().torn_transactions, 1);
    ledger.delivered(1, key(0, 0), true, None);
    ledger.committed(1);
    assert_eq!(ledger.tally().violations(), [""; 0]);
}

#[test]
fn undecided_commit_whose_messages_came_again_before_it_failed_is_whole() {
    let mut ledger = ledger_with(2);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(0, key(0, 1), false, None);
    ledger.delivered(1, key(0, 0), true, None);
    ledger.in_doubt(0);
    ledger.delivered(1, key(0, 1), true, None);
    ledger.committed(1);
    assert_eq!(ledger.tally().violations(), [""; 0]);
}

#[test]
fn redelivery_must_be_flagged() {
    let mut ledger = ledger_with(1);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.rolled_back(0);
    ledger.delivered(1, key(0, 0), true, None);
    ledger.rolled_back(1);
    assert_eq!(ledger.tally().redelivered_unflagged, 0);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.committed(0);
    let tally = ledger.tally();
    assert_eq!((tally.redelivered, tally.redelivered_unflagged), (1, 1));
}

#[test]
fn flag_does_not_excuse_a_redelivery_after_an_acknowledged_commit() {
    let mut ledger = ledger_with(1);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.committed(0);
    ledger.delivered(1, key(0, 0), true, None);
    ledger.committed(1);
    assert_eq!(ledger.tally().redelivered_after_commit, 1);
}

#[test]
fn commit_of_a_message_that_another_consumer_got_meanwhile_counts_as_after_commit() {
    let mut ledger = ledger_with(1);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(1, key(0, 0), true, None);
    ledger.committed(0);
    ledger.rolled_back(1);
    assert_eq!(ledger.tally().redelivered_after_commit, 1);
}

#[test]
fn order_counts_only_among_first_deliveries_of_one_producer_to_one_consumer() {
    let mut ledger = ledger_with(6);
    ledger.delivered(0, key(0, 3), false, None);
    ledger.delivered(1, key(0, 0), false, None);
    ledger.delivered(0, key(0, 1), true, None);
    assert_eq!(ledger.tally().out_of_order, 0);
    ledger.delivered(0, key(0, 2), false, None);
    assert_eq!(ledger.tally().out_of_order, 1);
    ledger.delivered(0, key(0, 4), false, None);
    assert_eq!(ledger.tally().out_of_order, 1);
}

#[test]
fn order_within_a_life_counts_what_is_new_even_when_it_is_flagged() {
    let mut ledger = ledger_with(6);
    ledger.delivered(0, key(0, 3), true, Some(1));
    ledger.delivered(0, key(0, 1), true, None);
    ledger.delivered(0, key(0, 0), true, Some(2));
    assert_eq!(ledger.tally().out_of_order, 0);
    ledger.delivered(0, key(0, 4), true, Some(2));
    ledger.delivered(0, key(0, 3), true, Some(2));
    assert_eq!(
        ledger.tally().out_of_order,
        0,
        "a redelivery may come out of turn"
    );
    ledger.delivered(0, key(0, 2), true, Some(2));
    assert_eq!(ledger.tally().out_of_order, 1);
    assert_eq!(ledger.tally().order_checked, 4);
}

#[test]
fn messages_that_were_never_sent_are_counted_and_cost_no_memory() {
    let mut ledger = ledger_with(1);
    ledger.delivered(0, key(0, u64::MAX), false, None);
    ledger.delivered(0, key(77, 0), false, None);
    ledger.foreign();
    ledger.corrupt();
    let tally = ledger.tally();
    assert_eq!((tally.foreign, tally.corrupt), (3, 1));
}

#[test]
fn unanswered_and_refused_sends_are_violations() {
    let mut ledger = Ledger::new(1, 1);
    let first = ledger.begin_send(0);
    ledger.begin_send(0);
    ledger.refused(first);
    let tally = ledger.tally();
    assert_eq!((tally.refused, tally.unanswered), (1, 1));
    assert_eq!(tally.violations().len(), 2);
}

/// One fact, as the naive model remembers it.
#[derive(Debug, Clone, Copy)]
enum Fact {
    Acknowledged(MessageKey),
    Delivered(usize, MessageKey, bool, Option<u64>),
    Committed(usize),
    RolledBack(usize),
    InDoubt(usize),
}

/// The rules of the module's head, written down over the whole history with no regard to cost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Naive {
    lost: u64,
    unflagged: u64,
    after_commit: u64,
    out_of_order: u64,
    torn: u64,
}

/// The transaction in which the delivery at `at` of `history` ended: where, and how.
fn outcome(history: &[Fact], at: usize, consumer: usize) -> Option<(usize, Fact)> {
    history
        .iter()
        .enumerate()
        .skip(at)
        .find(|(_, fact)| match fact {
            Fact::Committed(c) | Fact::RolledBack(c) | Fact::InDoubt(c) => *c == consumer,
            _ => false,
        })
        .map(|(index, fact)| (index, *fact))
}

fn judge_naively(history: &[Fact]) -> Naive {
    let deliveries: Vec<(usize, usize, MessageKey, bool, Option<u64>)> = history
        .iter()
        .enumerate()
        .filter_map(|(at, fact)| match fact {
            Fact::Delivered(consumer, key, flag, life) => Some((at, *consumer, *key, *flag, *life)),
            _ => None,
        })
        .collect();
    let mut naive = Naive::default();
    let mut transactions: HashMap<usize, Vec<(usize, MessageKey)>> = HashMap::new();
    for &(at, consumer, key, flag, life) in &deliveries {
        let earlier = deliveries
            .iter()
            .filter(|other| other.0 < at && other.2 == key);
        naive.unflagged += u64::from(!flag && earlier.clone().next().is_some());
        // Once for each delivery after a commit, and once for each commit of a message that
        // came again while its transaction was open.
        let committed_before = earlier.clone().any(|other| {
            matches!(outcome(history, other.0, other.1), Some((end, Fact::Committed(_))) if end < at)
        });
        naive.after_commit += u64::from(committed_before);
        if let Some((end, fact)) = outcome(history, at, consumer) {
            let again_while_open = deliveries
                .iter()
                .any(|other| other.0 > at && other.0 < end && other.2 == key);
            if matches!(fact, Fact::Committed(_)) {
                naive.after_commit += u64::from(again_while_open);
            }
            if matches!(fact, Fact::InDoubt(_)) {
                transactions.entry(end).or_default().push((at, key));
            }
        }
        let behind = deliveries.iter().any(|other| {
            other.0 < at
                && other.1 == consumer
                && other.2.producer == key.producer
                && other.2.sequence > key.sequence
                && !other.3
        });
        let is_first = |at: usize, key: MessageKey| {
            !deliveries
                .iter()
                .any(|other| other.0 < at && other.2 == key)
        };
        let behind_in_life = deliveries.iter().any(|other| {
            other.0 < at
                && other.1 == consumer
                && other.2.producer == key.producer
                && other.2.sequence > key.sequence
                && other.4 == life
                && is_first(other.0, other.2)
        });
        let by_life = life.is_some() && is_first(at, key) && behind_in_life;
        naive.out_of_order += u64::from(!flag && behind || by_life);
    }
    let came_again = |at: usize, key: MessageKey| {
        deliveries
            .iter()
            .any(|other| other.0 > at && other.2 == key)
    };
    for held in transactions.values() {
        let again = held
            .iter()
            .filter(|(at, key)| came_again(*at, *key))
            .count();
        naive.torn += u64::from(again > 0 && again < held.len());
    }
    let acknowledged: HashSet<MessageKey> = history
        .iter()
        .filter_map(|fact| match fact {
            Fact::Acknowledged(key) => Some(*key),
            _ => None,
        })
        .collect();
    for key in acknowledged {
        let consumed = deliveries
            .iter()
            .filter(|one| one.2 == key)
            .any(|&(at, consumer, ..)| match outcome(history, at, consumer) {
                Some((_, Fact::Committed(_))) => true,
                Some((_, Fact::InDoubt(_))) => !came_again(at, key),
                _ => false,
            });
        naive.lost += u64::from(!consumed);
    }
    naive
}

/// Any history at all: deliveries and outcomes at random, most of them wrong.
fn random_history(random: &mut Random, ledger: &mut Ledger) -> Vec<Fact> {
    let mut history = Vec::new();
    let mut sent = Vec::new();
    let mut lives = [0, 0];
    for _ in 0..random.below(60) {
        let consumer = random.below(2) as usize;
        match random.below(10) {
            0..=2 => {
                let key = ledger.begin_send(random.below(2) as u32);
                ledger.acknowledged(key);
                history.push(Fact::Acknowledged(key));
                sent.push(key);
            }
            3..=6 if !sent.is_empty() => {
                let key = sent[random.below(sent.len() as u64) as usize];
                let flag = random.below(2) == 0;
                lives[consumer] += u64::from(random.below(5) == 0);
                let life = (random.below(5) > 0).then_some(lives[consumer]);
                ledger.delivered(consumer, key, flag, life);
                history.push(Fact::Delivered(consumer, key, flag, life));
            }
            7 => {
                ledger.committed(consumer);
                history.push(Fact::Committed(consumer));
            }
            8 => {
                ledger.rolled_back(consumer);
                history.push(Fact::RolledBack(consumer));
            }
            _ => {
                ledger.in_doubt(consumer);
                history.push(Fact::InDoubt(consumer));
            }
        }
    }
    history
}

#[test]
fn ledger_agrees_with_a_naive_model_on_random_histories() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(Random::fresh_seed);
    let mut seen = Naive::default();
    for case in 0..4000 {
        let mut random = Random::new(seed + case);
        let mut ledger = Ledger::new(2, 2);
        let history = random_history(&mut random, &mut ledger);
        let tally = ledger.tally();
        let found = Naive {
            lost: tally.lost,
            unflagged: tally.redelivered_unflagged,
            after_commit: tally.redelivered_after_commit,
            out_of_order: tally.out_of_order,
            torn: tally.torn_transactions,
        };
        let expected = judge_naively(&history);
        assert_eq!(
            found,
            expected,
            "SEED={} differs on {history:?}",
            seed + case
        );
        seen.lost += found.lost;
        seen.unflagged += found.unflagged;
        seen.after_commit += found.after_commit;
        seen.out_of_order += found.out_of_order;
        seen.torn += found.torn;
    }
    // Each kind of violation occurred, so each was compared.
    for count in [
        seen.lost,
        seen.unflagged,
        seen.after_commit,
        seen.out_of_order,
        seen.torn,
    ] {
        assert!(count > 100, "too few violations to mean anything: {seen:?}");
    }
}

#[test]
fn no_correct_history_is_accused() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(Random::fresh_seed);
    for case in 0..300 {
        let mut random = Random::new(seed + case);
        let tally = correct_history(&mut random);
        assert_eq!(tally.violations(), [""; 0], "SEED={}", seed + case);
        assert_eq!(tally.acknowledged, tally.consumed + tally.consumed_in_doubt);
    }
}

/// A correct queue of two producers and two consumers with takeovers at random moments.
fn correct_history(random: &mut Random) -> Tally {
    let mut ledger = Ledger::new(2, 2);
    let mut pending: Vec<(MessageKey, bool)> = Vec::new();
    let mut held: [Vec<(MessageKey, bool)>; 2] = Default::default();
    let (mut steps, mut sends, mut life) = (0, 0, 0);
    while steps < 200 || !pending.is_empty() || held.iter().any(|held| !held.is_empty()) {
        steps += 1;
        let consumer = random.below(2) as usize;
        match random.below(12) {
            0..=4 if sends < 80 => {
                sends += 1;
                let key = ledger.begin_send(random.below(2) as u32);
                ledger.acknowledged(key);
                pending.push((key, false));
            }
            5..=8 if !pending.is_empty() => {
                let (key, flag) = pending.remove(0);
                ledger.delivered(consumer, key, flag, Some(life));
                held[consumer].push((key, true));
            }
            9..=10 => {
                ledger.committed(consumer);
                held[consumer].clear();
            }
            11 if steps < 400 => {
                life += 1;
                // Takeover: each open transaction rolls back, or its commit's answer is lost.
                let mut back = Vec::new();
                for (consumer, held) in held.iter_mut().enumerate() {
                    match random.below(3) {
                        0 => {
                            ledger.in_doubt(consumer);
                            held.clear();
                        }
                        1 => {
                            ledger.in_doubt(consumer);
                            back.append(held);
                        }
                        _ => {
                            ledger.rolled_back(consumer);
                            back.append(held);
                        }
                    }
                }
                // Some of what nobody has seen is flagged all the same.
                let reserved = random.below(4) as usize;
                for (index, (key, flag)) in pending.drain(..).enumerate() {
                    back.push((key, flag || index < reserved));
                }
                back.sort_by_key(|(key, _)| (key.sequence, key.producer));
                pending = back;
            }
            _ => {}
        }
    }
    ledger.tally()
}

#[test]
fn message_in_the_dead_letter_queue_is_not_lost_but_told() {
    let mut ledger = ledger_with(2);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.in_doubt(0);
    ledger.dead_letter(key(0, 0));
    ledger.dead_letter(key(0, 1));
    let tally = ledger.tally();
    assert_eq!((tally.lost, tally.consumed_in_doubt), (0, 0));
    assert_eq!(
        tally.violations(),
        ["2 acknowledged messages are in the dead letter queue"]
    );
}

#[test]
fn what_a_pair_that_serves_nobody_did_not_deliver_is_missing_and_not_lost() {
    let mut ledger = ledger_with(2);
    ledger.unserved();
    let tally = ledger.tally();
    assert_eq!((tally.lost, tally.missing), (0, 2));
    assert_eq!(tally.violations().len(), 1);
}

#[test]
fn ledger_is_settled_when_nothing_more_need_come() {
    let mut ledger = ledger_with(2);
    ledger.delivered(0, key(0, 0), false, None);
    ledger.delivered(0, key(0, 1), false, None);
    assert!(!ledger.is_settled());
    ledger.in_doubt(0);
    assert!(ledger.is_settled(), "the commit may have taken effect");
    ledger.delivered(1, key(0, 0), true, None);
    ledger.committed(1);
    assert!(!ledger.is_settled(), "the rest has to come, too");
    ledger.delivered(1, key(0, 1), true, None);
    ledger.committed(1);
    assert!(ledger.is_settled());
}
