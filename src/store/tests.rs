//! The store as a whole: drafts that resume, files that vanish, indexes that change, and what may go.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use proptest::prelude::*;

use super::test_dir::TestDir;
use super::*;
use crate::catalog::{Promise, ReleaseFile};
use crate::digest::{Digest, NameHash, PIECE_LEN};
use crate::limits::{BATCH_FILES, MERGE_CHANGES, RUN_ENTRIES, SNAPSHOTS, WAITING_FILES};
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

fn file_at(store: &Store, digest: &Digest) -> PathBuf {
    store.0.file_path(digest)
}

/// The midstates after each whole piece.
fn midstates(content: &[u8]) -> Vec<crate::digest::Midstate> {
    let (mut hasher, mut midstates) = (crate::digest::PieceHasher::default(), Vec::new());
    hasher.update(content, |midstate| midstates.push(midstate));
    midstates
}

#[test]
fn pieces_that_lie_behind_the_bytes_in_place_are_taken_over_where_they_join() {
    for (len, first) in [(4 * PIECE_LEN as usize - 9, 2), (3 * PIECE_LEN as usize, 1), (2 * PIECE_LEN as usize, 0)] {
        let (dir, content) = (TestDir::new(), bytes(len, 2));
        let (store, all, at) = (open(&dir), midstates(&content), first * PIECE_LEN as usize);
        let start = first.checked_sub(1).map_or(crate::digest::Midstate::INITIAL, |piece| all[piece]);
        let behind = &all[first..content.len().div_ceil(PIECE_LEN as usize) - 1];
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.begin(Head::default()).expect("room");
        draft.append(&content[..at]).expect("room");
        draft.file().write_all_at(&content[at..], at as u64).expect("room");
        assert!(!draft.graft(all[first], behind, len as u64).expect("readable"), "it does not join there");
        assert_eq!(draft.len(), at as u64);
        assert!(draft.graft(start, behind, len as u64).expect("readable"));
        let finished = draft.finish(FileMeta::default(), NOW).expect("right");
        assert!(read(&finished.file) == content);
        assert_eq!(
            store.piece_table(&finished.digest).expect("an index").expect("a table"),
            &all[..all.len().min(len.div_ceil(PIECE_LEN as usize) - 1)]
        );
    }
}

#[test]
fn a_wrong_last_piece_is_seen_when_pieces_are_taken_over() {
    let (dir, content) = (TestDir::new(), bytes(3 * PIECE_LEN as usize - 9, 3));
    let (store, all) = (open(&dir), midstates(&content));
    let mut wrong = content.clone();
    *wrong.last_mut().expect("bytes") ^= 1;
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    draft.append(&content[..PIECE_LEN as usize]).expect("room");
    draft.file().write_all_at(&wrong[PIECE_LEN as usize..], PIECE_LEN).expect("room");
    assert!(draft.graft(all[0], &all[1..], content.len() as u64).expect("readable"));
    assert!(matches!(draft.finish(FileMeta::default(), NOW), Err(FinishError::Mismatch { .. })));
}

#[test]
fn a_draft_with_a_hole_resumes_before_it() {
    let (dir, content) = (TestDir::new(), bytes(4 * PIECE_LEN as usize, 4));
    let store = open(&dir);
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    draft.begin(Head::default()).expect("room");
    draft.append(&content[..PIECE_LEN as usize + 77]).expect("room");
    // Peers gave the last two pieces; then the process was killed.
    draft.file().write_all_at(&content[2 * PIECE_LEN as usize..], 2 * PIECE_LEN).expect("room");
    drop(draft);
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    assert_eq!(draft.len(), PIECE_LEN);
    assert_eq!(draft.file().metadata().expect("open").len(), PIECE_LEN);
    draft.append(&content[PIECE_LEN as usize..]).expect("room");
    assert!(read(&draft.finish(FileMeta::default(), NOW).expect("right").file) == content);
}

