//! A mirror that lies: no client gets a whole wrong file, nothing wrong is kept, no failure is remembered.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use support::client::{Client, Response, get, get_with};
use support::daemon::Daemon;
use support::mirror::{Fault, Mirror};
use support::{Scratch, noise};

use apt_p2p::digest::Digest;

struct House {
    _scratch: Scratch,
    mirror: Mirror,
    daemon: Daemon,
    content: Vec<u8>,
    path: String,
}

impl House {
    /// A promised file of `len` bytes on the mirror.
    fn new(len: usize) -> House {
        let scratch = Scratch::new();
        let daemon = Daemon::start(&scratch);
        let mirror = Mirror::start();
        let content = noise(len, len as u64);
        let path = mirror.put_by_hash(content.clone());
        House { _scratch: scratch, mirror, daemon, content, path }
    }

    fn get(&self) -> Response {
        get(self.daemon.address, &self.mirror.url(&self.path))
    }

    /// The lie brings no whole file; the very next request after the repair brings the right one.
    fn survives(&self, fault: Fault) -> Response {
        self.mirror.fault(&self.path, fault.clone());
        let broken = self.get();
        assert!(!broken.is_good(), "{fault:?}: {} with {} bytes", broken.status, broken.body.len());
        self.mirror.repair();
        let repaired = self.get();
        assert!(repaired.is_good() && repaired.body == self.content, "{fault:?}: {} afterwards", repaired.status);
        broken
    }
}

#[test]
fn a_small_wrong_file_is_a_clean_error() {
    for fault in [
        Fault::Flip(30_000),
        Fault::Html,
        Fault::Short(0),
        Fault::ShortChunked(1000),
        Fault::Length(50_001),
        Fault::Length(49_999),
        Fault::Status(404),
        Fault::Status(500),
        Fault::Status(503),
        Fault::EndlessHead,
    ] {
        let house = House::new(50_000);
        let broken = house.survives(fault.clone());
        assert!(broken.status >= 400, "{fault:?}: {}", broken.status);
        assert_eq!(broken.text().lines().count(), 1, "{fault:?}: {}", broken.text());
    }
}

#[test]
fn of_a_large_wrong_file_the_end_never_comes() {
    for fault in [Fault::Flip(10), Fault::Flip(2_999_999)] {
        let house = House::new(3_000_000);
        house.mirror.fault(&house.path, fault.clone());
        let broken = house.get();
        assert!(!broken.is_good(), "{fault:?}");
        assert!(broken.body.len() < house.content.len());
    }
}

#[test]
fn after_a_bit_flip_a_client_that_resumes_gets_the_whole_right_file() {
    let house = House::new(3_000_000);
    house.mirror.fault(&house.path, Fault::Flip(1_000_000));
    house.mirror.hold_after(2_000_000);
    let mut client = Client::connect(house.daemon.address);
    client.ask("GET", &house.mirror.url(&house.path), &[]);
    let broken = client.head();
    let seen = client.read_some(1_500_000);
    assert!(broken.status == 200 && seen[1_000_000] == house.content[1_000_000] ^ 1, "it has the wrong byte");
    house.mirror.release();
    let seen = seen.len() + client.rest().len();
    assert!(seen < house.content.len(), "and is cut off");
    house.mirror.repair();
    // apt keeps what it has and asks for the rest: a correct 206 would leave it with the wrong beginning.
    let range = format!("Range: bytes={seen}-");
    let date = format!("If-Range: {}", broken.header("last-modified").expect("kept"));
    for _ in 0..2 {
        let resumed = get_with(house.daemon.address, &house.mirror.url(&house.path), &[&range, &date]);
        assert_eq!(resumed.status, 200);
        assert!(resumed.is_good() && resumed.body == house.content);
    }
}

#[test]
fn a_cut_download_is_resumed_from_the_mirror_within_the_same_request() {
    let house = House::new(3_000_000);
    house.mirror.fault(&house.path, Fault::ShortChunked(2_000_000));
    assert!(house.get().body == house.content, "also where no length was announced");
    let house = House::new(3_000_000);
    house.mirror.fault(&house.path, Fault::Short(2_000_000));
    // Each try brings more, so the proxy goes on: 2,000,000 bytes, then the last 1,000,000 of the range.
    let whole = house.get();
    assert!(whole.is_good() && whole.body == house.content);
    let asked = house.mirror.seen(&house.path);
    assert_eq!((asked.len(), asked[1].range_start()), (2, Some(2_000_000)));
}

