//! What operators put between a destination's name and where its messages go: virtual topics,
//! composite destinations, mirrored queues.
//!
//! The values here are those of ActiveMQ's `destinationInterceptors`. `route` turns them into the
//! list of targets that one message reaches.

mod route;

use openwire::{Destination, DestinationKind};

use super::policy::DestinationPattern;
use super::selector::Selector;

pub(super) use self::route::{Leg, Route};

/// What stands between names and destinations; the default is ActiveMQ's.
///
/// Explicit `destinationInterceptors` of an activemq.xml replace all of the default.
#[derive(Clone, Debug)]
pub struct Interceptors {
    /// Topics whose messages are copied to queues of their consumers.
    pub virtual_topics: Vec<VirtualTopic>,
    /// Names that stand for other destinations.
    pub composites: Vec<CompositeDestination>,
    /// A topic for each queue, with all that is sent to the queue; None = no such topics.
    pub mirrored_queues: Option<MirroredQueue>,
    /// Read destination names with this instead of dots; None = dots only. It is the plugin
    /// `destinationPathSeparatorPlugin`, whose own default is `/`.
    pub path_separator: Option<String>,
}

impl Default for Interceptors {
    fn default() -> Self {
        Interceptors {
            virtual_topics: vec![VirtualTopic::default()],
            composites: Vec::new(),
            mirrored_queues: None,
            path_separator: None,
        }
    }
}

/// Topics whose messages are copied to each queue whose name is `prefix`, the topic's name and
/// `postfix`, where the prefix may hold wildcards.
///
/// ActiveMQ's `concurrentSend` and `transactedSend` have no field: here a message and all its copies
/// are one record of the journal, so both are always so.
#[derive(Clone, Debug)]
pub struct VirtualTopic {
    /// Which topics; ActiveMQ's `name`, by default `VirtualTopic.>`.
    pub topics: DestinationPattern,
    /// What stands before the topic's name in the queues' names.
    pub prefix: String,
    /// What stands behind it.
    pub postfix: String,
    /// Leave out what came over a network of brokers.
    pub local: bool,
    /// Copy only what the selector of one of the queue's present consumers wants.
    pub selector_aware: bool,
    /// A queue that has no room gets no copy, instead of failing the whole send.
    pub drop_on_resource_limit: bool,
    /// Show the copies with the queue as their destination and the topic as the original one.
    pub set_original_destination: bool,
}

impl Default for VirtualTopic {
    fn default() -> Self {
        VirtualTopic {
            topics: DestinationPattern::of(&Destination::topic("VirtualTopic.>")),
            prefix: "Consumer.*.".to_owned(),
            postfix: String::new(),
            local: false,
            selector_aware: false,
            drop_on_resource_limit: false,
            set_original_destination: true,
        }
    }
}

impl VirtualTopic {
    /// The names of the queues that get copies of a topic's messages.
    fn queues(&self, topic: &Destination) -> DestinationPattern {
        let name = format!("{}{}{}", self.prefix, topic.name_str(), self.postfix);
        DestinationPattern::of(&Destination::queue(name))
    }

    /// What the name of each such queue starts with.
    fn fixed_prefix(&self) -> &str {
        match self.prefix.find(".*") {
            Some(at) if !self.prefix.starts_with('*') => &self.prefix[..at],
            _ => "",
        }
    }

    /// Whether a pattern is one of queues that a consumer of these topics would name.
    fn may_be_consumed_by(&self, pattern: &DestinationPattern) -> bool {
        let any = Destination::queue(format!("{}>", self.prefix));
        pattern.kind() == DestinationKind::Queue && DestinationPattern::of(&any).overlaps(pattern)
    }
}

/// A name whose messages go to other destinations.
#[derive(Clone, Debug)]
pub struct CompositeDestination {
    /// Which queues or topics.
    pub names: DestinationPattern,
    /// The destination of that name itself gets nothing.
    pub forward_only: bool,
    /// The destination of that name itself gets what nothing else wanted; `forward_only` is then of
    /// no meaning.
    pub send_when_not_matched: bool,
    /// Where messages go.
    pub forward_to: Vec<ForwardTo>,
}

/// One destination of a composite one.
#[derive(Clone, Debug)]
pub struct ForwardTo {
    /// Where messages go.
    pub destination: Destination,
    /// Which messages; None = all.
    pub selector: Option<Selector>,
}

/// A topic for each queue, with all that is sent to the queue.
///
/// ActiveMQ's `copyMessage` has no field: messages are never shared between destinations in a way
/// that clients could notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredQueue {
    /// What stands before the queue's name in the topic's name.
    pub prefix: String,
    /// What stands behind it.
    pub postfix: String,
    /// Temporary queues, too; ActiveMQ's `useTempMirroredQueues`.
    pub is_for_temporary: bool,
}

impl Default for MirroredQueue {
    fn default() -> Self {
        MirroredQueue {
            prefix: "VirtualTopic.Mirror.".to_owned(),
            postfix: String::new(),
            is_for_temporary: true,
        }
    }
}

impl MirroredQueue {
    pub(super) fn topic(&self, queue: &Destination) -> Option<Destination> {
        (queue.kind == DestinationKind::Queue
            || queue.kind == DestinationKind::TempQueue && self.is_for_temporary)
            .then(|| {
                let name = format!("{}{}{}", self.prefix, queue.name_str(), self.postfix);
                Destination::topic(name)
            })
    }
}

impl Interceptors {
    /// Whether anything stands between this name and its destination.
    fn concern(&self, name: &Destination) -> bool {
        self.virtual_topics
            .iter()
            .any(|topic| topic.topics.matches(name))
            || self.composites.iter().any(|one| one.names.matches(name))
            || name.kind.is_queue() && self.mirrored_queues.is_some()
    }

    /// Whether a message that was sent to `own` shows another destination where it arrives.
    pub(super) fn renames(&self, own: &Destination) -> bool {
        !self
            .virtual_topics
            .iter()
            .any(|topic| !topic.set_original_destination && topic.topics.matches(own))
    }

    /// Whether a virtual topic puts its messages into this queue.
    pub(super) fn fill(&self, queue: &Destination) -> bool {
        let name = queue.name_str();
        self.virtual_topics.iter().any(|topic| {
            name.ends_with(&topic.postfix)
                && topic.queues(&topic.topics.to_destination()).matches(queue)
        })
    }

    /// Whether a queue with this wildcard name must exist for a consumer of it, because virtual
    /// topics put their messages there.
    pub(super) fn makes_queue_of(&self, pattern: &DestinationPattern) -> bool {
        self.virtual_topics
            .iter()
            .any(|topic| topic.may_be_consumed_by(pattern))
    }
}
