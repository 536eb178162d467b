//! What a profile says: how long each kind of operation takes, and what is the most at a time.

use std::time::Duration;

use super::quantiles::Quantiles;

/// Kinds of operation whose time a profile knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Making up to [`Profile::io_bytes`] of written bytes durable.
    Write,
    /// Reading up to [`Profile::io_bytes`]. Nothing is ever cached.
    Read,
    /// Opening a file that exists.
    Open,
    /// Creating a file or directory.
    Create,
    /// Renaming, removing, setting a length.
    Change,
    /// Reading the names in a directory; asking for free space.
    List,
    /// Trying to get a lock.
    Lock,
    /// Making names in a directory durable.
    SyncDirectory,
    /// Asking for the length of an open file.
    Length,
}

impl Operation {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Operation; 9] = [
        Operation::Write,
        Operation::Read,
        Operation::Open,
        Operation::Create,
        Operation::Change,
        Operation::List,
        Operation::Lock,
        Operation::SyncDirectory,
        Operation::Length,
    ];

    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Write => "write",
            Operation::Read => "read",
            Operation::Open => "open",
            Operation::Create => "create",
            Operation::Change => "change",
            Operation::List => "list",
            Operation::Lock => "lock",
            Operation::SyncDirectory => "sync_directory",
            Operation::Length => "length",
        }
    }
}

/// How long one kind of operation takes: so many round trips, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// 0: it takes only as long as it really takes.
    pub round_trips: u32,
    /// The time of one round trip.
    pub latency: Quantiles,
    /// Where the figures come from, or that they are assumptions.
    pub source: String,
}

/// What happens behind a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A block device: what is dirty goes out in parallel operations.
    Block,
    /// NFS: the same, and more than one operation needs a commit behind them. Closing a file sends
    /// what is dirty.
    Nfs,
}

/// The most of something in a second, for all operations of a process together.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// In a second: while there are credits, if there are any.
    pub rate: f64,
    /// Credits: everything above `baseline` uses them up, everything below gets them back.
    pub credits: Option<Credits>,
    /// Where the figures come from, or that they are assumptions.
    pub source: String,
}

/// Burst credits of a [`Cap`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Credits {
    /// In a second, for ever.
    pub baseline: f64,
    /// The most that can be saved.
    pub most: f64,
    /// What there is at the start of the process.
    pub at_start: f64,
}

/// A kind of storage, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it stands for, in a sentence.
    pub about: String,
    /// What happens behind a sync.
    pub protocol: Protocol,
    /// Bytes of the largest single operation.
    pub io_bytes: u32,
    /// The most operations in a second.
    pub iops: Option<Cap>,
    /// The most bytes in a second, read and written.
    pub bytes: Option<Cap>,
    /// In the order of [`Operation::ALL`].
    pub costs: [Cost; Operation::ALL.len()],
}

impl Profile {
    /// What one kind of operation takes.
    #[must_use]
    pub fn cost(&self, operation: Operation) -> &Cost {
        &self.costs[operation as usize]
    }

    /// The same, to be changed.
    pub fn cost_mut(&mut self, operation: Operation) -> &mut Cost {
        &mut self.costs[operation as usize]
    }

    /// Mean time of a durable write of up to [`Profile::io_bytes`].
    #[must_use]
    pub fn write_mean(&self) -> Duration {
        let cost = self.cost(Operation::Write);
        cost.latency.mean() * cost.round_trips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_operation_are_where_their_costs_are_looked_up() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{}", operation.name());
        }
    }
}
