//! How storage commands show times, rates, progress and files.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::drill::thousands;

/// Three digits and a unit.
pub(super) fn time(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..10.0 => format!("{us:.1} us"),
        ..1000.0 => format!("{us:.0} us"),
        ..10_000.0 => format!("{:.2} ms", us / 1e3),
        ..100_000.0 => format!("{:.1} ms", us / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A number of things a second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        ..10.0 => format!("{per_second:.1}"),
        _ => thousands(per_second.round() as u64),
    }
}

/// Progress on standard error, if that is a terminal.
pub(super) fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Writes a report, and says where it is.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_have_three_digits_or_so() {
        let cases = [
            (900, "0.9 us"),
            (123_400, "123 us"),
            (2_710_000, "2.71 ms"),
            (27_100_000, "27.1 ms"),
            (271_000_000, "271 ms"),
            (2_710_000_000, "2.71 s"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(time(Duration::from_nanos(nanos)), expected);
        }
        let cases = [
            (0.25, "0.2"),
            (312.4, "312"),
            (12_345.6, "12,346"),
            (1e6, "1,000,000"),
        ];
        for (number, expected) in cases {
            assert_eq!(rate(number), expected);
        }
    }
}
