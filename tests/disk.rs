//! Disks that fill up, cannot be written, or are not there: clients get right files, and one log line says what to do.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::client::{get, try_get};
use support::daemon::{BINARY, Daemon};
use support::loopdisk::{LoopDisk, NEEDS};
use support::mirror::Mirror;
use support::{Scratch, noise, skip, wait_until};

use apt_p2p::digest::Digest;

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
        let path = mirror.put_by_hash(&content[..]);
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
    let path = mirror.put_by_hash(&content[..]);
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
    let (path, other_path) = (mirror.put_by_hash(&stored[..]), mirror.put_by_hash(&other[..]));
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
    let path = mirror.put_by_hash(&content[..]);
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

/// The program on a disk of its own, started again when it ends, as systemd and procd start it.
struct Supervised {
    // Dropped first: it holds the disk.
    daemon: Daemon,
    disk: LoopDisk,
    mirror: Mirror,
    /// What those said that have ended.
    said: Vec<String>,
    _scratch: Scratch,
}

impl Supervised {
    /// `None`, after a word of why, where there are no such disks.
    fn new(megabytes: u64) -> Option<Supervised> {
        let scratch = Scratch::new();
        let Some(disk) = LoopDisk::new(&scratch, megabytes) else {
            skip(NEEDS);
            return None;
        };
        let daemon = start_on(&disk);
        Some(Supervised { daemon, disk, mirror: Mirror::start(), said: Vec::new(), _scratch: scratch })
    }

    /// A file on the mirror that is asked for once, and waited for until it is recorded.
    fn stored(&self, len: usize, seed: u64) -> (String, Vec<u8>) {
        let content = noise(len, seed);
        let path = self.mirror.put_by_hash(&content[..]);
        assert!(get(self.daemon.address, &self.mirror.url(&path)).body == content);
        let digest = Digest::of(&content).to_string();
        let place = format!("cache/files/{}/{digest}", &digest[..2]);
        wait_until(Duration::from_secs(30), "it is recorded", || {
            self.disk.has(&place) && !self.disk.has_unrecorded()
        });
        (path, content)
    }

    fn look_after(&mut self) {
        if self.daemon.has_ended() {
            let next = start_on(&self.disk);
            let ended = std::mem::replace(&mut self.daemon, next);
            self.said.extend(ended.log());
        }
    }

    /// A client that tries as often as apt does has the right file, and never has a wrong one whole.
    fn expect_right(&mut self, path: &str, content: &[u8]) {
        let url = self.mirror.url(path);
        for _ in 0..4 {
            self.look_after();
            let Some(answer) = try_get(self.daemon.address, &url) else { continue };
            if answer.is_good() {
                assert!(answer.body == content, "{path}: a whole file is a right one");
                return;
            }
        }
        panic!("{path}: no right file in four tries; {:#?}{:#?}", self.said, self.daemon.log());
    }

    /// A file that comes from the cache: the mirror hears nothing of it.
    fn expect_kept(&mut self, path: &str, content: &[u8]) {
        self.expect_right(path, content);
        let seen = self.mirror.seen(path).len();
        self.expect_right(path, content);
        assert_eq!(self.mirror.seen(path).len(), seen, "{path} is kept");
    }

    fn has_said(&self, words: &str) -> bool {
        self.said.iter().chain(&self.daemon.log()).any(|line| line.contains(words))
    }

    /// Puts the disk back and waits until its cache is used, in this process or in the next one.
    fn put_back(&mut self) {
        let (pid, told) = (self.daemon.pid(), self.times_used());
        self.disk.put_back();
        // Until the next look at the disk what is known of it is the old one's.
        wait_until(Duration::from_secs(60), "the disk is found", || {
            self.look_after();
            self.daemon.pid() != pid || self.times_used() > told
        });
        self.wait_until_used();
    }

    fn times_used(&self) -> usize {
        self.daemon.log().iter().filter(|line| line.contains("can be used now")).count()
    }

    fn wait_until_used(&mut self) {
        let content = noise(20_000, 99);
        let path = self.mirror.put_by_hash(&content[..]);
        let mut seen = 0;
        wait_until(Duration::from_secs(60), "the cache is used again", || {
            self.expect_right(&path, &content);
            std::mem::replace(&mut seen, self.mirror.seen(&path).len()) == self.mirror.seen(&path).len()
        });
    }
}

fn start_on(disk: &LoopDisk) -> Daemon {
    let mut command = disk.command();
    command.arg(BINARY);
    Daemon::try_start(&disk.at.join("cache"), &["--allow-upstream", "127.0.0.0/8"], command).expect("it starts")
}

