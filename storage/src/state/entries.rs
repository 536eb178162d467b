//! The pending messages of one backlog, in dispatch order.
//!
//! Messages come at the end of their order class and mostly go from its front. So entries lie in
//! sorted runs of up to [`RUN`] slots of 36 bytes; removing one only marks its slot. A `BTreeMap`
//! filled in ascending order keeps its nodes half empty and needs twice the memory.

use std::collections::BTreeMap;

use crate::position::{Entry, Location, Lsn, Position, SegmentNumber};

/// Slots of a full run.
const RUN: usize = 128;
/// A spare buffer is kept for a backlog that goes empty again and again, if it is this small.
const SPARE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Slot {
    position: u64,
    visible: u64,
    expiration_ms: i64,
    segment: u32,
    offset: u32,
    /// 0: removed. No record is that short. The highest bit: see [`SHARED`].
    length: u32,
}

/// In a length, here and in checkpoints: the record has several targets. No record is that long.
pub(crate) const SHARED: u32 = 1 << 31;
const _: () = assert!(crate::record::RECORD_BYTES_MAX < SHARED);

impl Slot {
    fn entry(&self) -> Option<Entry> {
        (self.length != 0).then_some(Entry {
            location: Location {
                segment: SegmentNumber(self.segment),
                offset: self.offset,
                length: self.length & !SHARED,
            },
            visible: Lsn(self.visible),
            expiration_ms: self.expiration_ms,
            is_shared: self.length & SHARED != 0,
        })
    }
}

