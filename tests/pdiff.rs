//! Clients that follow an index by patches, as Debian's apt does: the proxy catches up with them, and verifies what they get.

mod support;

use std::time::Duration;

use support::apt::Apt;
use support::archive::{Archive, BASE, Key, Package, SUITE};
use support::client::get;
use support::daemon::Daemon;
use support::mirror::{Fault, Mirror};
use support::{Scratch, wait_until};

const INDEX: &str = "main/binary-amd64/Packages";
const PACKAGES: usize = 120;
/// Packages that each Release changes.
const CHANGED: usize = 3;
/// apt asks the proxy to ask the mirror, which it otherwise does at most once in ten seconds.
const NOW: [&str; 3] = ["-o", "Acquire::http::No-Cache=true", "update"];

struct House {
    scratch: Scratch,
    mirror: Mirror,
    key: Key,
    archive: Archive,
}

impl House {
    /// `None` where there is no gpg.
    fn new() -> Option<House> {
        let scratch = Scratch::new();
        let key = Key::make(&scratch)?;
        let mirror = Mirror::start();
        let archive = Archive::new((0..PACKAGES).map(|n| package(n, 0)).collect());
        archive.publish(&mirror, Some(&key));
        Some(House { scratch, mirror, key, archive })
    }

    fn apt(&self, name: &str, daemon: &Daemon) -> Option<Apt> {
        let key = self.scratch.path().join("key.gpg");
        self.key.export(&key);
        let source = format!("deb [signed-by={}] {} stable main\n", key.display(), self.mirror.url(BASE));
        Apt::new(&self.scratch, name, Some(daemon.address), 10, &source)
    }

    /// Publishes Release number `release`: some packages have a new version, one is new. Those that changed.
    fn publish(&mut self, release: usize) -> Vec<Package> {
        let mut packages = self.archive.packages.clone();
        let changed = (0..CHANGED).map(|n| (release * 17 + n * 29) % PACKAGES);
        let mut news: Vec<Package> = changed.map(|n| package(n, release)).collect();
        for new in &news {
            let old = packages.iter_mut().find(|old| old.name == new.name).expect("it is in the archive");
            *old = new.clone();
        }
        let added = Package::new(&format!("added{release}"), "1", 5000);
        packages.push(added.clone());
        news.push(added);
        self.archive.move_on(packages, &self.scratch);
        self.archive.publish(&self.mirror, Some(&self.key));
        news
    }

    /// How often the mirror was asked for the whole index, in whatever form.
    fn whole_indexes(&self) -> usize {
        let forms = self.archive.indexes().into_iter().filter(|(name, _)| apt_p2p::catalog::stem(name) == INDEX);
        let by_hash = forms.map(|(name, content)| {
            let digest = apt_p2p::digest::Digest::of(&content);
            [format!("{SUITE}/{name}"), format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{digest}")]
        });
        by_hash.flatten().map(|path| self.mirror.seen(&path).len()).sum()
    }

    fn patches(&self) -> usize {
        let is_patch = |path: &str| path.contains("Packages.diff/2025-");
        self.mirror.all_seen().iter().filter(|seen| is_patch(&seen.path)).count()
    }

    fn url(&self, package: &Package) -> String {
        self.mirror.url(&format!("{BASE}/{}", package.path()))
    }

    /// Placed: it comes from the cache, and nobody asks the mirror whether it is still the same.
    fn expect_placed(&self, daemon: &Daemon, packages: &[Package]) {
        for package in packages {
            self.mirror.forget_seen();
            let answer = get(daemon.address, &self.url(package));
            assert!(answer.is_good() && answer.body == package.content, "{}", package.name);
            assert_eq!(self.mirror.all_seen().len(), 0, "{} is known by its digest", package.name);
        }
    }
}

fn package(n: usize, release: usize) -> Package {
    Package::new(&format!("pkg{n}"), &format!("1.{release}"), 2000 + n * 40)
}

fn lines_with(daemon: &Daemon, words: &str) -> usize {
    daemon.log().iter().filter(|line| line.contains(words)).count()
}

fn wait_for_lines(daemon: &Daemon, words: &str, count: usize) {
    let what = format!("{count} lines of the log say {words:?}");
    wait_until(Duration::from_secs(30), &what, || lines_with(daemon, words) >= count);
}

fn install(apt: &Apt, packages: &[Package]) {
    let mut words = vec!["install", "--download-only"];
    words.extend(packages.iter().map(|package| package.name.as_str()));
    apt.run(&words).expect("install");
    for package in packages {
        let name = format!("{}_{}_all.deb", package.name, package.version);
        assert!(apt.downloaded(&name).expect("downloaded") == package.content, "{name}");
    }
}

#[test]
fn five_releases_by_patches_and_each_package_is_placed_and_verified() {
    let Some(mut house) = House::new() else { return };
    let daemon = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &daemon) else { return };
    apt.run(&["update"]).expect("the first update");
    let learnt = format!("learnt {}{SUITE}/{INDEX}: ", house.mirror.address);
    wait_for_lines(&daemon, &learnt, 1);
    for release in 1..=5 {
        let news = house.publish(release);
        house.mirror.forget_seen();
        apt.run(&NOW).expect("an update by patches");
        assert_eq!((house.patches(), house.whole_indexes()), (1, 0), "release {release}");
        assert_eq!(lines_with(&daemon, &learnt), release, "nothing is fetched before a package is asked for");
        install(&apt, &news);
        wait_for_lines(&daemon, &learnt, release + 1);
        assert_eq!(house.whole_indexes(), 1, "release {release}: the index was fetched once");
        // The first one did not wait for the index, and is held against it afterwards.
        wait_for_lines(&daemon, "came before its index was learnt, and is what that promises", release);
        house.expect_placed(&daemon, &news);
    }
    assert_eq!(lines_with(&daemon, "it is dropped"), 0);
    // Who missed three Releases takes three patches, which are here already.
    let late = house.apt("late", &daemon).expect("there was one");
    late.run(&["update"]).expect("a whole update");
    house.publish(6);
    house.publish(7);
    let news = house.publish(8);
    house.mirror.forget_seen();
    late.run(&NOW).expect("an update by three patches");
    assert_eq!((house.patches(), house.whole_indexes()), (3, 0));
    apt.run(&["update"]).expect("the other one's");
    assert_eq!((house.patches(), house.whole_indexes()), (3, 0), "each patch came once");
    install(&apt, &news);
    wait_for_lines(&daemon, &learnt, 7);
    assert_eq!(house.whole_indexes(), 1, "one whole index for three Releases");
    house.expect_placed(&daemon, &news);
}

