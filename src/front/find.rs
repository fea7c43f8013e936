//! Where an object is: in the store, or which flight will bring it.

use std::ops::ControlFlow;

use super::ask::Ask;
use super::serve::Front;
use crate::catalog::{self, Index, IndexKind, Place, Promise, ReleaseFile};
use crate::digest::Digest;
use crate::fetch::{Goal, Job, News, Object};
use crate::limits::DIFF_INDEX_LEN;
use crate::store::{Snapshot, Store, StoreError, Stored};

/// How an object can be served.
pub(super) enum Found {
    /// It is here; a Release file with the snapshot that it begins; a file that anybody may be given while the store has
    /// this version, with that.
    Here { stored: Stored, digest: Digest, snapshot: Option<(String, Snapshot)>, version: Option<u64> },
    /// A flight brings it; with its digest where that is promised.
    Fly(Job, Option<Digest>),
}

impl Found {
    /// What a package's promise led to at `version` leads anybody to the same file till then.
    fn at_version(self, version: u64) -> Found {
        match self {
            Found::Here { stored, digest, snapshot, .. } => {
                let version = (stored.recorded && stored.owner.is_none()).then_some(version);
                Found::Here { stored, digest, snapshot, version }
            }
            fly @ Found::Fly(..) => fly,
        }
    }
}

/// Where nothing can be looked up everything passes through; a Release is read all the same before anybody gets it.
fn without_store(place: &Place) -> Goal {
    match place {
        Place::Release { dir, file } if *file != ReleaseFile::Signature => {
            Goal::Release { dir: dir.clone(), file: *file }
        }
        _ => Goal::Pass,
    }
}

impl Front {
    /// Finds `object`; without a store that can be read everything passes through.
    pub(super) fn find(&self, ask: &Ask, object: Object, place: &Place) -> Found {
        let Some(store) = self.shelf().get() else { return fly(ask, object, without_store(place)) };
        match self.find_with(&store, ask, &object, place) {
            Ok(found) => found,
            Err(error) => {
                log::warn!("{error}; {} passes through", told(ask, &object));
                if error.is_of_disk() {
                    self.shelf().suspect();
                }
                fly(ask, object, without_store(place))
            }
        }
    }

    fn find_with(&self, store: &Store, ask: &Ask, object: &Object, place: &Place) -> Result<Found, StoreError> {
        let object = object.clone();
        match place {
            Place::Foreign => Ok(fly(ask, object, Goal::Pass)),
            Place::ByHash { digest: Some(digest), .. } => {
                let promise = Known { digest: *digest, len: None, by_hash: None, is_index: true };
                self.find_promised(store, ask, object, promise)
            }
            Place::Release { dir, file } => match self.in_release(store, ask, &object, dir)? {
                Some(known) => self.find_promised(store, ask, object, known),
                None => self.find_release(store, ask, object, dir, *file),
            },
            Place::Package => {
                let version = store.version();
                match store.promise(&object.host, &object.path)? {
                    Some(promise) => Ok(self.find_promised(store, ask, object, promise.into())?.at_version(version)),
                    None => {
                        let (host, path) = (object.host.clone(), object.path.clone());
                        self.fetcher().tell(News::Package { host, path, came: false });
                        Ok(fly(ask, object, Goal::Unplaced { never_html: true }))
                    }
                }
            }
            Place::Index | Place::ByHash { digest: None, .. } | Place::Archive => {
                match self.in_index(store, ask, &object)? {
                    Some(known) => self.find_promised(store, ask, object, known),
                    None => {
                        let never_html = *place == Place::Index;
                        Ok(fly(ask, object, Goal::Unplaced { never_html }))
                    }
                }
            }
        }
    }

    /// What is promised of something that no pool holds: by the Release, by the index of patches, or by what was learnt.
    fn in_index(&self, store: &Store, ask: &Ask, object: &Object) -> Result<Option<Known>, StoreError> {
        if let Some(known) = self.in_release(store, ask, object, "")? {
            return Ok(Some(known));
        }
        if let Some(promise) = self.patch(store, ask, object)? {
            return Ok(Some(promise.into()));
        }
        Ok(store.promise(&object.host, &object.path)?.map(Known::from))
    }

