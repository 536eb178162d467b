//! A broker and its configuration, from outside: what it refuses, and how it says so.

mod support;

use std::fs;

use support::{Broker, baton, run, run_command};

fn refused(config: &str, flags: &[&str]) -> String {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("baton.toml");
    fs::write(&path, config).expect("written");
    let path = path.to_str().expect("UTF-8");
    let mut arguments = vec!["broker", "--config", path];
    arguments.extend(flags);
    let finished = run(&arguments);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert_eq!(finished.stdout, "", "standard output is for machines");
    finished.stderr.replace(path, "baton.toml")
}

#[test]
fn every_fault_is_named_with_file_line_key_value_and_remedy() {
    let text = refused(
        "[tenure]\nlease = \"ten\"\nrenewal = \"4s\"\nlok_poll = 5\n\n[http]\nlisten = 8161\n",
        &["--listen", "ssl://127.0.0.1:61617"],
    );
    assert_eq!(
        text,
        "\
baton: the configuration has 5 faults:
  baton.toml:2: `tenure.lease = \"ten\"`: expected a time with a unit (ms, s, min, h, d), like \"10s\" or \"500ms\"; a plain number is milliseconds
  baton.toml:3: `tenure.renewal = \"4s\"`: must be less than half of `tenure.lease` (\"5s\", default), so that one slow renewal does not end the tenure
  baton.toml:4: `tenure.lok_poll`: no such key; did you mean `lock_poll`?
  baton.toml:7: `http.listen = 8161`: expected `host:port`, like \"127.0.0.1:8161\" or \"[::1]:0\"
  --listen: `listeners.openwire = [\"ssl://127.0.0.1:61617\"]`: expected `tcp://host:port` without options, like \"tcp://127.0.0.1:61616\"
"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let finished = run(&["broker", "--config", "/nonexistent/baton.toml"]);
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(
        finished.stderr,
        "baton: cannot read the configuration file `/nonexistent/baton.toml`: No such file or directory (os error 2): check the path and its permissions\n"
    );
}

#[test]
fn a_fault_in_an_environment_variable_names_its_flag() {
    let finished = run_command(baton().arg("broker").env("BATON_HTTP", "everywhere"));
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished
            .stderr
            .contains("--http: `http.listen = \"everywhere\"`"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_set_flag_reaches_every_key() {
    let text = refused("", &["--set", "journal.segment_size=1"]);
    assert!(
        text.contains("--set journal.segment_size: `journal.segment_size = \"1\"`: must be from"),
        "{text}"
    );
    let finished = run(&["broker", "--set", "journal.segment_size"]);
    assert_eq!(
        finished.status.code(),
        Some(2),
        "that is a wrong command line"
    );
}

#[test]
fn an_address_of_another_host_is_refused_before_any_takeover() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let finished = run(&[
        "broker",
        "--directory",
        directory.to_str().expect("UTF-8"),
        "--http",
        "127.0.0.1:0",
        "--listen",
        "tcp://192.0.2.1:61616",
    ]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains("cannot listen on `tcp://192.0.2.1:61616`"),
        "{}",
        finished.stderr
    );
    assert!(
        !finished.stdout.contains("role active"),
        "{}",
        finished.stdout
    );
}

#[test]
fn a_health_port_in_use_is_a_start_up_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let finished = run(&["broker", "--http", &address]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished
            .stderr
            .contains(&format!("cannot open the health port `{address}`")),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_journal_directory_that_is_a_file_is_a_start_up_error() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("file");
    fs::write(&file, "not a directory").expect("written");
    let mut broker = Broker::start("a", &file, &[]);
    assert_eq!(broker.wait_for_exit().code(), Some(1), "{}", broker.log());
    assert!(
        broker.log().contains("cannot use the journal directory"),
        "{}",
        broker.log()
    );
}

#[test]
fn the_example_configuration_starts_a_broker() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/baton.toml");
    let broker = Broker::start("a", &directory, &["--config", example]);
    broker.wait_for_role("active");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let mut broker = Broker::start("a", &directory, &["--log-format", "json"]);
    broker.wait_for_role("active");
    broker.kill();
    let log = broker.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(event["fields"]["message"].is_string(), "{line}");
    }
}

#[test]
fn a_latency_profile_that_is_none_is_refused_with_the_names_there_are() {
    let text = refused("", &["--profile", "efs-regionel"]);
    assert!(
        text.contains("--profile: `storage.profile = \"efs-regionel\"`: no such profile; did you mean `efs-regional`?; there are local-nvme,"),
        "{text}"
    );
}

#[test]
fn a_broker_with_a_latency_profile_says_so_in_log_and_status() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let broker = Broker::start("a", &directory, &["--profile", "efs-regional"]);
    broker.wait_for_role("active");
    assert_eq!(broker.status()["storage_profile"], "efs-regional");
    assert!(
        broker
            .log()
            .contains("A latency profile slows the journal directory down"),
        "{}",
        broker.log()
    );
}

#[test]
fn every_latency_profile_is_shown_with_its_sources() {
    let finished = run(&["storage", "profiles", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(10));
    for profile in all.as_array().into_iter().flatten() {
        let write = &profile["operations"]["write"];
        assert!(write["mean_us"].as_f64() > write["quantiles_us"]["p10"].as_f64());
        assert!(write["source"].is_string(), "{profile}");
    }
    let one = run(&["storage", "profiles", "efs-regional"]);
    assert!(one.stdout.contains("as low as 2.7 ms"), "{}", one.stdout);
    assert_eq!(run(&["storage", "profiles", "efs"]).status.code(), Some(1));
}
