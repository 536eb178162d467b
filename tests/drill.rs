//! `baton drill` as a user runs it: against a real pair, and with verdicts that can fail.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod support;

/// A small load, so that a debug build on a busy machine keeps up.
const SMALL: [&str; 12] = [
    "--producers",
    "2",
    "--consumers",
    "2",
    "--rate",
    "100",
    "--settle",
    "300ms",
    "--spread",
    "700ms",
    "--hold",
    "1s",
];

fn drill(report: &Path, arguments: &[&str]) -> Output {
    support::baton()
        .arg("drill")
        .args(SMALL)
        .arg("--report")
        .arg(report)
        .args(arguments)
        // What a failed drill leaves behind goes with the test.
        .env("TMPDIR", report)
        .stdin(Stdio::null())
        .output()
        .expect("the built program starts")
}

/// Runs a drill that must end with `code`; returns its report.
fn report_of(code: i32, arguments: &[&str]) -> (tempfile::TempDir, Value) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = drill(directory.path(), arguments);
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let logs: String = ["a.log", "b.log"]
        .iter()
        .filter_map(|name| std::fs::read_to_string(directory.path().join(name)).ok())
        .collect();
    assert_eq!(output.status.code(), Some(code), "{errors}\n{text}\n{logs}");
    let json =
        std::fs::read_to_string(directory.path().join("report.json")).expect("there is a report");
    (
        directory,
        serde_json::from_str(&json).expect("the report is JSON"),
    )
}

fn assert_clean(report: &Value, rounds: usize) {
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["rounds"].as_array().map(Vec::len), Some(rounds));
    let ledger = &report["ledger"];
    assert!(ledger["acknowledged"].as_u64() > Some(50), "{ledger:#}");
    assert!(ledger["consumed"].as_u64() > Some(50), "{ledger:#}");
    for none in [
        "lost",
        "redelivered_unflagged",
        "redelivered_after_commit",
        "out_of_order",
    ] {
        assert_eq!(ledger[none], 0, "{none} in {ledger:#}");
    }
    for round in report["rounds"].as_array().expect("rounds") {
        let at = |milestone: &str| {
            round[milestone]
                .as_u64()
                .unwrap_or_else(|| panic!("no {milestone} in {round:#}"))
        };
        assert!(
            at("ports_open_us") <= at("probe_acknowledged_us"),
            "{round:#}"
        );
        assert!(at("standby_us") >= at("resumed_us"), "{round:#}");
        at("acknowledged_us");
        at("delivered_us");
        assert!(
            round["epoch_after"].as_u64() > round["epoch_before"].as_u64(),
            "{round:#}"
        );
    }
}

#[test]
fn killed_active_is_replaced_without_loss_and_every_form_of_the_report_says_so() {
    let (directory, report) = report_of(0, &["--rounds", "3", "--seed", "7"]);
    assert_clean(&report, 3);
    assert_eq!(report["seed"], 7);
    let read =
        |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("the form exists");
    assert!(read("report.txt").ends_with("\nPASSED\n"));
    assert!(read("junit.xml").contains("failures=\"0\""));
    assert!(read("timeline.svg").contains("3 kill"));
}

#[test]
fn planned_switchover_is_a_round_like_any_other() {
    let (_directory, report) = report_of(0, &["--fault", "term", "--rounds", "2"]);
    assert_clean(&report, 2);
}

#[test]
fn frozen_active_is_replaced_by_its_lease_and_acknowledges_nothing_afterwards() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("baton.toml");
    std::fs::write(&config, "[tenure]\nlease = \"2s\"\nrenewal = \"200ms\"\n").expect("written");
    let config = config.to_str().expect("UTF-8");
    let arguments = ["--fault", "stop", "--rounds", "2", "--config", config];
    let (_reports, report) = report_of(0, &arguments);
    assert_clean(&report, 2);
    assert_eq!(report["acknowledged_by_deposed"], 0);
    for round in report["rounds"].as_array().expect("rounds") {
        assert_eq!(round["cause"], "lease", "{round:#}");
    }
}

#[test]
fn backlog_is_there_to_the_message_after_a_kill() {
    let arguments = ["--rounds", "1", "--backlog", "3000", "--verify-backlog"];
    let (_directory, report) = report_of(0, &arguments);
    assert_eq!(report["backlog"]["found"], 3000);
    assert_eq!(report["backlog"]["ledger"]["lost"], 0);
    let (_directory, report) = report_of(0, &arguments[..4]);
    assert_eq!(report["backlog"]["found"], 3000);
}

#[test]
fn running_pair_is_drilled_through_its_url_and_its_health_ports() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let addresses = [support::free_address(), support::free_address()];
    let brokers = [0, 1].map(|index| {
        let mut arguments = vec!["--listen", &addresses[index], "--http", "127.0.0.1:0"];
        arguments.extend(support::TENURE);
        let name = ["east", "west"][index];
        support::Broker::start_with(name, &place.path().join("journal"), &arguments)
    });
    let join = |of: fn(&support::Broker) -> String| brokers.each_ref().map(of).join(",");
    let url = format!("failover:({})", addresses.join(","));
    let (status, pids) = (
        join(support::Broker::http),
        join(|broker| broker.pid().to_string()),
    );
    let arguments = [
        "--url",
        &url,
        "--status",
        &status,
        "--pid",
        &pids,
        "--fault",
        "stop,none,stop",
        "--rounds",
        "3",
    ];
    let (_directory, report) = report_of(0, &arguments);
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["setup"]["url"], url.as_str());
    assert!(
        report["rounds"][0]["acknowledged_us"].is_u64(),
        "{report:#}"
    );
    assert!(
        report["rounds"][1]["acknowledged_us"].is_null(),
        "nothing was struck in round 2"
    );
    assert_eq!(
        report["rounds"][0]["victim"],
        report["rounds"][2]["successor"]
    );
    assert_eq!(
        report["rounds"][0]["successor"],
        report["rounds"][2]["victim"]
    );
}

