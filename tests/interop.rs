//! Our DHT beside one that we did not write: the crate `mainline`, in one network on loopback.

#![allow(clippy::disallowed_methods, reason = "a test starts threads and reads clocks")]

#[path = "support/nodes.rs"]
mod nodes;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::dht::{Ask, Config, Family, Input, Mainline, Network, NodeId, Reach, item_target};
use nodes::Nodes;

const OURS: usize = 4;
const THEIRS: usize = 6;
const LIMIT: Duration = Duration::from_secs(20);

/// Which of ours announce a port of their own.
fn has_port(node: usize) -> bool {
    node < OURS / 2
}

/// Ours, to which theirs are told to go, and theirs.
fn network(seed: u8) -> (Nodes, Vec<mainline::Dht>) {
    let config = |n: u8| Config {
        mainline: Mainline::Serve,
        families: vec![Family::V4],
        is_private: true,
        is_mainline_private: true,
        reach: Some(Reach::Open),
        // It answers no others.
        tx_len: 2,
        // The others announce the port that they send from.
        port: has_port(usize::from(n)).then_some(20_000 + u16::from(n)),
        ..Config::new([seed + n; 32])
    };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut nodes = Nodes::bind((0..OURS).map(|n| (loopback, config(u8::try_from(n).expect("few")))));
    let addresses = nodes.addresses();
    nodes.enter(addresses[0]);
    let theirs: Vec<mainline::Dht> = (0..THEIRS)
        .map(|n| {
            let mut builder = mainline::Dht::builder();
            builder.server_mode().port(0).bootstrap(&[addresses[n % OURS]]);
            builder.build().expect("a socket")
        })
        .collect();
    let end = Instant::now() + LIMIT;
    for dht in &theirs {
        while !meanwhile(&mut nodes, || dht.bootstrapped()) {
            assert!(Instant::now() < end, "it joins by our nodes");
        }
    }
    for dht in &theirs {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, dht.info().local_addr().port()));
        for node in 0..OURS {
            nodes.input(node, Input::Known(Network::Mainline, address));
        }
    }
    while (0..OURS).any(|node| nodes.status(node).contacts < OURS + THEIRS - 1) {
        assert!(Instant::now() < end, "ours know all others");
        nodes.turn(Duration::from_millis(100));
    }
    (nodes, theirs)
}

/// Lets our nodes act while something waits for theirs.
fn meanwhile<T: Send>(nodes: &mut Nodes, call: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let call = scope.spawn(call);
        while !call.is_finished() {
            nodes.turn(Duration::from_millis(10));
        }
        call.join().expect("the call returns")
    })
}

fn their_id(id: NodeId) -> mainline::Id {
    mainline::Id::from_bytes(id.0).expect("20 bytes")
}

/// Who has it, in the eyes of one of theirs.
fn found_by(dht: &mainline::Dht, key: NodeId) -> Vec<SocketAddrV4> {
    dht.get_peers(their_id(key)).flatten().collect()
}

#[test]
fn announcements_are_found_by_both() {
    let (mut nodes, theirs) = network(10);
    for (n, dht) in theirs.iter().enumerate() {
        let key = NodeId([u8::try_from(n).expect("few") * 40 + 1; 20]);
        let port = 30_000 + u16::try_from(n).expect("few");
        meanwhile(&mut nodes, || dht.announce_peer(their_id(key), Some(port)).expect("announced"));
        for node in 0..OURS {
            let asked = nodes.peers(node, key, LIMIT);
            assert_eq!(asked.peers, [SocketAddr::from((Ipv4Addr::LOCALHOST, port))], "{n} is found by {node}");
        }
    }
    for node in 0..OURS {
        let key = NodeId([u8::try_from(node).expect("few") * 60 + 2; 20]);
        let announced = nodes.ask(node, Ask::Announce { key, network: Network::Mainline, hint: None }, LIMIT);
        assert!(announced.summary.stored >= 8, "{announced:?}");
        let own = nodes.addresses()[node].port();
        let port = if has_port(node) { 20_000 + u16::try_from(node).expect("few") } else { own };
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        for dht in &theirs {
            let found = meanwhile(&mut nodes, || found_by(dht, key));
            assert!(!found.is_empty() && found.iter().all(|it| *it == peer), "{node}: {found:?}");
        }
    }
    let nobody = nodes.peers(0, NodeId([0xee; 20]), LIMIT);
    assert!(nobody.peers.is_empty() && nobody.done_ms.is_some(), "{nobody:?}");
}

#[test]
fn immutable_items_are_found_by_both() {
    let (mut nodes, theirs) = network(60);
    // The longest value there is: 996 bytes, 1,000 with their length (BEP 44).
    let value = [b'x'; 996];
    let target = meanwhile(&mut nodes, || theirs[0].put_immutable(&value).expect("kept"));
    let item = [&b"996:"[..], &value].concat();
    assert_eq!(their_id(item_target(&item)), target);
    for node in 0..OURS {
        let asked = nodes.ask(node, Ask::Item { target: item_target(&item), network: Network::Mainline }, LIMIT);
        assert_eq!(asked.item.as_ref(), Some(&item));
    }
    let item = b"5:tiny!".to_vec();
    let put = nodes.ask(1, Ask::Put { item: item.clone(), network: Network::Mainline }, LIMIT);
    assert!(put.summary.stored >= 8, "{put:?}");
    for dht in &theirs {
        let found = meanwhile(&mut nodes, || dht.get_immutable(their_id(item_target(&item))));
        assert_eq!(found.as_deref(), Some(&b"tiny!"[..]));
    }
}
