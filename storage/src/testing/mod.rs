//! Faults, in one place: a directory in memory that fails and crashes as asked, and a tenure on it.
//!
//! For the tests of this crate and of the broker on top of it. [`FaultyDisk`] is a
//! [`Disk`](crate::disk::Disk) without time: real threads run on it, a [`Fault`] is placed at the
//! n-th call or by a seed, every change is recorded, and [`FaultyDisk::crash`] answers
//! what a power failure leaves of it. [`crate::sim`] is the other one: there threads, clocks, hosts and
//! locks are simulated, too, and faults come from the seed alone. Which to take: what a *history of
//! bytes* leads to is asked here, what *two brokers* do to each other there.
//!
//! It must know nothing of what is in the files.

mod disk;
mod fault;
mod keys;
mod tenure;
mod tree;

pub use self::disk::{FaultyDisk, LoggedCall};
pub use self::fault::{Call, Effect, Errno, Fault};
pub use self::keys::{key, keyring, keys, open, use_keys};
pub use self::tenure::{
    FOREVER, OPTIONS, Tenure, View, begin, begin_gated, begin_with, bodies, catch_up, entries,
    follow, from_producer, keep_open, message, one, recover, try_begin, view, wait_for,
};
pub use self::tree::Change;
