//! Who gets what, through the real program: a network with a secret, the LAN alone, a machine behind a router, and one whose
//! port is taken. Each machine has a network namespace, a proxy and an apt of its own.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use apt_p2p::digest::Digest;
use support::archive::{Archive, Package};
use support::internet::{Internet, Machine};

const SECRET: &str = "nobody else knows this";

fn archive() -> Archive {
    Archive::new(vec![Package::new("small", "1.0", 40_000), Package::new("long", "1.0", 3_000_000)])
}

fn sharing(entrance: &str) -> [&str; 6] {
    ["--share", "internet", "--upload-rate", "1G", "--bootstrap", entrance]
}

/// What a machine gets from another's peer port: the status, or nothing where it is not even listened to.
fn asked(from: &Machine, peer: SocketAddr, name: &str) -> Option<u16> {
    let ask = || {
        let mut stream = TcpStream::connect(peer)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET /~/{name} HTTP/1.1\r\nHost: peer\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&status[9..]).parse().expect("a status"))
    };
    from.host.inside(ask).ok()
}

fn port_of(machine: &Machine) -> SocketAddr {
    SocketAddr::new(machine.host.ip, 9978)
}

#[test]
fn a_network_with_a_secret_is_closed_to_who_does_not_know_it() {
    let Some(internet) = Internet::new(archive()) else { return };
    let secret = internet.scratch.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a scratch file");
    let secret = ["--secret", secret.to_str().expect("a plain path")];
    let Some(has) = internet.machine("has", internet.net.host(1), &[&sharing("none")[..], &secret].concat()) else {
        return;
    };
    let entrance = has.entrance();
    let with = [&sharing(&entrance)[..], &secret].concat();
    let wants = internet.machine("wants", internet.net.host(2), &with).expect("there was apt");
    let other = internet.machine("other", internet.net.host(3), &sharing(&entrance)).expect("there was apt");
    for machine in [&has, &wants, &other] {
        machine.update();
    }
    internet.install(&has, &internet.names());
    has.wait_until_announced(2);
    internet.mirror_host.unplug();
    for package in &internet.archive.packages {
        assert!(wants.finds(&package.digest()) && !other.finds(&package.digest()), "{}", package.name);
        let digest = Digest::of(&package.content);
        let on_the_wire = digest.on_the_wire(Some(SECRET.as_bytes())).to_string();
        assert_eq!(asked(&other, port_of(&has), &digest.to_string()), Some(404));
        assert_eq!(asked(&other, port_of(&has), &on_the_wire), Some(200), "the same for who knows the secret");
    }
    internet.install(&wants, &internet.names());
    let failed = other.run(&["-o", "Acquire::Retries=0", "install", "--download-only", "small", "long"]);
    assert!(!failed.ok, "{}", failed.output);
}

#[test]
fn the_lan_alone_is_served_and_nobody_who_comes_from_outside() {
    let Some(internet) = Internet::new(archive()) else { return };
    let home = internet.net.home(20);
    let flags = ["--share", "lan", "--mdns", "on"];
    let Some(has) = internet.machine("has", home.host(2), &flags) else { return };
    let wants = internet.machine("wants", home.host(3), &flags).expect("there was apt");
    let stranger = internet.machine("stranger", internet.net.host(4), &sharing("none")).expect("there was apt");
    for machine in [&has, &wants] {
        machine.update();
    }
    internet.install(&has, &internet.names());
    wants.proxy.wait_for_log(" at 192.168.20.2:9978");
    // Even where the router lets everybody in.
    let other_port = has.host.inside(|| TcpListener::bind("0.0.0.0:9979")).expect("nobody else is there");
    [9978, 9979].iter().for_each(|port| home.open(*port, &has.host));
    let is_let_in = stranger.host.inside(|| TcpStream::connect((home.router.ip, 9979))).is_ok();
    assert!(is_let_in && other_port.accept().is_ok());
    let digest = internet.archive.packages[0].digest();
    assert_eq!(asked(&stranger, SocketAddr::new(home.router.ip, 9978), &digest), None);
    assert_eq!(asked(&wants, port_of(&has), &digest), Some(200));
    internet.mirror_host.unplug();
    internet.install(&wants, &internet.names());
    assert!(has.gave(&wants) >= 2 && !has.proxy.log().iter().any(|line| line.contains("part of the network")));
}

#[test]
fn behind_a_router_one_fetches_and_announces_nothing() {
    let Some(internet) = Internet::new(archive()) else { return };
    let Some(has) = internet.machine("has", internet.net.host(1), &sharing("none")) else { return };
    let entrance = has.entrance();
    let other = internet.machine("other", internet.net.host(2), &sharing(&entrance)).expect("there was apt");
    let home = internet.net.home(20);
    let inside = internet.machine("inside", home.host(2), &sharing(&entrance)).expect("there was apt");
    for machine in [&has, &other, &inside] {
        machine.update();
    }
    internet.install(&has, &["long"]);
    internet.install(&inside, &["small"]);
    has.wait_until_announced(1);
    inside.wait_for_report("table       2 contacts");
    internet.mirror_host.unplug();
    internet.install(&inside, &["long"]);
    assert!(inside.report().contains("own files     0 announced"), "{}", inside.report());
    assert!(!other.finds(&internet.archive.packages[0].digest()), "nobody is sent to whom he cannot reach");
}

#[test]
fn a_peer_port_that_is_taken_leaves_a_proxy_that_fetches() {
    let Some(internet) = Internet::new(archive()) else { return };
    let Some(has) = internet.machine("has", internet.net.host(1), &sharing("none")) else { return };
    let entrance = has.entrance();
    let host = internet.net.host(2);
    let taken = host.inside(|| TcpListener::bind("[::]:9978")).expect("nobody else is there");
    let wants = internet.machine("wants", host, &sharing(&entrance)).expect("there was apt");
    wants.proxy.wait_for_log("[::]:9978 (TCP) is in use, so no peer is served");
    for machine in [&has, &wants] {
        machine.update();
    }
    internet.install(&wants, &["small"]);
    internet.install(&has, &internet.names());
    has.wait_until_announced(2);
    internet.mirror_host.unplug();
    internet.install(&wants, &internet.names());
    assert!(wants.report().contains("own files     0 announced"), "{}", wants.report());
    drop(taken);
}
