//! Whole files: opened by their digest, recorded in batches, dropped.
//!
//! What happens to a file's bytes, in this order, so that a power failure at any moment leaves a record without its file
//! or a file without its record, and never a record of a wrong file:
//!
//! 1. written to a draft, and hashed on the way; the digest holds
//! 2. served from the draft; within seconds a batch takes it up:
//! 3. fdatasync of each draft
//! 4. a write transaction begins; each draft is renamed into `files/`; the folders touched are synced
//! 5. the records are put; the transaction commits, which syncs the index
//! 6. the journals are deleted, and the log of finished drafts

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::index::Write;
use super::record::{FileRecord, key};
use super::verify::{is_damage, is_named};
use super::waiting::Waiting;
use super::{Inner, Store, StoreError, at, lock};
use crate::digest::{Digest, Midstate, NameHash, PieceHasher};
use crate::limits::{
    BATCH_FILES, BATCH_TIME_S, FETCH_THREADS, LEARN_READ_LEN, LOST_MEMORY, READ_AHEAD_LEN, SPOILT_MEMORY,
    TOUCH_TIME_S, VERIFY_LEN, WAITING_FILES,
};
use crate::sorted::SortedSet;
use crate::stream::Head;
use crate::time::Stamp;

/// A stored file, open.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file.
    pub file: Arc<File>,
    /// Its length in bytes.
    pub len: u64,
    /// The host whose credentials opened it: it is given only to those whose own that host accepts.
    pub owner: Option<String>,
    /// What the mirror said of it.
    pub head: Head,
    /// Whether others may have it, as long as it belongs to nobody.
    pub public: bool,
    /// Whether the index has it: till then the disk may yet refuse it, and it would be fetched again.
    pub recorded: bool,
}

/// Asks the kernel to read the beginning of this part ahead, so that the edge's sendfile does not wait for a slow disk.
pub fn read_ahead(file: &File, start: u64, len: u64) {
    let len = NonZeroU64::new(len.min(READ_AHEAD_LEN));
    rustix::fs::fadvise(file, start, len, rustix::fs::Advice::WillNeed).ok();
}

/// Reads a shared file from its start, without moving the position that others may use.
pub fn reader(file: Arc<File>) -> impl Read {
    std::io::BufReader::with_capacity(LEARN_READ_LEN, Positioned { file, at: 0 })
}

struct Positioned {
    file: Arc<File>,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Opens a stored file. Its recency is its modification time, which is renewed when it is older than an hour: a hit
    /// never writes the index.
    ///
    /// # Errors
    /// Those of the disk; a file that is missing or cut is no error, but not there.
    pub fn open_file(&self, digest: &Digest, now: Stamp) -> Result<Option<Stored>, StoreError> {
        if let Some(waiting) = self.0.waiting().get(digest) {
            return Ok(Some(waiting.stored()));
        }
        if lock(&self.0.spoilt).contains(digest) {
            return Ok(None);
        }
        let record = self.0.index.read()?.get::<FileRecord>(&key::of_digest(b'F', digest))?;
        let Some(record) = record else { return Ok(None) };
        let Some((stored, used)) = open_whole(&self.0.file_path(digest), &record)? else {
            self.note_lost(*digest);
            return Ok(None);
        };
        // A time to come is one of a clock that was set right since: it would make the file the last to go for ever.
        if now.secs_since(used) >= TOUCH_TIME_S || used.secs_since(now) >= TOUCH_TIME_S {
            // A disk that can only be read keeps no recency.
            stored.file.set_modified(UNIX_EPOCH + Duration::from_secs(now.0)).ok();
        }
        Ok(Some(stored))
    }

    /// Whether the file is stored, without opening it.
    ///
    /// # Errors
    /// Those of the index.
    pub fn has_file(&self, digest: &Digest) -> Result<bool, StoreError> {
        if self.0.waiting().contains_key(digest) {
            return Ok(true);
        }
        if lock(&self.0.spoilt).contains(digest) {
            return Ok(false);
        }
        self.0.index.read()?.has(&key::of_digest(b'F', digest))
    }

