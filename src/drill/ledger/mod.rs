//! The ledger: every acknowledged send, every delivery, every transaction's outcome, and from
//! them what the pair lost, doubled or disordered.
//!
//! # What competing transacted consumers may see
//!
//! Producers send persistent messages numbered without gaps, one at a time. Consumers share the
//! queue and take messages in local transactions. Whatever fails, the following must hold, and
//! the ledger checks it:
//!
//! - *No loss.* A message whose send was acknowledged is, after the queue was drained, part of
//!   a transaction whose commit was acknowledged or whose outcome is unknown. (One that was
//!   received only in transactions that were rolled back is lost: it had to come again.)
//! - *Nothing twice unannounced.* A message that a consumer has received may come again, when
//!   its transaction did not commit, but then it says that it is redelivered.
//! - *A commit is final.* After a commit was acknowledged, none of its messages comes again,
//!   flagged or not.
//! - *A commit is whole.* When the answer to a commit was lost, its messages come again all or
//!   not at all.
//! - *Order.* Each consumer receives the messages of one producer in the order of their sends, as
//!   long as they are not redeliveries: a redelivered message was dispatched to somebody before
//!   and may come out of turn. Brokers may flag more than was seen, so a second rule looks at what
//!   the drill itself sees for the first time, flagged or not: that comes in order, too, to one
//!   consumer within one life of its connection.
//! - *Nothing put aside.* No message is found in the dead letter queue. One that is there is not
//!   lost, so it is counted by itself.
//! - *Nothing else.* Every message received was sent, and is intact.
//!
//! Memory: six bits for each message, plus the messages of open and of undecided transactions.

use super::bits::Bits;
use super::message::MessageKey;

#[cfg(test)]
mod tests;

/// How many examples of each kind of violation are kept for the report.
const EXAMPLES_MAX: usize = 5;

/// What one drill knows of the messages of one queue.
#[derive(Debug)]
pub(super) struct Ledger {
    producers: Vec<ProducerPage>,
    consumers: Vec<ConsumerPage>,
    undecided: Vec<Undecided>,
    counts: Counts,
    examples: Examples,
    is_unserved: bool,
}

#[derive(Debug, Default)]
struct ProducerPage {
    begun: u64,
    acknowledged: Bits,
    refused: Bits,
    withdrawn: Bits,
    delivered: Bits,
    consumed: Bits,
    in_doubt: Bits,
    dead: Bits,
}

#[derive(Debug)]
struct ConsumerPage {
    open: Vec<Held>,
    /// Highest sequence received without the flag, for each producer.
    latest: Vec<Option<u64>>,
    /// The life of the connection that the next field is about.
    life: Option<u64>,
    /// Highest sequence of a message first seen here in this life, for each producer.
    latest_in_life: Vec<Option<u64>>,
}

/// A message within an open transaction.
#[derive(Debug, Clone, Copy)]
struct Held {
    key: MessageKey,
    /// Delivered again, to anybody, since it was received here.
    came_again: bool,
}

/// A transaction whose commit was sent and not answered.
#[derive(Debug)]
struct Undecided {
    held: Vec<Held>,
}

impl Undecided {
    fn is_torn(&self) -> bool {
        let came_again = self.held.iter().filter(|held| held.came_again).count();
        (1..self.held.len()).contains(&came_again)
    }
}

#[derive(Debug, Default)]
struct Counts {
    deliveries: u64,
    ordered: u64,
    flagged_at_first_sight: u64,
    redelivered: u64,
    redelivered_unflagged: u64,
    redelivered_after_commit: u64,
    out_of_order: u64,
    foreign: u64,
    corrupt: u64,
    never_sent: u64,
    commits: u64,
    rollbacks: u64,
    in_doubt: u64,
}

#[derive(Debug, Default)]
struct Examples(Vec<String>);

impl Examples {
    fn add(&mut self, kind: &str, key: MessageKey, seen: u64) {
        if seen <= EXAMPLES_MAX as u64 {
            let MessageKey { producer, sequence } = key;
            self.0
                .push(format!("{kind}: producer {producer}, message {sequence}"));
        }
    }
}

