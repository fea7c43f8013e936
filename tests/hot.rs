//! The edge's memory of hot answers, against the real program: what it gives, and that nothing outlives a change.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::archive::{Archive, BASE, Package, SUITE};
use support::client::{Client, Response, get, get_with};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, wait_until};

/// A proxy that has one package of an archive, recorded, and hot.
struct House {
    daemon: Daemon,
    mirror: Mirror,
    archive: Archive,
    stored: std::path::PathBuf,
    scratch: Scratch,
}

impl House {
    fn new(flags: &[&str]) -> House {
        let scratch = Scratch::new();
        let flags = [&["--allow-upstream", "127.0.0.0/8"], flags].concat();
        let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
        let mirror = Mirror::start();
        let archive = Archive::new(vec![Package::new("a", "1", 50_000)]);
        archive.publish(&mirror, None);
        let (digest, stored) = (archive.packages[0].digest(), daemon.cache.clone());
        let house = House { daemon, mirror, archive, stored, scratch };
        house.learn("learnt ");
        assert!(house.get().is_good());
        let stored = house.daemon.wait_until_recorded(&digest);
        let house = House { stored, ..house };
        house.heat();
        house
    }

    fn learn(&self, words: &str) {
        for name in ["InRelease", "main/binary-amd64/Packages"] {
            let got = get_with(self.daemon.address, &self.mirror.url(&format!("{SUITE}/{name}")), &[]);
            assert!(got.is_good(), "{name}");
        }
        self.daemon.wait_for_log(words);
    }

    /// The batch may have more to record: once it has not, an answer stays.
    fn heat(&self) {
        wait_until(Duration::from_secs(30), "the answer is hot", || {
            assert!(self.get().body == self.archive.packages[0].content);
            let before = self.worker_turns();
            assert!(self.get().body == self.archive.packages[0].content);
            self.worker_turns() == before
        });
    }

    fn path(&self) -> String {
        format!("{BASE}/{}", self.archive.packages[0].path())
    }

    fn get(&self) -> Response {
        get(self.daemon.address, &self.mirror.url(&self.path()))
    }

    fn with(&self, line: &str) -> Response {
        get_with(self.daemon.address, &self.mirror.url(&self.path()), &[line])
    }

    /// How often a request worker has begun to wait, once all of them do: each request that one works on adds to it, when it
    /// has been answered.
    fn worker_turns(&self) -> u64 {
        let mut turns = self.turns_so_far();
        wait_until(Duration::from_secs(10), "the workers wait", || {
            let before = std::mem::replace(&mut turns, self.turns_so_far());
            turns.is_some() && turns == before
        });
        turns.expect("waited for")
    }

    /// None while one works, or is about to.
    fn turns_so_far(&self) -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.daemon.pid())).expect("it runs");
        let status_of_worker = |dir: &Path| -> Option<String> {
            let comm = std::fs::read_to_string(dir.join("comm")).ok()?;
            std::fs::read_to_string(dir.join("status")).ok().filter(|_| comm.starts_with("worker-"))
        };
        let all: Vec<String> = tasks.flatten().filter_map(|task| status_of_worker(&task.path())).collect();
        assert!(!all.is_empty(), "the workers have other names");
        let value = |status: &str, name: &str| -> Option<String> {
            Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
        };
        let turns = |status: &String| -> Option<u64> {
            let sleeps = value(status, "State:")?.starts_with('S');
            value(status, "voluntary_ctxt_switches:").filter(|_| sleeps)?.parse().ok()
        };
        all.iter().map(turns).sum()
    }

    fn fetches(&self) -> usize {
        self.mirror.seen(&self.path()).len()
    }
}

