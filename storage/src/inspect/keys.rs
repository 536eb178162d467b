//! Which keys a journal still needs. Asks for none: key ids stand in the clear.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::chain::survey;
use crate::checkpoint::key_of;
use crate::cipher::{Ciphers, KeyId, Keyring};
use crate::disk::{Disk, Open};

/// The files that were written with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// The key; None: they are plain.
    pub key: Option<KeyId>,
    /// Segments.
    pub segments: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// True for the key of the newest segment: the active writes with it.
    pub is_newest: bool,
}

/// The keys of all files in the directory, plain ones first. A key that is not among them is needed
/// no more.
///
/// # Errors
/// As the operating system says.
pub fn keys_in_use(disk: &dyn Disk) -> io::Result<Vec<KeyUse>> {
    let found = survey(disk)?;
    let none = Keyring::default();
    let ciphers = Ciphers::survey(disk, &none, &found.segments);
    let newest = found.newest_segment();
    let mut uses: BTreeMap<Option<KeyId>, KeyUse> = BTreeMap::new();
    let bytes_of = |path: &std::path::Path| match disk.open(path, Open::Read) {
        Ok(file) => file.length().map(Some),
        // It went since the listing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    for name in &found.segments {
        let Some(bytes) = bytes_of(&name.path())? else {
            continue;
        };
        // A header that cannot be read tells of no key; `check` tells of it.
        let Some(header) = ciphers.header(*name) else {
            continue;
        };
        let used = entry(&mut uses, header.map(|header| header.key));
        used.segments += 1;
        used.bytes += bytes;
        used.is_newest |= newest == Some(*name);
    }
    for name in &found.checkpoints {
        let Some(bytes) = bytes_of(&name.path())? else {
            continue;
        };
        let key = match key_of(disk, *name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let used = entry(&mut uses, key);
        used.checkpoints += 1;
        used.bytes += bytes;
    }
    Ok(uses.into_values().collect())
}

fn entry(uses: &mut BTreeMap<Option<KeyId>, KeyUse>, key: Option<KeyId>) -> &mut KeyUse {
    uses.entry(key).or_insert(KeyUse {
        key,
        segments: 0,
        checkpoints: 0,
        bytes: 0,
        is_newest: false,
    })
}
