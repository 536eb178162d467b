//! The events of both brokers, in the order in which the drill saw them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::timeline::{Event, Observed};

/// Events kept; a broker that prints more than this is out of its mind.
const EVENTS_MAX: usize = 100_000;

/// Collects events and wakes whoever waits for one.
#[derive(Debug)]
pub(super) struct Chronicle {
    started: Instant,
    events: Mutex<Vec<Observed>>,
    changed: Notify,
}

impl Chronicle {
    /// Nothing seen yet; the drill's clock starts at `started`.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            events: Mutex::new(Vec::new()),
            changed: Notify::new(),
        }
    }

    /// Adds an event that is seen now.
    pub(super) fn add(&self, broker: usize, event: Event) {
        let at_us = self.started.elapsed().as_micros() as u64;
        let mut events = self.events.lock();
        if events.len() < EVENTS_MAX {
            events.push(Observed {
                at_us,
                broker,
                event,
            });
        }
        drop(events);
        self.changed.notify_waiters();
    }

    /// All events from `from_us` on.
    pub(super) fn since(&self, from_us: u64) -> Vec<Observed> {
        let events = self.events.lock();
        events
            .iter()
            .filter(|one| one.at_us >= from_us)
            .cloned()
            .collect()
    }

    /// The latest role of `broker`, if it has shown one since its process began.
    pub(super) fn role_of(&self, broker: usize) -> Option<String> {
        let events = self.events.lock();
        let latest = events.iter().rev().find(|one| {
            one.broker == broker && matches!(one.event, Event::Role { .. } | Event::Exited { .. })
        });
        latest.and_then(|one| one.event.role().map(str::to_owned))
    }

    /// How the process of `broker` ended, if it did since `from_us`.
    pub(super) fn exit_of(&self, broker: usize, from_us: u64) -> Option<String> {
        let events = self.events.lock();
        events.iter().find_map(|one| match &one.event {
            Event::Exited { status } if one.broker == broker && one.at_us >= from_us => {
                Some(status.clone())
            }
            _ => None,
        })
    }

    /// Waits until `check` yields something, at most for `patience`. Asked again at each event,
    /// and every few milliseconds for what does not come as an event.
    pub(super) async fn wait_for<T>(
        &self,
        patience: Duration,
        mut check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        const LOOK_INTERVAL: Duration = Duration::from_millis(5);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if let Some(found) = check() {
                return Some(found);
            }
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            let _ = tokio::time::timeout(LOOK_INTERVAL, self.changed.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Event {
        Event::Role {
            role: name.to_owned(),
            detail: String::new(),
        }
    }

    #[test]
    fn role_is_the_latest_one_of_a_living_process() {
        let chronicle = Chronicle::new(Instant::now());
        assert_eq!(chronicle.role_of(0), None);
        chronicle.add(0, role("standby"));
        chronicle.add(1, role("active"));
        chronicle.add(0, Event::Listening);
        assert_eq!(chronicle.role_of(0).as_deref(), Some("standby"));
        chronicle.add(
            0,
            Event::Exited {
                status: "signal 9".to_owned(),
            },
        );
        assert_eq!(chronicle.role_of(0), None);
        assert_eq!(chronicle.exit_of(0, 0).as_deref(), Some("signal 9"));
        assert_eq!(chronicle.exit_of(1, 0), None);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_event_or_with_the_patience() {
        let chronicle = Chronicle::new(Instant::now());
        let long = Duration::from_secs(60);
        let active = || (chronicle.role_of(0)? == "active").then_some(());
        let (found, ()) = tokio::join!(chronicle.wait_for(long, active), async {
            tokio::task::yield_now().await;
            chronicle.add(0, role("active"));
        });
        assert_eq!(found, Some(()));
        let never = chronicle
            .wait_for(Duration::from_millis(20), || None::<()>)
            .await;
        assert_eq!(never, None);
    }
}
