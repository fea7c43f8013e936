//! What others get of a node, and what they do not.

use super::*;

#[test]
fn an_announced_peer_is_given_out_with_its_hint() {
    let mut bench = Bench::new(config());
    let key = NodeId([1; 20]);
    let token = bench.token(at(1));
    let hint = Hint::new(&[5; 32]);
    bench.query(at(1), Query::AnnouncePeer { key, port: Some(9978), token, hint: hint.clone() });
    bench.reply(at(1));
    bench.query(at(2), Query::GetPeers { key, want: Want::default() });
    let reply = bench.reply(at(2));
    assert_eq!(reply.values, [SocketAddr::new(at(1).ip(), 9978)]);
    assert_eq!(reply.hints, Vec::from_iter(hint));
}

#[test]
fn announcements_need_a_token_of_their_own_address_and_a_port_that_is_no_service() {
    let mut bench = Bench::new(config());
    let token = bench.token(at(1));
    let announce =
        |token: &[u8], port| Query::AnnouncePeer { key: NodeId([1; 20]), port, token: token.to_vec(), hint: None };
    bench.query(at(2), announce(&token, Some(9978)));
    assert_eq!(bench.refusal(at(2)), 203);
    bench.query(at(1), announce(&token, Some(25)));
    assert_eq!(bench.refusal(at(1)), 203);
    bench.query(at(1), announce(&token, None));
    bench.reply(at(1));
}

#[test]
fn items_are_kept_by_their_hash_and_refused_by_bep_44s_numbers() {
    let mut bench = Bench::new(config());
    let token = bench.token(at(1));
    let put = |item: &[u8]| Query::Put { token: token.clone(), item: item.to_vec(), is_mutable: false };
    bench.query(at(1), put(b"5:hello"));
    bench.reply(at(1));
    let mutable = [
        &b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa1:k32:"[..],
        &[1; 32],
        b"5:token0:1:v1:xe1:n7:apt-p2p1:q3:put1:t1:x1:y1:qe",
    ];
    bench.input(Input::Datagram { from: at(1), bytes: &mutable.concat() });
    assert_eq!(bench.refusal(at(1)), 204);
    let big = [&b"1000:"[..], &[b'x'; 1000]].concat();
    bench.query(at(1), put(&big));
    assert_eq!(bench.refusal(at(1)), 205);
    bench.query(at(2), Query::Get { target: item_target(b"5:hello"), want: Want::default() });
    assert_eq!(bench.reply(at(2)).item.as_deref(), Some(&b"5:hello"[..]));
}

#[test]
fn the_sender_is_told_its_address_and_its_transaction_whatever_its_length() {
    let mut bench = Bench::new(config());
    for tx in [&b""[..], b"a", b"four", b"a much longer transaction id than usual"] {
        bench.message(at(3), Some("apt-p2p"), tx, Body::Query { id: NodeId([3; 20]), query: Query::Ping });
        let (to, message, _) =
            bench.sent.iter().find(|(_, it, _)| matches!(it.body, Body::Reply(_))).expect("a reply");
        assert_eq!((*to, message.seen_as, message.tx.as_slice()), (at(3), Some(at(3)), tx));
        bench.sent.clear();
    }
}

#[test]
fn another_network_is_not_answered_and_unknown_methods_with_a_target_are() {
    let mut bench = Bench::new(config());
    bench.message(at(1), Some("other"), b"tx", Body::Query { id: NodeId([3; 20]), query: Query::Ping });
    bench.message(at(1), None, b"tx", Body::Query { id: NodeId([3; 20]), query: Query::Ping });
    assert!(bench.sent.is_empty());
    bench.query(at(1), Query::Unknown { target: Some(NodeId([9; 20])) });
    bench.reply(at(1));
    bench.query(at(2), Query::Unknown { target: None });
    assert_eq!(bench.refusal(at(2)), 204);
}

