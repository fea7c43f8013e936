//! The machine's real apt-get through the real program, against a signed archive made on the spot.

mod support;

use support::Scratch;
use support::apt::Apt;
use support::archive::{Archive, BASE, Key, Package, SUITE};
use support::client::get;
use support::daemon::Daemon;
use support::mirror::{Fault, Mirror};

use std::time::Duration;

struct House {
    scratch: Scratch,
    mirror: Mirror,
    key: Key,
    archive: Archive,
}

fn packages(version: &str) -> Vec<Package> {
    (0..20).map(|n| Package::new(&format!("pkg{n}"), version, 1 + n * n * 3000)).collect()
}

impl House {
    /// `None` where there is no gpg.
    fn new() -> Option<House> {
        let scratch = Scratch::new();
        let key = Key::make(&scratch)?;
        let mirror = Mirror::start();
        let mut archive = Archive::new(packages("1.0+x~1"));
        archive.sources = vec![
            ("src_1.dsc".into(), b"Format: 1.0\nSource: src\nVersion: 1\n".to_vec()),
            ("src_1.tar.gz".into(), support::noise(700_000, 5)),
        ];
        archive.publish(&mirror, Some(&key));
        Some(House { scratch, mirror, key, archive })
    }

    /// The same with a large package `big`, a proxy that has learnt of it, and an apt that has updated.
    fn with_big() -> Option<(House, Package, Daemon, Apt)> {
        let mut house = House::new()?;
        let big = Package::new("big", "1", 3_000_000);
        house.archive.packages.push(big.clone());
        house.archive.publish(&house.mirror, Some(&house.key));
        let daemon = Daemon::start(&house.scratch);
        let apt = house.apt("apt", &daemon, 10)?;
        apt.run(&["update"]).expect("update");
        daemon.wait_for_log("binary-amd64/Packages: 21 files");
        Some((house, big, daemon, apt))
    }

    fn apt(&self, name: &str, daemon: &Daemon, pipeline: u32) -> Option<Apt> {
        let key = self.scratch.path().join("key.gpg");
        self.key.export(&key);
        let line =
            |kind: &str| format!("{kind} [signed-by={}] {} stable main\n", key.display(), self.mirror.url(BASE));
        let sources = [line("deb"), line("deb-src")].concat();
        Apt::new(&self.scratch, name, Some(daemon.address), pipeline, &sources)
    }

    fn install_all(&self, apt: &Apt, what: &str) {
        let mut words = vec!["install", "--download-only"];
        words.extend(self.archive.packages.iter().map(|package| package.name.as_str()));
        apt.run(&words).expect(what);
        for package in &self.archive.packages {
            let name = format!("{}_{}_all.deb", package.name, package.version.replace(':', "%3a"));
            assert!(apt.downloaded(&name).expect("downloaded") == package.content, "{what}: {name}");
        }
    }
}

#[test]
fn update_and_install_cold_then_warm_then_with_the_mirror_away() {
    let Some(house) = House::new() else { return };
    for pipeline in [10, 0] {
        let cache = house.scratch.path().join(format!("cache{pipeline}"));
        let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
        house.mirror.set_down(false);
        let Some(apt) = house.apt(&format!("cold{pipeline}"), &daemon, pipeline) else { return };
        apt.run(&["update"]).expect("cold update");
        daemon.wait_for_log("binary-amd64/Packages: 20 files");
        daemon.wait_for_log("source/Sources: 2 files");
        house.mirror.forget_seen();
        house.install_all(&apt, "cold install");
        apt.run(&["source", "--download-only", "src"]).expect("cold source");
        assert!(std::fs::read(apt.here("src_1.tar.gz")).expect("there") == house.archive.sources[1].1);
        let pool = house.mirror.all_seen().iter().filter(|seen| seen.path.contains("/pool/")).count();
        assert_eq!(pool, 22, "each file is fetched once");

        house.mirror.set_down(true);
        let apt = house.apt(&format!("away{pipeline}"), &daemon, pipeline).expect("there was one");
        apt.run(&["update"]).expect("update with the mirror away");
        house.install_all(&apt, "install with the mirror away");
        apt.run(&["source", "--download-only", "src"]).expect("source with the mirror away");
        // The same after a restart.
        daemon.kill9();
        let daemon = Daemon::start_with(&cache, &["--allow-upstream", "127.0.0.0/8"]);
        let apt = house.apt(&format!("restart{pipeline}"), &daemon, pipeline).expect("there was one");
        apt.run(&["update"]).expect("update after a restart");
        house.install_all(&apt, "install after a restart");
    }
}

#[test]
fn a_damaged_package_is_an_error_until_the_mirror_is_right() {
    let Some((house, big, daemon, apt)) = House::with_big() else { return };
    let path = format!("{BASE}/{}", big.path());
    for fault in [Fault::Flip(1_500_000), Fault::Html, Fault::Status(500), Fault::Status(404)] {
        house.mirror.fault(&path, fault.clone());
        let broken = apt.run(&["-o", "Acquire::Retries=0", "install", "--download-only", "big"]);
        assert!(!broken.ok, "{fault:?}: {}", broken.output);
        house.mirror.repair();
        apt.run(&["install", "--download-only", "big"]).expect("install after the repair");
        assert!(apt.downloaded("big_1_all.deb").expect("there") == big.content, "{fault:?}");
        apt.run(&["clean"]).expect("clean");
        // Make it a miss again: as if it had never come.
        std::fs::remove_file(daemon.wait_until_recorded(&big.digest())).expect("the cache is ours");
    }
}

