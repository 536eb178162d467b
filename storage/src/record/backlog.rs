//! The life of a backlog, and its dispatch reservations.

use super::input::{Input, Malformed};
use crate::position::BacklogId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreateBacklog<'a> {
    pub(crate) id: BacklogId,
    /// The broker's words; the rest of the record.
    pub(crate) descriptor: &'a [u8],
}

impl<'a> CreateBacklog<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(self.descriptor);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(CreateBacklog {
            id: BacklogId(input.u32()?),
            descriptor: input.rest(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescribeBacklog<'a> {
    pub(crate) id: BacklogId,
    /// The broker's words; the rest of the record.
    pub(crate) descriptor: &'a [u8],
}

impl<'a> DescribeBacklog<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(self.descriptor);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        Ok(DescribeBacklog {
            id: BacklogId(input.u32()?),
            descriptor: input.rest(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemoveBacklog {
    pub(crate) id: BacklogId,
}

impl RemoveBacklog {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(RemoveBacklog {
            id: BacklogId(input.u32()?),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReserveDispatch {
    pub(crate) id: BacklogId,
    /// Sequences below this may be dispatched from now on.
    pub(crate) below: u64,
}

impl ReserveDispatch {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.below.to_le_bytes());
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(ReserveDispatch {
            id: BacklogId(input.u32()?),
            below: input.u64()?,
        })
    }
}
