//! The BatonMQ broker.

pub mod broker;
pub mod cli;
pub mod config;
pub mod console;
pub mod drill;
pub mod node;
pub mod protocol;
pub mod transport;
