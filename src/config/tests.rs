use std::path::Path;

use super::*;
use crate::broker::policy::{DeadLetterKind, PendingLimit};
use ::openwire::Destination;
use ::storage::latency::Operation;

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, Vec::new())
}

fn load_with(text: &str, overrides: Vec<Override>) -> Result<Config, ConfigError> {
    let mut source = Source::default();
    source.add_file(Path::new("baton.toml"), text);
    for given in overrides {
        source.add_override(given);
    }
    Config::from_source(source).0
}

/// Equal in all sections, wherever the values come from.
fn assert_same(one: &Config, other: &Config) {
    assert_eq!(one.broker, other.broker);
    assert_eq!(one.tenure, other.tenure);
    assert_eq!(one.journal, other.journal);
    assert_eq!(one.storage, other.storage);
    assert_eq!(one.listeners, other.listeners);
    assert_eq!(one.openwire, other.openwire);
    assert_eq!(one.limits, other.limits);
    assert_eq!(one.policies, other.policies);
    assert_eq!(
        format!("{:?}", one.security.access(&one.broker.behaviour)),
        format!("{:?}", other.security.access(&other.broker.behaviour))
    );
    assert_eq!(
        format!("{:?}", one.interceptors),
        format!("{:?}", other.interceptors)
    );
    assert_eq!(format!("{:?}", one.plugins), format!("{:?}", other.plugins));
    assert_eq!(one.http, other.http);
    assert_eq!(one.log, other.log);
    assert_eq!(one.notes, other.notes);
}

fn complaint(text: &str) -> String {
    load(text)
        .expect_err("the configuration is wrong")
        .to_string()
}

#[test]
fn nothing_given_means_the_defaults() {
    for text in ["", "[tenure]\n"] {
        assert_same(
            &load(text).expect("nothing in it is fine"),
            &Config::default(),
        );
    }
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = "[broker]\nname = \"from-file\"\nmessage_memory = \"8mb\"\n";
    let flag = Override::text("broker.name", "from-flag", "--name");
    let config = load_with(file, vec![flag]).expect("valid");
    assert_eq!(config.broker.name.value, "from-flag");
    assert_eq!(config.broker.message_memory.value, Size::mib(8));
    assert_eq!(config.tenure, Tenure::new());
}

#[test]
fn a_set_flag_takes_toml_and_bare_words() {
    for (assignment, key, value) in [
        (
            "tenure.lease=2s",
            "tenure.lease",
            Raw::Text("2s".to_owned()),
        ),
        (
            "tenure.lease = \"2s\"",
            "tenure.lease",
            Raw::Text("2s".to_owned()),
        ),
        (
            "journal.preallocate=false",
            "journal.preallocate",
            Raw::Boolean(false),
        ),
        ("tenure.lock_poll=20", "tenure.lock_poll", Raw::Integer(20)),
    ] {
        let given = Override::parse(assignment).expect("an assignment");
        assert_eq!(
            (given.key.as_str(), given.value),
            (key, value),
            "{assignment}"
        );
    }
    assert_eq!(Override::parse("tenure.lease"), None);
}

#[test]
fn all_faults_are_listed_with_line_key_value_and_advice() {
    let text = r#"
[broker]
name = "two words"
directroy = "/data"

[tenure]
lease = "ten"
takeover = "never"

[listeners]
openwire = ["tcp://127.0.0.1:8161", "ssl://a:1"]

[htpp]
listen = "127.0.0.1:1"
"#;
    assert_eq!(
        complaint(text),
        "\
the configuration has 6 faults:
  baton.toml:3: `broker.name = \"two words\"`: use 1 to 64 letters, digits, dots, hyphens or underscores
  baton.toml:4: `broker.directroy`: no such key; did you mean `directory`?
  baton.toml:7: `tenure.lease = \"ten\"`: expected a time with a unit (ms, s, min, h, d), like \"10s\" or \"500ms\"; a plain number is milliseconds
  baton.toml:8: `tenure.takeover = \"never\"`: expected \"lock\" or \"lock_or_lease\"
  baton.toml:11: `listeners.openwire = [\"tcp://127.0.0.1:8161\", \"ssl://a:1\"]`: expected `tcp://host:port` without options, like \"tcp://127.0.0.1:61616\"
  baton.toml:14: `htpp.listen`: no such section; there are broker, tenure, journal, storage, encryption, listeners, openwire, limits, security, policy, virtual_topic, composite_queue, composite_topic, mirrored_queue, destination_path_separator, statistics, time_stamping, force_persistency_mode, redelivery, discarding_dlq, http, log"
    );
}

