//! Packages that were asked for before the index that names them was learnt.
//!
//! Clients that follow an index by patches never fetch it whole, and those whose lists were right before the proxy came ask
//! for none at all: nothing of what only such an index names could be placed. When a package is asked for that cannot be,
//! the indexes that its clients follow are fetched in the background, or where none is known to be followed the one that
//! should name it: each version once, in the compression that is smallest. What came meanwhile was kept by its name
//! alone; it is held against the promise as soon as there is one. Owns the memory of both. Nobody waits for any of it.

use std::collections::VecDeque;

use super::{CannotLearn, Learner, Suite};
use crate::catalog::{self, Compression, IndexKind, Promise, ReleaseEntry};
use crate::digest::{Digest, NameHash};
use crate::fetch::News;
use crate::limits::{CATCH_UP_TIME_S, CAUGHT_UP, LATE_PACKAGES, LOOKS_PER_RELEASE};
use crate::store::{IndexId, Store};
use crate::time::Stamp;

/// Looks for packages of all architectures, and for sources, among those for one architecture.
const ALL: &str = "all";
const SOURCE: &str = "source";

/// What came late, and what was done about it.
#[derive(Default)]
pub(super) struct Late {
    /// Packages that no learnt index promised: host and path.
    packages: VecDeque<(String, String)>,
    /// Which Release was looked at for which kind of package, and when.
    looked: VecDeque<(IndexId, String, Stamp)>,
    /// Indexes that we fetch ourselves: no client's use of them.
    own: VecDeque<Digest>,
    /// An index was here already, and is learnt by now.
    has_learnt: bool,
}

impl Late {
    /// Whether an index has just come because we fetched it, and not because a client uses it.
    pub(super) fn take_own(&mut self, digest: &Digest) -> bool {
        let at = self.own.iter().position(|own| own == digest);
        at.and_then(|at| self.own.remove(at)).is_some()
    }

    fn remember(&mut self, host: &str, path: &str) {
        let package = (host.to_owned(), path.to_owned());
        if !self.packages.contains(&package) {
            push(&mut self.packages, package, LATE_PACKAGES);
        }
    }

    /// Whether this Release is to be looked at for this kind of package now.
    fn look(&mut self, id: IndexId, kind: &str, now: Stamp) -> bool {
        let is_old = |at: Stamp| now < at || now.secs_since(at) >= CATCH_UP_TIME_S;
        self.looked.retain(|(_, _, at)| !is_old(*at));
        let mut same = self.looked.iter().filter(|(known, ..)| *known == id);
        // Anybody can make up architectures, and each look reads a Release.
        let is_new = same.clone().count() < LOOKS_PER_RELEASE && !same.any(|(_, what, _)| what == kind);
        if is_new {
            push(&mut self.looked, (id, kind.to_owned(), now), CAUGHT_UP);
        }
        is_new
    }

    /// Whether this Release was looked at for the packages of some architecture: their index names those for all, too.
    fn has_looked_for_one(&self, id: IndexId) -> bool {
        self.looked.iter().any(|(known, kind, _)| *known == id && kind != ALL && kind != SOURCE)
    }
}

/// Full: the oldest goes.
fn push<T>(memory: &mut VecDeque<T>, item: T, most: usize) {
    if memory.len() >= most {
        memory.pop_front();
    }
    memory.push_back(item);
}

impl Learner {
    /// A package was asked for, or has come, that no index promised at that moment.
    pub(super) fn place_late(
        &self,
        store: &Store,
        late: &mut Late,
        host: &str,
        path: &str,
    ) -> Result<(), CannotLearn> {
        if self.settle(store, host, path)? {
            return Ok(());
        }
        for (suite_host, dir) in store.suites()? {
            let base = catalog::base_of(&dir);
            let is_below = base.is_empty() || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
            if suite_host == host && is_below {
                late.remember(host, path);
                self.catch_up(store, late, host, &dir, path)?;
            }
        }
        Ok(())
    }

    /// Holds what came late against what was learnt since, if `news` may have brought that.
    pub(super) fn settle_all(&self, store: &Store, late: &mut Late, news: &News) -> Result<(), CannotLearn> {
        // Each is a dozen look-ups, and hundreds may wait for an index that does not come.
        if matches!(news, News::Package { .. }) && !std::mem::take(&mut late.has_learnt) {
            return Ok(());
        }
        let mut outcome = Ok(());
        for (host, path) in std::mem::take(&mut late.packages) {
            let is_settled = outcome.is_ok()
                && self.settle(store, &host, &path).unwrap_or_else(|error| {
                    outcome = Err(error);
                    false
                });
            if !is_settled {
                late.remember(&host, &path);
            }
        }
        outcome
    }

