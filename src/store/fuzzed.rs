//! A store one of whose records is anything: played by the fuzzer, and by a test with noise. What comes from the disk is
//! not trusted.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::record::{Counters, Entry, FileRecord, IndexRecord, LiarsRecord, NameRecord, Record, Suite};
use super::{FileMeta, Liar, NewSnapshot, Options, Store, StoreError, SweepOptions, Want};
use crate::catalog::{Promise, ReleaseFile};
use crate::digest::{Digest, NameHash, PIECE_LEN};
use crate::stream::Head;
use crate::time::Stamp;

const NOW: Stamp = Stamp(1_740_823_200);
/// What keys begin with.
const KINDS: &[u8] = b"BCDEFILNPSUVWX";

/// A store with a record of each kind, and what they are.
pub struct Damaged {
    store: Store,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    digest: Digest,
}

impl Damaged {
    /// A store in this folder.
    ///
    /// # Panics
    /// When there cannot be one.
    #[must_use]
    pub fn new(dir: PathBuf) -> Damaged {
        let store = Store::open(&Options { dir }).expect("a store");
        let digest = fill(&store).expect("a store takes its own records");
        let mut records = Vec::new();
        let read = store.0.index.read().expect("an index");
        for kind in KINDS {
            let keep = |key: &[u8], value: &[u8]| {
                records.push((key.to_vec(), value.to_vec()));
                Ok(true)
            };
            read.each(&[*kind], keep).expect("an index");
        }
        drop(read);
        Damaged { store, records, digest }
    }

    /// The file as it was: a sweep may have been told to take it.
    fn put_back(&self) {
        let path = self.store.0.file_path(&self.digest);
        if !path.exists() {
            std::fs::write(&path, content()).expect("room");
        }
    }

    /// The first byte of `input` chooses a record, the others are its value; then all that a store is asked for.
    ///
    /// # Panics
    /// When a record that can be read is not written as it was read.
    pub fn with(&self, input: &[u8]) {
        let Some((choice, value)) = input.split_first() else { return };
        let (damaged, _) = &self.records[usize::from(*choice) % self.records.len()];
        round_trips(value);
        self.restore(damaged, value);
        // Errors are what it may say.
        let _ = self.read();
        let _ = self.write();
        self.put_back();
    }

    /// All records as they were, but for one.
    fn restore(&self, key: &[u8], value: &[u8]) {
        let mut write = self.store.0.index.write().expect("an index");
        for kind in KINDS {
            write.delete_prefix(&[*kind]).expect("an index");
        }
        for (key, value) in &self.records {
            write.put_bytes(key, value).expect("room");
        }
        write.put_bytes(key, value).expect("room");
        write.commit().expect("room");
    }

    fn read(&self) -> [Result<(), StoreError>; 18] {
        let (store, digest, name) = (&self.store, &self.digest, NameHash::of("h", "b/a"));
        let snapshots = store.snapshots("h", "b/d", ReleaseFile::InRelease);
        let complete = snapshots
            .as_ref()
            .ok()
            .and_then(|all| all.first())
            .map(|snapshot| (store.is_complete("h", "b/d", snapshot, NOW), store.in_snapshot(snapshot.id, name)));
        if let Ok(Some(stored)) = store.open_file(digest, NOW) {
            let lines = [stored.head.last_modified, stored.head.etag, stored.head.content_type];
            assert!(lines.iter().flatten().all(|line| !line.contains(['\r', '\n'])), "a head would be split");
        }
        [
            snapshots.map(drop),
            complete.map_or(Ok(()), |(complete, promise)| complete.and(promise.map(drop))),
            store.has_file(digest).map(drop),
            store.piece_table(digest).map(drop),
            store.usage().map(drop),
            store.default_max_bytes().map(drop),
            store.learnt("h", "b/d/Packages").map(drop),
            store.promise("h", "b/a").map(drop),
            store.each_promise(&mut |_| ()),
            store.liars().map(drop),
            store.name(name).map(drop),
            store.suites().map(drop),
            store.wanted("h", "b/d").map(drop),
            store.is_poisoned(digest).map(drop),
            store.open_shared(digest).map(drop),
            store.shared_files(None, 10).map(drop),
            store.origin_of("h", "b/a", digest).map(drop),
            store.used(NOW).map(drop),
        ]
    }

