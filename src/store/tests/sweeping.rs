//! What may go, in which order, and what never does.

use super::super::record::key;
use super::*;

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

/// By the clock that dates files.
fn today() -> Stamp {
    crate::store::files::stamp(
        std::time::SystemTime::UNIX_EPOCH + std::time::UNIX_EPOCH.elapsed().expect("after 1970"),
    )
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
    let today = today();
    let early = sweep(&store, None, 9, today);
    assert_eq!((early.orphans.files, early.drafts.files), (0, 0));
    let late = sweep(&store, None, 9, Stamp(today.0 + 86_401));
    assert_eq!((late.orphans.files, late.drafts.files), (1, 1));
    assert!(!orphan.exists());
    in_use.append(&other[50..]).expect("room");
    in_use.finish(FileMeta::default(), NOW).expect("it was left alone");
}

#[test]
fn what_others_keep_in_the_folder_stays() {
    let dir = TestDir::new();
    let store = open(&dir);
    let theirs = ["files/photos/a.jpg", "files/notes.txt", "drafts/novel.odt", "drafts/film.part"]
        .map(|name| dir.path().join(name));
    let misplaced = dir.path().join("files/zz").join(Digest::of(b"x").to_string());
    for path in theirs.iter().chain([&misplaced]) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
        fs::write(path, b"theirs").expect("ours");
    }
    let today = today();
    let report = sweep(&store, Some(0), 9, Stamp(today.0 + 3 * 86_400));
    assert_eq!((report.orphans.files, report.drafts.files), (0, 0));
    assert!(theirs.iter().chain([&misplaced]).all(|path| path.exists()));
}

#[test]
fn drafts_of_clients_who_left_count_as_well_and_go_before_files() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, &bytes(10_000, 1));
    age(&store, &digest, NOW.0 - 1000);
    let drafts: Vec<_> = (2..6)
        .map(|seed| {
            let content = bytes(60_000, seed);
            let mut draft = store.draft(wanted(&content)).expect("a draft");
            draft.append(&content[..50_000]).expect("room");
            draft
                .file()
                .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(NOW.0 - 1000 + u64::from(seed)))
                .expect("ours");
            draft
        })
        .collect();
    let writing = drafts.into_iter().next().expect("the oldest");
    let taken = store.draft_bytes().expect("a folder") / 4;
    assert!((50_000..60_000).contains(&taken), "{taken}");
    let report = sweep(&store, Some(10_000 + 3 * taken), 1 << 40, NOW);
    assert_eq!((report.drafts.files, report.least_used.files), (1, 0));
    let report = sweep(&store, Some(10_000 + taken), 1 << 40, NOW);
    assert_eq!((report.drafts.files, report.least_used.files), (2, 0));
    let report = sweep(&store, Some(taken), 1 << 40, NOW);
    assert_eq!((report.drafts.files, report.least_used.files), (0, 1), "what is being written stays");
    assert_eq!(writing.len(), 50_000);
    assert_eq!(store.draft_bytes().expect("a folder"), taken);
}

#[test]
fn an_index_that_was_moved_aside_goes_after_a_day() {
    let dir = TestDir::new();
    let store = open(&dir);
    let aside = dir.path().join("meta.unusable");
    fs::create_dir(&aside).expect("ours");
    fs::write(aside.join("data.mdb"), b"x").expect("ours");
    let today = today();
    sweep(&store, None, 9, today);
    assert!(aside.exists());
    sweep(&store, None, 9, Stamp(today.0 + 86_401));
    assert!(!aside.exists());
}

/// A store with one file that came at `stored` and was used then, and a Release of NOW.
fn with_one_file(dir: &TestDir, stored: Stamp) -> (Store, Digest) {
    let store = open(dir);
    let mut draft = store.draft(wanted(b"x")).expect("a draft");
    draft.append(b"x").expect("room");
    let digest = draft.finish(FileMeta::default(), stored).expect("right").digest;
    store.commit(stored).expect("recorded");
    age(&store, &digest, stored.0);
    store.add_snapshot("h", "d", ReleaseFile::InRelease, snapshot(NOW.0), std::iter::empty()).expect("an index");
    (store, digest)
}

