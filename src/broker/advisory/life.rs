//! Advisories about what comes and goes: connections, consumers, producers, destinations, the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::primitive::Value;
use openwire::{
    Command, ConnectionId, ConsumerId, Destination, DestinationInfo, ProducerId, RemoveInfo,
    WireString,
};

use super::{
    int, is_advisory, kind_name, text, topic, topic_about, topic_about_clients, topic_about_kind,
};
use crate::broker::Broker;
use crate::broker::destination::Target;
use crate::broker::policy::DestinationPattern;

pub(super) fn destination_info(
    name: &Destination,
    owner: Option<&ConnectionId>,
    is_added: bool,
) -> Command {
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

/// A connection's announcement as others may see it.
pub(super) fn without_password(announcement: &Command) -> Command {
    match announcement {
        Command::ConnectionInfo(info) => {
            let mut info = info.clone();
            info.password = Some(WireString::default().into());
            Command::ConnectionInfo(info)
        }
        other => other.clone(),
    }
}

impl Broker {
    /// A destination came or went; `by` made it.
    pub(in crate::broker) fn advise_destination(
        self: &Arc<Self>,
        name: &Destination,
        by: Option<&ConnectionId>,
        is_added: bool,
    ) {
        if is_advisory(name) {
            return;
        }
        self.advise(&topic(kind_name(name.kind)), || {
            (Some(destination_info(name, by, is_added)), Vec::new())
        });
        if !is_added {
            self.drop_advisory_topics(name);
        }
    }

    /// The topics of advisories about a destination that is gone, if nobody consumes from them.
    fn drop_advisory_topics(self: &Arc<Self>, name: &Destination) {
        let by_kind = [
            "SlowConsumer",
            "FastProducer",
            "MessageDiscarded",
            "MessageDelivered",
            "MessageConsumed",
            "MessageDLQd",
            "FULL",
        ];
        let about = ["Expired", "NoConsumer"];
        let topics = ["Consumer", "Producer"]
            .map(|what| topic_about_clients(what, name))
            .into_iter()
            .chain(about.map(|what| topic_about(what, name)))
            .chain(by_kind.map(|what| topic_about_kind(what, name)));
        for topic in topics {
            let mut destinations = self.destinations.write();
            if destinations
                .get(&topic)
                .is_some_and(|target| target.consumer_count() == 0)
            {
                destinations.remove(&topic);
                self.routes_version.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// A connection was opened.
    pub(in crate::broker) fn advise_connection(self: &Arc<Self>, announcement: &Command) {
        self.advise(&topic("Connection"), || {
            (Some(without_password(announcement)), Vec::new())
        });
    }

    /// A connection ended.
    pub(in crate::broker) fn advise_disconnection(self: &Arc<Self>, id: &ConnectionId) {
        self.advise(&topic("Connection"), || {
            (Some(RemoveInfo::of(id.clone()).into()), Vec::new())
        });
    }

    /// A consumer came, which its `ConsumerInfo` says, or went, which a `RemoveInfo` or a
    /// `RemoveSubscriptionInfo` says. The destination is that of the consumer as a whole, composite
    /// names and wildcards included.
    pub(in crate::broker) fn advise_consumer(
        self: &Arc<Self>,
        destination: &Destination,
        announcement: &Command,
    ) {
        self.advise_client("Consumer", destination, announcement, || {
            ("consumerCount", int(self.consumers_of(destination)))
        });
    }

    /// A producer came, which its `ProducerInfo` says, or went, which a `RemoveInfo` says. None: it
    /// has no destination of its own.
    pub(in crate::broker) fn advise_producer(
        self: &Arc<Self>,
        destination: Option<&Destination>,
        announcement: &Command,
    ) {
        let Some(destination) = destination else {
            if self.options().advisories.anonymous_producers {
                self.announced.note(None, announcement);
                self.advise(&topic("Producer.Anonymous"), || {
                    (Some(announcement.clone()), vec![("producerCount", int(0))])
                });
            }
            return;
        };
        self.advise_client("Producer", destination, announcement, || {
            ("producerCount", int(self.producers_of(destination)))
        });
    }

    /// A consumer or a producer of a destination came or went; with how many there are now. Of a temporary
    /// destination that is gone nobody is told who left it.
    fn advise_client(
        self: &Arc<Self>,
        what: &str,
        destination: &Destination,
        announcement: &Command,
        count: impl FnOnce() -> (&'static str, Value),
    ) {
        if is_advisory(destination) {
            return;
        }
        self.announced.note(Some(destination), announcement);
        if is_gone(announcement)
            && destination.kind.is_temporary()
            && self.find(destination).is_none()
        {
            return;
        }
        self.advise(&topic_about_clients(what, destination), || {
            (Some(announcement.clone()), vec![count()])
        });
    }

    /// A consumer does not keep up with what its destination has for it.
    pub(in crate::broker) fn advise_slow_consumer(
        self: &Arc<Self>,
        destination: &Destination,
        consumer: &ConsumerId,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(&topic_about_kind("SlowConsumer", destination), || {
            let info = self.announced.consumer(consumer);
            (info, vec![("consumerId", text(consumer))])
        });
    }

    /// A producer sends more than its destination can take.
    pub(in crate::broker) fn advise_fast_producer(
        self: &Arc<Self>,
        destination: &Destination,
        producer: &ProducerId,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(&topic_about_kind("FastProducer", destination), || {
            let info = self.announced.producer(producer);
            (info, vec![("producerId", text(producer))])
        });
    }

    /// A limit is reached: `usage` is its name, `used` what is used of it.
    pub(in crate::broker) fn advise_full(
        self: &Arc<Self>,
        destination: &Destination,
        usage: &str,
        used: u64,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(&topic_about_kind("FULL", destination), || {
            let used = i64::try_from(used).unwrap_or(i64::MAX);
            let properties = vec![
                ("usageName", text(&usage)),
                ("usageCount", openwire::primitive::Value::Long(used)),
            ];
            (None, properties)
        });
    }

    /// This broker serves from now on. Only who gets to see the past of that topic can know.
    pub(in crate::broker) fn advise_master(self: &Arc<Self>) {
        self.advise(&topic("MasterBroker"), || (None, Vec::new()));
    }

    /// Consumers of everything that a name stands for.
    pub(super) fn consumers_of(&self, destination: &Destination) -> usize {
        self.sum(destination, Target::consumer_count)
    }

    /// Producers of everything that a name stands for.
    pub(super) fn producers_of(&self, destination: &Destination) -> usize {
        self.sum(destination, |target| {
            target.counters().producers.load(Ordering::Relaxed)
        })
    }

    fn sum(&self, destination: &Destination, count: impl Fn(&Target) -> usize) -> usize {
        let Ok(parts) = crate::broker::names::parts(destination) else {
            return 0;
        };
        let destinations = self.destinations.read();
        let of_part = |part: &Destination| -> usize {
            let pattern = DestinationPattern::of(part);
            if !pattern.has_wildcard() {
                return destinations.get(part).map_or(0, &count);
            }
            destinations
                .iter()
                .filter(|(name, _)| pattern.matches(name))
                .map(|(_, target)| count(target))
                .sum()
        };
        parts.iter().map(of_part).sum()
    }
}

/// Whether an announcement is one of an end.
fn is_gone(announcement: &Command) -> bool {
    matches!(
        announcement,
        Command::RemoveInfo(_) | Command::RemoveSubscriptionInfo(_)
    )
}
