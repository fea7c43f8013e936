//! Disks that fill up, cannot be written, or are not there: clients get right files, and one log line says what to do.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, skip, wait_until};

use apt_p2p::digest::Digest;

fn by_hash(mirror: &Mirror, content: &[u8]) -> String {
    let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(content));
    mirror.put(&path, content);
    path
}

/// The program in a mount namespace of its own, where `mount` was run before it.
fn namespaced(mount: &str) -> Command {
    let mut command = Command::new("unshare");
    // As root of a user namespace nothing outside is touched.
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!("{mount} && exec \"$0\" \"$@\"")).arg(BINARY);
    command
}

fn can_mount(dir: &Path) -> bool {
    let mount = format!("mount -t tmpfs -o size=64k tmpfs {}", dir.display());
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]).output();
    if tried.as_ref().is_ok_and(|output| output.status.success()) {
        return true;
    }
    skip(&format!("mounting a tmpfs in a namespace of one's own: {tried:?}"));
    false
}

#[test]
fn on_a_full_disk_every_file_still_comes_right() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    std::fs::create_dir(&cache).expect("a scratch folder");
    if !can_mount(&cache) {
        return;
    }
    let mirror = Mirror::start();
    let mount = format!("mount -t tmpfs -o size=3m tmpfs {}", cache.display());
    let flags = ["--allow-upstream", "127.0.0.0/8", "--max-size", "1G"];
    let daemon = Daemon::try_start(&cache, &flags, namespaced(&mount)).expect("the program starts");
    // The first fit; one fills the disk half-way, and what comes behind finds no room at all.
    for (n, len) in [(1, 400_000), (2, 1_000_000), (3, 9_000_000), (4, 700_000), (5, 50_000), (6, 3_000_000)] {
        let content = noise(len, n);
        let path = by_hash(&mirror, &content);
        for _ in 0..2 {
            let answer = get(daemon.address, &mirror.url(&path));
            assert!(answer.is_good() && answer.body == content, "{len}: {} {}", answer.status, answer.body.len());
        }
    }
    daemon.wait_for_log("the disk is full");
    daemon.wait_for_log("--max-size");
}

#[test]
fn without_a_usable_folder_everything_passes_through_and_the_folder_is_waited_for() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    // A file stands where the folder should be.
    std::fs::write(&cache, "").expect("a scratch file");
    let mirror = Mirror::start();
    let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
    assert!(
        daemon.log().iter().any(|line| line.contains("nothing is cached until that is mended")),
        "{:?}",
        daemon.log()
    );
    let content = noise(3_000_000, 1);
    let path = by_hash(&mirror, &content);
    for _ in 0..2 {
        let answer = get(daemon.address, &mirror.url(&path));
        assert!(answer.is_good() && answer.body == content);
    }
    assert_eq!(mirror.seen(&path).len(), 2);
    std::fs::remove_file(&cache).expect("our file");
    wait_until(Duration::from_secs(60), "the cache is used", || {
        get(daemon.address, &mirror.url(&path));
        daemon.log().iter().any(|line| line.contains("can be used now"))
    });
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    let seen = mirror.seen(&path).len();
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    assert_eq!(mirror.seen(&path).len(), seen, "now it is kept");
}

#[test]
fn a_cache_that_can_only_be_read_still_serves() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let mirror = Mirror::start();
    let (stored, other) = (noise(700_000, 1), noise(300_000, 2));
    let (path, other_path) = (by_hash(&mirror, &stored), by_hash(&mirror, &other));
    {
        let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
        assert!(get(daemon.address, &mirror.url(&path)).body == stored);
        assert_eq!(daemon.terminate(), Some(0));
    }
    if !can_mount(&cache) {
        return;
    }
    let c = cache.display();
    let mount = format!("mount --bind {c} {c} && mount -o remount,bind,ro {c}");
    let daemon = Daemon::try_start(&cache, &["--allow-upstream", "127.0.0.0/8"], namespaced(&mount));
    let daemon = daemon.expect("the program starts");
    assert!(daemon.log().iter().any(|line| line.contains("read-only")), "{:?}", daemon.log());
    for (path, content) in [(&path, &stored), (&other_path, &other)] {
        let answer = get(daemon.address, &mirror.url(path));
        assert!(answer.is_good() && answer.body == *content);
    }
}

#[test]
fn an_index_that_is_damaged_is_made_anew() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let mirror = Mirror::start();
    let content = noise(100_000, 1);
    let path = by_hash(&mirror, &content);
    {
        let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
        get(daemon.address, &mirror.url(&path));
        assert_eq!(daemon.terminate(), Some(0));
    }
    std::fs::write(cache.join("meta/data.mdb"), noise(65_536, 2)).expect("the cache is ours");
    let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
    assert!(daemon.log().iter().any(|line| line.contains("made anew")), "{:?}", daemon.log());
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
}
