//! Durations with units: `10s`, `500ms`; a plain number is milliseconds, as in ActiveMQ.

use std::fmt;
use std::time::Duration;

use super::setting::{Expected, FromRaw, Raw};

/// A duration in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Duration);

impl Time {
    const EXPECTED: Expected = Expected(
        "a time with a unit (ms, s, min, h, d), like \"10s\" or \"500ms\"; a plain number is milliseconds",
    );

    /// So many milliseconds.
    #[must_use]
    pub const fn ms(count: u64) -> Time {
        Time(Duration::from_millis(count))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Parses `text`; None when it is not a time or is longer than some hundred million years.
    #[must_use]
    pub fn parse(text: &str) -> Option<Time> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = text[..digits].parse().ok()?;
        let unit_ms: u64 = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
            "" | "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        count.checked_mul(unit_ms).map(Time::ms)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        for (unit_ms, unit) in [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "min"),
            (1000, "s"),
        ] {
            if ms != 0 && ms.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", ms / unit_ms);
            }
        }
        write!(f, "{ms}ms")
    }
}

impl FromRaw for Time {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(ms) => u64::try_from(*ms).ok().map(Time::ms),
            Raw::Text(text) | Raw::Word(text) => Time::parse(text),
            _ => None,
        }
        .ok_or(Time::EXPECTED)
    }
}

impl FromRaw for Duration {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        Time::from_raw(raw).map(Time::duration)
    }
}

/// A time, or a negative number for none.
impl FromRaw for Option<Duration> {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match i64::from_raw(raw) {
            Ok(number) if number < 0 => Ok(None),
            _ => Time::from_raw(raw).map(|time| Some(time.duration())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_milliseconds() {
        assert_eq!(Time::parse("250"), Some(Time::ms(250)));
    }

    #[test]
    fn every_unit_is_understood() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10 S", 10_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(Time::parse(text), Some(Time::ms(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in ["", "ten", "s", "-1s", "1.5s", "5m", "99999999999999999d"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_printed_time_reads_back() {
        for ms in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_001] {
            assert_eq!(Time::parse(&Time::ms(ms).to_string()), Some(Time::ms(ms)));
        }
    }
}
