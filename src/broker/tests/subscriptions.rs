//! Durable subscriptions: what they keep, what replaces them, when they end.

use std::time::Duration;

use super::super::policy::{DestinationPattern, Policies, Policy, SubscriptionRecovery};
use super::*;

fn durable(peer: &Peer, number: i64, name: &str) -> ConsumerRequest {
    ConsumerRequest {
        subscription_name: Some("s".into()),
        ..peer.request(number, &Destination::topic(name))
    }
}

fn subscribe(peer: &Peer, number: i64, name: &str) {
    let request = durable(peer, number, name);
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
}

fn close(peer: &Peer, number: i64) {
    let id = peer.consumer(number);
    peer.connection.remove_consumer(&id, LastDelivered::Nothing);
}

#[test]
fn a_wildcard_subscription_keeps_what_all_its_topics_get_while_nobody_is_there() {
    let mut fixture = Fixture::new();
    let peer = fixture.connect("client");
    subscribe(&peer, 1, "A.>");
    close(&peer, 1);
    let mut sender = fixture.connect("sender");
    sender.send(&Destination::topic("A.x"), "1");
    sender.send(&Destination::topic("B.x"), "no");
    sender.send(&Destination::topic("A.y.z"), "2");
    fixture.take_over();
    let mut sender = fixture.connect("sender");
    sender.send(&Destination::topic("A.new"), "3");
    sender.send(&Destination::topic("A.x"), "4");
    let mut peer = fixture.connect("client");
    subscribe(&peer, 1, "A.>");
    assert_eq!(peer.texts(1, 4), fresh(&["1", "2", "3", "4"]));
    peer.expect_nothing(1);
}

#[test]
fn a_subscription_with_another_topic_or_no_local_is_a_new_one() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("client");
    let mut sender = fixture.connect("sender");
    subscribe(&peer, 1, "T");
    close(&peer, 1);
    sender.send(&topic(), "lost");
    let request = ConsumerRequest {
        no_local: true,
        ..durable(&peer, 2, "T")
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    peer.expect_nothing(2);
    close(&peer, 2);
    sender.send(&topic(), "lost too");
    subscribe(&peer, 3, "U");
    sender.send(&topic(), "not any more");
    sender.send(&Destination::topic("U"), "1");
    assert_eq!(peer.texts(3, 1), fresh(&["1"]));
    peer.expect_nothing(3);
}

#[test]
fn no_local_counts_for_the_client_whether_or_not_it_consumes() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("client");
    let no_local = |peer: &Peer, number| ConsumerRequest {
        no_local: true,
        ..durable(peer, number, "T")
    };
    peer.settle(
        peer.connection
            .add_consumer(no_local(&peer, 1))
            .expect("a consumer"),
    );
    peer.send(&topic(), "own");
    close(&peer, 1);
    peer.send(&topic(), "own too");
    let mut sender = fixture.connect("sender");
    sender.send(&topic(), "another's");
    peer.settle(
        peer.connection
            .add_consumer(no_local(&peer, 2))
            .expect("a consumer"),
    );
    assert_eq!(peer.texts(2, 1), fresh(&["another's"]));
    peer.expect_nothing(2);
}

#[test]
fn a_subscription_in_use_is_neither_taken_over_nor_removed() {
    let fixture = Fixture::new();
    let peer = fixture.connect("client");
    subscribe(&peer, 1, "T");
    let second = peer.connection.add_consumer(durable(&peer, 2, "T"));
    let text = second.expect_err("in use").to_string();
    assert_eq!(
        text,
        "Durable consumer is in use for client: client and subscriptionName: s"
    );
    let other_topic = peer.connection.add_consumer(durable(&peer, 3, "U"));
    assert!(matches!(
        other_topic,
        Err(Refusal::SubscriptionInUse { .. })
    ));
    let removed = peer.connection.unsubscribe(None, &"s".into());
    assert_eq!(
        removed.expect_err("in use").to_string(),
        "Durable consumer is in use"
    );
    close(&peer, 1);
    peer.settle(
        peer.connection
            .unsubscribe(None, &"s".into())
            .expect("free"),
    );
    let again = peer.connection.unsubscribe(None, &"s".into());
    assert_eq!(
        again.expect_err("unknown").to_string(),
        "No durable subscription exists for clientID: client and subscriptionName: s"
    );
}

#[test]
fn a_removed_wildcard_subscription_gets_nothing_of_topics_made_later() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("client");
    subscribe(&peer, 1, "A.*");
    peer.send(&Destination::topic("A.x"), "1");
    close(&peer, 1);
    peer.settle(
        peer.connection
            .unsubscribe(None, &"s".into())
            .expect("free"),
    );
    assert_eq!(fixture.status("A.x").consumers, 0);
    peer.send(&Destination::topic("A.y"), "2");
    assert_eq!(fixture.status("A.y").consumers, 0);
}

