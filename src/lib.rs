//! The BatonMQ broker.

pub mod broker;
pub mod config;
pub mod drill;
pub mod protocol;
pub mod transport;
