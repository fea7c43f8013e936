//! Packages that were asked for before the index that names them was learnt.
//!
//! Clients that follow an index by patches never fetch it whole, so nothing of what is new in it could be placed. When a
//! package is asked for that cannot be, the indexes that its clients follow are fetched in the background, each version
//! once, in the compression that is smallest. Where none of those names it, `presumed` looks further. What came meanwhile
//! was kept by its name alone; it is held against the promise as soon as there is one. Owns the memory of all that.

use std::collections::VecDeque;

use super::presumed::Presumed;
use super::{CannotLearn, Learner, Suite};
use crate::catalog::{self, Compression, IndexKind, Promise, ReleaseEntry};
use crate::digest::{Digest, NameHash};
use crate::fetch::News;
use crate::limits::{CATCH_UP_TIME_S, CAUGHT_UP, LATE_PACKAGES, LOOKS_PER_RELEASE, OWN_INDEX_TIME_S};
use crate::store::{IndexId, Store};
use crate::time::Stamp;

/// How packages for all architectures are called among those of one.
const ALL: &str = "all";
/// And sources.
const SOURCE: &str = "source";

/// What came late, and what was done about it.
#[derive(Default)]
pub(super) struct Late {
    /// Packages that no learnt index promised: host and path.
    pub(super) packages: VecDeque<(String, String)>,
    /// Which Release was looked at for which packages, and when.
    looked: VecDeque<(IndexId, String, Stamp)>,
    /// Indexes that we fetch ourselves, no client's use of them, and since when.
    own: VecDeque<(Digest, Stamp)>,
    /// Those to be fetched next.
    pub(super) presumed: VecDeque<Presumed>,
    /// An index was here already, and is learnt by now.
    has_learnt: bool,
}

impl Late {
    /// Whether an index has just come because we fetched it, and not because a client uses it.
    pub(super) fn take_own(&mut self, digest: &Digest) -> bool {
        let at = self.own.iter().position(|(own, _)| own == digest);
        at.and_then(|at| self.own.remove(at)).is_some()
    }

    /// Whether we fetch this one.
    pub(super) fn is_own(&self, digest: &Digest) -> bool {
        self.own.iter().any(|(own, _)| own == digest)
    }

    /// Whether we fetch any. What has not come after a long time is given up.
    pub(super) fn fetches(&mut self, now: Stamp) -> bool {
        self.own.retain(|(_, since)| *since <= now && now.secs_since(*since) < OWN_INDEX_TIME_S);
        !self.own.is_empty()
    }

    fn remember(&mut self, host: &str, path: &str) {
        let package = (host.to_owned(), path.to_owned());
        if !self.packages.contains(&package) {
            push(&mut self.packages, package, LATE_PACKAGES);
        }
    }

