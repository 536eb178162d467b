//! What was observed of a round, and the milestones of its takeover that follow from it.

use serde::Serialize;

/// Something that a broker showed, on its standard output or its health port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It entered a role; the words after the role's name are kept.
    Role { role: String, detail: String },
    /// It knows of a newer epoch: when it is about to take over, the one that it claimed.
    Claimed,
    /// It has the lock, or the lease of the other one ran out.
    Obtained,
    /// It has read the journal to its end.
    Replayed,
    /// It opened a messaging port.
    Listening,
    /// Its process ended.
    Exited { status: String },
}

/// An event, its broker (0 or 1) and its moment on the drill's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) at_us: u64,
    pub(super) broker: usize,
    pub(super) event: Event,
}

impl Event {
    /// Reads a machine line of `baton broker`; other lines are nobody's business here.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "role" => {
                let (role, detail) = rest.split_once(' ').unwrap_or((rest, ""));
                Some(Self::Role {
                    role: role.to_owned(),
                    detail: detail.to_owned(),
                })
            }
            "obtained" => Some(Self::Obtained),
            "replayed" => Some(Self::Replayed),
            "listening" => Some(Self::Listening),
            _ => None,
        }
    }

    /// The role that was entered, if this is that.
    pub(super) fn role(&self) -> Option<&str> {
        match self {
            Self::Role { role, .. } => Some(role),
            _ => None,
        }
    }
}

/// The milestones of one takeover, in microseconds after the fault. Absent: not observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Milestones {
    /// The standby noticed, and began to take over.
    pub noticed_us: Option<u64>,
    /// It had obtained the lock, or the old lease had run out.
    pub obtained_us: Option<u64>,
    /// It had read the journal to its end.
    pub replayed_us: Option<u64>,
    /// Its messaging port was open.
    pub ports_open_us: Option<u64>,
    /// It acknowledged a send of the probe that only ever connects to it.
    pub probe_acknowledged_us: Option<u64>,
    /// It acknowledged a send of the load, which uses the failover: URL.
    pub acknowledged_us: Option<u64>,
    /// It delivered a message to a consumer of the load.
    pub delivered_us: Option<u64>,
    /// The victim was resumed (SIGCONT) or started again.
    pub resumed_us: Option<u64>,
    /// The victim was standby again.
    pub standby_us: Option<u64>,
}

impl Milestones {
    /// The takeover's time as a client sees it; of the probe where the load moved on later.
    pub fn served_us(&self) -> Option<u64> {
        match (self.probe_acknowledged_us, self.acknowledged_us) {
            (Some(probe), Some(load)) => Some(probe.min(load)),
            (one, other) => one.or(other),
        }
    }
}

/// Adds to `milestones` what the events of both brokers say about a takeover after `fault_us`.
pub(super) fn read_events(
    milestones: &mut Milestones,
    events: &[Observed],
    fault_us: u64,
    victim: usize,
    successor: usize,
) {
    let first = |broker: usize, after_us: u64, wanted: &dyn Fn(&Event) -> bool| {
        events
            .iter()
            .filter(|one| one.broker == broker && one.at_us >= after_us && wanted(&one.event))
            .map(|one| one.at_us - fault_us)
            .min()
    };
    let active_us = first(successor, fault_us, &|event| event.role() == Some("active"));
    let taking_over_us = first(successor, fault_us, &|event| {
        event.role() == Some("taking_over")
    });
    let claimed_us = first(successor, fault_us, &|event| *event == Event::Claimed);
    milestones.noticed_us = match (claimed_us, taking_over_us) {
        (Some(claimed), Some(taking_over)) => Some(claimed.min(taking_over)),
        (one, other) => one.or(other),
    };
    // Whoever takes over has what it takes.
    milestones.obtained_us =
        first(successor, fault_us, &|event| *event == Event::Obtained).or(taking_over_us);
    milestones.ports_open_us = first(successor, fault_us, &|event| *event == Event::Listening);
    // Ports open at once when the whole journal is there.
    milestones.replayed_us = first(successor, fault_us, &|event| *event == Event::Replayed)
        .or(milestones.ports_open_us.into_iter().chain(active_us).min());
    let back_from = milestones
        .resumed_us
        .map_or(fault_us, |resumed| fault_us + resumed);
    milestones.standby_us = first(victim, back_from, &|event| event.role() == Some("standby"));
}

