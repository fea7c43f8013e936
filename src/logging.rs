//! Lines on standard error, as the place they go to wants them.

use std::io::{IsTerminal, Write};
use std::panic;
use std::process;

use log::Level;

/// Logs what `filter` lets pass (the environment's RUST_LOG wins), and ends the process when a thread panics.
pub(crate) fn start(filter: &str) {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    // journald and syslog add the time by themselves, and understand a level in front.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let is_terminal = std::io::stderr().is_terminal();
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&filter);
    builder.format(move |out, record| {
        let message = record.args();
        match (to_journal, record.level()) {
            (true, level) => writeln!(out, "<{}>{message}", priority(level)),
            (false, Level::Info) if is_terminal => writeln!(out, "{message}"),
            (false, level) => writeln!(out, "{}: {message}", word(level)),
        }
    });
    // A second start would change nothing; there is none.
    builder.try_init().ok();
    end_on_panic();
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}

/// syslog's numbers (RFC 5424, §6.2.1), which journald reads between angle brackets.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A dead thread must not leave a daemon that is silent: it ends, and is started again.
fn end_on_panic() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        default(info);
        process::abort();
    }));
}
