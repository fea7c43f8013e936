//! The disk: verified files named by their digest, and an index of what is known.
//!
//! ```text
//! <cache>/meta/       the index (LMDB)
//! <cache>/files/ab/…  whole verified files, named by digest
//! <cache>/drafts/…    files being written, the longer ones with a journal of their midstates
//! ```
//!
//! | module | what |
//! |---|---|
//! | `record` | the index's records, byte by byte |
//! | `index` | LMDB: transactions |
//! | `dates` | what a clock that was ahead has dated |
//! | `disk` | whether the disk works, and is still the same |
//! | `draft` | a file while it is written: hashed, resumed |
//! | `graft` | a draft takes over pieces from others |
//! | `journal` | what vouches for its pieces after a crash |
//! | `files` | whole files: opened, recorded in batches, dropped |
//! | `damage` | what the disk has spoilt |
//! | `names` | mutable names and Release snapshots |
//! | `sort` | an index's entries in the order of their keys |
//! | `learn` | promises: merged from an index's new version, looked up |
//! | `leftovers` | what crashes and clients who left have left |
//! | `liars` | addresses that lied |
//! | `shared` | what others may have |
//! | `shelf` | where the open store stands, while it is there |
//! | `sweep` | what may go, and letting it go |
//! | `unused` | suites that nobody uses any more, and their indexes |
//! | `verify` | all files hashed again |
//! | [`window`] | a file's bytes through the memory map |
//!
//! A file enters `files/` only whole and verified, by a rename inside the transaction that records it, after its bytes
//! were synced; it leaves inside one too. A crash leaves one of two harmless states: a record without its file (a miss)
//! or a file without a record (swept after a day). The order of every sync stands in [`files`].
//!
//! Any number of processes may use one cache: LMDB's lock is the only one, but for each draft's own.

mod damage;
mod dates;
mod disk;
mod draft;
pub mod files;
mod finished;
mod graft;
mod index;
mod journal;
mod learn;
mod leftovers;
mod liars;
mod names;
mod record;
mod shared;
mod shelf;
mod sort;
mod sweep;
mod unused;
mod used;
mod verify;
mod waiting;
pub mod window;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::damage::Damage;
pub use self::draft::{Draft, FileMeta, FinishError, Finished, Want};
pub use self::files::{Stored, Usage, read_ahead, reader};
pub use self::learn::{Feed, LearnError, LearnReport, Put};
pub use self::liars::Liar;
pub use self::names::NewSnapshot;
pub use self::record::{IndexId, NameRecord, Snapshot};
pub use self::shared::Shared;
pub use self::shelf::Shelf;
pub use self::sweep::{Dropped, SweepOptions, SweepReport};
pub use self::verify::{Verdict, Verified};

use self::finished::FinishedLog;
use self::index::Index;
use self::waiting::Waiting;
use crate::digest::{Digest, NameHash};
use crate::limits::INDEX_MAP_LEN;
use crate::time::Stamp;

/// Why the store could not do something.
#[derive(Debug)]
pub enum StoreError {
    /// There is no cache in this folder.
    NoCache(PathBuf),
    /// The disk is full.
    Full(PathBuf),
    /// The disk can only be read.
    ReadOnly(PathBuf),
    /// Another error of the disk.
    Io(PathBuf, io::Error),
    /// The index cannot be read or written.
    Index(heed::Error),
    /// A record of the index is not what its key says.
    Malformed,
    /// The index is of another version of this program.
    OtherVersion,
    /// Another process writes this very file.
    Busy {
        /// Its digest.
        digest: Digest,
    },
    /// As many finished files wait to be recorded as may.
    Behind,
    /// The index has no room for more archives.
    IndexFull,
    /// The clock is before the newest file of the cache, and before the newest Release: it cannot be told what is old.
    ClockBehind {
        /// The clock.
        now: Stamp,
        /// When the newest file came.
        newest: Stamp,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NoCache(path) => {
                write!(
                    f,
                    "there is no cache in {}: mount its disk, or name its folder with --cache",
                    path.display()
                )
            }
            StoreError::Full(path) => {
                write!(
                    f,
                    "the disk is full ({}): free some space, or give the cache less with --max-size",
                    path.display()
                )
            }
            StoreError::ReadOnly(path) => {
                write!(
                    f,
                    "{} is read-only: mount it for writing, or name another folder with --cache",
                    path.display()
                )
            }
            StoreError::Io(path, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "{} may not be used by this user: change its owner, or name another folder with --cache",
                path.display()
            ),
            StoreError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            StoreError::Index(heed::Error::Mdb(heed::MdbError::MapFull)) => {
                f.write_str("the cache's index is full; it is made anew when apt-p2p is restarted")
            }
            StoreError::Index(error) => write!(f, "the cache's index: {error}"),
            StoreError::Malformed => f.write_str("the cache's index has a damaged record"),
            StoreError::OtherVersion => f.write_str("the cache's index is of another version of apt-p2p"),
            StoreError::Busy { digest } => write!(f, "{digest} is being written by another process"),
            StoreError::Behind => f.write_str("finished files cannot be recorded; the log says why"),
            StoreError::IndexFull => f.write_str(
                "the cache's index is nearly full, so no more archives are learnt: apt-p2p cleanup lets go of those that \
                 nobody has used for half a year",
            ),
            StoreError::ClockBehind { now, newest } => write!(
                f,
                "the clock ({} s) is before the newest file of the cache ({} s), so only the cache's size was seen to: set \
                 it, and run apt-p2p cleanup",
                now.0, newest.0
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> StoreError {
        match error {
            heed::Error::Io(error) => at(Path::new("the cache's index"))(error),
            other => StoreError::Index(other),
        }
    }
}

/// Names the file in an error of the disk, and tells the errors apart that a person can do something about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(path.to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(path.to_owned()),
        _ => StoreError::Io(path.to_owned(), error),
    }
}

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cache folder; made if it is not there.
    pub dir: PathBuf,
}

