//! The DHT's loop over real sockets of this machine: several nodes in this process, and the program itself.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use apt_p2p::daemon::{Answers, DhtHandle, DhtOptions, run_dht};
use apt_p2p::dht::{Ask, Config, Event, Hint, Mainline, Network, NodeId, Reach, Summary};
use apt_p2p::digest::Digest;
use apt_p2p::limits::{DHT_ASKS, LOOKUPS};
use crossbeam_channel::RecvTimeoutError;
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::overlay::report;
use support::{Scratch, noise, skip, wait_until};

const LONG: Duration = Duration::from_secs(20);

fn config(seed: u8) -> Config {
    Config {
        network: "test".into(),
        mainline: Mainline::Off,
        is_private: true,
        reach: Some(Reach::Open),
        ..Config::new([seed; 32])
    }
}

fn options(ip: &str, seed: u8, bootstrap: Option<SocketAddr>) -> DhtOptions {
    let listen = SocketAddr::new(ip.parse().expect("an address"), 0);
    let bootstrap = bootstrap.iter().map(SocketAddr::to_string).collect();
    DhtOptions { bootstrap, ..DhtOptions::new(config(seed), listen) }
}

fn node(ip: &str, seed: u8, bootstrap: Option<SocketAddr>) -> DhtHandle {
    run_dht(options(ip, seed, bootstrap)).expect("loopback")
}

fn address(node: &DhtHandle) -> SocketAddr {
    node.addresses()[0]
}

fn wait_for_contacts(node: &DhtHandle, count: usize) {
    wait_until(LONG, &format!("{count} contacts"), || report(node).nodes[0].contacts >= count);
}

fn peers(key: NodeId) -> Ask {
    Ask::Peers { key, network: Network::Overlay, traced: false }
}

/// An ask that lasts until a silent contact is given up, after ten seconds.
fn lasting() -> Ask {
    Ask::Announce { key: NodeId([9; 20]), network: Network::Overlay, hint: None }
}

fn summary(mut answers: Answers) -> Summary {
    let done = answers.find_map(|event| match event {
        Event::Done { summary, .. } => Some(summary),
        _ => None,
    });
    done.expect("an end")
}

/// A node whose only contact has fallen silent.
fn lonely_node(ip: &str, seed: u8) -> DhtHandle {
    let friend = node(ip, seed, None);
    let lonely = node(ip, seed + 1, Some(address(&friend)));
    wait_for_contacts(&lonely, 1);
    assert!(friend.stop());
    lonely
}

#[test]
fn what_one_announces_all_others_find() {
    let first = node("127.0.0.11", 1, None);
    let mut nodes: Vec<DhtHandle> =
        (2..=6).map(|n| node(&format!("127.0.0.{}", 10 + n), n, Some(address(&first)))).collect();
    nodes.insert(0, first);
    nodes.iter().for_each(|node| wait_for_contacts(node, 3));
    let digest = Digest::of(b"a package");
    let (key, hint) = (nodes[3].key(&digest), Hint::new(&[7; 64]).expect("two pieces"));
    nodes[3].announce(key, Some(hint.clone()));
    wait_until(LONG, "it is announced", || report(&nodes[3]).traffic.announced == 1);
    for (n, node) in nodes.iter().enumerate().filter(|(n, _)| *n != 3) {
        let found: Vec<Event> = node.ask(peers(key)).expect("room").collect();
        let has = |wanted: &dyn Fn(&Event) -> bool| found.iter().any(wanted);
        assert!(
            has(&|e| matches!(e, Event::Peer { peer, .. } if *peer == address(&nodes[3]))),
            "node {n}: {found:?}"
        );
        assert!(has(&|e| matches!(e, Event::Hint { hint: told, .. } if *told == hint)), "node {n}: {found:?}");
        assert!(matches!(found.last(), Some(Event::Done { .. })), "node {n}: {found:?}");
    }
    nodes[3].withdraw(key);
    wait_until(LONG, "it is withdrawn", || report(&nodes[3]).traffic.own == 0);
    let report = report(&nodes[0]);
    assert!(report.datagrams.received > 0 && report.datagrams.sent > 0 && report.datagrams.refused == 0);
    assert!(report.datagrams.bytes_sent > report.datagrams.sent * 50, "{report:?}");
}

