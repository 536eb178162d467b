//! What goes wrong, where, and when.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::sim::Random;

/// The calls of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opening a file that is there, for reading.
    OpenRead,
    /// Opening a file that is there, for writing.
    OpenWrite,
    /// Creating a file.
    Create,
    /// Listing a directory.
    List,
    /// Creating a directory.
    CreateDirectory,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Making names durable.
    SyncDirectory,
    /// Asking for the free space.
    FreeBytes,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file durable.
    Sync,
    /// Asking for a file's length.
    Length,
    /// Changing a file's length.
    SetLength,
    /// Asking for a file's lock.
    Lock,
}

/// What the operating system answers to a call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EIO: the medium, or a lock that was lost on NFS.
    Io,
    /// ENOSPC: no block or no inode.
    NoSpace,
    /// EDQUOT: this user has no more.
    Quota,
    /// ESTALE: the file is gone on the server.
    Stale,
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(match errno {
            Errno::Io => 5,
            Errno::NoSpace => 28,
            Errno::Quota => 122,
            Errno::Stale => 116,
        })
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is done and this is the answer. A failed *sync* loses the dirty data for good, as Linux
    /// does: a later sync succeeds, and the data is not there after a crash.
    Fail(Errno),
    /// A write gets as far as this many bytes, then fails.
    Short(usize, Errno),
    /// The call takes this long, and then does what it should.
    Stall(Duration),
    /// A sync, of a file or a directory, says that it is done and does nothing.
    Lie,
    /// A read brings one wrong bit.
    FlipBit,
    /// The file as it is opened now goes on showing its present content to this descriptor.
    Stale,
    /// The call panics: a bug in the disk's driver.
    Panic,
}

/// An effect and where it strikes: `Fault::on(&[Call::Sync]).of("journal/").after(3).once()`.
#[derive(Clone, Debug)]
pub struct Fault {
    calls: Vec<Call>,
    path: String,
    skip: u64,
    times: u64,
    random: Option<(Random, u64)>,
    pub(super) effect: Effect,
}

impl Fault {
    /// Each of these calls fails with EIO, until something else is said.
    #[must_use]
    pub fn on(calls: &[Call]) -> Fault {
        Fault {
            calls: calls.to_vec(),
            path: String::new(),
            skip: 0,
            times: u64::MAX,
            random: None,
            effect: Effect::Fail(Errno::Io),
        }
    }

    /// Only where the path contains this.
    #[must_use]
    pub fn of(mut self, path: &str) -> Fault {
        self.path = path.to_owned();
        self
    }

    /// Not the first so many.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Fault {
        self.skip = calls;
        self
    }

    /// Only once.
    #[must_use]
    pub fn once(mut self) -> Fault {
        self.times = 1;
        self
    }

    /// Only in so many of 1000 cases, which the seed picks.
    #[must_use]
    pub fn by_seed(mut self, seed: u64, permille: u64) -> Fault {
        self.random = Some((Random::new(seed), permille));
        self
    }

    /// What happens.
    #[must_use]
    pub fn with(mut self, effect: Effect) -> Fault {
        self.effect = effect;
        self
    }

    /// Whether it strikes this call.
    pub(super) fn strikes(&mut self, call: Call, path: &Path) -> bool {
        let is_meant =
            self.calls.contains(&call) && path.to_string_lossy().contains(self.path.as_str());
        if !is_meant || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = match &mut self.random {
            Some((random, permille)) => random.chance(*permille),
            None => true,
        };
        self.times -= u64::from(strikes);
        strikes
    }
}
