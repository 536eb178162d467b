//! The lease block: the active's sign of life, 512 bytes at the start of its claim file.
//!
//! ```text
//! offset bytes  all numbers little endian
//!      0     8  magic "batonLS1"
//!      8     8  epoch
//!     16     8  counter: grows with every renewal
//!     24     4  lease duration in milliseconds, rounded up
//!     28     1  phase: 1 claimed, 2 serving, 3 released
//!     29     1  bytes of the name
//!     30     1  bytes of the host
//!     31     1  zero
//!     32     4  process id
//!     36     4  zero
//!     40    64  name, UTF-8
//!    104    64  host, UTF-8
//!    168    16  identity: drawn at random for each claim; zero in blocks of older releases
//!    184   324  zeros
//!    508     4  CRC-32 of the 508 bytes before
//! ```
//!
//! Reading tells *never written*, *valid* and *unreadable* apart: to take damage for "nobody is
//! there" is how two brokers come to serve.

use std::fmt;
use std::time::Duration;

use crate::position::Epoch;

/// Bytes of a block: what a disk writes in one piece.
pub(crate) const LEASE_BLOCK_BYTES: usize = 512;
/// Most bytes of a name or a host.
pub(crate) const NAME_BYTES_MAX: usize = 64;

const MAGIC: &[u8; 8] = b"batonLS1";
const NAME_AT: usize = 40;
const HOST_AT: usize = NAME_AT + NAME_BYTES_MAX;
const IDENTITY_AT: usize = HOST_AT + NAME_BYTES_MAX;
const CRC_AT: usize = LEASE_BLOCK_BYTES - 4;

/// Who writes a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
}

impl Holder {
    /// This process.
    pub(crate) fn this(name: &str) -> Holder {
        let host = nix::unistd::gethostname().ok();
        let host = host.and_then(|host| host.into_string().ok());
        Holder {
            name: cut(name).to_owned(),
            host: cut(host.as_deref().unwrap_or("unknown")).to_owned(),
            pid: std::process::id(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { name, host, pid } = self;
        write!(f, "{name} on {host}, pid {pid}")
    }
}

/// The start of a text that fits into a block.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// How far the writer of a lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeasePhase {
    /// It wants the epoch.
    Claimed = 1,
    /// It serves.
    Serving = 2,
    /// It served, and never acknowledges anything again.
    Released = 3,
}

/// What a block says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
    /// Tells this claim from another one of the same epoch in a directory made anew.
    pub(crate) identity: u128,
    pub(crate) duration_ms: u32,
    pub(crate) phase: LeasePhase,
    pub(crate) holder: Holder,
}

/// A block as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeaseBlock {
    /// The claim was made, and its writer has not come to the block.
    NeverWritten,
    /// All is well.
    Valid(Lease),
    /// Torn, damaged, or not ours. The CRC of what is there stands for its content.
    Unreadable {
        content_crc: u32,
        reason: &'static str,
    },
}

impl Lease {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(u64::from(self.duration_ms))
    }

    pub(crate) fn encode(&self) -> [u8; LEASE_BLOCK_BYTES] {
        let (name, host) = (cut(&self.holder.name), cut(&self.holder.host));
        let mut block = [0; LEASE_BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &self.epoch.0.to_le_bytes());
        put(16, &self.counter.to_le_bytes());
        put(24, &self.duration_ms.to_le_bytes());
        // `cut` keeps both lengths within NAME_BYTES_MAX.
        put(28, &[self.phase as u8, name.len() as u8, host.len() as u8]);
        put(32, &self.holder.pid.to_le_bytes());
        put(NAME_AT, name.as_bytes());
        put(HOST_AT, host.as_bytes());
        put(IDENTITY_AT, &self.identity.to_le_bytes());
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        block
    }
}

impl LeaseBlock {
    /// Reads a block; `bytes` is shorter where the file is.
    pub(crate) fn decode(bytes: &[u8]) -> LeaseBlock {
        if bytes.iter().all(|byte| *byte == 0) {
            return LeaseBlock::NeverWritten;
        }
        match decode_written(bytes) {
            Ok(lease) => LeaseBlock::Valid(lease),
            Err(reason) => LeaseBlock::Unreadable {
                content_crc: crc32fast::hash(bytes),
                reason,
            },
        }
    }

