//! Distributed transactions.

use openwire::XaTransactionId;
use storage::Decision;

use super::*;

fn xid(branch: &str) -> Xid {
    let id = XaTransactionId {
        format_id: 7,
        global_transaction_id: Some("global".into()),
        branch_qualifier: Some(branch.to_owned().into()),
    };
    Xid::new(&id).expect("a short name")
}

fn other() -> Destination {
    Destination::queue("R")
}

impl Peer {
    fn xa_send(&mut self, xid: &Xid, destination: &Destination, text: &str) {
        let message = self.message(destination, text);
        let sent = self.try_send_in(&message, Some(xid.clone().into()));
        self.settle(sent.expect("an accepted message"));
    }

    fn xa_acknowledge(&self, xid: &Xid, number: i64, delivery: &Delivery) {
        let one = Self::acknowledgement(AckKind::Standard, &id_of(delivery), 1);
        let name = Some(xid.clone().into());
        let done = self
            .connection
            .acknowledge(&self.consumer(number), &one, name);
        self.settle(done.expect("outstanding"));
    }

    fn xa_prepare(&self, xid: &Xid) -> Vote {
        let (vote, receipt) = self.connection.xa_prepare(xid).expect("it can be prepared");
        self.settle(receipt);
        vote
    }

    fn xa_commit(&self, xid: &Xid) {
        self.settle(self.connection.xa_commit(xid, false).expect("prepared"));
    }

    pub(super) fn prepared(&self) -> Vec<Xid> {
        let (prepared, receipt) = self.connection.xa_recover();
        self.settle(receipt);
        prepared
    }

    /// Prepares a transaction that took "in" from the queue and sent "out" to the other one.
    fn prepare_move(&mut self, xid: &Xid) {
        self.send_all(&queue(), &["in", "next"]);
        self.consume(1, &queue(), 10);
        let delivery = self.next(1);
        self.connection.xa_begin(xid).expect("open");
        self.xa_acknowledge(xid, 1, &delivery);
        self.xa_send(xid, &other(), "out");
        assert_eq!(self.xa_prepare(xid), Vote::Prepared);
    }
}

fn error_of<T: std::fmt::Debug>(result: Result<T, Refusal>) -> XaError {
    match result.expect_err("a refusal") {
        Refusal::Xa { error, .. } => error,
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_of_a_prepared_transaction_shows_before_its_commit_and_all_of_it_after() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    peer.prepare_move(&xid);
    peer.consume(2, &other(), 10);
    peer.expect_nothing(2);
    assert_eq!(peer.prepared(), std::slice::from_ref(&xid));
    assert_eq!(fixture.status("Q").pending, 2);
    peer.xa_commit(&xid);
    assert_eq!(peer.texts(2, 1), fresh(&["out"]));
    assert_eq!(fixture.status("Q").pending, 1);
    assert_eq!(peer.prepared(), []);
    // The answer may have been lost: the same again is no error.
    peer.xa_commit(&xid);
    assert_eq!(
        error_of(peer.connection.xa_roll_back(&xid)),
        XaError::Unknown
    );
}

#[test]
fn a_lost_connection_keeps_what_is_prepared_and_rolls_back_the_rest() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let (kept, dropped) = (xid("kept"), xid("dropped"));
    peer.prepare_move(&kept);
    let next = peer.next(1);
    peer.connection.xa_begin(&dropped).expect("open");
    peer.xa_acknowledge(&dropped, 1, &next);
    peer.xa_send(&dropped, &other(), "never");
    peer.connection.close(LastDelivered::Unknown);
    let mut peer = fixture.connect("two");
    peer.consume(1, &queue(), 10);
    assert_eq!(peer.texts(1, 1), flagged(&["next"]));
    peer.expect_nothing(1);
    assert_eq!(peer.prepared(), std::slice::from_ref(&kept));
    assert_eq!(
        error_of(peer.connection.xa_commit(&dropped, true)),
        XaError::Unknown
    );
    let rolled_back = peer.connection.xa_roll_back(&kept).expect("prepared");
    peer.settle(rolled_back);
    assert_eq!(peer.texts(1, 1), flagged(&["in"]));
    assert_eq!(fixture.status("R").pending, 0);
}

