//! Message groups, exclusive consumers, priorities of consumers.

use super::*;
use crate::broker::policy::{Policies, Policy};

fn with_policy(policy: Policy) -> Fixture {
    Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    })
}

impl Peer {
    fn send_grouped(&mut self, text: &str, group: &str, sequence: i32) {
        let mut message = self.message(&queue(), text);
        message.group_id = Some(group.into());
        message.group_sequence = sequence;
        self.send_message(&message);
    }

    fn open(&self, number: i64, prefetch: u32, priority: i8, is_exclusive: bool) {
        let request = ConsumerRequest {
            prefetch,
            priority,
            is_exclusive,
            ..self.request(number, &queue())
        };
        self.settle(self.connection.add_consumer(request).expect("a consumer"));
    }

    fn end(&self, number: i64) {
        let id = self.consumer(number);
        self.connection.remove_consumer(&id, LastDelivered::Nothing);
    }
}

#[test]
fn a_group_stays_with_its_consumer_and_new_ones_go_where_there_are_fewest() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 100);
    peer.consume(2, &queue(), 100);
    for (number, group) in ["A", "B", "A", "A", "B", "C", "D", "C"].iter().enumerate() {
        peer.send_grouped(&format!("{group}{number}"), group, 0);
    }
    let first: Vec<(String, bool)> = (0..5)
        .map(|_| peer.next(1))
        .map(|delivery| (text_of(&delivery), delivery.is_first_in_group))
        .collect();
    let expected = [
        ("A0", true),
        ("A2", false),
        ("A3", false),
        ("C5", true),
        ("C7", false),
    ];
    assert_eq!(
        first,
        expected.map(|(text, is_first)| (text.to_owned(), is_first))
    );
    assert_eq!(peer.texts(2, 3), fresh(&["B1", "B4", "D6"]));
}

#[test]
fn a_full_consumer_holds_up_only_its_own_groups() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 1);
    peer.send_grouped("a0", "A", 0);
    peer.consume(2, &queue(), 2000);
    for number in 1..1500 {
        let mut message = peer.message(&queue(), &format!("a{number}"));
        message.group_id = Some("A".into());
        let _ = peer.try_send(&message, None).expect("accepted");
    }
    peer.send_grouped("b", "B", 0);
    peer.send(&queue(), "none");
    assert_eq!(peer.texts(2, 2), fresh(&["b", "none"]));
    for number in 0..1500 {
        let delivery = peer.next(1);
        assert_eq!(text_of(&delivery), format!("a{number}"));
        peer.acknowledge(1, &delivery);
    }
}

#[test]
fn a_group_moves_with_its_order_when_its_consumer_goes() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 2);
    peer.consume(2, &queue(), 100);
    for text in ["a0", "a1", "a2", "a3"] {
        peer.send_grouped(text, "A", 0);
    }
    assert_eq!(peer.texts(1, 2), fresh(&["a0", "a1"]));
    peer.expect_nothing(2);
    peer.end(1);
    let moved = peer.next(2);
    assert!(moved.is_first_in_group);
    assert_eq!(text_of(&moved), "a0");
    assert_eq!(peer.texts(2, 3), fresh(&["a1", "a2", "a3"]));
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 100);
    assert_eq!(peer.texts(1, 4), flagged(&["a0", "a1", "a2", "a3"]));
}

#[test]
fn a_group_waits_for_what_a_transaction_still_holds_of_it() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 1);
    peer.consume(2, &queue(), 100);
    peer.send_grouped("a0", "A", 0);
    let held = peer.next(1);
    peer.connection.begin(1);
    peer.acknowledge_in(1, 1, &held);
    peer.send_grouped("a1", "A", 0);
    let second = peer.next(1);
    assert_eq!(text_of(&second), "a1");
    peer.end(1);
    peer.send(&queue(), "other");
    assert_eq!(peer.texts(2, 1), fresh(&["other"]));
    peer.expect_nothing(2);
    peer.connection.roll_back(1).expect("open");
    assert_eq!(peer.texts(2, 2), fresh(&["a0", "a1"]));
}

#[test]
fn a_closed_group_is_given_anew() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 100);
    peer.send_grouped("a1", "A", 1);
    let first = peer.next(1);
    peer.acknowledge(1, &first);
    peer.consume(2, &queue(), 100);
    peer.send_grouped("b", "B", 0);
    assert_eq!(peer.texts(2, 1), fresh(&["b"]));
    peer.send_grouped("end", "A", -1);
    let last = peer.next(1);
    assert_eq!(text_of(&last), "end");
    // Not while something of it is in flight.
    peer.send_grouped("anew", "A", 0);
    peer.expect_nothing(1);
    peer.expect_nothing(2);
    peer.acknowledge(1, &last);
    let anew = peer.next(1);
    assert!(anew.is_first_in_group);
    assert_eq!(text_of(&anew), "anew");
}

