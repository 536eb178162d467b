//! The BatonMQ broker.
