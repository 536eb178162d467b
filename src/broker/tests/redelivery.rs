//! Messages that come back after a client gave them up.

use openwire::primitive::Value;

use super::*;
use crate::broker::schedule::Scheduling;

fn redelivering(policy: RedeliveryPolicy) -> BrokerOptions {
    BrokerOptions {
        redelivery: Some(Redelivery {
            default: Some(policy),
            ..Redelivery::default()
        }),
        ..BrokerOptions::default()
    }
}

fn soon(maximum: u32) -> RedeliveryPolicy {
    RedeliveryPolicy {
        maximum_redeliveries: Some(maximum),
        initial_redelivery_delay: Duration::from_millis(20),
        redelivery_delay: Duration::from_millis(40),
        ..RedeliveryPolicy::default()
    }
}

fn delay_of(delivery: &Delivery) -> Option<Value> {
    let message = delivery.message.as_ref().expect("a message");
    let message = message.stored().decode().expect("decodable");
    message.property("redeliveryDelay").expect("properties")
}

#[test]
fn what_is_given_up_comes_back_with_a_count_and_is_a_dead_letter_in_the_end() {
    let fixture = Fixture::with(redelivering(soon(2)));
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    peer.consume(2, &Destination::queue("ActiveMQ.DLQ"), 10);
    for persistent in [true, false] {
        let mut message = peer.message(&queue(), "bad");
        message.persistent = persistent;
        peer.send_message(&message);
        for (count, delay) in [(0, None), (1, Some(20)), (2, Some(40))] {
            let delivery = peer.next(1);
            assert_eq!(delivery.redeliveries, count);
            assert_eq!(delay_of(&delivery), delay.map(Value::Long));
            peer.expect_nothing(2);
            peer.give_up(1, &delivery);
        }
        peer.expect_nothing(1);
        if persistent {
            assert_eq!(peer.texts(2, 1), fresh(&["bad"]));
        }
        peer.expect_nothing(2);
    }
    assert_eq!(fixture.status("Q").pending, 0);
}

#[test]
fn what_waits_to_come_back_is_there_once_after_a_takeover() {
    let policy = RedeliveryPolicy {
        initial_redelivery_delay: Duration::from_millis(300),
        ..soon(3)
    };
    let mut fixture = Fixture::with(redelivering(policy));
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["bad", "good"]);
    peer.consume(1, &queue(), 1);
    let bad = peer.next(1);
    peer.give_up(1, &bad);
    wait_for("the move", || fixture.status("Q").pending == 1);
    fixture.take_over();
    assert_eq!(fixture.status("Q").pending, 1);
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    assert_eq!(text_of(&peer.next(1)), "good");
    let again = peer.next(1);
    assert_eq!((text_of(&again).as_str(), again.redeliveries), ("bad", 1));
    peer.acknowledge(1, &again);
    peer.expect_nothing(1);
}

#[test]
fn what_expired_or_came_twice_does_not_come_back() {
    let fixture = Fixture::with(redelivering(soon(9)));
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    peer.consume(2, &Destination::queue("ActiveMQ.DLQ"), 10);
    let mut message = peer.message(&queue(), "expired");
    message.expiration = wall_ms() - 1;
    peer.send_message(&message);
    peer.send(&queue(), "twice");
    let delivery = peer.next(1);
    let poison = Acknowledgement {
        cause: Some("java.lang.Throwable: duplicate from store for queue://Q".to_owned()),
        ..Peer::acknowledgement(AckKind::Poison, &id_of(&delivery), 1)
    };
    let result = peer
        .connection
        .acknowledge(&peer.consumer(1), &poison, None);
    peer.settle(result.expect("outstanding"));
    assert_eq!(peer.texts(2, 2), fresh(&["expired", "twice"]));
    peer.expect_nothing(1);
}

#[test]
fn without_a_scheduler_what_is_given_up_is_a_dead_letter() {
    let options = BrokerOptions {
        scheduling: Scheduling {
            is_enabled: false,
            ..Scheduling::default()
        },
        ..redelivering(soon(9))
    };
    let fixture = Fixture::with(options);
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "bad");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.give_up(1, &delivery);
    wait_for("the move", || fixture.status("Q").pending == 0);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 1);
}