#[test]
fn a_hot_file_needs_no_worker_and_counts_as_any() {
    let house = House::new(&[]);
    // Under a name that nobody has used yet, so that the log's lines can be told from others.
    let url = format!("/{}{}", house.mirror.address, house.path());
    let mut client = Client::connect(house.daemon.address);
    assert!(client.get(&url, &[]).is_good());
    let turns = house.worker_turns();
    let asked = |method: &str| format!("{method} {url} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send([asked("GET"), asked("HEAD"), asked("GET")].concat());
    for method in ["GET", "HEAD", "GET"] {
        let got = client.read(method);
        assert_eq!((got.status, got.header("content-length"), got.whole), (200, Some("50000"), true), "{method}");
        assert!(method == "HEAD" || got.body == house.archive.packages[0].content);
        assert_eq!(got.header("last-modified"), Some(support::mirror::DATE));
    }
    assert_eq!(house.worker_turns(), turns, "the edge alone has answered");
    wait_until(Duration::from_secs(10), "a line in the log for each", || {
        let log = house.daemon.log();
        log.iter().filter(|line| line.contains(&format!(" {url} 200 ")) && line.contains(" from cache in ")).count()
            == 4
    });
    let before = get(house.daemon.address, "/status.json").text();
    assert!(house.get().is_good());
    let after = get(house.daemon.address, "/status.json").text();
    let number = |text: &str, name: &str| -> u64 {
        let rest = text.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {text}"));
        rest.split([',', '}']).next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    assert_eq!(number(&after, "bytes_sent") - number(&before, "bytes_sent"), 50_000);
    assert_eq!(number(&after, "requests") - number(&before, "requests"), 2);
}

#[test]
fn conditions_and_ranges_are_right_beside_it() {
    let house = House::new(&[]);
    let content = &house.archive.packages[0].content;
    let known = house.with(&format!("If-Modified-Since: {}", support::mirror::DATE));
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(house.with(&format!("If-None-Match: \"{}\"", house.archive.packages[0].digest())).status, 304);
    let part = house.with("Range: bytes=100-");
    assert!(part.status == 206 && part.body == content[100..]);
    assert_eq!(house.with("Range: bytes=50000-").status, 416);
    assert!(house.get().body == *content);
}

#[test]
fn what_another_process_drops_is_fetched_again_at_once() {
    let house = House::new(&[]);
    // Deleted behind everybody's back: what is open is right all the same.
    std::fs::remove_file(&house.stored).expect("the cache is ours");
    assert!(house.get().body == house.archive.packages[0].content);
    assert_eq!(house.fetches(), 1, "it was hot");
    let cleanup = Command::new(BINARY).arg("cleanup").arg("--cache").arg(&house.daemon.cache).output();
    assert!(cleanup.expect("the program starts").status.success());
    assert!(house.get().body == house.archive.packages[0].content);
    assert_eq!(house.fetches(), 2, "the record is gone, and what was hot with it");
}

#[test]
fn a_doubt_reaches_the_disk_and_its_repair_everybody() {
    let house = House::new(&[]);
    let content = &house.archive.packages[0].content;
    let mut rotten = content.clone();
    rotten[20_000] ^= 4;
    std::fs::write(&house.stored, &rotten).expect("the cache is ours");
    assert!(house.get().body == rotten, "a hit is not hashed, hot or not");
    let doubted = house.with("Cache-Control: no-cache");
    assert!(doubted.is_good() && doubted.body == *content);
    assert!(house.get().body == *content);
    assert_eq!(house.fetches(), 2);
    std::fs::write(house.daemon.wait_until_recorded(&house.archive.packages[0].digest()), &rotten[..1000]).ok();
    assert!(house.get().body == *content, "a file that was cut is never begun");
}

#[test]
fn another_promise_at_the_same_path_counts_from_when_it_is_learnt() {
    let mut house = House::new(&[]);
    let same_name = Package { content: support::noise(60_000, 9), ..house.archive.packages[0].clone() };
    house.archive.packages = vec![same_name];
    house.archive.date += 86_400;
    house.archive.publish(&house.mirror, None);
    let release = house.mirror.url(&format!("{SUITE}/InRelease"));
    // A client's doubt goes to the mirror at once, and not after ten seconds.
    assert!(get_with(house.daemon.address, &release, &["Cache-Control: no-cache"]).is_good());
    house.learn("1 changed");
    assert!(house.get().body == house.archive.packages[0].content);
}

#[test]
fn whoever_is_not_allowed_any_more_gets_nothing_hot() {
    let scratch = Scratch::new();
    let file = scratch.path().join("conf.toml");
    std::fs::write(&file, "").expect("a scratch file");
    let house = House::new(&["--config", file.to_str().expect("a plain path")]);
    std::fs::write(&file, "allow = ['192.0.2.1']\n").expect("a scratch file");
    house.daemon.signal("HUP");
    house.daemon.wait_for_log("the configuration was read again");
    let refused = house.get();
    assert_eq!((refused.status, refused.text().contains("--allow 127.0.0.1")), (403, true));
    drop(house.scratch);
}
