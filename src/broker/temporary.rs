//! Temporary queues and topics: made by a connection, gone with it, consumed by it alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::{ConnectionId, Destination};

use super::destination::Target;
use super::{Broker, Refusal};

impl Broker {
    /// Makes a temporary destination. False: it is there already.
    pub(super) fn add_temporary(
        self: &Arc<Self>,
        name: &Destination,
        owner: &ConnectionId,
    ) -> Result<bool, Refusal> {
        if name
            .name
            .as_ref()
            .is_none_or(openwire::WireString::is_empty)
        {
            return Err(Refusal::NamelessDestination);
        }
        {
            let mut destinations = self.destinations.write();
            if let Some(present) = destinations.get(name) {
                return match present.owner() {
                    Some(other) if other != owner => Err(Refusal::ForeignTemporary(name.clone())),
                    _ => Ok(false),
                };
            }
            let name = name.detached();
            let target = self.make_target(&name, Some(owner.clone()));
            self.introduce(&mut destinations, name, &target);
        }
        self.advise_destination(name, Some(owner), true);
        Ok(true)
    }

    /// Deletes a temporary destination that has no consumers, or whose connection ends.
    pub(super) fn remove_temporary(
        self: &Arc<Self>,
        name: &Destination,
        owner: &ConnectionId,
        is_forced: bool,
    ) -> Result<(), Refusal> {
        let target: Target = {
            let mut destinations = self.destinations.write();
            let Some(target) = destinations.get(name) else {
                return Ok(());
            };
            if target.owner() != Some(owner) {
                return Err(Refusal::ForeignTemporary(name.clone()));
            }
            let consumers = target.consumer_count();
            if consumers > 0 && !is_forced {
                return Err(Refusal::TemporaryInUse {
                    destination: name.clone(),
                    consumers,
                });
            }
            match destinations.remove(name) {
                Some(target) => target,
                None => return Ok(()),
            }
        };
        self.routes_version.fetch_add(1, Ordering::Release);
        target.delete();
        self.advise_destination(name, Some(owner), false);
        Ok(())
    }
}
