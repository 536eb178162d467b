//! Why a drill could not run. A drill that ran and found a fault of the pair is a
//! [`Verdict`](super::Verdict), never one of these.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// The drill could not be carried out, so it says nothing about the pair.
#[derive(Debug, Error)]
pub enum DrillError {
    /// Arguments that contradict each other or lie out of range.
    #[error("cannot run the drill: `{option}`: {reason}")]
    Arguments {
        /// The option at fault, as typed.
        option: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A broker could not be started.
    #[error("cannot start broker `{broker}` with `{}`", executable.display())]
    Start {
        /// Name of the broker.
        broker: String,
        /// The executable that was tried.
        executable: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A broker of the drill ended when nobody asked it to.
    #[error(
        "broker `{broker}` ended by itself ({status}) {during}; its log is in `{}`",
        log.display()
    )]
    BrokerEnded {
        /// Name of the broker.
        broker: String,
        /// How it ended.
        status: String,
        /// What the drill was doing.
        during: &'static str,
        /// Where its standard error went.
        log: PathBuf,
    },
    /// Something that had to come before the first fault did not.
    #[error("waited {} s for {what}, in vain; {hint}", waited.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What to look at.
        hint: String,
    },
    /// A signal could not be sent, or a fault command failed.
    #[error("cannot inject fault `{fault}` into process `{pid}`")]
    Fault {
        /// The fault.
        fault: String,
        /// The process.
        pid: i32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A command given with `--fault-command` or `--restart-command` failed.
    #[error("command `{command}` failed: {reason}")]
    Command {
        /// The command, as typed.
        command: String,
        /// Exit status or system error.
        reason: String,
    },
    /// The load could not be set up.
    #[error("cannot {action} at `{url}`")]
    Load {
        /// What the load was about to do.
        action: &'static str,
        /// The failover URL of the load.
        url: String,
        /// What the client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of the report or a directory could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The picture could not be drawn.
    #[error("cannot draw the picture: {reason}")]
    Draw {
        /// What the plotter said.
        reason: String,
    },
    /// Ctrl-C: brokers stopped, no verdict.
    #[error("interrupted before the verdict; the brokers of the drill are stopped")]
    Interrupted,
}