/// The word `cause=...` of the successor's `role taking_over` line.
pub(super) fn cause_of(events: &[Observed], fault_us: u64, successor: usize) -> Option<String> {
    events
        .iter()
        .filter(|one| one.broker == successor && one.at_us >= fault_us)
        .find_map(|one| match &one.event {
            Event::Role { role, detail } if role == "taking_over" => {
                let word = detail
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix("cause="));
                word.map(str::to_owned)
            }
            _ => None,
        })
}

/// Smallest, median, 95th percentile and largest of a few times, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Of how many.
    pub count: usize,
    /// The smallest.
    pub min_us: u64,
    /// The median; of an even number, the mean of the middle two.
    pub median_us: u64,
    /// The 95th percentile, by nearest rank.
    pub p95_us: u64,
    /// The largest.
    pub max_us: u64,
}

impl Spread {
    /// The spread of `times`, if there is any.
    pub fn of(times: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut times: Vec<u64> = times.into_iter().collect();
        times.sort_unstable();
        let (first, last) = (*times.first()?, *times.last()?);
        let count = times.len();
        let rank = (count * 95).div_ceil(100).max(1);
        Some(Self {
            count,
            min_us: first,
            median_us: u64::midpoint(times[(count - 1) / 2], times[count / 2]),
            p95_us: times[rank - 1],
            max_us: last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(at_us: u64, broker: usize, line: &str) -> Observed {
        Observed {
            at_us,
            broker,
            event: Event::parse(line).expect("a machine line"),
        }
    }

    #[test]
    fn machine_lines_are_read_and_others_are_not() {
        assert_eq!(
            Event::parse("role active epoch 4"),
            Some(Event::Role {
                role: "active".to_owned(),
                detail: "epoch 4".to_owned()
            })
        );
        assert_eq!(
            Event::parse("listening tcp://127.0.0.1:5"),
            Some(Event::Listening)
        );
        assert_eq!(
            Event::parse("role"),
            Some(Event::Role {
                role: String::new(),
                detail: String::new()
            })
        );
        assert_eq!(Event::parse("2026-11-21 INFO listening"), None);
        assert_eq!(Event::parse(""), None);
    }

    #[test]
    fn milestones_are_those_of_the_successor_after_the_fault() {
        let events = [
            observed(10, 0, "role active epoch 1"),
            observed(11, 0, "listening tcp://127.0.0.1:1"),
            observed(12, 1, "role standby"),
            Observed {
                at_us: 1010,
                broker: 1,
                event: Event::Claimed,
            },
            observed(1030, 1, "role taking_over cause=lock"),
            observed(1050, 1, "role active epoch 2"),
            observed(1060, 1, "listening tcp://127.0.0.1:2"),
            observed(1500, 0, "role standby"),
        ];
        let mut milestones = Milestones {
            resumed_us: Some(400),
            ..Milestones::default()
        };
        read_events(&mut milestones, &events, 1000, 0, 1);
        assert_eq!(
            milestones,
            Milestones {
                noticed_us: Some(10),
                obtained_us: Some(30),
                replayed_us: Some(50),
                ports_open_us: Some(60),
                resumed_us: Some(400),
                standby_us: Some(500),
                ..Milestones::default()
            }
        );
        assert_eq!(cause_of(&events, 1000, 1).as_deref(), Some("lock"));
        assert_eq!(cause_of(&events, 1000, 0), None);
    }

    #[test]
    fn role_before_the_resumption_is_not_the_return_of_the_victim() {
        let events = [
            observed(1100, 0, "role standby"),
            observed(1900, 0, "role standby"),
        ];
        let mut milestones = Milestones {
            resumed_us: Some(500),
            ..Milestones::default()
        };
        read_events(&mut milestones, &events, 1000, 0, 1);
        assert_eq!(milestones.standby_us, Some(900));
    }

    #[test]
    fn spread_is_that_of_the_times() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([40, 10, 20, 30]).expect("there are times");
        assert_eq!(
            (
                spread.min_us,
                spread.median_us,
                spread.p95_us,
                spread.max_us
            ),
            (10, 25, 40, 40)
        );
        let many = Spread::of(1..=100).expect("there are times");
        assert_eq!((many.median_us, many.p95_us, many.max_us), (50, 95, 100));
    }
}
