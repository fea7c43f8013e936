//! A cache that the real apt-cacher-ng made on the spot is taken over, but for what was damaged there since.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use apt_p2p::digest::Digest;
use support::archive::{Archive, BASE, Package, SUITE};
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, skip, wait_until};

/// A running apt-cacher-ng with folders of its own; it ends with the test.
struct AptCacherNg {
    address: SocketAddr,
    cache: PathBuf,
    child: Child,
}

impl AptCacherNg {
    /// `None`, after a word of why, where there is none.
    fn start(scratch: &Scratch) -> Option<AptCacherNg> {
        let dir = scratch.path().join("acng");
        let folder = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(&path).expect("a scratch folder");
            path
        };
        let (cache, log, conf) = (folder("cache"), folder("log"), folder("conf"));
        let settings = format!("CacheDir: {}\nLogDir: {}\n", cache.display(), log.display());
        fs::write(conf.join("acng.conf"), settings).expect("a scratch file");
        // It cannot be told to choose a port itself.
        let free = low_port().local_addr().expect("bound");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("apt-cacher-ng")
            .env("PATH", path)
            .arg("-c")
            .arg(&conf)
            .args(["ForeGround=1", "BindAddress=127.0.0.1", "AllowUserPorts=0", "ExThreshold=0"])
            .arg(format!("Port={}", free.port()))
            .arg(format!("SocketPath={}", dir.join("socket").display()))
            .arg(format!("PidFile={}", dir.join("pid").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                skip(&format!("apt-cacher-ng: {error}"));
                return None;
            }
        };
        let other = AptCacherNg { address: free, cache, child };
        wait_until(Duration::from_secs(30), "apt-cacher-ng listens", || TcpStream::connect(free).is_ok());
        Some(other)
    }

    /// Its file at the end of this path.
    fn file(&self, path: &str) -> PathBuf {
        let mut folders = vec![self.cache.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("its folder").flatten() {
                let at = entry.path();
                if at.is_dir() {
                    folders.push(at);
                } else if at.to_string_lossy().ends_with(path) {
                    return at;
                }
            }
        }
        panic!("apt-cacher-ng keeps nothing at {path}");
    }

    fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for AptCacherNg {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of loopback that apt-cacher-ng can count to: it knows none above 32767.
fn low_port() -> TcpListener {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    let bound = (first..32_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    bound.expect("one of thousands is free")
}

fn import(cache: &Path, dir: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("import").arg("--cache").arg(cache).arg(dir).output().expect("the program starts")
}

/// How a package may be asked for: apt-cacher-ng spells it in its own way.
fn spellings(package: &Package) -> [String; 3] {
    let path = format!("{BASE}/{}", package.path());
    [path.replace('+', "%2b"), path.replace('+', "%2b").replace('~', "%7e"), path]
}

/// As apt asks: a plus is escaped.
fn url(mirror: &Mirror, package: &Package) -> String {
    mirror.url(&spellings(package)[0])
}

#[test]
fn a_real_apt_cacher_ng_s_cache_is_taken_and_each_damaged_file_is_refused_by_name() {
    let scratch = Scratch::new();
    let Some(mut other) = AptCacherNg::start(&scratch) else { return };
    let mirror = Mirror::start_with(low_port());
    let named = |n: usize, version: &str| Package::new(&format!("pkg{n}"), version, 20_000 + n * 150_000);
    // What it fetched before the archive's newest Release is no current package.
    let old: Vec<Package> = (0..3).map(|n| named(n, "0.9")).collect();
    let archive = Archive::new((0..12).map(|n| named(n, "1.0+x~1")).collect());
    archive.publish(&mirror, None);
    for package in old.iter().chain(&archive.packages) {
        spellings(package).iter().for_each(|path| mirror.put(path, package.content.clone()));
    }
    let indexes = ["InRelease", "main/binary-amd64/Packages.gz"].map(|name| mirror.url(&format!("{SUITE}/{name}")));
    for package in old.iter().chain(&archive.packages) {
        let answer = get(other.address, &url(&mirror, package));
        assert!(
            answer.is_good() && answer.body == package.content,
            "{}: {:?}",
            package.path(),
            mirror.all_seen().last()
        );
    }
    for index in &indexes {
        assert!(get(other.address, index).is_good(), "{index}");
    }
    other.stop();

    let [flipped, cut, longer, swapped, emptied, current @ ..] = &archive.packages[..] else { panic!("twelve") };
    let place = |package: &Package| other.file(&package.path());
    let mut bytes = flipped.content.clone();
    bytes[10_000] ^= 1;
    fs::write(place(flipped), bytes).expect("room");
    fs::write(place(cut), &cut.content[..cut.content.len() / 2]).expect("room");
    fs::write(place(longer), [&longer.content[..], b"\0"].concat()).expect("room");
    fs::write(place(swapped), &current[0].content).expect("room");
    fs::write(place(emptied), vec![0; emptied.content.len()]).expect("room");

    let daemon = Daemon::start(&scratch);
    for index in &indexes {
        assert!(get(daemon.address, index).is_good(), "{index}");
    }
    daemon.wait_for_log("binary-amd64/Packages: 12 files");
    let (_, index) = archive.indexes().into_iter().find(|(name, _)| name.ends_with("Packages.gz")).expect("one");
    daemon.wait_until_recorded(&Digest::of(&index).to_string());
    for package in old.iter().chain(&archive.packages) {
        spellings(package).iter().for_each(|path| mirror.remove(path));
    }
    let report = import(&daemon.cache, &other.cache);
    let said = String::from_utf8_lossy(&report.stdout).into_owned();
    assert_eq!(report.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&report.stderr));
    assert!(said.contains(&format!("took {} files", current.len())) && said.ends_with(" 5 refused\n"), "{said}");
    let refused: Vec<&str> = said.lines().filter(|line| line.starts_with("refused ")).collect();
    for package in [flipped, cut, longer, swapped, emptied] {
        let is_named =
            |line: &&&str| line.contains(&package.path()) && line.contains("damaged or of another version");
        assert_eq!(refused.iter().filter(is_named).count(), 1, "{}: {said}", package.path());
        assert!(!get(daemon.address, &url(&mirror, package)).is_good(), "{} is nowhere", package.path());
    }
    for package in &old {
        let is_named = |line: &str| line.starts_with("left ") && line.contains(&package.path());
        assert!(said.lines().any(is_named), "{}: {said}", package.path());
    }
    for package in current {
        let answer = get(daemon.address, &url(&mirror, package));
        assert!(answer.is_good() && answer.body == package.content, "{}", package.path());
    }
}
