//! Answers to clients that ask for statistics by message, as ActiveMQ's `statisticsBrokerPlugin` gives
//! them.
//!
//! A message with a reply-to, sent to `ActiveMQ.Statistics.Destination.NAME` (wildcards are allowed),
//! `ActiveMQ.Statistics.Broker` or `ActiveMQ.Statistics.Subscription`, goes nowhere: map messages
//! with ActiveMQ's keys come back. How long messages take from arrival to dispatch is not measured
//! here, so those three numbers are always 0.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::primitive::{PrimitiveMap, Value};
use openwire::{Command, ConnectionId, ConsumerInfo, Destination, WireString};

use super::destination::Target;
use super::policy::DestinationPattern;
use super::queue::Counters;
use super::usage::Class;
use super::{Broker, Message, MessageError, Refusal, names, wall_ms};

const PREFIX: &[u8] = b"ActiveMQ.Statistics";
const DESTINATION: &str = "ActiveMQ.Statistics.Destination";
const BROKER: &str = "ActiveMQ.Statistics.Broker";
const SUBSCRIPTION: &str = "ActiveMQ.Statistics.Subscription";
/// In the name or among the properties: an empty map says that no more come.
const END: &str = "ActiveMQ.Statistics.Destination.List.End.With.Null";
/// Among the properties: tell how old the first message is.
const FIRST_MESSAGE: &str = "ActiveMQ.Statistics.Destination.Include.First.Message.Timestamp";

/// Numbers of one destination, or of all.
#[derive(Default)]
struct Numbers {
    size: usize,
    in_flight: usize,
    enqueued: u64,
    enqueued_bytes: u64,
    dequeued: u64,
    dispatched: u64,
    expired: u64,
    cached: usize,
    consumers: usize,
    producers: usize,
}

impl Numbers {
    fn of(target: &Target) -> Self {
        let mut numbers = Numbers {
            consumers: target.consumer_count(),
            ..Numbers::default()
        };
        numbers.count(target.counters());
        if let Target::Queue(queue) = target {
            let state = queue.state.lock();
            numbers.size = state.pending();
            numbers.in_flight = state.in_flight();
            numbers.dispatched = state.sequence;
            numbers.cached = state.stock.cached_bytes();
        }
        numbers
    }

    fn count(&mut self, counters: &Counters) {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        self.enqueued = of(&counters.enqueued);
        self.enqueued_bytes = of(&counters.enqueued_bytes);
        self.dequeued = of(&counters.dequeued);
        self.expired = of(&counters.expired);
        self.producers = counters.producers.load(Ordering::Relaxed);
    }

    fn add(&mut self, other: &Numbers) {
        self.size += other.size;
        self.in_flight += other.in_flight;
        self.enqueued += other.enqueued;
        self.enqueued_bytes += other.enqueued_bytes;
        self.dequeued += other.dequeued;
        self.dispatched += other.dispatched;
        self.expired += other.expired;
        self.cached += other.cached;
        self.consumers += other.consumers;
        self.producers += other.producers;
    }

    fn write(&self, map: &mut PrimitiveMap) {
        let average = self.enqueued_bytes.checked_div(self.enqueued).unwrap_or(0);
        map.insert("size", long(self.size as u64));
        map.insert("enqueueCount", long(self.enqueued));
        map.insert("dequeueCount", long(self.dequeued));
        map.insert("dispatchCount", long(self.dispatched));
        map.insert("expiredCount", long(self.expired));
        map.insert("inflightCount", long(self.in_flight as u64));
        map.insert("messagesCached", long(self.cached as u64));
        map.insert("averageMessageSize", long(average));
        for name in ["averageEnqueueTime", "maxEnqueueTime", "minEnqueueTime"] {
            map.insert(name, Value::Double(0.0));
        }
        map.insert("consumerCount", long(self.consumers as u64));
        map.insert("producerCount", long(self.producers as u64));
    }
}

