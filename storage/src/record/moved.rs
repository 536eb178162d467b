//! A message that was appended again at the journal's tail, so that its old segment can go.

use super::input::{Input, Malformed, put_count};
use super::message::Message;
use crate::position::{BacklogId, Location, Position, SegmentNumber};

/// Bytes of one place.
const PLACE_BYTES: usize = 12;

/// The message carries everything that its first record had. Nothing of it is applied but the place
/// of this record: what was noted of its producer and its order when it came stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move<'a> {
    /// Where the record was until now.
    pub(crate) from: Location,
    /// Where the message is pending, by backlog. Empty: it waits for the end of its transaction.
    pub(crate) places: Vec<(BacklogId, Position)>,
    pub(crate) message: Message<'a>,
}

impl<'a> Move<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.from.segment.0.to_le_bytes());
        out.extend_from_slice(&self.from.offset.to_le_bytes());
        out.extend_from_slice(&self.from.length.to_le_bytes());
        put_count(out, self.places.len());
        for (backlog, position) in &self.places {
            out.extend_from_slice(&backlog.0.to_le_bytes());
            out.extend_from_slice(&position.0.to_le_bytes());
        }
        self.message.encode(out);
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let from = Location {
            segment: SegmentNumber(input.u32()?),
            offset: input.u32()?,
            length: input.u32()?,
        };
        let count = input.count(PLACE_BYTES)?;
        let place = |_| Ok((BacklogId(input.u32()?), Position(input.u64()?)));
        let places = (0..count).map(place).collect::<Result<_, Malformed>>()?;
        Ok(Move {
            from,
            places,
            message: Message::decode(input)?,
        })
    }
}