#[test]
fn the_exclusive_consumer_gets_all_and_the_next_one_takes_over() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.open(1, 1, 0, false);
    peer.open(2, 2, 0, true);
    peer.open(3, 100, 1, true);
    peer.send_all(&queue(), &["a", "b", "c"]);
    assert_eq!(peer.texts(3, 3), fresh(&["a", "b", "c"]));
    peer.end(3);
    assert_eq!(peer.texts(2, 2), fresh(&["a", "b"]));
    peer.expect_nothing(1);
    peer.end(2);
    assert_eq!(peer.texts(1, 1), fresh(&["a"]));
}

#[test]
fn all_consumers_are_exclusive_when_the_policy_says_so() {
    let fixture = with_policy(Policy {
        all_consumers_exclusive_by_default: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.open(1, 100, 0, false);
    peer.open(2, 100, 0, false);
    peer.send_all(&queue(), &["a", "b"]);
    assert_eq!(peer.texts(1, 2), fresh(&["a", "b"]));
    peer.end(1);
    assert_eq!(peer.texts(2, 2), fresh(&["a", "b"]));
}

#[test]
fn consumers_of_higher_priority_are_served_first_unless_the_policy_says_no() {
    for (counts, first, second) in [
        (true, vec!["a", "b"], vec!["c"]),
        (false, vec!["b"], vec!["a", "c"]),
    ] {
        let fixture = with_policy(Policy {
            use_consumer_priority: counts,
            ..Policy::default()
        });
        let mut peer = fixture.connect("one");
        peer.open(1, 100, 0, false);
        peer.open(2, 2, 5, false);
        peer.send_all(&queue(), &["a", "b", "c"]);
        assert_eq!(peer.texts(2, first.len()), fresh(&first));
        assert_eq!(peer.texts(1, second.len()), fresh(&second));
    }
}

#[test]
fn strict_order_gives_the_first_consumer_all_it_has_room_for() {
    let fixture = with_policy(Policy {
        strict_order_dispatch: true,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.open(1, 3, 0, false);
    peer.open(2, 3, 0, false);
    peer.send_all(&queue(), &["a", "b", "c", "d"]);
    assert_eq!(peer.texts(1, 3), fresh(&["a", "b", "c"]));
    assert_eq!(peer.texts(2, 1), fresh(&["d"]));
}

#[test]
fn dispatch_waits_for_the_number_of_consumers_or_the_time() {
    let fixture = with_policy(Policy {
        consumers_before_dispatch_starts: 2,
        time_before_dispatch_starts: Duration::from_secs(3600),
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.send_all(&queue(), &["a", "b"]);
    peer.open(1, 100, 0, false);
    peer.expect_nothing(1);
    peer.open(2, 100, 0, false);
    assert_eq!(peer.texts(1, 1), fresh(&["a"]));
    assert_eq!(peer.texts(2, 1), fresh(&["b"]));
    let fixture = with_policy(Policy {
        time_before_dispatch_starts: Duration::from_millis(100),
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.send(&queue(), "a");
    peer.open(1, 100, 0, false);
    peer.expect_nothing(1);
    assert_eq!(peer.texts(1, 1), fresh(&["a"]));
}

#[test]
fn the_policy_gives_the_window_of_consumers_that_ask_for_the_default() {
    for (window, asked, expected, must_pull) in
        [(2, 1000, 2, false), (2, 3, 3, false), (0, 1000, 0, true)]
    {
        let fixture = with_policy(Policy {
            queue_prefetch: window,
            ..Policy::default()
        });
        let mut peer = fixture.connect("one");
        let request = ConsumerRequest {
            prefetch: asked,
            ..peer.request(1, &queue())
        };
        assert_eq!(peer.connection.must_pull(&request), must_pull);
        peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
        peer.send_all(&queue(), &["a", "b", "c", "d"]);
        let texts: Vec<String> = peer
            .texts(1, expected)
            .into_iter()
            .map(|(text, _)| text)
            .collect();
        assert_eq!(texts, ["a", "b", "c", "d"][..expected]);
        peer.expect_nothing(1);
    }
}

#[test]
fn what_is_in_hand_makes_no_room_when_the_policy_says_so() {
    let fixture = with_policy(Policy {
        use_prefetch_extension: false,
        ..Policy::default()
    });
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 1);
    peer.send_all(&queue(), &["a", "b"]);
    let first = peer.next(1);
    let delivered = Peer::acknowledgement(AckKind::Delivered, &id_of(&first), 1);
    let id = peer.consumer(1);
    let done = peer.connection.acknowledge(&id, &delivered, None);
    peer.settle(done.expect("known"));
    peer.connection.begin(1);
    peer.acknowledge_in(1, 1, &first);
    peer.expect_nothing(1);
    peer.settle(peer.connection.commit(1).expect("whole"));
    assert_eq!(peer.texts(1, 1), fresh(&["b"]));
}
