//! Consumers of one queue that want different messages.

use openwire::primitive::{PrimitiveMap, Value};

use super::*;
use crate::broker::policy::{Policies, Policy};

impl Peer {
    fn painted(&mut self, text: &str, color: &str) -> openwire::Message {
        let mut message = self.message(&queue(), text);
        let mut properties = PrimitiveMap::default();
        properties.insert("color", Value::String(color.into()));
        message.marshalled_properties = Some(properties.encode().expect("small"));
        message
    }

    fn send_painted(&mut self, text: &str, color: &str) {
        let message = self.painted(text, color);
        self.send_message(&message);
    }

    fn send_memory(&mut self, text: &str, color: &str) {
        let mut message = self.painted(text, color);
        message.persistent = false;
        self.send_message(&message);
    }

    fn select(&self, number: i64, prefetch: u32, selector: &str) {
        let request = ConsumerRequest {
            prefetch,
            selector: Some(selector.into()),
            ..self.request(number, &queue())
        };
        self.settle(self.connection.add_consumer(request).expect("a consumer"));
    }

    fn close(&self, number: i64, last_delivered: LastDelivered) {
        let id = self.consumer(number);
        self.connection.remove_consumer(&id, last_delivered);
    }
}

#[test]
fn what_nobody_here_wants_never_blocks_what_is_behind_it() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for number in 0..2000 {
        let message = peer.painted(&number.to_string(), "red");
        let _ = peer.try_send(&message, None).expect("accepted");
    }
    peer.send_painted("first", "blue");
    peer.send_memory("second", "blue");
    peer.select(1, 10, "color = 'blue'");
    assert_eq!(peer.texts(1, 2), fresh(&["first", "second"]));
    peer.send_painted("third", "blue");
    assert_eq!(peer.texts(1, 1), fresh(&["third"]));
    // The same with bodies that have to be read back.
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.select(1, 10, "color = 'blue'");
    assert_eq!(peer.texts(1, 2), flagged(&["first", "third"]));
    peer.close(1, LastDelivered::Nothing);
    peer.consume(2, &queue(), 3000);
    let all = peer.texts(2, 2002);
    let order: Vec<&str> = all.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!((order[0], order[1999]), ("0", "1999"));
    assert_eq!(order[2000..], ["first", "third"]);
}

#[test]
fn each_consumer_gets_what_it_selects_in_order_and_nothing_goes_twice() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.select(1, 100, "color = 'red'");
    peer.select(2, 100, "color = 'blue'");
    peer.select(3, 100, "color = 'red' OR color = 'blue'");
    for number in 0..60 {
        let color = ["red", "blue", "green"][number % 3];
        peer.send_painted(&format!("{color}{number}"), color);
    }
    let mut all = Vec::new();
    wait_for("everything that somebody wants", || {
        peer.look();
        while let Some(delivery) = peer.got.pop_front() {
            all.push((delivery.consumer, text_of(&delivery)));
        }
        all.len() == 40
    });
    let of = |tag: u32| {
        let mine = all
            .iter()
            .filter(move |(consumer, _)| *consumer == ConsumerTag(tag));
        let texts: Vec<&String> = mine.map(|(_, text)| text).collect();
        texts
    };
    assert!(of(1).iter().all(|text| text.starts_with("red")));
    assert!(of(2).iter().all(|text| text.starts_with("blue")));
    assert!(!of(3).is_empty());
    let number = |text: &str| text.trim_start_matches(char::is_alphabetic).parse::<u32>();
    for tag in 1..=3 {
        let numbers: Vec<u32> = of(tag)
            .iter()
            .map(|text| number(text).expect("a number"))
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    let mut texts: Vec<&String> = all.iter().map(|(_, text)| text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 40);
    peer.expect_nothing(1);
    assert_eq!(fixture.status("Q").pending, 60);
}

