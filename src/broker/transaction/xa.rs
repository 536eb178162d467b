//! Distributed transactions: begun by one connection, used by any, decided by anybody once they are
//! prepared.
//!
//! Until then they belong to the connection that began them and go with it. A prepared one is in the
//! journal with all its persistent messages and acknowledgements; what is kept in memory only is
//! a part of it as long as this broker lives. The journal also knows how the latest prepared ones
//! ended, so that a coordinator which lost the answer with the old active gets the truth.

use std::collections::HashMap;
use std::sync::Arc;

use openwire::ConnectionId;
use parking_lot::{Mutex, MutexGuard};
use storage::store::AppendError;
use storage::{Decision, Outcome};

use super::Transaction;
use super::xid::Xid;
use crate::broker::{Broker, Receipt, Refusal};

/// What a transaction answers when it is asked to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It waits for the decision.
    Prepared,
    /// There is nothing to decide: it has ended.
    ReadOnly,
}

/// Why a step of a distributed transaction is refused, in the terms of the XA specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XaError {
    /// `XAER_NOTA`: there is no such transaction.
    Unknown,
    /// `XAER_PROTO`: not in this state.
    Protocol,
    /// `XAER_INVAL`: the name is none.
    Invalid,
    /// `XA_RBCOMMFAIL`: rolled back, parts of it were lost with a connection.
    LostParts,
    /// `XA_RBOTHER`: rolled back, one of its parts failed.
    RolledBack,
    /// `XA_HEURCOM`: somebody else committed it.
    HeuristicCommit,
    /// `XA_HEURRB`: somebody else rolled it back.
    HeuristicRollback,
    /// `XA_RETRY`: it is still prepared; ask again.
    Retry,
}

impl XaError {
    /// The number that transaction managers know.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            XaError::Unknown => -4,
            XaError::Protocol => -6,
            XaError::Invalid => -5,
            XaError::LostParts => 101,
            XaError::RolledBack => 104,
            XaError::HeuristicCommit => 7,
            XaError::HeuristicRollback => 6,
            XaError::Retry => 4,
        }
    }
}

/// Who takes a step.
#[derive(Clone, Copy)]
pub(in crate::broker) struct Party<'a> {
    pub(in crate::broker) connection: &'a ConnectionId,
    /// The client came back after a loss, so this may be a repetition.
    pub(in crate::broker) is_reconnect: bool,
    /// It still repeats what it did before the loss, and what it acknowledged is not among that.
    pub(in crate::broker) has_lost_acknowledgements: bool,
}

/// All distributed transactions that are not decided.
#[derive(Default)]
pub(in crate::broker) struct Branches(Mutex<HashMap<Xid, Arc<Mutex<Branch>>>>);

/// One of them.
pub(super) struct Branch {
    pub(super) owner: ConnectionId,
    pub(super) parts: Transaction,
    pub(super) stage: Stage,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Active,
    Prepared {
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    Ended,
}

impl Branches {
    pub(super) fn get(&self, xid: &Xid) -> Option<Arc<Mutex<Branch>>> {
        self.0.lock().get(xid).map(Arc::clone)
    }

    pub(super) fn insert(&self, xid: Xid, branch: Branch) {
        self.0.lock().insert(xid, Arc::new(Mutex::new(branch)));
    }

    fn remove(&self, xid: &Xid) {
        self.0.lock().remove(xid);
    }

    /// All, in no order.
    pub(super) fn all(&self) -> Vec<(Xid, Arc<Mutex<Branch>>)> {
        let branches = self.0.lock();
        branches
            .iter()
            .map(|(xid, branch)| (xid.clone(), Arc::clone(branch)))
            .collect()
    }
}

fn refuse(xid: &Xid, error: XaError, cause: impl ToString) -> Refusal {
    Refusal::Xa {
        transaction: xid.to_string(),
        error,
        cause: cause.to_string(),
    }
}

fn unknown(xid: &Xid) -> Refusal {
    refuse(
        xid,
        XaError::Unknown,
        "it has not been started, or has ended",
    )
}

/// The answer to whoever coordinates a transaction that somebody else decided.
fn heuristic(xid: &Xid, decision: Decision) -> Refusal {
    match decision {
        Decision::Commit => refuse(xid, XaError::HeuristicCommit, "an operator committed it"),
        Decision::RollBack => refuse(
            xid,
            XaError::HeuristicRollback,
            "an operator rolled it back",
        ),
    }
}

impl Broker {
    /// Begins a transaction, joins it or resumes it.
    pub(in crate::broker) fn xa_begin(&self, xid: &Xid, party: Party<'_>) {
        let is_known = self.branches().get(xid).is_some();
        // A repetition of something that was decided before the loss: its commit is answered later.
        if is_known || party.is_reconnect && self.store().outcome(xid.key()).is_some() {
            return;
        }
        let branch = Branch {
            owner: party.connection.clone(),
            parts: Transaction::distributed(self, xid),
            stage: Stage::Active,
        };
        self.branches().insert(xid.clone(), branch);
    }

