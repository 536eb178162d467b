//! Transactions: messages that wait for a commit, prepared ones with what they acknowledged, and
//! how the latest prepared ones ended.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::position::{BacklogId, Epoch, Location, Lsn};
use crate::record::{Acknowledge, Message, Prepare};
use crate::transaction::Outcome;

/// Outcomes that are remembered of each sort: coordinators ask again within seconds, and what they
/// do not ask for within so many transactions they have learned otherwise.
pub(crate) const OUTCOMES_MAX: usize = 1024;

/// A message that is not visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenMessage {
    pub(crate) epoch: Epoch,
    pub(crate) location: Location,
    pub(crate) order: u8,
    pub(crate) expiration_ms: i64,
    pub(crate) time_ms: u64,
    /// It counts with the commit only: a transaction that is dropped may be sent again.
    pub(crate) producer: Option<(Box<[u8]>, u64)>,
    pub(crate) targets: Box<[BacklogId]>,
}

impl OpenMessage {
    pub(crate) fn new(epoch: Epoch, location: Location, message: &Message<'_>) -> Self {
        OpenMessage {
            epoch,
            location,
            order: message.order,
            expiration_ms: message.expiration_ms,
            time_ms: message.time_ms,
            producer: message
                .producer
                .map(|producer| (producer.id.into(), producer.sequence)),
            targets: message.targets.as_slice().into(),
        }
    }

    /// It goes to several backlogs: see [`Entry::is_shared`](crate::Entry::is_shared).
    pub(crate) fn is_shared(&self) -> bool {
        self.targets.len() > 1
    }
}

/// A transaction that outlives its tenure until it is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) time_ms: u64,
    pub(crate) messages: Vec<OpenMessage>,
    /// The entries stay in their backlogs.
    pub(crate) acknowledged: Vec<Acknowledge>,
}

/// The latest outcomes of one sort, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Outcomes {
    by_key: HashMap<Box<[u8]>, Outcome>,
    order: VecDeque<Box<[u8]>>,
}

impl Outcomes {
    pub(crate) fn note(&mut self, key: &[u8], outcome: Outcome) {
        self.forget(key);
        self.by_key.insert(key.into(), outcome);
        self.order.push_back(key.into());
        if self.order.len() > OUTCOMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Outcome> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn forget(&mut self, key: &[u8]) {
        if self.by_key.remove(key).is_some() {
            self.order.retain(|other| **other != *key);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Outcome)> {
        self.order
            .iter()
            .filter_map(|key| Some((&**key, self.get(key)?)))
    }
}

/// By the transaction's id.
#[derive(Default)]
pub(crate) struct Transactions {
    pub(crate) open: HashMap<Box<[u8]>, Vec<OpenMessage>>,
    pub(crate) prepared: BTreeMap<Box<[u8]>, Prepared>,
    /// Decided by those who coordinated them.
    pub(crate) outcomes: Outcomes,
    /// Decided by others: they stay until they are forgotten, as long as there is room.
    pub(crate) heuristic: Outcomes,
    /// Records at or below this are contained already.
    pub(crate) complete_through: Lsn,
}

impl Transactions {
    pub(crate) fn push(&mut self, transaction: &[u8], message: OpenMessage) {
        if let Some(messages) = self.open.get_mut(transaction) {
            messages.push(message);
        } else {
            self.open.insert(transaction.into(), vec![message]);
        }
    }

    pub(crate) fn prepare(&mut self, prepare: &Prepare<'_>) {
        let messages = self.open.remove(prepare.transaction).unwrap_or_default();
        let prepared = Prepared {
            time_ms: prepare.time_ms,
            messages,
            acknowledged: prepare.acknowledged.clone(),
        };
        self.forget(prepare.transaction);
        self.prepared.insert(prepare.transaction.into(), prepared);
    }

    pub(crate) fn note(&mut self, key: &[u8], outcome: Outcome) {
        if outcome.is_heuristic {
            self.heuristic.note(key, outcome);
        } else {
            self.outcomes.note(key, outcome);
        }
    }

    pub(crate) fn outcome(&self, key: &[u8]) -> Option<Outcome> {
        self.heuristic.get(key).or_else(|| self.outcomes.get(key))
    }

    pub(crate) fn forget(&mut self, key: &[u8]) {
        self.outcomes.forget(key);
        self.heuristic.forget(key);
    }

    /// The message of an undecided transaction that is in the record at `location`.
    pub(crate) fn find(&mut self, transaction: &[u8], at: Location) -> Option<&mut OpenMessage> {
        let open = self.open.get_mut(transaction).into_iter().flatten();
        let prepared = self.prepared.get_mut(transaction);
        let prepared = prepared.into_iter().flat_map(|one| &mut one.messages);
        open.chain(prepared).find(|message| message.location == at)
    }

    /// Whether an undecided transaction has a message in the record at `location`.
    pub(crate) fn contains(&self, transaction: &[u8], at: Location) -> bool {
        let open = self.open.get(transaction).into_iter().flatten();
        let prepared = self.prepared.get(transaction);
        let prepared = prepared.into_iter().flat_map(|one| &one.messages);
        let mut messages = open.chain(prepared);
        messages.any(|message| message.location == at)
    }

    /// The messages that wait, each with its transaction.
    pub(crate) fn messages_by_transaction(&self) -> impl Iterator<Item = (&[u8], &OpenMessage)> {
        let open = self.open.iter();
        let open = open.flat_map(|(key, messages)| messages.iter().map(move |one| (&**key, one)));
        let prepared = self
            .prepared
            .iter()
            .flat_map(|(key, prepared)| prepared.messages.iter().map(move |one| (&**key, one)));
        open.chain(prepared)
    }

    /// The messages that wait, of open and of prepared transactions.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &OpenMessage> {
        let prepared = self.prepared.values().map(|prepared| &prepared.messages);
        self.open.values().chain(prepared).flatten()
    }
}
