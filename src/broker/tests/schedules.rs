//! Messages that are delivered later: once, again and again, across takeovers, and what management
//! requests do to them.

use std::time::Instant;

use openwire::primitive::{PrimitiveMap, Value};

use super::*;
use crate::broker::schedule::Scheduling;

const DELAY: &str = "AMQ_SCHEDULED_DELAY";
const PERIOD: &str = "AMQ_SCHEDULED_PERIOD";
const REPEAT: &str = "AMQ_SCHEDULED_REPEAT";
const CRON: &str = "AMQ_SCHEDULED_CRON";
const JOB: &str = "scheduledJobId";

fn management() -> Destination {
    Destination::topic("ActiveMQ.Scheduler.Management")
}

fn with(mut message: openwire::Message, more: &[(&str, i64)]) -> openwire::Message {
    let mut properties = message.properties().expect("properties");
    for (name, value) in more {
        properties.insert(*name, Value::Long(*value));
    }
    message.marshalled_properties = Some(properties.encode().expect("properties"));
    message
}

fn request(peer: &mut Peer, properties: &[(&str, &str)]) -> openwire::Message {
    let mut message = peer.message(&management(), "");
    let properties: PrimitiveMap = properties
        .iter()
        .map(|(name, value)| ((*name).into(), Value::String((*value).into())))
        .collect();
    message.marshalled_properties = Some(properties.encode().expect("properties"));
    message
}

fn properties_of(delivery: &Delivery) -> PrimitiveMap {
    let message = delivery.message.as_ref().expect("a message");
    let decoded = message.stored().decode().expect("a message");
    decoded.properties().expect("properties")
}

fn job_of(delivery: &Delivery) -> String {
    match properties_of(delivery).get(JOB) {
        Some(Value::String(id)) => id.to_string(),
        other => panic!("no job id: {other:?}"),
    }
}

/// Messages in the queue, which is made by the first.
fn pending(fixture: &Fixture) -> usize {
    let all = fixture.broker.status().destinations;
    let queue = all.iter().find(|one| one.name == "Q");
    queue.map_or(0, |queue| queue.pending)
}

#[test]
fn a_delayed_message_comes_later_and_says_which_job_it_was() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    let started = Instant::now();
    let message = peer.message(&queue(), "later");
    let id = message.message_id.clone();
    peer.send_message(&with(message, &[(DELAY, 300), ("mine", 7)]));
    peer.send(&queue(), "now");
    assert_eq!(peer.texts(1, 1), fresh(&["now"]));
    let delivery = peer.next(1);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(text_of(&delivery), "later");
    assert_eq!(Some(id_of(&delivery)), id);
    let properties = properties_of(&delivery);
    assert_eq!(properties.get("mine"), Some(&Value::Long(7)));
    assert_eq!(properties.get(DELAY), None);
    assert!(job_of(&delivery).starts_with("ID:"));
    assert_eq!(fixture.broker.scheduled_len(), 0);
}

#[test]
fn repetitions_have_ids_of_their_own_and_one_job_id() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    let message = peer.message(&queue(), "again");
    peer.send_message(&with(message, &[(DELAY, 20), (PERIOD, 120), (REPEAT, 2)]));
    let deliveries: Vec<Delivery> = (0..3).map(|_| peer.next(1)).collect();
    let [first, second, third] = &deliveries[..] else {
        panic!("three deliveries");
    };
    assert_ne!(id_of(first), id_of(second));
    assert_ne!(id_of(second), id_of(third));
    assert_eq!(job_of(first), job_of(second));
    assert_eq!(job_of(second), job_of(third));
    peer.expect_nothing(1);
    assert_eq!(fixture.broker.scheduled_len(), 0);
}

#[test]
fn what_waits_survives_a_takeover_and_is_delivered_once() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    for (text, is_persistent) in [("persistent", true), ("not persistent", false)] {
        let mut message = peer.message(&queue(), text);
        message.persistent = is_persistent;
        peer.send_message(&with(message, &[(DELAY, 400)]));
    }
    fixture.take_over();
    assert_eq!(fixture.broker.scheduled_len(), 2);
    let mut peer = fixture.connect("d");
    peer.consume(1, &queue(), 10);
    let mut texts = peer.texts(1, 2);
    texts.sort();
    assert_eq!(texts, fresh(&["not persistent", "persistent"]));
    fixture.take_over();
    assert_eq!(fixture.broker.scheduled_len(), 0);
}

