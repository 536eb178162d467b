//! Sockets that clients connect to.

mod listener;

pub use self::listener::{ListenError, Listeners};
