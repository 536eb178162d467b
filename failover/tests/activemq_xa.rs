//! Distributed transactions of the client against a real ActiveMQ Classic broker.
//!
//! Needs the environment variable `BATON_TEST_ACTIVEMQ_URL` as `tests/activemq.rs` does.

use std::time::Duration;

use failover::client::{Ending, Start, Vote};
use failover::{AckMode, ClientError, Connection, Destination, Message, XaSession, Xid};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));
const BRIEFLY: Option<Duration> = Some(Duration::from_millis(300));

async fn connect() -> Option<Connection> {
    let Ok(url) = std::env::var("BATON_TEST_ACTIVEMQ_URL") else {
        eprintln!("NOT TESTED: set BATON_TEST_ACTIVEMQ_URL to the tcp:// URL of an ActiveMQ");
        return None;
    };
    let options = "startupMaxReconnectAttempts=8&jms.redeliveryPolicy.initialRedeliveryDelay=0";
    let connection = Connection::connect(&format!("failover:({url})?{options}")).await;
    Some(connection.expect("the broker lets us in"))
}

/// A transaction and a queue that no other test and no earlier run uses.
fn fresh(name: &str) -> (Xid, Destination) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    let unique = format!("{name}.{}.{}", std::process::id(), now.as_nanos());
    let xid = Xid::new(7, unique.as_bytes(), b"branch").expect("short enough");
    (xid, Destination::queue(format!("failover.xa.{unique}")))
}

async fn send(xa: &XaSession, queue: &Destination, text: &str) {
    let producer = xa
        .session()
        .producer(queue)
        .await
        .expect("the broker does it");
    producer
        .send(Message::text(text).expect("a text"))
        .await
        .expect("the broker does it");
}

async fn texts(connection: &Connection, queue: &Destination) -> Vec<String> {
    let session = connection
        .session(AckMode::Auto)
        .await
        .expect("the broker does it");
    let consumer = session.consumer(queue).await.expect("the broker does it");
    let mut texts = Vec::new();
    while let Some(message) = consumer.receive(BRIEFLY).await.expect("the broker does it") {
        texts.push(message.as_text().expect("a text").unwrap_or_default());
    }
    texts
}

#[tokio::test]
async fn one_phase_makes_sends_visible_at_the_commit() {
    let Some(connection) = connect().await else {
        return;
    };
    let (xid, queue) = fresh("one");
    let xa = connection.xa_session().await.unwrap();
    xa.start(&xid, Start::New).await.unwrap();
    send(&xa, &queue, "a").await;
    xa.end(&xid, Ending::Success).await.unwrap();
    assert!(texts(&connection, &queue).await.is_empty());
    xa.commit(&xid, true).await.unwrap();
    assert_eq!(texts(&connection, &queue).await, ["a"]);
}

#[tokio::test]
async fn a_prepared_transaction_is_listed_and_any_connection_can_commit_it() {
    let Some(connection) = connect().await else {
        return;
    };
    let (xid, queue) = fresh("two");
    let xa = connection.xa_session().await.unwrap();
    xa.start(&xid, Start::New).await.unwrap();
    send(&xa, &queue, "a").await;
    xa.end(&xid, Ending::Success).await.unwrap();
    assert_eq!(xa.prepare(&xid).await.unwrap(), Vote::Commit);
    connection.close().await.unwrap();

    let connection = connect().await.expect("the same broker");
    let xa = connection.xa_session().await.unwrap();
    assert!(xa.recover().await.unwrap().contains(&xid));
    xa.commit(&xid, false).await.unwrap();
    assert!(!xa.recover().await.unwrap().contains(&xid));
    assert_eq!(texts(&connection, &queue).await, ["a"]);
}

#[tokio::test]
async fn a_rollback_delivers_again_what_was_received() {
    let Some(connection) = connect().await else {
        return;
    };
    let (xid, queue) = fresh("rollback");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    producer.send(Message::text("a").unwrap()).await.unwrap();

    let xa = connection.xa_session().await.unwrap();
    let consumer = xa.session().consumer(&queue).await.unwrap();
    let outside = consumer.receive(PATIENCE).await.unwrap_err();
    assert!(matches!(outside, ClientError::IllegalState(_)), "{outside}");
    for (delivery, is_prepared) in [(1, false), (2, true)] {
        xa.start(&xid, Start::New).await.unwrap();
        let message = consumer.receive(PATIENCE).await.unwrap().expect("a");
        assert_eq!(message.delivery_count(), delivery);
        xa.end(&xid, Ending::Success).await.unwrap();
        if is_prepared {
            assert_eq!(xa.prepare(&xid).await.unwrap(), Vote::Commit);
        }
        xa.rollback(&xid).await.unwrap();
    }
    xa.start(&xid, Start::New).await.unwrap();
    let message = consumer.receive(PATIENCE).await.unwrap().expect("a");
    assert_eq!(message.delivery_count(), 3);
    xa.end(&xid, Ending::Success).await.unwrap();
    xa.commit(&xid, true).await.unwrap();
    consumer.close().await.unwrap();
    assert!(texts(&connection, &queue).await.is_empty());
}

#[tokio::test]
async fn nothing_done_is_read_only_and_an_unknown_transaction_has_its_code() {
    let Some(connection) = connect().await else {
        return;
    };
    let (xid, _) = fresh("nothing");
    let xa = connection.xa_session().await.unwrap();
    xa.start(&xid, Start::New).await.unwrap();
    xa.end(&xid, Ending::Success).await.unwrap();
    assert_eq!(xa.prepare(&xid).await.unwrap(), Vote::ReadOnly);
    let (unknown, _) = fresh("unknown");
    let error = xa.commit(&unknown, false).await.unwrap_err();
    assert_eq!(error.xa_code(), Some(-4), "{error}");
}

#[tokio::test]
async fn work_of_a_suspended_transaction_goes_on() {
    let Some(connection) = connect().await else {
        return;
    };
    let (xid, queue) = fresh("suspend");
    let xa = connection.xa_session().await.unwrap();
    xa.start(&xid, Start::New).await.unwrap();
    send(&xa, &queue, "a").await;
    xa.end(&xid, Ending::Suspend).await.unwrap();
    xa.start(&xid, Start::Resume).await.unwrap();
    send(&xa, &queue, "b").await;
    xa.end(&xid, Ending::Success).await.unwrap();
    xa.commit(&xid, true).await.unwrap();
    assert_eq!(texts(&connection, &queue).await, ["a", "b"]);
}
