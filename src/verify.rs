//! The verify command: every stored file hashed again, and what is wrong dropped; for people and for programs.

use std::io::{self, Write};

use crate::config::Config;
use crate::json::object;
use crate::progress::Progress;
use crate::report::{counted, size};
use crate::store::{Options, Store, StoreError, Verdict, Verified};
use crate::time::Stamp;

/// What was found, by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    files: u64,
    bytes: u64,
    wrong: u64,
    unreadable: u64,
    lost: u64,
}

impl Tally {
    fn add(&mut self, file: Verified) {
        self.files += 1;
        self.bytes += file.len;
        match file.verdict {
            Verdict::Right => {}
            Verdict::Wrong => self.wrong += 1,
            Verdict::Unreadable => self.unreadable += 1,
            Verdict::Lost => self.lost += 1,
        }
    }

    fn dropped(&self) -> u64 {
        self.wrong + self.unreadable + self.lost
    }
}

/// Verifies the configured cache and writes the report; whether everything was right.
///
/// # Errors
/// Those of the store; a report that nobody reads is no error.
pub fn run(config: &Config, json: bool, now: Stamp, out: &mut impl Write) -> Result<bool, StoreError> {
    let store = Store::open_existing(&Options { dir: config.cache.clone() })?;
    // Finished downloads of a proxy that was killed are files like the others.
    store.commit(now)?;
    let all = store.usage()?;
    let (mut tally, mut progress) = (Tally::default(), Progress::new());
    store.verify_all(now, &mut |file| {
        tally.add(file);
        if file.verdict != Verdict::Right {
            progress.clear();
            write_dropped(file, json, out).ok();
        }
        progress.show(|| {
            let percent = (tally.bytes * 100).checked_div(all.bytes).unwrap_or(100).min(100);
            format!("{percent}%  {} of {} files, {} dropped", tally.files, all.files, tally.dropped())
        });
    })?;
    progress.clear();
    // The work is done whether or not somebody listens.
    write_tally(&tally, json, out).ok();
    Ok(tally.dropped() == 0)
}

fn why(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Right => "right",
        Verdict::Wrong => "wrong",
        Verdict::Unreadable => "unreadable",
        Verdict::Lost => "lost",
    }
}

fn write_dropped(file: Verified, json: bool, out: &mut impl Write) -> io::Result<()> {
    let Verified { digest, len, verdict } = file;
    if json {
        let line = object(|json| {
            json.text("dropped", digest);
            json.plain("bytes", len);
            json.text("why", why(verdict));
        });
        return writeln!(out, "{line}");
    }
    let what = match verdict {
        Verdict::Right | Verdict::Wrong => "is not what its digest says",
        Verdict::Unreadable => "cannot be read",
        Verdict::Lost => "is recorded, but gone from the disk",
    };
    writeln!(out, "dropped {digest}, {}: it {what}", size(len))
}

fn write_tally(tally: &Tally, json: bool, out: &mut impl Write) -> io::Result<()> {
    let Tally { files, bytes, wrong, unreadable, lost } = *tally;
    if json {
        let line = object(|json| {
            for (name, count) in
                [("files", files), ("bytes", bytes), ("wrong", wrong), ("unreadable", unreadable), ("lost", lost)]
            {
                json.plain(name, count);
            }
        });
        return writeln!(out, "{line}");
    }
    let files = counted(usize::try_from(files).unwrap_or(usize::MAX), "file", "files");
    match tally.dropped() {
        0 => writeln!(out, "{files}, {}: all are right", size(bytes)),
        dropped => writeln!(
            out,
            "{files}, {}: dropped {dropped} of them ({wrong} wrong, {unreadable} unreadable, {lost} lost), which are \
             fetched again when they are asked for",
            size(bytes)
        ),
    }
}
