//! The clock that leases are measured with, and the one that messages carry.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::{Finding, Severity};

/// Long enough to see corrections of a few dozen millionths.
const WATCHED: Duration = Duration::from_millis(500);
const BOTH_TRIES: u32 = 50;
const BOTH_WITHIN: Duration = Duration::from_micros(50);
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Written by systemd-timesyncd after its first synchronisation.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

pub(super) fn judge(drift_permille: u32) -> Vec<Finding> {
    let mut findings = vec![judge_source(fs::read_to_string(SOURCE).ok().as_deref())];
    findings.extend(judge_suspension());
    findings.extend(judge_rate(drift_permille));
    findings.push(judge_synchronisation(synchronised()));
    findings
}

fn judge_source(source: Option<&str>) -> Finding {
    match source.map(str::trim) {
        Some(source @ ("jiffies" | "acpi_pm" | "refined-jiffies")) => Finding::new(
            "clock",
            Severity::Warning,
            format!("the clock source is `{source}`: slow to read, or coarse"),
        )
        .remedy(
            "see why the kernel does not use `tsc` or `kvm-clock` (dmesg | grep -i clocksource)",
        ),
        Some(source) => Finding::new(
            "clock",
            Severity::Good,
            format!("the clock source is `{source}`"),
        ),
        None => Finding::new(
            "clock",
            Severity::Note,
            "the clock source is not shown here",
        ),
    }
}

/// CLOCK_BOOTTIME counts suspensions, CLOCK_MONOTONIC does not.
fn judge_suspension() -> Option<Finding> {
    let boot = read(ClockId::CLOCK_BOOTTIME)?;
    let running = read(ClockId::CLOCK_MONOTONIC)?;
    let suspended = boot.saturating_sub(running);
    (suspended > Duration::from_secs(1)).then(|| {
        Finding::new(
            "clock",
            Severity::Warning,
            format!(
                "this host was suspended for {} s since its start. A suspended active loses its role: leases go by CLOCK_BOOTTIME, which goes on meanwhile",
                suspended.as_secs()
            ),
        )
        .remedy("turn suspension off, or do not pause this virtual machine")
    })
}

/// How much the kernel corrects the clock's rate at present.
fn judge_rate(drift_permille: u32) -> Option<Finding> {
    let (boot, raw) = read_both()?;
    std::thread::sleep(WATCHED);
    let (later_boot, later_raw) = read_both()?;
    let (boot, raw) = (later_boot.checked_sub(boot)?, later_raw.checked_sub(raw)?);
    let millionths = (boot.as_secs_f64() / raw.as_secs_f64() - 1.0) * 1e6;
    let allowed = f64::from(drift_permille) * 1e3;
    let text = format!(
        "the clock's rate is corrected by {millionths:.0} millionths; `tenure.clock_drift_permille` allows {allowed:.0} between the two hosts"
    );
    Some(if millionths.abs() * 2.0 > allowed {
        Finding::new("clock", Severity::Warning, text)
            .remedy("raise `tenure.clock_drift_permille`, or see why the clock runs so wrong")
    } else {
        Finding::new("clock", Severity::Good, text)
    })
}

fn judge_synchronisation(synchronised: Option<bool>) -> Finding {
    match synchronised {
        Some(true) => Finding::new("clock", Severity::Good, "the time of day is synchronised"),
        Some(false) => Finding::new(
            "clock",
            Severity::Warning,
            "the time of day is not synchronised. Leases do not depend on it; expirations and schedules of messages do, and they jump when the other broker takes over",
        )
        .remedy("run chrony or systemd-timesyncd on both hosts"),
        None => Finding::new(
            "clock",
            Severity::Note,
            "whether the time of day is synchronised is not told here (no chrony, no systemd-timesyncd). Leases do not depend on it; expirations and schedules of messages do",
        ),
    }
}

fn synchronised() -> Option<bool> {
    if fs::metadata(SYNCHRONISED).is_ok() {
        return Some(true);
    }
    if let Some(text) = answer("chronyc", &["-c", "tracking"]) {
        // The last field is the leap status; without a source it says so.
        return Some(!text.contains("Not synchronised"));
    }
    let text = answer(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    )?;
    match text.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Both clocks at one moment: of several tries, the one in which the least time passed. None where
/// this process is interrupted each time for so long that the answer would be about that.
fn read_both() -> Option<(Duration, Duration)> {
    let tries = (0..BOTH_TRIES).filter_map(|_| {
        let before = read(ClockId::CLOCK_MONOTONIC_RAW)?;
        let boot = read(ClockId::CLOCK_BOOTTIME)?;
        let between = read(ClockId::CLOCK_MONOTONIC_RAW)?.checked_sub(before)?;
        Some((between, boot, before + between / 2))
    });
    let (between, boot, raw) = tries.min()?;
    (between < BOTH_WITHIN).then_some((boot, raw))
}

fn read(clock: ClockId) -> Option<Duration> {
    clock_gettime(clock).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_source_and_an_unsynchronised_clock_are_warnings() {
        assert_eq!(judge_source(Some("jiffies\n")).severity, Severity::Warning);
        assert_eq!(judge_source(Some("tsc\n")).severity, Severity::Good);
        assert_eq!(judge_source(None).severity, Severity::Note);
        assert_eq!(
            judge_synchronisation(Some(false)).severity,
            Severity::Warning
        );
        assert_eq!(judge_synchronisation(None).severity, Severity::Note);
    }

    #[test]
    fn the_rate_of_a_real_clock_is_within_a_part_in_a_hundred() {
        // None on a machine that interrupts every reading.
        let finding = judge_rate(20);
        let severity = finding.as_ref().map_or(Severity::Good, |one| one.severity);
        assert_eq!(severity, Severity::Good, "{finding:?}");
    }
}
