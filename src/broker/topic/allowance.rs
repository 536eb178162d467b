//! What a topic consumer that is slow may have waiting for it, and what goes when it is more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use openwire::primitive::Value;

use super::consumer::Waiting;
use crate::broker::Message;
use crate::broker::policy::{Eviction, PendingLimit, Policy};

/// What may wait for a consumer beyond its prefetch.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Allowance {
    /// How many messages; None = as many as the memory allows.
    pub(in crate::broker) limit: Option<usize>,
    /// Which go first.
    pub(in crate::broker) eviction: Eviction,
}

impl Allowance {
    /// What a policy allows a consumer with this prefetch, which may ask for less itself.
    pub(in crate::broker) fn new(
        policy: &Policy,
        prefetch: usize,
        wanted: Option<usize>,
        otherwise: Option<usize>,
    ) -> Self {
        let limit = match policy.pending_limit {
            Some(PendingLimit::Constant(limit)) => Some(limit),
            Some(PendingLimit::PrefetchRate(rate)) => Some(times(prefetch, rate)),
            None => otherwise,
        };
        let limit = match (limit, wanted) {
            (Some(limit), Some(wanted)) => Some(limit.min(wanted)),
            (limit, wanted) => limit.or(wanted),
        };
        Allowance {
            limit,
            eviction: policy.eviction.clone(),
        }
    }

    /// Takes out what has to go so that the others can stay: at least one.
    pub(super) fn evict(&self, pending: &mut VecDeque<Waiting>) -> Vec<Waiting> {
        match &self.eviction {
            Eviction::Oldest => pending.pop_front().into_iter().collect(),
            Eviction::OldestWithLowestPriority => lowest(pending).into_iter().collect(),
            Eviction::UniqueProperty(name) => {
                let superseded = superseded(pending, name);
                if superseded.is_empty() {
                    pending.pop_front().into_iter().collect()
                } else {
                    superseded
                }
            }
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float as an integer is cut off at the integer's ends, which is what is wanted"
)]
fn times(prefetch: usize, rate: f64) -> usize {
    (prefetch as f64 * rate) as usize
}

fn lowest(pending: &mut VecDeque<Waiting>) -> Option<Waiting> {
    let (index, _) = pending
        .iter()
        .enumerate()
        .min_by_key(|(index, waiting)| (waiting.message.priority(), *index))?;
    pending.remove(index)
}

/// Takes out all but the newest message of each value of the property, and those without it if there
/// are any with it.
fn superseded(pending: &mut VecDeque<Waiting>, name: &str) -> Vec<Waiting> {
    let mut newest: HashMap<Key, (i64, usize)> = HashMap::new();
    for (index, waiting) in pending.iter().enumerate() {
        let Some((key, time)) = key_of(&waiting.message, name) else {
            continue;
        };
        let entry = newest.entry(key).or_insert((time, index));
        if time >= entry.0 {
            *entry = (time, index);
        }
    }
    if newest.is_empty() {
        return Vec::new();
    }
    let staying: HashSet<usize> = newest.into_values().map(|(_, index)| index).collect();
    let mut gone = Vec::new();
    for (index, waiting) in std::mem::take(pending).into_iter().enumerate() {
        if staying.contains(&index) {
            pending.push_back(waiting);
        } else {
            gone.push(waiting);
        }
    }
    gone
}

/// A property's value as the key of a map.
#[derive(PartialEq)]
struct Key(Value);

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The text of equal values is equal; a float that is no number equals nothing anyway.
        format!("{:?}", self.0).hash(state);
    }
}

fn key_of(message: &Message, name: &str) -> Option<(Key, i64)> {
    let decoded = message.stored().decode().ok()?;
    let value = decoded.properties().ok()?.get(name)?.clone();
    Some((Key(value), decoded.timestamp))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openwire::ConnectionId;
    use openwire::primitive::PrimitiveMap;

    use super::*;
    use crate::broker::usage::Memory;

    fn waiting(number: i64, priority: i8, stock: Option<&str>) -> Waiting {
        let producer = ConnectionId::new("c").session(1).producer(1);
        let mut properties = PrimitiveMap::new();
        if let Some(stock) = stock {
            properties.insert("stock", Value::String(stock.into()));
        }
        let message = openwire::Message {
            message_id: Some(producer.message(number)),
            producer_id: Some(producer),
            destination: Some(openwire::Destination::topic("T")),
            priority,
            timestamp: number,
            marshalled_properties: properties.encode().ok(),
            ..openwire::Message::default()
        };
        let memory = Memory::new(1 << 20, 1 << 20, Arc::default());
        let message = Message::made(&message, &memory).expect("a message");
        Waiting {
            source: 0,
            message: Arc::new(message),
        }
    }

    fn numbers<'a>(all: impl IntoIterator<Item = &'a Waiting>) -> Vec<i64> {
        all.into_iter()
            .map(|one| one.message.id().producer_sequence_id)
            .collect()
    }

    fn evict(eviction: Eviction, pending: &mut VecDeque<Waiting>) -> Vec<i64> {
        let allowance = Allowance {
            limit: Some(1),
            eviction,
        };
        numbers(&allowance.evict(pending))
    }

    #[test]
    fn the_oldest_goes_or_the_oldest_of_the_lowest_priority() {
        let make = || {
            VecDeque::from([
                waiting(1, 4, None),
                waiting(2, 1, None),
                waiting(3, 1, None),
            ])
        };
        assert_eq!(evict(Eviction::Oldest, &mut make()), [1]);
        let mut pending = make();
        assert_eq!(evict(Eviction::OldestWithLowestPriority, &mut pending), [2]);
        assert_eq!(numbers(&pending), [1, 3]);
    }

    #[test]
    fn of_each_value_of_a_property_the_newest_stays() {
        let unique = || Eviction::UniqueProperty("stock".to_owned());
        let mut pending = VecDeque::from([
            waiting(1, 4, Some("a")),
            waiting(2, 4, Some("b")),
            waiting(3, 4, Some("a")),
            waiting(4, 4, None),
        ]);
        assert_eq!(evict(unique(), &mut pending), [1, 4]);
        assert_eq!(numbers(&pending), [2, 3]);
        assert_eq!(evict(unique(), &mut pending), [2], "none is superseded");
    }

    #[test]
    fn the_smallest_limit_counts() {
        let policy = |pending_limit| Policy {
            pending_limit,
            ..Policy::default()
        };
        let limit = |pending_limit, wanted, otherwise| {
            Allowance::new(&policy(pending_limit), 10, wanted, otherwise).limit
        };
        assert_eq!(limit(None, None, None), None);
        assert_eq!(limit(None, Some(3), None), Some(3));
        assert_eq!(limit(None, None, Some(7)), Some(7));
        assert_eq!(
            limit(Some(PendingLimit::Constant(5)), Some(3), Some(1)),
            Some(3)
        );
        assert_eq!(
            limit(Some(PendingLimit::Constant(5)), Some(9), None),
            Some(5)
        );
        assert_eq!(
            limit(Some(PendingLimit::PrefetchRate(2.5)), None, None),
            Some(25)
        );
    }
}
