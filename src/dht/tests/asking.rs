//! Lookups and announcements: whom a node asks, and what it makes of the answers.

use super::*;

#[test]
fn what_a_node_keeps_for_others_it_finds_itself() {
    let mut bench = Bench::new(config());
    let (key, item) = (NodeId([1; 20]), b"4:item".to_vec());
    let token = bench.token(at(1));
    let hint = Hint::new(&[5; 32]).expect("short");
    bench.query(at(1), Query::AnnouncePeer { key, port: Some(9978), token: token.clone(), hint: Some(hint.clone()) });
    bench.query(at(1), Query::Put { token, item: item.clone(), is_mutable: false });
    let ask = AskId(1);
    bench.input(Input::Ask { ask, what: Ask::Peers { key, network: Network::Overlay, traced: false } });
    assert!(bench.events.contains(&Event::Peer { ask, peer: SocketAddr::new(at(1).ip(), 9978) }));
    assert!(bench.events.contains(&Event::Hint { ask, hint }));
    let (ask, target) = (AskId(2), item_target(&item));
    bench.input(Input::Ask { ask, what: Ask::Item { target, network: Network::Overlay } });
    assert!(bench.events.contains(&Event::Item { ask, item }));
}

#[test]
fn an_id_that_a_contact_had_before_is_not_believed() {
    let mut bench = Bench::new(Config { mainline: Mainline::Serve, ..config() });
    for n in 1..=17 {
        bench.input(Input::Known(Network::Mainline, at(n)));
        bench.answer(at(n), Reply::from(NodeId([n; 20])));
    }
    bench.sent.clear();
    let what = Ask::Peers { key: NodeId([0; 20]), network: Network::Mainline, traced: false };
    bench.input(Input::Ask { ask: AskId(1), what });
    assert_eq!(bench.sent.len(), LOOKUP_WIDTH + LOOKUP_AHEAD);
    let former = Contact { id: NodeId([0; 20]), address: at(17) };
    bench.answer(at(1), Reply { nodes: vec![former], ..Reply::from(NodeId([1; 20])) });
    assert!(bench.taken(at(17)).is_empty());
    let near = Contact { id: NodeId([0; 20]), address: at(18) };
    bench.answer(at(2), Reply { nodes: vec![near], ..Reply::from(NodeId([2; 20])) });
    assert_eq!(bench.taken(at(18)).len(), 1);
}

#[test]
fn a_private_entrance_opens_the_overlay_alone() {
    for (is_mainline_private, asked) in [(false, 0), (true, 1)] {
        let mut bench =
            Bench::new(Config { mainline: Mainline::Serve, is_private: true, is_mainline_private, ..config() });
        bench.input(Input::Known(Network::Mainline, at(1)));
        let near = |n| SocketAddr::from(([192, 168, 1, n], 5000));
        let (id, named) = (NodeId([1; 20]), Contact { id: NodeId([2; 20]), address: near(2) });
        bench.answer(at(1), Reply { nodes: vec![named], ..Reply::from(id) });
        assert_eq!(bench.taken(near(2)).len(), asked, "whom mainline names");
        bench.query(near(4), Query::Ping);
        bench.reply(near(4));
        bench.input(Input::Entrance(near(3)));
        let asked_there = bench.sent.iter().filter(|(to, ..)| *to == near(3));
        let (overlay, mainline): (Vec<_>, Vec<_>) =
            asked_there.partition(|(_, message, _)| message.network.is_some());
        assert_eq!((overlay.len(), mainline.len()), (1, asked));
    }
}

#[test]
fn a_lookup_among_nobody_ends_at_once() {
    let mut bench = Bench::new(config());
    let what = Ask::Peers { key: NodeId([1; 20]), network: Network::Overlay, traced: false };
    bench.input(Input::Ask { ask: AskId(1), what: what.clone() });
    assert_eq!(bench.events, [Event::Done { ask: AskId(1), summary: Summary::default() }]);
    bench.input(Input::Ask { ask: AskId(2), what: Ask::Dial { port: 9978 } });
    assert!(bench.events.contains(&Event::Done { ask: AskId(2), summary: Summary::default() }), "nobody could dial");
    bench.input(Input::Ask { ask: AskId(3), what });
    bench.input(Input::Cancel(AskId(3)));
}

