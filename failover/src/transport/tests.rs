//! The reconnector over a scripted connector and paused time.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::*;
use crate::ClientUri;

/// Connects to hosts that are up; a transport is the host's name and a life of its own.
#[derive(Clone, Default)]
struct Hosts {
    up: Arc<Mutex<HashSet<String>>>,
    tried: Arc<Mutex<Vec<String>>>,
    dead: Arc<Mutex<HashMap<String, bool>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0} is down")]
struct Down(String);

impl Hosts {
    fn set(&self, up: &[&str]) {
        *self.up.lock().unwrap() = up.iter().map(|host| (*host).to_owned()).collect();
    }

    fn tried(&self) -> Vec<String> {
        std::mem::take(&mut *self.tried.lock().unwrap())
    }
}

impl Connector for Hosts {
    type Transport = String;
    type Error = Down;

    async fn connect(&self, address: &InnerUri) -> Result<String, Down> {
        self.tried.lock().unwrap().push(address.host.clone());
        if self.up.lock().unwrap().contains(&address.host) {
            Ok(address.host.clone())
        } else {
            Err(Down(address.host.clone()))
        }
    }

    fn is_alive(&self, transport: &String) -> bool {
        !self.dead.lock().unwrap().contains_key(transport)
    }
}

fn reconnector(uri: &str) -> (Reconnector<Hosts>, Hosts) {
    let hosts = Hosts::default();
    let uri = ClientUri::parse(uri).unwrap_or_else(|error| panic!("{error}"));
    (Reconnector::new(uri.failover, hosts.clone(), 1), hosts)
}

const PAIR: &str = "failover:(tcp://a:1,tcp://b:1)?randomize=false";

