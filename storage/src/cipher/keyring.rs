//! Master keys, and how they are named.

use std::fmt;
use std::io;
use std::sync::Arc;

use aws_lc_rs::hkdf;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::file::expand;

/// Bytes of a master key.
pub const KEY_BYTES: usize = 32;

/// The name of a key: it follows from the key and tells nothing of it. Shown as 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A key as operators give it. It is never shown, and wiped from memory when it is dropped.
pub struct MasterKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl MasterKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; KEY_BYTES]>) -> MasterKey {
        let mut id = [0; 8];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"");
        expand(&salt, &*secret, &[b"batonmq key id"], &mut id);
        MasterKey {
            id: KeyId(id),
            secret,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MasterKey({})", self.id)
    }
}

/// Draws the bytes of a new key.
///
/// # Errors
/// The system has no random numbers.
pub fn random_key() -> io::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    draw(&mut *secret)?;
    Ok(secret)
}

/// Fills `bytes` with random ones.
pub(super) fn draw(bytes: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| io::Error::other("the system has no random numbers"))
}

/// The keys that a reader or writer of a journal has; cheap to clone. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Encrypts what is written; None: it is written plain.
    writing: Option<Arc<MasterKey>>,
    /// All of them.
    known: Arc<[Arc<MasterKey>]>,
}

impl Keyring {
    /// `writing` encrypts what is written from now on (None: it is written plain) and, like all of
    /// `reading`, decrypts what was written with it.
    #[must_use]
    pub fn new(writing: Option<MasterKey>, reading: Vec<MasterKey>) -> Keyring {
        let writing = writing.map(Arc::new);
        let reading = reading.into_iter().map(Arc::new);
        Keyring {
            known: writing.iter().cloned().chain(reading).collect(),
            writing,
        }
    }

    /// True if it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The key with which files are written.
    #[must_use]
    pub fn writing_id(&self) -> Option<KeyId> {
        self.writing.as_ref().map(|key| key.id)
    }

    /// All its keys.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.known.iter().map(|key| key.id).collect()
    }

    pub(super) fn writing(&self) -> Option<&Arc<MasterKey>> {
        self.writing.as_ref()
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.known.iter().find(|key| key.id == id).map(|key| &**key)
    }
}

/// A file is encrypted with a key that was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The file, relative to the journal directory.
    pub path: String,
    /// The key that it needs.
    pub wanted: KeyId,
    /// The keys that were given.
    pub given: Vec<KeyId>,
}

impl std::error::Error for KeyError {}

impl fmt::Display for KeyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyError {
            path,
            wanted,
            given,
        } = self;
        write!(out, "`{path}` is encrypted with the key {wanted}, and ")?;
        match &given[..] {
            [] => write!(out, "no key was given")?,
            [one] => write!(out, "only the key {one} was given")?,
            several => {
                let ids: Vec<String> = several.iter().map(KeyId::to_string).collect();
                write!(out, "only the keys {} were given", ids.join(", "))?;
            }
        }
        write!(
            out,
            "; give it in `[encryption]` of the configuration (`key_file` or `key_command`; \
             `old_key_files` if others write with a newer one), or with `--key-file`"
        )
    }
}
