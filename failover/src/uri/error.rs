//! What can be wrong with a URI.

use std::fmt;

use super::Span;
use crate::redact;

/// A mistake in a URI, with its place.
///
/// `Display` writes the sentence, then the URI with carets below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriError {
    /// The URI without its secrets, and the place in it: errors end up in logs.
    shown: String,
    shown_span: Span,
    span: Span,
    kind: Box<UriErrorKind>,
}

impl UriError {
    pub(super) fn new(text: &str, span: Span, mut kind: UriErrorKind) -> Self {
        if redact::is_secret_at(text, span.start..span.end) {
            kind.hide();
        }
        let (shown, range) = redact::redact_around(text, span.start..span.end);
        Self {
            shown,
            shown_span: Span::new(range.start, range.end),
            span,
            kind: Box::new(kind),
        }
    }

    /// Which bytes of the text are wrong.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &UriErrorKind {
        &self.kind
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{}",
            self.kind,
            self.shown_span.underline(&self.shown)
        )
    }
}

impl std::error::Error for UriError {}

/// The kinds of mistakes in a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriErrorKind {
    /// The text is empty.
    #[error("the URI is empty; write `failover:(tcp://host:61616,tcp://other:61616)`")]
    Empty,
    /// There is no `scheme:`.
    #[error("no scheme; an address begins with `tcp://`, a list with `failover:(`")]
    NoScheme,
    /// The scheme is not one of ActiveMQ's.
    #[error("scheme `{name}` is unknown{}", suggestion(.nearest.as_ref()))]
    UnknownScheme {
        /// As written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The scheme is ActiveMQ's but not supported here.
    #[error("scheme `{name}` is not supported here: {reason}")]
    UnsupportedScheme {
        /// As written.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A `)` without its `(`.
    #[error("this parenthesis was never opened")]
    UnopenedParenthesis,
    /// A `(` without its `)`.
    #[error("this parenthesis is never closed")]
    UnclosedParenthesis,
    /// Something stands between `)` and `?`.
    #[error("only `?` and options may follow the closing parenthesis")]
    AfterParenthesis,
    /// The list has no address.
    #[error("the list has no address; write at least one like `tcp://host:61616`")]
    NoAddress,
    /// Two commas with nothing between.
    #[error("an address is missing between two commas")]
    EmptyAddress,
    /// A composite where only an address can stand.
    #[error("`{name}` is a list, but one address is needed here")]
    CompositeNotAllowed {
        /// The composite's scheme.
        name: String,
    },
    /// Composites nest too deeply.
    #[error("lists are nested more than {limit} deep")]
    NestedTooDeep {
        /// How deep they may nest.
        limit: usize,
    },
    /// `scheme:` without `//`.
    #[error("`//` is missing after the scheme; write `{scheme}://host:port`")]
    NoSlashes {
        /// The scheme.
        scheme: String,
    },
    /// There is no host name.
    #[error("no host name; write `scheme://host:port`")]
    NoHost,
    /// The host name has characters that no host name has.
    #[error("`{host}` is not a host name")]
    BadHost {
        /// As written.
        host: String,
    },
    /// The text in brackets is not an IPv6 address.
    #[error("`{host}` is not an IPv6 address")]
    BadIpv6 {
        /// As written.
        host: String,
    },
    /// There is no port; ActiveMQ has no default for it.
    #[error("no port; ActiveMQ brokers usually listen on 61616 (tcp) or 61617 (ssl)")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("port `{port}` is not a number from 1 to 65535")]
    BadPort {
        /// As written.
        port: String,
    },
    /// A second `?` in a query.
    #[error("a second `?`; options are separated by `&`")]
    SecondQuestionMark,
    /// `&amp;` of an XML file.
    #[error("`&amp;` is how XML writes `&`; outside of XML write `&` alone")]
    EscapedAmpersand,
    /// An option without `=`.
    #[error("option `{name}` has no value; write `{name}=...`")]
    NoValue {
        /// The option's name.
        name: String,
    },
    /// `%` without two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits; a percent sign itself is `%25`")]
    BadEscape,
    /// Escapes that decode to something else than UTF-8.
    #[error("the escapes do not decode to UTF-8 text")]
    EscapeNotUtf8,
    /// Nobody takes the option.
    #[error(
        "option `{name}` is unknown to {owner}{}{}",
        suggestion(.nearest.as_ref()),
        .advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default()
    )]
    UnknownOption {
        /// As written.
        name: String,
        /// Who was asked.
        owner: &'static str,
        /// What may have been meant.
        nearest: Option<String>,
        /// Where it would belong.
        advice: Option<String>,
    },
    /// The value is not of the option's type.
    #[error("`{value}` is no value for `{name}`, which must be {expects}")]
    BadValue {
        /// The option's name.
        name: String,
        /// As written.
        value: String,
        /// What it must be.
        expects: &'static str,
    },
    /// `jms.` behind an inner address.
    #[error(
        "`{name}` stands behind an inner address, where no connection sees it; \
         put it after the closing parenthesis: `failover:(...)?{name}=...`"
    )]
    JmsInside {
        /// As written.
        name: String,
    },
    /// A wire format other than OpenWire.
    #[error("wire format `{name}` is not spoken here; only `default` (OpenWire) is")]
    UnknownWireFormat {
        /// As written.
        name: String,
    },
    /// An address list that is not a local file.
    #[error(
        "`updateURIsURL` must name a local file (a path or `file:`); other URLs are not fetched"
    )]
    UpdateUrlNotLocal,
    /// A fragment, which no transport takes.
    #[error("`#` has no meaning here; write `%23` for the character itself")]
    Fragment,
}

impl UriErrorKind {
    /// Takes out what was quoted of a place that holds a secret.
    fn hide(&mut self) {
        match self {
            Self::UnknownScheme { name, .. }
            | Self::UnsupportedScheme { name, .. }
            | Self::CompositeNotAllowed { name }
            | Self::NoSlashes { scheme: name }
            | Self::BadHost { host: name }
            | Self::BadIpv6 { host: name }
            | Self::BadPort { port: name }
            | Self::NoValue { name }
            | Self::UnknownOption { name, .. }
            | Self::BadValue { value: name, .. }
            | Self::JmsInside { name }
            | Self::UnknownWireFormat { name } => redact::hide(name),
            Self::Empty
            | Self::NoScheme
            | Self::UnopenedParenthesis
            | Self::UnclosedParenthesis
            | Self::AfterParenthesis
            | Self::NoAddress
            | Self::EmptyAddress
            | Self::NestedTooDeep { .. }
            | Self::NoHost
            | Self::NoPort
            | Self::SecondQuestionMark
            | Self::EscapedAmpersand
            | Self::BadEscape
            | Self::EscapeNotUtf8
            | Self::UpdateUrlNotLocal
            | Self::Fragment => {}
        }
    }
}

fn suggestion(nearest: Option<&String>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
