//! The role of a broker in its pair: an explicit state machine without IO.
//!
//! It must not know storage, sockets or time. `node` feeds it what happened and acts on the answer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a broker is in its pair.
///
/// ```text
///               followed             took over              served
///   Starting ------------> Standby ------------> TakingOver -------> Active
///      |  |                 ^   |  <-------------  |    ^              |
///      |  |                 |   |    followed      |    |              |
///      |  +-----------------|---|------------------|----+ took over    |
///      |                    |   |                  |    | (nothing to  |
///      |           followed |   |                  |    |  follow)     |
///      |                    |   v                  v    |              |
///      +------------------> Fenced <-------------------------- lost ---+
///
///   any of them --- stop asked ---> Stopping
/// ```
///
/// Messaging ports are open in `Active` only. `Fenced` lasts until a new membership follows the
/// journal; nothing of the old tenure survives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads the journal for the first time.
    Starting,
    /// Follows the journal; the other broker serves.
    Standby,
    /// Has what it needs to serve and prepares it.
    TakingOver,
    /// Serves.
    Active,
    /// Lost its role; everything is closed; waits to follow again.
    Fenced,
    /// Ends by plan.
    Stopping,
}

impl Role {
    /// All of them, in the order of a broker's life.
    pub const ALL: [Role; 6] = [
        Role::Starting,
        Role::Standby,
        Role::TakingOver,
        Role::Active,
        Role::Fenced,
        Role::Stopping,
    ];

    /// The name in logs, on standard output and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Starting => "starting",
            Role::Standby => "standby",
            Role::TakingOver => "taking_over",
            Role::Active => "active",
            Role::Fenced => "fenced",
            Role::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What can happen to a broker's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// The membership follows the journal.
    Followed,
    /// The membership claimed an epoch and is about to serve.
    TookOver,
    /// Store, broker and listeners are up.
    Served,
    /// The membership ended against our will.
    Lost,
    /// Somebody asked the process to end.
    StopAsked,
}

/// What an occurrence means for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The role changes.
    To(Role),
    /// Nothing changes: it is known already, or comes too late to matter.
    Stay,
    /// It cannot be: a defect of ours, to be answered by leaving the role.
    Illegal,
}

/// The whole state machine.
#[must_use]
pub fn transition(role: Role, occurrence: Occurrence) -> Step {
    use Occurrence::{Followed, Lost, Served, StopAsked, TookOver};
    match (role, occurrence) {
        // Whoever stops lets the rest pass by: no port may open again.
        (Role::Stopping, _) => Step::Stay,
        (_, StopAsked) => Step::To(Role::Stopping),

        (Role::Starting | Role::TakingOver | Role::Fenced, Followed) => Step::To(Role::Standby),
        (Role::Standby, Followed) => Step::Stay,
        (Role::Active, Followed) => Step::Illegal,

        (Role::Starting | Role::Standby | Role::Fenced, TookOver) => Step::To(Role::TakingOver),
        (Role::TakingOver, TookOver) => Step::Stay,
        (Role::Active, TookOver) => Step::Illegal,

        (Role::TakingOver, Served) => Step::To(Role::Active),
        (Role::Starting | Role::Standby | Role::Active | Role::Fenced, Served) => Step::Illegal,

        (Role::Starting | Role::Standby | Role::TakingOver | Role::Active, Lost) => {
            Step::To(Role::Fenced)
        }
        (Role::Fenced, Lost) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCCURRENCES: [Occurrence; 5] = [
        Occurrence::Followed,
        Occurrence::TookOver,
        Occurrence::Served,
        Occurrence::Lost,
        Occurrence::StopAsked,
    ];

    fn walk(occurrences: &[Occurrence]) -> Role {
        occurrences.iter().fold(Role::Starting, |role, occurrence| {
            match transition(role, *occurrence) {
                Step::To(next) => next,
                Step::Stay => role,
                Step::Illegal => panic!("{occurrence:?} as {role}"),
            }
        })
    }

    #[test]
    fn a_life_from_start_over_takeover_and_fencing_back_to_standby() {
        use Occurrence::{Followed, Lost, Served, StopAsked, TookOver};
        assert_eq!(walk(&[Followed, TookOver, Served]), Role::Active);
        assert_eq!(walk(&[TookOver, Served]), Role::Active);
        assert_eq!(walk(&[Followed, TookOver, Served, Lost]), Role::Fenced);
        assert_eq!(
            walk(&[Followed, TookOver, Served, Lost, Followed]),
            Role::Standby
        );
        assert_eq!(walk(&[Followed, TookOver, Followed]), Role::Standby);
        assert_eq!(
            walk(&[Followed, TookOver, Served, StopAsked, Lost]),
            Role::Stopping
        );
    }

    #[test]
    fn active_is_reached_from_taking_over_only() {
        for role in Role::ALL {
            for occurrence in OCCURRENCES {
                if transition(role, occurrence) == Step::To(Role::Active) {
                    assert_eq!((role, occurrence), (Role::TakingOver, Occurrence::Served));
                }
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_stopping_and_everything_leads_into_it() {
        for role in Role::ALL {
            let asked = transition(role, Occurrence::StopAsked);
            if role == Role::Stopping {
                assert_eq!(asked, Step::Stay);
            } else {
                assert_eq!(asked, Step::To(Role::Stopping));
            }
        }
        for occurrence in OCCURRENCES {
            assert_eq!(transition(Role::Stopping, occurrence), Step::Stay);
        }
    }

    #[test]
    fn an_active_leaves_its_role_only_by_losing_it_or_being_asked_to() {
        for occurrence in OCCURRENCES {
            if let Step::To(next) = transition(Role::Active, occurrence) {
                assert!(matches!(next, Role::Fenced | Role::Stopping), "{next}");
            }
        }
    }

    #[test]
    fn names_are_the_ones_in_json() {
        for role in Role::ALL {
            let json = serde_json::to_string(&role).expect("a role is a string");
            assert_eq!(json, format!("\"{}\"", role.name()));
        }
    }
}