#[test]
fn a_rule_over_two_keys_names_both_places() {
    assert_eq!(
        complaint("[tenure]\nrenewal = \"1s\"\nlease = \"2s\"\n"),
        "\
the configuration has a fault:
  baton.toml:2: `tenure.renewal = \"1s\"`: must be less than half of `tenure.lease` (\"2s\", baton.toml:3), so that one slow renewal does not end the tenure"
    );
}

#[test]
fn ports_must_differ_unless_the_system_chooses_them() {
    let same = "[http]\nlisten = \"127.0.0.1:1\"\n[listeners]\nopenwire = \"tcp://0.0.0.0:1\"\n";
    assert!(
        complaint(same).contains("`http.listen` uses this port already"),
        "{same}"
    );
    let free = "[http]\nlisten = \"127.0.0.1:0\"\n[listeners]\nopenwire = \"tcp://127.0.0.1:0\"\n";
    load(free).expect("port 0 is a different port each time");
}

#[test]
fn numbers_out_of_bounds_are_refused_with_the_bounds() {
    for (text, bounds) in [
        (
            "[tenure]\nlease = 100\nrenewal = 20\n",
            "must be from 200ms to 10min",
        ),
        (
            "[tenure]\nclock_drift_permille = 501\n",
            "must be from 0 to 500",
        ),
        (
            "[journal]\nsegment_size = \"3gb\"\n",
            "must be from 1mb to 2gb",
        ),
        (
            "[openwire]\nmax_inactivity = 1\n",
            "must be from 500ms to 1d",
        ),
        (
            "[listeners]\npeers = \"tcp://0.0.0.0:61616\"\n",
            "clients cannot connect to it",
        ),
    ] {
        assert!(
            complaint(text).contains(bounds),
            "{text}: {}",
            complaint(text)
        );
    }
}

#[test]
fn broken_toml_names_every_broken_line() {
    let text = complaint("[tenure]\nlease = \nrenewal = 1s\n");
    assert!(text.contains("baton.toml:2: not valid TOML"), "{text}");
    assert!(text.contains("baton.toml:3: not valid TOML"), "{text}");
}

#[test]
fn keys_outside_of_a_section_are_pointed_at() {
    let text = complaint("lease = \"2s\"\n");
    assert!(
        text.contains("baton.toml:1: `lease`: keys belong in a section"),
        "{text}"
    );
}

#[test]
fn odd_types_are_refused_and_shown() {
    for (text, shown) in [
        ("[tenure]\nlease = 1.5\n", "`tenure.lease = 1.5`"),
        ("[tenure]\nlease = -1\n", "`tenure.lease = -1`"),
        (
            "[tenure]\nlease = 99999999999999999999\n",
            "`tenure.lease = 99999999999999999999`",
        ),
        (
            "[tenure]\nlease = { s = 1 }\n",
            "`tenure.lease = { s = 1 }`",
        ),
        (
            "[broker]\nprioritized_messages = \"yes\"\n",
            "expected true or false",
        ),
        ("[log]\nfilter = \"info,=x=\"\n", "write levels like"),
    ] {
        assert!(
            complaint(text).contains(shown),
            "{text}: {}",
            complaint(text)
        );
    }
}

#[test]
fn the_example_names_every_key_with_its_default() {
    let text = example();
    let mut source = Source::default();
    source.add_file(Path::new("examples/baton.toml"), &text);
    let given = source.given_keys();
    let (config, mut keys) = Config::from_source(source);
    let config = config.expect("the example is valid");

    keys.sort();
    // What depends on the host stands there as a comment.
    keys.retain(|key| {
        !["broker.name", "limits.temp_directory"].contains(&key.as_str()) && !is_of_a_table(key)
    });
    assert_eq!(given, keys);
    for comment in ["\n# name = ", "\n# temp_directory = "] {
        assert!(text.contains(comment), "{comment}");
    }
    assert_same(&config, &Config::default());
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/baton.toml");
    std::fs::read_to_string(path).expect("the example is there")
}

/// Keys of what may be there any number of times, and the names of those tables.
fn is_of_a_table(key: &str) -> bool {
    let is_secured = [
        "security.user",
        "security.authorization",
        "security.temporary",
        "storage.profiles",
    ];
    if is_secured
        .iter()
        .any(|table| key.starts_with(table) && key != "security.authorization_required")
    {
        return true;
    }
    [
        "policy",
        "virtual_topic",
        "composite_queue",
        "composite_topic",
        "mirrored_queue",
        "destination_path_separator",
        "time_stamping",
        "force_persistency_mode",
        "redelivery",
        "discarding_dlq",
        "statistics",
    ]
    .contains(&key.split('.').next().unwrap_or_default())
}

#[test]
fn the_example_shows_every_key_of_what_it_has_switched_off() {
    let text = example();
    let switched_on: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let switched_on = switched_on.join("\n");
    for (kind, others) in [
        ("individual", vec!["shared", "discarding"]),
        ("abort_slow_ack", vec!["abort_slow"]),
        ("constant", vec!["prefetch_rate"]),
        ("unique_property", vec!["oldest"]),
        (
            "fixed_sized",
            vec!["fixed_count", "timed", "last_image", "no"],
        ),
    ] {
        // Each kind has keys of its own, and refuses those of the others.
        for other in others {
            let from = format!("kind = \"{kind}\"");
            assert!(switched_on.contains(&from), "{from}");
            let changed = switched_on.replace(&from, &format!("kind = \"{other}\""));
            if let Err(error) = load(&changed) {
                assert!(error.to_string().contains("no such key"), "{error}");
            }
        }
    }
    let shown = |key: &str| {
        let name = key.rsplit('.').next().unwrap_or_default();
        let start = format!("{name} = ");
        let table = format!("[{key}]");
        switched_on
            .lines()
            .any(|line| line.starts_with(&start) || line.trim_matches(['[', ']']) == key)
            || switched_on.contains(&table)
    };
    for key in table_keys(&switched_on) {
        assert!(shown(&key), "examples/baton.toml does not show `{key}`");
    }
}

/// Every key that a table can have, over all kinds of it.
fn table_keys(switched_on: &str) -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["individual", "shared"] {
        for limit in ["constant", "prefetch_rate"] {
            for recovery in ["fixed_sized", "timed"] {
                let text = switched_on
                    .replace("kind = \"individual\"", &format!("kind = \"{kind}\""))
                    .replace("kind = \"constant\"", &format!("kind = \"{limit}\""))
                    .replace("kind = \"fixed_sized\"", &format!("kind = \"{recovery}\""));
                let mut source = Source::default();
                source.add_file(Path::new("example"), &text);
                all.extend(Config::from_source(source).1);
            }
        }
    }
    // That is the parent of the sections, one for each profile.
    all.retain(|key| is_of_a_table(key) && key != "storage.profiles");
    all.sort();
    all.dedup();
    assert!(all.len() > 50, "{all:?}");
    all
}

