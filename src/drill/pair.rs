//! The two brokers under test: started as child processes, or found running.
//!
//! Children are killed when this is dropped, whatever the reason, stopped ones too.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::chronicle::Chronicle;
use super::fault::{ProcessState, state_of};
use super::timeline::Event;
use super::{DrillArgs, DrillError};
use crate::console::client::get;

/// How long an answer of a health port may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);
/// How often the health port of a broker is asked that also talks on its standard output.
const STATUS_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is asked when it is all that there is.
const STATUS_INTERVAL_ATTACHED: Duration = Duration::from_millis(10);
/// How long a broker may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// Longest line of a broker's standard output that is read.
const LINE_MAX: usize = 4096;

/// What a broker's health port says, as far as the drill cares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) epoch: u64,
    pub(super) pid: Option<i32>,
    pub(super) behind: Option<Behind>,
    pub(super) listeners: Vec<String>,
    pub(super) queues: Vec<QueueStatus>,
}

/// How far a standby is behind.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Behind {
    pub(super) bytes: u64,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct QueueStatus {
    pub(super) name: String,
    pub(super) pending: u64,
}

/// One of the two brokers.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) name: String,
    /// Base of its health port, `http://host:port`.
    http: String,
    pid: Option<i32>,
    latest: Arc<Mutex<Option<Status>>>,
    poller: JoinHandle<()>,
    launch: Option<Launch>,
}

/// What is needed to start a broker again.
#[derive(Debug)]
struct Launch {
    executable: PathBuf,
    directory: PathBuf,
    listen: String,
    peer: String,
    http: String,
    config: Option<PathBuf>,
    profile: Option<String>,
    log: PathBuf,
    watcher: Option<JoinHandle<()>>,
    /// Set when the process was collected, so that its id may be somebody else's.
    is_collected: Arc<AtomicBool>,
}

/// Both brokers.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) brokers: [Broker; 2],
    /// URL for the load.
    pub(super) url: String,
    /// Messaging address of each broker, as `tcp://host:port`.
    pub(super) addresses: [String; 2],
    chronicle: Arc<Chronicle>,
}

impl Pair {
    /// Starts two brokers on `directory`; their logs go to `logs`.
    pub(super) fn start(
        args: &DrillArgs,
        directory: &Path,
        logs: &Path,
        chronicle: &Arc<Chronicle>,
    ) -> Result<Self, DrillError> {
        let start_error = |source| DrillError::Start {
            broker: "a".to_owned(),
            executable: PathBuf::from("baton"),
            source,
        };
        let executable = match &args.executable {
            Some(executable) => executable.clone(),
            None => std::env::current_exe().map_err(start_error)?,
        };
        let ports = free_ports().map_err(start_error)?;
        let addresses = [ports[0], ports[1]].map(|port| format!("tcp://127.0.0.1:{port}"));
        let broker = |index: usize, name: &str| {
            let launch = Launch {
                executable: executable.clone(),
                directory: directory.to_owned(),
                listen: addresses[index].clone(),
                peer: addresses[1 - index].clone(),
                http: format!("127.0.0.1:{}", ports[2 + index]),
                config: args.config.clone(),
                profile: args.profile.clone(),
                log: logs.join(format!("{name}.log")),
                watcher: None,
                is_collected: Arc::new(AtomicBool::new(true)),
            };
            let http = format!("http://{}", launch.http);
            let mut broker = Broker::new(index, name, http, None, chronicle, true);
            broker.launch = Some(launch);
            broker.start(index, chronicle).map(|()| broker)
        };
        Ok(Self {
            brokers: [broker(0, "a")?, broker(1, "b")?],
            url: format!("failover:({},{})", addresses[0], addresses[1]),
            addresses,
            chronicle: Arc::clone(chronicle),
        })
    }

    /// Watches two brokers that run already.
    pub(super) fn attach(
        args: &DrillArgs,
        url: &str,
        addresses: [String; 2],
        chronicle: &Arc<Chronicle>,
    ) -> Self {
        let broker = |index: usize, name: &str| {
            let http = args.status[index]
                .trim_end_matches('/')
                .trim_end_matches("/status");
            Broker::new(
                index,
                name,
                http.to_owned(),
                args.pid.get(index).copied(),
                chronicle,
                false,
            )
        };
        Self {
            brokers: [broker(0, "a"), broker(1, "b")],
            url: url.to_owned(),
            addresses,
            chronicle: Arc::clone(chronicle),
        }
    }

