//! Who is admitted, and what each may do with destinations.

use openwire::primitive::Value;

use super::*;
use crate::broker::policy::DestinationPattern;
use crate::broker::schedule::Scheduling;
use crate::broker::security::{Access, Authentication, Authorization, Grants, Secret, User};

/// Groups for one entry: may read, may write, may make and remove.
type Groups<'a> = [&'a str; 3];

fn access(entries: &[(&str, Groups<'_>)]) -> Access {
    let user = |name: &str| User {
        name: name.to_owned(),
        password: Secret::new(format!("{name}'s")),
        groups: vec![format!("{name}s")],
    };
    let grants = |groups: &Groups<'_>| {
        let [read, write, admin] = groups.map(|group| match group {
            "" => Vec::new(),
            group => group.split(',').map(str::to_owned).collect(),
        });
        Grants { read, write, admin }
    };
    let entry = |(name, groups): &(&str, Groups<'_>)| {
        let pattern = DestinationPattern::parse(name).expect("a pattern");
        (pattern, grants(groups))
    };
    Access {
        authentication: Some(Authentication {
            users: vec![user("clerk"), user("reader")],
            anonymous: None,
        }),
        authorization: Some(Arc::new(Authorization {
            entries: entries.iter().map(entry).collect(),
            ..Authorization::default()
        })),
        ..Access::default()
    }
}

fn fixture(entries: &[(&str, Groups<'_>)]) -> Fixture {
    Fixture::with(BrokerOptions {
        access: access(entries),
        ..BrokerOptions::default()
    })
}

fn connect(fixture: &Fixture, user: &str) -> Peer {
    let credentials = credentials(user, &format!("{user}'s"));
    fixture
        .try_connect(user, false, credentials)
        .expect("the password is right")
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: Some(user.into()),
        password: Some(Secret::new(password)),
    }
}

fn refusal<T>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Ok(_) => panic!("it is allowed"),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn a_wrong_password_admits_nobody_and_throws_nobody_out() {
    let fixture = fixture(&[("queue://>", ["clerks", "clerks", "clerks"])]);
    let mut peer = connect(&fixture, "clerk");
    // The same connection id would replace the present one, if the password were right.
    let intruder = fixture.try_connect("clerk", true, credentials("clerk", "wrong"));
    assert_eq!(
        refusal(intruder),
        "User name [clerk] or password is invalid."
    );
    peer.send(&queue(), "still here");
    let nameless = fixture.try_connect("x", false, Credentials::default());
    assert_eq!(
        refusal(nameless),
        "User name [null] or password is invalid."
    );
}

#[test]
fn each_action_needs_its_right() {
    let fixture = fixture(&[("queue://Q", ["readers", "clerks", "clerks"])]);
    let mut clerk = connect(&fixture, "clerk");
    let mut reader = connect(&fixture, "reader");
    let request = reader.request(1, &queue());
    assert_eq!(
        refusal(reader.connection.add_consumer(request)),
        "User reader is not authorized to create: queue://Q",
        "it is not there yet"
    );
    clerk.send(&queue(), "one");
    reader.consume(2, &queue(), 10);
    assert_eq!(reader.texts(2, 1), fresh(&["one"]));

    let request = clerk.request(1, &queue());
    let refused = clerk.connection.add_consumer(request);
    assert_eq!(
        refusal(refused),
        "User clerk is not authorized to read from: queue://Q"
    );
    let message = reader.message(&queue(), "no");
    let refused = reader.try_send(&message, None);
    assert_eq!(
        refusal(refused),
        "User reader is not authorized to write to: queue://Q"
    );
    let producer = reader.connection.id().session(1).producer(9);
    let refused = reader
        .connection
        .add_producer(&producer, Some(&queue()), &Command::Null);
    assert_eq!(
        refusal(refused),
        "User reader is not authorized to write to: queue://Q"
    );
    let refused = reader.connection.remove_destination(&queue());
    assert_eq!(
        refusal(refused),
        "User reader is not authorized to remove: queue://Q"
    );
    let other = Destination::queue("other");
    assert_eq!(
        refusal(clerk.connection.add_destination(&other)),
        "User clerk is not authorized to create: queue://other"
    );
    assert_eq!(fixture.status("Q").pending, 1, "nothing has changed");
}

#[test]
fn a_wildcard_finds_only_what_may_be_read_now_and_later() {
    let all = "clerks";
    let fixture = fixture(&[
        ("queue://A.open", ["readers", all, all]),
        ("queue://A.shut", [all, all, all]),
        ("queue://A.later.*", [all, all, all]),
        ("queue://A.later.open", ["readers", "", ""]),
    ]);
    let mut clerk = connect(&fixture, "clerk");
    for name in ["A.open", "A.shut"] {
        clerk.send(&Destination::queue(name), name);
    }
    let mut reader = connect(&fixture, "reader");
    let refused = reader
        .connection
        .add_consumer(reader.request(1, &Destination::queue("A.>")));
    assert_eq!(
        refusal(refused),
        "User reader is not authorized to read from: queue://A.>"
    );
    reader.consume(1, &Destination::queue("A.*"), 10);
    assert_eq!(reader.texts(1, 1), fresh(&["A.open"]));
    reader.consume(2, &Destination::queue("A.later.*"), 10);
    for name in ["A.later.shut", "A.later.open"] {
        clerk.send(&Destination::queue(name), name);
    }
    assert_eq!(reader.texts(2, 1), fresh(&["A.later.open"]));
    reader.expect_nothing(1);
    reader.expect_nothing(2);
}

#[test]
fn messages_carry_the_name_of_their_sender_whatever_they_say() {
    let fixture = Fixture::with(BrokerOptions {
        access: Access {
            populate_user_id: true,
            ..Access::default()
        },
        ..BrokerOptions::default()
    });
    let mut named = fixture
        .try_connect("a", false, credentials("James", ""))
        .expect("nobody asks for passwords");
    let mut nameless = fixture.connect("b");
    for peer in [&mut named, &mut nameless] {
        let mut message = peer.message(&queue(), "m");
        message.user_id = Some("Somebody else".into());
        peer.send_message(&message);
    }
    named.consume(1, &queue(), 10);
    let mut senders = Vec::new();
    for _ in 0..2 {
        let delivery = named.next(1);
        let message = delivery.message.as_ref().expect("a message");
        let decoded = message.stored().decode().expect("a message of ours");
        senders.push(decoded.user_id.map(|name| name.to_string()));
    }
    assert_eq!(senders, [Some("James".to_owned()), None]);
}

#[test]
fn a_delayed_message_needs_the_right_to_send_when_it_is_handed_in() {
    let fixture = Fixture::with(BrokerOptions {
        access: access(&[("queue://Q", ["clerks", "clerks", "clerks"])]),
        scheduling: Scheduling {
            is_enabled: true,
            ..Scheduling::default()
        },
        ..BrokerOptions::default()
    });
    let mut reader = connect(&fixture, "reader");
    let mut message = reader.message(&queue(), "later");
    let mut properties = message.properties().expect("properties");
    properties.insert("AMQ_SCHEDULED_DELAY", Value::Long(1));
    message.marshalled_properties = Some(properties.encode().expect("properties"));
    let refused = reader.try_send(&message, None);
    assert_eq!(
        refusal(refused),
        "User reader is not authorized to write to: queue://Q"
    );
}
