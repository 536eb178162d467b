//! The URIs that an ActiveMQ client connects with, parsed completely and strictly.
//!
//! The grammar is ActiveMQ's, quirks included: a query belongs to what stands directly before it,
//! composites nest, an option that nobody takes is an error. Errors point at the bytes that are
//! wrong. Nothing here resolves a name or opens a socket.

use std::fmt;

use crate::options::{
    AgentOptions, FailoverOptions, InnerOptions, JmsOptions, jms_without_effect, without_effect,
};
use crate::redact::{Shown, ShownPairs, redact, redact_around};

mod error;
mod parse;
mod scheme;
mod text;

pub use error::{UriError, UriErrorKind};
pub use scheme::{Protocol, Scheme};

/// What a client connects to when no URI was given.
pub const DEFAULT_URI: &str = "failover://tcp://localhost:61616";

/// A range of bytes of a URI's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Renders `text` with a line of carets below the range, and without passwords.
    #[must_use]
    pub fn underline(self, text: &str) -> String {
        let (text, range) = redact_around(text, self.start..self.end);
        // A control character would move the carets away from what they point at.
        let shown: String = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        let before = text
            .char_indices()
            .filter(|(at, _)| *at < range.start)
            .count();
        let inside = text
            .char_indices()
            .filter(|(at, _)| range.contains(at))
            .count()
            .max(1);
        format!("  {shown}\n  {}{}", " ".repeat(before), "^".repeat(inside))
    }
}

/// Which part of a URI an option was written at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionPlace {
    /// After the closing parenthesis, or after the only address: options of the transport.
    Outer,
    /// Behind the inner address of this index.
    Inner(usize),
    /// Behind a nested composite such as `static:(...)`.
    Nested,
}

/// An option as it was written, for those who explain URIs.
#[derive(Clone, PartialEq, Eq)]
pub struct WrittenOption {
    /// Decoded name, prefixes included.
    pub name: String,
    /// Decoded value.
    pub value: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Where the value stands.
    pub value_span: Span,
    /// What it belongs to.
    pub place: OptionPlace,
}

impl fmt::Debug for WrittenOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrittenOption")
            .field("name", &self.name)
            .field("value", &Shown(&self.name, &self.value))
            .field("name_span", &self.name_span)
            .field("value_span", &self.value_span)
            .field("place", &self.place)
            .finish()
    }
}

/// One address to connect to, with its options.
///
/// Two addresses are equal when scheme, host (without case) and port are.
#[derive(Clone)]
pub struct InnerUri {
    /// The scheme: which protocol, and whether over TLS.
    pub scheme: Scheme,
    /// Host name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Local address and port to bind before connecting, written as the path of the address.
    pub local: Option<(String, u16)>,
    /// The options, those of `nested.` included.
    pub options: InnerOptions,
    /// Where the address stands in the whole text; empty for an address pushed by a broker.
    pub span: Span,
    text: String,
}

impl InnerUri {
    /// Parses one address, such as a broker pushes it: `tcp://host:port?options`.
    ///
    /// # Errors
    /// When the text is not the address of one broker, or an option is unknown or malformed.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        parse::inner(text, &[])
    }

    /// The address as it was written, user information included: not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address without its options: `tcp://host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            format!("{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

impl fmt::Debug for InnerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InnerUri")
            .field("text", &redact(&self.text))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl PartialEq for InnerUri {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl Eq for InnerUri {}

impl fmt::Display for InnerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

/// How a list of addresses was written; it decides the meaning of the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompositeKind {
    /// `failover:`.
    Failover,
    /// `discovery:` with a fixed list inside.
    Discovery,
    /// `static:`, the form of a network connector.
    Static,
    /// `masterslave:`: in the order given, never reconnecting by itself.
    MasterSlave,
    /// One address without `failover:`: it never reconnects.
    Single,
}

