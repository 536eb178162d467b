//! JMS selectors: the condition a consumer puts on the headers and properties of the messages it
//! wants, in the grammar and with the conversions of ActiveMQ, oddities included: clients rely on
//! them (`NOT a = b` is `(NOT a) = b`, `1 = p` is false for a byte property, `p = 1` is not).
//!
//! It knows messages and nothing of queues, consumers or connections. Whatever text comes in, the
//! work and the stack it takes are bounded: the length of the text, the nesting and the size of
//! every intermediate value have limits.

mod error;
mod evaluate;
mod lexer;
mod like;
mod node;
mod number;
mod parser;
mod value;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use openwire::WireString;

pub use self::error::SelectorError;
pub use self::view::MessageView;

use self::node::Node;
use super::Message;

/// Text before a selector that makes its comparisons convert between text and numbers.
const CONVERT_PREFIX: &str = "convert_string_expressions:";

/// A parsed selector. Cheap to clone.
#[derive(Clone)]
pub struct Selector(Arc<Parsed>);

struct Parsed {
    text: String,
    root: Node,
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    ///
    /// When the text is no selector, with the place and the reason.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let root = parser::parse(text)?;
        let text = text.to_owned();
        Ok(Selector(Arc::new(Parsed { text, root })))
    }

    /// Parses the selector of a consumer, which may be missing; blank text selects everything, so
    /// it is none.
    ///
    /// # Errors
    ///
    /// As [`Selector::parse`].
    pub fn of(text: Option<&WireString>) -> Result<Option<Self>, SelectorError> {
        let Some(text) = text.map(WireString::to_string_lossy) else {
            return Ok(None);
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        Self::parse(&text).map(Some)
    }

    /// Whether it selects this message. What is unknown, and what cannot be computed, is not
    /// selected.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        self.selects(&MessageView::new(message))
    }

    /// Whether it selects this message, of which several selectors may share the decoded parts.
    #[must_use]
    pub fn selects(&self, message: &MessageView<'_>) -> bool {
        matches!(evaluate::truth(&self.0.root, message), Ok(Some(true)))
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// Two selectors are equal when their texts are.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Selector {}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.0.text).finish()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
