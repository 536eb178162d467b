//! What the parser accepts, how it reads it, and where its errors point.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> ClientUri {
    ClientUri::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn hosts(uri: &ClientUri) -> Vec<String> {
    uri.failover
        .addresses
        .iter()
        .map(|a| format!("{}:{}", a.host, a.port))
        .collect()
}

/// The error's sentence and the text it points at.
fn refused(text: &str) -> (String, String) {
    let error = ClientUri::parse(text).expect_err(text);
    let pointed = text[error.span().start..error.span().end].to_owned();
    (error.kind().to_string(), pointed)
}

#[test]
fn the_three_spellings_of_a_list_mean_the_same() {
    for text in [
        "failover:(tcp://a:1,tcp://b:2)",
        "failover://(tcp://a:1,tcp://b:2)",
        "failover:tcp://a:1,tcp://b:2",
        "failover://tcp://a:1,tcp://b:2",
        " failover:( tcp://a:1 , tcp://b:2 ) ",
        "failover:(tcp://a:1,tcp://b:2,)",
    ] {
        let uri = parsed(text);
        assert_eq!(hosts(&uri), ["a:1", "b:2"], "{text}");
        assert_eq!(uri.failover.kind, CompositeKind::Failover);
        assert!(uri.failover.is_reconnecting());
    }
}

#[test]
fn the_default_is_failover_to_localhost() {
    let uri = ClientUri::default();
    assert_eq!(hosts(&uri), ["localhost:61616"]);
    assert!(uri.failover.is_reconnecting());
}

#[test]
fn a_single_address_never_reconnects() {
    let uri = parsed("tcp://host:61616?jms.useAsyncSend=true&tcpNoDelay=true");
    assert!(!uri.failover.is_reconnecting());
    assert!(uri.jms.use_async_send);
    assert_eq!(
        uri.failover.addresses[0].options.tcp.tcp_no_delay,
        Some(true)
    );
}

#[test]
fn options_after_the_parenthesis_are_those_of_failover() {
    let uri = parsed(
        "failover:(tcp://a:1?connectionTimeout=500,ssl://b:2)?randomize=false&timeout=3000\
         &maxReconnectAttempts=5&jms.clientID=x%20y+z&nested.wireFormat.maxInactivityDuration=4000",
    );
    assert!(!uri.failover.options.randomize);
    assert_eq!(uri.failover.options.timeout, Some(Duration::from_secs(3)));
    assert_eq!(uri.failover.options.max_reconnect_attempts, Some(5));
    assert_eq!(uri.jms.client_id.as_deref(), Some("x y z"));
    let [a, b] = &uri.failover.addresses[..] else {
        panic!("two addresses")
    };
    assert_eq!(a.options.tcp.connection_timeout, Duration::from_millis(500));
    assert_eq!(b.options.tcp.connection_timeout, Duration::from_secs(30));
    for address in [a, b] {
        let duration = address.options.wire_format.max_inactivity_duration;
        assert_eq!(duration, Duration::from_secs(4));
    }
    assert!(b.scheme.is_tls() && !a.scheme.is_tls());
}

#[test]
fn nested_options_win_over_an_address_own_and_reach_pushed_addresses() {
    let uri = parsed("failover:(tcp://a:1?connectionTimeout=500)?nested.connectionTimeout=700");
    let own = uri.failover.addresses[0].options.tcp.connection_timeout;
    assert_eq!(own, Duration::from_millis(700));
    let pushed = uri
        .failover
        .parse_pushed("tcp://new:61616")
        .expect("an address");
    assert_eq!(
        pushed.options.tcp.connection_timeout,
        Duration::from_millis(700)
    );
}

