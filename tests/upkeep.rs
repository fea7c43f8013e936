//! The commands that keep a cache: verify finds what the disk has spoilt, import takes over what another cache has.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use support::archive::{Archive, Package};
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, skip};

use apt_p2p::digest::Digest;

fn run(command: &str, cache: &Path, words: &[&str]) -> Output {
    let output = Command::new(BINARY).arg(command).arg("--cache").arg(cache).args(words).output();
    output.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A number of the last line of a JSON report.
fn number(json: &str, name: &str) -> u64 {
    let last = json.lines().last().expect("a report");
    let rest = last.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {last}"));
    rest.split([',', '}']).next().and_then(|digits| digits.parse().ok()).expect("a number")
}

#[test]
fn what_the_disk_has_spoilt_is_dropped_and_fetched_again() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let contents: Vec<Vec<u8>> = (0..5).map(|n| noise(1_500_000, n)).collect();
    let paths: Vec<String> = contents
        .iter()
        .map(|content| {
            let digest = Digest::of(content);
            let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{digest}");
            mirror.put(&path, content.clone());
            assert_eq!(get(daemon.address, &mirror.url(&path)).body, *content);
            daemon.wait_until_recorded(&digest.to_string());
            path
        })
        .collect();
    let all_right = run("verify", &daemon.cache, &[]);
    assert!(all_right.status.success(), "{}", text(&all_right.stderr));
    assert_eq!(text(&all_right.stdout), "5 files, 7324 KB: all are right\n");
    assert!(all_right.stderr.is_empty(), "no line of progress where there is no terminal");

    let stored: Vec<_> =
        contents.iter().map(|content| daemon.stored_path(&Digest::of(content).to_string())).collect();
    let open = |path| fs::OpenOptions::new().write(true).open(path).expect("a stored file");
    open(&stored[0]).write_all_at(b"rot", 1_234_567).expect("room");
    open(&stored[1]).set_len(700_000).expect("a shorter file");
    fs::remove_file(&stored[2]).expect("a stored file");
    let found = run("verify", &daemon.cache, &["--json"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let report = text(&found.stdout);
    let counts = ["files", "wrong", "lost", "unreadable"].map(|name| number(&report, name));
    assert_eq!(counts, [5, 2, 1, 0], "{report}");
    for (content, why) in contents.iter().zip(["wrong", "wrong", "lost"]) {
        let dropped = format!("{{\"dropped\":\"{}\",\"bytes\":1500000,\"why\":\"{why}\"}}", Digest::of(content));
        assert!(report.lines().any(|line| line == dropped), "{dropped} in {report}");
    }
    mirror.forget_seen();
    for (path, content) in paths.iter().zip(&contents) {
        assert!(get(daemon.address, &mirror.url(path)).body == *content, "{path}");
    }
    assert_eq!(mirror.all_seen().len(), 3, "the right ones are still here");
}

/// A proxy that has learnt an archive whose packages are on the mirror no more, and that archive.
fn learnt(scratch: &Scratch) -> (Daemon, Mirror, Archive) {
    let (daemon, mirror) = (Daemon::start(scratch), Mirror::start());
    let packages = (0..6).map(|n| Package::new(&format!("p{n}"), "1.0-1", 40_000 + n * 700_000)).collect();
    let archive = Archive::new(packages);
    archive.publish(&mirror, None);
    for path in ["InRelease", "main/binary-amd64/Packages.gz"] {
        let url = mirror.url(&format!("/debian/dists/stable/{path}"));
        assert!(get(daemon.address, &url).is_good(), "{url}");
    }
    daemon.wait_for_log("learnt");
    for package in &archive.packages {
        mirror.remove(&format!("/debian/{}", package.path()));
    }
    (daemon, mirror, archive)
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("room");
}

#[test]
fn what_other_caches_have_is_served_and_what_they_have_spoilt_is_named() {
    let scratch = Scratch::new();
    let (daemon, mirror, archive) = learnt(&scratch);
    let other = scratch.path().join("other");
    let [flat, kept, squid, damaged, cut, renamed] = &archive.packages[..] else { panic!("six packages") };
    // apt's own, apt-cacher-ng's with the archive's path, squid's with its notes and the mirror's head before the body.
    put(&other.join("p0_1.0-1_all.deb"), &flat.content);
    put(&other.join("debrep").join(kept.path()), &kept.content);
    put(&other.join("debrep").join(format!("{}.head", kept.path())), b"HTTP/1.1 200 OK\r\n\r\n");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", squid.content.len());
    let notes = [&[3], &9u32.to_ne_bytes()[..], b"note"].concat();
    put(&other.join("00/00/00000007"), &[&notes, head.as_bytes(), &squid.content].concat());
    let mut spoilt = damaged.content.clone();
    spoilt[20_000] ^= 1;
    put(&other.join("debrep").join(damaged.path()), &spoilt);
    put(&other.join("mirror.example.org/debian").join(cut.path()), &cut.content[..1000]);
    let mut unknown = renamed.content.clone();
    unknown[0] ^= 1;
    put(&other.join("p5_1.0-1_all.deb"), &unknown);

    let other_name = other.to_str().expect("text");
    let report = run("import", &daemon.cache, &[other_name]);
    let said = text(&report.stdout);
    assert_eq!(report.status.code(), Some(1), "{said}{}", text(&report.stderr));
    assert!(said.ends_with("0 were here already, 1 left, 2 refused\n") && said.contains("took 3 files"), "{said}");
    for (verb, name) in [("refused", damaged.path()), ("refused", cut.path()), ("left", "p5_1.0-1_all.deb".into())] {
        let is_named = said.lines().any(|line| line.starts_with(verb) && line.contains(&name));
        assert!(is_named, "{verb} {name}: {said}");
    }
    for package in [flat, kept, squid] {
        let answer = get(daemon.address, &mirror.url(&format!("/debian/{}", package.path())));
        assert!(answer.is_good() && answer.body == package.content, "{}", package.path());
    }
    for package in [damaged, cut, renamed] {
        let answer = get(daemon.address, &mirror.url(&format!("/debian/{}", package.path())));
        assert!(!answer.is_good(), "{} is nowhere", package.path());
    }
    let again = text(&run("import", &daemon.cache, &["--json", other_name]).stdout);
    assert_eq!(["taken", "here", "unknown", "refused"].map(|name| number(&again, name)), [0, 3, 1, 2], "{again}");
}

#[test]
fn a_given_index_counts_and_no_index_at_all_is_an_error() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let archive = Archive::new(vec![Package::new("hello", "2.10-3", 60_000)]);
    let other = scratch.path().join("archives");
    put(&other.join("hello_2.10-3_all.deb"), &archive.packages[0].content);
    let other = other.to_str().expect("text");
    let none = run("import", &cache, &[other]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("no index is known yet"), "{}", text(&none.stderr));
    let index = scratch.path().join("mirror.example.org_debian_dists_stable_main_binary-amd64_Packages");
    put(&index, archive.packages_index().as_bytes());
    let index = index.to_str().expect("text");
    let taken = run("import", &cache, &["--index", index, other]);
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    assert_eq!(text(&taken.stdout), "took 1 file, 58 KB; 0 were here already, 0 left, 0 refused\n");
    assert_eq!(text(&run("verify", &cache, &[]).stdout), "1 file, 58 KB: all are right\n");
    for (index, why) in [("/dev/null/Packages", "Packages: "), ("/etc/hostname", "an index is called Packages")] {
        let refused = run("import", &cache, &["--index", index, other]);
        assert_eq!(refused.status.code(), Some(1), "{index}");
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    let full = run("import", &scratch.path().join("small"), &["--index", index, "--max-size", "50K", other]);
    assert!(text(&full.stdout).contains("the cache is full"), "{}", text(&full.stdout));
}

#[test]
fn an_import_keeps_within_the_size_also_with_what_is_not_recorded_yet() {
    let scratch = Scratch::new();
    let archive = Archive::new((0..12).map(|n| Package::new(&format!("pkg{n}"), "1", 90_000 + n)).collect());
    let other = scratch.path().join("archives");
    for package in &archive.packages {
        put(&other.join(format!("{}_1_all.deb", package.name)), &package.content);
    }
    let index = scratch.path().join("mirror.example.org_debian_dists_stable_main_binary-amd64_Packages");
    put(&index, archive.packages_index().as_bytes());
    let words =
        ["--json", "--index", index.to_str().expect("text"), "--max-size", "500K", other.to_str().expect("text")];
    let report = run("import", &scratch.path().join("cache"), &words);
    let json = text(&report.stdout);
    assert_eq!((number(&json, "taken"), number(&json, "refused")), (5, 7), "{json}");
}

#[test]
fn what_root_makes_in_another_s_cache_is_that_user_s() {
    const NOBODY: u32 = 65_534;
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    fs::create_dir(&cache).expect("a folder");
    if let Err(error) = chown(&cache, Some(NOBODY), Some(NOBODY)) {
        return skip(&format!("giving a folder to another user: {error}"));
    }
    let archive = Archive::new(vec![Package::new("hello", "2.10-3", 60_000)]);
    let other = scratch.path().join("archives");
    put(&other.join("hello_2.10-3_all.deb"), &archive.packages[0].content);
    // Only root may look into it.
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).expect("ours");
    let index = scratch.path().join("mirror.example.org_debian_dists_stable_main_binary-amd64_Packages");
    put(&index, archive.packages_index().as_bytes());
    let words = ["--index", index.to_str().expect("text"), other.to_str().expect("text")];
    for (command, words) in [("import", &words[..]), ("verify", &[]), ("cleanup", &[])] {
        let done = run(command, &cache, words);
        assert!(done.status.success(), "{command}: {}", text(&done.stderr));
        assert_eq!(owners(&cache), BTreeSet::from([NOBODY]), "{command}");
    }
    assert!(cache.join("files").read_dir().expect("a folder").next().is_some(), "it was taken");
}

/// Whose the folder is and all that lies in it.
fn owners(path: &Path) -> BTreeSet<u32> {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let inside = fs::read_dir(path).into_iter().flatten().flatten().flat_map(|entry| owners(&entry.path()));
    inside.chain([metadata.uid()]).collect()
}