#[test]
fn fault_that_must_not_end_in_a_takeover_is_held_to_that() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let addresses = [support::free_address(), support::free_address()];
    let brokers = [0, 1].map(|index| {
        let mut arguments = vec!["--listen", &addresses[index], "--http", "127.0.0.1:0"];
        arguments.extend(support::TENURE);
        let name = ["north", "south"][index];
        support::Broker::start_with(name, &place.path().join("journal"), &arguments)
    });
    let url = format!("failover:({})", addresses.join(","));
    let status = brokers.each_ref().map(support::Broker::http).join(",");
    let pause =
        "kill -STOP $BATON_ACTIVE_PID; date +%s.%3N; sleep 0.2; kill -CONT $BATON_ACTIVE_PID";
    let arguments = |command| {
        [
            "--url",
            &url,
            "--status",
            &status,
            "--rounds",
            "1",
            "--timeout",
            "15s",
            "--expect",
            "stay",
            "--fault-command",
            command,
        ]
        .map(str::to_owned)
    };
    let run = |code, command| {
        let arguments = arguments(command);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        report_of(code, &arguments)
    };
    let (_directory, report) = run(0, pause);
    let round = &report["rounds"][0];
    assert_eq!(round["has_stayed"], true, "{round:#}");
    assert_eq!(round["victim"], round["successor"]);
    assert_eq!(round["epoch_before"], round["epoch_after"]);
    assert!(round["silence_us"].as_u64() > Some(150_000), "{round:#}");
    let (_directory, report) = run(2, "kill -KILL $BATON_ACTIVE_PID");
    assert_eq!(report["passed"], false, "{report:#}");
}

#[test]
fn broker_that_loses_the_role_and_gets_it_again_itself_is_its_own_successor() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let addresses = [support::free_address(), support::free_address()];
    let [active, standby] = [0, 1].map(|index| {
        let mut arguments = vec!["--listen", &addresses[index], "--http", "127.0.0.1:0"];
        arguments.extend(support::TENURE);
        let name = ["up", "down"][index];
        let broker = support::Broker::start_with(name, &place.path().join("journal"), &arguments);
        broker.wait_for_role(["active", "standby"][index]);
        broker
    });
    let url = format!("failover:({})", addresses.join(","));
    let status = [active.http(), standby.http()].join(",");
    let mark = active.mark();
    // Both hosts are frozen past the lease, and the standby's longer.
    let freeze = format!(
        "kill -STOP {} {}; date +%s.%3N; sleep 3; kill -CONT {}",
        standby.pid(),
        active.pid(),
        active.pid()
    );
    let (_directory, report) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let role = active.wait_for_line(mark, "role active epoch 2");
            standby.signal(Signal::SIGCONT);
            role
        });
        report_of(
            0,
            &[
                "--url",
                &url,
                "--status",
                &status,
                "--rounds",
                "1",
                "--timeout",
                "30s",
                "--expect",
                "either",
                "--fault-command",
                &freeze,
            ],
        )
    });
    let round = &report["rounds"][0];
    assert_eq!(round["has_stayed"], false, "{round:#}");
    assert_eq!(round["victim"], round["successor"], "{round:#}");
    assert_eq!(round["epoch_before"], 1, "{round:#}");
    assert_eq!(round["epoch_after"], 2, "{round:#}");
    let took = round["acknowledged_us"].as_u64().expect("served again");
    assert!(took > 3_000_000, "{round:#}");
    assert!(round["ports_open_us"].as_u64() <= Some(took), "{round:#}");
}

#[test]
fn message_hidden_from_the_ledger_fails_the_verdict() {
    let (directory, report) = report_of(2, &["--rounds", "1", "--sabotage", "lose"]);
    assert_eq!(report["passed"], false);
    assert_eq!(report["ledger"]["lost"], 1);
    let junit = std::fs::read_to_string(directory.path().join("junit.xml")).expect("JUnit");
    assert!(junit.contains("failures=\"1\""), "{junit}");
}

#[test]
fn unflagged_duplicate_fails_the_verdict() {
    let (_directory, report) = report_of(2, &["--rounds", "1", "--sabotage", "duplicate"]);
    assert_eq!(report["ledger"]["redelivered_unflagged"], 1);
}

#[test]
fn fault_that_did_not_happen_fails_the_verdict() {
    let (_directory, report) = report_of(2, &["--rounds", "1", "--sabotage", "skip-fault"]);
    let failures = report["failures"].to_string();
    assert!(failures.contains("the fault did not happen"), "{failures}");
    assert_eq!(report["ledger"]["lost"], 0);
}

#[test]
fn drill_that_cannot_run_exits_with_1_and_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = drill(directory.path(), &["--executable", "/nonexistent/baton"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot start broker `a`"), "{errors}");
    assert!(errors.contains("/nonexistent/baton"), "{errors}");
}

/// Processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("there is a process table");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}

fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn interrupted_drill_leaves_no_broker_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut running = support::baton()
        .args(["drill", "--rounds", "1000", "--report"])
        .arg(directory.path())
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the built program starts");
    let mut children = Vec::new();
    wait_until("two brokers", || {
        children = children_of(running.id());
        children.len() == 2
    });
    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT).expect("it runs");
    let status = running.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("the directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("baton-drill-"))
        .collect();
    assert!(left.is_empty(), "the journal stayed behind in {left:?}");
    wait_until("the end of the brokers", || {
        children.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        })
    });
}