    /// Does something as a part of a transaction. None: it was done before the client's loss.
    pub(in crate::broker) fn xa_part<T>(
        &self,
        xid: &Xid,
        is_reconnect: bool,
        run: impl FnOnce(&mut Transaction) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        let Some(branch) = self.branches().get(xid) else {
            let is_repeated = is_reconnect && self.store().outcome(xid.key()).is_some();
            return if is_repeated {
                Ok(None)
            } else {
                Err(unknown(xid))
            };
        };
        let mut branch = branch.lock();
        match branch.stage {
            Stage::Active => run(&mut branch.parts).map(Some),
            Stage::Prepared { .. } if is_reconnect => Ok(None),
            Stage::Prepared { .. } => Err(refuse(xid, XaError::Protocol, "it is prepared")),
            Stage::Ended => Err(unknown(xid)),
        }
    }

    /// The first phase.
    pub(in crate::broker) fn xa_prepare(
        self: &Arc<Self>,
        xid: &Xid,
        party: Party<'_>,
    ) -> Result<(Vote, Receipt), Refusal> {
        let Some(branch) = self.branches().get(xid) else {
            return self.xa_prepared_before(xid, party);
        };
        let mut branch = branch.lock();
        match branch.stage {
            Stage::Active => {}
            Stage::Prepared { .. } if party.is_reconnect => {
                return Ok((Vote::Prepared, Receipt::At(self.store().appended())));
            }
            Stage::Prepared { .. } => {
                return Err(refuse(xid, XaError::Protocol, "it is prepared already"));
            }
            Stage::Ended => return Err(unknown(xid)),
        }
        if let Some(cause) = branch.parts.failure.take() {
            self.xa_drop(xid, branch);
            return Err(refuse(xid, XaError::RolledBack, cause));
        }
        if party.has_lost_acknowledgements {
            self.xa_drop(xid, branch);
            return Err(refuse(xid, XaError::LostParts, LOST_PARTS));
        }
        if branch.parts.is_empty() {
            self.xa_drop(xid, branch);
            return Ok((Vote::ReadOnly, Receipt::Done));
        }
        match branch.parts.write_prepare(self) {
            Ok(lsn) => {
                let at_ms = crate::broker::wall_ms().unsigned_abs();
                branch.stage = Stage::Prepared { at_ms };
                Ok((Vote::Prepared, Receipt::At(lsn)))
            }
            Err(refusal @ Refusal::Journal(AppendError::Fenced { .. })) => Err(refusal),
            Err(refusal) => {
                self.xa_drop(xid, branch);
                Err(refuse(xid, XaError::RolledBack, refusal))
            }
        }
    }

    /// The answer to a client that repeats a prepare of what was decided before it came back.
    fn xa_prepared_before(&self, xid: &Xid, party: Party<'_>) -> Result<(Vote, Receipt), Refusal> {
        let outcome = self.store().outcome(xid.key());
        match outcome.filter(|_| party.is_reconnect) {
            Some(outcome) if outcome.decision == Decision::Commit => {
                Ok((Vote::Prepared, Receipt::At(self.store().appended())))
            }
            Some(_) => Err(refuse(xid, XaError::RolledBack, "it was rolled back")),
            None => Err(unknown(xid)),
        }
    }

    /// Commits: in one phase, or what is prepared.
    pub(in crate::broker) fn xa_commit(
        self: &Arc<Self>,
        xid: &Xid,
        is_one_phase: bool,
        party: Party<'_>,
    ) -> Result<Receipt, Refusal> {
        let Some(branch) = self.branches().get(xid) else {
            return self.xa_ended(xid, Decision::Commit);
        };
        let mut branch = branch.lock();
        match branch.stage {
            Stage::Ended => return self.xa_ended(xid, Decision::Commit),
            Stage::Prepared { .. } => {
                return self.xa_decide(xid, branch, Decision::Commit, false);
            }
            Stage::Active if !is_one_phase => {
                return Err(refuse(xid, XaError::Protocol, "it is not prepared"));
            }
            Stage::Active => {}
        }
        if party.has_lost_acknowledgements {
            self.xa_drop(xid, branch);
            return Err(refuse(xid, XaError::LostParts, LOST_PARTS));
        }
        let parts = self.xa_take(xid, &mut branch);
        drop(branch);
        parts.commit(self).map_err(|refusal| match refusal {
            Refusal::TransactionFailed { cause, .. } => refuse(xid, XaError::RolledBack, cause),
            other => other,
        })
    }

