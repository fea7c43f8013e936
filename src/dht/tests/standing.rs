//! What a node believes of itself and of its contacts: address, id, reach.

use super::*;

#[test]
fn what_mainline_says_of_our_address_gives_the_overlay_its_id_too() {
    let mut bench = Bench::new(Config { mainline: Mainline::Ask, ..config() });
    bench.input(Input::Known(Network::Mainline, at(1)));
    let asked = bench.sent.iter().find(|(to, message, _)| *to == at(1) && message.network.is_none());
    let tx = asked.expect("it was asked").1.tx.clone();
    let body = Body::Reply(Box::new(Reply::from(NodeId([1; 20]))));
    let mut bytes = Vec::new();
    Message { tx, network: None, seen_as: Some(at(7)), read_only: false, body }.write(&mut bytes);
    bench.input(Input::Datagram { from: at(1), bytes: &bytes });
    assert!(bench.dht.status().iter().all(|node| node.id.belongs_to(at(7).ip())));
}

#[test]
fn mainline_is_asked_but_not_answered_unless_it_is_to_be() {
    for (mainline, answers) in [(Mainline::Ask, false), (Mainline::Serve, true)] {
        let mut bench = Bench::new(Config { mainline, ..config() });
        bench.message(at(1), None, b"tx", Body::Query { id: NodeId([3; 20]), query: Query::Ping });
        assert_eq!(bench.taken(at(1)).iter().any(|body| matches!(body, Body::Reply(_))), answers);
        bench.input(Input::Entrance(at(2)));
        let asked: Vec<_> = bench.sent.iter().filter(|(to, ..)| *to == at(2)).collect();
        assert_eq!(asked.len(), 2, "on both networks");
        for (_, message, _) in asked {
            assert_eq!(message.read_only, message.network.is_none() && mainline == Mainline::Ask);
        }
    }
}

#[test]
fn an_id_belongs_to_the_address_that_others_see() {
    let mut bench = Bench::new(config());
    let before = bench.dht.status()[0].id;
    bench.input(Input::Entrance(at(2)));
    let (_, query, _) = bench.sent.pop().expect("it joins");
    let reply = Message {
        network: Some(b"apt-p2p".to_vec()),
        tx: query.tx,
        seen_as: Some(at(77)),
        read_only: false,
        body: Body::Reply(Box::new(Reply::from(NodeId([2; 20])))),
    };
    let mut bytes = Vec::new();
    reply.write(&mut bytes);
    // From elsewhere it is a forgery.
    bench.input(Input::Datagram { from: at(3), bytes: &bytes });
    assert_eq!(bench.dht.status()[0].id, before);
    bench.input(Input::Datagram { from: at(2), bytes: &bytes });
    let status = &bench.dht.status()[0];
    assert_eq!(status.address, Some(at(77)));
    assert!(status.id != before && status.id.belongs_to(at(77).ip()));
    assert!(bench.events.contains(&Event::Address { family: Family::V4, address: at(77) }));
}

#[test]
fn who_was_never_asked_shows_that_we_are_reached() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.dht.status()[0].reach, Reach::Unknown);
    bench.query(at(1), Query::Ping);
    assert_eq!(bench.dht.status()[0].reach, Reach::Open);
}

#[test]
fn a_neighbour_shows_it_only_where_all_are_neighbours() {
    for (is_private, reach) in [(false, Reach::Unknown), (true, Reach::Open)] {
        let mut bench = Bench::new(Config { is_private, ..config() });
        bench.query(SocketAddr::from(([192, 168, 1, 2], 5000)), Query::Ping);
        assert_eq!(bench.dht.status()[0].reach, reach);
    }
}

