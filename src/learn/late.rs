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
use crate::limits::{CATCH_UP_TIME_S, CAUGHT_UP, LATE_PACKAGES, LOOKS, LOOKS_PER_RELEASE};
use crate::store::{IndexId, Store};
use crate::time::Stamp;

/// How packages for all architectures are called among those of one.
const ALL: &str = "all";
/// And sources.
const SOURCE: &str = "source";

/// A package that no learnt index promised when it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LatePackage {
    pub(super) host: String,
    pub(super) path: String,
    /// The archive has it: it is worth an index that nobody follows.
    pub(super) came: bool,
}

/// What came late, and what was done about it.
#[derive(Default)]
pub(super) struct Late {
    pub(super) packages: VecDeque<LatePackage>,
    /// Releases that were looked at for what clients follow …
    looked: Looks,
    /// … and for what should name a package.
    pub(super) presumed_of: Looks,
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

    /// Whether this one has been on its way for a while. What failed is not told, and is fetched again after that.
    pub(super) fn is_coming(&self, digest: &Digest, now: Stamp) -> bool {
        self.own.iter().any(|(own, since)| own == digest && is_fresh(*since, now))
    }

    /// Whether any has.
    pub(super) fn awaits(&self, now: Stamp) -> bool {
        self.own.iter().any(|(_, since)| is_fresh(*since, now))
    }

    fn remember(&mut self, package: LatePackage) {
        let LatePackage { host, path, .. } = &package;
        match self.packages.iter_mut().find(|known| known.host == *host && known.path == *path) {
            Some(known) => known.came |= package.came,
            None => push(&mut self.packages, package, LATE_PACKAGES),
        }
    }
}

/// Which Release was looked at for which packages, and when.
#[derive(Default)]
pub(super) struct Looks(VecDeque<(IndexId, String, Stamp)>);

impl Looks {
    /// Whether this Release is to be looked at for such packages now.
    pub(super) fn look(&mut self, id: IndexId, what: &str, now: Stamp) -> bool {
        self.0.retain(|(_, _, at)| is_fresh(*at, now));
        let mut same = self.0.iter().filter(|(known, ..)| *known == id);
        // Anybody can make up architectures, and each look reads a Release.
        let has_room = self.0.len() < LOOKS && same.clone().count() < LOOKS_PER_RELEASE;
        let is_new = has_room && !same.any(|(_, known, _)| known == what);
        if is_new {
            self.0.push_back((id, what.to_owned(), now));
        }
        is_new
    }
}

fn is_fresh(since: Stamp, now: Stamp) -> bool {
    since <= now && now.secs_since(since) < CATCH_UP_TIME_S
}

/// Full: the oldest goes.
fn push<T>(memory: &mut VecDeque<T>, item: T, most: usize) {
    if memory.len() >= most {
        memory.pop_front();
    }
    memory.push_back(item);
}

/// Whether a suite's archive is the one that holds this path.
pub(super) fn is_below(dir: &str, path: &str) -> bool {
    let base = catalog::base_of(dir);
    base.is_empty() || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
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
        let suites = store.suites()?.into_iter();
        let dirs: Vec<String> = suites
            .filter(|(suite_host, dir)| suite_host == host && is_below(dir, path))
            .map(|(_, dir)| dir)
            .collect();
        if dirs.is_empty() {
            return Ok(());
        }
        late.remember(LatePackage { host: host.to_owned(), path: path.to_owned(), came });
        // One suite that cannot be learnt must not keep the others.
        let mut outcome = Ok(());
        for dir in &dirs {
            outcome = outcome.and(self.catch_up(store, late, host, dir, path));
        }
        // Anybody can ask for what is not there.
        if came { outcome.and(self.presume(store, late, host, &dirs, path)) } else { outcome }
    }

    /// Holds what came late against what was learnt since, if `news` may have brought that.
    pub(super) fn settle_all(&self, store: &Store, late: &mut Late, news: &News) -> Result<(), CannotLearn> {
        // Each is a dozen look-ups, and hundreds may wait for an index that does not come.
        match news {
            News::Package { .. } => self.settle_if_learnt(store, late),
            _ => self.settle_late(store, late),
        }
    }

    /// The same after an index that was here already.
    pub(super) fn settle_if_learnt(&self, store: &Store, late: &mut Late) -> Result<(), CannotLearn> {
        if std::mem::take(&mut late.has_learnt) { self.settle_late(store, late) } else { Ok(()) }
    }

    fn settle_late(&self, store: &Store, late: &mut Late) -> Result<(), CannotLearn> {
        let mut outcome = Ok(());
        for package in std::mem::take(&mut late.packages) {
            let is_settled = outcome.is_ok()
                && self.settle(store, &package.host, &package.path).unwrap_or_else(|error| {
                    outcome = Err(error);
                    false
                });
            if !is_settled {
                late.remember(package);
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
        let (wanted, (kind, arch)) = (store.wanted(host, dir)?, kind_of(path));
        let Some(newest) = self.newest(store, host, dir)?.filter(|_| !wanted.is_empty()) else { return Ok(()) };
        if !late.looked.look(newest.id, arch.unwrap_or(ALL), (self.calendar)()) {
            return Ok(());
        }
        let Some(suite) = self.read_suite(store, host, dir, &newest)? else { return Ok(()) };
        for stem in suite.followed(&wanted, kind, arch) {
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
                // News of it may have been lost.
                late.take_own(&form.promise.digest);
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
        let (digest, now) = (form.promise.digest, (self.calendar)());
        if !late.is_coming(&digest, now) && self.fetch_index(suite, form) {
            late.take_own(&digest);
            push(&mut late.own, (digest, now), CAUGHT_UP);
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
        let (mut looks, id) = (Looks::default(), IndexId::default());
        assert!(looks.look(id, "amd64", Stamp(1000)) && !looks.look(id, "amd64", Stamp(1001)));
        assert!(looks.look(id, "source", Stamp(1001)));
        assert!(looks.look(id, "amd64", Stamp(1000 + CATCH_UP_TIME_S)));
        // The clock went back: what it said before means nothing.
        assert!(looks.look(id, "amd64", Stamp(10)));
    }

    #[test]
    fn what_does_not_come_is_fetched_again_and_ours_however_late_it_comes() {
        let (mut late, digest) = (Late::default(), Digest::of(b"an index"));
        late.own.push_back((digest, Stamp(1000)));
        assert!(late.is_coming(&digest, Stamp(1000)) && late.awaits(Stamp(1000)));
        let later = Stamp(1000 + CATCH_UP_TIME_S);
        assert!(!late.is_coming(&digest, later) && !late.awaits(later));
        assert!(late.take_own(&digest) && !late.take_own(&digest));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut late = Late::default();
        for n in 0..2 * LATE_PACKAGES {
            for came in [false, true] {
                late.remember(LatePackage { host: "mirror.example.org".into(), path: format!("pool/{n}.deb"), came });
            }
        }
        assert_eq!(late.packages.len(), LATE_PACKAGES);
        assert!(late.packages.iter().all(|package| package.came));
        let mut known = Looks::default();
        let looks = |n: &usize| known.look(IndexId::default(), &n.to_string(), Stamp(1));
        assert_eq!((0..LOOKS).filter(looks).count(), LOOKS_PER_RELEASE);
    }
}
