//! The command line from outside: helps, complaints, exit codes, `baton pair` and `baton status`.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Pair, TENURE, baton, eventually, get, run};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["broker"],
    &["pair"],
    &["drill"],
    &["produce"],
    &["consume"],
    &["status"],
    &["transactions"],
    &["transactions", "list"],
    &["transactions", "commit"],
    &["transactions", "rollback"],
    &["uri"],
    &["uri", "lint"],
    &["storage", "keys"],
    &["storage", "new-key"],
    &["storage", "check"],
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let finished = run(&[command, ["--help"].as_slice()].concat());
        assert_eq!(
            finished.status.code(),
            Some(0),
            "{command:?}: {}",
            finished.stderr
        );
        assert!(
            finished.stdout.contains("Usage: baton"),
            "{command:?}: {}",
            finished.stdout
        );
        assert!(
            finished.stdout.lines().count() > 5,
            "{command:?}: {}",
            finished.stdout
        );
        let widest = finished
            .stdout
            .lines()
            .map(|line| line.chars().count())
            .max();
        assert!(
            widest <= Some(110),
            "{command:?} has a line of {widest:?} columns"
        );
    }
}

#[test]
fn the_helps_of_the_commands_show_examples_and_exit_codes() {
    for command in [
        "broker",
        "pair",
        "produce",
        "consume",
        "status",
        "transactions",
    ] {
        let help = run(&[command, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(
            help.contains(&format!("  baton {command}")),
            "{command}: {help}"
        );
    }
    let help = run(&["broker", "--help"]).stdout;
    for documented in [
        "Exit codes:",
        "  70 ",
        "  75 ",
        "SIGTERM",
        "listening tcp://",
    ] {
        assert!(help.contains(documented), "{documented}: {help}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let finished = run(&["--version"]);
    assert_eq!(
        finished.stdout,
        format!("baton {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    for (arguments, named) in [
        (vec!["brokre"], "'brokre'"),
        (vec!["broker", "--nmae", "a"], "'--nmae'"),
        (vec!["broker", "extra"], "'extra'"),
        (vec!["pair", "--port", "70000"], "'70000'"),
        (vec!["produce"], "<QUEUE>"),
        (vec!["status", "--timeout-ms", "soon"], "'soon'"),
    ] {
        let finished = run(&arguments);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}");
        assert!(
            finished.stderr.contains(named),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
}

#[test]
fn status_shows_a_pair_and_succeeds_with_exactly_one_active() {
    let mut pair = Pair::start(&TENURE);
    let urls = [pair.a.http(), pair.b.http()];
    let finished = run(&["status", &urls[0], &urls[1]]);
    assert_eq!(
        finished.status.code(),
        Some(0),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    let (active, _) = pair.by_role();
    let row = finished
        .stdout
        .lines()
        .find(|line| line.contains(" active "))
        .expect("a row");
    assert!(row.starts_with(&active.name), "{row}");
    assert!(row.contains(&active.address()), "{row}");

    let finished = run(&["status", "--json", &urls[0], &urls[1]]);
    let answers: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(answers[0]["status"]["name"], "a");
    assert_eq!(answers[1]["status"]["name"], "b");

    pair.a.kill();
    pair.b.kill();
    let finished = run(&["status", &urls[0], &urls[1]]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stdout.contains("is the broker running?"),
        "{}",
        finished.stdout
    );
    assert!(
        finished.stdout.contains("no broker is the active"),
        "{}",
        finished.stdout
    );
}

#[test]
fn status_of_something_else_is_explained() {
    let finished = run(&["status", "ftp://a"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stdout.contains("write `http://host:port`"),
        "{}",
        finished.stdout
    );
}

/// `baton pair`, ended by its own id when the test ends.
struct PairCommand {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl PairCommand {
    fn start() -> PairCommand {
        let mut child = baton()
            .args([
                "pair",
                "--port",
                "0",
                "--http-port",
                "0",
                "--restart-after-ms",
                "100",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("baton starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        PairCommand {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The next line that contains all of `parts`.
    fn wait_for(&mut self, parts: &[&str]) -> String {
        loop {
            let line = self.lines.recv_timeout(support::PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {parts:?} in {:?}", self.seen));
            self.seen.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("the process is there");
    }
}

impl Drop for PairCommand {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            // It stops its brokers; killing it at once would leave them behind.
            self.interrupt();
            let deadline = std::time::Instant::now() + support::PATIENCE;
            while self.child.try_wait().ok().flatten().is_none() {
                if std::time::Instant::now() > deadline {
                    let _ = self.child.kill();
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

fn field(line: &str, after: &str) -> String {
    let mut words = line.split_whitespace().skip_while(|word| *word != after);
    words.nth(1).expect("the field").to_owned()
}

#[test]
fn the_pair_command_guides_restarts_what_dies_and_stops_both() {
    let mut pair = PairCommand::start();
    pair.wait_for(&["The pair is up"]);
    let url = pair.wait_for(&["failover:("]);
    assert!(url.contains("tcp://127.0.0.1:"), "{url}");
    let active = pair.wait_for(&[" active ", "http://"]);
    let pid = field(&active, "pid");
    pair.wait_for(&["Ctrl-C stops both"]);

    let id = Pid::from_raw(pid.parse().expect("a process id"));
    kill(id, Signal::SIGKILL).expect("the active is there");
    // The restart and the takeover go on side by side.
    let mut missing = vec![
        vec!["ended (signal: 9"],
        vec!["active, epoch", "after the other one left"],
        vec!["starts again"],
        vec!["standby, epoch"],
    ];
    while !missing.is_empty() {
        let line = pair.wait_for(&[" s  "]);
        missing.retain(|parts| !parts.iter().all(|part| line.contains(part)));
    }

    let http = active
        .split_whitespace()
        .last()
        .expect("the status address")
        .to_owned();
    let base = http.trim_end_matches("/status").to_owned();
    eventually("the restarted broker answers", || get(&base, "/health"));
    pair.interrupt();
    pair.wait_for(&["stopping both brokers"]);
    let status = eventually("the pair ends", || pair.child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(get(&base, "/health"), None, "its brokers ended with it");
}

#[test]
fn lint_points_at_what_a_client_would_refuse() {
    let finished = run(&[
        "uri",
        "lint",
        "failover:tcp://a:1,tcp://b:1?randomize=false",
    ]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stdout.contains("error [refused]: "),
        "{}",
        finished.stdout
    );
    assert!(finished.stdout.contains("^^^^^^^^^"), "{}", finished.stdout);

    let uri = "failover:(tcp://a:1,tcp://b:1)?nested.connectionTimeout=3000";
    let finished = run(&["uri", "lint", "--json", uri]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stdout);
    let examined: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(examined[0]["uri"], uri);
}

#[test]
fn a_wrong_url_is_refused_before_connecting() {
    let finished = run(&[
        "produce",
        "failover:(tcp://127.0.0.1:1)?randomise=false",
        "q",
    ]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.starts_with("baton: the URL is wrong:\n"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("randomise"), "{}", finished.stderr);
}

#[test]
fn a_broker_that_is_not_there_is_a_clear_error() {
    let address = support::free_address();
    let finished = run(&["consume", &address, "q"]);
    assert_eq!(finished.status.code(), Some(1));
    let expected = format!("baton: cannot connect to `{address}`");
    assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("Connection refused"),
        "{}",
        finished.stderr
    );
}
