//! What one strand of the mix must hold: every acknowledged message reaches each of its channels
//! once, in the order of its lane, not before it is due, and flagged when it comes again.
//!
//! A *channel* is whoever must get a message once: all consumers of a queue together, one durable
//! subscription, the consumers with one selector. A *lane* is what has an order: a message group,
//! or one producer.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use serde::Serialize;

/// How many examples of violations are kept for the report.
const EXAMPLES_MAX: usize = 5;

/// A message of a strand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Its producer.
    pub(super) producer: u32,
    /// Its number within the producer, from 0.
    pub(super) sequence: u64,
}

/// A message that a consumer received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) key: Key,
    /// The group of the message, or its producer; None = it has no order.
    pub(super) lane: Option<u32>,
    pub(super) is_redelivered: bool,
    /// How much earlier than wanted it came, in milliseconds.
    pub(super) early_ms: u64,
    /// It certainly came over the connection that is there now.
    pub(super) is_certain: bool,
}

/// What a strand's book says at the end. All but the first two must be 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StrandTally {
    /// The strand.
    pub strand: &'static str,
    /// Sends that the broker acknowledged.
    pub acknowledged: u64,
    /// Messages consumed, counted for each channel.
    pub consumed: u64,
    /// Acknowledged and not consumed.
    pub lost: u64,
    /// Consumed twice.
    pub twice: u64,
    /// Delivered again without the flag.
    pub unflagged: u64,
    /// Behind a later message of the same group or producer.
    pub out_of_order: u64,
    /// Delivered before they were due.
    pub early: u64,
    /// Delivered to whom they were not for.
    pub misdirected: u64,
    /// A few of the violations.
    pub examples: Vec<String>,
}

