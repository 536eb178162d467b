//! The Rust client against this broker: what it must give an application, and what of a client's
//! state a takeover after SIGKILL must leave as it was.

mod support;

use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use failover::transport::Event;
use failover::{
    AckMode, Connection, Consumer, ConsumerOptions, Destination, Message, PrimitiveMap,
    SendOptions, Session, Value,
};
use support::{Broker, PATIENCE, TENURE, free_address};
use tempfile::TempDir;

/// For what must come.
const SOON: Option<Duration> = Some(PATIENCE);
/// For what must not come: long enough for a broker at the same host to have sent it.
const BRIEFLY: Option<Duration> = Some(Duration::from_millis(300));

/// Redelivery without the default pause of a second.
const NO_PAUSE: &str = "&jms.redeliveryPolicy.initialRedeliveryDelay=0\
                        &jms.redeliveryPolicy.redeliveryDelay=0";

/// Ends a test that hangs, and says where.
async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("did not happen within {PATIENCE:?}: {what}"))
}

/// One broker alone on its directory.
struct One {
    broker: Broker,
    // Last: the broker ends before its directory goes.
    _place: TempDir,
}

impl One {
    fn start(options: &[&str]) -> One {
        let place = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::start("a", &place.path().join("journal"), options);
        broker.wait_for_role("active");
        One {
            broker,
            _place: place,
        }
    }

    async fn connect(&self, options: &str) -> Connection {
        let address = self.broker.address();
        connect(&format!(
            "failover:({address})?startupMaxReconnectAttempts=8{options}"
        ))
        .await
    }
}

/// Two brokers with fixed addresses, the first of them active.
struct Two {
    first: Broker,
    second: Broker,
    addresses: [String; 2],
    // Last: the brokers end before their directory goes.
    _place: TempDir,
}

impl Two {
    fn start() -> Two {
        let place = tempfile::tempdir().expect("a temporary directory");
        let addresses = [free_address(), free_address()];
        let directory = place.path().join("journal");
        let first = fixed("a", &directory, &addresses[0]);
        first.wait_for_role("active");
        let second = fixed("b", &directory, &addresses[1]);
        second.wait_for_role("standby");
        Two {
            first,
            second,
            addresses,
            _place: place,
        }
    }

    async fn connect(&self, options: &str) -> Connection {
        let [first, second] = &self.addresses;
        connect(&format!(
            "failover:({first},{second})?maxReconnectDelay=100{options}"
        ))
        .await
    }

    /// SIGKILL for the active; returns when the process is gone.
    fn kill_active(&mut self) {
        self.first.kill();
    }

    /// The connection was interrupted once and is at the other broker now.
    fn assert_moved(&self, connection: &Connection) {
        assert_eq!(connection.interruptions(), 1);
        assert_eq!(
            connection.remote().as_deref(),
            Some(self.addresses[1].as_str())
        );
        assert_eq!(self.second.role().as_deref(), Some("active"));
    }
}

fn fixed(name: &str, directory: &Path, listen: &str) -> Broker {
    let addresses = ["--listen", listen, "--http", "127.0.0.1:0"];
    Broker::start_with(name, directory, &[addresses.as_slice(), &TENURE].concat())
}

async fn connect(uri: &str) -> Connection {
    bounded("a connection", Connection::connect(uri))
        .await
        .expect("the broker lets us in")
}

async fn send(session: &Session, to: &Destination, bodies: &[&str]) {
    let producer = session.producer(to).await.expect("a producer");
    for body in bodies {
        let message = Message::text(body).expect("a short text");
        bounded("a send", producer.send(message))
            .await
            .expect("the broker takes it");
    }
}

async fn next(consumer: &Consumer) -> Message {
    let received = consumer.receive(SOON).await.expect("receiving works");
    received.expect("a message comes")
}

fn text(message: &Message) -> String {
    let text = message.as_text().expect("a readable body");
    text.expect("a body")
}

async fn assert_nothing(consumer: &Consumer) {
    let more = consumer.receive(BRIEFLY).await.expect("receiving works");
    assert!(more.is_none(), "{}", text(&more.expect("just seen")));
}

