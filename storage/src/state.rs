//! The fold of the journal.

/// What the journal's records add up to.
pub struct State {}
