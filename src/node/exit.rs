//! How a broker process ends, and with which exit code.

use storage::cipher::KeyError;

use super::membership::JoinError;
use crate::config::keys::KeyLoadError;

/// The end of [`super::run`].
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// A planned stop: nothing is lost, the other broker can take over at once.
    #[error("stopped as asked")]
    Stopped,
    /// A second signal while stopping: whoever sent it did not want to wait.
    #[error("stopped by a second signal before the switchover was complete")]
    Hurried {
        /// The signal's number.
        signal: u8,
    },
    /// The health port cannot be opened.
    #[error("cannot open the health port `{address}`: {error}: give another one with `--http`")]
    Http {
        /// The address as configured.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A messaging address is none of this host, or another process uses it.
    #[error("cannot listen on `{address}`: {reason}: give another address with `--listen`")]
    Listen {
        /// The address as configured.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The membership could not begin.
    #[error(transparent)]
    Start(#[from] JoinError),
    /// A key of the journal cannot be had.
    #[error("cannot get the key of the journal: {0}")]
    Keys(#[from] KeyLoadError),
    /// The journal is encrypted with a key that the configuration does not give.
    #[error("{0}")]
    KeyMissing(KeyError),
    /// The process cannot be told to stop.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A thread of the journal or of the tenure panicked, or the node itself: a defect.
    #[error("{0}: this is a defect; the other broker takes over; please report it with the log")]
    Panicked(String),
    /// The storage cannot be used any more.
    #[error("{0}: the other broker takes over; check the shared directory, then start again")]
    StorageFailed(String),
}

impl Exit {
    /// The exit code of the process. README lists them.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Exit::Stopped => 0,
            Exit::Http { .. }
            | Exit::Listen { .. }
            | Exit::Keys(_)
            | Exit::KeyMissing(_)
            | Exit::Signals(_) => 1,
            Exit::Start(JoinError::Panicked(_)) => 70,
            Exit::Start(_) => 1,
            Exit::Panicked(_) => 70,
            Exit::StorageFailed(_) => 75,
            // As a shell reports a process that the signal ended.
            Exit::Hurried { signal } => 128 + *signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!(Exit::Stopped.code(), 0);
        assert_eq!(Exit::Signals(std::io::ErrorKind::Other.into()).code(), 1);
        assert_eq!(Exit::Panicked(String::new()).code(), 70);
        assert_eq!(Exit::StorageFailed(String::new()).code(), 75);
        assert_eq!(Exit::Hurried { signal: 15 }.code(), 143);
    }
}
