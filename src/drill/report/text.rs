//! The report as a person reads it at a glance: takeovers, latencies, ledger, verdict.

use std::fmt::{self, Write};

use super::{Report, Round, millis, thousands};
use crate::drill::latency::Percentiles;
use crate::drill::timeline::Spread;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let written = head(&mut text, report)
        .and_then(|()| takeovers(&mut text, report))
        .and_then(|()| latencies(&mut text, report))
        .and_then(|()| ledger(&mut text, report))
        .and_then(|()| mix(&mut text, report))
        .and_then(|()| verdict(&mut text, report));
    written.expect("writing to a string cannot fail");
    text
}

fn head(text: &mut String, report: &Report) -> fmt::Result {
    let setup = &report.setup;
    let mut faults: Vec<&str> = Vec::new();
    for round in &report.rounds {
        if !faults.contains(&round.fault) {
            faults.push(round.fault);
        }
    }
    writeln!(
        text,
        "Drill of {} round{} ({}), {:.0} s, seed {}",
        report.rounds.len(),
        if report.rounds.len() == 1 { "" } else { "s" },
        faults.join(", "),
        report.duration_us as f64 / 1e6,
        report.seed
    )?;
    writeln!(text, "  pair     {}", setup.url)?;
    let rate = match setup.rate {
        0 => "as fast as it goes".to_owned(),
        rate => format!("{} messages/s", thousands(u64::from(rate))),
    };
    writeln!(
        text,
        "  load     {} producers, {} transacted consumers ({} messages each time), {} B \
         persistent, {rate}",
        setup.producers, setup.consumers, setup.batch, setup.size
    )?;
    match &report.backlog {
        None => writeln!(text, "  backlog  none"),
        Some(backlog) => writeln!(
            text,
            "  backlog  {} messages, loaded in {:.1} s",
            thousands(backlog.messages),
            backlog.loading_us as f64 / 1e6
        ),
    }
}

const COLUMNS: [&str; 10] = [
    "noticed",
    "obtained",
    "replayed",
    "ports open",
    "first ack",
    "load ack",
    "delivery",
    "silence",
    "restarted",
    "standby",
];

fn cells(round: &Round) -> [Option<u64>; 10] {
    let at = &round.milestones;
    [
        at.noticed_us,
        at.obtained_us,
        at.replayed_us,
        at.ports_open_us,
        at.served_us(),
        at.acknowledged_us,
        at.delivered_us,
        round.silence_us,
        at.resumed_us,
        at.standby_us,
    ]
}

fn takeovers(text: &mut String, report: &Report) -> fmt::Result {
    if report.struck().next().is_none() {
        return Ok(());
    }
    writeln!(text, "\nTakeovers, in ms after the fault")?;
    write!(text, "  round  fault  a>b    by   ")?;
    for column in COLUMNS {
        write!(text, " {column:>10}")?;
    }
    writeln!(text)?;
    for round in report.struck() {
        write!(
            text,
            "  {:>5}  {:<5}  {:<5}  {:<5}",
            round.number,
            round.fault,
            format!("{}>{}", round.victim, round.successor),
            round.cause.as_deref().unwrap_or("-")
        )?;
        for cell in cells(round) {
            write!(text, " {:>10}", cell.map_or_else(|| "-".to_owned(), millis))?;
        }
        writeln!(text)?;
    }
    for (fault, served, load) in report.spreads() {
        spread(
            text,
            &format!("{fault}: fault to first acknowledged send"),
            served,
        )?;
        spread(
            text,
            &format!("{fault}: the same, at the load's clients"),
            load,
        )?;
    }
    spread(
        text,
        "longest silence of acknowledgements",
        report.silences(),
    )?;
    if let Some(memory) = report.struck().filter_map(|round| round.memory_bytes).max() {
        let megabytes = memory.div_ceil(1_000_000);
        writeln!(
            text,
            "  memory of the active before its fault: at most {megabytes} MB"
        )?;
    }
    Ok(())
}

fn spread(text: &mut String, what: &str, spread: Option<Spread>) -> fmt::Result {
    let Some(spread) = spread else { return Ok(()) };
    writeln!(
        text,
        "  {what:<44} median {:>7}  p95 {:>7}  max {:>7}",
        millis(spread.median_us),
        millis(spread.p95_us),
        millis(spread.max_us)
    )
}

