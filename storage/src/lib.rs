//! A journal on a shared directory with one writer at a time: lock, lease, epoch, recovery, warm
//! standby.
//!
//! The crate knows nothing of messaging protocols, sockets or async runtimes. Everything outside is
//! reached through [`disk::Disk`] and [`clock::Clock`], which have real and simulated
//! implementations.

pub mod chain;
pub mod clock;
pub mod disk;
pub mod error;
pub mod journal;
pub mod member;
pub mod position;
pub mod state;
pub mod store;
pub mod tail;
pub mod tenure;

pub use member::{Event, Member, MemberOptions, MemberStatus};
pub use position::{BacklogId, Entry, Epoch, Location, Lsn, Position, SegmentNumber};
pub use store::{Backlog, Store};
