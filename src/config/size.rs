//! Sizes as ActiveMQ writes them: `1gb`, `64 mb`, `20k`, `512`.

use std::fmt;

use super::setting::{Expected, FromRaw, Raw};

/// A number of bytes. `k`, `m` and `g`, with or without `b`, in any case, are powers of 1024, as in
/// ActiveMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    const EXPECTED: Expected =
        Expected("a size in bytes or with a unit, like \"64mb\", \"20 kb\" or 4096");

    /// `count` times 1024.
    #[must_use]
    pub const fn kib(count: u64) -> Size {
        Size(count << 10)
    }

    /// `count` times 1024².
    #[must_use]
    pub const fn mib(count: u64) -> Size {
        Size(count << 20)
    }

    /// Parses `text`; None when it is not a size or does not fit in 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Size> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = text[..digits].parse().ok()?;
        let shift = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" => 10,
            "m" | "mb" => 20,
            "g" | "gb" => 30,
            _ => return None,
        };
        count.checked_mul(1 << shift).map(Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromRaw for Size {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(bytes) => u64::try_from(*bytes).ok().map(Size),
            Raw::Text(text) | Raw::Word(text) => Size::parse(text),
            _ => None,
        }
        .ok_or(Size::EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_as_in_activemq() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("10b", 10),
            ("1k", 1024),
            ("1 kb", 1024),
            ("64 mb", 64 << 20),
            ("20 Mb", 20 << 20),
            ("1gb", 1 << 30),
            (" 2 G ", 2 << 30),
        ] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "mb",
            "-1",
            "1.5gb",
            "1 tb",
            "1mib",
            "99999999999gb",
            "1 k b",
        ] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_printed_size_reads_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 64 << 20, 3 << 30] {
            assert_eq!(Size::parse(&Size(bytes).to_string()), Some(Size(bytes)));
        }
    }
}
