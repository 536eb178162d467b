//! From the configuration to the options of the broker and of its protocols.

use std::path::Path;

use openwire::Destination;

use crate::broker::advisory::Advisories;
use crate::broker::policy::DestinationPattern;
use crate::broker::schedule::Scheduling;
use crate::broker::usage::{Limits, percent_of_disk, percent_of_memory};
use crate::broker::{BrokerOptions, DurableOptions, Lifecycle};
use crate::config::{Config, Share};
use crate::protocol::openwire::OpenWireOptions;

/// What the broker is to be like; `peers` is what clients are told about the pair.
pub(super) fn broker(config: &Config, peers: Vec<String>) -> BrokerOptions {
    let broker = &config.broker;
    let behaviour = &broker.behaviour;
    BrokerOptions {
        name: broker.name.value.clone(),
        memory_bytes: bytes(broker.message_memory.value.0),
        limits: limits(config),
        policies: config.policies.policies(&config.base_policy()),
        access: config.security.access(behaviour),
        lifecycle: lifecycle(config),
        advisories: Advisories {
            is_enabled: behaviour.advisory_support.value,
            anonymous_producers: behaviour.anonymous_producer_advisory_support.value,
        },
        interceptors: config.interceptors.clone(),
        statistics: config.statistics,
        scheduling: Scheduling {
            is_enabled: behaviour.scheduler_support.value,
            repeat_max: behaviour.max_scheduler_repeat_allowed.value,
        },
        durable: DurableOptions {
            is_refused: behaviour.reject_durable_consumers.value,
            keep_active: behaviour.keep_durable_subs_active.value,
            offline_timeout: behaviour.offline_durable_subscriber_timeout.value,
            offline_check: behaviour
                .offline_durable_subscriber_task_schedule
                .value
                .duration(),
        },
        stamping: config.plugins.stamping.clone(),
        redelivery: config.plugins.redelivery.clone(),
        discard_dead_letters: config.plugins.discard_dead_letters.clone(),
        producer_retention: broker.producer_retention.value.duration(),
        peers,
        ..BrokerOptions::default()
    }
}

fn lifecycle(config: &Config) -> Lifecycle {
    let behaviour = &config.broker.behaviour;
    let startup = config.broker.destinations.value.iter();
    Lifecycle {
        startup: startup.filter_map(|name| destination(name)).collect(),
        purge_period: behaviour
            .schedule_period_for_destination_purge
            .value
            .duration(),
        purge_max: behaviour.max_purged_destinations_per_sweep.value as usize,
        temporary_on_send: behaviour.allow_temp_auto_creation_on_send.value,
    }
}

/// A name that the configuration has been checked for.
fn destination(name: &str) -> Option<Destination> {
    let pattern = DestinationPattern::parse(name).ok()?;
    Some(pattern.to_destination())
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    let after = limits.send_fail_if_no_space_after_timeout.value;
    let temporary = limits.temp_directory.value.clone();
    Limits {
        memory_bytes: match limits.memory.value {
            Share::Bytes(size) => size.0,
            Share::Percent(percent) => percent_of_memory(percent).unwrap_or_else(|| {
                tracing::warn!("The system does not tell its memory: the default limit is used.");
                Limits::default().memory_bytes
            }),
        },
        store_bytes: on_disk(limits.store.value, &config.broker.directory.value),
        temporary_bytes: on_disk(limits.temp.value, &temporary),
        temporary_directory: Some(temporary),
        send_fail_if_no_space: limits.send_fail_if_no_space.value,
        send_fail_if_no_space_after: Some(after).filter(|time| !time.is_zero()),
    }
}

fn on_disk(share: Share, path: &Path) -> u64 {
    match share {
        Share::Bytes(size) => size.0,
        Share::Percent(percent) => percent_of_disk(path, percent).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "The size of the disk is unknown: there is no limit.");
            0
        }),
    }
}

/// What OpenWire connections are to be like.
pub(super) fn openwire(config: &Config) -> OpenWireOptions {
    let openwire = &config.openwire;
    OpenWireOptions {
        max_inactivity: openwire.max_inactivity.value.duration(),
        max_inactivity_initial_delay: openwire.max_inactivity_initial_delay.value.duration(),
        max_frame_bytes: bytes(openwire.max_frame_size.value.0),
        connections_max: openwire.max_connections.value as usize,
        ..OpenWireOptions::default()
    }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, Size};

    fn config(assignments: &[&str]) -> Config {
        let parse = |text: &&str| Override::parse(text).expect("an assignment");
        Config::load(None, assignments.iter().map(parse).collect()).expect("valid")
    }

    #[test]
    fn what_nobody_configures_is_as_the_broker_has_it() {
        let ours = broker(&config(&[]), Vec::new());
        let theirs = BrokerOptions::default();
        assert_eq!(
            Limits {
                temporary_directory: None,
                ..ours.limits
            },
            theirs.limits
        );
        assert_eq!(ours.lifecycle, theirs.lifecycle);
        assert_eq!(ours.advisories, theirs.advisories);
        assert_eq!(
            format!("{:?}", ours.interceptors),
            format!("{:?}", theirs.interceptors)
        );
        assert_eq!(ours.memory_bytes, theirs.memory_bytes);
        assert_eq!(ours.producer_retention, theirs.producer_retention);
    }

    #[test]
    fn limits_may_be_percentages() {
        let config = config(&["limits.store=10%", "limits.temp=1gb", "broker.directory=/"]);
        let limits = limits(&config);
        assert!(limits.store_bytes > Size::mib(1).0, "{limits:?}");
        assert_eq!(limits.temporary_bytes, Size::mib(1024).0);
    }

    #[test]
    fn destinations_of_the_start_are_made() {
        let config = config(&["broker.destinations=[\"queue://A.B\", \"topic://T\"]"]);
        let expected = [Destination::queue("A.B"), Destination::topic("T")];
        assert_eq!(lifecycle(&config).startup, expected);
    }
}