#[test]
fn repetitions_go_on_after_a_takeover_without_one_too_many() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let message = peer.message(&queue(), "again");
    peer.send_message(&with(message, &[(PERIOD, 150), (REPEAT, 4)]));
    wait_for("two deliveries", || pending(&fixture) >= 2);
    fixture.take_over();
    wait_for("the last delivery", || {
        fixture.broker.scheduled_len() == 0 && pending(&fixture) >= 5
    });
    let mut peer = fixture.connect("d");
    peer.consume(1, &queue(), 10);
    let deliveries: Vec<Delivery> = (0..5).map(|_| peer.next(1)).collect();
    let jobs: std::collections::HashSet<String> = deliveries.iter().map(job_of).collect();
    assert_eq!(jobs.len(), 1);
    let ids: std::collections::HashSet<MessageId> = deliveries.iter().map(id_of).collect();
    assert_eq!(ids.len(), 5);
    peer.expect_nothing(1);
}

#[test]
fn a_transaction_schedules_with_its_commit_only() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    for number in [1, 2] {
        peer.connection.begin(number);
        let message = peer.message(&queue(), &number.to_string());
        let message = with(message, &[(DELAY, 200)]);
        peer.settle(peer.try_send(&message, Some(number)).expect("accepted"));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fixture.broker.scheduled_len(), 0);
    peer.connection.roll_back(1).expect("an open transaction");
    let committed = Instant::now();
    peer.settle(peer.connection.commit(2).expect("an open transaction"));
    assert_eq!(fixture.broker.scheduled_len(), 1);
    fixture.take_over();
    let mut peer = fixture.connect("d");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), fresh(&["2"]));
    assert!(committed.elapsed() >= Duration::from_millis(200));
    peer.expect_nothing(1);
}

#[test]
fn a_repeated_send_of_a_delayed_message_is_recognised() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let message = peer.message(&queue(), "once");
    let message = with(message, &[(DELAY, 100_000)]);
    peer.send_message(&message);
    fixture.take_over();
    let peer = fixture.connect_as("c", true);
    peer.send_message(&message);
    assert_eq!(fixture.broker.scheduled_len(), 1);
}

#[test]
fn jobs_are_shown_and_removed_by_id_by_time_and_all() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let replies = Destination::queue("REPLIES");
    peer.consume(1, &replies, 100);
    for (text, delay) in [
        ("a", 50_000),
        ("b", 100_000),
        ("c", 150_000),
        ("d", 200_000),
    ] {
        let message = peer.message(&queue(), text);
        peer.send_message(&with(message, &[(DELAY, delay)]));
    }
    let mut browse = request(&mut peer, &[("AMQ_SCHEDULER_ACTION", "BROWSE")]);
    browse.reply_to = Some(replies.clone());
    peer.send_message(&browse);
    let shown: Vec<Delivery> = (0..4).map(|_| peer.next(1)).collect();
    let texts: Vec<String> = shown.iter().map(text_of).collect();
    assert_eq!(texts, ["a", "b", "c", "d"]);
    let first = shown[0].message.as_ref().expect("a message");
    let first = first.stored().decode().expect("a message");
    assert_eq!(first.original_destination, Some(queue()));
    assert_eq!(first.message_type, Some("Advisory".into()));

    let job = job_of(&shown[1]);
    let remove = request(
        &mut peer,
        &[("AMQ_SCHEDULER_ACTION", "REMOVE"), (JOB, &job)],
    );
    peer.send_message(&remove);
    assert_eq!(fixture.broker.scheduled_len(), 3);
    peer.send_message(&remove);
    assert_eq!(fixture.broker.scheduled_len(), 3);

    let now = wall_ms();
    let (from, to) = ((now + 120_000).to_string(), (now + 170_000).to_string());
    let within = [
        ("AMQ_SCHEDULER_ACTION", "REMOVEALL"),
        ("ACTION_START_TIME", from.as_str()),
        ("ACTION_END_TIME", to.as_str()),
    ];
    let remove = request(&mut peer, &within);
    peer.send_message(&remove);
    assert_eq!(fixture.broker.scheduled_len(), 2);
    let remove = request(&mut peer, &[("AMQ_SCHEDULER_ACTION", "REMOVEALL")]);
    peer.send_message(&remove);
    assert_eq!(fixture.broker.scheduled_len(), 0);
}

