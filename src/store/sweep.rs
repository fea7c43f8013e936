//! What may go, and letting it go: for cron, beside the running daemon or without it.
//!
//! In this order: records without files, files that no index has named for a grace time, forgotten drafts, the least recently
//! used beyond the size, files without records (`leftovers`), archives that nobody uses (`unused`), old snapshots and notes.
//! Each step works in short transactions, so that downloads never wait long; a client that reads a file keeps it till its end.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::files::stamp;
use super::index::Write;
use super::record::{Entry, FileRecord, NameRecord, Record, Suite, key};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::limits::{IN_USE_TIME_S, SWEEP_BATCH, USED_TIME_S, WANTED_TIME_S};
use crate::time::Stamp;

/// What a sweep is to do.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// The most bytes of files that may stay.
    pub max_bytes: Option<u64>,
    /// How long a file stays that no index names any more.
    pub grace: Duration,
    /// The calendar's time.
    pub now: Stamp,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Files that went for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Dropped {
    pub(super) fn add(&mut self, len: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
    }
}

/// What a sweep did. `before` less `unreferenced`, `least_used` and `lost`, plus `arrived`, is `after`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Files recorded at its start.
    pub before: Dropped,
    /// Dropped: named by no index for the grace time.
    pub unreferenced: Dropped,
    /// Dropped: beyond the size.
    pub least_used: Dropped,
    /// Dropped records whose file was gone.
    pub lost: Dropped,
    /// Files recorded by others meanwhile, less those dropped by others.
    pub arrived: i64,
    /// The same in bytes.
    pub arrived_bytes: i64,
    /// Files recorded at its end.
    pub after: Dropped,
    /// Files that no index names since now, which go after the grace time.
    pub newly_unreferenced: Dropped,
    /// Deleted files that had no record.
    pub orphans: Dropped,
    /// Deleted drafts that nobody went on with.
    pub drafts: Dropped,
    /// Deleted notes: old snapshots, names, retired entries; suites that nobody uses, and their indexes.
    pub records: u64,
    /// Nothing was done.
    pub dry_run: bool,
}

impl SweepReport {
    /// What there is at the end if nobody else does anything.
    fn expected(&self) -> Dropped {
        let gone = [self.unreferenced, self.least_used, self.lost];
        Dropped {
            files: self.before.files.saturating_sub(gone.iter().map(|gone| gone.files).sum()),
            bytes: self.before.bytes.saturating_sub(gone.iter().map(|gone| gone.bytes).sum()),
        }
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.unreferenced.files + self.least_used.files;
        let bytes = self.unreferenced.bytes + self.least_used.bytes;
        write!(
            f,
            "dropped {files} files of {bytes} bytes; {} files of {} bytes stay",
            self.after.files, self.after.bytes
        )
    }
}

/// A stored file, as far as a sweep needs to know it.
pub(super) struct Known {
    pub(super) digest: Digest,
    len: u64,
    pub(super) stored: Stamp,
    pub(super) unreferenced: Stamp,
    referenced: bool,
}

impl Store {
    /// Lets go what may go.
    ///
    /// # Errors
    /// [`StoreError::ClockBehind`] when nothing but the size, which needs no clock, could be seen to; those of the disk and
    /// the index after what was done by then.
    pub fn sweep(&self, options: &SweepOptions) -> Result<SweepReport, StoreError> {
        let mut report = SweepReport { dry_run: options.dry_run, ..SweepReport::default() };
        let mut known = self.known_files()?;
        let newest = known.iter().map(|file| file.stored).max().unwrap_or_default();
        let is_behind = self.is_behind(options.now, newest)?;
        report.before = total(&known);
        self.mark_referenced(&mut known)?;
        known = self.drop_lost(known, options, &mut report)?;
        if !is_behind {
            known = self.drop_unreferenced(known, options, &mut report)?;
        }
        let drafts = self.drop_drafts(options, total(&known).bytes, &mut report)?;
        if let Some(max_bytes) = options.max_bytes {
            known = self.drop_least_used(known, max_bytes.saturating_sub(drafts), options, &mut report)?;
        }
        if is_behind {
            return Err(StoreError::ClockBehind { now: options.now, newest });
        }
        if !options.dry_run {
            self.date_back(&known, options.now)?;
        }
        self.drop_orphans(options, &mut report)?;
        self.drop_unusable(options);
        self.drop_unused(options, &mut report)?;
        self.drop_notes(options, &mut report)?;
        let expected = report.expected();
        let usage = self.usage()?;
        report.after = match options.dry_run {
            true => expected,
            false => Dropped { files: usage.files, bytes: usage.bytes },
        };
        report.arrived = signed(report.after.files) - signed(expected.files);
        report.arrived_bytes = signed(report.after.bytes) - signed(expected.bytes);
        Ok(report)
    }

