//! Sends that find no room: they wait, and nothing else of their connection does.

use std::time::{Duration, Instant};

use batonmq::broker::policy::{Policies, Policy};
use batonmq::broker::usage::Limits;
use batonmq::broker::{BlockedProducer, BrokerOptions};
use batonmq::protocol::openwire::OpenWireOptions;
use openwire::{
    Command, Destination, LocalTransactionId, Message, MessageAck, ProducerInfo, RemoveInfo,
    TransactionId, TransactionInfo, TransactionStep,
};

use crate::harness::{Client, Harness, wait_for};

/// The number of a MessageAck for messages that were consumed.
const STANDARD: i8 = 2;

fn queue() -> Destination {
    Destination::queue("Q")
}

/// One message fills the broker's memory.
fn tiny() -> Limits {
    Limits {
        memory_bytes: 1,
        temporary_bytes: 0,
        ..Limits::default()
    }
}

fn start(limits: Limits) -> Harness {
    start_with(limits, OpenWireOptions::default())
}

fn start_with(limits: Limits, openwire: OpenWireOptions) -> Harness {
    let broker = BrokerOptions {
        limits,
        ..BrokerOptions::default()
    };
    Harness::start_with(broker, openwire)
}

fn transient(client: &mut Client, text: &str) -> Message {
    let mut message = client.message(&queue(), text);
    message.persistent = false;
    message
}

/// A producer with a window.
fn produce_with_window(client: &mut Client, window: i32) {
    let producer = ProducerInfo {
        producer_id: Some(client.id.session(1).producer(1)),
        destination: Some(queue()),
        window_size: window,
        ..ProducerInfo::default()
    };
    client.request(producer.into());
}

fn blocked(harness: &Harness) -> Vec<BlockedProducer> {
    harness.broker().status().blocked_producers
}

fn wait_until_blocked(harness: &Harness) {
    wait_until_waiting(harness, 1);
}

/// Waits until a producer has so many messages waiting.
fn wait_until_waiting(harness: &Harness, messages: usize) {
    wait_for("a blocked producer's messages", || {
        blocked(harness)
            .first()
            .is_some_and(|one| one.messages == messages)
    });
}

/// Sends a command that wants a response, which is not waited for.
fn post(client: &mut Client, mut command: Command, id: i32) {
    command.set_header(id, true);
    client.send(&command);
}

fn acknowledge(client: &mut Client, message: &Message) {
    let ack = MessageAck {
        consumer_id: Some(client.id.session(1).consumer(1)),
        destination: message.destination.clone(),
        ack_type: STANDARD,
        message_count: 1,
        last_message_id: message.message_id.clone(),
        ..MessageAck::default()
    };
    client.send(&ack.into());
}

/// Receives until this response has come; answers the texts dispatched meanwhile.
fn response(client: &mut Client, id: i32) -> Command {
    loop {
        let answer = client.receive();
        match &answer {
            Command::Response(r) if r.correlation_id == id => return answer,
            Command::ExceptionResponse(r) if r.correlation_id == id => return answer,
            _ => {}
        }
    }
}

fn pending(harness: &Harness) -> usize {
    let all = harness.broker().status().destinations;
    all.iter()
        .filter(|one| one.name == "Q")
        .map(|one| one.pending)
        .sum()
}

#[test]
fn a_blocked_send_is_answered_when_its_own_connection_s_consumer_has_made_room() {
    let harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let second = transient(&mut client, "second");
    post(&mut client, second.into(), 1_000);
    wait_until_blocked(&harness);
    let waiting = blocked(&harness).remove(0);
    assert_eq!(waiting.limit.name(), "memoryUsage");
    assert!(
        waiting.destination.contains('Q') && waiting.producer.contains("one"),
        "{waiting:?}"
    );
    // The same connection goes on with everything else.
    let consumer = client.consumer_info(1, &queue());
    client.request(consumer.into());
    let (first, _) = client.dispatched();
    acknowledge(&mut client, &first);
    assert_eq!(response(&mut client, 1_000).name(), "Response");
    assert_eq!(client.dispatched_text(), "second");
    assert!(blocked(&harness).is_empty());
}

