//! Prepared transactions of earlier tenures, and what operators see and decide of all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use openwire::{ConnectionId, MessageId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::{BacklogId, Decision, PreparedTransaction};

use super::xa::{Branch, Stage};
use super::xid::{Xid, hex};
use super::{Coming, Transaction};
use crate::broker::consumer::{InFlight, TransactionNumber};
use crate::broker::queue::Queue;
use crate::broker::{Broker, Receipt, Refusal, wall_ms};

/// A transaction that waits for its coordinator, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubt {
    /// The number of the name's format.
    pub format: i32,
    /// The global part of the name, in hexadecimal digits.
    pub global: String,
    /// The branch, in hexadecimal digits.
    pub branch: String,
    /// When it was prepared, in milliseconds since 1970.
    pub prepared_at_ms: u64,
    /// How long it has waited.
    pub age_ms: u64,
    /// Persistent messages that a commit makes visible.
    pub messages: usize,
    /// Persistent messages that a commit removes; nobody gets them meanwhile.
    pub acknowledged: usize,
    /// The same by queue and durable subscription.
    pub destinations: Vec<InDoubtDestination>,
}

/// A destination of a transaction that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubtDestination {
    /// The queue; of a durable subscription `topic (client id, name)`.
    pub name: String,
    /// Messages that a commit makes visible.
    pub messages: usize,
    /// Messages that a commit removes.
    pub acknowledged: usize,
}

/// A decision by an operator that the coordinator has not been told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeuristicOutcome {
    /// The number of the name's format.
    pub format: i32,
    /// The global part of the name, in hexadecimal digits.
    pub global: String,
    /// The branch, in hexadecimal digits.
    pub branch: String,
    /// `committed` or `rolled back`.
    pub outcome: String,
    /// When, in milliseconds since 1970.
    pub decided_at_ms: u64,
}

/// What operators see of distributed transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubtReport {
    /// Those that wait, the oldest first.
    pub prepared: Vec<InDoubt>,
    /// Those that operators decided.
    pub heuristic: Vec<HeuristicOutcome>,
}

impl Broker {
    /// Takes up what earlier tenures prepared: nobody gets what it acknowledged.
    pub(in crate::broker) fn restore_prepared(self: &Arc<Self>) {
        let prepared = self.store().prepared();
        if prepared.is_empty() {
            return;
        }
        let queues = self.queues_by_backlog();
        for prepared in prepared {
            let Some(xid) = Xid::from_key(&prepared.key) else {
                tracing::error!(key = ?prepared.key, "A prepared transaction is left alone.");
                continue;
            };
            tracing::info!(
                transaction = %xid,
                messages = prepared.messages,
                "A prepared transaction waits for its coordinator."
            );
            let branch = Branch {
                owner: ConnectionId::default(),
                parts: self.restored(&xid, &prepared, &queues),
                stage: Stage::Prepared {
                    at_ms: prepared.time_ms,
                },
            };
            self.branches().insert(xid, branch);
        }
    }

    fn restored(
        &self,
        xid: &Xid,
        prepared: &PreparedTransaction,
        queues: &HashMap<BacklogId, Arc<Queue>>,
    ) -> Transaction {
        let mut parts = Transaction::distributed(self, xid);
        parts.has_parts = true;
        for (backlog, positions) in &prepared.acknowledged {
            if let Some(queue) = queues.get(backlog) {
                queue.withhold(positions, parts.number);
                parts.held.push(Arc::clone(queue));
            }
        }
        for (backlog, messages) in &prepared.targets {
            if let Some(queue) = queues.get(backlog) {
                let coming = Coming::new(Arc::clone(queue), *messages as u64);
                parts.journaled.push(coming);
            } else {
                // What is in no queue is in the schedule.
                parts.has_found_jobs = true;
            }
        }
        parts
    }

    fn queues_by_backlog(&self) -> HashMap<BacklogId, Arc<Queue>> {
        let with_backlog = |queue: Arc<Queue>| {
            let id = queue.state.lock().stock.backlog()?.id();
            Some((id, queue))
        };
        self.all_queues()
            .into_iter()
            .filter_map(with_backlog)
            .collect()
    }