    pub(crate) fn valid(&self) -> Option<&Lease> {
        match self {
            LeaseBlock::Valid(lease) => Some(lease),
            LeaseBlock::NeverWritten | LeaseBlock::Unreadable { .. } => None,
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.valid()
            .is_some_and(|lease| lease.phase == LeasePhase::Released)
    }
}

fn decode_written(bytes: &[u8]) -> Result<Lease, &'static str> {
    let block: &[u8; LEASE_BLOCK_BYTES] = bytes.try_into().map_err(|_| "it is cut short")?;
    if &block[..8] != MAGIC {
        return Err("it does not begin like a lease block");
    }
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| block[at + byte]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| block[at + byte]));
    let u128_at = |at: usize| u128::from_le_bytes(std::array::from_fn(|byte| block[at + byte]));
    if u32_at(CRC_AT) != crc32fast::hash(&block[..CRC_AT]) {
        return Err("its checksum is wrong");
    }
    let text = |at: usize, length: u8| {
        let bytes = (usize::from(length) <= NAME_BYTES_MAX)
            .then(|| block[at..at + usize::from(length)].to_vec());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or("a name in it is no text")
    };
    Ok(Lease {
        epoch: Epoch(u64_at(8)),
        counter: u64_at(16),
        identity: u128_at(IDENTITY_AT),
        duration_ms: u32_at(24),
        phase: match block[28] {
            1 => LeasePhase::Claimed,
            2 => LeasePhase::Serving,
            3 => LeasePhase::Released,
            _ => return Err("its phase is unknown"),
        },
        holder: Holder {
            name: text(NAME_AT, block[29])?,
            host: text(HOST_AT, block[30])?,
            pid: u32_at(32),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            epoch: Epoch(0x0102),
            counter: 7,
            identity: 0x0a0b,
            duration_ms: 5000,
            phase: LeasePhase::Serving,
            holder: Holder {
                name: "a".to_owned(),
                host: "hôst".to_owned(),
                pid: 99,
            },
        }
    }

    #[test]
    fn a_block_is_read_as_it_was_written_at_the_specified_offsets() {
        let block = lease().encode();
        assert_eq!(&block[..8], b"batonLS1");
        assert_eq!(block[8..10], [2, 1]);
        assert_eq!(block[16], 7);
        assert_eq!(block[24..26], 5000_u16.to_le_bytes());
        assert_eq!(block[28..32], [2, 1, 5, 0]);
        assert_eq!(block[32], 99);
        assert_eq!(block[40], b'a');
        assert_eq!(block[104], b'h');
        assert_eq!(block[168..171], [0x0b, 0x0a, 0]);
        assert_eq!(LeaseBlock::decode(&block), LeaseBlock::Valid(lease()));
    }

    #[test]
    fn reading_has_three_results() {
        assert_eq!(LeaseBlock::decode(&[]), LeaseBlock::NeverWritten);
        assert_eq!(LeaseBlock::decode(&[0; 512]), LeaseBlock::NeverWritten);
        let block = lease().encode();
        for damaged in 0..block.len() {
            let mut block = block;
            block[damaged] ^= 1;
            let read = LeaseBlock::decode(&block);
            assert!(
                matches!(read, LeaseBlock::Unreadable { .. }),
                "byte {damaged}: {read:?}"
            );
        }
        for length in 1..block.len() {
            let read = LeaseBlock::decode(&block[..length]);
            assert!(matches!(read, LeaseBlock::Unreadable { .. }), "{length}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut long = lease();
        long.holder.name = "ä".repeat(40);
        long.holder.host = format!("x{}", "ä".repeat(40));
        let read = LeaseBlock::decode(&long.encode());
        let read = read.valid().expect("valid");
        assert_eq!(read.holder.name.len(), 64);
        assert_eq!(read.holder.host.len(), 63);
    }
}
