//! All files below a folder that may be packages, whatever program put them there.
//!
//! Owns what is passed over: symbolic links, which may lead anywhere, and what caches keep beside their packages.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ImportError, is_below};
use crate::limits::IMPORT_DEPTH;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its path below the folder.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) len: u64,
}

/// Passes each file to `visit`, folder by folder, in the order of names.
///
/// # Errors
/// The folder itself cannot be read, or `visit` failed. Folders below that cannot be read are passed over with a warning.
pub(super) fn each_file(
    dir: &Path,
    visit: &mut dyn FnMut(&Found) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(ImportError::Folder(folder, error)),
            Err(error) => {
                log::warn!("{}: {error}", folder.display());
                continue;
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        let mut below = Vec::new();
        for path in paths {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() && depth < IMPORT_DEPTH && !is_beside(&path) {
                below.push((path, depth + 1));
            } else if metadata.is_file() && metadata.len() > 0 && !is_beside(&path) {
                visit(&Found { name: is_below(dir, &path), len: metadata.len(), path })?;
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(())
}

/// Not a package: apt's lock and unfinished downloads, apt-cacher-ng's notes on each file and its reports.
fn is_beside(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
    ["lock", "partial", "_xstore", "swap.state"].contains(&name) || name.ends_with(".head") || name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_and_links_and_notes_are_not() {
        let dir = std::env::temp_dir().join(format!("apt-p2p-walk-{}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        for name in ["b.deb", "a/pool/c.deb", "a/pool/c.deb.head", "partial/d.deb", "lock", "a/pool/empty", ".x"] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, if name.ends_with("empty") { "" } else { "bytes" }).expect("a file");
        }
        std::os::unix::fs::symlink(dir.join("b.deb"), dir.join("z.deb")).expect("a link");
        std::os::unix::fs::symlink(&dir, dir.join("a/round")).expect("a link");
        let mut names = Vec::new();
        each_file(&dir, &mut |found| {
            names.push(found.name.clone());
            Ok(())
        })
        .expect("a folder");
        assert_eq!(names, ["b.deb", "a/pool/c.deb"]);
        fs::remove_dir_all(&dir).ok();
        assert!(matches!(each_file(&dir, &mut |_| Ok(())), Err(ImportError::Folder(..))), "no folder");
    }
}
