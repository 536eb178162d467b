//! The pair from outside: roles, ports, takeovers, switchovers, fencing.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Broker, Pair, TENURE, eventually, free_address, is_refused, run};

#[test]
fn exactly_one_is_active_and_the_standbys_messaging_ports_are_closed() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let (first, second) = (free_address(), free_address());
    let http = ["--http", "127.0.0.1:0"];
    let start = |name, listen: &str| {
        let arguments = [&["--listen", listen], http.as_slice()].concat();
        Broker::start_with(name, &directory, &arguments)
    };
    let active = start("a", &first);
    active.wait_for_role("active");
    let standby = start("b", &second);
    standby.wait_for_role("standby");

    assert!(!is_refused(&first), "the active serves");
    assert!(is_refused(&second), "the standby refuses");
    assert_eq!(active.get("/active").expect("an answer").0, 200);
    assert_eq!(standby.get("/active").expect("an answer").0, 503);
    assert_eq!(active.get("/health").expect("an answer").0, 200);
    assert_eq!(standby.get("/health").expect("an answer").0, 200);

    let status = active.status();
    assert_eq!(status["name"], "a");
    assert_eq!(status["role"], "active");
    assert_eq!(status["pid"], active.pid());
    assert_eq!(status["listeners"], serde_json::json!([first]));
    assert!(status["behind"].is_null());
    assert!(status["epoch"].as_u64().expect("a number") >= 1);
    let status = standby.status();
    assert_eq!(status["role"], "standby");
    assert_eq!(status["listeners"], serde_json::json!([]));
    assert!(status["behind"]["bytes"].is_u64(), "{status}");
    assert!(status["broker"].is_null());
    // The standby learns of the holder when it next looks at the lease.
    eventually("the standby knows who holds the lock", || {
        let status = standby.status();
        status["lock"]["holder"]
            .as_str()
            .filter(|holder| holder.contains('a'))
            .map(drop)
    });
}

#[test]
fn kill_after_kill_the_other_broker_takes_over() {
    let mut pair = Pair::start(&TENURE);
    let mut epoch = 0;
    for round in 0..6 {
        let (active, standby) = pair.by_role_mut();
        let now = active.status()["epoch"].as_u64().expect("a number");
        assert!(now > epoch, "round {round}: epoch {now} after {epoch}");
        epoch = now;
        let mark = standby.mark();
        active.kill();
        standby.wait_for_line(mark, "role taking_over");
        standby.wait_for_line(mark, "listening tcp://");
        standby.wait_for_line(mark, "role active");
        assert!(!is_refused(&standby.address()), "round {round}");
        let name = active.name.clone();
        pair.restart(&name);
        pair.wait_until_complete();
    }
}

#[test]
fn a_killed_active_is_replaced_through_its_lock_and_not_its_lease() {
    let slow_lease = ["--set", "tenure.lease=5min"];
    let mut pair = Pair::start(&slow_lease);
    let (active, standby) = pair.by_role_mut();
    let mark = standby.mark();
    active.kill();
    let line = standby.wait_for_line(mark, "role taking_over");
    assert!(line.ends_with(" cause=lock"), "{line}");
    standby.wait_for_role("active");
}

#[test]
fn sigterm_is_a_switchover_with_exit_code_0() {
    let slow_lease = ["--set", "tenure.lease=5min"];
    let mut pair = Pair::start(&slow_lease);
    let (active, standby) = pair.by_role_mut();
    let address = active.address();
    active.signal(Signal::SIGTERM);
    assert_eq!(active.wait_for_exit().code(), Some(0), "{}", active.log());
    active.wait_for_line(0, "role stopping");
    assert!(is_refused(&address));
    standby.wait_for_role("active");
    let transitions = &standby.status()["transitions"];
    assert_eq!(transitions["counts"]["active"], 1, "{transitions}");
    let recent = transitions["recent"].as_array().expect("a list");
    let last = recent.last().expect("a change");
    assert_eq!(
        (&last["from"], &last["to"]),
        (&"taking_over".into(), &"active".into())
    );
}

