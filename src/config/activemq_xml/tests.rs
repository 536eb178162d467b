use std::path::Path;

use openwire::Destination;

use crate::broker::policy::{
    DeadLetterKind, Eviction, PendingLimit, Policies, SubscriptionRecovery,
};
use crate::config::{Config, ConfigError, Override, Share, Size, Time};

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &[])
}

fn load_with(text: &str, assignments: &[&str]) -> Result<Config, ConfigError> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("activemq.xml");
    std::fs::write(&path, text).expect("written");
    let parse = |text: &&str| Override::parse(text).expect("an assignment");
    Config::load(Some(&path), assignments.iter().map(parse).collect())
}

/// The inside of a `<broker>` as a whole file, on line 2.
fn broker(attributes: &str, inside: &str) -> String {
    format!(
        "<beans xmlns=\"http://www.springframework.org/schema/beans\">\n<broker xmlns=\"http://activemq.apache.org/schema/core\" {attributes}>{inside}</broker></beans>"
    )
}

fn inside(text: &str) -> Config {
    load(&broker("", text)).expect("a configuration")
}

fn policies(entries: &str) -> (Config, Policies) {
    let config = inside(&format!(
        "<destinationPolicy><policyMap>{entries}</policyMap></destinationPolicy>"
    ));
    let policies = config.policies.policies(&config.base_policy());
    (config, policies)
}

/// What has no effect, without its place.
fn notes(config: &Config) -> Vec<String> {
    config
        .notes
        .iter()
        .map(|note| format!("{}: {}", note.what, note.why))
        .collect()
}

#[test]
fn attributes_of_the_broker_become_settings() {
    let config = load(&broker(
        "brokerName=\"b1\" advisorySupport=\"false\" populateJMSXUserID=\"true\" \
         offlineDurableSubscriberTimeout=\"5000\" maxPurgedDestinationsPerSweep=\"3\"",
        "<destinations><queue physicalName=\"Q\"/><topic physicalName=\"T,U\"/></destinations>",
    ))
    .expect("a configuration");
    let broker = &config.broker;
    assert_eq!(broker.name.value, "b1");
    assert!(!broker.behaviour.advisory_support.value);
    assert!(broker.behaviour.populate_jmsx_user_id.value);
    let timeout = broker.behaviour.offline_durable_subscriber_timeout.value;
    assert_eq!(timeout, Some(Time::ms(5000).duration()));
    assert_eq!(broker.behaviour.max_purged_destinations_per_sweep.value, 3);
    assert_eq!(
        broker.destinations.value,
        ["queue://Q", "topic://T", "topic://U"]
    );
    assert_eq!(config.notes, []);
}

#[test]
fn flags_win_over_the_file() {
    let text = broker("brokerName=\"of-file\"", "");
    let config = load_with(&text, &["broker.name=of-flag"]).expect("a configuration");
    assert_eq!(config.broker.name.value, "of-flag");
}

