//! Behind a router that translates addresses and speaks PCP, NAT-PMP or UPnP: strangers fetch through its mapping. In network
//! namespaces, with Debian's miniupnpd as the router's voice.

mod support;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use apt_p2p::daemon::{DhtHandle, DhtOptions, run_dht};
use apt_p2p::dht::{Ask, Config, Event, Mainline, Network, Reach};
use apt_p2p::digest::Digest;
use support::archive::{Archive, BASE, Package, SUITE};
use support::client::get;
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::netns::{Home, Host, NEEDS, Net};
use support::{Scratch, skip, wait_until};

/// miniupnpd, on a router.
struct Igd {
    child: Child,
}

impl Igd {
    /// Speaks PCP and NAT-PMP, or UPnP alone; `None` where there is no miniupnpd.
    fn start(home: &Home<'_>, scratch: &Scratch, has_pcp: bool) -> Option<Igd> {
        let word = |yes: bool| if yes { "yes" } else { "no" };
        // The outer address is one that documents call their own, which miniupnpd takes for one behind another router:
        // it is told a public one, and only ever speaks of it.
        let config = format!(
            "ext_ifname=wan\next_ip=8.8.8.8\nlistening_ip=lan\nenable_natpmp={}\nenable_upnp={}\nsecure_mode=yes\n\
             uuid=11111111-2222-3333-4444-555555555555\nport=0\nallow 1024-65535 192.168.0.0/16 1024-65535\n\
             deny 0-65535 0.0.0.0/0 0-65535\n",
            word(has_pcp),
            word(!has_pcp)
        );
        let file = scratch.path().join("miniupnpd.conf");
        fs::write(&file, config).expect("a scratch file");
        // The chains that it fills; what it lets in passes the home's own filter.
        let rules = scratch.path().join("rules.nft");
        let chains = "table inet filter {\n\
             chain forward { type filter hook forward priority 10; jump miniupnpd; }\n\
             chain miniupnpd {}\n\
             chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }\n\
             chain prerouting_miniupnpd {}\n\
             chain postrouting { type nat hook postrouting priority 101; jump postrouting_miniupnpd; }\n\
             chain postrouting_miniupnpd {}\n\
             }\n";
        fs::write(&rules, chains).expect("a scratch file");
        let mut nft = Command::new("nft");
        let status = home.router.inside(|| nft.arg("-f").arg(&rules).status()).expect("nft is there");
        assert!(status.success(), "nft takes the rules");
        let mut command = Command::new("miniupnpd");
        command.args(["-d", "-f"]).arg(&file).arg("-P").arg(scratch.path().join("miniupnpd.pid"));
        let log = fs::File::create(scratch.path().join("miniupnpd.log")).expect("a scratch file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = home.router.inside(|| command.spawn());
        match child {
            Ok(child) => {
                let igd = Igd { child };
                // A machine whose first question is refused asks again after a minute.
                let port = if has_pcp { ":14E7 " } else { ":076C " };
                let sockets = |table: &str| fs::read_to_string(format!("/proc/thread-self/net/{table}"));
                let listens = |table| home.router.inside(|| sockets(table)).is_ok_and(|text| text.contains(port));
                let is_there = || listens("udp") || listens("udp6");
                wait_until(Duration::from_secs(30), "miniupnpd listens", is_there);
                Some(igd)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("miniupnpd: {error}"),
        }
    }
}

impl Drop for Igd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Nodes of the DHT, each in a network of its own. A machine asks four of them to dial it, and each dials one address once a
/// minute: among so many the second machine of a home seldom meets three that have dialled for the first.
const NODES: u8 = 12;

/// An archive on the Internet, nodes of the DHT, and a stranger.
struct World {
    scratch: Scratch,
    archive: Archive,
    mirror: Mirror,
    nodes: Vec<DhtHandle>,
    stranger: Host,
    net: Net,
}

const NETWORK: &str = "mapping";

impl World {
    fn new() -> Option<World> {
        let net = Net::new()?;
        let scratch = Scratch::new();
        let archive = Archive::new(vec![Package::new("one", "1", 40_000), Package::new("two", "1", 1_200_000)]);
        let mirror_host = net.host(250);
        let mirror = mirror_host.inside(|| Mirror::start_on(&mirror_host.ip.to_string()));
        archive.publish(&mirror, None);
        let mut nodes: Vec<DhtHandle> = Vec::new();
        for n in 1..=NODES {
            let host = net.host(n);
            let config = Config {
                network: NETWORK.into(),
                mainline: Mainline::Off,
                reach: Some(Reach::Open),
                ..Config::new([n; 32])
            };
            let mut options = DhtOptions::new(config, SocketAddr::new(host.ip, 9978));
            options.bootstrap = nodes.first().map(|node| node.addresses()[0].to_string()).into_iter().collect();
            nodes.push(host.inside(|| run_dht(options)).expect("a socket"));
        }
        let stranger = net.host(NODES + 1);
        Some(World { scratch, archive, mirror, nodes, stranger, net })
    }

    /// A proxy that shares with the Internet, and has fetched all packages.
    fn proxy(&self, host: &Host, name: &str) -> Daemon {
        let bootstrap = self.nodes[0].addresses()[0].to_string();
        let public = format!("{}{BASE}", self.mirror.address);
        let flags = [
            ["--share", "internet"],
            ["--port-mapping", "on"],
            ["--network", NETWORK],
            ["--mainline", "off"],
            ["--bootstrap", &bootstrap],
            ["--public", &public],
        ];
        let daemon = host.inside(|| Daemon::start_with(&self.scratch.path().join(name), flags.as_flattened()));
        let fetch = |path: &str| host.inside(|| get(daemon.address, &self.mirror.url(path)));
        for name in ["InRelease", "main/binary-amd64/Packages"] {
            assert!(fetch(&format!("{SUITE}/{name}")).is_good(), "{name}");
        }
        daemon.wait_for_log("learnt ");
        for package in &self.archive.packages {
            assert!(fetch(&format!("{BASE}/{}", package.path())).body == package.content, "{}", package.name);
        }
        daemon
    }

    /// Who has this package, as a node knows.
    fn holders(&self, package: &Package) -> Vec<SocketAddr> {
        let key = self.nodes[1].key(&Digest::of(&package.content));
        let ask = Ask::Peers { key, network: Network::Overlay, traced: false };
        let events = self.nodes[1].ask(ask).into_iter().flatten();
        events.filter_map(|event| if let Event::Peer { peer, .. } = event { Some(peer) } else { None }).collect()
    }
}

/// The port that the log says the router passes on.
fn outer_port(daemon: &Daemon, way: &str) -> u16 {
    daemon.wait_for_log(&format!("on to us ({way})"));
    let log = daemon.log();
    let line = log.iter().rfind(|line| line.contains("passes port ")).expect("waited for");
    let (_, rest) = line.split_once("passes port ").expect("found by it");
    rest.split(' ').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn is_passed_on(world: &World, to: SocketAddr) -> bool {
    world.stranger.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok())
}

/// Two machines of one home share; a stranger finds and fetches from both, and from neither when they have ended.
fn strangers_fetch_through(has_pcp: bool, way: &str) {
    let Some(world) = World::new() else { return skip(NEEDS) };
    let home = world.net.home(20);
    let Some(_igd) = Igd::start(&home, &world.scratch, has_pcp) else { return skip("miniupnpd") };
    let (first_host, second_host) = (home.host(2), home.host(3));
    let (first, second) = (world.proxy(&first_host, "first"), world.proxy(&second_host, "second"));
    let ports = [outer_port(&first, way), outer_port(&second, way)];
    assert_ne!(ports[0], ports[1], "each has one of its own");
    let at = ports.map(|port| SocketAddr::new(home.router.ip, port));
    // Who does not know all nodes yet may have to wait for their next minute.
    for daemon in [&first, &second] {
        wait_until(Duration::from_secs(180), "two nodes have dialled it", || {
            daemon.log().iter().any(|line| line.contains("peers reach us at port"))
        });
    }
    for package in &world.archive.packages {
        wait_until(Duration::from_secs(120), &format!("both announce {}", package.name), || {
            let holders = world.holders(package);
            at.iter().all(|address| holders.contains(address))
        });
        for address in at {
            let got = world.stranger.inside(|| get(address, &format!("/~/{}", package.digest())));
            assert!(got.status == 200 && got.body == package.content, "{address}: {}", got.status);
        }
    }
    assert_eq!(first.terminate(), Some(0));
    assert!(!is_passed_on(&world, at[0]), "what has ended is not passed on");
    assert!(is_passed_on(&world, at[1]));
    assert_eq!(second.terminate(), Some(0));
    assert!(!is_passed_on(&world, at[1]));
}

#[test]
fn strangers_fetch_through_a_router_that_speaks_pcp() {
    strangers_fetch_through(true, "PCP");
}

#[test]
fn strangers_fetch_through_a_router_that_speaks_upnp() {
    strangers_fetch_through(false, "UPnP");
}

#[test]
fn a_router_that_passes_nothing_on_holds_nobody_up() {
    let Some(world) = World::new() else { return skip(NEEDS) };
    let home = world.net.home(21);
    // It fetches all packages meanwhile.
    let daemon = world.proxy(&home.host(2), "alone");
    daemon.wait_for_log("has it pass port 9978 on, TCP and UDP");
    assert!(!is_passed_on(&world, SocketAddr::new(home.router.ip, 9978)));
    assert!(world.archive.packages.iter().all(|package| world.holders(package).is_empty()));
    assert_eq!(daemon.terminate(), Some(0));
}