#[test]
fn a_standby_that_is_stopped_leaves_the_active_alone() {
    let mut pair = Pair::start(&TENURE);
    let (active, standby) = pair.by_role_mut();
    let mark = active.mark();
    standby.signal(Signal::SIGINT);
    assert_eq!(standby.wait_for_exit().code(), Some(0), "{}", standby.log());
    assert_eq!(active.role().as_deref(), Some("active"));
    assert_eq!(active.mark(), mark, "nothing happened to it");
    assert!(!is_refused(&active.address()));
}

/// A client's connection, which has had its first answer; reads are bounded.
fn connect(address: &str) -> TcpStream {
    let authority = address.strip_prefix("tcp://").expect("a tcp address");
    let mut client = TcpStream::connect(authority).expect("the broker accepts");
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let mut first = [0; 1];
    client
        .read_exact(&mut first)
        .expect("the broker greets first");
    client
}

#[test]
fn a_frozen_active_is_replaced_and_fenced_when_it_wakes_up() {
    let mut pair = Pair::start(&TENURE);
    let (old, new) = pair.by_role_mut();
    let old_address = old.address();
    let (old_mark, new_mark) = (old.mark(), new.mark());
    let mut client = connect(&old_address);
    old.signal(Signal::SIGSTOP);
    let line = new.wait_for_line(new_mark, "role taking_over");
    assert!(line.ends_with(" cause=lease"), "{line}");
    new.wait_for_line(new_mark, "role active");

    old.signal(Signal::SIGCONT);
    old.wait_for_line(old_mark, "role fenced");
    old.wait_for_line(old_mark, "role standby");
    assert!(
        is_refused(&old_address),
        "the fenced broker's port is closed"
    );
    // Its connections end, too: a client must not wait for a broker that will never answer.
    let mut rest = Vec::new();
    if let Err(error) = client.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    assert_eq!(old.get("/active").expect("an answer").0, 503);
    assert_eq!(new.role().as_deref(), Some("active"));
    assert!(!is_refused(&new.address()));
    let counts = &old.status()["transitions"]["counts"];
    assert_eq!(
        (&counts["fenced"], &counts["active"]),
        (&1.into(), &1.into()),
        "{counts}"
    );

    // And it is a full member again: it takes over when the new one goes.
    new.kill();
    old.wait_for_role("active");
}

#[test]
fn takeover_by_lock_only_waits_for_a_frozen_active() {
    let options = [TENURE.as_slice(), &["--set", "tenure.takeover=lock"]].concat();
    let pair = Pair::start(&options);
    let (active, standby) = pair.by_role();
    let mark = standby.mark();
    active.signal(Signal::SIGSTOP);
    // Three leases are more than a lease takeover would have taken.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(standby.mark(), mark, "{:?}", standby.lines());
    active.signal(Signal::SIGKILL);
    standby.wait_for_role("active");
}

#[test]
fn a_port_in_use_at_the_takeover_gives_the_role_to_the_other() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("tcp://{}", taken.local_addr().expect("an address"));
    let mut unlucky = Broker::start_with(
        "a",
        &directory,
        &["--listen", &address, "--http", "127.0.0.1:0"],
    );
    assert_eq!(unlucky.wait_for_exit().code(), Some(1), "{}", unlucky.log());
    assert!(
        unlucky
            .log()
            .contains(&format!("cannot listen on `{address}`")),
        "{}",
        unlucky.log()
    );
    let began = Instant::now();
    let other = Broker::start("b", &directory, &["--set", "tenure.lease=5min"]);
    other.wait_for_role("active");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "the lock was let go"
    );
}

