//! The cleanup command beside the running proxy, and without it.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::archive::{Archive, Package};
use support::client::{Client, get};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, wait_until};

use apt_p2p::digest::NameHash;
use apt_p2p::store::{Options, Store};

/// Runs `apt-p2p cleanup`; standard output.
fn cleanup(cache: &Path, flags: &[&str]) -> String {
    let output = Command::new(BINARY).arg("cleanup").arg("--cache").arg(cache).args(flags).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `files` and `bytes` of a class of the JSON report.
fn class(json: &str, name: &str) -> (i64, i64) {
    let rest = json.split(&format!("\"{name}\":{{\"files\":")).nth(1).unwrap_or_else(|| panic!("{name} in {json}"));
    let (files, rest) = rest.split_once(",\"bytes\":").expect("bytes");
    let bytes = rest.split_once('}').expect("an end").0;
    (files.parse().expect("a number"), bytes.parse().expect("a number"))
}

fn adds_up(json: &str) {
    let [before, after, unreferenced, least_used, lost, arrived] =
        ["before", "after", "unreferenced", "least_used", "lost", "arrived"].map(|name| class(json, name));
    let sum = |pick: fn((i64, i64)) -> i64| {
        pick(before) - pick(unreferenced) - pick(least_used) - pick(lost) + pick(arrived) == pick(after)
    };
    assert!(sum(|class| class.0) && sum(|class| class.1), "{json}");
}

fn stored_bytes(cache: &Path) -> u64 {
    let folders = std::fs::read_dir(cache.join("files")).expect("the cache").flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("its folder").flatten());
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// As if nobody had used the stored files for an hour.
fn age(cache: &Path) {
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for folder in std::fs::read_dir(cache.join("files")).expect("the cache").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("its folder").flatten() {
            std::fs::File::open(file.path()).and_then(|file| file.set_modified(old)).ok();
        }
    }
}

#[test]
fn clients_that_download_meanwhile_see_no_error_and_the_size_holds() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let contents: Vec<_> = (0..40).map(|n| noise(500_000, n)).collect();
    let urls: Vec<_> = contents.iter().map(|content| mirror.url(&mirror.put_by_hash(&content[..]))).collect();
    let cache = daemon.cache.clone();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (contents, urls, address) = (&contents, &urls, daemon.address);
                scope.spawn(move || {
                    let mut connection = Client::connect(address);
                    for n in 0..60 {
                        let n = (n * 7 + client * 5) % contents.len();
                        let answer = connection.get(&urls[n], &[]);
                        assert!(answer.is_good() && answer.body == contents[n], "{}", answer.text());
                    }
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            age(&cache);
            adds_up(&cleanup(&cache, &["--max-size", "5M", "--json"]));
        }
        clients.into_iter().for_each(|client| client.join().expect("no client sees an error"));
    });
    // All that was downloaded is recorded, nobody uses it: now the size holds exactly.
    assert_eq!(daemon.terminate(), Some(0));
    age(&cache);
    let json = cleanup(&cache, &["--max-size", "5M", "--json"]);
    adds_up(&json);
    assert!(class(&json, "after").1 <= 5 << 20, "{json}");
    assert_eq!(stored_bytes(&cache), u64::try_from(class(&json, "after").1).expect("a size"));
}

#[test]
fn a_dry_run_drops_nothing_and_says_the_same() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    for n in 0..10 {
        get(daemon.address, &mirror.url(&mirror.put_by_hash(&noise(300_000, n)[..])));
    }
    let cache = daemon.cache.clone();
    assert_eq!(daemon.terminate(), Some(0));
    age(&cache);
    let before = stored_bytes(&cache);
    let dry = cleanup(&cache, &["--max-size", "1M", "--dry-run", "--json"]);
    adds_up(&dry);
    assert_eq!((class(&dry, "before"), stored_bytes(&cache)), ((10, 3_000_000), before));
    let text = cleanup(&cache, &["--max-size", "1M", "--dry-run"]);
    assert!(text.contains("would drop 7 files"), "{text}");
    let wet = cleanup(&cache, &["--max-size", "1M", "--json"]);
    assert_eq!(class(&wet, "least_used"), class(&dry, "least_used"));
    assert_eq!(stored_bytes(&cache), 900_000);
}

#[test]
fn files_that_no_index_names_go_after_the_grace_time() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    get(daemon.address, &mirror.url(&mirror.put_by_hash(&b"named by nothing"[..])));
    let cache = daemon.cache.clone();
    assert_eq!(daemon.terminate(), Some(0));
    let first = cleanup(&cache, &["--json"]);
    assert_eq!((class(&first, "newly_unreferenced").0, class(&first, "after").0), (1, 1));
    let second = cleanup(&cache, &["--json"]);
    assert_eq!((class(&second, "newly_unreferenced").0, class(&second, "after").0), (0, 1));
    let conf = scratch.path().join("conf.toml");
    std::fs::write(&conf, "grace = '0s'\n").expect("a scratch file");
    let third = cleanup(&cache, &["--json", "--config", conf.to_str().expect("a plain path")]);
    assert_eq!((class(&third, "unreferenced").0, class(&third, "after").0), (1, 0));
}

#[test]
fn the_daemon_itself_keeps_within_the_size() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let cache = scratch.path().join("cache");
    let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8", "--max-size", "100M"]);
    for n in 0..10 {
        get(daemon.address, &mirror.url(&mirror.put_by_hash(&noise(300_000, n)[..])));
    }
    assert_eq!(daemon.terminate(), Some(0));
    age(&cache);
    let daemon = Daemon::start_with(&cache, &["--max-size", "1M"]);
    daemon.wait_for_log("the cache was over its size");
    wait_until(Duration::from_secs(20), "the size holds", || stored_bytes(&cache) <= 1 << 20);
}

#[test]
fn who_asks_for_a_release_alone_uses_its_archive() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    Archive::new(vec![Package::new("p", "1.0-1", 1000)]).publish(&mirror, None);
    let url = mirror.url("/debian/dists/stable/InRelease");
    assert!(get(daemon.address, &url).is_good());
    let store = Store::open(&Options { dir: daemon.cache.clone() }).expect("a store");
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    wait_until(Duration::from_secs(20), "it is noted", || {
        let wanted = store.wanted(host, "debian/dists/stable").expect("an index");
        wanted.contains(&NameHash::of(host, path))
    });
}
