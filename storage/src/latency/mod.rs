//! A directory as slow as some other storage: for labs, drills and comparisons.
//!
//! [`LatencyDisk`] wraps any [`Disk`](crate::disk::Disk): each operation really happens and then takes
//! as long as a [`Profile`] says that it takes elsewhere. So a laptop shows what a broker would do on
//! EFS. What kinds of operation wait, and how often, rests on what a Linux NFS client was seen to send:
//! a buffered write sends nothing, the sync sends what is dirty, creating is three round trips, opening
//! or renaming one. It must not know what a journal is.

mod bucket;
mod catalogue;
mod disk;
mod profile;
mod quantiles;

pub use bucket::Bucket;
pub use catalogue::{built_in, find};
pub use disk::LatencyDisk;
pub use profile::{Cap, Cost, Credits, Operation, Profile, Protocol};
pub use quantiles::{Quantiles, QuantilesError};
