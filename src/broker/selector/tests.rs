use openwire::primitive::{PrimitiveMap, Value};
use openwire::{Destination, MessageId};
use proptest::prelude::*;

use super::*;
use crate::broker::usage::Memory;

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
    let memory = Memory::new(1 << 20, 1 << 20, std::sync::Arc::default());
    Message::made(&decoded, &memory).expect("a message")
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

/// Reads the escapes of the table back.
fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let character = match character {
            '\\' => match rest.next().expect("an escaped character") {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\x0c',
                other => other,
            },
            other => other,
        };
        result.push(character);
    }
    result
}

fn from_hex(digits: &str) -> Message {
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect();
    let memory = Memory::new(1 << 20, 1 << 20, std::sync::Arc::default());
    Message::read_back(bytes.into(), &memory).expect("a message")
}

/// One letter for each message, as in the table.
fn verdicts(selector: &str, messages: &[Message]) -> String {
    let Ok(selector) = Selector::parse(selector) else {
        return "invalid".to_owned();
    };
    messages
        .iter()
        .map(|message| {
            let view = MessageView::new(message);
            let truth = evaluate::truth(&selector.0.root, &view);
            assert_eq!(selector.matches(message), truth == Ok(Some(true)));
            match truth {
                Ok(Some(true)) => 'T',
                Ok(Some(false)) => 'F',
                Ok(None) => 'U',
                Err(_) => 'X',
            }
        })
        .collect()
}

#[test]
fn every_verdict_is_the_one_of_activemq() {
    let mut messages = Vec::new();
    let mut selectors = 0;
    let mut wrong = Vec::new();
    for line in include_str!("conformance.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["message", digits] => messages.push(from_hex(digits)),
            ["selector", text, wanted] => {
                selectors += 1;
                let found = verdicts(&unescaped(text), &messages);
                if found != wanted {
                    wrong.push(format!("{text}: {found} instead of {wanted}"));
                }
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    assert!(messages.len() > 10 && selectors > 2000, "the table is cut");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words that selectors are made of, in any order.
fn word_soup() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "b",
        "missing",
        "1",
        "0x1",
        "1.5",
        "9223372036854775808",
        "'x'",
        "'",
        "(",
        ")",
        ",",
        "=",
        "<>",
        "<",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "AND",
        "OR",
        "NOT",
        "IN",
        "LIKE",
        "ESCAPE",
        "'%'",
        "BETWEEN",
        "IS",
        "NULL",
        "TRUE",
        "FALSE",
        "INLIST(",
        "MAKELIST(",
        "JMSPriority",
        "--",
        "/*",
        "*/",
        "\n",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = Selector::parse(&text);
    }

    #[test]
    fn any_words_are_answered_and_evaluated(text in word_soup()) {
        if let Ok(selector) = Selector::parse(&text) {
            let message = message(&[("a", Value::Int(1)), ("b", Value::String("x".into()))]);
            let _ = selector.matches(&message);
        }
    }

    #[test]
    fn integers_compare_as_numbers(a in any::<i64>(), b in any::<i32>()) {
        let message = message(&[("a", Value::Long(a))]);
        let selects = |text: String| Selector::parse(&text).expect("a selector").matches(&message);
        prop_assert_eq!(selects(format!("a < {b}")), a < i64::from(b));
        prop_assert_eq!(selects(format!("a = {b}")), a == i64::from(b));
        prop_assert_eq!(selects(format!("a BETWEEN {b} AND {b}")), a == i64::from(b));
        prop_assert_eq!(selects(format!("NOT (a >= {b})")), a < i64::from(b));
    }

    #[test]
    fn quoted_text_is_itself(value in any::<String>()) {
        let message = message(&[("a", Value::String(value.as_str().into()))]);
        let literal = value.replace('\'', "''");
        let selector = Selector::parse(&format!("a = '{literal}' AND a IN ('{literal}')"));
        prop_assert!(selector.expect("a selector").matches(&message));
    }
}
