//! Machines of their own: network namespaces, joined by switches and by routers that translate addresses.
//!
//! Owns the namespaces, wires and links; what runs in them is the test's. No interface of this machine's own network is
//! touched, and nothing leads out of it: no packet can leave. All is gone when the [`Net`] is dropped; what a killed test
//! left behind is removed by the next one. Needs root.
//!
//! The Internet is one wire: each machine on it has an address `198.18.n.1`, of a network that was set aside for such
//! tests (RFC 2544) and is as public as any other to the program. Behind a [`Home`]'s router lies `192.168.n.0/24`.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a machine lacks where [`Net::new`] says no.
pub const NEEDS: &str = "network namespaces (root, ip and tc of iproute2, nft of nftables)";
/// Namespaces of one test; more of them are a mistake.
const HOSTS: usize = 100;
/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";
const PREFIX: &str = "apt-p2p-";

/// All machines of one test.
pub struct Net {
    prefix: String,
    names: Mutex<Vec<String>>,
    internet: Switch,
}

/// What machines are plugged into.
#[derive(Clone)]
struct Switch {
    space: String,
}

/// A machine: interfaces, addresses and ports of its own.
pub struct Host {
    pub ip: IpAddr,
    space: String,
    opened: File,
    /// The other end of its wire.
    port: (Switch, String),
}

/// A private network behind a router that translates addresses and lets nobody in.
pub struct Home<'a> {
    net: &'a Net,
    n: u8,
    lan: Switch,
    pub router: Host,
}

impl Net {
    /// `None` where no namespaces can be made: [`NEEDS`].
    pub fn new() -> Option<Net> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        remove_leftovers();
        let is_there = |program: &str, word: &str| Command::new(program).arg(word).output().is_ok();
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let internet = Switch { space: format!("{prefix}internet") };
        let names = Mutex::new(vec![internet.space.clone()]);
        let net = Net { prefix, names, internet };
        let is_made = is_there("tc", "-Version")
            && is_there("nft", "--version")
            && batch(None, &format!("netns add {}", net.internet.space)).is_ok();
        if !is_made {
            return None;
        }
        net.internet.set_up();
        Some(net)
    }

    /// A machine on the Internet, at 198.18.`n`.1.
    pub fn host(&self, n: u8) -> Host {
        let ip = Ipv4Addr::new(198, 18, n, 1);
        let space = self.space(&format!("host-{n}"));
        self.internet.plug(&space, "eth0", &format!("{ip}/32"), "dev eth0", ip)
    }

    /// A private network whose router has 198.18.`n`.1 outside and 192.168.`n`.1 inside.
    pub fn home(&self, n: u8) -> Home<'_> {
        let ip = Ipv4Addr::new(198, 18, n, 1);
        let (space, lan) = (self.space(&format!("router-{n}")), Switch { space: self.space(&format!("lan-{n}")) });
        lan.set_up();
        let router = self.internet.plug(&space, "wan", &format!("{ip}/32"), "dev wan", ip);
        lan.wire(&space, "lan");
        must(Some(&space), &format!("addr add 192.168.{n}.1/24 dev lan\nlink set lan up"));
        router.inside(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("root may");
        router.filter(
            "table ip home {\n\
             chain out { type nat hook postrouting priority 100; oifname \"wan\" masquerade; }\n\
             chain in { type nat hook prerouting priority -100; }\n\
             chain through { type filter hook forward priority 0;\n\
             ct status dnat accept; iifname \"wan\" ct state new drop; }\n\
             }\n",
        );
        Home { net: self, n, lan, router }
    }

    fn space(&self, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        let mut names = self.names.lock().expect("no panic with the lock");
        assert!(names.len() < HOSTS, "a test needs no {HOSTS} machines");
        names.push(name.clone());
        must(None, &format!("netns add {name}"));
        name
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in self.names.lock().expect("no panic with the lock").iter() {
            batch(None, &format!("netns del {name}")).ok();
        }
    }
}

