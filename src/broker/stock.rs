//! What waits in one queue to be dispatched, in order.
//!
//! Persistent messages wait in the journal's backlog; a short window of them, from the cursors on, is
//! held here with their bodies. Non-persistent messages and those that came back from a consumer
//! are held here too. One map has them all in dispatch order.

mod sieve;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use storage::store::AppendError;
use storage::{Backlog, Entry, Location, Lsn, Position, Store};

use self::sieve::Sieve;
pub(super) use self::sieve::{Candidate, LaneNumber, Run};
use super::Message;
use super::spool::{Glimpse, Overflow, Spool};

/// The order of all messages when priorities do not count: JMS' normal priority.
pub(super) const PLAIN_ORDER: u8 = 4;

const ORDERS: usize = 10;
const ALL_ORDERS: u16 = (1 << ORDERS) - 1;

/// Below this many journaled messages of an order the window is filled up ...
const WINDOW_LOW: usize = 128;
/// ... to this many, unless they are large.
const WINDOW_HIGH: usize = 512;
/// Bytes of records in the window; one message is let in anyway.
const WINDOW_BYTES: usize = 2 << 20;
/// How far behind the cursor a body is kept for when the window gets there.
const CACHED_AHEAD: u64 = 1 << 15;
/// Messages read back in one go.
const RUN_MESSAGES: usize = 256;
/// Bytes read back in one go; one message is read anyway.
const RUN_BYTES: usize = 1 << 20;

/// How far ahead of dispatch a reservation reaches. After a takeover up to this many messages are
/// flagged as redelivered although nobody saw them.
const RESERVED_AHEAD: u64 = 1000;

/// A message's place in the dispatch order of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// Of the message itself if it is journaled, else of the journaled message that it came after.
    position: Position,
    /// 0 for journaled messages, a running number for others.
    sub: u64,
}

impl Key {
    /// The place of a journaled message.
    pub(super) fn journaled(position: Position) -> Self {
        Key { position, sub: 0 }
    }
}

/// Where a message is kept until it is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the journal.
    Journal {
        position: Position,
        location: Location,
    },
    /// Nowhere but here.
    Memory,
}

/// A message that waits or is in flight.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) expiration_ms: i64,
    /// How often it was delivered before.
    pub(super) redeliveries: u32,
    /// None: it has to be read back before it can be dispatched.
    pub(super) message: Option<Arc<Message>>,
}

impl Slot {
    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        self.expiration_ms > 0 && self.expiration_ms <= now_ms
    }

    pub(super) fn position(&self) -> Option<Position> {
        match self.place {
            Place::Journal { position, .. } => Some(position),
            Place::Memory => None,
        }
    }
}

/// What can be said of the first message that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It can be dispatched.
    Ready,
    /// Its body has to be read back first.
    Unread,
    /// Its reservation is not released yet.
    Unreserved(Lsn),
    /// Nothing waits.
    Nothing,
}

/// What waits in one queue to be dispatched, in order.
pub(super) struct Stock {
    backlog: Option<Arc<Backlog>>,
    is_prioritized: bool,
    ready: BTreeMap<Key, Slot>,
    /// Journaled messages in `ready`, by order.
    ready_journaled: [usize; ORDERS],
    /// Messages in `ready` whose body has to be read back.
    unread: usize,
    ready_journaled_bytes: usize,
    /// The next sequence of the backlog that is not in the window yet, by order.
    cursors: [u64; ORDERS],
    /// Orders that may have messages at or beyond their cursor.
    unseen: u16,
    /// Orders that a message may have in this queue.
    used: u16,
    /// Bodies that just came in, for when the window reaches them.
    cached: HashMap<Location, Arc<Message>>,
    cached_bytes: usize,
    /// A message with an expiration may wait.
    may_expire: bool,
    /// Positions beyond the cursors that are being taken out another way.
    withdrawn: HashSet<Position>,
    reservation: Reservation,
    redelivered_below: u64,
    /// The highest sequence seen, by which messages outside the journal find their place.
    newest: u64,
    memory_count: u64,
    /// The search for consumers that want different messages; None: all want everything.
    sieve: Option<Box<Sieve>>,
    /// `ready` may hold messages beyond the cursors.
    has_pool: bool,
    /// Messages outside the journal that memory has no room for, behind those that it has.
    overflow: Overflow<Key>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reservation {
    /// Below this dispatch is allowed.
    usable: u64,
    /// Below this it is allowed once `lsn` is released.
    below: u64,
    lsn: Lsn,
}

impl Stock {
    pub(super) fn new(backlog: Option<Arc<Backlog>>, is_prioritized: bool) -> Self {
        let mut stock = Stock {
            backlog: None,
            is_prioritized,
            ready: BTreeMap::new(),
            ready_journaled: [0; ORDERS],
            unread: 0,
            ready_journaled_bytes: 0,
            cursors: [0; ORDERS],
            unseen: 0,
            used: 0,
            cached: HashMap::new(),
            cached_bytes: 0,
            may_expire: false,
            withdrawn: HashSet::new(),
            reservation: Reservation::default(),
            redelivered_below: 0,
            newest: 0,
            memory_count: 0,
            sieve: None,
            has_pool: false,
            overflow: Overflow::default(),
        };
        if let Some(backlog) = backlog {
            stock.attach(backlog);
        }
        stock
    }

