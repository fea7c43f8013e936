//! What others may have: public files that a current index names, and who published a file.
//!
//! Refuses, when in doubt: what belongs to somebody, what no index names any more, what was stored before an index of a
//! public archive promised it, until that index is learnt.

use std::collections::HashSet;

use super::files::open_whole;
use super::record::{Entry, FileRecord, IndexRecord, Record, Suite, key};
use super::{IndexId, Store, StoreError, Stored, lock};
use crate::catalog;
use crate::digest::{Digest, NameHash};
use crate::limits::{ADOPTED_FILES, SWEEP_BATCH};
use crate::time::Stamp;

/// A file that others may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Its identity.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// When it was stored.
    pub stored: Stamp,
}

/// Whether a file may be given to others.
fn is_shared(record: &FileRecord) -> bool {
    record.public && record.owner.is_none() && record.unreferenced == Stamp(0)
}

impl Store {
    /// Opens a file for a peer. Its recency is not renewed: what only others ask for does not stay for them.
    ///
    /// # Errors
    /// Those of the disk; what may not be shared is not there.
    pub fn open_shared(&self, digest: &Digest) -> Result<Option<Stored>, StoreError> {
        if let Some(waiting) = self.0.waiting().get(digest) {
            let stored = waiting.stored();
            return Ok(Some(stored).filter(|stored| stored.public && stored.owner.is_none()));
        }
        if lock(&self.0.spoilt).contains(digest) {
            return Ok(None);
        }
        let record = self.0.index.read()?.get::<FileRecord>(&key::of_digest(b'F', digest))?;
        let Some(record) = record.filter(is_shared) else { return Ok(None) };
        Ok(open_whole(&self.0.file_path(digest), &record)?.map(|(stored, _)| stored))
    }

    /// Whether a file belongs to somebody, or nothing is known of it, as the index has it: nobody uses it by that.
    ///
    /// # Errors
    /// Those of the index.
    pub fn may_be_private(&self, digest: &Digest) -> Result<bool, StoreError> {
        if let Some(waiting) = self.0.waiting().get(digest) {
            return Ok(waiting.meta.owner.is_some());
        }
        let record = self.0.index.read()?.get::<FileRecord>(&key::of_digest(b'F', digest))?;
        Ok(record.is_none_or(|record| record.owner.is_some()))
    }