#[test]
fn a_job_that_was_repeated_is_found_by_its_id_after_a_takeover() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    let message = peer.message(&queue(), "again");
    let endless = [(DELAY, 10), (PERIOD, 100_000), (REPEAT, -1)];
    peer.send_message(&with(message, &endless));
    let delivery = peer.next(1);
    let job = job_of(&delivery);
    wait_for("the repetition", || fixture.broker.scheduled_len() == 1);
    fixture.take_over();
    let mut peer = fixture.connect("d");
    let other = request(&mut peer, &[("AMQ_SCHEDULER_ACTION", "REMOVE"), (JOB, "x")]);
    peer.send_message(&other);
    assert_eq!(fixture.broker.scheduled_len(), 1);
    let remove = request(
        &mut peer,
        &[("AMQ_SCHEDULER_ACTION", "REMOVE"), (JOB, &job)],
    );
    peer.send_message(&remove);
    wait_for("the removal", || fixture.broker.scheduled_len() == 0);
}

#[test]
fn what_is_no_schedule_is_refused() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let message = peer.message(&queue(), "often");
    let often = with(message, &[(DELAY, 1), (REPEAT, 1001)]);
    assert!(matches!(
        peer.try_send(&often, None),
        Err(Refusal::Schedule(_))
    ));
    let mut wrong = peer.message(&queue(), "wrong");
    let properties: PrimitiveMap = [(CRON.into(), Value::String("* *".into()))]
        .into_iter()
        .collect();
    wrong.marshalled_properties = Some(properties.encode().expect("properties"));
    assert!(matches!(
        peer.try_send(&wrong, None),
        Err(Refusal::Schedule(_))
    ));
    peer.connection.begin(1);
    assert!(peer.try_send(&often, Some(1)).is_err());
    assert!(peer.connection.commit(1).is_err());
}

#[test]
fn without_a_scheduler_messages_go_at_once_and_properties_stay() {
    let options = BrokerOptions {
        scheduling: Scheduling {
            is_enabled: false,
            ..Scheduling::default()
        },
        ..BrokerOptions::default()
    };
    let fixture = Fixture::with(options);
    let mut peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    let message = peer.message(&queue(), "now");
    peer.send_message(&with(message, &[(DELAY, 100_000)]));
    let delivery = peer.next(1);
    assert_eq!(
        properties_of(&delivery).get(DELAY),
        Some(&Value::Long(100_000))
    );
}

#[test]
fn a_message_for_a_topic_reaches_durable_subscriptions_too() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let subscription = ConsumerRequest {
        subscription_name: Some("s".into()),
        ..peer.request(1, &topic())
    };
    let receipt = peer.connection.add_consumer(subscription);
    peer.settle(receipt.expect("a subscription"));
    peer.consume(2, &topic(), 10);
    let message = peer.message(&topic(), "both");
    peer.send_message(&with(message, &[(DELAY, 50)]));
    assert_eq!(text_of(&peer.next(1)), "both");
    assert_eq!(text_of(&peer.next(2)), "both");
}

#[test]
fn a_transaction_prepared_before_a_takeover_schedules_with_its_commit() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    let xid = Xid::new(&openwire::XaTransactionId::default()).expect("a short name");
    peer.connection.xa_begin(&xid).expect("open");
    let message = peer.message(&queue(), "later");
    let message = with(message, &[(DELAY, 100)]);
    let sent = peer.try_send_in(&message, Some(xid.clone().into()));
    peer.settle(sent.expect("accepted"));
    let (_, receipt) = peer.connection.xa_prepare(&xid).expect("whole");
    peer.settle(receipt);
    fixture.take_over();
    let mut peer = fixture.connect("d");
    peer.consume(1, &queue(), 10);
    peer.expect_nothing(1);
    let committed = peer.connection.xa_commit(&xid, false);
    peer.settle(committed.expect("prepared"));
    assert_eq!(peer.texts(1, 1), fresh(&["later"]));
}

#[test]
fn a_message_whose_destination_is_gone_does_not_hold_others_up() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    peer.consume(1, &queue(), 10);
    let gone = Destination::new(openwire::DestinationKind::TempQueue, "ID:gone:1");
    let lost = peer.message(&gone, "lost");
    peer.send_message(&with(lost, &[(DELAY, 20)]));
    let message = peer.message(&queue(), "found");
    peer.send_message(&with(message, &[(DELAY, 60)]));
    assert_eq!(peer.texts(1, 1), fresh(&["found"]));
    wait_for("the end of both jobs", || {
        fixture.broker.scheduled_len() == 0
    });
}
