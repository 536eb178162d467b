//! A backlog in a queue of its own: put in before the first fault, counted at the end. Takeovers
//! must not take longer because of it, and nothing of it may be gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use failover::{AckMode, Message};
use tokio::task::JoinSet;

use super::ledger::Ledger;
use super::load::{SendingClient, Work, load_error, start_consumers};
use super::message::Codec;
use super::progress::Progress;
use super::report::Backlog;
use super::round::Stage;
use super::witness::{Answered, Sender, Witness};
use super::{DrillArgs, DrillError};

/// Clients that put the backlog in, and that take it out.
const CLIENTS: usize = 4;
/// Messages in each of their transactions.
const BATCH: usize = 500;
/// How long the count of a queue may take to be what it should.
const COUNT_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A backlog that was put in.
pub(super) struct Loaded {
    queue: String,
    witness: Arc<Witness>,
    loading_us: u64,
}

/// Puts the backlog in; returns when all of it is committed.
pub(super) async fn load(
    args: &DrillArgs,
    url: &str,
    seed: u64,
    started: Instant,
    progress: &Progress,
) -> Result<Loaded, DrillError> {
    let queue = format!("{}.backlog", args.queue);
    // Another run number than the load's: neither may be taken for the other.
    let codec = Codec::new(!seed, args.size);
    let witness = Arc::new(Witness::new(started, codec, Ledger::new(CLIENTS, CLIENTS)));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let share = args.backlog / CLIENTS as u64
            + u64::from((number as u64) < args.backlog % CLIENTS as u64);
        let (witness, url, queue) = (Arc::clone(&witness), url.to_owned(), queue.clone());
        clients.spawn(async move { put_in(number as u32, share, &url, &queue, &witness).await });
    }
    let mut bar = progress.bar("loading the backlog", args.backlog);
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(load_error("load the backlog", url)(error)),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            _ = ticks.tick() => bar.at(witness.acknowledged_count()),
        }
    }
    let loading_us = begun.elapsed().as_micros() as u64;
    Ok(Loaded {
        queue,
        witness,
        loading_us,
    })
}

async fn put_in(
    number: u32,
    share: u64,
    url: &str,
    queue: &str,
    witness: &Witness,
) -> Result<(), failover::ClientError> {
    let client = SendingClient::open_with(url, queue, AckMode::Transacted).await?;
    let mut left = share;
    while left > 0 {
        let begun_us = witness.now_us();
        let mut keys = Vec::with_capacity(BATCH);
        for _ in 0..left.min(BATCH as u64) {
            let (key, body) = witness.begin_send(number);
            client.producer.send(Message::bytes(body)).await?;
            keys.push(key);
        }
        client.session.commit().await?;
        left -= keys.len() as u64;
        let at_us = witness.now_us();
        let sender = Sender::Load(None);
        for key in keys {
            witness.acknowledged(Answered {
                sender,
                key,
                due_us: begun_us,
                begun_us,
                at_us,
            });
        }
    }
    client.close().await;
    Ok(())
}

/// Counts the backlog: message by message, or as the active broker counts it.
pub(super) async fn account(
    args: &DrillArgs,
    stage: &Stage<'_>,
    loaded: Loaded,
    progress: &Progress,
) -> Result<Backlog, DrillError> {
    let mut backlog = Backlog {
        messages: args.backlog,
        loading_us: loaded.loading_us,
        found: None,
        counted: "pending at the broker",
        ledger: None,
    };
    if args.verify_backlog {
        take_out(args, stage, &loaded, progress).await?;
        let tally = loaded.witness.tally();
        backlog.found = Some(tally.consumed + tally.consumed_in_doubt);
        backlog.counted = "drained";
        backlog.ledger = Some(tally);
        return Ok(backlog);
    }
    let deadline = Instant::now() + COUNT_PATIENCE;
    while backlog.found != Some(args.backlog) && Instant::now() < deadline {
        let active = (0..2).find(|index| stage.pair.role_of(*index).as_deref() == Some("active"));
        let status = match active {
            Some(active) => stage.pair.status_of(active).await,
            None => None,
        };
        let queues = status.map(|status| status.queues).unwrap_or_default();
        backlog.found = queues
            .iter()
            .find(|queue| queue.name == loaded.queue)
            .map(|queue| queue.pending);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(backlog)
}

async fn take_out(
    args: &DrillArgs,
    stage: &Stage<'_>,
    loaded: &Loaded,
    progress: &Progress,
) -> Result<(), DrillError> {
    let witness = &loaded.witness;
    let work = Work {
        queue: loaded.queue.clone(),
        consumers: CLIENTS,
        first: 0,
        batch: BATCH,
        authorities: Default::default(),
    };
    let mut crew = start_consumers(&stage.pair.url, &work, witness).await?;
    let mut bar = progress.bar("draining the backlog", args.backlog);
    let patience_us = args.timeout.as_micros() as u64;
    let begun_us = witness.now_us();
    while witness.unconsumed(1) > 0 {
        let last_us = witness.last_delivery_us().max(begun_us);
        if witness.now_us().saturating_sub(last_us) > patience_us {
            break;
        }
        bar.at(witness.delivered_count());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    // What a client could not finish shows in the tally.
    let _ = crew.stop(args.timeout).await;
    Ok(())
}
