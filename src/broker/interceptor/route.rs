//! From the name that a message was sent to, to the targets that it reaches.
//!
//! A route is worked out once for a name and kept by connections until destinations change; what
//! depends on the single message, selectors above all, is decided when it is sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::{Destination, DestinationKind};

use super::{CompositeDestination, Interceptors, VirtualTopic};
use crate::broker::destination::Target;
use crate::broker::names;
use crate::broker::queue::Queue;
use crate::broker::selector::Selector;
use crate::broker::{Broker, Message, Refusal};

/// Composite destinations may lead to others this many times.
const DEPTH_MAX: usize = 16;

/// One target that a message reaches.
#[derive(Clone)]
pub(in crate::broker) struct Leg {
    pub(in crate::broker) target: Target,
    /// Without room it gets nothing, and the send does not fail.
    pub(in crate::broker) is_optional: bool,
}

/// Where messages for one name go.
#[derive(Clone)]
pub(in crate::broker) enum Route {
    /// To the destination of that name.
    Plain(Leg),
    /// To several, or to others.
    Tree(Arc<Node>),
}

/// One name on the way.
pub(in crate::broker) struct Node {
    branches: Vec<Branch>,
    own: Option<Target>,
    keeps: Keeps,
}

struct Branch {
    condition: Condition,
    is_optional: bool,
    node: Node,
}

/// When the destination of the name itself gets a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Always,
    Never,
    /// When no branch wanted it.
    Unwanted,
}

enum Condition {
    Always,
    Selector(Selector),
    /// What one of the queue's present consumers wants.
    Consumers(Arc<Queue>),
    /// What did not come over a network of brokers, and is then wanted by this.
    Local(Box<Condition>),
}

impl Route {
    /// The targets of one message, each once, put into `list` if they are not known beforehand.
    pub(in crate::broker) fn legs<'a>(
        &'a self,
        message: &Message,
        list: &'a mut Vec<Leg>,
    ) -> &'a [Leg] {
        match self {
            Route::Plain(leg) => std::slice::from_ref(leg),
            Route::Tree(node) => {
                node.gather(message, false, list);
                list
            }
        }
    }
}

impl Node {
    fn gather(&self, message: &Message, is_optional: bool, list: &mut Vec<Leg>) {
        let mut is_wanted = false;
        for branch in &self.branches {
            if branch.condition.is_met_by(message) {
                is_wanted = true;
                branch
                    .node
                    .gather(message, is_optional || branch.is_optional, list);
            }
        }
        let keeps = match self.keeps {
            Keeps::Always => true,
            Keeps::Never => false,
            Keeps::Unwanted => !is_wanted,
        };
        if let Some(own) = self.own.as_ref().filter(|_| keeps)
            && !list.iter().any(|leg| leg.target.is(own))
        {
            list.push(Leg {
                target: own.clone(),
                is_optional,
            });
        }
    }
}

impl Condition {
    fn is_met_by(&self, message: &Message) -> bool {
        match self {
            Condition::Always => true,
            Condition::Selector(selector) => selector.matches(message),
            Condition::Consumers(queue) => queue.has_consumer_for(message),
            Condition::Local(then) => !message.came_over_network() && then.is_met_by(message),
        }
    }
}

impl Broker {
    /// Where messages for a name go. The destinations of plain names are made.
    pub(in crate::broker) fn route(self: &Arc<Self>, name: &Destination) -> Result<Route, Refusal> {
        let bytes = name.name.as_ref().map_or(&b""[..], |name| name.as_bytes());
        if bytes.contains(&b',') {
            let branches = names::parts(name)?
                .iter()
                .map(|part| Ok(Branch::always(self.node(part, DEPTH_MAX)?)))
                .collect::<Result<_, Refusal>>()?;
            return Ok(Route::Tree(Arc::new(Node {
                branches,
                own: None,
                keeps: Keeps::Never,
            })));
        }
        if !self.options().interceptors.concern(name) {
            return Ok(Route::Plain(Leg {
                target: self.target(name)?,
                is_optional: false,
            }));
        }
        Ok(Route::Tree(Arc::new(self.node(name, DEPTH_MAX)?)))
    }

    /// A number that changes whenever routes may.
    pub(in crate::broker) fn routes_version(&self) -> u64 {
        self.routes_version.load(Ordering::Acquire)
    }