#[test]
fn after_a_rejoin_the_node_joins_and_believes_nothing_that_was_said() {
    let mut bench = Bench::new(config());
    bench.input(Input::Entrance(at(9)));
    assert_eq!(bench.taken(at(9)).len(), 1);
    // The first who answers says where we are, and a stranger shows that we are reached.
    let join = |bench: &mut Bench, own: SocketAddr| {
        bench.input(Input::Known(Network::Overlay, at(1)));
        let (_, query, _) = bench.sent.pop().expect("a visit");
        let id = NodeId::random_for(at(1).ip(), &mut Rng::new([3; 32]));
        let reply = Message {
            tx: query.tx,
            network: Some(b"apt-p2p".to_vec()),
            seen_as: Some(own),
            read_only: false,
            body: Body::Reply(Box::new(Reply::from(id))),
        };
        let mut bytes = Vec::new();
        reply.write(&mut bytes);
        bench.input(Input::Datagram { from: at(1), bytes: &bytes });
    };
    join(&mut bench, at(50));
    bench.query(at(2), Query::Ping);
    let status = |bench: &Bench| bench.dht.status().remove(0);
    assert_eq!((status(&bench).address, status(&bench).reach), (Some(at(50)), Reach::Open));
    bench.sent.clear();
    bench.input(Input::Rejoin(Family::V6));
    assert_eq!(status(&bench).address, Some(at(50)), "the other family");
    bench.input(Input::Rejoin(Family::V4));
    assert_eq!((status(&bench).address, status(&bench).reach), (None, Reach::Unknown));
    assert_eq!(status(&bench).contacts, 1, "contacts stay");
    assert_eq!(bench.taken(at(9)).len(), 1, "it joins");
    assert!(!bench.taken(at(1)).is_empty(), "and looks around where it is");
}

#[test]
fn a_contact_that_has_become_another_is_forgotten() {
    let mut bench = Bench::new(config());
    let (before, after) = (belonging(at(2), 1), belonging(at(2), 2));
    bench.input(Input::Entrance(at(2)));
    answer_last(&mut bench, at(2), Reply::from(before));
    assert_eq!(bench.dht.status()[0].contacts, 1);
    let what = Ask::Peers { key: NodeId([1; 20]), network: Network::Overlay, traced: false };
    bench.sent.clear();
    bench.input(Input::Ask { ask: AskId(1), what });
    answer_last(&mut bench, at(2), Reply::from(after));
    assert!(bench.dht.contacts().iter().all(|(_, contact)| contact.id != before));
}

#[test]
fn a_contact_stays_whatever_others_call_it() {
    let mut bench = Bench::new(config());
    let (contact, liar) = (at(2), at(67));
    let (own, false_id) = (belonging(contact, 1), belonging(contact, 2));
    let lie = Reply { nodes: vec![Contact { id: false_id, address: contact }], ..Reply::from(belonging(liar, 1)) };
    // It is asked by the name that the liar gives it, and meanwhile it is met.
    bench.input(Input::Known(Network::Overlay, liar));
    answer_last(&mut bench, liar, lie);
    let asked = bench.sent.iter().position(|(to, ..)| *to == contact).expect("it is asked");
    let (_, query, _) = bench.sent.remove(asked);
    bench.input(Input::Known(Network::Overlay, contact));
    answer_last(&mut bench, contact, Reply::from(own));
    bench.message(contact, Some("apt-p2p"), &query.tx, Body::Reply(Box::new(Reply::from(own))));
    assert!(bench.dht.contacts().iter().any(|(_, known)| known.id == own));
}

#[test]
fn a_contact_is_not_asked_by_another_name() {
    let mut bench = Bench::new(config());
    let (first, contact, liar) = (at(1), at(2), at(67));
    bench.input(Input::Known(Network::Overlay, liar));
    for met in [first, contact] {
        bench.input(Input::Known(Network::Overlay, met));
        answer_last(&mut bench, met, Reply::from(belonging(met, 1)));
    }
    // The look around that the first began does not know the second.
    assert!(bench.taken(contact).is_empty() && bench.dht.status()[0].lookups == 1);
    let lie = Contact { id: belonging(contact, 2), address: contact };
    answer_last(&mut bench, liar, Reply { nodes: vec![lie], ..Reply::from(belonging(liar, 1)) });
    assert!(bench.taken(contact).is_empty());
}

#[test]
fn whom_an_entrance_names_is_asked_only_if_he_may_be_known() {
    let mut bench = Bench::new(config());
    let named =
        [Contact { id: NodeId([9; 20]), address: at(3) }, Contact { id: belonging(at(4), 1), address: at(4) }];
    bench.input(Input::Entrance(at(2)));
    answer_last(&mut bench, at(2), Reply { nodes: named.to_vec(), ..Reply::from(belonging(at(2), 1)) });
    assert_eq!((bench.taken(at(3)).len(), bench.taken(at(4)).len()), (0, 1));
}

#[test]
fn a_node_that_cannot_be_reached_answers_nobody() {
    let mut bench = Bench::new(Config { reach: Some(Reach::Closed), ..config() });
    bench.query(at(1), Query::Ping);
    assert!(bench.sent.is_empty());
}

