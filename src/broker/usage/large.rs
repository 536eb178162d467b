//! Large frames that are arriving: together they may take so much memory and no more.
//!
//! A frame is in memory several times while it is taken in. Small ones come and go; of large ones only as
//! many are let in at a time as fit, the others wait in their senders' sockets. One is always let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What large frames take while they arrive.
#[derive(Debug, Default)]
pub(crate) struct LargeFrames {
    used: AtomicUsize,
}

impl LargeFrames {
    /// Lets a frame of so many bytes in, if all together then take no more than `limit`, or if it is
    /// the only one.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize, limit: usize) -> Option<LargePass> {
        let entered = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let all = used.saturating_add(bytes);
                (used == 0 || all <= limit).then_some(all)
            });
        entered.is_ok().then(|| LargePass {
            frames: Arc::clone(self),
            bytes,
        })
    }
}

/// A large frame that is let in, until this is dropped.
#[derive(Debug)]
pub(crate) struct LargePass {
    frames: Arc<LargeFrames>,
    bytes: usize,
}

impl Drop for LargePass {
    fn drop(&mut self) {
        self.frames.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_frames_come_in_as_they_fit_and_one_always() {
        let frames = Arc::<LargeFrames>::default();
        let huge = frames.enter(1000, 100).expect("the only one");
        assert!(frames.enter(1, 100).is_none());
        drop(huge);
        let first = frames.enter(60, 100).expect("room");
        assert!(frames.enter(60, 100).is_none());
        let _second = frames.enter(40, 100).expect("room");
        drop(first);
        assert!(frames.enter(60, 100).is_some());
    }
}
