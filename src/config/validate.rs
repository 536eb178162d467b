//! The rules that a value, or several together, must keep. All of them are checked.

use crate::broker::policy::DestinationPattern;

use super::address::HostPort;
use super::fault::Fault;
use super::setting::{Origin, Setting};
use super::{Config, Size, Time};

/// Every rule that `config` breaks.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    names(config, &mut faults);
    bounds(config, &mut faults);
    destinations(config, &mut faults);
    tenure(config, &mut faults);
    encryption(config, &mut faults);
    addresses(config, &mut faults);
    log(config, &mut faults);
    faults.0
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: &str, origin: &Origin, value: String, advice: impl Into<String>) {
        let origin = origin.clone();
        self.0.push(Fault {
            origin,
            key: key.to_owned(),
            value,
            advice: advice.into(),
        });
    }

    fn time(&mut self, key: &str, setting: &Setting<Time>, least: Time, most: Time) {
        if setting.value < least || setting.value > most {
            let value = format!("\"{}\"", setting.value);
            self.add(
                key,
                &setting.origin,
                value,
                format!("must be from {least} to {most}"),
            );
        }
    }

    fn size(&mut self, key: &str, setting: &Setting<Size>, least: Size, most: Size) {
        if setting.value < least || setting.value > most {
            let value = format!("\"{}\"", setting.value);
            self.add(
                key,
                &setting.origin,
                value,
                format!("must be from {least} to {most}"),
            );
        }
    }
}

fn names(config: &Config, faults: &mut Faults) {
    let name = &config.broker.name;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(is_plain) {
        let advice = "use 1 to 64 letters, digits, dots, hyphens or underscores";
        faults.add(
            "broker.name",
            &name.origin,
            format!("{:?}", name.value),
            advice,
        );
    }
}

/// Destinations that are there from the start must be plain names.
fn destinations(config: &Config, faults: &mut Faults) {
    let given = &config.broker.destinations;
    for name in &given.value {
        let advice = match DestinationPattern::parse(name) {
            Err(error) => error.to_string(),
            Ok(pattern) if pattern.has_wildcard() => "name one, without wildcards".to_owned(),
            Ok(pattern) if pattern.kind().is_temporary() => {
                "temporary destinations are made by clients".to_owned()
            }
            Ok(_) => continue,
        };
        let value = format!("{name:?}");
        faults.add("broker.destinations", &given.origin, value, advice);
    }
}

fn bounds(config: &Config, faults: &mut Faults) {
    let broker = &config.broker;
    faults.size(
        "broker.message_memory",
        &broker.message_memory,
        Size::mib(1),
        Size::mib(1 << 20),
    );
    let hour = Time::ms(3_600_000);
    faults.time(
        "broker.expiry_interval",
        &broker.expiry_interval,
        Time::ms(100),
        hour,
    );
    let (least, most) = (Time::ms(60_000), Time::ms(365 * 86_400_000));
    faults.time(
        "broker.producer_retention",
        &broker.producer_retention,
        least,
        most,
    );
    let journal = &config.journal;
    faults.size(
        "journal.segment_size",
        &journal.segment_size,
        Size::mib(1),
        Size::mib(2048),
    );
    let checkpoint = &journal.checkpoint_every;
    faults.size(
        "journal.checkpoint_every",
        checkpoint,
        Size::mib(1),
        Size::mib(1 << 20),
    );
    let in_flight = &journal.in_flight;
    if !(1..=64).contains(&in_flight.value) {
        let advice = "must be from 1 to 64";
        faults.add(
            "journal.in_flight",
            &in_flight.origin,
            in_flight.value.to_string(),
            advice,
        );
    }
    let openwire = &config.openwire;
    faults.size(
        "openwire.max_frame_size",
        &openwire.max_frame_size,
        Size::kib(64),
        // A journal record has 256 MiB at most: the message with a header of less than a page.
        Size::mib(255),
    );
    let day = Time::ms(86_400_000);
    if openwire.max_inactivity.value != Time::ms(0) {
        faults.time(
            "openwire.max_inactivity",
            &openwire.max_inactivity,
            Time::ms(500),
            day,
        );
    }
    let initial = &openwire.max_inactivity_initial_delay;
    faults.time(
        "openwire.max_inactivity_initial_delay",
        initial,
        Time::ms(0),
        day,
    );
    let connections = &openwire.max_connections;
    if connections.value == 0 {
        let advice = "must be 1 or more";
        faults.add(
            "openwire.max_connections",
            &connections.origin,
            "0".to_owned(),
            advice,
        );
    }
}