impl StrandTally {
    /// Each broken promise, as a sentence.
    pub(in crate::drill) fn violations(&self) -> Vec<String> {
        let mut found: Vec<String> = [
            (self.lost, "acknowledged messages were lost"),
            (self.twice, "messages were consumed twice"),
            (self.unflagged, "messages came again without the flag"),
            (self.out_of_order, "messages came out of order"),
            (self.early, "messages came before they were due"),
            (self.misdirected, "messages came to whom they were not for"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{}: {count} {what}", self.strand))
        .collect();
        if self.acknowledged == 0 || self.consumed == 0 {
            found.push(format!(
                "{}: nothing was sent and consumed, so it proves nothing",
                self.strand
            ));
        }
        if !found.is_empty() {
            let examples = self.examples.iter();
            found.extend(examples.map(|text| format!("{}: {text}", self.strand)));
        }
        found
    }
}

/// The book of one strand.
#[derive(Debug)]
pub(super) struct Book {
    strand: &'static str,
    /// Whether a channel is to get a message.
    wants: fn(usize, Key) -> bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    begun: HashMap<u32, u64>,
    acknowledged: HashSet<Key>,
    channels: Vec<Channel>,
    tally: StrandTally,
}

#[derive(Debug, Default)]
struct Channel {
    seen: HashSet<Key>,
    consumed: HashSet<Key>,
    in_doubt: HashSet<Key>,
    latest: HashMap<u32, u64>,
}

impl Inner {
    fn example(&mut self, what: &str, channel: usize, key: Key) {
        if self.tally.examples.len() < EXAMPLES_MAX {
            let Key { producer, sequence } = key;
            self.tally.examples.push(format!(
                "{what}: producer {producer}, message {sequence}, channel {channel}"
            ));
        }
    }
}

impl Book {
    pub(super) fn new(
        strand: &'static str,
        channels: usize,
        wants: fn(usize, Key) -> bool,
    ) -> Self {
        Self {
            strand,
            wants,
            inner: Mutex::new(Inner {
                begun: HashMap::new(),
                acknowledged: HashSet::new(),
                channels: (0..channels).map(|_| Channel::default()).collect(),
                tally: StrandTally {
                    strand,
                    ..StrandTally::default()
                },
            }),
        }
    }

    /// A send begins.
    pub(super) fn begin_send(&self, producer: u32) -> Key {
        let mut inner = self.inner.lock();
        let next = inner.begun.entry(producer).or_default();
        let sequence = *next;
        *next += 1;
        Key { producer, sequence }
    }

    /// The broker acknowledged it.
    pub(super) fn acknowledged(&self, key: Key) {
        self.inner.lock().acknowledged.insert(key);
    }

    /// A consumer of `channel` received it in its open transaction.
    pub(super) fn received(&self, channel: usize, arrival: Arrival) {
        let Arrival { key, .. } = arrival;
        let mut inner = self.inner.lock();
        let was_sent = inner
            .begun
            .get(&key.producer)
            .is_some_and(|next| key.sequence < *next);
        if !was_sent || !(self.wants)(channel, key) {
            inner.tally.misdirected += 1;
            inner.example("misdirected", channel, key);
            return;
        }
        if arrival.early_ms > 0 {
            inner.tally.early += 1;
            inner.example("early", channel, key);
        }
        let page = &mut inner.channels[channel];
        page.in_doubt.remove(&key);
        let is_first = page.seen.insert(key);
        let lane = arrival.lane.filter(|_| is_first && arrival.is_certain);
        let is_behind = lane.is_some_and(|lane| {
            let latest = page.latest.entry(lane).or_default();
            let is_behind = key.sequence < *latest;
            *latest = key.sequence.max(*latest);
            is_behind
        });
        if is_behind {
            inner.tally.out_of_order += 1;
            inner.example("out of order", channel, key);
        }
        if !is_first && !arrival.is_redelivered {
            inner.tally.unflagged += 1;
            inner.example("again without the flag", channel, key);
        }
    }

    /// A transaction of `channel` was committed.
    pub(super) fn committed(&self, channel: usize, keys: &[Key]) {
        let mut inner = self.inner.lock();
        for &key in keys {
            if !inner.channels[channel].consumed.insert(key) {
                inner.tally.twice += 1;
                inner.example("consumed twice", channel, key);
            }
        }
    }

    /// Nobody knows what became of a transaction of `channel`.
    pub(super) fn in_doubt(&self, channel: usize, keys: &[Key]) {
        self.inner.lock().channels[channel].in_doubt.extend(keys);
    }

    /// What is acknowledged and not consumed by each channel that wants it.
    pub(super) fn missing(&self) -> Vec<(usize, Key)> {
        let inner = self.inner.lock();
        let of = |(channel, page): (usize, &Channel)| {
            let wanted = inner.acknowledged.iter().filter(move |key| {
                (self.wants)(channel, **key)
                    && !page.consumed.contains(*key)
                    && !page.in_doubt.contains(*key)
            });
            wanted.map(move |key| (channel, *key)).collect::<Vec<_>>()
        };
        inner.channels.iter().enumerate().flat_map(of).collect()
    }

    /// The sums; what counts as lost means something only after draining.
    pub(super) fn tally(&self) -> StrandTally {
        let missing = self.missing();
        let mut inner = self.inner.lock();
        for &(channel, key) in missing.iter().take(EXAMPLES_MAX) {
            inner.example("lost", channel, key);
        }
        let consumed = inner.channels.iter().map(|page| page.consumed.len() as u64);
        StrandTally {
            strand: self.strand,
            acknowledged: inner.acknowledged.len() as u64,
            consumed: consumed.sum(),
            lost: missing.len() as u64,
            ..inner.tally.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(key: Key) -> Arrival {
        Arrival {
            key,
            lane: Some(key.producer),
            is_redelivered: false,
            early_ms: 0,
            is_certain: true,
        }
    }

    fn book_with(count: u64) -> (Book, Vec<Key>) {
        let book = Book::new("strand", 1, |_, _| true);
        let keys = (0..count).map(|_| book.begin_send(3)).collect::<Vec<_>>();
        for key in &keys {
            book.acknowledged(*key);
        }
        (book, keys)
    }

    #[test]
    fn a_strand_without_faults_has_no_violation() {
        let (book, keys) = book_with(3);
        for key in &keys {
            book.received(0, arrival(*key));
        }
        book.committed(0, &keys);
        assert_eq!(book.tally().violations(), [""; 0]);
    }

    #[test]
    fn each_kind_of_violation_is_seen() {
        type Spoil = fn(&Book, &[Key]);
        let cases: [(&str, Spoil); 6] = [
            ("lost", |book, keys| book.committed(0, &keys[1..])),
            ("twice", |book, keys| {
                book.committed(0, keys);
                book.committed(0, &keys[..1]);
            }),
            ("without the flag", |book, keys| {
                book.committed(0, keys);
                book.received(0, arrival(keys[0]));
                book.received(0, arrival(keys[0]));
            }),
            ("out of order", |book, keys| {
                book.committed(0, keys);
                book.received(0, arrival(keys[1]));
                book.received(0, arrival(keys[0]));
            }),
            ("before they were due", |book, keys| {
                book.committed(0, keys);
                let early_ms = 1;
                book.received(
                    0,
                    Arrival {
                        early_ms,
                        ..arrival(keys[0])
                    },
                );
            }),
            ("not for", |book, keys| {
                book.committed(0, keys);
                let (producer, sequence) = (9, 0);
                book.received(0, arrival(Key { producer, sequence }));
            }),
        ];
        for (word, spoil) in cases {
            let (book, keys) = book_with(2);
            spoil(&book, &keys);
            let violations = book.tally().violations();
            assert!(violations[0].contains(word), "{word}: {violations:?}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_not_lost_unless_it_comes_again() {
        let (book, keys) = book_with(1);
        book.received(0, arrival(keys[0]));
        book.in_doubt(0, &keys);
        assert_eq!(book.missing(), []);
        let is_redelivered = true;
        book.received(
            0,
            Arrival {
                is_redelivered,
                ..arrival(keys[0])
            },
        );
        assert_eq!(book.missing(), [(0, keys[0])]);
    }

    #[test]
    fn nothing_proves_nothing() {
        let book = Book::new("strand", 1, |_, _| true);
        assert_eq!(book.tally().violations().len(), 1);
    }
}