#[test]
fn nodes_find_each_other_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return skip("IPv6 on loopback");
    }
    let first = node("::1", 20, None);
    let second = node("::1", 21, Some(address(&first)));
    wait_for_contacts(&second, 1);
    wait_for_contacts(&first, 1);
    let key = NodeId([5; 20]);
    let announced = first.ask(Ask::Announce { key, network: Network::Overlay, hint: None }).expect("room");
    assert_eq!(summary(announced).stored, 1);
    let found: Vec<Event> = second.ask(peers(key)).expect("room").collect();
    // The record lies at the second node itself, which is asked by the first.
    assert!(matches!(found.last(), Some(Event::Done { .. })), "{found:?}");
    let third = node("::1", 22, Some(address(&first)));
    wait_for_contacts(&third, 2);
    let found: Vec<Event> = third.ask(peers(key)).expect("room").collect();
    assert!(
        found.iter().any(|event| matches!(event, Event::Peer { peer, .. } if *peer == address(&first))),
        "{found:?}"
    );
}

#[test]
fn one_port_serves_both_families_and_keeps_them_apart() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return skip("IPv6 on loopback");
    }
    let both = node("::", 23, None);
    let [v6, v4] = both.addresses() else { panic!("{:?}", both.addresses()) };
    assert!(v6.is_ipv6() && v4.is_ipv4());
    let old = node("127.0.0.23", 24, Some(SocketAddr::from(([127, 0, 0, 1], v4.port()))));
    let new = node("::1", 25, Some(format!("[::1]:{}", v6.port()).parse().expect("an address")));
    wait_for_contacts(&old, 1);
    wait_for_contacts(&new, 1);
    wait_until(LONG, "a contact in each family", || report(&both).nodes.iter().all(|node| node.contacts == 1));
}

#[test]
fn who_drops_his_answers_cancels_the_ask() {
    let node = lonely_node("127.0.0.31", 30);
    let ask = || node.ask(lasting()).expect("room in the queue");
    let mut all = Vec::new();
    for _ in 0..LOOKUPS.min(DHT_ASKS) {
        all.push(ask());
        // The queue must not fill before the loop has its turn.
        report(&node);
    }
    assert_eq!(report(&node).asks, all.len());
    let refused = ask().next_within(LONG);
    assert_eq!(refused, Err(RecvTimeoutError::Disconnected), "all places are taken");
    drop(all);
    wait_until(Duration::from_secs(5), "they are cancelled", || report(&node).asks == 0);
    let mut answers = ask();
    let waits = answers.next_within(Duration::from_millis(300));
    assert_eq!(waits, Err(RecvTimeoutError::Timeout), "there is room for a lookup again");
    assert_eq!(summary(answers).answers, 0);
}

#[test]
fn an_asker_who_does_not_read_gets_the_end_nevertheless() {
    let node = lonely_node("127.0.0.32", 40);
    let answers = node.ask(lasting()).expect("room");
    wait_until(LONG, "it is over", || report(&node).asks == 0);
    assert_eq!(answers.receiver().len(), 1);
    // Who is to keep an announcement is asked once more.
    assert_eq!(summary(answers).queries, 2);
}

#[test]
fn contacts_are_saved_and_used_at_the_next_start() {
    let scratch = Scratch::new();
    let file = scratch.path().join("contacts");
    let friend = node("127.0.0.41", 50, None);
    let with_file = |seed, bootstrap| {
        let options = DhtOptions { contacts: Some(file.clone()), ..options("127.0.0.42", seed, bootstrap) };
        run_dht(options).expect("loopback")
    };
    let node = with_file(51, Some(address(&friend)));
    wait_for_contacts(&node, 1);
    assert!(node.stop());
    assert!(node.ask(lasting()).is_none() && node.report().is_none(), "it has ended");
    let text = std::fs::read_to_string(&file).expect("the file is there");
    assert_eq!(text, format!("apt-p2p contacts 1\nnetwork test\noverlay {}\n", address(&friend)));

    let node = with_file(52, None);
    assert_eq!(report(&node).contacts_saved, 1);
    wait_for_contacts(&node, 1);
    assert!(node.stop());
    std::fs::write(&file, "overlay 1.2.3.4").expect("a scratch file");
    let node = with_file(53, Some(address(&friend)));
    assert_eq!(report(&node).contacts_saved, 0, "a damaged file is ignored");
    wait_for_contacts(&node, 1);
    drop(node);
    wait_until(LONG, "the last handle ends it, and the file is whole", || {
        std::fs::read_to_string(&file).is_ok_and(|now| now == text)
    });
}

