//! The client against a scripted broker: what goes over the wire, command by command.

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

use std::time::{Duration, Instant};

use failover::client::{ConsumerOptions, Ending, SendOptions, Start};
use failover::transport::Event;
use failover::{AckMode, ClientError, Connection, Destination, Message, Xid};
use openwire::{
    Command, ConnectionControl, MessageDispatch, ProducerAck, TransactionId, TransactionStep,
    WireFormat,
};
use support::{Link, Toy};
use tokio::task::JoinHandle;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn connecting(uri: String) -> JoinHandle<Connection> {
    tokio::spawn(async move { Connection::connect(&uri).await.expect("it connects") })
}

/// A connected client and the broker's end of its link.
async fn connected(toy: &Toy, options: &str) -> (Connection, Link) {
    let client = connecting(toy.uri(options));
    let link = toy.accept_connection().await;
    (client.await.expect("it connects"), link)
}

fn message(text: &str) -> Message {
    Message::text(text).expect("a short text")
}

fn queue() -> Destination {
    Destination::queue("q")
}

fn body(message: Option<Message>) -> String {
    message
        .expect("a message")
        .as_text()
        .expect("a text")
        .unwrap_or_default()
}

#[tokio::test]
async fn a_reconnect_restores_everything_in_order_and_repeats_what_is_unanswered() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let temporary = connection.temporary_queue().await.unwrap();
        let session = connection.session(AckMode::Auto).await.unwrap();
        let producer = session.producer(&queue()).await.unwrap();
        let consumer = session.consumer(&temporary).await.unwrap();
        let transacted = connection.session(AckMode::Transacted).await.unwrap();
        let sender = transacted.producer(&queue()).await.unwrap();
        sender.send(message("in transaction")).await.unwrap();
        let id = producer.send(message("repeated")).await.unwrap();
        transacted.commit().await.unwrap();
        (
            id, connection, session, producer, consumer, transacted, sender,
        )
    });
    let first_send = loop {
        let Command::Message(sent) = link.answer_until("TextMessage").await else {
            panic!()
        };
        if sent.transaction_id.is_none() {
            break sent;
        }
    };
    assert!(first_send.response_required);
    drop(link);

    let mut link = toy.accept().await;
    let mut replayed = Vec::new();
    loop {
        let command = link.next().await;
        let is_last = matches!(command, Command::ConsumerControl(_));
        replayed.push(command);
        if is_last {
            break;
        }
    }
    let names: Vec<&str> = replayed.iter().map(Command::name).collect();
    assert_eq!(
        names,
        [
            "ConnectionControl",
            "ConnectionInfo",
            "DestinationInfo",
            "SessionInfo",
            "ProducerInfo",
            "ConsumerInfo",
            "SessionInfo",
            "ProducerInfo",
            "TransactionInfo",
            "TextMessage",
            "TextMessage",
            "ConsumerControl",
        ]
    );
    let Command::ConnectionControl(control) = &replayed[0] else {
        panic!()
    };
    assert!(control.fault_tolerant && control.command_id == 0);
    let Command::ConnectionInfo(info) = &replayed[1] else {
        panic!()
    };
    assert!(info.failover_reconnect && info.response_required && info.command_id == 1);
    let Command::ConsumerInfo(consumer) = &replayed[5] else {
        panic!()
    };
    assert_eq!(consumer.prefetch_size, 0);
    let Command::Message(again) = &replayed[10] else {
        panic!()
    };
    assert_eq!(*again, first_send, "the same message with the same numbers");
    let Command::ConsumerControl(control) = &replayed[11] else {
        panic!()
    };
    assert_eq!(
        (control.prefetch, &control.consumer_id),
        (1000, &consumer.consumer_id)
    );
    for command in &replayed {
        link.answer(command).await;
    }
    let commit = link.answer_until("TransactionInfo").await;
    link.answer(&commit).await;
    let (id, ..) = client.await.unwrap();
    assert_eq!(Some(id), first_send.message_id);
}

