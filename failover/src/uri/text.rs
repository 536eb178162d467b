//! Splitting of URI text that keeps track of where each piece stood.

use super::Span;
use super::error::{UriError, UriErrorKind};

/// A piece of the whole text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) whole: &'a str,
    pub(super) span: Span,
}

impl<'a> Piece<'a> {
    pub(super) fn whole(text: &'a str) -> Self {
        Self {
            whole: text,
            span: Span::new(0, text.len()),
        }
        .trim()
    }

    pub(super) fn text(self) -> &'a str {
        &self.whole[self.span.start..self.span.end]
    }

    /// The part from `from` to `to`, in bytes of this piece.
    pub(super) fn slice(self, from: usize, to: usize) -> Self {
        let span = Span::new(self.span.start + from, self.span.start + to);
        Self {
            whole: self.whole,
            span,
        }
    }

    pub(super) fn from(self, from: usize) -> Self {
        self.slice(from, self.text().len())
    }

    pub(super) fn to(self, to: usize) -> Self {
        self.slice(0, to)
    }

    pub(super) fn trim(self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.slice(start, start + text.trim().len())
    }

    /// The parts before and after the first `separator`.
    pub(super) fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let at = self.text().find(separator)?;
        Some((self.to(at), self.from(at + separator.len_utf8())))
    }

    pub(super) fn error(self, kind: UriErrorKind) -> UriError {
        UriError::new(self.whole, self.span, kind)
    }

    /// The parts between `separator`s that stand outside of parentheses.
    pub(super) fn split_flat(self, separator: char) -> Vec<Self> {
        let mut depth = 0_usize;
        let mut start = 0;
        let mut parts = Vec::new();
        for (at, c) in self.text().char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if c == separator && depth == 0 => {
                    parts.push(self.slice(start, at));
                    start = at + c.len_utf8();
                }
                _ => {}
            }
        }
        parts.push(self.from(start));
        parts
    }

    /// The byte at which the parenthesis opened at the beginning closes.
    pub(super) fn closing(self) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, c) in self.text().char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth == 1 => return Some(at),
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }

    /// Checks that parentheses come in pairs.
    pub(super) fn check_parentheses(self) -> Result<(), UriError> {
        let mut open = Vec::new();
        for (at, c) in self.text().char_indices() {
            match c {
                '(' => open.push(at),
                ')' if open.pop().is_none() => {
                    return Err(self
                        .slice(at, at + 1)
                        .error(UriErrorKind::UnopenedParenthesis));
                }
                _ => {}
            }
        }
        match open.pop() {
            Some(at) => Err(self
                .slice(at, at + 1)
                .error(UriErrorKind::UnclosedParenthesis)),
            None => Ok(()),
        }
    }

    /// Decodes `%xx` and `+` the way ActiveMQ does.
    pub(super) fn decode(self) -> Result<String, UriError> {
        let bytes = self.text().as_bytes();
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'+' => decoded.push(b' '),
                b'%' => {
                    let digit = |offset: usize| {
                        let byte = bytes.get(at + offset).copied()?;
                        char::from(byte)
                            .to_digit(16)
                            .and_then(|digit| u8::try_from(digit).ok())
                    };
                    let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                        return Err(self.slice(at, at + 1).error(UriErrorKind::BadEscape));
                    };
                    decoded.push(high * 16 + low);
                    at += 2;
                }
                byte => decoded.push(byte),
            }
            at += 1;
        }
        String::from_utf8(decoded).map_err(|_| self.error(UriErrorKind::EscapeNotUtf8))
    }
}