#[test]
fn policy_entries_keep_their_destinations_attributes_and_strategies() {
    let (config, policies) = policies(
        r#"<defaultEntry><policyEntry queuePrefetch="9"/></defaultEntry>
        <policyEntries>
          <policyEntry queue="A.&gt;" queuePrefetch="1" memoryLimit="64 mb" producerFlowControl="false"
              inactiveTimoutBeforeGC="30000" gcInactiveDestinations="true">
            <deadLetterStrategy><individualDeadLetterStrategy queuePrefix="DLQ." expiration="60000"/></deadLetterStrategy>
            <slowConsumerStrategy><abortSlowAckConsumerStrategy maxSlowCount="-1" abortConnection="true"/></slowConsumerStrategy>
          </policyEntry>
          <policyEntry topic="T">
            <pendingMessageLimitStrategy><constantPendingMessageLimitStrategy limit="50"/></pendingMessageLimitStrategy>
            <messageEvictionStrategy><uniquePropertyMessageEvictionStrategy propertyName="p"/></messageEvictionStrategy>
            <subscriptionRecoveryPolicy><fixedCountSubscriptionRecoveryPolicy maximumSize="3"/></subscriptionRecoveryPolicy>
          </policyEntry>
          <policyEntry tempQueue="true" queuePrefetch="2"/>
        </policyEntries>"#,
    );
    assert_eq!(config.notes, []);
    let queue = policies.of(&Destination::queue("A.B"));
    assert_eq!(
        (queue.queue_prefetch, queue.memory_limit_bytes),
        (1, 64 << 20)
    );
    assert!(!queue.producer_flow_control && queue.gc_inactive_destinations);
    assert_eq!(queue.inactive_timeout_before_gc.as_secs(), 30);
    assert_eq!(queue.dead_letter.expiration.as_secs(), 60);
    assert!(
        matches!(&queue.dead_letter.kind, DeadLetterKind::Individual { queue_prefix, .. } if queue_prefix == "DLQ.")
    );
    let slow = queue.slow_consumer.as_ref().expect("a strategy");
    assert!(slow.abort_connection && slow.max_slow_count.is_none());
    assert_eq!(
        slow.max_time_since_last_ack.map(|time| time.as_secs()),
        Some(30)
    );
    let topic = policies.of(&Destination::topic("T"));
    assert_eq!(topic.pending_limit, Some(PendingLimit::Constant(50)));
    assert_eq!(topic.eviction, Eviction::UniqueProperty("p".to_owned()));
    assert_eq!(
        topic.subscription_recovery,
        SubscriptionRecovery::FixedCount(3)
    );
    let temporary = Destination {
        kind: openwire::DestinationKind::TempQueue,
        ..Destination::queue("ID:x")
    };
    assert_eq!(policies.of(&temporary).queue_prefetch, 2);
    assert_eq!(policies.of(&Destination::queue("B")).queue_prefetch, 9);
}

#[test]
fn the_shared_dead_letter_queue_may_be_an_element() {
    let (_, policies) = policies(
        r#"<policyEntries><policyEntry queue=">"><deadLetterStrategy><sharedDeadLetterStrategy processExpired="false">
        <deadLetterQueue><queue physicalName="Dead"/></deadLetterQueue>
        </sharedDeadLetterStrategy></deadLetterStrategy></policyEntry></policyEntries>"#,
    );
    let policy = policies.of(&Destination::queue("Q"));
    let expected = DeadLetterKind::Shared {
        queue: "Dead".to_owned(),
    };
    assert_eq!(policy.dead_letter.kind, expected);
}

#[test]
fn openwire_connectors_are_listeners_and_others_are_noted() {
    let config = inside(
        r#"<transportConnectors>
        <transportConnector name="o" uri="nio://0.0.0.0:1?maximumConnections=5&amp;wireFormat.maxFrameSize=1048576&amp;transport.soTimeout=1"/>
        <transportConnector name="p" uri="auto://127.0.0.1:2"/>
        <transportConnector name="s" uri="ssl://0.0.0.0:61617"/>
        <transportConnector name="m" uri="mqtt://0.0.0.0:1883?maximumConnections=1"/>
        </transportConnectors>"#,
    );
    let listeners: Vec<String> = config
        .listeners
        .openwire
        .value
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listeners, ["tcp://0.0.0.0:1", "tcp://127.0.0.1:2"]);
    assert_eq!(config.openwire.max_connections.value, 5);
    assert_eq!(config.openwire.max_frame_size.value, Size::mib(1));
    assert_eq!(
        notes(&config),
        [
            "option `transport.soTimeout` of `nio://0.0.0.0:1`: not mapped: it has no effect here",
            "transport connector `ssl://0.0.0.0:61617`: not mapped: there is no TLS",
            "transport connector `mqtt://0.0.0.0:1883`: not mapped: this protocol is not spoken here",
        ]
    );
}