#[tokio::test]
async fn the_first_connection_is_announced_as_fault_tolerant_but_not_as_a_reconnect() {
    let toy = Toy::start().await;
    let client = connecting(toy.uri("?jms.clientID=me&jms.userName=u&jms.password=p"));
    let mut link = toy.accept().await;
    let command = link.next().await;
    link.answer(&command).await;
    let Command::ConnectionInfo(info) = command else {
        panic!("{}", command.name())
    };
    assert!(info.fault_tolerant && !info.failover_reconnect && info.manageable);
    assert_eq!(info.client_id, Some("me".into()));
    assert_eq!(info.user_name, Some("u".into()));
    assert_eq!(info.password, Some("p".into()));
    client.await.unwrap();
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_in_doubt_and_not_repeated() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Transacted).await.unwrap();
        let producer = session.producer(&queue()).await.unwrap();
        producer.send(message("x")).await.unwrap();
        let error = session.commit().await.unwrap_err();
        // The next transaction is a new one.
        producer.send(message("y")).await.unwrap();
        session.commit().await.unwrap();
        (error, connection)
    });
    let begin = link.answer_until("TransactionInfo").await;
    let commit = link.answer_until("TransactionInfo").await;
    let step = |command: &Command| match command {
        Command::TransactionInfo(info) => (info.step(), info.transaction_id.clone()),
        other => panic!("{}", other.name()),
    };
    assert_eq!(step(&begin).0, Some(TransactionStep::Begin));
    assert_eq!(step(&commit).0, Some(TransactionStep::CommitOnePhase));
    drop(link);
    let mut link = toy.accept_connection().await;
    let next = link.answer_until("TransactionInfo").await;
    assert_eq!(step(&next).0, Some(TransactionStep::Begin));
    assert_ne!(step(&next).1, step(&begin).1);
    let commit = link.answer_until("TransactionInfo").await;
    link.answer(&commit).await;
    let (error, _connection) = client.await.unwrap();
    assert!(error.is_in_doubt(), "{error}");
}

#[tokio::test]
async fn a_transaction_that_received_messages_before_a_reconnect_is_rolled_back() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let (received, is_received) = tokio::sync::oneshot::channel();
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Transacted).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        assert_eq!(body(consumer.receive(PATIENCE).await.unwrap()), "m1");
        let mut events = connection.events();
        received.send(()).unwrap();
        while !matches!(events.recv().await, Ok(Event::Connected { .. })) {}
        let error = session.commit().await.unwrap_err();
        let again = consumer.receive(PATIENCE).await.unwrap();
        session.commit().await.unwrap();
        (error, body(again), connection)
    });
    let consumer = link.consumer().await;
    link.dispatch(&consumer, 1).await;
    is_received.await.unwrap();
    drop(link);
    let mut link = toy.accept_connection().await;
    link.answer_until("ConsumerControl").await;
    let rollback = link.answer_until("TransactionInfo").await;
    let Command::TransactionInfo(info) = &rollback else {
        panic!()
    };
    assert_eq!(info.step(), Some(TransactionStep::Rollback));
    link.answer(&rollback).await;
    link.dispatch(&consumer, 1).await;
    assert_eq!(link.ack().await, "Standard 1-1 x1 in transaction");
    let commit = link.next().await;
    link.answer(&commit).await;
    let (error, again, _connection) = client.await.unwrap();
    assert!(error.is_rolled_back(), "{error}");
    assert_eq!(again, "m1");
}

#[tokio::test]
async fn what_was_consumed_is_not_delivered_twice_and_what_was_not_is_delivered() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let mut events = connection.events();
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        let first = body(consumer.receive(PATIENCE).await.unwrap());
        while !matches!(events.recv().await, Ok(Event::Connected { .. })) {}
        let second = body(consumer.receive(PATIENCE).await.unwrap());
        (first, second, connection)
    });
    let consumer = link.consumer().await;
    link.dispatch(&consumer, 1).await;
    link.dispatch(&consumer, 2).await;
    assert_eq!(link.ack().await, "Standard 1-1 x1");
    drop(link);
    let mut link = toy.accept_connection().await;
    link.answer_until("ConsumerControl").await;
    link.dispatch(&consumer, 1).await;
    link.dispatch(&consumer, 2).await;
    assert_eq!(
        link.ack().await,
        "Standard 1-1 x1",
        "the lost acknowledgement is repeated"
    );
    assert_eq!(link.ack().await, "Standard 2-2 x1");
    let (first, second, _connection) = client.await.unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("m1", "m2"));
}