#[test]
fn a_dial_reaches_who_asked_and_says_nothing() {
    let first = node("127.0.0.51", 60, None);
    let second = node("127.0.0.52", 61, Some(address(&first)));
    let third = node("127.0.0.53", 62, Some(address(&first)));
    wait_for_contacts(&second, 2);
    let dialled = |node: &DhtHandle, port| {
        let events: Vec<Event> = node.ask(Ask::Dial { port }).expect("room").collect();
        match events.as_slice() {
            [Event::Dialled { reached, .. }] => *reached,
            other => panic!("{other:?}"),
        }
    };
    let listener = TcpListener::bind("127.0.0.52:0").expect("loopback");
    assert!(dialled(&second, listener.local_addr().expect("bound").port()));
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("closed in order");
    assert_eq!(said, b"");
    wait_for_contacts(&third, 2);
    let unused = TcpListener::bind("127.0.0.53:0").expect("loopback").local_addr().expect("bound").port();
    assert!(!dialled(&third, unused));
}

#[test]
fn a_flood_of_garbage_leaves_room_for_a_lookup() {
    let first = node("127.0.0.61", 70, None);
    let second = node("127.0.0.62", 71, Some(address(&first)));
    wait_for_contacts(&second, 1);
    let key = NodeId([3; 20]);
    let to = address(&second);
    let flooding = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.63:0").expect("loopback");
        let garbage = noise(64 * 1024, 1);
        let (start, mut sent) = (Instant::now(), 0_usize);
        while start.elapsed() < Duration::from_secs(2) {
            let at = (sent * 97) % (garbage.len() - 300);
            socket.send_to(&garbage[at..at + 1 + sent % 300], to).ok();
            sent += 1;
            // 10,000 a second: what a build without optimisation reads on a busy machine.
            if sent.is_multiple_of(20) {
                std::thread::sleep(Duration::from_millis(2).saturating_sub(Duration::from_micros(100)));
            }
        }
        sent
    });
    let (mut ended, mut answered) = (0, 0);
    while !flooding.is_finished() {
        ended += 1;
        answered += summary(second.ask(peers(key)).expect("room")).answers;
    }
    let sent = flooding.join().expect("no panic");
    assert!(sent > 2000 && ended >= 2 && answered >= 1, "{sent} sent, {ended} lookups, {answered} answers");
    let report = report(&second);
    assert!(report.asks == 0 && report.datagrams.received > 1000, "{report:?}");
}

/// The program, sharing with nodes on loopback alone.
fn sharing(cache: &Path, listen: &str, bootstrap: &str) -> Daemon {
    let flags = ["--share", "internet", "--network", "test", "--mainline", "off", "--peer-listen", listen];
    Daemon::try_start(cache, &[&flags[..], &["--bootstrap", bootstrap]].concat(), Command::new(BINARY))
        .expect("the program starts")
}

#[test]
fn the_program_joins_and_leaves_with_its_contacts_saved() {
    let first = node("127.0.0.1", 80, None);
    // A disk that is busy may hold one of them up.
    let is_quick = (0..3).any(|_| {
        let scratch = Scratch::new();
        let daemon = sharing(scratch.path(), "127.0.0.71:0", &address(&first).to_string());
        daemon.wait_for_log("part of the network test at 127.0.0.71:");
        assert!(daemon.log().iter().any(|line| line.contains("--share off")));
        wait_for_contacts(&first, 1);
        daemon.wait_for_log("others see this machine as 127.0.0.71:");
        let start = Instant::now();
        assert_eq!(daemon.terminate(), Some(0));
        let took = start.elapsed();
        let saved = std::fs::read_to_string(scratch.path().join("contacts")).expect("contacts");
        assert!(saved.contains(&format!("overlay {}\n", address(&first))), "{saved}");
        took < Duration::from_secs(2)
    });
    assert!(is_quick, "it takes two seconds to end");
}

#[test]
fn a_port_in_use_is_told_and_the_proxy_runs() {
    let scratch = Scratch::new();
    let taken = UdpSocket::bind("127.0.0.72:0").expect("loopback");
    let port = taken.local_addr().expect("bound").to_string();
    let daemon = sharing(scratch.path(), &port, "none");
    daemon.wait_for_log("is in use, so nothing is shared");
    let told =
        daemon.log().into_iter().filter(|line| line.contains(&port) && line.starts_with("error")).collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains("--peer-listen"), "{told:?}");
    assert_eq!(get(daemon.address, "/").status, 406);
    assert_eq!(daemon.terminate(), Some(0));
}
