//! Advisories: messages on `ActiveMQ.Advisory` topics about what happens in the broker.
//!
//! Java clients keep their list of temporary destinations by them, brokers of a network their demand.
//! There is one method for each kind, to be called when it happened and with no lock held that sending
//! a message would need. An advisory is built only when somebody is subscribed to its topic, and
//! nothing that happens to an advisory is advised.

mod life;
mod messages;
mod replay;

use std::sync::Arc;

use openwire::primitive::{PrimitiveMap, Value};
use openwire::{
    Command, ConnectionId, ConsumerId, Destination, DestinationKind, MessageKind, WireString,
};

pub(super) use self::replay::Announced;

use super::destination::Target;
use super::topic::Topic;
use super::{Broker, Message, wall_ms};

const PREFIX: &str = "ActiveMQ.Advisory.";

/// What can be chosen about advisories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advisories {
    /// There are advisories; ActiveMQ's `advisorySupport`. Java clients must be told by
    /// `jms.watchTopicAdvisories=false` when there are none.
    pub is_enabled: bool,
    /// Advise of producers without a destination of their own, too; ActiveMQ's
    /// `anonymousProducerAdvisorySupport`.
    pub anonymous_producers: bool,
}

impl Default for Advisories {
    fn default() -> Self {
        Advisories {
            is_enabled: true,
            anonymous_producers: false,
        }
    }
}

/// What an advisory says beside where it comes from.
type Properties = Vec<(&'static str, Value)>;

/// Whether a destination is an advisory topic; what happens to those is not advised.
pub(super) fn is_advisory(destination: &Destination) -> bool {
    let has_prefix = |name: &[u8]| name.starts_with(PREFIX.as_bytes());
    destination.kind == DestinationKind::Topic
        && destination.name.as_ref().is_some_and(|name| {
            name.as_bytes().split(|&byte| byte == b',').any(|part| {
                let part = part.trim_ascii();
                has_prefix(part.strip_prefix(b"topic://").unwrap_or(part))
            })
        })
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

/// The advisory topic about something at a destination, by its kind alone: temporary queues are
/// queues there.
fn topic_about(what: &str, destination: &Destination) -> Destination {
    let kind = if destination.kind.is_queue() {
        "Queue"
    } else {
        "Topic"
    };
    let name = destination.name.clone().unwrap_or_default();
    topic(&format!("{what}.{kind}.{name}"))
}

/// The same for those topics in whose names temporary destinations have kinds of their own.
fn topic_about_kind(what: &str, destination: &Destination) -> Destination {
    let name = destination.name.clone().unwrap_or_default();
    topic(&format!("{what}.{}.{name}", kind_name(destination.kind)))
}

/// The advisory topic about consumers or producers of a destination. A composite name stays one,
/// but must not make the topic's name one of several topics.
fn topic_about_clients(what: &str, destination: &Destination) -> Destination {
    let topic = topic_about(what, destination);
    let name = topic.name.unwrap_or_default().to_string();
    Destination::topic(name.replace(',', "&sbquo;"))
}

fn int(count: usize) -> Value {
    Value::Int(i32::try_from(count).unwrap_or(i32::MAX))
}

fn text(text: &impl ToString) -> Value {
    Value::String(text.to_string().as_str().into())
}

impl Broker {
    /// The advisory topic with this name, if somebody is subscribed to it.
    fn listened(self: &Arc<Self>, name: &Destination) -> Option<Arc<Topic>> {
        if !self.options().advisories.is_enabled {
            return None;
        }
        let topic = match self.find(name) {
            Some(Target::Topic(topic)) => topic,
            // A consumer with wildcards waits for it.
            None if self.is_watched(name) => self.topic_named(name).ok()?,
            Some(Target::Queue(_)) | None => return None,
        };
        (topic.consumer_count() > 0).then_some(topic)
    }

    fn advise(
        self: &Arc<Self>,
        name: &Destination,
        about: impl FnOnce() -> (Option<Command>, Properties),
    ) {
        let Some(topic) = self.listened(name) else {
            return;
        };
        let (payload, properties) = about();
        if let Some(message) = self.advisory(name, payload, properties, None) {
            self.publish_memory(&Target::Topic(topic), &Arc::new(message));
        }
    }

    fn advisory(
        &self,
        topic: &Destination,
        payload: Option<Command>,
        more: Properties,
        only: Option<&ConsumerId>,
    ) -> Option<Message> {
        let mut properties = PrimitiveMap::new();
        let id = self.id().value.clone().unwrap_or_default();
        properties.insert("originBrokerId", Value::String(id));
        let name = self.options().name.as_str();
        properties.insert("originBrokerName", Value::String(name.into()));
        let url = self.options().peers.join(",");
        properties.insert("originBrokerURL", Value::String(WireString::from(url)));
        for (name, value) in more {
            properties.insert(name, value);
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
            data_structure: payload.map(Box::new),
            target_consumer_id: only.cloned(),
            marshalled_properties: properties.encode().ok(),
            ..openwire::Message::default()
        };
        Message::made(&message, self.memory())
            .inspect_err(|error| tracing::error!(%topic, %error, "An advisory cannot be made."))
            .ok()
    }
}