    /// Up to `count` files that may be announced, in the order of digests, behind `after`.
    ///
    /// # Errors
    /// Those of the index.
    pub fn shared_files(&self, after: Option<Digest>, count: usize) -> Result<Vec<Shared>, StoreError> {
        let mut all = Vec::new();
        let after = after.map(|digest| key::of_digest(b'F', &digest));
        self.0.index.read()?.each_after(b"F", after.as_ref().map(<[u8; 33]>::as_slice), &mut |file_key, bytes| {
            if all.len() >= count {
                return Ok(false);
            }
            let record = FileRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if is_shared(&record) {
                let digest = Digest(file_key[1..].try_into().map_err(|_| StoreError::Malformed)?);
                all.push(Shared { digest, len: record.len, stored: record.stored });
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// The `Origin`, if it has one, of the Release that promises `digest` at `host/path`, itself or by a current index;
    /// `None` if none does. Reads all learnt indexes: not for each hit.
    ///
    /// # Errors
    /// Those of the index.
    pub fn origin_of(&self, host: &str, path: &str, digest: &Digest) -> Result<Option<Option<String>>, StoreError> {
        let promises = |id: IndexId, name: NameHash| -> Result<bool, StoreError> {
            let entry = self.0.index.read()?.get::<Entry>(&key::entry(id, name))?;
            Ok(entry.is_some_and(|entry| !entry.retired && entry.promise.digest == *digest))
        };
        let name = NameHash::of(host, path);
        for suite in self.suites_above(host, path)? {
            for snapshot in &suite.snapshots {
                if promises(snapshot.id, name)?
                    || is_by_hash(path, digest) && self.len_in(snapshot.id, digest)?.is_some()
                {
                    return Ok(Some(snapshot.origin.clone()));
                }
            }
        }
        for index in self.indexes_of(host)? {
            if promises(index.id, name)? {
                let newest = self
                    .suites_above(host, &index.path)?
                    .into_iter()
                    .find_map(|mut suite| (!suite.snapshots.is_empty()).then(|| suite.snapshots.swap_remove(0)));
                return Ok(Some(newest.and_then(|snapshot| snapshot.origin)));
            }
        }
        Ok(None)
    }

    /// The length of the file at a by-hash path, if a Release of its suite says it.
    ///
    /// # Errors
    /// Those of the index.
    pub fn len_by_hash(&self, host: &str, path: &str, digest: &Digest) -> Result<Option<u64>, StoreError> {
        for suite in self.suites_above(host, path)? {
            for snapshot in &suite.snapshots {
                if let Some(len) = self.len_in(snapshot.id, digest)? {
                    return Ok(Some(len));
                }
            }
        }
        Ok(None)
    }

    /// Gives out what is stored already of the files that an index of a public archive, or a Release of one, promises: they
    /// were stored before, or before their archive was public. How many.
    ///
    /// # Errors
    /// Those of the index.
    pub fn adopt(&self, promises: IndexId) -> Result<usize, StoreError> {
        let unshared = self.unshared(ADOPTED_FILES)?;
        if unshared.is_empty() {
            return Ok(0);
        }
        let mut promised = Vec::new();
        self.0.index.read()?.each(&key::entries(promises), |_, bytes| {
            let entry = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if !entry.retired && unshared.contains(&entry.promise.digest) {
                promised.push(entry.promise.digest);
            }
            Ok(true)
        })?;
        for some in promised.chunks(SWEEP_BATCH) {
            let mut write = self.0.index.write()?;
            for digest in some {
                let file_key = key::of_digest(b'F', digest);
                if let Some(record) = write.get::<FileRecord>(&file_key)?.filter(|record| record.owner.is_none()) {
                    write.put(&file_key, &FileRecord { public: true, unreferenced: Stamp(0), ..record })?;
                }
            }
            write.commit()?;
        }
        Ok(promised.len())
    }

    /// Up to `count` files that nobody owns and that are not given to others.
    fn unshared(&self, count: usize) -> Result<HashSet<Digest>, StoreError> {
        let mut all = HashSet::new();
        self.0.index.read()?.each(b"F", |file_key, bytes| {
            let record = FileRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if !record.public && record.owner.is_none() {
                all.insert(Digest(file_key[1..].try_into().map_err(|_| StoreError::Malformed)?));
            }
            Ok(all.len() < count)
        })?;
        Ok(all)
    }

    /// Names the promises of a learnt index.
    ///
    /// # Errors
    /// Those of the index.
    pub fn promises_of(&self, host: &str, index_path: &str) -> Result<Option<IndexId>, StoreError> {
        let index_key = key::of_name(b'I', NameHash::of(host, index_path));
        Ok(self.0.index.read()?.get::<IndexRecord>(&index_key)?.map(|record| record.id))
    }

    /// The Releases that may name a file at this path.
    fn suites_above(&self, host: &str, path: &str) -> Result<Vec<Suite>, StoreError> {
        let read = self.0.index.read()?;
        let mut all = Vec::new();
        for dir in catalog::release_dirs(path) {
            read.each(&key::of_name(b'S', NameHash::of(host, dir)), |_, bytes| {
                all.push(Suite::decode(bytes).map_err(|_| StoreError::Malformed)?);
                Ok(true)
            })?;
        }
        Ok(all)
    }

    fn indexes_of(&self, host: &str) -> Result<Vec<IndexRecord>, StoreError> {
        let mut all = Vec::new();
        self.0.index.read()?.each(b"I", |_, bytes| {
            let record = IndexRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if record.host == host {
                all.push(record);
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// The length that a snapshot promises with this digest, under any name.
    fn len_in(&self, id: IndexId, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let mut found = None;
        self.0.index.read()?.each(&key::entries(id), |_, bytes| {
            let promise = Entry::decode(bytes).map_err(|_| StoreError::Malformed)?.promise;
            found = (promise.digest == *digest).then_some(promise.len);
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

fn is_by_hash(path: &str, digest: &Digest) -> bool {
    path.contains("/by-hash/") && path.rsplit('/').next().and_then(|name| name.parse().ok()) == Some(*digest)
}