#[test]
fn by_a_clock_that_is_behind_nothing_is_old_but_the_size_holds() {
    let dir = TestDir::new();
    let (store, digest) = with_one_file(&dir, NOW);
    let with = |max_bytes| SweepOptions {
        max_bytes: Some(max_bytes),
        grace: Duration::ZERO,
        now: Stamp(NOW.0 - 100),
        dry_run: false,
    };
    assert!(matches!(store.sweep(&with(1)), Err(StoreError::ClockBehind { .. })));
    assert!(store.has_file(&digest).expect("an index"), "no index names it, but who knows since when");
    assert!(matches!(store.sweep(&with(0)), Err(StoreError::ClockBehind { .. })));
    assert!(!store.has_file(&digest).expect("an index"));
}

#[test]
fn what_a_clock_that_was_ahead_has_dated_goes_as_if_it_were_of_now() {
    let ahead = Stamp(NOW.0 + 1_000_000_000);
    let dir = TestDir::new();
    let (store, digest) = with_one_file(&dir, ahead);
    assert_eq!(sweep(&store, Some(0), 100, NOW).least_used.files, 1, "the size holds at once");
    assert!(!store.has_file(&digest).expect("an index"));
    let dir = TestDir::new();
    let (store, digest) = with_one_file(&dir, ahead);
    store.mark_wanted("h", "d", NameHash::of("h", "d/Packages"), ahead).expect("an index");
    put(&store, b"another");
    assert_eq!(sweep(&store, Some(100), 100, NOW).after.files, 2);
    let used = fs::metadata(file_at(&store, &digest)).and_then(|it| it.modified()).expect("there");
    assert_eq!(crate::store::files::stamp(used), NOW);
    assert!(store.known_files().expect("an index").iter().all(|file| file.stored <= NOW));
    let late = Stamp(NOW.0 + 2 * crate::limits::WANTED_TIME_S + 1);
    assert_eq!(sweep(&store, None, 100, late).records, 2, "the suite, and the note of what is wanted of it");
    assert!(!store.has_file(&digest).expect("an index"), "the grace time is over");
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

#[test]
fn an_archive_that_nobody_uses_any_more_goes_with_all_that_it_promises() {
    let dir = TestDir::new();
    let store = open(&dir);
    let add = |suite: &str, file: ReleaseFile| {
        let named = std::iter::once((NameHash::of("h", &format!("{suite}/Packages")), promise(b"an index")));
        store.add_snapshot("h", suite, file, snapshot(1), named).expect("an index").id
    };
    let snapshots = ["b/dists/old", "b/dists/used"].map(|suite| add(suite, ReleaseFile::InRelease));
    add("b/dists/old", ReleaseFile::Release);
    let many: Model = (0..u32::try_from(MERGE_CHANGES).expect("small") + 5).map(|path| (path, path)).collect();
    learn_as(&store, "b/dists/old/Packages", &many);
    learn_as(&store, "b/dists/used/Packages", &Model::from([(7_000, 1)]));
    let later = |days: u64| Stamp(NOW.0 + days * 86_400);
    // Nothing of it changes any more: its clients ask for the Release alone.
    store
        .mark_wanted("h", "b/dists/used", NameHash::of("h", "b/dists/used/InRelease"), later(100))
        .expect("an index");
    assert_eq!(sweep(&store, None, 0, later(180)).records, 0);
    let dry = SweepOptions { max_bytes: None, grace: Duration::ZERO, now: later(181), dry_run: true };
    assert_eq!(store.sweep(&dry).expect("nothing to do").records, 3, "two forms of the Release, and the index");
    assert!(promised(&store, 5).is_some());
    assert_eq!(sweep(&store, None, 0, later(181)).records, 3);
    assert_eq!(store.suites().expect("an index"), [("h".to_owned(), "b/dists/used".to_owned())]);
    assert!(promised(&store, 5).is_none() && promised(&store, 7_000).is_some());
    assert!(store.learnt("h", "b/dists/old/Packages").expect("an index").is_none());
    let left = snapshots
        .map(|id| store.0.index.read().and_then(|read| read.has_prefix(&key::entries(id))).expect("an index"));
    assert_eq!(left, [false, true]);
    let mut entries = 0;
    store.each_promise(&mut |_| entries += 1).expect("an index");
    assert_eq!(entries, 2, "nothing is left that nothing leads to");
    // Who comes back finds it as a new one.
    add("b/dists/old", ReleaseFile::InRelease);
    assert_eq!(learn_as(&store, "b/dists/old/Packages", &many).added, many.len() as u64);
}
