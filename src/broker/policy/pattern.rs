//! Patterns over destination names: `*` stands for one part of a name, `>` at the end for the rest,
//! none included.

use std::cmp::Ordering;
use std::fmt;

use openwire::{Destination, DestinationKind, WireString};

/// A pattern that stands for destinations of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationPattern {
    kind: DestinationKind,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Name(Box<[u8]>),
    AnyOne,
    Rest,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no destination pattern: write queue://NAME, topic://NAME, temp-queue://NAME or temp-topic://NAME"
)]
pub struct PatternError {
    text: String,
}

impl DestinationPattern {
    /// Parses `queue://A.*`, `topic://>` and the like; without a scheme it is a queue.
    ///
    /// # Errors
    /// When the scheme is unknown or the name empty.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (kind, name) = match text.split_once("://") {
            None => (DestinationKind::Queue, text),
            Some(("queue", name)) => (DestinationKind::Queue, name),
            Some(("topic", name)) => (DestinationKind::Topic, name),
            Some(("temp-queue", name)) => (DestinationKind::TempQueue, name),
            Some(("temp-topic", name)) => (DestinationKind::TempTopic, name),
            Some(_) => (DestinationKind::Queue, ""),
        };
        if name.is_empty() {
            return Err(PatternError {
                text: text.to_owned(),
            });
        }
        Ok(Self::new(kind, name.as_bytes()))
    }

    /// The pattern that a destination's name is; a plain name matches itself alone.
    #[must_use]
    pub fn of(destination: &Destination) -> Self {
        let name = destination.name.as_ref().map(WireString::as_bytes);
        Self::new(destination.kind, name.unwrap_or_default())
    }

    fn new(kind: DestinationKind, name: &[u8]) -> Self {
        let mut parts = Vec::new();
        for part in name.split(|&byte| byte == b'.') {
            parts.push(match part {
                b"*" => Part::AnyOne,
                b">" => Part::Rest,
                part => Part::Name(part.into()),
            });
            if parts.last() == Some(&Part::Rest) {
                break;
            }
        }
        DestinationPattern { kind, parts }
    }

    /// The destination whose name it is, wildcards and all.
    #[must_use]
    pub fn to_destination(&self) -> Destination {
        let text = self.to_string();
        let name = text.strip_prefix(self.kind.prefix()).unwrap_or(&text);
        Destination::new(self.kind, name)
    }

    /// Whether its name has a wildcard.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Name(_)))
    }

    /// The kind of destinations that it stands for.
    #[must_use]
    pub fn kind(&self) -> DestinationKind {
        self.kind
    }

    /// Whether a destination is one of those that it stands for.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        let name = destination.name.as_ref().map(WireString::as_bytes);
        destination.kind == self.kind && self.matches_name(name.unwrap_or_default())
    }

    fn matches_name(&self, name: &[u8]) -> bool {
        let mut parts = self.parts.iter();
        let mut names = name.split(|&byte| byte == b'.');
        loop {
            return match (parts.next(), names.next()) {
                (Some(Part::Rest), _) | (None, None) => true,
                (Some(Part::AnyOne), Some(_)) => continue,
                (Some(Part::Name(part)), Some(name)) if **part == *name => continue,
                _ => false,
            };
        }
    }

    /// Whether a name is thinkable that both stand for, wildcards in it standing for themselves.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut mine, mut theirs) = (self.parts.iter(), other.parts.iter());
        loop {
            return match (mine.next(), theirs.next()) {
                (Some(Part::Rest), _) | (_, Some(Part::Rest)) | (None, None) => {
                    self.kind == other.kind
                }
                (Some(Part::AnyOne), Some(_)) | (Some(_), Some(Part::AnyOne)) => continue,
                (Some(Part::Name(a)), Some(Part::Name(b))) if a == b => continue,
                _ => false,
            };
        }
    }

    /// Whether what holds for it concerns a name, too, which may have wildcards itself: a `*` in the name stands
    /// for any part of the pattern's, a `>` for itself alone. So it is with ActiveMQ's authorization.
    pub(in crate::broker) fn is_about(&self, name: &Self) -> bool {
        let (mut mine, mut theirs) = (self.parts.iter(), name.parts.iter());
        if self.kind != name.kind {
            return false;
        }
        loop {
            return match (mine.next(), theirs.next()) {
                (Some(Part::Rest), _) | (None, None) => true,
                (Some(Part::AnyOne), Some(_)) | (Some(_), Some(Part::AnyOne)) => continue,
                (Some(Part::Name(a)), Some(Part::Name(b))) if a == b => continue,
                _ => false,
            };
        }
    }

    /// Which of two patterns that match the same destination comes first, as in ActiveMQ: a plain name before
    /// any pattern, one that the other contains before that one, else by their text (so `*` before
    /// `>` before names). Equal for the same pattern.
    #[must_use]
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        match (self.contains(other), other.contains(self)) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.text().cmp(&other.text()),
        }
    }

    /// Whether it matches whatever the other one does.
    fn contains(&self, other: &Self) -> bool {
        self.matches_name(&other.text())
    }

    /// Its name, without the kind.
    fn text(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Name(name) => &**name,
                Part::AnyOne => b"*",
                Part::Rest => b">",
            })
            .collect();
        parts.join(&b'.')
    }
}