#[test]
fn what_one_gives_back_another_gets_in_its_place() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    for text in ["a", "b", "c"] {
        peer.send_painted(text, "red");
        peer.send_memory(&format!("{text}m"), "red");
    }
    peer.select(1, 100, "color = 'red'");
    let order = ["a", "am", "b", "bm", "c", "cm"];
    let got: Vec<Delivery> = (0..6).map(|_| peer.next(1)).collect();
    assert_eq!(got.iter().map(text_of).collect::<Vec<_>>(), order);
    peer.acknowledge(1, &got[2]);
    peer.select(2, 100, "color <> 'blue'");
    peer.expect_nothing(2);
    peer.close(1, LastDelivered::Sequence(got[1].sequence));
    let expected = [("a", 1), ("am", 1), ("bm", 0), ("c", 0), ("cm", 0)];
    let expected = expected.map(|(text, count)| (text.to_owned(), count));
    assert_eq!(peer.texts(2, 5), expected);
    // Without a selector the rest of the queue is served as ever.
    peer.close(2, LastDelivered::Nothing);
    peer.consume(3, &queue(), 100);
    assert_eq!(peer.texts(3, 5), expected);
    peer.expect_nothing(3);
}

#[test]
fn a_full_consumer_does_not_hold_up_those_that_want_other_messages() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.select(1, 1, "color = 'red'");
    peer.select(2, 10, "color = 'blue'");
    for number in 0..1000 {
        let message = peer.painted(&number.to_string(), "red");
        let _ = peer.try_send(&message, None).expect("accepted");
    }
    peer.send_painted("through", "blue");
    assert_eq!(peer.texts(2, 1), fresh(&["through"]));
    for number in 0..1000 {
        let delivery = peer.next(1);
        assert_eq!(text_of(&delivery), number.to_string());
        peer.acknowledge(1, &delivery);
    }
    peer.expect_nothing(1);
}

#[test]
fn priorities_count_among_the_selected_messages() {
    let policy = Policy {
        prioritized_messages: true,
        ..Policy::default()
    };
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    for (text, color, priority) in [
        ("low", "red", 1),
        ("other", "blue", 9),
        ("high", "red", 8),
        ("normal", "red", 4),
    ] {
        let mut message = peer.painted(text, color);
        message.priority = priority;
        peer.send_message(&message);
    }
    peer.select(1, 10, "color = 'red'");
    assert_eq!(peer.texts(1, 3), fresh(&["high", "normal", "low"]));
}

#[test]
fn a_consumer_that_is_not_local_gets_what_others_send() {
    let fixture = Fixture::new();
    let (mut peer, mut other) = (fixture.connect("one"), fixture.connect("two"));
    let request = ConsumerRequest {
        no_local: true,
        ..peer.request(1, &queue())
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    peer.send(&queue(), "own");
    other.send(&queue(), "foreign");
    assert_eq!(peer.texts(1, 1), fresh(&["foreign"]));
    peer.expect_nothing(1);
    other.consume(1, &queue(), 10);
    assert_eq!(other.texts(1, 1), fresh(&["own"]));
}

#[test]
fn expired_messages_leave_the_search_too() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.select(1, 1, "color = 'red'");
    peer.send_painted("first", "red");
    let first = peer.next(1);
    let mut short = peer.painted("short", "red");
    short.expiration = wall_ms() + 30;
    peer.send_message(&short);
    let mut unwanted = peer.painted("unwanted", "blue");
    unwanted.expiration = wall_ms() + 30;
    peer.send_message(&unwanted);
    peer.send_painted("last", "red");
    std::thread::sleep(Duration::from_millis(60));
    fixture.broker.expire();
    peer.acknowledge(1, &first);
    assert_eq!(peer.texts(1, 1), fresh(&["last"]));
    wait_for("the end of what expired", || {
        fixture.status("Q").pending == 1
    });
}

#[test]
fn a_browser_sees_what_it_selects_in_flight_or_not() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 2);
    peer.send_memory("a", "red");
    peer.send_painted("b", "blue");
    peer.send_painted("c", "red");
    peer.send_memory("d", "red");
    assert_eq!(peer.texts(1, 2), fresh(&["a", "b"]));
    let request = ConsumerRequest {
        is_browser: true,
        selector: Some("color = 'red'".into()),
        ..peer.request(2, &queue())
    };
    peer.settle(peer.connection.add_consumer(request).expect("a browser"));
    assert_eq!(peer.texts(2, 4), fresh(&["a", "c", "d", "nothing"]));
}

#[test]
fn a_selector_that_is_none_is_refused() {
    let fixture = Fixture::new();
    let peer = fixture.connect("one");
    let request = ConsumerRequest {
        selector: Some("color =".into()),
        ..peer.request(1, &queue())
    };
    let refused = peer.connection.add_consumer(request);
    assert!(
        matches!(refused, Err(Refusal::InvalidSelector(_))),
        "{refused:?}"
    );
}
