//! How many messages a consumer may have outstanding, and its pulls.

/// A request for one message by a consumer without prefetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    /// Which of the consumer's pulls it is.
    pub(super) number: u64,
    /// Answer at once when there is nothing.
    pub(super) is_immediate: bool,
}

/// How many messages a consumer may have outstanding.
#[derive(Debug)]
pub(super) struct Window {
    prefetch: usize,
    /// Room beyond the prefetch, for messages that the application has in hand.
    extension: usize,
    /// Whether what the application has in hand makes room.
    may_extend: bool,
    in_flight: usize,
    /// Of those in flight: held by a transaction.
    held: usize,
    pull: Option<Pull>,
    pulls: u64,
}

impl Window {
    pub(super) fn new(prefetch: usize, may_extend: bool) -> Self {
        Window {
            prefetch,
            extension: 0,
            may_extend,
            in_flight: 0,
            held: 0,
            pull: None,
            pulls: 0,
        }
    }

    /// Whether another message may be dispatched.
    pub(super) fn has_credit(&self) -> bool {
        if self.prefetch == 0 {
            return self.pull.is_some();
        }
        if !self.may_extend {
            return self.in_flight < self.prefetch;
        }
        self.in_flight - self.held < self.prefetch + self.extension
    }

    pub(super) fn set_prefetch(&mut self, prefetch: usize) {
        self.prefetch = prefetch;
    }

    pub(super) fn dispatched(&mut self) {
        self.pull = None;
        self.in_flight += 1;
    }

    /// Messages are no longer outstanding, none of which a transaction held.
    pub(super) fn consumed(&mut self, count: usize) {
        self.in_flight -= count;
        self.shrink(count);
    }

    /// A transaction holds messages from now on.
    pub(super) fn hold(&mut self, count: usize) {
        self.held += count;
        self.shrink(count);
    }

    /// A transaction was rolled back: the client delivers them again.
    pub(super) fn let_go(&mut self, count: usize) {
        self.held -= count;
    }

    /// A transaction was committed.
    pub(super) fn committed(&mut self, count: usize) {
        self.held -= count;
        self.in_flight -= count;
    }

    /// The application has more messages in hand.
    pub(super) fn extend(&mut self, count: usize) {
        // More than is in flight cannot be in hand.
        self.extension = (self.extension + count).min(self.in_flight);
    }

    fn shrink(&mut self, count: usize) {
        self.extension = self.extension.saturating_sub(count);
    }

    /// Asks for one message.
    pub(super) fn pull(&mut self, is_immediate: bool) -> Pull {
        self.pulls += 1;
        let pull = Pull {
            number: self.pulls,
            is_immediate,
        };
        self.pull = Some(pull);
        pull
    }

    /// Whether it waits for the answer to a pull that is given at once.
    pub(super) fn has_immediate_pull(&self) -> bool {
        self.pull.is_some_and(|pull| pull.is_immediate)
    }

    /// Gives up the pull with this number, or with None one that is answered at once. False: there
    /// is none.
    pub(super) fn give_up_pull(&mut self, number: Option<u64>) -> bool {
        let is_over = self.pull.is_some_and(|pull| match number {
            Some(number) => pull.number == number,
            None => pull.is_immediate,
        });
        if is_over {
            self.pull = None;
        }
        is_over
    }
}
