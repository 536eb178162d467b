//! A scheduled message as it lies in the journal.
//!
//! Layout, version 1, integers little-endian:
//!
//! ```text
//! u8  version = 1
//! u8  flags               1 = the job's id follows, 2 = the cron entry is not looked at
//! i32 repetitions left    below 0 = without end
//! job id, if there        u16 length, that many bytes of UTF-8
//! the message             in its stored encoding, as the client sent it
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
const HAS_ID: u8 = 1;
const IS_SERIES: u8 = 2;

/// A job: a message and what is left to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The job's id; None: it follows from the place in the backlog.
    pub(super) id: Option<String>,
    /// It was started by a cron entry, which counts no more.
    pub(super) is_series: bool,
    pub(super) repeats_left: i32,
    /// The message in its stored encoding.
    pub(super) message: Bytes,
}

/// A body that is no scheduled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("version {0} is unknown: it was written by a newer broker")]
    Version(u8),
    #[error("it ends too early")]
    Truncated,
    #[error("its job id is no UTF-8")]
    Id,
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.message.len());
        out.put_u8(VERSION);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out.put_u8(flag(self.id.is_some(), HAS_ID) | flag(self.is_series, IS_SERIES));
        out.put_i32_le(self.repeats_left);
        if let Some(id) = &self.id {
            let length = u16::try_from(id.len()).expect("ids are made here and short");
            out.put_u16_le(length);
            out.put_slice(id.as_bytes());
        }
        out.put_slice(&self.message);
        out.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, RecordError> {
        let truncated = |_| RecordError::Truncated;
        let version = bytes.try_get_u8().map_err(truncated)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let flags = bytes.try_get_u8().map_err(truncated)?;
        let repeats_left = bytes.try_get_i32_le().map_err(truncated)?;
        let mut id = None;
        if flags & HAS_ID != 0 {
            let length = usize::from(bytes.try_get_u16_le().map_err(truncated)?);
            if bytes.len() < length {
                return Err(RecordError::Truncated);
            }
            let text = bytes.split_to(length).to_vec();
            id = Some(String::from_utf8(text).map_err(|_| RecordError::Id)?);
        }
        Ok(Record {
            id,
            is_series: flags & IS_SERIES != 0,
            repeats_left,
            message: bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_encoding() {
        for (id, is_series) in [(None, false), (Some("ID:b-schedule:7".to_owned()), true)] {
            let record = Record {
                id,
                is_series,
                repeats_left: -1,
                message: Bytes::from_static(b"message"),
            };
            assert_eq!(Record::decode(record.encode()), Ok(record));
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let record = Record {
            id: Some("a".to_owned()),
            is_series: true,
            repeats_left: 2,
            message: Bytes::from_static(b"m"),
        };
        let bytes = record.encode();
        assert_eq!(&bytes[..], b"\x01\x03\x02\0\0\0\x01\0am");
        for end in 0..8 {
            assert!(Record::decode(bytes.slice(..end)).is_err(), "{end}");
        }
        assert_eq!(
            Record::decode(Bytes::from_static(b"\x02")),
            Err(RecordError::Version(2))
        );
    }
}
