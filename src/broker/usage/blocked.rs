//! Producers that wait for room, for the log and for status pages.
//!
//! A wait that is over soon is the normal working of a limit and is only shown. One that lasts is also told
//! in the log: once, again after each warning interval, and when it is over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openwire::ProducerId;
use parking_lot::Mutex;
use serde::Serialize;

use super::shortage::{LimitKind, Shortage};
use crate::broker::{Broker, wall_ms};

/// A wait this long is told in the log.
const TOLD_AFTER: Duration = Duration::from_millis(400);
/// Time between two looks at who waits.
const TICK: Duration = Duration::from_millis(200);

/// A producer that waits for room, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct BlockedProducer {
    /// Its id.
    pub producer: String,
    /// Its connection.
    pub connection: String,
    /// Where its first waiting message goes.
    pub destination: String,
    /// Which limit it waits for.
    pub limit: LimitKind,
    /// Bytes used when it was last looked at.
    pub used_bytes: u64,
    /// The limit in bytes.
    pub limit_bytes: u64,
    /// How much of the limit was used.
    pub percent: u64,
    /// Since when, in milliseconds since 1970.
    pub since_at_ms: i64,
    /// For how long.
    pub waits_ms: u64,
    /// Its messages that wait here.
    pub messages: usize,
    /// Nothing more is read from its connection, acknowledgements included: it has sent more than can
    /// wait here.
    pub reading_paused: bool,
}

/// Producers that wait for room.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    entries: BTreeMap<u64, Entry>,
    /// When the log last told of a producer that goes on by now.
    told: HashMap<ProducerId, Instant>,
}

#[derive(Debug)]
struct Entry {
    producer: ProducerId,
    connection: String,
    shortage: Shortage,
    since: Instant,
    since_at_ms: i64,
    messages: usize,
    is_reading_paused: bool,
    told_at: Option<Instant>,
}

impl Blocked {
    /// A producer begins to wait.
    pub(super) fn add(
        self: &Arc<Self>,
        producer: &ProducerId,
        connection: String,
        shortage: Shortage,
    ) -> BlockedGuard {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        let entry = Entry {
            producer: producer.clone(),
            connection,
            shortage,
            since: Instant::now(),
            since_at_ms: wall_ms(),
            messages: 1,
            is_reading_paused: false,
            told_at: None,
        };
        state.entries.insert(number, entry);
        BlockedGuard {
            blocked: Arc::clone(self),
            number,
            has_gone_on: false,
        }
    }

    /// All that wait now, the longest first.
    pub(crate) fn list(&self) -> Vec<BlockedProducer> {
        let state = self.state.lock();
        state.entries.values().map(Entry::describe).collect()
    }

    /// Tells the log of waits that last.
    fn tell(&self, now: Instant) {
        let mut state = self.state.lock();
        let State { entries, told, .. } = &mut *state;
        for entry in entries.values_mut() {
            let interval = entry.shortage.warning_interval;
            let told_before = entry.told_at.or_else(|| told.get(&entry.producer).copied());
            let is_due = told_before.is_none_or(|at| now.duration_since(at) >= interval);
            if interval.is_zero() || !is_due || now.duration_since(entry.since) < TOLD_AFTER {
                continue;
            }
            entry.told_at = Some(now);
            told.remove(&entry.producer);
            entry.warn();
        }
        told.retain(|_, at| now.duration_since(*at) < Duration::from_secs(60));
    }
}

impl Entry {
    fn waits_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn describe(&self) -> BlockedProducer {
        BlockedProducer {
            producer: self.producer.to_string(),
            connection: self.connection.clone(),
            destination: self.shortage.destination.to_string(),
            limit: self.shortage.kind,
            used_bytes: self.shortage.used,
            limit_bytes: self.shortage.limit,
            percent: self.shortage.percent(),
            since_at_ms: self.since_at_ms,
            waits_ms: self.waits_ms(),
            messages: self.messages,
            reading_paused: self.is_reading_paused,
        }
    }

    fn warn(&self) {
        tracing::warn!(
            producer = %self.producer,
            connection = %self.connection,
            destination = %self.shortage.destination,
            limit = self.shortage.kind.name(),
            used_bytes = self.shortage.used,
            limit_bytes = self.shortage.limit,
            percent = self.shortage.percent(),
            waits_ms = self.waits_ms(),
            messages = self.messages,
            reading_paused = self.is_reading_paused,
            "A producer waits for room: {}.", self.shortage.kind
        );
    }
}

/// A producer's entry; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct BlockedGuard {
    blocked: Arc<Blocked>,
    number: u64,
    has_gone_on: bool,
}

impl BlockedGuard {
    /// What it waits for now, with how many messages.
    pub(super) fn update(&self, shortage: Option<Shortage>, messages: usize) {
        let mut state = self.blocked.state.lock();
        if let Some(entry) = state.entries.get_mut(&self.number) {
            entry.messages = messages;
            if let Some(shortage) = shortage {
                entry.shortage = shortage;
            }
        }
    }

    /// Whether anything is read from its connection.
    pub(super) fn set_reading_paused(&self, is_paused: bool) {
        let mut state = self.blocked.state.lock();
        if let Some(entry) = state.entries.get_mut(&self.number) {
            entry.is_reading_paused = is_paused;
        }
    }

    /// It has got its room.
    pub(super) fn go_on(mut self) {
        self.has_gone_on = true;
    }
}

impl Drop for BlockedGuard {
    fn drop(&mut self) {
        let mut state = self.blocked.state.lock();
        let Some(entry) = state.entries.remove(&self.number) else {
            return;
        };
        let Some(told_at) = entry.told_at else {
            return;
        };
        if self.has_gone_on {
            tracing::info!(
                producer = %entry.producer,
                destination = %entry.shortage.destination,
                waited_ms = entry.waits_ms(),
                "A producer goes on: there is room again."
            );
            state.told.insert(entry.producer, told_at);
        } else {
            tracing::info!(
                producer = %entry.producer,
                destination = %entry.shortage.destination,
                waited_ms = entry.waits_ms(),
                messages = entry.messages,
                "A producer that waited for room is gone; what it sent and was not answered is dropped."
            );
        }
    }
}

/// Tells the log of waits that last, until the broker has ended.
pub(in crate::broker) async fn watch(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = ticks.tick() => broker.usage().blocked.tell(Instant::now()),
            () = broker.ended() => return,
        }
    }
}
