//! Files: served at each stage, and gone when they are not what they were.

use super::*;

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
        let usage = Usage { files: 1, bytes: content.len() as u64 };
        assert_eq!(store.usage().expect("an index"), Usage::default(), "not recorded yet");
        assert_eq!(store.held().expect("an index"), usage);
        store.commit_due(Stamp(NOW.0 + 1)).expect("not due");
        assert!(!file_at(&store, &digest).exists());
        store.commit_due(Stamp(NOW.0 + 60)).expect("due");
        assert!(file_at(&store, &digest).exists());
        assert_eq!(store.usage().expect("an index"), usage);
        assert_eq!(store.held().expect("an index"), usage);
        assert_eq!(store.piece_table(&digest).expect("an index").expect("a table").len(), 2);
        assert_eq!(fs::read_dir(dir.path().join("drafts")).expect("a folder").count(), 0);
    }
    let store = open(&dir);
    let stored = store.open_file(&digest, NOW).expect("an index").expect("there");
    assert!(read(&stored.file) == content && stored.head == head && stored.owner.is_none());
}

#[test]
fn what_the_disk_did_not_take_is_dropped_and_the_others_are_recorded() {
    let dir = TestDir::new();
    let store = open(&dir);
    for content in [b"lost", b"good"] {
        finish(&store, content);
    }
    let lost = Digest::of(b"lost");
    // It cannot be synced, as on a disk that fails.
    store.0.waiting().get_mut(&lost).expect("finished").file = Arc::new(fs::File::open("/dev/null").expect("there"));
    let error = store.commit(NOW).expect_err("it is told of");
    assert!(error.to_string().contains(&lost.to_string()), "{error}");
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
        finish(&store, &content);
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
        finish(&store, &content);
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
        finish(&store, &content);
        let mut rotten = content.clone();
        rotten[5] ^= 1;
        fs::write(store.0.draft_path(&name, "part"), rotten).expect("ours");
    }
    let store = open(&dir);
    assert!(!store.has_file(&Digest::of(&content)).expect("an index"));
    assert_eq!(logs_of_finished(&store), 0);
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
fn a_file_s_time_that_is_to_come_is_set_right_when_it_is_used() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, &bytes(1000, 1));
    let used = || {
        crate::store::files::stamp(fs::metadata(file_at(&store, &digest)).expect("there").modified().expect("a time"))
    };
    // The clock was a year ahead then.
    let later = Stamp(NOW.0 + 365 * 86_400);
    store.open_file(&digest, later).expect("an index").expect("there");
    assert_eq!(used(), later);
    store.open_file(&digest, NOW).expect("an index").expect("there");
    assert_eq!(used(), NOW);
}

#[test]
fn what_the_disk_has_spoilt_is_counted_by_whoever_finds_it() {
    let dir = TestDir::new();
    let store = open(&dir);
    assert_eq!(store.damage().expect("an index"), Damage::default());
    let digests = [1, 2, 3].map(|seed| put(&store, &bytes(1000, seed)));
    fs::write(file_at(&store, &digests[0]), bytes(1000, 9)).expect("ours");
    fs::write(file_at(&store, &digests[1]), bytes(1000, 9)).expect("ours");
    fs::remove_file(file_at(&store, &digests[2])).expect("ours");
    assert!(!store.verify_file(&digests[0], NOW).expect("readable"));
    assert_eq!(store.damage().expect("an index"), Damage { files: 1, last: NOW });
    let later = Stamp(NOW.0 + 5);
    store.verify_all(later, &mut |_| ()).expect("readable");
    // What is gone was not spoilt.
    assert_eq!(store.damage().expect("an index"), Damage { files: 2, last: later });
}

#[test]
fn a_rotten_file_is_found_by_hashing_it_again() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, &bytes(1000, 1));
    assert!(store.verify_file(&digest, NOW).expect("readable"));
    fs::write(file_at(&store, &digest), bytes(1000, 9)).expect("ours");
    assert!(!store.verify_file(&digest, NOW).expect("readable"));
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
    let is_poisoned = |n: u64| store.is_poisoned(&Digest::of(&n.to_be_bytes())).expect("an index");
    assert!(!is_poisoned(0), "the oldest was forgotten");
    store.mark_poisoned(&Digest::of(&2_u64.to_be_bytes()), Stamp(5000)).expect("an index");
    assert!(is_poisoned(1) && is_poisoned(2), "what is known takes no other's place");
}
