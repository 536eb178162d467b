//! Why a send has to wait, or is refused.

use std::fmt;
use std::time::Duration;

use openwire::Destination;
use serde::{Serialize, Serializer};

/// Which limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// The broker's memory.
    Memory,
    /// The destination's part of it.
    DestinationMemory,
    /// The bytes of persistent messages.
    Store,
    /// The local temporary store.
    Temporary,
}

impl LimitKind {
    /// Its name in ActiveMQ's configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LimitKind::Memory => "memoryUsage",
            LimitKind::DestinationMemory => "memoryLimit",
            LimitKind::Store => "storeUsage",
            LimitKind::Temporary => "tempUsage",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitKind::Memory => "Usage Manager memory limit reached",
            LimitKind::DestinationMemory => "Usage Manager memory limit of the destination reached",
            LimitKind::Store => "Persistent store is full",
            LimitKind::Temporary => "Temp store is full",
        })
    }
}

impl Serialize for LimitKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether a send may wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is refused at once.
    None,
    /// It is refused after this time.
    AtMost(Duration),
    /// It waits.
    Endless,
}

/// Why a send has to wait, or is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Which limit.
    pub kind: LimitKind,
    /// Where the message goes.
    pub destination: Destination,
    /// Bytes used.
    pub used: u64,
    /// The limit in bytes.
    pub limit: u64,
    /// Whether it may wait.
    pub patience: Patience,
    /// Time between two warnings while it waits; zero = none.
    pub warning_interval: Duration,
    /// It is to be advised that the limit is reached.
    pub wants_full_advisory: bool,
    /// It is to be advised that the producer is too fast.
    pub wants_fast_producer_advisory: bool,
}

impl Shortage {
    /// How much of the limit is used.
    #[must_use]
    pub fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.used) * 100 / u128::from(self.limit.max(1)))
            .unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}: {} of {} bytes used ({} %); consume messages or raise {}",
            self.kind,
            self.destination,
            self.used,
            self.limit,
            self.percent(),
            self.kind.name(),
        )
    }
}