fn tenure(config: &Config, faults: &mut Faults) {
    let tenure = &config.tenure;
    faults.time(
        "tenure.lease",
        &tenure.lease,
        Time::ms(200),
        Time::ms(600_000),
    );
    faults.time(
        "tenure.renewal",
        &tenure.renewal,
        Time::ms(20),
        Time::ms(300_000),
    );
    faults.time(
        "tenure.lock_poll",
        &tenure.lock_poll,
        Time::ms(1),
        Time::ms(60_000),
    );
    faults.time(
        "tenure.tail_poll",
        &tenure.tail_poll,
        Time::ms(1),
        Time::ms(60_000),
    );
    let drift = &tenure.clock_drift_permille;
    if drift.value > 500 {
        let advice = "must be from 0 to 500";
        faults.add(
            "tenure.clock_drift_permille",
            &drift.origin,
            drift.value.to_string(),
            advice,
        );
    }
    if tenure.renewal.value.duration() * 2 >= tenure.lease.value.duration() {
        faults.add(
            "tenure.renewal",
            &tenure.renewal.origin,
            format!("\"{}\"", tenure.renewal.value),
            format!(
                "must be less than half of `tenure.lease` (\"{}\", {}), so that one slow renewal does not end the tenure",
                tenure.lease.value, tenure.lease.origin
            ),
        );
    }
    for (key, poll) in [
        ("tenure.lock_poll", &tenure.lock_poll),
        ("tenure.tail_poll", &tenure.tail_poll),
    ] {
        if poll.value >= tenure.lease.value {
            faults.add(
                key,
                &poll.origin,
                format!("\"{}\"", poll.value),
                format!(
                    "must be less than `tenure.lease` (\"{}\", {})",
                    tenure.lease.value, tenure.lease.origin
                ),
            );
        }
    }
}

fn encryption(config: &Config, faults: &mut Faults) {
    let encryption = &config.encryption;
    let (file, command) = (&encryption.key_file, &encryption.key_command);
    if !file.value.is_empty() && !command.value.is_empty() {
        let advice = format!(
            "`encryption.key_file` ({}) gives the key already: keep one of the two",
            file.origin
        );
        let value = format!("{:?}", command.value);
        faults.add("encryption.key_command", &command.origin, value, advice);
    }
    if command
        .value
        .first()
        .is_some_and(|program| program.trim().is_empty())
    {
        let advice =
            "name a program, and its arguments behind it: [\"vault\", \"read\", \"baton\"]";
        let value = format!("{:?}", command.value);
        faults.add("encryption.key_command", &command.origin, value, advice);
    }
    faults.time(
        "encryption.key_command_timeout",
        &encryption.key_command_timeout,
        Time::ms(100),
        Time::ms(600_000),
    );
}

fn addresses(config: &Config, faults: &mut Faults) {
    let listeners = &config.listeners;
    let openwire = &listeners.openwire;
    if openwire.value.is_empty() {
        let advice = "a broker needs at least one address to serve on";
        faults.add(
            "listeners.openwire",
            &openwire.origin,
            "[]".to_owned(),
            advice,
        );
    }
    let mut seen: Vec<(&HostPort, &'static str)> = vec![(&config.http.listen.value, "http.listen")];
    for address in &openwire.value {
        if let Some((_, other)) = seen.iter().find(|(seen, _)| collide(seen, &address.0)) {
            let advice = format!("`{other}` uses this port already: give each its own");
            faults.add(
                "listeners.openwire",
                &openwire.origin,
                format!("\"{address}\""),
                advice,
            );
        }
        seen.push((&address.0, "listeners.openwire"));
    }
    for (key, list) in [
        ("listeners.advertise", &listeners.advertise),
        ("listeners.peers", &listeners.peers),
    ] {
        for address in &list.value {
            if address.0.is_wildcard() || address.0.port == 0 {
                let advice = "clients cannot connect to it: name a host and a port that they reach";
                faults.add(key, &list.origin, format!("\"{address}\""), advice);
            }
        }
    }
}

/// True when both cannot be bound at once, as far as that shows without asking the system.
fn collide(a: &HostPort, b: &HostPort) -> bool {
    a.port != 0 && a.port == b.port && (a.host == b.host || a.is_wildcard() || b.is_wildcard())
}

fn log(config: &Config, faults: &mut Faults) {
    let filter = &config.log.filter;
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter.value) {
        let advice = format!("{error}: write levels like \"info\" or \"info,storage=debug\"");
        faults.add(
            "log.filter",
            &filter.origin,
            format!("{:?}", filter.value),
            advice,
        );
    }
}