    /// The midstates after each piece but the last.
    ///
    /// # Errors
    /// Those of the index.
    pub fn piece_table(&self, digest: &Digest) -> Result<Option<Vec<Midstate>>, StoreError> {
        if let Some(waiting) = self.0.waiting().get(digest) {
            return Ok(Some(waiting.midstates.clone()));
        }
        let read = self.0.index.read()?;
        let Some(bytes) = read.bytes(&key::of_digest(b'P', digest))? else { return Ok(None) };
        let (midstates, []) = bytes.as_chunks::<32>() else { return Err(StoreError::Malformed) };
        Ok(Some(midstates.iter().copied().map(Midstate).collect()))
    }

    /// Hashes a stored file again. One that is not what it should be, or that cannot be read, is dropped; `false` says so.
    ///
    /// # Errors
    /// Those of the disk and the index, and those that say nothing of the disk: then nothing is dropped. One that is wrong
    /// and cannot be dropped is not served any more.
    pub fn verify_file(&self, digest: &Digest, now: Stamp) -> Result<bool, StoreError> {
        let path = self.0.file_path(digest);
        let Ok(mut file) = File::open(&path) else { return Ok(true) };
        let mut hasher = PieceHasher::default();
        let mut buffer = vec![0; VERIFY_LEN];
        let right = loop {
            match file.read(&mut buffer) {
                Ok(0) => break hasher.finish() == *digest,
                Ok(read) => hasher.update(&buffer[..read], |_| ()),
                Err(error) if is_damage(&error) => {
                    log::warn!("{}: {error}", path.display());
                    break false;
                }
                Err(error) => return Err(at(&path)(error)),
            }
        };
        if !right && let Err(error) = self.drop_damaged(digest, now, |path| is_named(path, &file)) {
            let mut spoilt = lock(&self.0.spoilt);
            if spoilt.len() < SPOILT_MEMORY {
                spoilt.insert(*digest);
            }
            self.0.changes.fetch_add(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(right)
    }

    /// Drops a file that proved wrong.
    ///
    /// # Errors
    /// Those of the disk and the index.
    pub fn drop_file(&self, digest: &Digest) -> Result<(), StoreError> {
        self.drop_if(digest, |_| true).map(|_| ())
    }

    /// Drops a file if what is at its place still says so: files come to their places inside a transaction, so that none
    /// comes meanwhile. Whether it was dropped.
    pub(super) fn drop_if(&self, digest: &Digest, is_so: impl FnOnce(&Path) -> bool) -> Result<bool, StoreError> {
        let mut write = self.0.index.write()?;
        if !is_so(&self.0.file_path(digest)) {
            return Ok(false);
        }
        let known = self.0.drop_record(&mut write, digest)?;
        write.commit()?;
        Ok(known.is_some())
    }

    /// Files and bytes stored, as recorded.
    ///
    /// # Errors
    /// Those of the index.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let counters = self.0.index.read()?.counters()?;
        Ok(Usage { files: counters.files, bytes: counters.bytes })
    }

    /// The bytes that the cache may hold when nobody says how many: 80% of what its disk has for it, at most 50 GB; on a
    /// tmpfs an eighth of the memory, at most 16 MB.
    ///
    /// # Errors
    /// Those of the disk and the index.
    pub fn default_max_bytes(&self) -> Result<u64, StoreError> {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let (kind, free) = self.disk()?;
        if kind == TMPFS_MAGIC {
            let memory = rustix::system::sysinfo();
            let bytes = memory.totalram as u64 * u64::from(memory.mem_unit);
            return Ok((bytes / 8).min(16 << 20));
        }
        Ok(((free.saturating_add(self.usage()?.bytes)) / 10 * 8).min(50 << 30))
    }

    /// The bytes that its disk has left.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn bytes_free(&self) -> Result<u64, StoreError> {
        self.disk().map(|(_, free)| free)
    }

    /// Which kind of file system the cache lies on, and the bytes that it has left.
    fn disk(&self) -> Result<(u64, u64), StoreError> {
        let dir = &self.0.dir;
        let fs = rustix::fs::statfs(dir).map_err(|error| at(dir)(error.into()))?;
        let free = (fs.f_bavail as u64).saturating_mul(fs.f_bsize as u64);
        Ok((fs.f_type as u64 & 0xffff_ffff, free))
    }

