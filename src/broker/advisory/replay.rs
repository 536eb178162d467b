//! Who consumes and produces now, for advisories about them and for consumers of advisories that
//! come later.

use std::collections::HashMap;
use std::sync::Arc;

use openwire::{Command, ConsumerId, Destination, ProducerId};
use parking_lot::Mutex;

use super::life::{destination_info, without_password};
use super::{PREFIX, Properties, int, is_advisory, kind_name, topic, topic_about_clients};
use crate::broker::Broker;
use crate::broker::names::Reach;
use crate::broker::topic::TopicConsumer;

/// The announcements of all consumers and producers that are advised of.
#[derive(Default)]
pub(in crate::broker) struct Announced(Mutex<Clients>);

#[derive(Default)]
struct Clients {
    consumers: HashMap<ConsumerId, Announcement>,
    /// A producer with a composite destination is announced for each part.
    producers: HashMap<ProducerId, Vec<Announcement>>,
    last_number: u64,
}

#[derive(Clone)]
struct Announcement {
    /// Replays have the order of arrival.
    number: u64,
    destination: Option<Destination>,
    info: Command,
}

impl Announced {
    /// Keeps the announcement of a client, or forgets it with that of its end.
    pub(super) fn note(&self, destination: Option<&Destination>, announcement: &Command) {
        let mut clients = self.0.lock();
        let clients = &mut *clients;
        clients.last_number += 1;
        let kept = || Announcement {
            number: clients.last_number,
            destination: destination.map(Destination::detached),
            info: announcement.clone(),
        };
        match announcement {
            Command::ConsumerInfo(info) => {
                if let Some(id) = &info.consumer_id {
                    clients.consumers.insert(id.detached(), kept());
                }
            }
            Command::ProducerInfo(info) => {
                if let Some(id) = &info.producer_id {
                    let kept = kept();
                    clients
                        .producers
                        .entry(id.detached())
                        .or_default()
                        .push(kept);
                }
            }
            Command::RemoveInfo(info) => match info.object_id.as_deref() {
                Some(Command::ConsumerId(id)) => drop(clients.consumers.remove(id)),
                Some(Command::ProducerId(id)) => drop(clients.producers.remove(id)),
                _ => {}
            },
            _ => {}
        }
    }

    pub(super) fn consumer(&self, id: &ConsumerId) -> Option<Command> {
        self.0.lock().consumers.get(id).map(|one| one.info.clone())
    }

    pub(super) fn producer(&self, id: &ProducerId) -> Option<Command> {
        let clients = self.0.lock();
        clients
            .producers
            .get(id)?
            .first()
            .map(|one| one.info.clone())
    }

    /// The announcements of all consumers, in the order in which they came.
    pub(in crate::broker) fn consumer_infos(&self) -> Vec<Command> {
        self.consumers().into_iter().map(|one| one.info).collect()
    }

    fn consumers(&self) -> Vec<Announcement> {
        let mut all: Vec<_> = self.0.lock().consumers.values().cloned().collect();
        all.sort_unstable_by_key(|one| one.number);
        all
    }

    fn producers(&self) -> Vec<Announcement> {
        let mut all: Vec<_> = self
            .0
            .lock()
            .producers
            .values()
            .flatten()
            .cloned()
            .collect();
        all.sort_unstable_by_key(|one| one.number);
        all
    }
}

/// An advisory that a new consumer is told.
struct Replayed {
    topic: Destination,
    payload: Command,
    properties: Properties,
}

impl Replayed {
    fn new(topic: Destination, payload: Command) -> Self {
        Replayed {
            topic,
            payload,
            properties: Vec::new(),
        }
    }
}

impl Reach {
    fn includes(&self, name: &Destination) -> bool {
        self.names.contains(name) || self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether an advisory topic with this beginning may be among what it stands for.
    fn concerns(&self, what: &str) -> bool {
        let beginning = format!("{PREFIX}{what}");
        let has_beginning = |name: &Destination| name.name_str().starts_with(&beginning);
        self.names.iter().any(has_beginning)
            || self
                .patterns
                .iter()
                .any(|pattern| has_beginning(&pattern.to_destination()))
    }
}

impl Broker {
    /// Tells a new consumer of topics, which stands for `reach`, what was there before it.
    pub(in crate::broker) fn replay_advisories(
        self: &Arc<Self>,
        reach: &Reach,
        consumer: &TopicConsumer,
    ) {
        if !self.options().advisories.is_enabled || !reach.concerns("") {
            return;
        }
        let mut replayed = Vec::new();
        if reach.includes(&topic("Connection")) {
            let connections = self.connections.lock();
            let announcements = connections.iter().map(|other| {
                Replayed::new(topic("Connection"), without_password(other.announcement()))
            });
            replayed.extend(announcements);
        }
        self.replay_destinations(&mut replayed);
        if reach.concerns("Producer.") {
            self.replay_producers(&mut replayed);
        }
        if reach.concerns("Consumer.") {
            self.replay_consumers(&mut replayed);
        }
        for one in replayed {
            if !reach.includes(&one.topic) {
                continue;
            }
            let only = Some(&consumer.address.id);
            if let Some(message) =
                self.advisory(&one.topic, Some(one.payload), one.properties, only)
            {
                consumer.replay(&Arc::new(message));
            }
        }
    }

    fn replay_destinations(&self, replayed: &mut Vec<Replayed>) {
        let destinations = self.destinations.read();
        let others = destinations.iter().filter(|(name, _)| !is_advisory(name));
        replayed.extend(others.map(|(name, target)| {
            let info = destination_info(name, target.owner(), true);
            Replayed::new(topic(kind_name(name.kind)), info)
        }));
    }

    fn replay_consumers(&self, replayed: &mut Vec<Replayed>) {
        for one in self.announced.consumers() {
            let Some(destination) = &one.destination else {
                continue;
            };
            replayed.push(Replayed {
                topic: topic_about_clients("Consumer", destination),
                properties: vec![("consumerCount", int(self.consumers_of(destination)))],
                payload: one.info,
            });
        }
    }

    fn replay_producers(&self, replayed: &mut Vec<Replayed>) {
        for one in self.announced.producers() {
            let (topic, count) = match &one.destination {
                None => (topic("Producer.Anonymous"), 0),
                Some(destination) => (
                    topic_about_clients("Producer", destination),
                    self.producers_of(destination),
                ),
            };
            replayed.push(Replayed {
                topic,
                properties: vec![("producerCount", int(count))],
                payload: one.info,
            });
        }
    }
}
