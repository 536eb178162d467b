//! `baton consume`: receives messages and says how long they were under way.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use failover::{AckMode, Connection, Consumer, ConsumerOptions, Message, Session};

use super::client::{ClientArgs, parse_time};
use super::meter::Meter;

/// Receive messages from a queue or topic.
///
/// Runs until --count messages have come, until nothing has come for --wait, or until Ctrl-C. The
/// summary tells how long messages were under way, from the timestamp that the producer gave them.
#[derive(Args, Debug)]
#[command(
    allow_missing_positional = true,
    after_help = "\
Examples:
  baton consume orders                               from the pair of `baton pair`
  baton consume 'failover:(tcp://a:61616,tcp://b:61616)' orders --count 10000
  baton consume orders --wait 2s --print             what is there, as text
  baton consume orders --transacted 100 --count 1000
  baton consume prices --topic --durable archive --client-id archive-1"
)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// End after so many messages [default: no end]
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    /// End when nothing has come for so long [default: wait for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    wait: Option<Duration>,

    /// When a message counts as consumed
    #[arg(long, value_enum, default_value_t = Acknowledge::Auto, conflicts_with = "transacted")]
    acknowledge: Acknowledge,

    /// Consume in transactions of so many messages
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    transacted: Option<u64>,

    /// Messages that the broker may send ahead; 0 asks for each one [default: the URL's, or 1000]
    #[arg(long, value_name = "N")]
    prefetch: Option<u32>,

    /// Only messages that match this JMS selector
    #[arg(long, value_name = "CONDITION")]
    selector: Option<String>,

    /// Get all of the queue's messages while consuming; others wait
    #[arg(long)]
    exclusive: bool,

    /// Consumers of a higher priority are served first, 0 to 127
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i8).range(0..), value_name = "N")]
    priority: i8,

    /// Also get what a topic keeps of the past
    #[arg(long, requires = "topic")]
    retroactive: bool,

    /// Consume as this durable subscription, which keeps messages while nobody consumes
    #[arg(long, value_name = "NAME", requires = "topic", requires = "client_id")]
    durable: Option<String>,

    /// Client id of the connection; durable subscriptions belong to it
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// Print each body on a line of standard output
    #[arg(long)]
    print: bool,
}

/// When a message counts as consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Acknowledge {
    /// When it was received
    Auto,
    /// When it was received, told to the broker in batches
    DupsOk,
    /// When the consumer says so, each by itself
    Individual,
}

/// Receives until there is a reason to end.
pub(super) async fn main(args: ConsumeArgs) -> anyhow::Result<ExitCode> {
    let mut meter = Meter::new("received", args.count);
    let connection = args
        .client
        .connect(args.client_id.as_deref(), meter.bar())
        .await?;
    let (session, consumer) = open(&connection, &args).await?;
    meter.start();
    let outcome = tokio::select! {
        outcome = consume(&session, &consumer, &args, &mut meter) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let is_short = args.count.is_some_and(|count| meter.messages() < count);
    let summary = meter.finish("under way for");
    // Standard output is for the bodies if they are asked for.
    if args.print {
        eprint!("{summary}");
    } else {
        print!("{summary}");
    }
    let closed = connection.close().await;
    outcome.and(closed.context("cannot close the connection"))?;
    Ok(if is_short {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn open(connection: &Connection, args: &ConsumeArgs) -> anyhow::Result<(Session, Consumer)> {
    let mode = match (args.transacted, args.acknowledge) {
        (Some(_), _) => AckMode::Transacted,
        (None, Acknowledge::Auto) => AckMode::Auto,
        (None, Acknowledge::DupsOk) => AckMode::DupsOk,
        (None, Acknowledge::Individual) => AckMode::Individual,
    };
    let session = connection
        .session(mode)
        .await
        .context("cannot open a session")?;
    let destination = args.client.destination();
    let options = ConsumerOptions {
        selector: args.selector.clone(),
        prefetch: args.prefetch,
        exclusive: args.exclusive,
        priority: args.priority,
        retroactive: args.retroactive,
        ..ConsumerOptions::default()
    };
    let opened = match &args.durable {
        Some(name) => {
            session
                .durable_subscriber(&destination, name, options)
                .await
        }
        None => session.consumer_with(&destination, options).await,
    };
    let consumer = opened.with_context(|| format!("cannot consume from {destination}"))?;
    Ok((session, consumer))
}

/// How long an open transaction waits for its next message.
const TRANSACTION_IDLE: Duration = Duration::from_millis(200);

async fn consume(
    session: &Session,
    consumer: &Consumer,
    args: &ConsumeArgs,
    meter: &mut Meter,
) -> anyhow::Result<()> {
    let batch = args.transacted.map_or(0, |batch| batch.max(1));
    // Messages of the open transaction, which count once it is committed.
    let mut open: Vec<Message> = Vec::new();
    loop {
        let is_complete = |done: u64| args.count.is_some_and(|count| done >= count);
        let done = meter.messages() + open.len() as u64;
        if is_complete(done) || (batch > 0 && open.len() as u64 >= batch) {
            settle(session, &mut open, args, meter).await?;
            if is_complete(meter.messages()) {
                return Ok(());
            }
            continue;
        }
        let patience = if open.is_empty() {
            args.wait
        } else {
            Some(TRANSACTION_IDLE)
        };
        match consumer.receive(patience).await.context("cannot receive")? {
            Some(message) if batch > 0 => open.push(message),
            Some(message) => {
                if args.acknowledge == Acknowledge::Individual {
                    message.acknowledge().await.context("cannot acknowledge")?;
                }
                count(&message, args, meter)?;
            }
            None if open.is_empty() => return Ok(()),
            None => settle(session, &mut open, args, meter).await?,
        }
    }
}

/// Commits the open transaction; what was rolled back comes again.
async fn settle(
    session: &Session,
    open: &mut Vec<Message>,
    args: &ConsumeArgs,
    meter: &mut Meter,
) -> anyhow::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    match session.commit().await {
        Ok(()) => {
            for message in open.iter() {
                count(message, args, meter)?;
            }
        }
        Err(error) if error.is_rolled_back() || error.is_in_doubt() => {
            meter.say(&format!("{error}: {} messages do not count", open.len()));
        }
        Err(error) => return Err(error).context("a transaction was not committed"),
    }
    open.clear();
    Ok(())
}

fn count(message: &Message, args: &ConsumeArgs, meter: &mut Meter) -> anyhow::Result<()> {
    let content = message.as_wire().content.as_ref();
    let bytes = content.map_or(0, bytes::Bytes::len);
    meter.record(bytes, age(message));
    if args.print {
        let text = match message.as_text() {
            Ok(Some(text)) => text,
            _ => match message.as_bytes() {
                Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => format!("[{bytes} bytes, neither text nor bytes]"),
            },
        };
        if writeln!(std::io::stdout(), "{text}").is_err() {
            bail!("standard output is closed");
        }
    }
    Ok(())
}

/// Time since the producer's timestamp; nothing if clocks disagree or there is none.
fn age(message: &Message) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let sent = u64::try_from(message.timestamp()).unwrap_or(0);
    if sent == 0 {
        return Duration::ZERO;
    }
    now.saturating_sub(Duration::from_millis(sent))
}
