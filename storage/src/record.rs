//! A record: one step of the state, the entry of the journal's one order.
//!
//! One file below for each family, encoding and decoding side by side. The layouts are specified in
//! the crate's head. Nothing here knows of batches, files or the state.

mod acknowledge;
mod backlog;
mod input;
mod message;
mod moved;
mod producer;
mod seal;
mod transaction;

use crc32fast::Hasher;

pub(crate) use self::acknowledge::Acknowledge;
pub(crate) use self::backlog::{CreateBacklog, DescribeBacklog, RemoveBacklog, ReserveDispatch};
pub(crate) use self::input::{Input, Malformed, put_count, put_slice};
pub(crate) use self::message::{Message, ProducerNote};
pub(crate) use self::moved::Move;
pub(crate) use self::producer::ForgetProducers;
pub(crate) use self::seal::Seal;
pub(crate) use self::transaction::{
    Commit, Decide, ForgetOutcomes, Prepare, RollBack, put_acknowledged, read_acknowledged,
};
use crate::cipher::TAG_BYTES;
use crate::position::{Epoch, Lsn};

/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: usize = 20;
/// The most bytes that a record may have, its header included: what a reader must be ready to hold.
pub(crate) const RECORD_BYTES_MAX: u32 = 256 << 20;

pub(crate) const LENGTH_AT: usize = 0;
pub(crate) const CRC_AT: usize = 4;
pub(crate) const LSN_AT: usize = 8;
pub(crate) const KIND_AT: usize = 16;