    /// Whether this Release is to be looked at for such packages now.
    pub(super) fn look(&mut self, id: IndexId, what: &str, now: Stamp) -> bool {
        let is_old = |at: Stamp| now < at || now.secs_since(at) >= CATCH_UP_TIME_S;
        self.looked.retain(|(_, _, at)| !is_old(*at));
        let mut same = self.looked.iter().filter(|(known, ..)| *known == id);
        // Anybody can make up architectures, and each look reads a Release.
        let has_room = self.looked.len() < CAUGHT_UP && same.clone().count() < LOOKS_PER_RELEASE;
        let is_new = has_room && !same.any(|(_, known, _)| known == what);
        if is_new {
            self.looked.push_back((id, what.to_owned(), now));
        }
        is_new
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
        (host, path): (&str, &str),
        came: bool,
    ) -> Result<(), CannotLearn> {
        if self.settle(store, host, path)? {
            return Ok(());
        }
        let mut dirs = Vec::new();
        for (suite_host, dir) in store.suites()? {
            let base = catalog::base_of(&dir);
            let is_below = base.is_empty() || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
            if suite_host == host && is_below {
                dirs.push(dir);
            }
        }
        if dirs.is_empty() {
            return Ok(());
        }
        late.remember(host, path);
        for dir in &dirs {
            self.catch_up(store, late, host, dir, path)?;
        }
        // Anybody can ask for what is not there.
        if came { self.presume(store, late, host, &dirs, path) } else { Ok(()) }
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

    /// Fetches, or learns where it is here already, what clients follow of a suite by patches and what may name `path`.
    fn catch_up(&self, store: &Store, late: &mut Late, host: &str, dir: &str, path: &str) -> Result<(), CannotLearn> {
        let Some(newest) = self.newest(store, host, dir)? else { return Ok(()) };
        let (kind, arch) = kind_of(path);
        if !late.look(newest.id, arch.unwrap_or(ALL), (self.calendar)()) {
            return Ok(());
        }
        let Some(suite) = self.read_suite(store, host, dir, &newest)? else { return Ok(()) };
        for stem in suite.followed(&store.wanted(host, dir)?, kind, arch) {
            self.learn_or_fetch(&suite, late, stem)?;
        }
        Ok(())
    }

    /// Learns an index in whatever compression it is here, if it was not learnt, or fetches it.
    pub(super) fn learn_or_fetch(&self, suite: &Suite<'_>, late: &mut Late, stem: &str) -> Result<(), CannotLearn> {
        let forms: Vec<&ReleaseEntry> = suite.forms(stem).collect();
        let Some(source) = forms.first().map(|form| suite.source(form)) else { return Ok(()) };
        if suite.store.learnt(suite.host, &suite.path(stem))? == Some(source) {
            return Ok(());
        }
        let is_here = |form: &&&ReleaseEntry| suite.store.has_file(&form.promise.digest).unwrap_or(false);
        match forms.iter().find(is_here) {
            Some(form) => {
                self.learn_entry(suite, form)?;
                late.has_learnt = true;
            }
            None => self.fetch_whole(suite, late, stem, &forms),
        }
        Ok(())
    }

    /// Starts a flight for an index; its landing is news.
    fn fetch_whole(&self, suite: &Suite<'_>, late: &mut Late, stem: &str, forms: &[&ReleaseEntry]) {
        let Some(form) = smallest(stem, forms) else { return };
        let digest = form.promise.digest;
        if !late.is_own(&digest) && self.fetch_index(suite, form) {
            push(&mut late.own, (digest, (self.calendar)()), CAUGHT_UP);
            let index = suite.path(stem);
            log::info!(
                "{}/{index}: no index here names what clients ask for; it is fetched, to place that",
                suite.host
            );
        }
    }
}

/// Archives name the plain index and do not have it, so that is asked for only where there is no other.
pub(super) fn smallest<'r>(stem: &str, forms: &[&'r ReleaseEntry]) -> Option<&'r ReleaseEntry> {
    forms.iter().copied().min_by_key(|form| (form.name == stem, form.promise.len))
}

impl<'a> Suite<'a> {
    /// The indexes for such packages that clients use, whole or by patches.
    fn followed(&self, wanted: &[NameHash], kind: IndexKind, arch: Option<&str>) -> Vec<&str> {
        let files = self.release.files.iter();
        let named = files.map(|entry| {
            let stem = entry.name.strip_suffix(".diff/Index").unwrap_or_else(|| catalog::stem(&entry.name));
            (stem, entry)
        });
        let is_followed = |(stem, entry): &(&str, &ReleaseEntry)| {
            is_for(stem, kind, arch) && wanted.contains(&self.name_hash(entry))
        };
        let mut stems: Vec<&str> = named.filter(is_followed).map(|(stem, _)| stem).collect();
        stems.sort_unstable();
        stems.dedup();
        stems
    }

    /// An index in all compressions that can be read.
    pub(super) fn forms<'s>(&'s self, stem: &'s str) -> impl Iterator<Item = &'s ReleaseEntry> + use<'s, 'a> {
        self.release.files.iter().filter(move |entry| {
            catalog::stem(&entry.name) == stem
                && catalog::index_kind(&entry.name).is_some_and(|(_, compression)| compression.is_built_in())
        })
    }
}

/// The kind of index that names a package, and the architecture that its file name says.
pub(super) fn kind_of(path: &str) -> (IndexKind, Option<&str>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let binary = [".deb", ".udeb", ".ddeb"].into_iter().find_map(|ending| name.strip_suffix(ending));
    match binary {
        Some(name) => (IndexKind::Packages, name.rsplit_once('_').map(|(_, arch)| arch).filter(|arch| *arch != ALL)),
        None => (IndexKind::Sources, Some(SOURCE)),
    }
}

/// Whether an index of this name may name packages of this kind.
pub(super) fn is_for(stem: &str, kind: IndexKind, arch: Option<&str>) -> bool {
    if catalog::index_kind(stem) != Some((kind, Compression::Plain)) {
        return false;
    }
    let folder = stem.rsplit('/').nth(1).and_then(|folder| folder.strip_prefix("binary-"));
    folder.is_none() || arch.is_none() || folder == arch
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
    fn a_release_is_looked_at_once_in_a_while_for_each_kind_of_package() {
        let (mut late, id) = (Late::default(), IndexId::default());
        assert!(late.look(id, "amd64", Stamp(1000)) && !late.look(id, "amd64", Stamp(1001)));
        assert!(late.look(id, "source", Stamp(1001)));
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
