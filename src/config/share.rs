//! A limit: so many bytes, or a part of all there is.

use std::fmt;

use super::Size;
use super::setting::{Expected, FromRaw, Raw};

/// So many bytes, or so much percent of all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Bytes.
    Bytes(Size),
    /// Percent, at most 100.
    Percent(u32),
}

impl Share {
    /// Bytes, in units of 1024².
    #[must_use]
    pub const fn mib(count: u64) -> Share {
        Share::Bytes(Size::mib(count))
    }

    fn parse(text: &str) -> Option<Share> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return Size::parse(text).map(Share::Bytes);
        };
        let percent = number
            .trim()
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)?;
        Some(Share::Percent(percent))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Bytes(Size(0)) => f.write_str("all there is"),
            Share::Bytes(size) => size.fmt(f),
            Share::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromRaw for Share {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) => Share::parse(text),
            raw => Size::from_raw(raw).ok().map(Share::Bytes),
        }
        .ok_or(Expected(
            "a size like \"64mb\" or 4096, or a percentage like \"70%\"",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_bytes_or_percent() {
        for (text, expected) in [
            ("64 mb", Some(Share::mib(64))),
            ("4096", Some(Share::Bytes(Size(4096)))),
            ("70%", Some(Share::Percent(70))),
            (" 100 % ", Some(Share::Percent(100))),
            ("101%", None),
            ("-1%", None),
            ("%", None),
            ("much", None),
        ] {
            assert_eq!(Share::parse(text), expected, "{text}");
        }
    }
}
