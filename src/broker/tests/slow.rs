//! Slow consumers are found and aborted.

use std::time::Duration;

use super::super::policy::{Policies, Policy, SlowConsumerPolicy};
use super::*;

fn with_policy(slow: SlowConsumerPolicy) -> Fixture {
    let policy = Policy {
        slow_consumer: Some(slow),
        advisory_for_slow_consumers: true,
        ..Policy::default()
    };
    Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    })
}

fn quick() -> SlowConsumerPolicy {
    SlowConsumerPolicy {
        max_slow_duration: Some(Duration::from_millis(50)),
        check_period: Duration::from_millis(10),
        ..SlowConsumerPolicy::default()
    }
}

fn wait_for_order(peer: &Peer, order: Order) {
    wait_for("the order", || {
        peer.connection.outbox().take_orders().contains(&order)
    });
}

#[test]
fn a_consumer_with_a_full_window_is_told_to_close_and_then_closed() {
    for destination in [queue(), topic()] {
        let fixture = with_policy(quick());
        let mut slow = fixture.connect("slow");
        let mut quick = fixture.connect("quick");
        slow.consume(1, &destination, 2);
        for number in 0..20 {
            quick.send(&destination, &number.to_string());
        }
        wait_for_order(&slow, Order::Close(ConsumerTag(1)));
        let name = destination.name_str().to_owned();
        wait_for("the end of the consumer", || {
            fixture.status(&name).consumers == 0
        });
        slow.look();
    }
}

#[test]
fn a_consumer_that_keeps_up_is_left_alone() {
    let fixture = with_policy(quick());
    let mut peer = fixture.connect("one");
    peer.consume(1, &queue(), 2);
    for number in 0..20 {
        peer.send(&queue(), &number.to_string());
        let delivery = peer.next(1);
        std::thread::sleep(Duration::from_millis(5));
        peer.acknowledge(1, &delivery);
    }
    assert!(peer.connection.outbox().take_orders().is_empty());
}

#[test]
fn without_acknowledgements_for_too_long_the_connection_ends_if_that_is_chosen() {
    let fixture = with_policy(SlowConsumerPolicy {
        max_time_since_last_ack: Some(Duration::from_millis(20)),
        abort_connection: true,
        ..quick()
    });
    let mut peer = fixture.connect("one");
    let idle = fixture.connect("idle");
    idle.consume(1, &topic(), 10);
    peer.consume(1, &queue(), 10);
    peer.send(&queue(), "1");
    wait_for("the end", || *peer.connection.watch_replaced().borrow());
    assert!(
        !*idle.connection.watch_replaced().borrow(),
        "it is only idle"
    );
}

#[test]
fn a_slow_subscription_of_several_topics_is_advised_for_each_of_them() {
    let policy = Policy {
        advisory_for_slow_consumers: true,
        ..Policy::default()
    };
    let fixture = Fixture::with(BrokerOptions {
        policies: Policies::new(policy, Vec::new()),
        ..BrokerOptions::default()
    });
    let mut peer = fixture.connect("one");
    let advisories = Destination::topic("ActiveMQ.Advisory.SlowConsumer.Topic.>");
    peer.consume(2, &advisories, 100);
    let durable = ConsumerRequest {
        subscription_name: Some("s".into()),
        prefetch: 1,
        ..peer.request(1, &Destination::topic("A.*"))
    };
    peer.settle(peer.connection.add_consumer(durable).expect("a consumer"));
    for name in ["A.x", "A.y", "A.x"] {
        peer.send(&Destination::topic(name), "1");
    }
    let mut advised: Vec<String> = (0..2)
        .map(|_| {
            let message = peer.next(2).message.expect("a message");
            message.destination().name_str().to_owned()
        })
        .collect();
    advised.sort();
    let prefix = "ActiveMQ.Advisory.SlowConsumer.Topic";
    assert_eq!(advised, [format!("{prefix}.A.x"), format!("{prefix}.A.y")]);
    peer.expect_nothing(2);
}
