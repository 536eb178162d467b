//! A broker with ActiveMQ's own configuration file, from outside.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Broker, run};

const FILE: &str = r#"<beans xmlns="http://www.springframework.org/schema/beans">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="from-xml" useJmx="true">
    <destinationPolicy><policyMap><policyEntries>
      <policyEntry queue="orders.>" queuePrefetch="10" maxPageSize="100"/>
    </policyEntries></policyMap></destinationPolicy>
    <systemUsage><systemUsage>
      <memoryUsage><memoryUsage limit="64 mb"/></memoryUsage>
    </systemUsage></systemUsage>
    <transportConnectors>
      <transportConnector name="openwire" uri="tcp://127.0.0.1:0?maximumConnections=50"/>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:61613"/>
    </transportConnectors>
    PLUGINS
  </broker>
</beans>
"#;

fn file(place: &Path, plugins: &str) -> PathBuf {
    let path = place.join("activemq.xml");
    fs::write(&path, FILE.replace("PLUGINS", plugins)).expect("written");
    path
}

#[test]
fn a_check_shows_what_is_mapped_and_lists_what_is_not_with_its_line() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = file(place.path(), "");
    let path = path.to_str().expect("UTF-8");
    let checked = run(&["config", "check", path]);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    for line in [
        "broker       from-xml",
        "listens on   tcp://127.0.0.1:0",
        "limits       memory 64mb, store all there is, temp 10gb",
        "policy for   queue://orders.>",
        "activemq.xml:2: attribute `useJmx` of <broker>: ",
        "activemq.xml:4: attribute `maxPageSize` of <policyEntry>: ",
        "activemq.xml:11: transport connector `stomp://127.0.0.1:61613`: not mapped",
        "3 things in it have no effect",
    ] {
        assert!(checked.stdout.contains(line), "{line}\n{}", checked.stdout);
    }
    let strict = run(&["config", "check", path, "--strict"]);
    assert_eq!(strict.status.code(), Some(1), "{}", strict.stdout);
}

#[test]
fn a_check_of_a_toml_file_says_that_all_of_it_counts() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/baton.toml");
    let checked = run(&["config", "check", example, "--strict"]);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert!(
        checked.stdout.contains("Everything in it has an effect."),
        "{}",
        checked.stdout
    );
}

#[test]
fn a_broker_starts_from_it_flags_win_and_what_has_no_effect_is_warned_of() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = file(place.path(), "");
    let directory = place.path().join("journal");
    let flags = ["--config", path.to_str().expect("UTF-8")];
    let broker = Broker::start("from-flag", &directory, &flags);
    broker.wait_for_role("active");
    assert_eq!(broker.status()["name"], "from-flag");
    let log = broker.log();
    assert!(log.contains("activemq.xml:2"), "{log}");
    assert!(
        log.contains("attribute `useJmx` of <broker>: has no effect"),
        "{log}"
    );
}

#[test]
fn protection_that_cannot_be_given_stops_the_start_unless_it_is_waived() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let plugin = "<plugins><jaasAuthenticationPlugin configuration=\"activemq\"/></plugins>";
    let path = file(place.path(), plugin);
    let path = path.to_str().expect("UTF-8");
    let refused = run(&["broker", "--config", path]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = "activemq.xml:13: `<jaasAuthenticationPlugin>`: it keeps people out";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);

    let waiver = [
        "--config",
        path,
        "--set",
        "security.ignore_unsupported=true",
    ];
    let broker = Broker::start("a", &place.path().join("journal"), &waiver);
    broker.wait_for_role("active");
    assert!(broker.log().contains("NOT IN FORCE"), "{}", broker.log());
}
