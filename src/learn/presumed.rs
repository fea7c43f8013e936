//! Indexes that nobody is known to use, and that should name a package which a mirror has sent.
//!
//! A client whose lists were right before the proxy came asks for no index at all, only for the Release and for packages.
//! Then the index of the package's component and architecture is fetched, of each suite of the archive that is in use, the
//! smallest first, one after the other, until one names the package. Nobody waits for that, and a package that the mirror
//! does not have starts nothing.

use super::late::{Late, is_for, kind_of, smallest};
use super::{CannotLearn, Learner, Suite};
use crate::catalog::{self, ReleaseEntry};
use crate::digest::NameHash;
use crate::limits::{PRESUMED, PRESUMED_LEN_MAX, PRESUMED_PER_RELEASE, SUITE_IN_USE_TIME_S};
use crate::store::{Store, StoreError};
use crate::time::Stamp;

/// An index that may name a package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Presumed {
    host: String,
    dir: String,
    stem: String,
    len: u64,
}

impl Learner {
    /// Puts those that should name a package in line, and fetches the first.
    pub(super) fn presume(
        &self,
        store: &Store,
        late: &mut Late,
        host: &str,
        dirs: &[String],
        path: &str,
    ) -> Result<(), CannotLearn> {
        let now = (self.calendar)();
        for dir in dirs {
            let Some(newest) = self.newest(store, host, dir)? else { continue };
            let what = format!("{} below {}", kind_of(path).1.unwrap_or("any"), pool_of(path));
            if !is_in_use(store, host, dir, now)? || !late.look(newest.id, &what, now) {
                continue;
            }
            if let Some(suite) = self.read_suite(store, host, dir, &newest)?
                && store.open_file(&newest.digest, now)?.is_none_or(|stored| stored.owner.is_none())
            {
                line_up(&suite, late, path)?;
            }
        }
        self.fetch_next(store, late)
    }

    /// Fetches the next one that is still needed, unless another is on its way.
    pub(super) fn fetch_next(&self, store: &Store, late: &mut Late) -> Result<(), CannotLearn> {
        while !late.presumed.is_empty()
            && !late.fetches((self.calendar)())
            && let Some(next) = late.presumed.pop_front()
        {
            let is_needed = late.packages.iter().any(|(host, path)| *host == next.host && next.should_name(path));
            if is_needed && let Some(suite) = self.suite(store, &next.host, &next.dir)? {
                self.learn_or_fetch(&suite, late, &next.stem)?;
            }
        }
        Ok(())
    }
}

impl Presumed {
    fn should_name(&self, path: &str) -> bool {
        let (kind, arch) = kind_of(path);
        is_for(&self.stem, kind, arch) && !in_component(&[&self.stem], below_base(&self.dir, path)).is_empty()
    }
}

/// Whether a client was given this suite's Release lately.
fn is_in_use(store: &Store, host: &str, dir: &str, now: Stamp) -> Result<bool, StoreError> {
    let since = Stamp(now.0.saturating_sub(SUITE_IN_USE_TIME_S));
    let names =
        ["InRelease", "Release"].map(|name| NameHash::of(host, format!("{dir}/{name}").trim_start_matches('/')));
    Ok(store.wanted_since(host, dir, since)?.iter().any(|(name, _)| names.contains(name)))
}

