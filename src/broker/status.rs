//! What the broker says of itself to status pages.

use std::sync::atomic::Ordering;

use openwire::{Destination, DestinationKind};
use serde::Serialize;
use storage::journal::{SpaceUsage, SyncMethod};
use storage::store::Writing;

use super::destination::Target;
use super::queue::Counters;
use super::usage::{BlockedProducer, Class, LimitKind};
use super::{Broker, InDoubtReport};

/// The broker at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BrokerStatus {
    /// Open connections.
    pub connections: usize,
    /// Bytes of persistent bodies in memory beside the journal.
    pub cached_bytes: usize,
    /// What the broker uses of what it may; the names are those of ActiveMQ's configuration.
    pub limits: Vec<LimitStatus>,
    /// Producers that wait for room, the longest first.
    pub blocked_producers: Vec<BlockedProducer>,
    /// Distributed transactions that wait for a decision, or that operators decided.
    pub transactions: InDoubtReport,
    /// Messages that wait to be delivered later.
    pub scheduled_messages: usize,
    /// How the journal directory's space is used.
    pub space: SpaceStatus,
    /// How the journal is being written.
    pub writing: WritingStatus,
    /// Queues, topics and durable subscriptions, by name.
    pub destinations: Vec<DestinationStatus>,
}

/// How the journal directory's space is used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SpaceStatus {
    /// As the journal's keeper last saw it.
    #[serde(flatten)]
    pub usage: SpaceUsage,
    /// What `disk_bytes` is kept below: twice the live bytes and two segments.
    pub bound_bytes: u64,
}

impl From<SpaceUsage> for SpaceStatus {
    fn from(usage: SpaceUsage) -> Self {
        SpaceStatus {
            usage,
            bound_bytes: 2 * usage.live_bytes + 2 * usage.segment_bytes,
        }
    }
}

/// How the journal is being written.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct WritingStatus {
    /// Batches under way.
    pub in_flight: usize,
    /// How many may be under way at once, as storage is now.
    pub depth: usize,
    /// The usual time of a durable write while no other is under way, in microseconds; null until
    /// one was measured.
    pub round_trip_us: Option<u64>,
    /// How a batch is made durable: `dsync` or `fdatasync`; `measuring` at a tenure's beginning.
    pub method: &'static str,
}

impl From<Writing> for WritingStatus {
    fn from(writing: Writing) -> Self {
        let round_trip_us = writing.round_trip.as_micros() as u64;
        WritingStatus {
            in_flight: writing.in_flight,
            depth: writing.depth,
            round_trip_us: (round_trip_us > 0).then_some(round_trip_us),
            method: match writing.sync {
                SyncMethod::Auto => "measuring",
                SyncMethod::Dsync => "dsync",
                SyncMethod::Fdatasync => "fdatasync",
            },
        }
    }
}

/// One limit at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct LimitStatus {
    /// `memoryUsage`, `storeUsage` or `tempUsage`.
    pub name: &'static str,
    /// Bytes used.
    pub used_bytes: u64,
    /// The limit; null = none but the disk's.
    pub limit_bytes: Option<u64>,
    /// How much of it is used.
    pub percent: Option<u64>,
}

impl LimitStatus {
    /// A limit of 0 is none.
    fn new(kind: LimitKind, used_bytes: u64, limit: u64) -> Self {
        let limit_bytes = (limit > 0).then_some(limit);
        LimitStatus {
            name: kind.name(),
            used_bytes,
            limit_bytes,
            percent: limit_bytes.map(|limit| used_bytes.saturating_mul(100) / limit),
        }
    }
}