    /// What the index of patches promises that belongs to this client's Release. apt asks for a patch as soon as it has that
    /// index, which may not be learnt yet; it is small, and read here.
    fn patch(&self, store: &Store, ask: &Ask, object: &Object) -> Result<Option<Promise>, StoreError> {
        let Some(name) = catalog::patches_index(&object.path) else { return Ok(None) };
        let index = Object { path: name.clone(), ..object.clone() };
        let Some(known) = self.in_release(store, ask, &index, "")? else { return Ok(None) };
        let Some(stored) = store.open_file(&known.digest, self.today())? else { return Ok(None) };
        if stored.len > DIFF_INDEX_LEN {
            return Ok(None);
        }
        let index = Index { kind: IndexKind::DiffIndex, release_dir: "", name: &name };
        let mut found = None;
        let read = catalog::read_index(index, crate::store::reader(stored.file), &mut |path, promise| {
            if path == object.path {
                found = Some(promise);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = read
            && found.is_none()
        {
            log::warn!("the index of patches of {}: {error}", told(ask, object));
        }
        Ok(found)
    }

    fn find_promised(&self, store: &Store, ask: &Ask, object: Object, known: Known) -> Result<Found, StoreError> {
        let Known { digest, len, by_hash, is_index } = known;
        // Bytes that one host gave for credentials are no other host's to give: from that one they must come anew.
        let is_theirs = |stored: &Stored| stored.owner.as_ref().is_none_or(|owner| *owner == object.host);
        let mut doubts = ask.doubts;
        if !doubts && let Some(stored) = store.open_file(&digest, self.today())?.filter(is_theirs) {
            if stored.owner.is_some() {
                let goal = Goal::Accepted { digest };
                let job = Job { object, goal, by_hash: None, credentials: ask.credentials.clone() };
                return Ok(Found::Fly(job, Some(digest)));
            }
            doubts = ask.wants_bytes() && self.again().is_doubtful(ask.client, digest, self.today());
            if !doubts {
                if is_index {
                    self.tell_of_index(&object, digest);
                }
                return Ok(Found::Here { stored, digest, snapshot: None, version: None });
            }
        }
        // A by-hash path says no length, and without one peers could not be asked before the mirror says it.
        let len = match len {
            None => store.len_by_hash(&object.host, &object.path, &digest)?,
            known => known,
        };
        let goal = Goal::Promised { digest, len, recheck: doubts };
        let job = Job { object, goal, by_hash, credentials: ask.credentials.clone() };
        Ok(Found::Fly(job, Some(digest)))
    }

    /// What the Release that governs this client's view promises of an index file. `own` is left out: a Release does not
    /// promise itself.
    fn in_release(&self, store: &Store, ask: &Ask, object: &Object, own: &str) -> Result<Option<Known>, StoreError> {
        for dir in catalog::release_dirs(&object.path) {
            if dir == own || !store.has_suite(&object.host, dir)? {
                continue;
            }
            let Some(snapshot) = self.snapshot_for(store, ask, &object.host, dir)? else { continue };
            if let Some(Promise { digest, len }) = store.in_snapshot(snapshot.id, object.name())? {
                let by_hash = snapshot.by_hash.then(|| catalog::by_hash_path(&object.path, &digest));
                return Ok(Some(Known { digest, len: Some(len), by_hash, is_index: true }));
            }
        }
        Ok(None)
    }

    /// The snapshot that this client got last, else the newest, of those that may be given out.
    fn snapshot_for(&self, store: &Store, ask: &Ask, host: &str, dir: &str) -> Result<Option<Snapshot>, StoreError> {
        let mut all = store.snapshots(host, dir, ReleaseFile::InRelease)?;
        all.extend(store.snapshots(host, dir, ReleaseFile::Release)?);
        all.retain(|snapshot| self.fetcher().may_be_given(host, dir, &snapshot.digest));
        if let Some(last) = self.given().last(ask.client, host, dir)
            && let Some(at) = all.iter().position(|snapshot| snapshot.id == last)
        {
            return Ok(Some(all.swap_remove(at)));
        }
        Snapshot::sort(&mut all, self.today());
        Ok(all.into_iter().next())
    }

    fn find_release(
        &self,
        store: &Store,
        ask: &Ask,
        object: Object,
        dir: &str,
        file: ReleaseFile,
    ) -> Result<Found, StoreError> {
        if file == ReleaseFile::Signature {
            return Ok(fly(ask, object, Goal::Unplaced { never_html: true }));
        }
        if ask.credentials.is_none()
            && !ask.doubts
            && self.fetcher().is_fresh(object.name())
            && let Some(snapshot) = self.newest(store, &object.host, dir, file)?
            && let Some(stored) = store.open_file(&snapshot.digest, self.today())?
            && stored.owner.is_none()
        {
            let stored = Stored { head: snapshot.head.clone(), ..stored };
            let digest = snapshot.digest;
            let snapshot = Some((dir.to_owned(), snapshot));
            return Ok(Found::Here { stored, digest, snapshot, version: None });
        }
        Ok(fly(ask, object, Goal::Release { dir: dir.to_owned(), file }))
    }

    /// The newest Release of this form that may be given out: the one that was found fresh.
    fn newest(
        &self,
        store: &Store,
        host: &str,
        dir: &str,
        file: ReleaseFile,
    ) -> Result<Option<Snapshot>, StoreError> {
        let mut all = store.snapshots(host, dir, file)?.into_iter();
        Ok(all.find(|snapshot| self.fetcher().may_be_given(host, dir, &snapshot.digest)))
    }

    /// An index that is served from the store may never have been learnt: it is offered once in a while.
    fn tell_of_index(&self, object: &Object, digest: Digest) {
        if self.offer_once(digest) {
            self.fetcher().tell(News::Index { host: object.host.clone(), path: object.path.clone(), digest });
        }
    }
}

/// What is known of a promised file.
struct Known {
    digest: Digest,
    len: Option<u64>,
    by_hash: Option<String>,
    is_index: bool,
}

impl From<Promise> for Known {
    fn from(promise: Promise) -> Known {
        Known { digest: promise.digest, len: Some(promise.len), by_hash: None, is_index: false }
    }
}

/// What is asked for, for the log and the page: what needs credentials may have a name that is one.
fn told(ask: &Ask, object: &Object) -> String {
    match ask.credentials {
        None => format!("{}/{}", object.host, object.path),
        Some(_) => format!("{}/…", object.host),
    }
}

fn fly(ask: &Ask, object: Object, goal: Goal) -> Found {
    Found::Fly(Job { object, goal, by_hash: None, credentials: ask.credentials.clone() }, None)
}
