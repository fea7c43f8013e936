//! Finished files that wait to be recorded: a batch of them shares one transaction ([`Store::commit`]).
//!
//! Each has `<digest>.done` beside its draft, with its record: a process that was killed before left it, and the next one hashes
//! the draft again and records it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::{FileMeta, Want, open_locked};
use super::record::{FileRecord, Record};
use super::{Store, StoreError, Stored, at, lock};
use crate::digest::{Digest, Midstate, PIECE_LEN};
use crate::time::Stamp;

/// A finished file that waits to be recorded.
pub(super) struct Waiting {
    pub(super) file: Arc<fs::File>,
    pub(super) path: PathBuf,
    /// What lies beside it and goes when it is recorded.
    pub(super) beside: [PathBuf; 2],
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
}

impl Store {
    /// What lies beside a draft: its journal, and the mark that it is finished.
    pub(super) fn beside(&self, digest: &Digest) -> [PathBuf; 2] {
        let name = digest.to_string();
        [self.0.draft_path(&name, "journal"), self.0.draft_path(&name, "done")]
    }

    /// Puts a finished file where it can be opened, and waits to be recorded.
    pub(super) fn wait(&self, digest: Digest, waiting: Waiting, since: Stamp) {
        self.0.waiting().insert(digest, waiting);
        // In this order: a batch that begins in between takes the file up, or leaves what says that one waits.
        lock(&self.0.waiting_since).get_or_insert(since);
    }

    /// Notes beside a finished draft what its record will be; where the draft lies then. Only a process that is killed
    /// before the next batch makes this worth anything, so that it may fail.
    pub(super) fn mark_done(&self, digest: &Digest, path: &Path, len: u64, meta: &FileMeta, now: Stamp) -> PathBuf {
        let named = self.0.draft_path(&digest.to_string(), "part");
        if path != named && (named.exists() || fs::rename(path, &named).is_err()) {
            return path.to_owned();
        }
        let FileMeta { owner, head, public } = meta.clone();
        let record = FileRecord { stored: now, unreferenced: Stamp(0), public, owner, len, head };
        let [_, done] = self.beside(digest);
        if let Err(error) = fs::write(&done, record.encode()) {
            log::debug!("{}: {error}", done.display());
        }
        named
    }

    /// Takes up the finished drafts of a process that was killed before it recorded them.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let drafts = self.0.dir.join("drafts");
        for entry in fs::read_dir(&drafts).map_err(at(&drafts))?.flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<Digest>().ok());
            let is_mark = path.extension().is_some_and(|ending| ending == "done");
            if let Some(digest) = name.filter(|_| is_mark)
                && let Err(error) = self.recover_one(digest, &path)
            {
                log::debug!("{error}");
            }
        }
        Ok(())
    }

    fn recover_one(&self, digest: Digest, mark: &Path) -> Result<(), StoreError> {
        let bytes = fs::read(mark).map_err(at(mark))?;
        let part = mark.with_extension("part");
        if !part.exists() {
            return fs::remove_file(mark).map_err(at(mark));
        }
        let file = open_locked(&part, digest)?;
        let mut draft = self.fresh(Want::Unknown, file, part.clone(), None);
        draft.keep = true;
        let (hasher, mut midstates) = draft.hash_again()?;
        let record = FileRecord::decode(&bytes).ok().filter(|record| record.len == hasher.len());
        let Some(record) = record.filter(|_| hasher.clone().finish() == digest) else {
            // A power failure kept the mark and lost bytes: what the journal vouches for is resumed when it is asked for.
            return fs::remove_file(mark).map_err(at(mark));
        };
        midstates.truncate(usize::try_from(record.len.div_ceil(PIECE_LEN).saturating_sub(1)).expect("a table fits"));
        let waiting = Waiting {
            file: Arc::clone(&draft.file),
            path: part,
            beside: self.beside(&digest),
            len: record.len,
            meta: FileMeta { owner: record.owner, head: record.head, public: record.public },
            midstates,
        };
        self.wait(digest, waiting, Stamp(0));
        Ok(())
    }
}
