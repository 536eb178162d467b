//! The report as JUnit XML, for CI servers: a test case for each round and for each promise.

use std::fmt::Write;

use super::Report;

pub(super) fn render(report: &Report) -> String {
    let mut cases = String::new();
    let mut failed = 0;
    let mut count = 0;
    let mut case = |name: &str, seconds: f64, failures: &[String]| {
        count += 1;
        let name = escape(name);
        let _ = write!(
            cases,
            "    <testcase classname=\"baton.drill\" name=\"{name}\" time=\"{seconds:.3}\""
        );
        if failures.is_empty() {
            cases.push_str("/>\n");
            return;
        }
        failed += 1;
        let message = escape(&failures[0]);
        let all = escape(&failures.join("\n"));
        let _ = writeln!(
            cases,
            ">\n      <failure message=\"{message}\">{all}</failure>\n    </testcase>"
        );
    };
    for round in &report.rounds {
        let name = format!("round {} {} {}", round.number, round.fault, round.victim);
        let seconds = round.end_us.saturating_sub(round.fault_us) as f64 / 1e6;
        case(&name, seconds, &round.failures);
    }
    let of_rounds: Vec<&String> = report
        .rounds
        .iter()
        .flat_map(|round| &round.failures)
        .collect();
    let ledger = report.ledger_violations();
    case("ledger", 0.0, &ledger);
    let rest: Vec<String> = report
        .failures
        .iter()
        .filter(|failure| !ledger.contains(failure))
        .filter(|failure| !of_rounds.iter().any(|one| failure.ends_with(one.as_str())))
        .cloned()
        .collect();
    case("verdict", 0.0, &rest);
    let seconds = report.duration_us as f64 / 1e6;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n  <testsuite name=\"baton drill, seed {}\" tests=\"{count}\" \
         failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">\n{cases}  </testsuite>\n\
         </testsuites>\n",
        report.seed
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            // Control characters have no place in XML 1.0.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
