//! One line on the terminal that says how far a long command is.
//!
//! It stands on standard error, and only where that is a terminal that can take a line back: a log or a pipe gets none of it.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// A line is left standing so long before the next one.
const SHOWN: Duration = Duration::from_millis(200);

/// The line.
#[derive(Debug)]
pub struct Progress {
    out: Option<Stderr>,
    shown: Option<Instant>,
}

impl Progress {
    /// A line on standard error.
    #[must_use]
    pub fn new() -> Progress {
        let out = std::io::stderr();
        let takes_back = std::env::var_os("TERM").is_none_or(|kind| kind != "dumb");
        Progress { out: (takes_back && out.is_terminal()).then_some(out), shown: None }
    }

    /// Shows what `line` says, unless the last line was shown only just now.
    #[expect(clippy::disallowed_methods, reason = "how long a line has stood on a terminal is no part of any result")]
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let Some(out) = &mut self.out else { return };
        if self.shown.is_none_or(|shown| shown.elapsed() >= SHOWN) {
            // To the line's start, and its rest erased. Nobody is to fail because nobody looks.
            write!(out, "\r\x1b[K{}", line()).and_then(|()| out.flush()).ok();
            self.shown = Some(Instant::now());
        }
    }

    /// Makes room for what is printed.
    pub fn clear(&mut self) {
        if let (Some(out), Some(_)) = (&mut self.out, self.shown.take()) {
            write!(out, "\r\x1b[K").and_then(|()| out.flush()).ok();
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
