//! A file while it is written: hashed as it comes, journalled piece by piece, resumed after a crash.
//!
//! `<digest>.part` holds the bytes, `<digest>.journal` what the mirror said of the file and the midstate after each whole
//! piece; a short one has that only when its download fails. A resumed draft is hashed again and kept as far as it agrees
//! with its journal: after a power failure the journal may be ahead of the bytes. A draft whose digest is learnt only at the
//! end is `new-<process>-<n>.part` until then, and has no journal. Each draft is locked by the process that writes it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::journal::Journal;
use super::record::{FileRecord, key};
use super::waiting::Waiting;
use super::{Store, StoreError, at, lock};
use crate::digest::{Digest, Midstate, PIECE_LEN, PieceHasher};
use crate::limits::{VERIFY_LEN, WAITING_FILES};
use crate::stream::Head;
use crate::time::Stamp;

/// What a draft is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The file with this digest.
    Digest {
        /// Its identity.
        digest: Digest,
        /// Its length, where it is known.
        len: Option<u64>,
    },
    /// Whatever it turns out to be.
    Unknown,
}

/// What is recorded of a finished file besides its digest and length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// The host whose credentials opened it: it is given only to those whose own that host accepts.
    pub owner: Option<String>,
    /// What the mirror said of it.
    pub head: Head,
    /// Whether an index of a public archive promises it: others may have it.
    pub public: bool,
}

/// A finished file.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its identity.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// The file, whole and verified.
    pub file: Arc<File>,
}

/// Why a draft is no file.
#[derive(Debug)]
pub enum FinishError {
    /// It is not what was wanted, and is gone.
    Mismatch {
        /// What it was.
        got: Digest,
    },
    /// The disk failed.
    Store(StoreError),
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FinishError::Mismatch { got } => write!(f, "the file's SHA-256 is {got}, which is not what was promised"),
            FinishError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FinishError {}

impl From<FinishError> for StoreError {
    fn from(error: FinishError) -> StoreError {
        match error {
            FinishError::Store(error) => error,
            FinishError::Mismatch { .. } => StoreError::Malformed,
        }
    }
}

/// A file that is being written.
pub struct Draft {
    store: Store,
    want: Want,
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) journal: Option<Journal>,
    head: Option<Head>,
    pub(super) hasher: PieceHasher,
    pub(super) midstates: Vec<Midstate>,
    /// Whether the file stays when the draft is dropped.
    pub(super) keep: bool,
    /// It was begun anew: the file may be longer than what is in place.
    was_restarted: bool,
}

impl Store {
    /// Begins a draft, or resumes it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process, or another thread of this one, writes the same file;
    /// [`StoreError::Behind`] while what is finished cannot be recorded.
    pub fn draft(&self, want: Want) -> Result<Draft, StoreError> {
        if self.0.waiting().len() >= WAITING_FILES {
            return Err(StoreError::Behind);
        }
        match want {
            Want::Unknown => self.draft_aside(want),
            Want::Digest { digest, .. } => self.named_draft(want, digest),
        }
    }

    /// Begins a draft that nobody else can be writing, and that is not resumed: for a file that another process or thread
    /// is writing at the same time. It must become what is wanted all the same.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn draft_aside(&self, want: Want) -> Result<Draft, StoreError> {
        loop {
            let number = {
                let mut next = lock(&self.0.next_draft);
                *next = next.wrapping_add(1);
                *next
            };
            let path = self.0.draft_path(&format!("new-{}-{number}", std::process::id()), "part");
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    try_lock(&file).map_err(at(&path))?;
                    return Ok(self.fresh(want, file, path, None));
                }
                // A process with our number left it, or is writing it in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
    }

    fn named_draft(&self, want: Want, digest: Digest) -> Result<Draft, StoreError> {
        let name = digest.to_string();
        let path = self.0.draft_path(&name, "part");
        let journal_path = self.0.draft_path(&name, "journal");
        let file = open_locked(&path, digest)?;
        let journal = Journal::open(journal_path)?;
        let mut draft = self.fresh(want, file, path, Some(journal));
        draft.keep = true;
        draft.resume()?;
        Ok(draft)
    }

    pub(super) fn fresh(&self, want: Want, file: File, path: PathBuf, journal: Option<Journal>) -> Draft {
        Draft {
            store: self.clone(),
            want,
            file: Arc::new(file),
            path,
            journal,
            head: None,
            hasher: PieceHasher::default(),
            midstates: Vec::new(),
            keep: false,
            was_restarted: false,
        }
    }
}

