//! Tells a panic in a thread of the storage from every other panic.
//!
//! Tokio contains a panic in a connection's task. A thread of the journal or of the tenure that
//! panics leaves the store without its writer: the node must leave the role and the process. The
//! membership reports both a panic and an unusable directory as a failure; which of them it was
//! decides the exit code.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the runtime's threads: a panic there is contained.
pub const RUNTIME_THREAD: &str = "baton-runtime";

static STORAGE_PANICKED: AtomicBool = AtomicBool::new(false);

/// Looks at every panic from now on; the default message is still printed.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("unnamed");
            if !is_contained(name) {
                STORAGE_PANICKED.store(true, Ordering::Release);
            }
            tracing::error!(thread = name, %panic, "A thread panicked.");
            previous(panic);
        }));
    });
}

/// True once a thread outside of the runtime has panicked.
pub(super) fn has_storage_panicked() -> bool {
    STORAGE_PANICKED.load(Ordering::Acquire)
}

fn is_contained(thread: &str) -> bool {
    thread == RUNTIME_THREAD || thread == "tokio-rt-worker" || thread == "main"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_panics_outside_of_the_runtime_are_the_storages() {
        assert!(is_contained(RUNTIME_THREAD));
        assert!(is_contained("main"));
        assert!(!is_contained("journal"));
        assert!(!is_contained("unnamed"));
    }
}
