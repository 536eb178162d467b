//! The numbers that name places in the one order: no booleans, no bare integers.

use std::fmt;

/// The number of a record in the journal's one order. The first record has 1; 0 is "before all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a tenure: one broker's time as the active. The first tenure has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The running number of a segment file; it goes on across epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u32);

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a record lies in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The segment.
    pub segment: SegmentNumber,
    /// First byte of the record's header in the segment.
    pub offset: u32,
    /// Bytes of the whole record, its header included.
    pub length: u32,
}

/// The number of a backlog. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BacklogId(pub u32);

/// A message's place in a backlog: map order is dispatch order.
///
/// The upper four bits are `9 - order` (see [`Position::new`]), the rest is the backlog's running
/// sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    const SEQUENCE_BITS: u32 = 60;

    /// `order` 9 comes first, 0 last; within one order the sequence decides.
    ///
    /// # Panics
    /// If `order` is above 9 or `sequence` needs more than 60 bits: both are checked at the door.
    #[must_use]
    pub fn new(order: u8, sequence: u64) -> Self {
        assert!(order <= 9 && sequence < 1 << Self::SEQUENCE_BITS);
        Position((u64::from(9 - order) << Self::SEQUENCE_BITS) | sequence)
    }

    /// The order class, 9 first.
    #[must_use]
    pub fn order(self) -> u8 {
        9 - (self.0 >> Self::SEQUENCE_BITS).min(9) as u8
    }

    /// The running number within the backlog, over all orders.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.0 & ((1 << Self::SEQUENCE_BITS) - 1)
    }
}

/// What a backlog knows of one pending message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record that holds the message.
    pub location: Location,
    /// The record that made the message visible: its own, or its transaction's commit. It may be
    /// dispatched once this is released.
    pub visible: Lsn,
    /// Wall clock milliseconds since 1970 after which the message is expired; 0 = never.
    pub expiration_ms: i64,
    /// The record was appended for several targets, so others may have it, too.
    pub is_shared: bool,
}
