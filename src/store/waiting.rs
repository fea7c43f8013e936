//! Finished files that wait to be recorded: a batch of them shares one transaction ([`Store::commit`]).
//!
//! Each is noted in the log of finished drafts: where a process was killed before its batch, the next one hashes the draft again
//! and records it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::{FileMeta, Want, open_locked};
use super::record::{FileRecord, key};
use super::{Store, StoreError, Stored, Usage, finished, lock};
use crate::digest::{Digest, Midstate, PIECE_LEN};
use crate::time::Stamp;

/// A finished file that waits to be recorded.
pub(super) struct Waiting {
    pub(super) file: Arc<fs::File>,
    pub(super) path: PathBuf,
    /// Its journal, if it may have one; it goes when the file is recorded.
    pub(super) journal: Option<PathBuf>,
    pub(super) len: u64,
    pub(super) meta: FileMeta,
    pub(super) midstates: Vec<Midstate>,
}

impl Waiting {
    /// The file as it can be served.
    pub(super) fn stored(&self) -> Stored {
        let FileMeta { owner, head, public } = self.meta.clone();
        Stored { file: Arc::clone(&self.file), len: self.len, owner, head, public, recorded: false }
    }

    /// What its record will be.
    fn record(&self, now: Stamp) -> FileRecord {
        let FileMeta { owner, head, public } = self.meta.clone();
        FileRecord { stored: now, unreferenced: Stamp(0), public, owner, len: self.len, head }
    }
}

impl Store {
    /// Puts a finished file where it can be opened, and waits to be recorded.
    pub(super) fn wait(&self, digest: Digest, waiting: Waiting, since: Stamp) {
        // Held until the file is among those that wait, which a batch looks at before it forgets what was noted.
        let mut log = lock(&self.0.finished);
        // Only a process that is killed before the next batch makes this worth anything, so that it may fail.
        if let Err(error) = log.note(&self.0.dir.join("drafts"), &digest, &waiting.record(since)) {
            log::debug!("{error}");
        }
        self.0.waiting().insert(digest, waiting);
        drop(log);
        // In this order: a batch that begins in between takes the file up, or leaves what says that one waits.
        lock(&self.0.waiting_since).get_or_insert(since);
    }

    /// Files and bytes stored, and those that wait to be recorded.
    ///
    /// # Errors
    /// Those of the index.
    pub fn held(&self) -> Result<Usage, StoreError> {
        // In this order: what is recorded meanwhile is found to be both.
        let waiting: Vec<(Digest, u64)> =
            self.0.waiting().iter().map(|(digest, waiting)| (*digest, waiting.len)).collect();
        let read = self.0.index.read()?;
        let counters = read.counters()?;
        let mut held = Usage { files: counters.files, bytes: counters.bytes };
        for (digest, len) in waiting {
            if !read.has(&key::of_digest(b'F', &digest))? {
                held = Usage { files: held.files + 1, bytes: held.bytes + len };
            }
        }
        Ok(held)
    }

    /// Forgets what was noted of files that wait no more.
    pub(super) fn forget_recorded(&self, now: Stamp) {
        let mut log = lock(&self.0.finished);
        let waiting: Vec<_> =
            self.0.waiting().iter().map(|(digest, waiting)| (*digest, waiting.record(now))).collect();
        if let Err(error) = log.keep(&waiting) {
            log::debug!("{error}");
        }
    }

    /// Gives a finished draft the name by which another process finds it, if it has another; where it lies then.
    pub(super) fn name_finished(&self, digest: &Digest, path: &Path) -> PathBuf {
        let named = self.0.draft_path(&digest.to_string(), "part");
        let is_named = path == named || !named.exists() && fs::rename(path, &named).is_ok();
        if is_named { named } else { path.to_owned() }
    }

    /// Takes up the finished drafts of processes that were killed before they recorded them.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        finished::take_over(&self.0.dir.join("drafts"), |digest, record| {
            self.recover_one(digest, record).inspect_err(|error| log::debug!("{error}")).is_ok()
        })
    }

    fn recover_one(&self, digest: Digest, record: FileRecord) -> Result<(), StoreError> {
        let part = self.0.draft_path(&digest.to_string(), "part");
        if !part.exists() {
            return Ok(());
        }
        let file = open_locked(&part, digest)?;
        let mut draft = self.fresh(Want::Unknown, file, part.clone(), None);
        draft.keep = true;
        let (hasher, mut midstates) = draft.hash_again()?;
        if record.len != hasher.len() || hasher.clone().finish() != digest {
            // A power failure kept the note and lost bytes: what a journal vouches for is resumed when it is asked for.
            return Ok(());
        }
        midstates.truncate(usize::try_from(record.len.div_ceil(PIECE_LEN).saturating_sub(1)).expect("a table fits"));
        let waiting = Waiting {
            file: Arc::clone(&draft.file),
            path: part,
            journal: Some(self.0.draft_path(&digest.to_string(), "journal")),
            len: record.len,
            meta: FileMeta { owner: record.owner, head: record.head, public: record.public },
            midstates,
        };
        self.wait(digest, waiting, Stamp(0));
        Ok(())
    }
}