#[test]
fn a_file_is_served_from_its_draft_then_from_its_place_then_after_a_restart() {
    let dir = TestDir::new();
    let content = bytes(2 * PIECE_LEN as usize + 5, 1);
    let head = Head { last_modified: Some("yesterday".into()), ..Head::default() };
    let digest = Digest::of(&content);
    {
        let store = open(&dir);
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.begin(head.clone()).expect("room");
        content.chunks(100_000).for_each(|part| draft.append(part).expect("room"));
        draft.finish(FileMeta { head: head.clone(), ..FileMeta::default() }, NOW).expect("right");
        let early = store.open_file(&digest, NOW).expect("an index").expect("there");
        assert!(read(&early.file) == content && early.head == head);
        assert_eq!(store.usage().expect("an index"), Usage::default(), "not recorded yet");
        store.commit_due(Stamp(NOW.0 + 1)).expect("not due");
        assert!(!file_at(&store, &digest).exists());
        store.commit_due(Stamp(NOW.0 + 60)).expect("due");
        assert!(file_at(&store, &digest).exists());
        assert_eq!(store.usage().expect("an index"), Usage { files: 1, bytes: content.len() as u64 });
        assert_eq!(store.piece_table(&digest).expect("an index").expect("a table").len(), 2);
        assert_eq!(fs::read_dir(dir.path().join("drafts")).expect("a folder").count(), 0);
    }
    let store = open(&dir);
    let stored = store.open_file(&digest, NOW).expect("an index").expect("there");
    assert!(read(&stored.file) == content && stored.head == head && stored.owner.is_none());
}

#[test]
fn what_is_not_what_was_wanted_is_gone() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(1000, 1);
    for wrong in [bytes(1000, 2), content[..999].to_vec(), [&content[..], b"x"].concat()] {
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.append(&wrong).expect("room");
        let error = draft.finish(FileMeta::default(), NOW).expect_err("wrong");
        assert!(matches!(error, FinishError::Mismatch { got } if got == Digest::of(&wrong)));
        assert!(store.open_file(&Digest::of(&content), NOW).expect("an index").is_none());
    }
    assert_eq!(fs::read_dir(dir.path().join("drafts")).expect("a folder").count(), 0);
}

#[test]
fn a_draft_has_one_writer() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(10, 1);
    let first = store.draft(wanted(&content)).expect("a draft");
    assert!(matches!(store.draft(wanted(&content)), Err(StoreError::Busy { .. })));
    // A second one goes its own way, and is held to the same digest.
    let mut aside = store.draft_aside(wanted(&content)).expect("a draft");
    aside.append(b"something else").expect("room");
    assert!(matches!(aside.finish(FileMeta::default(), NOW), Err(FinishError::Mismatch { .. })));
    drop(first);
    assert!(store.draft(wanted(&content)).is_ok());
}

#[test]
fn a_draft_resumes_at_its_last_journalled_piece_whatever_was_cut() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(3 * PIECE_LEN as usize, 1);
    let head = Head { etag: Some("\"e\"".into()), ..Head::default() };
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    draft.begin(head.clone()).expect("room");
    draft.append(&content[..2 * PIECE_LEN as usize + 77]).expect("room");
    drop(draft);
    let name = Digest::of(&content).to_string();
    let (part, journal) = (store.0.draft_path(&name, "part"), store.0.draft_path(&name, "journal"));
    let (part_bytes, journal_bytes) = (fs::read(&part).expect("a draft"), fs::read(&journal).expect("a journal"));
    let head_len = journal_bytes.len() - 64;
    for cut in 0..=journal_bytes.len() {
        fs::write(&part, &part_bytes).expect("ours");
        fs::write(&journal, &journal_bytes[..cut]).expect("ours");
        let draft = store.draft(wanted(&content)).expect("a draft");
        let pieces = cut.saturating_sub(head_len) as u64 / 32;
        assert_eq!(draft.len(), pieces * PIECE_LEN, "a journal of {cut} bytes");
        assert_eq!(draft.head(), (cut >= head_len).then_some(&head), "a journal of {cut} bytes");
        assert!(read(draft.file()) == content[..(pieces * PIECE_LEN) as usize]);
    }
    // A byte that rotted in the second piece: the first stays.
    let mut rotten = part_bytes.clone();
    rotten[PIECE_LEN as usize + 9] ^= 1;
    fs::write(&part, &rotten).expect("ours");
    fs::write(&journal, &journal_bytes).expect("ours");
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    assert_eq!(draft.len(), PIECE_LEN);
    draft.append(&content[PIECE_LEN as usize..]).expect("room");
    assert_eq!(draft.finish(FileMeta::default(), NOW).expect("right").len, content.len() as u64);
}

