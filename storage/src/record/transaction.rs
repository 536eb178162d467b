//! How a transaction ends.

use super::acknowledge::Acknowledge;
use super::input::{Input, Malformed, put_count, put_slice};

/// The transaction's messages become visible and what it acknowledged goes, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit<'a> {
    pub(crate) transaction: &'a [u8],
    pub(crate) acknowledged: Vec<Acknowledge>,
}

impl<'a> Commit<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_slice(out, self.transaction);
        put_count(out, self.acknowledged.len());
        for acknowledge in &self.acknowledged {
            acknowledge.encode(out);
        }
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let transaction = input.slice()?;
        let count = input.count(8)?;
        let acknowledged = (0..count)
            .map(|_| Acknowledge::decode(input))
            .collect::<Result<_, _>>();
        Ok(Commit {
            transaction,
            acknowledged: acknowledged?,
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
