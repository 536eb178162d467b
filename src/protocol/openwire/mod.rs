//! OpenWire, as ActiveMQ Classic clients speak it.
//!
//! One task per connection reads and writes. `wire` has the socket and its buffers, `connection`
//! the task's loop, `session` what the client has opened and how its commands become operations of
//! the broker, `flow` sends that wait for room, `error` the exceptions that clients know.

mod connection;
mod error;
mod flow;
mod options;
mod session;
mod transactions;
mod wire;

pub(crate) use self::connection::serve;
pub use self::options::OpenWireOptions;
