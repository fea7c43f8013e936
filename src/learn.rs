//! An index that was stored becomes promises.
//!
//! Owns the decision what is learnt and when: an index file that clients use, or that must name a package they got, of the
//! newest Release that names it, in one compression. Runs on one thread with bounded memory; nobody waits for it. Refuses
//! to fetch by itself: where an index cannot be read in the compression that clients use, or clients only ever ask for
//! patches of it (`late`), or for nothing of it (`presumed`), it starts a flight, and learns when that has landed.

mod late;
mod presumed;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use self::late::Late;
use crate::catalog::{
    self, CatalogError, Compression, Index, IndexKind, Promise, Release, ReleaseEntry, ReleaseFile,
};
use crate::digest::{Digest, NameHash};
use crate::fetch::{Calendar, Fetcher, Goal, Job, News, Object, Shelf, Wish};
use crate::limits::{INDEX_ENTRIES, RELEASE_LEN_MAX, WISHES};
use crate::store::{IndexId, LearnError, Put, Snapshot, Store, StoreError, reader};

/// Why an index could not be learnt.
#[derive(Debug)]
enum CannotLearn {
    Store(StoreError),
    Catalog(CatalogError),
    /// It has more entries than any archive.
    TooMany,
}

impl fmt::Display for CannotLearn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotLearn::Store(error) => error.fmt(f),
            CannotLearn::Catalog(error) => error.fmt(f),
            CannotLearn::TooMany => write!(f, "the index has more than {INDEX_ENTRIES} files; none of it is learnt"),
        }
    }
}

impl From<StoreError> for CannotLearn {
    fn from(error: StoreError) -> CannotLearn {
        CannotLearn::Store(error)
    }
}

impl From<CatalogError> for CannotLearn {
    fn from(error: CatalogError) -> CannotLearn {
        CannotLearn::Catalog(error)
    }
}

/// The learning thread's things.
pub struct Learner {
    shelf: Shelf,
    fetcher: Fetcher,
    calendar: Calendar,
}

/// The newest Release of a suite, read again from the store.
struct Suite<'a> {
    store: &'a Store,
    host: &'a str,
    dir: &'a str,
    /// Names what it promises.
    id: IndexId,
    release: Release,
}

impl Learner {
    /// A learner without its thread.
    #[must_use]
    pub fn new(shelf: Shelf, fetcher: Fetcher, calendar: Calendar) -> Learner {
        Learner { shelf, fetcher, calendar }
    }

    /// Learns from the news until no one can send any more.
    pub fn work(&self, news: &Receiver<Box<News>>) {
        let mut late = Late::default();
        while let Ok(item) = news.recv() {
            let Some(store) = self.shelf.get() else { continue };
            let store = &store;
            let learnt = match &*item {
                News::Release { host, dir } => self.learn_suite(store, host, dir),
                News::Index { host, path, digest } => self.learn_index(store, &mut late, host, path, *digest),
                News::Package { host, path, came } => self.place_late(store, &mut late, (host, path), *came),
            };
            let settled = learnt.and_then(|()| self.settle_all(store, &mut late, &item));
            // In any case: what comes next does not hang on what failed.
            for outcome in [settled, self.fetch_next(store, &mut late)] {
                if let Err(error) = outcome {
                    // Here it is not known whether the name is one of those that must not be told.
                    log::warn!("what {} promises is not learnt: {error}", item.host());
                    log::debug!("not learnt: {item}");
                }
            }
        }
    }

    /// Learns what clients use of a suite, if it was not learnt yet.
    fn learn_suite(&self, store: &Store, host: &str, dir: &str) -> Result<(), CannotLearn> {
        let Some(suite) = self.suite(store, host, dir)? else { return Ok(()) };
        let wanted = store.wanted(host, dir)?;
        for entry in &suite.release.files {
            if catalog::index_kind(&entry.name).is_some() && wanted.contains(&suite.name_hash(entry)) {
                self.learn_entry(&suite, entry)?;
            }
        }
        Ok(())
    }

    /// Learns from one stored file, which was asked for by `path`: by name, or by hash.
    fn learn_index(
        &self,
        store: &Store,
        late: &mut Late,
        host: &str,
        path: &str,
        digest: Digest,
    ) -> Result<(), CannotLearn> {
        let is_own = late.take_own(&digest);
        for dir in catalog::release_dirs(path) {
            if !store.has_suite(host, dir)? {
                continue;
            }
            let Some(suite) = self.suite(store, host, dir)? else { continue };
            for entry in suite.release.files.iter().filter(|entry| entry.promise.digest == digest) {
                // The same content can lie under several names; empty indexes do. Only the one asked for is in use.
                let whole = suite.path(&entry.name);
                if folder(&whole) != asked_folder(path) {
                    continue;
                }
                if !is_own {
                    store.mark_wanted(host, dir, NameHash::of(host, &whole), (self.calendar)())?;
                }
                self.learn_entry(&suite, entry)?;
            }
        }
        Ok(())
    }

