//! The verdict: every promise that did not hold, and every reason why a drill that found nothing
//! proves nothing.

use super::report::Report;
use super::{Fault, StrandTally};

/// What a completed drill says about the pair.
#[derive(Debug, Clone)]
pub struct Verdict {
    failures: Vec<String>,
}

impl Verdict {
    /// The verdict with these failures.
    pub(super) fn new(failures: Vec<String>) -> Self {
        Self { failures }
    }

    /// Whether every promise held.
    pub fn is_passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// 0 when passed, 2 when failed; a drill that could not run exits 1.
    pub fn exit_code(&self) -> u8 {
        if self.is_passed() { 0 } else { 2 }
    }

    /// Each broken promise, as a sentence.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// Judges `report`, whose verdict is not filled in yet; `rounds` were asked for.
pub(super) fn judge(report: &Report, rounds: u32, complaints: Vec<String>) -> Vec<String> {
    let mut failures = report.ledger_violations();
    if report.acknowledged_by_deposed > 0 {
        failures.push(format!(
            "{} sends were acknowledged by a broker after its successor had acknowledged",
            report.acknowledged_by_deposed
        ));
    }
    for round in &report.rounds {
        let number = round.number;
        failures.extend(
            round
                .failures
                .iter()
                .map(|text| format!("round {number}: {text}")),
        );
        let at = &round.milestones;
        let is_proved = at.acknowledged_us.is_some() && at.delivered_us.is_some();
        if round.fault != Fault::None.word() && round.failures.is_empty() && !is_proved {
            failures.push(format!(
                "round {number}: nothing shows that the takeover served"
            ));
        }
    }
    let done = report.rounds.len();
    if done < rounds as usize {
        failures.push(format!("only {done} of {rounds} rounds were run"));
    }
    judge_backlog(report, &mut failures);
    failures.extend(report.mix.iter().flat_map(StrandTally::violations));
    if let Some(count) = report.dead_letters.filter(|count| *count > 0) {
        failures.push(format!(
            "{count} messages of the mix are in the dead letter queue"
        ));
    }
    judge_meaning(report, &mut failures);
    failures.extend(complaints);
    failures
}

fn judge_backlog(report: &Report, failures: &mut Vec<String>) {
    let Some(backlog) = &report.backlog else {
        return;
    };
    match backlog.found {
        Some(found) if found == backlog.messages => {}
        Some(found) => failures.push(format!(
            "the backlog has {found} messages instead of {}",
            backlog.messages
        )),
        None => failures.push(
            "the backlog could not be counted; run with `--verify-backlog` to drain it".to_owned(),
        ),
    }
    if let Some(tally) = &backlog.ledger {
        failures.extend(
            tally
                .violations()
                .into_iter()
                .map(|text| format!("backlog: {text}")),
        );
    }
}

/// A drill in which nothing happened finds nothing.
fn judge_meaning(report: &Report, failures: &mut Vec<String>) {
    let tally = &report.ledger;
    for (count, what) in [
        (tally.acknowledged, "no send was acknowledged"),
        (tally.consumed, "no message was consumed"),
        (
            tally.order_checked,
            "no delivery could be checked for order",
        ),
        (report.rounds.len() as u64, "no round was run"),
    ] {
        if count == 0 {
            failures.push(format!("{what}, so the drill proves nothing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{invented, round};
    use super::super::{Backlog, Tally};
    use super::*;

    fn good() -> Report {
        invented(vec![round(1, Fault::Kill, 1), round(2, Fault::Stop, 1)])
    }

    #[test]
    fn good_drill_passes() {
        assert_eq!(judge(&good(), 2, Vec::new()), [""; 0]);
        assert_eq!(Verdict::new(Vec::new()).exit_code(), 0);
        assert_eq!(Verdict::new(vec!["x".to_owned()]).exit_code(), 2);
    }

    #[test]
    fn every_violation_of_the_ledger_fails_the_drill() {
        let spoil: [fn(&mut Tally); 10] = [
            |tally| tally.lost = 1,
            |tally| tally.redelivered_unflagged = 1,
            |tally| tally.redelivered_after_commit = 1,
            |tally| tally.out_of_order = 1,
            |tally| tally.torn_transactions = 1,
            |tally| tally.refused = 1,
            |tally| tally.unanswered = 1,
            |tally| tally.open_transactions = 1,
            |tally| tally.corrupt = 1,
            |tally| tally.foreign = 1,
        ];
        for (index, spoil) in spoil.into_iter().enumerate() {
            let mut report = good();
            spoil(&mut report.ledger);
            assert_eq!(judge(&report, 2, Vec::new()).len(), 1, "violation {index}");
        }
    }

    #[test]
    fn refusals_are_no_failure_where_they_are_allowed() {
        let mut report = good();
        report.ledger.refused = 7;
        report.setup.are_refusals_allowed = true;
        assert_eq!(judge(&report, 2, Vec::new()), [""; 0]);
        report.ledger.lost = 1;
        assert_eq!(judge(&report, 2, Vec::new()).len(), 1);
    }

    #[test]
    fn drill_in_which_nothing_happened_fails() {
        let mut report = good();
        report.ledger = Tally::default();
        assert_eq!(judge(&report, 2, Vec::new()).len(), 3);
        report = good();
        report.rounds.clear();
        assert_eq!(judge(&report, 2, Vec::new()).len(), 2);
    }

    #[test]
    fn round_without_proof_of_service_fails() {
        let mut report = good();
        report.rounds[0].milestones.delivered_us = None;
        let failures = judge(&report, 2, Vec::new());
        assert_eq!(
            failures,
            ["round 1: nothing shows that the takeover served"]
        );
        report.rounds[0].failures = vec!["it burnt".to_owned()];
        assert_eq!(judge(&report, 2, Vec::new()), ["round 1: it burnt"]);
    }

    #[test]
    fn deposed_acknowledgements_missing_rounds_and_complaints_fail() {
        let mut report = good();
        report.acknowledged_by_deposed = 1;
        let failures = judge(&report, 3, vec!["a consumer ended".to_owned()]);
        assert_eq!(failures.len(), 3);
    }

    #[test]
    fn backlog_must_be_there_to_the_message() {
        let mut report = good();
        for (found, failures) in [(Some(10), 0), (Some(9), 1), (Some(11), 1), (None, 1)] {
            report.backlog = Some(Backlog {
                messages: 10,
                loading_us: 1,
                found,
                counted: "pending",
                ledger: None,
            });
            assert_eq!(judge(&report, 2, Vec::new()).len(), failures, "{found:?}");
        }
    }
}