#[tokio::test]
async fn an_old_message_cannot_be_acknowledged_after_a_reconnect() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let (received, is_received) = tokio::sync::oneshot::channel();
    let client = tokio::spawn(async move {
        let mut events = connection.events();
        let session = connection.session(AckMode::Client).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        let old = consumer.receive(PATIENCE).await.unwrap().unwrap();
        received.send(()).unwrap();
        while !matches!(events.recv().await, Ok(Event::Connected { .. })) {}
        old.acknowledge().await.unwrap();
        let new = consumer.receive(PATIENCE).await.unwrap().unwrap();
        new.acknowledge().await.unwrap();
        (connection, session, consumer)
    });
    let consumer = link.consumer().await;
    link.dispatch(&consumer, 1).await;
    is_received.await.unwrap();
    drop(link);
    let mut link = toy.accept_connection().await;
    link.answer_until("ConsumerControl").await;
    assert!(link.is_quiet().await, "the old copy sends nothing");
    link.dispatch(&consumer, 1).await;
    assert_eq!(link.ack().await, "Standard 1-1 x1");
    client.await.unwrap();
}

#[tokio::test]
async fn a_consumer_without_prefetch_asks_for_each_message() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let options = ConsumerOptions {
            prefetch: Some(0),
            ..ConsumerOptions::default()
        };
        let consumer = session.consumer_with(&queue(), options).await.unwrap();
        let nothing = consumer.receive_no_wait().await.unwrap();
        let something = consumer.receive(PATIENCE).await.unwrap();
        let waited = consumer.receive(None).await.unwrap();
        assert!(nothing.is_none());
        (body(something), body(waited), connection)
    });
    let consumer = link.consumer().await;
    let timeout = |command: Command| match command {
        Command::MessagePull(pull) => pull.timeout,
        other => panic!("{}", other.name()),
    };
    assert_eq!(timeout(link.next().await), -1);
    link.send(MessageDispatch {
        consumer_id: Some(consumer.0.clone()),
        ..MessageDispatch::default()
    })
    .await;
    let wait = timeout(link.next().await);
    assert!((9_000..=10_000).contains(&wait), "{wait}");
    link.dispatch(&consumer, 1).await;
    assert_eq!(link.ack().await, "Standard 1-1 x1");
    assert_eq!(timeout(link.next().await), 0);
    // A pull that is under way when the link breaks is repeated.
    drop(link);
    let mut link = toy.accept_connection().await;
    assert_eq!(timeout(link.answer_until("MessagePull").await), 0);
    link.dispatch(&consumer, 2).await;
    let (something, waited, _connection) = client.await.unwrap();
    assert_eq!((something.as_str(), waited.as_str()), ("m1", "m2"));
}

#[tokio::test]
async fn a_full_window_waits_for_the_brokers_acknowledgement() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "?jms.producerWindowSize=1500").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let producer = session.producer(&queue()).await.unwrap();
        let options = SendOptions {
            persistent: false,
            ..SendOptions::default()
        };
        for _ in 0..3 {
            producer.send_with(message("x"), &options).await.unwrap();
        }
        connection
    });
    let Command::ProducerInfo(info) = link.answer_until("ProducerInfo").await else {
        panic!()
    };
    assert_eq!(info.window_size, 1500);
    link.answer(&Command::ProducerInfo(info)).await;
    for _ in 0..2 {
        let Command::Message(sent) = link.next().await else {
            panic!()
        };
        assert!(!sent.response_required);
    }
    assert!(
        link.is_quiet().await,
        "two messages of 1029 bytes fill a window of 1500"
    );
    let producer_id = Some(openwire::ConnectionId::new("x").session(1).producer(1));
    link.send(ProducerAck {
        producer_id,
        size: 1029,
        ..ProducerAck::default()
    })
    .await;
    assert!(link.is_quiet().await, "that was for another producer");
    link.send(ProducerAck {
        producer_id: link.last_producer.clone(),
        size: 1029,
        ..ProducerAck::default()
    })
    .await;
    let Command::Message(_) = link.next().await else {
        panic!()
    };
    client.await.unwrap();
}