#[test]
fn a_file_without_any_usable_connector_does_not_open_another_port_instead() {
    let text = broker(
        "",
        r#"<transportConnectors><transportConnector uri="ssl://0.0.0.0:61617"/></transportConnectors>"#,
    );
    let error = load(&text).expect_err("no port to serve on").to_string();
    assert!(
        error.contains("at least one address to serve on"),
        "{error}"
    );
    load_with(&text, &["listeners.openwire=tcp://127.0.0.1:0"]).expect("a port is named");
}

#[test]
fn usage_becomes_limits_with_values_as_activemq_writes_them() {
    let config = inside(
        r#"<systemUsage><systemUsage sendFailIfNoSpace="true" sendFailIfNoSpaceAfterTimeout="3000">
        <memoryUsage><memoryUsage limit="64 mb"/></memoryUsage>
        <storeUsage><storeUsage limit="100 gb"/></storeUsage>
        <tempUsage><tempUsage limit="50gb"/></tempUsage>
        </systemUsage></systemUsage>"#,
    );
    let limits = &config.limits;
    assert_eq!(limits.memory.value, Share::mib(64));
    assert_eq!(limits.store.value, Share::mib(100 << 10));
    assert_eq!(limits.temp.value, Share::mib(50 << 10));
    assert!(limits.send_fail_if_no_space.value);
    assert_eq!(
        limits.send_fail_if_no_space_after_timeout.value.as_secs(),
        3
    );
    assert_eq!(config.notes, []);
    let percent = inside(
        r#"<systemUsage><systemUsage><memoryUsage><memoryUsage percentOfJvmHeap="50"/></memoryUsage></systemUsage></systemUsage>"#,
    );
    assert_eq!(percent.limits.memory.value, Share::mib(512));
}

#[test]
fn everything_that_is_not_mapped_is_noted_with_its_line() {
    let config = load(&broker(
        "useJmx=\"true\" sparkle=\"1\"",
        r#"
<persistenceAdapter><kahaDB directory="x"/></persistenceAdapter>
<destinationPolicy><policyMap><policyEntries>
<policyEntry queue=">" maxPageSize="5" own="x">
<pendingQueuePolicy><storeCursor/></pendingQueuePolicy>
<deadLetterStrategy><bean xmlns="http://www.springframework.org/schema/beans" class="my.Own"/></deadLetterStrategy>
</policyEntry></policyEntries></policyMap></destinationPolicy>
<plugins><loggingBrokerPlugin logAll="true"/></plugins>"#,
    ))
    .expect("a configuration");
    let lines: Vec<String> = config
        .notes
        .iter()
        .map(|note| {
            let origin = note.origin.to_string();
            let line = origin.rsplit(':').next().expect("a line");
            format!("{line} {}", note.what)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "2 attribute `useJmx` of <broker>",
            "2 attribute `sparkle` of <broker>",
            "3 <kahaDB>",
            "5 attribute `maxPageSize` of <policyEntry>",
            "5 attribute `own` of <policyEntry>",
            "6 <storeCursor>",
            "7 <bean>",
            "7 attribute `class` of <bean>",
            "9 <loggingBrokerPlugin>",
        ]
    );
}

#[test]
fn what_keeps_people_out_and_cannot_be_done_stops_the_start() {
    for plugin in [
        "<jaasAuthenticationPlugin configuration=\"x\"/>",
        "<authorizationPlugin><map><cachedLDAPAuthorizationMap/></map></authorizationPlugin>",
        "<bean xmlns=\"http://www.springframework.org/schema/beans\" class=\"my.AuthPlugin\"/>",
        "<shiroPlugin/>",
    ] {
        let text = broker("", &format!("\n<plugins>{plugin}</plugins>"));
        let error = load(&text).expect_err(plugin).to_string();
        assert!(error.contains("it keeps people out"), "{plugin}: {error}");
        assert!(error.contains("activemq.xml:3"), "{plugin}: {error}");
        let config = load_with(&text, &["security.ignore_unsupported=true"]);
        let config = config.expect("started without it on demand");
        assert!(
            notes(&config)[0].contains("NOT IN FORCE"),
            "{:?}",
            config.notes
        );
    }
}

