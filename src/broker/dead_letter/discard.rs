//! Dead letters that nobody wants: ActiveMQ's `discardingDLQBrokerPlugin`.

use openwire::{Destination, WireString};
use regex::Regex;

/// Which messages are dropped instead of becoming dead letters.
#[derive(Clone, Debug)]
pub struct DiscardDeadLetters {
    /// All of them.
    pub all: bool,
    /// Those of temporary topics.
    pub temporary_topics: bool,
    /// Those of temporary queues.
    pub temporary_queues: bool,
    /// Those of destinations whose whole name matches one of these.
    pub only: Vec<NameExpression>,
}

impl Default for DiscardDeadLetters {
    fn default() -> Self {
        DiscardDeadLetters {
            all: true,
            temporary_topics: true,
            temporary_queues: true,
            only: Vec::new(),
        }
    }
}

/// A regular expression for whole names of destinations.
#[derive(Clone, Debug)]
pub struct NameExpression(Regex);

/// A text that is no regular expression.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{text}` is no regular expression for names of destinations: {reason}")]
pub struct NameExpressionError {
    text: String,
    reason: regex::Error,
}

impl NameExpression {
    /// Parses one expression.
    ///
    /// # Errors
    /// When it is none, or uses what has no bounded running time (references back, looking around).
    pub fn parse(text: &str) -> Result<Self, NameExpressionError> {
        Regex::new(&format!("^(?:{text})$"))
            .map(NameExpression)
            .map_err(|reason| NameExpressionError {
                text: text.to_owned(),
                reason,
            })
    }

    /// Parses expressions that are separated by blanks.
    ///
    /// # Errors
    /// The first one that is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, NameExpressionError> {
        text.split_whitespace().map(Self::parse).collect()
    }
}

impl DiscardDeadLetters {
    pub(super) fn wants(&self, destination: &Destination) -> bool {
        let kind = destination.kind;
        let is_temporary_of = |is_queue| kind.is_temporary() && kind.is_queue() == is_queue;
        let name = destination.name.as_ref();
        let name = name.map(WireString::to_string_lossy).unwrap_or_default();
        self.all
            || self.temporary_topics && is_temporary_of(false)
            || self.temporary_queues && is_temporary_of(true)
            || self.only.iter().any(|only| only.0.is_match(&name))
    }
}

#[cfg(test)]
mod tests {
    use openwire::DestinationKind;

    use super::*;

    #[test]
    fn each_rule_discards_its_own() {
        let none = DiscardDeadLetters {
            all: false,
            temporary_topics: false,
            temporary_queues: false,
            only: Vec::new(),
        };
        let queue = Destination::queue("A.one");
        let temporary = |kind| Destination::new(kind, "ID:1");
        let temporary_queue = temporary(DestinationKind::TempQueue);
        let temporary_topic = temporary(DestinationKind::TempTopic);
        assert!(DiscardDeadLetters::default().wants(&queue));
        assert!(!none.wants(&queue) && !none.wants(&temporary_queue));
        let queues = DiscardDeadLetters {
            temporary_queues: true,
            ..none.clone()
        };
        assert!(queues.wants(&temporary_queue) && !queues.wants(&temporary_topic));
        let topics = DiscardDeadLetters {
            temporary_topics: true,
            ..none.clone()
        };
        assert!(!topics.wants(&temporary_queue) && topics.wants(&temporary_topic));
        let only = DiscardDeadLetters {
            only: NameExpression::parse_all(" one|B  A\\..* ").expect("expressions"),
            ..none
        };
        assert!(only.wants(&queue) && only.wants(&Destination::topic("B")));
        assert!(!only.wants(&Destination::queue("C.A.one")), "whole names");
    }

    #[test]
    fn a_text_that_is_no_expression_is_refused_and_named() {
        let error = NameExpression::parse_all("A (B").expect_err("a bracket too few");
        assert!(error.to_string().contains("`(B`"), "{error}");
    }
}