#[test]
fn a_window_s_share_comes_back_only_when_there_was_room() {
    let harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    produce_with_window(&mut client, 10_000);
    for text in ["a", "b", "c"] {
        let message = transient(&mut client, text);
        client.send(&message.into());
    }
    let Command::ProducerAck(ack) = client.receive() else {
        panic!("no ProducerAck")
    };
    let size = ack.size;
    wait_until_waiting(&harness, 2);
    let mut consumer = Client::connected(&harness, "two");
    let info = consumer.consumer_info(1, &queue());
    consumer.request(info.into());
    for text in ["a", "b", "c"] {
        let (message, _) = consumer.dispatched();
        assert_eq!(message.text().ok().flatten(), Some(text.into()));
        acknowledge(&mut consumer, &message);
    }
    for _ in 0..2 {
        let Command::ProducerAck(ack) = client.receive() else {
            panic!("no ProducerAck")
        };
        assert_eq!(ack.size, size, "messages alike have shares alike");
    }
}

#[test]
fn send_fail_if_no_space_refuses_at_once_and_tells_who_asked_for_no_response_too() {
    let harness = start(Limits {
        send_fail_if_no_space: true,
        ..tiny()
    });
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let second = transient(&mut client, "second");
    assert_eq!(
        client.refusal(second.into()),
        "javax.jms.ResourceAllocationException"
    );
    let third = transient(&mut client, "third");
    client.send(&third.into());
    let Command::ConnectionError(error) = client.receive() else {
        panic!("no ConnectionError")
    };
    let exception = error.exception.expect("an exception");
    assert_eq!(
        exception.class,
        Some("javax.jms.ResourceAllocationException".into())
    );
    let text = exception.message.expect("a text").to_string();
    assert!(
        text.contains("Usage Manager memory limit") && text.contains("queue://Q"),
        "{text}"
    );
}

#[test]
fn send_fail_if_no_space_after_a_time_refuses_then() {
    let harness = start(Limits {
        send_fail_if_no_space_after: Some(Duration::from_millis(300)),
        ..tiny()
    });
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let since = Instant::now();
    let second = transient(&mut client, "second");
    assert_eq!(
        client.refusal(second.into()),
        "javax.jms.ResourceAllocationException"
    );
    assert!(since.elapsed() >= Duration::from_millis(300));
}

fn seven(client: &Client) -> TransactionId {
    TransactionId::Local(LocalTransactionId {
        value: 7,
        connection_id: Some(client.id.clone()),
    })
}

fn transaction(client: &Client, step: TransactionStep) -> TransactionInfo {
    TransactionInfo {
        connection_id: Some(client.id.clone()),
        transaction_id: Some(seven(client)),
        kind: step as i8,
        ..TransactionInfo::default()
    }
}

fn in_transaction(client: &mut Client, text: &str) -> Message {
    let mut message = transient(client, text);
    message.transaction_id = Some(seven(client));
    message
}

#[test]
fn a_commit_waits_for_the_blocked_sends_of_its_transaction() {
    let harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let begin = transaction(&client, TransactionStep::Begin);
    client.send(&begin.into());
    let inside = in_transaction(&mut client, "inside");
    client.send(&inside.into());
    wait_until_blocked(&harness);
    let commit = transaction(&client, TransactionStep::CommitOnePhase);
    post(&mut client, commit.into(), 2_000);
    let mut consumer = Client::connected(&harness, "two");
    let info = consumer.consumer_info(1, &queue());
    consumer.request(info.into());
    let (first, _) = consumer.dispatched();
    assert_eq!(pending(&harness), 1, "nothing is committed yet");
    acknowledge(&mut consumer, &first);
    assert_eq!(response(&mut client, 2_000).name(), "Response");
    assert_eq!(consumer.dispatched_text(), "inside");
}