#[test]
fn only_who_may_become_a_contact_is_asked_back() {
    let mut bench = Bench::new(config());
    let pings =
        |bench: &mut Bench| bench.taken(at(1)).iter().filter(|body| matches!(body, Body::Query { .. })).count();
    bench.message(at(1), Some("apt-p2p"), b"t", Body::Query { id: NodeId([3; 20]), query: Query::Ping });
    assert_eq!(pings(&mut bench), 0, "its id does not belong to its address");
    bench.message(at(1), Some("apt-p2p"), b"t", Body::Query { id: belonging(at(1), 1), query: Query::Ping });
    assert_eq!(pings(&mut bench), 1);
}

#[test]
fn the_saved_contacts_of_all_nodes_are_bounded() {
    let mut bench = Bench::new(Config { mainline: Mainline::Serve, ..config() });
    for network in [Network::Overlay, Network::Mainline] {
        for n in 0..400_u16 {
            bench.now = bench.now + Duration::from_millis(100);
            let [a, b] = n.to_be_bytes();
            let address = SocketAddr::from(([203, 1 + a, b, 1], 5000));
            bench.sent.clear();
            bench.input(Input::Known(network, address));
            let query = bench.sent.iter().find(|(to, ..)| *to == address).expect("asked").1.clone();
            let id = NodeId::random_for(address.ip(), &mut Rng::new([b; 32]));
            let name = (network == Network::Overlay).then_some("apt-p2p");
            bench.message(address, name, &query.tx, Body::Reply(Box::new(Reply::from(id))));
        }
    }
    assert!((100..=crate::limits::SAVED_CONTACTS).contains(&bench.dht.contacts().len()));
}

#[test]
fn what_is_reached_in_one_family_alone_is_announced_there() {
    let families = vec![Family::V6, Family::V4];
    let mut bench = Bench::new(Config { families, port: Some(9978), ..config() });
    let six = |n: u16| SocketAddr::from((std::net::Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1), 5000));
    for (contact, stranger) in [(six(2), six(9)), (at(2), at(9))] {
        bench.input(Input::Known(Network::Overlay, contact));
        answer_last(&mut bench, contact, Reply::from(belonging(contact, 1)));
        bench.query(stranger, Query::Ping);
    }
    assert!(bench.dht.status().iter().all(|node| node.reach == Reach::Open && node.contacts == 1));
    let dial = |bench: &mut Bench, ask, by_four| {
        bench.input(Input::Ask { ask: AskId(ask), what: Ask::Dial { port: 9978 } });
        for (contact, reached) in [(six(2), false), (at(2), by_four)] {
            let reply = || Reply::from(belonging(contact, 1));
            answer_last(bench, contact, Reply { token: Some(vec![1]), ..reply() });
            answer_last(bench, contact, Reply { dialled: Some(reached), ..reply() });
        }
        bench.sent.clear();
    };
    let asked_for = |bench: &mut Bench, key| {
        bench.input(Input::Announce { key, hint: None });
        bench.pass(Duration::from_secs(3));
        let is_it =
            |body: &Body| matches!(body, Body::Query { query: Query::GetPeers { key: of, .. }, .. } if *of == key);
        [six(2), at(2)].map(|contact| bench.taken(contact).iter().any(is_it))
    };
    dial(&mut bench, 1, true);
    assert_eq!(asked_for(&mut bench, NodeId([1; 20])), [false, true]);
    dial(&mut bench, 2, false);
    assert_eq!(asked_for(&mut bench, NodeId([0x81; 20])), [false, true], "those that are asked may be gone");
    let told: Vec<&Event> = bench.events.iter().filter(|it| matches!(it, Event::Dialled { .. })).collect();
    let said = |ask, reached| Event::Dialled { ask: AskId(ask), reached };
    assert_eq!(told, [&said(1, true), &said(2, false)]);
}

#[test]
fn who_asks_hears_of_the_first_family_that_reaches_him() {
    let mut bench = Bench::new(Config { families: vec![Family::V6, Family::V4], ..config() });
    let six = SocketAddr::from((std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1), 5000));
    for contact in [six, at(2)] {
        bench.input(Input::Known(Network::Overlay, contact));
        answer_last(&mut bench, contact, Reply::from(belonging(contact, 1)));
    }
    bench.input(Input::Ask { ask: AskId(1), what: Ask::Dial { port: 9978 } });
    for (contact, reached) in [(at(2), true), (six, true)] {
        let reply = || Reply::from(belonging(contact, 1));
        answer_last(&mut bench, contact, Reply { token: Some(vec![1]), ..reply() });
        answer_last(&mut bench, contact, Reply { dialled: Some(reached), ..reply() });
        let told = bench.events.iter().filter(|it| matches!(it, Event::Dialled { reached: true, .. })).count();
        assert_eq!(told, 1);
    }
    assert!(bench.dht.status().iter().all(|node| node.reach == Reach::Open), "each knows of itself");
}

