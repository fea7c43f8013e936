//! Mutable names: what was last found under them, the snapshots of Release files, and what clients use of them.

use super::record::{NameRecord, Record, Snapshot, Suite, key};
use super::{IndexId, Store, StoreError};
use crate::catalog::{Promise, ReleaseFile};
use crate::digest::{Digest, NameHash};
use crate::limits::{CLOCK_SLACK_S, POISONED, SNAPSHOTS, SNAPSHOTS_MIN, WANTED, WANTED_TIME_S};
use crate::stream::Head;
use crate::time::Stamp;

/// A Release file that came from a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub len: u64,
    /// Its `Date`; 0 if it has none.
    pub date: Stamp,
    /// When it came.
    pub fetched: Stamp,
    /// What the mirror said of it.
    pub head: Head,
    /// Whether its index files can be had by hash.
    pub by_hash: bool,
    /// Its `Origin`.
    pub origin: Option<String>,
}

/// Whether a Release is dated after the day on which it is read, which none is: or the clock is behind.
fn is_of_future(date: Stamp, today: Stamp) -> bool {
    date.0 > today.0.saturating_add(CLOCK_SLACK_S)
}

impl Snapshot {
    /// Whether a Release of this date, which comes today, is older, and is not to take this one's place. One that is of the
    /// future keeps out nothing that is not: else a single false date would stand there for good.
    #[must_use]
    pub fn outdates(&self, date: Stamp, today: Stamp) -> bool {
        // A clock that was put back says nothing of the future.
        let is_disbelieved = self.fetched <= today && is_of_future(self.date, today) && !is_of_future(date, today);
        date < self.date && !is_disbelieved
    }

    /// Puts them in order, the newest first; behind all others what is of the future, unless the clock is behind.
    pub fn sort(all: &mut [Snapshot], today: Stamp) {
        let is_behind = all.iter().any(|snapshot| snapshot.fetched > today);
        let is_believed = |snapshot: &Snapshot| is_behind || !is_of_future(snapshot.date, today);
        sort_down(all, &|snapshot| (is_believed(snapshot), snapshot.date, snapshot.fetched));
    }
}

