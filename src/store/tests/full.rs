//! An index that is nearly full, and one that is full.

use super::super::record::key;
use super::*;

const MAP_LEN: usize = 4 << 20;

fn open_small(dir: &TestDir) -> Result<Store, StoreError> {
    Store::open_sized(&Options { dir: dir.path().to_owned() }, MAP_LEN, false)
}

fn try_learn(store: &Store, index_path: &str, entries: u32) -> Result<LearnReport, LearnError<()>> {
    let mut feed = |put: &mut Put<'_>| {
        for n in 0..entries {
            let name = NameHash::of("h", &format!("{index_path}/{n}"));
            if put(name, promise(&n.to_be_bytes())).is_break() {
                return Err(());
            }
        }
        Ok(())
    };
    store.learn("h", "b", index_path, Digest::of(&entries.to_be_bytes()), NOW, &mut feed)
}

fn is_full<T, E>(learnt: &Result<T, LearnError<E>>) -> bool {
    matches!(learnt, Err(LearnError::Store(StoreError::IndexFull)))
}

#[test]
fn what_is_learnt_leaves_room_for_files_and_for_known_suites() {
    let dir = TestDir::new();
    let store = open_small(&dir).expect("a store");
    let add = |suite: &str, date: u64| {
        let named = std::iter::once((NameHash::of("h", &format!("{suite}/Packages")), promise(b"an index")));
        store.add_snapshot("h", suite, ReleaseFile::InRelease, snapshot(date), named)
    };
    add("b/dists/known", 1).expect("room");
    assert!(is_full(&try_learn(&store, "b/huge", 60_000)));
    assert!(store.learnt("h", "b/huge").expect("an index").is_none() && promised(&store, 1).is_none());
    assert_eq!(try_learn(&store, "b/grows", 1000).expect("room").added, 1000);
    assert!(is_full(&try_learn(&store, "b/grows", 60_000)), "it grows beyond what there is room for");
    assert!(is_full(&try_learn(&store, "b/other", 1)));
    put(&store, b"a file is recorded all the same");
    for date in 2..9 {
        add("b/dists/known", date).expect("a known suite goes on");
    }
    let kept = store.snapshots("h", "b/dists/known", ReleaseFile::InRelease).expect("an index");
    assert_eq!(kept.first().map(|snapshot| snapshot.date), Some(Stamp(8)));
    assert_eq!(kept.len(), crate::limits::SNAPSHOTS_MIN);
    assert!(matches!(add("b/dists/new", 1), Err(StoreError::IndexFull)));
    // What is not promised any more makes room.
    assert_eq!(try_learn(&store, "b/grows", 0).expect("less is always learnt").entries, 0);
    add("b/dists/new", 1).expect("room");
}

#[test]
fn a_full_index_is_made_anew_at_the_next_start() {
    let dir = TestDir::new();
    let store = open_small(&dir).expect("a store");
    let mut n = 0_u32;
    let mut fill = || -> Result<(), StoreError> {
        loop {
            let mut write = store.0.index.write()?;
            for _ in 0..10 {
                n += 1;
                let mut digest = Digest([0; 32]);
                digest.0[..4].copy_from_slice(&n.to_be_bytes());
                write.put_bytes(&key::of_digest(b'X', &digest), &[0; 1500])?;
            }
            write.commit()?;
        }
    };
    let is_map_full =
        |error: &StoreError| matches!(error, StoreError::Index(heed::Error::Mdb(heed::MdbError::MapFull)));
    assert!(fill().is_err_and(|error| is_map_full(&error)));
    drop(store);
    let folder = fs::File::open(dir.path()).expect("ours");
    draft::try_lock(&folder).expect("nobody has it");
    assert!(open_small(&dir).is_err_and(|error| is_map_full(&error)), "a running proxy uses it");
    let options = Options { dir: dir.path().to_owned() };
    let store = Store::open_sized(&options, MAP_LEN, true).expect("it is that proxy itself");
    put(&store, b"it is recorded");
    assert!(dir.path().join("meta.unusable").exists());
}
