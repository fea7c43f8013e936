//! Files that proved to be other than their digest says, and were dropped for that: by a client's doubt or by the verify
//! command, in whatever process. A healthy disk has none, so they are counted for whoever looks after it.

use std::path::Path;

use super::index::Write;
use super::record::{Record, key};
use super::{Inner, Store, StoreError};
use crate::digest::Digest;
use crate::time::Stamp;

/// How many files the disk has spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Files, since the cache was made.
    pub files: u64,
    /// When the last one was found.
    pub last: Stamp,
}

impl Store {
    /// What the disk has spoilt so far.
    ///
    /// # Errors
    /// Those of the index.
    pub fn damage(&self) -> Result<Damage, StoreError> {
        Ok(self.0.index.read()?.get(key::DAMAGE)?.unwrap_or_default())
    }

    /// Drops a file that proved wrong, and counts it, if what is at its place still is that file; whether it was dropped.
    pub(super) fn drop_damaged(
        &self,
        digest: &Digest,
        now: Stamp,
        is_so: impl FnOnce(&Path) -> bool,
    ) -> Result<bool, StoreError> {
        let mut write = self.0.index.write()?;
        if !is_so(&self.0.file_path(digest)) {
            return Ok(false);
        }
        let is_known = self.0.drop_record(&mut write, digest)?.is_some();
        if is_known {
            Inner::count_damage(&mut write, now)?;
        }
        write.commit()?;
        Ok(is_known)
    }
}

impl Inner {
    fn count_damage(write: &mut Write<'_>, now: Stamp) -> Result<(), StoreError> {
        let known: Damage = write.get(key::DAMAGE)?.unwrap_or_default();
        write.put(key::DAMAGE, &Damage { files: known.files.saturating_add(1), last: now })
    }
}

impl Record for Damage {
    fn encode(&self) -> Vec<u8> {
        [self.files.to_be_bytes(), self.last.0.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Damage, super::record::Malformed> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return Err(super::record::Malformed) };
        let [files, last] = numbers.try_into().map_err(|_| super::record::Malformed)?;
        Ok(Damage { files: u64::from_be_bytes(files), last: Stamp(u64::from_be_bytes(last)) })
    }
}