#[test]
fn both_stopped_and_started_again_one_serves() {
    let mut pair = Pair::start(&TENURE);
    let epoch = pair.by_role().0.status()["epoch"]
        .as_u64()
        .expect("a number");
    for broker in [&mut pair.a, &mut pair.b] {
        broker.signal(Signal::SIGTERM);
    }
    assert_eq!(pair.a.wait_for_exit().code(), Some(0));
    assert_eq!(pair.b.wait_for_exit().code(), Some(0));
    pair.restart("a");
    pair.restart("b");
    pair.wait_until_complete();
    let now = pair.by_role().0.status()["epoch"]
        .as_u64()
        .expect("a number");
    assert!(now > epoch, "epoch {now} after {epoch}");
}

#[test]
fn systemd_hears_when_a_broker_is_ready_and_what_its_role_is() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let socket = place.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&socket).expect("a socket");
    systemd
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let hear = |wanted: &str| {
        let mut heard = String::new();
        while !heard.contains(wanted) {
            let mut buffer = [0; 1024];
            let length = systemd.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("{error} after {heard:?}"));
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            heard.push('\n');
        }
        heard
    };
    let broker = Broker::start_in(
        "a",
        &place.path().join("journal"),
        &["--listen", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"],
        &[("NOTIFY_SOCKET", socket.to_str().expect("UTF-8"))],
    );
    let heard = hear("STATUS=active (epoch 1)");
    assert!(heard.contains("READY=1"), "{heard}");
    broker.signal(Signal::SIGTERM);
    hear("STOPPING=1");
}

#[test]
fn a_damaged_journal_ends_the_process_with_75_and_names_the_place() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let address = free_address();
    let arguments = ["--listen", &address, "--http", "127.0.0.1:0"];
    let mut broker = Broker::start_with("a", &directory, &arguments);
    broker.wait_for_role("active");
    for text in ["one", "two", "three"] {
        produce(&address, "orders", &["--text", text, "--count", "1"]);
    }
    broker.kill();

    // A byte in the first message: two more batches behind it show that this is no torn end.
    let segment = directory.join("journal/0000000001-0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    let at = bytes
        .windows(3)
        .position(|window| window == b"one")
        .expect("the body is there");
    bytes[at] ^= 0xff;
    std::fs::write(&segment, bytes).expect("written");

    let mut again = Broker::start_with("a", &directory, &arguments);
    assert_eq!(again.wait_for_exit().code(), Some(75), "{}", again.log());
    assert!(
        again.log().contains("0000000001-0000000001.seg"),
        "{}",
        again.log()
    );
    assert!(
        !again
            .lines()
            .iter()
            .any(|line| line.starts_with("role active"))
    );
}

/// The failover: URL of a pair's two fixed addresses.
fn failover(addresses: &[String; 2]) -> String {
    format!(
        "failover:({},{})?maxReconnectDelay=100",
        addresses[0], addresses[1]
    )
}

fn start_on(place: &tempfile::TempDir, name: &str, address: &str) -> Broker {
    let directory = place.path().join("journal");
    let fixed = ["--listen", address, "--http", "127.0.0.1:0"];
    Broker::start_with(name, &directory, &[fixed.as_slice(), &TENURE].concat())
}

