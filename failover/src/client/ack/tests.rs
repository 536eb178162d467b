//! The acknowledgement rules, message by message.

use super::*;

fn dispatch(sequence: i64) -> MessageDispatch {
    let message_id = openwire::ConnectionId::new("c")
        .session(1)
        .producer(1)
        .message(sequence);
    MessageDispatch {
        destination: Some(Destination::queue("q")),
        message: Some(Box::new(Message {
            message_id: Some(message_id),
            ..Message::default()
        })),
        ..MessageDispatch::default()
    }
}

/// `kind first-last xcount`.
fn shown(ack: Option<DueAck>) -> String {
    ack.map_or_else(
        || "-".to_owned(),
        |ack| {
            let first = ack.first.map_or(0, |first| first.producer_sequence_id);
            format!(
                "{:?} {first}-{} x{}",
                ack.kind, ack.last.producer_sequence_id, ack.count
            )
        },
    )
}

fn deliver(state: &mut AckState, sequences: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let now = Instant::now();
    sequences
        .map(|sequence| shown(state.deliver(&dispatch(sequence), now)))
        .collect()
}

#[test]
fn automatic_acknowledgement_is_one_per_message() {
    let mut state = AckState::new(AckStyle::Each, 10, None);
    assert_eq!(
        deliver(&mut state, 1..=2),
        ["Standard 1-1 x1", "Standard 2-2 x1"]
    );
    assert!(!state.has_delivered());
}

#[test]
fn optimised_acknowledgement_comes_at_65_percent_of_the_prefetch() {
    let mut state = AckState::new(AckStyle::Each, 4, Some(Duration::ZERO));
    assert_eq!(
        deliver(&mut state, 1..=4),
        ["-", "-", "Standard 1-3 x3", "-"]
    );
    assert_eq!(shown(state.flush()), "Standard 4-4 x1");
}

#[test]
fn optimised_acknowledgement_does_not_wait_longer_than_its_time() {
    let mut state = AckState::new(AckStyle::Each, 1000, Some(Duration::from_millis(300)));
    let begin = Instant::now();
    assert_eq!(shown(state.deliver(&dispatch(1), begin)), "-");
    let later = begin + Duration::from_millis(300);
    assert_eq!(shown(state.deliver(&dispatch(2), later)), "Standard 1-2 x2");
}

#[test]
fn batches_go_at_half_the_prefetch() {
    let mut state = AckState::new(AckStyle::Batch, 4, None);
    assert_eq!(deliver(&mut state, 1..=3), ["-", "Standard 1-2 x2", "-"]);
    assert_eq!(shown(state.flush()), "Standard 3-3 x1");
}

#[test]
fn client_acknowledgement_widens_the_window_and_covers_all_at_once() {
    let mut state = AckState::new(AckStyle::Client, 4, None);
    assert_eq!(deliver(&mut state, 1..=3), ["-", "Delivered 1-2 x2", "-"]);
    assert_eq!(shown(state.acknowledge_all()), "Standard 1-3 x3");
    assert_eq!(shown(state.acknowledge_all()), "-");
    // The count since the last window message went down with the acknowledgement.
    assert_eq!(deliver(&mut state, 4..=5), ["-", "Delivered 4-5 x2"]);
}

#[test]
fn individual_acknowledgement_names_one_message_without_a_first() {
    let mut state = AckState::new(AckStyle::Individual, 100, None);
    deliver(&mut state, 1..=3);
    let second = id(&dispatch(2));
    assert_eq!(shown(state.acknowledge_one(&second)), "Individual 0-2 x1");
    assert_eq!(shown(state.acknowledge_one(&second)), "-");
    assert_eq!(state.take_delivered().len(), 2);
}

#[test]
fn a_transaction_keeps_what_it_acknowledged_until_its_end() {
    let mut state = AckState::new(AckStyle::Transacted, 100, None);
    deliver(&mut state, 1..=2);
    assert_eq!(shown(state.acknowledge_all()), "Standard 1-2 x2");
    assert!(state.has_delivered());
    assert_eq!(state.take_delivered().len(), 2);
    deliver(&mut state, 3..=3);
    state.acknowledge_all();
    state.committed();
    assert!(!state.has_delivered());
}

#[test]
fn without_prefetch_each_message_widens_the_window() {
    let mut state = AckState::new(AckStyle::Transacted, 0, None);
    assert_eq!(
        deliver(&mut state, 1..=2),
        ["Delivered 1-1 x1", "Delivered 2-2 x1"]
    );
}

#[test]
fn an_interruption_forgets_everything() {
    let mut state = AckState::new(AckStyle::Client, 4, None);
    deliver(&mut state, 1..=1);
    assert_eq!(state.interrupted().len(), 1);
    assert_eq!(shown(state.acknowledge_all()), "-");
    assert_eq!(deliver(&mut state, 1..=2), ["-", "Delivered 1-2 x2"]);
}

#[test]
fn a_message_expires_after_its_time_and_never_without_one() {
    let mut message = Message::default();
    assert!(!is_expired(&message, i64::MAX));
    message.expiration = 100;
    assert!(!is_expired(&message, 100));
    assert!(is_expired(&message, 101));
}