#[tokio::test]
async fn a_silent_broker_is_left_and_a_silent_client_speaks() {
    let mut silent = Toy::start().await;
    silent.wire_format = WireFormat {
        max_inactivity_duration_ms: 300,
        max_inactivity_initial_delay_ms: 0,
        ..WireFormat::default()
    };
    let other = Toy::start().await;
    let uri = format!(
        "failover:({},{})?randomize=false",
        silent.address(),
        other.address()
    );
    let client = connecting(uri);
    let mut link = silent.accept_connection().await;
    let connection = client.await.unwrap();
    let begun = Instant::now();
    // It comes after a third of the limit, before the client gives the broker up.
    link.keep_alive().await;
    let _second = other.accept_connection().await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(connection.interruptions(), 1);
}

#[tokio::test]
async fn pushed_addresses_are_used_when_the_broker_is_gone() {
    let first = Toy::start().await;
    let second = Toy::start().await;
    let (connection, mut link) = connected(&first, "").await;
    link.send(ConnectionControl {
        connected_brokers: Some(second.address().as_str().into()),
        ..ConnectionControl::default()
    })
    .await;
    let mut events = connection.events();
    while !matches!(events.recv().await, Ok(Event::AddressesPushed { .. })) {}
    drop(link);
    drop(first);
    let _link = second.accept_connection().await;
}

#[tokio::test]
async fn the_client_moves_where_the_broker_says_and_takes_its_requests_along() {
    let first = Toy::start().await;
    let second = Toy::start().await;
    let (connection, mut link) = connected(&first, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let producer = session.producer(&queue()).await.unwrap();
        producer.send(message("x")).await.unwrap();
        connection
    });
    let sent = link.answer_until("TextMessage").await;
    link.send(ConnectionControl {
        reconnect_to: Some(second.address().as_str().into()),
        ..ConnectionControl::default()
    })
    .await;
    let mut link = second.accept_connection().await;
    let again = link.answer_until("TextMessage").await;
    assert_eq!(sent, again);
    link.answer(&again).await;
    let connection = client.await.unwrap();
    assert_eq!(connection.remote(), Some(second.address()));
}

#[tokio::test]
async fn a_refusal_is_the_callers_and_the_connection_lives_on() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let error = session.consumer(&queue()).await.unwrap_err();
        let producer = session.producer(&queue()).await.unwrap();
        (error, producer, connection)
    });
    let command = link.answer_until("ConsumerInfo").await;
    link.refuse(&command, openwire::exception::SECURITY, "not for you")
        .await;
    let command = link.answer_until("ProducerInfo").await;
    link.answer(&command).await;
    let (error, _producer, connection) = client.await.unwrap();
    let ClientError::Refused(refusal) = error else {
        panic!("{error}")
    };
    assert_eq!(refusal.class, "java.lang.SecurityException");
    assert_eq!(refusal.message, "not for you");
    drop(link);
    let mut link = toy.accept_connection().await;
    let rest = link.answer_until("ProducerInfo").await;
    assert!(
        matches!(rest, Command::ProducerInfo(_)),
        "the refused consumer is not restored"
    );
    drop(connection);
}

