//! A JMS-like OpenWire client over the reconnecting transport.
//!
//! One task per connection (`actor`) owns the link, the unanswered requests and the state to
//! restore after a reconnect; sessions, producers and consumers talk to it over a channel. What
//! acknowledgement is due when (`ack`), what a reconnect replays (`restore`) and which message was
//! seen before (`audit`) are plain values without I/O.

mod ack;
mod actor;
mod audit;
mod connection;
mod consumer;
mod destination;
mod error;
mod message;
mod producer;
mod restore;
mod session;
mod wire;
mod xa;

pub use connection::{Connection, ConnectionBuilder};
pub use consumer::{Browser, Consumer, ConsumerOptions};
pub use error::{ClientError, Refusal};
pub use message::{Message, Schedule};
pub use producer::{Producer, SendOptions};
pub use session::{AckMode, Session};
pub use wire::{
    BoxedStream, Dial, DialFuture, LinkError, OpenWireConnector, Stream, TcpDial, WireLink,
};
pub use xa::{Ending, Start, Vote, XaSession, Xid, XidError};
