//! Peers that say nothing, too much, or nonsense; and a broker that may not answer.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use batonmq::broker::{BrokerOptions, ShutDownNotice};
use batonmq::protocol::openwire::OpenWireOptions;
use openwire::{
    Command, ConnectionInfo, Destination, KeepAliveInfo, Message, MessageAck, WireFormat,
};

use crate::harness::{Client, Harness, wait_for};

fn quick() -> OpenWireOptions {
    OpenWireOptions {
        max_inactivity: Duration::from_millis(300),
        max_inactivity_initial_delay: Duration::from_millis(100),
        ..OpenWireOptions::default()
    }
}

#[test]
fn the_handshake_says_what_was_agreed_on() {
    let harness = Harness::start();
    let mut client = Client::raw(&harness);
    let Command::WireFormatInfo(info) = client.receive() else {
        panic!("no WireFormatInfo")
    };
    let ours = WireFormat::from_info(&info).expect("a sensible one");
    assert_eq!(
        (ours.version, ours.max_inactivity_duration_ms),
        (12, 10_000)
    );
    assert!(!ours.tight_encoding_enabled && !ours.cache_enabled && !ours.size_prefix_disabled);
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let harness = Harness::start();
    let mut good = Client::connected(&harness, "good");
    let nonsense: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x05\x01NoMQ",
        b"\0\0\0\x06\x0a\0\0\0\x01\0",
        b"\0\0\0\x01\x63",
    ];
    for bytes in nonsense {
        let mut client = Client::raw(&harness);
        client.write(bytes);
        client.expect_closed();
        let mut client = Client::greeted(&harness);
        client.write(&[bytes, b"\0\0\0\x02\x63\x63"].concat());
        client.expect_closed();
    }
    good.request(any_request(&good));
}

/// A request that is always answered.
fn any_request(client: &Client) -> Command {
    client.consumer_info(1, &Destination::queue("Q")).into()
}

#[test]
fn a_frame_beyond_the_limit_closes_the_connection_before_it_costs_memory() {
    let options = OpenWireOptions {
        max_frame_bytes: 10_000,
        ..OpenWireOptions::default()
    };
    let harness = Harness::start_with(BrokerOptions::default(), options);
    let queue = Destination::queue("Q");
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue);
    let fits = client.message(&queue, &"x".repeat(9_000));
    client.request(fits.into());
    let large = client.message(&queue, &"x".repeat(10_000));
    client.send(&large.into());
    client.expect_closed();
}

#[test]
fn a_silent_peer_is_closed_and_one_that_only_keeps_alive_is_not() {
    let harness = Harness::start_with(BrokerOptions::default(), quick());
    let mut silent = Client::connected(&harness, "silent");
    let mut alive = Client::connected(&harness, "alive");
    let since = Instant::now();
    let mut heard = 0;
    alive
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout");
    while since.elapsed() < Duration::from_millis(900) {
        alive.send(&KeepAliveInfo::default().into());
        if let Ok(Some(Command::KeepAliveInfo(_))) = alive.try_receive() {
            heard += 1;
        }
    }
    assert!(
        heard > 2,
        "the broker keeps alive too, but did so {heard} times"
    );
    silent.expect_closed();
    alive
        .stream
        .set_read_timeout(Some(crate::harness::PATIENCE))
        .expect("a timeout");
    alive.request(any_request(&alive));
}

#[test]
fn a_peer_that_never_introduces_itself_is_closed() {
    let harness = Harness::start_with(BrokerOptions::default(), quick());
    let mut client = Client::raw(&harness);
    client.expect_closed();
}

