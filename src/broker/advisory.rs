//! Advisories: messages on `ActiveMQ.Advisory` topics about what happens in the broker.
//!
//! Java clients keep their list of temporary destinations by them. An advisory is built only when
//! somebody is subscribed to its topic.

use std::sync::Arc;

use openwire::primitive::{PrimitiveMap, Value};
use openwire::{
    Command, ConnectionId, Destination, DestinationInfo, DestinationKind, MessageKind, RemoveInfo,
    WireString,
};

use super::destination::Target;
use super::topic::{Topic, TopicConsumer};
use super::{Broker, Message, wall_ms};

const PREFIX: &str = "ActiveMQ.Advisory.";

/// Whether a destination is an advisory topic; what happens to those is not advised.
fn is_advisory(destination: &Destination) -> bool {
    destination.kind == DestinationKind::Topic
        && destination
            .name
            .as_ref()
            .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()))
}

/// The part of an advisory topic's name that stands for a kind of destination.
fn kind_name(kind: DestinationKind) -> &'static str {
    match kind {
        DestinationKind::Queue => "Queue",
        DestinationKind::Topic => "Topic",
        DestinationKind::TempQueue => "TempQueue",
        DestinationKind::TempTopic => "TempTopic",
    }
}

fn topic(rest: &str) -> Destination {
    Destination::topic(format!("{PREFIX}{rest}"))
}

/// The advisory topic about consumers or producers of a destination.
fn topic_about(what: &str, destination: &Destination) -> Destination {
    let kind = if destination.kind.is_queue() {
        "Queue"
    } else {
        "Topic"
    };
    let name = destination.name.clone().unwrap_or_default();
    topic(&format!("{what}.{kind}.{name}"))
}

fn destination_info(name: &Destination, owner: Option<&ConnectionId>, is_added: bool) -> Command {
    let operation_type = if is_added {
        DestinationInfo::ADD
    } else {
        DestinationInfo::REMOVE
    };
    Command::from(DestinationInfo {
        connection_id: owner.cloned(),
        destination: Some(name.clone()),
        operation_type,
        ..DestinationInfo::default()
    })
}

impl Broker {
    /// A destination came or went.
    pub(super) fn advise_destination(self: &Arc<Self>, name: &Destination, is_added: bool) {
        if is_advisory(name) {
            return;
        }
        self.advise(&topic(kind_name(name.kind)), || {
            (destination_info(name, None, is_added), None)
        });
    }

    /// A connection was opened.
    pub(super) fn advise_connection(self: &Arc<Self>, announcement: &Command) {
        self.advise(&topic("Connection"), || {
            (without_password(announcement), None)
        });
    }

    /// A connection ended.
    pub(super) fn advise_disconnection(self: &Arc<Self>, id: &ConnectionId) {
        self.advise(&topic("Connection"), || {
            (RemoveInfo::of(id.clone()).into(), None)
        });
    }

    /// A consumer came or went.
    pub(super) fn advise_consumer(
        self: &Arc<Self>,
        destination: &Destination,
        announcement: &Command,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(&topic_about("Consumer", destination), || {
            let count = self
                .find(destination)
                .map_or(0, |target| target.consumer_count());
            (announcement.clone(), Some(("consumerCount", count)))
        });
    }

    /// A producer came or went.
    pub(super) fn advise_producer(
        self: &Arc<Self>,
        destination: &Destination,
        announcement: &Command,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(&topic_about("Producer", destination), || {
            let producers = self.find(destination).map_or(0, |target| {
                target
                    .counters()
                    .producers
                    .load(std::sync::atomic::Ordering::Relaxed)
            });
            (announcement.clone(), Some(("producerCount", producers)))
        });
    }

    /// Tells a new consumer of advisories what was there before it.
    pub(super) fn replay_advisories(self: &Arc<Self>, topic: &Topic, consumer: &TopicConsumer) {
        let name = topic.name().name_str();
        let Some(what) = name.strip_prefix(PREFIX) else {
            return;
        };
        let kinds = [
            DestinationKind::Queue,
            DestinationKind::Topic,
            DestinationKind::TempQueue,
            DestinationKind::TempTopic,
        ];
        let payloads: Vec<Command> =
            if let Some(kind) = kinds.into_iter().find(|kind| kind_name(*kind) == what) {
                let destinations = self.destinations.read();
                destinations
                    .iter()
                    .filter(|(name, _)| name.kind == kind && !is_advisory(name))
                    .map(|(name, target)| destination_info(name, target.owner(), true))
                    .collect()
            } else if what == "Connection" {
                let connections = self.connections.lock();
                connections
                    .iter()
                    .map(|other| without_password(other.announcement()))
                    .collect()
            } else {
                return;
            };
        for payload in payloads {
            if let Some(message) = self.advisory(topic.name(), payload, None, Some(consumer)) {
                consumer.offer(&Arc::new(message));
            }
        }
    }

    pub(super) fn find(&self, name: &Destination) -> Option<Target> {
        self.destinations.read().get(name).cloned()
    }

    fn advise(
        self: &Arc<Self>,
        name: &Destination,
        about: impl FnOnce() -> (Command, Option<(&'static str, usize)>),
    ) {
        let Some(Target::Topic(topic)) = self.find(name) else {
            return;
        };
        if topic.consumer_count() == 0 {
            return;
        }
        let (payload, count) = about();
        if let Some(message) = self.advisory(name, payload, count, None) {
            self.publish_memory(&Target::Topic(topic), &Arc::new(message));
        }
    }

    fn advisory(
        &self,
        topic: &Destination,
        payload: Command,
        count: Option<(&'static str, usize)>,
        only: Option<&TopicConsumer>,
    ) -> Option<Message> {
        let mut properties = PrimitiveMap::new();
        let id = self.id().value.clone().unwrap_or_default();
        properties.insert("originBrokerId", Value::String(id));
        properties.insert(
            "originBrokerName",
            Value::String(self.options().name.as_str().into()),
        );
        let url = self.options().peers.join(",");
        properties.insert("originBrokerURL", Value::String(WireString::from(url)));
        if let Some((name, count)) = count {
            properties.insert(name, Value::Int(i32::try_from(count).unwrap_or(i32::MAX)));
        }
        let producer = ConnectionId {
            value: self.id().value.clone(),
        }
        .session(-1)
        .producer(1);
        let number = i64::try_from(self.next_number()).unwrap_or(i64::MAX);
        let message = openwire::Message {
            kind: MessageKind::Plain,
            producer_id: Some(producer.clone()),
            message_id: Some(producer.message(number)),
            destination: Some(topic.clone()),
            message_type: Some(WireString::from_static("Advisory")),
            timestamp: wall_ms(),
            data_structure: Some(Box::new(payload)),
            target_consumer_id: only.map(|consumer| consumer.address.id.clone()),
            marshalled_properties: properties.encode().ok(),
            ..openwire::Message::default()
        };
        Message::made(&message, self.memory())
            .inspect_err(|error| tracing::error!(%topic, %error, "An advisory cannot be made."))
            .ok()
    }
}

/// A connection's announcement as others may see it.
fn without_password(announcement: &Command) -> Command {
    match announcement {
        Command::ConnectionInfo(info) => {
            let mut info = info.clone();
            info.password = None;
            Command::ConnectionInfo(info)
        }
        other => other.clone(),
    }
}
