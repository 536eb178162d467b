//! Which messages a consumer wants: its selector, and whether its own connection's messages count.
//!
//! Consumers of a queue that want the same share one search through it, so interests are compared.

use openwire::ConnectionId;

use super::Message;
use super::selector::{MessageView, Selector};

/// Which messages a consumer wants; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Only what this selects.
    pub(super) selector: Option<Selector>,
    /// Not what this connection sent.
    pub(super) not_from: Option<ConnectionId>,
}

impl Interest {
    /// Whether everything is wanted.
    pub(super) fn is_all(&self) -> bool {
        self.selector.is_none() && self.not_from.is_none()
    }

    /// Whether this message is wanted, which was delivered so often before.
    pub(super) fn wants(&self, message: &Message, redeliveries: u32) -> bool {
        if let Some(connection) = &self.not_from
            && message
                .producer()
                .is_some_and(|producer| producer.connection_id == connection.value)
        {
            return false;
        }
        self.selector.as_ref().is_none_or(|selector| {
            let times = i32::try_from(redeliveries).unwrap_or(i32::MAX);
            selector.selects(&MessageView::new(message).delivered(times))
        })
    }
}
