//! The import command: packages that another cache has already are taken over instead of being fetched again.
//!
//! It takes apt's own `/var/cache/apt/archives`, and what apt-cacher-ng, approx and squid-deb-proxy keep. A file is taken
//! only if a learnt index, or one that is named on the command line, promises exactly its bytes: by its path where the
//! other cache has kept the archive's, else by its digest. The other cache is only read. Runs beside the proxy or
//! without it.

mod catalog;
mod squid;
mod walk;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

pub use self::catalog::CatalogError;

use self::catalog::{Catalog, Expected};
use self::walk::Found;
use crate::config::Config;
use crate::digest::{Digest, PieceHasher};
use crate::json::object;
use crate::progress::Progress;
use crate::report::{counted, size};
use crate::store::window::each_window;
use crate::store::{FileMeta, FinishError, Options, Store, StoreError, Want};
use crate::stream::Head;
use crate::time::Stamp;

/// Why an import ended early.
#[derive(Debug)]
pub enum ImportError {
    /// The folder cannot be read.
    Folder(PathBuf, io::Error),
    /// A named index cannot be used.
    Index(CatalogError),
    /// Nothing is promised yet.
    NothingKnown,
    /// The cache failed.
    Store(StoreError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Folder(path, error) => write!(f, "{}: {error}", path.display()),
            ImportError::Index(error) => error.fmt(f),
            ImportError::NothingKnown => f.write_str(
                "no index is known yet, so no file can be told right from wrong: run apt-get update through the proxy \
                 first, or name a Packages file with --index",
            ),
            ImportError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        ImportError::Store(error)
    }
}

/// What is to be imported, and how it is told.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The other cache.
    pub dir: PathBuf,
    /// Packages and Sources files that count besides what the proxy has learnt.
    pub indexes: Vec<PathBuf>,
    /// As JSON.
    pub json: bool,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// It is here already.
    Here,
    /// No index promises it: an old version, or nothing of an archive.
    Unknown,
    /// Its path promises something else.
    Damaged(Expected),
    /// It would be beyond the cache's size.
    NoRoom,
    /// The proxy downloads it right now.
    Busy,
    Unreadable(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    taken: u64,
    taken_bytes: u64,
    here: u64,
    unknown: u64,
    refused: u64,
}

impl Tally {
    fn add(&mut self, len: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Taken => {
                self.taken += 1;
                self.taken_bytes += len;
            }
            Outcome::Here => self.here += 1,
            Outcome::Unknown => self.unknown += 1,
            Outcome::Damaged(_) | Outcome::NoRoom | Outcome::Busy | Outcome::Unreadable(_) => self.refused += 1,
        }
    }
}

/// Imports into the configured cache and writes the report; whether every file that an index names was taken.
///
/// # Errors
/// [`ImportError`], after what was taken by then; a report that nobody reads is no error.
pub fn run(config: &Config, request: &Request, now: Stamp, out: &mut impl Write) -> Result<bool, ImportError> {
    let store = Store::open(&Options { dir: config.cache.clone() })?;
    store.commit(now)?;
    let max_bytes = match config.max_size {
        Some(max_bytes) => max_bytes,
        None => store.default_max_bytes()?,
    };
    let catalog = Catalog::load(&store, &request.indexes)?;
    if catalog.is_empty() {
        return Err(ImportError::NothingKnown);
    }
    let (mut tally, mut progress) = (Tally::default(), Progress::new());
    let importer = Importer { store: &store, catalog: &catalog, max_bytes, now };
    let ended = walk::each_file(&request.dir, &mut |found| {
        progress.show(|| format!("{} taken, at {}", tally.taken, found.path.display()));
        let outcome = importer.import(found)?;
        tally.add(found.len, &outcome);
        progress.clear();
        write_file(found, &outcome, request.json, out).ok();
        Ok(())
    });
    progress.clear();
    // What was taken stays, whatever ended the walk.
    store.commit(now)?;
    ended?;
    write_tally(&tally, request.json, out).ok();
    Ok(tally.refused == 0)
}

struct Importer<'a> {
    store: &'a Store,
    catalog: &'a Catalog<'a>,
    max_bytes: u64,
    now: Stamp,
}

