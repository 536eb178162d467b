//! Where reading begins: the newest checkpoint that counts, or the journal's first record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use crate::chain::{
    ChainError, CheckpointName, Look, SegmentName, chain_from, list_segments, survey,
};
use crate::checkpoint::{CheckpointRead, Loaded, read_checkpoint_metered};
use crate::cipher::{CipherError, Keyring, read_header};
use crate::disk::{Disk, Open};
use crate::error::FollowError;
use crate::position::Epoch;
use crate::state::{State, Tenure};
use crate::tail::Cursor;

mod progress;

pub(crate) use progress::RecoveryMeter;
pub use progress::{RecoveryPhase, RecoveryProgress};

/// A state and the place up to which it contains the journal.
pub(crate) struct Beginning {
    pub(crate) state: Arc<State>,
    /// None: nothing was ever written.
    pub(crate) cursor: Option<Cursor>,
}

/// Loads the newest checkpoint that can be read and that the chain of tenures confirms; else
/// begins with the first record.
pub(crate) fn find_beginning(
    disk: &dyn Disk,
    keys: &Keyring,
    known: &mut BTreeMap<SegmentName, Tenure>,
    meter: &RecoveryMeter,
) -> Result<Beginning, FollowError> {
    let look = || survey(disk).map_err(|error| FollowError::io(Path::new("."), error));
    let mut seen = look()?;
    loop {
        match begin_from(disk, keys, &seen.checkpoints, known, meter) {
            // The active may have published a newer one and removed what was seen.
            Err(FollowError::NoStart {
                first_epoch,
                reason,
            }) => {
                let now = look()?;
                if now.checkpoints == seen.checkpoints {
                    return Err(FollowError::NoStart {
                        first_epoch,
                        reason,
                    });
                }
                seen = now;
            }
            other => return other,
        }
    }
}

fn begin_from(
    disk: &dyn Disk,
    keys: &Keyring,
    checkpoints: &[CheckpointName],
    known: &mut BTreeMap<SegmentName, Tenure>,
    meter: &RecoveryMeter,
) -> Result<Beginning, FollowError> {
    let mut refused = Vec::new();
    for name in checkpoints {
        match read_checkpoint_metered(disk, keys, *name, meter) {
            // It was removed since the listing: there are newer ones.
            CheckpointRead::NeverWritten => {}
            CheckpointRead::Unreadable { reason } => {
                warn!(%reason, "A checkpoint cannot be read; trying the one before.");
                refused.push(reason);
            }
            CheckpointRead::Locked(error) => return Err(error.into()),
            CheckpointRead::Valid(loaded) => match refusal(disk, &loaded, known)? {
                None => {
                    check_keys(disk, keys, &loaded.state)?;
                    return Ok(begin_with(*loaded));
                }
                Some(reason) => {
                    warn!(lsn = %name.lsn, epoch = %name.epoch, %reason, "Ignored a checkpoint.");
                    refused.push(format!("`{}`: {reason}", name.path().display()));
                }
            },
        }
    }
    begin_at_first_record(disk, &refused, known)
}

/// Sees to it that all pending messages can be decrypted: a standby without a key has to say so at
/// its start, not at the takeover. One look for each tenure is enough, because it writes all its
/// segments with one key.
fn check_keys(disk: &dyn Disk, keys: &Keyring, state: &State) -> Result<(), FollowError> {
    let mut by_epoch = BTreeMap::new();
    for live in state.segments.lock().live() {
        by_epoch.insert(live.segment.epoch, live.segment);
    }
    for name in by_epoch.into_values() {
        match look_at_cipher(disk, keys, name) {
            Ok(()) => {}
            Err(CipherError::Key(error)) => return Err(error.into()),
            // The reader of the journal, or of the message, says it better.
            Err(CipherError::Io(_) | CipherError::Header(_)) => {}
        }
    }
    Ok(())
}

fn look_at_cipher(disk: &dyn Disk, keys: &Keyring, name: SegmentName) -> Result<(), CipherError> {
    let file = disk.open(&name.path(), Open::Read)?;
    keys.cipher(name, read_header(&*file, name)?)?;
    Ok(())
}

fn begin_with(loaded: Loaded) -> Beginning {
    let start = loaded.start;
    let segment = SegmentName {
        number: start.segment,
        epoch: start.epoch,
    };
    info!(end = %loaded.end, replay_from = %start.lsn, "Loaded a checkpoint.");
    let cursor = Cursor {
        segment,
        offset: start.offset,
        next_lsn: start.lsn,
    };
    Beginning {
        state: Arc::new(loaded.state),
        cursor: Some(cursor),
    }
}

/// Why a checkpoint does not count.
fn refusal(
    disk: &dyn Disk,
    loaded: &Loaded,
    known: &mut BTreeMap<SegmentName, Tenure>,
) -> Result<Option<String>, FollowError> {
    let epoch = loaded.start.epoch;
    let segments = list_segments(disk)?;
    match chain_from(disk, &segments, epoch, known, Look::Quick) {
        Ok(chain) => Ok(chain
            .successor(epoch)
            .filter(|successor| successor.seal.sealed_lsn < loaded.end)
            .map(|successor| {
                format!(
                    "it ends with LSN {}, but epoch {epoch} was sealed at {}",
                    loaded.end, successor.seal.sealed_lsn
                )
            })),
        Err(ChainError::Detached { newest }) => Ok(Some(format!(
            "epoch {newest} does not descend from its epoch {epoch}"
        ))),
        Err(ChainError::Follow(error)) => Err(error),
    }
}

fn begin_at_first_record(
    disk: &dyn Disk,
    refused: &[String],
    known: &mut BTreeMap<SegmentName, Tenure>,
) -> Result<Beginning, FollowError> {
    let segments = list_segments(disk)?;
    let first_epoch = segments
        .iter()
        .map(|name| name.epoch)
        .min()
        .unwrap_or_default();
    match chain_from(disk, &segments, Epoch(0), known, Look::Quick) {
        Ok(_) if refused.is_empty() || first_epoch != Epoch(0) => Ok(Beginning {
            state: Arc::new(State::default()),
            cursor: None,
        }),
        Err(ChainError::Follow(error)) => Err(error),
        Ok(_) | Err(ChainError::Detached { .. }) => Err(FollowError::NoStart {
            first_epoch,
            reason: match refused {
                [] => "there is none".to_owned(),
                refused => refused.join("; "),
            },
        }),
    }
}
