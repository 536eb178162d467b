//! What a message of the drill carries: enough to know it again, and to see that nothing of it
//! changed on the way.

use bytes::{BufMut, Bytes, BytesMut};

use super::random::Random;

/// Smallest body: run, producer, sequence, moment of sending, length.
pub(super) const HEADER_SIZE: usize = 40;

const MAGIC: u64 = u64::from_be_bytes(*b"BATDRILL");
const FILLER_SIZE: usize = 64 << 10;

/// Who sent a message, and as which of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MessageKey {
    /// Number of the producer within its ledger.
    pub(super) producer: u32,
    /// Number of the message within its producer, from 0 without gaps.
    pub(super) sequence: u64,
}

/// What the body of a received message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Which message it is.
    pub(super) key: MessageKey,
    /// When its send began, in microseconds of the drill's clock.
    pub(super) sent_us: u64,
}

/// Why a received message is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    /// From another run, or from another program: a queue that was not empty.
    Foreign,
    /// Ours, but its bytes changed.
    Corrupt,
}

/// Makes and checks the bodies of one run.
#[derive(Debug)]
pub(super) struct Codec {
    run: u64,
    size: usize,
    filler: Bytes,
}

impl Codec {
    /// Bodies of `size` bytes for the run named `run`.
    pub(super) fn new(run: u64, size: usize) -> Self {
        let mut random = Random::new(run);
        let mut filler = BytesMut::with_capacity(FILLER_SIZE + size + 8);
        while filler.len() < FILLER_SIZE + size {
            filler.put_u64(random.next());
        }
        Self {
            run,
            size: size.max(HEADER_SIZE),
            filler: filler.freeze(),
        }
    }

    /// The body of message `key`.
    pub(super) fn body(&self, key: MessageKey, sent_us: u64) -> Bytes {
        let mut body = BytesMut::with_capacity(self.size);
        body.put_u64(MAGIC);
        body.put_u64(self.run);
        body.put_u32(key.producer);
        body.put_u64(key.sequence);
        body.put_u64(sent_us);
        body.put_u32(self.size as u32);
        body.put_slice(self.filler_of(key));
        body.freeze()
    }

    /// Reads a body back.
    pub(super) fn read(&self, body: &[u8]) -> Result<Received, Rejected> {
        let word = |at: usize| {
            body.get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_be_bytes)
        };
        let number = |at: usize| {
            body.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_be_bytes)
        };
        if word(0) != Some(MAGIC) || word(8) != Some(self.run) {
            return Err(Rejected::Foreign);
        }
        let (Some(producer), Some(sequence), Some(sent_us), Some(size)) =
            (number(16), word(20), word(28), number(36))
        else {
            return Err(Rejected::Corrupt);
        };
        let key = MessageKey { producer, sequence };
        let rest = &body[HEADER_SIZE..];
        if size as usize != body.len() || body.len() != self.size || rest != self.filler_of(key) {
            return Err(Rejected::Corrupt);
        }
        Ok(Received { key, sent_us })
    }

    /// The pseudo-random rest of a body, another one for each message.
    fn filler_of(&self, key: MessageKey) -> &[u8] {
        let mixed = (u64::from(key.producer) << 40 ^ key.sequence).wrapping_mul(0x9E37_79B9);
        let start = (mixed % FILLER_SIZE as u64) as usize;
        &self.filler[start..start + self.size - HEADER_SIZE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(producer: u32, sequence: u64) -> MessageKey {
        MessageKey { producer, sequence }
    }

    #[test]
    fn body_is_read_back() {
        for size in [HEADER_SIZE, 1024, 70_000] {
            let codec = Codec::new(7, size);
            let body = codec.body(key(3, 1 << 33), 42);
            assert_eq!(body.len(), size);
            let received = codec.read(&body).expect("the body is intact");
            assert_eq!(received.key, key(3, 1 << 33));
            assert_eq!(received.sent_us, 42);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_except_in_the_time_stamp() {
        let codec = Codec::new(7, 100);
        let body = codec.body(key(1, 2), 3);
        for at in (0..body.len()).filter(|at| !(28..36).contains(at)) {
            let mut changed = body.to_vec();
            changed[at] ^= 1;
            let read = codec.read(&changed);
            assert_ne!(
                read.map(|received| received.key),
                Ok(key(1, 2)),
                "byte {at} changed unnoticed"
            );
        }
        assert_eq!(codec.read(&body[..99]), Err(Rejected::Corrupt));
        assert_eq!(codec.read(&[]), Err(Rejected::Foreign));
        assert_eq!(Codec::new(8, 100).read(&body), Err(Rejected::Foreign));
    }
}