#[test]
fn eight_keep_an_announcement_though_one_is_silent_and_one_refuses() {
    let mut bench = Bench::new(Config { mainline: Mainline::Serve, ..config() });
    let reply = |n: u8| Reply { token: Some(vec![n]), ..Reply::from(NodeId([n; 20])) };
    for n in 1..=14 {
        bench.input(Input::Known(Network::Mainline, at(n)));
        bench.answer(at(n), Reply::from(NodeId([n; 20])));
    }
    bench.sent.clear();
    let what = Ask::Announce { key: NodeId([0; 20]), network: Network::Mainline, hint: None };
    bench.input(Input::Ask { ask: AskId(1), what });
    (1..=12).for_each(|n| bench.answer(at(n), reply(n)));
    let told = |bench: &mut Bench| -> Vec<u8> {
        let is_told = |(to, message, _): &(SocketAddr, Message, usize)| match message.body {
            Body::Query { query: Query::AnnouncePeer { .. }, .. } => (1..=14).find(|n| at(*n) == *to),
            _ => None,
        };
        bench.sent.iter().filter_map(is_told).collect()
    };
    assert_eq!(told(&mut bench), (1..=8).collect::<Vec<_>>());
    (1..=7).filter(|n| *n != 3).for_each(|n| bench.answer(at(n), reply(n)));
    let tx = bench.sent.iter().rev().find(|(to, ..)| *to == at(3)).expect("it was told").1.tx.clone();
    bench.sent.clear();
    bench.message(at(3), None, &tx, Body::Error { code: 203, text: "bad token".into() });
    assert_eq!(told(&mut bench), [9], "one refuses");
    bench.answer(at(9), reply(9));
    let told_next = |bench: &mut Bench| {
        bench.sent.clear();
        while told(bench).is_empty() {
            assert!(bench.now < START + Duration::from_secs(5), "nobody else is told");
            bench.pass(Duration::from_millis(50));
        }
        told(bench)
    };
    assert_eq!(told_next(&mut bench), [8], "it is late: once more");
    assert_eq!(told_next(&mut bench), [10], "it stays silent");
    bench.answer(at(10), reply(10));
    let done = |event: &Event| matches!(event, Event::Done { summary, .. } if summary.stored == 8);
    assert!(bench.events.iter().any(done), "{:?}", bench.events);
}

#[test]
fn an_item_is_followed_by_the_end() {
    let mut bench = Bench::new(Config { families: vec![Family::V4, Family::V6], ..config() });
    // The one over IPv6 does not answer: it is not waited for.
    let there = SocketAddr::from((std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 5000));
    for address in [at(2), there] {
        bench.input(Input::Known(Network::Overlay, address));
        answer_last(&mut bench, address, Reply::from(belonging(address, 1)));
    }
    let what = Ask::Item { target: item_target(b"1:x"), network: Network::Overlay };
    bench.sent.clear();
    bench.input(Input::Ask { ask: AskId(1), what });
    assert!(bench.sent.iter().any(|(to, ..)| *to == there));
    answer_last(&mut bench, at(2), Reply { item: Some(b"1:x".to_vec()), ..Reply::from(belonging(at(2), 1)) });
    bench.pass(crate::limits::CALL_TIME);
    let of_it: Vec<_> = bench.events.iter().filter(|event| !matches!(event, Event::Address { .. })).collect();
    assert!(matches!(of_it[..], [Event::Item { .. }, Event::Done { summary: Summary { answers: 1, .. }, .. }]));
}

#[test]
fn one_liar_does_not_crowd_out_the_peers_that_others_name() {
    let mut bench = Bench::new(config());
    for n in [2, 3] {
        bench.input(Input::Known(Network::Overlay, at(n)));
        answer_last(&mut bench, at(n), Reply::from(belonging(at(n), n)));
    }
    bench.sent.clear();
    let what = Ask::Peers { key: NodeId([1; 20]), network: Network::Overlay, traced: false };
    bench.input(Input::Ask { ask: AskId(1), what });
    let lies = (0..128).map(|n| SocketAddr::from(([66, 6, n, 6], 6666))).collect();
    answer_last(&mut bench, at(2), Reply { values: lies, ..Reply::from(belonging(at(2), 2)) });
    answer_last(&mut bench, at(3), Reply { values: vec![at(99)], ..Reply::from(belonging(at(3), 3)) });
    assert!(bench.events.contains(&Event::Peer { ask: AskId(1), peer: at(99) }));
}

#[test]
fn a_rendezvous_that_finds_no_room_is_made_a_moment_later() {
    let mut bench = Bench::new(Config { mainline: Mainline::Ask, ..config() });
    bench.input(Input::Known(Network::Mainline, at(1)));
    // Others have all the room when mainline's first node answers.
    let now = bench.now;
    let start = |node: &mut Node| node.start(NodeId([9; 20]), Goal::Nodes, Owner::Table, now);
    while start(&mut bench.dht.nodes[1]) {}
    let query = bench.sent.iter().rfind(|(to, ..)| *to == at(1)).expect("a visit");
    let (tx, reply) = (query.1.tx.clone(), Reply { token: Some(vec![1]), ..Reply::from(NodeId([1; 20])) });
    bench.dht.upkeep_at = now;
    bench.message(at(1), None, &tx, Body::Reply(Box::new(reply)));
    let key = rendezvous("apt-p2p", None);
    let is_made = |bench: &Bench| bench.dht.nodes[1].lookups.values().any(|running| running.lookup.target == key);
    assert!(bench.dht.nodes[1].table.len() > 0 && !is_made(&bench));
    bench.dht.nodes[1].lookups.clear();
    bench.pass(2 * UPKEEP_PAUSE);
    assert!(is_made(&bench));
}
