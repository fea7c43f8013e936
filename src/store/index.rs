//! The index: LMDB through heed, one database whose keys begin with their kind (see `record`).
//!
//! Owns transactions. Reads never wait for writers; writers wait for each other, across processes. Refuses to know what
//! records mean.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};

use super::StoreError;
use super::record::{Counters, Record, VERSION, key};
use crate::limits::{INDEX_FREE_SHARE, INDEX_KEPT_SHARE, INDEX_READERS};

type Result<T> = std::result::Result<T, StoreError>;

/// An open index.
#[derive(Clone)]
pub(super) struct Index {
    env: Env<WithoutTls>,
    db: Database<'static, Bytes, Bytes>,
}

/// What is known at one moment.
pub(super) struct Read<'a> {
    txn: RoTxn<'a, WithoutTls>,
    db: Database<'static, Bytes, Bytes>,
}

/// A change that happens whole or not at all.
pub(super) struct Write<'a> {
    txn: RwTxn<'a>,
    db: Database<'static, Bytes, Bytes>,
}

impl Index {
    /// Opens or makes the index in `dir`.
    pub(super) fn open(dir: &Path, map_len: usize) -> Result<Index> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_len).max_readers(INDEX_READERS);
        #[expect(unsafe_code, reason = "a memory map is only as safe as its file")]
        // SAFETY: the folder is ours alone, and all who open it are this program, with LMDB's own lock. A disk that
        // vanishes ends the process with SIGBUS, which is restarted.
        let env = unsafe { options.open(dir) }?;
        let txn = env.write_txn()?;
        let opened = env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        let opened: std::result::Result<_, heed::Error> = opened;
        let db = opened?.commit().expect("the closure only commits");
        let index = Index { env, db };
        index.forget_dead_readers()?;
        index.check_version()?;
        let map_len = index.map_len();
        if index.used_len()? > map_len - map_len / INDEX_FREE_SHARE {
            return Err(heed::Error::Mdb(MdbError::MapFull).into());
        }
        Ok(index)
    }

    fn map_len(&self) -> usize {
        self.env.info().map_size
    }

    /// Bytes that records take; what was freed does not count.
    fn used_len(&self) -> Result<usize> {
        let txn = self.env.read_txn()?;
        let stat = self.db.stat(&txn)?;
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        Ok(pages * usize::try_from(stat.page_size).unwrap_or(usize::MAX))
    }

    /// Whether so much more may be learnt.
    pub(super) fn has_room(&self, len: usize) -> Result<bool> {
        let map_len = self.map_len();
        Ok(self.used_len()?.saturating_add(len) <= map_len - map_len / INDEX_KEPT_SHARE)
    }

    fn check_version(&self) -> Result<()> {
        let found = self.read()?.bytes(key::VERSION)?.map(<[u8]>::to_vec);
        match found.as_deref() {
            Some(VERSION) => Ok(()),
            Some(_) => Err(StoreError::OtherVersion),
            None => {
                let mut write = self.write()?;
                write.put_bytes(key::VERSION, VERSION)?;
                write.commit()
            }
        }
    }

    /// Gives free what killed processes were reading; of how many.
    pub(super) fn forget_dead_readers(&self) -> Result<usize> {
        Ok(self.env.clear_stale_readers()?)
    }

    /// The number of the last change, of whichever process; read from the map, without a transaction.
    pub(super) fn version(&self) -> u64 {
        self.env.info().last_txn_id as u64
    }

    pub(super) fn read(&self) -> Result<Read<'_>> {
        Ok(Read { txn: self.env.read_txn()?, db: self.db })
    }

    pub(super) fn write(&self) -> Result<Write<'_>> {
        Ok(Write { txn: self.env.write_txn()?, db: self.db })
    }
}

/// Is given a key and a record; whether it wants more. One walk serves all of them: each is half a kilobyte of program.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

impl Read<'_> {
    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        Ok(self.db.get(&self.txn, key)?)
    }

    pub(super) fn get<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        decode(self.bytes(key)?)
    }

    pub(super) fn has(&self, key: &[u8]) -> Result<bool> {
        Ok(self.bytes(key)?.is_some())
    }

    /// Calls `visit` with each record whose key begins with `prefix`, in order, till it says no.
    pub(super) fn each(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        self.each_after(prefix, None, &mut visit)
    }

    /// The same for the keys behind `after`.
    pub(super) fn each_after(&self, prefix: &[u8], after: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        for item in self.db.range(&self.txn, &(start, Bound::Unbounded))? {
            let (key, value) = item?;
            if !key.starts_with(prefix) || !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn has_prefix(&self, prefix: &[u8]) -> Result<bool> {
        let mut found = false;
        self.each(prefix, |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }

    pub(super) fn counters(&self) -> Result<Counters> {
        Ok(self.get(key::COUNTERS)?.unwrap_or_default())
    }
}

impl Write<'_> {
    pub(super) fn get<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        decode(self.db.get(&self.txn, key)?)
    }

    pub(super) fn put<R: Record>(&mut self, key: &[u8], record: &R) -> Result<()> {
        self.put_bytes(key, &record.encode())
    }

    pub(super) fn put_bytes(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put(&mut self.txn, key, value)?)
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.db.delete(&mut self.txn, key)?)
    }

    pub(super) fn has_prefix(&self, prefix: &[u8]) -> Result<bool> {
        Ok(self.db.prefix_iter(&self.txn, prefix)?.next().transpose()?.is_some())
    }

    /// Deletes the first records whose key begins with `prefix`, up to `count` of them; how many there were.
    pub(super) fn delete_some(&mut self, prefix: &[u8], count: usize) -> Result<usize> {
        let mut keys = Vec::new();
        for item in self.db.prefix_iter(&self.txn, prefix)?.take(count) {
            keys.push(item?.0.to_vec());
        }
        for key in &keys {
            self.db.delete(&mut self.txn, key)?;
        }
        Ok(keys.len())
    }

    /// Deletes all records whose key begins with `prefix`.
    pub(super) fn delete_prefix(&mut self, prefix: &[u8]) -> Result<usize> {
        self.delete_some(prefix, usize::MAX)
    }

    pub(super) fn count(&mut self, change: impl FnOnce(&mut Counters)) -> Result<()> {
        let mut counters = self.get(key::COUNTERS)?.unwrap_or_default();
        change(&mut counters);
        self.put(key::COUNTERS, &counters)
    }

    /// A number that was never used for an index or snapshot.
    pub(super) fn next_id(&mut self) -> Result<super::IndexId> {
        let mut counters: Counters = self.get(key::COUNTERS)?.unwrap_or_default();
        let id = counters.next_id;
        // Nobody learns so many; a counter that says so is damaged.
        counters.next_id = id.checked_add(1).ok_or(StoreError::Malformed)?;
        self.put(key::COUNTERS, &counters)?;
        Ok(super::IndexId(id))
    }

    pub(super) fn commit(self) -> Result<()> {
        Ok(self.txn.commit()?)
    }
}

fn decode<R: Record>(bytes: Option<&[u8]>) -> Result<Option<R>> {
    bytes.map(R::decode).transpose().map_err(|_| StoreError::Malformed)
}