impl Home<'_> {
    /// A machine of it, at 192.168.n.`k`.
    pub fn host(&self, k: u8) -> Host {
        let n = self.n;
        let ip = Ipv4Addr::new(192, 168, n, k);
        let space = self.net.space(&format!("home-{n}-{k}"));
        self.lan.plug(&space, "eth0", &format!("{ip}/24"), &format!("via 192.168.{n}.1"), ip)
    }

    /// Lets everybody in at this TCP port of the router, to one of its machines.
    pub fn open(&self, port: u16, to: &Host) {
        let rule = format!("add rule ip home in iifname wan tcp dport {port} dnat to {}\n", to.ip);
        self.router.filter(&rule);
    }
}

impl Host {
    /// Does something on this machine: sockets, threads and programs that it makes are the machine's.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let act = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.opened.as_fd(), kind).expect("root may enter");
            act()
        };
        thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Gives it another address of the Internet.
    pub fn add_address(&self, ip: &str) {
        must(Some(&self.space), &format!("addr replace {ip}/32 dev eth0"));
    }

    /// Lets so many bytes a second through its wire, each way.
    pub fn shape(&self, bytes_per_s: u64) {
        let (switch, port) = &self.port;
        for (space, wire) in [(&self.space, "eth0"), (&switch.space, port.as_str())] {
            // Ten milliseconds' worth at once, and no less than what the kernel hands over at once.
            let burst = (bytes_per_s / 100).max(64 * 1024);
            let words = format!("qdisc replace dev {wire} root tbf rate {bytes_per_s}bps burst {burst} latency 50ms");
            let output = Command::new("tc").args(["-n", space]).args(words.split(' ')).output().expect("tc is there");
            assert!(output.status.success(), "tc {words}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Pulls its plug.
    pub fn unplug(&self) {
        must(Some(&self.port.0.space), &format!("link set {} down", self.port.1));
    }

    pub fn plug_in(&self) {
        must(Some(&self.port.0.space), &format!("link set {} up", self.port.1));
    }

    /// Loads rules into its packet filter.
    fn filter(&self, rules: &str) {
        let mut nft = Command::new("nft");
        self.inside(|| feed(nft.args(["-f", "-"]), rules)).expect("nft takes the rules");
    }
}

impl Switch {
    fn set_up(&self) {
        must(Some(&self.space), "link add switch type bridge\nlink set switch up");
    }

    /// Makes a machine of a namespace: one wire, one address, one way out.
    fn plug(&self, space: &str, wire: &str, address: &str, way: &str, ip: Ipv4Addr) -> Host {
        let port = self.wire(space, wire);
        let words =
            format!("link set lo up\naddr add {address} dev {wire}\nlink set {wire} up\nroute add default {way}");
        must(Some(space), &words);
        let opened = File::open(format!("{FOLDER}/{space}")).expect("made above");
        Host { ip: IpAddr::V4(ip), space: space.to_owned(), opened, port: (self.clone(), port) }
    }

    /// A wire to a namespace; the name of its end here.
    fn wire(&self, space: &str, name: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let port = format!("p{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let switch = &self.space;
        must(None, &format!("link add {name} netns {space} type veth peer name {port} netns {switch}"));
        must(Some(switch), &format!("link set {port} master switch\nlink set {port} up"));
        port
    }
}

/// Namespaces of tests that were killed.
fn remove_leftovers() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            batch(None, &format!("netns del {name}")).ok();
        }
    }
}

/// Lines for `ip`, in a namespace.
fn batch(space: Option<&str>, lines: &str) -> Result<(), String> {
    let mut ip = Command::new("ip");
    if let Some(space) = space {
        ip.args(["-n", space]);
    }
    feed(ip.args(["-batch", "-"]), lines)
}

fn must(space: Option<&str>, lines: &str) {
    batch(space, lines).unwrap_or_else(|why| panic!("ip in {space:?}: {lines}: {why}"));
}

fn feed(command: &mut Command, text: &str) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(told)?;
    child.stdin.take().expect("piped").write_all(text.as_bytes()).map_err(told)?;
    let output = child.wait_with_output().map_err(told)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
