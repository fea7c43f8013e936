//! Which packages the machines on this LAN use: those of which a version was fetched for them.
//!
//! Written with the batch that records the file; a hit writes nothing.

use std::collections::HashSet;

use super::record::{Record, key};
use super::{Store, StoreError, lock};
use crate::digest::NameHash;
use crate::limits::{USED_MEMORY, USED_PACKAGES, USED_TIME_S};
use crate::time::Stamp;

impl Store {
    /// A version of this package comes for a client.
    pub fn note_used(&self, package: NameHash) {
        let mut used = lock(&self.0.used);
        if used.len() < USED_MEMORY {
            used.insert(package);
        }
    }

    /// The packages that were used of late.
    ///
    /// # Errors
    /// Those of the index.
    pub fn used(&self, now: Stamp) -> Result<HashSet<NameHash>, StoreError> {
        let mut all = HashSet::new();
        self.0.index.read()?.each(b"U", |used_key, bytes| {
            let last = Stamp::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if now.secs_since(last) < USED_TIME_S {
                all.insert(NameHash(used_key[1..].try_into().map_err(|_| StoreError::Malformed)?));
            }
            Ok(all.len() < USED_PACKAGES)
        })?;
        Ok(all)
    }

    /// Writes what was noted, inside a batch.
    pub(super) fn write_used(
        write: &mut super::index::Write<'_>,
        used: &HashSet<NameHash>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        used.iter().try_for_each(|package| write.put(&key::of_name(b'U', *package), &now))
    }
}