#[test]
fn after_a_takeover_a_prepared_transaction_is_committed_by_another_connection() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    peer.prepare_move(&xid);
    fixture.take_over();
    fixture.take_over();
    let mut peer = fixture.connect("two");
    peer.consume(1, &queue(), 10);
    peer.consume(2, &other(), 10);
    assert_eq!(peer.texts(1, 1), flagged(&["next"]));
    peer.expect_nothing(1);
    peer.expect_nothing(2);
    assert_eq!(peer.prepared(), std::slice::from_ref(&xid));
    peer.xa_commit(&xid);
    assert_eq!(peer.texts(2, 1), fresh(&["out"]));
    assert_eq!(fixture.status("Q").pending, 1);
    fixture.take_over();
    let peer = fixture.connect("three");
    // Its answer was lost with the former active.
    peer.xa_commit(&xid);
    assert_eq!(peer.prepared(), []);
    assert_eq!(
        (fixture.status("Q").pending, fixture.status("R").pending),
        (1, 1)
    );
}

#[test]
fn a_rollback_after_a_takeover_gives_back_what_was_acknowledged_in_its_order_and_flagged() {
    for is_consumed_first in [false, true] {
        let mut fixture = Fixture::new();
        let mut peer = fixture.connect("one");
        let xid = xid("a");
        peer.prepare_move(&xid);
        fixture.take_over();
        let mut peer = fixture.connect("two");
        if is_consumed_first {
            peer.consume(1, &queue(), 1);
            assert_eq!(peer.texts(1, 1), flagged(&["next"]));
        }
        peer.settle(peer.connection.xa_roll_back(&xid).expect("prepared"));
        // What it rolled back is rolled back: the same again is no error either.
        peer.settle(peer.connection.xa_roll_back(&xid).expect("the same"));
        peer.consume(2, &queue(), 10);
        let expected: &[&str] = if is_consumed_first {
            &["in"]
        } else {
            &["in", "next"]
        };
        assert_eq!(peer.texts(2, expected.len()), flagged(expected));
        peer.expect_nothing(2);
        assert_eq!(fixture.status("R").pending, 0);
    }
}

#[test]
fn a_client_that_comes_back_repeats_a_prepared_transaction_without_effect() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    peer.prepare_move(&xid);
    for _ in 0..2 {
        fixture.take_over();
        let mut peer = fixture.connect_as("one", true);
        peer.connection.xa_begin(&xid).expect("open");
        peer.xa_send(&xid, &other(), "out");
        assert_eq!(peer.xa_prepare(&xid), Vote::Prepared);
        peer.xa_commit(&xid);
        assert_eq!(fixture.status("Q").pending, 1);
        assert_eq!(fixture.status("R").pending, 1);
        assert_eq!(peer.prepared(), []);
    }
}

#[test]
fn a_repetition_whose_acknowledgements_are_lost_is_not_prepared() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    peer.send(&queue(), "in");
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    peer.connection.xa_begin(&xid).expect("open");
    peer.xa_acknowledge(&xid, 1, &delivery);
    peer.xa_send(&xid, &other(), "out");
    fixture.take_over();
    // The client's library repeats all but the acknowledgements.
    let mut peer = fixture.connect_as("one", true);
    let producer = peer.connection.id().session(1).producer(1);
    peer.connection
        .add_producer(&producer, None, &Command::Null)
        .expect("a producer");
    peer.consume(1, &queue(), 0);
    peer.connection.xa_begin(&xid).expect("open");
    peer.xa_send(&xid, &other(), "out");
    assert_eq!(
        error_of(peer.connection.xa_prepare(&xid)),
        XaError::LostParts
    );
    assert_eq!(fixture.status("R").pending, 0);
    // Later ones are as any.
    peer.connection
        .set_prefetch(&peer.consumer(1), 10)
        .expect("a consumer");
    peer.connection.xa_begin(&xid).expect("open");
    peer.xa_send(&xid, &other(), "out");
    assert_eq!(peer.xa_prepare(&xid), Vote::Prepared);
    peer.xa_commit(&xid);
    assert_eq!(fixture.status("R").pending, 1);
}