/// A list of addresses and how to reconnect to one of them.
#[derive(Clone, PartialEq)]
pub struct FailoverUri {
    /// How the list was written.
    pub kind: CompositeKind,
    /// The addresses in the order given, nested composites flattened.
    pub addresses: Vec<InnerUri>,
    /// The options of `failover:`.
    pub options: FailoverOptions,
    /// The options of `static:` or `masterslave:`, for a bridge that paces itself by them.
    pub agent: AgentOptions,
    /// The addresses of `priorityURIs`.
    pub priority: Vec<InnerUri>,
    /// The options of `nested.` (or `discovered.`) that go to every address, prefix taken off.
    pub nested: Vec<(String, String)>,
}

impl fmt::Debug for FailoverUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverUri")
            .field("kind", &self.kind)
            .field("addresses", &self.addresses)
            .field("options", &self.options)
            .field("agent", &self.agent)
            .field("priority", &self.priority)
            .field("nested", &ShownPairs(&self.nested))
            .finish()
    }
}

impl FailoverUri {
    /// Parses an address pushed by a broker and gives it the `nested.` options.
    ///
    /// # Errors
    /// As [`InnerUri::parse`].
    pub fn parse_pushed(&self, text: &str) -> Result<InnerUri, UriError> {
        parse::inner(text, &self.nested)
    }

    /// Whether a lost connection is replaced by another one.
    #[must_use]
    pub fn is_reconnecting(&self) -> bool {
        self.kind != CompositeKind::Single
    }
}

/// A whole client URI: connection options, addresses, reconnect options.
///
/// ```
/// let uri: failover::ClientUri =
///     "failover:(tcp://a:61616,tcp://b:61616)?randomize=false&jms.prefetchPolicy.all=10".parse()?;
/// assert_eq!(uri.failover.addresses.len(), 2);
/// assert!(!uri.failover.options.randomize);
/// assert_eq!(uri.jms.prefetch.queue, 10);
/// # Ok::<(), failover::UriError>(())
/// ```
///
/// `Display` and `Debug` hide passwords; [`ClientUri::as_str`] does not.
#[derive(Clone, PartialEq)]
pub struct ClientUri {
    /// The `jms.` options.
    pub jms: JmsOptions,
    /// The addresses; a plain `tcp://` is a list of one that never reconnects.
    pub failover: FailoverUri,
    /// Every option as written, in the order of the text.
    pub written: Vec<WrittenOption>,
    /// Whether the list of a composite stands in parentheses.
    pub is_parenthesised: bool,
    text: String,
}

impl fmt::Debug for ClientUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientUri")
            .field("text", &redact(&self.text))
            .field("jms", &self.jms)
            .field("failover", &self.failover)
            .finish_non_exhaustive()
    }
}

impl ClientUri {
    /// Parses a URI.
    ///
    /// # Errors
    /// The first mistake, with its place in the text. [`crate::lint()`] lists all of them.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (uri, mut errors) = parse::client(text);
        if errors.is_empty()
            && let Some(uri) = uri
        {
            return Ok(uri);
        }
        errors.sort_by_key(UriError::span);
        Err(errors.swap_remove(0))
    }

    /// Parses as far as possible and returns every mistake; the URI is missing when its structure
    /// is broken.
    pub(crate) fn parse_all(text: &str) -> (Option<Self>, Vec<UriError>) {
        parse::client(text)
    }

    /// Why a written option changes nothing in this client; `None` when it has an effect.
    pub(crate) fn why_without_effect(&self, option: &WrittenOption) -> Option<&'static str> {
        let name = option.name.as_str();
        match option.place {
            OptionPlace::Inner(_) => without_effect(name, &option.value),
            OptionPlace::Nested => None,
            OptionPlace::Outer => {
                if let Some(name) = name.strip_prefix("jms.") {
                    return jms_without_effect(name);
                }
                let name = match self.failover.kind {
                    CompositeKind::Single => name,
                    CompositeKind::Discovery => name.strip_prefix("discovered.")?,
                    _ => name.strip_prefix("nested.")?,
                };
                without_effect(name, &option.value)
            }
        }
    }

    /// The text that was parsed, passwords included: not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for ClientUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl Default for ClientUri {
    fn default() -> Self {
        Self::parse(DEFAULT_URI).expect("the default URI is well formed; a test parses it")
    }
}

impl fmt::Display for ClientUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.text))
    }
}

#[cfg(test)]
mod tests;