#[test]
fn a_patch_is_verified_before_apt_has_it_whole() {
    let Some(mut house) = House::new() else { return };
    let daemon = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &daemon) else { return };
    apt.run(&["update"]).expect("the first update");
    house.publish(1);
    let patch = format!("{SUITE}/{}/{}", support::diffs::DIR, house.archive.diffs.files()[0].0);
    house.mirror.fault(&patch, Fault::Flip(20));
    // apt falls back to the whole index by itself.
    apt.run(&NOW);
    daemon.wait_for_log("it was thrown away");
    assert!(lines_with(&daemon, "Packages.diff/2025-03-01-0800.00.gz from the mirror has SHA-256") >= 1);
    house.mirror.repair();
    let url = house.mirror.url(&patch);
    assert!(get(daemon.address, &url).body == house.archive.diffs.files()[0].1);
    house.mirror.forget_seen();
    assert!(get(daemon.address, &url).body == house.archive.diffs.files()[0].1);
    assert_eq!(house.mirror.all_seen().len(), 0, "it is known by its digest");
}

#[test]
fn a_fresh_proxy_with_an_old_client_catches_up() {
    let Some(mut house) = House::new() else { return };
    let first = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &first) else { return };
    apt.run(&["update"]).expect("the first update");
    let news = house.publish(1);
    let second = Daemon::start_with(&house.scratch.path().join("second"), &["--allow-upstream", "127.0.0.0/8"]);
    let proxy = format!("Acquire::http::Proxy=http://{}", second.address);
    house.mirror.forget_seen();
    apt.run(&["-o", &proxy, "update"]).expect("an update by patches");
    assert_eq!((house.patches(), house.whole_indexes()), (1, 0));
    let old = house.archive.packages.iter().find(|old| old.version == "1.0").expect("most are");
    apt.run(&["-o", &proxy, "install", "--download-only", &old.name]).expect("install");
    second.wait_for_log(&format!("{INDEX}: {} files", house.archive.packages.len()));
    assert_eq!(house.whole_indexes(), 1);
    house.mirror.forget_seen();
    assert!(get(second.address, &house.url(&news[0])).body == news[0].content);
    house.expect_placed(&second, &news[..1]);
}