#[test]
fn a_disk_that_is_pulled_is_done_without_and_used_again_when_it_is_back() {
    let Some(mut house) = Supervised::new(64) else { return };
    let stored = [house.stored(3_000_000, 1), house.stored(700_000, 2), house.stored(50_000, 3)];
    house.disk.pull();
    let others: Vec<(String, Vec<u8>)> = [(2_000_000, 4), (40_000, 5)]
        .map(|(len, seed)| {
            let content = noise(len, seed);
            (house.mirror.put_by_hash(&content[..]), content)
        })
        .into();
    for _ in 0..2 {
        for (path, content) in stored.iter().chain(&others) {
            house.expect_right(path, content);
        }
    }
    let pass_through = "everything passes through from the mirrors";
    wait_until(Duration::from_secs(30), "the log says so", || {
        house.look_after();
        house.has_said(pass_through) || house.has_said("nothing is cached until that is mended")
    });
    house.put_back();
    // What was stored before is still known, and what came meanwhile is kept from now on.
    for (path, content) in &stored {
        house.mirror.forget_seen();
        house.expect_right(path, content);
        assert_eq!(house.mirror.seen(path).len(), 0, "it is still here");
    }
    for (path, content) in &others {
        house.expect_kept(path, content);
    }
}

#[test]
fn a_disk_on_which_the_kernel_finds_an_error_is_done_without_and_used_again_when_it_is_mended() {
    let Some(mut house) = Supervised::new(64) else { return };
    let stored = [house.stored(3_000_000, 1), house.stored(50_000, 2)];
    house.disk.fail();
    let content = noise(2_000_000, 3);
    let path = house.mirror.put_by_hash(&content[..]);
    for _ in 0..2 {
        for (path, content) in &stored {
            house.expect_right(path, content);
        }
        house.expect_right(&path, &content);
    }
    house.put_back();
    for (path, content) in &stored {
        house.mirror.forget_seen();
        house.expect_right(path, content);
        assert_eq!(house.mirror.seen(path).len(), 0, "it is still here");
    }
    house.expect_kept(&path, &content);
}

#[test]
fn a_disk_that_somebody_fills_is_used_again_when_there_is_room() {
    let Some(mut house) = Supervised::new(32) else { return };
    let (stored_path, stored) = house.stored(700_000, 1);
    house.disk.fill();
    for (len, seed) in [(2_000_000, 2), (40_000, 3)] {
        let content = noise(len, seed);
        let path = house.mirror.put_by_hash(&content[..]);
        house.expect_right(&path, &content);
        house.expect_right(&path, &content);
    }
    house.mirror.forget_seen();
    house.expect_right(&stored_path, &stored);
    assert_eq!(house.mirror.seen(&stored_path).len(), 0, "what is stored serves");
    assert!(house.has_said("the disk is full") && house.has_said("--max-size"));
    house.disk.make_room();
    let content = noise(2_500_000, 4);
    let path = house.mirror.put_by_hash(&content[..]);
    house.expect_kept(&path, &content);
    assert!(house.said.is_empty(), "no restart was needed: {:?}", house.said);
}

/// A proxy that has recorded a file of its mirror's.
fn with_one_file(scratch: &Scratch) -> (Daemon, Mirror, String, Vec<u8>) {
    let (daemon, mirror, content) = (Daemon::start(scratch), Mirror::start(), noise(700_000, 1));
    let path = mirror.put_by_hash(&content[..]);
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    daemon.wait_until_recorded(&Digest::of(&content).to_string());
    (daemon, mirror, path, content)
}

#[test]
fn a_cache_folder_that_is_emptied_under_the_proxy_is_made_anew() {
    let scratch = Scratch::new();
    let (daemon, mirror, path, content) = with_one_file(&scratch);
    for part in ["meta", "files", "drafts"] {
        std::fs::remove_dir_all(daemon.cache.join(part)).expect("the cache is ours");
    }
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    daemon.wait_for_log("is gone, or another disk is mounted there");
    daemon.wait_for_log("can be used now");
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    let seen = mirror.seen(&path).len();
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    assert_eq!(mirror.seen(&path).len(), seen, "it is kept again");
}

#[test]
fn an_index_that_is_damaged_under_the_proxy_is_made_anew_and_the_proxy_can_still_be_asked() {
    let scratch = Scratch::new();
    let (daemon, mirror, path, content) = with_one_file(&scratch);
    let index = daemon.cache.join("meta/data.mdb");
    std::fs::remove_file(&index).expect("the cache is ours");
    std::fs::write(&index, noise(65_536, 2)).expect("the cache is ours");
    daemon.wait_for_log("made anew");
    daemon.wait_for_log("can be used now");
    // Another disk of this name is one that nobody's lock is on yet.
    let mut aside = daemon.cache.clone().into_os_string();
    aside.push(".old");
    std::fs::rename(&daemon.cache, &aside).expect("the cache is ours");
    std::fs::create_dir(&daemon.cache).expect("the cache is ours");
    let asked = || {
        let mut status = Command::new(BINARY);
        status.arg("status").arg("--cache").arg(&daemon.cache);
        status.output().expect("the program starts").status.success()
    };
    wait_until(Duration::from_secs(60), "it can be asked in the new folder", asked);
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    daemon.wait_until_recorded(&Digest::of(&content).to_string());
}
