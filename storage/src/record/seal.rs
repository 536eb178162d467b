//! The first record of a tenure: what counts of the former one.

use super::input::{Input, Malformed};
use crate::position::{Epoch, Lsn, SegmentNumber};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// 0 when there was none.
    pub(crate) previous_epoch: Epoch,
    /// The last LSN that counts.
    pub(crate) sealed_lsn: Lsn,
    /// The segment that holds it.
    pub(crate) segment: SegmentNumber,
    /// The first byte there that does not count.
    pub(crate) end_offset: u64,
    /// Milliseconds since 1970, for people.
    pub(crate) time_ms: u64,
}

impl Seal {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.previous_epoch.0.to_le_bytes());
        out.extend_from_slice(&self.sealed_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.end_offset.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.segment.0.to_le_bytes());
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(Seal {
            previous_epoch: Epoch(input.u64()?),
            sealed_lsn: Lsn(input.u64()?),
            end_offset: input.u64()?,
            time_ms: input.u64()?,
            segment: SegmentNumber(input.u32()?),
        })
    }
}
