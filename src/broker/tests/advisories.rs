//! What clients are advised of.

use openwire::primitive::{PrimitiveMap, Value};
use openwire::{ConsumerInfo, ProducerInfo};

use super::*;
use crate::broker::advisory::Advisories;
use crate::broker::policy::{Policies, Policy};

fn with(policy: Policy) -> Fixture {
    Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    })
}

fn advisory(rest: &str) -> Destination {
    Destination::topic(format!("ActiveMQ.Advisory.{rest}"))
}

/// An advisory as the client decodes it.
fn told(delivery: &Delivery) -> (openwire::Message, PrimitiveMap) {
    let message = delivery.message.as_ref().expect("a message");
    let decoded = message.stored().decode().expect("a message");
    let properties = decoded.properties().expect("properties");
    (decoded, properties)
}

fn text_property(properties: &PrimitiveMap, name: &str) -> String {
    match properties.get(name) {
        Some(Value::String(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

fn consume_announced(peer: &Peer, number: i64, destination: &Destination) {
    let info = ConsumerInfo {
        consumer_id: Some(peer.consumer(number)),
        destination: Some(destination.clone()),
        ..ConsumerInfo::default()
    };
    let request = ConsumerRequest {
        announcement: info.into(),
        ..peer.request(number, destination)
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
}

#[test]
fn consumers_are_counted_in_advisories_and_replayed_to_who_comes_later() {
    let fixture = Fixture::new();
    let peer = fixture.connect("c");
    let mut early = fixture.connect("early");
    early.consume(1, &advisory("Consumer.Queue.Q"), 100);
    consume_announced(&peer, 1, &queue());
    consume_announced(&peer, 2, &queue());
    peer.connection
        .remove_consumer(&peer.consumer(1), LastDelivered::Nothing);
    for (count, is_added) in [(1, true), (2, true), (1, false)] {
        let (message, properties) = told(&early.next(1));
        assert_eq!(properties.get("consumerCount"), Some(&Value::Int(count)));
        let is_info = matches!(
            message.data_structure.as_deref(),
            Some(Command::ConsumerInfo(_))
        );
        assert_eq!(is_info, is_added);
        assert!(message.target_consumer_id.is_none());
    }
    let mut late = fixture.connect("late");
    late.consume(1, &advisory("Consumer.Queue.Q"), 100);
    let (message, properties) = told(&late.next(1));
    assert_eq!(properties.get("consumerCount"), Some(&Value::Int(1)));
    assert_eq!(message.target_consumer_id, Some(late.consumer(1)));
    let Some(Command::ConsumerInfo(info)) = message.data_structure.as_deref() else {
        panic!("{message:?}");
    };
    assert_eq!(info.consumer_id, Some(peer.consumer(2)));
    late.expect_nothing(1);
    early.expect_nothing(1);
}

#[test]
fn producers_are_advised_of_for_each_part_of_a_composite_name() {
    let fixture = Fixture::new();
    let peer = fixture.connect("c");
    let mut watcher = fixture.connect("w");
    watcher.consume(1, &advisory("Producer.Topic.T"), 100);
    let id = peer.connection.id().session(1).producer(7);
    let whole = Destination::queue("A,topic://T");
    let info = Command::from(ProducerInfo {
        producer_id: Some(id.clone()),
        destination: Some(whole.clone()),
        ..ProducerInfo::default()
    });
    let added = peer.connection.add_producer(&id, Some(&whole), &info);
    added.expect("a producer");
    let (_, properties) = told(&watcher.next(1));
    assert_eq!(properties.get("producerCount"), Some(&Value::Int(1)));
    watcher.consume(2, &advisory("Producer.Queue.A"), 100);
    let (_, properties) = told(&watcher.next(2));
    assert_eq!(properties.get("producerCount"), Some(&Value::Int(1)));
    peer.connection.remove_producer(&id);
    for number in [1, 2] {
        let (message, properties) = told(&watcher.next(number));
        assert_eq!(properties.get("producerCount"), Some(&Value::Int(0)));
        assert!(matches!(
            message.data_structure.as_deref(),
            Some(Command::RemoveInfo(_))
        ));
    }
    watcher.consume(3, &advisory("Producer.Queue.A"), 100);
    watcher.expect_nothing(3);
}

#[test]
fn messages_are_advised_of_where_the_policy_wants_it_and_with_bodies_if_it_wants_those() {
    for with_body in [false, true] {
        let fixture = with(Policy {
            advisory_for_delivery: true,
            advisory_for_consumed: true,
            include_body_for_advisory: with_body,
            ..Policy::default()
        });
        let mut peer = fixture.connect("c");
        let mut watcher = fixture.connect("w");
        watcher.consume(1, &advisory("MessageDelivered.Queue.Q"), 100);
        watcher.consume(2, &advisory("MessageConsumed.Queue.Q"), 100);
        peer.send(&queue(), "m");
        peer.consume(1, &queue(), 10);
        let delivery = peer.next(1);
        peer.acknowledge(1, &delivery);
        for number in [1, 2] {
            let (message, properties) = told(&watcher.next(number));
            let id = id_of(&delivery).to_string();
            assert_eq!(text_property(&properties, "orignalMessageId"), id);
            assert_eq!(
                text_property(&properties, "orignalDestination"),
                "queue://Q"
            );
            let Some(Command::Message(payload)) = message.data_structure.as_deref() else {
                panic!("{message:?}");
            };
            assert_eq!(payload.content.is_some(), with_body);
        }
    }
}

#[test]
fn what_a_transaction_brought_is_advised_of_with_its_commit() {
    let fixture = with(Policy {
        advisory_for_delivery: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &advisory("MessageDelivered.Queue.Q"), 100);
    peer.connection.begin(1);
    peer.send_in(1, &queue(), "m");
    peer.expect_nothing(1);
    peer.settle(peer.connection.commit(1).expect("a commit"));
    told(&peer.next(1));
}

#[test]
fn nobody_is_told_of_what_the_policy_does_not_name() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    for (number, name) in [
        (1, "MessageDelivered.Queue.Q"),
        (2, "MessageConsumed.Queue.Q"),
        (3, "NoConsumer.Topic.T"),
    ] {
        peer.consume(number, &advisory(name), 100);
    }
    peer.send(&queue(), "m");
    peer.send(&topic(), "m");
    peer.consume(4, &queue(), 10);
    let delivery = peer.next(4);
    peer.acknowledge(4, &delivery);
    for number in 1..=3 {
        peer.expect_nothing(number);
    }
}

#[test]
fn a_message_that_nobody_was_there_for_goes_to_who_wants_to_know() {
    let fixture = with(Policy {
        send_advisory_if_no_consumers: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &advisory("NoConsumer.Topic.T"), 100);
    peer.consume(2, &advisory("NoConsumer.Queue.Q"), 100);
    for (number, destination) in [(1, topic()), (2, queue())] {
        peer.send(&destination, "persistent: nothing is lost");
        let mut message = peer.message(&destination, "m");
        message.persistent = false;
        peer.send_message(&message);
        let delivery = peer.next(number);
        assert_eq!(text_of(&delivery), "m");
    }
}

#[test]
fn expired_and_dead_letters_are_always_advised_of() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &advisory("Expired.Queue.Q"), 100);
    peer.consume(2, &advisory("MessageDLQd.Queue.Q"), 100);
    let mut message = peer.message(&queue(), "m");
    message.expiration = 1;
    peer.send_message(&message);
    peer.consume(3, &queue(), 10);
    let (_, properties) = told(&peer.next(1));
    let id = message.message_id.expect("an id").to_string();
    assert_eq!(text_property(&properties, "orignalMessageId"), id);
    told(&peer.next(2));
}

#[test]
fn without_advisory_support_nobody_is_told_anything() {
    let fixture = Fixture::with(BrokerOptions {
        advisories: Advisories {
            is_enabled: false,
            ..Advisories::default()
        },
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &advisory("Queue"), 100);
    peer.consume(2, &advisory("Consumer.Queue.Q"), 100);
    consume_announced(&peer, 3, &queue());
    peer.expect_nothing(1);
    peer.expect_nothing(2);
}
