//! What the broker refuses, and how it says so.

use std::time::{Duration, Instant};

use openwire::{
    Command, ConnectionId, ConsumerInfo, Destination, DestinationInfo, DestinationKind, MessageAck,
    ProducerInfo, RemoveInfo, RemoveSubscriptionInfo, TransactionId, TransactionInfo,
    TransactionStep, XaTransactionId, exception,
};

use crate::harness::{Client, Harness};

#[test]
fn commands_before_the_connection_info_are_misuse() {
    let harness = Harness::start();
    let mut client = Client::greeted(&harness);
    let producer = ProducerInfo {
        producer_id: Some(ConnectionId::new("c").session(-1).producer(1)),
        ..ProducerInfo::default()
    };
    assert_eq!(client.refusal(producer.into()), exception::ILLEGAL_STATE);
}

#[test]
fn a_client_id_in_use_is_refused_and_the_socket_closed_after_a_farewell() {
    let harness = Harness::start();
    let _first = Client::connected(&harness, "one");
    let mut second = Client::greeted(&harness);
    second.id = ConnectionId::new("two");
    let info = second.connection_info("one");
    assert_eq!(second.refusal(info.into()), exception::INVALID_CLIENT_ID);
    let since = Instant::now();
    second.expect_closed();
    assert!(
        since.elapsed() > Duration::from_millis(1500),
        "no time to read the reason"
    );
}

#[test]
fn a_connection_without_client_id_is_refused() {
    let harness = Harness::start();
    let mut client = Client::greeted(&harness);
    client.id = ConnectionId::new("one");
    let mut info = client.connection_info("");
    info.client_id = None;
    assert_eq!(client.refusal(info.into()), exception::INVALID_CLIENT_ID);
}

#[test]
fn the_same_connection_on_another_socket_wins() {
    let harness = Harness::start();
    let queue = Destination::queue("Q");
    let mut old = Client::connected(&harness, "one");
    old.request(old.consumer_info(1, &queue).into());
    let mut new = Client::connected(&harness, "one");
    old.expect_closed();
    new.request(new.consumer_info(1, &queue).into());
    new.produce(&queue);
    let message = new.message(&queue, "hello");
    new.request(message.into());
    assert_eq!(new.dispatched_text(), "hello");
    assert_eq!(harness.broker().status().connections, 1);
}

#[test]
fn producers_and_consumers_of_unknown_sessions_are_misuse() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    let consumer = ConsumerInfo {
        consumer_id: Some(client.id.session(7).consumer(1)),
        destination: Some(Destination::queue("Q")),
        ..ConsumerInfo::default()
    };
    assert_eq!(client.refusal(consumer.into()), exception::ILLEGAL_STATE);
    let own = ConsumerInfo {
        consumer_id: Some(client.id.session(-1).consumer(1)),
        destination: Some(Destination::topic("A,B")),
        ..ConsumerInfo::default()
    };
    client.request(own.into());
}

#[test]
fn a_selector_that_is_none_is_refused_and_its_destination_is_not_made() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    for selector in ["a =", "(a = 1", "a LIKE 1", "'"] {
        let selecting = ConsumerInfo {
            selector: Some(selector.into()),
            ..client.consumer_info(1, &Destination::queue("Q"))
        };
        assert_eq!(
            client.refusal(selecting.into()),
            exception::INVALID_SELECTOR,
            "{selector}"
        );
    }
    assert!(harness.broker().status().destinations.is_empty());
}

#[test]
fn an_unknown_distributed_transaction_gets_an_xa_error_and_recovery_an_empty_list() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    let step = |step: TransactionStep, transaction| TransactionInfo {
        connection_id: Some(ConnectionId::new("one")),
        transaction_id: transaction,
        kind: step.number(),
        ..TransactionInfo::default()
    };
    let xid = || Some(TransactionId::from(XaTransactionId::default()));
    for refused in [
        TransactionStep::Prepare,
        TransactionStep::CommitOnePhase,
        TransactionStep::CommitTwoPhase,
    ] {
        assert_eq!(
            client.refusal(step(refused, xid()).into()),
            exception::XA,
            "{refused:?}"
        );
    }
    match client.ask(step(TransactionStep::Recover, None).into()) {
        Command::DataArrayResponse(response) => assert_eq!(response.data, Some(Vec::new())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_transaction_cannot_be_committed_and_its_rollback_is_harmless() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    let step = |step: TransactionStep| TransactionInfo {
        transaction_id: Some(TransactionId::Local(openwire::LocalTransactionId {
            value: 9,
            connection_id: Some(ConnectionId::new("one")),
        })),
        kind: step.number(),
        ..TransactionInfo::default()
    };
    let commit = step(TransactionStep::CommitOnePhase);
    assert_eq!(
        client.refusal(commit.into()),
        exception::TRANSACTION_ROLLED_BACK
    );
    client.request(step(TransactionStep::Rollback).into());
}

#[test]
fn a_temporary_queue_is_consumed_by_its_creator_only_and_ends_with_it() {
    let harness = Harness::start();
    let mut owner = Client::connected(&harness, "one");
    let mut other = Client::connected(&harness, "two");
    let queue = Destination::new(DestinationKind::TempQueue, "one:1");
    let info = |operation_type| DestinationInfo {
        connection_id: Some(ConnectionId::new("one")),
        destination: Some(queue.clone()),
        operation_type,
        ..DestinationInfo::default()
    };
    owner.request(info(DestinationInfo::ADD).into());
    owner.request(info(DestinationInfo::ADD).into());
    let foreign = other.consumer_info(1, &queue);
    assert_eq!(
        other.refusal(foreign.into()),
        exception::INVALID_DESTINATION
    );
    owner.request(owner.consumer_info(1, &queue).into());
    assert_eq!(
        owner.refusal(info(DestinationInfo::REMOVE).into()),
        exception::JMS
    );
    other.produce(&queue);
    let message = other.message(&queue, "reply");
    other.request(message.into());
    assert_eq!(owner.dispatched_text(), "reply");
    owner.request(RemoveInfo::of(owner.id.clone()).into());
    let late = other.message(&queue, "late");
    assert_eq!(
        other.refusal(late.into()),
        "org.apache.activemq.DestinationDoesNotExistException"
    );
}

#[test]
fn durable_subscriptions_are_guarded_while_in_use() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    let topic = Destination::topic("T");
    let subscription = |number, client: &Client| ConsumerInfo {
        subscription_name: Some("sub".into()),
        ..client.consumer_info(number, &topic)
    };
    let removal = |name: &str| RemoveSubscriptionInfo {
        client_id: Some("one".into()),
        subscription_name: Some(name.into()),
        ..RemoveSubscriptionInfo::default()
    };
    assert_eq!(
        client.refusal(removal("sub").into()),
        exception::INVALID_DESTINATION
    );
    client.request(subscription(1, &client).into());
    assert_eq!(
        client.refusal(subscription(2, &client).into()),
        exception::JMS
    );
    assert_eq!(client.refusal(removal("sub").into()), exception::JMS);
    client.send(&RemoveInfo::of(client.id.session(1).consumer(1)).into());
    client.produce(&topic);
    let message = client.message(&topic, "kept");
    client.request(message.into());
    client.request(subscription(3, &client).into());
    assert_eq!(client.dispatched_text(), "kept");
    client.send(&RemoveInfo::of(client.id.session(1).consumer(3)).into());
    client.request(removal("sub").into());
    assert_eq!(
        client.refusal(removal("sub").into()),
        exception::INVALID_DESTINATION
    );
}

