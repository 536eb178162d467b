//! Random operations on the store and on a small model in memory: both must agree, and so must the
//! follower, the recovered state and every later tenure.
//!
//! proptest prints the failing case in full; `PROPTEST_CASES` makes it run longer. Crashes at every
//! operation of such histories: see `crash.rs`.

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use storage::{Backlog, Location};

use support::history::{Run, action, cases};
use support::*;

/// Where the records are.
fn places(backlogs: &[Arc<Backlog>]) -> Vec<Location> {
    let entries = backlogs.iter().flat_map(|backlog| entries(backlog));
    entries.map(|(_, entry)| entry.location).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), max_shrink_iters: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_store_its_follower_and_its_successors_agree_with_a_model(
        actions in proptest::collection::vec(action(), 1..250),
        is_encrypted in any::<bool>(),
    ) {
        use_keys(if is_encrypted { &[1] } else { &[] });
        let mut run = Run::new();
        for action in actions {
            run.act(action);
        }
        run.model.check_store(&run.tenure.store);
        run.tenure.settle();
        // From now on nothing moves.
        run.tenure.store.shut_down();
        // A reader without a seal of its own sees just what the active has.
        let state = recover(&run.disk.copy()).unwrap();
        run.model.check_state(&state);
        prop_assert_eq!(view(&state.backlogs()), view(&run.tenure.store.backlogs()));
        prop_assert_eq!(places(&state.backlogs()), places(&run.tenure.store.backlogs()));
        follow(&mut run.follower);
        run.model.check_state(run.follower.state());
        prop_assert_eq!(places(&run.follower.state().backlogs()), places(&state.backlogs()));
        prop_assert_eq!(run.tenure.failure(), None);
    }
}
