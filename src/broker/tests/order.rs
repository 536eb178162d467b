//! Who gets what, in which order.

use super::*;
use crate::broker::destination::Target;
use crate::broker::policy::{Policies, Policy};

#[test]
fn a_queue_keeps_its_order_over_takeovers_and_flags_what_may_have_been_seen() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c"]);
    peer.consume(1, &queue(), 2);
    assert_eq!(peer.texts(1, 2), fresh(&["a", "b"]));
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 2);
    assert_eq!(peer.texts(1, 2), flagged(&["a", "b"]));
}

#[test]
fn what_was_never_dispatched_is_not_flagged_after_a_takeover() {
    let mut fixture = Fixture::new();
    fixture.connect("one").send_all(&queue(), &["a", "b"]);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 2), fresh(&["a", "b"]));
}

#[test]
fn consumers_take_turns_and_nobody_gets_beyond_its_prefetch() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 2);
    peer.consume(2, &queue(), 10);
    for number in 0..8 {
        peer.send(&queue(), &number.to_string());
    }
    assert_eq!(peer.texts(1, 2), fresh(&["0", "2"]));
    assert_eq!(peer.texts(2, 6), fresh(&["1", "3", "4", "5", "6", "7"]));
    peer.expect_nothing(1);
    assert_eq!(fixture.status("Q").in_flight, 8);
}

#[test]
fn what_a_closed_consumer_had_comes_first_again_and_only_what_was_seen_is_counted() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c", "d"]);
    peer.consume(1, &queue(), 3);
    let deliveries: Vec<Delivery> = (0..3).map(|_| peer.next(1)).collect();
    let seen = LastDelivered::Sequence(deliveries[1].sequence);
    peer.connection.remove_consumer(&peer.consumer(1), seen);
    peer.consume(2, &queue(), 10);
    let expected = [("a", 1), ("b", 1), ("c", 0), ("d", 0)].map(|(t, n)| (t.to_owned(), n));
    assert_eq!(peer.texts(2, 4), expected);
    peer.connection
        .remove_consumer(&peer.consumer(2), LastDelivered::Nothing);
    peer.consume(3, &queue(), 10);
    assert_eq!(peer.texts(3, 4), expected);
}

#[test]
fn a_lost_connection_gives_back_what_it_had_and_does_not_count_what_it_never_got() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    peer.send(&queue(), "a");
    peer.next(1);
    peer.send(&queue(), "b");
    wait_for("the second dispatch", || fixture.status("Q").in_flight == 2);
    peer.connection.close(LastDelivered::Unknown);
    let mut other = fixture.connect("two");
    other.consume(1, &queue(), 10);
    let expected = [("a", 1), ("b", 0)].map(|(text, n)| (text.to_owned(), n));
    assert_eq!(other.texts(1, 2), expected);
}

fn prioritized(prioritized_messages: bool) -> BrokerOptions {
    let policy = Policy {
        prioritized_messages,
        ..Policy::default()
    };
    BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    }
}

#[test]
fn priorities_decide_only_when_asked_for() {
    for (prioritized_messages, expected) in [(false, ["low", "high"]), (true, ["high", "low"])] {
        let fixture = Fixture::with(prioritized(prioritized_messages));
        let mut peer = fixture.connect("one");
        for (text, priority) in [("low", 1), ("high", 9)] {
            let mut message = peer.message(&queue(), text);
            message.priority = priority;
            peer.send_message(&message);
        }
        peer.consume(1, &queue(), 10);
        assert_eq!(peer.texts(1, 2), fresh(&expected));
    }
}

#[test]
fn what_comes_after_a_takeover_is_not_flagged_by_reservations_of_the_last_tenure() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    peer.send_all(&queue(), &["a", "b"]);
    let first = peer.next(1);
    peer.next(1);
    peer.acknowledge(1, &first);
    fixture.take_over();
    let mut peer = fixture.connect("two");
    peer.send(&queue(), "new");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), flagged(&["b"]));
    assert_eq!(peer.texts(1, 1), fresh(&["new"]));
    fixture.take_over();
    let mut peer = fixture.connect("three");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 2), flagged(&["b", "new"]));
}