/// An open store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    index: Index,
    /// Where that lies.
    index_id: Option<disk::FileId>,
    /// Finished files that wait to be recorded, which are served from their drafts until then.
    waiting: Mutex<HashMap<Digest, Waiting>>,
    /// What the next process is told of them, if this one is killed.
    finished: Mutex<FinishedLog>,
    /// When the first of them came.
    waiting_since: Mutex<Option<Stamp>>,
    /// Held while a batch is recorded.
    batch_turn: Mutex<()>,
    /// Records whose file was found missing; dropped with the next batch.
    lost: Mutex<Vec<Digest>>,
    /// Files that proved wrong and could not be dropped: they are not there.
    spoilt: Mutex<HashSet<Digest>>,
    /// How often that grew: the index does not know of it. 32 bits, for mips has no wider atomics.
    changes: AtomicU32,
    /// Packages that clients use; noted with the next batch.
    used: Mutex<HashSet<NameHash>>,
    /// Makes the names of drafts unique that have no digest yet.
    next_draft: Mutex<u32>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store in {}", self.0.dir.display())
    }
}

impl Store {
    /// Opens the store, or makes it. An index that cannot be used (of another version or word size, damaged, or full) is moved
    /// aside and made anew: it can always be rebuilt from what clients ask for.
    ///
    /// # Errors
    /// When the folder cannot be made or written to, or the index cannot be mapped.
    pub fn open(options: &Options) -> Result<Store, StoreError> {
        Store::open_sized(options, INDEX_MAP_LEN, false)
    }

    /// The same for the proxy that runs on this folder, which has opened it before: the lock that says so is its own.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_again(options: &Options) -> Result<Store, StoreError> {
        Store::open_sized(options, INDEX_MAP_LEN, true)
    }

    /// The same of a cache that must be there: a wrong name, or a disk that is not mounted, is no empty cache.
    ///
    /// # Errors
    /// [`StoreError::NoCache`] too.
    pub fn open_existing(options: &Options) -> Result<Store, StoreError> {
        match fs::symlink_metadata(options.dir.join("meta")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NoCache(options.dir.clone())),
            _ => Store::open(options),
        }
    }

    fn open_sized(options: &Options, map_len: usize, is_ours: bool) -> Result<Store, StoreError> {
        let dir = options.dir.clone();
        for part in ["meta", "files", "drafts"] {
            let path = dir.join(part);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(at(&path))?;
        }
        disk::probe(&dir)?;
        let index = open_index(&dir, map_len, is_ours)?;
        let store = Store(Arc::new(Inner {
            index_id: disk::index_id(&dir),
            dir,
            index,
            waiting: Mutex::default(),
            finished: Mutex::default(),
            waiting_since: Mutex::default(),
            batch_turn: Mutex::default(),
            lost: Mutex::default(),
            spoilt: Mutex::default(),
            changes: AtomicU32::new(0),
            used: Mutex::default(),
            next_draft: Mutex::default(),
        }));
        store.recover()?;
        Ok(store)
    }

    /// Forgets readers of the index whose process was killed: until then nothing that was freed since they began can be
    /// written over, and the index grows. How many there were.
    ///
    /// # Errors
    /// Those of the index.
    pub fn forget_dead_readers(&self) -> Result<usize, StoreError> {
        self.0.index.forget_dead_readers()
    }

    /// Tells whether anything was recorded, learnt or dropped meanwhile, by whichever process: what was read after a
    /// version was taken holds while it is the same. Files that wait to be recorded do not count.
    #[must_use]
    pub fn version(&self) -> u64 {
        // Both only grow, and so the sum changes with each.
        self.0.index.version() + u64::from(self.0.changes.load(Ordering::SeqCst))
    }
}

fn open_index(dir: &Path, map_len: usize, is_ours: bool) -> Result<Index, StoreError> {
    let meta = dir.join("meta");
    match Index::open(&meta, map_len) {
        Err(error) if can_be_rebuilt(&error) && (is_ours || !is_served(dir)) => {
            let aside = dir.join(leftovers::UNUSABLE);
            log::warn!("{error}; it is moved to {} and made anew", aside.display());
            fs::remove_dir_all(&aside).ok();
            fs::rename(&meta, &aside).map_err(at(&meta))?;
            fs::create_dir(&meta).map_err(at(&meta))?;
            Index::open(&meta, map_len)
        }
        other => other,
    }
}

/// Whether a proxy runs on the folder, be it this one: another would go on with the index that was moved aside, and not find what others
/// record in the new one.
fn is_served(dir: &Path) -> bool {
    fs::File::open(dir).is_ok_and(|folder| draft::try_lock(&folder).is_err())
}

fn can_be_rebuilt(error: &StoreError) -> bool {
    use heed::MdbError;
    match error {
        StoreError::OtherVersion | StoreError::Malformed => true,
        StoreError::Index(heed::Error::Mdb(error)) => matches!(
            error,
            MdbError::Invalid
                | MdbError::VersionMismatch
                | MdbError::Corrupted
                | MdbError::PageNotFound
                | MdbError::MapFull
        ),
        _ => false,
    }
}

impl Inner {
    fn file_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.dir.join("files").join(&hex[..2]).join(&hex)
    }

    fn draft_path(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join("drafts").join(format!("{name}.{ending}"))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Digest, Waiting>> {
        lock(&self.waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

#[cfg(any(test, fuzzing))]
pub mod fuzzed;
#[cfg(test)]
pub(crate) mod test_dir;
#[cfg(test)]
mod tests;
