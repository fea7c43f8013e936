//! Promises: merged from an index's new version into what the old one promised, and looked up by path.
//!
//! Entries come in the index's own order. They are sorted in runs that fit a small buffer, the runs go to a file, and
//! all runs are merged against the old entries in one pass in key order: only what differs is written, and memory grows
//! with nothing. An index that was half merged when the process ended is merged again; both its versions are true.

use std::fmt;
use std::ops::ControlFlow;

use super::index::{Read, Write};
use super::record::{Entry, FileRecord, IndexRecord, Record, key};
use super::sort::{Item, Sorted, Sorter, Unsorted};
use super::{IndexId, Store, StoreError};
use crate::catalog::Promise;
use crate::digest::{Digest, NameHash};
use crate::limits::{INDEX_ENTRY_LEN, MERGE_CHANGES};
use crate::time::Stamp;

/// Takes one entry; `Break` means that no more can be taken.
pub type Put<'a> = dyn FnMut(NameHash, Promise) -> ControlFlow<()> + 'a;

/// Puts all entries of an index, in any order.
pub type Feed<'a, E> = dyn FnMut(&mut Put<'_>) -> Result<(), E> + 'a;

/// Why an index was not learnt.
#[derive(Debug)]
pub enum LearnError<E> {
    /// The store failed.
    Store(StoreError),
    /// The entries could not be read.
    Feed(E),
    /// There are more entries than any archive has.
    TooMany,
}

impl<E> From<StoreError> for LearnError<E> {
    fn from(error: StoreError) -> Self {
        LearnError::Store(error)
    }
}

/// What learning changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnReport {
    /// Entries of the index.
    pub entries: u64,
    /// Paths that are new.
    pub added: u64,
    /// Paths that promise something else than before.
    pub changed: u64,
    /// Paths that are gone.
    pub removed: u64,
    /// Entries that contradict another one for the same path; the first in order of digests is kept.
    pub contradictory: u64,
    /// Bytes of the records written and deleted.
    pub bytes_changed: u64,
}

impl fmt::Display for LearnReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LearnReport { entries, added, changed, removed, contradictory, bytes_changed } = self;
        write!(
            f,
            "{entries} files: {added} new, {changed} changed, {removed} gone; {bytes_changed} bytes of records written"
        )?;
        if *contradictory > 0 { write!(f, "; {contradictory} contradict others") } else { Ok(()) }
    }
}

/// A change to be written.
enum Change {
    /// The last word on this file: no longer under this name. Till a sweep finds another one, others do not get it.
    Unnamed(Digest),
    Put(NameHash, Entry),
    Delete(NameHash),
}

impl Store {
    /// The digest of what was last learnt completely for an index.
    ///
    /// # Errors
    /// Those of the index.
    pub fn learnt(&self, host: &str, index_path: &str) -> Result<Option<Digest>, StoreError> {
        let index_key = key::of_name(b'I', NameHash::of(host, index_path));
        Ok(self.0.index.read()?.get::<IndexRecord>(&index_key)?.and_then(|record| record.learnt))
    }

