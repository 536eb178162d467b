//! What is replayed, command by command.

use openwire::{ConnectionId, Destination, LocalTransactionId, MessagePull};

use super::*;
use crate::options::FailoverOptions;

fn connection() -> ConnectionId {
    ConnectionId::new("c")
}

fn tracker() -> StateTracker {
    tracker_with(&FailoverOptions::default())
}

fn tracker_with(options: &FailoverOptions) -> StateTracker {
    let mut tracker = StateTracker::new(options);
    let info = ConnectionInfo {
        command_id: 1,
        response_required: true,
        connection_id: Some(connection()),
        ..ConnectionInfo::default()
    };
    tracker.track(&info.into());
    let session_id = Some(connection().session(1));
    tracker.track(
        &SessionInfo {
            session_id,
            ..SessionInfo::default()
        }
        .into(),
    );
    tracker
}

fn consumer(prefetch: i32) -> Command {
    ConsumerInfo {
        consumer_id: Some(connection().session(1).consumer(1)),
        destination: Some(Destination::queue("q")),
        prefetch_size: prefetch,
        ..ConsumerInfo::default()
    }
    .into()
}

fn producer() -> Command {
    let producer_id = Some(connection().session(1).producer(1));
    ProducerInfo {
        producer_id,
        ..ProducerInfo::default()
    }
    .into()
}

fn transaction() -> TransactionId {
    LocalTransactionId {
        value: 7,
        connection_id: Some(connection()),
    }
    .into()
}

fn step(command_id: i32, step: TransactionStep) -> Command {
    TransactionInfo {
        command_id,
        transaction_id: Some(transaction()),
        kind: step.number(),
        ..TransactionInfo::default()
    }
    .into()
}

fn message(sequence: i64, transaction_id: Option<TransactionId>) -> Command {
    let producer_id = connection().session(1).producer(1);
    Message {
        message_id: Some(producer_id.message(sequence)),
        producer_id: Some(producer_id),
        transaction_id,
        ..Message::default()
    }
    .into()
}

fn names(restored: &Restored) -> Vec<&'static str> {
    restored.commands.iter().map(Command::name).collect()
}

#[test]
fn the_order_is_connection_destinations_sessions_producers_consumers() {
    let mut tracker = tracker();
    tracker.track(&consumer(10));
    tracker.track(&producer());
    let destination = Destination::new(openwire::DestinationKind::TempQueue, "c:1");
    let add = DestinationInfo {
        destination: Some(destination),
        ..DestinationInfo::default()
    };
    tracker.track(&add.into());
    let restored = tracker.restore();
    assert_eq!(
        names(&restored),
        [
            "ConnectionControl",
            "ConnectionInfo",
            "DestinationInfo",
            "SessionInfo",
            "ProducerInfo",
            "ConsumerInfo"
        ]
    );
    let Command::ConnectionControl(control) = &restored.commands[0] else {
        panic!("control")
    };
    assert!(control.fault_tolerant);
    let Command::ConnectionInfo(info) = &restored.commands[1] else {
        panic!("connection")
    };
    assert!(info.failover_reconnect);
    assert_eq!((info.command_id, info.response_required), (1, true));
}

#[test]
fn consumers_come_back_without_prefetch_and_get_it_afterwards() {
    let mut tracker = tracker();
    tracker.track(&consumer(10));
    for _ in 0..2 {
        let restored = tracker.restore();
        let Some(Command::ConsumerInfo(info)) = restored.commands.last() else {
            panic!("one")
        };
        assert_eq!(info.prefetch_size, 0);
        assert_eq!(restored.controls.len(), 1);
        assert_eq!(restored.controls[0].prefetch, 10);
    }
}

#[test]
fn a_pulling_consumer_stays_one_and_its_pull_is_repeated_until_answered() {
    let mut tracker = tracker();
    tracker.track(&consumer(0));
    let consumer_id = connection().session(1).consumer(1);
    let pull = MessagePull {
        consumer_id: Some(consumer_id.clone()),
        ..MessagePull::default()
    };
    tracker.track(&pull.into());
    let restored = tracker.restore();
    assert!(restored.controls.is_empty());
    assert_eq!(names(&restored).last(), Some(&"MessagePull"));
    tracker.pulled(&consumer_id);
    assert_eq!(names(&tracker.restore()).last(), Some(&"ConsumerInfo"));
}