impl Importer<'_> {
    /// # Errors
    /// Those of the cache; a file that cannot be read is an outcome.
    fn import(&self, found: &Found) -> Result<Outcome, ImportError> {
        let file = match File::open(&found.path) {
            Ok(file) => file,
            Err(error) => return Ok(Outcome::Unreadable(error.to_string())),
        };
        let start = match squid::body_start(&file) {
            Ok(start) => start.unwrap_or(0),
            Err(error) => return Ok(Outcome::Unreadable(error.to_string())),
        };
        let len = found.len.saturating_sub(start);
        let expected = self.catalog.by_path(&found.name)?;
        if let Some(expected) = &expected
            && expected.promise.len != len
        {
            return Ok(Outcome::Damaged(expected.clone()));
        }
        let mut hasher = PieceHasher::default();
        if let Err(error) = each_window(&file, start, len, |window| hasher.update(window, |_| ())) {
            return Ok(Outcome::Unreadable(error.to_string()));
        }
        let digest = hasher.finish();
        match expected {
            Some(expected) if expected.promise.digest != digest => return Ok(Outcome::Damaged(expected)),
            None if !self.catalog.promises(&digest) => return Ok(Outcome::Unknown),
            _ => {}
        }
        if self.store.has_file(&digest)? {
            return Ok(Outcome::Here);
        }
        if self.store.held()?.bytes.saturating_add(len) > self.max_bytes {
            return Ok(Outcome::NoRoom);
        }
        self.take(&file, start, len, digest)
    }

    fn take(&self, file: &File, start: u64, len: u64, digest: Digest) -> Result<Outcome, ImportError> {
        let mut draft = match self.store.draft(Want::Digest { digest, len: Some(len) }) {
            Ok(draft) => draft,
            Err(StoreError::Busy { .. }) => return Ok(Outcome::Busy),
            Err(error) => return Err(error.into()),
        };
        // Whatever an earlier try left there is known as well here.
        draft.restart()?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
        let head = Head { len: Some(len), last_modified: Some(httpdate::fmt_http_date(modified)), ..Head::default() };
        draft.begin(head.clone())?;
        let mut written = Ok(());
        let read = each_window(file, start, len, |window| {
            if written.is_ok() {
                written = draft.append(window);
            }
        });
        if let Err(error) = read {
            draft.discard();
            return Ok(Outcome::Unreadable(error.to_string()));
        }
        if let Err(error) = written {
            draft.discard();
            return Err(error.into());
        }
        let meta = FileMeta { owner: None, head, public: false };
        match draft.finish(meta, self.now) {
            Ok(_) => {}
            Err(FinishError::Mismatch { .. }) => {
                return Ok(Outcome::Unreadable("it changed while it was read".into()));
            }
            Err(FinishError::Store(error)) => return Err(error.into()),
        }
        self.store.commit_full(self.now)?;
        Ok(Outcome::Taken)
    }
}

/// A line for what was refused; what no index names is no news but to a program.
fn write_file(found: &Found, outcome: &Outcome, json: bool, out: &mut impl Write) -> io::Result<()> {
    let (word, why) = match outcome {
        Outcome::Taken => ("taken", String::new()),
        Outcome::Here => ("here", String::new()),
        Outcome::Unknown => ("unknown", "no index that is known names it".into()),
        Outcome::Damaged(expected) => ("damaged", expected.to_string()),
        Outcome::NoRoom => ("no room", "the cache is full: give it more with --max-size".into()),
        Outcome::Busy => ("busy", "the proxy is downloading it right now".into()),
        Outcome::Unreadable(error) => ("unreadable", error.clone()),
    };
    let path = found.path.display();
    if json {
        let line = object(|json| {
            json.text("file", path);
            json.plain("bytes", found.len);
            json.text("outcome", word);
            json.text("why", &why);
        });
        return writeln!(out, "{line}");
    }
    match outcome {
        Outcome::Taken | Outcome::Here => Ok(()),
        Outcome::Unknown => writeln!(out, "left {path}: {why}"),
        _ => writeln!(out, "refused {path}: {why}"),
    }
}

fn write_tally(tally: &Tally, json: bool, out: &mut impl Write) -> io::Result<()> {
    let Tally { taken, taken_bytes, here, unknown, refused } = *tally;
    if json {
        let line = object(|json| {
            for (name, count) in [
                ("taken", taken),
                ("taken_bytes", taken_bytes),
                ("here", here),
                ("unknown", unknown),
                ("refused", refused),
            ] {
                json.plain(name, count);
            }
        });
        return writeln!(out, "{line}");
    }
    let taken = counted(usize::try_from(taken).unwrap_or(usize::MAX), "file", "files");
    writeln!(out, "took {taken}, {}; {here} were here already, {unknown} left, {refused} refused", size(taken_bytes))
}

/// What a file is called in its own cache, for people.
fn is_below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}