#[test]
fn offline_subscriptions_keep_what_is_not_persistent_if_that_is_chosen() {
    for keep_active in [true, false] {
        let fixture = Fixture::with(BrokerOptions {
            durable: DurableOptions {
                keep_active,
                ..DurableOptions::default()
            },
            ..BrokerOptions::default()
        });
        let mut peer = fixture.connect("client");
        subscribe(&peer, 1, "T");
        close(&peer, 1);
        let mut message = peer.message(&topic(), "in memory");
        message.persistent = false;
        peer.send_message(&message);
        peer.send(&topic(), "journaled");
        subscribe(&peer, 2, "T");
        let expected: &[&str] = if keep_active {
            &["in memory", "journaled"]
        } else {
            &["journaled"]
        };
        assert_eq!(peer.texts(2, expected.len()), fresh(expected));
        peer.expect_nothing(2);
    }
}

#[test]
fn a_subscription_that_nobody_uses_for_long_is_removed_and_one_in_use_is_not() {
    let fixture = Fixture::with(BrokerOptions {
        durable: DurableOptions {
            offline_timeout: Some(Duration::from_millis(20)),
            offline_check: Duration::from_millis(5),
            ..DurableOptions::default()
        },
        ..BrokerOptions::default()
    });
    let one = fixture.connect("one");
    let two = fixture.connect("two");
    subscribe(&one, 1, "T");
    subscribe(&two, 1, "T");
    close(&one, 1);
    wait_for("the removal", || {
        let all = fixture.broker.status().destinations;
        !all.iter().any(|status| status.name == "T (one, s)")
    });
    assert_eq!(fixture.status("T (two, s)").consumers, 1);
}

#[test]
fn a_retroactive_subscriber_gets_the_past_unless_something_is_pending() {
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(
            Policy {
                subscription_recovery: SubscriptionRecovery::FixedCount(10),
                ..Policy::default()
            },
            Vec::new(),
        ),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("client");
    peer.send_all(&topic(), &["1", "2"]);
    let request = |peer: &Peer, number| ConsumerRequest {
        is_retroactive: true,
        ..durable(peer, number, "T")
    };
    peer.settle(
        peer.connection
            .add_consumer(request(&peer, 1))
            .expect("a consumer"),
    );
    for expected in ["1", "2"] {
        let delivery = peer.next(1);
        assert_eq!(text_of(&delivery), expected);
        peer.acknowledge(1, &delivery);
    }
    close(&peer, 1);
    peer.send(&topic(), "3");
    peer.settle(
        peer.connection
            .add_consumer(request(&peer, 2))
            .expect("a consumer"),
    );
    assert_eq!(peer.texts(2, 1), fresh(&["3"]));
    peer.expect_nothing(2);
}

#[test]
fn a_subscription_of_topics_with_and_without_priorities_gets_all_that_comes() {
    let pattern = DestinationPattern::parse("topic://A.sorted").expect("a pattern");
    let sorted = Policy {
        prioritized_messages: true,
        ..Policy::default()
    };
    let mut fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(Policy::default(), vec![(pattern, sorted)]),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("client");
    subscribe(&peer, 1, "A.*");
    close(&peer, 1);
    for (name, priority) in [("A.plain", 9), ("A.sorted", 1), ("A.sorted", 9)] {
        let mut message = peer.message(&Destination::topic(name), &format!("{name} {priority}"));
        message.priority = priority;
        peer.send_message(&message);
    }
    fixture.take_over();
    let mut peer = fixture.connect("client");
    subscribe(&peer, 1, "A.*");
    let expected = ["A.sorted 9", "A.plain 9", "A.sorted 1"];
    assert_eq!(peer.texts(1, 3), fresh(&expected));
}

#[test]
fn temporary_topics_have_no_durable_subscriptions() {
    let fixture = Fixture::new();
    let peer = fixture.connect("client");
    let name = Destination::new(openwire::DestinationKind::TempTopic, "client:1");
    peer.connection.add_temporary(&name).expect("a new one");
    let request = ConsumerRequest {
        subscription_name: Some("s".into()),
        ..peer.request(1, &name)
    };
    let refused = peer.connection.add_consumer(request);
    assert!(matches!(refused, Err(Refusal::UnsupportedName { .. })));
}

#[test]
fn a_backlog_holds_only_what_the_selector_wants_also_after_a_takeover() {
    let mut fixture = Fixture::new();
    let selecting = |peer: &Peer, number, selector: &str| ConsumerRequest {
        selector: Some(selector.into()),
        ..durable(peer, number, "T")
    };
    let peer = fixture.connect("client");
    let request = selecting(&peer, 1, "JMSPriority > 4");
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    close(&peer, 1);
    let send_both = |fixture: &Fixture| {
        let mut sender = fixture.connect("sender");
        for (text, priority) in [("low", 4), ("high", 5)] {
            let mut message = sender.message(&topic(), text);
            message.priority = priority;
            sender.send_message(&message);
        }
        sender.connection.close(LastDelivered::Unknown);
    };
    send_both(&fixture);
    assert_eq!(fixture.status("T (client, s)").pending, 1);
    fixture.take_over();
    send_both(&fixture);
    assert_eq!(fixture.status("T (client, s)").pending, 2);
    let mut peer = fixture.connect("client");
    let request = selecting(&peer, 1, "JMSPriority > 4");
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    assert_eq!(peer.texts(1, 2), fresh(&["high", "high"]));
    close(&peer, 1);
    let request = selecting(&peer, 2, "JMSPriority > 3");
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    peer.expect_nothing(2);
    send_both(&fixture);
    assert_eq!(peer.texts(2, 2), fresh(&["low", "high"]));
}
