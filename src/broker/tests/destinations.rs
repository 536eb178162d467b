//! What a name reaches: composite names, virtual topics, composite destinations, mirrored queues.

use super::*;
use crate::broker::interceptor::{
    CompositeDestination, ForwardTo, Interceptors, MirroredQueue, VirtualTopic,
};
use crate::broker::policy::DestinationPattern;
use crate::broker::selector::Selector;

fn with(interceptors: Interceptors) -> Fixture {
    Fixture::with(BrokerOptions {
        interceptors,
        ..BrokerOptions::default()
    })
}

fn composite(name: &str, forward_only: bool, to: &[Destination]) -> Interceptors {
    let forward = |destination: &Destination| ForwardTo {
        destination: destination.clone(),
        selector: None,
    };
    Interceptors {
        composites: vec![CompositeDestination {
            names: DestinationPattern::parse(name).expect("a pattern"),
            forward_only,
            send_when_not_matched: false,
            forward_to: to.iter().map(forward).collect(),
        }],
        ..Interceptors::default()
    }
}

/// Text, destination and original destination of a delivery, as the client sees them.
fn seen(delivery: &Delivery) -> (String, String, String) {
    let message = delivery.message.as_ref().expect("a message");
    let decoded = message.stored().decode().expect("a message");
    let name = |destination: &Option<Destination>| {
        destination
            .as_ref()
            .map_or(String::new(), ToString::to_string)
    };
    assert_eq!(decoded.destination.as_ref(), Some(message.destination()));
    (
        text_of(delivery),
        name(&decoded.destination),
        name(&decoded.original_destination),
    )
}

fn triple(text: &str, destination: &str, original: &str) -> (String, String, String) {
    (text.to_owned(), destination.to_owned(), original.to_owned())
}

#[test]
fn a_composite_name_reaches_all_its_parts_by_one_record() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::topic("T"), 10);
    peer.send(&Destination::queue("A"), "before");
    peer.send(&Destination::queue("B"), "before");
    let before = fixture.store.appended();
    peer.send(&Destination::queue("A,queue://B,topic://T"), "m");
    assert_eq!(fixture.store.appended().0, before.0 + 1, "one record");
    let whole = "queue://A,queue://B,topic://T";
    assert_eq!(seen(&peer.next(1)), triple("m", "topic://T", whole));
    fixture.take_over();
    let mut peer = fixture.connect("c");
    for (number, name) in [(1, "A"), (2, "B")] {
        peer.consume(number, &Destination::queue(name), 10);
        let number = u32::try_from(number).expect("small");
        peer.next(number);
        let own = format!("queue://{name}");
        assert_eq!(seen(&peer.next(number)), triple("m", &own, whole));
    }
}

#[test]
fn a_repeated_send_to_a_composite_name_is_dropped_for_all_its_parts() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let message = peer.message(&Destination::queue("A,B"), "m");
    peer.send_message(&message);
    fixture.take_over();
    let peer = fixture.connect_as("c", true);
    peer.send_message(&message);
    assert_eq!(fixture.status("A").pending, 1);
    assert_eq!(fixture.status("B").pending, 1);
}

#[test]
fn a_transacted_send_to_a_composite_name_shows_with_the_commit_everywhere() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    for (number, name) in [(1, "A"), (2, "B")] {
        peer.consume(number, &Destination::queue(name), 10);
    }
    peer.consume(3, &Destination::topic("T"), 10);
    peer.connection.begin(1);
    let whole = Destination::queue("A,B,topic://T");
    peer.send_in(1, &whole, "m");
    peer.look();
    assert!(peer.got.is_empty(), "nothing before the commit");
    peer.settle(peer.connection.commit(1).expect("a commit"));
    for (number, name) in [(1, "queue://A"), (2, "queue://B"), (3, "topic://T")] {
        let expected = triple("m", name, "queue://A,B,topic://T");
        assert_eq!(seen(&peer.next(number)), expected);
    }
    peer.connection.begin(2);
    peer.send_in(2, &whole, "never");
    peer.connection.roll_back(2).expect("a rollback");
    peer.send(&whole, "after");
    for number in 1..=3 {
        assert_eq!(text_of(&peer.next(number)), "after");
    }
}

#[test]
fn options_and_path_separators_are_gone_from_what_consumers_see() {
    let fixture = with(Interceptors {
        path_separator: Some("/".to_owned()),
        ..Interceptors::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::queue("a/b?consumer.prefetchSize=1"), 10);
    peer.send(&Destination::queue("/a/b/?x=y"), "m");
    assert_eq!(seen(&peer.next(1)), triple("m", "queue://a.b", ""));
}

#[test]
fn a_name_with_wildcards_that_is_sent_to_is_a_queue_like_any_other() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.send(&Destination::queue("A.B"), "other");
    peer.send(&Destination::queue("A.>"), "m");
    assert_eq!(fixture.status("A.>").pending, 1);
    assert_eq!(fixture.status("A.B").pending, 1);
}