    /// Takes over a backlog, whatever is in it already.
    pub(super) fn attach(&mut self, backlog: Arc<Backlog>) {
        let (below, lsn) = backlog.reserved_below();
        self.reservation = Reservation {
            usable: 0,
            below,
            lsn,
        };
        self.redelivered_below = backlog.redelivered_below();
        self.all_orders();
        self.unseen = ALL_ORDERS;
        self.may_expire = true;
        self.backlog = Some(backlog);
    }

    pub(super) fn backlog(&self) -> Option<&Arc<Backlog>> {
        self.backlog.as_ref()
    }

    /// The order in which a message of this priority is dispatched.
    pub(super) fn order_of(&self, priority: i8) -> u8 {
        if self.is_prioritized {
            priority.clamp(0, 9).unsigned_abs()
        } else {
            PLAIN_ORDER
        }
    }

    /// A journaled message came: keeps its body if that is of use before it is read back anyway.
    pub(super) fn arrived(
        &mut self,
        position: Position,
        location: Location,
        message: &Arc<Message>,
        may_cache: bool,
    ) {
        let cursor = self.cursors[usize::from(position.order())];
        self.newest = self.newest.max(position.sequence());
        self.used |= 1 << position.order();
        self.may_expire |= message.expiration_ms() > 0;
        let is_of_use = self.is_of_use_to_lanes(position).unwrap_or_else(|| {
            let is_passed = position.sequence() < cursor;
            !is_passed && position.sequence() - cursor <= CACHED_AHEAD
        });
        if !is_of_use || !may_cache {
            return;
        }
        self.cached_bytes += message.len();
        self.cached.insert(location, Arc::clone(message));
    }

    /// Messages came in a way that tells nothing about them.
    pub(super) fn committed(&mut self) {
        self.may_expire = true;
    }

    /// Keeps the body of a message whose place in the order is not known yet.
    pub(super) fn cache(&mut self, location: Location, message: Arc<Message>) {
        self.cached_bytes += message.len();
        self.cached.insert(location, message);
    }

    /// Drops bodies of messages that do not come, or that are elsewhere in the journal now.
    pub(super) fn drop_cached(&mut self, locations: &[Location]) {
        for location in locations {
            self.uncache(*location);
        }
    }

    fn uncache(&mut self, location: Location) -> Option<Arc<Message>> {
        let message = self.cached.remove(&location)?;
        self.cached_bytes -= message.len();
        Some(message)
    }

    /// The body at a location, if it is in memory.
    pub(super) fn cached(&self, location: Location) -> Option<Arc<Message>> {
        self.cached.get(&location).map(Arc::clone)
    }

    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// A message came that is kept nowhere else.
    ///
    /// With a temporary store it goes there, and behind what is there already it goes in any case.
    pub(super) fn push_memory(&mut self, message: Arc<Message>, spill_to: Option<&Arc<Spool>>) {
        self.memory_count += 1;
        self.may_expire |= message.expiration_ms() > 0;
        let order = self.order_of(message.priority());
        let key = Key {
            position: Position::new(order, self.newest),
            sub: self.memory_count,
        };
        if let Some(spool) = spill_to {
            return self.overflow.push(spool, order, key, message);
        }
        self.insert_memory(key, message);
    }

    /// Whether a message that comes now has to go behind others that memory has no room for.
    pub(super) fn has_overflow(&self, priority: i8) -> bool {
        self.overflow.has_order(self.order_of(priority))
    }

    /// The first messages that memory has no room for, for a browser.
    pub(super) fn glimpses(&self, max: usize) -> Vec<(Key, Glimpse)> {
        self.overflow.look(max)
    }

    /// What memory has no room for.
    pub(super) fn overflow(&mut self) -> &mut Overflow<Key> {
        &mut self.overflow
    }

