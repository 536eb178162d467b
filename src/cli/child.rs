//! A broker as a child process, followed by what it prints for machines.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What a broker of a pair is started with; a restart uses the same.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub name: &'static str,
    pub directory: PathBuf,
    pub listen: String,
    pub http: String,
    pub peer: Option<String>,
    pub config: Option<PathBuf>,
    pub profile: Option<String>,
    pub log: PathBuf,
}

impl Launch {
    /// Starts the process; its log goes to the end of the log file.
    pub(super) fn start(&self) -> anyhow::Result<Running> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open the log `{}`", self.log.display()))?;
        let mut command = Command::new(&program);
        command
            .arg("broker")
            .args(["--name", self.name])
            .arg("--directory")
            .arg(&self.directory);
        command.args(["--listen", &self.listen, "--http", &self.http]);
        if let Some(peer) = &self.peer {
            command.args(["--peer", peer]);
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(profile) = &self.profile {
            command.args(["--profile", profile]);
        }
        // Its own group: a Ctrl-C at the terminal is ours to pass on, once, in order.
        command.process_group(0).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the child has no standard output")?;
        Ok(Running {
            child,
            lines: Some(BufReader::new(stdout).lines()),
        })
    }
}

/// What happened to a running broker.
#[derive(Debug)]
pub(super) enum News {
    /// A line for machines.
    Line(String),
    /// The process ended.
    Ended(ExitStatus),
}

/// A running broker; killed when dropped.
pub(super) struct Running {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Running {
    /// The process id; None once it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line, and after the last one the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<News> {
        if let Some(lines) = &mut self.lines {
            if let Some(line) = lines.next_line().await? {
                return Ok(News::Line(line));
            }
            self.lines = None;
        }
        Ok(News::Ended(self.child.wait().await?))
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile: then there is nothing to ask.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Ends it without asking.
    pub(super) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// The last lines of a log file, for a report of what went wrong.
pub(super) fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
