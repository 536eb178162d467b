//! What becomes of messages that expired or were given up, by policy.

use openwire::primitive::Value;

use super::*;
use crate::broker::policy::{
    DeadLetterKind, DeadLetterPolicy, DestinationPattern, Policies, Policy,
};

pub(super) const CAUSE: &str = "java.lang.Throwable: too often";

fn dlq() -> Destination {
    Destination::queue("ActiveMQ.DLQ")
}

fn with_policy(dead_letter: DeadLetterPolicy) -> BrokerOptions {
    let policy = Policy {
        dead_letter,
        ..Policy::default()
    };
    BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    }
}

fn individual() -> DeadLetterKind {
    DeadLetterKind::Individual {
        queue_prefix: "DLQ.Q.".to_owned(),
        topic_prefix: "DLQ.T.".to_owned(),
        queue_suffix: ".q".to_owned(),
        topic_suffix: String::new(),
        use_queue_for_queue_messages: true,
        use_queue_for_topic_messages: true,
        destination_per_durable_subscriber: false,
    }
}

impl Peer {
    fn subscribe(&self, number: i64, name: &str) {
        let request = ConsumerRequest {
            subscription_name: Some(name.into()),
            ..self.request(number, &topic())
        };
        self.settle(self.connection.add_consumer(request).expect("a consumer"));
    }

    /// Gives a message up, as a client does that got it too often.
    pub(super) fn give_up(&self, number: i64, delivery: &Delivery) {
        let poison = Acknowledgement {
            cause: Some(CAUSE.to_owned()),
            ..Self::acknowledgement(AckKind::Poison, &id_of(delivery), 1)
        };
        let result = self
            .connection
            .acknowledge(&self.consumer(number), &poison, None);
        self.settle(result.expect("outstanding"));
    }

    fn send_expired(&mut self, destination: &Destination, text: &str) -> i64 {
        let mut message = self.message(destination, text);
        message.expiration = wall_ms() - 1;
        self.send_message(&message);
        message.expiration
    }
}

fn decoded(delivery: &Delivery) -> openwire::Message {
    let message = delivery.message.as_ref().expect("a message");
    message.stored().decode().expect("decodable")
}

fn property(message: &openwire::Message, name: &str) -> Option<Value> {
    message.property(name).expect("properties")
}

fn text(value: &str) -> Option<Value> {
    Some(Value::String(value.into()))
}

#[test]
fn a_poisoned_message_moves_with_its_cause_and_what_it_was() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let mut message = peer.message(&queue(), "bad");
    message.expiration = wall_ms() + 60_000;
    peer.send_message(&message);
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.give_up(1, &delivery);
    wait_for("the move", || fixture.status("Q").pending == 0);
    fixture.take_over();
    assert_eq!(fixture.status("Q").pending, 0);
    let mut peer = fixture.connect("two");
    peer.consume(1, &dlq(), 10);
    let dead = decoded(&peer.next(1));
    assert_eq!(dead.text().expect("a text"), Some("bad".into()));
    let expiration = Some(Value::Long(message.expiration));
    assert_eq!(property(&dead, "originalExpiration"), expiration);
    assert_eq!(property(&dead, "dlqDeliveryFailureCause"), text(CAUSE));
    assert_eq!(property(&dead, "originalDeliveryMode"), None);
    assert_eq!(dead.original_destination, Some(queue()));
    assert_eq!((dead.destination, dead.persistent), (Some(dlq()), true));
    assert_eq!(dead.expiration, 0);
}

#[test]
fn what_expired_on_its_way_is_a_dead_letter_at_once_and_only_once() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let expiration = peer.send_expired(&queue(), "late");
    assert_eq!(fixture.status("Q").pending, 0);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 1);
    let mut again = peer.message(&queue(), "late");
    again.message_id = Some(peer.connection.id().session(1).producer(1).message(1));
    again.expiration = expiration;
    fixture.take_over();
    let mut peer = fixture.connect_as("one", true);
    peer.send_message(&again);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 1, "a repetition");
    peer.consume(1, &dlq(), 10);
    let dead = decoded(&peer.next(1));
    let cause = format!("java.lang.Throwable: Message Expired. Expiration:{expiration}");
    assert_eq!(property(&dead, "dlqDeliveryFailureCause"), text(&cause));
    assert_eq!(dead.original_destination, Some(queue()));
}

