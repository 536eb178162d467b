//! What the text of a destination's name means: options, path separators, composite names.
//!
//! Clients of ActiveMQ take most of this apart themselves; a broker that gets it anyway reads it as
//! ActiveMQ does. This module knows texts only, and nothing of what exists.

use std::borrow::Cow;

use bytes::Bytes;
use openwire::{Destination, DestinationKind, WireString};

use super::policy::DestinationPattern;
use super::{Receipt, Refusal};

/// Parts of one composite name; more is refused.
const PARTS_MAX: usize = 4096;

/// What a consumer's destination stands for.
///
/// Made by [`Broker::reach`](super::Broker::reach): that one also makes what has to exist from the
/// moment a consumer asks for it. A consumer attaches to all of `names`, which exist or are made by
/// [`Broker::target`](super::Broker::target) on first use, and to everything that `patterns` match,
/// now and later, which [`Broker::watch`](super::Broker::watch) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Plain names, each once, in the order they were given.
    pub(super) names: Vec<Destination>,
    /// Wildcard names, each once.
    pub(super) patterns: Vec<DestinationPattern>,
    /// When it is certain that what a takeover must find of it is there.
    pub(super) receipt: Receipt,
}

/// Whether a name has a part that is `*` or `>`.
pub(super) fn has_wildcard(destination: &Destination) -> bool {
    let is_wildcard = |part: &[u8]| part == b"*" || part == b">";
    bytes_of(destination)
        .split(|&byte| byte == b'.')
        .any(is_wildcard)
}

/// A name as ActiveMQ reads it: without white space around it, without the options behind `?`, and
/// with dots for the path separator that was chosen.
pub(super) fn read<'a>(
    destination: &'a Destination,
    separator: Option<&str>,
) -> Result<Cow<'a, Destination>, Refusal> {
    let given = bytes_of(destination);
    let mut name = given.trim_ascii();
    if let Some(at) = name.iter().position(|&byte| byte == b'?') {
        name = &name[..at];
    }
    let mut name = Cow::Borrowed(name);
    if let Some(separator) = separator.filter(|separator| !separator.is_empty())
        && find(&name, separator.as_bytes()).is_some()
    {
        name = Cow::Owned(dotted(&name, separator.as_bytes()));
    }
    if name.is_empty() {
        return Err(Refusal::NamelessDestination);
    }
    if name.len() == given.len() && matches!(name, Cow::Borrowed(_)) {
        return Ok(Cow::Borrowed(destination));
    }
    Ok(Cow::Owned(named(destination.kind, &name)))
}

/// The parts of a composite name, each once; of a plain name that one alone. A part may say by
/// `queue://` and the like that it is of another kind.
pub(super) fn parts(destination: &Destination) -> Result<Vec<Destination>, Refusal> {
    let mut parts = Vec::new();
    for part in bytes_of(destination).split(|&byte| byte == b',') {
        let part = part.trim_ascii();
        if part.is_empty() {
            continue;
        }
        let part = part_of(part, destination.kind)?;
        if !parts.contains(&part) {
            parts.push(part);
        }
        if parts.len() > PARTS_MAX {
            return Err(Refusal::UnsupportedName {
                destination: destination.clone(),
                what: "composite destinations of more than 4096 parts",
            });
        }
    }
    if parts.is_empty() {
        return Err(Refusal::NamelessDestination);
    }
    Ok(parts)
}

/// What a consumer's destination stands for. Parts of another kind than the whole are left out, as
/// ActiveMQ leaves them: a consumer is one of queues or one of topics.
pub(super) fn reach(destination: &Destination) -> Result<Reach, Refusal> {
    let mut reach = Reach {
        names: Vec::new(),
        patterns: Vec::new(),
        receipt: Receipt::Done,
    };
    for part in parts(destination)? {
        if part.kind.is_queue() != destination.kind.is_queue() {
            continue;
        }
        if has_wildcard(&part) {
            reach.patterns.push(DestinationPattern::of(&part));
        } else {
            reach.names.push(part.detached());
        }
    }
    Ok(reach)
}

