//! Consumers of topics: wildcards, the past, slow consumers.

use std::time::Duration;

use super::super::policy::{
    DestinationPattern, Eviction, PendingLimit, Policies, Policy, SubscriptionRecovery,
};
use super::*;

fn with_policy(policy: Policy) -> Fixture {
    Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    })
}

fn topic_named(name: &str) -> Destination {
    Destination::topic(name)
}

fn retroactive(peer: &Peer, number: i64, name: &str) {
    let request = ConsumerRequest {
        is_retroactive: true,
        ..peer.request(number, &topic_named(name))
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
}

fn send_memory(peer: &mut Peer, destination: &Destination, text: &str) {
    let mut message = peer.message(destination, text);
    message.persistent = false;
    peer.send_message(&message);
}

#[test]
fn a_wildcard_consumer_sees_all_matching_topics_also_those_made_later() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send(&topic_named("A.early"), "before");
    peer.consume(1, &topic_named("A.*"), 100);
    peer.consume(2, &topic_named("A.>"), 100);
    peer.send(&topic_named("A.early"), "1");
    peer.send(&topic_named("A.late"), "2");
    peer.send(&topic_named("A.late.deep"), "3");
    peer.send(&topic_named("B.other"), "4");
    peer.send(&topic_named("A.late"), "5");
    assert_eq!(peer.texts(1, 3), fresh(&["1", "2", "5"]));
    assert_eq!(peer.texts(2, 4), fresh(&["1", "2", "3", "5"]));
    peer.expect_nothing(1);
}

#[test]
fn overlapping_parts_of_one_consumer_give_each_message_once() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic_named("A.x,A.*,A.>"), 100);
    peer.send_all(&topic_named("A.x"), &["1", "2"]);
    assert_eq!(peer.texts(1, 2), fresh(&["1", "2"]));
    peer.expect_nothing(1);
}

#[test]
fn a_closed_wildcard_consumer_is_gone_from_all_its_topics() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic_named("A.*"), 100);
    peer.send(&topic_named("A.x"), "1");
    assert_eq!(fixture.status("A.x").consumers, 1);
    let id = peer.consumer(1);
    peer.connection.remove_consumer(&id, LastDelivered::Unknown);
    assert_eq!(fixture.status("A.x").consumers, 0);
    peer.send(&topic_named("A.y"), "2");
    assert_eq!(fixture.status("A.y").consumers, 0);
}

#[test]
fn a_wildcard_over_advisories_hears_of_everything() {
    let fixture = Fixture::new();
    let mut watcher = fixture.connect("one");
    let mut peer = fixture.connect("two");
    watcher.consume(1, &topic_named("ActiveMQ.Advisory.>"), 100);
    peer.send(&queue(), "a");
    let names: Vec<String> = (0..1)
        .map(|_| {
            let delivery = watcher.next(1);
            let message = delivery.message.expect("a message");
            message.destination().to_string()
        })
        .collect();
    assert_eq!(names, ["topic://ActiveMQ.Advisory.Queue"]);
}

#[test]
fn messages_count_as_dequeued_at_the_topic_that_they_came_from() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic_named("A.*"), 100);
    for (name, text) in [("A.x", "1"), ("A.y", "2"), ("A.x", "3")] {
        peer.send(&topic_named(name), text);
    }
    let deliveries: Vec<Delivery> = (0..3).map(|_| peer.next(1)).collect();
    let two = Peer::acknowledgement(AckKind::Standard, &id_of(&deliveries[1]), 2);
    let receipt = peer.connection.acknowledge(&peer.consumer(1), &two, None);
    peer.settle(receipt.expect("outstanding"));
    assert_eq!(fixture.status("A.x").dequeued, 1);
    assert_eq!(fixture.status("A.y").dequeued, 1);
}

