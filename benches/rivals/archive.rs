//! What is served: a signed archive in a folder, with the files that are asked for warm and cold, and sets of packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::servers::Server;
use super::support::Scratch;
use super::support::apt::Apt;
use super::support::archive::{Archive, BASE, Key, Package, SUITE};
use super::support::client;
use super::support::mirror::Mirror;

const PACKAGES: usize = 50;
const LARGE: usize = 50_000_000;
const SMALL: usize = 10_000;
/// Small files that are cold in one round.
pub const COLD: usize = 20;

/// A file of the archive.
pub struct File {
    pub path: String,
    pub len: u64,
    pub digest: String,
}

/// The archive, written below a folder.
pub struct Files {
    pub root: PathBuf,
    pub warm: File,
    pub small: Vec<File>,
    pub cold: Vec<File>,
    /// Two for each round.
    pub large: Vec<File>,
    pub crowd: Vec<File>,
    key: PathBuf,
    _key: Key,
}

impl Files {
    /// Enough for so many rounds: a file is cold once, and so is a set of packages, of which there are two for each round.
    pub fn make(scratch: &Scratch, rounds: usize) -> Files {
        let root = scratch.path().join("www");
        let some = |name: &str, count: usize, len: usize| -> Vec<Package> {
            (0..count).map(|n| Package::new(&format!("{name}-{n}"), "1", len)).collect()
        };
        let groups = [
            some("warm", 1, LARGE),
            some("small", 50, SMALL),
            some("cold", COLD * rounds, SMALL),
            some("large", 2 * rounds, LARGE),
            some("crowd", 2, LARGE),
        ];
        let mut packages = groups.concat();
        for set in 0..2 * rounds {
            packages.extend((0..PACKAGES).map(|n| Package::new(&format!("set{set}-{n}"), "1", size(n))));
        }
        for package in &packages {
            write(&root.join(package.path_on_disk()), &package.content);
        }
        let key = Key::make(scratch).expect("gpg is there");
        let archive = Archive::new(packages);
        publish_indexes(&archive, &key, &root);
        let exported = scratch.path().join("key.gpg");
        key.export(&exported);
        let mut groups = groups.iter().map(|packages| packages.iter().map(file).collect::<Vec<File>>());
        let mut next = || groups.next().expect("five groups");
        let (mut warm, small, cold, large, crowd) = (next(), next(), next(), next(), next());
        Files { root, warm: warm.remove(0), small, cold, large, crowd, key: exported, _key: key }
    }

    /// An apt that uses this archive through `server`, with its index already there.
    pub fn apt(&self, scratch: &Scratch, server: &Server, depth: u32) -> Apt {
        let sources =
            format!("deb [signed-by={}] http://{}{BASE} stable main\n", self.key.display(), server.upstream);
        let proxy = (!server.is_direct()).then_some(server.address);
        let apt =
            Apt::new(scratch, &format!("apt-{}-{depth}", server.name), proxy, depth, &sources).expect("apt is there");
        apt.run(&["update"]).expect("apt-get update");
        apt
    }
}

trait OnDisk {
    fn path_on_disk(&self) -> String;
}

impl OnDisk for Package {
    fn path_on_disk(&self) -> String {
        format!("{}/{}", &BASE[1..], self.path())
    }
}

/// As in Debian's main: most packages are of one piece, and most bytes are of the others.
fn size(n: usize) -> usize {
    match n {
        0..38 => (4096.0 * 2_f64.powf(6.9 * n as f64 / 38.0)) as usize,
        38..45 => 530_000 + (n - 38) * 240_000,
        45..49 => 2_700_000 + (n - 45) * 1_300_000,
        _ => 17_000_000,
    }
}

fn file(package: &Package) -> File {
    let (path, len) = (format!("/{}", package.path_on_disk()), package.content.len() as u64);
    File { path, len, digest: package.digest() }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("below the root")).expect("a scratch folder");
    std::fs::write(path, content).expect("a scratch file");
}

/// The makers of tests publish on a mirror in memory; from there it goes to the disk.
fn publish_indexes(archive: &Archive, key: &Key, root: &Path) {
    let mirror = Mirror::start();
    archive.publish_release(&mirror, Some(key));
    let in_release = format!("{SUITE}/InRelease");
    write(&root.join(&in_release[1..]), &client::get(mirror.address, &in_release).body);
    for (name, content) in archive.indexes() {
        let folder = name.rsplit_once('/').expect("a folder").0;
        let by_hash = format!("{SUITE}/{folder}/by-hash/SHA256/{}", apt_p2p::digest::Digest::of(&content));
        for path in [by_hash, format!("{SUITE}/{name}")] {
            write(&root.join(&path[1..]), &content);
        }
    }
}

/// Where an apt's downloads lie that are no more needed.
const BEFORE: &str = "cache/before";

/// Deletes what an apt has downloaded, once nothing is measured that makes files.
pub fn forget(apt: &Apt) {
    std::fs::remove_dir_all(apt.here(BEFORE)).expect("a scratch folder");
}

/// Seconds that apt-get takes to download a set.
pub fn install(apt: &Apt, set: usize) -> f64 {
    let downloaded = apt.here("cache/archives");
    // What it has is moved away, not deleted: ext4 without a journal looks at each inode that was deleted in the last minutes
    // whenever a file is made, whosever that is.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let before = apt.here(BEFORE);
    std::fs::create_dir_all(&before).expect("a scratch folder");
    let aside = before.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::rename(&downloaded, aside).expect("a scratch folder");
    std::fs::create_dir_all(downloaded.join("partial")).expect("a scratch folder");
    let names: Vec<String> = (0..PACKAGES).map(|n| format!("set{set}-{n}")).collect();
    let words: Vec<&str> =
        ["install", "--download-only"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let start = Instant::now();
    apt.run(&words).expect("apt-get install");
    let took = start.elapsed().as_secs_f64();
    assert_eq!(apt.packages().len(), PACKAGES, "apt has them all");
    took
}

/// Whether a command of Debian's is there.
pub fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().is_ok_and(|it| it.success())
}
