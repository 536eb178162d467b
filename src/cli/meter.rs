//! Counts and times messages for `produce` and `consume`: a progress bar while they run, a summary
//! at the end.

use std::fmt::Write;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Latencies above this count as this.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// What a run sent or received so far.
pub(super) struct Meter {
    verb: &'static str,
    began: Instant,
    /// When the latest message was recorded: waiting for more at the end is no work.
    latest: Instant,
    latencies_us: Histogram<u64>,
    messages: u64,
    bytes: u64,
    bar: ProgressBar,
}

impl Meter {
    /// A meter for `count` messages; None when nobody knows how many. The bar is drawn on a
    /// terminal only.
    pub(super) fn new(verb: &'static str, count: Option<u64>) -> Meter {
        let template = match count {
            Some(_) => "{bar:32} {human_pos}/{human_len}  {per_sec}  {eta} left  {msg}",
            None => "{spinner} {human_pos}  {per_sec}  {elapsed}  {msg}",
        };
        let bar = count.map_or_else(ProgressBar::no_length, ProgressBar::new);
        // indicatif draws nothing unless standard error is a terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let latencies_us = Histogram::new_with_bounds(1, micros(LATENCY_MAX), 3)
            .expect("three digits between a microsecond and an hour are fine");
        let now = Instant::now();
        Meter {
            verb,
            began: now,
            latest: now,
            latencies_us,
            messages: 0,
            bytes: 0,
            bar,
        }
    }

    /// The connection stands: time counts from now on.
    pub(super) fn start(&mut self) {
        self.began = Instant::now();
        self.latest = self.began;
    }

    /// One message of `bytes` took `latency`.
    pub(super) fn record(&mut self, bytes: usize, latency: Duration) {
        self.messages += 1;
        self.latest = Instant::now();
        self.bytes += bytes as u64;
        self.latencies_us.saturating_record(micros(latency));
        self.bar.set_position(self.messages);
    }

    /// Messages so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// The bar, for whoever wants to print above it.
    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar and gives the summary. `what` names the latency.
    pub(super) fn finish(&self, what: &str) -> String {
        self.bar.finish_and_clear();
        summary(self, self.latest - self.began, what)
    }
}

fn summary(meter: &Meter, took: Duration, what: &str) -> String {
    let seconds = took.as_secs_f64().max(1e-6);
    let rate = meter.messages as f64 / seconds;
    let mib = meter.bytes as f64 / seconds / f64::from(1 << 20);
    let mut text = format!(
        "{} {} messages in {seconds:.3} s: {rate:.0}/s, {mib:.2} MiB/s\n",
        meter.verb, meter.messages
    );
    if !meter.latencies_us.is_empty() {
        let _ = write!(text, "{what}:");
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            let _ = write!(
                text,
                " {name} {},",
                ms(meter.latencies_us.value_at_quantile(quantile))
            );
        }
        let _ = writeln!(text, " max {}", ms(meter.latencies_us.max()));
    }
    text
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn ms(micros: u64) -> String {
    let ms = micros as f64 / 1000.0;
    if ms < 100.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// Spreads sends evenly: when the next one is due at `per_second`.
pub(super) struct Pace {
    began: Instant,
    per_second: f64,
    sent: u64,
}

impl Pace {
    /// None without a limit.
    pub(super) fn new(per_second: u32) -> Option<Pace> {
        let per_second = (per_second > 0).then_some(f64::from(per_second))?;
        Some(Pace {
            began: Instant::now(),
            per_second,
            sent: 0,
        })
    }

    /// When the next message is due. One that is late does not push back those after it, so that a
    /// pause of the broker shows in the latencies.
    pub(super) fn next(&mut self) -> Instant {
        let due = self.began + Duration::from_secs_f64(self.sent as f64 / self.per_second);
        self.sent += 1;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_rate_and_percentiles() {
        let mut meter = Meter::new("sent", Some(4));
        for ms in [1, 2, 3, 250] {
            meter.record(1 << 20, Duration::from_millis(ms));
        }
        let text = summary(&meter, Duration::from_secs(2), "acknowledged after");
        assert_eq!(
            text,
            "\
sent 4 messages in 2.000 s: 2/s, 2.00 MiB/s
acknowledged after: p50 2.00 ms, p90 250 ms, p99 250 ms, p99.9 250 ms, max 250 ms
"
        );
    }

    #[test]
    fn nothing_received_is_summed_up_without_latencies() {
        let meter = Meter::new("received", None);
        let text = summary(&meter, Duration::from_secs(1), "under way");
        assert_eq!(text, "received 0 messages in 1.000 s: 0/s, 0.00 MiB/s\n");
    }

    #[test]
    fn a_pace_keeps_its_schedule_whatever_happens() {
        assert!(Pace::new(0).is_none());
        let mut pace = Pace::new(100).expect("a limit");
        let began = pace.began;
        let due: Vec<u128> = (0..3).map(|_| (pace.next() - began).as_millis()).collect();
        assert_eq!(due, [0, 10, 20]);
    }
}
