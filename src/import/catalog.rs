//! What may be imported: all that the proxy has learnt, and what the indexes named on the command line promise.
//!
//! A file is known by its path where it has kept the archive's below its own folder, as in apt-cacher-ng's and approx's
//! caches; else by its digest. Of all promised digests only the first eight bytes are held, sorted: should two have those
//! in common, a file is taken that nobody asks for.

use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::ImportError;
use crate::catalog::{self as archive, Index, Promise, index_kind, read_index};
use crate::digest::Digest;
use crate::limits::INDEX_ENTRIES;
use crate::store::Store;

/// Why a named index cannot be used.
#[derive(Debug)]
pub enum CatalogError {
    /// It cannot be opened.
    Open(PathBuf, std::io::Error),
    /// It is not called as indexes are.
    Name(PathBuf),
    /// It cannot be read.
    Content(PathBuf, archive::CatalogError),
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogError::Open(path, error) => write!(f, "{}: {error}", path.display()),
            CatalogError::Name(path) => write!(
                f,
                "{}: an index is called Packages or Sources, with .xz, .gz, .bz2 or .zst behind it where it is compressed, \
                 as apt keeps it",
                path.display()
            ),
            CatalogError::Content(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// What a path promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    host: String,
    pub(super) promise: Promise,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Promise { digest, len } = self.promise;
        write!(f, "damaged or of another version: {} promises {len} bytes with SHA-256 {digest} there", self.host)
    }
}

/// All promises.
pub(super) struct Catalog<'a> {
    store: &'a Store,
    /// Hosts, and the folders there that hold archives.
    roots: Vec<(String, String)>,
    /// The first bytes of every promised digest, sorted.
    digests: Vec<u64>,
}

fn first_bytes(digest: &Digest) -> u64 {
    let (first, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

impl<'a> Catalog<'a> {
    pub(super) fn load(store: &'a Store, indexes: &[PathBuf]) -> Result<Catalog<'a>, ImportError> {
        let mut digests = Vec::new();
        store.each_promise(&mut |promise| digests.push(first_bytes(&promise.digest)))?;
        for path in indexes {
            read_named(path, &mut digests).map_err(ImportError::Index)?;
        }
        digests.sort_unstable();
        digests.dedup();
        let suites = store.suites()?.into_iter();
        let mut roots: Vec<_> = suites.map(|(host, dir)| (host, archive::base_of(&dir).to_owned())).collect();
        roots.sort_unstable();
        roots.dedup();
        Ok(Catalog { store, roots, digests })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    pub(super) fn promises(&self, digest: &Digest) -> bool {
        self.digests.binary_search(&first_bytes(digest)).is_ok()
    }

    /// What is promised where the file lies: its path from some folder on, below the root of an archive. Nothing where
    /// two archives promise different files.
    pub(super) fn by_path(&self, name: &str) -> Result<Option<Expected>, ImportError> {
        let ends = std::iter::once(0).chain(name.match_indices('/').map(|(at, _)| at + 1));
        // A bare name is everywhere and nowhere.
        for end in ends.map(|start| &name[start..]).filter(|end| end.contains('/')) {
            let mut found: Option<Expected> = None;
            for (host, root) in &self.roots {
                let Ok(path) = archive::normalise(&archive::encode(&format!("{root}/{end}"))) else { continue };
                let Some(promise) = self.store.promise(host, &path)? else { continue };
                if found.as_ref().is_some_and(|found| found.promise != promise) {
                    return Ok(None);
                }
                found = Some(Expected { host: host.clone(), promise });
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// apt's own lists are called `…_dists_stable_main_binary-amd64_Packages`: what counts is the end.
fn read_named(path: &Path, digests: &mut Vec<u64>) -> Result<(), CatalogError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.rsplit('_').next().unwrap_or(name);
    let Some((kind, compression)) = index_kind(name) else { return Err(CatalogError::Name(path.to_owned())) };
    let file = File::open(path).map_err(|error| CatalogError::Open(path.to_owned(), error))?;
    let index = Index { kind, release_dir: "", name };
    let mut sink = |_: &str, promise: Promise| {
        digests.push(first_bytes(&promise.digest));
        if digests.len() < INDEX_ENTRIES * 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let read = read_index(index, archive::decoder(compression, file), &mut sink);
    read.map(|_| ()).map_err(|error| CatalogError::Content(path.to_owned(), error))
}
