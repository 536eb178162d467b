//! `[security]`: users, and what their groups may do.

use std::sync::Arc;

use crate::broker::policy::DestinationPattern;
use crate::broker::security::{
    Access, Anonymous, Authentication, Authorization, Grants, Secret, User,
};

use super::broker::Behaviour;
use super::policy::destinations;
use super::reader::Source;
use super::setting::{Expected, FromRaw, Raw, Setting};
use super::table::{Report, Table, TableReader};

/// See the module.
#[derive(Clone, Debug)]
pub struct Security {
    /// Clients must be one of the users; else nobody is asked.
    pub authentication: Setting<bool>,
    /// Users may do what the authorizations say; else everybody may do everything.
    pub authorization_required: Setting<bool>,
    /// Clients without name and password are admitted.
    pub anonymous_access_allowed: Setting<bool>,
    /// What those are called.
    pub anonymous_user: Setting<String>,
    /// The group that those are in.
    pub anonymous_group: Setting<String>,
    /// Start without protection that this broker cannot give.
    pub ignore_unsupported: Setting<bool>,
    users: Vec<User>,
    authorization: Authorization,
}

impl Security {
    pub(super) fn new() -> Security {
        let anonymous = Anonymous::default();
        Security {
            authentication: Setting::default_of(false),
            authorization_required: Setting::default_of(false),
            anonymous_access_allowed: Setting::default_of(false),
            anonymous_user: Setting::default_of(anonymous.user),
            anonymous_group: Setting::default_of(anonymous.group),
            ignore_unsupported: Setting::default_of(false),
            users: Vec::new(),
            authorization: Authorization::default(),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        for table in source.take_tables("security.user") {
            let origin = table.origin.clone();
            // Who names users wants them to be asked for.
            self.authentication = Setting {
                value: true,
                origin,
            };
            self.users.extend(user(table, &mut source.report));
        }
        for table in source.take_tables("security.authorization") {
            let origin = table.origin.clone();
            self.authorization_required = Setting {
                value: true,
                origin,
            };
            let (patterns, grants) = authorization(table, &mut source.report);
            match patterns {
                None => self.authorization.default = Some(grants),
                Some(patterns) => {
                    let entries = patterns.into_iter().map(|one| (one, grants.clone()));
                    self.authorization.entries.extend(entries);
                }
            }
        }
        for table in source.take_tables("security.temporary") {
            let mut reader = TableReader::new(table, "security.temporary", &mut source.report);
            self.authorization.temporary = Some(grants(&mut reader));
            reader.finish();
        }
        source.take("security", "authentication", &mut self.authentication);
        source.take(
            "security",
            "authorization_required",
            &mut self.authorization_required,
        );
        source.take(
            "security",
            "anonymous_access_allowed",
            &mut self.anonymous_access_allowed,
        );
        source.take("security", "anonymous_user", &mut self.anonymous_user);
        source.take("security", "anonymous_group", &mut self.anonymous_group);
        self.ignore_unsupported.value = source.refuse_unsafe();
    }

    /// How many users there are.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// As the broker wants it.
    #[must_use]
    pub fn access(&self, behaviour: &Behaviour) -> Access {
        let anonymous = self.anonymous_access_allowed.value.then(|| Anonymous {
            user: self.anonymous_user.value.clone(),
            group: self.anonymous_group.value.clone(),
        });
        let authentication = Authentication {
            users: self.users.clone(),
            anonymous,
        };
        let is_authorized = self.authorization_required.value;
        Access {
            authentication: Some(authentication).filter(|_| self.authentication.value),
            authorization: is_authorized.then(|| Arc::new(self.authorization.clone())),
            populate_user_id: behaviour.populate_jmsx_user_id.value,
            use_authenticated_principal: behaviour
                .use_authenticated_principal_for_jmsx_user_id
                .value,
        }
    }
}

impl FromRaw for Secret {
    const IS_SECRET: bool = true;

    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        String::from_raw(raw).map(Secret::new)
    }
}

fn user(table: Table, report: &mut Report) -> Option<User> {
    let mut reader = TableReader::new(table, "security.user", report);
    let name = reader.get::<String>("username");
    let password = reader.get::<Secret>("password");
    let mut groups = Vec::new();
    reader.value("groups", &mut groups);
    let origin = reader.origin().clone();
    for (key, is_missing) in [
        (
            "username",
            name.as_ref().is_none_or(|(name, _)| name.is_empty()),
        ),
        ("password", password.is_none()),
    ] {
        if is_missing {
            reader.fault(&origin, key, String::new(), "a user needs one");
        }
    }
    reader.finish();
    Some(User {
        name: name?.0,
        password: password?.0,
        groups,
    })
}

fn authorization(table: Table, report: &mut Report) -> (Option<Vec<DestinationPattern>>, Grants) {
    let mut reader = TableReader::new(table, "security.authorization", report);
    let patterns = destinations(&mut reader);
    let grants = grants(&mut reader);
    reader.finish();
    (patterns, grants)
}

fn grants(reader: &mut TableReader<'_>) -> Grants {
    let mut grants = Grants::default();
    reader.value("read", &mut grants.read);
    reader.value("write", &mut grants.write);
    reader.value("admin", &mut grants.admin);
    let why = "has no effect: groups are names";
    reader.ignore("group_class", why);
    grants
}
