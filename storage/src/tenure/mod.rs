//! Who may write: lock, lease, claim, epoch, seal, and the acknowledgement gate.

pub mod gate;