    /// Whether a promise is known by now; what was kept under the name alone must be what it promises.
    fn settle(&self, store: &Store, host: &str, path: &str) -> Result<bool, CannotLearn> {
        let Some(Promise { digest, .. }) = store.promise(host, path)? else { return Ok(false) };
        let name = NameHash::of(host, path);
        if let Some(kept) = store.name(name)? {
            if kept.digest == digest {
                log::info!("{host}/{path} came before its index was learnt, and is what that promises");
            } else {
                // Its name may be one of those that must not be told.
                log::warn!(
                    "a file of {host} came before its index was learnt, with SHA-256 {}; the index promises {digest}: it is \
                     forgotten, and fetched again when it is asked for",
                    kept.digest
                );
                log::debug!("it is {host}/{path}");
                // The file itself may be another's, promised elsewhere: `cleanup` takes it if it is not.
            }
            store.forget_name(name)?;
        }
        Ok(true)
    }

    /// Fetches, or learns where it is here already, what clients follow of a suite and what may name `path`; if they follow
    /// nothing of that kind, what should name it.
    fn catch_up(&self, store: &Store, late: &mut Late, host: &str, dir: &str, path: &str) -> Result<(), CannotLearn> {
        let Some(newest) = self.newest(store, host, dir)? else { return Ok(()) };
        let (kind, arch) = kind_of(path);
        if !late.look(newest.id, arch.unwrap_or(ALL), (self.calendar)()) {
            return Ok(());
        }
        let Some(suite) = self.read_suite(store, host, dir, &newest)? else { return Ok(()) };
        let wanted = store.wanted(host, dir)?;
        let mut stems: Vec<&str> = suite.release.files.iter().map(|entry| catalog::stem(&entry.name)).collect();
        stems.sort_unstable();
        stems.dedup();
        stems.retain(|stem| is_for(stem, kind, arch));
        let followed: Vec<&str> = stems.iter().copied().filter(|stem| suite.is_followed(stem, &wanted)).collect();
        let missing = match arch {
            _ if !followed.is_empty() => followed,
            None if late.has_looked_for_one(newest.id) => Vec::new(),
            _ => presumed(&stems, arch, suite.below_base(path)),
        };
        for stem in missing {
            let forms: Vec<&ReleaseEntry> = suite.forms(stem).collect();
            let Some(source) = forms.first().map(|form| suite.source(form)) else { continue };
            if store.learnt(host, &suite.path(stem))? == Some(source) {
                continue;
            }
            let is_here = |form: &&&ReleaseEntry| store.has_file(&form.promise.digest).unwrap_or(false);
            match forms.iter().find(is_here) {
                Some(form) => {
                    self.learn_entry(&suite, form)?;
                    late.has_learnt = true;
                }
                None => self.fetch_whole(&suite, late, stem, &forms),
            }
        }
        Ok(())
    }

    /// Starts a flight for an index; its landing is news. Archives name the plain index and do not have it, so that is
    /// asked for only where there is no other.
    fn fetch_whole(&self, suite: &Suite<'_>, late: &mut Late, stem: &str, forms: &[&ReleaseEntry]) {
        let is_plain = |form: &ReleaseEntry| form.name == stem;
        let Some(form) = forms.iter().min_by_key(|form| (is_plain(form), form.promise.len)) else { return };
        push(&mut late.own, form.promise.digest, CAUGHT_UP);
        log::info!(
            "{}/{}: packages are asked for that no index here names; it is fetched, to place them",
            suite.host,
            suite.path(stem)
        );
        self.fetch_index(suite, form);
    }
}

impl<'a> Suite<'a> {
    /// Whether clients use an index, whole or by patches.
    fn is_followed(&self, stem: &str, wanted: &[NameHash]) -> bool {
        let patches = self.path(&format!("{stem}.diff/Index"));
        wanted.contains(&NameHash::of(self.host, &patches))
            || self.forms(stem).any(|form| wanted.contains(&self.name_hash(form)))
    }

    /// A package's path below what the archive's file names are relative to.
    fn below_base<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(catalog::base_of(self.dir)).unwrap_or(path).trim_start_matches('/')
    }

    /// An index in all compressions that can be read.
    fn forms<'s>(&'s self, stem: &'s str) -> impl Iterator<Item = &'s ReleaseEntry> + use<'s, 'a> {
        self.release.files.iter().filter(move |entry| {
            catalog::stem(&entry.name) == stem
                && catalog::index_kind(&entry.name).is_some_and(|(_, compression)| compression.is_built_in())
        })
    }
}

/// The kind of index that names a package, and the architecture that its file name says.
fn kind_of(path: &str) -> (IndexKind, Option<&str>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let binary = [".deb", ".udeb", ".ddeb"].into_iter().find_map(|ending| name.strip_suffix(ending));
    match binary {
        Some(name) => (IndexKind::Packages, name.rsplit_once('_').map(|(_, arch)| arch).filter(|arch| *arch != ALL)),
        None => (IndexKind::Sources, Some(SOURCE)),
    }
}

/// Whether an index of this name may name packages of this kind.
fn is_for(stem: &str, kind: IndexKind, arch: Option<&str>) -> bool {
    if catalog::index_kind(stem) != Some((kind, Compression::Plain)) {
        return false;
    }
    let folder = folder_of(stem).and_then(|folder| folder.strip_prefix("binary-"));
    folder.is_none() || arch.is_none() || folder == arch
}

