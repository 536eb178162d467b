//! failover: URIs, a reconnecting transport, and an OpenWire client that survives a takeover.
//!
//! Three layers, each usable without the ones above it:
//!
//! * [`ClientUri`] parses everything an ActiveMQ client can be told to connect to; [`lint()`]
//!   explains what such a URI will really do.
//! * [`backoff`] is ActiveMQ's reconnect policy without I/O; [`transport`] runs it over any
//!   [`transport::Connector`], for any protocol.
//! * [`Connection`] is a JMS-like OpenWire client that restores its state after a reconnect.
//!
//! The crate knows the wire only through `openwire` and knows nothing of a broker's insides.

pub mod backoff;
pub mod client;
pub mod options;
pub mod transport;
pub mod uri;

mod lint;
mod redact;

pub use client::{
    AckMode, Browser, ClientError, Connection, ConnectionBuilder, Consumer, ConsumerOptions,
    Message, Producer, Refusal, SendOptions, Session, XaSession, Xid,
};
pub use lint::{Finding, Severity, lint};
pub use redact::redact;
pub use uri::{ClientUri, FailoverUri, InnerUri, Span, UriError};
// What an application writes in its calls and reads in its messages.
pub use openwire::primitive::{PrimitiveMap, Value};
pub use openwire::{Destination, DestinationKind, MessageId, MessageKind};
