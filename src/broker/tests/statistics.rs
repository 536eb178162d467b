//! Questions for statistics by message.

use openwire::ConsumerInfo;
use openwire::body::Body;
use openwire::primitive::{PrimitiveMap, Value};

use super::*;

fn fixture() -> Fixture {
    Fixture::with(BrokerOptions {
        statistics: true,
        ..BrokerOptions::default()
    })
}

fn ask(peer: &mut Peer, name: &str) {
    let mut question = peer.message(&Destination::queue(name), "");
    question.persistent = false;
    question.reply_to = Some(Destination::queue("Replies"));
    question.correlation_id = Some("7".into());
    peer.send_message(&question);
}

fn answer(peer: &mut Peer) -> PrimitiveMap {
    let delivery = peer.next(9);
    let message = delivery.message.as_ref().expect("a message");
    let decoded = message.stored().decode().expect("a message");
    assert_eq!(decoded.correlation_id, Some("7".into()));
    match decoded.body().expect("a body") {
        Body::Map(map) => map,
        other => panic!("{other:?}"),
    }
}

fn number(map: &PrimitiveMap, name: &str) -> i64 {
    match map.get(name) {
        Some(Value::Long(number)) => *number,
        Some(Value::Int(number)) => i64::from(*number),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn destinations_and_the_broker_answer_with_numbers() {
    let fixture = fixture();
    let mut peer = fixture.connect("c");
    peer.consume(9, &Destination::queue("Replies"), 100);
    peer.send_all(&Destination::queue("A.1"), &["a", "b", "c"]);
    peer.send(&Destination::queue("A.2"), "a");
    peer.consume(1, &Destination::queue("A.1"), 2);
    let delivery = peer.next(1);
    peer.acknowledge(1, &delivery);
    ask(&mut peer, "ActiveMQ.Statistics.Destination.A.*");
    let (one, two) = (answer(&mut peer), answer(&mut peer));
    assert_eq!(
        one.get("destinationName"),
        Some(&Value::from("queue://A.1"))
    );
    assert_eq!(
        two.get("destinationName"),
        Some(&Value::from("queue://A.2"))
    );
    let expected = [
        ("size", 2),
        ("enqueueCount", 3),
        ("dequeueCount", 1),
        ("dispatchCount", 3),
        ("inflightCount", 2),
        ("consumerCount", 1),
    ];
    for (name, expected) in expected {
        assert_eq!(number(&one, name), expected, "{name}");
    }
    assert!(number(&one, "averageMessageSize") > 0);
    ask(&mut peer, "ActiveMQ.Statistics.Broker");
    let broker = answer(&mut peer);
    assert_eq!(broker.get("brokerName"), Some(&Value::from("baton")));
    assert_eq!(number(&broker, "consumerCount"), 2);
    assert!(number(&broker, "storeUsage") > 0);
}

#[test]
fn a_list_can_end_with_an_empty_map_and_subscriptions_are_told_one_by_one() {
    let fixture = fixture();
    let mut peer = fixture.connect("c");
    peer.consume(9, &Destination::queue("Replies"), 100);
    ask(
        &mut peer,
        "ActiveMQ.Statistics.Destination.NoneActiveMQ.Statistics.Destination.List.End.With.Null",
    );
    assert!(answer(&mut peer).is_empty());
    let info = ConsumerInfo {
        consumer_id: Some(peer.consumer(1)),
        destination: Some(queue()),
        prefetch_size: 5,
        ..ConsumerInfo::default()
    };
    let request = ConsumerRequest {
        announcement: info.into(),
        ..peer.request(1, &queue())
    };
    peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    peer.send(&queue(), "m");
    peer.next(1);
    ask(&mut peer, "ActiveMQ.Statistics.Subscription");
    let subscription = answer(&mut peer);
    assert_eq!(subscription.get("clientId"), Some(&Value::from("c")));
    assert_eq!(number(&subscription, "dispatchedQueueSize"), 1);
    assert_eq!(number(&subscription, "prefetchSize"), 5);
}

#[test]
fn without_the_option_a_question_is_a_message_like_any_other() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect("c");
    ask(&mut peer, "ActiveMQ.Statistics.Broker");
    assert_eq!(fixture.status("ActiveMQ.Statistics.Broker").pending, 1);
}