fn line_up(suite: &Suite<'_>, late: &mut Late, path: &str) -> Result<(), CannotLearn> {
    let (kind, arch) = kind_of(path);
    let mut stems: Vec<&str> = suite.release.files.iter().map(|entry| catalog::stem(&entry.name)).collect();
    stems.retain(|stem| is_for(stem, kind, arch));
    stems.sort_unstable();
    stems.dedup();
    let mut stems = in_component(&stems, below_base(suite.dir, path));
    if arch.is_none() && stems.len() > 1 {
        // On which architecture it is used is not known. Most archives name it beside the packages of each.
        let is_coming = stems.iter().any(|stem| {
            let is_in_line =
                late.presumed.iter().any(|it| it.stem == *stem && it.dir == suite.dir && it.host == suite.host);
            is_in_line || suite.forms(stem).any(|form| late.is_own(&form.promise.digest))
        });
        stems.retain(|stem| !is_coming && stem.ends_with("/binary-all/Packages"));
    }
    for stem in stems.into_iter().take(PRESUMED_PER_RELEASE) {
        let forms: Vec<&ReleaseEntry> = suite.forms(stem).collect();
        let Some(form) = smallest(stem, &forms).filter(|form| form.promise.len <= PRESUMED_LEN_MAX) else { continue };
        if suite.store.learnt(suite.host, &suite.path(stem))? == Some(suite.source(form)) {
            continue;
        }
        let (host, dir, len) = (suite.host.to_owned(), suite.dir.to_owned(), form.promise.len);
        let next = Presumed { host, dir, stem: stem.to_owned(), len };
        if !late.presumed.contains(&next) && late.presumed.len() < PRESUMED {
            late.presumed.push_back(next);
        }
    }
    late.presumed.make_contiguous().sort_by_key(|presumed| presumed.len);
    Ok(())
}

/// A package's path below what the archive's file names are relative to.
fn below_base<'p>(dir: &str, path: &'p str) -> &'p str {
    path.strip_prefix(catalog::base_of(dir)).unwrap_or(path).trim_start_matches('/')
}

/// The folders above those that each source package has: `pool/main` of `pool/main/a/apt/apt_1_amd64.deb`.
fn pool_of(path: &str) -> &str {
    path.rsplitn(4, '/').nth(3).unwrap_or("")
}

/// Of the indexes that may name a package of this path those of its component, which the path says in every archive with a pool.
fn in_component<'s>(stems: &[&'s str], path: &str) -> Vec<&'s str> {
    // Installers' packages lie among the others, and have indexes of their own.
    let of = |stem: &str, component: &str| stem.rsplit('/').nth(2) == Some(component);
    let found =
        path.split('/').map(|folder| stems.iter().copied().filter(|stem| of(stem, folder)).collect::<Vec<_>>());
    let found = found.into_iter().find(|found| !found.is_empty());
    // An archive without components has one index for each architecture, or one alone.
    let is_flat = |stem: &&str| stem.split('/').count() <= 2;
    found.filter(|_| !path.ends_with(".udeb")).unwrap_or_else(|| stems.iter().copied().filter(is_flat).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_presumed_by_the_component_in_the_path() {
        let pool = ["contrib/binary-amd64/Packages", "main/binary-amd64/Packages"];
        let security = ["updates/contrib/binary-amd64/Packages", "updates/main/binary-amd64/Packages"];
        let installer = ["main/binary-amd64/Packages", "main/debian-installer/binary-amd64/Packages"];
        type Case<'a> = (&'a [&'a str], &'a str, &'a [&'a str]);
        let cases: [Case<'_>; 8] = [
            (&pool, "pool/main/a/a/a_1_amd64.deb", &pool[1..]),
            (&pool, "pool/contrib/m/main/a_1_amd64.deb", &pool[..1]),
            (&pool, "pool/elsewhere/a/a/a_1_amd64.deb", &[]),
            (&pool[1..], "a/a_1_amd64.deb", &[]),
            (&security, "pool/updates/main/a/a/a_1_amd64.deb", &security[1..]),
            (&installer, "pool/main/a/a/a_1_amd64.deb", &installer[..1]),
            (&installer, "pool/main/a/a/a-udeb_1_amd64.udeb", &[]),
            (&["Packages"], "a_1_all.deb", &["Packages"]),
        ];
        for (stems, path, expected) in cases {
            assert_eq!(in_component(stems, path), expected, "{path} in {stems:?}");
        }
        let paths =
            ["pool/main/a/apt/apt_1_amd64.deb", "debian/pool/main/a/apt/apt_1_amd64.deb", "a/apt_1_amd64.deb", ""];
        assert_eq!(paths.map(pool_of), ["pool/main", "debian/pool/main", "", ""]);
    }
}