#[tokio::test(start_paused = true)]
async fn tries_each_address_until_one_answers() {
    let (mut reconnector, hosts) = reconnector(PAIR);
    hosts.set(&["b"]);
    let link = reconnector.connect().await.unwrap();
    assert_eq!(link.transport, "b");
    assert!(link.is_first);
    assert_eq!(hosts.tried(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn waits_between_rounds_and_goes_on_after_a_loss() {
    let (mut reconnector, hosts) = reconnector(PAIR);
    hosts.set(&["a"]);
    let mut events = reconnector.events();
    reconnector.connect().await.unwrap();
    hosts.set(&[]);
    reconnector.lost(&"broken pipe").unwrap();
    let later = hosts.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        later.set(&["b"]);
    });
    let begun = tokio::time::Instant::now();
    let link = reconnector.connect().await.unwrap();
    assert_eq!(link.transport, "b");
    assert!(!link.is_first);
    // Rounds at 10, 30, 70 and 150 ms after the loss: the last one finds it.
    assert_eq!(begun.elapsed().as_millis(), 150);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event);
    }
    assert!(
        matches!(&seen[0], Event::Connected { is_first: true, .. }),
        "{seen:?}"
    );
    assert!(matches!(&seen[1], Event::Interrupted { cause, .. } if cause == "broken pipe"));
    assert!(
        seen.iter()
            .any(|event| matches!(event, Event::RoundFailed { rounds: 3, .. }))
    );
    assert!(matches!(
        seen.last(),
        Some(Event::Connected {
            is_first: false,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_the_allowed_rounds_and_says_why() {
    let (mut reconnector, hosts) =
        reconnector("failover:(tcp://a:1,tcp://b:1)?maxReconnectAttempts=2&randomize=false");
    let error = reconnector.connect().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no broker answered at tcp://a:1,tcp://b:1 in 2 round(s): b is down"
    );
    assert_eq!(hosts.tried().len(), 4);
    assert!(reconnector.connect().await.is_err());
    assert_eq!(hosts.tried().len(), 0, "it is final");
}

#[tokio::test(start_paused = true)]
async fn a_single_address_is_tried_once_and_not_sought_again() {
    let (mut first, hosts) = reconnector("tcp://a:1");
    assert!(first.connect().await.is_err());
    assert_eq!(hosts.tried(), ["a"]);
    let (mut second, hosts) = reconnector("tcp://a:1");
    hosts.set(&["a"]);
    second.connect().await.unwrap();
    assert!(second.lost(&"gone").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pushed_list_is_tried_first_with_nested_options() {
    let (mut reconnector, hosts) =
        reconnector("failover:(tcp://a:1)?randomize=false&nested.connectionTimeout=5");
    hosts.set(&["a"]);
    reconnector.connect().await.unwrap();
    reconnector.push_addresses("tcp://c:1, tcp://d:1,nonsense", false);
    assert!(!reconnector.is_move_wanted());
    hosts.set(&["d"]);
    reconnector.lost(&"gone").unwrap();
    hosts.tried();
    let link = reconnector.connect().await.unwrap();
    assert_eq!(hosts.tried(), ["c", "d"]);
    assert_eq!(
        link.address.options.tcp.connection_timeout,
        Duration::from_millis(5)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rebalance_moves_to_the_first_pushed_address() {
    let (mut reconnector, hosts) = reconnector(PAIR);
    hosts.set(&["a", "c"]);
    reconnector.connect().await.unwrap();
    reconnector.push_addresses("tcp://c:1", true);
    assert_eq!(reconnector.move_wanted().await, MoveReason::Rebalance);
    reconnector.left();
    assert_eq!(reconnector.connect().await.unwrap().transport, "c");
}

#[tokio::test(start_paused = true)]
async fn continues_at_once_where_the_broker_says() {
    let (mut reconnector, hosts) = reconnector(PAIR);
    hosts.set(&["a", "b"]);
    reconnector.connect().await.unwrap();
    reconnector.reconnect_to("tcp://b:1");
    assert_eq!(reconnector.move_wanted().await, MoveReason::ReconnectTo);
    reconnector.left();
    let begun = tokio::time::Instant::now();
    assert_eq!(reconnector.connect().await.unwrap().transport, "b");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn staying_where_the_broker_says_is_no_move() {
    let (mut reconnector, hosts) = reconnector(PAIR);
    hosts.set(&["a"]);
    reconnector.connect().await.unwrap();
    reconnector.reconnect_to("tcp://a:1");
    assert!(!reconnector.is_move_wanted());
}

#[tokio::test(start_paused = true)]
async fn a_backup_takes_over_without_connecting() {
    let (mut reconnector, hosts) =
        reconnector("failover:(tcp://a:1,tcp://b:1)?randomize=false&backup=true");
    hosts.set(&["a", "b"]);
    reconnector.connect().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1), reconnector.move_wanted()).await;
    assert!(waited.is_err(), "a backup is no reason to move");
    hosts.tried();
    reconnector.lost(&"gone").unwrap();
    assert_eq!(reconnector.connect().await.unwrap().transport, "b");
    assert!(hosts.tried().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_backup_is_not_used() {
    let (mut reconnector, hosts) =
        reconnector("failover:(tcp://a:1,tcp://b:1)?randomize=false&backup=true");
    hosts.set(&["a", "b"]);
    reconnector.connect().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(1), reconnector.move_wanted()).await;
    hosts.dead.lock().unwrap().insert("b".to_owned(), true);
    hosts.tried();
    reconnector.lost(&"gone").unwrap();
    reconnector.connect().await.unwrap();
    assert_eq!(hosts.tried(), ["b"], "it is connected to anew");
}

#[tokio::test(start_paused = true)]
async fn goes_back_to_the_priority_address_when_it_answers() {
    let (mut reconnector, hosts) =
        reconnector("failover:(tcp://a:1,tcp://b:1)?randomize=false&priorityBackup=true");
    hosts.set(&["b"]);
    assert_eq!(reconnector.connect().await.unwrap().transport, "b");
    let later = hosts.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        later.set(&["a", "b"]);
    });
    let moved = tokio::time::timeout(Duration::from_secs(60), reconnector.move_wanted()).await;
    assert_eq!(moved.unwrap(), MoveReason::Priority);
    reconnector.left();
    assert_eq!(reconnector.connect().await.unwrap().transport, "a");
    let waited = tokio::time::timeout(Duration::from_secs(60), reconnector.move_wanted()).await;
    assert!(waited.is_err(), "it stays there");
}

#[tokio::test]
async fn a_file_of_addresses_is_read_at_each_round() {
    let path = std::env::temp_dir().join(format!("failover-addresses-{}", std::process::id()));
    std::fs::write(&path, "tcp://c:1\n").unwrap();
    let (mut reconnector, hosts) = reconnector(&format!(
        "failover:(tcp://a:1)?randomize=false&updateURIsURL=file:{}",
        path.display()
    ));
    hosts.set(&["c"]);
    let link = reconnector.connect().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(link.transport, "c");
}
