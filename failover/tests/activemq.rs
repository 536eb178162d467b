//! The client against a real ActiveMQ Classic broker.
//!
//! Needs the environment variable `BATON_TEST_ACTIVEMQ_URL`, the `tcp://` URL of a running broker
//! that lets anybody in; without it these tests say so and check nothing. `.ci/run` starts such a
//! broker and sets the variable.

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use failover::client::{ConsumerOptions, SendOptions};
use support::Proxy;

use failover::{AckMode, ClientError, Connection, Destination, Message, PrimitiveMap, Value};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));
const BRIEFLY: Option<Duration> = Some(Duration::from_millis(300));

/// The broker's URL with options, or `None` with a notice.
fn broker(options: &str) -> Option<String> {
    match std::env::var("BATON_TEST_ACTIVEMQ_URL") {
        // A broker that is not there must fail the test, not hold it up.
        Ok(url) => {
            let separator = if options.is_empty() { '?' } else { '&' };
            Some(format!(
                "failover:({url}){options}{separator}startupMaxReconnectAttempts=8"
            ))
        }
        Err(_) => {
            eprintln!("NOT TESTED: set BATON_TEST_ACTIVEMQ_URL to the tcp:// URL of an ActiveMQ");
            None
        }
    }
}

/// A name that no other test and no earlier run uses.
fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    format!(
        "failover.test.{name}.{}.{}",
        std::process::id(),
        now.as_nanos()
    )
}

async fn connect(options: &str) -> Option<Connection> {
    let uri = broker(options)?;
    Some(
        Connection::connect(&uri)
            .await
            .expect("the broker lets us in"),
    )
}

fn text(message: Option<Message>) -> String {
    message
        .expect("a message")
        .as_text()
        .expect("a readable body")
        .unwrap_or_default()
}

#[tokio::test]
async fn messages_of_each_kind_arrive_as_they_were_sent() {
    let Some(connection) = connect("").await else {
        return;
    };
    let queue = Destination::queue(unique("kinds"));
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    let mut map = PrimitiveMap::new();
    map.insert("count", 3);
    map.insert("name", "käse");
    let sent = [
        Message::text("grüße \u{1f600}").unwrap(),
        Message::bytes(Bytes::from_static(&[0, 1, 255])),
        Message::map(&map).unwrap(),
        Message::stream(&[Value::from("a"), Value::from(7_i64), Value::Null]).unwrap(),
        Message::object(Bytes::from_static(&[0xac, 0xed, 0, 5, 0x70])),
        Message::plain(),
    ];
    for message in sent {
        let body = message.body().unwrap();
        let kind = message.kind().clone();
        let message = message
            .with_property("colour", "red")
            .unwrap()
            .with_correlation_id("c-1")
            .with_message_type("kind");
        let id = producer.send(message).await.unwrap();
        let received = consumer
            .receive(PATIENCE)
            .await
            .unwrap()
            .expect("it arrives");
        assert_eq!(received.body().unwrap(), body);
        assert_eq!(*received.kind(), kind);
        assert_eq!(received.message_id(), Some(&id));
        assert_eq!(
            received.property("colour").unwrap(),
            Some(Value::from("red"))
        );
        assert_eq!(received.correlation_id().as_deref(), Some("c-1"));
        assert_eq!(received.message_type().as_deref(), Some("kind"));
        assert!(received.is_persistent() && !received.is_redelivered());
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_does_not_come_again_and_the_rest_does() {
    let Some(connection) = connect("").await else {
        return;
    };
    for mode in [AckMode::Client, AckMode::Individual, AckMode::Transacted] {
        let queue = Destination::queue(unique("acks"));
        let session = connection.session(AckMode::Auto).await.unwrap();
        let producer = session.producer(&queue).await.unwrap();
        for number in 1..=4 {
            producer
                .send(Message::text(&format!("m{number}")).unwrap())
                .await
                .unwrap();
        }
        let session = connection.session(mode).await.unwrap();
        let consumer = session.consumer(&queue).await.unwrap();
        for number in 1..=2 {
            let message = consumer
                .receive(PATIENCE)
                .await
                .unwrap()
                .expect("a message");
            assert_eq!(message.as_text().unwrap().unwrap(), format!("m{number}"));
            match mode {
                AckMode::Transacted => session.commit().await.unwrap(),
                _ => message.acknowledge().await.unwrap(),
            }
        }
        assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), "m3");
        session.close().await.unwrap();
        drop(consumer);
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue).await.unwrap();
        let third = consumer
            .receive(PATIENCE)
            .await
            .unwrap()
            .expect("unacknowledged");
        assert_eq!(third.as_text().unwrap().unwrap(), "m3", "{mode:?}");
        assert!(third.is_redelivered(), "{mode:?}");
        assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), "m4");
        assert!(consumer.receive(BRIEFLY).await.unwrap().is_none());
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_rollback_takes_back_sends_and_delivers_again() {
    let options = "?jms.redeliveryPolicy.initialRedeliveryDelay=50";
    let Some(connection) = connect(options).await else {
        return;
    };
    let queue = Destination::queue(unique("rollback"));
    let session = connection.session(AckMode::Transacted).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    producer.send(Message::text("lost").unwrap()).await.unwrap();
    session.rollback().await.unwrap();
    producer.send(Message::text("kept").unwrap()).await.unwrap();
    session.commit().await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    for delivery in 1..=3 {
        let message = consumer.receive(PATIENCE).await.unwrap().expect("again");
        assert_eq!(message.as_text().unwrap().as_deref(), Some("kept"));
        assert_eq!(message.delivery_count(), delivery);
        session.rollback().await.unwrap();
    }
    assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), "kept");
    session.commit().await.unwrap();
    assert!(consumer.receive(BRIEFLY).await.unwrap().is_none());
    connection.close().await.unwrap();
}

