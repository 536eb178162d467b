//! `[broker]`: who this is, where the journal lies, what the broker remembers.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Source;
use super::setting::Setting;
use super::{Size, Time};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The name in the lock file, the status and the logs; different for each member of a pair.
    pub name: Setting<String>,
    /// The shared journal directory; created when missing.
    pub directory: Setting<PathBuf>,
    /// Dispatch by message priority instead of arrival only.
    pub prioritized_messages: Setting<bool>,
    /// Bytes of persistent message bodies kept in memory; what does not fit is read back.
    pub message_memory: Setting<Size>,
    /// How long an unused producer is remembered for duplicate suppression.
    pub producer_retention: Setting<Time>,
    /// Time between two searches for expired messages.
    pub expiry_interval: Setting<Time>,
    /// Destinations that are made at the start: `queue://A`.
    pub destinations: Setting<Vec<String>>,
    /// What ActiveMQ has as attributes of `<broker>`.
    pub behaviour: Behaviour,
}

/// How the broker behaves towards its clients, by ActiveMQ's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Tell who listens about connections, destinations, consumers and producers.
    pub advisory_support: Setting<bool>,
    /// Producers without a destination are announced, too.
    pub anonymous_producer_advisory_support: Setting<bool>,
    /// A message for a temporary destination that is gone makes it again.
    pub allow_temp_auto_creation_on_send: Setting<bool>,
    /// Do what the scheduling properties of messages say.
    pub scheduler_support: Setting<bool>,
    /// How often a scheduled message may repeat.
    pub max_scheduler_repeat_allowed: Setting<u32>,
    /// Durable subscriptions keep what comes while nobody is there.
    pub keep_durable_subs_active: Setting<bool>,
    /// Nobody may make or use durable subscriptions.
    pub reject_durable_consumers: Setting<bool>,
    /// Durable subscriptions that nobody used for this time are removed.
    pub offline_durable_subscriber_timeout: Setting<Option<Duration>>,
    /// Time between two searches for those.
    pub offline_durable_subscriber_task_schedule: Setting<Time>,
    /// Time between two searches for destinations that nobody uses; 0 = never.
    pub schedule_period_for_destination_purge: Setting<Time>,
    /// How many of them go at a time; 0 = all.
    pub max_purged_destinations_per_sweep: Setting<u32>,
    /// Messages carry the name of the user that sent them.
    pub populate_jmsx_user_id: Setting<bool>,
    /// That name is the authenticated one, whatever the client says.
    pub use_authenticated_principal_for_jmsx_user_id: Setting<bool>,
    /// Every queue has a topic that gets a copy of each message.
    pub use_mirrored_queues: Setting<bool>,
    /// So do temporary queues then.
    pub use_temp_mirrored_queues: Setting<bool>,
    /// `VirtualTopic.>` and its queues.
    pub use_virtual_topics: Setting<bool>,
}

impl Behaviour {
    fn new() -> Behaviour {
        Behaviour {
            advisory_support: Setting::default_of(true),
            anonymous_producer_advisory_support: Setting::default_of(false),
            allow_temp_auto_creation_on_send: Setting::default_of(false),
            scheduler_support: Setting::default_of(true),
            max_scheduler_repeat_allowed: Setting::default_of(1000),
            keep_durable_subs_active: Setting::default_of(true),
            reject_durable_consumers: Setting::default_of(false),
            offline_durable_subscriber_timeout: Setting::default_of(None),
            offline_durable_subscriber_task_schedule: Setting::default_of(Time::ms(300_000)),
            schedule_period_for_destination_purge: Setting::default_of(Time::ms(0)),
            max_purged_destinations_per_sweep: Setting::default_of(0),
            populate_jmsx_user_id: Setting::default_of(false),
            use_authenticated_principal_for_jmsx_user_id: Setting::default_of(false),
            use_mirrored_queues: Setting::default_of(false),
            use_temp_mirrored_queues: Setting::default_of(true),
            use_virtual_topics: Setting::default_of(true),
        }
    }

    fn read(&mut self, source: &mut Source) {
        source.take("broker", "advisory_support", &mut self.advisory_support);
        source.take(
            "broker",
            "anonymous_producer_advisory_support",
            &mut self.anonymous_producer_advisory_support,
        );
        source.take(
            "broker",
            "allow_temp_auto_creation_on_send",
            &mut self.allow_temp_auto_creation_on_send,
        );
        source.take("broker", "scheduler_support", &mut self.scheduler_support);
        source.take(
            "broker",
            "max_scheduler_repeat_allowed",
            &mut self.max_scheduler_repeat_allowed,
        );
        source.take(
            "broker",
            "keep_durable_subs_active",
            &mut self.keep_durable_subs_active,
        );
        source.take(
            "broker",
            "reject_durable_consumers",
            &mut self.reject_durable_consumers,
        );
        source.take(
            "broker",
            "offline_durable_subscriber_timeout",
            &mut self.offline_durable_subscriber_timeout,
        );
        source.take(
            "broker",
            "offline_durable_subscriber_task_schedule",
            &mut self.offline_durable_subscriber_task_schedule,
        );
        source.take(
            "broker",
            "schedule_period_for_destination_purge",
            &mut self.schedule_period_for_destination_purge,
        );
        source.take(
            "broker",
            "max_purged_destinations_per_sweep",
            &mut self.max_purged_destinations_per_sweep,
        );
        source.take(
            "broker",
            "populate_jmsx_user_id",
            &mut self.populate_jmsx_user_id,
        );
        source.take(
            "broker",
            "use_authenticated_principal_for_jmsx_user_id",
            &mut self.use_authenticated_principal_for_jmsx_user_id,
        );
        source.take(
            "broker",
            "use_mirrored_queues",
            &mut self.use_mirrored_queues,
        );
        source.take(
            "broker",
            "use_temp_mirrored_queues",
            &mut self.use_temp_mirrored_queues,
        );
        source.take("broker", "use_virtual_topics", &mut self.use_virtual_topics);
    }
}

impl Broker {
    pub(super) fn new() -> Broker {
        Broker {
            name: Setting::default_of(host_name()),
            directory: Setting::default_of(PathBuf::from("baton-data")),
            prioritized_messages: Setting::default_of(false),
            message_memory: Setting::default_of(Size::mib(64)),
            producer_retention: Setting::default_of(Time::ms(24 * 3_600_000)),
            expiry_interval: Setting::default_of(Time::ms(30_000)),
            destinations: Setting::default_of(Vec::new()),
            behaviour: Behaviour::new(),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("broker", "name", &mut self.name);
        source.take("broker", "directory", &mut self.directory);
        source.take(
            "broker",
            "prioritized_messages",
            &mut self.prioritized_messages,
        );
        source.take("broker", "message_memory", &mut self.message_memory);
        source.take("broker", "producer_retention", &mut self.producer_retention);
        source.take("broker", "expiry_interval", &mut self.expiry_interval);
        source.take("broker", "destinations", &mut self.destinations);
        self.behaviour.read(source);
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "baton".to_owned())
}
