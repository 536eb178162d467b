//! What the clients know, and what must hold whatever happens to the brokers.
//!
//! It is never held across a call into the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::sim::ProcessId;
use storage::{Epoch, Store};

/// A message's sender and its number there.
pub(crate) type MessageId = (u32, u32);

/// Senders from here on are transactions.
pub(crate) const FIRST_TRANSACTION: u32 = 1000;

/// Something that a broker may tell its clients once it is released.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// The message is safe.
    Sent(MessageId),
    /// These will not come back.
    Consumed(Vec<MessageId>),
    /// All of a transaction happened.
    Committed(u32),
}

/// What a client knows of a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) messages: Vec<MessageId>,
    pub(crate) consumes: Vec<MessageId>,
    /// The client asked for the commit.
    pub(crate) is_commit_asked: bool,
    /// It was told of the commit.
    pub(crate) is_committed: bool,
}

/// A broker that believes to be the active.
struct Active {
    process: ProcessId,
    store: Arc<Store>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// By producer: how many messages were ever sent, and the numbers acknowledged.
    sent: BTreeMap<u32, u32>,
    acknowledged: BTreeMap<u32, BTreeSet<u32>>,
    /// How often a broker was asked to remove a message, commits included.
    consumes_asked: BTreeMap<MessageId, u32>,
    consumed: BTreeSet<MessageId>,
    pub(crate) transactions: BTreeMap<u32, Transaction>,
    actives: Vec<Active>,
    /// Epochs that somebody served in.
    served: BTreeSet<Epoch>,
    /// The server's lease is shorter than ours.
    may_overlap: bool,
    last_epoch: Epoch,
    pub(crate) promises: u64,
    /// The longest wait for an acknowledgement after all faults.
    pub(crate) progress_ms: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub(crate) fn new(may_overlap: bool) -> Ledger {
        Ledger {
            may_overlap,
            ..Ledger::default()
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The next numbers that `producer` has to send: everything not acknowledged, then new ones.
    pub(crate) fn to_send(&self, producer: u32, window: u32) -> (u32, u32) {
        let first = self
            .acknowledged
            .get(&producer)
            .and_then(|numbers| numbers.last().copied())
            .map_or(0, |last| last + 1);
        (first, first + window)
    }

    pub(crate) fn sends(&mut self, (producer, number): MessageId) {
        let sent = self.sent.entry(producer).or_default();
        *sent = (*sent).max(number + 1);
    }

    /// A broker shows a message to a consumer.
    pub(crate) fn dispatched(&self, id: MessageId) -> Result<(), String> {
        if self.consumed.contains(&id) && !self.may_overlap {
            return Err(format!("{id:?} was consumed for good and comes back"));
        }
        self.is_known(id)
    }

    fn is_known(&self, id: MessageId) -> Result<(), String> {
        let (sender, number) = id;
        if sender < FIRST_TRANSACTION {
            let sent = self.sent.get(&sender).copied().unwrap_or(0);
            return if number < sent {
                Ok(())
            } else {
                Err(format!("{id:?} was never sent"))
            };
        }
        match self.transactions.get(&sender) {
            Some(transaction) if transaction.is_commit_asked => Ok(()),
            _ => Err(format!("{id:?} is of a transaction that nobody committed")),
        }
    }

    pub(crate) fn asks_to_consume(&mut self, ids: &[MessageId]) {
        for id in ids {
            *self.consumes_asked.entry(*id).or_default() += 1;
        }
    }

    pub(crate) fn activated(
        &mut self,
        process: ProcessId,
        store: Arc<Store>,
    ) -> Result<(), String> {
        let epoch = store.epoch();
        self.actives.push(Active { process, store });
        if self.served.insert(epoch) {
            Ok(())
        } else {
            Err(format!("epoch {epoch} serves twice"))
        }
    }

    pub(crate) fn deactivated(&mut self, process: ProcessId) {
        self.actives.retain(|active| active.process != process);
    }

    /// Whoever may acknowledge, with its store.
    pub(crate) fn active(&self) -> Option<(ProcessId, Arc<Store>)> {
        let open = self
            .actives
            .iter()
            .find(|active| active.store.may_acknowledge());
        open.map(|active| (active.process, Arc::clone(&active.store)))
    }

    pub(crate) fn check_gates(&self) -> Result<(), String> {
        let open = self.actives.iter();
        let open = open.filter(|active| active.store.may_acknowledge());
        let epochs: Vec<_> = open.map(|active| active.store.epoch().0).collect();
        if epochs.len() > 1 && !self.may_overlap {
            return Err(format!(
                "epochs {epochs:?} may acknowledge at the same time"
            ));
        }
        Ok(())
    }

    /// The active of `epoch` tells its clients.
    pub(crate) fn promised(&mut self, epoch: Epoch, promise: &Promise) -> Result<(), String> {
        self.check_gates()?;
        if epoch < self.last_epoch && !self.may_overlap {
            return Err(format!(
                "epoch {epoch} acknowledges after epoch {}",
                self.last_epoch
            ));
        }
        self.last_epoch = self.last_epoch.max(epoch);
        self.promises += 1;
        match promise {
            Promise::Sent((producer, number)) => {
                let numbers = self.acknowledged.entry(*producer).or_default();
                numbers.insert(*number);
            }
            Promise::Consumed(ids) => self.consumed.extend(ids),
            Promise::Committed(id) => {
                if let Some(transaction) = self.transactions.get_mut(id) {
                    transaction.is_committed = true;
                    self.consumed.extend(&transaction.consumes);
                }
            }
        }
        Ok(())
    }

    /// Judges what is in the backlogs, each in its order.
    pub(crate) fn check_final(&self, queues: &[Vec<MessageId>]) -> Result<(), String> {
        let mut present = BTreeSet::new();
        for queue in queues {
            let mut last = BTreeMap::new();
            for id in queue {
                self.is_known(*id)?;
                if !present.insert(*id) {
                    return Err(format!("{id:?} is there twice"));
                }
                if let Some(before) = last.insert(id.0, id.1)
                    && before >= id.1
                {
                    return Err(format!("{id:?} is behind number {before}"));
                }
            }
        }
        if let Some(id) = self.consumed.intersection(&present).next() {
            return Err(format!("{id:?} was consumed for good and is there"));
        }
        for (producer, numbers) in &self.acknowledged {
            for number in numbers {
                self.check_there(&present, (*producer, *number), "acknowledged")?;
            }
        }
        // A producer's messages arrive in order: before one that is there none is missing.
        for (sender, number) in &present {
            if *sender < FIRST_TRANSACTION {
                for earlier in 0..*number {
                    self.check_there(&present, (*sender, earlier), "sent before another one")?;
                }
            }
        }
        self.check_transactions(&present)
    }

    fn check_there(
        &self,
        present: &BTreeSet<MessageId>,
        id: MessageId,
        what: &str,
    ) -> Result<(), String> {
        if present.contains(&id) || self.consumes_asked.contains_key(&id) {
            Ok(())
        } else {
            Err(format!("{id:?} was {what} and is lost"))
        }
    }

    fn check_transactions(&self, present: &BTreeSet<MessageId>) -> Result<(), String> {
        for (id, transaction) in &self.transactions {
            let is_there = |message: &MessageId| {
                present.contains(message) || self.consumes_asked.contains_key(message)
            };
            let there = transaction
                .messages
                .iter()
                .filter(|id| is_there(id))
                .count();
            let all = transaction.messages.len();
            if transaction.is_committed && there < all {
                return Err(format!(
                    "transaction {id} was committed; {there} of {all} are there"
                ));
            }
            if there > 0 && there < all {
                return Err(format!(
                    "transaction {id} is there in part: {there} of {all}"
                ));
            }
            let consumed = transaction
                .consumes
                .iter()
                .filter(|id| !present.contains(id));
            // Asked for by this commit only: nobody else removes them.
            let only_here = |id: &&MessageId| self.consumes_asked.get(id) == Some(&1);
            let consumed = consumed.filter(only_here).count();
            let all_consumes = transaction.consumes.iter().filter(only_here).count();
            if all > 0 && all_consumes > 0 && (there == all) != (consumed == all_consumes) {
                return Err(format!(
                    "transaction {id}: {there} of {all} sent, {consumed} of {all_consumes} consumed"
                ));
            }
        }
        Ok(())
    }
}
