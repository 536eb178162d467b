//! Which groups may do what with which destinations: ActiveMQ's `authorizationMap`.

use openwire::Destination;

use super::Action;
use crate::broker::names;
use crate::broker::policy::DestinationPattern;

/// In a list of groups: every user that is in any group.
const ANY_GROUP: &str = "*";

/// Which groups may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Groups that may consume and browse.
    pub read: Vec<String>,
    /// Groups that may send.
    pub write: Vec<String>,
    /// Groups that may make and remove it.
    pub admin: Vec<String>,
}

impl Grants {
    fn allows(&self, groups: &[String], action: Action) -> bool {
        let allowed = match action {
            Action::Read => &self.read,
            Action::Write => &self.write,
            Action::Create | Action::Remove => &self.admin,
        };
        allowed
            .iter()
            .any(|name| name == ANY_GROUP && !groups.is_empty() || groups.contains(name))
    }
}

/// Which groups may do what with which destinations.
#[derive(Clone, Debug, Default)]
pub struct Authorization {
    /// For the destinations that match. All of those that match count together, and where none matches
    /// nobody may do anything.
    pub entries: Vec<(DestinationPattern, Grants)>,
    /// For all destinations but temporary ones, together with the others.
    pub default: Option<Grants>,
    /// For temporary destinations; None = everybody may do everything.
    pub temporary: Option<Grants>,
}

impl Authorization {
    /// Whether somebody who is in these groups may do something with a destination. What has several parts
    /// must be allowed for each of them.
    pub(super) fn allows(
        &self,
        groups: &[String],
        action: Action,
        destination: &Destination,
    ) -> bool {
        // A name that nobody can read is nobody's.
        names::parts(destination).is_ok_and(|parts| {
            parts
                .iter()
                .all(|part| self.allows_one(groups, action, part))
        })
    }

    fn allows_one(&self, groups: &[String], action: Action, destination: &Destination) -> bool {
        if destination.kind.is_temporary() {
            let temporary = self.temporary.as_ref();
            return temporary.is_none_or(|grants| grants.allows(groups, action));
        }
        let name = DestinationPattern::of(destination);
        self.entries
            .iter()
            .filter(|(pattern, _)| pattern.is_about(&name))
            .map(|(_, grants)| grants)
            .chain(&self.default)
            .any(|grants| grants.allows(groups, action))
    }
}
