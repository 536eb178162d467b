//! The highest sequence of every producer, in shards with a lock each.

use std::collections::HashMap;

use crate::position::Lsn;

/// Shards of the table. A checkpoint copies one at a time; the number may change freely.
pub(crate) const SHARDS: usize = 16;

/// What is known of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    /// The highest sequence seen.
    pub(crate) sequence: u64,
    /// When it last sent, milliseconds since 1970, by the clock of the active of that time.
    pub(crate) used_ms: u64,
}

/// A part of the table. The ids are chosen by clients: the map is one that resists collisions.
#[derive(Default)]
pub(crate) struct Shard {
    pub(crate) producers: HashMap<Box<[u8]>, Producer>,
    /// Records at or below this are contained already.
    pub(crate) complete_through: Lsn,
}

impl Shard {
    pub(crate) fn note(&mut self, id: &[u8], sequence: u64, time_ms: u64) {
        if let Some(producer) = self.producers.get_mut(id) {
            producer.sequence = producer.sequence.max(sequence);
            producer.used_ms = producer.used_ms.max(time_ms);
        } else {
            self.producers.insert(
                id.into(),
                Producer {
                    sequence,
                    used_ms: time_ms,
                },
            );
        }
    }
}

/// The shard that holds a producer.
pub(crate) fn shard_of(id: &[u8]) -> usize {
    crc32fast::hash(id) as usize % SHARDS
}
