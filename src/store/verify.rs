//! All stored files hashed again, for the verify command: beside the running daemon or without it.
//!
//! What is not what it should be is dropped, and fetched again when a client asks; not what the daemon has fetched again
//! already. A disk on which nothing can be read is no reason to drop everything: after a few unreadable files in a row it
//! ends. It ends at once at an error that says nothing of the disk: too many open files, no memory, another's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::record::{FileRecord, Record, key};
use super::window::each_window;
use super::{Store, StoreError, at};
use crate::digest::{Digest, PieceHasher};
use crate::limits::{SWEEP_BATCH, UNREADABLE_FILES};
use crate::time::Stamp;

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
    /// Those of the index, those of a disk on which several files in a row cannot be read, and those that say nothing of
    /// the disk.
    pub fn verify_all(&self, now: Stamp, visit: &mut dyn FnMut(Verified)) -> Result<(), StoreError> {
        let (mut after, mut unreadable) = (None, 0);
        loop {
            let batch = self.recorded_files(after, SWEEP_BATCH)?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = Some(*last);
            for (digest, len) in batch {
                let looked_at = self.look_at(&digest, len, unreadable + 1 < UNREADABLE_FILES)?;
                let verdict = looked_at.verdict;
                unreadable = if verdict == Verdict::Unreadable { unreadable + 1 } else { 0 };
                // What a cleanup dropped meanwhile was not lost.
                let is_still = |path: &Path| looked_at.is_still(path);
                let is_known = match verdict {
                    Verdict::Right => true,
                    Verdict::Wrong | Verdict::Unreadable => self.drop_damaged(&digest, now, is_still)?,
                    Verdict::Lost => self.drop_if(&digest, is_still)?,
                };
                if is_known {
                    visit(Verified { digest, len, verdict });
                }
            }
        }
    }

    fn recorded_files(&self, after: Option<Digest>, count: usize) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut batch = Vec::new();
        let after = after.map(|digest| key::of_digest(b'F', &digest));
        self.0.index.read()?.each_after(b"F", after.as_ref().map(<[u8; 33]>::as_slice), &mut |file_key, bytes| {
            let record = FileRecord::decode(bytes).map_err(|_| StoreError::Malformed)?;
            let digest = Digest(file_key[1..].try_into().map_err(|_| StoreError::Malformed)?);
            batch.push((digest, record.len));
            Ok(batch.len() < count)
        })?;
        Ok(batch)
    }

    /// What is at the file's place; `may_be_unreadable`: if so, damage to the disk is a verdict and no error.
    pub(super) fn look_at(&self, digest: &Digest, len: u64, may_be_unreadable: bool) -> Result<LookedAt, StoreError> {
        let path = self.0.file_path(digest);
        let opened = File::open(&path);
        let looked = match &opened {
            Ok(file) => hash(file, digest, len),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Verdict::Lost),
            Err(error) => Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default())),
        };
        let verdict = match looked {
            Err(error) if may_be_unreadable && is_damage(&error) => {
                log::warn!("{}: {error}", path.display());
                Verdict::Unreadable
            }
            other => other.map_err(at(&path))?,
        };
        Ok(LookedAt { verdict, file: opened.ok() })
    }
}

/// A file as it was looked at. While it is open no other can be taken for it.
pub(super) struct LookedAt {
    pub(super) verdict: Verdict,
    /// None when there is none, or none that can be opened.
    file: Option<File>,
}

impl LookedAt {
    /// Whether that is still so, and no other file has come in its place.
    pub(super) fn is_still(&self, path: &Path) -> bool {
        match &self.file {
            Some(file) => is_named(path, file),
            None => self.verdict != Verdict::Lost || !path.exists(),
        }
    }
}

/// Whether this path leads to this file.
pub(super) fn is_named(path: &Path, file: &File) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let named = path.metadata().map(identity);
    file.metadata().map(identity).is_ok_and(|ours| named.is_ok_and(|named| named == ours))
}

/// Whether an error of reading says that the disk has spoilt the file.
pub(super) fn is_damage(error: &io::Error) -> bool {
    // The last two are how ext4 and xfs tell of blocks that cannot be right.
    [Errno::IO, Errno::FAULT, Errno::HWPOISON, Errno::UCLEAN, Errno::BADMSG]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn hash(file: &File, digest: &Digest, len: u64) -> io::Result<Verdict> {
    if file.metadata()?.len() != len {
        return Ok(Verdict::Wrong);
    }
    let mut hasher = PieceHasher::default();
    each_window(file, 0, len, |window| hasher.update(window, |_| ()))?;
    Ok(if hasher.finish() == *digest { Verdict::Right } else { Verdict::Wrong })
}