#[test]
fn content_that_changes_between_range_requests_is_never_spliced() {
    let house = House::new(3_000_000);
    house.mirror.fault(&house.path, Fault::Short(2_000_000));
    let client = {
        let (address, url) = (house.daemon.address, house.mirror.url(&house.path));
        std::thread::spawn(move || get(address, &url))
    };
    while house.mirror.seen(&house.path).is_empty() {
        std::thread::yield_now();
    }
    house.mirror.fault(&house.path, Fault::OtherRest(noise(3_000_000, 99)));
    let spliced = client.join().expect("an answer");
    assert!(!spliced.is_good() || spliced.body == house.content);
    house.mirror.repair();
    let right = house.get();
    assert!(right.is_good() && right.body == house.content);
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let house = House::new(50_000);
    house.mirror.fault(&house.path, Fault::Redirect("/elsewhere".into()));
    house.mirror.put("/elsewhere", house.content.clone());
    assert!(house.get().body == house.content);
    let house = House::new(50_001);
    let broken = house.survives(Fault::Redirect(house.path.clone()));
    assert_eq!(broken.status, 502);
    let house = House::new(50_002);
    assert_eq!(house.survives(Fault::Redirect("file:///etc/passwd".into())).status, 502);
}

#[test]
fn a_stalled_download_fails_and_is_resumed_by_the_next_request() {
    let house = House::new(4_000_000);
    house.mirror.fault(&house.path, Fault::StallAfter(3_000_000));
    let mut first = Client::connect(house.daemon.address);
    first.ask("GET", &house.mirror.url(&house.path), &[]);
    assert_eq!(first.head().status, 200);
    first.read_some(2_900_000);
    // The proxy is killed while the mirror is silent; what it had is journalled.
    let House { _scratch, mirror, daemon, content, path } = house;
    daemon.kill9();
    mirror.repair();
    mirror.forget_seen();
    let daemon = Daemon::start(&_scratch);
    let resumed = get(daemon.address, &mirror.url(&path));
    assert!(resumed.is_good() && resumed.body == content);
    let start = mirror.seen(&path)[0].range_start().expect("a range");
    assert!(start >= 5 * 524_288, "five pieces were journalled, and it goes on at {start}");
}

#[test]
fn a_web_page_in_place_of_an_unplaced_package_is_refused() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let (path, content) = ("/debian/pool/main/a/a_1_all.deb", noise(40_000, 1));
    mirror.put(path, content.clone());
    mirror.fault(path, Fault::Html);
    assert_eq!(get(daemon.address, &mirror.url(path)).status, 502);
    mirror.repair();
    // A request that comes while the last download is still being recorded shares it, so what is new may show only
    // at the next one.
    let until = |what: &str, answer: &dyn Fn(&support::client::Response) -> bool| {
        support::wait_until(std::time::Duration::from_secs(20), what, || {
            answer(&get(daemon.address, &mirror.url(path)))
        });
    };
    until("the file is served", &|got| got.body == content);
    // It is revalidated at each use: what changed at the mirror is seen.
    let other = noise(40_000, 2);
    mirror.put_dated(path, other.clone(), "Sun, 02 Mar 2025 10:00:00 GMT");
    until("what changed is served", &|got| got.body == other);
    // And a cut one is not kept.
    mirror.put_dated(path, content.clone(), "Mon, 03 Mar 2025 10:00:00 GMT");
    mirror.fault(path, Fault::ShortChunked(10_000));
    until("the cut is seen", &|got| !got.is_good());
    mirror.repair();
    until("the whole one is served", &|got| got.body == content);
    mirror.set_down(true);
    assert!(get(daemon.address, &mirror.url(path)).body == content, "what is stored serves while the mirror is away");
}

#[test]
fn a_web_page_in_place_of_a_release_is_refused() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let path = "/debian/dists/stable/InRelease";
    mirror.fault(path, Fault::Html);
    let page = get(daemon.address, &mirror.url(path));
    assert_eq!(page.status, 502);
    assert!(page.text().contains("login page"), "{}", page.text());
    mirror.repair();
    assert_eq!(get(daemon.address, &mirror.url(path)).status, 404);
}

#[test]
fn bit_rot_is_healed_when_a_client_doubts() {
    let house = House::new(600_000);
    assert!(house.get().is_good());
    let digest = Digest::of(&house.content).to_string();
    let stored = house.daemon.wait_until_recorded(&digest);
    let mut rotten = house.content.clone();
    rotten[300_000] ^= 4;
    std::fs::write(&stored, &rotten).expect("the cache is ours");
    let doubted = get_with(house.daemon.address, &house.mirror.url(&house.path), &["Cache-Control: no-cache"]);
    assert!(doubted.is_good() && doubted.body == house.content);
    assert!(house.get().body == house.content);
    assert_eq!(house.mirror.seen(&house.path).len(), 2);
}

#[test]
fn a_stored_file_that_was_cut_or_taken_away_is_fetched_again() {
    let house = House::new(600_000);
    assert!(house.get().is_good());
    let digest = Digest::of(&house.content).to_string();
    let stored = house.daemon.wait_until_recorded(&digest);
    std::fs::write(&stored, &house.content[..1000]).expect("the cache is ours");
    assert!(house.get().body == house.content);
    support::wait_until(std::time::Duration::from_secs(20), "the file is written anew", || {
        std::fs::metadata(&stored).is_ok_and(|metadata| metadata.len() == 600_000)
    });
    house.daemon.wait_until_recorded(&digest);
    std::fs::remove_file(&stored).expect("the cache is ours");
    assert!(house.get().body == house.content);
}
