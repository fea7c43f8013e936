//! What the disk has spoilt is noticed, dropped and fetched again, and the log and the page say so.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::Command;

use apt_p2p::digest::Digest;
use support::archive::{Archive, Package, SUITE};
use support::client::{get, get_with};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise};

/// A file that is stored, and then not what it was.
struct House {
    daemon: Daemon,
    mirror: Mirror,
    path: String,
    content: Vec<u8>,
    _scratch: Scratch,
}

impl House {
    fn new(len: usize) -> House {
        let scratch = Scratch::new();
        let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
        let content = noise(len, 3);
        let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&content));
        mirror.put(&path, content.clone());
        assert!(get(daemon.address, &mirror.url(&path)).body == content);
        let house = House { daemon, mirror, path, content, _scratch: scratch };
        house.spoil(len / 2);
        house
    }

    /// One bit is another, and nothing else tells.
    fn spoil(&self, at: usize) {
        let stored = self.daemon.wait_until_recorded(&self.digest());
        let file = fs::OpenOptions::new().write(true).open(stored).expect("a stored file");
        file.write_all_at(&[self.content[at] ^ 4], at as u64).expect("room");
    }

    fn digest(&self) -> String {
        Digest::of(&self.content).to_string()
    }

    fn url(&self) -> String {
        self.mirror.url(&self.path)
    }

    fn is_served_right(&self) -> bool {
        let answer = get(self.daemon.address, &self.url());
        answer.is_good() && answer.body == self.content
    }

    /// From here on it is right, and the mirror is not needed for it.
    fn expect_healed(&self, damaged: u64) {
        self.mirror.forget_seen();
        self.daemon.wait_until_recorded(&self.digest());
        assert!(self.is_served_right() && self.is_served_right());
        assert_eq!(self.mirror.all_seen().len(), 0);
        let status = get(self.daemon.address, "/status.json").text();
        assert!(status.contains(&format!("\"damaged\":{damaged},")), "{status}");
        let metrics = get(self.daemon.address, "/metrics").text();
        assert!(metrics.contains(&format!("apt_p2p_damaged_files_total {damaged}\n")), "{metrics}");
        let page = page(self.daemon.address);
        assert!(page.contains("<p class=bad>The disk has spoilt ") && page.contains("smartctl"), "{page}");
    }
}

fn page(address: SocketAddr) -> String {
    get_with(address, "/", &["Accept: text/html"]).text()
}

#[test]
fn a_client_that_asks_again_at_once_gets_the_right_file() {
    let house = House::new(600_000);
    let wrong = get(house.daemon.address, &house.url());
    assert!(wrong.is_good() && wrong.body != house.content, "the first one gets what lies on the disk");
    assert!(house.is_served_right());
    house.daemon.wait_for_log("was damaged on the disk; it is dropped and fetched again");
    assert!(house.daemon.log().iter().any(|line| line.contains(&house.path) && line.contains("was damaged")));
    house.expect_healed(1);
    assert!(!page(house.daemon.address).contains("2 files"));
}

#[test]
fn a_client_that_asks_for_the_rest_again_gets_the_whole_right_file() {
    let house = House::new(600_000);
    assert!(get(house.daemon.address, &house.url()).body != house.content);
    let rest = get_with(house.daemon.address, &house.url(), &["Range: bytes=500000-"]);
    assert!(rest.is_good() && rest.body == house.content[500_000..]);
    house.daemon.wait_for_log("was damaged on the disk");
    house.expect_healed(1);
}

#[test]
fn a_hit_that_is_doubted_is_hashed_again_at_once() {
    let house = House::new(600_000);
    let doubted = get_with(house.daemon.address, &house.url(), &["Cache-Control: no-cache"]);
    assert!(doubted.is_good() && doubted.body == house.content);
    house.daemon.wait_for_log("was damaged on the disk; it is dropped and fetched again");
    house.expect_healed(1);
}

#[test]
fn in_the_place_of_a_release_that_is_lost_no_older_one_is_asked_about() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let older = Archive::new(vec![Package::new("hello", "1", 1000)]);
    let newer = Archive { date: older.date + 86_400, ..Archive::new(vec![Package::new("hello", "2", 1000)]) };
    let (path, fresh) = (format!("{SUITE}/InRelease"), ["Cache-Control: no-cache"]);
    for archive in [&older, &newer] {
        archive.publish(&mirror, None);
        let got = get_with(daemon.address, &mirror.url(&path), &fresh);
        assert!(got.body == archive.release().into_bytes());
    }
    let digest = Digest::of(newer.release().as_bytes()).to_string();
    fs::remove_file(daemon.wait_until_recorded(&digest)).expect("a stored file");
    // A mirror that is behind would say that nothing has changed.
    older.publish(&mirror, None);
    mirror.forget_seen();
    assert_eq!(get_with(daemon.address, &mirror.url(&path), &fresh).status, 200);
    let seen = mirror.seen(&path);
    assert!(seen.len() == 1 && !seen[0].headers.contains_key("if-modified-since"), "{seen:?}");
}

#[test]
fn what_verify_drops_beside_the_proxy_stands_on_the_proxy_s_page() {
    let house = House::new(600_000);
    let cache = &house.daemon.cache;
    let verify = || Command::new(BINARY).arg("verify").arg("--cache").arg(cache).output().expect("it starts");
    let found = verify();
    assert_eq!(found.status.code(), Some(1));
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(said.contains(&format!("dropped {}", house.digest())), "{said}");
    assert!(house.is_served_right());
    house.expect_healed(1);
    // And once more, by the other way.
    house.spoil(1000);
    let doubted = get_with(house.daemon.address, &house.url(), &["Cache-Control: no-cache"]);
    assert!(doubted.body == house.content);
    house.expect_healed(2);
    assert!(verify().status.success());
}

#[test]
fn a_healthy_disk_is_not_spoken_of() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let content = noise(300_000, 1);
    let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&content));
    mirror.put(&path, content.clone());
    for _ in 0..4 {
        assert!(get(daemon.address, &mirror.url(&path)).body == content);
    }
    assert_eq!(mirror.seen(&path).len(), 1, "asking again for what is right costs the mirror nothing");
    assert!(!page(daemon.address).contains("spoilt") && !page(daemon.address).contains("amaged"));
    assert!(get(daemon.address, "/status.json").text().contains("\"damaged\":0,"));
}
