//! A connection's consumers of queues.

use std::sync::Arc;

use super::{Connection, ConsumerRequest, Home};
use crate::broker::browse::Trail;
use crate::broker::consumer::{Acknowledgement, Address, Consumer, Terms};
use crate::broker::destination::Target;
use crate::broker::interest::Interest;
use crate::broker::names::Reach;
use crate::broker::queue::Queue;
use crate::broker::selector::Selector;
use crate::broker::wide::WideConsumer;
use crate::broker::{Receipt, Refusal};
use openwire::{AckKind, ConsumerId, Destination};

/// What a Java client asks for when nobody chose anything: then the destination's policy counts.
const QUEUE_PREFETCH_DEFAULT: u32 = 1000;
const BROWSER_PREFETCH_DEFAULT: u32 = 500;

impl Connection {
    /// Opens a consumer or a browser of one queue, or of several.
    pub(super) fn open_on_queues(
        &self,
        request: &ConsumerRequest,
        address: Address,
        reach: Reach,
    ) -> Result<Home, Refusal> {
        let terms = self.terms(request)?;
        if let ([name], []) = (&reach.names[..], &reach.patterns[..]) {
            let queue = self.queue(name)?;
            if request.is_browser {
                queue.add_browser(&self.broker, address, terms)?;
            } else {
                let credit = queue.window(terms.prefetch);
                queue.add_consumer(&self.broker, Consumer::new(address, terms, credit))?;
            }
            return Ok(Home::Queue(queue));
        }
        let queues: Vec<Arc<Queue>> = reach
            .names
            .iter()
            .map(|name| self.queue(name))
            .collect::<Result<_, _>>()?;
        if request.is_browser {
            let trail = Trail::new(self.with_matching(queues, &reach));
            self.broker.browse(address, terms, &trail);
            return Ok(Home::Browser(trail));
        }
        let policy = self.broker.options().policies.of(&request.destination);
        let wide = WideConsumer::new(address, terms, policy.use_prefetch_extension);
        for queue in queues {
            wide.attach(&self.broker, &queue)?;
        }
        if !reach.patterns.is_empty() {
            let consumer = Arc::clone(&wide);
            let attach = move |broker: &Arc<_>, target: &Target| {
                if let Target::Queue(queue) = target
                    && let Err(refusal) = consumer.attach(broker, queue)
                {
                    tracing::debug!(%refusal, "A consumer does not get a queue that is being deleted.");
                }
            };
            self.broker
                .watch(&request.id, reach.patterns, Box::new(attach));
        }
        Ok(Home::Queues(wide))
    }

    /// These queues and, by name, those that match now.
    fn with_matching(&self, mut queues: Vec<Arc<Queue>>, reach: &Reach) -> Vec<Arc<Queue>> {
        let mut matching: Vec<Arc<Queue>> = {
            let destinations = self.broker.destinations.read();
            let wanted = destinations
                .iter()
                .filter(|(name, _)| reach.patterns.iter().any(|pattern| pattern.matches(name)));
            wanted
                .filter_map(|(_, target)| match target {
                    Target::Queue(queue) => Some(Arc::clone(queue)),
                    Target::Topic(_) => None,
                })
                .collect()
        };
        matching.retain(|queue| !queues.iter().any(|other| Arc::ptr_eq(other, queue)));
        matching.sort_by_key(|queue| queue.name().to_string());
        queues.append(&mut matching);
        queues
    }

    /// A client acknowledges what a browser of several queues showed it.
    pub(super) fn acknowledge_seen(
        &self,
        trail: &Trail,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) {
        for queue in &trail.queues {
            // It is at one of them, or on its way.
            let _ = queue.acknowledge(&self.broker, consumer, acknowledgement);
        }
    }

    fn queue(&self, name: &Destination) -> Result<Arc<Queue>, Refusal> {
        let target = self.broker.target(name)?;
        if target.owner().is_some_and(|owner| *owner != self.id) {
            return Err(Refusal::ForeignTemporary(name.clone()));
        }
        match target {
            Target::Queue(queue) => Ok(queue),
            Target::Topic(_) => Err(Refusal::NoSuchDestination(name.clone())),
        }
    }

    fn terms(&self, request: &ConsumerRequest) -> Result<Terms, Refusal> {
        let interest = Interest {
            selector: Selector::of(request.selector.as_ref())?,
            not_from: request.no_local.then(|| self.id.clone()),
        };
        Ok(Terms {
            prefetch: self.queue_prefetch(request, request.prefetch),
            interest,
            priority: request.priority,
            is_exclusive: request.is_exclusive,
        })
    }

    /// Whether a consumer that asks for a window has none by the destination's policy, and so must ask
    /// for each message.
    pub fn must_pull(&self, request: &ConsumerRequest) -> bool {
        request.destination.kind.is_queue()
            && request.prefetch > 0
            && self.queue_prefetch(request, request.prefetch) == 0
    }

    /// The window of a consumer that asks for `wanted`.
    fn queue_prefetch(&self, request: &ConsumerRequest, wanted: u32) -> usize {
        let policy = self.broker.options().policies.of(&request.destination);
        let wanted = match (request.is_browser, wanted) {
            (true, BROWSER_PREFETCH_DEFAULT) => policy.queue_browser_prefetch,
            (false, QUEUE_PREFETCH_DEFAULT) => policy.queue_prefetch,
            _ => wanted,
        };
        self.prefetch(wanted)
    }

    /// Acknowledges messages of several queues, each in its own.
    pub(super) fn acknowledge_wide(
        &self,
        consumer: &WideConsumer,
        acknowledgement: &Acknowledgement,
    ) -> Result<Receipt, Refusal> {
        if acknowledgement.kind == AckKind::Delivered {
            consumer.extend(&self.broker, acknowledgement.count);
            return Ok(Receipt::Done);
        }
        let mut last = None;
        for (queue, part) in consumer.split(acknowledgement, false)? {
            let lsn = queue.acknowledge(&self.broker, consumer.id(), &part)?;
            last = last.max(lsn);
        }
        consumer.dispatch(&self.broker);
        Ok(last.into())
    }
}
