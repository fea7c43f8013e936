//! Two proxies that have never met: what one has, the other gets of it when the mirror is gone. On loopback, and, each
//! with apt on a machine of its own, found in the three ways that there are.

mod support;

use std::path::Path;
use std::time::Duration;

use apt_p2p::dht::{Ask, Event, Network};
use apt_p2p::digest::{Digest, PIECE_LEN};
use support::archive::{Archive, BASE, Package, SUITE};
use support::client::get;
use support::daemon::Daemon;
use support::internet::{Internet, Machine};
use support::mainline::Mainline;
use support::mirror::Mirror;
use support::netns::{Host, NEEDS, Net};
use support::overlay::first_node;
use support::source::Source;
use support::{Scratch, relay, skip, wait_until};

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

/// Fifty packages, of lengths as they are in Debian: most have one piece, most bytes are in the others.
fn fifty() -> Archive {
    let piece = usize::try_from(PIECE_LEN).expect("small");
    let len = |n: usize| match n {
        0..40 => 10_000 + 9_000 * n,
        40..45 => 2 * piece + 50_000 * n,
        45..49 => (n - 39) * piece + 4321,
        _ => 40 * piece - 77,
    };
    Archive::new((0..50).map(|n| Package::new(&format!("p{n}"), "1.0", len(n))).collect())
}

/// One machine has all fifty; another has only heard of them.
fn prepare(internet: &Internet, has: &Machine, wants: &Machine) {
    has.update();
    internet.install(has, &internet.names());
    wants.update();
}

/// The other installs them while the mirror is unplugged.
fn install_without_a_mirror(internet: &Internet, wants: &Machine) {
    let before = internet.fetched();
    internet.mirror_host.unplug();
    internet.install(wants, &internet.names());
    assert_eq!(internet.fetched(), before);
}

#[test]
fn neighbours_behind_one_router_meet_by_multicast_dns() {
    let Some(internet) = Internet::new(fifty()) else { return };
    let home = internet.net.home(20);
    let flags = ["--share", "internet", "--bootstrap", "none", "--mdns", "on"];
    let Some(has) = internet.machine("has", home.host(2), &flags) else { return };
    let wants = internet.machine("wants", home.host(3), &flags).expect("there was apt");
    prepare(&internet, &has, &wants);
    wants.proxy.wait_for_log(" at 192.168.20.2:9978");
    install_without_a_mirror(&internet, &wants);
}

/// With what two strangers find each other at `entrance`. What they send is not to take its time.
fn sharing(entrance: &str) -> [&str; 6] {
    ["--share", "internet", "--upload-rate", "1G", "--bootstrap", entrance]
}

#[test]
fn strangers_meet_by_a_bootstrap_node() {
    let Some(internet) = Internet::new(fifty()) else { return };
    let Some(first) = internet.machine("first", internet.net.host(1), &sharing("none")) else { return };
    meet_at(&internet, &first.entrance());
}

#[test]
fn strangers_meet_by_the_rendezvous_among_libtorrents_nodes() {
    let Some(internet) = Internet::new(fifty()) else { return };
    let Some(mainline) = Mainline::start(&internet.net.host(100), 100) else { return };
    meet_at(&internet, &mainline.entrance);
}

fn meet_at(internet: &Internet, entrance: &str) {
    let Some(has) = internet.machine("has", internet.net.host(2), &sharing(entrance)) else { return };
    let wants = internet.machine("wants", internet.net.host(3), &sharing(entrance)).expect("there was apt");
    prepare(internet, &has, &wants);
    has.wait_until_announced(internet.archive.packages.len());
    install_without_a_mirror(internet, &wants);
}

/// With nothing installed yet it pulls in more than fifty packages of all sizes.
const INSTALL: [&str; 3] = ["install", "--download-only", "build-essential"];

/// The archive that this machine's apt is configured with, in all three ways at once. A proxy of this machine fetches it;
/// nothing else of the machine's network can be reached.
#[test]
fn the_real_archive_comes_from_one_who_is_met_in_each_way() {
    if std::env::var_os("CI").is_none() {
        return println!("skipped: it needs the network; run with CI=true");
    }
    let Some(source) = Source::of_this_machine() else {
        return skip("an http source with main/binary-amd64 in apt's lists");
    };
    let Some(net) = Net::new() else { return skip(NEEDS) };
    let scratch = Scratch::new();
    let outside = Daemon::start_with(&scratch.path().join("outside"), &[]);
    let mirror = net.host(250);
    relay::start(&mirror, outside.address);
    let upstream = format!("{0}=http://{1}/{0}", source.host(), mirror.ip);
    let start = |name: &str, host: Host, flags: &[&str]| {
        let flags = [flags, &["--share", "internet", "--upload-rate", "1G", "--upstream", &upstream]].concat();
        Machine::start(&scratch, name, host, &source.line(), &flags).expect("this machine has apt")
    };
    let home = net.home(20);
    let first = start("first", net.host(1), &["--bootstrap", "none"]);
    let entrance = first.entrance();
    let Some(mainline) = Mainline::start(&net.host(100), 100) else { return };
    let by_mdns = ["--bootstrap", "none", "--mdns", "on"];
    let by_bootstrap = ["--bootstrap", &entrance];
    let by_rendezvous = ["--bootstrap", &mainline.entrance, "--network", "another"];
    let pairs = [
        [start("a", home.host(2), &by_mdns), start("b", home.host(3), &by_mdns)],
        [start("c", net.host(2), &by_bootstrap), start("d", net.host(3), &by_bootstrap)],
        [start("e", net.host(4), &by_rendezvous), start("f", net.host(5), &by_rendezvous)],
    ];
    for [has, wants] in &pairs {
        has.update();
        has.run(&INSTALL).expect("the first one installs");
        wants.update();
    }
    pairs[0][1].proxy.wait_for_log(" at 192.168.20.2:9978");
    for [has, _] in &pairs[1..] {
        has.wait_until_announced(has.apt.packages().len());
    }
    mirror.unplug();
    for [has, wants] in &pairs {
        wants.run(&INSTALL).expect("the second one installs");
        let packages = wants.apt.packages();
        assert!(packages.len() >= 50, "{} packages are too few", packages.len());
        assert_eq!(packages, has.apt.packages());
        println!("{}: {} packages without a mirror", wants.host.ip, packages.len());
    }
}
