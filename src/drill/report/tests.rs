//! The forms of a report, made of one invented drill.

use super::*;
use crate::drill::latency::PhaseHistograms;

pub(in crate::drill) fn round(number: u32, fault: Fault, scale: u64) -> Round {
    let even = number.is_multiple_of(2);
    let (victim, successor) = if even { ("b", "a") } else { ("a", "b") };
    let fault_us = u64::from(number) * 3_000_000;
    Round {
        number,
        fault: fault.word(),
        victim: victim.to_owned(),
        successor: successor.to_owned(),
        fault_us,
        end_us: fault_us + 1_500_000,
        epoch_before: Some(u64::from(number)),
        epoch_after: Some(u64::from(number) + 1),
        cause: Some("lock".to_owned()),
        has_stayed: false,
        silence_us: Some(45_000 * scale),
        milestones: Milestones {
            noticed_us: Some(8_200 * scale),
            obtained_us: Some(9_000 * scale),
            replayed_us: Some(21_000 * scale),
            ports_open_us: Some(22_500 * scale),
            probe_acknowledged_us: Some(31_000 * scale),
            acknowledged_us: Some(44_000 * scale),
            delivered_us: Some(47_123 * scale),
            resumed_us: Some(100_000 * scale),
            standby_us: Some(420_000 * scale),
        },
        behind_bytes: Some(0),
        memory_bytes: Some(u64::from(number) * 10_000_000),
        latency: PhasePercentiles::default(),
        failures: Vec::new(),
    }
}

pub(in crate::drill) fn invented(rounds: Vec<Round>) -> Report {
    let mut histograms = PhaseHistograms::new();
    use crate::drill::latency::Phase;
    for index in 0..9_000_u64 {
        histograms.record(Phase::Before, 400 + index / 10);
        histograms.record(Phase::After, 420 + index / 9);
    }
    histograms.record(Phase::During, 44_000);
    histograms.record(Phase::During, 61_000);
    let end_us = rounds
        .last()
        .map_or(5_000_000, |round| round.end_us + 1_000_000);
    let buckets: Vec<Bucket> = (0..end_us / BUCKET_US)
        .map(|index| {
            let out = rounds.iter().any(|round| {
                let at = index * BUCKET_US;
                let served = round.fault_us + round.milestones.acknowledged_us.unwrap_or(0);
                at >= round.fault_us && at < served
            });
            let wave = (index * 37 % 20) as u32;
            Bucket {
                acknowledged: if out { 0 } else { 90 + wave },
                delivered: if out { 0 } else { 88 + wave },
                p50_us: if out { 0 } else { 500 + u64::from(wave) * 20 },
                max_us: if out {
                    0
                } else {
                    2_000 + u64::from(wave) * 100
                },
            }
        })
        .collect();
    let served = Spread::of(
        rounds
            .iter()
            .filter_map(|round| round.milestones.served_us()),
    );
    let takeover = Spread::of(
        rounds
            .iter()
            .filter_map(|round| round.milestones.acknowledged_us),
    );
    Report {
        version: "0.1.0",
        passed: true,
        failures: Vec::new(),
        seed: 42,
        started_unix: 1_700_000_000,
        duration_us: end_us,
        setup: Setup {
            url: "failover:(tcp://127.0.0.1:1,tcp://127.0.0.1:2)".to_owned(),
            directory: None,
            producers: 4,
            consumers: 4,
            batch: 10,
            size: 1024,
            rate: 1000,
            are_refusals_allowed: false,
        },
        rounds,
        takeover,
        served,
        latency: histograms.percentiles(),
        ledger: Tally {
            sent: 18_002,
            acknowledged: 18_002,
            deliveries: 18_040,
            consumed: 17_992,
            consumed_in_doubt: 10,
            commits: 1800,
            rollbacks: 3,
            commits_in_doubt: 1,
            redelivered: 38,
            order_checked: 17_000,
            ..Tally::default()
        },
        acknowledged_by_deposed: 0,
        backlog: None,
        mix: Vec::new(),
        dead_letters: None,
        series: SeriesReport::new(&buckets),
        curves: histograms.curves(),
    }
}