#[test]
fn messages_that_are_not_persistent_are_kept_on_demand() {
    for (process_non_persistent, kept) in [(false, 0), (true, 2)] {
        let fixture = Fixture::with(with_policy(DeadLetterPolicy {
            process_non_persistent,
            ..DeadLetterPolicy::default()
        }));
        let mut peer = fixture.connect("one");
        peer.consume(1, &queue(), 10);
        peer.consume(2, &dlq(), 10);
        let mut message = peer.message(&queue(), "poison");
        message.persistent = false;
        peer.send_message(&message);
        let delivery = peer.next(1);
        peer.give_up(1, &delivery);
        let mut message = peer.message(&queue(), "expired");
        message.persistent = false;
        message.expiration = wall_ms() - 1;
        peer.send_message(&message);
        let dead: Vec<openwire::Message> = (0..kept).map(|_| decoded(&peer.next(2))).collect();
        for message in &dead {
            let mode = property(message, "originalDeliveryMode");
            assert_eq!((mode, message.persistent), (text("NON_PERSISTENT"), true));
        }
        peer.expect_nothing(2);
        assert_eq!(fixture.status("Q").pending, 0);
    }
}

#[test]
fn expired_messages_are_dropped_on_demand_and_poisoned_ones_are_not() {
    let fixture = Fixture::with(with_policy(DeadLetterPolicy {
        process_expired: false,
        ..DeadLetterPolicy::default()
    }));
    let mut peer = fixture.connect("one");
    let mut message = peer.message(&queue(), "soon");
    message.expiration = wall_ms() + 20;
    peer.send_message(&message);
    peer.send(&queue(), "poison");
    std::thread::sleep(Duration::from_millis(30));
    fixture.broker.expire();
    wait_for("the search", || fixture.status("Q").pending == 1);
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.give_up(1, &delivery);
    wait_for("the move", || fixture.status("Q").pending == 0);
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 1);
}

#[test]
fn dead_letters_of_a_queue_may_have_a_queue_of_their_own_and_live_for_a_time() {
    let fixture = Fixture::with(with_policy(DeadLetterPolicy {
        kind: individual(),
        expiration: Duration::from_secs(60),
        ..DeadLetterPolicy::default()
    }));
    let mut peer = fixture.connect("one");
    peer.send_expired(&queue(), "late");
    peer.consume(1, &Destination::queue("DLQ.Q.Q.q"), 10);
    let dead = decoded(&peer.next(1));
    assert!(dead.expiration > wall_ms(), "{}", dead.expiration);
    assert_eq!(property(&dead, "originalExpiration"), None);
}

#[test]
fn dead_letters_may_go_to_a_topic() {
    let mut fixture = Fixture::with(with_policy(DeadLetterPolicy {
        kind: DeadLetterKind::Individual {
            queue_prefix: String::new(),
            topic_prefix: String::new(),
            queue_suffix: String::new(),
            topic_suffix: String::new(),
            use_queue_for_queue_messages: false,
            use_queue_for_topic_messages: true,
            destination_per_durable_subscriber: false,
        },
        ..DeadLetterPolicy::default()
    }));
    let mut peer = fixture.connect("one");
    let named_alike = Destination::queue("T");
    peer.subscribe(1, "s");
    peer.consume(2, &topic(), 10);
    peer.consume(3, &named_alike, 10);
    for text in ["a", "b"] {
        peer.send(&named_alike, text);
        let delivery = peer.next(3);
        peer.give_up(3, &delivery);
        assert_eq!(peer.texts(2, 1), fresh(&[text]), "the plain consumer");
        assert_eq!(peer.texts(1, 1), fresh(&[text]), "the durable one");
    }
    assert_eq!(fixture.status("T").pending, 0);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.subscribe(1, "s");
    assert_eq!(peer.texts(1, 2), flagged(&["a", "b"]));
}

