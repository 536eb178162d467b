//! Expiry, repeated sends, temporary destinations, connections.

use super::*;

fn now_ms() -> i64 {
    wall_ms()
}

#[test]
fn expired_messages_are_not_dispatched_and_end_as_dead_letters() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for (text, expiration) in [("late", now_ms() - 1), ("in time", now_ms() + 60_000)] {
        let mut message = peer.message(&queue(), text);
        message.expiration = expiration;
        peer.send_message(&message);
    }
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), fresh(&["in time"]));
    peer.consume(2, &Destination::queue("ActiveMQ.DLQ"), 10);
    let dead = peer.next(2);
    assert_eq!(text_of(&dead), "late");
    assert_eq!(dead.message.as_ref().expect("a message").expiration_ms(), 0);
    wait_for("the queue to lose it", || fixture.status("Q").pending == 1);
}

#[test]
fn a_sweep_finds_expired_messages_that_nobody_consumes() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for (text, persistent) in [("a", true), ("b", false), ("c", true)] {
        let mut message = peer.message(&queue(), text);
        message.expiration = now_ms() + 1;
        message.persistent = persistent;
        peer.send_message(&message);
    }
    peer.send(&queue(), "stays");
    std::thread::sleep(Duration::from_millis(5));
    fixture.broker.expire();
    wait_for("the sweep", || fixture.status("Q").pending == 1);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 2);
    // A second sweep finds nothing new, and the next tenure neither.
    fixture.broker.expire();
    fixture.take_over();
    fixture.broker.expire();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(fixture.status("Q").pending, 1);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 2);
}

#[test]
fn a_repeated_send_is_dropped_only_for_those_who_came_back() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let message = peer.message(&queue(), "once");
    peer.send_message(&message);
    fixture.take_over();
    let mut peer = fixture.connect_as("one", true);
    peer.send_message(&message);
    assert_eq!(fixture.status("Q").pending, 1);
    peer.sequence = 1;
    peer.send(&queue(), "new");
    assert_eq!(fixture.status("Q").pending, 2);
    peer.connection.close(LastDelivered::Unknown);
    let peer = fixture.connect("one");
    peer.send_message(&message);
    assert_eq!(fixture.status("Q").pending, 3);
}

#[test]
fn a_repeated_send_to_a_topic_without_subscribers_is_known_too() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let message = peer.message(&topic(), "once");
    peer.send_message(&message);
    fixture.take_over();
    let mut peer = fixture.connect_as("one", true);
    peer.consume(1, &topic(), 10);
    peer.send_message(&message);
    peer.expect_nothing(1);
}

#[test]
fn a_cleanly_closed_producer_is_forgotten_and_a_lost_one_is_not() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let producer = peer.connection.id().session(1).producer(1);
    let key = super::super::producer::producer_key(&producer);
    peer.connection
        .add_producer(&producer, None, &Command::Null)
        .expect("a producer");
    peer.send(&queue(), "a");
    assert_eq!(fixture.store.producer_sequence(&key), Some(1));
    peer.connection.remove_producer(&producer);
    fixture.broker.flush_forgotten();
    assert_eq!(fixture.store.producer_sequence(&key), None);
    peer.connection
        .add_producer(&producer, None, &Command::Null)
        .expect("a producer");
    peer.send(&queue(), "b");
    peer.connection.close(LastDelivered::Unknown);
    fixture.broker.flush_forgotten();
    assert_eq!(fixture.store.producer_sequence(&key), Some(2));
}

#[test]
fn advisories_tell_of_temporary_destinations_before_and_after() {
    let fixture = Fixture::new();
    let owner = fixture.connect("one");
    let mut watcher = fixture.connect("two");
    let name = |number: i64| {
        Destination::new(
            openwire::DestinationKind::TempQueue,
            format!("one:{number}"),
        )
    };
    owner.connection.add_temporary(&name(1)).expect("a new one");
    let advisories = Destination::topic("ActiveMQ.Advisory.TempQueue,ActiveMQ.Advisory.TempTopic");
    watcher.consume(1, &advisories, 100);
    owner.connection.add_temporary(&name(2)).expect("a new one");
    owner.connection.close(LastDelivered::Unknown);
    let mut told = Vec::new();
    for _ in 0..4 {
        let delivery = watcher.next(1);
        let message = delivery
            .message
            .expect("a message")
            .stored()
            .decode()
            .expect("decodable");
        let Some(Command::DestinationInfo(info)) = message.data_structure.as_deref() else {
            panic!("{message:?}");
        };
        told.push((
            info.operation_type,
            info.destination.clone().expect("a destination"),
        ));
    }
    let expected = [(0, name(1)), (0, name(2)), (1, name(1)), (1, name(2))];
    assert_eq!(told, expected);
}

#[test]
fn the_same_connection_again_ends_the_old_one_first() {
    let fixture = Fixture::new();
    let mut old = fixture.connect("one");
    old.send(&queue(), "a");
    old.consume(1, &queue(), 10);
    old.next(1);
    let connection = Arc::clone(&old.connection);
    let task = fixture.runtime.spawn(async move {
        let mut replaced = connection.watch_replaced();
        replaced
            .wait_for(|replaced| *replaced)
            .await
            .expect("the connection is there");
        connection.close(LastDelivered::Unknown);
    });
    let mut new = fixture.connect_as("one", true);
    wait_for("the old task", || task.is_finished());
    new.consume(1, &queue(), 10);
    assert_eq!(new.texts(1, 1), flagged(&["a"]));
}

#[test]
fn a_closed_connection_takes_nothing_more() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.connection.close(LastDelivered::Unknown);
    let message = peer.message(&queue(), "late");
    let sent = peer.try_send(&message, None);
    assert!(matches!(sent, Err(Refusal::Closing)), "{sent:?}");
    let opened = peer.connection.add_consumer(peer.request(1, &queue()));
    assert!(matches!(opened, Err(Refusal::Closing)), "{opened:?}");
}
