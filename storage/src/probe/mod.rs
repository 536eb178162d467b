//! Measures a directory: how long each operation takes that a broker needs, and what that lets expect.
//!
//! It sees the directory through [`Disk`](crate::disk::Disk) as a journal does, so that a latency profile can be
//! measured like a real mount. It must not know what a journal's files look like, and writes nothing
//! outside of the disk that it is given: give it a directory of its own.

mod measure;
mod predict;
mod report;

pub use measure::{Stop, probe};
pub use predict::{Load, Overhead, Prediction, predict};
pub use report::{Circumstances, Filled, Measured, ProbeReport, WriteTimes};
