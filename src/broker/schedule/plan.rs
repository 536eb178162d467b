//! What the properties of a message say about when it is to be delivered.

use jiff::tz::TimeZone;
use openwire::primitive::{PrimitiveMap, Value};

use super::cron::{Cron, CronError};

pub(super) const DELAY: &str = "AMQ_SCHEDULED_DELAY";
pub(super) const PERIOD: &str = "AMQ_SCHEDULED_PERIOD";
pub(super) const REPEAT: &str = "AMQ_SCHEDULED_REPEAT";
pub(super) const CRON: &str = "AMQ_SCHEDULED_CRON";
/// Names the job that a message came from; one that has it is not delayed again.
pub(super) const JOB_ID: &str = "scheduledJobId";
/// The beginning of every name that delays a message, for a quick look.
pub(super) const PREFIX: &[u8] = b"AMQ_SCHEDULED_";

/// Repetitions without a period follow each other after this.
const PERIOD_MS_MIN: i64 = 100;

/// A message whose properties cannot be understood as a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A value that is no number.
    #[error("property `{property}` must be a whole number, not {found}")]
    NoNumber {
        /// The property.
        property: &'static str,
        /// What it is.
        found: String,
    },
    /// Too many repetitions.
    #[error("the scheduled repeat value is too large: {repeat} is above the limit of {limit}")]
    TooManyRepetitions {
        /// What the message asks for.
        repeat: i64,
        /// The limit.
        limit: u32,
    },
    /// Not a cron entry.
    #[error("property `AMQ_SCHEDULED_CRON`: {0}")]
    Cron(#[from] CronError),
    /// A cron entry for a day that never comes.
    #[error("property `AMQ_SCHEDULED_CRON`: there is no such day")]
    Never,
    /// Properties that cannot be decoded.
    #[error("the properties of the message cannot be read")]
    Damaged,
}

/// When a message is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Plan {
    cron: Option<Cron>,
    delay_ms: i64,
    period_ms: i64,
    /// Deliveries after the first; below 0 = without end.
    pub(super) repeat: i32,
}

/// What is to be done when a job is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The message is to be delivered.
    pub(super) is_delivery: bool,
    /// The job goes on at this time, with this many repetitions left.
    pub(super) again: Option<(i64, i32)>,
    /// A series of deliveries is to be started at this time.
    pub(super) series: Option<i64>,
}

impl Plan {
    /// One delivery after this time, as a message says that has no other property of these.
    pub(in crate::broker) fn after(delay_ms: i64) -> Self {
        Plan {
            cron: None,
            delay_ms,
            period_ms: 0,
            repeat: 0,
        }
    }

    /// Reads the properties; None: the message is not to be delayed.
    pub(super) fn of(
        properties: &PrimitiveMap,
        repeat_max: u32,
    ) -> Result<Option<Self>, ScheduleError> {
        let is_there = |name| {
            properties
                .get(name)
                .is_some_and(|value| *value != Value::Null)
        };
        let is_delayed = [DELAY, PERIOD, CRON].into_iter().any(is_there);
        if !is_delayed || is_there(JOB_ID) {
            return Ok(None);
        }
        let repeat = number(properties, REPEAT)?.unwrap_or(0);
        if repeat > i64::from(repeat_max) {
            return Err(ScheduleError::TooManyRepetitions {
                repeat,
                limit: repeat_max,
            });
        }
        Ok(Some(Plan {
            cron: cron(properties)?,
            delay_ms: number(properties, DELAY)?.unwrap_or(0),
            period_ms: number(properties, PERIOD)?.unwrap_or(0).max(0),
            repeat: i32::try_from(repeat.max(-1)).unwrap_or(i32::MAX),
        }))
    }

    /// Without its cron entry: one series of deliveries.
    pub(super) fn without_cron(self) -> Self {
        Plan { cron: None, ..self }
    }

    /// Whether more than one delivery may come of it.
    pub(super) fn is_repeated(&self) -> bool {
        self.cron.is_some() || self.repeat != 0
    }

    /// When it is due first. A delay or, without one, the period comes on top of the cron entry's
    /// time.
    pub(super) fn first(&self, now_ms: i64, zone: &TimeZone) -> Option<i64> {
        let start = match &self.cron {
            Some(cron) => cron.next(now_ms, zone)?,
            None => now_ms,
        };
        let wait = if self.delay_ms > 0 {
            self.delay_ms
        } else {
            self.period_ms
        };
        Some(start.saturating_add(wait))
    }

