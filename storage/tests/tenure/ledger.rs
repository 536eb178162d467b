//! What the clients know, and what must hold whatever happens to the brokers.
//!
//! It is never held across a call into the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::sim::ProcessId;
use storage::{Decision, Epoch, PreparedTransaction, Store};

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
    /// A transaction waits for its decision, whatever happens.
    Prepared(u32),
    /// This was decided of a prepared one.
    Decided(u32, Decision),
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
    /// The client asked to prepare it.
    pub(crate) is_prepare_asked: bool,
    /// It was told that it is prepared.
    pub(crate) is_prepared: bool,
    /// The client asked for a decision after that.
    pub(crate) is_decision_asked: bool,
    /// The decision it was told of.
    pub(crate) decided: Option<Decision>,
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

    /// Whether a prepared transaction is as its client knows it.
    pub(crate) fn check_prepared(&self, found: &PreparedTransaction) -> Result<(), String> {
        let id = transaction_of(&found.key);
        let Some(known) = self.transactions.get(&id) else {
            return Err(format!("transaction {id} is prepared and was never begun"));
        };
        if !known.is_prepare_asked {
            return Err(format!("transaction {id} is prepared and nobody asked"));
        }
        if let Some(decision) = known.decided
            && !self.may_overlap
        {
            return Err(format!("transaction {id} waits after the {decision:?}"));
        }
        let acknowledged = found.acknowledged.iter().map(|(_, at)| at.len());
        let parts = (found.messages, acknowledged.sum::<usize>());
        let expected = (known.messages.len(), known.consumes.len());
        if parts != expected {
            return Err(format!(
                "transaction {id} is prepared with {parts:?} parts, not {expected:?}"
            ));
        }
        Ok(())
    }

    /// Judges what a new tenure finds of prepared transactions.
    pub(crate) fn check_found(&self, store: &Store) -> Result<(), String> {
        let mut found = BTreeSet::new();
        for prepared in store.prepared() {
            self.check_prepared(&prepared)?;
            found.insert(transaction_of(&prepared.key));
        }
        for (id, known) in &self.transactions {
            let outcome = store.outcome(&id.to_le_bytes());
            let outcome = outcome.map(|outcome| outcome.decision);
            if known.is_prepared && !known.is_decision_asked && !found.contains(id) {
                return Err(format!("transaction {id} was prepared and is not found"));
            }
            if known.decided.is_some() && outcome != known.decided {
                let told = known.decided;
                return Err(format!(
                    "transaction {id}: told {told:?}, found {outcome:?}"
                ));
            }
        }
        Ok(())
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
            Promise::Committed(id) | Promise::Decided(id, Decision::Commit) => {
                if let Some(transaction) = self.transactions.get_mut(id) {
                    transaction.is_committed = true;
                    self.consumed.extend(&transaction.consumes);
                }
            }
            Promise::Prepared(_) | Promise::Decided(_, Decision::RollBack) => {}
        }
        let transactions = &mut self.transactions;
        match promise {
            Promise::Prepared(id) => {
                *self.counts.entry("prepared").or_default() += 1;
                if let Some(transaction) = transactions.get_mut(id) {
                    transaction.is_prepared = true;
                }
            }
            Promise::Decided(id, decision) => {
                *self.counts.entry("decided").or_default() += 1;
                if let Some(transaction) = transactions.get_mut(id)
                    && transaction.decided.replace(*decision).is_some()
                {
                    return Err(format!("transaction {id} was decided twice"));
                }
            }
            Promise::Sent(_) | Promise::Consumed(_) | Promise::Committed(_) => {}
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
            if transaction.decided == Some(Decision::RollBack) && there > 0 {
                return Err(format!(
                    "transaction {id} was rolled back; {there} of {all} are there"
                ));
            }
            if there > 0 && there < all {
                return Err(format!(
                    "transaction {id} is there in part: {there} of {all}"
                ));
            }
            if !transaction.is_commit_asked {
                // Whoever consumed them, it was not this one.
                continue;
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

/// The sender whose transaction has this key.
pub(crate) fn transaction_of(key: &[u8]) -> u32 {
    key.try_into().map_or(0, u32::from_le_bytes)
}
