//! Two proxies that are neighbours by name: they act as one towards the mirror.

mod support;

use std::path::Path;
use std::time::Duration;

use apt_p2p::digest::Digest;
use apt_p2p::limits::TRIAL_PAUSE;
use support::archive::{Archive, BASE, Package, SUITE};
use support::client::{Client, get};
use support::daemon::Daemon;
use support::mirror::{Fault, Mirror};
use support::{Scratch, wait_until};

/// A mirror of an archive that has this package, and where the package is.
fn mirror_of(package: &Package) -> (Mirror, String) {
    let mirror = Mirror::start();
    Archive::new(vec![package.clone()]).publish(&mirror, None);
    (mirror, format!("{BASE}/{}", package.path()))
}

/// A proxy that shares with those named.
fn started(cache: &Path, mirror: &Mirror, neighbours: &[&str], more: &[&str]) -> Daemon {
    let public = format!("{}{BASE}", mirror.address);
    let mut flags = vec!["--share", "lan", "--prefer", "offload"];
    if !more.contains(&"--peer-listen") {
        flags.extend(["--peer-listen", "127.0.0.1:0"]);
    }
    flags.extend(["--public", &public, "--allow-upstream", "127.0.0.0/8"]);
    neighbours.iter().for_each(|neighbour| flags.extend(["--neighbour", neighbour]));
    flags.extend(more);
    Daemon::start_with(cache, &flags)
}

/// The same, when it has learnt what the mirror has.
fn named(cache: &Path, mirror: &Mirror, neighbours: &[&str], more: &[&str]) -> Daemon {
    let daemon = started(cache, mirror, neighbours, more);
    for name in ["InRelease", "main/binary-amd64/Packages"] {
        assert!(get(daemon.address, &mirror.url(&format!("{SUITE}/{name}"))).is_good(), "{name}");
    }
    daemon.wait_for_log("learnt ");
    daemon
}

/// Where it serves its neighbours.
fn peer_edge(daemon: &Daemon) -> String {
    let line = daemon.log().into_iter().find(|line| line.contains("peers are served at")).expect("it shares");
    line.split("served at ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address").to_owned()
}

#[test]
fn of_two_that_want_the_same_file_one_fetches_it_and_the_other_follows() {
    follows(&Scratch::new(), &[]);
}

#[test]
fn neighbours_with_a_secret_follow_each_other_too() {
    let scratch = Scratch::new();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "of sixteen bytes or more").expect("a scratch file");
    follows(&scratch, &["--secret", secret.to_str().expect("a plain path")]);
}

fn follows(scratch: &Scratch, flags: &[&str]) {
    let package = Package::new("large", "1", 6_000_000);
    let (mirror, path) = mirror_of(&package);
    let first = named(&scratch.path().join("first"), &mirror, &[], flags);
    let second = named(&scratch.path().join("second"), &mirror, &[&peer_edge(&first)], flags);
    // The mirror takes longer than anybody waits for a neighbour that gives nothing, until the second has what the first has.
    mirror.set_rate(500_000);
    let mut clients = [&first, &second].map(|daemon| Client::connect(daemon.address));
    clients[0].ask("GET", &mirror.url(&path), &[]);
    wait_until(Duration::from_secs(20), "the first gets bytes", || mirror.sent(&path) >= 2_000_000);
    clients[1].ask("GET", &mirror.url(&path), &[]);
    let draft = second.cache.join("drafts").join(format!("{}.part", Digest::of(&package.content)));
    wait_until(Duration::from_secs(20), "the second follows", || {
        std::fs::metadata(&draft).is_ok_and(|file| file.len() > 2_000_000)
    });
    assert!(mirror.sent(&path) < 6_000_000, "it came when the first had all");
    mirror.set_rate(0);
    for client in &mut clients {
        assert!(client.read("GET").body == package.content);
    }
    assert_eq!(mirror.seen(&path).len(), 1);
}

#[test]
fn a_neighbour_that_was_away_gives_what_the_mirror_refuses() {
    let (scratch, package) = (Scratch::new(), Package::new("stored", "1", 40_000));
    let (mirror, path) = mirror_of(&package);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    // Nobody else comes to listen there while it is away.
    let edge = format!("127.77.{high}.{low}:9978");
    let (cache, flags) = (scratch.path().join("neighbour"), ["--peer-listen", &edge]);
    let neighbour = named(&cache, &mirror, &[], &flags);
    assert!(get(neighbour.address, &mirror.url(&path)).is_good());
    neighbour.wait_until_recorded(&package.digest());
    assert_eq!(neighbour.terminate(), Some(0));
    // It is asked for the index, and rests for longer than anybody waits for it.
    let first = named(&scratch.path().join("first"), &mirror, &[&edge], &[]);
    std::thread::sleep(TRIAL_PAUSE);
    let neighbour = started(&cache, &mirror, &[], &flags);
    mirror.fault(&path, Fault::Status(503));
    let answer = get(first.address, &mirror.url(&path));
    assert!(answer.is_good() && answer.body == package.content, "{}: {:?}", answer.status, first.log());
    assert_eq!(neighbour.terminate(), Some(0));
}

#[test]
fn what_was_stored_before_its_archive_was_public_is_shared_later() {
    let (scratch, package) = (Scratch::new(), Package::new("early", "1", 40_000));
    let (mirror, path) = mirror_of(&package);
    let cache = scratch.path().join("cache");
    let shared = |daemon: &Daemon| {
        let edge = peer_edge(daemon).parse().expect("an address");
        get(edge, &format!("/~/{}", package.digest())).status
    };
    let mut flags = vec!["--share", "lan", "--peer-listen", "127.0.0.1:0", "--allow-upstream", "127.0.0.0/8"];
    let daemon = Daemon::start_with(&cache, &flags);
    for name in ["InRelease", "main/binary-amd64/Packages"] {
        assert!(get(daemon.address, &mirror.url(&format!("{SUITE}/{name}"))).is_good(), "{name}");
    }
    daemon.wait_for_log("learnt ");
    assert!(get(daemon.address, &mirror.url(&path)).is_good());
    daemon.wait_until_recorded(&package.digest());
    assert_eq!(shared(&daemon), 404);
    assert_eq!(daemon.terminate(), Some(0));
    let public = format!("{}{BASE}", mirror.address);
    flags.extend(["--public", &public]);
    let daemon = Daemon::start_with(&cache, &flags);
    assert!(get(daemon.address, &mirror.url(&format!("{SUITE}/InRelease"))).is_good());
    wait_until(Duration::from_secs(30), "it is shared", || shared(&daemon) == 200);
}