    fn node(self: &Arc<Self>, name: &Destination, depth: usize) -> Result<Node, Refusal> {
        let own = self.target(name)?;
        let interceptors = &self.options().interceptors;
        if !interceptors.concern(name) {
            return Ok(Node::plain(own));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Refusal::UnsupportedName {
                destination: name.clone(),
                what: "composite destinations that lead back to themselves",
            });
        };
        let mut node = Node::plain(own);
        for topic in &interceptors.virtual_topics {
            if topic.topics.matches(name) {
                self.branch_to_queues(topic, name, depth, &mut node)?;
            }
        }
        let composites: Vec<&CompositeDestination> = interceptors
            .composites
            .iter()
            .filter(|one| one.names.matches(name))
            .collect();
        for composite in &composites {
            self.branch_to_others(composite, depth, &mut node)?;
        }
        if let Some(keeps) = composites
            .iter()
            .map(|one| one.keeps())
            .max_by_key(|keeps| {
                // Whatever one of them leaves to the name itself is left to it.
                [Keeps::Never, Keeps::Unwanted, Keeps::Always]
                    .iter()
                    .position(|one| one == keeps)
            })
            && !interceptors
                .virtual_topics
                .iter()
                .any(|topic| topic.topics.matches(name))
        {
            node.keeps = keeps;
        }
        self.branch_to_mirror(interceptors, name, depth, &mut node)?;
        Ok(node)
    }

    fn branch_to_queues(
        self: &Arc<Self>,
        topic: &VirtualTopic,
        name: &Destination,
        depth: usize,
        node: &mut Node,
    ) -> Result<(), Refusal> {
        let wanted = topic.queues(name);
        let fixed = topic.fixed_prefix().as_bytes();
        let queues: Vec<(Destination, Arc<Queue>)> = {
            let destinations = self.destinations.read();
            destinations
                .iter()
                .filter(|(name, _)| name.kind == DestinationKind::Queue)
                .filter(|(name, _)| {
                    let bytes = name.name.as_ref().map_or(&b""[..], |name| name.as_bytes());
                    bytes.starts_with(fixed)
                        && (wanted.matches(name)
                            || names::has_wildcard(name)
                                && wanted.overlaps(&super::DestinationPattern::of(name)))
                })
                .filter_map(|(name, target)| match target {
                    Target::Queue(queue) => Some((name.clone(), Arc::clone(queue))),
                    Target::Topic(_) => None,
                })
                .collect()
        };
        for (name, queue) in queues {
            let mut condition = Condition::Always;
            if topic.selector_aware {
                condition = Condition::Consumers(queue);
            }
            if topic.local {
                condition = Condition::Local(Box::new(condition));
            }
            node.branches.push(Branch {
                condition,
                is_optional: topic.drop_on_resource_limit,
                node: self.node(&name, depth)?,
            });
        }
        Ok(())
    }

    fn branch_to_others(
        self: &Arc<Self>,
        composite: &CompositeDestination,
        depth: usize,
        node: &mut Node,
    ) -> Result<(), Refusal> {
        for forward in &composite.forward_to {
            for part in names::parts(&forward.destination)? {
                let condition = match &forward.selector {
                    None => Condition::Always,
                    Some(selector) => Condition::Selector(selector.clone()),
                };
                node.branches.push(Branch {
                    condition,
                    is_optional: false,
                    node: self.node(&part, depth)?,
                });
            }
        }
        Ok(())
    }

    fn branch_to_mirror(
        self: &Arc<Self>,
        interceptors: &Interceptors,
        name: &Destination,
        depth: usize,
        node: &mut Node,
    ) -> Result<(), Refusal> {
        let mirror = interceptors.mirrored_queues.as_ref();
        if let Some(topic) = mirror.and_then(|mirror| mirror.topic(name)) {
            node.branches
                .push(Branch::always(self.node(&topic, depth)?));
        }
        Ok(())
    }
}

impl CompositeDestination {
    fn keeps(&self) -> Keeps {
        match (self.send_when_not_matched, self.forward_only) {
            (true, _) => Keeps::Unwanted,
            (false, true) => Keeps::Never,
            (false, false) => Keeps::Always,
        }
    }
}

impl Node {
    fn plain(own: Target) -> Self {
        Node {
            branches: Vec::new(),
            own: Some(own),
            keeps: Keeps::Always,
        }
    }
}

impl Branch {
    fn always(node: Node) -> Self {
        Branch {
            condition: Condition::Always,
            is_optional: false,
            node,
        }
    }
}
