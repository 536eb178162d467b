//! What is told of transactions that are decided in two steps.

use bytes::Bytes;

use crate::position::{BacklogId, Position};

/// What was decided of a prepared transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Its messages became visible, what it acknowledged went.
    Commit,
    /// Its messages went, what it acknowledged stayed.
    RollBack,
}

/// How a prepared transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was decided.
    pub decision: Decision,
    /// Decided by somebody else than the one who coordinates it, who is to be told.
    pub is_heuristic: bool,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// A transaction that waits for its decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedTransaction {
    /// What the broker called it.
    pub key: Bytes,
    /// When it was prepared, in milliseconds since 1970.
    pub time_ms: u64,
    /// Messages in it.
    pub messages: usize,
    /// How many of them each backlog gets, by id.
    pub targets: Vec<(BacklogId, usize)>,
    /// What it acknowledged, by backlog. These entries stay until the decision, and nobody else may
    /// have them meanwhile.
    pub acknowledged: Vec<(BacklogId, Vec<Position>)>,
}
