//! Acknowledgements, pulls, browsers, topics.

use super::*;

fn kinds(
    peer: &Peer,
    kind: AckKind,
    delivery: &Delivery,
    count: usize,
) -> Result<Receipt, Refusal> {
    let acknowledgement = Peer::acknowledgement(kind, &id_of(delivery), count);
    peer.connection
        .acknowledge(&peer.consumer(1), &acknowledgement, None)
}

#[test]
fn a_standard_acknowledgement_covers_its_range_and_must_count_right() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c"]);
    peer.consume(1, &queue(), 10);
    let deliveries: Vec<Delivery> = (0..3).map(|_| peer.next(1)).collect();
    let wrong = kinds(&peer, AckKind::Standard, &deliveries[1], 1);
    assert!(
        matches!(
            wrong,
            Err(Refusal::CountMismatch {
                stated: 1,
                found: 2,
                ..
            })
        ),
        "{wrong:?}"
    );
    peer.settle(kinds(&peer, AckKind::Standard, &deliveries[1], 2).expect("right"));
    assert_eq!(fixture.status("Q").pending, 1);
    let again = kinds(&peer, AckKind::Standard, &deliveries[0], 1);
    assert!(
        matches!(again, Err(Refusal::NotOutstanding { .. })),
        "{again:?}"
    );
    assert_eq!(fixture.status("Q").dequeued, 2);
}

#[test]
fn what_is_acknowledged_stays_gone_after_a_takeover_and_in_any_order() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c"]);
    peer.consume(1, &queue(), 10);
    let deliveries: Vec<Delivery> = (0..3).map(|_| peer.next(1)).collect();
    peer.acknowledge(1, &deliveries[1]);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 2), flagged(&["a", "c"]));
}

#[test]
fn delivered_widens_the_window_and_the_final_acknowledgement_narrows_it() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b", "c", "d"]);
    peer.consume(1, &queue(), 1);
    let first = peer.next(1);
    peer.expect_nothing(1);
    let _ = kinds(&peer, AckKind::Delivered, &first, 1).expect("known");
    let second = peer.next(1);
    peer.expect_nothing(1);
    peer.settle(kinds(&peer, AckKind::Standard, &first, 1).expect("outstanding"));
    peer.expect_nothing(1);
    peer.acknowledge(1, &second);
    assert_eq!(peer.texts(1, 1), fresh(&["c"]));
}

#[test]
fn poison_moves_a_message_to_the_dead_letter_queue_with_its_cause() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["bad", "good"]);
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    let poison = Acknowledgement {
        cause: Some("too often".into()),
        ..Peer::acknowledgement(AckKind::Poison, &id_of(&delivery), 1)
    };
    let _ = peer
        .connection
        .acknowledge(&peer.consumer(1), &poison, None)
        .expect("outstanding");
    wait_for("the dead letter", || {
        fixture.broker.status().destinations[0].pending == 1
    });
    assert_eq!(fixture.status("Q").pending, 1);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &Destination::queue("ActiveMQ.DLQ"), 10);
    let dead = peer.next(1);
    let message = dead
        .message
        .as_ref()
        .expect("a message")
        .stored()
        .decode()
        .expect("decodable");
    assert_eq!(message.original_destination, Some(queue()));
    let cause = message
        .property("dlqDeliveryFailureCause")
        .expect("readable");
    assert_eq!(
        cause,
        Some(openwire::primitive::Value::String("too often".into()))
    );
    // What is poison there, too, is dropped.
    let _ = kinds(&peer, AckKind::Poison, &dead, 1).expect("outstanding");
    wait_for("the end", || fixture.status("ActiveMQ.DLQ").pending == 0);
}

