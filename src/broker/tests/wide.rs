//! Consumers over several queues.

use super::*;

fn other() -> Destination {
    Destination::queue("R.1")
}

fn both() -> Destination {
    Destination::queue("Q,R.>")
}

fn count(peer: &Peer, kind: AckKind, last: &Delivery, count: usize, transaction: Option<i64>) {
    let acknowledgement = Peer::acknowledgement(kind, &id_of(last), count);
    let done = peer.connection.acknowledge(
        &peer.consumer(1),
        &acknowledgement,
        transaction.map(TransactionName::Local),
    );
    peer.settle(done.expect("outstanding"));
}

#[test]
fn one_prefetch_and_one_order_of_acknowledgement_hold_for_all_queues() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &both(), 3);
    // Which of two queues is dispatched first is only certain when one has nothing yet.
    let mut got: Vec<Delivery> = Vec::new();
    for (from, text) in [(queue(), "q1"), (other(), "r1"), (queue(), "q2")] {
        peer.send(&from, text);
        got.push(peer.next(1));
    }
    peer.send(&other(), "r2");
    peer.send(&Destination::queue("R.2"), "late");
    assert_eq!(
        got.iter().map(text_of).collect::<Vec<_>>(),
        ["q1", "r1", "q2"]
    );
    peer.expect_nothing(1);
    count(&peer, AckKind::Standard, &got[1], 2, None);
    let mut rest: Vec<String> = (0..2).map(|_| text_of(&peer.next(1))).collect();
    rest.sort();
    assert_eq!(rest, ["late", "r2"]);
    assert_eq!(
        (fixture.status("Q").pending, fixture.status("R.1").pending),
        (1, 1)
    );
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.consume(1, &both(), 10);
    let mut left: Vec<String> = (0..3).map(|_| text_of(&peer.next(1))).collect();
    left.sort();
    assert_eq!(left, ["late", "q2", "r2"]);
}

#[test]
fn a_transaction_and_a_close_work_over_all_queues() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &both(), 10);
    peer.send_all(&queue(), &["q1", "q2"]);
    peer.send_all(&other(), &["r1", "r2"]);
    let got: Vec<Delivery> = (0..4).map(|_| peer.next(1)).collect();
    peer.connection.begin(1);
    count(&peer, AckKind::Standard, &got[2], 3, Some(1));
    peer.connection.roll_back(1).expect("open");
    peer.connection.begin(2);
    count(&peer, AckKind::Standard, &got[2], 3, Some(2));
    peer.settle(peer.connection.commit(2).expect("whole"));
    assert_eq!(
        (fixture.status("Q").pending, fixture.status("R.1").pending),
        (0, 1)
    );
    let last_delivered = LastDelivered::Sequence(got[3].sequence);
    let id = peer.consumer(1);
    peer.connection.remove_consumer(&id, last_delivered);
    peer.send(&Destination::queue("R.new"), "unseen");
    peer.consume(2, &both(), 10);
    let mut rest = peer.texts(2, 2);
    rest.sort();
    assert_eq!(rest, [("r2".to_owned(), 1), ("unseen".to_owned(), 0)]);
}

#[test]
fn a_pull_is_answered_once_by_all_queues_together() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &both(), 0);
    peer.send(&queue(), "q");
    peer.send(&other(), "r");
    peer.expect_nothing(1);
    let pull = |peer: &Peer, timeout| {
        let id = peer.consumer(1);
        peer.connection.pull(&id, timeout).expect("a consumer");
    };
    pull(&peer, PullTimeout::Never);
    let mut got = peer.texts(1, 1);
    peer.expect_nothing(1);
    pull(&peer, PullTimeout::Immediate);
    got.extend(peer.texts(1, 1));
    got.sort();
    assert_eq!(got, fresh(&["q", "r"]));
    pull(&peer, PullTimeout::Immediate);
    assert_eq!(peer.texts(1, 1), fresh(&["nothing"]));
    pull(&peer, PullTimeout::After(Duration::from_millis(20)));
    assert_eq!(peer.texts(1, 1), fresh(&["nothing"]));
    peer.expect_nothing(1);
}

#[test]
fn poison_goes_to_the_dead_letter_queue_from_whichever_queue_it_came() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.consume(1, &both(), 10);
    peer.send(&queue(), "q");
    peer.send(&other(), "r");
    let _ = peer.next(1);
    let bad = peer.next(1);
    let poison = Peer::acknowledgement(AckKind::Poison, &id_of(&bad), 1);
    let poison = Acknowledgement {
        first: Some(id_of(&bad)),
        ..poison
    };
    let done = peer
        .connection
        .acknowledge(&peer.consumer(1), &poison, None);
    peer.settle(done.expect("outstanding"));
    wait_for("the dead letter", || {
        fixture.status("R.1").pending == 0 && fixture.status("ActiveMQ.DLQ").pending == 1
    });
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn a_browser_with_wildcards_sees_all_queues_and_then_the_end() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    peer.send_all(&Destination::queue("R.1"), &["a", "b"]);
    peer.send_all(&Destination::queue("R.2"), &["c"]);
    peer.send_all(&queue(), &["other"]);
    for (number, prefetch, name, expected) in [
        (1, 100, "R.>", vec!["a", "b", "c", "nothing"]),
        (2, 100, "none.>", vec!["nothing"]),
        (3, 1, "R.2,R.1", vec!["c"]),
    ] {
        let request = ConsumerRequest {
            is_browser: true,
            prefetch,
            ..peer.request(number, &Destination::queue(name))
        };
        peer.settle(peer.connection.add_consumer(request).expect("a browser"));
        let tag = u32::try_from(number).expect("small");
        assert_eq!(peer.texts(tag, expected.len()), fresh(&expected), "{name}");
    }
    // With a window of one the rest comes as the client takes what it has.
    let id = peer.consumer(3);
    for expected in ["a", "b", "nothing"] {
        let mut seen = Peer::acknowledgement(AckKind::Delivered, &MessageId::default(), 1);
        seen.first = None;
        let _ = peer
            .connection
            .acknowledge(&id, &seen, None)
            .expect("known");
        assert_eq!(peer.texts(3, 1), fresh(&[expected]));
    }
    peer.connection.remove_consumer(&id, LastDelivered::Nothing);
    assert_eq!(fixture.status("R.1").consumers, 0);
}