/// Opens a draft's file and locks it; the file that was locked must still be the one that the path names.
pub(super) fn open_locked(path: &Path, digest: Digest) -> Result<File, StoreError> {
    for _ in 0..3 {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(at(path))?;
        if let Err(error) = try_lock(&file) {
            return match error.kind() {
                io::ErrorKind::WouldBlock => Err(StoreError::Busy { digest }),
                _ => Err(at(path)(error)),
            };
        }
        let same = |named: fs::Metadata| file.metadata().is_ok_and(|ours| ours.ino() == named.ino());
        if fs::metadata(path).is_ok_and(same) {
            return Ok(file);
        }
    }
    Err(StoreError::Busy { digest })
}

/// Takes the lock that says that somebody writes here.
pub(super) fn try_lock(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

impl Draft {
    /// The file that grows.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Bytes in place.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hasher.is_empty()
    }

    /// What the bytes in place came with.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Notes what the bytes that follow come with; called while the draft is empty.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin(&mut self, head: Head) -> Result<(), StoreError> {
        if let Some(journal) = &mut self.journal {
            journal.begin(&head)?;
        }
        self.head = Some(head);
        Ok(())
    }

    /// Appends bytes: all of them, or, with an error, none.
    ///
    /// # Errors
    /// Those of the disk; the draft is as it was before.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, self.len()).map_err(at(&self.path))?;
        let first_new = self.midstates.len();
        let midstates = &mut self.midstates;
        self.hasher.update(bytes, |midstate| midstates.push(midstate));
        if let Some(journal) = &mut self.journal {
            journal.note(&self.midstates, first_new);
        }
        Ok(())
    }

    /// Forgets all bytes in place. The file is not cut before its end is known: others may have written pieces to it, or be
    /// writing them, that are to be taken over ([`Draft::graft`]).
    ///
    /// # Errors
    /// Those of the disk.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.was_restarted = true;
        self.hasher = PieceHasher::default();
        self.midstates.clear();
        self.head = None;
        if let Some(journal) = &mut self.journal {
            journal.clear()?;
        }
        Ok(())
    }

    /// The hash of the bytes so far, to go on with elsewhere; the draft is discarded.
    #[must_use]
    pub fn into_hasher(mut self) -> PieceHasher {
        self.keep = false;
        std::mem::take(&mut self.hasher)
    }

    /// Deletes the draft.
    pub fn discard(mut self) {
        self.keep = false;
    }

    /// The last byte is there: from here on the file can be opened by its digest. It is recorded with the next batch,
    /// which is not made here: whoever waits for the file shall not wait for the disk ([`Store::commit_full`]).
    ///
    /// # Errors
    /// [`FinishError::Mismatch`] when it is not what was wanted: then it is gone.
    pub fn finish(mut self, meta: FileMeta, now: Stamp) -> Result<Finished, FinishError> {
        let len = self.len();
        let digest = std::mem::take(&mut self.hasher).finish();
        let expected = match self.want {
            Want::Digest { digest: wanted, len: wanted_len } => {
                digest == wanted && wanted_len.is_none_or(|wanted| wanted == len)
            }
            Want::Unknown => true,
        };
        if !expected {
            self.keep = false;
            return Err(FinishError::Mismatch { got: digest });
        }
        if self.was_restarted {
            self.truncate(len).map_err(FinishError::Store)?;
        }
        let store = self.store.clone();
        if let Some(stored) = store.keep_known(&digest, &meta, now).map_err(FinishError::Store)? {
            self.keep = false;
            return Ok(Finished { digest, len, file: stored });
        }
        // The last midstate of a file of whole pieces is no part of its table.
        let pieces = len.div_ceil(PIECE_LEN);
        self.midstates.truncate(usize::try_from(pieces.saturating_sub(1)).expect("a table fits memory"));
        self.keep = true;
        let path = store.name_finished(&digest, &self.path);
        let file = Arc::clone(&self.file);
        let waiting = Waiting {
            file: Arc::clone(&file),
            path,
            journal: self.journal.as_ref().and_then(Journal::file),
            len,
            meta,
            midstates: std::mem::take(&mut self.midstates),
        };
        store.wait(digest, waiting, now);
        Ok(Finished { digest, len, file })
    }

    fn truncate(&self, len: u64) -> Result<(), StoreError> {
        self.file.set_len(len).map_err(at(&self.path))
    }

    /// Takes up what an earlier process left: the whole pieces that its journal vouches for and its bytes agree with, or
    /// all of it if it is complete.
    fn resume(&mut self) -> Result<(), StoreError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let Some((head, journalled)) = journal.read()? else {
            journal.clear()?;
            // One that was just made is empty.
            return if self.file.metadata().map_err(at(&self.path))?.len() == 0 { Ok(()) } else { self.truncate(0) };
        };
        let (hasher, mut midstates) = self.hash_again()?;
        let is_whole = match self.want {
            Want::Digest { digest, len } => {
                len.is_none_or(|len| len == hasher.len()) && hasher.clone().finish() == digest
            }
            Want::Unknown => false,
        };
        if is_whole {
            (self.hasher, self.midstates, self.head) = (hasher, midstates, Some(head));
            return Ok(());
        }
        // Bytes behind the last journalled piece may never have reached the disk.
        let agreed = midstates.iter().zip(&journalled).take_while(|(ours, theirs)| ours == theirs).count();
        midstates.truncate(agreed);
        self.hasher = match midstates.last() {
            Some(last) => PieceHasher::resume(*last, agreed as u64),
            None => PieceHasher::default(),
        };
        self.truncate(self.hasher.len())?;
        let journal = self.journal.as_mut().expect("matched above");
        journal.rewrite(&head, &midstates)?;
        (self.midstates, self.head) = (midstates, Some(head));
        Ok(())
    }

    pub(super) fn hash_again(&self) -> Result<(PieceHasher, Vec<Midstate>), StoreError> {
        let (mut hasher, mut midstates) = (PieceHasher::default(), Vec::new());
        let mut buffer = vec![0; VERIFY_LEN];
        loop {
            let read = self.file.read_at(&mut buffer, hasher.len()).map_err(at(&self.path))?;
            if read == 0 {
                return Ok((hasher, midstates));
            }
            hasher.update(&buffer[..read], |midstate| midstates.push(midstate));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.keep {
            if let Some(journal) = &mut self.journal {
                // A finished one has given them away.
                journal.begin_file(&self.midstates);
            }
            return;
        }
        fs::remove_file(&self.path).ok();
        if let Some(journal) = &self.journal {
            journal.delete();
        }
    }
}

impl Store {
    /// If the file is stored already: that one. It belongs to nobody any more when it came without credentials, and is
    /// public from now on when it came so.
    fn keep_known(&self, digest: &Digest, meta: &FileMeta, now: Stamp) -> Result<Option<Arc<File>>, StoreError> {
        let Some(stored) = self.open_file(digest, now)? else { return Ok(None) };
        let (freed, published) = (stored.owner.is_some() && meta.owner.is_none(), meta.public && !stored.public);
        if freed || published {
            if let Some(waiting) = self.0.waiting().get_mut(digest) {
                waiting.meta.owner = waiting.meta.owner.take().filter(|_| !freed);
                waiting.meta.public |= published;
            }
            let mut write = self.0.index.write()?;
            let key = key::of_digest(b'F', digest);
            if let Some(mut record) = write.get::<FileRecord>(&key)? {
                record.owner = record.owner.filter(|_| !freed);
                record.public |= published;
                write.put(&key, &record)?;
                write.commit()?;
            }
        }
        Ok(Some(stored.file))
    }
}
