//! A journal on a shared directory with one writer at a time: lock, lease, epoch, recovery, warm
//! standby.
//!
//! The crate knows nothing of messaging protocols, sockets or async runtimes. Everything outside is
//! reached through [`disk::Disk`] and [`clock::Clock`], which have real and simulated
//! implementations.
//!
//! # The format on disk
//!
//! All numbers are little-endian. Offsets and lengths are in bytes. CRC is CRC-32 (IEEE). What is
//! called zero is checked to be zero. The tests `record::tests`, `batch::tests`, `segment::tests`
//! and `checkpoint::tests` assert every offset of this page.
//!
//! ## Segment: `journal/<number>-<epoch>.seg`
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `BATONSEG` |
//! | 8 | 4 | format version: 3, or 4 if it is encrypted |
//! | 12 | 4 | segment number |
//! | 16 | 8 | epoch |
//! | 24 | 36 | version 3: zero; 4: the cipher's number, 1 (4), the key's id (8), salt (24) |
//! | 60 | 4 | CRC of bytes 0 to 59 |
//! | 64 | | batches, one right behind the other; zeros behind the last |
//!
//! ## Batch
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `BtB1` |
//! | 4 | 4 | length of the batch, this header included |
//! | 8 | 4 | number of records |
//! | 12 | 4 | CRC of: the CRCs of the records, bytes 0 to 11, bytes 16 to 39, the segment's number (4), the batch's offset in the segment (8) |
//! | 16 | 8 | LSN of the first record |
//! | 24 | 8 | epoch |
//! | 32 | 8 | LSN up to which everything was durable when the batch was sent |
//! | 40 | | records, one right behind the other |
//!
//! ## Record
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the record, this header included |
//! | 4 | 4 | CRC of: the payload, the LSN (8), the epoch (8), the length (4), the kind (1), three zeros |
//! | 8 | 8 | LSN |
//! | 16 | 1 | kind |
//! | 17 | 3 | zero |
//! | 20 | | payload |
//!
//! In an encrypted segment the payload is encrypted, that of kind 1 is not, and behind it stands a tag of 16 bytes,
//! which counts as payload for length and CRC; see [`cipher`].
//!
//! Payloads, as offset: field (bytes). *rest* reaches to the record's end.
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 1 | seal | 0: previous epoch (8), 8: last LSN of it that counts (8), 16: the first byte that does not count (8), 24: time in ms (8), 32: the segment of both (4) |
//! | 2 | create backlog | 0: id (4), 4: descriptor (rest) |
//! | 3 | describe backlog | 0: id (4), 4: descriptor (rest) |
//! | 4 | remove backlog | 0: id (4) |
//! | 5 | message | 0: expiration in ms (8), 8: time in ms (8), 16: producer sequence (8), 24: number of targets (4), 28: length of the producer's id (4), 32: length of the transaction's id (4), 36: order (1), 37: 1 if there is a producer (1), 38: zero (2), 40: targets (4 each), producer's id, transaction's id, body (rest) |
//! | 6 | message in a transaction | the same |
//! | 7 | commit | 0: length of the transaction's id (4), id, number of acknowledgements (4), each like kind 9 |
//! | 8 | roll back | 0: length of the transaction's id (4), id |
//! | 9 | acknowledge | 0: backlog (4), 4: number of positions (4), 8: positions (8 each) |
//! | 10 | reserve dispatch | 0: backlog (4), 4: sequences below this (8) |
//! | 11 | forget producers | 0: number (4), each: length (4), id |
//! | 12 | prepare | 0: time in ms (8), 8: length of the transaction's id (4), id, number of acknowledgements (4), each like kind 9 |
//! | 13 | decide | 0: time in ms (8), 8: 1 to commit, 2 to roll back (1), 9: 1 if not the coordinator decided (1), 10: zero (2), 12: length of the transaction's id (4), id |
//! | 14 | forget outcomes | 0: number (4), each: length of a transaction's id (4), id |
//! | 15 | move: a message again, so that its old segment can go | 0: old segment (4), 4: old offset (4), 8: old length (4), 12: number of places (4), 16: places: backlog (4), position (8) each; then the payload of kind 5 or 6. No places: a message of an undecided transaction, found by that one's id and the old place |
//!
//! Several batches may be on their way at once, and arrive in any order. So a valid batch may lie
//! behind a place that holds none: if the LSN missing there is above the later batch's durable
//! LSN, the journal ends at that place and the later batch does not exist; else it is damage.
//!
//! The first record of an epoch is a seal, alone in its batch at the start of the epoch's first
//! segment. Numbers of segments are contiguous within an epoch and ascend from epoch to epoch.
//!
//! ## Checkpoint: `checkpoints/<end LSN>-<epoch>.ckpt`
//!
//! A row of frames:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 3 | zero |
//! | 4 | 4 | length of the payload |
//! | 8 | 4 | CRC of: the payload, the length (4), the kind (1) |
//! | 12 | | payload |
//!
//! In an encrypted checkpoint payloads are encrypted like those of records, but for kinds 1, 2 and 9.
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 1 | head, first | 0: magic `BATONCKP` (8), 8: version, 1, or 2 if it is encrypted (4), 12: segment (4), 16: epoch (8), 24: offset (8), 32: LSN (8) at which replay begins, 40: time in ms (8); version 2: 48: 36 bytes like those of a segment's header from 24 on |
//! | 2 | tenures | each: epoch (8), LSN of the seal (8), previous epoch (8), sealed LSN (8), end offset (8), time in ms (8), sealed segment (4), first segment (4) |
//! | 3 | transactions | complete through LSN (8) |
//! | 4 | transaction | length of the id (4), id; each message: epoch (8), segment (4), offset (4), length (4), expiration (8), time (8), order (1), 1 if there is a producer (1), then sequence (8), length (4), id; number of targets (4), targets (4 each) |
//! | 5 | producers | complete through LSN (8); each: sequence (8), last use in ms (8), length (4), id |
//! | 6 | directory | complete through LSN (8), highest backlog id given (4) |
//! | 7 | backlog | 0: id (4), 4: number of entries (4), 8: complete through LSN (8), 16: last sequence (8), 24: reserved below (8), 32: reserved by LSN (8), 40: redelivered below (8), 48: descriptor (rest) |
//! | 8 | entries of the backlog before | each: position (8), visible from LSN (8), expiration (8), segment (4), offset (4), length (4), of which the highest bit says that the record had several targets |
//! | 9 | end, last | 0: number of frames before (8), 8: end LSN (8), 16: CRC of the CRCs of the frames before (4) |
//! | 10 | prepared transaction, with the messages of its id in the frames before | 0: time in ms (8), 8: length of the id (4), id, number of acknowledgements (4), each like record kind 9 |
//! | 11 | outcomes of prepared transactions | each: 12 bytes like the first of record kind 13, length of the id (4), id |

mod backlog;
mod batch;
pub mod chain;
mod checkpoint;
pub mod cipher;
pub mod clock;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod inspect;
pub mod journal;
pub mod latency;
pub mod member;
pub mod pins;
pub mod position;
pub mod probe;
mod record;
mod recovery;
mod segment;
pub mod sim;
mod spare;
pub mod state;
pub mod store;
pub mod tail;
pub mod tenure;
pub mod testing;
mod transaction;
mod watermark;
mod writer;

pub use cipher::Keyring;
pub use member::{Event, Member, MemberOptions, MemberStatus};
pub use position::{BacklogId, Entry, Epoch, Location, Lsn, Position, SegmentNumber};
pub use recovery::{RecoveryPhase, RecoveryProgress};
pub use store::{Backlog, Store};
pub use transaction::{Decision, Outcome, PreparedTransaction};
