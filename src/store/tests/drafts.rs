//! Drafts: one writer, resumed, taken over where peers filled them.

use super::*;

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
    // Peers gave the last two pieces; then the download failed.
    draft.file().write_all_at(&content[2 * PIECE_LEN as usize..], 2 * PIECE_LEN).expect("room");
    drop(draft);
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    assert_eq!(draft.len(), PIECE_LEN);
    assert_eq!(draft.file().metadata().expect("open").len(), PIECE_LEN);
    draft.append(&content[PIECE_LEN as usize..]).expect("room");
    assert!(read(&draft.finish(FileMeta::default(), NOW).expect("right").file) == content);
}

#[test]
fn a_draft_that_is_begun_anew_keeps_what_others_wrote_and_ends_where_it_ends() {
    let (dir, content) = (TestDir::new(), bytes(2 * PIECE_LEN as usize + 5, 5));
    let (store, all) = (open(&dir), midstates(&content));
    let mut draft = store.draft(Want::Digest { digest: Digest::of(&content), len: None }).expect("a draft");
    draft.begin(Head::default()).expect("room");
    draft.append(&bytes(100, 6)).expect("room");
    draft.file().write_all_at(&content[PIECE_LEN as usize..], PIECE_LEN).expect("room");
    draft.file().write_all_at(b"more than there is", content.len() as u64).expect("room");
    draft.restart().expect("room");
    assert!(draft.is_empty() && draft.head().is_none());
    draft.begin(Head::default()).expect("room");
    draft.append(&content[..PIECE_LEN as usize]).expect("room");
    assert!(draft.graft(all[0], &all[1..], content.len() as u64).expect("readable"));
    assert!(read(&draft.finish(FileMeta::default(), NOW).expect("right").file) == content);
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
fn a_short_draft_has_a_journal_only_when_it_is_left() {
    let (dir, content) = (TestDir::new(), bytes((JOURNAL_PIECES + 1) * PIECE_LEN as usize, 7));
    let store = open(&dir);
    let journal = store.0.draft_path(&Digest::of(&content).to_string(), "journal");
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    draft.begin(Head::default()).expect("room");
    for piece in content.chunks(PIECE_LEN as usize).take(JOURNAL_PIECES - 1) {
        draft.append(piece).expect("room");
    }
    assert!(!journal.exists());
    // Its download fails; the next one goes on, and has the journal from now on.
    drop(draft);
    let before = fs::read(&journal).expect("it was left").len();
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    assert_eq!(draft.len(), (JOURNAL_PIECES as u64 - 1) * PIECE_LEN);
    draft.append(&content[(JOURNAL_PIECES - 1) * PIECE_LEN as usize..]).expect("room");
    assert_eq!(fs::read(&journal).expect("it goes on").len(), before + 2 * 32);
    draft.finish(FileMeta::default(), NOW).expect("right");
    store.commit(NOW).expect("recorded");
    assert!(!journal.exists());
    // One that is not left vouches for each piece once there are enough: as a killed process leaves it.
    let content = bytes((JOURNAL_PIECES + 1) * PIECE_LEN as usize, 8);
    let journal = store.0.draft_path(&Digest::of(&content).to_string(), "journal");
    let mut draft = store.draft(wanted(&content)).expect("a draft");
    draft.begin(Head::default()).expect("room");
    for (n, piece) in content.chunks(PIECE_LEN as usize).enumerate() {
        draft.append(piece).expect("room");
        let pieces =
            fs::read(&journal).map_or(0, |journal| (journal.len() - (before - 32 * (JOURNAL_PIECES - 1))) / 32);
        assert_eq!(pieces, if n + 1 < JOURNAL_PIECES { 0 } else { n + 1 });
    }
}

#[test]
fn finished_drafts_outlive_the_process() {
    let dir = TestDir::new();
    let (named, unnamed, short) = (bytes(700_000, 1), bytes(50, 2), bytes(60, 3));
    let head = Head { content_type: Some("x".into()), ..Head::default() };
    {
        let store = open(&dir);
        let mut draft = store.draft(wanted(&named)).expect("a draft");
        draft.append(&named).expect("room");
        draft.finish(FileMeta { owner: Some("h".into()), head: head.clone(), public: false }, NOW).expect("right");
        let mut draft = store.draft(Want::Unknown).expect("a draft");
        draft.append(&unnamed).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("anything is right");
        let mut draft = store.draft(wanted(&short)).expect("a draft");
        draft.begin(head.clone()).expect("room");
        draft.append(&short).expect("room");
        draft.finish(FileMeta::default(), NOW).expect("right");
        assert!(store.has_file(&Digest::of(&short)).expect("an index"));
        let beside = |ending| store.0.draft_path(&Digest::of(&short).to_string(), ending).exists();
        assert!(beside("part") && !beside("journal"), "a journal is for pieces");
        assert_eq!(logs_of_finished(&store), 1);
        // No commit: the process is killed here.
    }
    let store = open(&dir);
    let stored = store.open_file(&Digest::of(&named), NOW).expect("an index").expect("recovered");
    assert!(read(&stored.file) == named && stored.owner.as_deref() == Some("h") && stored.head == head);
    assert!(store.has_file(&Digest::of(&unnamed)).expect("an index"));
    assert_eq!(logs_of_finished(&store), 1, "its own, in place of the other");
    store.commit_due(NOW).expect("due at once");
    assert_eq!(store.usage().expect("an index"), Usage { files: 3, bytes: 700_110 });
    assert_eq!(logs_of_finished(&store), 0);
    assert!(store.has_file(&Digest::of(&short)).expect("an index"));
}
