//! Transactions: messages that become visible with a commit.

use std::sync::Arc;

use super::{AppendError, NewMessage, Store, acknowledged, is_duplicate, new_message};
use crate::backlog::Backlog;
use crate::journal::Class;
use crate::position::{Lsn, Position};
use crate::record::{Acknowledge, Commit, Record, RollBack};

impl Store {
    /// Appends a message that becomes visible with its transaction's commit. The producer's
    /// sequence, too, counts from the commit on; a duplicate is dropped.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn enqueue_in_transaction(
        &self,
        transaction: &[u8],
        targets: &[Arc<Backlog>],
        message: NewMessage<'_>,
    ) -> Result<Lsn, AppendError> {
        let time_ms = self.shared.clock.wall_ms();
        if is_duplicate(&message, |id| self.shared.state.producer_sequence(id)) {
            return Ok(self.appended());
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
        Ok(self.wake(appended))
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
        let touched = acknowledged.iter().map(|(backlog, _)| Acknowledge {
            id: backlog.id(),
            positions: Vec::new(),
        });
        let touched = Commit {
            transaction,
            acknowledged: touched.collect(),
        };
        let appended = self
            .shared
            .state
            .with_locks(&Record::Commit(touched), |locked| {
                let pending = acknowledged.iter().filter_map(|(backlog, positions)| {
                    self::acknowledged(locked, backlog.id(), positions)
                });
                let commit = Commit {
                    transaction,
                    acknowledged: pending.collect(),
                };
                let open = locked.transactions();
                let has_messages = open.is_some_and(|open| open.open.contains_key(transaction));
                if commit.acknowledged.is_empty() && !has_messages {
                    return Ok(None);
                }
                self.append(locked, &Record::Commit(commit), Class::Control)
                    .map(Some)
            })?;
        Ok(self.wake_or_present(appended))
    }

    /// Drops a transaction's messages. None when it has none: nothing to write.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn roll_back(&self, transaction: &[u8]) -> Result<Option<Lsn>, AppendError> {
        let record = Record::RollBack(RollBack { transaction });
        let appended = self.shared.state.with_locks(&record, |locked| {
            let open = locked.transactions();
            if !open.is_some_and(|open| open.open.contains_key(transaction)) {
                return Ok(None);
            }
            self.append(locked, &record, Class::Control).map(Some)
        })?;
        Ok(appended.map(|appended| self.wake(appended)))
    }
}