#[test]
fn a_client_whose_lists_are_right_already_has_a_fresh_proxy_learn_what_it_installs() {
    let Some(house) = House::new() else { return };
    let first = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &first) else { return };
    apt.run(&["update"]).expect("the first update");
    let second = Daemon::start_with(&house.scratch.path().join("second"), &["--allow-upstream", "127.0.0.0/8"]);
    let proxy = format!("Acquire::http::Proxy=http://{}", second.address);
    house.mirror.forget_seen();
    apt.run(&["-o", &proxy, "update"]).expect("an update without anything new");
    assert_eq!((house.patches(), house.whole_indexes()), (0, 0));
    let packages = house.archive.packages[..2].to_vec();
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    apt.run(&[["-o", &proxy, "install", "--download-only"].as_slice(), &names].concat()).expect("install");
    second.wait_for_log(&format!("{INDEX}: {} files", house.archive.packages.len()));
    assert_eq!(house.whole_indexes(), 1, "once, however many packages are asked for");
    wait_for_lines(&second, "came before its index was learnt, and is what that promises", 1);
    house.mirror.forget_seen();
    for package in &packages {
        assert!(get(second.address, &house.url(package)).body == package.content);
    }
    house.expect_placed(&second, &packages);
}

/// An archive of two components and two architectures, of which nobody asks for an index.
fn publish_components(mirror: &Mirror) -> Vec<(String, Vec<u8>)> {
    let (mut packages, mut lines) = (Vec::new(), String::new());
    for component in ["main", "contrib"] {
        for arch in ["amd64", "arm64"] {
            let path = format!("pool/{component}/a/a/a_1_{arch}.deb");
            let content = path.repeat(100).into_bytes();
            let digest = apt_p2p::digest::Digest::of(&content);
            let index = format!("Package: a\nFilename: {path}\nSize: {}\nSHA256: {digest}\n\n", content.len());
            let name = format!("{component}/binary-{arch}/Packages");
            lines += &format!(" {} {} {name}\n", apt_p2p::digest::Digest::of(index.as_bytes()), index.len());
            mirror.put(&format!("{SUITE}/{name}"), index);
            mirror.put(&format!("{BASE}/{path}"), content.clone());
            packages.push((path, content));
        }
    }
    mirror.put(&format!("{SUITE}/Release"), format!("Date: Sat, 01 Mar 2025 08:00:00 UTC\nSHA256:\n{lines}"));
    packages
}

#[test]
fn only_what_came_has_indexes_fetched_and_each_component_s_is_its_own() {
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    let packages = publish_components(&mirror);
    let daemon = Daemon::start(&scratch);
    assert!(get(daemon.address, &mirror.url(&format!("{SUITE}/Release"))).is_good());
    // Nobody has these.
    for arch in ["amd64", "arm64", "riscv64"] {
        let path = format!("{BASE}/pool/main/a/a/made-up_1_{arch}.deb");
        assert_eq!(get(daemon.address, &mirror.url(&path)).status, 404);
    }
    let indexes = || -> Vec<String> {
        let all = mirror.all_seen().into_iter().map(|seen| seen.path);
        all.filter(|path| path.ends_with("/Packages")).collect()
    };
    let amd64 = || packages.iter().filter(|(path, _)| path.ends_with("amd64.deb"));
    for (path, content) in amd64() {
        assert!(get(daemon.address, &mirror.url(&format!("{BASE}/{path}"))).body == *content);
    }
    wait_for_lines(&daemon, "came before its index was learnt, and is what that promises", 2);
    let mut seen = indexes();
    seen.sort_unstable();
    let expected = ["contrib", "main"].map(|component| format!("{SUITE}/{component}/binary-amd64/Packages"));
    assert_eq!(seen, expected);
    mirror.forget_seen();
    for (path, content) in amd64() {
        // The first time after that it is fetched again, with its promise.
        for _ in 0..2 {
            assert!(get(daemon.address, &mirror.url(&format!("{BASE}/{path}"))).body == *content);
        }
    }
    assert_eq!(indexes(), [""; 0]);
}

#[test]
fn what_a_mirror_sent_wrong_before_the_index_was_there_is_dropped_by_it() {
    let Some(mut house) = House::new() else { return };
    let daemon = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &daemon) else { return };
    apt.run(&["update"]).expect("the first update");
    let news = house.publish(1);
    apt.run(&NOW).expect("an update by patches");
    // The index is held up until the package has come.
    house.mirror.fault(&format!("{BASE}/{}", news[0].path()), Fault::Flip(100));
    let index = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{}", smallest_index(&house.archive));
    house.mirror.fault(&index, Fault::Silent);
    let wrong = get(daemon.address, &house.url(&news[0]));
    assert!(wrong.is_good() && wrong.body != news[0].content, "nothing can be said of it yet");
    house.mirror.repair();
    daemon.wait_for_log("it is forgotten, and fetched again");
    let right = get(daemon.address, &house.url(&news[0]));
    assert!(right.is_good() && right.body == news[0].content);
}

/// The digest of the form that is fetched to catch up.
fn smallest_index(archive: &Archive) -> apt_p2p::digest::Digest {
    let (_, content) = archive.indexes().into_iter().find(|(name, _)| *name == format!("{INDEX}.gz")).expect("one");
    apt_p2p::digest::Digest::of(&content)
}
