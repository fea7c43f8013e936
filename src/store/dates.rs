//! Whose dates to believe when some are of the future: the clock is behind, or was ahead once.
//!
//! The archives know: no Release is dated after the day on which it is read. A clock that is before the newest one is
//! behind, and nothing is to be told old by it. Otherwise what is of the future was dated by a clock that was ahead, and
//! would count as new till then: it is dated back to now.

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use super::record::{FileRecord, Record, Suite, key};
use super::sweep::Known;
use super::{Store, StoreError};
use crate::limits::SWEEP_BATCH;
use crate::time::Stamp;

impl Store {
    /// Whether the clock is behind; `newest` is when the newest file came.
    pub(super) fn is_behind(&self, now: Stamp, newest: Stamp) -> Result<bool, StoreError> {
        if newest <= now {
            return Ok(false);
        }
        let mut is_behind = false;
        self.0.index.read()?.each(b"S", |_, bytes| {
            let suite = Suite::decode(bytes).map_err(|_| StoreError::Malformed)?;
            is_behind = suite.snapshots.iter().any(|snapshot| snapshot.date > now);
            Ok(!is_behind)
        })?;
        Ok(is_behind)
    }

    /// Dates what is of the future as of now.
    pub(super) fn date_back(&self, known: &[Known], now: Stamp) -> Result<(), StoreError> {
        for file in known.iter().filter(|file| self.used_at(file) > now) {
            let path = self.0.file_path(&file.digest);
            // A disk that can only be read keeps no recency.
            File::open(path).and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(now.0))).ok();
        }
        let late: Vec<_> = known.iter().filter(|file| file.stored.max(file.unreferenced) > now).collect();
        for batch in late.chunks(SWEEP_BATCH) {
            let mut write = self.0.index.write()?;
            for file in batch {
                let file_key = key::of_digest(b'F', &file.digest);
                if let Some(record) = write.get::<FileRecord>(&file_key)? {
                    let (stored, unreferenced) = (record.stored.min(now), record.unreferenced.min(now));
                    write.put(&file_key, &FileRecord { stored, unreferenced, ..record })?;
                }
            }
            write.commit()?;
        }
        self.date_notes_back(now)
    }

    /// The same for notes of what clients use.
    fn date_notes_back(&self, now: Stamp) -> Result<(), StoreError> {
        let mut late = Vec::new();
        for kind in [b"W", b"U"] {
            self.0.index.read()?.each(kind, |note_key, bytes| {
                if Stamp::decode(bytes).map_err(|_| StoreError::Malformed)? > now {
                    late.push(note_key.to_vec());
                }
                Ok(true)
            })?;
        }
        for batch in late.chunks(SWEEP_BATCH) {
            let mut write = self.0.index.write()?;
            for note_key in batch {
                write.put(note_key, &now)?;
            }
            write.commit()?;
        }
        Ok(())
    }
}