#[test]
fn what_two_subscriptions_give_up_is_stored_once_unless_each_has_its_own_queue() {
    for per_subscriber in [false, true] {
        let fixture = Fixture::with(with_policy(DeadLetterPolicy {
            kind: match individual() {
                DeadLetterKind::Individual {
                    queue_prefix,
                    topic_prefix,
                    queue_suffix,
                    topic_suffix,
                    use_queue_for_queue_messages,
                    use_queue_for_topic_messages,
                    ..
                } => DeadLetterKind::Individual {
                    queue_prefix,
                    topic_prefix,
                    queue_suffix,
                    topic_suffix,
                    use_queue_for_queue_messages,
                    use_queue_for_topic_messages,
                    destination_per_durable_subscriber: per_subscriber,
                },
                other => other,
            },
            ..DeadLetterPolicy::default()
        }));
        let mut peer = fixture.connect("one");
        peer.subscribe(1, "a");
        peer.subscribe(2, "b");
        peer.send(&topic(), "bad");
        for number in [1, 2] {
            let delivery = peer.next(number);
            peer.give_up(i64::from(number), &delivery);
        }
        let names: &[&str] = if per_subscriber {
            &["DLQ.T.T.one:a", "DLQ.T.T.one:b"]
        } else {
            &["DLQ.T.T"]
        };
        peer.consume(3, &dlq(), 10);
        for (number, name) in (4..).zip(names) {
            peer.consume(number, &Destination::queue(*name), 10);
            let number = u32::try_from(number).expect("a small number");
            assert_eq!(peer.texts(number, 1), fresh(&["bad"]), "{name}");
            peer.expect_nothing(number);
        }
    }
}

#[test]
fn without_an_audit_every_copy_is_stored() {
    let fixture = Fixture::with(with_policy(DeadLetterPolicy {
        enable_audit: false,
        ..DeadLetterPolicy::default()
    }));
    let mut peer = fixture.connect("one");
    peer.subscribe(1, "a");
    peer.subscribe(2, "b");
    peer.send(&topic(), "bad");
    for number in [1, 2] {
        let delivery = peer.next(number);
        peer.give_up(i64::from(number), &delivery);
    }
    peer.consume(3, &dlq(), 10);
    assert_eq!(peer.texts(3, 2), fresh(&["bad", "bad"]));
}

#[test]
fn what_is_given_up_in_the_dead_letter_queue_is_gone() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&dlq(), &["a", "b"]);
    peer.consume(1, &dlq(), 10);
    let delivery = peer.next(1);
    peer.give_up(1, &delivery);
    wait_for("the end", || fixture.status("ActiveMQ.DLQ").pending == 1);
    fixture.take_over();
    assert_eq!(fixture.status("ActiveMQ.DLQ").pending, 1);
}

#[test]
fn a_policy_may_discard_dead_letters_and_so_may_the_broker() {
    let pattern = DestinationPattern::parse("queue://A").expect("a pattern");
    let discarding = Policy {
        dead_letter: DeadLetterPolicy {
            kind: DeadLetterKind::Discard,
            ..DeadLetterPolicy::default()
        },
        ..Policy::default()
    };
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(Policy::default(), vec![(pattern, discarding)]),
        discard_dead_letters: Some(DiscardDeadLetters {
            all: false,
            only: NameExpression::parse_all("B.*").expect("an expression"),
            ..DiscardDeadLetters::default()
        }),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    for (number, name) in (1..).zip(["A", "B.1", "C"]) {
        let queue = Destination::queue(name);
        peer.consume(number, &queue, 10);
        peer.send(&queue, name);
        let delivery = peer.next(u32::try_from(number).expect("a small number"));
        peer.give_up(number, &delivery);
        wait_for("the end", || fixture.status(name).pending == 0);
    }
    peer.consume(9, &dlq(), 10);
    assert_eq!(peer.texts(9, 1), fresh(&["C"]));
    peer.expect_nothing(9);
}

