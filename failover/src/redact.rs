//! Finds the secrets in the text of a URI and hides them from logs.
//!
//! It works on characters and never parses: the URI that ends up in a log is the one that could
//! not be parsed. In doubt it hides too much. What it knows of URIs is where user information
//! stands, where an option's value ends and which options carry a secret.

use std::fmt;
use std::ops::Range;

use crate::options::nearest;
use crate::uri::Scheme;

/// What stands in place of a secret, whatever its length.
const HIDDEN: &str = "***";

/// A name that contains one of these carries a secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
];

/// A URI, or any text with URIs in it, without passwords and user information.
///
/// ```
/// let shown = failover::redact("failover:(tcp://u:p@a:1)?jms.userName=u&jms.password=p");
/// assert_eq!(shown, "failover:(tcp://***@a:1)?jms.userName=u&jms.password=***");
/// ```
#[must_use]
pub fn redact(text: &str) -> String {
    redact_around(text, 0..0).0
}

/// The text without secrets, and where the bytes of `range` are in it now.
pub(crate) fn redact_around(text: &str, range: Range<usize>) -> (String, Range<usize>) {
    let secrets = secrets(text);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for secret in &secrets {
        shown.push_str(&text[at..secret.start]);
        shown.push_str(HIDDEN);
        at = secret.end;
    }
    shown.push_str(&text[at..]);
    let start = moved(range.start, &secrets, false);
    let end = moved(range.end, &secrets, true);
    (shown, start..end)
}

/// Where an offset is after the secrets were replaced; inside of one it becomes its edge.
fn moved(offset: usize, secrets: &[Range<usize>], is_end: bool) -> usize {
    let (mut gone, mut added) = (0, 0);
    for secret in secrets {
        if offset <= secret.start {
            break;
        }
        if offset < secret.end {
            let edge = secret.start - gone + added;
            return if is_end { edge + HIDDEN.len() } else { edge };
        }
        gone += secret.len();
        added += HIDDEN.len();
    }
    offset - gone + added
}

/// Whether any byte of `range` belongs to a secret.
pub(crate) fn is_secret_at(text: &str, range: Range<usize>) -> bool {
    secrets(text)
        .iter()
        .any(|secret| secret.start < range.end && range.start < secret.end)
}

/// Whether an option of this name carries a secret. A misspelt `password` does, too.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    SECRET_WORDS.iter().any(|word| name.contains(word))
        || nearest(last, std::iter::once("password")).is_some()
}

/// The secrets of the text, in order, without overlaps.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = user_information(text);
    found.extend(secret_values(text));
    found.retain(|range| !range.is_empty());
    found.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What stands before `@` in an address.
fn user_information(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = text.find(':').map_or(0, |colon| colon + 1);
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at) {
        from = at + "://".len();
        let scheme = name_before(text, at);
        let before = text[..scheme].chars().next_back();
        let is_begin = before.is_none_or(|c| "(,=\" \t\n\r".contains(c));
        if scheme < at && (is_begin || Scheme::find(&text[scheme..at]).is_some()) {
            if start < scheme {
                found.extend(user_information_between(text, start, scheme));
            }
            start = from;
        }
    }
    if start < text.len() {
        found.extend(user_information_between(text, start, text.len()));
    }
    found
}

/// User information of the one address that begins at `start`; options may follow it.
fn user_information_between(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let part = &text[start..end];
    let last_at = |part: &str| part.rfind('@').max(part.rfind("%40"));
    let location = part.split('?').next().unwrap_or_default();
    let at = last_at(location);
    let rest = at.map_or(location, |at| location[at..].trim_start_matches(['@', '%']));
    // A `?` or `/` may belong to a password: only what looks like host and port ends it.
    let at = if is_location(rest) { at } else { last_at(part) };
    at.map(|at| start..start + at)
}

/// Whether this can be host, port and local address, with the parentheses around them.
fn is_location(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || c.is_whitespace() || ".-_[]%,()/:".contains(c);
    let is_bracketed = text.contains('[');
    let is_port = |part: &str| {
        let port = part.split(['/', ',', ')']).next().unwrap_or_default();
        port.trim().bytes().all(|byte| byte.is_ascii_digit())
    };
    text.chars().all(is_plain) && (is_bracketed || text.split(':').skip(1).all(is_port))
}

/// The values of options that carry a secret, wherever something looks like an option.
fn secret_values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, separator) in text.char_indices() {
        // `password:x` and `password x` are mistakes for `password=x`.
        if !matches!(separator, '=' | ':' | ' ') {
            continue;
        }
        let name = decoded(&text[name_before(text, at)..at]);
        let is_option = separator == '=';
        let is_exact = SECRET_WORDS
            .iter()
            .any(|word| name.to_ascii_lowercase().ends_with(word));
        let start = at + 1;
        if is_exact || is_option && is_secret_name(&name) {
            found.push(start..secret_end(text, start));
        } else if is_option {
            let end = value_end(text, start);
            // A value can be a whole URI in escapes, as that of `priorityURIs` is.
            let value = decoded(&text[start..end]);
            if value != text[start..end] && !secrets(&value).is_empty() {
                found.push(start..end);
            }
        }
    }
    found
}

/// Where the name that ends at `end` begins.
fn name_before(text: &str, end: usize) -> usize {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-+%".contains(c);
    text[..end].trim_end_matches(is_name).len()
}

/// The end of an option's value: `&`, or the end of the address or list it stands in.
fn value_end(text: &str, start: usize) -> usize {
    let depth = text[..start].chars().fold(0_usize, |depth, c| match c {
        '(' => depth + 1,
        ')' => depth.saturating_sub(1),
        _ => depth,
    });
    let rest = &text[start..];
    let end = rest.char_indices().find(|(at, c)| {
        let after = &rest[at + c.len_utf8()..];
        match c {
            '&' => true,
            ')' => depth > 0 && (after.is_empty() || after.starts_with(['?', ')', ',', ' '])),
            ',' => after
                .split_once(':')
                .is_some_and(|(name, _)| Scheme::find(name.trim()).is_some()),
            _ => false,
        }
    });
    end.map_or(text.len(), |(at, _)| start + at)
}

/// As [`value_end`], but a piece without `=` behind `&` belongs to it: an unescaped `&`.
fn secret_end(text: &str, start: usize) -> usize {
    let mut end = value_end(text, start);
    while text[end..].starts_with('&') {
        let next = value_end(text, end + 1);
        if text[end..next].contains('=') {
            break;
        }
        end = next;
    }
    end
}

/// Escapes decoded as far as they can be.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An option's value as a log may show it.
pub(crate) struct Shown<'a>(pub(crate) &'a str, pub(crate) &'a dyn fmt::Debug);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, value) = self;
        let text = format!("{value:?}");
        if text == "None" {
            f.write_str(&text)
        } else if is_secret_name(name) {
            f.write_str(HIDDEN)
        } else if text.contains("://") {
            f.write_str(&redact(&text))
        } else {
            value.fmt(f)
        }
    }
}

/// Options by name as a log may show them.
pub(crate) struct ShownPairs<'a>(pub(crate) &'a [(String, String)]);

impl fmt::Debug for ShownPairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter();
        f.debug_map()
            .entries(pairs.map(|(name, value)| (name, Shown(name, value))))
            .finish()
    }
}

/// What a message says in place of a text that belongs to a secret.
pub(crate) fn hide(text: &mut String) {
    HIDDEN.clone_into(text);
}

#[cfg(test)]
mod tests;