#[test]
fn without_parentheses_the_query_belongs_to_the_last_address() {
    let uri = parsed("failover:tcp://a:1,tcp://b:2?connectionTimeout=500");
    let timeouts: Vec<u128> = uri
        .failover
        .addresses
        .iter()
        .map(|address| address.options.tcp.connection_timeout.as_millis())
        .collect();
    assert_eq!(timeouts, [30_000, 500]);
    let (message, pointed) = refused("failover:tcp://a:1,tcp://b:2?randomize=false");
    assert_eq!(pointed, "randomize");
    assert!(
        message.contains("after the closing parenthesis"),
        "{message}"
    );
}

#[test]
fn jms_options_are_taken_off_the_last_query_only_with_slashes() {
    let uri = parsed("failover://tcp://a:1,tcp://b:2?jms.useAsyncSend=true");
    assert!(uri.jms.use_async_send);
    let (message, pointed) = refused("failover:(tcp://a:1?jms.useAsyncSend=true)");
    assert_eq!(pointed, "jms.useAsyncSend");
    assert!(
        message.contains("after the closing parenthesis"),
        "{message}"
    );
    let (_, pointed) = refused("failover:tcp://a:1?jms.useAsyncSend=true");
    assert_eq!(pointed, "jms.useAsyncSend");
}

#[test]
fn composites_nest() {
    let uri = parsed("failover:(static:(tcp://a:1,tcp://b:2),masterslave:(tcp://c:3))");
    assert_eq!(hosts(&uri), ["a:1", "b:2", "c:3"]);
    let uri = parsed("discovery:(static:(tcp://a:1,tcp://b:2)?group=x)?maxReconnectDelay=100");
    assert_eq!(hosts(&uri), ["a:1", "b:2"]);
    assert_eq!(
        uri.failover.options.max_reconnect_delay,
        Duration::from_millis(100)
    );
    let uri = parsed("discovery:(static:(tcp://a:1))?discovered.connectionTimeout=9");
    let timeout = uri.failover.addresses[0].options.tcp.connection_timeout;
    assert_eq!(timeout, Duration::from_millis(9));
}

#[test]
fn masterslave_keeps_the_order_and_does_not_reconnect() {
    let uri = parsed("masterslave:(tcp://a:1,tcp://b:2)");
    assert!(!uri.failover.options.randomize);
    assert_eq!(uri.failover.options.max_reconnect_attempts, Some(0));
    assert_eq!(
        uri.failover.agent.initial_reconnect_delay,
        Duration::from_secs(1)
    );
}

#[test]
fn hosts_may_be_ipv6_and_may_carry_a_local_address() {
    let uri = parsed("failover:(tcp://[::1]:61616,tcp://10.0.0.1:61616/eth1.local:4000)");
    assert_eq!(uri.failover.addresses[0].host, "::1");
    assert_eq!(uri.failover.addresses[0].to_string(), "tcp://[::1]:61616");
    assert_eq!(
        uri.failover.addresses[1].local,
        Some(("eth1.local".to_owned(), 4000))
    );
    assert_eq!(refused("tcp://[::zz]:61616").1, "::zz");
}

#[test]
fn addresses_are_equal_by_scheme_host_and_port() {
    let a = InnerUri::parse("tcp://Host:1?connectionTimeout=3").expect("an address");
    let b = InnerUri::parse("tcp://host:1").expect("an address");
    assert_eq!(a, b);
    assert_ne!(a, InnerUri::parse("tcp://host:2").expect("an address"));
    assert_ne!(a, InnerUri::parse("ssl://host:1").expect("an address"));
}

