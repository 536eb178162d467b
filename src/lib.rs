//! The BatonMQ broker.

pub mod config;
pub mod drill;