    /// The newest Release of a suite.
    fn suite<'a>(&self, store: &'a Store, host: &'a str, dir: &'a str) -> Result<Option<Suite<'a>>, CannotLearn> {
        match self.newest(store, host, dir)? {
            Some(newest) => self.read_suite(store, host, dir, &newest),
            None => Ok(None),
        }
    }

    fn newest(&self, store: &Store, host: &str, dir: &str) -> Result<Option<Snapshot>, StoreError> {
        let mut snapshots = store.snapshots(host, dir, ReleaseFile::InRelease)?;
        snapshots.extend(store.snapshots(host, dir, ReleaseFile::Release)?);
        // What nobody may be given promises nothing.
        snapshots.retain(|snapshot| self.fetcher.may_be_given(host, dir, &snapshot.digest));
        Snapshot::sort(&mut snapshots, (self.calendar)());
        Ok(snapshots.into_iter().next())
    }

    fn read_suite<'a>(
        &self,
        store: &'a Store,
        host: &'a str,
        dir: &'a str,
        newest: &Snapshot,
    ) -> Result<Option<Suite<'a>>, CannotLearn> {
        let Some(stored) = store.open_file(&newest.digest, (self.calendar)())? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader(stored.file).take(RELEASE_LEN_MAX as u64).read_to_end(&mut bytes).map_err(CatalogError::Read)?;
        let release = catalog::parse_release(&bytes)?;
        Ok(Some(Suite { store, host, dir, id: newest.id, release }))
    }

    fn learn_entry(&self, suite: &Suite<'_>, entry: &ReleaseEntry) -> Result<(), CannotLearn> {
        let Some((kind, compression)) = catalog::index_kind(&entry.name) else { return Ok(()) };
        let source = suite.source(entry);
        let index_path = suite.path(catalog::stem(&entry.name));
        if suite.store.learnt(suite.host, &index_path)? == Some(source) {
            return self.adopt(suite, entry, &index_path);
        }
        let Some(stored) = suite.store.open_file(&entry.promise.digest, (self.calendar)())? else { return Ok(()) };
        match self.read_into_store(suite, entry, kind, compression, stored.file, source) {
            Err(CannotLearn::Catalog(why @ (CatalogError::DictionaryTooLarge | CatalogError::NotBuiltIn))) => {
                log::info!("{index_path}: {why}; learning it in another compression");
                self.fetch_other_compression(suite, entry, compression);
                Ok(())
            }
            Ok(()) => self.adopt(suite, entry, &index_path),
            other => other,
        }
    }

    /// What was stored before an index of a public archive promised it may be shared from now on.
    fn adopt(&self, suite: &Suite<'_>, entry: &ReleaseEntry, index_path: &str) -> Result<(), CannotLearn> {
        let object = Object { host: suite.host.to_owned(), path: suite.path(&entry.name), query: None };
        if !self.fetcher.is_public(&object, &entry.promise.digest) {
            return Ok(());
        }
        for promises in [suite.store.promises_of(suite.host, index_path)?, Some(suite.id)].into_iter().flatten() {
            let count = suite.store.adopt(promises)?;
            if count > 0 {
                log::info!("{}/{index_path}: {count} files stored before are shared now", suite.host);
            }
        }
        Ok(())
    }

    fn read_into_store(
        &self,
        suite: &Suite<'_>,
        entry: &ReleaseEntry,
        kind: IndexKind,
        compression: Compression,
        file: Arc<File>,
        source: Digest,
    ) -> Result<(), CannotLearn> {
        let index = Index { kind, release_dir: suite.dir, name: &entry.name };
        let index_path = suite.path(catalog::stem(&entry.name));
        let mut moved = self.moved(suite, &index_path)?;
        let base = catalog::base_of(suite.dir);
        let mut skipped = 0;
        let mut feed = |put: &mut Put<'_>| {
            let plain = catalog::decoder(compression, reader(Arc::clone(&file)));
            let mut sink = |path: &str, promise: Promise| {
                moved.look_at(suite, path, promise);
                put(NameHash::of(suite.host, path), promise)
            };
            catalog::read_index(index, plain, &mut sink).map(|tally| skipped = tally.skipped)
        };
        let report = suite.store.learn(suite.host, base, &index_path, source, (self.calendar)(), &mut feed).map_err(
            |error| match error {
                LearnError::Store(error) => CannotLearn::Store(error),
                LearnError::Feed(error) => CannotLearn::Catalog(error),
                LearnError::TooMany => CannotLearn::TooMany,
            },
        )?;
        log::info!("learnt {}/{index_path}: {report}", suite.host);
        if skipped > 0 {
            let what = "have no SHA-256 or length, or a name that leads out of the archive";
            log::warn!("{}: {skipped} entries {what}; these files pass through unverified", suite.host);
            log::debug!("{skipped} entries were skipped of {}/{index_path}", suite.host);
        }
        moved.wishes.into_iter().for_each(|wish| self.fetcher.wish(wish));
        Ok(())
    }

    /// Finds new versions of packages that clients use, in an index of which an older version was learnt.
    fn moved(&self, suite: &Suite<'_>, index_path: &str) -> Result<Moved, StoreError> {
        let is_known = self.fetcher.looks_ahead() && suite.store.learnt(suite.host, index_path)?.is_some();
        let used = if is_known { suite.store.used((self.calendar)())? } else { HashSet::new() };
        Ok(Moved { used, wishes: Vec::new() })
    }

    /// Starts a flight for the same index in a compression that this machine can read; its landing is news.
    fn fetch_other_compression(&self, suite: &Suite<'_>, refused: &ReleaseEntry, by: Compression) {
        // Of one that is built in the dictionary was too large: these two need less memory.
        let suits = |other: Compression| {
            let needs_less = matches!(other, Compression::Gzip | Compression::Bzip2);
            other.is_built_in() && (needs_less || (other == Compression::Xz && !by.is_built_in()))
        };
        let stem = catalog::stem(&refused.name);
        let other = suite.release.files.iter().find(|entry| {
            entry.name != refused.name
                && catalog::stem(&entry.name) == stem
                && catalog::index_kind(&entry.name).is_some_and(|(_, compression)| suits(compression))
        });
        let Some(entry) = other else {
            return log::warn!("{stem} is not offered in another compression; its packages pass through unverified");
        };
        self.fetch_index(suite, entry);
    }

    /// Starts a flight for an index file that no client asked for; whether there was room for it.
    fn fetch_index(&self, suite: &Suite<'_>, entry: &ReleaseEntry) -> bool {
        let path = suite.path(&entry.name);
        let Promise { digest, len } = entry.promise;
        let by_hash = suite.release.acquire_by_hash.then(|| catalog::by_hash_path(&path, &digest));
        let object = Object { host: suite.host.to_owned(), path, query: None };
        let goal = Goal::Promised { digest, len: Some(len), recheck: false };
        let started = self.fetcher.start_for_ourselves(Job { object, goal, by_hash, credentials: None });
        started.inspect_err(|full| log::info!("{}: {full}", entry.name)).is_ok()
    }
}

