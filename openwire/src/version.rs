//! Which of the twelve OpenWire versions a peer speaks. Layouts differ between them, so nothing is
//! decoded or encoded without one.

use std::fmt;

/// An OpenWire version that this crate can speak, 1 to 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// Version 1, the oldest.
    pub const OLDEST: Version = Version(1);
    /// Version 12, the newest; the 6.x line of ActiveMQ did not add another.
    pub const LATEST: Version = Version(12);

    /// The version with this number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Version> {
        if number >= Self::OLDEST.0 && number <= Self::LATEST.0 {
            Some(Version(number))
        } else {
            None
        }
    }

    /// The number, 1 to 12.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All versions, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Version> {
        (Self::OLDEST.0..=Self::LATEST.0).map(Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What two peers agreed on that changes the layout of a frame. A [`Version`] alone is a dialect
/// without stack traces, which is the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The layout of every type.
    pub version: Version,
    /// Whether throwables carry their stack trace and their cause.
    pub stack_traces: bool,
}

impl From<Version> for Dialect {
    fn from(version: Version) -> Self {
        Dialect {
            version,
            stack_traces: false,
        }
    }
}
