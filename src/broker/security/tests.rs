use openwire::DestinationKind;

use super::*;
use crate::broker::policy::DestinationPattern;

fn user(name: &str, password: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        password: Secret::new(password),
        groups: groups.iter().map(ToString::to_string).collect(),
    }
}

fn credentials(user: Option<&str>, password: Option<&str>) -> Credentials {
    Credentials {
        user: user.map(WireString::from),
        password: password.map(Secret::new),
    }
}

fn authentication(anonymous: Option<Anonymous>) -> Authentication {
    Authentication {
        users: vec![
            user("system", "manager", &["users", "admins"]),
            user("guest", "", &[]),
        ],
        anonymous,
    }
}

#[test]
fn only_the_right_password_admits_a_user() {
    let authentication = authentication(None);
    let identity = authentication
        .authenticate(&credentials(Some("system"), Some("manager")))
        .expect("the password is right");
    assert_eq!(identity.groups, ["users", "admins"]);
    authentication
        .authenticate(&credentials(Some("guest"), Some("")))
        .expect("an empty password that is given is one");
    for (name, password) in [
        (Some("system"), Some("manage")),
        (Some("system"), Some("managermanager")),
        (Some("system"), Some("")),
        (Some("system"), None),
        (Some("guest"), None),
        (Some("nobody"), Some("")),
        (None, Some("manager")),
        (None, None),
    ] {
        let refusal = authentication
            .authenticate(&credentials(name, password))
            .expect_err("wrong");
        let shown = name.unwrap_or("null");
        assert_eq!(
            refusal.to_string(),
            format!("User name [{shown}] or password is invalid.")
        );
    }
}

#[test]
fn who_gives_neither_name_nor_password_is_anonymous_where_that_is_allowed() {
    let authentication = authentication(Some(Anonymous::default()));
    let identity = authentication
        .authenticate(&credentials(None, None))
        .expect("anonymous");
    assert_eq!(
        (identity.user.as_str(), &identity.groups[..]),
        ("anonymous", &["anonymous".to_owned()][..])
    );
    authentication
        .authenticate(&credentials(Some("x"), None))
        .expect_err("a name is no anonymity");
}

#[test]
fn a_secret_does_not_show() {
    let shown = format!(
        "{:?} {:?}",
        user("u", "hidden", &[]),
        credentials(None, Some("hidden"))
    );
    assert!(!shown.contains("hidden"), "{shown}");
}

fn grants(read: &[&str], write: &[&str], admin: &[&str]) -> Grants {
    let owned = |groups: &[&str]| groups.iter().map(ToString::to_string).collect();
    Grants {
        read: owned(read),
        write: owned(write),
        admin: owned(admin),
    }
}

fn authorization(entries: &[(&str, Grants)]) -> Authorization {
    let parse = |(name, grants): &(&str, Grants)| {
        (
            DestinationPattern::parse(name).expect("a pattern"),
            grants.clone(),
        )
    };
    Authorization {
        entries: entries.iter().map(parse).collect(),
        ..Authorization::default()
    }
}

fn may(authorization: &Authorization, group: &str, action: Action, name: &Destination) -> bool {
    authorization.allows(&[group.to_owned()], action, name)
}

#[test]
fn all_entries_that_match_count_together_and_without_any_nothing_is_allowed() {
    let authorization = authorization(&[
        ("queue://>", grants(&["admins"], &["admins"], &["admins"])),
        ("queue://USERS.>", grants(&["users"], &["users"], &[])),
        ("queue://GUEST.>", grants(&["*"], &["guests", "users"], &[])),
    ]);
    let queue = Destination::queue;
    for (group, action, name, expected) in [
        ("admins", Action::Read, queue("USERS.A"), true),
        ("users", Action::Read, queue("USERS.A"), true),
        ("users", Action::Write, queue("USERS"), true),
        ("users", Action::Create, queue("USERS.A"), false),
        ("admins", Action::Create, queue("USERS.A"), true),
        ("guests", Action::Read, queue("USERS.A"), false),
        ("strangers", Action::Read, queue("GUEST.A"), true),
        ("strangers", Action::Write, queue("GUEST.A"), false),
        ("admins", Action::Read, Destination::topic("USERS.A"), false),
        // Each part of a composite name must be allowed.
        ("users", Action::Write, queue("USERS.A,GUEST.A"), true),
        ("users", Action::Write, queue("USERS.A,OTHER"), false),
        ("users", Action::Write, queue("USERS.A,topic://T"), false),
        ("admins", Action::Write, queue(","), false),
        // Wildcards are names; what they find is checked by itself.
        ("users", Action::Read, queue("USERS.>"), true),
        ("users", Action::Read, queue("USERS.*"), true),
        ("users", Action::Read, queue(">"), false),
    ] {
        let found = may(&authorization, group, action, &name);
        assert_eq!(found, expected, "{group} {action:?} {name}");
    }
    assert!(
        !authorization.allows(&[], Action::Read, &queue("GUEST.A")),
        "in no group at all"
    );
}

#[test]
fn temporary_destinations_have_one_entry_and_are_free_without_it() {
    let mut authorization = authorization(&[]);
    let temporary = Destination::new(DestinationKind::TempQueue, "ID:x");
    assert!(may(&authorization, "guests", Action::Create, &temporary));
    authorization.temporary = Some(grants(&["users"], &["users"], &["users"]));
    assert!(!may(&authorization, "guests", Action::Create, &temporary));
    assert!(may(&authorization, "users", Action::Create, &temporary));
}

#[test]
fn the_default_entry_counts_for_every_destination() {
    let mut authorization = authorization(&[("queue://A", grants(&["users"], &[], &[]))]);
    authorization.default = Some(grants(&["admins"], &[], &[]));
    for name in ["A", "B"] {
        let name = Destination::queue(name);
        assert!(may(&authorization, "admins", Action::Read, &name), "{name}");
    }
    assert!(!may(
        &authorization,
        "users",
        Action::Read,
        &Destination::queue("B")
    ));
}

#[test]
fn without_authentication_an_authorization_allows_nothing() {
    let access = Access {
        authorization: Some(Arc::new(authorization(&[(
            "queue://>",
            grants(&["*"], &["*"], &["*"]),
        )]))),
        ..Access::default()
    };
    let standing = access
        .admit(&credentials(Some("system"), None))
        .expect("nobody asks");
    let permits = standing.permits.expect("there is a map");
    let refusal = permits
        .check(Action::Read, &Destination::queue("A"))
        .expect_err("not authenticated");
    assert_eq!(refusal.to_string(), "User is not authenticated.");
}

#[test]
fn messages_say_who_sent_them_if_that_is_wanted() {
    let named = credentials(Some("James"), None);
    let user_id = |access: &Access, credentials: &Credentials| {
        let standing = access.admit(credentials).expect("admitted");
        standing.user_id.map(|id| id.map(|id| id.to_string()))
    };
    assert_eq!(user_id(&Access::default(), &named), None);
    let mut access = Access {
        populate_user_id: true,
        ..Access::default()
    };
    assert_eq!(user_id(&access, &named), Some(Some("James".to_owned())));
    assert_eq!(user_id(&access, &credentials(None, None)), Some(None));
    access.authentication = Some(authentication(Some(Anonymous::default())));
    access.use_authenticated_principal = true;
    assert_eq!(
        user_id(&access, &credentials(None, None)),
        Some(Some("anonymous".to_owned()))
    );
}
