//! What a drill says while it runs: a bar on a terminal, plain lines elsewhere. Always on
//! standard error: standard output is the report's.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Says what goes on.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
}

impl Progress {
    /// For standard error as it is.
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One line that stays.
    #[allow(
        clippy::unused_self,
        reason = "bars and notes are both the progress's to print"
    )]
    pub(super) fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// A bar for `len` things to do.
    pub(super) fn bar(&self, what: &'static str, len: u64) -> Bar {
        if !self.is_terminal {
            return Bar {
                what,
                len,
                bar: None,
                printed: Instant::now(),
            };
        }
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos}/{human_len}  {per_sec}  {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(len).with_style(style).with_message(what);
        Bar {
            what,
            len,
            bar: Some(bar),
            printed: Instant::now(),
        }
    }
}

/// How far something is.
#[derive(Debug)]
pub(super) struct Bar {
    what: &'static str,
    len: u64,
    bar: Option<ProgressBar>,
    printed: Instant,
}

impl Bar {
    /// So many are done.
    pub(super) fn at(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.printed.elapsed() >= LINE_INTERVAL => {
                self.printed = Instant::now();
                eprintln!("{}: {done} of {}", self.what, self.len);
            }
            None => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
