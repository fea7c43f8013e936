//! Two proxies that have never met: what one has, the other gets of it when the mirror is gone.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use apt_p2p::daemon::{DhtHandle, DhtOptions, run_dht};
use apt_p2p::dht::{Ask, Config, Event, Mainline, Network, Reach};
use apt_p2p::digest::{Digest, PIECE_LEN};
use support::archive::{Archive, BASE, Package, SUITE};
use support::client::get;
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::{Scratch, wait_until};

/// A node of this process, where both begin.
fn first_node(ip: &str) -> DhtHandle {
    let config = Config {
        network: "test".into(),
        mainline: Mainline::Off,
        is_private: true,
        reach: Some(Reach::Open),
        ..Config::new([1; 32])
    };
    run_dht(DhtOptions::new(config, SocketAddr::new(ip.parse().expect("an address"), 0))).expect("loopback")
}

fn proxy(cache: &Path, ip: &str, bootstrap: &str, public: &str) -> Daemon {
    let listen = format!("{ip}:0");
    let flags = [
        ["--share", "internet"],
        ["--network", "test"],
        ["--mainline", "off"],
        ["--peer-listen", &listen],
        ["--bootstrap", bootstrap],
        ["--public", public],
        ["--allow-upstream", "127.0.0.0/8"],
    ];
    Daemon::start_with(cache, flags.as_flattened())
}

/// What apt does first; till the packages are promised.
fn update(daemon: &Daemon, mirror: &Mirror) {
    for name in ["InRelease", "main/binary-amd64/Packages"] {
        assert!(get(daemon.address, &mirror.url(&format!("{SUITE}/{name}"))).is_good(), "{name}");
    }
    daemon.wait_for_log("learnt ");
}

#[test]
fn what_one_has_the_other_gets_without_a_mirror() {
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    let pieces = |pieces: u64| usize::try_from(pieces * PIECE_LEN - 1000).expect("small");
    let packages = vec![
        Package::new("short", "1", 40_000),
        Package::new("beside", "1", pieces(3)),
        Package::new("item", "1", pieces(9)),
        Package::new("long", "1", pieces(40)),
    ];
    let mut archive = Archive::new(packages);
    archive.sources = vec![("src_1.dsc".into(), b"x".to_vec())];
    archive.publish(&mirror, None);
    // An index whose length only the Release says.
    let index = archive.indexes().into_iter().find(|(name, _)| name == "main/source/Sources").expect("published").1;
    let index_url = mirror.url(&format!("{SUITE}/main/source/by-hash/SHA256/{}", Digest::of(&index)));
    let node = first_node("127.0.0.70");
    let bootstrap = node.addresses()[0].to_string();
    let public = format!("{}{BASE}", mirror.address);
    let has = proxy(&scratch.path().join("has"), "127.0.0.71", &bootstrap, &public);
    update(&has, &mirror);
    for package in &archive.packages {
        let url = mirror.url(&format!("{BASE}/{}", package.path()));
        assert!(get(has.address, &url).body == package.content, "{}", package.name);
    }
    assert!(get(has.address, &index_url).body == index);
    let wants = proxy(&scratch.path().join("wants"), "127.0.0.72", &bootstrap, &public);
    update(&wants, &mirror);
    let named = archive.packages.iter().map(|package| (package.name.as_str(), &package.content));
    for (name, content) in named.chain([("the index", &index)]) {
        let key = node.key(&Digest::of(content));
        wait_until(Duration::from_secs(120), &format!("{name} is announced"), || {
            let ask = Ask::Peers { key, network: Network::Overlay, traced: false };
            node.ask(ask).into_iter().flatten().any(|event| matches!(event, Event::Peer { .. }))
        });
    }
    let before = mirror.all_seen().len();
    mirror.set_down(true);
    for package in &archive.packages {
        let url = mirror.url(&format!("{BASE}/{}", package.path()));
        let answer = get(wants.address, &url);
        assert!(answer.is_good() && answer.body == package.content, "{}: {}", package.name, answer.status);
    }
    let answer = get(wants.address, &index_url);
    assert!(answer.is_good() && answer.body == index, "the index: {}", answer.status);
    assert_eq!(mirror.all_seen().len(), before);
}