    /// Whether the drill started the brokers.
    pub(super) fn is_own(&self) -> bool {
        self.brokers[0].launch.is_some()
    }

    /// Indexes of the active and the standby, if that is what the two are now.
    pub(super) fn roles(&self) -> Option<(usize, usize)> {
        let role = |index: usize| self.role_of(index).unwrap_or_default();
        match (role(0).as_str(), role(1).as_str()) {
            ("active", "standby") => Some((0, 1)),
            ("standby", "active") => Some((1, 0)),
            _ => None,
        }
    }

    /// The role that broker `index` has now.
    pub(super) fn role_of(&self, index: usize) -> Option<String> {
        self.chronicle.role_of(index)
    }

    /// Asks the health port of broker `index` now.
    pub(super) async fn status_of(&self, index: usize) -> Option<Status> {
        fetch(&self.brokers[index].http).await
    }

    /// Starts broker `index` again.
    pub(super) fn restart(&mut self, index: usize) -> Result<(), DrillError> {
        let chronicle = Arc::clone(&self.chronicle);
        self.brokers[index].start(index, &chronicle)
    }

    /// The log file of broker `index`.
    pub(super) fn log_of(&self, index: usize) -> PathBuf {
        let launch = self.brokers[index].launch.as_ref();
        launch.map_or_else(PathBuf::new, |launch| launch.log.clone())
    }

    /// Stops both brokers, the standby first so that it does not take over once more; says which
    /// of them did not stop as asked.
    pub(super) async fn stop(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        let active = (0..2).find(|index| self.role_of(*index).as_deref() == Some("active"));
        let first = active.map_or(0, |active| 1 - active);
        for index in [first, 1 - first] {
            if let Some(complaint) = self.brokers[index].stop(&self.chronicle, index).await {
                complaints.push(complaint);
            }
        }
        complaints
    }
}

impl Broker {
    fn new(
        index: usize,
        name: &str,
        http: String,
        pid: Option<i32>,
        chronicle: &Arc<Chronicle>,
        is_own: bool,
    ) -> Self {
        let latest = Arc::new(Mutex::new(None));
        let poller = tokio::spawn(poll(
            index,
            http.clone(),
            Arc::clone(&latest),
            Arc::clone(chronicle),
            is_own,
        ));
        Self {
            name: name.to_owned(),
            http,
            pid,
            latest,
            poller,
            launch: None,
        }
    }

    /// What its health port said last; absent while it does not answer.
    pub(super) fn latest(&self) -> Option<Status> {
        self.latest.lock().clone()
    }

    /// Its process id: as started, or as given while that process lives, or as it says itself
    /// after a supervisor has started it again.
    pub(super) fn pid(&self) -> Option<i32> {
        let is_current = |pid: &i32| self.launch.is_some() || state_of(*pid) != ProcessState::Gone;
        let told = || self.latest().and_then(|status| status.pid);
        self.pid.filter(is_current).or_else(told)
    }

    /// What it is called: by itself, where the drill did not name it.
    pub(super) fn title(&self) -> String {
        let told = self
            .latest()
            .map(|status| status.name)
            .filter(|name| !name.is_empty());
        told.unwrap_or_else(|| self.name.clone())
    }

    fn start(&mut self, index: usize, chronicle: &Arc<Chronicle>) -> Result<(), DrillError> {
        let Some(launch) = &mut self.launch else {
            return Ok(());
        };
        let name = &self.name;
        let start_error = |source| DrillError::Start {
            broker: name.clone(),
            executable: launch.executable.clone(),
            source,
        };
        let mut child = launch.spawn(name).map_err(start_error)?;
        self.pid = child.id().map(|id| id as i32);
        if let Some(watcher) = launch.watcher.take() {
            watcher.abort();
        }
        let chronicle = Arc::clone(chronicle);
        let is_collected = Arc::new(AtomicBool::new(false));
        launch.is_collected = Arc::clone(&is_collected);
        launch.watcher = Some(tokio::spawn(async move {
            watch(index, &mut child, &chronicle, &is_collected).await;
        }));
        Ok(())
    }

