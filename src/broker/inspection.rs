//! What the broker knows of the bytes that it gave to the journal, for those who look at a journal
//! without a broker.

use bytes::Bytes;
use openwire::{Destination, XaTransactionId};
use storage::BacklogId;
use storage::inspect::Names;

use super::descriptor::Descriptor;
use super::transaction::Xid;

/// What the queue of a backlog is called whose own name is lost; its number follows.
const RECOVERED: &str = "RECOVERED.";
/// The format of the names that transactions get whose end is lost: "SALV".
const SALVAGED_FORMAT: i32 = 0x5341_4C56;
/// Bytes of a local transaction's key that its new name has.
const KEY_BYTES_MAX: usize = 512;

/// Names queues, durable subscriptions and transactions of a journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalNames;

impl Names for JournalNames {
    fn name(&self, id: BacklogId, descriptor: &[u8]) -> String {
        match Descriptor::decode(Bytes::copy_from_slice(descriptor)) {
            Ok(Descriptor::Queue { name }) => format!("queue {}", text(&name)),
            Ok(Descriptor::Subscription { key, topic, .. }) => format!(
                "durable subscription {} of {} to topic {}",
                key.name,
                key.client_id,
                text(&topic)
            ),
            Ok(Descriptor::Schedule) => "the schedule".to_owned(),
            Err(error) => format!("backlog {} ({error})", id.0),
        }
    }

    fn recovered_backlog(&self, id: BacklogId) -> Bytes {
        let name = Destination::queue(&*format!("{RECOVERED}{}", id.0));
        Descriptor::Queue { name }.encode()
    }

    /// A distributed transaction keeps its name, so that its coordinator can still decide. A local
    /// one gets a name under which operators see it.
    fn recovered_transaction(&self, key: &[u8], number: u64) -> Bytes {
        let key = Bytes::copy_from_slice(key);
        if let Some(xid) = Xid::from_key(&key) {
            return xid.key().clone();
        }
        let id = XaTransactionId {
            format_id: SALVAGED_FORMAT,
            global_transaction_id: Some(key.slice(..key.len().min(KEY_BYTES_MAX))),
            branch_qualifier: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
        };
        Xid::new(&id).map_or(key, |xid| xid.key().clone())
    }
}

fn text(destination: &Destination) -> String {
    let name = destination.name.clone().unwrap_or_default();
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_queues_are_told_and_lost_ones_are_replaced() {
        let names = JournalNames;
        let orders = Descriptor::Queue {
            name: Destination::queue("orders"),
        };
        assert_eq!(names.name(BacklogId(3), &orders.encode()), "queue orders");
        let recovered = names.recovered_backlog(BacklogId(7));
        assert_eq!(names.name(BacklogId(7), &recovered), "queue RECOVERED.7");
        assert!(names.name(BacklogId(9), b"\xff").starts_with("backlog 9 ("));
    }

    #[test]
    fn a_transaction_without_an_end_gets_a_name_that_operators_can_decide() {
        let names = JournalNames;
        let local = names.recovered_transaction(b"ID:host-1:1:TX:4", 1);
        let other = names.recovered_transaction(b"ID:host-1:1:TX:4", 2);
        assert_ne!(local, other);
        assert!(Xid::from_key(&local).is_some());
        let distributed = names.recovered_transaction(&local, 3);
        assert_eq!(distributed, local, "a distributed one keeps its name");
    }
}