#[test]
fn a_virtual_topic_copies_to_the_queues_that_consumers_named() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let topic = Destination::topic("VirtualTopic.X");
    peer.send(&topic, "too early");
    let queue = |name: &str| Destination::queue(format!("Consumer.{name}.VirtualTopic.X"));
    peer.consume(1, &queue("A"), 10);
    peer.consume(2, &queue("B"), 10);
    peer.consume(3, &topic, 10);
    peer.consume(4, &Destination::queue("Consumer.A.VirtualTopic.Y"), 10);
    peer.connection
        .remove_consumer(&peer.consumer(2), LastDelivered::Nothing);
    peer.send(&topic, "m");
    let shown = |name: &str| {
        triple(
            "m",
            &format!("queue://Consumer.{name}.VirtualTopic.X"),
            "topic://VirtualTopic.X",
        )
    };
    assert_eq!(seen(&peer.next(1)), shown("A"));
    assert_eq!(
        seen(&peer.next(3)),
        triple("m", "topic://VirtualTopic.X", "")
    );
    fixture.take_over();
    let mut peer = fixture.connect("c2");
    peer.send(&topic, "later");
    for (number, name) in [(1, "A"), (2, "B")] {
        peer.consume(number, &queue(name), 10);
        let number = u32::try_from(number).expect("small");
        assert_eq!(seen(&peer.next(number)), shown(name));
        assert_eq!(text_of(&peer.next(number)), "later");
    }
}

#[test]
fn a_consumers_pattern_makes_the_queue_that_a_virtual_topic_fills() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let pattern = Destination::queue("Consumer.A.VirtualTopic.>");
    let reach = fixture.broker.reach(&pattern).expect("a pattern");
    assert_eq!((reach.names.len(), reach.patterns.len()), (0, 1));
    peer.send(&Destination::topic("VirtualTopic.X"), "m");
    peer.send(&Destination::topic("VirtualTopic.Y.Z"), "m");
    assert_eq!(fixture.status("Consumer.A.VirtualTopic.>").pending, 2);
}

