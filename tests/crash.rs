//! kill -9 at any moment: afterwards every file that is served is right, nothing needs repair, and what was hashed and
//! journalled is not downloaded again. `APT_P2P_KILLS=200` for the long form.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::archive::{Archive, BASE, Package, SUITE};
use support::client::{Client, get};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, wait_until};

use apt_p2p::digest::{Digest, PIECE_LEN};
use apt_p2p::store::{Options, Store};

/// Numbers without a clock or a library: the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn kills() -> u64 {
    std::env::var("APT_P2P_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

#[test]
fn nothing_wrong_is_served_after_any_kill() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let cache = scratch.path().join("cache");
    let mut dice = Dice(7);
    let big = noise(6_000_000, 1);
    let big_path = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&big));
    mirror.put(&big_path, big.clone());
    for round in 0..kills() {
        // Each round has a new version of the archive, so that there is something to learn and to drop.
        let packages =
            (0..400).map(|n| Package::new(&format!("p{n}"), &format!("{}", round + n % 3), 2000)).collect();
        let mut archive = Archive::new(packages);
        archive.date += round * 60;
        archive.publish(&mirror, None);
        mirror.set_rate(20_000_000);
        let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
        let mut downloads = Client::connect(daemon.address);
        downloads.ask("GET", &mirror.url(&big_path), &[]);
        let mut index = Client::connect(daemon.address);
        index.ask("GET", &mirror.url(&format!("{SUITE}/InRelease")), &[]);
        index.ask("GET", &mirror.url(&format!("{SUITE}/main/binary-amd64/Packages.gz")), &[]);
        let mut pool = Client::connect(daemon.address);
        for package in archive.packages.iter().take(5) {
            pool.ask("GET", &mirror.url(&format!("{BASE}/{}", package.path())), &[]);
        }
        let cleaning = (dice.roll(2) == 0).then(|| {
            let mut command = Command::new(BINARY);
            command.args(["cleanup", "--max-size", "3M", "--cache"]).arg(&cache).stdout(Stdio::null());
            command.stderr(Stdio::null()).spawn().expect("the program starts")
        });
        std::thread::sleep(Duration::from_millis(dice.roll(350)));
        daemon.kill9();
        if let Some(mut child) = cleaning {
            child.kill().ok();
            child.wait().expect("it was killed or ended");
        }
        if round % 5 == 4 {
            check(&cache, &mirror, &archive, &big_path, &big);
        }
    }
}

/// A fresh start on what the kill left: everything asked for is right.
fn check(cache: &std::path::Path, mirror: &Mirror, archive: &Archive, big_path: &str, big: &[u8]) {
    mirror.set_rate(0);
    let daemon = Daemon::start_with(cache, &["--allow-upstream", "127.0.0.0/8"]);
    let release = get(daemon.address, &mirror.url(&format!("{SUITE}/InRelease")));
    assert!(release.is_good() && release.text() == archive.release());
    let index = get(daemon.address, &mirror.url(&format!("{SUITE}/main/binary-amd64/Packages")));
    assert!(index.is_good() && index.text() == archive.packages_index());
    wait_until_learnt(cache, mirror, archive);
    let mut client = Client::connect(daemon.address);
    for package in &archive.packages {
        let answer = client.get(&mirror.url(&format!("{BASE}/{}", package.path())), &[]);
        assert!(answer.is_good() && answer.body == package.content, "{}", package.name);
    }
    let answer = client.get(&mirror.url(big_path), &[]);
    assert!(answer.is_good() && answer.body == big);
    assert_eq!(daemon.terminate(), Some(0));
    // Every file that is there bears its digest.
    for folder in std::fs::read_dir(cache.join("files")).expect("the cache").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("its folder").flatten() {
            let name = file.file_name().into_string().expect("a digest");
            let content = std::fs::read(file.path()).expect("a file");
            assert_eq!(Digest::of(&content).to_string(), name);
        }
    }
}

/// Waits until the index is learnt: in this process, or in the one that was killed, where no log tells.
fn wait_until_learnt(cache: &std::path::Path, mirror: &Mirror, archive: &Archive) {
    let host = mirror.url("").trim_start_matches("http://").to_owned();
    let path = format!("{SUITE}/main/binary-amd64/Packages");
    let version = Digest::of(archive.packages_index().as_bytes());
    let store = Store::open(&Options { dir: cache.to_owned() }).expect("beside the daemon");
    wait_until(Duration::from_secs(30), "the index is learnt", || {
        store.learnt(&host, path.trim_start_matches('/')).expect("it can be read") == Some(version)
    });
}

#[test]
fn what_was_journalled_is_not_downloaded_again() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let content = noise(10_000_000, 2);
    let path = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&content));
    mirror.put(&path, content.clone());
    let mut expected = 0;
    // Fewer than four pieces have no journal.
    for stop in [3_000_000_u64, 5_500_000, 9_000_000] {
        let daemon = Daemon::start(&scratch);
        mirror.hold_after(stop - expected);
        let mut client = Client::connect(daemon.address);
        client.ask("GET", &mirror.url(&path), &[]);
        assert_eq!(client.head().status, 200);
        client.read_some(usize::try_from(stop - 100_000).expect("small"));
        daemon.kill9();
        let last = mirror.seen(&path).pop().expect("it was asked for");
        assert!(last.range_start().unwrap_or(0) >= expected, "{last:?}");
        expected = (stop - 100_000) / PIECE_LEN * PIECE_LEN;
        mirror.release();
    }
    let daemon = Daemon::start(&scratch);
    let whole = get(daemon.address, &mirror.url(&path));
    assert!(whole.is_good() && whole.body == content);
    let last = mirror.seen(&path).pop().expect("it was asked for");
    assert!(last.range_start().expect("a range") >= expected, "{last:?}");
}