    pub(super) fn known_files(&self) -> Result<Vec<Known>, StoreError> {
        let mut known = Vec::new();
        self.0.index.read()?.each(b"F", |file_key, bytes| {
            let record = FileRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            let digest = Digest(file_key[1..].try_into().map_err(|_| StoreError::Malformed)?);
            let FileRecord { len, stored, unreferenced, .. } = record;
            known.push(Known { digest, len, stored, unreferenced, referenced: false });
            Ok(true)
        })?;
        Ok(known)
    }

    /// Marks what an entry, a snapshot or a name refers to. `known` is in the order of digests, as keys are.
    fn mark_referenced(&self, known: &mut [Known]) -> Result<(), StoreError> {
        let read = self.0.index.read()?;
        let mut mark = |digest: &Digest| {
            if let Ok(at) = known.binary_search_by(|file| file.digest.cmp(digest)) {
                known[at].referenced = true;
            }
        };
        read.each(b"E", |_, bytes| {
            let entry = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if !entry.retired {
                mark(&entry.promise.digest);
            }
            Ok(true)
        })?;
        read.each(b"S", |_, bytes| {
            let suite = Suite::decode(bytes).map_err(|_| StoreError::Malformed)?;
            suite.snapshots.iter().for_each(|snapshot| mark(&snapshot.digest));
            Ok(true)
        })?;
        read.each(b"N", |_, bytes| {
            mark(&NameRecord::decode(bytes).map_err(|_| StoreError::Malformed)?.digest);
            Ok(true)
        })
    }

