//! Protocols: translations between what clients speak and the operations of the broker.
//!
//! A protocol knows its own wire and [`crate::broker`]; protocols do not know each other.

pub mod openwire;