#[test]
fn steps_out_of_order_are_refused_with_the_codes_that_managers_know() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    assert_eq!(error_of(peer.connection.xa_prepare(&xid)), XaError::Unknown);
    assert_eq!(
        error_of(peer.connection.xa_commit(&xid, true)),
        XaError::Unknown
    );
    assert_eq!(
        error_of(peer.connection.xa_roll_back(&xid)),
        XaError::Unknown
    );
    assert_eq!(error_of(peer.connection.xa_forget(&xid)), XaError::Unknown);
    let message = peer.message(&queue(), "early");
    let sent = peer.try_send_in(&message, Some(xid.clone().into()));
    assert_eq!(error_of(sent), XaError::Unknown);
    peer.connection.xa_begin(&xid).expect("open");
    assert_eq!(
        error_of(peer.connection.xa_commit(&xid, false)),
        XaError::Protocol
    );
    peer.xa_send(&xid, &queue(), "in time");
    peer.xa_prepare(&xid);
    let message = peer.message(&queue(), "late");
    let sent = peer.try_send_in(&message, Some(xid.clone().into()));
    assert_eq!(error_of(sent), XaError::Protocol);
    assert_eq!(
        error_of(peer.connection.xa_prepare(&xid)),
        XaError::Protocol
    );
    assert_eq!(error_of(peer.connection.xa_forget(&xid)), XaError::Protocol);
    peer.xa_commit(&xid);
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn an_empty_one_is_read_only_and_one_phase_needs_no_prepare() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let (empty, one_phase) = (xid("empty"), xid("one phase"));
    peer.connection.xa_begin(&empty).expect("open");
    assert_eq!(peer.xa_prepare(&empty), Vote::ReadOnly);
    assert_eq!(
        error_of(peer.connection.xa_commit(&empty, false)),
        XaError::Unknown
    );
    peer.connection.xa_begin(&one_phase).expect("open");
    peer.xa_send(&one_phase, &queue(), "sent");
    peer.settle(peer.connection.xa_commit(&one_phase, true).expect("active"));
    assert_eq!(fixture.status("Q").pending, 1);
}

#[test]
fn a_failed_part_rolls_back_with_the_prepare() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let xid = xid("a");
    peer.connection.xa_begin(&xid).expect("open");
    peer.xa_send(&xid, &queue(), "fine");
    let nameless = peer.message(&Destination::queue(""), "lost");
    assert!(
        peer.try_send_in(&nameless, Some(xid.clone().into()))
            .is_err()
    );
    assert_eq!(
        error_of(peer.connection.xa_prepare(&xid)),
        XaError::RolledBack
    );
    assert_eq!(fixture.status("Q").pending, 0);
}

#[test]
fn two_connections_share_a_transaction_and_memory_is_a_part_of_it() {
    let fixture = Fixture::new();
    let (mut one, mut two) = (fixture.connect("one"), fixture.connect("two"));
    let xid = xid("a");
    one.connection.xa_begin(&xid).expect("open");
    one.xa_send(&xid, &queue(), "persistent");
    two.connection.xa_begin(&xid).expect("joins");
    let mut message = two.message(&queue(), "in memory");
    message.persistent = false;
    let sent = two.try_send_in(&message, Some(xid.clone().into()));
    two.settle(sent.expect("accepted"));
    two.connection.close(LastDelivered::Unknown);
    assert_eq!(one.xa_prepare(&xid), Vote::Prepared);
    one.consume(1, &queue(), 10);
    one.expect_nothing(1);
    one.xa_commit(&xid);
    let mut texts = one.texts(1, 2);
    texts.sort();
    assert_eq!(texts, fresh(&["in memory", "persistent"]));
}

