//! Starts, watches and stops real brokers for the black-box tests.
//!
//! Every process is ended by its own id when its handle goes, also when a test fails. Ports are
//! chosen by the system; the brokers say on standard output which ones they got.

// Each test program uses its part of this module.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

/// Long enough for a loaded machine; every wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lease times for tests: short, and still longer than a busy disk's worst sync.
pub const TENURE: [&str; 4] = ["--set", "tenure.lease=2s", "--set", "tenure.renewal=200ms"];

/// The program under test.
#[must_use]
pub fn baton() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    // Settings of whoever runs the tests are none of the tests'.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BATON_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A finished run of the program.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// All that a finished run told, for the message of an assertion.
#[must_use]
pub fn show(finished: &Finished) -> String {
    let Finished {
        status,
        stdout,
        stderr,
    } = finished;
    format!("{status}\n{stdout}\n{stderr}")
}

/// Runs the program to its end; kills it when that takes too long.
#[must_use]
pub fn run(arguments: &[&str]) -> Finished {
    run_command(baton().args(arguments))
}

/// As [`run`], with a prepared command.
#[must_use]
pub fn run_command(command: &mut Command) -> Finished {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts");
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let status = wait_for_exit(&mut child, PATIENCE).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("`{command:?}` did not end within {PATIENCE:?}");
    });
    let (stdout, stderr) = (stdout.join(), stderr.join());
    Finished {
        status,
        stdout: stdout.expect("read"),
        stderr: stderr.expect("read"),
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait_for_exit(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` gives a value; panics with `what` when it does not.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "did not happen within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The lines that a process printed so far.
#[derive(Default)]
struct Printed {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// A running broker.
pub struct Broker {
    pub name: String,
    child: Child,
    printed: Arc<Printed>,
    log: PathBuf,
}

impl Broker {
    /// Starts a broker on `directory` with free ports and the options in `extra`.
    #[must_use]
    pub fn start(name: &str, directory: &Path, extra: &[&str]) -> Broker {
        let addresses = ["--listen", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"];
        let arguments: Vec<&str> = addresses.iter().chain(extra).copied().collect();
        Broker::start_with(name, directory, &arguments)
    }

    /// Starts a broker with exactly these options.
    #[must_use]
    pub fn start_with(name: &str, directory: &Path, arguments: &[&str]) -> Broker {
        Broker::start_in(name, directory, arguments, &[])
    }

    /// As [`Broker::start_with`], with environment variables.
    #[must_use]
    pub fn start_in(
        name: &str,
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Broker {
        let log = directory
            .parent()
            .expect("in a temporary directory")
            .join(format!("{name}.log"));
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log");
        let mut child = baton()
            .args(["broker", "--name", name, "--directory"])
            .arg(directory)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("baton starts");
        let printed = Arc::new(Printed::default());
        let (stdout, to) = (child.stdout.take().expect("piped"), Arc::clone(&printed));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                to.lines.lock().push(line);
                to.grown.notify_all();
            }
        });
        Broker {
            name: name.to_owned(),
            child,
            printed,
            log,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.printed.lines.lock().clone()
    }

    /// Lines printed so far: a mark for [`Broker::wait_for_line`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.printed.lines.lock().len()
    }

    /// The first line after `mark` that starts with `prefix`, as soon as it is there.
    pub fn wait_for_line(&self, mark: usize, prefix: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.printed.lines.lock();
        loop {
            let seen: Vec<String> = lines.iter().skip(mark).cloned().collect();
            if let Some(line) = seen.iter().find(|line| line.starts_with(prefix)) {
                return line.clone();
            }
            let is_late = self
                .printed
                .grown
                .wait_until(&mut lines, deadline)
                .timed_out();
            assert!(
                !is_late,
                "broker {} did not print `{prefix}`, but {seen:?}; its log:\n{}",
                self.name,
                self.log()
            );
        }
    }

    /// The latest role it announced.
    #[must_use]
    pub fn role(&self) -> Option<String> {
        let lines = self.lines();
        let role = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("role "))?;
        role.split(' ').next().map(str::to_owned)
    }

    pub fn wait_for_role(&self, role: &str) {
        eventually(
            &format!("broker {} is {role}; its log:\n{}", self.name, self.log()),
            || (self.role().as_deref() == Some(role)).then_some(()),
        );
    }

    /// `http://127.0.0.1:port` of its health port.
    #[must_use]
    pub fn http(&self) -> String {
        self.wait_for_line(0, "http ")["http ".len()..].to_owned()
    }

    /// The messaging address that it opened last.
    #[must_use]
    pub fn address(&self) -> String {
        self.wait_for_line(0, "listening ");
        let lines = self.lines();
        let last = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("listening "));
        last.expect("just seen").to_owned()
    }

    /// GET on the health port; None when nobody answers.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.http(), path)
    }

    /// The document of `/status`.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let (code, body) = self.get("/status").expect("the health port answers");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the process is there");
    }

    /// Waits for the process's end by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.child, PATIENCE)
            .unwrap_or_else(|| panic!("broker {} did not end; its log:\n{}", self.name, self.log()))
    }

    /// SIGKILL, and the end of it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            // SIGKILL ends a stopped process, too.
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- broker {}: printed {:?}\n{}",
                self.name,
                self.lines(),
                self.log()
            );
        }
    }
}

