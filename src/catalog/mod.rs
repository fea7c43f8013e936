//! What an archive promises: which digest and length lie behind which path.
//!
//! Owns the reading of everything that an archive says about itself (Debian's repository format,
//! <https://wiki.debian.org/DebianRepository/Format>). Pure: bytes come in, promises go out. Refuses to check signatures
//! (apt does, and is not to be replaced by us) and knows no socket, clock, file or thread.
//!
//! | module | what |
//! |---|---|
//! | [`path`] | request paths and their kinds: what is a Release, an index, a package |
//! | [`release`] | `Release` and `InRelease`: which indexes there are, and their promises |
//! | [`index`] | `Packages`, `Sources` and `*.diff/Index`: which files there are, and theirs |
//! | [`package`] | which files are versions of one package |
//! | [`decode`] | xz, gzip, bzip2 and zstd in bounded memory, the last two by features |
//! | `stanza` | the line format under all of them (deb822), streaming |

pub mod decode;
mod gzip;
pub mod index;
pub mod package;
pub mod path;
pub mod release;
mod stanza;

pub use decode::{Compression, Decoder, decoder};
pub use index::{Index, IndexKind, Sink, Tally, index_kind, read_index};
pub use package::versionless;
pub use path::{
    PathError, Place, ReleaseFile, base_of, by_hash_path, encode, flat_base, normalise, patches_index, place,
    release_dirs, stem,
};
pub use release::{ClearSigned, Release, ReleaseEntry, parse_release, split_signed};

use std::fmt;
use std::io;

use crate::digest::Digest;
use crate::limits::{DICTIONARY_LEN_MAX, PLAIN_INDEX_LEN_MAX, RELEASE_FILES_MAX, RELEASE_LEN_MAX};

/// What an index promises of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promise {
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// Bytes in the whole file.
    pub len: u64,
}

/// Why an index or a Release could not be read.
#[derive(Debug)]
pub enum CatalogError {
    /// The bytes could not be read: an error of the disk, not of what lies on it.
    Read(io::Error),
    /// The compressed bytes are damaged, cut short, followed by something else, or use a feature that is not supported.
    Corrupt(io::Error),
    /// Decoding would need a dictionary beyond [`DICTIONARY_LEN_MAX`]; another compression of the same index may not.
    DictionaryTooLarge,
    /// Its compression was left out of this build, see [`Compression::is_built_in`].
    NotBuiltIn,
    /// The index goes on beyond [`PLAIN_INDEX_LEN_MAX`].
    DecompressedTooLarge,
    /// The file is no index of its kind: not one of the fields that make one was seen.
    NotAnIndex,
    /// The file is no Release; the text says what is wrong with it.
    NotARelease(&'static str),
    /// The Release is larger than [`RELEASE_LEN_MAX`] or names more than [`RELEASE_FILES_MAX`] files.
    ReleaseTooLarge,
    /// The receiver of the entries asked to stop.
    Stopped,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogError::Read(_) => f.write_str("the index cannot be read"),
            CatalogError::Corrupt(_) => f.write_str("the compressed index is damaged"),
            CatalogError::DictionaryTooLarge => {
                write!(f, "the index needs a dictionary of more than {} MiB", DICTIONARY_LEN_MAX >> 20)
            }
            CatalogError::NotBuiltIn => f.write_str("this build does not read the index's compression"),
            CatalogError::DecompressedTooLarge => {
                write!(f, "the index is larger than {} MiB without its compression", PLAIN_INDEX_LEN_MAX >> 20)
            }
            CatalogError::NotAnIndex => f.write_str("no index of packages, sources or patches"),
            CatalogError::NotARelease(why) => write!(f, "no Release file: {why}"),
            CatalogError::ReleaseTooLarge => {
                write!(f, "the Release has more than {} MiB or {RELEASE_FILES_MAX} files", RELEASE_LEN_MAX >> 20)
            }
            CatalogError::Stopped => f.write_str("stopped before the end of the index"),
        }
    }
}

impl std::error::Error for CatalogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CatalogError::Read(error) | CatalogError::Corrupt(error) => Some(error),
            _ => None,
        }
    }
}

/// The way back from a [`Decoder`], which can only speak of errors as a reader does.
impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> CatalogError {
        // Only the system sets an error number; what a decoder finds wrong has none.
        if error.raw_os_error().is_some() {
            return CatalogError::Read(error);
        }
        error.downcast::<CatalogError>().unwrap_or_else(CatalogError::Corrupt)
    }
}
