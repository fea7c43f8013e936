//! What others may have, and what is withheld from them.

use super::*;

/// Finishes a file with these marks; not recorded yet.
fn finish(store: &Store, content: &[u8], public: bool, owner: Option<&str>) -> Digest {
    let mut draft = store.draft(wanted(content)).expect("a draft");
    draft.append(content).expect("room");
    let meta = FileMeta { public, owner: owner.map(str::to_owned), ..FileMeta::default() };
    draft.finish(meta, NOW).expect("right").digest
}

fn is_open(store: &Store, digest: &Digest) -> bool {
    store.open_shared(digest).expect("an index").is_some()
}

fn all_shared(store: &Store) -> Vec<Digest> {
    store.shared_files(None, 100).expect("an index").into_iter().map(|file| file.digest).collect()
}

#[test]
fn only_public_files_that_are_nobodys_are_given_before_and_after_they_are_recorded() {
    let dir = TestDir::new();
    let store = open(&dir);
    let marks = [(true, None), (false, None), (true, Some("h")), (false, Some("h"))];
    let digests: Vec<Digest> =
        (1..).zip(marks).map(|(n, (public, owner))| finish(&store, &bytes(1000, n), public, owner)).collect();
    let given = |store: &Store| digests.iter().map(|digest| is_open(store, digest)).collect::<Vec<_>>();
    assert_eq!(given(&store), [true, false, false, false]);
    assert_eq!(all_shared(&store), [], "what may still be lost is not announced");
    store.commit(NOW).expect("recorded");
    assert_eq!(given(&store), [true, false, false, false]);
    assert_eq!(all_shared(&store), [digests[0]]);
    let stored = store.open_shared(&digests[0]).expect("an index").expect("public");
    assert!(read(&stored.file) == bytes(1000, 1) && stored.len == 1000);
    drop(store);
    assert_eq!(given(&open(&dir)), [true, false, false, false]);
}

#[test]
fn whose_a_file_is_is_known_without_it() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digests = [None, Some("h")].map(|owner| finish(&store, owner.unwrap_or("nobody").as_bytes(), false, owner));
    let private = |store: &Store| digests.each_ref().map(|digest| store.may_be_private(digest).expect("an index"));
    assert_eq!(private(&store), [false, true]);
    store.commit(NOW).expect("recorded");
    assert_eq!(private(&store), [false, true]);
    for digest in &digests {
        std::fs::remove_file(store.0.file_path(digest)).expect("a stored file");
    }
    assert_eq!(private(&store), [false, true], "the file is not looked at");
    assert!(store.may_be_private(&Digest([7; 32])).expect("an index"), "who knows");
}

#[test]
fn a_file_that_was_withheld_is_given_once_it_comes_as_a_public_one() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(1000, 1);
    for (public, owner, expected) in
        [(false, Some("h"), false), (true, Some("h"), false), (true, None, true), (false, Some("h"), true)]
    {
        let digest = finish(&store, &content, public, owner);
        store.commit(NOW).expect("recorded");
        assert_eq!(is_open(&store, &digest), expected, "{public} {owner:?}");
    }
}

#[test]
fn what_no_index_names_any_more_is_withheld() {
    let dir = TestDir::new();
    let store = open(&dir);
    let (old, new) = (5_u32.to_be_bytes(), 6_u32.to_be_bytes());
    let digests = [&old, &new].map(|content| finish(&store, content, true, None));
    store.commit(NOW).expect("recorded");
    learn(&store, &Model::from([(1, 5), (2, 6)]));
    assert!(digests.iter().all(|digest| is_open(&store, digest)));
    learn(&store, &Model::from([(2, 6)]));
    assert_eq!(digests.map(|digest| is_open(&store, &digest)), [false, true]);
    assert_eq!(all_shared(&store), [digests[1]]);
    assert!(store.open_file(&digests[0], NOW).expect("an index").is_some(), "clients here get it");
}

#[test]
fn what_peers_ask_for_is_not_kept_for_them() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = finish(&store, &bytes(1000, 1), true, None);
    store.commit(NOW).expect("recorded");
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1000);
    let used = || fs::metadata(file_at(&store, &digest)).and_then(|it| it.modified()).expect("there");
    fs::File::open(file_at(&store, &digest)).and_then(|file| file.set_modified(long_ago)).expect("ours");
    assert!(is_open(&store, &digest));
    assert_eq!(used(), long_ago);
    store.open_file(&digest, NOW).expect("an index").expect("there");
    assert!(used() > long_ago, "a client's use counts");
}

#[test]
fn a_shared_file_that_vanished_or_was_cut_is_not_there() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digests = [1, 2].map(|n| finish(&store, &bytes(1000, n), true, None));
    store.commit(NOW).expect("recorded");
    fs::remove_file(file_at(&store, &digests[0])).expect("ours");
    fs::write(file_at(&store, &digests[1]), bytes(999, 2)).expect("ours");
    assert!(digests.iter().all(|digest| !is_open(&store, digest)));
}

#[test]
fn shared_files_come_in_pages_each_once() {
    let dir = TestDir::new();
    let store = open(&dir);
    let mut expected: Vec<Digest> =
        (0..20).map(|n| finish(&store, &bytes(1000 + usize::from(n), n), n % 3 > 0, None)).collect();
    store.commit(NOW).expect("recorded");
    let mut n = 0..20;
    expected.retain(|_| n.next().is_some_and(|n| n % 3 > 0));
    expected.sort_unstable();
    for page_len in [1, 4, 13, 14] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.shared_files(after, page_len).expect("an index");
            assert!(page.len() <= page_len && page.iter().all(|file| file.stored == NOW && file.len >= 1000));
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            all.extend(page.into_iter().map(|file| file.digest));
        }
        assert_eq!(all, expected, "in pages of {page_len}");
    }
}

#[test]
fn a_file_is_of_the_origin_whose_release_promises_it() {
    let dir = TestDir::new();
    let store = open(&dir);
    let (named, index) = (promise(&5_u32.to_be_bytes()), b"an index");
    let entries = std::iter::once((NameHash::of("h", "b/dists/s/main/Packages"), promise(index)));
    let new = NewSnapshot { origin: Some("Debian".into()), ..snapshot(1) };
    store.add_snapshot("h", "b/dists/s", ReleaseFile::InRelease, new, entries).expect("an index");
    let origin = |path: &str, digest: &Digest| store.origin_of("h", path, digest).expect("an index");
    let debian = Some(Some("Debian".to_owned()));
    assert_eq!(origin("b/dists/s/main/Packages", &Digest::of(index)), debian);
    let by_hash = format!("b/dists/s/main/by-hash/SHA256/{}", Digest::of(index));
    assert_eq!(origin(&by_hash, &Digest::of(index)), debian);
    assert_eq!(origin("b/dists/s/main/Packages", &named.digest), None, "another content");
    assert_eq!(origin("b/1", &named.digest), None, "nothing names it yet");
    learn_as(&store, "b/dists/s/main/Packages", &Model::from([(1, 5)]));
    assert_eq!(origin("b/1", &named.digest), debian);
    assert_eq!(store.origin_of("other", "b/1", &named.digest).expect("an index"), None);
}
