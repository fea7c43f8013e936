//! The disk itself: whether it takes bytes, and whether it is still the one that the store was opened on.
//!
//! A disk that fails must be found out before the index is mapped: touching a page of the map that the disk does not give,
//! or does not take back, ends the process (SIGBUS).

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::record::{VERSION, key};
use super::{Store, StoreError, at};

/// Which file the index lies in: device and inode.
pub(super) type FileId = (u64, u64);

/// The index file in a cache folder, as far as it can be seen.
pub(super) fn index_id(dir: &Path) -> Option<FileId> {
    fs::metadata(dir.join("meta/data.mdb")).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Writes a byte through to the disk. One that is full or can only be read is whole all the same: what is stored serves.
pub(super) fn probe(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("drafts").join(format!("probe-{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(b"\0")?;
        file.sync_all()
    });
    fs::remove_file(&path).ok();
    match written.map_err(at(&path)) {
        Err(StoreError::Full(_)) => Ok(()),
        other => other,
    }
}

impl StoreError {
    /// Whether the disk, or the index for its sake, works no more, so that the store must be opened anew.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            StoreError::Io(_, error) => is_of_disk(error),
            StoreError::Index(heed::Error::Io(error)) => is_of_disk(error),
            StoreError::Index(heed::Error::Mdb(error)) => {
                matches!(error, heed::MdbError::Panic | heed::MdbError::Other(_))
            }
            _ => false,
        }
    }
}

fn is_of_disk(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [Errno::IO, Errno::NXIO, Errno::NODEV, Errno::STALE, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|raw| errors.iter().any(|known| known.raw_os_error() == raw))
}

impl Store {
    /// Whether the cache folder is still the one that was opened, and not another disk or the place where one was.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        index_id(&self.0.dir) == self.0.index_id
    }

    /// Whether the disk still takes bytes, and the index records. One that can only be read has nothing against what is
    /// stored.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn probe(&self) -> Result<(), StoreError> {
        let record = || {
            let mut write = self.0.index.write()?;
            write.put_bytes(key::VERSION, VERSION)?;
            write.commit()
        };
        match probe(&self.0.dir).and_then(|()| record()) {
            Err(error) if error.is_of_disk() => Err(error),
            _ => Ok(()),
        }
    }
}
