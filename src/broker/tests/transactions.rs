//! Local transactions.

use super::*;

#[test]
fn nothing_of_a_transaction_shows_before_its_commit_and_all_of_it_after() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "consumed");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    let other = Destination::queue("R");
    peer.consume(2, &other, 10);
    peer.connection.begin(1);
    peer.acknowledge_in(1, 1, &delivery);
    peer.send_in(1, &other, "persistent");
    let mut message = peer.message(&other, "in memory");
    message.persistent = false;
    let _ = peer.try_send(&message, Some(1)).expect("accepted");
    peer.expect_nothing(2);
    assert_eq!(fixture.status("Q").pending, 1);
    peer.settle(peer.connection.commit(1).expect("a commit"));
    let mut texts = peer.texts(2, 2);
    texts.sort();
    assert_eq!(texts, fresh(&["in memory", "persistent"]));
    assert_eq!(fixture.status("Q").pending, 0);
    fixture.take_over();
    assert_eq!(
        (fixture.status("Q").pending, fixture.status("R").pending),
        (0, 1)
    );
}

#[test]
fn after_a_rollback_messages_stay_with_their_consumer_and_can_be_acknowledged_again() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "a");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    for number in 1..3 {
        peer.connection.begin(number);
        peer.acknowledge_in(number, 1, &delivery);
        peer.send_in(number, &queue(), "taken back");
        peer.connection.roll_back(number).expect("a transaction");
        peer.expect_nothing(1);
    }
    assert_eq!(fixture.status("Q").pending, 1);
    peer.connection.begin(3);
    peer.acknowledge_in(3, 1, &delivery);
    peer.settle(peer.connection.commit(3).expect("a commit"));
    assert_eq!(fixture.status("Q").pending, 0);
}

#[test]
fn what_a_transaction_holds_does_not_use_up_the_window() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c"]);
    peer.consume(1, &queue(), 1);
    peer.connection.begin(1);
    for expected in ["a", "b", "c"] {
        let delivery = peer.next(1);
        assert_eq!(text_of(&delivery), expected);
        peer.acknowledge_in(1, 1, &delivery);
    }
    peer.settle(peer.connection.commit(1).expect("a commit"));
    assert_eq!(fixture.status("Q").pending, 0);
}

#[test]
fn what_a_closed_consumer_acknowledged_in_a_transaction_follows_the_transaction() {
    for is_committed in [true, false] {
        let fixture = Fixture::new();
        let mut peer = fixture.connect("one");
        peer.send_all(&queue(), &["held", "free"]);
        peer.consume(1, &queue(), 10);
        let delivery = peer.next(1);
        peer.next(1);
        peer.connection.begin(1);
        peer.acknowledge_in(1, 1, &delivery);
        peer.connection
            .remove_consumer(&peer.consumer(1), LastDelivered::Unknown);
        peer.consume(2, &queue(), 10);
        assert_eq!(peer.texts(2, 1), flagged(&["free"]));
        peer.expect_nothing(2);
        if is_committed {
            peer.settle(peer.connection.commit(1).expect("a commit"));
            assert_eq!(fixture.status("Q").pending, 1);
        } else {
            peer.connection.roll_back(1).expect("a transaction");
            assert_eq!(peer.texts(2, 1), flagged(&["held"]));
        }
    }
}

#[test]
fn a_lost_connection_rolls_back_and_so_does_a_takeover() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "kept");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.connection.begin(1);
    peer.acknowledge_in(1, 1, &delivery);
    peer.send_in(1, &queue(), "never");
    peer.connection.close(LastDelivered::Unknown);
    assert_eq!(fixture.status("Q").pending, 1);
    let mut peer = fixture.connect("one");
    peer.connection.begin(1);
    peer.send_in(1, &queue(), "never");
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), flagged(&["kept"]));
    peer.expect_nothing(1);
}