#[test]
fn finished_drafts_outlive_the_process() {
    let dir = TestDir::new();
    let (named, unnamed) = (bytes(700_000, 1), bytes(50, 2));
    let head = Head { content_type: Some("x".into()), ..Head::default() };
    {
        let store = open(&dir);
        let mut draft = store.draft(wanted(&named)).expect("a draft");
        draft.append(&named).expect("room");
        draft.finish(FileMeta { owner: Some("h".into()), head: head.clone(), public: false }, NOW).expect("right");
        let mut draft = store.draft(Want::Unknown).expect("a draft");
        draft.append(&unnamed).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("anything is right");
        // No commit: the process is killed here.
    }
    let store = open(&dir);
    let stored = store.open_file(&Digest::of(&named), NOW).expect("an index").expect("recovered");
    assert!(read(&stored.file) == named && stored.owner.as_deref() == Some("h") && stored.head == head);
    assert!(store.has_file(&Digest::of(&unnamed)).expect("an index"));
    store.commit_due(NOW).expect("due at once");
    assert_eq!(store.usage().expect("an index"), Usage { files: 2, bytes: 700_050 });
    assert_eq!(store.piece_table(&Digest::of(&named)).expect("an index").expect("a table").len(), 1);
}

#[test]
fn what_the_disk_did_not_take_is_dropped_and_the_others_are_recorded() {
    let dir = TestDir::new();
    let store = open(&dir);
    for content in [b"lost", b"good"] {
        let mut draft = store.draft(wanted(content)).expect("a draft");
        draft.append(content).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("right");
    }
    let lost = Digest::of(b"lost");
    // It cannot be synced, as on a disk that fails.
    store.0.waiting().get_mut(&lost).expect("finished").file = Arc::new(fs::File::open("/dev/null").expect("there"));
    store.commit(NOW).expect("recorded");
    assert!(!store.has_file(&lost).expect("an index"), "a second sync would not fail");
    assert!(!store.0.draft_path(&lost.to_string(), "part").exists());
    assert_eq!(store.usage().expect("an index"), Usage { files: 1, bytes: 4 });
}

#[test]
fn a_file_that_is_finished_waits_for_no_batch() {
    let dir = TestDir::new();
    let store = open(&dir);
    // Somebody's batch that does not end.
    let turn = store.0.batch_turn.lock().expect("no panic");
    for n in 0..=BATCH_FILES {
        let content = n.to_be_bytes();
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.append(&content).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("right");
        store.commit_full(NOW).expect("it is another's turn");
    }
    assert_eq!(store.usage().expect("an index").files, 0);
    drop(turn);
    store.commit_full(NOW).expect("recorded");
    assert_eq!(store.usage().expect("an index").files, BATCH_FILES as u64 + 1);
}

#[test]
fn while_nothing_can_be_recorded_no_more_than_a_bounded_number_waits() {
    let dir = TestDir::new();
    let store = open(&dir);
    fs::remove_dir(dir.path().join("files")).expect("empty");
    fs::write(dir.path().join("files"), "in the way").expect("ours");
    for n in 0..WAITING_FILES {
        let content = n.to_be_bytes();
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.append(&content).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("right");
    }
    assert!(matches!(store.draft(wanted(b"more")), Err(StoreError::Behind)));
    assert!(store.open_file(&Digest::of(&0_usize.to_be_bytes()), NOW).expect("an index").is_some(), "they serve");
    fs::remove_file(dir.path().join("files")).expect("ours");
    fs::create_dir(dir.path().join("files")).expect("ours");
    store.commit(NOW).expect("recorded");
    assert_eq!(store.usage().expect("an index").files, WAITING_FILES as u64);
    store.draft(wanted(b"more")).expect("a draft");
}

#[test]
fn a_mark_without_its_bytes_is_no_file() {
    let dir = TestDir::new();
    let content = bytes(700_000, 1);
    let name = Digest::of(&content).to_string();
    {
        let store = open(&dir);
        let mut draft = store.draft(wanted(&content)).expect("a draft");
        draft.append(&content).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("right");
        let mut rotten = content.clone();
        rotten[5] ^= 1;
        fs::write(store.0.draft_path(&name, "part"), rotten).expect("ours");
    }
    let store = open(&dir);
    assert!(!store.has_file(&Digest::of(&content)).expect("an index"));
    assert!(!store.0.draft_path(&name, "done").exists());
}