/// By rank, the highest first. There are a handful of them, and std's sort is six hundred bytes of program for each type.
fn sort_down(all: &mut [Snapshot], rank: &dyn Fn(&Snapshot) -> (bool, Stamp, Stamp)) {
    for end in 1..all.len() {
        let mut at = end;
        while at > 0 && rank(&all[at - 1]) < rank(&all[at]) {
            all.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// How often a client's use of an index file is noted again.
const WANTED_RENEW_S: u64 = 86_400;

impl Store {
    /// What was last found under a name.
    ///
    /// # Errors
    /// Those of the index.
    pub fn name(&self, name: NameHash) -> Result<Option<NameRecord>, StoreError> {
        self.0.index.read()?.get(&key::of_name(b'N', name))
    }

    /// Notes what was found under a name.
    ///
    /// # Errors
    /// Those of the index.
    pub fn put_name(&self, name: NameHash, record: &NameRecord) -> Result<(), StoreError> {
        let mut write = self.0.index.write()?;
        write.put(&key::of_name(b'N', name), record)?;
        write.commit()
    }

    /// Forgets what was found under a name.
    ///
    /// # Errors
    /// Those of the index.
    pub fn forget_name(&self, name: NameHash) -> Result<(), StoreError> {
        let mut write = self.0.index.write()?;
        write.delete(&key::of_name(b'N', name))?;
        write.commit()
    }

    /// The snapshots of a Release file, newest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn snapshots(&self, host: &str, dir: &str, file: ReleaseFile) -> Result<Vec<Snapshot>, StoreError> {
        let suite = self.0.index.read()?.get::<Suite>(&key::suite(host, dir, file))?;
        Ok(suite.map(|suite| suite.snapshots).unwrap_or_default())
    }

    /// Whether any Release is known at this folder.
    ///
    /// # Errors
    /// Those of the index.
    pub fn has_suite(&self, host: &str, dir: &str) -> Result<bool, StoreError> {
        self.0.index.read()?.has_prefix(&key::of_name(b'S', NameHash::of(host, dir)))
    }

    /// The folders with a known Release: host and folder, each once.
    ///
    /// # Errors
    /// Those of the index.
    pub fn suites(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut all = Vec::new();
        self.0.index.read()?.each(b"S", |_, bytes| {
            let Suite { host, dir, .. } = Suite::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if all.last() != Some(&(host.clone(), dir.clone())) {
                all.push((host, dir));
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// The newest Release of each such folder: host, folder and Release.
    ///
    /// # Errors
    /// Those of the index.
    pub fn newest_releases(&self) -> Result<Vec<(String, String, Snapshot)>, StoreError> {
        let mut all: Vec<(String, String, Snapshot)> = Vec::new();
        self.0.index.read()?.each(b"S", |_, bytes| {
            let Suite { host, dir, snapshots } = Suite::decode(bytes).map_err(|_| StoreError::Malformed)?;
            let Some(newest) = snapshots.into_iter().next() else { return Ok(true) };
            match all.last_mut().filter(|last| last.0 == host && last.1 == dir) {
                Some(last) if last.2.date >= newest.date => {}
                Some(last) => last.2 = newest,
                None => all.push((host, dir, newest)),
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// Adds a snapshot with what it promises, by the hash of each full path. One with the same digest stays as it is but
    /// for what the mirror said of it. The oldest go, but never the newest of which everything is here.
    ///
    /// # Errors
    /// Those of the index; [`StoreError::IndexFull`] when this would be the first one, and there is no room for it.
    pub fn add_snapshot(
        &self,
        host: &str,
        dir: &str,
        file: ReleaseFile,
        new: NewSnapshot,
        entries: impl Iterator<Item = (NameHash, Promise)>,
    ) -> Result<Snapshot, StoreError> {
        let suite_key = key::suite(host, dir, file);
        let mut write = self.0.index.write()?;
        let mut suite = write.get::<Suite>(&suite_key)?.unwrap_or_else(|| Suite {
            host: host.to_owned(),
            dir: dir.to_owned(),
            snapshots: Vec::new(),
        });
        let has_room = self.0.index.has_room(0)?;
        if !has_room && suite.snapshots.is_empty() {
            return Err(StoreError::IndexFull);
        }
        // A suite that is known goes on: clients who got a new Release must not be given files of an old one.
        let snapshots_max = if has_room { SNAPSHOTS } else { SNAPSHOTS_MIN };
        let known = suite.snapshots.iter().position(|snapshot| snapshot.digest == new.digest);
        let id = match known {
            Some(at) => suite.snapshots.remove(at).id,
            None => write.next_id()?,
        };
        let NewSnapshot { digest, len, date, fetched, head, by_hash, origin } = new;
        let snapshot = Snapshot { id, digest, len, date, fetched, by_hash, head, origin };
        if known.is_none() {
            for (name, promise) in entries {
                write.put(&key::entry(id, name), &super::record::Entry { promise, retired: false })?;
            }
        }
        suite.snapshots.push(snapshot.clone());
        match is_of_future(date, fetched) {
            // It was just given out, and the clock may be behind.
            true => sort_down(&mut suite.snapshots, &|snapshot| (true, snapshot.date, snapshot.fetched)),
            false => Snapshot::sort(&mut suite.snapshots, fetched),
        }
        while suite.snapshots.len() > snapshots_max {
            // What the new one promises cannot be read before the commit; it has just come, and nothing of it is here.
            let complete = |s: &Snapshot| s.id != id && self.is_complete(host, dir, s, fetched).unwrap_or(false);
            let newest_complete = suite.snapshots.iter().position(complete);
            let last = suite.snapshots.len() - 1;
            let victim = if newest_complete == Some(last) { last - 1 } else { last };
            let gone = suite.snapshots.remove(victim);
            write.delete_prefix(&key::entries(gone.id))?;
        }
        write.put(&suite_key, &suite)?;
        write.commit()?;
        Ok(snapshot)
    }

    /// What a snapshot promises under a name.
    ///
    /// # Errors
    /// Those of the index.
    pub fn in_snapshot(&self, id: IndexId, name: NameHash) -> Result<Option<Promise>, StoreError> {
        let entry = self.0.index.read()?.get::<super::record::Entry>(&key::entry(id, name))?;
        Ok(entry.map(|entry| entry.promise))
    }

    /// Notes that a client uses this index file, or the Release itself. Writes at most once a day for each.
    ///
    /// # Errors
    /// Those of the index.
    pub fn mark_wanted(&self, host: &str, dir: &str, name: NameHash, now: Stamp) -> Result<(), StoreError> {
        let wanted_key = key::wanted(host, dir, name);
        let last = self.0.index.read()?.get::<Stamp>(&wanted_key)?;
        if last.is_some_and(|last| last <= now && now.secs_since(last) < WANTED_RENEW_S) {
            return Ok(());
        }
        if last.is_none() && self.wanted(host, dir)?.len() >= WANTED {
            return Ok(());
        }
        let mut write = self.0.index.write()?;
        write.put(&wanted_key, &now)?;
        write.commit()
    }

    /// The index files of a suite that clients use.
    ///
    /// # Errors
    /// Those of the index.
    pub fn wanted(&self, host: &str, dir: &str) -> Result<Vec<NameHash>, StoreError> {
        Ok(self.wanted_since(host, dir, Stamp(0))?.into_iter().map(|(name, _)| name).collect())
    }

    /// Those that clients used since then, and when they last did, to the day.
    ///
    /// # Errors
    /// Those of the index.
    pub fn wanted_since(&self, host: &str, dir: &str, since: Stamp) -> Result<Vec<(NameHash, Stamp)>, StoreError> {
        let mut all = Vec::new();
        let prefix = key::of_name(b'W', NameHash::of(host, dir));
        self.0.index.read()?.each(&prefix, |wanted_key, bytes| {
            let name = wanted_key[prefix.len()..].try_into().map_err(|_| StoreError::Malformed)?;
            let last = Stamp::decode(bytes).map_err(|_| StoreError::Malformed)?;
            if last >= since {
                all.push((NameHash(name), last));
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// Whether everything is here that clients use of this snapshot.
    ///
    /// # Errors
    /// Those of the index.
    pub fn is_complete(&self, host: &str, dir: &str, snapshot: &Snapshot, now: Stamp) -> Result<bool, StoreError> {
        let since = Stamp(now.0.saturating_sub(WANTED_TIME_S));
        for (name, _) in self.wanted_since(host, dir, since)? {
            if let Some(promise) = self.in_snapshot(snapshot.id, name)?
                && !self.has_file(&promise.digest)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes that a client may hold wrong bytes under this digest.
    ///
    /// # Errors
    /// Those of the index.
    pub fn mark_poisoned(&self, digest: &Digest, now: Stamp) -> Result<(), StoreError> {
        let mut all = Vec::new();
        self.0.index.read()?.each(b"X", |poison_key, bytes| {
            all.push((Stamp::decode(bytes).map_err(|_| StoreError::Malformed)?, poison_key.to_vec()));
            Ok(true)
        })?;
        let key = key::of_digest(b'X', digest);
        let is_known = all.iter().any(|(_, known)| *known == key);
        let mut write = self.0.index.write()?;
        if all.len() >= POISONED
            && !is_known
            && let Some((_, oldest)) = all.iter().min()
        {
            write.delete(oldest)?;
        }
        write.put(&key, &now)?;
        write.commit()
    }

    /// Whether a client may hold wrong bytes under this digest.
    ///
    /// # Errors
    /// Those of the index.
    pub fn is_poisoned(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.0.index.read()?.has(&key::of_digest(b'X', digest))
    }
}
