//! The cleanup command: a sweep of the store and its report, for people and for programs.

use std::io::{self, Write};

use crate::config::Config;
use crate::progress::Progress;
use crate::report::size;
use crate::store::{Dropped, Options, Store, StoreError, SweepOptions, SweepReport};
use crate::time::Stamp;

/// How it is to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Only say what would go.
    pub dry_run: bool,
    /// As JSON.
    pub json: bool,
}

/// Sweeps the configured cache and writes the report.
///
/// # Errors
/// Those of the store; a report that nobody reads is no error.
pub fn run(config: &Config, how: Report, now: Stamp, out: &mut impl Write) -> Result<(), StoreError> {
    let store = Store::open_existing(&Options { dir: config.cache.clone() })?;
    // Finished downloads of a proxy that was killed are files like the others.
    store.commit(now)?;
    let max_bytes = match config.max_size {
        Some(max_bytes) => max_bytes,
        None => store.default_max_bytes()?,
    };
    let options = SweepOptions { max_bytes: Some(max_bytes), grace: config.grace, now, dry_run: how.dry_run };
    let mut progress = Progress::new();
    progress.show(|| "looking at all that is stored".to_owned());
    let report = store.sweep(&options)?;
    progress.clear();
    let written = if how.json { write_json(&report, out) } else { write_text(&report, max_bytes, out) };
    // The work is done whether or not somebody listens.
    written.ok();
    Ok(())
}

fn write_text(report: &SweepReport, max_bytes: u64, out: &mut impl Write) -> io::Result<()> {
    let verb = if report.dry_run { "would drop" } else { "dropped" };
    let mut class = |what: Dropped, why: &str| match what.files {
        0 => Ok(()),
        files => writeln!(out, "{verb} {files} files, {}: {why}", size(what.bytes)),
    };
    class(report.unreferenced, "no index has named them for the grace time")?;
    class(report.least_used, "the least recently used beyond the size")?;
    class(report.lost, "recorded, but gone from the disk")?;
    class(report.orphans, "left without a record by a crash")?;
    class(report.drafts, "downloads that nobody went on with")?;
    if report.newly_unreferenced.files > 0 {
        let Dropped { files, bytes } = report.newly_unreferenced;
        writeln!(out, "{files} files, {}, are named by no index any more and go after the grace time", size(bytes))?;
    }
    if report.records > 0 {
        writeln!(out, "{verb} {} old notes of the index", report.records)?;
    }
    let Dropped { files, bytes } = report.after;
    writeln!(out, "{files} files, {} of at most {}, stay", size(bytes), size(max_bytes))
}

fn write_json(report: &SweepReport, out: &mut impl Write) -> io::Result<()> {
    let classes = [
        ("before", report.before),
        ("unreferenced", report.unreferenced),
        ("least_used", report.least_used),
        ("lost", report.lost),
        ("after", report.after),
        ("newly_unreferenced", report.newly_unreferenced),
        ("orphans", report.orphans),
        ("drafts", report.drafts),
    ];
    write!(out, "{{\"dry_run\":{}", report.dry_run)?;
    for (name, Dropped { files, bytes }) in classes {
        write!(out, ",\"{name}\":{{\"files\":{files},\"bytes\":{bytes}}}")?;
    }
    write!(out, ",\"arrived\":{{\"files\":{},\"bytes\":{}}}", report.arrived, report.arrived_bytes)?;
    writeln!(out, ",\"records\":{}}}", report.records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_only_what_happened() {
        let report = SweepReport {
            least_used: Dropped { files: 2, bytes: 3 << 20 },
            after: Dropped { files: 5, bytes: 50 << 20 },
            ..SweepReport::default()
        };
        let mut text = Vec::new();
        write_text(&report, 60 << 20, &mut text).expect("memory takes all");
        assert_eq!(
            String::from_utf8(text).expect("text"),
            "dropped 2 files, 3072 KB: the least recently used beyond the size\n5 files, 50 MB of at most 60 MB, stay\n"
        );
    }

    #[test]
    fn json_has_every_class() {
        let mut text = Vec::new();
        write_json(&SweepReport::default(), &mut text).expect("memory takes all");
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("{\"dry_run\":false,\"before\":{\"files\":0,\"bytes\":0},"), "{text}");
        assert!(text.ends_with(",\"arrived\":{\"files\":0,\"bytes\":0},\"records\":0}\n"), "{text}");
    }
}