    /// Learns an index: `feed` puts its entries. `base` is the folder below which its files lie, `source` identifies
    /// the version, `now` is noted of files that it no longer names.
    ///
    /// # Errors
    /// [`LearnError`]; what was learnt before stays until the merge begins. [`StoreError::IndexFull`] before anything is
    /// changed, or when a known index has grown beyond what there is room for.
    pub fn learn<E>(
        &self,
        host: &str,
        base: &str,
        index_path: &str,
        source: Digest,
        now: Stamp,
        feed: &mut Feed<'_, E>,
    ) -> Result<LearnReport, LearnError<E>> {
        let mut sorter = Sorter::new(self.0.draft_path(&format!("run-{}", std::process::id()), "part"));
        let mut failed = None;
        let fed = feed(&mut |name, promise| match sorter.put((name, promise.digest, promise.len)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(match error {
                Unsorted::Store(error) => LearnError::Store(error),
                Unsorted::TooMany => LearnError::TooMany,
            });
        }
        fed.map_err(LearnError::Feed)?;
        let mut record = self.begin_learning(host, base, index_path, sorter.total)?;
        let report = self.merge(record.id, sorter, now)?;
        record.learnt = Some(source);
        let mut write = self.0.index.write()?;
        write.put(&key::of_name(b'I', NameHash::of(host, index_path)), &record)?;
        write.commit()?;
        Ok(report)
    }

    /// Notes that the index is neither its old nor its new version for now. One that was never learnt must have room.
    fn begin_learning(
        &self,
        host: &str,
        base: &str,
        index_path: &str,
        entries: usize,
    ) -> Result<IndexRecord, StoreError> {
        let has_room = self.0.index.has_room(entries * INDEX_ENTRY_LEN)?;
        let index_key = key::of_name(b'I', NameHash::of(host, index_path));
        let mut write = self.0.index.write()?;
        let record = match write.get::<IndexRecord>(&index_key)? {
            Some(record) => IndexRecord { learnt: None, ..record },
            None if !has_room => return Err(StoreError::IndexFull),
            None => {
                let (host, base, path) = (host.to_owned(), base.to_owned(), index_path.to_owned());
                IndexRecord { id: write.next_id()?, learnt: None, host, base, path }
            }
        };
        write.put(&index_key, &record)?;
        write.put_bytes(&key::base(host, base, record.id), &[])?;
        write.commit()?;
        Ok(record)
    }

    fn merge(&self, id: IndexId, sorter: Sorter, now: Stamp) -> Result<LearnReport, StoreError> {
        let mut new = sorter.sorted()?;
        let mut report = LearnReport::default();
        let mut next = new.next(&mut report)?;
        let mut after: Option<[u8; 21]> = None;
        loop {
            let (mut changes, added) = (Vec::with_capacity(64), report.added);
            let whole = {
                let read = self.0.index.read()?;
                let (new, next, report) = (&mut new, &mut next, &mut report);
                let mut merge = Merge { id, new, next, report, changes: &mut changes, after: &mut after };
                merge.old_entries(self, &read)?
            };
            if report.added > added && !self.0.index.has_room(0)? {
                return Err(StoreError::IndexFull);
            }
            self.apply(id, &changes, now, &mut report)?;
            if whole {
                return Ok(report);
            }
        }
    }

    fn apply(&self, id: IndexId, changes: &[Change], now: Stamp, report: &mut LearnReport) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut write: Write<'_> = self.0.index.write()?;
        for change in changes {
            let entry_key = match change {
                Change::Unnamed(digest) => {
                    mark_unreferenced(&mut write, digest, now)?;
                    continue;
                }
                Change::Put(name, entry) => {
                    let entry_key = key::entry(id, *name);
                    write.put(&entry_key, entry)?;
                    report.bytes_changed += entry.encode().len() as u64;
                    entry_key
                }
                Change::Delete(name) => {
                    let entry_key = key::entry(id, *name);
                    write.delete(&entry_key)?;
                    entry_key
                }
            };
            report.bytes_changed += entry_key.len() as u64;
        }
        write.commit()
    }

    /// What the learnt indexes promise at `host/path`. A path that no current index names any more is still served while
    /// its file is here. Nothing where indexes contradict each other: one of them is out of date, since its clients ask no
    /// more for it, and only the mirror can say which.
    ///
    /// # Errors
    /// Those of the index.
    pub fn promise(&self, host: &str, path: &str) -> Result<Option<Promise>, StoreError> {
        let name = NameHash::of(host, path);
        let read = self.0.index.read()?;
        let (mut current, mut retired) = (None, None);
        for id in index_ids(&read, host, path)? {
            let Some(entry) = read.get::<Entry>(&key::entry(id, name))? else { continue };
            let found = if entry.retired { &mut retired } else { &mut current };
            let former = found.replace(entry.promise);
            if !entry.retired && former.is_some_and(|former| former != entry.promise) {
                return Ok(None);
            }
        }
        Ok(current.or(retired))
    }

    /// Passes all that current indexes and snapshots promise to `visit`, in no order that means anything.
    ///
    /// # Errors
    /// Those of the index.
    pub fn each_promise(&self, visit: &mut dyn FnMut(Promise)) -> Result<(), StoreError> {
        self.0.index.read()?.each(b"E", |_, bytes| {
            let entry = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if !entry.retired {
                visit(entry.promise);
            }
            Ok(true)
        })
    }
}

