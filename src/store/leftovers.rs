//! What crashes, and clients who left, have left: files without a record, drafts that nobody writes, an index that was moved
//! aside.
//!
//! Only what this program names so goes: the folder may be one that others keep something in.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::draft::try_lock;
use super::files::stamp;
use super::sweep::{SweepOptions, SweepReport};
use super::{Store, StoreError, at, finished};
use crate::digest::Digest;
use crate::limits::{DRAFTS_SWEPT, IN_USE_TIME_S, LEFTOVER_TIME_S};
use crate::time::Stamp;

/// Where an index goes that cannot be used.
pub(super) const UNUSABLE: &str = "meta.unusable";

/// What a file in `drafts/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A draft's bytes.
    Part,
    /// What is of use to somebody else's draft, or to nobody.
    Beside,
}

struct Part {
    modified: Stamp,
    len: u64,
    path: PathBuf,
}

impl Store {
    /// Files without a record: a crash left them between the rename and the commit.
    pub(super) fn drop_orphans(&self, options: &SweepOptions, report: &mut SweepReport) -> Result<(), StoreError> {
        let root = self.0.dir.join("files");
        for folder in fs::read_dir(&root).map_err(at(&root))?.flatten() {
            let Ok(entries) = fs::read_dir(folder.path()) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Some(digest) = stored_as(&path).filter(|digest| self.0.file_path(digest) == path) else {
                    continue;
                };
                if !self.has_file(&digest)?
                    && let Some(metadata) = leftover(&path, options.now)
                {
                    report.orphans.add(metadata.len());
                    if !options.dry_run {
                        fs::remove_file(&path).ok();
                    }
                }
            }
        }
        Ok(())
    }

    /// Drafts that nobody writes: those that nobody went on with for a day, and the oldest of the others while they and the
    /// `stored` bytes of files are more than may stay. The bytes of the drafts that stay.
    pub(super) fn drop_drafts(
        &self,
        options: &SweepOptions,
        stored: u64,
        report: &mut SweepReport,
    ) -> Result<u64, StoreError> {
        let mut parts = Vec::new();
        let mut held: u64 = 0;
        self.each_draft(&mut |kind, path, metadata| {
            if kind == Kind::Part {
                held = held.saturating_add(taken(metadata));
                if parts.len() < DRAFTS_SWEPT {
                    parts.push(Part { modified: modified(metadata), len: taken(metadata), path: path.to_owned() });
                }
            } else if is_old(metadata, options.now)
                && !path.with_extension("part").exists()
                && drop_draft(path, options)
            {
                report.drafts.add(metadata.len());
            }
        })?;
        // Not sorted: there are few that go, and a sort of one more type is six hundred bytes of a router's program.
        while let Some(oldest) = (0..parts.len()).min_by_key(|at| parts[*at].modified) {
            let Part { modified, len, path } = parts.swap_remove(oldest);
            let is_over = options.now.secs_since(modified) >= LEFTOVER_TIME_S;
            let is_beyond = options.max_bytes.is_some_and(|max| stored.saturating_add(held) > max);
            // Whoever was cut off a moment ago asks again.
            let in_use = options.now.0.abs_diff(modified.0) < IN_USE_TIME_S;
            if !is_over && !is_beyond {
                break;
            }
            if (is_over || !in_use) && drop_draft(&path, options) {
                held = held.saturating_sub(len);
                report.drafts.add(len);
            }
        }
        Ok(held)
    }

    /// The bytes of all drafts.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn draft_bytes(&self) -> Result<u64, StoreError> {
        let mut held: u64 = 0;
        self.each_draft(&mut |kind, _, metadata| {
            if kind == Kind::Part {
                held = held.saturating_add(taken(metadata));
            }
        })?;
        Ok(held)
    }

    fn each_draft(&self, each: &mut dyn FnMut(Kind, &Path, &Metadata)) -> Result<(), StoreError> {
        let root = self.0.dir.join("drafts");
        for entry in fs::read_dir(&root).map_err(at(&root))?.flatten() {
            let path = entry.path();
            if let Some(kind) = kind(&path)
                && let Ok(metadata) = fs::symlink_metadata(&path)
                && metadata.is_file()
            {
                each(kind, &path, &metadata);
            }
        }
        Ok(())
    }

    /// An index that could not be used has been there for a day, for whoever wants to know why.
    pub(super) fn drop_unusable(&self, options: &SweepOptions) {
        let aside = self.0.dir.join(UNUSABLE);
        // Moving it aside changed it, but not its content.
        let changed = |metadata: Metadata| Stamp(u64::try_from(metadata.ctime()).unwrap_or(0));
        let is_old = |moved: Stamp| options.now.secs_since(moved) >= LEFTOVER_TIME_S;
        if !options.dry_run && fs::symlink_metadata(&aside).is_ok_and(|metadata| is_old(changed(metadata))) {
            fs::remove_dir_all(&aside).ok();
        }
    }
}

/// Whose file it is by its name.
fn stored_as(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let is_digest = stem.parse::<Digest>().is_ok();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_new = || {
        let numbers = stem.strip_prefix("new-").and_then(|numbers| numbers.split_once('-'));
        numbers.is_some_and(|(process, n)| is_number(process) && is_number(n))
    };
    match ending {
        "part" if is_digest || is_new() => Some(Kind::Part),
        "journal" if is_digest => Some(Kind::Beside),
        "log" if finished::is_log(name) => Some(Kind::Beside),
        "" if stem.strip_prefix("probe-").is_some_and(is_number) => Some(Kind::Beside),
        _ => None,
    }
}

/// Deletes a draft and its journal, unless somebody writes it; whether it goes.
fn drop_draft(path: &Path, options: &SweepOptions) -> bool {
    // The lock is held while the files go: whoever opens them now finds that out and begins anew.
    let Ok(file) = File::options().read(true).write(true).open(path) else { return false };
    if try_lock(&file).is_err() {
        return false;
    }
    if !options.dry_run {
        fs::remove_file(path).ok();
        fs::remove_file(path.with_extension("journal")).ok();
    }
    true
}

/// What a file has of the disk: peers write pieces of it that lie far behind others.
fn taken(metadata: &Metadata) -> u64 {
    metadata.len().min(metadata.blocks().saturating_mul(512))
}

fn modified(metadata: &Metadata) -> Stamp {
    metadata.modified().map_or(Stamp(0), stamp)
}

fn is_old(metadata: &Metadata, now: Stamp) -> bool {
    now.secs_since(modified(metadata)) >= LEFTOVER_TIME_S
}

/// A file that nobody has written for a day.
fn leftover(path: &Path, now: Stamp) -> Option<Metadata> {
    fs::symlink_metadata(path).ok().filter(|metadata| metadata.is_file() && is_old(metadata, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_keep_in_the_folder_is_not_ours() {
        let digest = Digest::of(b"x");
        for (name, expected) in [
            (format!("{digest}.part"), Some(Kind::Part)),
            (format!("{digest}.journal"), Some(Kind::Beside)),
            ("new-12-3.part".into(), Some(Kind::Part)),
            ("finished-12-0.log".into(), Some(Kind::Beside)),
            ("probe-12".into(), Some(Kind::Beside)),
            ("novel.odt".into(), None),
            ("film.part".into(), None),
            ("new-ideas.part".into(), None),
            ("probe-".into(), None),
            (format!("{digest}"), None),
        ] {
            assert_eq!(kind(&Path::new("drafts").join(&name)), expected, "{name}");
        }
    }
}