#[test]
fn a_file_that_vanished_or_was_cut_is_a_miss_and_its_record_goes() {
    let dir = TestDir::new();
    let store = open(&dir);
    let (cut, gone) = (put(&store, &bytes(1000, 1)), put(&store, &bytes(2000, 2)));
    fs::write(file_at(&store, &cut), b"short").expect("ours");
    fs::remove_file(file_at(&store, &gone)).expect("ours");
    for digest in [&cut, &gone] {
        assert!(store.open_file(digest, NOW).expect("an index").is_none());
    }
    store.commit(NOW).expect("recorded");
    assert!(!store.has_file(&gone).expect("an index"));
    assert_eq!(store.usage().expect("an index").files, 1);
    // What is fetched again takes the place of the cut one.
    let again = put(&store, &bytes(1000, 1));
    assert!(again == cut && store.open_file(&cut, NOW).expect("an index").is_some());
    assert_eq!(store.usage().expect("an index"), Usage { files: 1, bytes: 1000 });
}

#[test]
fn a_rotten_file_is_found_by_hashing_it_again() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, &bytes(1000, 1));
    assert!(store.verify_file(&digest).expect("readable"));
    fs::write(file_at(&store, &digest), bytes(1000, 9)).expect("ours");
    assert!(!store.verify_file(&digest).expect("readable"));
    assert!(store.open_file(&digest, NOW).expect("an index").is_none());
    assert_eq!(store.usage().expect("an index"), Usage::default());
}

#[test]
fn a_private_file_becomes_public_when_it_comes_without_credentials() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(1000, 1);
    for (private, expected) in [(true, true), (true, true), (false, false), (true, false)] {
        let mut draft = store.draft(Want::Unknown).expect("a draft");
        draft.append(&content).expect("room");
        draft.finish(FileMeta { owner: private.then(|| "h".into()), ..FileMeta::default() }, NOW).expect("right");
        store.commit(NOW).expect("recorded");
        let stored = store.open_file(&Digest::of(&content), NOW).expect("an index").expect("there");
        assert_eq!(stored.owner.is_some(), expected);
    }
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

#[test]
fn snapshots_are_in_the_order_of_their_dates_and_the_newest_complete_one_stays() {
    let dir = TestDir::new();
    let store = open(&dir);
    let name = NameHash::of("h", "d/Packages");
    store.mark_wanted("h", "d", name, NOW).expect("an index");
    let add = |date: u64, content: &[u8]| {
        let entries = std::iter::once((name, promise(content)));
        store.add_snapshot("h", "d", ReleaseFile::InRelease, snapshot(date), entries).expect("an index")
    };
    put(&store, b"complete");
    let complete = add(1, b"complete");
    for date in [5, 3, 7, 9, 8] {
        add(date, format!("never came {date}").as_bytes());
        let all = store.snapshots("h", "d", ReleaseFile::InRelease).expect("an index");
        assert!(all.len() <= SNAPSHOTS && all.is_sorted_by(|a, b| a.date >= b.date));
        assert_eq!(all.last().map(|oldest| oldest.id), Some(complete.id));
    }
    assert!(store.is_complete("h", "d", &complete, NOW).expect("an index"));
    assert_eq!(store.in_snapshot(complete.id, name).expect("an index"), Some(promise(b"complete")));
    // The same Release again is the same snapshot.
    assert_eq!(add(9, b"x").id, add(9, b"x").id);
    assert_eq!(store.suites().expect("an index"), [("h".to_owned(), "d".to_owned())]);
    assert!(store.has_suite("h", "d").expect("an index") && !store.has_suite("h", "e").expect("an index"));
}