/// Sorted by position; removed slots stay until their run is empty or mostly so.
struct Run {
    slots: Vec<Slot>,
    live: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Entries {
    /// By a position at or below the run's first one. No run spans two order classes.
    runs: BTreeMap<Position, Run>,
    len: usize,
    bytes: u64,
    spare: Vec<Slot>,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all the records.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an entry behind all others of its order class; false: it is not behind them.
    #[must_use]
    pub(crate) fn push(&mut self, position: Position, entry: Entry) -> bool {
        let slot = Slot {
            position: position.0,
            visible: entry.visible.0,
            expiration_ms: entry.expiration_ms,
            segment: entry.location.segment.0,
            offset: entry.location.offset,
            length: packed_length(&entry),
        };
        if let Some((first, run)) = self.runs.range_mut(..=position).next_back()
            && first.order() == position.order()
        {
            if run
                .slots
                .last()
                .is_some_and(|last| last.position >= position.0)
            {
                return false;
            }
            if run.slots.len() < RUN {
                if run.slots.len() == run.slots.capacity() {
                    run.slots
                        .reserve_exact(run.slots.len().min(RUN - run.slots.len()).max(1));
                }
                run.slots.push(slot);
                run.live += 1;
                self.count(&slot);
                return true;
            }
        }
        let mut slots = std::mem::take(&mut self.spare);
        if slots.capacity() == 0 {
            slots.reserve_exact(4);
        }
        slots.push(slot);
        self.runs.insert(position, Run { slots, live: 1 });
        self.count(&slot);
        true
    }

    fn count(&mut self, slot: &Slot) {
        self.len += 1;
        self.bytes += u64::from(slot.length & !SHARED);
    }

    pub(crate) fn get(&self, position: Position) -> Option<Entry> {
        let (_, run) = self.runs.range(..=position).next_back()?;
        run.slots[run.find(position)?].entry()
    }

    /// Lets the entry at `position` point to another record of the same message. Answers the entry
    /// as it was; None: it is gone.
    pub(crate) fn relocate(&mut self, position: Position, to: Location) -> Option<Entry> {
        let (_, run) = self.runs.range_mut(..=position).next_back()?;
        let index = run.find(position)?;
        let slot = &mut run.slots[index];
        let old = slot.entry()?;
        slot.segment = to.segment.0;
        slot.offset = to.offset;
        slot.length = packed_length(&Entry {
            location: to,
            ..old
        });
        self.bytes = self.bytes - u64::from(old.location.length) + u64::from(to.length);
        Some(old)
    }

    pub(crate) fn remove(&mut self, position: Position) -> Option<Entry> {
        let (&first, run) = self.runs.range_mut(..=position).next_back()?;
        let index = run.find(position)?;
        let entry = run.slots[index].entry()?;
        run.slots[index].length = 0;
        run.live -= 1;
        self.len -= 1;
        self.bytes -= u64::from(entry.location.length);
        if run.live == 0 {
            let mut slots = self
                .runs
                .remove(&first)
                .map(|run| run.slots)
                .unwrap_or_default();
            if slots.capacity() <= SPARE {
                slots.clear();
                self.spare = slots;
            }
        } else if run.slots.len() == RUN && run.live <= RUN / 4 {
            run.slots.retain(|slot| slot.length != 0);
            run.slots.shrink_to_fit();
        }
        Some(entry)
    }

    /// From `from` on, in order.
    pub(crate) fn iter_from(
        &self,
        from: Position,
    ) -> impl Iterator<Item = (Position, Entry)> + use<'_> {
        let start = self
            .runs
            .range(..=from)
            .next_back()
            .map_or(from, |(first, _)| *first);
        let runs = self.runs.range(start..);
        let slots = runs.flat_map(move |(_, run)| {
            let skipped = run.slots.partition_point(|slot| slot.position < from.0);
            run.slots[skipped..].iter()
        });
        slots.filter_map(|slot| Some((Position(slot.position), slot.entry()?)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Position, Entry)> + use<'_> {
        self.iter_from(Position(0))
    }
}

/// The length and what is kept in its highest bit.
pub(crate) fn packed_length(entry: &Entry) -> u32 {
    entry.location.length | if entry.is_shared { SHARED } else { 0 }
}

impl Run {
    fn find(&self, position: Position) -> Option<usize> {
        self.slots
            .binary_search_by_key(&position.0, |slot| slot.position)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(number: u32) -> Entry {
        Entry {
            location: Location {
                segment: SegmentNumber(1),
                offset: number,
                length: 20 + number,
            },
            visible: Lsn(u64::from(number)),
            expiration_ms: -i64::from(number),
            is_shared: number.is_multiple_of(2),
        }
    }

    #[derive(Clone, Debug)]
    enum Action {
        Push(u8),
        RemoveNth(usize),
        RemoveFirst(usize),
        Relocate(usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => (0_u8..=9).prop_map(Action::Push),
            2 => Just(Action::Push(4)),
            2 => (0_usize..1000).prop_map(Action::RemoveNth),
            1 => (0_usize..300).prop_map(Action::RemoveFirst),
            2 => (0_usize..1000).prop_map(Action::Relocate),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn entries_behave_like_a_sorted_map(
            actions in proptest::collection::vec(action(), 0..1500),
            from in any::<prop::sample::Index>(),
        ) {
            let mut entries = Entries::default();
            let mut model = BTreeMap::new();
            let mut sequence = 0;
            for action in actions {
                match action {
                    Action::Push(order) => {
                        sequence += 1;
                        let position = Position::new(order, sequence);
                        prop_assert!(entries.push(position, entry(sequence as u32)));
                        model.insert(position, entry(sequence as u32));
                    }
                    Action::RemoveNth(n) => {
                        let Some((&position, _)) = model.iter().nth(n) else { continue };
                        prop_assert_eq!(entries.remove(position), model.remove(&position));
                        prop_assert_eq!(entries.remove(position), None);
                        prop_assert_eq!(entries.get(position), None);
                    }
                    Action::Relocate(n) => {
                        let Some((&position, old)) = model.iter().nth(n) else { continue };
                        let (old, to) = (*old, entry(sequence as u32 + 5000).location);
                        prop_assert_eq!(entries.relocate(position, to), Some(old));
                        model.insert(position, Entry { location: to, ..old });
                    }
                    Action::RemoveFirst(n) => {
                        for _ in 0..n {
                            let Some((position, expected)) = model.pop_first() else { break };
                            prop_assert_eq!(entries.remove(position), Some(expected));
                        }
                    }
                }
                prop_assert_eq!(entries.len(), model.len());
            }
            let all: Vec<_> = entries.iter().collect();
            let expected: Vec<_> = model.iter().map(|(position, entry)| (*position, *entry)).collect();
            prop_assert_eq!(&all, &expected);
            let bytes: u64 = model.values().map(|entry| u64::from(entry.location.length)).sum();
            prop_assert_eq!(entries.bytes(), bytes);
            let from = Position::new(from.index(10) as u8, from.index(1000) as u64);
            let tail: Vec<_> = entries.iter_from(from).collect();
            let expected: Vec<_> = expected.into_iter().filter(|(at, _)| *at >= from).collect();
            prop_assert_eq!(tail, expected);
        }
    }

    #[test]
    fn an_entry_that_is_not_behind_its_order_class_is_refused() {
        let mut entries = Entries::default();
        assert!(entries.push(Position::new(4, 7), entry(1)));
        assert!(!entries.push(Position::new(4, 7), entry(2)));
        assert!(entries.push(Position::new(9, 3), entry(3)), "another class");
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_slot_takes_36_bytes_and_a_sparse_run_shrinks() {
        assert_eq!(size_of::<Slot>(), 36);
        let mut entries = Entries::default();
        for sequence in 1..=RUN as u64 {
            assert!(entries.push(Position::new(4, sequence), entry(1)));
        }
        for sequence in 1..=(RUN - RUN / 4) as u64 {
            entries.remove(Position::new(4, sequence));
        }
        let run = entries.runs.values().next().unwrap();
        assert_eq!((run.slots.len(), run.slots.capacity()), (RUN / 4, RUN / 4));
    }
}