fn latencies(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\nLatency of the load's sends, in ms")?;
    writeln!(
        text,
        "  {:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "sends", "p50", "p95", "p99", "p99.9", "max"
    )?;
    let mut row = |what: &str, one: &Percentiles| {
        if one.count == 0 {
            return writeln!(text, "  {what:<34} {:>9}", 0);
        }
        writeln!(
            text,
            "  {what:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            thousands(one.count),
            millis(one.p50_us),
            millis(one.p95_us),
            millis(one.p99_us),
            millis(one.p999_us),
            millis(one.max_us)
        )
    };
    row("before the fault", &report.latency.before)?;
    row("during, until the first ack", &report.latency.during)?;
    row("after", &report.latency.after)
}

fn mix(text: &mut String, report: &Report) -> fmt::Result {
    if report.mix.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nMix{:<26} {:>10} {:>10} {:>6} {:>6} {:>9} {:>9} {:>6} {:>11}",
        "", "sent", "consumed", "lost", "twice", "unflagged", "disorder", "early", "misdirected"
    )?;
    for one in &report.mix {
        writeln!(
            text,
            "  {:<27} {:>10} {:>10} {:>6} {:>6} {:>9} {:>9} {:>6} {:>11}",
            one.strand,
            thousands(one.acknowledged),
            thousands(one.consumed),
            one.lost,
            one.twice,
            one.unflagged,
            one.out_of_order,
            one.early,
            one.misdirected
        )?;
    }
    if let Some(count) = report.dead_letters {
        writeln!(
            text,
            "  in the dead letter queue, where none belongs: {count}"
        )?;
    }
    Ok(())
}

fn ledger(text: &mut String, report: &Report) -> fmt::Result {
    let tally = &report.ledger;
    writeln!(text, "\nLedger")?;
    let mut facts = |rows: &[(&str, u64)]| {
        rows.iter()
            .try_for_each(|(what, count)| writeln!(text, "  {what:<60} {:>12}", thousands(*count)))
    };
    facts(&[
        ("sends acknowledged", tally.acknowledged),
        ("messages consumed, commit acknowledged", tally.consumed),
        (
            "messages consumed, answer to the commit lost",
            tally.consumed_in_doubt,
        ),
        ("redelivered and flagged so", tally.redelivered),
        (
            "flagged so, but new to the drill",
            tally.flagged_at_first_sight,
        ),
        ("transactions committed", tally.commits),
        ("transactions rolled back by a takeover", tally.rollbacks),
        ("commits whose answer was lost", tally.commits_in_doubt),
        ("deliveries checked for order", tally.order_checked),
    ])?;
    if let Some(backlog) = &report.backlog
        && let Some(found) = backlog.found
    {
        let what = format!("backlog found at the end ({})", backlog.counted);
        facts(&[(&what, found)])?;
    }
    facts(&[("LOST: acknowledged, never consumed", tally.lost)])?;
    for (what, count) in [
        ("NOT COME when the pair served nobody", tally.missing),
        ("IN THE DEAD LETTER QUEUE", tally.dead_lettered),
    ] {
        if count > 0 {
            facts(&[(what, count)])?;
        }
    }
    facts(&[
        ("REDELIVERED without the flag", tally.redelivered_unflagged),
        (
            "REDELIVERED after the commit was acknowledged",
            tally.redelivered_after_commit,
        ),
        ("OUT OF ORDER", tally.out_of_order),
        ("TORN transactions", tally.torn_transactions),
        (
            "ACKNOWLEDGED by a deposed broker",
            report.acknowledged_by_deposed,
        ),
        (
            "REFUSED or never answered sends",
            tally.refused + tally.unanswered,
        ),
        ("FOREIGN or changed messages", tally.foreign + tally.corrupt),
    ])
}

fn verdict(text: &mut String, report: &Report) -> fmt::Result {
    if report.passed {
        return writeln!(text, "\nPASSED");
    }
    writeln!(text, "\nFAILED")?;
    for failure in &report.failures {
        writeln!(text, "  - {failure}")?;
    }
    for example in &report.ledger.examples {
        writeln!(text, "      {example}")?;
    }
    Ok(())
}