    /// Whether what memory had no room for should come back: few are left before it, or consumers want
    /// none of those and there is room.
    pub(super) fn wants_overflow(&self, has_room: bool) -> bool {
        let before = self.ready.len() - self.ready_journaled.iter().sum::<usize>();
        self.overflow.len() > 0 && (before < WINDOW_LOW || has_room)
    }

    /// A message came back from the temporary store.
    pub(super) fn insert_memory(&mut self, key: Key, message: Arc<Message>) {
        let slot = Slot {
            key,
            place: Place::Memory,
            expiration_ms: message.expiration_ms(),
            redeliveries: 0,
            message: Some(message),
        };
        self.ready.insert(key, slot);
        self.offer_to_lanes(key);
    }

    /// A message came back from a consumer, or from a prepared transaction.
    pub(super) fn put_back(&mut self, slot: Slot) {
        if self.sieve.is_some() {
            return self.put_back_to_lanes(slot);
        }
        if let Some(position) = slot.position()
            && self.withdrawn.contains(&position)
        {
            let is_passed = position.sequence() < self.cursors[usize::from(position.order())];
            let is_known = slot.redeliveries == self.redeliveries_of(position);
            if is_passed || is_known {
                self.withdrawn.remove(&position);
            }
            if !is_passed && is_known {
                // It was taken before its turn, which comes in the ordinary way.
                return self.look_again();
            }
            // Else the cursor has to pass it over when it gets there.
        }
        self.insert(slot);
    }

    /// Keeps journaled messages from being dispatched, before any of them was.
    pub(super) fn withhold(&mut self, positions: &[Position]) -> Vec<Slot> {
        let Some(backlog) = self.backlog.clone() else {
            return Vec::new();
        };
        let slot = |position: &Position| {
            let entry = backlog.entry(*position)?;
            let is_first = self.withdrawn.insert(*position);
            is_first.then(|| Slot {
                key: Key {
                    position: *position,
                    sub: 0,
                },
                place: Place::Journal {
                    position: *position,
                    location: entry.location,
                },
                expiration_ms: entry.expiration_ms,
                redeliveries: u32::from(position.sequence() < self.redelivered_below),
                message: None,
            })
        };
        positions.iter().filter_map(slot).collect()
    }

    /// The journal has more messages than were looked at.
    pub(super) fn look_again(&mut self) {
        self.unseen |= self.used;
        self.look_again_in_lanes();
    }

    /// Fills the window from the backlog. Answers the position in the journal that has to be
    /// released before more can be seen.
    pub(super) fn refill(&mut self, released: Lsn) -> Option<Lsn> {
        if self.unseen == 0 {
            return None;
        }
        let backlog = Arc::clone(self.backlog.as_ref()?);
        let mut wait: Option<Lsn> = None;
        for order in (0..=9u8).rev() {
            let index = usize::from(order);
            if self.unseen & (1 << order) == 0 {
                continue;
            }
            if self.ready_journaled[index] >= WINDOW_LOW && !self.is_ahead(order) {
                continue;
            }
            let found = self.refill_order(&backlog, order, released);
            match found {
                Found::All => self.seen_all_of(order),
                Found::Enough => {}
                Found::Unreleased(lsn) => {
                    self.unseen &= !(1 << order);
                    wait = Some(wait.map_or(lsn, |other| other.min(lsn)));
                }
            }
        }
        wait
    }

    /// Whether the first message that waits is one of this order beyond the cursor, before which
    /// others may come.
    fn is_ahead(&self, order: u8) -> bool {
        self.has_pool
            && self.ready.first_key_value().is_some_and(|(key, slot)| {
                key.position.order() == order
                    && slot.place != Place::Memory
                    && key.position.sequence() >= self.cursors[usize::from(order)]
            })
    }

    fn refill_order(&mut self, backlog: &Backlog, order: u8, released: Lsn) -> Found {
        let mut found = Found::All;
        let from = Position::new(order, self.cursors[usize::from(order)]);
        backlog.scan(from, &mut |position, entry| {
            if position.order() != order {
                return ControlFlow::Break(());
            }
            if entry.visible > released {
                found = Found::Unreleased(entry.visible);
                return ControlFlow::Break(());
            }
            if !self.has_window_room(order) && !self.is_ahead(order) {
                found = Found::Enough;
                return ControlFlow::Break(());
            }
            self.admit(position, entry);
            ControlFlow::Continue(())
        });
        found
    }

    fn has_window_room(&self, order: u8) -> bool {
        let count = self.ready_journaled[usize::from(order)];
        count == 0 || count < WINDOW_HIGH && self.ready_journaled_bytes < WINDOW_BYTES
    }

