//! Limits: what has no room, why, and when there is room again.

use std::sync::Arc;
use std::time::Instant;

use super::policy::{DestinationPattern, Policies, Policy};
use super::usage::{LimitKind, Limits, Patience, Shortage, WaitingRoom};
use super::*;

fn limited(limits: Limits) -> Fixture {
    Fixture::with(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
}

fn with_policy(policy: Policy, limits: Limits) -> Fixture {
    Fixture::with(BrokerOptions {
        limits,
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    })
}

fn transient(peer: &mut Peer, destination: &Destination, bytes: usize) -> openwire::Message {
    let mut message = peer.message(destination, &"x".repeat(bytes));
    message.persistent = false;
    message
}

fn shortage(result: Result<Receipt, Refusal>) -> Shortage {
    match result {
        Err(Refusal::NoRoom(shortage)) => *shortage,
        other => panic!("there was room: {other:?}"),
    }
}

fn consume_one(peer: &mut Peer, number: u32) {
    let delivery = peer.next(number);
    peer.acknowledge(i64::from(number), &delivery);
}

/// A message of another producer than the peer's first.
fn by_producer(message: &openwire::Message, number: i64, sequence: i64) -> openwire::Message {
    let mut message = message.clone();
    let mut producer = message.producer_id.clone().expect("a producer");
    producer.value = number;
    message.message_id = Some(producer.message(sequence));
    message.producer_id = Some(producer);
    message
}

fn received(peer: &Peer, message: &openwire::Message) -> Arc<Message> {
    let mut frame = BytesMut::new();
    encode_message(message, Version::LATEST, &mut frame).expect("a message");
    let received = peer
        .connection
        .receive(&frame.freeze(), Version::LATEST, message);
    Arc::new(received.expect("a message"))
}

/// A waiting room whose tickets are numbers.
struct Room<'a> {
    peer: &'a Peer,
    room: WaitingRoom<u32>,
}

impl<'a> Room<'a> {
    fn new(peer: &'a Peer) -> Self {
        Room {
            room: WaitingRoom::new(Arc::clone(&peer.broker), "test".to_owned()),
            peer,
        }
    }

    /// None: it waits.
    fn send(&mut self, message: &openwire::Message, ticket: u32) -> Option<bool> {
        let connection = &self.peer.connection;
        let sent = self
            .room
            .send(received(self.peer, message), ticket, |message, _| {
                connection.send(message, None)
            });
        sent.map(|(_, result)| result.is_ok())
    }

    fn retry(&mut self) -> Vec<(u32, bool)> {
        let connection = &self.peer.connection;
        let done = self.room.retry(|message, _| connection.send(message, None));
        done.into_iter()
            .map(|(ticket, result)| (ticket, result.is_ok()))
            .collect()
    }
}

#[test]
fn a_destination_s_own_limit_holds_its_messages_back_and_no_others() {
    let policy = Policy {
        memory_limit_bytes: 1,
        keep_in_memory: true,
        ..Policy::default()
    };
    let entry = (
        DestinationPattern::parse("queue://Q").expect("a pattern"),
        policy,
    );
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(Policy::default(), vec![entry]),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    let message = transient(&mut peer, &queue(), 100);
    peer.send_message(&message);
    let full = shortage(peer.try_send(&message, None));
    assert_eq!(
        (full.kind, full.limit),
        (LimitKind::DestinationMemory, 1),
        "{full}"
    );
    peer.send(&Destination::queue("OTHER"), "no limit there");
    peer.consume(1, &queue(), 10);
    consume_one(&mut peer, 1);
    peer.send_message(&message);
}

#[test]
fn persistent_messages_respect_a_destination_s_limit_until_they_are_consumed() {
    let fixture = with_policy(
        Policy {
            memory_limit_bytes: 1,
            ..Policy::default()
        },
        Limits::default(),
    );
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "a");
    let message = peer.message(&queue(), "b");
    assert_eq!(
        shortage(peer.try_send(&message, None)).kind,
        LimitKind::DestinationMemory
    );
    peer.consume(1, &queue(), 10);
    consume_one(&mut peer, 1);
    wait_for("room", || peer.try_send(&message, None).is_ok());
}