#[test]
fn placeholders_come_from_properties_files_defaults_and_the_environment() {
    let place = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(
        place.path().join("c.properties"),
        "# comment\nmy.name = b${my.number}\nmy.number: 7\n",
    )
    .expect("written");
    let text = r#"<beans xmlns="http://www.springframework.org/schema/beans">
<bean class="org.springframework.beans.factory.config.PropertyPlaceholderConfigurer">
<property name="locations"><value>file:${activemq.conf}/c.properties</value></property></bean>
<broker brokerName="${my.name}" maxPurgedDestinationsPerSweep="${my.count:4}" dataDirectory="${nobody.knows}"/>
</beans>"#;
    let path = place.path().join("activemq.xml");
    std::fs::write(&path, text).expect("written");
    let config = Config::load(Some(&path), Vec::new()).expect("a configuration");
    assert_eq!(config.broker.name.value, "b7");
    assert_eq!(
        config
            .broker
            .behaviour
            .max_purged_destinations_per_sweep
            .value,
        4
    );
    assert_eq!(
        notes(&config),
        ["attribute `dataDirectory` of <broker>: has no effect: the journal is in --directory"]
    );
}

#[test]
fn a_placeholder_without_a_value_is_a_fault_where_it_counts() {
    let text = broker("brokerName=\"${nobody.knows.this}\"", "");
    let error = load(&text).expect_err("no name").to_string();
    assert!(
        error.contains(
            "activemq.xml:2: `broker.name = ${nobody.knows.this}`: no value for the placeholder"
        ),
        "{error}"
    );
}

#[test]
fn placeholders_that_refer_to_each_other_end() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let text = r#"<beans xmlns="http://www.springframework.org/schema/beans">
<bean class="org.springframework.beans.factory.config.PropertyPlaceholderConfigurer">
<property name="properties"><value>a=${b}${b}
b=${a}${a}</value></property></bean>
<broker brokerName="${a}"/></beans>"#;
    let path = place.path().join("activemq.xml");
    std::fs::write(&path, text).expect("written");
    Config::load(Some(&path), Vec::new()).expect_err("there is no end of it");
}

#[test]
fn what_is_no_activemq_configuration_is_refused_with_its_line() {
    for (text, expected) in [
        ("<beans>\n<broker\n</beans>", "not valid XML"),
        ("<beans/>", "there is no <broker> in it"),
        (
            "<beans><broker/>\n<broker/></beans>",
            "there is a second <broker>",
        ),
        ("", "not valid XML"),
        (
            "<!DOCTYPE a [<!ENTITY b \"c\">]><broker brokerName=\"&b;\"/>",
            "not valid XML",
        ),
    ] {
        let error = load(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("activemq.xml:"), "{text}: {error}");
    }
    let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
    load(&deep).expect_err("too deep");
}

#[test]
fn wrong_values_of_mapped_attributes_are_faults() {
    let text = broker(
        "advisorySupport=\"perhaps\"",
        "\n<destinationPolicy><policyMap><policyEntries>\n<policyEntry queue=\">\" queuePrefetch=\"many\"/>\n</policyEntries></policyMap></destinationPolicy>",
    );
    let error = load(&text).expect_err("wrong values").to_string();
    assert!(
        error.contains(
            "activemq.xml:2: `broker.advisory_support = \"perhaps\"`: expected true or false"
        ),
        "{error}"
    );
    assert!(
        error.contains(
            "activemq.xml:4: `<policyEntry> queuePrefetch = \"many\"`: expected a whole number"
        ),
        "{error}"
    );
}

#[test]
fn a_file_is_known_by_its_suffix_or_its_first_character() {
    assert!(super::is_meant(Path::new("a.XML"), ""));
    assert!(super::is_meant(
        Path::new("conf"),
        "\u{feff}\n <?xml version='1.0'?>"
    ));
    assert!(!super::is_meant(Path::new("baton.toml"), "[broker]\n"));
}