fn produce(url: &str, queue: &str, more: &[&str]) {
    let finished = run(&[&["produce", url, queue], more].concat());
    assert_eq!(
        finished.status.code(),
        Some(0),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}

/// The bodies that a queue holds, in order; it is empty afterwards.
fn consume_all(url: &str, queue: &str) -> Vec<String> {
    let finished = run(&["consume", url, queue, "--wait", "2s", "--print"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn messages_survive_the_stop_of_both_brokers() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let addresses = [free_address(), free_address()];
    let url = failover(&addresses);
    let start = |name, index: usize| start_on(&place, name, &addresses[index]);

    let (mut a, mut b) = (start("a", 0), start("b", 1));
    for number in 0..20 {
        let text = format!("message {number}");
        produce(&url, "orders", &["--text", &text, "--count", "1"]);
    }
    // One by plan, one without: the next start reads everything from the journal.
    a.signal(Signal::SIGTERM);
    a.wait_for_exit();
    b.kill();

    let (_a, _b) = (start("a", 0), start("b", 1));
    let expected: Vec<String> = (0..20).map(|number| format!("message {number}")).collect();
    assert_eq!(consume_all(&url, "orders"), expected);
    assert_eq!(
        consume_all(&url, "orders"),
        Vec::<String>::new(),
        "consumed is consumed"
    );
}

#[test]
fn a_producer_goes_on_through_a_kill_and_a_switchover_and_nothing_is_lost_or_doubled() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let addresses = [free_address(), free_address()];
    let url = failover(&addresses);
    let (mut a, mut b) = (
        start_on(&place, "a", &addresses[0]),
        start_on(&place, "b", &addresses[1]),
    );
    eventually("a pair", || {
        let mut roles = [a.role()?, b.role()?];
        roles.sort();
        (roles == ["active", "standby"]).then_some(())
    });

    let count = 2000;
    let producing = {
        let url = url.clone();
        std::thread::spawn(move || {
            produce(
                &url,
                "orders",
                &["--count", "2000", "--rate", "500", "--producers", "4"],
            );
        })
    };
    for fault in [Signal::SIGKILL, Signal::SIGTERM] {
        let (active, standby, index) = if a.role().as_deref() == Some("active") {
            (&mut a, &b, 0)
        } else {
            (&mut b, &a, 1)
        };
        eventually("some messages arrived", || {
            let queues = active.status()["queues"].clone();
            let pending = queues
                .as_array()?
                .iter()
                .find(|queue| queue["name"] == "orders")?;
            (pending["pending"].as_u64()? > 100).then_some(())
        });
        active.signal(fault);
        active.wait_for_exit();
        standby.wait_for_role("active");
        let name = active.name.clone();
        *active = start_on(&place, &name, &addresses[index]);
        active.wait_for_role("standby");
    }
    producing.join().expect("all was sent");
    let finished = run(&["consume", &url, "orders", "--wait", "2s"]);
    let expected = format!("received {count} messages in ");
    assert!(
        finished.stdout.starts_with(&expected),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}

#[test]
fn a_long_start_tells_how_far_it_is_and_how_long_it_will_take() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let mut first = Broker::start("a", &directory, &[]);
    first.wait_for_role("active");
    let address = first.address();
    let send = |count| {
        let sent = run(&["produce", &address, "q", "--count", count, "--size", "1mb"]);
        assert!(sent.status.success(), "{}", sent.stderr);
    };
    // A checkpoint sets the small first segment free. After that none is worth it for long.
    send("10");
    eventually("the first segment goes", || {
        first.log().contains("Removed a segment").then_some(())
    });
    send("50");
    // Killed: an ordered end would leave a checkpoint and nothing to replay.
    first.kill();

    // 60 MiB at 20 MiB a second.
    let config = place.path().join("slow.toml");
    let text = "[storage]\nprofile = \"slow\"\n[storage.profiles.slow]\nlike = \"local-nvme\"\nbytes_per_second = \"20mb\"\n";
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("a path");
    let second = Broker::start("b", &directory, &["--config", config]);
    let told = eventually("the start tells how long it will take", || {
        let (code, text) = second.get("/health")?;
        (text.contains(" s to go")).then_some((code, text))
    });
    assert_eq!(told.0, 200, "a restart would begin again: {}", told.1);
    assert!(
        told.1.contains("\nrecovery: replays the journal: "),
        "{}",
        told.1
    );
    eventually("the log tells it, too", || {
        second.log().contains("Recovering.").then_some(())
    });
    second.wait_for_role("active");
    let status = second.status();
    assert!(status["health"]["recovery"].is_null(), "{status}");
    assert_eq!(status["queues"][0]["pending"], 60);
}
