//! Which cipher a segment was written with, by its header.

use std::collections::BTreeMap;
use std::io;

use super::file::{FileKey, Purpose};
use super::header::CipherHeader;
use super::keyring::{KeyError, Keyring};
use super::record::RecordCipher;
use crate::chain::{SegmentName, read_up_to};
use crate::disk::{Disk, DiskFile, Open};
use crate::position::Epoch;
use crate::record::Malformed;
use crate::segment::{SEGMENT_HEADER_BYTES, check_header};

/// Why a segment's records cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CipherError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    Header(#[from] Malformed),
}

impl From<CipherError> for io::Error {
    fn from(error: CipherError) -> io::Error {
        match error {
            CipherError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

impl Keyring {
    /// For a segment with this in its header; None: it is plain.
    pub(crate) fn cipher(
        &self,
        name: SegmentName,
        header: Option<CipherHeader>,
    ) -> Result<RecordCipher, KeyError> {
        let Some(header) = header else {
            return Ok(RecordCipher::Plain);
        };
        let master = self.find(header.key).ok_or_else(|| KeyError {
            path: name.path().display().to_string(),
            wanted: header.key,
            given: self.ids(),
        })?;
        let purpose = Purpose::Segment(name.number.0);
        let key = FileKey::derive(master, &header, name.epoch, purpose);
        Ok(RecordCipher::Encrypted(key.into()))
    }
}

/// Reads the header of a segment. Without any key nothing is read: whoever has none was let in
/// because the journal is plain.
pub(crate) fn cipher_of(
    keys: &Keyring,
    file: &dyn DiskFile,
    name: SegmentName,
) -> Result<RecordCipher, CipherError> {
    if keys.is_empty() {
        return Ok(RecordCipher::Plain);
    }
    Ok(keys.cipher(name, read_header(file, name)?)?)
}

/// How the segment is encrypted.
pub(crate) fn read_header(
    file: &dyn DiskFile,
    name: SegmentName,
) -> Result<Option<CipherHeader>, CipherError> {
    let header = read_up_to(file, 0, SEGMENT_HEADER_BYTES)?;
    Ok(check_header(&header, name)?)
}

/// What the headers of many segments say, for those who look at a journal that may be damaged.
pub(crate) struct Ciphers<'a> {
    keys: &'a Keyring,
    headers: BTreeMap<SegmentName, Option<CipherHeader>>,
    /// A tenure writes all its segments in the same way: where a header is damaged, another one's
    /// does.
    by_epoch: BTreeMap<Epoch, Option<CipherHeader>>,
}

impl<'a> Ciphers<'a> {
    /// Reads them all.
    pub(crate) fn survey(
        disk: &dyn Disk,
        keys: &'a Keyring,
        segments: &[SegmentName],
    ) -> Ciphers<'a> {
        let mut ciphers = Ciphers {
            keys,
            headers: BTreeMap::new(),
            by_epoch: BTreeMap::new(),
        };
        for name in segments {
            let opened = disk
                .open(&name.path(), Open::Read)
                .map_err(CipherError::from);
            if let Ok(header) = opened.and_then(|file| read_header(&*file, *name)) {
                ciphers.headers.insert(*name, header);
                ciphers.by_epoch.entry(name.epoch).or_insert(header);
            }
        }
        ciphers
    }

    /// What is known of a segment; None: nothing, like of a file that cannot be read.
    pub(crate) fn header(&self, name: SegmentName) -> Option<Option<CipherHeader>> {
        let own = self.headers.get(&name);
        own.or_else(|| self.by_epoch.get(&name.epoch)).copied()
    }

    /// For reading a segment. Of what nothing is known is taken to be plain.
    pub(crate) fn of(&self, name: SegmentName) -> Result<RecordCipher, KeyError> {
        self.keys.cipher(name, self.header(name).flatten())
    }
}
