//! How a transaction ends, in one step or in two.

use super::acknowledge::Acknowledge;
use super::input::{Input, Malformed, put_count, put_slice};
use crate::transaction::{Decision, Outcome};

/// The transaction's messages become visible and what it acknowledged goes, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit<'a> {
    pub(crate) transaction: &'a [u8],
    pub(crate) acknowledged: Vec<Acknowledge>,
}

impl<'a> Commit<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_slice(out, self.transaction);
        put_acknowledged(out, &self.acknowledged);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(Commit {
            transaction: input.slice()?,
            acknowledged: read_acknowledged(input)?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RollBack<'a> {
    pub(crate) transaction: &'a [u8],
}

impl<'a> RollBack<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_slice(out, self.transaction);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(RollBack {
            transaction: input.slice()?,
        })
    }
}

/// The transaction's messages and acknowledgements wait for a decision, whoever is the active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepare<'a> {
    /// Milliseconds since 1970, for people.
    pub(crate) time_ms: u64,
    pub(crate) transaction: &'a [u8],
    pub(crate) acknowledged: Vec<Acknowledge>,
}

impl<'a> Prepare<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        put_slice(out, self.transaction);
        put_acknowledged(out, &self.acknowledged);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(Prepare {
            time_ms: input.u64()?,
            transaction: input.slice()?,
            acknowledged: read_acknowledged(input)?,
        })
    }
}

/// What becomes of a prepared transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decide<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) transaction: &'a [u8],
}

impl<'a> Decide<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.outcome.encode(out);
        put_slice(out, self.transaction);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(Decide {
            outcome: Outcome::decode(input)?,
            transaction: input.slice()?,
        })
    }
}

/// Outcomes that nobody will ask for any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForgetOutcomes<'a> {
    pub(crate) transactions: Vec<&'a [u8]>,
}

impl<'a> ForgetOutcomes<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.transactions.len());
        for transaction in &self.transactions {
            put_slice(out, transaction);
        }
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let count = input.count(4)?;
        let transactions = (0..count).map(|_| input.slice()).collect::<Result<_, _>>();
        Ok(ForgetOutcomes {
            transactions: transactions?,
        })
    }
}

const COMMITTED: u8 = 1;
const ROLLED_BACK: u8 = 2;

impl Outcome {
    /// The 12 bytes that records and checkpoints have of it.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let decision = match self.decision {
            Decision::Commit => COMMITTED,
            Decision::RollBack => ROLLED_BACK,
        };
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&[decision, u8::from(self.is_heuristic), 0, 0]);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let time_ms = input.u64()?;
        let (decision, is_heuristic) = match *input.take(4)? {
            [COMMITTED, heuristic @ (0 | 1), 0, 0] => (Decision::Commit, heuristic == 1),
            [ROLLED_BACK, heuristic @ (0 | 1), 0, 0] => (Decision::RollBack, heuristic == 1),
            _ => return Err(Malformed("a transaction's outcome")),
        };
        Ok(Outcome {
            decision,
            is_heuristic,
            time_ms,
        })
    }
}

/// Appends the number of acknowledgements and each of them.
pub(crate) fn put_acknowledged(out: &mut Vec<u8>, acknowledged: &[Acknowledge]) {
    put_count(out, acknowledged.len());
    for acknowledge in acknowledged {
        acknowledge.encode(out);
    }
}

/// What [`put_acknowledged`] wrote.
pub(crate) fn read_acknowledged(input: &mut Input<'_>) -> Result<Vec<Acknowledge>, Malformed> {
    let count = input.count(8)?;
    (0..count).map(|_| Acknowledge::decode(input)).collect()
}
