//! A journal on a shared directory with one writer at a time: lock, lease, epoch, recovery, warm
//! standby.
//!
//! The crate knows nothing of messaging protocols, sockets or async runtimes. Everything outside is
//! reached through [`disk::Disk`] and [`clock::Clock`], which have real and simulated
//! implementations.

mod backlog;
mod batch;
pub mod chain;
mod checkpoint;
pub mod clock;
pub mod disk;
pub mod error;
pub mod journal;
pub mod member;
pub mod position;
mod record;
mod recovery;
mod segment;
pub mod sim;
pub mod state;
pub mod store;
pub mod tail;
pub mod tenure;
mod watermark;
mod writer;

pub use member::{Event, Member, MemberOptions, MemberStatus};
pub use position::{BacklogId, Entry, Epoch, Location, Lsn, Position, SegmentNumber};
pub use store::{Backlog, Store};