#[test]
fn a_virtual_topic_may_leave_the_destination_as_it_was() {
    let fixture = with(Interceptors {
        virtual_topics: vec![VirtualTopic {
            topics: DestinationPattern::parse("topic://>").expect("a pattern"),
            prefix: "VQ.*.".to_owned(),
            postfix: ".End".to_owned(),
            set_original_destination: false,
            ..VirtualTopic::default()
        }],
        ..Interceptors::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::queue("VQ.A.T.End"), 10);
    peer.send(&Destination::topic("T"), "m");
    assert_eq!(seen(&peer.next(1)), triple("m", "topic://T", ""));
}

#[test]
fn a_composite_queue_forwards_and_keeps_only_what_it_shall() {
    let to = [Destination::queue("A"), Destination::topic("T")];
    for forward_only in [true, false] {
        let fixture = with(composite("queue://C", forward_only, &to));
        let mut peer = fixture.connect("c");
        peer.consume(1, &Destination::queue("A"), 10);
        peer.consume(2, &Destination::topic("T"), 10);
        peer.send(&Destination::queue("C"), "m");
        assert_eq!(seen(&peer.next(1)), triple("m", "queue://A", "queue://C"));
        assert_eq!(seen(&peer.next(2)), triple("m", "topic://T", "queue://C"));
        assert_eq!(fixture.status("C").pending, usize::from(!forward_only));
    }
}

#[test]
fn selectors_choose_among_the_destinations_of_a_composite_one() {
    for send_when_not_matched in [false, true] {
        let mut interceptors = composite("topic://C", true, &[Destination::queue("A")]);
        let composite = &mut interceptors.composites[0];
        composite.forward_to[0].selector = Some(Selector::parse("n = 1").expect("a selector"));
        composite.send_when_not_matched = send_when_not_matched;
        let fixture = with(interceptors);
        let mut peer = fixture.connect("c");
        peer.consume(1, &Destination::topic("C"), 10);
        for number in [1, 2] {
            let mut message = peer.message(&Destination::topic("C"), &number.to_string());
            message.set_property("n", number).expect("a property");
            peer.send_message(&message);
        }
        peer.consume(2, &Destination::queue("A"), 10);
        assert_eq!(peer.texts(2, 1), fresh(&["1"]));
        peer.expect_nothing(2);
        let unmatched: &[&str] = if send_when_not_matched { &["2"] } else { &[] };
        assert_eq!(peer.texts(1, unmatched.len()), fresh(unmatched));
        peer.expect_nothing(1);
    }
}

#[test]
fn a_composite_destination_may_lead_to_a_virtual_topic() {
    let to = [Destination::topic("VirtualTopic.X")];
    let mut fixture = with(composite("queue://C", true, &to));
    let mut peer = fixture.connect("c");
    let end = Destination::queue("Consumer.A.VirtualTopic.X");
    peer.consume(1, &end, 10);
    peer.connection.begin(1);
    peer.send_in(1, &Destination::queue("C"), "m");
    peer.settle(peer.connection.commit(1).expect("a commit"));
    assert_eq!(
        seen(&peer.next(1)),
        triple("m", &end.to_string(), "queue://C")
    );
    fixture.take_over();
    let mut peer = fixture.connect("c2");
    peer.consume(1, &end, 10);
    assert_eq!(
        seen(&peer.next(1)),
        triple("m", &end.to_string(), "queue://C")
    );
}

#[test]
fn a_virtual_topic_that_knows_selectors_copies_only_what_a_present_consumer_wants() {
    let fixture = with(Interceptors {
        virtual_topics: vec![VirtualTopic {
            selector_aware: true,
            ..VirtualTopic::default()
        }],
        ..Interceptors::default()
    });
    let mut peer = fixture.connect("c");
    let queue = Destination::queue("Consumer.A.VirtualTopic.X");
    let request = ConsumerRequest {
        selector: Some("n = 1".into()),
        ..peer.request(1, &queue)
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    for number in [1, 2] {
        let mut message = peer.message(&Destination::topic("VirtualTopic.X"), "m");
        message.set_property("n", number).expect("a property");
        peer.send_message(&message);
    }
    peer.next(1);
    assert_eq!(fixture.status("Consumer.A.VirtualTopic.X").pending, 1);
    peer.connection
        .remove_consumer(&peer.consumer(1), LastDelivered::Nothing);
    peer.send(&Destination::topic("VirtualTopic.X"), "nobody is there");
    assert_eq!(fixture.status("Consumer.A.VirtualTopic.X").pending, 1);
}

#[test]
fn composite_destinations_that_lead_to_themselves_are_refused() {
    let fixture = with(composite("queue://C.>", true, &[Destination::queue("C.1")]));
    let mut peer = fixture.connect("c");
    let message = peer.message(&Destination::queue("C.2"), "m");
    let error = peer.try_send(&message, None).expect_err("a circle");
    assert!(error.to_string().contains("themselves"), "{error}");
}

#[test]
fn a_mirrored_queue_shows_its_messages_on_a_topic_and_its_consumers_queues() {
    let fixture = with(Interceptors {
        mirrored_queues: Some(MirroredQueue::default()),
        ..Interceptors::default()
    });
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::topic("VirtualTopic.Mirror.Q"), 10);
    let tap = "Consumer.Tap.VirtualTopic.Mirror.Q";
    peer.consume(2, &Destination::queue(tap), 10);
    peer.consume(3, &Destination::queue("Q"), 10);
    peer.send(&Destination::queue("Q"), "m");
    let mirror = "topic://VirtualTopic.Mirror.Q";
    assert_eq!(seen(&peer.next(1)), triple("m", mirror, "queue://Q"));
    assert_eq!(
        seen(&peer.next(2)),
        triple("m", &format!("queue://{tap}"), "queue://Q")
    );
    assert_eq!(seen(&peer.next(3)), triple("m", "queue://Q", ""));
}

#[test]
fn what_is_not_persistent_takes_the_same_ways() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::queue("A"), 10);
    peer.consume(2, &Destination::topic("T"), 10);
    let mut message = peer.message(&Destination::queue("A,topic://T"), "m");
    message.persistent = false;
    peer.send_message(&message);
    let whole = "queue://A,topic://T";
    assert_eq!(seen(&peer.next(1)), triple("m", "queue://A", whole));
    assert_eq!(seen(&peer.next(2)), triple("m", "topic://T", whole));
}

#[test]
fn a_dead_letter_names_the_queue_that_it_came_from() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &Destination::queue("A"), 10);
    peer.consume(2, &Destination::queue("ActiveMQ.DLQ"), 10);
    peer.send(&Destination::queue("A,B"), "m");
    let delivery = peer.next(1);
    let poison = Peer::acknowledgement(AckKind::Poison, &id_of(&delivery), 1);
    let consumer = peer.consumer(1);
    let result = peer.connection.acknowledge(&consumer, &poison, None);
    peer.settle(result.expect("outstanding"));
    assert_eq!(
        seen(&peer.next(2)),
        triple("m", "queue://ActiveMQ.DLQ", "queue://A")
    );
}
