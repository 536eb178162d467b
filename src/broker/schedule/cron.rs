//! Times of day and dates at which something happens again and again, in five fields as in a
//! crontab: minute, hour, day of the month, month, day of the week (0 = Sunday).
//!
//! A field is `*` or `?` (any), a number, a range `1-5`, a list `1,3-5`, or one of these with a step
//! `/n`, which keeps the values that n divides: what clients of ActiveMQ expect. When both kinds of
//! days are restricted, a day that fits one of them will do. Times are those of the host's zone.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Days looked ahead: the 29th of February can be eight years away.
const DAYS_AHEAD: usize = 366 * 8 + 2;

/// A text that is no cron entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("a cron entry has 5 fields (minute hour day month weekday), not {0}")]
    Fields(usize),
    /// A field that cannot be read, or leaves nothing.
    #[error("cron field `{field}` for the {what} must hold numbers from {first} to {last}")]
    Field {
        /// The field as it came.
        field: String,
        /// What it stands for.
        what: &'static str,
        /// The lowest value.
        first: u8,
        /// The highest value.
        last: u8,
    },
}

/// When something happens again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values of one field, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    is_any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }
}

#[derive(Clone, Copy)]
struct Kind {
    what: &'static str,
    first: u8,
    last: u8,
}

const MINUTE: Kind = Kind {
    what: "minute",
    first: 0,
    last: 59,
};
const HOUR: Kind = Kind {
    what: "hour",
    first: 0,
    last: 23,
};
const DAY: Kind = Kind {
    what: "day of the month",
    first: 1,
    last: 31,
};
const MONTH: Kind = Kind {
    what: "month",
    first: 1,
    last: 12,
};
const WEEKDAY: Kind = Kind {
    what: "day of the week",
    first: 0,
    last: 6,
};

impl Kind {
    fn read(self, text: &str) -> Result<Field, CronError> {
        let bits = self.bits(text).filter(|bits| *bits != 0);
        let bits = bits.ok_or_else(|| CronError::Field {
            field: text.to_owned(),
            what: self.what,
            first: self.first,
            last: self.last,
        })?;
        Ok(Field {
            bits,
            is_any: bits == self.all(),
        })
    }

    fn all(self) -> u64 {
        (self.first..=self.last).fold(0, |bits, value| bits | 1 << value)
    }

    fn bits(self, text: &str) -> Option<u64> {
        if matches!(text, "*" | "?") {
            return Some(self.all());
        }
        if let Some((values, step)) = text.split_once('/') {
            let step: u8 = step.parse().ok().filter(|step| *step > 0)?;
            let values = self.bits(values)?;
            let is_kept = |value: &u8| value.is_multiple_of(step) && values >> *value & 1 == 1;
            return Some(
                (self.first..=self.last)
                    .filter(is_kept)
                    .fold(0, |bits, value| bits | 1 << value),
            );
        }
        if text.contains(',') {
            let parts = text.split(',').filter(|part| !part.is_empty());
            return parts
                .map(|part| self.bits(part))
                .try_fold(0, |bits, part| Some(bits | part?));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
        if first < self.first || last > self.last {
            return None;
        }
        Some((first..=last).fold(0, |bits, value| bits | 1 << value))
    }
}

impl Cron {
    pub(super) fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(CronError::Fields(fields.len()));
        };
        Ok(Cron {
            minutes: MINUTE.read(minutes)?,
            hours: HOUR.read(hours)?,
            days: DAY.read(days)?,
            months: MONTH.read(months)?,
            weekdays: WEEKDAY.read(weekdays)?,
        })
    }

    /// The first time after `after_ms`, in milliseconds since 1970; None when there is none, as for
    /// the 30th of February.
    pub(super) fn next(&self, after_ms: i64, zone: &TimeZone) -> Option<i64> {
        let after = Timestamp::from_millisecond(after_ms).ok()?;
        let mut date = after.to_zoned(zone.clone()).date();
        for _ in 0..DAYS_AHEAD {
            if self.is_day(date)
                && let Some(found) = self.next_on(date, after, zone)
            {
                return Some(found);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let is_day = self.days.has(date.day());
        let is_weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.is_any || self.weekdays.is_any {
            is_day && is_weekday
        } else {
            is_day || is_weekday
        }
    }

    fn next_on(&self, date: Date, after: Timestamp, zone: &TimeZone) -> Option<i64> {
        let hours = (0..24).filter(|hour| self.hours.has(*hour));
        let mut times = hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| self.minutes.has(*minute));
            minutes.map(move |minute| (hour, minute))
        });
        times.find_map(|(hour, minute)| {
            let time = date.to_datetime(Time::new(hour, minute, 0, 0).ok()?);
            // A time that the clock skips is made up for an hour later.
            let found = zone.to_ambiguous_timestamp(time).compatible().ok()?;
            (found > after).then(|| found.as_millisecond())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, after: &str, zone: &str) -> Option<String> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            posix => TimeZone::posix(posix).expect("a zone"),
        };
        let after: Timestamp = after.parse().expect("a time");
        let cron = Cron::parse(cron).expect(cron);
        let next = cron.next(after.as_millisecond(), &zone)?;
        Some(
            Timestamp::from_millisecond(next)
                .expect("a time")
                .to_string(),
        )
    }

    #[test]
    fn the_next_time_is_found() {
        let cases = [
            ("* * * * *", "2024-02-28T10:00:00Z", "2024-02-28T10:01:00Z"),
            (
                "* * * * *",
                "2024-02-28T10:00:59.999Z",
                "2024-02-28T10:01:00Z",
            ),
            ("30 9 * * *", "2024-02-28T10:00:00Z", "2024-02-29T09:30:00Z"),
            (
                "*/15 * * * *",
                "2024-02-28T10:44:00Z",
                "2024-02-28T10:45:00Z",
            ),
            (
                "1-59/20 * * * *",
                "2024-02-28T10:00:00Z",
                "2024-02-28T10:20:00Z",
            ),
            ("0 12 1 1 ?", "2024-02-28T10:00:00Z", "2025-01-01T12:00:00Z"),
            ("0 0 29 2 *", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 * * 0", "2024-02-28T10:00:00Z", "2024-03-03T00:00:00Z"),
            ("0 0 15 * 5", "2024-02-28T10:00:00Z", "2024-03-01T00:00:00Z"),
            (
                "5,10 8-10 * * 1-5",
                "2024-03-01T10:10:00Z",
                "2024-03-04T08:05:00Z",
            ),
        ];
        for (cron, after, wanted) in cases {
            assert_eq!(next(cron, after, "UTC").as_deref(), Some(wanted), "{cron}");
        }
        assert_eq!(next("0 0 30 2 *", "2024-03-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn the_hour_that_summer_time_skips_is_made_up_for() {
        let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
        let at = |after| next("30 2 * * *", after, zone);
        assert_eq!(
            at("2024-03-30T12:00:00Z").as_deref(),
            Some("2024-03-31T01:30:00Z")
        );
        assert_eq!(
            at("2024-03-31T12:00:00Z").as_deref(),
            Some("2024-04-01T00:30:00Z")
        );
    }

    #[test]
    fn wrong_entries_are_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "a * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "1- * * * *",
            "31/32 * * * *",
            ", * * * *",
            "99999999999 * * * *",
        ] {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
    }
}