#[test]
fn a_failed_part_makes_the_commit_fail_and_everything_is_taken_back() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let nowhere = Destination::new(openwire::DestinationKind::TempQueue, "gone:1");
    peer.connection.begin(1);
    peer.send_in(1, &queue(), "taken back");
    let message = peer.message(&nowhere, "lost");
    assert!(peer.try_send(&message, Some(1)).is_err());
    let failed = peer.connection.commit(1);
    assert!(
        matches!(failed, Err(Refusal::TransactionFailed { .. })),
        "{failed:?}"
    );
    assert_eq!(fixture.status("Q").pending, 0);
    assert!(matches!(
        peer.connection.commit(1),
        Err(Refusal::NoSuchTransaction(_))
    ));
}

#[test]
fn a_transacted_publication_reaches_subscribers_of_both_kinds_once() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic(), 10);
    let durable = ConsumerRequest {
        subscription_name: Some("sub".into()),
        ..peer.request(2, &topic())
    };
    peer.settle(
        peer.connection
            .add_consumer(durable)
            .expect("a subscription"),
    );
    for (number, persistent) in [(1, true), (2, false)] {
        peer.connection.begin(number);
        let mut message = peer.message(&topic(), &number.to_string());
        message.persistent = persistent;
        let _ = peer.try_send(&message, Some(number)).expect("accepted");
        peer.settle(peer.connection.commit(number).expect("a commit"));
        for consumer in [1, 2] {
            assert_eq!(peer.texts(consumer, 1), fresh(&[&number.to_string()]));
            peer.expect_nothing(consumer);
        }
    }
}

#[test]
fn a_repetition_without_its_producer_makes_the_commit_fail() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect_as("one", true);
    peer.connection.begin(1);
    let message = peer.message(&queue(), "repeated");
    let sent = peer.try_send(&message, Some(1));
    assert!(matches!(sent, Err(Refusal::ProducerNotRepeated(_))));
    assert!(peer.connection.commit(1).is_err());
    let producer = message.producer_id.as_ref().expect("a producer");
    peer.connection
        .add_producer(producer, None, &Command::Null)
        .expect("a producer");
    peer.connection.begin(2);
    let sent = peer.try_send(&message, Some(2));
    peer.settle(sent.expect("accepted"));
    peer.settle(peer.connection.commit(2).expect("whole"));
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn giving_a_message_up_is_no_part_of_a_transaction() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "bad");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.connection.begin(1);
    let poison = Peer::acknowledgement(AckKind::Poison, &id_of(&delivery), 1);
    let given_up = peer
        .connection
        .acknowledge(&peer.consumer(1), &poison, Some(1.into()));
    assert!(matches!(given_up, Err(Refusal::PoisonInTransaction(_))));
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn bodies_sent_in_a_transaction_are_kept_for_its_commit_and_dropped_with_its_rollback() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let cached = || match fixture.broker.target(&queue()) {
        Ok(crate::broker::destination::Target::Queue(queue)) => {
            queue.state.lock().stock.cached_bytes()
        }
        _ => panic!("it is a queue"),
    };
    for (number, is_committed) in [(1, false), (2, true)] {
        peer.connection.begin(number);
        for text in ["a", "b"] {
            peer.send_in(number, &queue(), text);
        }
        assert!(cached() > 0);
        if is_committed {
            peer.settle(peer.connection.commit(number).expect("a commit"));
            peer.consume(1, &queue(), 10);
            assert_eq!(peer.texts(1, 2), fresh(&["a", "b"]));
        } else {
            peer.connection.roll_back(number).expect("known");
        }
        assert_eq!(cached(), 0);
    }
}

#[test]
fn a_queue_that_a_transaction_will_bring_messages_to_is_in_use() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.connection.begin(1);
    peer.send_in(1, &queue(), "to come");
    let target = fixture.broker.target(&queue()).expect("a queue");
    assert!(target.is_used());
    peer.connection.roll_back(1).expect("known");
    assert!(!target.is_used());
}