#[test]
fn mistakes_are_pointed_at() {
    for (text, pointed) in [
        (
            "failover:(tcp://a:1)?maxReconnectAttempt=3",
            "maxReconnectAttempt",
        ),
        ("failover:(tcp://a:1)?timeout=3s", "3s"),
        (
            "failover:(tcp://a:1)?jms.useAsyncSent=true",
            "jms.useAsyncSent",
        ),
        (
            "failover:(tcp://a:1)?nested.connectTimeout=1",
            "nested.connectTimeout",
        ),
        (
            "failover:(tcp://a:1)?connectionTimeout=1",
            "connectionTimeout",
        ),
        ("failover:(tcp://a:1", "("),
        ("failover:tcp://a:1)", ")"),
        ("failover:(tcp://a:1)/x", "/x"),
        ("failover:(tcp://a:1)?a=%zz", "%"),
        ("failover:(tcp://a:1)?randomize", "randomize"),
        ("failover:(tcp://a:1)?timeout=1?backup=true", "?"),
        ("failover:(tcp://a:1)?timeout=1&amp;backup=true", "&amp;"),
        ("failover:(tcp://a,tcp://b:1)", "a"),
        ("failover:(tcp://a:0)", "0"),
        ("failover:(tcp://a:70000)", "70000"),
        ("failover:(tcp://:1)", ":1"),
        ("failover:(tcp:a:1)", "a:1"),
        ("failover:(tpc://a:1)", "tpc"),
        ("fanout:(tcp://a:1,tcp://b:1)", "fanout"),
        ("failover:(vm://broker)", "vm"),
        ("failover:(tcp://a:1)?priorityURIs=tcp://a", "tcp://a"),
        (
            "failover:(tcp://a:1)?updateURIsURL=http://x/y",
            "http://x/y",
        ),
        ("tcp://a:1?wireFormat=http", "http"),
        (
            "failover:(failover:(tcp://a:1)?randomize=false)",
            "randomize",
        ),
        ("tcp://a b:1", "a b"),
        ("failover:()", "()"),
        ("", ""),
    ] {
        assert_eq!(refused(text).1, pointed, "{text}");
    }
}

#[test]
fn misspellings_get_a_suggestion() {
    let (message, _) = refused("failover:(tcp://a:1)?maxReconnectAttempt=3");
    assert!(
        message.contains("did you mean `maxReconnectAttempts`?"),
        "{message}"
    );
    let (message, _) = refused("failovr:(tcp://a:1)");
    assert!(message.contains("did you mean `failover`?"), "{message}");
    let (message, _) = refused("failover:(tcp://a:1)?transport.randomize=false");
    assert!(
        message.contains("ActiveMQ's own spelling is `randomize`"),
        "{message}"
    );
}

#[test]
fn an_error_shows_the_uri_with_carets_below() {
    let error = ClientUri::parse("failover:(tcp://ä:1)?timeout=x").expect_err("a bad value");
    let shown = error.to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert_eq!(lines[1], "  failover:(tcp://ä:1)?timeout=x");
    assert_eq!(lines[2].chars().count(), lines[1].chars().count());
    assert!(lines[2].ends_with(" ^"));
}

#[test]
fn nesting_has_a_limit() {
    let text = format!("{}tcp://a:1{}", "failover:(".repeat(50), ")".repeat(50));
    let error = ClientUri::parse(&text).expect_err("too deep");
    assert!(matches!(error.kind(), UriErrorKind::NestedTooDeep { .. }));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        let _ = ClientUri::parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_uri_like_text_makes_the_parser_or_the_linter_panic(
        text in "(failover:|static:|tcp:|//|\\(|\\)|,|\\?|&|=|a|:1|%|%41|é|\\[|\\]|jms\\.|nested\\.|randomize){0,16}"
    ) {
        let _ = ClientUri::parse(&text).map_err(|error| error.to_string());
        let _ = crate::lint(&text);
    }

    #[test]
    fn any_list_of_addresses_is_read_back(
        ports in proptest::collection::vec(1_u16.., 1..6), slashes: bool,
    ) {
        let list: Vec<String> = ports.iter().map(|port| format!("tcp://h:{port}")).collect();
        let slashes = if slashes { "//" } else { "" };
        let uri = ClientUri::parse(&format!("failover:{slashes}({})", list.join(","))).unwrap();
        let read: Vec<u16> = uri.failover.addresses.iter().map(|address| address.port).collect();
        prop_assert_eq!(read, ports);
    }
}
