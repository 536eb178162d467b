//! Who may write: lock, lease, claim, epoch, seal, and the acknowledgement gate.
//!
//! This module holds the protocol; [`crate::Member`] runs it. It must not know what is in the
//! journal. Its argument follows. F1 to F9 are facts measured on a Linux NFSv4.1 client and server; on
//! a local file system locks end with their process only, so F1 to F4 hold there, too.
//!
//! - F1. Once a lock is lost, every write through *the very descriptor* that held it fails, for
//!   good: through the page cache, direct, durable at once, and each of several that are pending. Other
//!   descriptors write through, and so does one that is opened and locked afterwards.
//! - F2. A call that returns success late was done before the lock was lost. It proves that its bytes
//!   are on the server, not that the lock is still held.
//! - F3. The server takes all locks of a host away together, no earlier than its own lease after
//!   that host's last operation.
//! - F4. Of several hosts that create one name exclusively exactly one succeeds.
//! - F5. Cut off, every call blocks without limit, also a "non-blocking" lock attempt, and a killed
//!   process does not go away.
//! - F6. A host that is frozen keeps its locks as long as its kernel answers the server.
//! - F7. A deleted lock file can be locked by a second holder under the same name.
//! - F8. A listing and a file opened afterwards show what is on the server; a descriptor kept open, or
//!   a name asked for before it existed, may not.
//! - F9. Clocks that count suspended time run at the same speed within a configured allowance.
//!
//! # The files
//!
//! `lock` is locked by the active. `claims/<epoch>` is created exclusively by whoever wants that
//! epoch, locked through the creating descriptor before anything else, and holds the epoch's
//! *lease block*, which only that descriptor ever writes. (A single lease file for all epochs could
//! not be locked in a lease takeover, and an old active that thaws could overwrite the new one's
//! block.) Segments are locked through the descriptor that writes them. Every segment belongs to
//! one epoch.
//!
//! # What must hold
//!
//! Let C take over with epoch `c`, and let A be any other broker with an epoch `a < c`.
//!
//! - **(I1)** Whatever A ever acknowledges is durable before C begins to read for its seal.
//! - **(I2)** A acknowledges nothing after C does.
//!
//! With the seal (bytes of `a` behind C's seal do not exist for any reader) I1 gives: nothing
//! acknowledged is lost, and nothing that a deposed broker writes does harm.
//!
//! # The gate
//!
//! A acknowledges what is synced, in a file locked at `l`, if after the sync a successful renewal is known
//! that started at `s > l`, and `now < s + lease` (`CLOCK_BOOTTIME`: F6 counts). A renewal is: write
//! the lease block and sync it through the claim's locked descriptor; then list `claims/` and read the
//! block under the claim's name through a fresh descriptor; success is that all went well, that none is
//! newer than A's claim, and that A's name leads to the very block that A wrote. The gate is asked by the journal
//! thread and by whoever acknowledges; nothing that answers it touches storage (F5). An error of any
//! of these calls fences A for good.
//!
//! # Fast takeover
//!
//! C gets `lock`, lists everything, and then gets the lock of each claim `>= e` and each
//! segment of `e` that may still be written, where `e` is the newest epoch that has a segment; if any is
//! missing, all are let go at once. `lock` alone would not do (F7). It claims the highest epoch
//! seen plus one, reads, seals, serves. No clock is involved:
//!
//! 1. Epochs older than `e` are closed: whoever made the first segment of `e` had completed a
//!    takeover itself.
//! 2. For `a >= e`, C holds the lock of claim `a`, so A's process is gone or the server took all of A's
//!    locks away (F3): every later renewal of A fails (F1), and every later write to a segment that C
//!    has locked (F1). What succeeded before is on the server (F2), and C reads it with fresh
//!    descriptors (F8).
//! 3. A segment of `a` that C did *not* see was made after C listed. Its `l` is later than the loss
//!    of A's locks, so no renewal with `s > l` can succeed, and A acknowledges nothing in it. This is
//!    why the gate compares `s` with `l`.
//! 4. A claim newer than what C saw makes C's exclusive creation fail (F4), or is newer than C's own:
//!    then C's first renewal finds it, before C's gate opens.
//!
//! So I1 holds by 2 and 3. I2: what A acknowledges after the loss of its locks was synced before
//! it (2); its gate closes `lease` after a renewal that started before the loss. Locks are lost by
//! process death, then A says nothing more, or by F3: so I2 needs a **lease shorter than the server's**
//! by the allowance of F9. If it is longer, I1 and everything that follows from it hold all the same; only
//! acknowledgements of what C has already read may overlap with C's for the difference.
//!
//! # Lease takeover
//!
//! The newest claim's lease block did not change for longer than its lease. That is only a
//! reason to act, not a proof. C creates claim `c` (exactly one above the newest), locks it, makes it
//! durable; from then on it waits the longest lease of any claim there is, plus the allowance of F9; then it
//! reads, seals, serves.
//!
//! 1. A renewal of A that succeeded listed the claims and did not see `c`. The listing went to the server
//!    (F8), so it was before `c` was there, and so was the renewal's start `s`. A's gate closes at
//!    `s + lease` by A's clock, which is before the end of C's wait by C's clock (F9). I2.
//! 2. A asks the gate after the sync, so what passes was durable before the end of the wait. I1.
//! 3. A newer claim than `c` meanwhile, even one that C sleeps through: C's first renewal with its
//!    gate finds it.
//!
//! Of several that try, F4 lets one have `c`. While it waits, C renews its own block, so that a third
//! broker does not depose it. Getting all the old locks while it waits is a fast takeover. Afterwards C
//! goes on asking for `lock` and the old segments: asking is what makes the server take them from a
//! host that is gone.
//!
//! A block marked *released* was written by an active whose gate was shut for good before, and whose
//! journal threads had ended: taking over from it needs no wait.
//!
//! # Several writes under way
//!
//! Of the batches that A has in flight, any may be on the server when C reads, in any order, whole, torn
//! or not at all; those that land late in a lease takeover may come in any order, too, and while C reads.
//!
//! - A acknowledges a batch only once it *and every one before it* was answered with success, and asks the
//!   gate after that, with the `l` of the last of them (segments are locked in ascending order, so it
//!   is the greatest). So what is acknowledged is a prefix, and each batch of it was durable before C
//!   began to read by the very argument above. C reads up to the first batch that is missing: no less than
//!   that prefix.
//! - C seals there. What lies behind the hole, or fills it later, is behind the seal. A batch in front
//!   of the seal is written a second time only with the same bytes in the same place: by A's client
//!   that repeats a request, or by C, which makes durable what it has read. So the order in
//!   which late writes come makes no difference, nor how many they are.
//! - What C has read, and of which no batch behind it says that it was durable, may be visible and not durable
//!   on a local disk after a crash of the host: C writes *all* of that again before it seals, not only
//!   the last batch.
//! - An error fences A before anything behind the failed batch is released: the prefix ends there.
//!
//! # A directory that somebody deletes
//!
//! A deleted `lock` is not noticed and does no harm: whoever locks the new one still needs the locks of claims and
//! segments. A deleted claim, and one that another broker made anew under the same number, is found by
//! the next renewal (its *identity* and counter are in the block; numbers of files are used again, and
//! `stat` proves nothing). If everything is deleted, what was acknowledged is gone by the
//! administrator's hand, and the locks that C gets in the new directory prove nothing. A member that
//! has ever seen a claim therefore claims above the highest number it has seen and waits
//! as in a lease takeover: the last renewal of A that succeeded listed the old directory, so I2 holds.
//! A process that starts in the emptied directory knows nothing and serves at once: it and A may both
//! acknowledge until A's next renewal, at most for the rest of A's lease. A directory that is *renamed*
//! away goes on for A as long as its client's name cache (F8) leads there.
//!
//! # The strict fence
//!
//! If F9 does not hold, because a host can be stopped together with its clock, the gate says nothing. With
//! `fence = "strict"` A lists `claims/` after a batch is durable and before it is released. If the
//! listing shows no newer claim, C had not claimed, so it had not begun to read: I1 holds whatever the
//! clocks say. I2 does not hold in full: a host that is stopped between the listing and the
//! acknowledgement gives what that listing allowed when it goes on, once, though C serves. C has all of
//! it; nothing is lost. Messages already handed to its consumers may be with C's consumers, too.
//!
//! # The model
//!
//! (It has one batch under way at a time: that any number may be, the simulation in `tests/tenure.rs` shows.)
//!
//! `model` (tests only) searches all of this exhaustively within bounds, with the functions that decide
//! here: `seeker::Seeker`, `gate::GateState`, `claim::verdict`, `lock::writable`, and the walk
//! along the seals. Each part of the protocol is left out once, and the shortest way to break a promise is
//! found. That ports are closed before others open their own is no promise where clocks differ by as
//! much as half.
//!
//! # The deposed
//!
//! It learns of it by a newer claim, an error, or the lease running out. The latter is watched by a
//! thread that never touches storage: the gate is shut the moment the lease runs out and opens again if
//! a renewal comes late (it found no newer claim, so 1 above covers it); after a grace of half a
//! lease the role is given up for good and the ports are closed, though storage still hangs.

pub(crate) mod claim;
pub mod gate;
pub(crate) mod lease;
pub(crate) mod lock;
#[cfg(test)]
mod model;
pub(crate) mod seeker;