#[test]
fn a_store_limit_stops_persistent_sends_and_no_others_until_messages_are_consumed() {
    let fixture = limited(Limits {
        store_bytes: 3_000,
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    let message = peer.message(&queue(), &"x".repeat(1_000));
    let mut sent = 0;
    let full = loop {
        sent += 1;
        let mut next = message.clone();
        let producer = next.producer_id.clone().expect("a producer");
        next.message_id = Some(producer.message(sent + 10));
        match peer.try_send(&next, None) {
            Ok(receipt) => peer.settle(receipt),
            Err(Refusal::NoRoom(shortage)) => break shortage,
            Err(other) => panic!("{other}"),
        }
        assert!(sent < 10, "the limit has no effect");
    };
    assert_eq!(full.kind, LimitKind::Store);
    assert!(full.percent() >= 100, "{full}");
    let passing = transient(&mut peer, &queue(), 10);
    peer.send_message(&passing);
    peer.consume(1, &queue(), 10);
    for _ in 0..sent - 1 {
        consume_one(&mut peer, 1);
    }
    wait_for("room", || peer.try_send(&message, None).is_ok());
}

#[test]
fn the_limits_and_the_policy_say_whether_a_send_may_wait() {
    let second = Duration::from_secs(1);
    let full = |policy: Policy, limits: Limits| {
        let fixture = with_policy(policy, limits);
        let mut peer = fixture.connect("one");
        let message = transient(&mut peer, &queue(), 100);
        peer.send_message(&message);
        shortage(peer.try_send(&message, None)).patience
    };
    let limits = Limits {
        memory_bytes: 1,
        temporary_bytes: 0,
        ..Limits::default()
    };
    assert_eq!(full(Policy::default(), limits.clone()), Patience::Endless);
    let failing = Limits {
        send_fail_if_no_space: true,
        ..limits.clone()
    };
    assert_eq!(full(Policy::default(), failing.clone()), Patience::None);
    let patient = Policy {
        send_fail_if_no_space: Some(false),
        send_fail_if_no_space_after: Some(second),
        ..Policy::default()
    };
    assert_eq!(full(patient, failing), Patience::AtMost(second));
    let impatient = Policy {
        send_fail_if_no_space: Some(true),
        ..Policy::default()
    };
    assert_eq!(full(impatient, limits), Patience::None);
}

#[test]
fn topics_hold_producers_back_for_slow_consumers_instead_of_losing_messages() {
    let fixture = limited(Limits {
        memory_bytes: 5_000,
        temporary_bytes: 0,
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic(), 1);
    let mut sent = Vec::new();
    let full = loop {
        let text = format!("{}{}", sent.len(), "x".repeat(500));
        // A persistent message is nowhere else for a slow consumer without a subscription either.
        let message = peer.message(&topic(), &text);
        match peer.try_send(&message, None) {
            Ok(receipt) => peer.settle(receipt),
            Err(Refusal::NoRoom(shortage)) => break shortage,
            Err(other) => panic!("{other}"),
        }
        sent.push(text);
        let arrived = sent.len();
        // Published when released: what is in memory is known a little later.
        wait_for("the publication", || {
            peer.look();
            arrived == 1 || fixture.broker.memory().bytes(usage::Class::Held) >= (arrived - 1) * 500
        });
        assert!(arrived < 20, "the limit has no effect");
    };
    assert_eq!(full.kind, LimitKind::Memory);
    for text in &sent {
        let delivery = peer.next(1);
        assert_eq!(text_of(&delivery), *text);
        let all = Peer::acknowledgement(AckKind::Standard, &id_of(&delivery), 1);
        let _ = peer
            .connection
            .acknowledge(&peer.consumer(1), &all, None)
            .expect("outstanding");
    }
    let message = peer.message(&topic(), "again");
    wait_for("room", || peer.try_send(&message, None).is_ok());
}

#[test]
fn a_line_keeps_its_producer_s_order_and_lets_others_pass() {
    let fixture = limited(Limits {
        memory_bytes: 1,
        temporary_bytes: 0,
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    let message = transient(&mut peer, &queue(), 100);
    peer.send_message(&message);
    let persistent = peer.message(&queue(), "needs no memory");
    let sender = fixture.connect("two");
    let mut room = Room::new(&sender);
    assert_eq!(room.send(&by_producer(&message, 7, 1), 1), None);
    assert_eq!(
        room.send(&by_producer(&persistent, 7, 2), 2),
        None,
        "it would overtake the first"
    );
    assert_eq!(room.send(&by_producer(&persistent, 8, 1), 3), Some(true));
    assert!(room.retry().is_empty());
    let blocked = fixture.broker.status().blocked_producers;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!((blocked[0].messages, blocked[0].limit_bytes), (2, 1));
    peer.consume(1, &queue(), 10);
    let first = peer.next(1);
    peer.acknowledge(1, &first);
    drop((first, message));
    let mut done = Vec::new();
    wait_for("the waiting sends", || {
        done.extend(room.retry());
        done.len() == 2
    });
    assert_eq!(done, [(1, true), (2, true)]);
    assert!(fixture.broker.status().blocked_producers.is_empty());
}

#[test]
fn a_send_is_refused_when_its_time_is_over_and_an_expired_one_is_dropped() {
    let fixture = limited(Limits {
        memory_bytes: 1,
        temporary_bytes: 0,
        send_fail_if_no_space_after: Some(Duration::from_millis(50)),
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    let message = transient(&mut peer, &queue(), 100);
    peer.send_message(&message);
    let mut expiring = by_producer(&message, 8, 1);
    expiring.expiration = wall_ms() + 10;
    let mut room = Room::new(&peer);
    let since = Instant::now();
    assert_eq!(room.send(&by_producer(&message, 7, 1), 1), None);
    assert_eq!(room.send(&expiring, 2), None);
    let mut done = Vec::new();
    wait_for("the end of both", || {
        done.extend(room.retry());
        done.len() == 2
    });
    assert!(since.elapsed() >= Duration::from_millis(50));
    done.sort_unstable();
    assert_eq!(done, [(1, false), (2, true)]);
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn a_blocked_send_leaves_its_transaction_as_it_was() {
    let fixture = limited(Limits {
        memory_bytes: 1,
        temporary_bytes: 0,
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    let message = transient(&mut peer, &queue(), 100);
    peer.send_message(&message);
    peer.connection.begin(1);
    let second = transient(&mut peer, &queue(), 100);
    let _ = shortage(peer.try_send(&second, Some(1)));
    peer.consume(1, &queue(), 10);
    let first = peer.next(1);
    peer.acknowledge(1, &first);
    drop(first);
    wait_for("room", || peer.try_send(&second, Some(1)).is_ok());
    peer.settle(peer.connection.commit(1).expect("a whole transaction"));
    consume_one(&mut peer, 1);
}

/// More than memory has room for, each with its number.
fn overflow(fixture: &Fixture, peer: &mut Peer, count: usize) {
    for number in 0..count {
        let mut message = peer.message(&queue(), &format!("{number}:{}", "x".repeat(1_000)));
        message.persistent = false;
        let since = Instant::now();
        while peer.try_send(&message, None).is_err() {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "no room for {number}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_for("the temporary store", || {
        fixture.broker.usage().spool.used_bytes() > 0
    });
}

fn numbers(peer: &mut Peer, consumer: u32, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let delivery = peer.next(consumer);
        let text = text_of(&delivery);
        numbers.push(
            text.split(':')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number"),
        );
        peer.acknowledge(i64::from(consumer), &delivery);
    }
    numbers
}

fn small_memory(directory: &std::path::Path) -> Limits {
    Limits {
        memory_bytes: 400_000,
        temporary_directory: Some(directory.to_owned()),
        ..Limits::default()
    }
}

#[test]
fn what_memory_has_no_room_for_comes_back_from_the_temporary_store_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = limited(small_memory(directory.path()));
    let mut peer = fixture.connect("one");
    overflow(&fixture, &mut peer, 3_000);
    assert_eq!(fixture.status("Q").pending, 3_000);
    let held = fixture.broker.memory().bytes(usage::Class::Held);
    assert!(held <= 400_000 + 2_000, "{held} bytes are in memory");
    peer.consume(1, &queue(), 50);
    let expected: Vec<usize> = (0..3_000).collect();
    assert_eq!(numbers(&mut peer, 1, 3_000), expected);
    assert_eq!(fixture.status("Q").pending, 0);
    wait_for("the space", || {
        fixture.broker.usage().spool.used_bytes() < 16 << 20
    });
}

#[test]
fn a_browser_sees_the_temporary_store_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = limited(small_memory(directory.path()));
    let mut peer = fixture.connect("one");
    overflow(&fixture, &mut peer, 800);
    let request = ConsumerRequest {
        is_browser: true,
        prefetch: 1_000,
        ..peer.request(1, &queue())
    };
    peer.settle(peer.connection.add_consumer(request).expect("a browser"));
    for number in 0..800 {
        let text = text_of(&peer.next(1));
        assert!(
            text.starts_with(&format!("{number}:")),
            "{text} instead of {number}"
        );
    }
    assert_eq!(text_of(&peer.next(1)), "nothing");
    assert_eq!(fixture.status("Q").pending, 800);
}

#[test]
fn a_full_temporary_store_holds_producers_back_until_messages_are_consumed() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = limited(Limits {
        temporary_bytes: 300_000,
        ..small_memory(directory.path())
    });
    let mut peer = fixture.connect("one");
    let mut sent = 0;
    let full = loop {
        let message = transient(&mut peer, &queue(), 1_000);
        match peer.try_send(&message, None) {
            Ok(_) => sent += 1,
            Err(Refusal::NoRoom(shortage)) if shortage.kind == LimitKind::Temporary => {
                break shortage;
            }
            // It is about to be written.
            Err(Refusal::NoRoom(_)) => std::thread::sleep(Duration::from_millis(1)),
            Err(other) => panic!("{other}"),
        }
        assert!(sent < 2_000, "the limit has no effect");
    };
    assert_eq!(full.limit, 300_000);
    peer.consume(1, &queue(), 10);
    for _ in 0..sent {
        consume_one(&mut peer, 1);
    }
    let message = transient(&mut peer, &queue(), 1_000);
    wait_for("room", || peer.try_send(&message, None).is_ok());
}

#[test]
fn a_temporary_store_that_fails_leaves_memory_bounded_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("no-directory");
    std::fs::write(&file, "").expect("a file");
    let fixture = limited(small_memory(&file));
    let mut peer = fixture.connect("one");
    let mut sent = 0;
    loop {
        let message = transient(&mut peer, &queue(), 1_000);
        match peer.try_send(&message, None) {
            Ok(_) => sent += 1,
            Err(Refusal::NoRoom(_)) => break,
            Err(other) => panic!("{other}"),
        }
        assert!(sent < 2_000, "memory grows without bound");
    }
    peer.consume(1, &queue(), 50);
    for _ in 0..sent {
        consume_one(&mut peer, 1);
    }
    assert_eq!(fixture.status("Q").pending, 0);
}

#[test]
fn without_flow_control_a_destination_s_limit_only_says_when_to_use_the_temporary_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = Policy {
        memory_limit_bytes: 50_000,
        producer_flow_control: false,
        ..Policy::default()
    };
    let fixture = with_policy(policy, small_memory(directory.path()));
    let mut peer = fixture.connect("one");
    overflow(&fixture, &mut peer, 500);
    peer.consume(1, &queue(), 10);
    let expected: Vec<usize> = (0..500).collect();
    assert_eq!(numbers(&mut peer, 1, 500), expected);
}

#[test]
fn a_store_limit_counts_what_is_in_open_transactions() {
    let fixture = limited(Limits {
        store_bytes: 3_000,
        ..Limits::default()
    });
    let mut peer = fixture.connect("one");
    peer.connection.begin(1);
    let mut sent = 0;
    let full = loop {
        let message = peer.message(&queue(), &"x".repeat(1_000));
        match peer.try_send(&message, Some(1)) {
            Ok(receipt) => peer.settle(receipt),
            Err(Refusal::NoRoom(shortage)) => break shortage,
            Err(other) => panic!("{other}"),
        }
        sent += 1;
        assert!(sent < 10, "the limit has no effect");
        // Longer than what was found is kept for.
        std::thread::sleep(Duration::from_millis(60));
    };
    assert_eq!(full.kind, LimitKind::Store);
    peer.connection.roll_back(1).expect("an open transaction");
    let message = peer.message(&queue(), "small");
    wait_for("room", || peer.try_send(&message, None).is_ok());
}