impl fmt::Display for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            DestinationKind::Queue => "queue://",
            DestinationKind::Topic => "topic://",
            DestinationKind::TempQueue => "temp-queue://",
            DestinationKind::TempTopic => "temp-topic://",
        })?;
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            match part {
                Part::Name(name) => f.write_str(&String::from_utf8_lossy(name))?,
                Part::AnyOne => f.write_str("*")?,
                Part::Rest => f.write_str(">")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        DestinationPattern::parse(pattern)
            .expect("a pattern")
            .matches(&Destination::queue(name))
    }

    #[test]
    fn a_star_is_one_part_and_a_bracket_the_rest() {
        for (pattern, name, expected) in [
            ("A.B", "A.B", true),
            ("A.B", "A.B.C", false),
            ("A.*", "A.B", true),
            ("A.*", "A", false),
            ("A.*", "A.B.C", false),
            ("*.B", "A.B", true),
            ("A.>", "A.B.C", true),
            ("A.>", "A", true),
            (">", "A.B", true),
            ("A.*.C.>", "A.B.C", true),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
            ("topic://A", "A", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn two_patterns_overlap_when_one_name_can_be_meant_by_both() {
        let pattern = |text| DestinationPattern::parse(text).expect("a pattern");
        for (one, other, expected) in [
            ("Consumer.*.VT.X", "Consumer.A.VT.>", true),
            ("Consumer.*.VT.X", "Consumer.A.>", true),
            ("Consumer.*.VT.X", "Consumer.A.VT.*", true),
            ("Consumer.*.VT.X", "Consumer.A.VT.Y", false),
            ("Consumer.*.VT.X", "Consumer.A.VT", false),
            ("A", "topic://A", false),
            ("A.>", "A", true),
        ] {
            assert_eq!(
                pattern(one).overlaps(&pattern(other)),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                pattern(other).overlaps(&pattern(one)),
                expected,
                "{other} {one}"
            );
        }
    }

    #[test]
    fn the_narrower_of_two_patterns_comes_first_then_the_one_with_the_smaller_text() {
        for (first, second) in [
            ("A.B", "A.*"),
            ("A.B", ">"),
            ("A.*", "A.>"),
            ("A.B.>", "A.>"),
            ("A.B.*", "A.*.*"),
            // Neither contains the other: `*` sorts before names, as in ActiveMQ.
            ("A.*.C", "A.B.*"),
            ("*.B", "A.*"),
        ] {
            let parse = |text| DestinationPattern::parse(text).expect("a pattern");
            let (first, second) = (parse(first), parse(second));
            assert_eq!(
                first.cmp_precedence(&second),
                Ordering::Less,
                "{first} {second}"
            );
            assert_eq!(
                second.cmp_precedence(&first),
                Ordering::Greater,
                "{first} {second}"
            );
            assert_eq!(first.cmp_precedence(&first), Ordering::Equal, "{first}");
        }
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused_with_what_to_write() {
        for text in ["", "queue://", "stomp://A"] {
            let error = DestinationPattern::parse(text).expect_err(text);
            assert!(error.to_string().contains("queue://NAME"), "{error}");
        }
    }

    #[test]
    fn a_pattern_shows_as_it_is_written() {
        for text in ["queue://A.*.>", "topic://A", "temp-queue://>"] {
            let pattern = DestinationPattern::parse(text).expect("a pattern");
            assert_eq!(pattern.to_string(), text);
        }
    }
}
