//! The store as a whole.

mod batches;
mod damage;
mod drafts;
mod files;
mod full;
mod indexes;
mod processes;
mod sharing;
mod sweeping;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::test_dir::TestDir;
use super::*;
use crate::catalog::{Promise, ReleaseFile};
use crate::digest::{Digest, NameHash, PIECE_LEN};
use crate::limits::{BATCH_FILES, JOURNAL_PIECES, MERGE_CHANGES, RUN_ENTRIES, SNAPSHOTS, WAITING_FILES};
use crate::stream::Head;

const NOW: Stamp = Stamp(1_700_000_000);

fn open(dir: &TestDir) -> Store {
    Store::open(&Options { dir: dir.path().to_owned() }).expect("a store in a scratch folder")
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 7 % 251).expect("below 251") ^ seed).collect()
}

fn read(file: &fs::File) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(file.metadata().expect("open").len()).expect("small")];
    file.read_exact_at(&mut content, 0).expect("readable");
    content
}

fn wanted(content: &[u8]) -> Want {
    Want::Digest { digest: Digest::of(content), len: Some(content.len() as u64) }
}

/// Puts a file in, recorded; as the fetcher does it, beside a draft that a sweep has its hand on.
fn put(store: &Store, content: &[u8]) -> Digest {
    let draft = match store.draft(wanted(content)) {
        Err(StoreError::Busy { .. }) => store.draft_aside(wanted(content)),
        draft => draft,
    };
    let mut draft = draft.expect("a draft");
    draft.append(content).expect("room");
    let digest = draft.finish(FileMeta::default(), NOW).expect("right").digest;
    store.commit(NOW).expect("recorded");
    digest
}

/// A file that waits to be recorded.
fn finish(store: &Store, content: &[u8]) -> Digest {
    let mut draft = store.draft(wanted(content)).expect("a draft");
    draft.append(content).expect("room");
    draft.finish(FileMeta::default(), NOW).expect("right").digest
}

/// How many processes' logs of finished drafts there are.
fn logs_of_finished(store: &Store) -> usize {
    let drafts = fs::read_dir(store.0.dir.join("drafts")).expect("a folder").flatten();
    drafts.filter(|entry| entry.file_name().to_string_lossy().starts_with("finished-")).count()
}

fn file_at(store: &Store, digest: &Digest) -> PathBuf {
    store.0.file_path(digest)
}

/// The midstates after each whole piece.
fn midstates(content: &[u8]) -> Vec<crate::digest::Midstate> {
    let (mut hasher, mut midstates) = (crate::digest::PieceHasher::default(), Vec::new());
    hasher.update(content, |midstate| midstates.push(midstate));
    midstates
}

fn snapshot(date: u64) -> NewSnapshot {
    NewSnapshot {
        digest: Digest::of(&date.to_be_bytes()),
        len: 1,
        date: Stamp(date),
        fetched: NOW,
        head: Head::default(),
        by_hash: true,
        origin: None,
    }
}

fn promise(content: &[u8]) -> Promise {
    Promise { digest: Digest::of(content), len: content.len() as u64 }
}

type Model = BTreeMap<u32, u32>;

fn learn(store: &Store, version: &Model) -> LearnReport {
    learn_as(store, "b/index", version)
}

fn learn_as(store: &Store, index_path: &str, version: &Model) -> LearnReport {
    let mut feed = |put: &mut Put<'_>| {
        // In no order that the store could rely on.
        let mut paths: Vec<_> = version.iter().collect();
        paths.sort_by_key(|(path, _)| path.wrapping_mul(2_654_435_761));
        for (path, content) in paths {
            let name = NameHash::of("h", &format!("b/{path}"));
            if let ControlFlow::Break(()) = put(name, promise(&content.to_be_bytes())) {
                return Err(());
            }
        }
        Ok(())
    };
    store.learn("h", "b", index_path, Digest::of(b"version"), NOW, &mut feed).expect("learnt")
}

fn promised(store: &Store, path: u32) -> Option<Promise> {
    store.promise("h", &format!("b/{path}")).expect("an index")
}

fn sweep(store: &Store, max_bytes: Option<u64>, grace_s: u64, now: Stamp) -> SweepReport {
    let options = SweepOptions { max_bytes, grace: Duration::from_secs(grace_s), now, dry_run: false };
    store.sweep(&options).expect("swept")
}