    /// Records what was finished, if the oldest of it has waited long enough.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn commit_due(&self, now: Stamp) -> Result<(), StoreError> {
        let since = *lock(&self.0.waiting_since);
        match since {
            Some(since) if now.secs_since(since) >= BATCH_TIME_S || now < since => self.commit(now),
            _ => Ok(()),
        }
    }

    /// Records all that was finished. A file whose turn fails stays in its draft for the next batch; one that the disk did not
    /// take is dropped.
    ///
    /// # Errors
    /// Those of the disk and the index.
    pub fn commit(&self, now: Stamp) -> Result<(), StoreError> {
        // One batch at a time: two would move the same drafts.
        let turn = lock(&self.0.batch_turn);
        self.commit_in_turn(&turn, now)
    }

    /// Records what was finished, if that makes a batch; for a thread whose clients have their bytes. Others go on
    /// meanwhile, and wait for the disk only when there would be no room for what they finish next.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn commit_full(&self, now: Stamp) -> Result<(), StoreError> {
        let count = self.0.waiting().len();
        if count < BATCH_FILES {
            return Ok(());
        }
        if count < WAITING_FILES - FETCH_THREADS {
            return match self.0.batch_turn.try_lock() {
                Ok(turn) => self.commit_in_turn(&turn, now),
                Err(_) => Ok(()),
            };
        }
        let turn = lock(&self.0.batch_turn);
        // Whoever had the turn may have made the room.
        if self.0.waiting().len() < BATCH_FILES { Ok(()) } else { self.commit_in_turn(&turn, now) }
    }

    fn commit_in_turn(&self, _turn: &MutexGuard<'_, ()>, now: Stamp) -> Result<(), StoreError> {
        *lock(&self.0.waiting_since) = None;
        let lost = std::mem::take(&mut *lock(&self.0.lost));
        let batch: Vec<Digest> = self.0.waiting().keys().copied().collect();
        if batch.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let used = std::mem::take(&mut *lock(&self.0.used));
        let recorded = self.0.record_batch(&batch, &lost, &used, now);
        self.forget_recorded(now);
        // One whose turn failed has the next one in time, also when nothing else is finished.
        if !self.0.waiting().is_empty() {
            lock(&self.0.waiting_since).get_or_insert(now);
        }
        recorded
    }

    fn note_lost(&self, digest: Digest) {
        let mut lost = lock(&self.0.lost);
        if lost.len() < LOST_MEMORY && !lost.contains(&digest) {
            lost.push(digest);
        }
    }
}