#[tokio::test]
async fn too_many_redeliveries_end_in_the_dead_letter_queue() {
    let options = "?jms.redeliveryPolicy.initialRedeliveryDelay=0\
                   &jms.redeliveryPolicy.redeliveryDelay=0\
                   &jms.redeliveryPolicy.maximumRedeliveries=2";
    let Some(connection) = connect(options).await else {
        return;
    };
    let queue = Destination::queue(unique("poison"));
    let session = connection.session(AckMode::Transacted).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let body = unique("body");
    let marked = Message::text(&body)
        .unwrap()
        .with_property("marker", body.as_str())
        .unwrap();
    producer.send(marked).await.unwrap();
    session.commit().await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), body);
        session.rollback().await.unwrap();
    }
    assert!(consumer.receive(BRIEFLY).await.unwrap().is_none());
    let reader = connection.session(AckMode::Auto).await.unwrap();
    // Others use that queue as well, so only this test's message is asked for.
    let options = ConsumerOptions {
        selector: Some(format!("marker = '{body}'")),
        ..Default::default()
    };
    let dead = Destination::queue("ActiveMQ.DLQ");
    let dead = reader.consumer_with(&dead, options).await.unwrap();
    let message = dead
        .receive(PATIENCE)
        .await
        .unwrap()
        .expect("it is in the queue of the dead");
    assert_eq!(message.as_text().unwrap().as_deref(), Some(body.as_str()));
    assert!(
        message
            .property("dlqDeliveryFailureCause")
            .unwrap()
            .is_some()
    );
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_consumer_without_prefetch_pulls() {
    let Some(connection) = connect("?jms.prefetchPolicy.all=0").await else {
        return;
    };
    let queue = Destination::queue(unique("pull"));
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    assert!(consumer.receive_no_wait().await.unwrap().is_none());
    assert!(consumer.receive(BRIEFLY).await.unwrap().is_none());
    for number in 1..=3 {
        producer
            .send(Message::text(&format!("m{number}")).unwrap())
            .await
            .unwrap();
    }
    assert_eq!(text(consumer.receive_no_wait().await.unwrap()), "m1");
    assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), "m2");
    assert_eq!(text(consumer.receive(None).await.unwrap()), "m3");
    let browser = session
        .browser(&queue, ConsumerOptions::default())
        .await
        .unwrap();
    assert!(browser.next().await.unwrap().is_none());
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_browser_sees_everything_and_consumes_nothing() {
    let Some(connection) = connect("").await else {
        return;
    };
    let queue = Destination::queue(unique("browse"));
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    for number in 1..=5 {
        producer
            .send(Message::text(&format!("m{number}")).unwrap())
            .await
            .unwrap();
    }
    for _ in 0..2 {
        let browser = session
            .browser(&queue, ConsumerOptions::default())
            .await
            .unwrap();
        let mut seen = Vec::new();
        while let Some(message) = browser.next().await.unwrap() {
            seen.push(message.as_text().unwrap().unwrap());
        }
        assert_eq!(seen, ["m1", "m2", "m3", "m4", "m5"]);
        browser.close().await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_durable_subscription_keeps_messages_while_nobody_listens() {
    let client = unique("client");
    let Some(connection) = connect(&format!("?jms.clientID={client}")).await else {
        return;
    };
    let topic = Destination::topic(unique("durable"));
    let session = connection.session(AckMode::Auto).await.unwrap();
    let open = async || {
        session
            .durable_subscriber(&topic, "sub", ConsumerOptions::default())
            .await
            .unwrap()
    };
    open().await.close().await.unwrap();
    let producer = session.producer(&topic).await.unwrap();
    producer.send(Message::text("kept").unwrap()).await.unwrap();
    let subscriber = open().await;
    assert_eq!(text(subscriber.receive(PATIENCE).await.unwrap()), "kept");
    let in_use = connection.unsubscribe("sub").await.unwrap_err();
    assert!(in_use.is_refused(), "{in_use}");
    subscriber.close().await.unwrap();
    connection.unsubscribe("sub").await.unwrap();
    assert!(
        connection
            .unsubscribe("sub")
            .await
            .unwrap_err()
            .is_refused()
    );
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_question_is_answered_over_a_temporary_queue() {
    let Some(asking) = connect("").await else {
        return;
    };
    let Some(answering) = connect("").await else {
        return;
    };
    let queue = Destination::queue(unique("question"));
    let server = answering.session(AckMode::Auto).await.unwrap();
    let questions = server.consumer(&queue).await.unwrap();
    let answers = server.producer_to_any().await.unwrap();
    let client = asking.session(AckMode::Auto).await.unwrap();
    let reply_to = asking.temporary_queue().await.unwrap();
    let replies = client.consumer(&reply_to).await.unwrap();
    let producer = client.producer(&queue).await.unwrap();
    let question = Message::text("six times seven")
        .unwrap()
        .with_reply_to(reply_to.clone());
    producer.send(question).await.unwrap();
    let question = questions
        .receive(PATIENCE)
        .await
        .unwrap()
        .expect("the question");
    let to = question
        .reply_to()
        .expect("an address to answer to")
        .clone();
    let answer = Message::text("42").unwrap();
    answers
        .send_to(&to, answer, &SendOptions::default())
        .await
        .unwrap();
    assert_eq!(text(replies.receive(PATIENCE).await.unwrap()), "42");
    replies.close().await.unwrap();
    asking.delete_temporary(&reply_to).await.unwrap();
    asking.close().await.unwrap();
    answering.close().await.unwrap();
}

#[tokio::test]
async fn selectors_expiry_priority_and_no_local_reach_the_broker() {
    let Some(connection) = connect("").await else {
        return;
    };
    let queue = Destination::queue(unique("selector"));
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    for colour in ["red", "blue"] {
        let message = Message::text(colour)
            .unwrap()
            .with_property("colour", colour)
            .unwrap();
        producer.send(message).await.unwrap();
    }
    let options = ConsumerOptions {
        selector: Some("colour = 'blue'".to_owned()),
        ..Default::default()
    };
    let consumer = session.consumer_with(&queue, options).await.unwrap();
    assert_eq!(text(consumer.receive(PATIENCE).await.unwrap()), "blue");
    assert!(consumer.receive(BRIEFLY).await.unwrap().is_none());
    let bad = ConsumerOptions {
        selector: Some("colour = = 3".to_owned()),
        ..Default::default()
    };
    let error = session.consumer_with(&queue, bad).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(r) if r.class.ends_with("InvalidSelectorException")),
        "{error}"
    );

    let mortal = SendOptions {
        time_to_live: Some(Duration::from_millis(1)),
        ..Default::default()
    };
    let queue = Destination::queue(unique("expiry"));
    let producer = session.producer(&queue).await.unwrap();
    producer
        .send_with(Message::text("late").unwrap(), &mortal)
        .await
        .unwrap();
    let urgent = SendOptions {
        priority: 9,
        ..Default::default()
    };
    producer
        .send_with(Message::text("urgent").unwrap(), &urgent)
        .await
        .unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    let message = consumer
        .receive(PATIENCE)
        .await
        .unwrap()
        .expect("the urgent one");
    assert_eq!(
        (
            message.as_text().unwrap().unwrap().as_str(),
            message.priority()
        ),
        ("urgent", 9)
    );

    let topic = Destination::topic(unique("nolocal"));
    let options = ConsumerOptions {
        no_local: true,
        ..Default::default()
    };
    let deaf = session.consumer_with(&topic, options).await.unwrap();
    let hearing = session.consumer(&topic).await.unwrap();
    session
        .producer(&topic)
        .await
        .unwrap()
        .send(Message::text("own").unwrap())
        .await
        .unwrap();
    assert_eq!(text(hearing.receive(PATIENCE).await.unwrap()), "own");
    assert!(deaf.receive(BRIEFLY).await.unwrap().is_none());
    connection.close().await.unwrap();
}

#[tokio::test]
async fn windows_prefetch_and_optimised_acknowledgement_do_not_stall() {
    let options = "?jms.producerWindowSize=5000&jms.useAsyncSend=true\
                   &jms.optimizeAcknowledge=true&jms.prefetchPolicy.all=10";
    let Some(connection) = connect(options).await else {
        return;
    };
    for mode in [
        AckMode::Auto,
        AckMode::DupsOk,
        AckMode::Transacted,
        AckMode::Client,
    ] {
        for destination in [
            Destination::queue(unique("flow")),
            Destination::topic(unique("flow")),
        ] {
            let session = connection.session(mode).await.unwrap();
            let consumer = session.consumer(&destination).await.unwrap();
            let sending = connection.session(AckMode::Auto).await.unwrap();
            let producer = sending.producer(&destination).await.unwrap();
            let sent = tokio::spawn(async move {
                for number in 0..200 {
                    let message = Message::text(&number.to_string()).unwrap();
                    producer.send(message).await.unwrap();
                }
            });
            for number in 0..200 {
                let message = consumer.receive(PATIENCE).await.unwrap();
                let message = message.unwrap_or_else(|| panic!("{mode:?} stalls at {number}"));
                assert_eq!(message.as_text().unwrap().unwrap(), number.to_string());
            }
            if mode == AckMode::Transacted {
                session.commit().await.unwrap();
            } else if mode == AckMode::Client {
                session.acknowledge().await.unwrap();
            }
            sent.await.unwrap();
        }
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn wildcards_and_options_in_names_work() {
    let Some(connection) = connect("").await else {
        return;
    };
    let base = unique("wild");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let all = Destination::queue(format!("{base}.*?consumer.prefetchSize=1"));
    let consumer = session.consumer(&all).await.unwrap();
    for part in ["a", "b"] {
        let queue = Destination::queue(format!("{base}.{part}"));
        let producer = session.producer(&queue).await.unwrap();
        producer.send(Message::text(part).unwrap()).await.unwrap();
    }
    let mut seen = vec![
        text(consumer.receive(PATIENCE).await.unwrap()),
        text(consumer.receive(PATIENCE).await.unwrap()),
    ];
    seen.sort();
    assert_eq!(seen, ["a", "b"]);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_client_id_in_use_is_refused() {
    let client = unique("twice");
    let options = format!("?jms.clientID={client}");
    let Some(first) = connect(&options).await else {
        return;
    };
    let second = Connection::connect(&broker(&options).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(&second, ClientError::Refused(r) if r.class.ends_with("InvalidClientIDException")),
        "{second}"
    );
    first.close().await.unwrap();
}

/// A connection through a proxy that can cut it, and the proxy.
async fn connect_through_proxy(options: &str) -> Option<(Connection, Proxy)> {
    let url = broker("")?;
    let target = url.split("//").nth(1)?.split(')').next()?.to_owned();
    let proxy = Proxy::start(target).await;
    let uri = format!("failover:(tcp://{}){options}", proxy.address());
    let connection = Connection::connect(&uri)
        .await
        .expect("the broker lets us in");
    Some((connection, proxy))
}

/// ActiveMQ needs seconds to bury a connection whose successor breaks as well; without an end to
/// the cuts it would do nothing else.
const CUTS_MAX: u32 = 20;

/// Cuts the connection again and again until told to stop; returns how often.
fn keep_cutting(
    proxy: Arc<Proxy>,
    seed: u64,
) -> (
    tokio::task::JoinHandle<u32>,
    tokio::sync::watch::Sender<bool>,
) {
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let cutting = tokio::spawn(async move {
        let (mut count, mut state) = (0, seed | 1);
        loop {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pause = Duration::from_millis(20 + (state >> 33) % 250);
            if tokio::time::timeout(pause, stopped.wait_for(|stop| *stop))
                .await
                .is_ok()
            {
                return count;
            }
            if count < CUTS_MAX {
                proxy.cut();
                count += 1;
            }
        }
    });
    (cutting, stop)
}

fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7919);
    eprintln!("SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_over_a_connection_that_keeps_breaking_arrive_once_and_in_order() {
    let Some((connection, proxy)) = connect_through_proxy("?maxReconnectDelay=50").await else {
        return;
    };
    let queue = Destination::queue(unique("cuts"));
    let (cutting, stop) = keep_cutting(Arc::new(proxy), seed());
    let mut senders = Vec::new();
    for name in 0..4 {
        let session = connection.session(AckMode::Auto).await.unwrap();
        let producer = session.producer(&queue).await.unwrap();
        senders.push(tokio::spawn(async move {
            for number in 0..250 {
                let message = Message::text(&format!("{name} {number}")).unwrap();
                producer.send(message).await.unwrap();
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    stop.send_replace(true);
    let cuts = cutting.await.unwrap();
    eprintln!("{cuts} cuts, {} interruptions", connection.interruptions());
    assert!(connection.interruptions() > 0, "nothing was tested");

    let reader = connect("").await.unwrap();
    let session = reader.session(AckMode::Auto).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    let mut next: HashMap<String, u32> = HashMap::new();
    for _ in 0..1000 {
        let body = text(consumer.receive(PATIENCE).await.unwrap());
        let (name, number) = body.split_once(' ').unwrap();
        let expected = next.entry(name.to_owned()).or_default();
        assert_eq!(number.parse(), Ok(*expected), "sender {name}");
        *expected += 1;
    }
    assert!(
        consumer.receive(BRIEFLY).await.unwrap().is_none(),
        "a duplicate"
    );
    reader.close().await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_over_a_connection_that_keeps_breaking_move_each_message_once() {
    let options = "?maxReconnectDelay=50&jms.redeliveryPolicy.initialRedeliveryDelay=0\
                   &jms.redeliveryPolicy.maximumRedeliveries=-1";
    let Some((connection, proxy)) = connect_through_proxy(options).await else {
        return;
    };
    let (from, to) = (
        Destination::queue(unique("from")),
        Destination::queue(unique("to")),
    );
    let sender = connect("").await.unwrap();
    let session = sender.session(AckMode::Transacted).await.unwrap();
    let producer = session.producer(&from).await.unwrap();
    for number in 0..400 {
        producer
            .send(Message::text(&number.to_string()).unwrap())
            .await
            .unwrap();
    }
    session.commit().await.unwrap();

    let (cutting, stop) = keep_cutting(Arc::new(proxy), seed());
    let session = connection.session(AckMode::Transacted).await.unwrap();
    let consumer = session.consumer(&from).await.unwrap();
    let producer = session.producer(&to).await.unwrap();
    let (mut rolled_back, mut in_doubt) = (0, 0);
    // The end is when nothing comes for longer than ActiveMQ needs to bury its dead connections.
    loop {
        let received = consumer
            .receive(Some(Duration::from_secs(12)))
            .await
            .unwrap();
        let Some(message) = received else { break };
        let copy = Message::text(&message.as_text().unwrap().unwrap()).unwrap();
        producer.send(copy).await.unwrap();
        match session.commit().await {
            Ok(()) => {}
            Err(error) if error.is_in_doubt() => in_doubt += 1,
            Err(error) => {
                assert!(error.is_rolled_back() || error.is_refused(), "{error}");
                rolled_back += 1;
            }
        }
    }
    stop.send_replace(true);
    let cuts = cutting.await.unwrap();
    eprintln!("{cuts} cuts, {rolled_back} rolled back, {in_doubt} in doubt");
    assert!(connection.interruptions() > 0, "nothing was tested");

    let session = sender.session(AckMode::Auto).await.unwrap();
    let consumer = session.consumer(&to).await.unwrap();
    let mut seen = vec![0; 400];
    while let Some(message) = consumer
        .receive(Some(Duration::from_secs(1)))
        .await
        .unwrap()
    {
        seen[message
            .as_text()
            .unwrap()
            .unwrap()
            .parse::<usize>()
            .unwrap()] += 1;
    }
    let wrong: Vec<_> = seen
        .iter()
        .enumerate()
        .filter(|(_, count)| **count != 1)
        .collect();
    assert!(wrong.is_empty(), "not exactly once: {wrong:?}");
    connection.close().await.unwrap();
    sender.close().await.unwrap();
}