    /// Rolls back what is prepared or not.
    pub(in crate::broker) fn xa_roll_back(self: &Arc<Self>, xid: &Xid) -> Result<Receipt, Refusal> {
        let Some(branch) = self.branches().get(xid) else {
            return self.xa_ended(xid, Decision::RollBack);
        };
        let branch = branch.lock();
        match branch.stage {
            Stage::Ended => self.xa_ended(xid, Decision::RollBack),
            Stage::Prepared { .. } => self.xa_decide(xid, branch, Decision::RollBack, false),
            Stage::Active => {
                self.xa_drop(xid, branch);
                Ok(Receipt::Done)
            }
        }
    }

    /// Forgets what somebody else decided, now that the coordinator knows.
    pub(in crate::broker) fn xa_forget(&self, xid: &Xid) -> Result<Receipt, Refusal> {
        if self.branches().get(xid).is_some() {
            return Err(refuse(xid, XaError::Protocol, "it has not ended"));
        }
        match self.store().forget_outcome(xid.key())? {
            Some(lsn) => Ok(Receipt::At(lsn)),
            None => Err(unknown(xid)),
        }
    }

    /// All that are prepared, by name, and when that is certain.
    pub(in crate::broker) fn xa_recover(&self) -> (Vec<Xid>, Receipt) {
        let prepared = self.store().prepared();
        let names = prepared.iter().filter_map(|one| Xid::from_key(&one.key));
        (names.collect(), Receipt::At(self.store().appended()))
    }

    /// The end of a connection: what it began and nobody prepared is rolled back.
    pub(in crate::broker) fn xa_leave(self: &Arc<Self>, connection: &ConnectionId) {
        for (xid, branch) in self.branches().all() {
            let branch = branch.lock();
            if branch.stage == Stage::Active && branch.owner == *connection {
                self.xa_drop(&xid, branch);
            }
        }
    }

    /// What to say of a transaction that has ended.
    fn xa_ended(&self, xid: &Xid, wanted: Decision) -> Result<Receipt, Refusal> {
        match self.store().outcome(xid.key()) {
            Some(Outcome {
                is_heuristic: true,
                decision,
                ..
            }) => Err(heuristic(xid, decision)),
            // Asked for again, because the answer was lost.
            Some(outcome) if outcome.decision == wanted => Ok(Receipt::At(self.store().appended())),
            Some(_) | None => Err(unknown(xid)),
        }
    }

    /// Ends a prepared transaction.
    pub(super) fn xa_decide(
        self: &Arc<Self>,
        xid: &Xid,
        mut branch: MutexGuard<'_, Branch>,
        decision: Decision,
        is_heuristic: bool,
    ) -> Result<Receipt, Refusal> {
        let decided = self.store().decide(xid.key(), decision, is_heuristic);
        let decided = decided.map_err(|error| match error {
            AppendError::Fenced { .. } => Refusal::from(error),
            other => refuse(xid, XaError::Retry, other),
        })?;
        let parts = self.xa_take(xid, &mut branch);
        drop(branch);
        match (decision, decided) {
            (Decision::Commit, Some(lsn)) => parts.take_effect(self, Some(lsn)),
            // Only this lock's holder decides, so the journal has it.
            (Decision::Commit, None) | (Decision::RollBack, _) => parts.release(self),
        }
        Ok(decided.into())
    }

    /// Rolls back what is not prepared.
    fn xa_drop(self: &Arc<Self>, xid: &Xid, mut branch: MutexGuard<'_, Branch>) {
        let parts = self.xa_take(xid, &mut branch);
        drop(branch);
        parts.roll_back(self);
    }

    /// Ends a transaction for all who ask for it from now on; what is left are its parts.
    fn xa_take(&self, xid: &Xid, branch: &mut Branch) -> Transaction {
        branch.stage = Stage::Ended;
        self.branches().remove(xid);
        let nothing = Transaction::distributed(self, xid);
        std::mem::replace(&mut branch.parts, nothing)
    }
}

const LOST_PARTS: &str = "what it acknowledged was lost with the connection";