impl Inner {
    fn record_batch(
        &self,
        batch: &[Digest],
        lost: &[Digest],
        used: &HashSet<NameHash>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let (mut synced, mut failed) = (Vec::new(), None);
        for digest in batch {
            // Not under the lock: requests look there, and a sync takes long.
            let Some(file) = self.waiting().get(digest).map(|waiting| Arc::clone(&waiting.file)) else { continue };
            match file.sync_data() {
                Ok(()) => synced.push(*digest),
                // The system tells of a lost write once: a second sync would vouch for bytes that are not there.
                Err(error) => failed = self.forget_waiting(digest, error).or(failed),
            }
        }
        let mut write = self.index.write()?;
        for digest in lost.iter().filter(|digest| !self.file_path(digest).exists()) {
            self.drop_record(&mut write, digest)?;
        }
        Store::write_used(&mut write, used, now)?;
        let mut folders = SortedSet::new();
        let mut done = Vec::new();
        for digest in synced {
            match self.move_in(&mut write, &digest, now) {
                Ok(folder) => {
                    folders.insert(folder);
                    done.push(digest);
                }
                // Somebody has deleted it.
                Err(StoreError::Io(_, error)) if self.is_gone(&digest) => {
                    failed = self.forget_waiting(&digest, error).or(failed);
                }
                Err(error) => log::warn!("{error}; the file stays in its draft"),
            }
        }
        for folder in &folders {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
        }
        write.commit()?;
        for digest in done {
            lock(&self.spoilt).remove(&digest);
            let waiting = self.waiting().remove(&digest);
            if let Some(journal) = waiting.and_then(|waiting| waiting.journal) {
                fs::remove_file(journal).ok();
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether a finished draft lies neither where it was written nor where it belongs, though there is a cache.
    fn is_gone(&self, digest: &Digest) -> bool {
        let draft = self.waiting().get(digest).map(|waiting| waiting.path.clone());
        let is_missing =
            |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        draft.is_some_and(|draft| is_missing(&draft))
            && is_missing(&self.file_path(digest))
            && self.dir.join("drafts").is_dir()
    }

    /// A finished draft whose bytes the disk did not take: it is fetched again when it is next asked for.
    fn forget_waiting(&self, digest: &Digest, error: std::io::Error) -> Option<StoreError> {
        let Waiting { path, journal, .. } = self.waiting().remove(digest)?;
        for path in journal.iter().chain([&path]) {
            fs::remove_file(path).ok();
        }
        let error = at(&path)(error);
        log::warn!("{error}; what was downloaded there is dropped");
        Some(error)
    }

    /// Renames a finished draft into `files/` and puts its record; the folder it went to.
    fn move_in(&self, write: &mut Write<'_>, digest: &Digest, now: Stamp) -> Result<PathBuf, StoreError> {
        let path = self.file_path(digest);
        let folder = path.parent().expect("a file lies in a folder").to_owned();
        let (from, len, meta, midstates) = match self.waiting().get(digest) {
            Some(waiting) => (waiting.path.clone(), waiting.len, waiting.meta.clone(), waiting.midstates.clone()),
            None => return Err(StoreError::Malformed),
        };
        match fs::rename(&from, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !folder.exists() => {
                fs::create_dir(&folder).map_err(at(&folder))?;
                fs::rename(&from, &path).map_err(at(&path))?;
            }
            // A batch that failed after its renames is tried again.
            Err(error) if error.kind() == ErrorKind::NotFound && path.exists() => {}
            other => other.map_err(at(&path))?,
        }
        let file_key = key::of_digest(b'F', digest);
        let known = write.get::<FileRecord>(&file_key)?;
        let known_len = known.as_ref().map_or(0, |known| known.len);
        let owner = meta.owner.filter(|_| known.as_ref().is_none_or(|known| known.owner.is_some()));
        let public = meta.public || known.as_ref().is_some_and(|known| known.public);
        let record = FileRecord { stored: now, unreferenced: Stamp(0), public, owner, len, head: meta.head };
        write.put(&file_key, &record)?;
        let table: Vec<u8> = midstates.iter().flat_map(|midstate| midstate.0).collect();
        if !table.is_empty() {
            write.put_bytes(&key::of_digest(b'P', digest), &table)?;
        }
        write.count(|counters| {
            counters.files = counters.files.saturating_add(u64::from(known.is_none()));
            counters.bytes = counters.bytes.saturating_add(len).saturating_sub(known_len);
        })?;
        Ok(folder)
    }

    /// Deletes a file and its records inside a transaction; its length, if it was recorded.
    pub(super) fn drop_record(&self, write: &mut Write<'_>, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let file_key = key::of_digest(b'F', digest);
        let record = write.get::<FileRecord>(&file_key)?;
        let path = self.file_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
        let Some(FileRecord { len, .. }) = record else { return Ok(None) };
        write.delete(&file_key)?;
        write.delete(&key::of_digest(b'P', digest))?;
        write.count(|counters| {
            counters.files = counters.files.saturating_sub(1);
            counters.bytes = counters.bytes.saturating_sub(len);
        })?;
        Ok(Some(len))
    }
}

/// Opens a recorded file, with when it was last used; `None` if it is missing or cut.
pub(super) fn open_whole(path: &Path, record: &FileRecord) -> Result<Option<(Stored, Stamp)>, StoreError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let metadata = file.metadata().map_err(at(path))?;
    let FileRecord { len, owner, head, public, .. } = record.clone();
    if metadata.len() != len {
        log::warn!("{} is {} bytes long instead of {len}; it is fetched again", path.display(), metadata.len());
        return Ok(None);
    }
    let used = metadata.modified().ok().map_or(Stamp(0), stamp);
    Ok(Some((Stored { file: Arc::new(file), len, owner, head, public, recorded: true }, used)))
}

/// A file's time as the calendar has it.
pub(super) fn stamp(time: SystemTime) -> Stamp {
    Stamp(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