    fn write(&self) -> [Result<(), StoreError>; 8] {
        let store = &self.store;
        [
            store.sweep(&SweepOptions { dry_run: true, ..sweep_options() }).map(drop),
            store.mark_wanted("h", "b/d", NameHash::of("h", "b/d/Packages"), Stamp(NOW.0 + 100_000)),
            store.mark_poisoned(&self.digest, NOW),
            store.promises_of("h", "b/d/Packages").and_then(|id| id.map_or(Ok(0), |id| store.adopt(id))).map(drop),
            add_snapshot(store, NOW.0 + 1),
            learn(store, b"another"),
            store.keep_liars(&[]),
            store.sweep(&sweep_options()).map(drop),
        ]
    }
}

fn content() -> Vec<u8> {
    vec![7; usize::try_from(PIECE_LEN + 10).expect("small")]
}

/// One record of each kind; the digest of the file.
fn fill(store: &Store) -> Result<Digest, StoreError> {
    let content = content();
    let digest = Digest::of(&content);
    let mut draft = store.draft(Want::Digest { digest, len: Some(content.len() as u64) })?;
    draft.append(&content)?;
    let head = Head { len: Some(content.len() as u64), etag: Some("\"1\"".into()), ..Head::default() };
    draft.finish(FileMeta { public: true, head: head.clone(), ..FileMeta::default() }, NOW)?;
    store.note_used(NameHash::of("h", "b/a*"));
    store.commit(NOW)?;
    learn(store, &content)?;
    add_snapshot(store, NOW.0)?;
    let (len, url) = (content.len() as u64, "h/b/c".to_owned());
    store.put_name(NameHash::of("h", "b/a"), &NameRecord { digest, len, head, checked: NOW, url, private: false })?;
    store.mark_wanted("h", "b/d", NameHash::of("h", "b/d/Packages"), NOW)?;
    store.mark_poisoned(&digest, NOW)?;
    store.keep_liars(&[Liar { house: [192, 0, 2, 1].into(), lies: 1, last: NOW }])?;
    Ok(digest)
}

fn promise(content: &[u8]) -> Promise {
    Promise { digest: Digest::of(content), len: content.len() as u64 }
}

fn learn(store: &Store, content: &[u8]) -> Result<(), StoreError> {
    let mut feed = |put: &mut super::Put<'_>| -> Result<(), StoreError> {
        let _: ControlFlow<()> = put(NameHash::of("h", "b/a"), promise(content));
        Ok(())
    };
    match store.learn("h", "b", "b/d/Packages", Digest::of(content), NOW, &mut feed) {
        Ok(_) => Ok(()),
        Err(super::LearnError::Store(error) | super::LearnError::Feed(error)) => Err(error),
        Err(super::LearnError::TooMany) => unreachable!("there is one"),
    }
}

fn add_snapshot(store: &Store, date: u64) -> Result<(), StoreError> {
    let Promise { digest, len } = promise(&content());
    let (head, origin) = (Head::default(), Some("Test".to_owned()));
    let new = NewSnapshot { digest, len, date: Stamp(date), fetched: NOW, head, by_hash: true, origin };
    let entries = std::iter::once((NameHash::of("h", "b/d/Packages"), promise(b"index")));
    store.add_snapshot("h", "b/d", ReleaseFile::InRelease, new, entries).map(drop)
}

fn sweep_options() -> SweepOptions {
    SweepOptions { max_bytes: Some(1 << 20), grace: Duration::from_secs(86_400), now: NOW, dry_run: false }
}

/// What is read from these bytes, whatever kind of record they are taken for, is written so that it reads the same.
fn round_trips(bytes: &[u8]) {
    fn round_trip<R: Record + PartialEq + Debug>(bytes: &[u8]) {
        if let Ok(record) = R::decode(bytes) {
            assert_eq!(R::decode(&record.encode()).as_ref(), Ok(&record));
        }
    }
    round_trip::<FileRecord>(bytes);
    round_trip::<NameRecord>(bytes);
    round_trip::<Suite>(bytes);
    round_trip::<IndexRecord>(bytes);
    round_trip::<Entry>(bytes);
    round_trip::<LiarsRecord>(bytes);
    round_trip::<Counters>(bytes);
    round_trip::<Stamp>(bytes);
    round_trip::<Head>(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::test_dir::TestDir;
    use super::*;

    #[test]
    fn whatever_a_record_is_nothing_panics() {
        let dir = TestDir::new();
        let damaged = Damaged::new(dir.path().to_owned());
        let count = u8::try_from(damaged.records.len()).expect("a few");
        for choice in 0..count {
            let (_, value) = &damaged.records[usize::from(choice)];
            for bytes in [vec![], vec![0], vec![0; value.len()], vec![0xff; value.len()], value.repeat(2)] {
                damaged.with(&[&[choice][..], &bytes].concat());
            }
            damaged.with(&[&[choice][..], value].concat());
            assert!(damaged.read().iter().all(Result::is_ok), "what is right is read");
        }
    }
}