#[test]
fn only_the_askers_own_address_is_dialled_and_seldom() {
    let mut bench = Bench::new(config());
    let token = bench.token(at(1));
    let len = bench.query(at(1), Query::Dial { port: 9978, token: token.clone() });
    let target = SocketAddr::new(at(1).ip(), 9978);
    let dial = Event::Dial { target, from: at(1), tx: b"tx".to_vec(), len };
    assert_eq!(bench.events, [dial]);
    bench.input(Input::Dialled { from: at(1), tx: b"tx".to_vec(), len, reached: true });
    assert_eq!(bench.reply(at(1)).dialled, Some(true));
    bench.query(at(1), Query::Dial { port: 9978, token: token.clone() });
    assert_eq!(bench.events.len(), 1, "once a minute");
    bench.query(at(1), Query::Dial { port: 22, token: token.clone() });
    assert_eq!(bench.refusal(at(1)), 203);
    bench.query(at(2), Query::Dial { port: 9978, token });
    assert_eq!(bench.refusal(at(2)), 203);
}

#[test]
fn a_flood_gets_no_more_than_its_share() {
    let mut bench = Bench::new(config());
    for n in 0..30_u8 {
        bench.query(SocketAddr::from(([203, 1, n, 1], 5000)), Query::Ping);
    }
    bench.sent.clear();
    let mut received = 0;
    let mut total = 0;
    for n in 0..5000_u32 {
        let from = SocketAddr::from((std::net::Ipv4Addr::from(0x5000_0000 + n * 777), 5000));
        received += bench.query(from, Query::GetPeers { key: NodeId([1; 20]), want: Want { v4: true, v6: true } });
        total += bench.sent.drain(..).filter(|(to, ..)| *to == from).map(|(.., len)| len).sum::<usize>();
    }
    assert!(total <= 4 * received + 320 * 1024, "{total} for {received}");
    for _ in 0..1000 {
        bench.query(at(9), Query::Ping);
    }
    assert_eq!(bench.taken(at(9)).iter().filter(|body| matches!(body, Body::Reply(_))).count() as u64, QUERY_BURST);
}

#[test]
fn garbage_is_ignored() {
    let mut bench = Bench::new(config());
    let mut rng = Rng::new([9; 32]);
    for n in 0..2000_usize {
        let bytes: Vec<u8> = (0..n % 200).map(|_| rng.bytes::<1>()[0]).collect();
        bench.input(Input::Datagram { from: at(1), bytes: &bytes });
    }
    bench.pass(Duration::from_secs(1));
    assert!(bench.sent.is_empty() && bench.events.is_empty());
}

#[test]
fn nobody_makes_us_send_more_than_a_datagram() {
    let mut bench = Bench::new(config());
    let id = belonging(at(2), 1);
    bench.input(Input::Entrance(at(2)));
    answer_last(&mut bench, at(2), Reply::from(id));
    let item = [&b"996:"[..], &[b'x'; 996]].concat();
    for (ask, token, stored) in [(1, vec![1; 700], 0), (2, vec![1; crate::limits::TOKEN_LEN], 1)] {
        bench.sent.clear();
        bench.input(Input::Ask { ask: AskId(ask), what: Ask::Put { item: item.clone(), network: Network::Overlay } });
        answer_last(&mut bench, at(2), Reply { token: Some(token), ..Reply::from(id) });
        assert!(bench.sent.iter().all(|(.., len)| *len <= crate::limits::DATAGRAM_LEN));
        let puts = bench.taken(at(2)).into_iter();
        let puts = puts.filter(|body| matches!(body, Body::Query { query: Query::Put { .. }, .. })).count();
        assert_eq!(puts, stored);
    }
    let item = [&b"997:"[..], &[b'x'; 997]].concat();
    bench.sent.clear();
    bench.input(Input::Ask { ask: AskId(3), what: Ask::Put { item, network: Network::Overlay } });
    assert!(bench.events.contains(&Event::Done { ask: AskId(3), summary: Summary::default() }));
    assert!(bench.taken(at(2)).is_empty(), "an item that nobody would keep");
}

#[test]
fn a_private_peer_is_not_given_out_in_a_public_network() {
    for (is_private, kept) in [(false, 0), (true, 1)] {
        let mut bench = Bench::new(Config { is_private, ..config() });
        let near = SocketAddr::from(([192, 168, 1, 2], 5000));
        let token = bench.token(near);
        let key = NodeId([1; 20]);
        bench.query(near, Query::AnnouncePeer { key, port: Some(9978), token, hint: None });
        assert_eq!(bench.dht.status()[0].records, kept);
    }
}
