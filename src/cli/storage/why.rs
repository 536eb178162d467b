//! `baton storage why`: what keeps each segment of a journal directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use storage::Keyring;
use storage::disk::{Disk, RealDisk};
use storage::pins::{Duty, Holder, Pin, PinnedSegment, pinned_segments, read_message};
use storage::state::State;
use storage::tail::Follower;

use super::keys::KeyArgs;
use crate::broker::{id_of_message, name_of_backlog};

/// Show what keeps each segment: which queue, subscription or transaction, and which message
///
/// Reads the directory as a standby does: also while a pair is running on it, and without writing
/// anything. A segment goes by itself once nothing in it is pending and two checkpoints have passed
/// it; the few messages of a sparse one move to the journal's end.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage why /srv/baton
  baton storage why /srv/baton --json | jq '.segments[0].kept_by'")]
pub(super) struct WhyArgs {
    /// Journal directory
    directory: PathBuf,

    #[command(flatten)]
    keys: KeyArgs,

    /// Holders that are named for each segment
    #[arg(long, value_name = "N", default_value_t = 3)]
    most: usize,

    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// One segment with the names of what is in it.
struct Told {
    segment: PinnedSegment,
    pins: Vec<ToldPin>,
}

struct ToldPin {
    holder: String,
    pin: Pin,
    /// The first message: its id, and when it was appended.
    first: Option<(Option<String>, u64)>,
}

/// Runs the command.
pub(super) fn main(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let shown = args.directory.display();
    let disk = RealDisk::open(&args.directory)
        .with_context(|| format!("cannot open the directory `{shown}`"))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let keys = args.keys.load()?;
    let mut follower = Follower::open_with_keys(Arc::clone(&disk), keys.clone())
        .with_context(|| format!("cannot read the journal in `{shown}`"))?;
    loop {
        match follower.poll() {
            Ok(progress) if progress.is_at_end => break,
            Ok(_) => {}
            // A running active removed what was being read.
            Err(error) if error.is_transient() => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the journal in `{shown}`"));
            }
        }
    }
    let state = Arc::clone(follower.state());
    let segments = pinned_segments(&*disk, &state, follower.segment())
        .with_context(|| format!("cannot list the segments in `{shown}`"))?;
    let told: Vec<Told> = segments
        .into_iter()
        .map(|segment| tell(&*disk, &keys, &state, segment, args.most))
        .collect();
    if args.json {
        println!("{:#}", document(&told));
    } else {
        print!("{}", text(&told, now_ms()));
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(
    disk: &dyn Disk,
    keys: &Keyring,
    state: &State,
    segment: PinnedSegment,
    most: usize,
) -> Told {
    let pins = segment.pins.iter().take(most).map(|pin| {
        let (holder, descriptor) = match &pin.holder {
            Holder::Backlog(descriptor) => (name_of_backlog(descriptor), Some(descriptor)),
            Holder::Transaction(_, Some(_)) => ("a prepared transaction".to_owned(), None),
            Holder::Transaction(_, None) => ("an open transaction".to_owned(), None),
        };
        // It may have been consumed, and its segment removed, since the journal was read.
        let read = read_message(disk, keys, state, pin.first).ok();
        let first = read.map(|read| (id_of_message(descriptor, read.body), read.time_ms));
        ToldPin {
            holder,
            pin: pin.clone(),
            first,
        }
    });
    let pins = pins.collect();
    Told { segment, pins }
}

fn document(told: &[Told]) -> Value {
    let pin = |one: &ToldPin| {
        let (id, time_ms) = match &one.first {
            Some((id, time_ms)) => (id.clone(), Some(*time_ms)),
            None => (None, None),
        };
        json!({
            "holder": one.holder,
            "messages": one.pin.messages,
            "bytes": one.pin.bytes,
            "first_message_id": id,
            "first_message_at_ms": time_ms,
            "first_message_bytes": one.pin.first.length,
        })
    };
    let segment = |one: &Told| {
        json!({
            "path": one.segment.path,
            "bytes": one.segment.bytes,
            "live_bytes": one.segment.live_bytes,
            "role": match one.segment.duty {
                Duty::Tail => "tail",
                Duty::Replay => "replay",
                Duty::Nothing => "messages",
            },
            "holders": one.segment.pins.len(),
            "kept_by": one.pins.iter().map(pin).collect::<Vec<_>>(),
        })
    };
    json!({ "segments": told.iter().map(segment).collect::<Vec<_>>() })
}

fn text(told: &[Told], now_ms: u64) -> String {
    let bytes: u64 = told.iter().map(|one| one.segment.bytes).sum();
    let live: u64 = told.iter().map(|one| one.segment.live_bytes).sum();
    let mut out = format!(
        "{} segments of {}, {} of it pending messages\n",
        told.len(),
        size(bytes),
        size(live)
    );
    for one in told {
        let segment = &one.segment;
        let share = segment.live_bytes as f64 * 100.0 / segment.bytes.max(1) as f64;
        let name = format!(
            "\n{} ({}, {share:.1} % live)",
            segment.path,
            size(segment.bytes)
        );
        out += &name;
        out += match (segment.duty, segment.pins.is_empty()) {
            (Duty::Tail, true) => " is being filled, or will be next.\n",
            (Duty::Tail, false) => " is being filled, or will be next; it has\n",
            (Duty::Replay, true) => {
                " has no pending message; it goes when two checkpoints more are written.\n"
            }
            (Duty::Replay, false) => " is kept for recovery, and by\n",
            (Duty::Nothing, true) => " has no pending message; the active will remove it.\n",
            (Duty::Nothing, false) => " is kept by\n",
        };
        for pin in &one.pins {
            out += &line(pin, now_ms);
        }
        let more = segment.pins.len() - one.pins.len();
        if more > 0 {
            out += &format!("  and {more} more (--most {})\n", segment.pins.len());
        }
        if segment.duty != Duty::Tail && !segment.pins.is_empty() {
            out += advice(share);
        }
    }
    out
}

fn advice(share: f64) -> &'static str {
    if share > 75.0 {
        "  It is well used: it goes when these are consumed.\n"
    } else {
        "  These are moved to the journal's end, and the segment goes, once all full segments take\n  more than 1.6 times what is pending and this one is among the sparsest.\n"
    }
}

fn line(pin: &ToldPin, now_ms: u64) -> String {
    let count = match pin.pin.messages {
        1 => format!("1 message of {}", size(pin.pin.bytes)),
        many => format!("{many} messages of {} in all", size(pin.pin.bytes)),
    };
    let first = match &pin.first {
        Some((id, time_ms)) => {
            let age = age(now_ms.saturating_sub(*time_ms));
            let id = id.as_deref().unwrap_or("whose id cannot be read");
            format!("; the first, {id}, is there for {age}")
        }
        None => "; the first is gone by now".to_owned(),
    };
    format!("  {count} in {}{first}\n", pin.holder)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::{Location, SegmentNumber};

    #[test]
    fn a_person_reads_who_keeps_a_segment_and_since_when() {
        let first = Location {
            segment: SegmentNumber(12),
            offset: 64,
            length: 1200,
        };
        let pin = Pin {
            holder: Holder::Backlog("d".into()),
            messages: 1,
            bytes: 1200,
            first,
        };
        let told = Told {
            segment: PinnedSegment {
                path: "journal/12".to_owned(),
                number: SegmentNumber(12),
                bytes: 64 << 20,
                live_bytes: 1200,
                duty: Duty::Nothing,
                pins: vec![pin.clone()],
            },
            pins: vec![ToldPin {
                holder: "queue `orders`".to_owned(),
                pin,
                first: Some((Some("ID:a-1:1:1:1".to_owned()), 1000)),
            }],
        };
        let text = text(&[told], 1000 + 3 * 86_400_000);
        assert!(
            text.contains("journal/12 (67 MB, 0.0 % live) is kept by"),
            "{text}"
        );
        assert!(
            text.contains("1 message of 1200 B in queue `orders`; the first, ID:a-1:1:1:1, is there for 3 days"),
            "{text}"
        );
        assert!(text.contains("moved to the journal's end"), "{text}");
    }
}