/// Another index may still name the file; the next sweep sees that.
fn mark_unreferenced(write: &mut Write<'_>, digest: &Digest, now: Stamp) -> Result<(), StoreError> {
    let file_key = key::of_digest(b'F', digest);
    if let Some(mut record) = write.get::<FileRecord>(&file_key)?
        && record.unreferenced == Stamp(0)
    {
        record.unreferenced = now;
        write.put(&file_key, &record)?;
    }
    Ok(())
}

/// The indexes whose files lie below a folder that holds `path`.
fn index_ids(read: &Read<'_>, host: &str, path: &str) -> Result<Vec<IndexId>, StoreError> {
    let mut ids = Vec::new();
    let bases = std::iter::once("").chain(path.match_indices('/').map(|(slash, _)| &path[..slash]));
    for base in bases {
        let prefix = key::of_name(b'B', NameHash::of(host, base));
        read.each(&prefix, |base_key, _| {
            let id = base_key[prefix.len()..].try_into().map_err(|_| StoreError::Malformed)?;
            ids.push(IndexId(u32::from_be_bytes(id)));
            Ok(true)
        })?;
    }
    Ok(ids)
}

/// Walks over old and new entries side by side.
struct Merge<'a> {
    id: IndexId,
    new: &'a mut Sorted,
    next: &'a mut Option<Item>,
    report: &'a mut LearnReport,
    changes: &'a mut Vec<Change>,
    /// The last key that was dealt with: what was written there must not be read again as old.
    after: &'a mut Option<[u8; 21]>,
}

impl Merge<'_> {
    /// Goes on behind the last key, until there are enough changes; whether all is done.
    fn old_entries(&mut self, store: &Store, read: &Read<'_>) -> Result<bool, StoreError> {
        let prefix = key::entries(self.id);
        let start = *self.after;
        let mut stopped = false;
        read.each_after(&prefix, start.as_ref().map(<[u8; 21]>::as_slice), &mut |old_key, bytes| {
            if self.changes.len() >= MERGE_CHANGES {
                stopped = true;
                return Ok(false);
            }
            let name = NameHash(old_key[prefix.len()..].try_into().map_err(|_| StoreError::Malformed)?);
            let old = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?;
            while let Some(item) = self.next.filter(|item| item.0 < name) {
                self.add(item)?;
                if self.changes.len() >= MERGE_CHANGES {
                    stopped = true;
                    return Ok(false);
                }
            }
            match self.next.filter(|item| item.0 == name) {
                Some(item) => self.replace(old, item)?,
                None => self.remove(store, name, old)?,
            }
            *self.after = Some(key::entry(self.id, name));
            Ok(true)
        })?;
        while !stopped && let Some(item) = *self.next {
            self.add(item)?;
            stopped = self.changes.len() >= MERGE_CHANGES;
        }
        Ok(!stopped)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        *self.next = self.new.next(self.report)?;
        Ok(())
    }

    fn add(&mut self, (name, digest, len): Item) -> Result<(), StoreError> {
        let entry = Entry { promise: Promise { digest, len }, retired: false };
        self.changes.push(Change::Put(name, entry));
        self.report.added += 1;
        *self.after = Some(key::entry(self.id, name));
        self.advance()
    }

    fn replace(&mut self, old: Entry, (name, digest, len): Item) -> Result<(), StoreError> {
        let entry = Entry { promise: Promise { digest, len }, retired: false };
        if entry != old {
            self.changes.push(Change::Put(name, entry));
            if entry.promise.digest != old.promise.digest {
                self.changes.push(Change::Unnamed(old.promise.digest));
            }
            self.report.changed += 1;
        }
        self.advance()
    }

    /// A path that is gone is served for as long as its file is here: clients with older lists ask for it.
    fn remove(&mut self, store: &Store, name: NameHash, old: Entry) -> Result<(), StoreError> {
        if old.retired {
            return Ok(());
        }
        self.report.removed += 1;
        if store.has_file(&old.promise.digest)? {
            self.changes.push(Change::Put(name, Entry { retired: true, ..old }));
            self.changes.push(Change::Unnamed(old.promise.digest));
        } else {
            self.changes.push(Change::Delete(name));
        }
        Ok(())
    }
}