#[test]
fn what_was_removed_or_refused_is_not_replayed() {
    let mut tracker = tracker();
    tracker.track(&consumer(1));
    tracker.track(&producer());
    tracker.track(&RemoveInfo::of(connection().session(1).producer(1)).into());
    tracker.answered(&consumer(1), false);
    assert_eq!(
        names(&tracker.restore()),
        ["ConnectionControl", "ConnectionInfo", "SessionInfo"]
    );
    tracker.track(&RemoveInfo::of(connection().session(1)).into());
    assert_eq!(
        names(&tracker.restore()),
        ["ConnectionControl", "ConnectionInfo"]
    );
    tracker.track(&RemoveInfo::of(connection()).into());
    assert_eq!(names(&tracker.restore()), ["ConnectionControl"]);
}

#[test]
fn an_open_transaction_is_replayed_as_a_whole() {
    let mut tracker = tracker();
    tracker.track(&producer());
    assert_eq!(
        tracker.track(&step(5, TransactionStep::Begin)),
        Tracking::ByState
    );
    assert_eq!(
        tracker.track(&message(1, Some(transaction()))),
        Tracking::ByState
    );
    assert_eq!(tracker.track(&message(2, None)), Tracking::ByRequest);
    let restored = tracker.restore();
    assert_eq!(names(&restored)[4..], ["TransactionInfo", "Message"]);
    assert!(restored.in_doubt.is_empty());
}

#[test]
fn a_producer_closed_inside_a_transaction_comes_back_for_its_replay() {
    let mut tracker = tracker();
    tracker.track(&producer());
    tracker.track(&step(5, TransactionStep::Begin));
    tracker.track(&message(1, Some(transaction())));
    tracker.track(&RemoveInfo::of(connection().session(1).producer(1)).into());
    assert_eq!(
        names(&tracker.restore())[3..],
        ["ProducerInfo", "TransactionInfo", "Message", "RemoveInfo"]
    );
}

#[test]
fn a_commit_without_answer_is_in_doubt_and_not_repeated() {
    let mut tracker = tracker();
    tracker.track(&step(5, TransactionStep::Begin));
    tracker.track(&message(1, Some(transaction())));
    assert_eq!(
        tracker.track(&step(9, TransactionStep::CommitOnePhase)),
        Tracking::ByState
    );
    let restored = tracker.restore();
    assert_eq!(restored.in_doubt, [(9, transaction())]);
    assert_eq!(names(&restored).len(), 3);
    assert!(tracker.restore().in_doubt.is_empty());
}

#[test]
fn an_answered_commit_ends_the_transaction() {
    let mut tracker = tracker();
    tracker.track(&step(5, TransactionStep::Begin));
    let commit = step(9, TransactionStep::CommitOnePhase);
    tracker.track(&commit);
    tracker.answered(&commit, true);
    let restored = tracker.restore();
    assert!(restored.in_doubt.is_empty());
    assert_eq!(names(&restored).len(), 3);
}

#[test]
fn an_unanswered_rollback_is_replayed_with_its_transaction() {
    let mut tracker = tracker();
    tracker.track(&step(5, TransactionStep::Begin));
    tracker.track(&step(9, TransactionStep::Rollback));
    let restored = tracker.restore();
    assert_eq!(
        names(&restored)[3..],
        ["TransactionInfo", "TransactionInfo"]
    );
}

#[test]
fn tracked_messages_are_bounded_in_bytes() {
    let options = FailoverOptions {
        track_messages: true,
        max_cache_size: 2100,
        ..FailoverOptions::default()
    };
    let mut tracker = tracker_with(&options);
    for sequence in 1..=5 {
        assert_eq!(tracker.track(&message(sequence, None)), Tracking::ByState);
    }
    // Two messages of 1024 bytes each fit.
    assert_eq!(names(&tracker.restore())[3..], ["Message", "Message"]);
}