#[test]
fn a_rollback_takes_blocked_sends_back() {
    let harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let begin = transaction(&client, TransactionStep::Begin);
    client.send(&begin.into());
    let inside = in_transaction(&mut client, "inside");
    client.send(&inside.into());
    wait_until_blocked(&harness);
    let rollback = transaction(&client, TransactionStep::Rollback);
    client.request(rollback.into());
    assert!(blocked(&harness).is_empty());
    assert_eq!(pending(&harness), 1);
}

#[test]
fn what_a_closed_producer_sent_is_still_sent_and_a_goodbye_waits_for_it() {
    let harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    produce_with_window(&mut client, 10_000);
    for text in ["a", "b"] {
        let message = transient(&mut client, text);
        client.send(&message.into());
    }
    wait_until_blocked(&harness);
    let producer = client.id.session(1).producer(1);
    client.request(RemoveInfo::of(producer).into());
    let connection = client.id.clone();
    post(&mut client, RemoveInfo::of(connection).into(), 3_000);
    let mut consumer = Client::connected(&harness, "two");
    let info = consumer.consumer_info(1, &queue());
    consumer.request(info.into());
    let (first, _) = consumer.dispatched();
    acknowledge(&mut consumer, &first);
    assert_eq!(consumer.dispatched_text(), "b");
    assert_eq!(response(&mut client, 3_000).name(), "Response");
    wait_for("the end of the connection", || {
        harness.broker().status().connections == 1
    });
}

#[test]
fn a_goodbye_does_not_wait_for_ever() {
    let options = OpenWireOptions {
        goodbye: Duration::from_millis(200),
        ..OpenWireOptions::default()
    };
    let harness = start_with(tiny(), options);
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    for text in ["a", "b"] {
        let message = transient(&mut client, text);
        client.send(&message.into());
    }
    wait_until_blocked(&harness);
    let connection = client.id.clone();
    client.request(RemoveInfo::of(connection).into());
    wait_for("the end of the wait", || blocked(&harness).is_empty());
    assert_eq!(pending(&harness), 1);
}

#[test]
fn a_producer_that_cannot_be_told_to_wait_is_held_back_by_its_socket_and_seen_when_it_goes() {
    let options = OpenWireOptions {
        waiting_bytes_max: 50_000,
        ..OpenWireOptions::default()
    };
    let harness = start_with(tiny(), options);
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    for _ in 0..100 {
        let message = transient(&mut client, &"x".repeat(1_000));
        client.send(&message.into());
    }
    wait_for("a pause", || {
        blocked(&harness).iter().any(|one| one.reading_paused)
    });
    let messages = blocked(&harness)[0].messages;
    assert!((40..60).contains(&messages), "{messages} messages wait");
    drop(client);
    wait_for("the end of the connection", || {
        harness.broker().status().connections == 0
    });
    assert!(blocked(&harness).is_empty());
}

#[test]
fn a_client_repeats_at_the_next_active_what_had_to_wait() {
    let mut harness = start(tiny());
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = transient(&mut client, "first");
    client.request(first.into());
    let second = transient(&mut client, "second");
    post(&mut client, second.clone().into(), 1_000);
    wait_until_blocked(&harness);
    harness.take_over();
    client.expect_closed();
    // What was not persistent is gone with the tenure, so there is room.
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    client.request(second.into());
    assert_eq!(pending(&harness), 1);
}

#[test]
fn a_store_limit_holds_a_persistent_send_back_and_a_destination_s_policy_can_refuse_it() {
    let policy = Policy {
        memory_limit_bytes: 1,
        send_fail_if_no_space: Some(true),
        ..Policy::default()
    };
    let options = BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    };
    let harness = Harness::start_with(options, OpenWireOptions::default());
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue());
    let first = client.message(&queue(), "first");
    client.request(first.into());
    let second = client.message(&queue(), "second");
    assert_eq!(
        client.refusal(second.into()),
        "javax.jms.ResourceAllocationException"
    );
}
