//! Indexes: snapshots of a Release, and what changes from one version to the next.

use proptest::prelude::*;

use super::*;

#[test]
fn one_date_of_the_future_does_not_stand_before_what_comes_later() {
    const TOMORROW: u64 = NOW.0 + crate::limits::CLOCK_SLACK_S;
    let dir = TestDir::new();
    let store = open(&dir);
    let add = |date: u64, fetched: Stamp| {
        let new = NewSnapshot { fetched, ..snapshot(date) };
        store.add_snapshot("h", "d", ReleaseFile::InRelease, new, std::iter::empty()).expect("an index");
        let all = store.snapshots("h", "d", ReleaseFile::InRelease).expect("an index");
        (all[0].date.0, all)
    };
    add(NOW.0 - 5, NOW);
    let (first, all) = add(4 * NOW.0, NOW);
    assert_eq!(first, 4 * NOW.0, "it was given out");
    let future = &all[0];
    assert!(!future.outdates(NOW, NOW) && !future.outdates(Stamp(TOMORROW), NOW));
    assert!(future.outdates(Stamp(TOMORROW + 1), NOW), "neither can be believed");
    let (first, all) = add(NOW.0, NOW);
    assert_eq!((first, all.last().map(|last| last.date.0)), (NOW.0, Some(4 * NOW.0)));
    assert!(all[0].outdates(Stamp(NOW.0 - 1), NOW) && !all[0].outdates(NOW, NOW));
    // A clock that is behind changes nothing: the dates are all that is known.
    assert!(all[0].outdates(Stamp(5), Stamp(5)));
    assert_eq!(add(NOW.0 + 1, Stamp(5)).1.iter().map(|s| s.date.0).collect::<Vec<_>>()[1..3], [NOW.0 + 1, NOW.0]);
    let mut all = all;
    Snapshot::sort(&mut all, Stamp(5));
    assert_eq!(all[0].date.0, 4 * NOW.0);
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
