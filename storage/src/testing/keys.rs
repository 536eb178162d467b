//! Keys for tests, and the keyring with which a test's thread begins tenures and follows them.

use std::cell::RefCell;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cipher::{KEY_BYTES, Keyring, MasterKey};
use crate::disk::Disk;
use crate::error::FollowError;
use crate::tail::Follower;

thread_local! {
    static KEYS: RefCell<Keyring> = RefCell::default();
}

/// A key of which all bytes are `byte`.
#[must_use]
pub fn key(byte: u8) -> MasterKey {
    MasterKey::new(Zeroizing::new([byte; KEY_BYTES]))
}

/// Writes with the first of these keys and reads with all; with none it writes plain.
#[must_use]
pub fn keyring(bytes: &[u8]) -> Keyring {
    let mut keys = bytes.iter().map(|byte| key(*byte));
    let writing = keys.next();
    Keyring::new(writing, keys.collect())
}

/// From now on, this thread's tenures and readers have these keys; see [`keyring`].
pub fn use_keys(bytes: &[u8]) {
    KEYS.set(keyring(bytes));
}

/// The keyring of this thread.
#[must_use]
pub fn keys() -> Keyring {
    KEYS.with_borrow(Keyring::clone)
}

/// Follows a journal with this thread's keys.
///
/// # Errors
/// [`FollowError`]
pub fn open(disk: &(impl Disk + Clone)) -> Result<Follower, FollowError> {
    Follower::open_with_keys(Arc::new(disk.clone()), keys())
}