    fn drop_lost(
        &self,
        known: Vec<Known>,
        options: &SweepOptions,
        report: &mut SweepReport,
    ) -> Result<Vec<Known>, StoreError> {
        let (kept, lost): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|file| self.0.file_path(&file.digest).exists());
        // The daemon may have fetched one again since.
        self.drop_all(&lost, options, &mut report.lost, |path| !path.exists())?;
        Ok(kept)
    }

    fn drop_unreferenced(
        &self,
        known: Vec<Known>,
        options: &SweepOptions,
        report: &mut SweepReport,
    ) -> Result<Vec<Known>, StoreError> {
        let grace_s = options.grace.as_secs();
        let is_over = |file: &Known| {
            let waited = file.unreferenced != Stamp(0) && options.now.secs_since(file.unreferenced) >= grace_s;
            !file.referenced && (waited || grace_s == 0)
        };
        let (gone, kept): (Vec<_>, Vec<_>) = known.into_iter().partition(is_over);
        self.drop_all(&gone, options, &mut report.unreferenced, |_| true)?;
        let remarked: Vec<_> =
            kept.iter().filter(|file| (file.unreferenced == Stamp(0)) != file.referenced).collect();
        for file in remarked.iter().filter(|file| !file.referenced) {
            report.newly_unreferenced.add(file.len);
        }
        if !options.dry_run {
            for batch in remarked.chunks(SWEEP_BATCH) {
                self.remark(batch, options.now)?;
            }
        }
        Ok(kept)
    }

    fn remark(&self, batch: &[&Known], now: Stamp) -> Result<(), StoreError> {
        let mut write = self.0.index.write()?;
        for file in batch {
            let file_key = key::of_digest(b'F', &file.digest);
            if let Some(mut record) = write.get::<FileRecord>(&file_key)? {
                record.unreferenced = if file.referenced { Stamp(0) } else { now };
                write.put(&file_key, &record)?;
            }
        }
        write.commit()
    }

    fn drop_least_used(
        &self,
        known: Vec<Known>,
        max_bytes: u64,
        options: &SweepOptions,
        report: &mut SweepReport,
    ) -> Result<Vec<Known>, StoreError> {
        let mut left = total(&known).bytes;
        if left <= max_bytes {
            return Ok(known);
        }
        let mut by_use: Vec<(Stamp, Known)> = known.into_iter().map(|file| (self.used_at(&file), file)).collect();
        by_use.sort_unstable_by_key(|(used, file)| (*used, file.digest));
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for (used, file) in by_use {
            // What was just fetched is being used; the next sweep sees it. What is of the future is not, but goes last.
            let in_use = options.now.0.abs_diff(used.0) < IN_USE_TIME_S;
            if left > max_bytes && !in_use {
                left -= file.len;
                gone.push(file);
            } else {
                kept.push(file);
            }
        }
        self.drop_all(&gone, options, &mut report.least_used, |_| true)?;
        Ok(kept)
    }

    /// When a file was last used.
    pub(super) fn used_at(&self, file: &Known) -> Stamp {
        let modified = fs::metadata(self.0.file_path(&file.digest)).and_then(|metadata| metadata.modified());
        modified.map_or(Stamp(0), stamp)
    }

    /// Drops files, of which `is_so` says inside the transaction whether they are still to go.
    pub(super) fn drop_all(
        &self,
        files: &[Known],
        options: &SweepOptions,
        dropped: &mut Dropped,
        is_so: fn(&Path) -> bool,
    ) -> Result<(), StoreError> {
        if options.dry_run {
            files.iter().for_each(|file| dropped.add(file.len));
            return Ok(());
        }
        for batch in files.chunks(SWEEP_BATCH) {
            let mut write = self.0.index.write()?;
            for file in batch {
                if is_so(&self.0.file_path(&file.digest))
                    && let Some(len) = self.0.drop_record(&mut write, &file.digest)?
                {
                    dropped.add(len);
                }
            }
            write.commit()?;
        }
        Ok(())
    }

    /// Snapshots behind the newest complete one, names and retired entries whose file is gone, what no client has
    /// asked for in long.
    fn drop_notes(&self, options: &SweepOptions, report: &mut SweepReport) -> Result<(), StoreError> {
        self.drop_old_snapshots(options, report)?;
        let keys = self.useless_notes(options)?;
        report.records += keys.len() as u64;
        if !options.dry_run {
            for batch in keys.chunks(SWEEP_BATCH) {
                let mut write = self.0.index.write()?;
                for note_key in batch {
                    // The learner may have made it current again since.
                    if self.is_useless_still(&write, note_key)? {
                        write.delete(note_key)?;
                    }
                }
                write.commit()?;
            }
        }
        Ok(())
    }

    fn useless_notes(&self, options: &SweepOptions) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        let read = self.0.index.read()?;
        read.each(b"E", |entry_key, bytes| {
            let entry = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if entry.retired && !self.has_file(&entry.promise.digest)? {
                keys.push(entry_key.to_vec());
            }
            Ok(true)
        })?;
        read.each(b"N", |name_key, bytes| {
            let record = NameRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            let old = options.now.secs_since(record.checked) >= options.grace.as_secs();
            if old && !self.has_file(&record.digest)? {
                keys.push(name_key.to_vec());
            }
            Ok(true)
        })?;
        for (kind, time_s) in [(b"W", WANTED_TIME_S), (b"U", USED_TIME_S)] {
            read.each(kind, |note_key, bytes| {
                let last = Stamp::decode(bytes).map_err(|_| StoreError::Malformed)?;
                if options.now.secs_since(last) >= 2 * time_s {
                    keys.push(note_key.to_vec());
                }
                Ok(true)
            })?;
        }
        Ok(keys)
    }

    /// Whether what a note names is still gone; what only time makes useless stays so, for whoever renews it puts it anew.
    fn is_useless_still(&self, write: &Write<'_>, note_key: &[u8]) -> Result<bool, StoreError> {
        let named = match note_key.first() {
            Some(b'E') => match write.get::<Entry>(note_key)? {
                Some(entry) if entry.retired => entry.promise.digest,
                _ => return Ok(false),
            },
            Some(b'N') => match write.get::<NameRecord>(note_key)? {
                Some(record) => record.digest,
                None => return Ok(false),
            },
            _ => return Ok(true),
        };
        let is_recorded = write.get::<FileRecord>(&key::of_digest(b'F', &named))?.is_some();
        Ok(!is_recorded && !self.0.waiting().contains_key(&named))
    }

    fn drop_old_snapshots(&self, options: &SweepOptions, report: &mut SweepReport) -> Result<(), StoreError> {
        let mut suites = Vec::new();
        self.0.index.read()?.each(b"S", |suite_key, bytes| {
            suites.push((suite_key.to_vec(), Suite::decode(bytes).map_err(|_| StoreError::Malformed)?));
            Ok(true)
        })?;
        for (suite_key, Suite { host, dir, snapshots }) in suites {
            let mut newest_complete = None;
            for (at, snapshot) in snapshots.iter().enumerate() {
                if self.is_complete(&host, &dir, snapshot, options.now)? {
                    newest_complete = Some(at);
                    break;
                }
            }
            let Some(keep) = newest_complete.map(|at| at + 1).filter(|keep| *keep < snapshots.len()) else {
                continue;
            };
            report.records += (snapshots.len() - keep) as u64;
            if options.dry_run {
                continue;
            }
            let mut write = self.0.index.write()?;
            // The daemon may have added one since: only those seen here go.
            let Some(mut suite) = write.get::<Suite>(&suite_key)? else { continue };
            for old in &snapshots[keep..] {
                suite.snapshots.retain(|snapshot| snapshot.id != old.id);
                write.delete_prefix(&key::entries(old.id))?;
            }
            write.put(&suite_key, &suite)?;
            write.commit()?;
        }
        Ok(())
    }
}

fn total(known: &[Known]) -> Dropped {
    let mut total = Dropped::default();
    known.iter().for_each(|file| total.add(file.len));
    total
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