/// One destination at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationStatus {
    /// The name; of a durable subscription `topic (client id, name)`.
    pub name: String,
    /// `queue`, `topic`, `temp-queue`, `temp-topic` or `subscription`.
    pub kind: &'static str,
    /// Messages waiting or in flight.
    pub pending: usize,
    /// Messages dispatched and not acknowledged.
    pub in_flight: usize,
    /// Consumers and browsers; of a topic, durable subscriptions too.
    pub consumers: usize,
    /// Producers that were opened for it.
    pub producers: usize,
    /// Messages that came in this tenure.
    pub enqueued: u64,
    /// Messages that were consumed, expired or given up in this tenure; of a topic, what
    /// its consumers without durable subscription acknowledged.
    pub dequeued: u64,
}

impl Broker {
    /// The broker at this moment. Never waits for storage.
    #[must_use]
    pub fn status(&self) -> BrokerStatus {
        let mut destinations = self.destination_statuses();
        destinations.extend(self.subscription_statuses());
        destinations.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        BrokerStatus {
            connections: self.connections.lock().len(),
            cached_bytes: self.memory().bytes(Class::Cached),
            limits: self.limit_statuses(),
            blocked_producers: self.usage().blocked.list(),
            transactions: self.in_doubt(),
            scheduled_messages: self.scheduled_len(),
            space: self.store().space().into(),
            writing: self.store().writing().into(),
            destinations,
        }
    }

    fn limit_statuses(&self) -> Vec<LimitStatus> {
        let (memory, limits) = (self.memory(), &self.options().limits);
        let held = memory.bytes(Class::Held) as u64;
        vec![
            LimitStatus::new(LimitKind::Memory, held, limits.memory_bytes),
            LimitStatus::new(
                LimitKind::Store,
                self.usage().store.total(self.store()),
                limits.store_bytes,
            ),
            LimitStatus::new(
                LimitKind::Temporary,
                self.usage().spool.used_bytes(),
                limits.temporary_bytes,
            ),
        ]
    }

    fn destination_statuses(&self) -> Vec<DestinationStatus> {
        let targets: Vec<(Destination, Target)> = self
            .destinations
            .read()
            .iter()
            .map(|(name, target)| (name.clone(), target.clone()))
            .collect();
        let status = |(name, target): &(Destination, Target)| {
            let (pending, in_flight) = match target {
                Target::Queue(queue) => {
                    let state = queue.state.lock();
                    (state.pending(), state.in_flight())
                }
                Target::Topic(_) => (0, 0),
            };
            let text = name.name.clone().unwrap_or_default().to_string();
            let consumers = target.consumer_count();
            describe(
                text,
                kind_name(name.kind),
                pending,
                in_flight,
                consumers,
                target.counters(),
            )
        };
        targets.iter().map(status).collect()
    }

    fn subscription_statuses(&self) -> Vec<DestinationStatus> {
        let subscriptions = self.subscriptions.lock();
        let status = |(key, subscription): (
            &super::descriptor::SubscriptionKey,
            &std::sync::Arc<super::subscription::Subscription>,
        )| {
            let queue = subscription.queue();
            let topic = queue.name().name.clone().unwrap_or_default();
            let name = format!("{topic} ({}, {})", key.client_id, key.name);
            let state = queue.state.lock();
            let (pending, in_flight) = (state.pending(), state.in_flight());
            let consumers = state.consumers.len();
            describe(
                name,
                "subscription",
                pending,
                in_flight,
                consumers,
                &queue.counters,
            )
        };
        subscriptions.iter().map(status).collect()
    }
}

fn describe(
    name: String,
    kind: &'static str,
    pending: usize,
    in_flight: usize,
    consumers: usize,
    counters: &Counters,
) -> DestinationStatus {
    DestinationStatus {
        name,
        kind,
        pending,
        in_flight,
        consumers,
        producers: counters.producers.load(Ordering::Relaxed),
        enqueued: counters.enqueued.load(Ordering::Relaxed),
        dequeued: counters.dequeued.load(Ordering::Relaxed),
    }
}

fn kind_name(kind: DestinationKind) -> &'static str {
    match kind {
        DestinationKind::Queue => "queue",
        DestinationKind::Topic => "topic",
        DestinationKind::TempQueue => "temp-queue",
        DestinationKind::TempTopic => "temp-topic",
    }
}
