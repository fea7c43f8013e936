//! Transcripts: one node, and what it says to whom.

use super::message::{Query, Reply};
use super::*;
use crate::limits::{LOOKUP_AHEAD, LOOKUP_WIDTH, QUERY_BURST};

const START: Time = Time(1_000_000);

/// A node and the datagrams that it sent.
struct Bench {
    dht: Dht,
    now: Time,
    sent: Vec<(SocketAddr, Message, usize)>,
    events: Vec<Event>,
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, n, 1], 5000))
}

fn config() -> Config {
    Config { mainline: Mainline::Off, families: vec![Family::V4], ..Config::new([7; 32]) }
}

impl Bench {
    fn new(config: Config) -> Bench {
        let mut bench = Bench { dht: Dht::new(config, START), now: START, sent: Vec::new(), events: Vec::new() };
        bench.input(Input::Tick);
        bench
    }

    fn input(&mut self, input: Input<'_>) {
        self.dht.handle(self.now, input);
        let mut buffer = Vec::new();
        loop {
            match self.dht.poll(self.now, &mut buffer) {
                Output::Send { to } => {
                    let message = Message::parse(&buffer).expect("our own message");
                    self.sent.push((to, message, buffer.len()));
                }
                Output::Event(event) => self.events.push(event),
                Output::WakeAt(at) => {
                    assert!(at > self.now);
                    return;
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(50));
            self.input(Input::Tick);
        }
    }

    fn message(&mut self, from: SocketAddr, network: Option<&str>, tx: &[u8], body: Body) -> usize {
        let network = network.map(|name| name.as_bytes().to_vec());
        let message = Message { tx: tx.to_vec(), network, seen_as: None, read_only: false, body };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.input(Input::Datagram { from, bytes: &bytes });
        bytes.len()
    }

    fn query(&mut self, from: SocketAddr, query: Query) -> usize {
        self.message(
            from,
            Some("apt-p2p"),
            b"tx",
            Body::Query { id: NodeId([from.port().to_be_bytes()[1]; 20]), query },
        )
    }

    /// What was sent to `to`, and is forgotten then.
    fn taken(&mut self, to: SocketAddr) -> Vec<Body> {
        let (taken, rest) = std::mem::take(&mut self.sent).into_iter().partition(|(at, ..)| *at == to);
        self.sent = rest;
        let taken: Vec<(SocketAddr, Message, usize)> = taken;
        taken.into_iter().map(|(_, message, _)| message.body).collect()
    }

    fn reply(&mut self, to: SocketAddr) -> Reply {
        let replies = self.taken(to).into_iter().find_map(|body| match body {
            Body::Reply(reply) => Some(*reply),
            _ => None,
        });
        replies.expect("a reply")
    }

    fn refusal(&mut self, to: SocketAddr) -> i64 {
        let codes = self.taken(to).into_iter().find_map(|body| match body {
            Body::Error { code, .. } => Some(code),
            _ => None,
        });
        codes.expect("a refusal")
    }

    /// Answers the last query that went to `from`.
    fn answer(&mut self, from: SocketAddr, reply: Reply) {
        let asked = self.sent.iter().rev().find(|(to, message, _)| {
            *to == from && matches!(message.body, Body::Query { .. }) && message.network.is_none()
        });
        let tx = asked.expect("it was asked").1.tx.clone();
        self.message(from, None, &tx, Body::Reply(Box::new(reply)));
    }

    fn token(&mut self, from: SocketAddr) -> Vec<u8> {
        self.query(from, Query::GetPeers { key: NodeId([1; 20]), want: Want::default() });
        self.reply(from).token.expect("a token")
    }
}

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
fn a_lookup_among_nobody_ends_at_once() {
    let mut bench = Bench::new(config());
    let what = Ask::Peers { key: NodeId([1; 20]), network: Network::Overlay, traced: false };
    bench.input(Input::Ask { ask: AskId(1), what: what.clone() });
    assert_eq!(bench.events, [Event::Done { ask: AskId(1), summary: Summary::default() }]);
    bench.input(Input::Ask { ask: AskId(2), what: Ask::Dial { port: 9978 } });
    assert!(bench.events.contains(&Event::Dialled { ask: AskId(2), reached: false }));
    bench.input(Input::Ask { ask: AskId(3), what });
    bench.input(Input::Cancel(AskId(3)));
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
fn who_was_never_asked_shows_that_we_are_reached() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.dht.status()[0].reach, Reach::Unknown);
    bench.query(at(1), Query::Ping);
    assert_eq!(bench.dht.status()[0].reach, Reach::Open);
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

/// What a stranger answers to the last query that went to `to`.
fn answer_last(bench: &mut Bench, to: SocketAddr, reply: Reply) {
    let at = bench.sent.iter().rposition(|(at, it, _)| *at == to && matches!(it.body, Body::Query { .. }));
    let (_, query, _) = bench.sent.remove(at.expect("a query"));
    bench.message(to, Some("apt-p2p"), &query.tx, Body::Reply(Box::new(reply)));
}

fn belonging(address: SocketAddr, n: u8) -> NodeId {
    NodeId::random_for(address.ip(), &mut Rng::new([n; 32]))
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