#[test]
fn a_durable_subscription_takes_part_on_both_sides() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let subscribe = |peer: &Peer| {
        let request = ConsumerRequest {
            subscription_name: Some("S".into()),
            ..peer.request(1, &topic())
        };
        peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    };
    subscribe(&peer);
    let (sent, taken) = (xid("sent"), xid("taken"));
    peer.connection.xa_begin(&sent).expect("open");
    peer.xa_send(&sent, &topic(), "news");
    peer.xa_prepare(&sent);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    peer.xa_commit(&sent);
    subscribe(&peer);
    let delivery = peer.next(1);
    peer.connection.xa_begin(&taken).expect("open");
    peer.xa_acknowledge(&taken, 1, &delivery);
    peer.xa_prepare(&taken);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    subscribe(&peer);
    peer.expect_nothing(1);
    peer.xa_commit(&taken);
    fixture.take_over();
    let mut peer = fixture.connect("one");
    subscribe(&peer);
    peer.expect_nothing(1);
}

#[test]
fn what_a_prepared_transaction_acknowledged_does_not_expire_under_it() {
    let mut fixture = Fixture::new();
    let mut peer = fixture.connect("one");
    let mut message = peer.message(&queue(), "short-lived");
    message.expiration = wall_ms() + 300;
    peer.send_message(&message);
    peer.consume(1, &queue(), 10);
    let delivery = peer.next(1);
    let xid = xid("a");
    peer.connection.xa_begin(&xid).expect("open");
    peer.xa_acknowledge(&xid, 1, &delivery);
    peer.xa_prepare(&xid);
    fixture.take_over();
    wait_for("the expiration", || wall_ms() > message.expiration);
    let peer = fixture.connect("two");
    peer.consume(1, &queue(), 10);
    fixture.broker.expire();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(fixture.status("Q").pending, 1);
    peer.xa_commit(&xid);
    assert_eq!(fixture.status("Q").pending, 0);
    let names = fixture.broker.status().destinations;
    assert!(names.iter().all(|one| one.name != "ActiveMQ.DLQ"));
}

#[test]
fn operators_see_what_waits_and_decide_and_the_coordinator_is_told() {
    for (decision, error) in [
        (Decision::Commit, XaError::HeuristicCommit),
        (Decision::RollBack, XaError::HeuristicRollback),
    ] {
        let mut fixture = Fixture::new();
        let mut peer = fixture.connect("one");
        let xid = xid("\u{1}b");
        peer.prepare_move(&xid);
        fixture.take_over();
        let report = fixture.broker.in_doubt();
        assert_eq!(report.heuristic, []);
        let [waiting] = &report.prepared[..] else {
            panic!("{report:?}");
        };
        assert_eq!(
            (waiting.format, &*waiting.global, &*waiting.branch),
            (7, "676c6f62616c", "0162")
        );
        assert_eq!((waiting.messages, waiting.acknowledged), (1, 1));
        assert!(waiting.age_ms < 60_000, "{waiting:?}");
        let names: Vec<_> = waiting
            .destinations
            .iter()
            .map(|one| (&*one.name, one.messages, one.acknowledged))
            .collect();
        assert_eq!(names, [("Q", 0, 1), ("R", 1, 0)]);
        let broker = &fixture.broker;
        assert!(broker.decide_in_doubt(7, "00", "0162", decision).is_err());
        let receipt = broker.decide_in_doubt(7, "676C6F62616c", "0162", decision);
        let peer = fixture.connect("two");
        peer.settle(receipt.expect("it waits"));
        let (left, arrived) = match decision {
            Decision::Commit => (1, 1),
            Decision::RollBack => (2, 0),
        };
        let pending =
            |fixture: &Fixture| (fixture.status("Q").pending, fixture.status("R").pending);
        assert_eq!(pending(&fixture), (left, arrived));
        fixture.take_over();
        assert_eq!(fixture.broker.in_doubt().heuristic.len(), 1);
        let peer = fixture.connect("three");
        assert_eq!(error_of(peer.connection.xa_commit(&xid, false)), error);
        assert_eq!(error_of(peer.connection.xa_roll_back(&xid)), error);
        peer.settle(peer.connection.xa_forget(&xid).expect("known"));
        assert_eq!(
            error_of(peer.connection.xa_commit(&xid, false)),
            XaError::Unknown
        );
        assert_eq!(fixture.broker.in_doubt(), InDoubtReport::default());
        assert_eq!(pending(&fixture), (left, arrived));
    }
}