#[test]
fn poison_is_remembered_and_bounded() {
    let dir = TestDir::new();
    let store = open(&dir);
    for n in 0..=crate::limits::POISONED as u64 {
        store.mark_poisoned(&Digest::of(&n.to_be_bytes()), Stamp(n + 1)).expect("an index");
        if n > 20 && n < 1020 {
            continue;
        }
        assert!(store.is_poisoned(&Digest::of(&n.to_be_bytes())).expect("an index"));
    }
    assert!(!store.is_poisoned(&Digest::of(&0_u64.to_be_bytes())).expect("an index"), "the oldest was forgotten");
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

#[test]
fn a_new_version_writes_only_what_differs() {
    let dir = TestDir::new();
    let store = open(&dir);
    let count = u32::try_from(2 * RUN_ENTRIES + MERGE_CHANGES + 5).expect("small");
    let mut version: Model = (0..count).map(|path| (path, path)).collect();
    let first = learn(&store, &version);
    assert_eq!(
        (first.entries, first.added, first.changed, first.removed),
        (u64::from(count), u64::from(count), 0, 0)
    );
    assert_eq!(learn(&store, &version), LearnReport { entries: u64::from(count), ..LearnReport::default() });
    version.remove(&7);
    version.insert(8, 1_000_000);
    version.insert(count, 9);
    let second = learn(&store, &version);
    assert_eq!((second.added, second.changed, second.removed), (1, 1, 1));
    assert!(second.bytes_changed < 300, "{second:?}");
    for path in [0, 8, count - 1, count] {
        assert_eq!(promised(&store, path), Some(promise(&version[&path].to_be_bytes())));
    }
    assert_eq!(promised(&store, 7), None);
    assert_eq!(store.promise("h", "7").expect("an index"), None, "only below its base");
    assert_eq!(store.promise("other", "b/0").expect("an index"), None);
}

#[test]
fn indexes_that_contradict_each_other_promise_nothing() {
    let dir = TestDir::new();
    let store = open(&dir);
    learn_as(&store, "b/amd64", &Model::from([(1, 5), (2, 6)]));
    learn_as(&store, "b/arm64", &Model::from([(1, 5), (3, 7)]));
    assert_eq!(promised(&store, 1), Some(promise(&5_u32.to_be_bytes())), "they agree");
    // The archive put something else there, and nobody asks for the index of arm64 any more.
    learn_as(&store, "b/amd64", &Model::from([(1, 9), (2, 6)]));
    assert_eq!(promised(&store, 1), None);
    assert_eq!(promised(&store, 3), Some(promise(&7_u32.to_be_bytes())));
    learn_as(&store, "b/arm64", &Model::from([(1, 9)]));
    assert_eq!(promised(&store, 1), Some(promise(&9_u32.to_be_bytes())));
}

#[test]
fn a_path_that_is_gone_is_served_while_its_file_is_here() {
    let dir = TestDir::new();
    let store = open(&dir);
    let old = put(&store, &5_u32.to_be_bytes());
    learn(&store, &Model::from([(1, 5), (2, 6)]));
    learn(&store, &Model::from([(2, 6)]));
    assert_eq!(promised(&store, 1), Some(promise(&5_u32.to_be_bytes())));
    store.drop_file(&old).expect("dropped");
    let options = SweepOptions { max_bytes: None, grace: Duration::from_secs(9), now: NOW, dry_run: false };
    assert_eq!(store.sweep(&options).expect("swept").records, 1);
    assert_eq!(promised(&store, 1), None);
}

#[test]
fn an_index_that_fails_half_way_keeps_what_was_known() {
    let dir = TestDir::new();
    let store = open(&dir);
    learn(&store, &Model::from([(1, 1)]));
    let mut feed = |put: &mut Put<'_>| {
        assert!(put(NameHash::of("h", "b/2"), promise(b"x")).is_continue());
        Err("damaged")
    };
    let failed = store.learn("h", "b", "b/index", Digest::of(b"other"), NOW, &mut feed);
    assert!(matches!(failed, Err(LearnError::Feed("damaged"))));
    assert!(promised(&store, 1).is_some() && promised(&store, 2).is_none());
    assert_eq!(store.learnt("h", "b/index").expect("an index"), Some(Digest::of(b"version")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn learning_is_the_difference_of_two_sets(
        versions in proptest::collection::vec(proptest::collection::btree_map(0_u32..60, 0_u32..4, 0..50), 1..5)
    ) {
        let dir = TestDir::new();
        let store = open(&dir);
        let mut before = Model::new();
        for version in versions {
            let report = learn(&store, &version);
            let added = version.keys().filter(|path| !before.contains_key(path)).count() as u64;
            let removed = before.keys().filter(|path| !version.contains_key(path)).count() as u64;
            let changed = version.iter().filter(|(path, content)| before.get(path).is_some_and(|b| b != *content)).count();
            prop_assert_eq!((report.added, report.removed, report.changed), (added, removed, changed as u64));
            for path in 0..60 {
                let expected = version.get(&path).map(|content| promise(&content.to_be_bytes()));
                prop_assert_eq!(promised(&store, path), expected);
            }
            before = version;
        }
    }
}

fn sweep(store: &Store, max_bytes: Option<u64>, grace_s: u64, now: Stamp) -> SweepReport {
    let options = SweepOptions { max_bytes, grace: Duration::from_secs(grace_s), now, dry_run: false };
    store.sweep(&options).expect("swept")
}

fn age(store: &Store, digest: &Digest, stamp: u64) {
    let file = fs::File::open(file_at(store, digest)).expect("there");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(stamp)).expect("ours");
}

#[test]
fn the_least_recently_used_go_first_and_only_as_many_as_must() {
    let dir = TestDir::new();
    let store = open(&dir);
    let files: Vec<_> = (0..5_u8).map(|n| put(&store, &bytes(1000, n))).collect();
    for (digest, used) in files.iter().zip([50, 20, 40, 10, 30]) {
        age(&store, digest, used);
    }
    let report = sweep(&store, Some(3500), 1 << 40, NOW);
    assert_eq!((report.before.files, report.least_used.files, report.after.files), (5, 2, 3));
    let left: Vec<_> = files.iter().map(|digest| store.has_file(digest).expect("an index")).collect();
    assert_eq!(left, [true, false, true, false, true]);
    assert_eq!((report.arrived, report.arrived_bytes), (0, 0));
}

#[test]
fn what_no_index_names_goes_after_the_grace_time_and_what_one_names_stays() {
    let dir = TestDir::new();
    let store = open(&dir);
    let named = put(&store, &1_u32.to_be_bytes());
    let unnamed = put(&store, b"unnamed");
    learn(&store, &Model::from([(1, 1)]));
    assert_eq!(sweep(&store, None, 100, NOW).newly_unreferenced.files, 1);
    assert_eq!(sweep(&store, None, 100, Stamp(NOW.0 + 99)).unreferenced.files, 0);
    let report = sweep(&store, None, 100, Stamp(NOW.0 + 100));
    assert_eq!((report.unreferenced.files, report.unreferenced.bytes), (1, 7));
    assert!(store.has_file(&named).expect("an index") && !store.has_file(&unnamed).expect("an index"));
    assert!(!file_at(&store, &unnamed).exists());
}

#[test]
fn leftovers_go_after_a_day_and_drafts_in_use_never() {
    let dir = TestDir::new();
    let store = open(&dir);
    let orphan = file_at(&store, &Digest::of(b"orphan"));
    fs::create_dir_all(orphan.parent().expect("a folder")).expect("ours");
    fs::write(&orphan, b"orphan").expect("ours");
    let content = bytes(100, 1);
    let mut left = store.draft(wanted(&content)).expect("a draft");
    left.append(&content[..50]).expect("room");
    drop(left);
    let other = bytes(100, 2);
    let mut in_use = store.draft(wanted(&other)).expect("a draft");
    in_use.append(&other[..50]).expect("room");
    let today =
        super::files::stamp(std::time::SystemTime::UNIX_EPOCH + std::time::UNIX_EPOCH.elapsed().expect("after 1970"));
    let early = sweep(&store, None, 9, today);
    assert_eq!((early.orphans.files, early.drafts.files), (0, 0));
    let late = sweep(&store, None, 9, Stamp(today.0 + 86_401));
    assert_eq!((late.orphans.files, late.drafts.files), (1, 1));
    assert!(!orphan.exists());
    in_use.append(&other[50..]).expect("room");
    in_use.finish(FileMeta::default(), NOW).expect("it was left alone");
}

#[test]
fn nothing_is_swept_by_a_clock_that_is_behind() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, b"x");
    let options = SweepOptions { max_bytes: Some(0), grace: Duration::ZERO, now: Stamp(NOW.0 - 1), dry_run: false };
    assert!(matches!(store.sweep(&options), Err(StoreError::ClockBehind { .. })));
    assert!(store.has_file(&digest).expect("an index"));
}

#[test]
fn files_come_and_go_at_once() {
    let dir = TestDir::new();
    let store = open(&dir);
    std::thread::scope(|scope| {
        for seed in 0..4_u8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..40_u8 {
                    let content = bytes(1000 + usize::from(n), seed * 40 + n);
                    let digest = put(store, &content);
                    if let Some(stored) = store.open_file(&digest, NOW).expect("an index") {
                        assert!(read(&stored.file) == content);
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                sweep(&store, Some(5000), 1 << 40, Stamp(NOW.0 + 1_000_000_000));
            }
        });
    });
    let report = sweep(&store, None, 1 << 40, Stamp(NOW.0 + 1_000_000_000));
    let on_disk: Vec<_> = fs::read_dir(dir.path().join("files")).expect("a folder").flatten().collect();
    let files: usize = on_disk.iter().map(|folder| fs::read_dir(folder.path()).expect("a folder").count()).sum();
    assert_eq!((report.after.files, report.lost.files), (files as u64, 0));
}