#[test]
fn messages_of_topics_that_wait_too_long_are_dead_letters_too() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &topic(), 1);
    peer.send(&topic(), "first");
    let mut message = peer.message(&topic(), "too late");
    message.expiration = wall_ms() + 20;
    peer.send_message(&message);
    let delivery = peer.next(1);
    std::thread::sleep(Duration::from_millis(30));
    peer.acknowledge(1, &delivery);
    peer.expect_nothing(1);
    peer.consume(2, &dlq(), 10);
    assert_eq!(peer.texts(2, 1), fresh(&["too late"]));
}

#[test]
fn each_queue_is_searched_in_its_own_time() {
    let entry = |name: &str, period: u64| {
        let policy = Policy {
            expire_messages_period: Duration::from_millis(period),
            max_expire_page_size: 2,
            ..Policy::default()
        };
        let pattern = DestinationPattern::parse(name).expect("a pattern");
        (pattern, policy)
    };
    let policies = Policies::new(
        Policy::default(),
        vec![entry("queue://often", 50), entry("queue://never", 0)],
    );
    let fixture = Fixture::with(BrokerOptions {
        policies,
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    let names = ["often", "never", "seldom"];
    for name in names {
        for text in ["a", "b", "c", "d", "e"] {
            let mut message = peer.message(&Destination::queue(name), text);
            message.expiration = wall_ms() + 30;
            peer.send_message(&message);
        }
    }
    wait_for("the search", || fixture.status("often").pending == 0);
    for name in &names[1..] {
        assert_eq!(fixture.status(name).pending, 5, "{name}");
    }
}

#[test]
fn a_browser_does_not_see_what_expired() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for persistent in [true, false] {
        let mut message = peer.message(&queue(), "gone");
        message.expiration = wall_ms() + 20;
        message.persistent = persistent;
        peer.send_message(&message);
        peer.send(&queue(), "there");
    }
    std::thread::sleep(Duration::from_millis(30));
    let browser = ConsumerRequest {
        is_browser: true,
        ..peer.request(1, &queue())
    };
    peer.settle(peer.connection.add_consumer(browser).expect("a browser"));
    assert_eq!(peer.texts(1, 2), fresh(&["there", "there"]));
    assert_eq!(text_of(&peer.next(1)), "nothing");
}

#[test]
fn a_message_gets_its_times_from_the_broker_on_demand() {
    let fixture = Fixture::with(BrokerOptions {
        stamping: Stamping {
            time: Some(TimeStamping {
                ttl_ceiling: Duration::from_secs(5),
                ..TimeStamping::default()
            }),
            force_persistence: Some(true),
        },
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    let mut message = peer.message(&queue(), "of yesterday");
    message.timestamp = wall_ms() - 86_400_000;
    message.expiration = message.timestamp + 60_000;
    message.persistent = false;
    peer.send_message(&message);
    peer.consume(1, &queue(), 10);
    let stamped = decoded(&peer.next(1));
    assert_eq!(stamped.expiration, stamped.timestamp + 5000);
    assert!(stamped.expiration > wall_ms() && stamped.persistent);
}

#[test]
fn dead_letters_keep_the_order_in_which_they_were_given_up() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for text in &texts {
        peer.send(&queue(), text);
    }
    peer.consume(1, &queue(), 100);
    for _ in &texts {
        let delivery = peer.next(1);
        peer.give_up(1, &delivery);
    }
    peer.consume(2, &dlq(), 1000);
    let dead: Vec<String> = texts.iter().map(|_| text_of(&peer.next(2))).collect();
    assert_eq!(dead, texts);
}