/// Two brokers on one temporary directory.
pub struct Pair {
    pub a: Broker,
    pub b: Broker,
    options: Vec<String>,
    // Last: the brokers end before their directory goes.
    place: TempDir,
}

impl Pair {
    /// Starts both; one of them is the active and the other the standby when this returns.
    #[must_use]
    pub fn start(options: &[&str]) -> Pair {
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = place.path().join("journal");
        let a = Broker::start("a", &directory, options);
        let b = Broker::start("b", &directory, options);
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let pair = Pair {
            a,
            b,
            options,
            place,
        };
        pair.wait_until_complete();
        pair
    }

    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.place.path().join("journal")
    }

    /// Waits until one is the active and the other the standby.
    pub fn wait_until_complete(&self) {
        eventually("one active and one standby", || {
            let mut roles = [self.a.role()?, self.b.role()?];
            roles.sort();
            (roles == ["active", "standby"]).then_some(())
        });
    }

    /// The active first.
    #[must_use]
    pub fn by_role(&self) -> (&Broker, &Broker) {
        if self.a.role().as_deref() == Some("active") {
            (&self.a, &self.b)
        } else {
            (&self.b, &self.a)
        }
    }

    /// As [`Pair::by_role`].
    pub fn by_role_mut(&mut self) -> (&mut Broker, &mut Broker) {
        if self.a.role().as_deref() == Some("active") {
            (&mut self.a, &mut self.b)
        } else {
            (&mut self.b, &mut self.a)
        }
    }

    /// Starts a broker that ended again, with the options of the first time.
    pub fn restart(&mut self, name: &str) {
        let directory = self.directory();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let again = Broker::start(name, &directory, &options);
        if name == "a" {
            self.a = again;
        } else {
            self.b = again;
        }
    }
}

/// GET over a plain connection; None when nobody answers within five seconds.
#[must_use]
pub fn get(base: &str, path: &str) -> Option<(u16, String)> {
    let authority = base.strip_prefix("http://").expect("an http address");
    let mut stream = TcpStream::connect(authority).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// True when connections to a `tcp://` address are refused.
#[must_use]
pub fn is_refused(address: &str) -> bool {
    let authority = address.strip_prefix("tcp://").expect("a tcp address");
    match TcpStream::connect(authority) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// A `tcp://` address of this host that was free a moment ago.
#[must_use]
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("tcp://{}", listener.local_addr().expect("an address"))
}
