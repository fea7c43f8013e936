//! Suites that no client uses any more, and their indexes: they are most of the index, and nothing else would let them go.
//!
//! A suite is in use when a client has asked for its Release or one of its index files within twice the time for which
//! that counts; its indexes are in use as long as it is known. Promises go in short transactions, the records that lead to
//! them last: what is cut short goes on with the next sweep. Each looks again whether the suite is in use by now.

use super::index::Write;
use super::record::{IndexRecord, Record, Snapshot, Suite, key};
use super::sweep::{SweepOptions, SweepReport};
use super::{IndexId, Store, StoreError};
use crate::catalog;
use crate::digest::NameHash;
use crate::limits::{MERGE_CHANGES, WANTED_TIME_S};
use crate::time::Stamp;

/// Whether something may still go.
type May<'a> = &'a dyn Fn(&Write<'_>) -> Result<bool, StoreError>;

impl Store {
    /// Lets go what nobody uses.
    pub(super) fn drop_unused(&self, options: &SweepOptions, report: &mut SweepReport) -> Result<(), StoreError> {
        let mut suites = Vec::new();
        self.0.index.read()?.each(b"S", |suite_key, bytes| {
            suites.push((suite_key.to_vec(), Suite::decode(bytes).map_err(|_| StoreError::Malformed)?));
            Ok(true)
        })?;
        let mut known = Vec::new();
        for (suite_key, suite) in suites {
            if self.is_used(&suite, options.now)? {
                known.push(NameHash::of(&suite.host, &suite.dir));
                continue;
            }
            report.records += 1;
            if !options.dry_run {
                self.drop_suite(&suite_key, &suite.snapshots)?;
            }
        }
        let mut indexes = Vec::new();
        self.0.index.read()?.each(b"I", |index_key, bytes| {
            let record = IndexRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if !suites_of(&record).iter().any(|suite| known.contains(suite)) {
                indexes.push((index_key.to_vec(), record));
            }
            Ok(true)
        })?;
        for (index_key, record) in indexes {
            report.records += 1;
            if !options.dry_run {
                self.drop_index(&index_key, record)?;
            }
        }
        Ok(())
    }

    fn is_used(&self, suite: &Suite, now: Stamp) -> Result<bool, StoreError> {
        let since = Stamp(now.0.saturating_sub(2 * WANTED_TIME_S));
        let came = suite.snapshots.iter().any(|snapshot| (since..=now).contains(&snapshot.fetched));
        Ok(came || !self.wanted_since(&suite.host, &suite.dir, since)?.is_empty())
    }

    /// Snapshot by snapshot, the newest last: one without its promises would be taken for a whole one by clients who come
    /// back, so that each goes in one transaction with them.
    fn drop_suite(&self, suite_key: &[u8], seen: &[Snapshot]) -> Result<(), StoreError> {
        for left in (0..=seen.len()).rev() {
            let mut write = self.0.index.write()?;
            // The daemon may have added a snapshot since: then it is used.
            let Some(mut suite) = write.get::<Suite>(suite_key)?.filter(|suite| suite.snapshots == seen[..left])
            else {
                return Ok(());
            };
            match suite.snapshots.pop() {
                Some(gone) => {
                    write.delete_prefix(&key::entries(gone.id))?;
                    write.put(suite_key, &suite)?;
                }
                None => {
                    write.delete(suite_key)?;
                }
            }
            write.commit()?;
        }
        Ok(())
    }

    fn drop_index(&self, index_key: &[u8], record: IndexRecord) -> Result<(), StoreError> {
        // An index is learnt only of a suite that is known.
        let suites = suites_of(&record);
        let may_go = |write: &Write<'_>| -> Result<bool, StoreError> {
            for suite in &suites {
                if write.has_prefix(&key::of_name(b'S', *suite))? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let mut write = self.0.index.write()?;
        if !may_go(&write)? {
            return Ok(());
        }
        // Till it is gone it is not what it was learnt as.
        let record = IndexRecord { learnt: None, ..record };
        write.put(index_key, &record)?;
        write.commit()?;
        if !self.drop_entries(record.id, &may_go)? {
            return Ok(());
        }
        let mut write = self.0.index.write()?;
        if may_go(&write)? {
            write.delete(index_key)?;
            write.delete(&key::base(&record.host, &record.base, record.id))?;
            write.commit()?;
        }
        Ok(())
    }

    /// Deletes what an index promises; whether it might be done to the end.
    fn drop_entries(&self, id: IndexId, may_go: May<'_>) -> Result<bool, StoreError> {
        loop {
            let mut write = self.0.index.write()?;
            if !may_go(&write)? {
                return Ok(false);
            }
            let count = write.delete_some(&key::entries(id), MERGE_CHANGES)?;
            write.commit()?;
            if count < MERGE_CHANGES {
                return Ok(true);
            }
        }
    }
}

/// The suites that an index may be of.
fn suites_of(record: &IndexRecord) -> Vec<NameHash> {
    catalog::release_dirs(&record.path).map(|dir| NameHash::of(&record.host, dir)).collect()
}
