//! What the journal's tests share: see [`storage::testing`], where faults and tenures are.

#![allow(unused_imports, reason = "each test file uses another part")]

pub(crate) mod history;
pub(crate) mod inspected;

pub(crate) use storage::testing::*;
