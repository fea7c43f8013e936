//! What the disk has spoilt goes, and nothing that is right goes with it.

use rustix::io::Errno;

use super::super::verify::is_damage;
use super::*;

#[test]
fn what_was_fetched_again_since_it_was_looked_at_stays() {
    let dir = TestDir::new();
    let store = open(&dir);
    let content = bytes(1000, 1);
    let digest = put(&store, &content);
    let path = file_at(&store, &digest);
    let spoil: [fn(&Path); 3] = [
        |path| fs::remove_file(path).expect("ours"),
        |path| fs::write(path, bytes(1000, 9)).expect("ours"),
        |path| fs::write(path, b"cut").expect("ours"),
    ];
    for (spoil, verdict) in spoil.into_iter().zip([Verdict::Lost, Verdict::Wrong, Verdict::Wrong]) {
        spoil(&path);
        let looked_at = store.look_at(&digest, 1000, true).expect("readable");
        assert_eq!(looked_at.verdict, verdict);
        // The daemon puts it there anew.
        fs::write(dir.path().join("new"), &content)
            .and_then(|()| fs::rename(dir.path().join("new"), &path))
            .expect("ours");
        assert!(!store.drop_if(&digest, |path| looked_at.is_still(path)).expect("an index"), "{verdict:?}");
        assert!(read(&store.open_file(&digest, NOW).expect("an index").expect("it is right").file) == content);
    }
    spoil[1](&path);
    let looked_at = store.look_at(&digest, 1000, true).expect("readable");
    assert!(store.drop_if(&digest, |path| looked_at.is_still(path)).expect("an index"), "nobody came");
    assert!(!path.exists());
}

#[test]
fn a_sweep_leaves_what_was_lost_and_is_here_again() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digests = [put(&store, b"back"), put(&store, b"gone")];
    digests.iter().for_each(|digest| fs::remove_file(file_at(&store, digest)).expect("ours"));
    let known = store.known_files().expect("an index");
    fs::write(file_at(&store, &digests[0]), b"back").expect("ours");
    let options = SweepOptions { max_bytes: None, grace: Duration::ZERO, now: NOW, dry_run: false };
    let mut lost = Dropped::default();
    store.drop_all(&known, &options, &mut lost, |path| !path.exists()).expect("an index");
    assert_eq!(lost, Dropped { files: 1, bytes: 4 });
    assert_eq!(digests.map(|digest| store.has_file(&digest).expect("an index")), [true, false]);
}

#[test]
fn an_error_that_says_nothing_of_the_disk_ends_it_and_drops_nothing() {
    let dir = TestDir::new();
    let store = open(&dir);
    let digest = put(&store, b"x");
    // Too many links, as it may be too many files.
    let path = file_at(&store, &digest);
    fs::remove_file(&path).and_then(|()| std::os::unix::fs::symlink(&path, &path)).expect("ours");
    assert!(matches!(store.verify_all(NOW, &mut |_| ()), Err(StoreError::Io(..))));
    assert_eq!(store.usage().expect("an index").files, 1);
    for (errno, says) in [(Errno::IO, true), (Errno::HWPOISON, true), (Errno::NFILE, false), (Errno::NOMEM, false)] {
        assert_eq!(is_damage(&errno.into()), says, "{errno}");
    }
}