    /// What is to be done now that it is due. A cron entry with repetitions delivers nothing itself
    /// but starts a series each time.
    pub(super) fn turn(&self, repeats_left: i32, now_ms: i64, zone: &TimeZone) -> Turn {
        let Some(cron) = &self.cron else {
            let next = now_ms.saturating_add(self.period_ms.max(PERIOD_MS_MIN));
            let left = if repeats_left > 0 {
                repeats_left - 1
            } else {
                repeats_left
            };
            return Turn {
                is_delivery: true,
                again: (repeats_left != 0).then_some((next, left)),
                series: None,
            };
        };
        let is_delivery = self.repeat == 0;
        Turn {
            is_delivery,
            again: cron.next(now_ms, zone).map(|next| (next, repeats_left)),
            series: if is_delivery {
                None
            } else {
                self.clone().without_cron().first(now_ms, zone)
            },
        }
    }
}

fn cron(properties: &PrimitiveMap) -> Result<Option<Cron>, ScheduleError> {
    let Some(Value::String(text)) = properties.get(CRON) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(Cron::parse(&text)?))
}

/// A number in any of the types that clients set it as.
pub(super) fn number(
    properties: &PrimitiveMap,
    property: &'static str,
) -> Result<Option<i64>, ScheduleError> {
    let Some(value) = properties.get(property) else {
        return Ok(None);
    };
    let wrong = |found: String| ScheduleError::NoNumber { property, found };
    match value {
        Value::Null => Ok(None),
        Value::Byte(value) => Ok(Some(i64::from(*value))),
        Value::Short(value) => Ok(Some(i64::from(*value))),
        Value::Int(value) => Ok(Some(i64::from(*value))),
        Value::Long(value) => Ok(Some(*value)),
        Value::String(text) => {
            let text = text.to_string_lossy();
            let number = text
                .trim()
                .parse()
                .map_err(|_| wrong(format!("`{text}`")))?;
            Ok(Some(number))
        }
        other => Err(wrong(format!("a {}", other.type_name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(properties: &[(&str, Value)]) -> Result<Option<Plan>, ScheduleError> {
        let map = properties
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect();
        Plan::of(&map, 1000)
    }

    fn some(properties: &[(&str, Value)]) -> Plan {
        plan(properties).expect("a schedule").expect("a delay")
    }

    #[test]
    fn a_delay_comes_once() {
        let plan = some(&[(DELAY, Value::Long(5000))]);
        assert_eq!(plan.first(100, &TimeZone::UTC), Some(5100));
        assert!(!plan.is_repeated());
        let turn = plan.turn(plan.repeat, 5100, &TimeZone::UTC);
        assert!(turn.is_delivery && turn.again.is_none() && turn.series.is_none());
    }

    #[test]
    fn repetitions_follow_after_the_period() {
        let plan = some(&[
            (DELAY, Value::String("1000".into())),
            (PERIOD, Value::Int(200)),
            (REPEAT, Value::Int(2)),
        ]);
        assert_eq!(plan.first(0, &TimeZone::UTC), Some(1000));
        let turn = plan.turn(2, 1000, &TimeZone::UTC);
        assert_eq!(turn.again, Some((1200, 1)));
        assert_eq!(plan.turn(0, 1400, &TimeZone::UTC).again, None);
        let endless = some(&[(PERIOD, Value::Int(0)), (REPEAT, Value::Int(-7))]);
        let turn = endless.turn(endless.repeat, 0, &TimeZone::UTC);
        assert_eq!(turn.again, Some((PERIOD_MS_MIN, -1)));
    }

    #[test]
    fn a_cron_entry_with_repetitions_starts_a_series() {
        let cron = (CRON, Value::String("* * * * *".into()));
        let plan = some(&[
            cron.clone(),
            (DELAY, Value::Int(1000)),
            (REPEAT, Value::Int(3)),
        ]);
        assert_eq!(plan.first(0, &TimeZone::UTC), Some(61_000));
        let turn = plan.turn(plan.repeat, 61_000, &TimeZone::UTC);
        assert!(!turn.is_delivery);
        assert_eq!(turn.again, Some((120_000, 3)));
        assert_eq!(turn.series, Some(62_000));
        let plain = some(&[cron]).turn(0, 60_000, &TimeZone::UTC);
        assert!(plain.is_delivery && plain.series.is_none());
        assert_eq!(plain.again, Some((120_000, 0)));
    }

    #[test]
    fn what_is_no_schedule_is_refused_or_left_alone() {
        assert_eq!(plan(&[]), Ok(None));
        assert_eq!(plan(&[(REPEAT, Value::Int(1))]), Ok(None));
        let again = [(DELAY, Value::Int(1)), (JOB_ID, Value::String("x".into()))];
        assert_eq!(plan(&again), Ok(None));
        assert!(plan(&[(DELAY, Value::String("x".into()))]).is_err());
        assert!(plan(&[(DELAY, Value::Double(1.0))]).is_err());
        assert!(plan(&[(DELAY, Value::Int(1)), (REPEAT, Value::Int(1001))]).is_err());
        assert!(plan(&[(CRON, Value::String("x".into()))]).is_err());
    }
}