fn long(number: u64) -> Value {
    Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn text(text: &impl ToString) -> Value {
    Value::String(text.to_string().as_str().into())
}

fn percent(used: u64, limit: u64) -> Value {
    let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
    Value::Int(i32::try_from(percent).unwrap_or(i32::MAX))
}

/// What is used of a limit, under ActiveMQ's names for it.
fn write_usage(map: &mut PrimitiveMap, what: &str, used: u64, limit: u64) {
    map.insert(format!("{what}PercentUsage").as_str(), percent(used, limit));
    map.insert(format!("{what}Usage").as_str(), long(used));
    map.insert(format!("{what}Limit").as_str(), long(limit));
}

/// Whether a message may be a question.
pub(super) fn is_question(destination: &Destination) -> bool {
    let name = destination.name.as_ref();
    name.is_some_and(|name| name.as_bytes().starts_with(PREFIX))
}

impl Broker {
    /// Answers a message that is a question. False: it is none, and goes where it was sent to.
    pub(super) fn answer_statistics(self: &Arc<Self>, question: &Message) -> Result<bool, Refusal> {
        let Ok(decoded) = question.stored().decode() else {
            return Ok(false);
        };
        let Some(reply_to) = &decoded.reply_to else {
            return Ok(false);
        };
        let name = question.destination().name_str();
        let maps = if let Some(rest) = name.strip_prefix(DESTINATION) {
            self.of_destinations(question.destination(), rest, &decoded)?
        } else if name.starts_with(SUBSCRIPTION) {
            self.of_subscriptions()
        } else if name.starts_with(BROKER) {
            vec![self.of_broker()]
        } else {
            return Ok(false);
        };
        let target = self.target(reply_to)?;
        for map in maps {
            match self.statistics(&map, reply_to, decoded.correlation_id.clone()) {
                Ok(message) => self.publish_memory(&target, &Arc::new(message)),
                Err(error) => tracing::error!(%error, "Statistics cannot be sent."),
            }
        }
        Ok(true)
    }

    fn statistics(
        &self,
        map: &PrimitiveMap,
        reply_to: &Destination,
        correlation_id: Option<WireString>,
    ) -> Result<Message, MessageError> {
        let producer = ConnectionId {
            value: self.id().value.clone(),
        }
        .session(-1)
        .producer(2);
        let number = i64::try_from(self.next_number()).unwrap_or(i64::MAX);
        let mut message =
            openwire::Message::from_map(map).map_err(openwire::StoredMessageError::from)?;
        message.producer_id = Some(producer.clone());
        message.message_id = Some(producer.message(number));
        message.destination = Some(reply_to.detached());
        message.message_type = Some(WireString::from_static("Advisory"));
        message.correlation_id = correlation_id;
        message.timestamp = wall_ms();
        message.priority = 4;
        Message::made(&message, self.memory())
    }

    fn new_map(&self) -> PrimitiveMap {
        let mut map = PrimitiveMap::new();
        map.insert("brokerName", self.options().name.as_str());
        map.insert("brokerId", text(self.id()));
        map
    }

    fn of_destinations(
        self: &Arc<Self>,
        asked: &Destination,
        rest: &str,
        question: &openwire::Message,
    ) -> Result<Vec<PrimitiveMap>, Refusal> {
        let properties = question.properties().unwrap_or_default();
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let query = name.replace(END, "");
        let wants_end = query != name || properties.get(END).is_some();
        let wants_first = properties.get(FIRST_MESSAGE).is_some();
        let mut maps = Vec::new();
        for part in names::parts(&Destination::new(asked.kind, query.as_str()))? {
            let pattern = DestinationPattern::of(&part);
            let mut targets: Vec<(Destination, Target)> = {
                let destinations = self.destinations.read();
                let found = destinations
                    .iter()
                    .filter(|(name, _)| pattern.matches(name));
                found
                    .map(|(name, target)| (name.clone(), target.clone()))
                    .collect()
            };
            targets.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (name, target) in targets {
                maps.push(self.of_destination(&name, &target, wants_first));
            }
        }
        if wants_end {
            maps.push(PrimitiveMap::new());
        }
        Ok(maps)
    }

    fn of_destination(
        &self,
        name: &Destination,
        target: &Target,
        wants_first: bool,
    ) -> PrimitiveMap {
        let mut map = self.new_map();
        let numbers = Numbers::of(target);
        map.insert("destinationName", text(name));
        numbers.write(&mut map);
        let limit = match target.policy().memory_limit_bytes {
            0 => self.options().limits.memory_bytes,
            limit => limit,
        };
        write_usage(&mut map, "memory", numbers.cached as u64, limit);
        if let (Target::Queue(queue), true) = (target, wants_first) {
            let first = queue.state.lock().stock.first().cloned();
            let message = first.and_then(|slot| slot.message);
            let timestamp = message.and_then(|message| {
                let decoded = message.stored().decode().ok()?;
                Some(decoded.timestamp)
            });
            if let Some(timestamp) = timestamp {
                map.insert("firstMessageTimestamp", Value::Long(timestamp));
            }
        }
        map
    }

    fn of_broker(&self) -> PrimitiveMap {
        let mut map = self.new_map();
        let mut all = Numbers::default();
        for (_, target) in self.destinations.read().iter() {
            all.add(&Numbers::of(target));
        }
        all.write(&mut map);
        let limits = &self.options().limits;
        let held = self.memory().bytes(Class::Held) as u64;
        write_usage(&mut map, "memory", held, limits.memory_bytes);
        write_usage(
            &mut map,
            "store",
            self.usage().store.total(self.store()),
            limits.store_bytes,
        );
        let spooled = self.usage().spool.used_bytes();
        write_usage(&mut map, "temp", spooled, limits.temporary_bytes);
        let openwire = self.options().peers.first().cloned().unwrap_or_default();
        map.insert("openwire", openwire.as_str());
        map.insert("vm", format!("vm://{}", self.options().name).as_str());
        for other in ["stomp", "ssl", "stomp+ssl", "dataDirectory"] {
            map.insert(other, "");
        }
        map
    }

    fn of_subscriptions(&self) -> Vec<PrimitiveMap> {
        let mut infos: Vec<ConsumerInfo> = self
            .announced
            .consumer_infos()
            .into_iter()
            .filter_map(|info| match info {
                Command::ConsumerInfo(info) => Some(*info),
                _ => None,
            })
            .collect();
        infos.sort_by_key(|info| !info.destination.as_ref().is_some_and(|d| d.kind.is_queue()));
        infos
            .iter()
            .map(|info| self.of_subscription(info))
            .collect()
    }

    fn of_subscription(&self, info: &ConsumerInfo) -> PrimitiveMap {
        let mut map = self.new_map();
        let id = info.consumer_id.clone().unwrap_or_default();
        let name = info.destination.as_ref().and_then(|one| one.name.clone());
        let connection = ConnectionId {
            value: id.connection_id.clone(),
        };
        let client_id = self.connections.lock().client_id(&connection);
        let or_null = |text: Option<WireString>| text.map_or(Value::Null, Value::String);
        let (dispatched, outstanding) = self.progress_of(info);
        map.insert("destinationName", or_null(name));
        map.insert("clientId", or_null(client_id));
        map.insert("connectionId", or_null(id.connection_id.clone()));
        map.insert("sessionId", Value::Long(id.session_id));
        map.insert("selector", or_null(info.selector.clone()));
        map.insert("enqueueCounter", long(dispatched));
        map.insert(
            "dequeueCounter",
            long(dispatched.saturating_sub(outstanding)),
        );
        map.insert("dispatchedCounter", long(dispatched));
        map.insert("dispatchedQueueSize", long(outstanding));
        map.insert("prefetchSize", Value::Int(info.prefetch_size));
        let limit = info.maximum_pending_message_limit;
        map.insert("maximumPendingMessageLimit", Value::Int(limit));
        map.insert("exclusive", Value::Boolean(info.exclusive));
        map.insert("retroactive", Value::Boolean(info.retroactive));
        let prefetch = u64::try_from(info.prefetch_size).unwrap_or(0);
        let is_slow = prefetch > 0 && outstanding >= prefetch;
        map.insert("slowConsumer", Value::Boolean(is_slow));
        map
    }

    /// How many messages a consumer was sent, and how many it has not acknowledged.
    fn progress_of(&self, info: &ConsumerInfo) -> (u64, u64) {
        let (Some(id), Some(destination)) = (&info.consumer_id, &info.destination) else {
            return (0, 0);
        };
        for part in names::parts(destination).unwrap_or_default() {
            let pattern = DestinationPattern::of(&part);
            let destinations = self.destinations.read();
            let found = destinations
                .iter()
                .filter(|(name, _)| pattern.matches(name));
            for (_, target) in found {
                let progress = match target {
                    Target::Queue(queue) => queue.progress_of(id),
                    Target::Topic(topic) => topic.progress_of(id),
                };
                if progress.is_some() {
                    return progress.unwrap_or_default();
                }
            }
        }
        (0, 0)
    }
}
