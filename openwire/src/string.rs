//! Strings as Java writes them: modified UTF-8, kept as the bytes that came.
//!
//! A Java string is a sequence of UTF-16 code units and may hold lone surrogates, which no Rust
//! `String` can hold. A broker that converted would change names and properties on the way through.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

/// A string in modified UTF-8; cloning it shares the bytes.
///
/// Equality and hash are those of the bytes, which for text encoded by any real peer are those of
/// the text. It may be of any length; only encoding it as a string field limits it to 65535 bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireString(Bytes);

/// Bytes that are not modified UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not modified UTF-8 at byte {at}")]
pub struct NotModifiedUtf8 {
    /// The first byte of the sequence that is wrong.
    pub at: usize,
}

impl WireString {
    /// Wraps text without copying it when its UTF-8 is also modified UTF-8, as for all ASCII.
    #[must_use]
    pub fn from_static(text: &'static str) -> Self {
        if same_in_both(text) {
            WireString(Bytes::from_static(text.as_bytes()))
        } else {
            WireString::from(text)
        }
    }

    /// Wraps bytes that are already modified UTF-8.
    ///
    /// # Errors
    ///
    /// When they are not, with the place of the first wrong sequence.
    pub fn from_modified_utf8(bytes: Bytes) -> Result<Self, NotModifiedUtf8> {
        check(&bytes)?;
        Ok(WireString(bytes))
    }

    /// The text cut down to at most `max_bytes` of modified UTF-8, at a character boundary and with
    /// three dots at its end when something was cut.
    #[must_use]
    pub fn truncated(text: &str, max_bytes: usize) -> Self {
        let whole = WireString::from(text);
        if whole.len() <= max_bytes {
            return whole;
        }
        let room = max_bytes.saturating_sub(3);
        let mut used = 0;
        let end = text
            .char_indices()
            .find(|&(_, c)| {
                used += encoded_length(c);
                used > room
            })
            .map_or(text.len(), |(at, _)| at);
        let mut cut = encode(&text[..end]);
        cut.extend_from_slice(&b"..."[..max_bytes.min(3)]);
        WireString(cut.into())
    }

    /// The bytes in modified UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shared bytes in modified UTF-8.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The length in bytes of modified UTF-8.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no characters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text without a copy, when its modified UTF-8 is plain UTF-8 too: no U+0000 and nothing
    /// outside the basic plane.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text; lone surrogates become U+FFFD.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match self.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(
                char::decode_utf16(self.code_units())
                    .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect(),
            ),
        }
    }

    /// The UTF-16 code units, as Java sees the string.
    pub fn code_units(&self) -> impl Iterator<Item = u16> + '_ {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (unit, length) = first_unit(rest)?;
            rest = &rest[length..];
            Some(unit)
        })
    }

    /// A copy of its own, which does not keep the frame alive that the string came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        WireString(Bytes::copy_from_slice(&self.0))
    }
}

impl From<&str> for WireString {
    fn from(text: &str) -> Self {
        WireString(encode(text).into())
    }
}

impl From<String> for WireString {
    fn from(text: String) -> Self {
        if same_in_both(&text) {
            WireString(text.into_bytes().into())
        } else {
            WireString(encode(&text).into())
        }
    }
}

impl Hash for WireString {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq<str> for WireString {
    fn eq(&self, other: &str) -> bool {
        if same_in_both(other) {
            self.0 == other.as_bytes()
        } else {
            self.0 == encode(other)
        }
    }
}

impl PartialEq<&str> for WireString {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string_lossy().fmt(f)
    }
}

impl fmt::Debug for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

/// A string that must not get into logs: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(WireString);

impl Secret {
    /// The secret itself; the caller answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &WireString {
        &self.0
    }
}