/// What the ledger says at the end. Fields that must be 0 come last.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Sends begun.
    pub sent: u64,
    /// Sends that the broker acknowledged.
    pub acknowledged: u64,
    /// Messages received, each delivery counted.
    pub deliveries: u64,
    /// Distinct messages in transactions whose commit was acknowledged.
    pub consumed: u64,
    /// Distinct messages consumed by a commit whose answer was lost.
    pub consumed_in_doubt: u64,
    /// Messages delivered although their send was never acknowledged: allowed, and rare.
    pub delivered_unacknowledged: u64,
    /// Transactions whose commit was acknowledged.
    pub commits: u64,
    /// Transactions rolled back.
    pub rollbacks: u64,
    /// Transactions whose commit was sent and not answered.
    pub commits_in_doubt: u64,
    /// Messages delivered again and flagged as such.
    pub redelivered: u64,
    /// Messages flagged as redelivered that no consumer of the drill had received: they were on
    /// their way when the broker died.
    pub flagged_at_first_sight: u64,
    /// Deliveries whose order was checked.
    pub order_checked: u64,
    /// Acknowledged and never consumed.
    pub lost: u64,
    /// Of `lost`: not even delivered.
    pub lost_never_delivered: u64,
    /// Acknowledged and not consumed when the drill ended, at which time the pair served nobody: it
    /// cannot be said whether they are lost.
    pub missing: u64,
    /// Acknowledged, never consumed, and found in the dead letter queue.
    pub dead_lettered: u64,
    /// Delivered again without the flag.
    pub redelivered_unflagged: u64,
    /// Delivered again after the commit that consumed them was acknowledged.
    pub redelivered_after_commit: u64,
    /// Deliveries behind a later message of the same producer.
    pub out_of_order: u64,
    /// Transactions of which a part was consumed and a part came again.
    pub torn_transactions: u64,
    /// Sends that the broker refused.
    pub refused: u64,
    /// Sends that had no answer when the drill ended.
    pub unanswered: u64,
    /// Transactions still open when the drill ended.
    pub open_transactions: u64,
    /// Messages received whose bytes had changed.
    pub corrupt: u64,
    /// Messages received that the drill did not send.
    pub foreign: u64,
    /// A few of the violations, for whoever looks for their cause.
    pub examples: Vec<String>,
}

impl Ledger {
    /// An empty ledger for so many producers and consumers.
    pub(super) fn new(producers: usize, consumers: usize) -> Self {
        Self {
            producers: (0..producers).map(|_| ProducerPage::default()).collect(),
            consumers: (0..consumers)
                .map(|_| ConsumerPage {
                    open: Vec::new(),
                    latest: vec![None; producers],
                    life: None,
                    latest_in_life: vec![None; producers],
                })
                .collect(),
            undecided: Vec::new(),
            counts: Counts::default(),
            examples: Examples::default(),
            is_unserved: false,
        }
    }

    /// A send of `producer` begins; its message has the key that is returned.
    pub(super) fn begin_send(&mut self, producer: u32) -> MessageKey {
        let page = &mut self.producers[producer as usize];
        let sequence = page.begun;
        page.begun += 1;
        MessageKey { producer, sequence }
    }

    /// The broker acknowledged the send of `key`.
    pub(super) fn acknowledged(&mut self, key: MessageKey) {
        self.producers[key.producer as usize]
            .acknowledged
            .insert(key.sequence);
    }

    /// The broker answered the send of `key` with an error.
    pub(super) fn refused(&mut self, key: MessageKey) {
        self.producers[key.producer as usize]
            .refused
            .insert(key.sequence);
    }

    /// The drill itself stopped waiting for the answer to `key`.
    pub(super) fn withdrawn(&mut self, key: MessageKey) {
        self.producers[key.producer as usize]
            .withdrawn
            .insert(key.sequence);
    }

    /// `consumer` received message `key` within its current transaction, and in this life of its
    /// connection, if that is certain.
    pub(super) fn delivered(
        &mut self,
        consumer: usize,
        key: MessageKey,
        redelivered: bool,
        life: Option<u64>,
    ) {
        self.counts.deliveries += 1;
        let was_sent = self
            .producers
            .get(key.producer as usize)
            .is_some_and(|page| key.sequence < page.begun);
        if !was_sent {
            self.counts.never_sent += 1;
            self.examples.add("never sent", key, self.counts.never_sent);
            return;
        }
        let is_first = self.producers[key.producer as usize]
            .delivered
            .insert(key.sequence);
        if !is_first {
            self.delivered_again(key, redelivered);
        } else if redelivered {
            self.counts.flagged_at_first_sight += 1;
        }
        self.check_order(consumer, key, !redelivered, life.filter(|_| is_first));
        self.consumers[consumer].open.push(Held {
            key,
            came_again: false,
        });
    }