/// New versions of packages that clients use.
struct Moved {
    used: HashSet<NameHash>,
    wishes: Vec<Wish>,
}

impl Moved {
    fn look_at(&mut self, suite: &Suite<'_>, path: &str, promise: Promise) {
        let is_used = |package: String| self.used.contains(&NameHash::of(suite.host, &package));
        if self.used.is_empty() || self.wishes.len() >= WISHES || !catalog::versionless(path).is_some_and(is_used) {
            return;
        }
        let known = suite.store.promise(suite.host, path).ok().flatten();
        let is_new = known.is_none_or(|known| known.digest != promise.digest);
        if is_new && !suite.store.has_file(&promise.digest).unwrap_or(true) {
            let object = Object { host: suite.host.to_owned(), path: path.to_owned(), query: None };
            self.wishes.push(Wish { object, digest: promise.digest, len: promise.len });
        }
    }
}

impl Suite<'_> {
    /// The path below the host of a file that the Release names.
    fn path(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.dir) }
    }

    fn name_hash(&self, entry: &ReleaseEntry) -> NameHash {
        NameHash::of(self.host, &self.path(&entry.name))
    }

    /// What identifies the content whatever its compression: the digest of the plain index, where the Release has it.
    fn source(&self, entry: &ReleaseEntry) -> Digest {
        let stem = catalog::stem(&entry.name);
        let plain = self.release.files.iter().find(|candidate| candidate.name == stem);
        plain.unwrap_or(entry).promise.digest
    }
}

/// The folder that a request's path asks in: that of the name, or the one above `by-hash`.
fn asked_folder(path: &str) -> &str {
    match path.rfind("/by-hash/") {
        Some(at) => &path[..at],
        None => folder(path),
    }
}

fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

impl News {
    fn host(&self) -> &str {
        let (News::Release { host, .. } | News::Index { host, .. } | News::Package { host, .. }) = self;
        host
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Release { host, dir } => write!(f, "{host}/{dir}"),
            News::Index { host, path, .. } | News::Package { host, path, .. } => write!(f, "{host}/{path}"),
        }
    }
}