    fn admit(&mut self, position: Position, entry: &Entry) {
        self.cursors[usize::from(position.order())] = position.sequence() + 1;
        self.newest = self.newest.max(position.sequence());
        let message = self.uncache(entry.location);
        if self.withdrawn.contains(&position) {
            return;
        }
        self.insert(Slot {
            key: Key::journaled(position),
            place: Place::Journal {
                position,
                location: entry.location,
            },
            expiration_ms: entry.expiration_ms,
            redeliveries: self.redeliveries_of(position),
            message,
        });
    }

    /// How often a message counts as delivered before, as far as the journal knows.
    fn redeliveries_of(&self, position: Position) -> u32 {
        u32::from(position.sequence() < self.redelivered_below)
    }

    fn seen_all_of(&mut self, order: u8) {
        self.unseen &= !(1 << order);
        if !self.is_prioritized && order != PLAIN_ORDER {
            // Left behind by a configuration with priorities; nothing is added to it any more.
            self.used &= !(1 << order);
        }
    }

    fn insert(&mut self, slot: Slot) {
        if let Place::Journal { position, location } = slot.place {
            self.ready_journaled[usize::from(position.order())] += 1;
            self.ready_journaled_bytes += location.length as usize;
        }
        self.unread += usize::from(slot.message.is_none());
        self.ready.insert(slot.key, slot);
    }

    /// What can be said of the first message that waits.
    pub(super) fn next(&mut self, store: &Store, released: Lsn) -> Result<Next, AppendError> {
        let Some((_, slot)) = self.ready.first_key_value() else {
            // What memory has no room for comes back.
            let is_all = self.overflow.len() == 0;
            return Ok(if is_all { Next::Nothing } else { Next::Unread });
        };
        let (position, is_read) = (slot.position(), slot.message.is_some());
        if let Some(lsn) = self.reserve(position, store, released)? {
            return Ok(Next::Unreserved(lsn));
        }
        Ok(if is_read { Next::Ready } else { Next::Unread })
    }

    /// Makes sure that a message at this position may be dispatched. Answers what has to be released
    /// before it may.
    pub(super) fn reserve(
        &mut self,
        position: Option<Position>,
        store: &Store,
        released: Lsn,
    ) -> Result<Option<Lsn>, AppendError> {
        let Some(position) = position else {
            return Ok(None);
        };
        if self.is_reserved(position.sequence(), released) {
            return Ok(None);
        }
        self.reserve_around(position.sequence(), store)?;
        Ok(Some(self.reservation.lsn))
    }

    /// The first message that waits.
    pub(super) fn first(&self) -> Option<&Slot> {
        self.ready.first_key_value().map(|(_, slot)| slot)
    }

    /// Takes the first message that waits.
    pub(super) fn take_first(&mut self) -> Option<Slot> {
        let (_, slot) = self.ready.pop_first()?;
        self.taken(&slot);
        Some(slot)
    }

    fn taken(&mut self, slot: &Slot) {
        self.unread -= usize::from(slot.message.is_none());
        if let Place::Journal { position, location } = slot.place {
            self.ready_journaled[usize::from(position.order())] -= 1;
            self.ready_journaled_bytes -= location.length as usize;
        }
    }

    fn is_reserved(&mut self, sequence: u64, released: Lsn) -> bool {
        let reservation = &mut self.reservation;
        if reservation.lsn <= released {
            reservation.usable = reservation.below;
        }
        sequence < reservation.usable
    }

    /// Reserves ahead of `sequence`, which is about to be dispatched, early enough that in the
    /// steady state no dispatch waits for it.
    pub(super) fn reserve_around(
        &mut self,
        sequence: u64,
        store: &Store,
    ) -> Result<(), AppendError> {
        let Some(backlog) = &self.backlog else {
            return Ok(());
        };
        if sequence + RESERVED_AHEAD / 2 < self.reservation.below {
            return Ok(());
        }
        let below = sequence + RESERVED_AHEAD;
        let lsn = store.reserve_dispatch(backlog, below)?;
        self.reservation.below = below;
        self.reservation.lsn = lsn;
        Ok(())
    }

    /// Whether a message that arrives with this sequence is soon to be dispatched.
    pub(super) fn is_near(&self, position: Position) -> bool {
        if let Some(is_near) = self.is_near_lanes(position) {
            return is_near;
        }
        let cursor = self.cursors[usize::from(position.order())];
        position.sequence().saturating_sub(cursor) < RESERVED_AHEAD / 2
    }