#[test]
fn interceptors_that_are_given_replace_the_default_ones() {
    let config = inside(
        r#"<destinationInterceptors><virtualDestinationInterceptor><virtualDestinations>
        <virtualTopic name="VT.&gt;" prefix="C.*." selectorAware="true" concurrentSend="true"/>
        <compositeQueue name="Q" forwardOnly="false"><forwardTo>
          <queue physicalName="A"/><topic physicalName="B"/>
          <filteredDestination selector="odd = 'yes'" queue="D"/>
        </forwardTo></compositeQueue>
        </virtualDestinations></virtualDestinationInterceptor>
        <mirroredQueue prefix="M." copyMessage="true"/></destinationInterceptors>"#,
    );
    let all = &config.interceptors;
    let [topic] = &all.virtual_topics[..] else {
        panic!("{:?}", all.virtual_topics);
    };
    assert_eq!(topic.topics.to_string(), "topic://VT.>");
    assert!(topic.prefix == "C.*." && topic.selector_aware);
    let [composite] = &all.composites[..] else {
        panic!("{:?}", all.composites);
    };
    assert!(!composite.forward_only);
    let targets: Vec<(String, bool)> = composite
        .forward_to
        .iter()
        .map(|target| (target.destination.to_string(), target.selector.is_some()))
        .collect();
    let expected = [
        ("queue://A", false),
        ("topic://B", false),
        ("queue://D", true),
    ];
    assert_eq!(targets, expected.map(|(name, is)| (name.to_owned(), is)));
    assert_eq!(
        all.mirrored_queues.as_ref().map(|m| m.prefix.as_str()),
        Some("M.")
    );
    assert_eq!(config.notes.len(), 2, "{:?}", config.notes);

    let none = load(&broker(
        "useVirtualTopics=\"true\"",
        "<destinationInterceptors/>",
    ));
    assert!(
        none.expect("a configuration")
            .interceptors
            .virtual_topics
            .len()
            == 1,
        "an empty element is none"
    );
}

#[test]
fn a_selector_that_is_none_is_a_fault() {
    let text = broker(
        "",
        r#"<destinationInterceptors><virtualDestinationInterceptor><virtualDestinations>
<compositeTopic name="T"><forwardTo>
<filteredDestination selector="odd = = 1" queue="D"/></forwardTo></compositeTopic>
</virtualDestinations></virtualDestinationInterceptor></destinationInterceptors>"#,
    );
    let error = load(&text).expect_err("no selector").to_string();
    assert!(
        error.contains("activemq.xml:4: `<filteredDestination> selector = "),
        "{error}"
    );
}

#[test]
fn users_and_authorizations_are_read_and_passwords_never_shown() {
    let config = inside(
        r#"<plugins>
        <simpleAuthenticationPlugin anonymousAccessAllowed="true" anonymousUser="nobody" anonymousGroup="guests"><users>
          <authenticationUser username="system" password="hidden-word" groups="users,admins"/>
        </users></simpleAuthenticationPlugin>
        <authorizationPlugin><map><authorizationMap>
          <authorizationEntries>
            <authorizationEntry queue="A.&gt;" read="admins, users" write="users" admin="admins"/>
            <authorizationEntry topic="T" read="*"/>
          </authorizationEntries>
          <tempDestinationAuthorizationEntry><tempDestinationAuthorizationEntry admin="users"/></tempDestinationAuthorizationEntry>
        </authorizationMap></map></authorizationPlugin></plugins>"#,
    );
    assert_eq!(config.notes, []);
    assert!(!format!("{config:?}").contains("hidden-word"));
    let access = config.security.access(&config.broker.behaviour);
    let authentication = access.authentication.expect("users are asked for");
    let anonymous = authentication
        .anonymous
        .expect("anonymous ones are admitted");
    assert_eq!(
        (anonymous.user.as_str(), anonymous.group.as_str()),
        ("nobody", "guests")
    );
    let [user] = &authentication.users[..] else {
        panic!("{:?}", authentication.users);
    };
    assert_eq!(
        (user.name.as_str(), &user.groups[..]),
        ("system", &["users".to_owned(), "admins".to_owned()][..])
    );
    let authorization = access.authorization.expect("there is a map");
    let (pattern, grants) = &authorization.entries[0];
    assert_eq!(pattern.to_string(), "queue://A.>");
    assert_eq!(grants.read, ["admins", "users"]);
    assert_eq!(authorization.entries[1].0.to_string(), "topic://T");
    assert_eq!(
        authorization
            .temporary
            .as_ref()
            .map(|grants| grants.admin.clone()),
        Some(vec!["users".to_owned()])
    );
}

