//! Messages that are consumed.

use super::input::{Input, Malformed, put_count};
use crate::position::{BacklogId, Position};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledge {
    pub(crate) id: BacklogId,
    pub(crate) positions: Vec<Position>,
}

impl Acknowledge {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        put_count(out, self.positions.len());
        for position in &self.positions {
            out.extend_from_slice(&position.0.to_le_bytes());
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let id = BacklogId(input.u32()?);
        let count = input.count(8)?;
        let positions = input.take(count * 8)?.as_chunks::<8>().0;
        let positions = positions
            .iter()
            .map(|bytes| Position(u64::from_le_bytes(*bytes)));
        Ok(Acknowledge {
            id,
            positions: positions.collect(),
        })
    }
}
