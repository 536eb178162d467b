//! How one tenure writes its segments.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{FileKey, Purpose};
use super::header::CipherHeader;
use super::keyring::{Keyring, MasterKey};
use super::record::RecordCipher;
use crate::position::{Epoch, SegmentNumber};

/// Segments whose keys are at hand: the one being filled, and those of batches that still wait.
const RECENT: usize = 4;

/// See the module.
pub(crate) struct TenureCipher {
    epoch: Epoch,
    /// None: it writes plain.
    encrypted: Option<Encrypted>,
}

struct Encrypted {
    master: Arc<MasterKey>,
    header: CipherHeader,
    recent: Mutex<Vec<(SegmentNumber, Arc<FileKey>)>>,
}

impl TenureCipher {
    /// Draws the salt of a tenure that begins.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn begin(keys: &Keyring, epoch: Epoch) -> io::Result<TenureCipher> {
        let encrypted = match keys.writing() {
            None => None,
            Some(master) => Some(Encrypted {
                header: CipherHeader::draw(master.id())?,
                master: Arc::clone(master),
                recent: Mutex::default(),
            }),
        };
        Ok(TenureCipher { epoch, encrypted })
    }

    /// A tenure that writes plain.
    #[cfg(test)]
    pub(crate) fn plain(epoch: Epoch) -> TenureCipher {
        TenureCipher {
            epoch,
            encrypted: None,
        }
    }

    /// What stands in the header of its segments.
    pub(crate) fn header(&self) -> Option<&CipherHeader> {
        self.encrypted.as_ref().map(|encrypted| &encrypted.header)
    }

    /// Bytes that each record is longer than a plain one.
    pub(crate) fn tag_bytes(&self) -> u64 {
        match self.encrypted {
            None => 0,
            Some(_) => super::TAG_BYTES as u64,
        }
    }

    /// How the records of its segment are written.
    pub(crate) fn of(&self, segment: SegmentNumber) -> RecordCipher {
        let Some(encrypted) = &self.encrypted else {
            return RecordCipher::Plain;
        };
        let mut recent = encrypted.recent.lock();
        if let Some((_, key)) = recent.iter().find(|(number, _)| *number == segment) {
            return RecordCipher::Encrypted(Arc::clone(key));
        }
        let purpose = Purpose::Segment(segment.0);
        let key = FileKey::derive(&encrypted.master, &encrypted.header, self.epoch, purpose);
        let key = Arc::new(key);
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push((segment, Arc::clone(&key)));
        RecordCipher::Encrypted(key)
    }
}