fn part_of(part: &[u8], kind: DestinationKind) -> Result<Destination, Refusal> {
    let kinds = [
        DestinationKind::Queue,
        DestinationKind::Topic,
        DestinationKind::TempQueue,
        DestinationKind::TempTopic,
    ];
    let found = kinds.into_iter().find_map(|kind| {
        let name = part.strip_prefix(kind.prefix().as_bytes())?;
        Some((kind, name.trim_ascii()))
    });
    let (kind, name) = found.unwrap_or((kind, part));
    if name.is_empty() {
        return Err(Refusal::NamelessDestination);
    }
    Ok(named(kind, name))
}

fn named(kind: DestinationKind, name: &[u8]) -> Destination {
    // Cut at ASCII characters only, so it is still what it was.
    let name = WireString::from_modified_utf8(Bytes::copy_from_slice(name)).unwrap_or_default();
    Destination::new(kind, name)
}

fn bytes_of(destination: &Destination) -> &[u8] {
    destination
        .name
        .as_ref()
        .map_or(&b""[..], |name| name.as_bytes())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Empty paths between two separators are left out.
fn dotted(mut name: &[u8], separator: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    let mut add = |path: &[u8]| {
        let path = path.trim_ascii();
        if !path.is_empty() {
            if !out.is_empty() {
                out.push(b'.');
            }
            out.extend_from_slice(path);
        }
    };
    while let Some(at) = find(name, separator) {
        add(&name[..at]);
        name = &name[at + separator.len()..];
    }
    add(name);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_queue(name: &str, separator: Option<&str>) -> Option<String> {
        let queue = Destination::queue(name);
        let read = read(&queue, separator).ok()?;
        Some(read.name_str().to_owned())
    }

    #[test]
    fn options_and_white_space_are_no_part_of_a_name() {
        for (given, expected) in [
            ("Q", "Q"),
            (" Q ", "Q"),
            ("Q?consumer.prefetchSize=1", "Q"),
            ("a*b.c>d", "a*b.c>d"),
            ("A,B?x=1", "A,B"),
        ] {
            assert_eq!(
                read_queue(given, None).as_deref(),
                Some(expected),
                "{given}"
            );
        }
        for nameless in ["", "  ", "?consumer.prefetchSize=1"] {
            assert_eq!(read_queue(nameless, None), None, "{nameless}");
        }
    }

    #[test]
    fn the_chosen_path_separator_stands_for_a_dot() {
        let read = |name| read_queue(name, Some("/"));
        assert_eq!(read("a/b/c").as_deref(), Some("a.b.c"));
        assert_eq!(read("/a//b/").as_deref(), Some("a.b"));
        assert_eq!(read("a.b").as_deref(), Some("a.b"));
        assert_eq!(read("//"), None);
        assert_eq!(read_queue("a::b:c", Some("::")).as_deref(), Some("a.b:c"));
    }

    #[test]
    fn a_composite_name_has_each_part_once_and_parts_of_any_kind() {
        let whole = Destination::queue("A, queue://B ,,topic://C,A,temp-queue://D");
        let expected = [
            Destination::queue("A"),
            Destination::queue("B"),
            Destination::topic("C"),
            Destination::new(DestinationKind::TempQueue, "D"),
        ];
        assert_eq!(parts(&whole).expect("names"), expected);
        for nameless in [",", " , ", "A,topic://"] {
            assert!(parts(&Destination::queue(nameless)).is_err(), "{nameless}");
        }
    }

    #[test]
    fn a_consumer_reaches_names_and_patterns_of_its_own_kind() {
        let whole = Destination::topic("ActiveMQ.Advisory.TempQueue,topic://B.>,queue://C,D.*");
        let reach = reach(&whole).expect("topics");
        assert_eq!(
            reach.names,
            [Destination::topic("ActiveMQ.Advisory.TempQueue")]
        );
        let patterns: Vec<String> = reach.patterns.iter().map(ToString::to_string).collect();
        assert_eq!(patterns, ["topic://B.>", "topic://D.*"]);
        let odd = Destination::queue("a*b.c>d");
        assert_eq!(super::reach(&odd).expect("no wildcard").names, [odd]);
    }
}
