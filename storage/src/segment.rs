//! A segment file's header.

use crate::chain::SegmentName;
use crate::cipher::{CIPHER_HEADER_BYTES, CipherHeader};
use crate::position::{Epoch, SegmentNumber};
use crate::record::{Input, Malformed};

/// Bytes of the header; the first batch comes right behind it.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// The least useful segment, for tests.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 4 << 10;
/// The largest: offsets in a segment have 32 bits, and an oversized record may extend it.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 1 << 30;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"BATONSEG";
/// In versions 1 and 2 batches did not say what was durable when they were sent.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// Encrypted: a release that knows nothing of that must not take it for damage.
pub(crate) const ENCRYPTED_VERSION: u32 = 4;
const CIPHER_AT: usize = 24;
const CRC_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// The header of the segment `name`, which is encrypted as `cipher` says, or plain.
pub(crate) fn encode_header(
    name: SegmentName,
    cipher: Option<&CipherHeader>,
) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&SEGMENT_MAGIC);
    let version = match cipher {
        None => FORMAT_VERSION,
        Some(cipher) => {
            header[CIPHER_AT..][..CIPHER_HEADER_BYTES].copy_from_slice(&cipher.encode());
            ENCRYPTED_VERSION
        }
    };
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..16].copy_from_slice(&name.number.0.to_le_bytes());
    header[16..24].copy_from_slice(&name.epoch.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..CRC_AT]);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks that `header` is the one of the segment `name`; answers how it is encrypted.
pub(crate) fn check_header(
    header: &[u8],
    name: SegmentName,
) -> Result<Option<CipherHeader>, Malformed> {
    let input = &mut Input::new(header);
    if input.take(8)? != SEGMENT_MAGIC {
        return Err(Malformed("the segment's magic number"));
    }
    let version = input.u32()?;
    let number = SegmentNumber(input.u32()?);
    let epoch = Epoch(input.u64()?);
    let sum = header
        .get(..CRC_AT)
        .map(crc32fast::hash)
        .ok_or(Malformed("the segment's header"))?;
    let cipher = input.take(CIPHER_HEADER_BYTES)?;
    if input.u32()? != sum {
        return Err(Malformed("the CRC of the segment's header"));
    }
    if version != FORMAT_VERSION && version != ENCRYPTED_VERSION {
        return Err(Malformed(
            "the segment's format version (written by another release?)",
        ));
    }
    if (SegmentName { number, epoch }) != name {
        return Err(Malformed(
            "the segment's number or epoch, which its name tells otherwise,",
        ));
    }
    match version {
        ENCRYPTED_VERSION => CipherHeader::decode(cipher).map(Some),
        _ => Ok(None),
    }
}

/// The format version of a sound header if it is none that this release reads.
pub(crate) fn other_version(header: &[u8]) -> Option<u32> {
    let header = header.get(..SEGMENT_HEADER_BYTES)?;
    let sum = crc32fast::hash(&header[..CRC_AT]).to_le_bytes();
    let version = u32::from_le_bytes(*header[8..].first_chunk()?);
    let is_ours = matches!(version, FORMAT_VERSION | ENCRYPTED_VERSION);
    (header[..8] == SEGMENT_MAGIC && header[CRC_AT..] == sum && !is_ours).then_some(version)
}

/// The versions that this release reads, in words.
pub(crate) fn versions() -> String {
    format!("{FORMAT_VERSION} and {ENCRYPTED_VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: SegmentName = SegmentName {
        number: SegmentNumber(0x0102_0304),
        epoch: Epoch(0x0506),
    };

    #[test]
    fn header_fields_are_where_the_specification_says() {
        let header = encode_header(NAME, None);
        assert_eq!(header.len(), 64);
        assert_eq!(&header[0..8], b"BATONSEG");
        assert_eq!(header[8..12], [3, 0, 0, 0]);
        assert_eq!(header[12..16], [4, 3, 2, 1]);
        assert_eq!(header[16..24], [6, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header[24..60], [0; 36]);
        assert_eq!(header[60..64], crc32fast::hash(&header[..60]).to_le_bytes());
    }

    #[test]
    fn a_flipped_byte_anywhere_in_the_header_is_found() {
        let header = encode_header(NAME, None);
        assert_eq!(check_header(&header, NAME), Ok(None));
        for at in 0..header.len() {
            let mut broken = header;
            broken[at] ^= 0x10;
            assert!(check_header(&broken, NAME).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut header = encode_header(NAME, None);
        assert_eq!(other_version(&header), None);
        header[8] = 1;
        assert_eq!(other_version(&header), None, "the CRC says damage");
        let sum = crc32fast::hash(&header[..60]).to_le_bytes();
        header[60..].copy_from_slice(&sum);
        assert_eq!(other_version(&header), Some(1));
        assert!(check_header(&header, NAME).is_err());
        assert_eq!(other_version(&header[..63]), None);
    }

    #[test]
    fn a_short_or_foreign_header_is_refused() {
        let header = encode_header(NAME, None);
        assert!(check_header(&header[..63], NAME).is_err());
        assert!(check_header(&[], NAME).is_err());
        let other = SegmentName {
            epoch: Epoch(7),
            ..NAME
        };
        assert!(check_header(&header, other).is_err());
    }
}
