//! Indexes that nobody is known to use, and that should name a package which a mirror has sent.
//!
//! A client whose lists were right before the proxy came asks for no index at all, only for the Release and for packages.
//! Then the index of the package's component and architecture is fetched, of each suite of the archive that is in use, the
//! smallest first, one after the other, until one names the package. Nobody waits for that, and a package that the mirror
//! does not have starts nothing.

use std::collections::HashSet;

use super::late::{Late, LatePackage, is_below, is_for, kind_of, smallest};
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
    /// The package that it is fetched for.
    cause: String,
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
        // No index names these.
        let is_named = ![".changes", ".buildinfo"].iter().any(|ending| path.ends_with(ending));
        for dir in dirs.iter().filter(|_| is_named) {
            let Some(newest) = self.newest(store, host, dir)? else { continue };
            let what = format!("{} below {}", kind_of(path).1.unwrap_or("any"), pool_of(path));
            if !is_in_use(store, host, dir, now)? || !late.presumed_of.look(newest.id, &what, now) {
                continue;
            }
            if let Some(suite) = self.read_suite(store, host, dir, &newest)?
                && store.open_file(&newest.digest, now)?.is_none_or(|stored| stored.owner.is_none())
            {
                line_up(&suite, late, path, now)?;
            }
        }
        self.fetch_next(store, late)
    }

    /// Fetches the next one that is still needed, unless another is on its way.
    pub(super) fn fetch_next(&self, store: &Store, late: &mut Late) -> Result<(), CannotLearn> {
        while !late.presumed.is_empty()
            && !late.awaits((self.calendar)())
            && let Some(next) = late.presumed.pop_front()
        {
            let is_needed = late.packages.iter().any(|package| package.came && next.should_name(package));
            if is_needed && let Some(suite) = self.suite(store, &next.host, &next.dir)? {
                self.learn_or_fetch(&suite, late, &next.stem)?;
                self.settle_if_learnt(store, late)?;
            }
        }
        Ok(())
    }
}

impl Presumed {
    fn should_name(&self, package: &LatePackage) -> bool {
        let LatePackage { host, path, .. } = package;
        let (kind, arch) = kind_of(path);
        let is_of_component = || !in_component(&[&self.stem], below_base(&self.dir, path)).is_empty();
        *host == self.host
            && is_below(&self.dir, path)
            && is_for(&self.stem, kind, arch)
            && (*path == self.cause || is_of_component())
    }

    fn is_of(&self, suite: &Suite<'_>) -> bool {
        self.dir == suite.dir && self.host == suite.host
    }
}

/// Whether a client was given this suite's Release lately.
fn is_in_use(store: &Store, host: &str, dir: &str, now: Stamp) -> Result<bool, StoreError> {
    let since = Stamp(now.0.saturating_sub(SUITE_IN_USE_TIME_S));
    let names =
        ["InRelease", "Release"].map(|name| NameHash::of(host, format!("{dir}/{name}").trim_start_matches('/')));
    Ok(store.wanted_since(host, dir, since)?.iter().any(|(name, _)| names.contains(name)))
}

fn line_up(suite: &Suite<'_>, late: &mut Late, path: &str, now: Stamp) -> Result<(), CannotLearn> {
    let (kind, arch) = kind_of(path);
    let mut all: Vec<&str> = suite.release.files.iter().map(|entry| catalog::stem(&entry.name)).collect();
    all.retain(|stem| is_for(stem, kind, arch));
    all.sort_unstable();
    all.dedup();
    let mut stems = in_component(&all, below_base(suite.dir, path));
    if stems.is_empty()
        && !path.ends_with(".udeb")
        && all.iter().all(|stem| component_of(stem) == component_of(all[0]))
    {
        // Some archives have one component that no path says.
        stems = all;
    }
    if arch.is_none() && stems.len() > 1 {
        // On which architecture it is used is not known. Most archives name it beside the packages of each.
        let is_one = |name: &str| stems.binary_search(&name).is_ok();
        let is_coming = late.presumed.iter().any(|next| next.is_of(suite) && is_one(&next.stem))
            || suite
                .release
                .files
                .iter()
                .any(|entry| late.is_coming(&entry.promise.digest, now) && is_one(catalog::stem(&entry.name)));
        stems.retain(|stem| !is_coming && stem.ends_with("/binary-all/Packages"));
    }
    for stem in stems.into_iter().take(PRESUMED_PER_RELEASE) {
        let forms: Vec<&ReleaseEntry> = suite.forms(stem).collect();
        let Some(form) = smallest(stem, &forms).filter(|form| form.promise.len <= PRESUMED_LEN_MAX) else { continue };
        let is_learnt = suite.store.learnt(suite.host, &suite.path(stem))? == Some(suite.source(form));
        let is_in_line = late.presumed.iter().any(|next| next.is_of(suite) && next.stem == stem);
        if !is_learnt && !is_in_line && late.presumed.len() < PRESUMED {
            late.presumed.push_back(Presumed {
                host: suite.host.to_owned(),
                dir: suite.dir.to_owned(),
                stem: stem.to_owned(),
                len: form.promise.len,
                cause: path.to_owned(),
            });
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

/// `main` of `main/binary-amd64/Packages` and of `updates/main/binary-amd64/Packages`. Installers' packages lie among the others,
/// and have indexes of their own.
fn component_of(stem: &str) -> Option<&str> {
    stem.rsplit('/').nth(2)
}

/// Of the indexes that may name a package of this path those of its component, which the path says in every archive with a pool.
/// An archive without components has one index for each architecture, or one alone.
fn in_component<'s>(stems: &[&'s str], path: &str) -> Vec<&'s str> {
    let components: HashSet<&str> = stems.iter().filter_map(|stem| component_of(stem)).collect();
    let said = path.split('/').find(|folder| components.contains(folder)).filter(|_| !path.ends_with(".udeb"));
    stems.iter().copied().filter(|stem| component_of(stem) == said).collect()
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
