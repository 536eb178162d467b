//! Transactions: messages that become visible with a commit, or with the decision on a prepared one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{AppendError, NewMessage, Store, acknowledged, is_duplicate, new_message};
use crate::backlog::Backlog;
use crate::journal::Class;
use crate::position::{BacklogId, Location, Lsn, Position};
use crate::record::{Acknowledge, Commit, Decide, ForgetOutcomes, Prepare, Record, RollBack};
use crate::state::{Locked, Prepared};
use crate::transaction::{Decision, Outcome, PreparedTransaction};

impl Store {
    /// Appends a message that becomes visible with its transaction's commit. The producer's
    /// sequence, too, counts from the commit on. Answers where the message lies; None: a duplicate,
    /// which is dropped. The transaction must not be prepared.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn enqueue_in_transaction(
        &self,
        transaction: &[u8],
        targets: &[Arc<Backlog>],
        message: NewMessage<'_>,
    ) -> Result<Option<Location>, AppendError> {
        let time_ms = self.shared.clock.wall_ms();
        if is_duplicate(&message, |id| self.shared.state.producer_sequence(id)) {
            return Ok(None);
        }
        let mut ids: Vec<_> = targets.iter().map(|target| target.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        let record = Record::TransactionMessage(new_message(&message, time_ms, ids, transaction));
        let frame = super::frame(&record);
        let appended = self.shared.state.with_locks(&record, |locked| {
            let appended = self.shared.pending.append(frame, Class::Message)?;
            self.apply(locked, appended, &record);
            Ok(appended)
        })?;
        self.wake(appended);
        Ok(Some(appended.location))
    }

    /// Commits a transaction: its messages become visible and `acknowledged` goes, all in one
    /// record. A transaction without messages need not be known.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn commit(
        &self,
        transaction: &[u8],
        acknowledged: &[(Arc<Backlog>, Vec<Position>)],
    ) -> Result<Lsn, AppendError> {
        let touched = Commit {
            transaction,
            acknowledged: touched(acknowledged),
        };
        let touched = Record::Commit(touched);
        let appended = self.patiently(|| {
            self.shared.state.with_locks(&touched, |locked| {
                let commit = Commit {
                    transaction,
                    acknowledged: pending(locked, acknowledged),
                };
                let open = locked.transactions();
                let has_messages = open.is_some_and(|open| open.open.contains_key(transaction));
                if commit.acknowledged.is_empty() && !has_messages {
                    return Ok(None);
                }
                self.append(locked, &Record::Commit(commit), Class::Control)
                    .map(Some)
            })
        })?;
        Ok(self.wake_or_present(appended))
    }

    /// Drops a transaction's messages. None when it has none: nothing to write.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn roll_back(&self, transaction: &[u8]) -> Result<Option<Lsn>, AppendError> {
        let record = Record::RollBack(RollBack { transaction });
        let appended = self.patiently(|| {
            self.shared.state.with_locks(&record, |locked| {
                let open = locked.transactions();
                if !open.is_some_and(|open| open.open.contains_key(transaction)) {
                    return Ok(None);
                }
                self.append(locked, &record, Class::Control).map(Some)
            })
        })?;
        Ok(appended.map(|appended| self.wake(appended)))
    }

    /// Prepares a transaction: its messages and what it acknowledged wait for [`Store::decide`],
    /// also in later tenures. What is acknowledged stays where it is until then: nobody may have it.
    /// One that is prepared already is left as it is.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn prepare(
        &self,
        transaction: &[u8],
        acknowledged: &[(Arc<Backlog>, Vec<Position>)],
    ) -> Result<Lsn, AppendError> {
        let time_ms = self.shared.clock.wall_ms();
        let touched = Prepare {
            time_ms,
            transaction,
            acknowledged: touched(acknowledged),
        };
        let touched = Record::Prepare(touched);
        let appended = self.patiently(|| {
            self.shared.state.with_locks(&touched, |locked| {
                let known = locked.transactions();
                if known.is_some_and(|all| all.prepared.contains_key(transaction)) {
                    return Ok(None);
                }
                let prepare = Prepare {
                    time_ms,
                    transaction,
                    acknowledged: pending(locked, acknowledged),
                };
                self.append(locked, &Record::Prepare(prepare), Class::Control)
                    .map(Some)
            })
        })?;
        Ok(self.wake_or_present(appended))
    }

    /// Ends a prepared transaction. `is_heuristic`: not its coordinator decides. None: there is no
    /// such transaction (any more).
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn decide(
        &self,
        transaction: &[u8],
        decision: Decision,
        is_heuristic: bool,
    ) -> Result<Option<Lsn>, AppendError> {
        let outcome = Outcome {
            decision,
            is_heuristic,
            time_ms: self.shared.clock.wall_ms(),
        };
        let record = Record::Decide(Decide {
            outcome,
            transaction,
        });
        let appended = self.patiently(|| {
            self.shared.state.with_locks(&record, |locked| {
                let known = locked.transactions();
                if !known.is_some_and(|all| all.prepared.contains_key(transaction)) {
                    return Ok(None);
                }
                self.append(locked, &record, Class::Control).map(Some)
            })
        })?;
        Ok(appended.map(|appended| self.wake(appended)))
    }

    /// How a transaction that was prepared ended, as far as it is remembered: those of the latest
    /// ones, and of the latest heuristic ones, until they are forgotten.
    #[must_use]
    pub fn outcome(&self, transaction: &[u8]) -> Option<Outcome> {
        self.shared.state.outcome(transaction)
    }

    /// All heuristic outcomes that nobody has forgotten, oldest first.
    #[must_use]
    pub fn heuristic_outcomes(&self) -> Vec<(Bytes, Outcome)> {
        let transactions = self.shared.state.transactions.lock();
        let outcomes = transactions.heuristic.iter();
        outcomes
            .map(|(key, outcome)| (Bytes::copy_from_slice(key), outcome))
            .collect()
    }

    /// Forgets how a transaction ended. None: that is not known anyway.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn forget_outcome(&self, transaction: &[u8]) -> Result<Option<Lsn>, AppendError> {
        let record = Record::ForgetOutcomes(ForgetOutcomes {
            transactions: vec![transaction],
        });
        let appended = self.shared.state.with_locks(&record, |locked| {
            let known = locked.transactions();
            if known.is_none_or(|all| all.outcome(transaction).is_none()) {
                return Ok(None);
            }
            self.append(locked, &record, Class::Control).map(Some)
        })?;
        Ok(appended.map(|appended| self.wake(appended)))
    }

    /// The transactions that wait for a decision, by key.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTransaction> {
        self.shared.state.prepared()
    }
}