#[tokio::test]
async fn a_send_without_a_broker_fails_after_its_time_and_close_does_not_hang() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "?timeout=200").await;
    let (producer, session, connection) = {
        let opening = tokio::spawn(async move {
            let session = connection.session(AckMode::Auto).await.unwrap();
            let producer = session.producer(&queue()).await.unwrap();
            (producer, session, connection)
        });
        let command = link.answer_until("ProducerInfo").await;
        link.answer(&command).await;
        opening.await.unwrap()
    };
    let mut events = connection.events();
    drop(link);
    drop(toy);
    while !matches!(events.recv().await, Ok(Event::Interrupted { .. })) {}
    let begun = Instant::now();
    let error = producer.send(message("x")).await.unwrap_err();
    assert!(matches!(error, ClientError::SendTimeout(_)), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    drop(producer);
    session.close().await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), connection.close())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn dropped_values_say_goodbye_from_the_inside_out() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        drop(session);
        drop(consumer);
        connection
    });
    link.consumer().await;
    let mut removed = Vec::new();
    for _ in 0..2 {
        let Command::RemoveInfo(info) = link.next().await else {
            panic!("a goodbye")
        };
        removed.push(info.object_id.expect("somebody").name());
    }
    assert_eq!(removed, ["ConsumerId", "SessionId"]);
    client.await.unwrap();
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_no_message() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        let mut received = 0;
        while received < 200 {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                message = consumer.receive(PATIENCE) => {
                    received += 1;
                    assert_eq!(body(message.unwrap()), format!("m{received}"));
                }
            }
        }
        connection
    });
    let consumer = link.consumer().await;
    for sequence in 1..=200 {
        link.dispatch(&consumer, sequence).await;
    }
    for sequence in 1..=200 {
        assert_eq!(
            link.ack().await,
            format!("Standard {sequence}-{sequence} x1")
        );
    }
    client.await.unwrap();
}

#[tokio::test]
async fn giving_up_fails_everything_that_waits() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "?maxReconnectAttempts=2").await;
    let client = tokio::spawn(async move {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue()).await.unwrap();
        let received = consumer.receive(None).await.unwrap_err();
        let later = session.producer(&queue()).await.unwrap_err();
        connection.close().await.unwrap();
        (received, later)
    });
    link.consumer().await;
    drop(link);
    drop(toy);
    let (received, later) = client.await.unwrap();
    assert!(matches!(received, ClientError::GaveUp(_)), "{received}");
    assert!(later.is_final(), "{later}");
}

#[tokio::test]
async fn a_single_address_is_lost_for_good() {
    let toy = Toy::start().await;
    let address = toy.address();
    let client = tokio::spawn(async move { Connection::connect(&address).await });
    let link = toy.accept_connection().await;
    let connection = client.await.unwrap().unwrap();
    let mut events = connection.events();
    drop(link);
    while !matches!(events.recv().await, Ok(Event::GaveUp { .. })) {}
    let session = connection.session(AckMode::Auto).await.unwrap();
    let error = session.producer(&queue()).await.unwrap_err();
    assert!(
        error.to_string().contains("closed the connection"),
        "{error}"
    );
}

