//! How queues and topics come and go.

use super::*;
use crate::broker::policy::{Policies, Policy};

fn names(fixture: &Fixture) -> Vec<String> {
    let all = fixture.broker.status().destinations;
    let all = all.into_iter().map(|one| one.name);
    all.filter(|name| !name.starts_with("ActiveMQ.")).collect()
}

#[test]
fn a_removed_queue_is_gone_with_all_that_was_in_it_and_stays_so() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.send_all(&queue(), &["a", "b"]);
    let removed = peer.connection.remove_destination(&queue());
    peer.settle(removed.expect("nobody consumes"));
    assert!(names(&fixture).is_empty(), "{:?}", names(&fixture));
    fixture.take_over();
    assert!(names(&fixture).is_empty(), "{:?}", names(&fixture));
    let mut peer = fixture.connect("c2");
    peer.send(&queue(), "new");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), fresh(&["new"]));
}

#[test]
fn a_queue_that_is_made_again_at_once_has_only_what_came_since() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.send(&queue(), "old");
    let removed = peer.connection.remove_destination(&queue());
    let receipt = removed.expect("nobody consumes");
    peer.send(&queue(), "new");
    peer.settle(receipt);
    fixture.take_over();
    let mut peer = fixture.connect("c2");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), fresh(&["new"]));
    peer.expect_nothing(1);
}

#[test]
fn what_has_consumers_is_not_removed() {
    let fixture = Fixture::new();
    let peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    peer.consume(2, &topic(), 10);
    for name in [queue(), topic()] {
        let error = peer
            .connection
            .remove_destination(&name)
            .expect_err("in use");
        let expected = format!("Destination: {name} still has an active subscription");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    for number in [1, 2] {
        peer.connection
            .remove_consumer(&peer.consumer(number), LastDelivered::Nothing);
    }
    for name in [queue(), topic()] {
        let receipt = peer.connection.remove_destination(&name).expect("unused");
        peer.settle(receipt);
    }
    assert!(names(&fixture).is_empty());
    let unknown = peer.connection.remove_destination(&queue());
    assert_eq!(unknown.expect("nothing to do"), Receipt::Done);
}

#[test]
fn who_knew_the_queue_before_sends_to_the_new_one_after() {
    let fixture = Fixture::new();
    let mut sender = fixture.connect("sender");
    let mut other = fixture.connect("other");
    sender.send(&queue(), "old");
    let removed = other.connection.remove_destination(&queue());
    other.settle(removed.expect("nobody consumes"));
    sender.send(&queue(), "new");
    other.consume(1, &queue(), 10);
    assert_eq!(other.texts(1, 1), fresh(&["new"]));
}

#[test]
fn destinations_that_nobody_uses_are_removed_when_the_policy_wants_it() {
    let mut fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(
            Policy {
                gc_inactive_destinations: true,
                inactive_timeout_before_gc: Duration::from_millis(50),
                ..Policy::default()
            },
            Vec::new(),
        ),
        lifecycle: Lifecycle {
            startup: vec![Destination::queue("S,topic://T")],
            purge_period: Duration::from_millis(20),
            ..Lifecycle::default()
        },
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("c");
    peer.send(&Destination::queue("full"), "m");
    peer.consume(1, &Destination::queue("consumed"), 10);
    wait_for("the unused to go", || {
        names(&fixture) == ["consumed", "full"]
    });
    peer.consume(2, &Destination::queue("full"), 10);
    let delivery = peer.next(2);
    peer.acknowledge(2, &delivery);
    peer.connection.close(LastDelivered::Unknown);
    wait_for("the rest to go", || names(&fixture).is_empty());
    fixture.take_over();
    assert_eq!(names(&fixture), ["S", "T"], "there from the start");
}

#[test]
fn a_consumers_queue_of_a_virtual_topic_is_there_after_a_takeover() {
    let mut fixture = Fixture::new();
    let peer = fixture.connect("c");
    let queue = Destination::queue("Consumer.A.VirtualTopic.X");
    peer.consume(1, &queue, 10);
    fixture.take_over();
    let mut peer = fixture.connect("c2");
    peer.send(&Destination::topic("VirtualTopic.X"), "m");
    peer.consume(1, &queue, 10);
    assert_eq!(peer.texts(1, 1), fresh(&["m"]));
}