#[test]
fn a_package_that_the_disk_has_spoilt_is_right_when_apt_is_run_again() {
    let Some((house, big, daemon, apt)) = House::with_big() else { return };
    apt.run(&["install", "--download-only", "big"]).expect("install");
    let stored = daemon.wait_until_recorded(&big.digest());
    let mut spoilt = big.content.clone();
    spoilt[2_000_000] ^= 1;
    std::fs::write(stored, spoilt).expect("the cache is ours");
    let other = house.apt("other", &daemon, 10).expect("there was one");
    other.run(&["update"]).expect("update");
    let broken = other.run(&["install", "--download-only", "big"]);
    assert!(!broken.ok && broken.mismatches() > 0, "{}", broken.output);
    other.run(&["install", "--download-only", "big"]).expect("the same once more");
    assert!(other.downloaded("big_1_all.deb").expect("there") == big.content);
    daemon.wait_for_log("was damaged on the disk; it is dropped and fetched again");
}

#[test]
fn an_apt_that_was_cut_by_a_bit_flip_gets_the_right_file_by_its_own_retry() {
    let Some((house, big, daemon, apt)) = House::with_big() else { return };
    let path = format!("{BASE}/{}", big.path());
    house.mirror.fault(&path, Fault::Flip(1_500_000));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| apt.run(&["-o", "Acquire::Retries=3", "install", "--download-only", "big"]));
        daemon.wait_for_log("it was thrown away");
        house.mirror.repair();
        run.join().expect("apt ends").expect("apt's own retry");
    });
    assert!(apt.downloaded("big_1_all.deb").expect("there") == big.content);
}

#[test]
fn a_partial_download_is_resumed() {
    let Some(mut house) = House::new() else { return };
    let big = Package::new("big", "1", 2_000_000);
    house.archive.packages.push(big.clone());
    house.archive.publish(&house.mirror, Some(&house.key));
    let daemon = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &daemon, 10) else { return };
    apt.run(&["update"]).expect("update");
    let url = house.mirror.url(&format!("{BASE}/{}", big.path()));
    assert!(get(daemon.address, &url).body == big.content);
    daemon.wait_until_recorded(&big.digest());
    // What apt has of it, with the date that the proxy gave it.
    std::fs::write(apt.partial("big_1_all.deb"), &big.content[..1_200_000]).expect("apt's folder");
    let file = std::fs::File::options().write(true).open(apt.partial("big_1_all.deb")).expect("written above");
    file.set_modified(httpdate::parse_http_date(support::mirror::DATE).expect("a date")).expect("our file");
    apt.run(&["install", "--download-only", "big"]).expect("resumed install");
    assert!(apt.downloaded("big_1_all.deb").expect("there") == big.content);
    daemon.wait_for_log(" 206 800000 bytes from cache");
}

#[test]
fn a_new_release_is_followed_and_an_older_one_is_not() {
    let Some(mut house) = House::new() else { return };
    let daemon = Daemon::start(&house.scratch);
    let Some(apt) = house.apt("apt", &daemon, 10) else { return };
    apt.run(&["update"]).expect("update");
    daemon.wait_for_log("binary-amd64/Packages: 20 files: 20 new");
    let old = house.archive.clone();
    house.archive.packages = packages("2.0");
    house.archive.date += 86_400;
    house.archive.publish(&house.mirror, Some(&house.key));
    fresh_again(&daemon);
    apt.run(&["update"]).expect("update to the new release");
    daemon.wait_for_log("20 new, 0 changed, 20 gone");
    house.install_all(&apt, "install of the new versions");
    // A mirror that falls back a day: nobody goes back with it.
    old.publish(&house.mirror, Some(&house.key));
    fresh_again(&daemon);
    let apt = house.apt("other", &daemon, 10).expect("there was one");
    apt.run(&["update"]).expect("update from the older mirror");
    daemon.wait_for_log("is older than the Release we have");
    house.install_all(&apt, "install of the newest versions");
}

#[test]
fn nobody_sees_the_release_of_one_day_with_the_packages_of_another() {
    let Some(mut house) = House::new() else { return };
    let daemon = Daemon::start(&house.scratch);
    let Some(first) = house.apt("first", &daemon, 10) else { return };
    first.run(&["update"]).expect("update");
    daemon.wait_for_log("binary-amd64/Packages: 20 files: 20 new");
    // The mirror is half-way: new indexes at the old names, the old Release. By hash both can be had.
    house.archive.packages = packages("2.0");
    house.archive.date += 86_400;
    house.archive.publish_pool(&house.mirror);
    house.archive.publish_indexes(&house.mirror);
    fresh_again(&daemon);
    let second = house.apt("second", &daemon, 10).expect("there was one");
    second.run(&["-o", "Acquire::By-Hash=no", "update"]).expect("update in the middle of the mirror's own");
    // Then the Release follows.
    house.archive.publish_release(&house.mirror, Some(&house.key));
    fresh_again(&daemon);
    let third = house.apt("third", &daemon, 10).expect("there was one");
    third.run(&["-o", "Acquire::By-Hash=no", "update"]).expect("update afterwards");
    house.install_all(&third, "install afterwards");
    // An apt that got the older Release, and asks for an index of it by name.
    let path = format!("{SUITE}/main/binary-amd64/Packages");
    assert!(get(daemon.address, &house.mirror.url(&path)).text().contains("Version: 2.0"));
}

/// A mutable name is asked for again only after ten seconds.
fn fresh_again(daemon: &Daemon) {
    let lines = daemon.log().len();
    std::thread::sleep(Duration::from_millis(10_100));
    assert!(daemon.log().len() >= lines);
}
