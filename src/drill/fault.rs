//! Faults by process id, and the proof that they took effect: a drill whose fault did not happen
//! must not pass.

use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DrillError, Fault};

/// How long a signal may take to show in the process table.
const EFFECT_PATIENCE: Duration = Duration::from_secs(5);

/// What the process table says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessState {
    /// It runs or sleeps.
    Alive,
    /// It is stopped by a signal.
    Stopped,
    /// There is none, or just its exit status waits to be collected.
    Gone,
}

/// Looks a process up in `/proc`.
pub(super) fn state_of(pid: i32) -> ProcessState {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return ProcessState::Gone;
    };
    // The name in parentheses may hold anything, so the state is what follows the last one.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    match state {
        Some('T' | 't') => ProcessState::Stopped,
        Some('Z' | 'X') | None => ProcessState::Gone,
        Some(_) => ProcessState::Alive,
    }
}

/// Resident memory of a process in bytes, if it can be seen from here.
pub(super) fn memory_of(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Sends the signal of `fault`.
///
/// # Errors
///
/// When the system refuses: no such process, or not ours.
pub(super) fn strike(fault: Fault, pid: i32) -> Result<(), DrillError> {
    let signal = match fault {
        Fault::Kill => Signal::SIGKILL,
        Fault::Term => Signal::SIGTERM,
        Fault::Stop => Signal::SIGSTOP,
        Fault::None => return Ok(()),
    };
    send(signal, pid).map_err(|source| DrillError::Fault {
        fault: fault.word().to_owned(),
        pid,
        source,
    })
}

/// A process that was stopped; it runs again when this goes, whatever the reason. Brokers that
/// the drill did not start must not stay frozen because the drill was interrupted.
#[derive(Debug)]
pub(super) struct Frozen(i32);

impl Frozen {
    /// Takes charge of a process that was sent SIGSTOP.
    pub(super) fn new(pid: i32) -> Self {
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A process that is gone needs no resuming.
        let _ = send(Signal::SIGCONT, self.0);
    }
}

/// Waits until the process table shows what a kill or a stop does.
pub(super) async fn took_effect(fault: Fault, pid: i32) -> bool {
    let expected = match fault {
        Fault::Kill => ProcessState::Gone,
        Fault::Stop => ProcessState::Stopped,
        // A planned switchover takes its time, and is judged by its exit.
        Fault::Term | Fault::None => return true,
    };
    let waiting = async {
        while state_of(pid) != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(EFFECT_PATIENCE, waiting).await.is_ok()
}

fn send(signal: Signal, pid: i32) -> io::Result<()> {
    // 0 and negative numbers mean groups of processes; 1 is everybody's.
    if pid <= 1 {
        return Err(io::Error::other(format!(
            "`{pid}` is no broker's process id"
        )));
    }
    kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(
                Command::new("sleep")
                    .arg("60")
                    .spawn()
                    .expect("`sleep` exists"),
            )
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn stopped_process_is_seen_stopped_and_runs_again() {
        let sleeper = Sleeper::start();
        assert_eq!(state_of(sleeper.pid()), ProcessState::Alive);
        strike(Fault::Stop, sleeper.pid()).expect("it is ours");
        assert!(took_effect(Fault::Stop, sleeper.pid()).await);
        drop(Frozen::new(sleeper.pid()));
        while state_of(sleeper.pid()) == ProcessState::Stopped {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn killed_process_is_gone_even_before_it_is_collected() {
        let sleeper = Sleeper::start();
        strike(Fault::Kill, sleeper.pid()).expect("it is ours");
        assert!(took_effect(Fault::Kill, sleeper.pid()).await);
        assert_eq!(state_of(sleeper.pid()), ProcessState::Gone);
    }

    #[test]
    fn memory_of_a_process_is_seen_and_of_none_is_not() {
        assert!(memory_of(std::process::id() as i32) > Some(100_000));
        assert_eq!(memory_of(-1), None);
    }

    #[test]
    fn groups_of_processes_are_never_signalled() {
        for pid in [1, 0, -1] {
            assert!(strike(Fault::Kill, pid).is_err(), "{pid}");
        }
    }
}