#[tokio::test]
async fn tls_is_refused_with_a_hint() {
    let uri = "failover:(ssl://127.0.0.1:1)?startupMaxReconnectAttempts=1";
    let error = Connection::connect(uri).await.unwrap_err();
    assert!(error.to_string().contains("needs TLS"), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_left_for_the_next() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let toy = Toy::start().await;
    let uri = format!(
        "failover:(tcp://{stranger},{})?randomize=false",
        toy.address()
    );
    let client = connecting(uri);
    let _link = toy.accept_connection().await;
    client.await.unwrap();
}

#[tokio::test]
async fn an_idle_client_without_keep_alives_is_silent() {
    let toy = Toy::start().await;
    let wire =
        "wireFormat.maxInactivityDuration=300&wireFormat.maxInactivityDurationInitalDelay=300";
    let (silent, mut quiet) = connected(
        &toy,
        &format!("?nested.useKeepAlive=false&{}", nested(wire)),
    )
    .await;
    let mut events = silent.events();
    // The toy says nothing, so the client's own watch ends the link; nothing comes before.
    let interrupted =
        async { while !matches!(events.recv().await, Ok(Event::Interrupted { .. })) {} };
    tokio::time::timeout(PATIENCE.unwrap_or_default(), interrupted)
        .await
        .expect("it is noticed");
    assert_eq!(quiet.end().await, 0, "bytes came");
}

/// Options of an address as options of all.
fn nested(options: &str) -> String {
    let options: Vec<String> = options
        .split('&')
        .map(|option| format!("nested.{option}"))
        .collect();
    options.join("&")
}

/// What a scripted broker sees of distributed transactions.
fn xa_step(command: &Command) -> (Option<TransactionStep>, bool) {
    match command {
        Command::TransactionInfo(info) => (
            info.step(),
            matches!(info.transaction_id, Some(TransactionId::Xa(_))),
        ),
        other => panic!("{}", other.name()),
    }
}

#[tokio::test]
async fn a_prepare_whose_answer_is_lost_is_in_doubt_and_not_repeated() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let client = tokio::spawn(async move {
        let xid = Xid::new(1, b"global", b"branch").unwrap();
        let xa = connection.xa_session().await.unwrap();
        xa.start(&xid, Start::New).await.unwrap();
        let producer = xa.session().producer(&queue()).await.unwrap();
        producer.send(message("x")).await.unwrap();
        xa.end(&xid, Ending::Success).await.unwrap();
        let error = xa.prepare(&xid).await.unwrap_err();
        xa.rollback(&xid).await.unwrap();
        (error, connection)
    });
    for expected in [TransactionStep::Begin, TransactionStep::End] {
        let command = link.answer_until("TransactionInfo").await;
        assert_eq!(xa_step(&command), (Some(expected), true));
        link.answer(&command).await;
    }
    let prepare = link.answer_until("TransactionInfo").await;
    assert_eq!(xa_step(&prepare), (Some(TransactionStep::Prepare), true));
    drop(link);
    let mut link = toy.accept_connection().await;
    let next = link.answer_until("TransactionInfo").await;
    assert_eq!(xa_step(&next), (Some(TransactionStep::Rollback), true));
    link.answer(&next).await;
    let (error, _connection) = client.await.unwrap();
    assert!(error.is_in_doubt(), "{error}");
}

#[tokio::test]
async fn a_distributed_transaction_that_received_before_a_reconnect_cannot_be_prepared() {
    let toy = Toy::start().await;
    let (connection, mut link) = connected(&toy, "").await;
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let client = tokio::spawn(async move {
        let xid = Xid::new(1, b"global", b"branch").unwrap();
        let xa = connection.xa_session().await.unwrap();
        let consumer = xa.session().consumer(&queue()).await.unwrap();
        xa.start(&xid, Start::New).await.unwrap();
        assert_eq!(body(consumer.receive(PATIENCE).await.unwrap()), "m1");
        xa.end(&xid, Ending::Success).await.unwrap();
        let mut events = connection.events();
        ended.send(()).unwrap();
        while !matches!(events.recv().await, Ok(Event::Connected { .. })) {}
        let error = xa.prepare(&xid).await.unwrap_err();
        xa.rollback(&xid).await.unwrap();
        (error, connection)
    });
    let consumer = link.consumer().await;
    let begin = link.answer_until("TransactionInfo").await;
    link.answer(&begin).await;
    link.dispatch(&consumer, 1).await;
    assert_eq!(link.ack().await, "Standard 1-1 x1 in transaction");
    let end = link.answer_until("TransactionInfo").await;
    link.answer(&end).await;
    has_ended.await.unwrap();
    drop(link);
    let mut link = toy.accept_connection().await;
    link.answer_until("ConsumerControl").await;
    let rollback = link.answer_until("TransactionInfo").await;
    assert_eq!(xa_step(&rollback), (Some(TransactionStep::Rollback), true));
    link.answer(&rollback).await;
    let (error, _connection) = client.await.unwrap();
    assert!(error.is_rolled_back(), "{error}");
}
