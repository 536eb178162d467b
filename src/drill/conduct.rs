//! A whole drill, from the start of the pair to the report.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::backlog;
use super::chronicle::Chronicle;
use super::drain::{self, SILENCE, drain};
use super::ledger::Ledger;
use super::load::Load;
use super::message::Codec;
use super::mix::{Mix, Outcome};
use super::pair::Pair;
use super::place::Place;
use super::progress::Progress;
use super::random::Random;
use super::report::{Backlog, Report, Round, SeriesReport, Setup};
use super::round::Stage;
use super::timeline::Spread;
use super::verdict::judge;
use super::witness::Witness;
use super::{DrillArgs, DrillError};

/// Runs the drill on a prepared place.
pub(super) async fn conduct(
    args: &DrillArgs,
    seed: u64,
    place: &Place,
    progress: &Progress,
) -> Result<Report, DrillError> {
    let started = Instant::now();
    let started_unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |at| at.as_secs());
    let chronicle = Arc::new(Chronicle::new(started));
    let pair = open_pair(args, place, &chronicle, progress).await?;

    let loaded = match args.backlog {
        0 => None,
        _ => Some(backlog::load(args, &pair.url, seed, started, progress).await?),
    };

    let mut random = Random::new(seed);
    let codec = Codec::new(random.next(), args.size);
    let ledger = Ledger::new(drain::producers(args), drain::consumers(args));
    let witness = Arc::new(Witness::new(started, codec, ledger));
    let mut load = Load::start(args, &pair.url, &pair.addresses, &witness).await?;
    let mut stage = Stage {
        args,
        pair,
        chronicle,
        witness,
        random,
        epoch: None,
    };
    await_steady(&stage).await?;
    let mix = match &args.mix[..] {
        [] => None,
        strands => {
            let (url, prefix) = (&stage.pair.url, format!("{}.mix", args.queue));
            Some(Mix::start(strands, url, &prefix, &mut stage.random).await?)
        }
    };

    let rounds = run_rounds(&mut stage, progress).await?;
    progress.note("draining ...");
    let mut complaints = load.producers.stop(args.timeout).await;
    complaints.extend(drain(&stage, &mut load.consumers, progress).await);
    let mut mixed = match mix {
        None => Outcome::default(),
        Some(mix) => mix.finish(args.timeout.min(SILENCE)).await,
    };
    complaints.append(&mut mixed.complaints);

    let backlog = match loaded {
        None => None,
        Some(loaded) => Some(backlog::account(args, &stage, loaded, progress).await?),
    };
    let Stage { pair, witness, .. } = stage;
    let setup = setup(args, &pair, place);
    complaints.extend(pair.stop().await);
    Ok(report(
        args,
        seed,
        started_unix,
        setup,
        rounds,
        &witness,
        backlog,
        mixed,
        complaints,
    ))
}

/// Starts or finds the pair and waits until it is one.
async fn open_pair(
    args: &DrillArgs,
    place: &Place,
    chronicle: &Arc<Chronicle>,
    progress: &Progress,
) -> Result<Pair, DrillError> {
    let pair = match &args.url {
        None => {
            progress.note(&format!(
                "starting brokers a and b on {}",
                place.shared.display()
            ));
            Pair::start(args, &place.shared, &place.logs, chronicle)?
        }
        Some(url) => Pair::attach(args, url, super::load::addresses_of(url)?, chronicle),
    };
    let has_ended = || (0..2).find_map(|index| Some((index, chronicle.exit_of(index, 0)?)));
    let opened = chronicle
        .wait_for(args.timeout, || match (pair.is_own(), has_ended()) {
            (true, Some(ended)) => Some(Err(ended)),
            _ => pair.roles().map(Ok),
        })
        .await;
    match opened {
        Some(Ok(_)) => Ok(pair),
        Some(Err((index, status))) => Err(DrillError::BrokerEnded {
            broker: pair.brokers[index].name.clone(),
            status,
            during: "while the pair was started",
            log: pair.log_of(index),
        }),
        None => {
            let role = |index| pair.role_of(index).unwrap_or_else(|| "silent".to_owned());
            Err(DrillError::TimedOut {
                what: "one broker to be active and the other standby".to_owned(),
                waited: args.timeout,
                hint: format!(
                    "a is {}, b is {}; see their logs or health ports",
                    role(0),
                    role(1)
                ),
            })
        }
    }
}

/// Waits until every producer has an acknowledgement and messages arrive.
async fn await_steady(stage: &Stage<'_>) -> Result<(), DrillError> {
    let wanted = stage.args.producers as u64;
    let is_steady = || {
        let tally = stage.witness.tally();
        (tally.acknowledged >= wanted && tally.consumed > 0).then_some(())
    };
    match stage
        .chronicle
        .wait_for(stage.args.timeout, is_steady)
        .await
    {
        Some(()) => Ok(()),
        None => Err(DrillError::TimedOut {
            what: "the first sends to be acknowledged and consumed".to_owned(),
            waited: stage.args.timeout,
            hint: "see the log of the active broker".to_owned(),
        }),
    }
}

/// Runs the rounds up to the first one that fails: the pair is not one any more after that.
async fn run_rounds(stage: &mut Stage<'_>, progress: &Progress) -> Result<Vec<Round>, DrillError> {
    let mut rounds = Vec::new();
    for number in 1..=stage.args.rounds {
        let round = stage.round(number).await?;
        progress.note(&round.summary(stage.args.rounds));
        let failed = !round.failures.is_empty();
        rounds.push(round);
        if failed {
            break;
        }
    }
    Ok(rounds)
}

fn setup(args: &DrillArgs, pair: &Pair, place: &Place) -> Setup {
    Setup {
        url: failover::redact(&pair.url),
        directory: pair.is_own().then(|| place.shared.clone()),
        producers: args.producers,
        consumers: args.consumers,
        batch: args.batch,
        size: args.size,
        rate: args.rate,
        are_refusals_allowed: args.allow_refusals,
    }
}

#[allow(clippy::too_many_arguments, reason = "each is a part of the report")]
fn report(
    args: &DrillArgs,
    seed: u64,
    started_unix: u64,
    setup: Setup,
    rounds: Vec<Round>,
    witness: &Witness,
    backlog: Option<Backlog>,
    mixed: Outcome,
    complaints: Vec<String>,
) -> Report {
    let (histograms, buckets) = witness.finish();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        passed: false,
        failures: Vec::new(),
        seed,
        started_unix,
        duration_us: witness.now_us(),
        setup,
        takeover: Spread::of(
            rounds
                .iter()
                .filter(|one| !one.has_stayed)
                .filter_map(|one| one.milestones.acknowledged_us),
        ),
        served: Spread::of(
            rounds
                .iter()
                .filter(|one| !one.has_stayed)
                .filter_map(|one| one.milestones.served_us()),
        ),
        rounds,
        latency: histograms.percentiles(),
        ledger: witness.tally(),
        acknowledged_by_deposed: witness.acknowledged_by_deposed(),
        backlog,
        mix: mixed.strands,
        dead_letters: mixed.dead_letters,
        series: SeriesReport::new(&buckets),
        curves: histograms.curves(),
    };
    report.failures = judge(&report, args.rounds, complaints);
    report.passed = report.failures.is_empty();
    report
}