#[test]
fn one_liar_does_not_make_us_believe_that_we_are_reached() {
    // What each of three nodes says when it is asked; none: nothing.
    for (said, reached) in [
        ([Some(true), Some(false), Some(false)], false),
        ([Some(true), None, Some(false)], false),
        ([Some(true), Some(false), Some(true)], true),
        ([Some(true), None, Some(true)], true),
    ] {
        let mut bench = Bench::new(config());
        for n in [2, 3, 4] {
            bench.input(Input::Known(Network::Overlay, at(n)));
            answer_last(&mut bench, at(n), Reply::from(belonging(at(n), n)));
        }
        assert_eq!(bench.dht.status()[0].contacts, 3);
        bench.input(Input::Ask { ask: AskId(1), what: Ask::Dial { port: 9978 } });
        for (n, said) in [2, 3, 4].into_iter().zip(said) {
            let reply = || Reply::from(belonging(at(n), n));
            answer_last(&mut bench, at(n), Reply { token: Some(vec![1]), ..reply() });
            if said.is_some() {
                answer_last(&mut bench, at(n), Reply { dialled: said, ..reply() });
            }
        }
        bench.pass(Duration::from_secs(15));
        let told: Vec<&Event> = bench.events.iter().filter(|it| matches!(it, Event::Dialled { .. })).collect();
        assert_eq!(told, [&Event::Dialled { ask: AskId(1), reached }], "{said:?}");
        assert_eq!(bench.dht.status()[0].reach == Reach::Open, reached, "{said:?}");
    }
}

#[test]
fn a_dial_says_nothing_of_the_way_to_a_witness_nor_of_its_health() {
    for dial_time in [Some(Duration::from_secs(3)), None] {
        let mut bench = Bench::new(config());
        bench.input(Input::Known(Network::Overlay, at(2)));
        let reply = || Reply { token: Some(vec![1]), ..Reply::from(belonging(at(2), 1)) };
        answer_last(&mut bench, at(2), reply());
        let usual = bench.dht.status()[0].stall_ms;
        let mut dials = Vec::new();
        let mut said = 0;
        for step in 0..1200 {
            if step % 240 == 0 {
                bench.input(Input::Ask { ask: AskId(step), what: Ask::Dial { port: 9978 } });
            }
            bench.pass(Duration::from_millis(50));
            for (_, message, _) in std::mem::take(&mut bench.sent) {
                match message.body {
                    Body::Query { query: Query::Dial { .. }, .. } => dials.push((bench.now, message.tx)),
                    _ => _ = bench.message(at(2), Some("apt-p2p"), &message.tx, Body::Reply(Box::new(reply()))),
                }
            }
            while let (Some((at_time, tx)), Some(time)) = (dials.first().cloned(), dial_time)
                && bench.now.since(at_time) >= time
            {
                dials.remove(0);
                let no = Reply { dialled: Some(false), ..reply() };
                bench.message(at(2), Some("apt-p2p"), &tx, Body::Reply(Box::new(no)));
                said += 1;
            }
        }
        let told = bench.events.iter().filter(|it| matches!(it, Event::Dialled { reached: false, .. })).count();
        assert_eq!((told, said), (5, if dial_time.is_some() { 5 } else { 0 }));
        assert!(bench.dht.status()[0].stall_ms <= usual, "{} ms", bench.dht.status()[0].stall_ms);
        assert_eq!(bench.dht.contacts().len(), 1, "nothing was missed");
    }
}

#[test]
fn at_another_port_nothing_is_announced_until_somebody_has_reached_it() {
    let mut bench = Bench::new(Config { port: Some(9978), ..config() });
    for n in 0..5 {
        bench.input(Input::Announce { key: NodeId([n; 20]), hint: None });
    }
    bench.input(Input::Port(9978));
    assert_eq!(bench.dht.traffic(bench.now).own, 5, "it is the same");
    bench.input(Input::Port(40_000));
    assert_eq!(bench.dht.traffic(bench.now).own, 0);
}
