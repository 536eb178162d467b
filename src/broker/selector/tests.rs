use openwire::primitive::{PrimitiveMap, Value};
use openwire::{Destination, MessageId};

use super::*;
use crate::broker::memory::Memory;

fn message(properties: &[(&str, Value)]) -> Message {
    let map: PrimitiveMap = properties
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect();
    let decoded = openwire::Message {
        message_id: Some("ID:host-1-2:3:4:5:6".parse::<MessageId>().expect("an id")),
        destination: Some(Destination::queue("Q")),
        priority: 4,
        marshalled_properties: Some(map.encode().expect("properties")),
        ..openwire::Message::default()
    };
    Message::made(&decoded, &Memory::new(1 << 20, 1 << 20)).expect("a message")
}

fn column(text: &str) -> usize {
    Selector::parse(text).expect_err(text).column
}

#[test]
fn errors_name_the_column_and_the_reason() {
    assert_eq!(column("a = "), 5);
    assert_eq!(column("a = 'b"), 5);
    assert_eq!(column("\u{e4} = 1"), 1);
    assert_eq!(column("a > 'b'"), 5);
    assert_eq!(column("a = 1 AND b + 1"), 11);
    let error = Selector::parse("XPATH '//a'").expect_err("XPATH");
    assert_eq!(
        error.to_string(),
        "selector `XPATH '//a'` is invalid at column 1: XPATH expressions are not supported: select by properties"
    );
}

#[test]
fn nesting_and_length_are_bounded() {
    for text in [
        "(".repeat(60_000),
        "-".repeat(60_000),
        "NOT ".repeat(15_000),
        "MAKELIST(".repeat(7_000),
        format!("a = 1{}", " + 1".repeat(15_000)),
        format!("a{}", " = a".repeat(15_000)),
        "a".repeat(70_000),
    ] {
        assert!(Selector::parse(&text).is_err());
    }
    let long = format!("a = 1{}", " OR a = 1".repeat(7_000));
    let selector = Selector::parse(&long).expect("a long selector");
    assert!(selector.matches(&message(&[("a", Value::Int(1))])));
    let deep = format!("{}a = 1{}", "(".repeat(90), ")".repeat(90));
    let selector = Selector::parse(&deep).expect("a deep selector");
    assert!(selector.matches(&message(&[("a", Value::Int(1))])));
}

#[test]
fn blank_selectors_are_none() {
    assert_eq!(Selector::of(None), Ok(None));
    assert_eq!(Selector::of(Some(&" ".into())), Ok(None));
    let some = Selector::of(Some(&"a = 1".into())).expect("a selector");
    assert_eq!(some.as_ref().map(Selector::text), Some("a = 1"));
}

#[test]
fn redeliveries_are_visible() {
    let selector = Selector::parse("JMSRedelivered AND JMSXDeliveryCount = 3").expect("a selector");
    let message = message(&[]);
    assert!(!selector.matches(&message));
    assert!(selector.selects(&MessageView::new(&message).delivered(2)));
}