#[test]
fn an_acknowledgement_of_something_else_is_refused_and_nothing_is_lost() {
    let harness = Harness::start();
    let queue = Destination::queue("Q");
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue);
    let message = client.message(&queue, "kept");
    client.request(message.into());
    client.request(client.consumer_info(1, &queue).into());
    let (message, _) = client.dispatched();
    let consumer = client.id.session(1).consumer(1);
    let ack = |message_count, sequence| MessageAck {
        consumer_id: Some(consumer.clone()),
        ack_type: openwire::AckKind::Standard.number(),
        last_message_id: Some(
            ConnectionId::new("one")
                .session(1)
                .producer(1)
                .message(sequence),
        ),
        message_count,
        ..MessageAck::default()
    };
    assert_eq!(client.refusal(ack(1, 99).into()), exception::JMS);
    assert_eq!(client.refusal(ack(2, 1).into()), exception::JMS);
    client.request(RemoveInfo::of(consumer.clone()).into());
    client.request(client.consumer_info(2, &queue).into());
    let (again, redeliveries) = client.dispatched();
    assert_eq!((again.message_id, redeliveries), (message.message_id, 1));
}

#[test]
fn a_commit_whose_acknowledgements_were_lost_with_the_connection_fails() {
    let harness = Harness::start();
    let queue = Destination::queue("Q");
    let mut first = Client::connected(&harness, "one");
    first.produce(&queue);
    let message = first.message(&queue, "kept");
    first.request(message.into());
    drop(first);
    let mut client = Client::greeted(&harness);
    client.id = ConnectionId::new("one");
    let info = openwire::ConnectionInfo {
        failover_reconnect: true,
        ..client.connection_info("one")
    };
    client.request(info.into());
    let session = openwire::SessionInfo {
        session_id: Some(client.id.session(1)),
        ..openwire::SessionInfo::default()
    };
    client.send(&session.into());
    client.request(client.consumer_info(1, &queue).into());
    let transaction = |value| {
        Some(TransactionId::Local(openwire::LocalTransactionId {
            value,
            connection_id: Some(ConnectionId::new("one")),
        }))
    };
    let step = |step: TransactionStep, value| TransactionInfo {
        transaction_id: transaction(value),
        kind: step.number(),
        ..TransactionInfo::default()
    };
    // What the tracker of a Java client repeats: the begin, and nothing of the acknowledgements.
    client.send(&step(TransactionStep::Begin, 1).into());
    let empty = client.refusal(step(TransactionStep::CommitOnePhase, 1).into());
    assert_eq!(empty, exception::TRANSACTION_ROLLED_BACK);
    // An acknowledgement of a message that is not with this consumer (any more).
    let (message, _) = client.dispatched();
    let acknowledge = |sequence| MessageAck {
        consumer_id: Some(ConnectionId::new("one").session(1).consumer(1)),
        transaction_id: transaction(2),
        ack_type: openwire::AckKind::Standard.number(),
        last_message_id: Some(
            ConnectionId::new("one")
                .session(1)
                .producer(1)
                .message(sequence),
        ),
        message_count: 1,
        ..MessageAck::default()
    };
    client.send(&step(TransactionStep::Begin, 2).into());
    client.send(&acknowledge(99).into());
    client.send(&acknowledge(1).into());
    let stale = client.refusal(step(TransactionStep::CommitOnePhase, 2).into());
    assert_eq!(stale, exception::TRANSACTION_ROLLED_BACK);
    client.send(&step(TransactionStep::Begin, 3).into());
    client.send(
        &MessageAck {
            transaction_id: transaction(3),
            ..acknowledge(1)
        }
        .into(),
    );
    client.request(step(TransactionStep::CommitOnePhase, 3).into());
    assert_eq!(message.text().expect("a text"), Some("kept".into()));
    assert_eq!(harness.broker().status().destinations[0].pending, 0);
}