    async fn stop(&mut self, chronicle: &Chronicle, index: usize) -> Option<String> {
        let launch = self.launch.as_mut()?;
        let pid = self.pid?;
        let from_us = chronicle.since(0).last().map_or(0, |last| last.at_us);
        if launch.is_collected.load(Ordering::Acquire) {
            return None;
        }
        let _ = super::fault::strike(super::Fault::Term, pid);
        let exit = chronicle
            .wait_for(STOP_PATIENCE, || chronicle.exit_of(index, from_us))
            .await;
        launch.kill(pid);
        match exit.as_deref() {
            Some("exit code 0") => None,
            Some(status) => Some(format!(
                "broker {} ended with {status} when stopped",
                self.name
            )),
            None => Some(format!(
                "broker {} did not stop within {} s of SIGTERM",
                self.name,
                STOP_PATIENCE.as_secs()
            )),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.poller.abort();
        if let (Some(launch), Some(pid)) = (&mut self.launch, self.pid) {
            launch.kill(pid);
        }
    }
}

impl Launch {
    /// Ends the process if it still runs. The watcher's child would be killed when its task is
    /// dropped, but a runtime on its way out may not get to that.
    fn kill(&mut self, pid: i32) {
        if !self.is_collected.load(Ordering::Acquire) {
            let _ = super::fault::strike(super::Fault::Kill, pid);
        }
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }

    fn spawn(&self, name: &str) -> std::io::Result<Child> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(&self.executable);
        command
            .arg("broker")
            .args([
                "--name",
                name,
                "--listen",
                &self.listen,
                "--http",
                &self.http,
            ])
            .args(["--peer", &self.peer])
            .arg("--directory")
            .arg(&self.directory);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(profile) = &self.profile {
            command.args(["--profile", profile]);
        }
        // Settings for another broker of this user are none of these two's.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BATON_") {
                command.env_remove(name);
            }
        }
        // A group of its own: a Ctrl-C at the terminal is the drill's to answer.
        command.process_group(0).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
    }
}

/// Writes down what a child prints, and its end.
async fn watch(index: usize, child: &mut Child, chronicle: &Chronicle, is_collected: &AtomicBool) {
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        loop {
            line.clear();
            match read_line(&mut reader, &mut line).await {
                Ok(true) => {
                    if let Some(event) = Event::parse(&String::from_utf8_lossy(&line)) {
                        chronicle.add(index, event);
                    }
                }
                Ok(false) | Err(_) => break,
            }
        }
    }
    let status = match child.wait().await {
        Ok(status) => describe(status),
        Err(error) => format!("an unknown status: {error}"),
    };
    is_collected.store(true, Ordering::Release);
    chronicle.add(index, Event::Exited { status });
}

