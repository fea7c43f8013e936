//! Batches: what is finished is recorded in its turn, whatever comes in between.

use super::*;
use crate::limits::BATCH_TIME_S;

#[test]
fn a_file_whose_turn_failed_has_another_though_nothing_follows_it() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = Digest::of(b"x");
    let folder = file_at(&store, &digest).parent().expect("a folder").to_owned();
    fs::write(&folder, "in the way").expect("ours");
    finish(&store, b"x");
    store.commit(NOW).expect("an index");
    assert_eq!(store.usage().expect("an index").files, 0);
    fs::remove_file(&folder).expect("ours");
    store.commit_due(Stamp(NOW.0 + BATCH_TIME_S)).expect("an index");
    assert_eq!(store.usage().expect("an index").files, 1);
}

#[test]
fn a_finished_draft_that_somebody_deleted_is_fetched_again() {
    let dir = TestDir::new();
    let store = open(&dir);
    let [lost, good] = [b"x", b"y"].map(|content| finish(&store, content));
    fs::remove_file(store.0.draft_path(&lost.to_string(), "part")).expect("it is there");
    assert!(matches!(store.commit(NOW), Err(StoreError::Io(..))));
    assert!(store.has_file(&good).expect("an index") && !store.has_file(&lost).expect("an index"));
    assert!(store.0.waiting().is_empty());
    assert_eq!(put(&store, b"x"), lost);
    assert!(store.0.waiting().is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it says so instead of waiting for ever")]
fn a_batch_that_begins_while_a_file_is_put_to_wait_does_not_miss_it() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = Digest::of(b"x");
    let file = Arc::new(fs::File::create_new(store.0.draft_path("x", "part")).expect("a scratch file"));
    let waiting = waiting::Waiting {
        file,
        path: store.0.draft_path("x", "part"),
        journal: None,
        len: 0,
        meta: FileMeta::default(),
        midstates: Vec::new(),
    };
    std::thread::scope(|scope| {
        // As if a batch were about to note that nothing waits any more.
        let since = lock(&store.0.waiting_since);
        let putting = scope.spawn(|| store.wait(digest, waiting, NOW));
        let begun = std::time::Instant::now();
        while !store.has_file(&digest).expect("an index") {
            assert!(begun.elapsed() < Duration::from_secs(20), "the batch would not find it");
            std::thread::yield_now();
        }
        drop(since);
        putting.join().expect("no panic");
    });
    assert_eq!(*lock(&store.0.waiting_since), Some(NOW));
}
