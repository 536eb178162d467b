//! What an inspection found, for people and for machines.

use serde::Serialize;

use super::keys::KeyUse;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Normal; explained because it may look odd.
    Note,
    /// Nothing is lost, and something is not as it should be.
    Warning,
    /// Something could not be read, so nothing is known of it.
    Unread,
    /// Something is lost, or contradicts the rest.
    Damage,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The journal is in use.
    InUse,
    /// A name that is none of the journal's.
    ForeignName,
    /// A file or directory that the operating system does not let be read.
    Unreadable,
    /// `lock`.
    Lock,
    /// A claim or the lease in it.
    Lease,
    /// Bytes behind the last batch of the newest tenure that are no whole batch.
    TornTail,
    /// Bytes behind the place at which an epoch was sealed.
    BehindSeal,
    /// Segments of an epoch that is not in the chain of tenures.
    Orphan,
    /// A segment's header.
    Header,
    /// Records in the middle are lost.
    LostRecords,
    /// Bytes in the middle that are no batch.
    LostBytes,
    /// A segment that is needed is not there.
    MissingSegment,
    /// The chain of tenures is broken.
    BrokenChain,
    /// A checkpoint cannot be read.
    Checkpoint,
    /// A checkpoint and the journal do not say the same.
    Contradiction,
    /// Pending messages whose records cannot be read.
    LostMessages,
    /// A key is missing.
    Key,
    /// There is no journal.
    NoJournal,
}

/// A backlog that a finding touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// Its number.
    pub id: u32,
    /// What the broker calls it.
    pub name: String,
    /// Messages of it.
    pub messages: u64,
}

/// One thing that an inspection found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The file, relative to the journal directory.
    pub path: Option<String>,
    /// The first byte of what is wrong.
    pub offset: Option<u64>,
    /// The first byte behind it.
    pub end_offset: Option<u64>,
    /// The first record that is lost.
    pub first_lsn: Option<u64>,
    /// The last one.
    pub last_lsn: Option<u64>,
    /// How many.
    pub records: Option<u64>,
    /// Messages that are known to be touched, by backlog.
    pub backlogs: Vec<Affected>,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty when nothing is to be done.
    pub advice: String,
}

impl Finding {
    pub(super) fn new(severity: Severity, kind: Kind, what: impl Into<String>) -> Finding {
        Finding {
            severity,
            kind,
            path: None,
            offset: None,
            end_offset: None,
            first_lsn: None,
            last_lsn: None,
            records: None,
            backlogs: Vec::new(),
            what: what.into(),
            advice: String::new(),
        }
    }

    pub(super) fn at(mut self, path: &std::path::Path) -> Finding {
        self.path = Some(path.display().to_string());
        self
    }

    pub(super) fn bytes(mut self, start: u64, end: u64) -> Finding {
        self.offset = Some(start);
        self.end_offset = Some(end);
        self
    }

    pub(super) fn lsns(mut self, first: u64, last: u64) -> Finding {
        self.first_lsn = Some(first);
        self.last_lsn = Some(last);
        self.records = Some((last + 1).saturating_sub(first));
        self
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Finding {
        self.advice = advice.into();
        self
    }
}

/// What came out of an inspection in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that is needed is there and checks out.
    Healthy,
    /// Something is lost or contradicts the rest.
    Damaged,
    /// No damage was seen, but not everything could be read.
    Incomplete,
    /// There is no journal.
    NoJournal,
}

/// Findings of one kind that are listed; the others are counted.
const FINDINGS_PER_KIND: usize = 200;

/// All that an inspection found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Verdict,
    /// Who holds the journal at this moment, as far as its lease tells.
    pub in_use_by: Option<String>,
    /// Segment files.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Valid batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Checkpoints that can be read.
    pub checkpoints: u64,
    /// The newest epoch in the chain.
    pub epoch: u64,
    /// The last record of the journal.
    pub last_lsn: u64,
    /// Backlogs.
    pub backlogs: u64,
    /// Pending messages in them.
    pub messages: u64,
    /// Transactions that wait for their decision.
    pub prepared: u64,
    /// The keys of its files.
    pub keys: Vec<KeyUse>,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Findings that are only counted.
    pub left_out: u64,
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            verdict: Verdict::NoJournal,
            in_use_by: None,
            segments: 0,
            bytes: 0,
            batches: 0,
            records: 0,
            checkpoints: 0,
            epoch: 0,
            last_lsn: 0,
            backlogs: 0,
            messages: 0,
            prepared: 0,
            keys: Vec::new(),
            findings: Vec::new(),
            left_out: 0,
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let same =
            |other: &&Finding| (other.kind, other.severity) == (finding.kind, finding.severity);
        if self.findings.iter().filter(same).count() < FINDINGS_PER_KIND {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// Sorts the findings and draws the conclusion.
    pub(super) fn conclude(&mut self) {
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.verdict = match self.findings.first().map(|finding| finding.severity) {
            Some(Severity::Damage) => Verdict::Damaged,
            Some(Severity::Unread) => Verdict::Incomplete,
            _ if self.segments == 0 && self.checkpoints == 0 => Verdict::NoJournal,
            _ => Verdict::Healthy,
        };
    }

    /// True when something is lost or contradicts the rest.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.verdict == Verdict::Damaged
    }
}