/// Of the indexes of one suite that may name a package those that should, where nobody is known to use any: those of its
/// component, which its path says in every archive with a pool. Which architecture a package for all of them is used
/// on is not known, so that it is looked for only in the index for such packages.
fn presumed<'s>(stems: &[&'s str], arch: Option<&str>, path: &str) -> Vec<&'s str> {
    let is_only = stems.len() == 1;
    let suits = |stem: &&&str| is_only || arch.is_some() || folder_of(stem) == Some("binary-all");
    let suitable = || stems.iter().filter(suits).copied();
    let in_component =
        |folder: &str| suitable().filter(|stem| component_of(stem) == Some(folder)).collect::<Vec<_>>();
    let found = path.split('/').map(in_component).find(|found| !found.is_empty());
    found.unwrap_or_else(|| if is_only { stems.to_vec() } else { Vec::new() })
}

/// `binary-amd64` of `main/binary-amd64/Packages`.
fn folder_of(stem: &str) -> Option<&str> {
    stem.rsplit('/').nth(1)
}

/// `main` of `main/binary-amd64/Packages` and of `updates/main/binary-amd64/Packages`.
fn component_of(stem: &str) -> Option<&str> {
    stem.rsplit('/').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_looked_for_in_indexes_of_its_architecture() {
        let cases = [
            ("pool/main/a/a_1_amd64.deb", "main/binary-amd64/Packages", true),
            ("pool/main/a/a_1_amd64.deb", "main/binary-arm64/Packages", false),
            ("pool/main/a/a_1_all.deb", "main/binary-arm64/Packages", true),
            ("pool/main/a/a_1_amd64.deb", "main/source/Sources", false),
            ("pool/main/a/a_1.dsc", "main/source/Sources", true),
            ("pool/main/a/a_1.tar.xz", "main/binary-amd64/Packages", false),
            ("a_1_amd64.deb", "Packages", true),
            ("pool/main/a/a_1_amd64.deb", "main/binary-amd64/Packages.diff/Index", false),
        ];
        for (path, stem, expected) in cases {
            let (kind, arch) = kind_of(path);
            assert_eq!(is_for(stem, kind, arch), expected, "{path} in {stem}");
        }
    }

    #[test]
    fn where_no_index_is_used_that_of_the_component_is_presumed() {
        let pool = ["contrib/binary-amd64/Packages", "main/binary-amd64/Packages"];
        let all = ["main/binary-all/Packages", "main/binary-amd64/Packages", "main/binary-arm64/Packages"];
        let security = ["updates/contrib/binary-amd64/Packages", "updates/main/binary-amd64/Packages"];
        let installer = ["main/binary-amd64/Packages", "main/debian-installer/binary-amd64/Packages"];
        let amd64 = Some("amd64");
        type Case<'a> = (&'a [&'a str], Option<&'a str>, &'a str, &'a [&'a str]);
        let cases: [Case<'_>; 8] = [
            (&pool, amd64, "pool/main/a/a_1_amd64.deb", &pool[1..]),
            (&pool, amd64, "pool/contrib/m/main/a_1_amd64.deb", &pool[..1]),
            (&pool, amd64, "pool/elsewhere/a/a_1_amd64.deb", &[]),
            (&all, None, "pool/main/a/a_1_all.deb", &all[..1]),
            (&all[1..], None, "pool/main/a/a_1_all.deb", &[]),
            (&security, amd64, "pool/updates/main/a/a_1_amd64.deb", &security[1..]),
            (&installer, amd64, "pool/main/a/a_1_amd64.deb", &installer[..1]),
            (&["Packages"], None, "a_1_all.deb", &["Packages"]),
        ];
        for (stems, arch, path, expected) in cases {
            assert_eq!(presumed(stems, arch, path), expected, "{path} in {stems:?}");
        }
    }

    #[test]
    fn a_release_is_looked_at_once_in_a_while_for_each_kind_of_package() {
        let (mut late, id) = (Late::default(), IndexId::default());
        assert!(
            late.look(id, ALL, Stamp(1000)) && late.look(id, SOURCE, Stamp(1000)) && !late.has_looked_for_one(id)
        );
        assert!(late.look(id, "amd64", Stamp(1000)) && !late.look(id, "amd64", Stamp(1001)));
        assert!(late.has_looked_for_one(id) && late.look(id, "arm64", Stamp(1001)));
        assert!(late.look(id, "amd64", Stamp(1000 + CATCH_UP_TIME_S)));
        // The clock went back: what it said before means nothing.
        assert!(late.look(id, "amd64", Stamp(10)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut late = Late::default();
        for n in 0..2 * LATE_PACKAGES {
            late.remember("mirror.example.org", &format!("pool/{n}.deb"));
            late.remember("mirror.example.org", &format!("pool/{n}.deb"));
        }
        assert_eq!(late.packages.len(), LATE_PACKAGES);
    }
}
