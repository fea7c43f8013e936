//! Lines on standard error, as the place they go to wants them.

use std::io::{IsTerminal, Write};
use std::panic;
use std::process;

use log::{Level, LevelFilter, Log, Metadata, Record};

use apt_p2p::daemon::today;
use apt_p2p::troubles::{self, TROUBLE};

/// The log itself, and the list of what went wrong, whatever the log's filter.
struct Lines(env_logger::Logger);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_trouble(metadata) || self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_trouble(record.metadata()) {
            troubles::note(&record.args().to_string(), today());
        }
        if record.target() != TROUBLE {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn is_trouble(metadata: &Metadata<'_>) -> bool {
    metadata.level() <= Level::Warn || metadata.target() == TROUBLE
}

/// Logs what `filter` lets pass (the environment's RUST_LOG wins), and ends the process when a thread panics.
pub(crate) fn start(filter: &str) {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    // journald and syslog add the time by themselves, and understand a level in front.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let is_terminal = std::io::stderr().is_terminal();
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&filter);
    builder.format(move |out, record| {
        let message = record.args().to_string();
        let message = troubles::without_passwords(&message);
        match (to_journal, record.level()) {
            (true, level) => writeln!(out, "<{}>{message}", priority(level)),
            (false, Level::Info) if is_terminal => writeln!(out, "{message}"),
            (false, level) => writeln!(out, "{}: {message}", word(level)),
        }
    });
    let lines = Lines(builder.build());
    log::set_max_level(lines.0.filter().max(LevelFilter::Info));
    // A second start would change nothing; there is none.
    log::set_boxed_logger(Box::new(lines)).ok();
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