#[test]
fn a_policy_is_read_with_its_strategies() {
    let text = r#"
[broker]
prioritized_messages = true

[[policy]]
destination = ["queue://A.>", "topic://B"]
queue_prefetch = 7
memory_limit = "1 mb"
expire_messages_period = 500
dead_letter_strategy = { kind = "individual", queue_prefix = "DLQ.", process_expired = false }

[policy.pending_message_limit_strategy]
kind = "prefetch_rate"
multiplier = 2.5

[[policy]]
queue_prefetch = 9
"#;
    let config = load(text).expect("valid");
    let policies = config.policies.policies(&config.base_policy());
    let policy = policies.of(&Destination::queue("A.B"));
    assert_eq!(policy.queue_prefetch, 7);
    assert_eq!(policy.memory_limit_bytes, 1 << 20);
    assert_eq!(policy.expire_messages_period.as_millis(), 500);
    assert!(policy.prioritized_messages, "what holds for all is kept");
    assert!(!policy.dead_letter.process_expired);
    let DeadLetterKind::Individual { queue_prefix, .. } = &policy.dead_letter.kind else {
        panic!("{:?}", policy.dead_letter);
    };
    assert_eq!(queue_prefix, "DLQ.");
    assert_eq!(policy.pending_limit, Some(PendingLimit::PrefetchRate(2.5)));
    let topic = policies.of(&Destination::topic("B"));
    assert_eq!(topic, policy);
    let other = policies.of(&Destination::queue("C"));
    assert_eq!(other.queue_prefetch, 9, "the entry without a destination");
}