impl From<WireString> for Secret {
    fn from(text: WireString) -> Self {
        Secret(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Whether UTF-8 and modified UTF-8 agree on this text.
fn same_in_both(text: &str) -> bool {
    // Four-byte sequences start at 0xf0; nothing else in UTF-8 is that high.
    text.bytes().all(|b| b != 0 && b < 0xf0)
}

fn encoded_length(c: char) -> usize {
    match c {
        '\0' => 2,
        c if u32::from(c) >= 0x1_0000 => 6,
        c => c.len_utf8(),
    }
}

fn encode(text: &str) -> Vec<u8> {
    if same_in_both(text) {
        return text.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 2);
    for unit in text.encode_utf16() {
        push_unit(unit, &mut out);
    }
    out
}

fn push_unit(unit: u16, out: &mut Vec<u8>) {
    let [high, low] = unit.to_be_bytes();
    let continuation = 0x80 | (low & 0x3f);
    // The six bits in the middle: four from the upper byte, two from the lower one.
    let middle = ((high & 0x0f) << 2) | (low >> 6);
    match unit {
        0x01..=0x7f => out.push(low),
        0x00 | 0x80..=0x7ff => out.extend_from_slice(&[0xc0 | middle, continuation]),
        _ => out.extend_from_slice(&[0xe0 | (high >> 4), 0x80 | middle, continuation]),
    }
}

/// Checks what `DataInputStream.readUTF` would accept, so that what is passed on verbatim cannot
/// break the connection of whoever receives it.
pub(crate) fn check(bytes: &[u8]) -> Result<(), NotModifiedUtf8> {
    if bytes.is_ascii() {
        return Ok(());
    }
    let mut at = 0;
    while at < bytes.len() {
        match first_unit(&bytes[at..]) {
            Some((_, length)) => at += length,
            None => return Err(NotModifiedUtf8 { at }),
        }
    }
    Ok(())
}

/// The first code unit and its length in bytes; `None` at the end and for a wrong sequence.
fn first_unit(bytes: &[u8]) -> Option<(u16, usize)> {
    let low = |at: usize| -> Option<u16> {
        let byte = *bytes.get(at)?;
        (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f))
    };
    match *bytes.first()? {
        first @ 0x00..=0x7f => Some((u16::from(first), 1)),
        first @ 0xc0..=0xdf => Some((u16::from(first & 0x1f) << 6 | low(1)?, 2)),
        first @ 0xe0..=0xef => Some((u16::from(first & 0x0f) << 12 | low(1)? << 6 | low(2)?, 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_outside_the_basic_plane_become_two_surrogates() {
        let text = WireString::from("a\u{1f600}\0");
        assert_eq!(text.as_bytes(), b"a\xed\xa0\xbd\xed\xb8\x80\xc0\x80");
        assert_eq!(text.as_str(), None);
        assert_eq!(text.to_string_lossy(), "a\u{1f600}\0");
        assert_eq!(text, "a\u{1f600}\0");
    }

    #[test]
    fn a_lone_surrogate_survives_and_shows_as_a_replacement() {
        let bytes = Bytes::from_static(b"x\xed\xa0\xbd");
        let text = WireString::from_modified_utf8(bytes.clone()).expect("a lone surrogate");
        assert_eq!(text.to_string_lossy(), "x\u{fffd}");
        assert_eq!(text.into_bytes(), bytes);
    }

    #[test]
    fn what_java_would_refuse_is_refused_with_its_place() {
        for (bytes, at) in [
            (&b"ok\xf0\x9f\x98\x80"[..], 2),
            (b"\x80", 0),
            (b"ab\xc3", 2),
            (b"\xe2\x82", 0),
            (b"\xc3\xc3", 0),
        ] {
            let found = WireString::from_modified_utf8(Bytes::copy_from_slice(bytes));
            assert_eq!(found, Err(NotModifiedUtf8 { at }), "{bytes:02x?}");
        }
    }

    #[test]
    fn truncation_keeps_whole_characters_and_the_limit() {
        assert_eq!(WireString::truncated("short", 5), "short");
        assert_eq!(WireString::truncated("longer text", 6), "lon...");
        assert_eq!(
            WireString::truncated("\u{20ac}\u{20ac}\u{20ac}", 8),
            "\u{20ac}..."
        );
        assert_eq!(WireString::truncated("\u{1f600}xyz", 8), "...");
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "<secret>");
    }
}
