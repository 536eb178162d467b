//! Inspections: whatever is done to a real journal's files ends in findings, and salvage saves what
//! was not hit.
//!
//! `BATON_INSPECT_CASES` makes the random parts longer; a failure names its seed, and `SEED` runs
//! that one alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

#[path = "inspect/check.rs"]
mod check;
#[path = "inspect/damage.rs"]
mod damage;
#[path = "inspect/flight.rs"]
mod flight;
#[path = "inspect/moves.rs"]
mod moves;
#[path = "inspect/salvage.rs"]
mod salvage;
#[path = "inspect/world.rs"]
mod world;