/// Reads a line of at most [`LINE_MAX`] bytes; what is beyond is skipped. False at the end.
async fn read_line(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        let room = LINE_MAX.saturating_sub(line.len()).min(taken);
        line.extend_from_slice(&available[..room]);
        let used = end.map_or(taken, |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Asks a health port again and again. For a broker that the drill did not start, its answers
/// are the only source of events; others tell more exactly on their standard output.
async fn poll(
    index: usize,
    http: String,
    latest: Arc<Mutex<Option<Status>>>,
    chronicle: Arc<Chronicle>,
    is_own: bool,
) {
    let interval = if is_own {
        STATUS_INTERVAL
    } else {
        STATUS_INTERVAL_ATTACHED
    };
    let mut shown: Option<Status> = None;
    loop {
        let status = fetch(&http).await;
        if let (Some(shown), Some(status)) = (&shown, &status)
            && status.epoch > shown.epoch
        {
            chronicle.add(index, Event::Claimed);
        }
        if !is_own {
            show_changes(index, shown.as_ref(), status.as_ref(), &chronicle);
        }
        shown.clone_from(&status);
        *latest.lock() = status;
        tokio::time::sleep(interval).await;
    }
}

fn show_changes(
    index: usize,
    before: Option<&Status>,
    now: Option<&Status>,
    chronicle: &Chronicle,
) {
    match (before, now) {
        (Some(_), None) => {
            let status = "no answer from its health port".to_owned();
            chronicle.add(index, Event::Exited { status });
        }
        (before, Some(now)) => {
            if before.is_none_or(|before| before.listeners.is_empty()) && !now.listeners.is_empty()
            {
                chronicle.add(index, Event::Listening);
            }
            if before.is_none_or(|before| before.role != now.role) {
                let detail = format!("epoch {}", now.epoch);
                chronicle.add(
                    index,
                    Event::Role {
                        role: now.role.clone(),
                        detail,
                    },
                );
            }
        }
        (None, None) => {}
    }
}

async fn fetch(http: &str) -> Option<Status> {
    let answer = get(http, "/status", STATUS_PATIENCE).await.ok()?;
    if answer.code != 200 {
        return None;
    }
    serde_json::from_str(&answer.body).ok()
}

/// Four ports that are free now. They must stay the same over restarts, so that they cannot be
/// left to each broker.
fn free_ports() -> std::io::Result<[u16; 4]> {
    let mut listeners = Vec::with_capacity(4);
    let mut ports = [0; 4];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn status_is_read_from_what_a_broker_says_and_more_is_ignored() {
        let json = r#"{"name":"a","role":"standby","epoch":3,"pid":77,"version":"x",
            "behind":{"bytes":12,"ms":3},"listeners":[],"queues":[{"name":"q","pending":5}]}"#;
        let status: Status = serde_json::from_str(json).expect("valid");
        assert_eq!(
            (status.role.as_str(), status.epoch, status.pid),
            ("standby", 3, Some(77))
        );
        assert_eq!(status.behind.map(|behind| behind.bytes), Some(12));
        assert_eq!(status.queues[0].pending, 5);
    }

    #[tokio::test]
    async fn lines_are_cut_to_a_bound_and_none_is_lost() {
        let long = "x".repeat(3 * LINE_MAX);
        let text = format!("role standby\n{long}\nrole active epoch 1");
        let mut reader = BufReader::with_capacity(16, text.as_bytes());
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut reader, &mut line)
            .await
            .expect("reading memory")
        {
            lines.push(String::from_utf8(std::mem::take(&mut line)).expect("ASCII"));
        }
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (lines[0].as_str(), lines[1].len()),
            ("role standby", LINE_MAX)
        );
        assert_eq!(lines[2], "role active epoch 1");
    }

    #[tokio::test]
    async fn child_is_watched_to_its_end() {
        let chronicle = Chronicle::new(Instant::now());
        let mut command = Command::new("sh");
        command.args(["-c", "echo role standby; echo noise; exit 3"]);
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sh");
        let is_collected = AtomicBool::new(false);
        watch(1, &mut child, &chronicle, &is_collected).await;
        assert!(is_collected.load(Ordering::Acquire));
        let events = chronicle.since(0);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].event.role(), Some("standby"));
        assert_eq!(chronicle.exit_of(1, 0).as_deref(), Some("exit code 3"));
    }

    #[test]
    fn changes_of_a_running_broker_become_events() {
        let chronicle = Chronicle::new(Instant::now());
        let status = |role: &str, listeners: &[&str]| Status {
            role: role.to_owned(),
            listeners: listeners.iter().map(ToString::to_string).collect(),
            ..Status::default()
        };
        let (standby, active) = (status("standby", &[]), status("active", &["tcp://h:1"]));
        show_changes(0, None, Some(&standby), &chronicle);
        show_changes(0, Some(&standby), Some(&standby), &chronicle);
        show_changes(0, Some(&standby), Some(&active), &chronicle);
        show_changes(0, Some(&active), None, &chronicle);
        let events: Vec<_> = chronicle
            .since(0)
            .into_iter()
            .map(|one| one.event)
            .collect();
        assert_eq!(events.len(), 4);
        assert_eq!(
            (events[0].role(), events[2].role()),
            (Some("standby"), Some("active"))
        );
        assert_eq!(events[1], Event::Listening);
        assert!(matches!(events[3], Event::Exited { .. }));
    }
}
