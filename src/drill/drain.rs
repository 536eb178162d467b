//! The end of the load: everything that was acknowledged is to come, and what does not come is to
//! be called lost only when the pair had every chance to deliver it.
//!
//! Silence alone proves nothing: a pair on slow storage, or clients whose connections break again
//! and again, may be silent for longer than anybody waits. So when something is missing after a
//! silence, all consumers are closed, which gives back what was sent ahead to them, and a fresh one
//! asks for it. In the same queue it also waits for messages that are sent now: as long as these
//! come and nothing else does, the silence counts; when they do not come either, the pair serves
//! nobody, which is a failure of its own and says nothing about what is missing.

use std::time::Duration;

use failover::{AckMode, ClientError, Connection, ConsumerOptions, Destination, Message};
use tokio::time::{Instant, timeout};

use super::load::{Crew, PROBES, SendingClient, Work, start_consumers};
use super::mix::DEAD_LETTER_QUEUE;
use super::progress::Progress;
use super::round::Stage;
use super::{DrillArgs, DrillError};

/// Silence after which what has not come is asked for, and lost if it does not come then.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// Calm in which nothing more may come after everything was consumed.
const LINGER: Duration = Duration::from_millis(500);
/// How often it is looked whether everything was consumed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Pause between two messages that show that the pair serves.
const SIGN_INTERVAL: Duration = Duration::from_millis(250);

/// Producers in the ledger of a drill; the last one sends the signs of service at its end.
pub(super) fn producers(args: &DrillArgs) -> usize {
    args.producers + PROBES + 1
}

/// Consumers in the ledger of a drill; the last one asks for what is missing.
pub(super) fn consumers(args: &DrillArgs) -> usize {
    args.consumers + 1
}

/// Waits until everything has come or is known to be lost; ends the consumers. Says what went wrong.
pub(super) async fn drain(
    stage: &Stage<'_>,
    consumers: &mut Crew,
    progress: &Progress,
) -> Vec<String> {
    let patience = stage.args.timeout;
    wait_for_silence(stage, patience.min(SILENCE)).await;
    let mut complaints = consumers.stop(patience).await;
    let witness = &stage.witness;
    if witness.is_settled() {
        return complaints;
    }
    progress.note("something is missing; asking for it with a fresh consumer ...");
    match sweep(stage).await {
        Ok(told) => complaints.extend(told),
        Err(reason) => {
            witness.unserved();
            complaints.push(reason);
        }
    }
    if !witness.is_settled() {
        match timeout(patience, look_at_dead_letters(stage)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => complaints.push(format!(
                "the dead letter queue cannot be looked at: {error}"
            )),
            Err(_) => complaints.push("the dead letter queue does not end".to_owned()),
        }
    }
    complaints
}

/// Waits until nothing more need come, or nothing comes for `patience`.
async fn wait_for_silence(stage: &Stage<'_>, patience: Duration) {
    let patience_us = patience.as_micros() as u64;
    let begun_us = stage.witness.now_us();
    while !stage.witness.is_settled() {
        let last_us = stage.witness.last_delivery_us().max(begun_us);
        if stage.witness.now_us().saturating_sub(last_us) > patience_us {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    // A message that should not come would come now.
    tokio::time::sleep(LINGER).await;
}

/// Asks for what is missing while messages of now show that the pair serves.
///
/// # Errors
///
/// A sentence, when these do not come either.
async fn sweep(stage: &Stage<'_>) -> Result<Vec<String>, String> {
    let args = stage.args;
    let unserved = || {
        format!(
            "at the end the pair delivered nothing within {} s",
            args.timeout.as_secs()
        )
    };
    let work = Work {
        queue: args.queue.clone(),
        consumers: 1,
        first: args.consumers,
        batch: args.batch,
        authorities: Default::default(),
    };
    let opened = async {
        let crew = start_consumers(&stage.pair.url, &work, &stage.witness).await?;
        let client = SendingClient::open_with(&stage.pair.url, &args.queue, AckMode::Auto)
            .await
            .map_err(super::load::load_error(
                "connect a producer",
                &stage.pair.url,
            ))?;
        Ok::<_, DrillError>((crew, client))
    };
    let (mut crew, client) = timeout(args.timeout, opened)
        .await
        .map_err(|_| unserved())?
        .map_err(|error| error.to_string())?;
    let mut missing = stage.witness.unconsumed(usize::MAX);
    let mut since = Instant::now();
    let mut is_served = true;
    while !stage.witness.is_settled() && since.elapsed() < SILENCE {
        is_served = matches!(
            timeout(args.timeout, sign(stage, &client)).await,
            Ok(Ok(()))
        );
        if !is_served {
            break;
        }
        let now = stage.witness.unconsumed(usize::MAX);
        if now < missing {
            (missing, since) = (now, Instant::now());
        }
        tokio::time::sleep(SIGN_INTERVAL).await;
    }
    let complaints = crew.stop(args.timeout).await;
    client.close().await;
    if is_served {
        Ok(complaints)
    } else {
        Err(unserved())
    }
}

/// Sends a message and waits until it is delivered.
async fn sign(stage: &Stage<'_>, client: &SendingClient) -> Result<(), ClientError> {
    let number = producers(stage.args) - 1;
    let (key, body) = stage.witness.begin_send(number as u32);
    match client.producer.send(Message::bytes(body)).await {
        Ok(_) => stage.witness.acknowledged_beside(key),
        Err(error) => {
            stage.witness.refused(key);
            return Err(error);
        }
    }
    while !stage.witness.is_delivered(key) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Tells the ledger what was put aside.
async fn look_at_dead_letters(stage: &Stage<'_>) -> Result<(), ClientError> {
    let connection = Connection::connect(&stage.pair.url).await?;
    let session = connection.session(AckMode::Auto).await?;
    let queue = Destination::queue(DEAD_LETTER_QUEUE);
    let browser = session.browser(&queue, ConsumerOptions::default()).await?;
    while let Some(message) = browser.next().await? {
        if let Ok(Some(body)) = message.as_bytes() {
            stage.witness.dead_letter(&body);
        }
    }
    connection.close().await
}
