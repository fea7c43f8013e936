//! A signed archive on an Internet of network namespaces, and machines there, each with a proxy and an apt of its own.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use super::apt::{Apt, Run};
use super::archive::{Archive, BASE, Key, Package};
use super::daemon::{BINARY, Daemon};
use super::mirror::Mirror;
use super::netns::{Host, NEEDS, Net};
use super::{Scratch, skip, wait_until};

/// Where the mirror is on the Internet: 198.18.250.1.
const MIRROR: u8 = 250;
/// How long a hundred announcements take at most: one a second is made.
const ANNOUNCE_TIME: Duration = Duration::from_secs(240);

/// The archive, its mirror, and the wires.
pub struct Internet {
    pub archive: Archive,
    pub mirror: Mirror,
    pub mirror_host: Host,
    pub scratch: Scratch,
    pub net: Net,
    key: Key,
}

/// A machine with a proxy, and an apt that uses it.
pub struct Machine {
    pub proxy: Daemon,
    pub apt: Apt,
    pub host: Host,
    flags: Vec<String>,
}

impl Internet {
    /// `None`, after a word of why, where it cannot be made.
    pub fn new(mut archive: Archive) -> Option<Internet> {
        let Some(net) = Net::new() else {
            skip(NEEDS);
            return None;
        };
        let scratch = Scratch::new();
        let key = Key::make(&scratch)?;
        key.export(&scratch.path().join("key.gpg"));
        let mirror_host = net.host(MIRROR);
        let mirror = mirror_host.inside(|| Mirror::start_on(&mirror_host.ip.to_string()));
        // It is public by itself: a known distribution at a public address.
        archive.origin = "Debian".into();
        archive.publish(&mirror, Some(&key));
        Some(Internet { archive, mirror, mirror_host, scratch, net, key })
    }

    /// What of the archive has changed.
    pub fn publish(&self) {
        self.archive.publish(&self.mirror, Some(&self.key));
    }

    /// Lines of sources.list.
    pub fn sources(&self) -> String {
        let key = self.scratch.path().join("key.gpg");
        let line =
            |kind: &str| format!("{kind} [signed-by={}] {} stable main\n", key.display(), self.mirror.url(BASE));
        [line("deb"), line("deb-src")].concat()
    }

    /// Starts a proxy on a machine; an apt beside it uses it. `None`, after a word of why, without apt-get.
    pub fn machine(&self, name: &str, host: Host, flags: &[&str]) -> Option<Machine> {
        Machine::start(&self.scratch, name, host, &self.sources(), flags)
    }

    /// Requests for packages and source files that the mirror got.
    pub fn fetched(&self) -> usize {
        self.mirror.all_seen().iter().filter(|seen| seen.path.contains("/pool/")).count()
    }

    /// Bytes of packages that it sent.
    pub fn sent(&self) -> u64 {
        let path = |package: &Package| format!("{BASE}/{}", package.path());
        self.archive.packages.iter().map(|package| self.mirror.sent(&path(package))).sum()
    }

    /// Lets a machine's apt install packages, and looks at each.
    pub fn install(&self, machine: &Machine, names: &[&str]) {
        let what = format!("{} installs from {}", machine.host.ip, self.mirror.address);
        machine.run(&[&["install", "--download-only"], names].concat()).expect(&what);
        for package in self.archive.packages.iter().filter(|package| names.contains(&package.name.as_str())) {
            let name = format!("{}_{}_all.deb", package.name, package.version);
            assert!(machine.apt.downloaded(&name).as_ref() == Some(&package.content), "{what}: {name}");
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.archive.packages.iter().map(|package| package.name.as_str()).collect()
    }
}

impl Machine {
    pub fn start(scratch: &Scratch, name: &str, host: Host, sources: &str, flags: &[&str]) -> Option<Machine> {
        let cache = scratch.path().join(name).join("proxy");
        // What peers are given is told to who asks for more than usual.
        let config = scratch.path().join(format!("{name}.toml"));
        std::fs::write(&config, "log = 'info,request=debug'\n").expect("a scratch file");
        let config = config.to_str().expect("a plain path");
        // The same after a restart, so that apt finds it again.
        let flags = [&["--listen", "127.0.0.1:9977", "--config", config], flags].concat();
        let proxy = host.inside(|| Daemon::start_with(&cache, &flags));
        let apt = Apt::new(scratch, name, Some(proxy.address), 10, sources)?;
        Some(Machine { proxy, apt, host, flags: flags.iter().map(|flag| (*flag).to_owned()).collect() })
    }

    /// The same machine after its proxy was ended, and started again.
    pub fn restarted(self) -> Machine {
        let Machine { proxy, apt, host, flags } = self;
        let cache = proxy.cache.clone();
        assert_eq!(proxy.terminate(), Some(0));
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        let proxy = host.inside(|| Daemon::start_with(&cache, &words));
        Machine { proxy, apt, host, flags }
    }

    /// Files, or parts of them, that it gave to the proxy on another machine.
    pub fn gave(&self, other: &Machine) -> usize {
        let words = format!("{} GET /~/", other.host.ip);
        self.proxy.log().iter().filter(|line| line.contains(&words) && line.contains(" bytes from cache")).count()
    }

    /// apt-get with these words.
    pub fn run(&self, words: &[&str]) -> Run {
        self.host.inside(|| self.apt.run(words))
    }

    /// `apt-get update`, until the proxy knows what the archive promises.
    pub fn update(&self) {
        self.run(&["update"]).expect(&format!("{} updates", self.host.ip));
        self.proxy.wait_for_log("main/binary-amd64/Packages: ");
    }

    /// Waits until others find all that this proxy shares: at least so many files, and the index of packages.
    pub fn wait_until_announced(&self, files: usize) {
        wait_until(ANNOUNCE_TIME, &format!("{} announces {files} files", self.host.ip), || {
            let text = self.report();
            let line = text.lines().find_map(|line| line.strip_prefix("own files ")).unwrap_or_default();
            let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            matches!(numbers[..], [all, found] if all > files && found == all)
        });
    }

    /// What `apt-p2p dht` says of its nodes.
    pub fn report(&self) -> String {
        String::from_utf8_lossy(&self.ask(&["dht"]).stdout).into_owned()
    }

    pub fn wait_for_report(&self, words: &str) {
        let says = || self.report().contains(words);
        wait_until(Duration::from_secs(60), &format!("{} reports {words:?}", self.host.ip), says);
    }

    /// Asks the proxy with one of the program's commands.
    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--cache").arg(&self.proxy.cache).env_remove("RUST_LOG");
        command.output().expect("the program starts")
    }

    /// Whether the DHT names a peer for a digest.
    pub fn finds(&self, digest: &str) -> bool {
        self.ask(&["lookup", digest]).status.success()
    }

    /// Where its DHT node is entered.
    pub fn entrance(&self) -> String {
        SocketAddr::new(self.host.ip, 9978).to_string()
    }
}
