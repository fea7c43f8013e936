//! All stored files hashed again, for the verify command: beside the running daemon or without it.
//!
//! What is not what it should be is dropped, and fetched again when a client asks. A disk on which nothing can be read is
//! no reason to drop everything: after a few unreadable files in a row it ends.

use std::fs::File;
use std::io;

use super::record::{FileRecord, Record, key};
use super::window::each_window;
use super::{Store, StoreError, at};
use crate::digest::{Digest, PieceHasher};
use crate::limits::{SWEEP_BATCH, UNREADABLE_FILES};

/// What a stored file proved to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What its digest says.
    Right,
    /// Something else, or cut; it was dropped.
    Wrong,
    /// Unreadable; it was dropped.
    Unreadable,
    /// Recorded, but gone from the disk; the record was dropped.
    Lost,
}

/// A file that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Its identity.
    pub digest: Digest,
    /// Its length in bytes, as recorded.
    pub len: u64,
    /// What it proved to be.
    pub verdict: Verdict,
}

impl Store {
    /// Hashes every stored file and drops what is not right. Each is told to `visit` when it is done.
    ///
    /// # Errors
    /// Those of the index, and those of a disk on which several files in a row cannot be read.
    pub fn verify_all(&self, visit: &mut dyn FnMut(Verified)) -> Result<(), StoreError> {
        let (mut after, mut unreadable) = (None, 0);
        loop {
            let batch = self.recorded_files(after, SWEEP_BATCH)?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = Some(*last);
            for (digest, len) in batch {
                let verdict = match self.look_at(&digest, len) {
                    Ok(verdict) => verdict,
                    Err(error) if unreadable + 1 == UNREADABLE_FILES => return Err(error),
                    Err(error) => {
                        log::warn!("{error}");
                        Verdict::Unreadable
                    }
                };
                unreadable = if verdict == Verdict::Unreadable { unreadable + 1 } else { 0 };
                // What a cleanup dropped meanwhile was not lost.
                let is_known = verdict == Verdict::Right || self.drop_if_recorded(&digest)?;
                if is_known {
                    visit(Verified { digest, len, verdict });
                }
            }
        }
    }

    fn recorded_files(&self, after: Option<Digest>, count: usize) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut batch = Vec::new();
        let after = after.map(|digest| key::of_digest(b'F', &digest));
        self.0.index.read()?.each_after(b"F", after.as_ref().map(<[u8; 33]>::as_slice), |file_key, bytes| {
            let record = FileRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            let digest = Digest(file_key[1..].try_into().map_err(|_| StoreError::Malformed)?);
            batch.push((digest, record.len));
            Ok(batch.len() < count)
        })?;
        Ok(batch)
    }

    fn look_at(&self, digest: &Digest, len: u64) -> Result<Verdict, StoreError> {
        let path = self.0.file_path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Lost),
            other => other.map_err(at(&path))?,
        };
        if file.metadata().map_err(at(&path))?.len() != len {
            return Ok(Verdict::Wrong);
        }
        let mut hasher = PieceHasher::default();
        each_window(&file, 0, len, |window| hasher.update(window, |_| ())).map_err(at(&path))?;
        Ok(if hasher.finish() == *digest { Verdict::Right } else { Verdict::Wrong })
    }

    fn drop_if_recorded(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut write = self.0.index.write()?;
        let known = self.0.drop_record(&mut write, digest)?;
        write.commit()?;
        Ok(known.is_some())
    }
}