/// The persisted numbers of the kinds: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Seal = 1,
    CreateBacklog = 2,
    DescribeBacklog = 3,
    RemoveBacklog = 4,
    Message = 5,
    TransactionMessage = 6,
    Commit = 7,
    RollBack = 8,
    Acknowledge = 9,
    ReserveDispatch = 10,
    ForgetProducers = 11,
    Prepare = 12,
    Decide = 13,
    ForgetOutcomes = 14,
    Move = 15,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [
            Seal,
            CreateBacklog,
            DescribeBacklog,
            RemoveBacklog,
            Message,
            TransactionMessage,
            Commit,
            RollBack,
            Acknowledge,
            ReserveDispatch,
            ForgetProducers,
            Prepare,
            Decide,
            ForgetOutcomes,
            Move,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record<'a> {
    Seal(Seal),
    CreateBacklog(CreateBacklog<'a>),
    DescribeBacklog(DescribeBacklog<'a>),
    RemoveBacklog(RemoveBacklog),
    /// A message that is visible at once.
    Message(Message<'a>),
    /// A message that becomes visible with its transaction's commit.
    TransactionMessage(Message<'a>),
    Commit(Commit<'a>),
    RollBack(RollBack<'a>),
    Acknowledge(Acknowledge),
    ReserveDispatch(ReserveDispatch),
    ForgetProducers(ForgetProducers<'a>),
    Prepare(Prepare<'a>),
    Decide(Decide<'a>),
    ForgetOutcomes(ForgetOutcomes<'a>),
    /// A message that was appended again, so that its old segment can go.
    Move(Move<'a>),
}

impl<'a> Record<'a> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Record::Seal(_) => Kind::Seal,
            Record::CreateBacklog(_) => Kind::CreateBacklog,
            Record::DescribeBacklog(_) => Kind::DescribeBacklog,
            Record::RemoveBacklog(_) => Kind::RemoveBacklog,
            Record::Message(_) => Kind::Message,
            Record::TransactionMessage(_) => Kind::TransactionMessage,
            Record::Commit(_) => Kind::Commit,
            Record::RollBack(_) => Kind::RollBack,
            Record::Acknowledge(_) => Kind::Acknowledge,
            Record::ReserveDispatch(_) => Kind::ReserveDispatch,
            Record::ForgetProducers(_) => Kind::ForgetProducers,
            Record::Prepare(_) => Kind::Prepare,
            Record::Decide(_) => Kind::Decide,
            Record::ForgetOutcomes(_) => Kind::ForgetOutcomes,
            Record::Move(_) => Kind::Move,
        }
    }

    /// Appends the payload up to the body, which is the record's end and not copied here.
    fn encode_head(&self, out: &mut Vec<u8>) {
        match self {
            Record::Seal(seal) => seal.encode(out),
            Record::CreateBacklog(create) => create.encode(out),
            Record::DescribeBacklog(describe) => describe.encode(out),
            Record::RemoveBacklog(remove) => remove.encode(out),
            Record::Message(message) | Record::TransactionMessage(message) => message.encode(out),
            Record::Commit(commit) => commit.encode(out),
            Record::RollBack(roll_back) => roll_back.encode(out),
            Record::Acknowledge(acknowledge) => acknowledge.encode(out),
            Record::ReserveDispatch(reserve) => reserve.encode(out),
            Record::ForgetProducers(forget) => forget.encode(out),
            Record::Prepare(prepare) => prepare.encode(out),
            Record::Decide(decide) => decide.encode(out),
            Record::ForgetOutcomes(forget) => forget.encode(out),
            Record::Move(moved) => moved.encode(out),
        }
    }

    fn body(&self) -> &'a [u8] {
        match self {
            Record::Message(message) | Record::TransactionMessage(message) => message.body,
            Record::Move(moved) => moved.message.body,
            _ => &[],
        }
    }

    pub(crate) fn decode(kind: u8, payload: &'a [u8]) -> Result<Record<'a>, Malformed> {
        let kind = Kind::from_byte(kind).ok_or(Malformed("a kind of record that is not known"))?;
        let input = &mut Input::new(payload);
        let record = match kind {
            Kind::Seal => Record::Seal(Seal::decode(input)?),
            Kind::CreateBacklog => Record::CreateBacklog(CreateBacklog::decode(input)?),
            Kind::DescribeBacklog => Record::DescribeBacklog(DescribeBacklog::decode(input)?),
            Kind::RemoveBacklog => Record::RemoveBacklog(RemoveBacklog::decode(input)?),
            Kind::Message => Record::Message(Message::decode(input)?),
            Kind::TransactionMessage => Record::TransactionMessage(Message::decode(input)?),
            Kind::Commit => Record::Commit(Commit::decode(input)?),
            Kind::RollBack => Record::RollBack(RollBack::decode(input)?),
            Kind::Acknowledge => Record::Acknowledge(Acknowledge::decode(input)?),
            Kind::ReserveDispatch => Record::ReserveDispatch(ReserveDispatch::decode(input)?),
            Kind::ForgetProducers => Record::ForgetProducers(ForgetProducers::decode(input)?),
            Kind::Prepare => Record::Prepare(Prepare::decode(input)?),
            Kind::Decide => Record::Decide(Decide::decode(input)?),
            Kind::ForgetOutcomes => Record::ForgetOutcomes(ForgetOutcomes::decode(input)?),
            Kind::Move => Record::Move(Move::decode(input)?),
        };
        input.finish()?;
        Ok(record)
    }
}

/// A record on its way into the journal: everything is computed but what its place decides.
pub(crate) struct Frame<'a> {
    /// The header's room, then the payload up to the body.
    head: Vec<u8>,
    body: &'a [u8],
    kind: Kind,
    /// Over the payload.
    crc: Hasher,
}

/// From here on a body is copied outside the append lock into a buffer that is handed over.
const LARGE_BODY_BYTES: usize = 64 << 10;

impl<'a> Frame<'a> {
    pub(crate) fn new(record: &Record<'a>) -> Frame<'a> {
        let body = record.body();
        let mut head = Vec::with_capacity(RECORD_HEADER_BYTES + 192);
        head.resize(RECORD_HEADER_BYTES, 0);
        record.encode_head(&mut head);
        let mut crc = Hasher::new();
        crc.update(&head[RECORD_HEADER_BYTES..]);
        crc.update(body);
        Frame {
            head,
            body,
            kind: record.kind(),
            crc,
        }
    }

    /// Bytes of the whole record; it may exceed what the journal takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.body.len() as u64
    }

    /// True when the record is worth a buffer of its own: then [`Frame::own_body`] comes first.
    pub(crate) fn is_large(&self) -> bool {
        self.head.len() + self.body.len() >= LARGE_BODY_BYTES
    }

    /// Copies a large body behind its head, so that nothing is left to copy under the lock.
    pub(crate) fn own_body(&mut self) {
        self.head.reserve_exact(self.body.len() + TAG_BYTES);
        self.head.extend_from_slice(self.body);
        self.body = &[];
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Fills in what the place decides, and answers the record's CRC.
    pub(crate) fn place(&mut self, lsn: Lsn, epoch: Epoch) -> u32 {
        let length = self.bytes() as u32;
        let crc = record_crc(self.crc.clone(), lsn, epoch, length, self.kind as u8);
        put_header(&mut self.head, length, crc, lsn, self.kind);
        crc
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(self.body);
    }

    /// The whole record, after [`Frame::own_body`].
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        debug_assert!(self.body.is_empty());
        self.head
    }
}

/// Fills the header of a record in whose payload was changed after its frame was made; answers the
/// record's CRC.
pub(crate) fn place_changed(record: &mut [u8], lsn: Lsn, epoch: Epoch, kind: Kind) -> u32 {
    let length = record.len() as u32;
    let mut hasher = Hasher::new();
    hasher.update(&record[RECORD_HEADER_BYTES..]);
    let crc = record_crc(hasher, lsn, epoch, length, kind as u8);
    put_header(record, length, crc, lsn, kind);
    crc
}

fn put_header(record: &mut [u8], length: u32, crc: u32, lsn: Lsn, kind: Kind) {
    record[LENGTH_AT..][..4].copy_from_slice(&length.to_le_bytes());
    record[CRC_AT..][..4].copy_from_slice(&crc.to_le_bytes());
    record[LSN_AT..][..8].copy_from_slice(&lsn.0.to_le_bytes());
    record[KIND_AT] = kind as u8;
}

/// The payload's CRC goes first, so that it can be computed before the place is known.
fn record_crc(payload: Hasher, lsn: Lsn, epoch: Epoch, length: u32, kind: u8) -> u32 {
    let mut crc = payload;
    let mut place = [0; 24];
    place[..8].copy_from_slice(&lsn.0.to_le_bytes());
    place[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    place[16..20].copy_from_slice(&length.to_le_bytes());
    place[20] = kind;
    crc.update(&place);
    crc.finalize()
}

/// A record as it lies in a batch, its CRC checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) lsn: Lsn,
    pub(crate) kind: u8,
    pub(crate) crc: u32,
    pub(crate) length: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The record that `bytes` starts with, written in `epoch`.
    pub(crate) fn parse(bytes: &'a [u8], epoch: Epoch) -> Result<RawRecord<'a>, Malformed> {
        let input = &mut Input::new(bytes);
        let length = input.u32()?;
        let crc = input.u32()?;
        let lsn = Lsn(input.u64()?);
        let kind = input.u8()?;
        let is_padded = input.take(3)? == [0; 3];
        if (length as usize) < RECORD_HEADER_BYTES || length as usize > bytes.len() || !is_padded {
            return Err(Malformed("a record's header"));
        }
        let payload = &bytes[RECORD_HEADER_BYTES..length as usize];
        let mut hasher = Hasher::new();
        hasher.update(payload);
        if record_crc(hasher, lsn, epoch, length, kind) != crc {
            return Err(Malformed("a record's CRC"));
        }
        Ok(RawRecord {
            lsn,
            kind,
            crc,
            length,
            payload,
        })
    }

    /// The seal that this record is, encrypted segment or not: seals are readable without a key.
    /// Whether its tag is right is for those to see who apply it.
    pub(crate) fn seal(&self) -> Option<Seal> {
        if self.kind != Kind::Seal as u8 {
            return None;
        }
        let plain = self.payload.len().checked_sub(TAG_BYTES);
        let tagless = plain.and_then(|bytes| self.payload.get(..bytes));
        [Some(self.payload), tagless]
            .into_iter()
            .flatten()
            .find_map(|payload| match Record::decode(self.kind, payload) {
                Ok(Record::Seal(seal)) => Some(seal),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests;