impl crate::state::State {
    /// The transactions that wait for a decision, by key.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTransaction> {
        let transactions = self.transactions.lock();
        let prepared = transactions.prepared.iter();
        prepared
            .map(|(key, prepared)| tell(key, prepared))
            .collect()
    }

    /// How a transaction that was prepared ended, as far as it is remembered.
    #[must_use]
    pub fn outcome(&self, transaction: &[u8]) -> Option<Outcome> {
        self.transactions.lock().outcome(transaction)
    }
}

fn tell(key: &[u8], prepared: &Prepared) -> PreparedTransaction {
    let mut targets: BTreeMap<BacklogId, usize> = BTreeMap::new();
    for target in prepared.messages.iter().flat_map(|one| &one.targets) {
        *targets.entry(*target).or_default() += 1;
    }
    let acknowledged = prepared.acknowledged.iter();
    PreparedTransaction {
        key: Bytes::copy_from_slice(key),
        time_ms: prepared.time_ms,
        messages: prepared.messages.len(),
        targets: targets.into_iter().collect(),
        acknowledged: acknowledged
            .map(|one| (one.id, one.positions.clone()))
            .collect(),
    }
}

/// Says which backlogs are to be locked.
fn touched(acknowledged: &[(Arc<Backlog>, Vec<Position>)]) -> Vec<Acknowledge> {
    let touched = acknowledged.iter().map(|(backlog, _)| Acknowledge {
        id: backlog.id(),
        positions: Vec::new(),
    });
    touched.collect()
}

/// What of it is still there.
fn pending(
    locked: &Locked<'_>,
    acknowledged: &[(Arc<Backlog>, Vec<Position>)],
) -> Vec<Acknowledge> {
    let pending = acknowledged
        .iter()
        .filter_map(|(backlog, positions)| self::acknowledged(locked, backlog.id(), positions));
    pending.collect()
}