    fn delivered_again(&mut self, key: MessageKey, redelivered: bool) {
        if redelivered {
            self.counts.redelivered += 1;
        } else {
            self.counts.redelivered_unflagged += 1;
            let seen = self.counts.redelivered_unflagged;
            self.examples.add("redelivered without the flag", key, seen);
        }
        let page = &mut self.producers[key.producer as usize];
        if page.consumed.contains(key.sequence) {
            self.count_after_commit(key);
        }
        let page = &mut self.producers[key.producer as usize];
        page.in_doubt.remove(key.sequence);
        let open = self.consumers.iter_mut().flat_map(|page| &mut page.open);
        let undecided = self.undecided.iter_mut().flat_map(|one| &mut one.held);
        for held in open.chain(undecided).filter(|held| held.key == key) {
            held.came_again = true;
        }
    }

    fn count_after_commit(&mut self, key: MessageKey) {
        self.counts.redelivered_after_commit += 1;
        let seen = self.counts.redelivered_after_commit;
        self.examples.add("redelivered after its commit", key, seen);
    }

    /// Both rules of order; the second one where `life` is known and the message not.
    fn check_order(
        &mut self,
        consumer: usize,
        key: MessageKey,
        is_unflagged: bool,
        life: Option<u64>,
    ) {
        let page = &mut self.consumers[consumer];
        let producer = key.producer as usize;
        if life.is_some() && page.life != life {
            page.life = life;
            page.latest_in_life.fill(None);
        }
        let rules = [
            is_unflagged.then_some(&mut page.latest[producer]),
            life.is_some().then_some(&mut page.latest_in_life[producer]),
        ];
        let (mut is_checked, mut behind) = (false, None);
        for latest in rules.into_iter().flatten() {
            is_checked = true;
            match *latest {
                // The same message again is a duplicate, and counted as such.
                Some(before) if key.sequence < before => behind = Some(before),
                _ => *latest = Some(key.sequence),
            }
        }
        self.counts.ordered += u64::from(is_checked);
        if let Some(before) = behind {
            self.counts.out_of_order += 1;
            let kind = format!("out of order at consumer {consumer}, after {before}");
            self.examples.add(&kind, key, self.counts.out_of_order);
        }
    }

    /// Message `key` is in the dead letter queue, so no commit has consumed it.
    pub(super) fn dead_letter(&mut self, key: MessageKey) {
        if let Some(page) = self.producers.get_mut(key.producer as usize) {
            page.dead.insert(key.sequence);
            page.in_doubt.remove(key.sequence);
            let undecided = self.undecided.iter_mut().flat_map(|one| &mut one.held);
            for held in undecided.filter(|held| held.key == key) {
                held.came_again = true;
            }
        }
    }

    /// The pair served nobody at the end, so what has not come may still be there.
    pub(super) fn unserved(&mut self) {
        self.is_unserved = true;
    }

    /// A consumer received something that the drill did not send.
    pub(super) fn foreign(&mut self) {
        self.counts.foreign += 1;
    }

    /// A consumer received a message whose bytes had changed.
    pub(super) fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// The broker acknowledged the commit of `consumer`'s transaction.
    pub(super) fn committed(&mut self, consumer: usize) {
        self.counts.commits += 1;
        for held in std::mem::take(&mut self.consumers[consumer].open) {
            // Somebody else got it while this transaction was open, and yet it committed.
            if held.came_again {
                self.count_after_commit(held.key);
            }
            let page = &mut self.producers[held.key.producer as usize];
            page.consumed.insert(held.key.sequence);
        }
    }

    /// `consumer`'s transaction was rolled back: its messages must come again.
    pub(super) fn rolled_back(&mut self, consumer: usize) {
        self.counts.rollbacks += 1;
        self.consumers[consumer].open.clear();
    }

    /// The commit of `consumer`'s transaction was sent and its answer lost.
    pub(super) fn in_doubt(&mut self, consumer: usize) {
        self.counts.in_doubt += 1;
        let held = std::mem::take(&mut self.consumers[consumer].open);
        for one in held.iter().filter(|one| !one.came_again) {
            let page = &mut self.producers[one.key.producer as usize];
            page.in_doubt.insert(one.key.sequence);
        }
        // Whole ones cannot become torn any more.
        self.undecided
            .retain(|one| !one.held.iter().all(|held| held.came_again));
        if !held.is_empty() {
            self.undecided.push(Undecided { held });
        }
    }

    /// Acknowledged messages whose consumption is neither committed nor in doubt, at most `max`.
    pub(super) fn unconsumed(&self, max: usize) -> usize {
        self.producers
            .iter()
            .flat_map(|page| page.acknowledged.without([&page.consumed, &page.in_doubt]))
            .take(max)
            .count()
    }