/// What is in the queue, which must be left for nobody else.
async fn bodies(connection: &Connection, queue: &Destination) -> Vec<String> {
    let session = connection.session(AckMode::Auto).await.expect("a session");
    let browser = session
        .browser(queue, ConsumerOptions::default())
        .await
        .expect("a browser");
    let mut seen = Vec::new();
    while let Some(message) = bounded("browsing", browser.next()).await.expect("browsing") {
        seen.push(text(&message));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_acknowledgement_mode_keeps_what_it_does_not_cover() {
    let one = One::start(&[]);
    let connection = one.connect(NO_PAUSE).await;
    for mode in [
        AckMode::Auto,
        AckMode::DupsOk,
        AckMode::Client,
        AckMode::Individual,
        AckMode::Transacted,
    ] {
        let queue = Destination::queue(format!("acks.{mode:?}"));
        let session = connection.session(AckMode::Auto).await.unwrap();
        send(&session, &queue, &["m1", "m2", "m3", "m4"]).await;
        let session = connection.session(mode).await.unwrap();
        let consumer = session.consumer(&queue).await.unwrap();
        for expected in ["m1", "m2"] {
            let message = next(&consumer).await;
            assert_eq!(text(&message), expected, "{mode:?}");
            match mode {
                AckMode::Client | AckMode::Individual => message.acknowledge().await.unwrap(),
                AckMode::Transacted => session.commit().await.unwrap(),
                _ => {}
            }
        }
        let is_automatic = matches!(mode, AckMode::Auto | AckMode::DupsOk);
        if !is_automatic {
            assert_eq!(text(&next(&consumer).await), "m3", "{mode:?}");
        }
        session.close().await.unwrap();
        let session = connection.session(AckMode::Auto).await.unwrap();
        let consumer = session.consumer(&queue).await.unwrap();
        let third = next(&consumer).await;
        assert_eq!(text(&third), "m3", "{mode:?}");
        assert_eq!(third.is_redelivered(), !is_automatic, "{mode:?}");
        assert_eq!(text(&next(&consumer).await), "m4", "{mode:?}");
        assert_nothing(&consumer).await;
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_in_the_middle_is_acknowledged_alone() {
    let one = One::start(&[]);
    let connection = one.connect("").await;
    let queue = Destination::queue("individual");
    let session = connection.session(AckMode::Individual).await.unwrap();
    send(&session, &queue, &["m1", "m2", "m3"]).await;
    let consumer = session.consumer(&queue).await.unwrap();
    let received = [
        next(&consumer).await,
        next(&consumer).await,
        next(&consumer).await,
    ];
    received[1].acknowledge().await.unwrap();
    session.close().await.unwrap();
    assert_eq!(bodies(&connection, &queue).await, ["m1", "m3"]);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_takes_sends_back_and_delivers_again_with_a_count() {
    let one = One::start(&[]);
    let connection = one.connect(NO_PAUSE).await;
    let queue = Destination::queue("rollback");
    let session = connection.session(AckMode::Transacted).await.unwrap();
    send(&session, &queue, &["lost"]).await;
    session.rollback().await.unwrap();
    send(&session, &queue, &["kept"]).await;
    assert!(bodies(&connection, &queue).await.is_empty(), "uncommitted");
    session.commit().await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    for delivery in 1..=3 {
        let message = next(&consumer).await;
        assert_eq!(text(&message), "kept");
        assert_eq!(message.delivery_count(), delivery);
        assert_eq!(message.is_redelivered(), delivery > 1);
        session.rollback().await.unwrap();
    }
    assert_eq!(text(&next(&consumer).await), "kept");
    session.commit().await.unwrap();
    assert_nothing(&consumer).await;
    assert!(bodies(&connection, &queue).await.is_empty());
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_rollbacks_end_in_the_dead_letter_queue() {
    let one = One::start(&[]);
    let options = format!("{NO_PAUSE}&jms.redeliveryPolicy.maximumRedeliveries=2");
    let connection = one.connect(&options).await;
    let queue = Destination::queue("poison");
    let session = connection.session(AckMode::Transacted).await.unwrap();
    send(&session, &queue, &["bad"]).await;
    session.commit().await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&next(&consumer).await), "bad");
        session.rollback().await.unwrap();
    }
    let reader = connection.session(AckMode::Auto).await.unwrap();
    let dead = reader
        .consumer(&Destination::queue("ActiveMQ.DLQ"))
        .await
        .unwrap();
    assert_eq!(text(&next(&dead).await), "bad");
    assert_nothing(&consumer).await;
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_subscription_keeps_messages_while_nobody_listens() {
    let one = One::start(&[]);
    let connection = one.connect("&jms.clientID=durable").await;
    let topic = Destination::topic("news");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let options = ConsumerOptions::default;
    let subscriber = session.durable_subscriber(&topic, "sub", options()).await;
    subscriber.unwrap().close().await.unwrap();
    send(&session, &topic, &["n1", "n2"]).await;
    let subscriber = session
        .durable_subscriber(&topic, "sub", options())
        .await
        .unwrap();
    assert_eq!(text(&next(&subscriber).await), "n1");
    assert_eq!(text(&next(&subscriber).await), "n2");
    let in_use = connection.unsubscribe("sub").await.unwrap_err();
    assert!(in_use.is_refused(), "{in_use}");
    subscriber.close().await.unwrap();
    connection.unsubscribe("sub").await.unwrap();
    let unknown = connection.unsubscribe("sub").await.unwrap_err();
    assert!(unknown.is_refused(), "{unknown}");
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_sees_everything_in_order_and_consumes_nothing() {
    let one = One::start(&[]);
    let connection = one.connect("").await;
    let queue = Destination::queue("browsed");
    let session = connection.session(AckMode::Auto).await.unwrap();
    assert!(bodies(&connection, &queue).await.is_empty());
    send(&session, &queue, &["m1", "m2", "m3"]).await;
    for _ in 0..2 {
        assert_eq!(bodies(&connection, &queue).await, ["m1", "m2", "m3"]);
    }
    let consumer = session.consumer(&queue).await.unwrap();
    let first = next(&consumer).await;
    assert_eq!(
        (text(&first).as_str(), first.is_redelivered()),
        ("m1", false)
    );
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_over_a_temporary_queue() {
    let one = One::start(&[]);
    let (asking, answering) = (one.connect("").await, one.connect("").await);
    let queue = Destination::queue("questions");
    let client = asking.session(AckMode::Auto).await.unwrap();
    let server = answering.session(AckMode::Auto).await.unwrap();
    let reply_to = asking.temporary_queue().await.unwrap();
    let replies = client.consumer(&reply_to).await.unwrap();
    ask_and_answer(&client, &server, &queue, &reply_to).await;
    assert_eq!(text(&next(&replies).await), "42");

    // Only the connection that made it may read from it, and nobody when it is gone.
    let stranger = server.consumer(&reply_to).await.err();
    assert!(stranger.is_some_and(|error| error.is_refused()));
    replies.close().await.unwrap();
    asking.delete_temporary(&reply_to).await.unwrap();
    let producer = server.producer_to_any().await.unwrap();
    let (late, options) = (Message::text("late").unwrap(), SendOptions::default());
    let late = producer.send_to(&reply_to, late, &options);
    let refused = bounded("a refusal", late).await.unwrap_err();
    assert!(refused.is_refused(), "{refused}");
    asking.close().await.unwrap();
    answering.close().await.unwrap();
}

async fn ask_and_answer(
    client: &Session,
    server: &Session,
    queue: &Destination,
    reply_to: &Destination,
) {
    let questions = server.consumer(queue).await.expect("a consumer");
    let question = Message::text("six times seven").expect("a short text");
    let question = question.with_reply_to(reply_to.clone());
    let producer = client.producer(queue).await.expect("a producer");
    bounded("the question", producer.send(question))
        .await
        .expect("the broker takes it");
    let to = next(&questions).await.reply_to().cloned();
    let to = to.expect("an address to answer to");
    send(server, &to, &["42"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_without_prefetch_pulls_one_message_at_a_time() {
    let one = One::start(&[]);
    let connection = one.connect("&jms.prefetchPolicy.all=0").await;
    let queue = Destination::queue("pulled");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let (consumer, other) = (
        session.consumer(&queue).await.unwrap(),
        session.consumer(&queue).await.unwrap(),
    );
    assert!(consumer.receive_no_wait().await.unwrap().is_none());
    assert_nothing(&consumer).await;
    send(&session, &queue, &["m1", "m2", "m3"]).await;
    // Nothing lies in a buffer that another consumer could not get.
    assert_eq!(
        text(&consumer.receive_no_wait().await.unwrap().unwrap()),
        "m1"
    );
    assert_eq!(text(&next(&other).await), "m2");
    assert_eq!(text(&next(&consumer).await), "m3");
    assert!(bodies(&connection, &queue).await.is_empty());
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_each_kind_arrive_as_they_were_sent() {
    let one = One::start(&[]);
    let connection = one.connect("").await;
    let queue = Destination::queue("kinds");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    let mut map = PrimitiveMap::new();
    map.insert("count", 3);
    map.insert("name", "käse");
    for message in [
        Message::text("grüße \u{1f600}").unwrap(),
        Message::text("").unwrap(),
        Message::bytes(Bytes::from_static(&[0, 1, 255])),
        Message::bytes(vec![7; 1_000_000]),
        Message::map(&map).unwrap(),
        Message::stream(&[Value::from("a"), Value::from(7_i64), Value::Null]).unwrap(),
        Message::object(Bytes::from_static(&[0xac, 0xed, 0, 5, 0x70])),
        Message::plain(),
    ] {
        let (body, kind) = (message.body().unwrap(), message.kind().clone());
        let message = message.with_property("colour", "red").unwrap();
        let message = message.with_correlation_id("c-1").with_message_type("t");
        let id = producer.send(message).await.unwrap();
        let received = next(&consumer).await;
        assert_eq!(received.body().unwrap(), body);
        assert_eq!(*received.kind(), kind);
        assert_eq!(received.message_id(), Some(&id));
        let colour = received.property("colour").unwrap();
        assert_eq!(colour, Some(Value::from("red")));
        assert_eq!(received.correlation_id().as_deref(), Some("c-1"));
        assert_eq!(received.message_type().as_deref(), Some("t"));
        assert!(received.is_persistent() && !received.is_redelivered());
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_not_delivered_and_a_priority_stays_with_its_message() {
    let one = One::start(&[]);
    let connection = one.connect("&jms.consumerExpiryCheckEnabled=false").await;
    let queue = Destination::queue("expiry");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    for persistent in [true, false] {
        let mortal = SendOptions {
            persistent,
            time_to_live: Some(Duration::from_millis(20)),
            ..SendOptions::default()
        };
        let message = Message::text("late").unwrap();
        producer.send_with(message, &mortal).await.unwrap();
        let urgent = SendOptions {
            persistent,
            priority: 9,
            time_to_live: Some(PATIENCE * 10),
            ..SendOptions::default()
        };
        let message = Message::text("urgent").unwrap();
        producer.send_with(message, &urgent).await.unwrap();
    }
    // The condition is the clock's own: that the moment of expiry has passed.
    let expired = SystemTime::now() + Duration::from_millis(25);
    support::eventually("the time to live passes", || {
        (SystemTime::now() > expired).then_some(())
    });
    let consumer = session.consumer(&queue).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let message = next(&consumer).await;
        assert_eq!((text(&message).as_str(), message.priority()), ("urgent", 9));
        assert!(message.expiration() > i64::try_from(now.as_millis()).unwrap());
        kinds.push(message.is_persistent());
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [false, true]);
    assert_nothing(&consumer).await;
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_consumer_and_producer_go_on_after_a_takeover() {
    let mut two = Two::start();
    let connection = two.connect("").await;
    let queue = Destination::queue("steady");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    producer
        .send(Message::text("before").unwrap())
        .await
        .unwrap();
    assert_eq!(text(&next(&consumer).await), "before");
    two.kill_active();
    let message = Message::text("after").unwrap();
    bounded("a send over the takeover", producer.send(message))
        .await
        .unwrap();
    assert_eq!(text(&next(&consumer).await), "after");
    assert_nothing(&consumer).await;
    two.assert_moved(&connection);
    assert!(bodies(&connection, &queue).await.is_empty());
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_under_way_at_a_takeover_arrive_once_and_in_order() {
    let mut two = Two::start();
    let connection = two.connect("").await;
    let queue = Destination::queue("under.way");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let producer = session.producer(&queue).await.unwrap();
    let (confirmed, mut progress) = tokio::sync::watch::channel(0_usize);
    let sending = tokio::spawn(async move {
        for number in 0..200 {
            let message = Message::text(&number.to_string()).unwrap();
            producer.send(message).await.unwrap();
            confirmed.send_replace(number);
        }
    });
    bounded("half of the sends", progress.wait_for(|sent| *sent >= 50))
        .await
        .unwrap();
    two.kill_active();
    bounded("all sends", sending).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    for number in 0..200 {
        assert_eq!(text(&next(&consumer).await), number.to_string());
    }
    assert_nothing(&consumer).await;
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_received_is_not_committed_over_a_takeover() {
    let mut two = Two::start();
    let connection = two.connect(NO_PAUSE).await;
    let (from, to) = (Destination::queue("from"), Destination::queue("to"));
    let session = connection.session(AckMode::Transacted).await.unwrap();
    send(&session, &from, &["m1"]).await;
    session.commit().await.unwrap();
    let consumer = session.consumer(&from).await.unwrap();
    assert_eq!(text(&next(&consumer).await), "m1");
    send(&session, &to, &["copy"]).await;
    two.kill_active();
    let error = bounded("the commit", session.commit()).await.unwrap_err();
    assert!(error.is_rolled_back() || error.is_in_doubt(), "{error}");
    // The broker was dead before the commit, so nothing of it can have happened.
    let again = next(&consumer).await;
    assert_eq!(text(&again), "m1");
    assert!(again.is_redelivered());
    assert!(bodies(&connection, &to).await.is_empty());
    send(&session, &to, &["copy"]).await;
    bounded("the second commit", session.commit())
        .await
        .unwrap();
    assert_eq!(bodies(&connection, &to).await, ["copy"]);
    assert!(bodies(&connection, &from).await.is_empty());
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_commit_over_a_takeover_is_true() {
    let mut two = Two::start();
    let connection = two.connect("").await;
    let queue = Destination::queue("outcome");
    let session = connection.session(AckMode::Transacted).await.unwrap();
    send(&session, &queue, &["m1", "m2"]).await;
    two.kill_active();
    let outcome = bounded("the commit", session.commit()).await;
    // A browser waits for the takeover, so this is what the new active has.
    let found = bodies(&connection, &queue).await;
    match outcome {
        Ok(()) => assert_eq!(found, ["m1", "m2"]),
        Err(error) if error.is_rolled_back() => assert!(found.is_empty(), "{error}: {found:?}"),
        Err(error) => {
            assert!(error.is_in_doubt(), "{error}");
            assert!(found.is_empty() || found == ["m1", "m2"], "{found:?}");
        }
    }
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_received_and_not_acknowledged_comes_again_after_a_takeover() {
    let mut two = Two::start();
    let connection = two.connect("").await;
    let mut events = connection.events();
    let queue = Destination::queue("unacknowledged");
    let (consumer, second) = receive_two_and_keep_one(&connection, &queue).await;
    two.kill_active();
    let noticed = async { while !matches!(events.recv().await, Ok(Event::Interrupted { .. })) {} };
    bounded("the client notices", noticed).await;
    // The delivery went with its connection, and its acknowledgement says nothing any more.
    second.acknowledge().await.unwrap();
    let again = next(&consumer).await;
    assert_eq!(text(&again), "m2");
    assert!(again.is_redelivered());
    assert_eq!(bodies(&connection, &queue).await, ["m2"]);
    again.acknowledge().await.unwrap();
    assert!(bodies(&connection, &queue).await.is_empty());
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_a_takeover_swallowed_leaves_nothing_behind() {
    let mut two = Two::start();
    let connection = two.connect("").await;
    let queue = Destination::queue("swallowed");
    let (consumer, second) = receive_two_and_keep_one(&connection, &queue).await;
    two.kill_active();
    second.acknowledge().await.unwrap();
    // Either the client knew of the loss, and the message comes again; or it did not, and takes
    // the second delivery for what it is, so that it never reaches the application.
    let settled = async {
        while !bodies(&connection, &queue).await.is_empty() {
            if let Some(again) = consumer.receive(BRIEFLY).await.unwrap() {
                assert_eq!(text(&again), "m2");
                assert!(again.is_redelivered());
                again.acknowledge().await.unwrap();
            }
        }
    };
    bounded("the queue is empty", settled).await;
    assert_nothing(&consumer).await;
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

/// A consumer that acknowledged `m1`, and `m2`, which it received and did not acknowledge.
async fn receive_two_and_keep_one(
    connection: &Connection,
    queue: &Destination,
) -> (Consumer, Message) {
    let session = connection
        .session(AckMode::Client)
        .await
        .expect("a session");
    send(&session, queue, &["m1", "m2"]).await;
    let consumer = session.consumer(queue).await.expect("a consumer");
    let first = next(&consumer).await;
    first.acknowledge().await.expect("a live connection");
    let second = next(&consumer).await;
    // An acknowledgement has no answer; browsing has one, behind it on the same connection.
    assert_eq!(bodies(connection, queue).await, ["m2"]);
    (consumer, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_queue_is_there_again_after_a_takeover() {
    let mut two = Two::start();
    let (asking, answering) = (two.connect("").await, two.connect("").await);
    let client = asking.session(AckMode::Auto).await.unwrap();
    let server = answering.session(AckMode::Auto).await.unwrap();
    let reply_to = asking.temporary_queue().await.unwrap();
    let replies = client.consumer(&reply_to).await.unwrap();
    two.kill_active();
    let questions = Destination::queue("questions");
    ask_and_answer(&client, &server, &questions, &reply_to).await;
    assert_eq!(text(&next(&replies).await), "42");
    two.assert_moved(&asking);
    two.assert_moved(&answering);
    asking.close().await.unwrap();
    answering.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_subscriptions_open_or_not_survive_a_takeover() {
    let mut two = Two::start();
    let connection = two.connect("&jms.clientID=durable").await;
    let topic = Destination::topic("news");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let subscribe = async |name: &str| {
        let options = ConsumerOptions::default();
        let subscribed = session.durable_subscriber(&topic, name, options);
        bounded("a subscription", subscribed).await.unwrap()
    };
    let open = subscribe("open").await;
    subscribe("closed").await.close().await.unwrap();
    send(&session, &topic, &["n1"]).await;
    assert_eq!(text(&next(&open).await), "n1");
    two.kill_active();
    send(&session, &topic, &["n2"]).await;
    assert_eq!(text(&next(&open).await), "n2");
    let reopened = subscribe("closed").await;
    assert_eq!(text(&next(&reopened).await), "n1");
    assert_eq!(text(&next(&reopened).await), "n2");
    assert_nothing(&open).await;
    assert_nothing(&reopened).await;
    two.assert_moved(&connection);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_waits_is_repeated_after_a_takeover() {
    let mut two = Two::start();
    let connection = two.connect("&jms.prefetchPolicy.all=0").await;
    let sender = two.connect("").await;
    let queue = Destination::queue("pulled");
    let session = connection.session(AckMode::Auto).await.unwrap();
    let consumer = session.consumer(&queue).await.unwrap();
    let waiting = tokio::spawn(async move { next(&consumer).await });
    // The next answer on this connection shows that the broker has seen what went before.
    assert!(bodies(&connection, &queue).await.is_empty());
    two.kill_active();
    let session = sender.session(AckMode::Auto).await.unwrap();
    send(&session, &queue, &["m1"]).await;
    let received = bounded("the pull is answered", waiting).await.unwrap();
    assert_eq!(text(&received), "m1");
    two.assert_moved(&connection);
    connection.close().await.unwrap();
    sender.close().await.unwrap();
}