    /// The transactions that wait, and what operators decided. Never waits for storage.
    #[must_use]
    pub fn in_doubt(&self) -> InDoubtReport {
        let prepared = self.store().prepared();
        let heuristic = self.store().heuristic_outcomes();
        if prepared.is_empty() && heuristic.is_empty() {
            return InDoubtReport::default();
        }
        let names: HashMap<BacklogId, String> = self
            .queues_by_backlog()
            .into_iter()
            .map(|(backlog, queue)| (backlog, queue.label()))
            .collect();
        let mut prepared: Vec<InDoubt> = prepared
            .iter()
            .filter_map(|prepared| describe(prepared, &names))
            .collect();
        prepared.sort_by_key(|one| one.prepared_at_ms);
        let outcome = |(key, outcome): &(bytes::Bytes, storage::Outcome)| {
            let (format, global, branch) = Xid::from_key(key)?.parts();
            Some(HeuristicOutcome {
                format,
                global: hex(&global),
                branch: hex(&branch),
                outcome: match outcome.decision {
                    Decision::Commit => "committed".to_owned(),
                    Decision::RollBack => "rolled back".to_owned(),
                },
                decided_at_ms: outcome.time_ms,
            })
        };
        InDoubtReport {
            prepared,
            heuristic: heuristic.iter().filter_map(outcome).collect(),
        }
    }

    /// Ends a prepared transaction in place of its coordinator, which is told when it asks. `global`
    /// and `branch` are the parts of its name in hexadecimal digits.
    ///
    /// # Errors
    /// When there is no such prepared transaction, or the journal does not take it.
    pub fn decide_in_doubt(
        self: &Arc<Self>,
        format: i32,
        global: &str,
        branch: &str,
        decision: Decision,
    ) -> Result<Receipt, Refusal> {
        let name = || format!("{format}:{global}:{branch}");
        let unknown = || Refusal::NotInDoubt(name());
        let xid = Xid::from_hex(format, global, branch).ok_or_else(unknown)?;
        let branch: Arc<Mutex<Branch>> = self.branches().get(&xid).ok_or_else(unknown)?;
        let branch = branch.lock();
        if !matches!(branch.stage, Stage::Prepared { .. }) {
            return Err(unknown());
        }
        let receipt = self.xa_decide(&xid, branch, decision, true)?;
        tracing::warn!(transaction = %xid, ?decision, "An operator decided a transaction.");
        Ok(receipt)
    }
}

fn describe(prepared: &PreparedTransaction, names: &HashMap<BacklogId, String>) -> Option<InDoubt> {
    let (format, global, branch) = Xid::from_key(&prepared.key)?.parts();
    let mut destinations: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let name = |backlog: &BacklogId| {
        let gone = || format!("(removed, {})", backlog.0);
        names.get(backlog).cloned().unwrap_or_else(gone)
    };
    for (backlog, messages) in &prepared.targets {
        destinations.entry(name(backlog)).or_default().0 += messages;
    }
    for (backlog, positions) in &prepared.acknowledged {
        destinations.entry(name(backlog)).or_default().1 += positions.len();
    }
    let acknowledged = prepared.acknowledged.iter().map(|(_, at)| at.len()).sum();
    Some(InDoubt {
        format,
        global: hex(&global),
        branch: hex(&branch),
        prepared_at_ms: prepared.time_ms,
        age_ms: wall_ms().unsigned_abs().saturating_sub(prepared.time_ms),
        messages: prepared.messages,
        acknowledged,
        destinations: destinations
            .into_iter()
            .map(|(name, (messages, acknowledged))| InDoubtDestination {
                name,
                messages,
                acknowledged,
            })
            .collect(),
    })
}

impl Queue {
    /// Keeps messages from everybody for a prepared transaction that was found at start.
    fn withhold(&self, positions: &[storage::Position], transaction: TransactionNumber) {
        let mut state = self.state.lock();
        for slot in state.stock.withhold(positions) {
            state.orphans.push(InFlight {
                sequence: 0,
                id: MessageId::default(),
                slot,
                // Its body was not read; the group's consumer is gone with the last tenure.
                group: None,
                held_by: Some(transaction),
            });
        }
    }

    /// How operators know it.
    fn label(&self) -> String {
        let name = self.name().name.clone().unwrap_or_default();
        match self.subscription_key() {
            Some(key) => format!("{name} ({}, {})", key.client_id, key.name),
            None => name.to_string(),
        }
    }
}