#[test]
fn faults_of_a_policy_name_line_and_key() {
    let text = r#"[[policy]]
destination = "stomp://A"
queuePrefetch = 7
memory_limit = "much"
[policy.dead_letter_strategy]
kind = "own"
"#;
    let complaint = complaint(text);
    for expected in [
        "baton.toml:2: `policy.destination = \"stomp://A\"`: `stomp://A` is no destination pattern",
        "baton.toml:3: `policy.queuePrefetch`: no such key; did you mean `queue_prefetch`?",
        "baton.toml:4: `policy.memory_limit = \"much\"`: expected a size",
        "baton.toml:6: `policy.dead_letter_strategy.kind = \"own\"`: no such kind; there are shared,",
    ] {
        assert!(complaint.contains(expected), "{expected}\n{complaint}");
    }
}

#[test]
fn a_latency_profile_is_known_by_name_and_may_be_changed() {
    let config = load("[storage]\nprofile = \"efs-regional\"\n").expect("valid");
    let profile = config.storage.latency().expect("a profile");
    assert_eq!(profile.name, "efs-regional");

    let text = "[storage]\nprofile = \"nas\"\n[storage.profiles.nas]\nlike = \"efs-regional\"\niops = 100\n\
                bytes_per_second = 0\n[storage.profiles.nas.write]\np50 = \"5.4ms\"\np99_9 = \"1s\"\n";
    let config = load(text).expect("valid");
    let profile = config.storage.latency().expect("a profile");
    let write = profile.cost(Operation::Write);
    let points = write.latency.points().map(|time| time.as_micros());
    assert_eq!(points[2], 5_400);
    assert_eq!(points[5], 30_000, "as far from the median as it was");
    assert_eq!(points[6], 1_000_000);
    assert_eq!(write.source, "your configuration");
    assert_eq!(profile.iops.as_ref().map(|cap| cap.rate), Some(100.0));
    assert_eq!(profile.bytes, None);
    assert!(Config::default().storage.latency().is_none());
}

#[test]
fn a_wrong_latency_profile_is_a_fault_that_names_what_there_is() {
    let text = complaint("[storage]\nprofile = \"efs-regonal\"\n");
    assert!(
        text.contains("baton.toml:2: `storage.profile = \"efs-regonal\"`: no such profile; did you mean `efs-regional`?; there are local-nvme, "),
        "{text}"
    );
    for (line, expected) in [
        (
            "like = \"efs\"",
            "`storage.profiles.nas.like = \"efs\"`: name the profile that it starts from, one of local-nvme",
        ),
        (
            "like = \"ebs-gp3\"\nwrite = { p50 = \"2ms\", p90 = \"1ms\" }",
            "`storage.profiles.nas.write.p90`: `p90` is shorter than `p50`",
        ),
        (
            "like = \"ebs-gp3\"\nwrite = { p50 = 2 }",
            "`storage.profiles.nas.write.p50 = 2`: expected a time from 1us to 60s",
        ),
        (
            "like = \"ebs-gp3\"\nwrite = { p5 = \"2ms\" }",
            "`storage.profiles.nas.write.p5`: no such key; did you mean `p50`?",
        ),
        (
            "like = \"ebs-gp3\"\niosp = 3",
            "`storage.profiles.nas.iosp`: no such key; did you mean `iops`?",
        ),
        (
            "like = \"ebs-gp3\"\niops = -1",
            "expected a number, 0 for no limit",
        ),
        ("like = \"ebs-gp3\"\nio_size = 1", "must be from 4kb to 4gb"),
        (
            "like = \"ebs-gp3\"\nopen = { round_trips = 1000 }",
            "must be from 0 to 100",
        ),
    ] {
        let text = complaint(&format!("[storage.profiles.nas]\n{line}\n"));
        assert!(text.contains(expected), "{line}: {text}");
    }
}