#[test]
fn a_plugin_without_users_admits_nobody() {
    let config = inside(
        "<plugins><simpleAuthenticationPlugin/><authorizationPlugin><map><authorizationMap/></map></authorizationPlugin></plugins>",
    );
    let access = config.security.access(&config.broker.behaviour);
    assert!(
        access
            .authentication
            .expect("users are asked for")
            .users
            .is_empty()
    );
    assert!(
        access
            .authorization
            .expect("there is a map")
            .entries
            .is_empty()
    );
}

#[test]
fn a_user_without_a_known_password_is_a_fault_and_no_password_is_shown() {
    for user in [
        "<authenticationUser username=\"u\" password=\"hidden${nobody.knows}\"/>",
        "<authenticationUser username=\"u\"/>",
    ] {
        let text = broker(
            "",
            &format!(
                "<plugins><simpleAuthenticationPlugin><users>{user}</users></simpleAuthenticationPlugin></plugins>"
            ),
        );
        let error = load(&text).expect_err("no password").to_string();
        assert!(
            error.contains("`<authenticationUser> password`: a user needs one"),
            "{error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[test]
fn plugins_that_are_built_in_are_switched_on_with_their_settings() {
    let config = inside(
        r#"<plugins>
        <timeStampingBrokerPlugin zeroExpirationOverride="1000" ttlCeiling="60000" futureOnly="true"/>
        <forcePersistencyModeBrokerPlugin persistenceFlag="true"/>
        <redeliveryPlugin fallbackToDeadLetter="false" sendToDlqIfMaxRetriesExceeded="true">
          <redeliveryPolicyMap><redeliveryPolicyMap>
            <redeliveryPolicyEntries>
              <redeliveryPolicy queue="A.&gt;" maximumRedeliveries="-1" redeliveryDelay="10000"/>
            </redeliveryPolicyEntries>
            <defaultEntry><redeliveryPolicy maximumRedeliveries="4" useExponentialBackOff="true" backOffMultiplier="2.5"/></defaultEntry>
          </redeliveryPolicyMap></redeliveryPolicyMap>
        </redeliveryPlugin>
        <discardingDLQBrokerPlugin dropAll="false" dropOnly="A\..* B" reportInterval="1000"/>
        </plugins>"#,
    );
    let plugins = &config.plugins;
    let time = plugins.stamping.time.as_ref().expect("time stamps");
    assert_eq!((time.ttl_ceiling.as_secs(), time.future_only), (60, true));
    assert_eq!(plugins.stamping.force_persistence, Some(true));
    let redelivery = plugins.redelivery.as_ref().expect("redelivery");
    assert!(!redelivery.fallback_to_dead_letter);
    let default = redelivery.default.as_ref().expect("a default");
    assert_eq!(default.maximum_redeliveries, Some(4));
    assert!((default.back_off_multiplier - 2.5).abs() < f64::EPSILON);
    let own = redelivery.of(&Destination::queue("A.B")).expect("an entry");
    assert_eq!(
        (own.maximum_redeliveries, own.redelivery_delay.as_secs()),
        (None, 10)
    );
    let discard = plugins.discard_dead_letters.as_ref().expect("a plugin");
    assert!(!discard.all);
    assert_eq!(discard.only.len(), 2);
    let notes = notes(&config);
    assert!(
        notes.len() == 1 && notes[0].contains("reportInterval"),
        "{notes:?}"
    );
}
