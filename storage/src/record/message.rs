//! A message and where it goes.

use super::input::{Input, Malformed, put_count};
use crate::position::BacklogId;

const HAS_PRODUCER: u8 = 0x01;

/// What a message tells of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerNote<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Milliseconds since 1970; 0 = never.
    pub(crate) expiration_ms: i64,
    /// When it was appended, milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// 0..=9.
    pub(crate) order: u8,
    pub(crate) producer: Option<ProducerNote<'a>>,
    /// Empty for a message that is visible at once.
    pub(crate) transaction: &'a [u8],
    pub(crate) targets: Vec<BacklogId>,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (id, sequence, flags) = match self.producer {
            Some(producer) => (producer.id, producer.sequence, HAS_PRODUCER),
            None => (&[][..], 0, 0),
        };
        out.extend_from_slice(&self.expiration_ms.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        put_count(out, self.targets.len());
        put_count(out, id.len());
        put_count(out, self.transaction.len());
        out.extend_from_slice(&[self.order, flags, 0, 0]);
        for target in &self.targets {
            out.extend_from_slice(&target.0.to_le_bytes());
        }
        out.extend_from_slice(id);
        out.extend_from_slice(self.transaction);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let expiration_ms = input.u64()? as i64;
        let time_ms = input.u64()?;
        let sequence = input.u64()?;
        let target_count = input.count(4)?;
        let producer_bytes = input.u32()? as usize;
        let transaction_bytes = input.u32()? as usize;
        let [order, flags, 0, 0] = *input.take(4)? else {
            return Err(Malformed("a message's padding"));
        };
        if order > 9 || flags > HAS_PRODUCER {
            return Err(Malformed("a message's order or flags"));
        }
        // The count was checked with the fixed fields still in the input: check what is left.
        let targets = input.take(target_count * 4)?;
        let targets = targets
            .as_chunks::<4>()
            .0
            .iter()
            .map(|id| BacklogId(u32::from_le_bytes(*id)));
        let targets = targets.collect();
        let id = input.take(producer_bytes)?;
        let transaction = input.take(transaction_bytes)?;
        let producer = (flags == HAS_PRODUCER).then_some(ProducerNote { id, sequence });
        let body = input.rest();
        Ok(Message {
            expiration_ms,
            time_ms,
            order,
            producer,
            transaction,
            targets,
            body,
        })
    }
}
