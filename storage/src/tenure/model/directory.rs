//! The shared directory of the model: claims, segments, and what a reader makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LEASE, Variant};
use crate::chain::{SegmentName, Survey, link};
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::Seal;
use crate::state::Tenure;
use crate::tenure::claim::ClaimsView;
use crate::tenure::lease::{Holder, Lease, LeaseBlock, LeasePhase};

/// The running number of a claim: its identity, and the order in which tenures were claimed.
pub(super) type Serial = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClaimFile {
    pub(super) serial: Serial,
    pub(super) phase: LeasePhase,
    /// The counter's last bit: two renewals between two looks go unseen, which only makes a standby
    /// bolder than it is.
    pub(super) beat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SegmentFile {
    pub(super) serial: Serial,
    pub(super) first_lsn: u64,
    /// The former epoch and the last LSN of it that counts.
    pub(super) seal: Option<(Epoch, u64)>,
    /// A bit for each record that is there; the seal is one.
    pub(super) records: u8,
}

/// A record: whose it is, and its number.
pub(super) type RecordId = (Serial, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Directory {
    /// Which file `lock` is: another one after it was deleted.
    pub(super) lock: u8,
    pub(super) claims: BTreeMap<Epoch, ClaimFile>,
    pub(super) segments: BTreeMap<SegmentName, SegmentFile>,
}

/// All that a reader gets to see, in order, and where it stands then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) records: Vec<RecordId>,
    pub(super) epoch: Epoch,
    pub(super) lsn: u64,
    pub(super) segment: Option<SegmentName>,
}

impl Directory {
    pub(super) fn survey(&self) -> Survey {
        Survey {
            segments: self.segments.keys().copied().collect(),
            checkpoints: Vec::new(),
            claims: self.claims.keys().copied().collect(),
        }
    }

    pub(super) fn claims_view(&self) -> ClaimsView {
        let newest = self.claims.last_key_value().map(|(epoch, claim)| {
            let lease = Lease {
                epoch: *epoch,
                counter: u64::from(claim.beat),
                identity: u128::from(claim.serial),
                duration_ms: LEASE.as_millis() as u32,
                phase: claim.phase,
                holder: Holder {
                    name: String::new(),
                    host: String::new(),
                    pid: 0,
                },
            };
            (*epoch, LeaseBlock::Valid(lease))
        });
        let longest_lease = newest.as_ref().map_or(Duration::ZERO, |_| LEASE);
        ClaimsView {
            newest,
            longest_lease,
        }
    }

    fn sealed(&self, name: SegmentName) -> Option<Tenure> {
        let file = self.segments.get(&name)?;
        let (previous_epoch, sealed_lsn) = file.seal?;
        Some(Tenure {
            epoch: name.epoch,
            segment: name.number,
            lsn: Lsn(file.first_lsn),
            seal: Seal {
                previous_epoch,
                sealed_lsn: Lsn(sealed_lsn),
                segment: SegmentNumber(0),
                end_offset: 0,
                time_ms: 0,
            },
        })
    }

    /// Reads the journal to its end.
    pub(super) fn read(&self, variant: Variant) -> View {
        let names: Vec<_> = self.segments.keys().copied().collect();
        let mut view = View::default();
        let Ok(chain) = link(&names, Epoch(0), |name| Ok(self.sealed(name))) else {
            return view;
        };
        for tenure in &chain.tenures {
            let successor = chain.successor(tenure.epoch);
            let end = match successor {
                Some(successor) if variant != Variant::NoSeal => successor.seal.sealed_lsn.0,
                _ => u64::MAX,
            };
            self.read_tenure(&mut view, tenure, end);
        }
        view
    }

    fn read_tenure(&self, view: &mut View, tenure: &Tenure, end: u64) {
        view.epoch = tenure.epoch;
        view.lsn = tenure.lsn.0 - 1;
        let of_epoch = self.segments.iter();
        for (name, file) in of_epoch.filter(|(name, _)| name.epoch == tenure.epoch) {
            let is_next = file.first_lsn == view.lsn + 1 && file.records & 1 == 1;
            if !is_next && *name != tenure_start(tenure) {
                continue;
            }
            view.segment = Some(*name);
            for bit in 0..u64::from(file.records.trailing_ones()) {
                let lsn = file.first_lsn + bit;
                if lsn > end {
                    return;
                }
                view.lsn = lsn;
                view.records.push((file.serial, lsn));
            }
        }
    }
}

impl View {
    pub(super) fn has_all(&self, wanted: &BTreeSet<RecordId>) -> bool {
        wanted.iter().all(|record| self.records.contains(record))
    }

    /// No number is there twice.
    pub(super) fn is_one_order(&self) -> bool {
        self.records.windows(2).all(|pair| pair[0].1 < pair[1].1)
    }
}

fn tenure_start(tenure: &Tenure) -> SegmentName {
    SegmentName {
        number: tenure.segment,
        epoch: tenure.epoch,
    }
}