    /// The first messages that have to be read back.
    pub(super) fn unread_run(&self) -> Vec<(Key, Position, Location)> {
        let mut bytes = 0;
        let mut run = Vec::new();
        for (key, slot) in &self.ready {
            let Place::Journal { position, location } = slot.place else {
                continue;
            };
            if slot.message.is_some() {
                continue;
            }
            bytes += location.length as usize;
            if !run.is_empty() && (bytes > RUN_BYTES || run.len() == RUN_MESSAGES) {
                break;
            }
            run.push((*key, position, location));
        }
        run
    }

    /// Whether messages should be read back now to have them when their turn comes.
    pub(super) fn should_read_ahead(&self) -> bool {
        self.unread > 0 && self.ready.len() - self.unread < WINDOW_LOW
    }

    /// A body was read back.
    pub(super) fn fill(&mut self, key: Key, message: Arc<Message>) {
        if let Some(slot) = self.ready.get_mut(&key)
            && slot.message.replace(message).is_none()
        {
            self.unread -= 1;
        }
    }

    /// Takes a message out of the order for good.
    pub(super) fn take(&mut self, key: Key) -> Option<Slot> {
        self.remove_from_lanes(key);
        let slot = self.ready.remove(&key)?;
        self.taken(&slot);
        Some(slot)
    }

    /// Takes messages out that have expired by `now_ms`: those waiting here, and of the journaled
    /// ones beyond the cursors those among `page` from `from` on. Also answers where the next run starts.
    pub(super) fn take_expired(
        &mut self,
        from: Option<Position>,
        page: usize,
        now_ms: i64,
        released: Lsn,
    ) -> (Vec<Slot>, Option<Position>) {
        let mut expired = Vec::new();
        if from.is_none() {
            if !self.may_expire {
                return (expired, None);
            }
            self.may_expire = false;
            self.take_expired_here(now_ms, &mut expired);
        }
        let next = self.withdraw_expired(
            from.unwrap_or_default(),
            page,
            now_ms,
            released,
            &mut expired,
        );
        for slot in &expired {
            self.remove_from_lanes(slot.key);
        }
        (expired, next)
    }

    fn take_expired_here(&mut self, now_ms: i64, expired: &mut Vec<Slot>) {
        let may_expire = self.ready.values().filter(|slot| slot.expiration_ms > 0);
        let (gone, staying): (Vec<&Slot>, Vec<&Slot>) =
            may_expire.partition(|slot| slot.is_expired(now_ms));
        self.may_expire |= !staying.is_empty();
        let keys: Vec<Key> = gone.into_iter().map(|slot| slot.key).collect();
        expired.extend(keys.into_iter().filter_map(|key| self.take(key)));
    }

    fn withdraw_expired(
        &mut self,
        from: Position,
        page: usize,
        now_ms: i64,
        released: Lsn,
        expired: &mut Vec<Slot>,
    ) -> Option<Position> {
        let backlog = self.backlog.clone()?;
        let (mut seen, mut next) = (0, None);
        backlog.scan(from, &mut |position, entry| {
            if seen == page {
                next = Some(position);
                return ControlFlow::Break(());
            }
            seen += 1;
            let is_passed = position.sequence() < self.cursors[usize::from(position.order())];
            if entry.expiration_ms <= 0 {
                return ControlFlow::Continue(());
            }
            // What is passed is in flight or waits here; it may still expire when it comes back.
            self.may_expire = true;
            if is_passed || entry.visible > released {
                return ControlFlow::Continue(());
            }
            let mut slot = Slot {
                key: Key::journaled(position),
                place: Place::Journal {
                    position,
                    location: entry.location,
                },
                expiration_ms: entry.expiration_ms,
                redeliveries: 0,
                message: None,
            };
            if slot.is_expired(now_ms) && self.withdrawn.insert(position) {
                slot.message = self.uncache(entry.location);
                expired.push(slot);
            }
            ControlFlow::Continue(())
        });
        next
    }

    /// What was withdrawn is gone from the backlog.
    pub(super) fn withdrawal_done(&mut self, position: Position) {
        self.withdrawn.remove(&position);
    }

    /// What waits and is held here.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Slot> {
        self.ready.values()
    }

    /// Messages waiting that are kept nowhere else.
    pub(super) fn memory_len(&self) -> usize {
        let here = self.ready.len() - self.ready_journaled.iter().sum::<usize>();
        here + self.overflow.len()
    }

    /// Drops everything; for a destination that is deleted.
    pub(super) fn clear(&mut self) {
        *self = Stock::new(self.backlog.take(), self.is_prioritized);
    }
}

enum Found {
    /// The cursor is at the end.
    All,
    /// The window is full.
    Enough,
    /// The next one is not released.
    Unreleased(Lsn),
}
