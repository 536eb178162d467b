//! Who may connect, and who may do what with which destination: ActiveMQ's simple authentication and its
//! authorization map.
//!
//! A connection has its `Permits` from the moment it is authenticated; where nothing is configured it has
//! none, and nothing is checked. This module knows users, groups and names of destinations, and nothing
//! of what destinations are.

mod authorization;
mod secret;

use std::sync::Arc;

use openwire::{Destination, WireString};

pub use self::authorization::{Authorization, Grants};
pub use self::secret::Secret;
use super::{Broker, Refusal};

/// Who may do what. The default: everybody everything.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who may connect; None = everybody.
    pub authentication: Option<Authentication>,
    /// Who may do what with which destination; None = everybody everything.
    pub authorization: Option<Arc<Authorization>>,
    /// Messages carry the name of the user that sent them (`populateJMSXUserID`).
    pub populate_user_id: bool,
    /// That name is the one that was authenticated, also for users without a name of their own
    /// (`useAuthenticatedPrincipalForJMSXUserID`).
    pub use_authenticated_principal: bool,
}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// Everybody who has a password.
    pub users: Vec<User>,
    /// Who connects without a name and without a password; None = nobody may.
    pub anonymous: Option<Anonymous>,
}

/// Somebody with a password.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// The groups that the user is in.
    pub groups: Vec<String>,
}

/// Those without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// What they are called.
    pub user: String,
    /// The group that they are in.
    pub group: String,
}

impl Default for Anonymous {
    fn default() -> Self {
        Anonymous {
            user: "anonymous".to_owned(),
            group: "anonymous".to_owned(),
        }
    }
}

/// Who a client says it is.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Its name.
    pub user: Option<WireString>,
    /// Its password.
    pub password: Option<Secret>,
}

/// Somebody who was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    user: String,
    groups: Vec<String>,
}

impl Authentication {
    /// Who has these credentials.
    ///
    /// # Errors
    /// When nobody has. How long that takes does not tell whether there is such a user.
    fn authenticate(&self, credentials: &Credentials) -> Result<Identity, Refusal> {
        if let (Some(anonymous), None, None) =
            (&self.anonymous, &credentials.user, &credentials.password)
        {
            return Ok(Identity {
                user: anonymous.user.clone(),
                groups: vec![anonymous.group.clone()],
            });
        }
        let name = credentials.user.as_ref().map(WireString::to_string);
        let given = credentials.password.as_ref();
        let user = self
            .users
            .iter()
            .find(|user| Some(&user.name) == name.as_ref());
        let nobodys = Secret::new(String::new());
        let expected = user.map_or(&nobodys, |user| &user.password);
        let is_right = given.is_some_and(|given| expected.is(given));
        match user.filter(|_| is_right) {
            Some(user) => Ok(Identity {
                user: user.name.clone(),
                groups: user.groups.clone(),
            }),
            None => Err(Refusal::BadCredentials {
                user: name.unwrap_or_else(|| "null".to_owned()),
            }),
        }
    }
}

/// What somebody wants to do with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make it.
    Create,
    /// Consume or browse.
    Read,
    /// Remove it.
    Remove,
    /// Send.
    Write,
}

impl Action {
    fn words(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Read => "read from",
            Action::Remove => "remove",
            Action::Write => "write to",
        }
    }
}

/// What one connection may do.
#[derive(Debug)]
pub(super) struct Permits {
    /// None: nobody was authenticated, so nothing is allowed.
    identity: Option<Identity>,
    authorization: Arc<Authorization>,
}

impl Permits {
    /// Refuses what is not allowed.
    pub(super) fn check(&self, action: Action, destination: &Destination) -> Result<(), Refusal> {
        let Some(identity) = &self.identity else {
            return Err(Refusal::NotAuthenticated);
        };
        if self
            .authorization
            .allows(&identity.groups, action, destination)
        {
            return Ok(());
        }
        Err(Refusal::NotAuthorized {
            user: identity.user.clone(),
            action: action.words(),
            destination: destination.clone(),
        })
    }

    /// Whether one may consume from a destination.
    pub(super) fn may_read(&self, destination: &Destination) -> bool {
        self.check(Action::Read, destination).is_ok()
    }
}

/// What is known of a connection's user.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What it may do; None = everything.
    pub(super) permits: Option<Arc<Permits>>,
    /// What its messages say about who sent them; None = what the client says.
    pub(super) user_id: Option<Option<WireString>>,
}

impl Access {
    /// What somebody with these credentials may do.
    ///
    /// # Errors
    /// When nobody has these credentials.
    pub(super) fn admit(&self, credentials: &Credentials) -> Result<Standing, Refusal> {
        let identity = match &self.authentication {
            Some(authentication) => Some(authentication.authenticate(credentials)?),
            None => None,
        };
        let user_id = self.populate_user_id.then(|| {
            let authenticated = identity
                .as_ref()
                .filter(|_| self.use_authenticated_principal)
                .map(|identity| identity.user.as_str().into());
            authenticated.or_else(|| credentials.user.clone())
        });
        let permits = self.authorization.as_ref().map(|authorization| {
            Arc::new(Permits {
                identity,
                authorization: Arc::clone(authorization),
            })
        });
        Ok(Standing { permits, user_id })
    }
}

impl Permits {
    /// Refuses to make those of some destinations that are not there, unless it is allowed.
    pub(super) fn check_creation(
        &self,
        broker: &Broker,
        destinations: &[Destination],
    ) -> Result<(), Refusal> {
        for destination in destinations {
            if broker.find(destination).is_none() {
                self.check(Action::Create, destination)?;
            }
        }
        Ok(())
    }

    /// Refuses to do something with one of several destinations when it is not allowed.
    pub(super) fn check_all(
        &self,
        action: Action,
        destinations: &[Destination],
    ) -> Result<(), Refusal> {
        destinations
            .iter()
            .try_for_each(|destination| self.check(action, destination))
    }
}

#[cfg(test)]
mod tests;