#[test]
fn a_retroactive_consumer_gets_what_the_policy_kept_of_each_topic_and_then_the_rest() {
    let fixture = with_policy(Policy {
        subscription_recovery: SubscriptionRecovery::FixedCount(2),
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.send_all(&topic_named("A.x"), &["1", "2", "3"]);
    send_memory(&mut peer, &topic_named("A.y"), "4");
    retroactive(&peer, 1, "A.*");
    peer.consume(2, &topic_named("A.*"), 100);
    peer.send(&topic_named("A.x"), "5");
    let mut got: Vec<String> = peer.texts(1, 4).into_iter().map(|(text, _)| text).collect();
    assert_eq!(got.pop().as_deref(), Some("5"));
    got.sort();
    assert_eq!(got, ["2", "3", "4"]);
    assert_eq!(peer.texts(2, 1), fresh(&["5"]));
}

#[test]
fn with_always_retroactive_every_consumer_gets_the_past() {
    let fixture = with_policy(Policy {
        subscription_recovery: SubscriptionRecovery::LastImage,
        always_retroactive: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.send_all(&topic(), &["1", "2"]);
    peer.consume(1, &topic(), 100);
    assert_eq!(peer.texts(1, 1), fresh(&["2"]));
}

#[test]
fn a_slow_consumer_keeps_what_the_policy_lets_wait_and_the_rest_is_advised() {
    let fixture = with_policy(Policy {
        pending_limit: Some(PendingLimit::Constant(2)),
        eviction: Eviction::Oldest,
        advisory_for_discarding_messages: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    let mut watcher = fixture.connect("two");
    watcher.consume(
        1,
        &topic_named("ActiveMQ.Advisory.MessageDiscarded.Topic.T"),
        100,
    );
    peer.consume(1, &topic(), 1);
    for text in ["1", "2", "3", "4", "5"] {
        send_memory(&mut peer, &topic(), text);
    }
    let first = peer.next(1);
    assert_eq!(text_of(&first), "1");
    for expected in ["2", "3"] {
        let advisory = watcher.next(1).message.expect("a message");
        let advisory = advisory.stored().decode().expect("decodable");
        let Some(Command::Message(discarded)) = advisory.data_structure.as_deref() else {
            panic!("{advisory:?}");
        };
        let id = discarded.message_id.as_ref().expect("an id");
        assert_eq!(id.producer_sequence_id.to_string(), expected);
    }
    let id = peer.consumer(1);
    peer.connection.set_prefetch(&id, 10).expect("a consumer");
    assert_eq!(peer.texts(1, 2), fresh(&["4", "5"]));
}

#[test]
fn a_consumer_with_twice_its_window_is_advised_as_slow_once() {
    let fixture = with_policy(Policy {
        advisory_for_slow_consumers: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    let mut watcher = fixture.connect("two");
    watcher.consume(
        1,
        &topic_named("ActiveMQ.Advisory.SlowConsumer.Topic.T"),
        100,
    );
    peer.consume(1, &topic(), 2);
    for number in 0..10 {
        send_memory(&mut peer, &topic(), &number.to_string());
    }
    let advisory = watcher.next(1).message.expect("a message");
    let advisory = advisory.stored().decode().expect("decodable");
    let property = advisory.property("consumerId").expect("properties");
    let id = peer.consumer(1).to_string();
    assert_eq!(
        property,
        Some(openwire::primitive::Value::String(id.as_str().into()))
    );
    watcher.expect_nothing(1);
}

#[test]
fn a_consumer_that_discards_advisories_about_its_own_discards_comes_to_an_end() {
    let fixture = with_policy(Policy {
        pending_limit: Some(PendingLimit::Constant(1)),
        advisory_for_discarding_messages: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic_named(">"), 1);
    for number in 0..50 {
        send_memory(&mut peer, &topic(), &number.to_string());
    }
    peer.next(1);
}

#[test]
fn what_nobody_was_there_for_is_advised() {
    let fixture = with_policy(Policy {
        send_advisory_if_no_consumers: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic_named("ActiveMQ.Advisory.NoConsumer.Topic.T"), 100);
    send_memory(&mut peer, &topic(), "lost");
    peer.send(&topic(), "persistent");
    assert_eq!(peer.texts(1, 1), fresh(&["lost"]));
    peer.expect_nothing(1);
}

#[test]
fn the_policy_chooses_the_window_of_those_who_asked_for_the_default() {
    let pattern = DestinationPattern::parse("topic://T").expect("a pattern");
    let policy = Policy {
        topic_prefetch: 0,
        durable_topic_prefetch: 1,
        ..Policy::default()
    };
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(Policy::default(), vec![(pattern, policy)]),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic(), 32_767);
    assert_eq!(
        peer.connection.outbox().take_orders(),
        [Order::Prefetch(ConsumerTag(1), 0)]
    );
    peer.consume(2, &topic(), 5);
    let durable = ConsumerRequest {
        subscription_name: Some("s".into()),
        ..peer.request(3, &topic())
    };
    peer.settle(peer.connection.add_consumer(durable).expect("a consumer"));
    peer.send_all(&topic(), &["1", "2"]);
    assert_eq!(peer.texts(2, 2), fresh(&["1", "2"]));
    assert_eq!(peer.texts(3, 1), fresh(&["1"]));
    peer.expect_nothing(3);
    peer.expect_nothing(1);
    let pulled = peer.connection.pull(&peer.consumer(1), PullTimeout::Never);
    pulled.expect("a consumer");
    assert_eq!(peer.texts(1, 1), fresh(&["1"]));
}

#[test]
fn the_past_that_is_not_released_yet_waits_for_its_release() {
    let fixture = with_policy(Policy {
        subscription_recovery: SubscriptionRecovery::Timed(Duration::from_secs(60)),
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    for number in 0..50 {
        let message = peer.message(&topic(), &number.to_string());
        let _ = peer.try_send(&message, None).expect("accepted");
        send_memory(&mut peer, &topic(), &number.to_string());
    }
    retroactive(&peer, 1, "T");
    assert_eq!(peer.texts(1, 100).len(), 100);
}

#[test]
fn a_consumer_with_a_selector_gets_what_it_selects() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let request = ConsumerRequest {
        selector: Some("JMSType = 'b'".into()),
        ..peer.request(1, &topic_named("A.*"))
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    for (text, kind) in [("1", "a"), ("2", "b"), ("3", "a")] {
        let mut message = peer.message(&topic_named("A.x"), text);
        message.message_type = Some(kind.into());
        peer.send_message(&message);
    }
    assert_eq!(peer.texts(1, 1), fresh(&["2"]));
    peer.expect_nothing(1);
    let wrong = ConsumerRequest {
        selector: Some("JMSType =".into()),
        ..peer.request(2, &topic())
    };
    let refused = peer.connection.add_consumer(wrong);
    assert!(matches!(refused, Err(Refusal::InvalidSelector(_))));
}
