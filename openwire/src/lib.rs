//! The OpenWire commands of ActiveMQ Classic, versions 1 to 12, and their loose encoding.
//!
//! Bytes in, values out, and back: this crate knows no sockets, no time and no broker. What it does
//! not speak is left out on purpose: tight encoding, the object cache and frames without a size
//! prefix. They are used only when both sides offer them in their [`WireFormatInfo`], and
//! [`WireFormat::default`] offers none of them, so every conforming peer speaks what is here.
//!
//! ```
//! use bytes::BytesMut;
//! use openwire::{Command, Response, Version, decode, encode, next_frame};
//!
//! let answer = Response { correlation_id: 7, ..Response::default() };
//! let mut wire = BytesMut::new();
//! encode(&Command::Response(answer.clone()), Version::LATEST, &mut wire)?;
//!
//! let frame = next_frame(&mut wire, 1 << 20)?.expect("a whole frame");
//! assert_eq!(decode(frame, Version::LATEST)?, Command::Response(answer));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Strings and byte arrays of a decoded command are slices of the frame they came in, so nothing is
//! copied and a large body costs nothing until somebody looks at it. The price: one small id keeps
//! the whole receive buffer alive. Whoever stores a part for longer than the command lives should
//! store `part.detached()`.

pub mod body;
mod codec;
mod command;
mod error;
pub mod exception;
mod frame;
pub mod limit;
pub mod primitive;
mod stored;
mod string;
mod version;
pub mod wire_format;

pub use codec::{decode, decode_exact, decode_message, encode, encode_message};
pub use command::*;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use frame::{FrameError, next_frame};
pub use stored::{Dispatch, MessageLayout, StoredMessage, StoredMessageError, encode_dispatch};
pub use string::{NotModifiedUtf8, Secret, WireString};
pub use version::{Dialect, Version};
pub use wire_format::{Negotiated, NegotiationError, WireFormat, WireFormatError, negotiate};