    /// Whether nothing more need come: every acknowledged message is consumed, and no commit in
    /// doubt has been seen to come again in part.
    pub(super) fn is_settled(&self) -> bool {
        self.unconsumed(1) == 0 && !self.undecided.iter().any(Undecided::is_torn)
    }

    /// Whether `key` was delivered to anybody.
    pub(super) fn is_delivered(&self, key: MessageKey) -> bool {
        let page = self.producers.get(key.producer as usize);
        page.is_some_and(|page| page.delivered.contains(key.sequence))
    }

    /// The sums so far. What counts as lost is only meaningful after the queue was drained.
    pub(super) fn tally(&self) -> Tally {
        let sum = |of: fn(&ProducerPage) -> u64| self.producers.iter().map(of).sum::<u64>();
        let mut examples = self.examples.0.clone();
        let (mut lost, mut lost_never_delivered, mut dead_lettered) = (0, 0, 0);
        for (producer, page) in self.producers.iter().enumerate() {
            for sequence in page.acknowledged.without([&page.consumed, &page.in_doubt]) {
                if page.dead.contains(sequence) {
                    dead_lettered += 1;
                    continue;
                }
                lost += 1;
                let was_delivered = page.delivered.contains(sequence);
                lost_never_delivered += u64::from(!was_delivered);
                if lost <= EXAMPLES_MAX as u64 {
                    let how = if was_delivered {
                        "its transaction was rolled back and it did not come again"
                    } else {
                        "never delivered"
                    };
                    let what = if self.is_unserved { "missing" } else { "lost" };
                    examples.push(format!(
                        "{what}: producer {producer}, message {sequence}, {how}"
                    ));
                }
            }
        }
        let missing = if self.is_unserved { lost } else { 0 };
        if self.is_unserved {
            (lost, lost_never_delivered) = (0, 0);
        }
        let counts = &self.counts;
        Tally {
            sent: sum(|page| page.begun),
            acknowledged: sum(|page| page.acknowledged.count()),
            deliveries: counts.deliveries,
            consumed: sum(|page| page.consumed.count()),
            consumed_in_doubt: sum(|page| {
                page.in_doubt
                    .without([&page.consumed, &Bits::default()])
                    .count() as u64
            }),
            delivered_unacknowledged: sum(|page| {
                page.delivered
                    .without([&page.acknowledged, &Bits::default()])
                    .count() as u64
            }),
            commits: counts.commits,
            rollbacks: counts.rollbacks,
            commits_in_doubt: counts.in_doubt,
            redelivered: counts.redelivered,
            flagged_at_first_sight: counts.flagged_at_first_sight,
            order_checked: counts.ordered,
            lost,
            lost_never_delivered,
            missing,
            dead_lettered,
            redelivered_unflagged: counts.redelivered_unflagged,
            redelivered_after_commit: counts.redelivered_after_commit,
            out_of_order: counts.out_of_order,
            torn_transactions: self.undecided.iter().filter(|one| one.is_torn()).count() as u64,
            refused: sum(|page| page.refused.count()),
            unanswered: sum(|page| {
                page.begun
                    - page.acknowledged.count()
                    - page.refused.count()
                    - page.withdrawn.count()
            }),
            open_transactions: self
                .consumers
                .iter()
                .filter(|page| !page.open.is_empty())
                .count() as u64,
            corrupt: counts.corrupt,
            foreign: counts.foreign + counts.never_sent,
            examples,
        }
    }
}

impl Tally {
    /// Each count that must be 0 and is not, as a sentence.
    pub fn violations(&self) -> Vec<String> {
        [
            (self.lost, "acknowledged messages were lost"),
            (
                self.missing,
                "acknowledged messages had not come when the pair served nobody any more",
            ),
            (
                self.dead_lettered,
                "acknowledged messages are in the dead letter queue",
            ),
            (
                self.redelivered_unflagged,
                "messages came again without the redelivered flag",
            ),
            (
                self.redelivered_after_commit,
                "messages came again after their commit was acknowledged",
            ),
            (self.out_of_order, "deliveries were out of order"),
            (self.torn_transactions, "transactions were consumed in part"),
            (self.refused, "sends were refused"),
            (self.unanswered, "sends were never answered"),
            (
                self.open_transactions,
                "transactions were still open at the end",
            ),
            (self.corrupt, "messages arrived changed"),
            (self.foreign, "messages arrived that were never sent"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}