#[test]
fn a_consumer_without_prefetch_gets_one_message_for_each_pull() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 0);
    peer.send_all(&queue(), &["a", "b"]);
    peer.expect_nothing(1);
    let pull = |peer: &Peer, timeout| {
        peer.connection
            .pull(&peer.consumer(1), timeout)
            .expect("a consumer");
    };
    pull(&peer, PullTimeout::Never);
    assert_eq!(peer.texts(1, 1), fresh(&["a"]));
    peer.expect_nothing(1);
    pull(&peer, PullTimeout::Immediate);
    assert_eq!(peer.texts(1, 1), fresh(&["b"]));
    pull(&peer, PullTimeout::Immediate);
    assert_eq!(peer.texts(1, 1), fresh(&["nothing"]));
    pull(&peer, PullTimeout::After(Duration::from_millis(20)));
    assert_eq!(peer.texts(1, 1), fresh(&["nothing"]));
    pull(&peer, PullTimeout::Never);
    peer.send(&queue(), "c");
    assert_eq!(peer.texts(1, 1), fresh(&["c"]));
}

#[test]
fn a_browser_sees_what_is_there_and_takes_nothing() {
    let mut fixture = Fixture::new();
    fixture.connect("one").send_all(&queue(), &["a", "b", "c"]);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 1);
    assert_eq!(peer.texts(1, 1), fresh(&["a"]));
    let browse = ConsumerRequest {
        is_browser: true,
        ..peer.request(2, &queue())
    };
    let _ = peer.connection.add_consumer(browse).expect("a browser");
    assert_eq!(peer.texts(2, 4), fresh(&["a", "b", "c", "nothing"]));
    peer.send(&queue(), "d");
    peer.expect_nothing(2);
    assert_eq!(fixture.status("Q").pending, 4);
}

#[test]
fn a_topic_reaches_all_who_are_there_and_own_messages_can_be_shunned() {
    let fixture = Fixture::new();
    let mut one = fixture.connect("one");
    let mut two = fixture.connect("two");
    one.send(&topic(), "nobody is there");
    one.consume(1, &topic(), 10);
    let no_local = ConsumerRequest {
        no_local: true,
        ..one.request(2, &topic())
    };
    let _ = one.connection.add_consumer(no_local).expect("a consumer");
    two.consume(1, &topic(), 10);
    one.send(&topic(), "from one");
    two.send(&topic(), "from two");
    assert_eq!(one.texts(1, 2), fresh(&["from one", "from two"]));
    assert_eq!(one.texts(2, 1), fresh(&["from two"]));
    assert_eq!(two.texts(1, 2), fresh(&["from one", "from two"]));
}

#[test]
fn a_slow_topic_consumer_loses_the_oldest_beyond_its_limit() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let request = ConsumerRequest {
        prefetch: 1,
        pending_limit: Some(2),
        ..peer.request(1, &topic())
    };
    let _ = peer.connection.add_consumer(request).expect("a consumer");
    for text in ["a", "b", "c", "d", "e"] {
        let mut message = peer.message(&topic(), text);
        message.persistent = false;
        peer.send_message(&message);
    }
    let first = peer.next(1);
    assert_eq!(text_of(&first), "a");
    peer.settle(kinds(&peer, AckKind::Standard, &first, 1).expect("a consumer"));
    assert_eq!(peer.texts(1, 1), fresh(&["d"]));
}

#[test]
fn a_durable_subscription_collects_while_its_consumer_is_away() {
    let mut fixture = Fixture::new();
    let subscribe = |peer: &Peer| {
        let request = ConsumerRequest {
            subscription_name: Some("sub".into()),
            ..peer.request(1, &topic())
        };
        peer.settle(
            peer.connection
                .add_consumer(request)
                .expect("a subscription"),
        );
    };
    let peer = fixture.connect("one");
    subscribe(&peer);
    peer.connection
        .remove_consumer(&peer.consumer(1), LastDelivered::Nothing);
    fixture.connect("two").send_all(&topic(), &["a", "b"]);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    subscribe(&peer);
    let first = peer.next(1);
    assert_eq!((text_of(&first), first.redeliveries), ("a".to_owned(), 0));
    peer.acknowledge(1, &first);
    assert_eq!(fixture.status("T (one, sub)").pending, 1);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    subscribe(&peer);
    assert_eq!(peer.texts(1, 1), flagged(&["b"]));
}