const PASSED: &str = "\
Drill of 2 rounds (kill, stop), 8 s, seed 42
  pair     failover:(tcp://127.0.0.1:1,tcp://127.0.0.1:2)
  load     4 producers, 4 transacted consumers (10 messages each time), 1024 B persistent, \
1,000 messages/s
  backlog  none

Takeovers, in ms after the fault
  round  fault  a>b    by       noticed   obtained   replayed ports open  first ack   load ack   \
delivery    silence  restarted    standby
      1  kill   a>b    lock        8.20       9.00       21.0       22.5       31.0       44.0       \
47.1       45.0        100        420
      2  stop   b>a    lock         164        180        420        450        620        880        \
942        900       2000       8400
  kill: fault to first acknowledged send       median    31.0  p95    31.0  max    31.0
  kill: the same, at the load's clients        median    44.0  p95    44.0  max    44.0
  stop: fault to first acknowledged send       median     620  p95     620  max     620
  stop: the same, at the load's clients        median     880  p95     880  max     880
  longest silence of acknowledgements          median     472  p95     900  max     900
  memory of the active before its fault: at most 20 MB

Latency of the load's sends, in ms
                                         sends       p50       p95       p99     p99.9       max
  before the fault                       9,000      0.85      1.25      1.29      1.30      1.30
  during, until the first ack                2      44.0      61.0      61.0      61.0      61.0
  after                                  9,000      0.92      1.37      1.41      1.42      1.42

Ledger
  sends acknowledged                                                 18,002
  messages consumed, commit acknowledged                             17,992
  messages consumed, answer to the commit lost                           10
  redelivered and flagged so                                             38
  flagged so, but new to the drill                                        0
  transactions committed                                              1,800
  transactions rolled back by a takeover                                  3
  commits whose answer was lost                                           1
  deliveries checked for order                                       17,000
  LOST: acknowledged, never consumed                                      0
  REDELIVERED without the flag                                            0
  REDELIVERED after the commit was acknowledged                           0
  OUT OF ORDER                                                            0
  TORN transactions                                                       0
  ACKNOWLEDGED by a deposed broker                                        0
  REFUSED or never answered sends                                         0
  FOREIGN or changed messages                                             0

PASSED
";

#[test]
fn text_shows_takeovers_latencies_ledger_and_verdict() {
    let report = invented(vec![round(1, Fault::Kill, 1), round(2, Fault::Stop, 20)]);
    let text = report.to_text();
    assert_eq!(text, PASSED, "got:\n{text}");
}

/// An invented drill that lost a message and whose second round went wrong.
fn failed() -> Report {
    let mut report = invented(vec![round(1, Fault::Kill, 1), round(2, Fault::Kill, 2)]);
    report.ledger.lost = 1;
    report.ledger.examples = vec!["lost: producer 0, message 7, never delivered".to_owned()];
    report.rounds[1].failures = vec!["no send was acknowledged within 60 s".to_owned()];
    report.failures = vec![
        "1 acknowledged messages were lost".to_owned(),
        "round 2: no send was acknowledged within 60 s".to_owned(),
    ];
    report.passed = false;
    report
}

#[test]
fn text_of_a_failed_drill_ends_with_every_failure_and_its_examples() {
    let text = failed().to_text();
    let end = "\nFAILED\n  - 1 acknowledged messages were lost\n  \
               - round 2: no send was acknowledged within 60 s\n      \
               lost: producer 0, message 7, never delivered\n";
    assert!(text.ends_with(end), "got:\n{text}");
}

#[test]
fn junit_has_a_case_for_each_round_and_each_promise() {
    let xml = failed().to_junit();
    let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites>
  <testsuite name=\"baton drill, seed 42\" tests=\"4\" failures=\"2\" errors=\"0\" time=\"8.500\">
    <testcase classname=\"baton.drill\" name=\"round 1 kill a\" time=\"1.500\"/>
    <testcase classname=\"baton.drill\" name=\"round 2 kill b\" time=\"1.500\">
      <failure message=\"no send was acknowledged within 60 s\">no send was acknowledged within \
60 s</failure>
    </testcase>
    <testcase classname=\"baton.drill\" name=\"ledger\" time=\"0.000\">
      <failure message=\"1 acknowledged messages were lost\">1 acknowledged messages were \
lost</failure>
    </testcase>
    <testcase classname=\"baton.drill\" name=\"verdict\" time=\"0.000\"/>
  </testsuite>
</testsuites>
";
    assert_eq!(xml, expected, "got:\n{xml}");
}

#[test]
fn json_says_the_verdict_and_the_milestones() {
    let json = serde_json::to_value(failed()).expect("a report is serializable");
    assert_eq!(json["passed"], false);
    assert_eq!(json["ledger"]["lost"], 1);
    assert_eq!(json["rounds"][1]["acknowledged_us"], 88_000);
    assert_eq!(json["takeover"]["count"], 2);
}

#[test]
fn picture_names_its_axes_and_every_fault() {
    let many = (1..=30)
        .map(|number| round(number, Fault::Kill, 1))
        .collect();
    let mixed = vec![
        round(1, Fault::Kill, 1),
        round(2, Fault::Term, 1),
        round(3, Fault::Stop, 60),
    ];
    for (name, report) in [
        ("mixed", invented(mixed)),
        ("many", invented(many)),
        ("empty", invented(Vec::new())),
    ] {
        let svg = report.to_svg().expect("the picture can be drawn");
        // For looking at it: where to put the pictures.
        if let Some(directory) = std::env::var_os("DRILL_PICTURES") {
            let path = Path::new(&directory).join(format!("{name}.svg"));
            std::fs::write(path, &svg).expect("the directory exists");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.len() < 400_000, "{} bytes", svg.len());
        for word in [
            "Throughput",
            "messages/s",
            "Latency of sends",
            "time, s",
            "percentile",
        ] {
            assert!(svg.contains(word), "`{word}` is missing in {name}");
        }
        if name == "mixed" {
            for word in [
                "1 kill a",
                "2 term b",
                "3 stop a",
                "lock or lease",
                "during",
            ] {
                assert!(svg.contains(word), "`{word}` is missing in {name}");
            }
        }
    }
}

#[test]
fn numbers_are_short_and_readable() {
    assert_eq!(
        [0, 999, 1000, 1_234_567].map(thousands),
        ["0", "999", "1,000", "1,234,567"]
    );
    assert_eq!(
        [5, 9_999, 44_000, 123_456].map(millis),
        ["0.01", "10.00", "44.0", "123"]
    );
}