#[test]
fn a_half_closed_or_half_said_connection_ends_cleanly() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    client.write(b"\0\0\x10\0\x17");
    client
        .stream
        .shutdown(Shutdown::Write)
        .expect("an open socket");
    client.expect_closed();
    wait_for("the connection to go", || {
        harness.broker().status().connections == 0
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let options = OpenWireOptions {
        connections_max: 1,
        ..OpenWireOptions::default()
    };
    let harness = Harness::start_with(BrokerOptions::default(), options);
    let first = Client::connected(&harness, "one");
    let mut second = Client::raw(&harness);
    let mut byte = [0];
    assert!(
        !matches!(second.stream.read(&mut byte), Ok(1)),
        "it was served"
    );
    drop(first);
    wait_for("a free place", || {
        let mut client = Client::raw(&harness);
        matches!(client.stream.read(&mut byte), Ok(1))
    });
}

#[test]
fn a_keep_alive_that_wants_an_answer_gets_a_keep_alive() {
    let harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    client.send(
        &KeepAliveInfo {
            command_id: 5,
            response_required: true,
        }
        .into(),
    );
    loop {
        match client.receive() {
            Command::KeepAliveInfo(info) => return assert!(!info.response_required),
            Command::Response(response) => panic!("{response:?}"),
            _ => {}
        }
    }
}

#[test]
fn a_consumer_that_does_not_read_holds_back_only_itself() {
    let broker_options = BrokerOptions {
        outbox_bytes: 64 << 10,
        ..BrokerOptions::default()
    };
    let harness = Harness::start_with(broker_options, OpenWireOptions::default());
    let queue = Destination::queue("Q");
    let mut lazy = Client::connected(&harness, "lazy");
    let mut info = lazy.consumer_info(1, &queue);
    info.prefetch_size = 30_000;
    lazy.request(info.into());
    let mut producer = Client::connected(&harness, "producer");
    producer.produce(&queue);
    let text = "x".repeat(20_000);
    for _ in 0..1_000 {
        let message = producer.message(&queue, &text);
        producer.request(message.into());
    }
    let in_flight = || harness.broker().status().destinations[0].in_flight;
    assert!(
        in_flight() < 1_000,
        "20 MB wait for a socket that nobody reads"
    );
    let mut eager = Client::connected(&harness, "eager");
    eager.request(eager.consumer_info(1, &queue).into());
    eager.dispatched();
    // Whoever starts to read gets everything.
    let mut info = lazy.consumer_info(1, &queue);
    info.prefetch_size = 30_000;
    for _ in 0..100 {
        lazy.dispatched();
    }
}

#[test]
fn nothing_is_acknowledged_while_the_lease_is_in_doubt() {
    let harness = Harness::start();
    let queue = Destination::queue("Q");
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue);
    harness.gate().fence();
    let message = client.message(&queue, "lost role");
    let mut command = Command::from(message);
    command.set_header(77, true);
    client.send(&command);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    loop {
        match client.try_receive() {
            Ok(Some(Command::Response(response))) => panic!("{response:?}"),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

#[test]
fn a_planned_end_tells_fault_tolerant_clients_where_to_go() {
    let mut harness = Harness::start();
    let mut client = Client::connected(&harness, "one");
    let mut plain = Client::greeted(&harness);
    let info = ConnectionInfo {
        fault_tolerant: false,
        connection_id: Some(openwire::ConnectionId::new("two")),
        ..plain.connection_info("two")
    };
    plain.request(info.into());
    let notice = ShutDownNotice {
        reconnect_to: Some("tcp://other:61616".to_owned()),
        grace: Duration::from_secs(5),
    };
    harness.shut_down(notice);
    let mut was_told = false;
    while let Ok(Some(command)) = client.try_receive() {
        if let Command::ConnectionControl(control) = command {
            was_told |= control.reconnect_to == Some("tcp://other:61616".into());
        }
    }
    assert!(was_told);
    plain.expect_closed();
}

#[test]
fn what_was_in_flight_at_a_takeover_comes_again_flagged_and_nothing_twice() {
    let mut harness = Harness::start();
    let queue = Destination::queue("Q");
    let mut client = Client::connected(&harness, "one");
    client.produce(&queue);
    for text in ["a", "b", "c"] {
        let message = client.message(&queue, text);
        client.request(message.into());
    }
    client.request(client.consumer_info(1, &queue).into());
    let (first, redeliveries) = client.dispatched();
    assert_eq!(redeliveries, 0);
    let ack = MessageAck {
        consumer_id: Some(client.id.session(1).consumer(1)),
        ack_type: openwire::AckKind::Standard.number(),
        last_message_id: first.message_id.clone(),
        message_count: 1,
        ..MessageAck::default()
    };
    client.request(ack.into());
    let unsure: Message = client.message(&queue, "d");
    client.request(unsure.clone().into());
    harness.take_over();
    let mut client = Client::greeted(&harness);
    client.id = openwire::ConnectionId::new("one");
    let info = ConnectionInfo {
        failover_reconnect: true,
        ..client.connection_info("one")
    };
    client.request(info.into());
    let session = openwire::SessionInfo {
        session_id: Some(client.id.session(1)),
        ..openwire::SessionInfo::default()
    };
    client.send(&session.into());
    client.produce(&queue);
    // The client does not know that this one arrived.
    client.request(unsure.into());
    client.request(client.consumer_info(1, &queue).into());
    let mut texts = Vec::new();
    for _ in 0..3 {
        let (message, redeliveries) = client.dispatched();
        assert_eq!(redeliveries, 1);
        texts.push(message.text().expect("a text").expect("a text").to_string());
    }
    assert_eq!(texts, ["b", "c", "d"]);
    assert_eq!(harness.broker().status().destinations[0].pending, 3);
}

#[test]
fn large_messages_of_many_connections_come_in_as_there_is_memory_for_them() {
    let options = OpenWireOptions {
        large_frame_bytes: 100_000,
        large_frames_bytes: 1_500_000,
        ..OpenWireOptions::default()
    };
    let harness = Harness::start_with(BrokerOptions::default(), options);
    let queue = Destination::queue("LARGE");
    let text = "x".repeat(1_000_000);
    // A frame that never comes whole must not keep the next ones out for good when it goes.
    let mut half = Client::connected(&harness, "half");
    half.produce(&queue);
    half.write(&1_000_000_u32.to_be_bytes());
    half.write(&[22; 500]);
    let mut senders = Vec::new();
    for number in 0..4 {
        let mut client = Client::connected(&harness, &format!("sender-{number}"));
        client.produce(&queue);
        let message = client.message(&queue, &text);
        senders.push(std::thread::spawn(move || {
            client.request(message.into());
            client
        }));
    }
    drop(half);
    let _connected: Vec<Client> = senders
        .into_iter()
        .map(|sender| sender.join().expect("an accepted message"))
        .collect();
    let mut consumer = Client::connected(&harness, "consumer");
    let info = consumer.consumer_info(1, &queue);
    consumer.request(info.into());
    for _ in 0..4 {
        assert_eq!(consumer.dispatched_text().len(), text.len());
    }
}
