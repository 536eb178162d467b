//! How distributed transactions are named, by clients and in the journal.

use std::fmt;

use bytes::Bytes;
use openwire::XaTransactionId;

/// Bytes that both parts of a name may have; the standard says 64 each.
const PART_BYTES_MAX: usize = 1024;
/// What the journal's keys of distributed transactions begin with. No other key does.
const PREFIX: &[u8] = b"xa:";

/// A distributed transaction's name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Xid(Bytes);

impl Xid {
    /// The name that a client gave. None: one of its parts is longer than any may be.
    #[must_use]
    pub fn new(id: &XaTransactionId) -> Option<Self> {
        let parts = [&id.global_transaction_id, &id.branch_qualifier];
        let [global, branch] = parts.map(|part| part.as_deref().unwrap_or_default());
        if global.len() > PART_BYTES_MAX || branch.len() > PART_BYTES_MAX {
            return None;
        }
        let mut key = Vec::with_capacity(PREFIX.len() + 8 + global.len() + branch.len());
        key.extend_from_slice(PREFIX);
        key.extend_from_slice(&id.format_id.to_be_bytes());
        key.extend_from_slice(&u32::try_from(global.len()).ok()?.to_be_bytes());
        key.extend_from_slice(global);
        key.extend_from_slice(branch);
        Some(Xid(key.into()))
    }

    /// The name that a key of the journal stands for.
    pub(in crate::broker) fn from_key(key: &Bytes) -> Option<Self> {
        let rest = key.strip_prefix(PREFIX)?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (length, parts) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (length <= parts.len()).then(|| Xid(key.clone()))
    }

    /// The name of `format`, with both parts in hexadecimal digits.
    pub(super) fn from_hex(format: i32, global: &str, branch: &str) -> Option<Self> {
        Self::new(&XaTransactionId {
            format_id: format,
            global_transaction_id: Some(unhex(global)?),
            branch_qualifier: Some(unhex(branch)?),
        })
    }

    /// How the journal calls it.
    pub(in crate::broker) fn key(&self) -> &Bytes {
        &self.0
    }

    /// The format, the global part and the branch.
    pub(super) fn parts(&self) -> (i32, Bytes, Bytes) {
        let number = |at: usize| {
            let bytes: [u8; 4] = std::array::from_fn(|index| self.0[at + index]);
            u32::from_be_bytes(bytes)
        };
        let head = PREFIX.len() + 8;
        let global_end = head + number(PREFIX.len() + 4) as usize;
        (
            number(PREFIX.len()).cast_signed(),
            self.0.slice(head..global_end),
            self.0.slice(global_end..),
        )
    }

    /// As clients know it.
    #[must_use]
    pub fn id(&self) -> XaTransactionId {
        let (format_id, global, branch) = self.parts();
        XaTransactionId {
            format_id,
            global_transaction_id: Some(global),
            branch_qualifier: Some(branch),
        }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

impl fmt::Debug for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(global: &[u8], branch: &[u8]) -> XaTransactionId {
        XaTransactionId {
            format_id: -5,
            global_transaction_id: Some(Bytes::copy_from_slice(global)),
            branch_qualifier: Some(Bytes::copy_from_slice(branch)),
        }
    }

    #[test]
    fn a_name_comes_back_from_its_key_and_from_its_digits() {
        for (global, branch) in [(&b"global"[..], &b"b"[..]), (b"", b""), (b"\xff\0", b"")] {
            let id = id(global, branch);
            let xid = Xid::new(&id).expect("short enough");
            assert_eq!(xid.id(), id);
            assert_eq!(Xid::from_key(xid.key()), Some(xid.clone()));
            assert_eq!(Xid::from_hex(-5, &hex(global), &hex(branch)), Some(xid));
        }
    }

    #[test]
    fn parts_are_not_mixed_up_and_odd_keys_are_no_names() {
        assert_ne!(Xid::new(&id(b"ab", b"c")), Xid::new(&id(b"a", b"bc")));
        assert_eq!(Xid::new(&id(&[0; 1025], b"")), None);
        for key in ["", "1:TX:c:1", "xa:", "xa:1234\0\0\0\x02a"] {
            assert_eq!(Xid::from_key(&Bytes::from(key)), None, "{key:?}");
        }
        for digits in ["abc", "zz", "+1"] {
            assert_eq!(Xid::from_hex(1, digits, ""), None, "{digits}");
        }
    }
}