#[test]
fn a_late_urgent_message_overtakes_a_long_backlog() {
    let fixture = Fixture::with(prioritized(true));
    let mut peer = fixture.connect("one");
    for number in 0..1_500 {
        let message = peer.message(&queue(), &number.to_string());
        let _ = peer.try_send(&message, None).expect("accepted");
    }
    peer.consume(1, &queue(), 1);
    let first = peer.next(1);
    assert_eq!(text_of(&first), "0");
    let mut urgent = peer.message(&queue(), "urgent");
    urgent.priority = 8;
    peer.send_message(&urgent);
    // Released is not yet seen: the dispatcher comes a moment later.
    wait_for("the dispatcher", || {
        let Some(Target::Queue(queue)) = fixture.broker.find(&queue()) else {
            return false;
        };
        queue.state.lock().visit.is_none()
    });
    peer.acknowledge(1, &first);
    assert_eq!(peer.texts(1, 1), fresh(&["urgent"]));
}

#[test]
fn a_backlog_beyond_the_memory_is_read_back_in_order() {
    let options = BrokerOptions {
        memory_bytes: 20_000,
        ..BrokerOptions::default()
    };
    let mut fixture = Fixture::with(options);
    let mut peer = fixture.connect("one");
    let count = 2_000;
    let mut last = Receipt::Done;
    for number in 0..count {
        let message = peer.message(&queue(), &format!("{number:0>200}"));
        last = peer.try_send(&message, None).expect("accepted");
    }
    peer.settle(last);
    let used = fixture.broker.status().cached_bytes;
    assert!(used <= 25_000, "{used} bytes are kept");
    for _ in 0..2 {
        let mut peer = fixture.connect("two");
        peer.consume(1, &queue(), 500);
        for number in 0..count {
            let delivery = peer.next(1);
            assert_eq!(text_of(&delivery), format!("{number:0>200}"));
            // Not acknowledged: the window widens instead.
            let more = Peer::acknowledgement(AckKind::Delivered, &id_of(&delivery), 1);
            let _ = peer
                .connection
                .acknowledge(&peer.consumer(1), &more, None)
                .expect("known");
        }
        fixture.take_over();
    }
}

#[test]
fn non_persistent_messages_keep_their_order_and_go_with_the_tenure() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for text in ["a", "b", "c"] {
        let mut message = peer.message(&queue(), text);
        message.persistent = false;
        assert_eq!(
            peer.try_send(&message, None).expect("accepted"),
            Receipt::Done
        );
    }
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 3), fresh(&["a", "b", "c"]));
    peer.connection.close(LastDelivered::Unknown);
    let mut peer = fixture.connect("two");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 3), flagged(&["a", "b", "c"]));
    assert_eq!(fixture.status("Q").pending, 3);
    fixture.take_over();
    assert!(fixture.broker.status().destinations.is_empty());
}

#[test]
fn non_persistent_messages_beyond_the_memory_have_no_room_until_some_are_consumed() {
    let options = BrokerOptions {
        limits: usage::Limits {
            memory_bytes: 1_000,
            temporary_bytes: 0,
            ..usage::Limits::default()
        },
        ..BrokerOptions::default()
    };
    let fixture = Fixture::with(options);
    let mut peer = fixture.connect("one");
    let mut message = peer.message(&queue(), &"x".repeat(1_000));
    message.persistent = false;
    let _ = peer.try_send(&message, None).expect("there was room");
    let refused = peer.try_send(&message, None);
    assert!(
        matches!(&refused, Err(Refusal::NoRoom(shortage)) if shortage.limit == 1_000),
        "{refused:?}"
    );
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.acknowledge(1, &delivery);
    drop(delivery);
    let _ = peer.try_send(&message, None).expect("there is room again");
}
