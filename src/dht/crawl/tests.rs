//! A crawl among nodes that are made up: each knows its neighbours and a few others, as a routing table does.

use std::collections::BTreeMap;

use super::*;
use crate::digest::Digest;
use crate::limits::{BUCKET_LEN, FIRST_BUCKETS};

struct World {
    rng: Rng,
    now: Time,
    nodes: BTreeMap<SocketAddr, NodeId>,
    gone: Vec<SocketAddr>,
    on_the_way: Vec<(Time, SocketAddr, Vec<u8>)>,
    asked: BTreeMap<SocketAddr, usize>,
    sent: Vec<Time>,
}

impl World {
    fn new(count: u32) -> World {
        let mut rng = Rng::new([4; 32]);
        let nodes = (0..count).map(|n| {
            let address = SocketAddr::from((std::net::Ipv4Addr::from(0x0b00_0000 + n * 257), 9978));
            (address, NodeId::random_for(address.ip(), &mut rng))
        });
        let nodes = nodes.collect();
        World {
            rng,
            now: Time(1000),
            nodes,
            gone: Vec::new(),
            on_the_way: Vec::new(),
            asked: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn crawl(&self, duration: Duration) -> Crawl {
        let plan = CrawlPlan {
            seed: [1; 32],
            network: "apt-p2p".into(),
            families: vec![Family::V4],
            is_private: false,
            duration,
        };
        let mut crawl = Crawl::new(plan, self.now);
        let first = *self.nodes.keys().next().expect("a node");
        crawl.handle(self.now, CrawlInput::Known(first));
        crawl
    }

    /// What the node at `to` knows of a place: of each level of its table as many as there is room for, and of those the
    /// closest.
    fn answer(&mut self, to: SocketAddr, bytes: &[u8]) {
        let message = Message::parse(bytes).expect("our own message");
        assert!(message.read_only);
        let Body::Query { query: Query::FindNode { target, .. }, .. } = message.body else {
            panic!("only find_node is asked: {message:?}");
        };
        let own = self.nodes[&to];
        let mut levels: BTreeMap<usize, Vec<Contact>> = BTreeMap::new();
        for (address, id) in self.nodes.iter().filter(|(address, _)| **address != to) {
            levels.entry(own.common_bits(id)).or_default().push(Contact { id: *id, address: *address });
        }
        let mut known: Vec<Contact> = Vec::new();
        for (level, mut contacts) in levels {
            contacts.sort_by_cached_key(|contact| Digest::of(&[own.0, contact.id.0].concat()));
            known.extend(contacts.into_iter().take(FIRST_BUCKETS.get(level).copied().unwrap_or(BUCKET_LEN)));
        }
        known.sort_by_key(|contact| contact.id.distance(&target));
        known.truncate(8);
        let reply = Message {
            tx: message.tx,
            network: message.network,
            seen_as: Some(to),
            read_only: false,
            body: Body::Reply(Box::new(Reply { nodes: known, ..Reply::from(own) })),
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        let rtt = Duration::from_millis(20 + self.rng.below(180));
        self.on_the_way.push((self.now + rtt, to, out));
    }

    /// Runs until a sweep is over; whether another follows.
    fn sweep(&mut self, crawl: &mut Crawl) -> bool {
        let mut buffer = Vec::new();
        loop {
            match crawl.poll(self.now, &mut buffer) {
                CrawlOutput::Send { to } => {
                    *self.asked.entry(to).or_default() += 1;
                    self.sent.push(self.now);
                    if self.nodes.contains_key(&to) && !self.gone.contains(&to) {
                        self.answer(to, &buffer.clone());
                    }
                }
                CrawlOutput::Swept => return true,
                CrawlOutput::Done => return false,
                CrawlOutput::WakeAt(at) => {
                    assert!(at > self.now);
                    let arrival = self.on_the_way.iter().map(|(at, ..)| *at).min();
                    self.now = arrival.map_or(at, |arrival| arrival.min(at));
                    let now = self.now;
                    for (_, from, bytes) in self.on_the_way.extract_if(.., |(at, ..)| *at <= now) {
                        crawl.handle(now, CrawlInput::Datagram { from, bytes: &bytes });
                    }
                    crawl.handle(now, CrawlInput::Tick);
                }
            }
        }
    }
}

#[test]
fn one_sweep_meets_everybody_politely() {
    let mut world = World::new(600);
    let mut crawl = world.crawl(Duration::ZERO);
    assert!(world.sweep(&mut crawl) && !world.sweep(&mut crawl));
    let survey = crawl.survey(world.now);
    assert!(survey.nodes >= 597, "{survey:?}");
    assert_eq!((survey.answered, survey.silent, survey.sweeps), (survey.nodes, 0, 1));
    assert_eq!(survey.versions, [("AP 0.1".to_owned(), survey.nodes)]);
    assert!(survey.rtt_ms[0].is_some_and(|ms| (80..140).contains(&ms)), "{:?}", survey.rtt_ms);
    assert!(world.asked.values().all(|times| *times == 2));
    for (n, at) in world.sent.iter().enumerate() {
        let within = world.sent[n..].iter().take_while(|later| later.since(*at) < Duration::from_secs(1)).count();
        assert!(within as u64 <= CRAWL_RATE, "{within} queries in a second");
    }
}

#[test]
fn who_is_silent_is_asked_twice_and_counted() {
    let mut world = World::new(100);
    world.gone = world.nodes.keys().skip(1).step_by(4).copied().collect();
    let mut crawl = world.crawl(Duration::ZERO);
    world.sweep(&mut crawl);
    let survey = crawl.survey(world.now);
    assert!(survey.answered >= 74 && survey.silent >= 24, "{survey:?}");
    let asked = world.gone.iter().filter_map(|address| world.asked.get(address));
    assert!(asked.clone().count() == survey.silent && asked.into_iter().all(|n| *n == usize::from(CRAWL_TRIES)));
}

#[test]
fn sessions_are_seen_to_end() {
    let mut world = World::new(60);
    let mut crawl = world.crawl(Duration::from_secs(2 * 3600));
    let all: Vec<SocketAddr> = world.nodes.keys().copied().collect();
    let mut sweeps = 0;
    while world.sweep(&mut crawl) {
        sweeps += 1;
        if sweeps == 4 {
            // After half an hour a third of them leave, and others go on naming them.
            world.gone = all[1..21].to_vec();
        }
    }
    let survey = crawl.survey(world.now);
    assert_eq!((survey.sweeps, survey.answered), (13, 40));
    assert_eq!((survey.sessions.seen, survey.sessions.ended), (60, 20));
    let still: Vec<_> = survey.sessions.still.iter().map(|it| (it.age.as_secs() / 60, it.count, it.of)).collect();
    assert_eq!(still, [(20, 60, 60), (60, 40, 60)]);
}

#[test]
fn liars_cannot_make_it_ask_whom_it_must_not() {
    let mut world = World::new(1);
    let liar = *world.nodes.keys().next().expect("a node");
    let mut crawl = world.crawl(Duration::ZERO);
    let mut buffer = Vec::new();
    assert_eq!(crawl.poll(world.now, &mut buffer), CrawlOutput::Send { to: liar });
    let tx = Message::parse(&buffer).expect("our own").tx;
    let victim = SocketAddr::from(([198, 51, 100, 7], 0)).ip();
    let mut lie = |ip: std::net::IpAddr, port| {
        let id = NodeId::random_for(ip, &mut world.rng);
        Contact { id, address: SocketAddr::new(ip, port) }
    };
    let mut nodes: Vec<Contact> = (0..30).map(|n| lie(victim, 5000 + n)).collect();
    nodes.push(lie([10, 0, 0, 1].into(), 5000));
    nodes.push(Contact { id: NodeId([0; 20]), ..lie([203, 0, 113, 9].into(), 5000) });
    let reply = |tx: Vec<u8>, nodes: Vec<Contact>| {
        let body = Body::Reply(Box::new(Reply { nodes, ..Reply::from(NodeId([9; 20])) }));
        let message = Message { tx, network: Some(b"apt-p2p".to_vec()), seen_as: None, read_only: false, body };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    };
    let bytes = reply(tx, nodes);
    crawl.handle(world.now, CrawlInput::Datagram { from: SocketAddr::new(victim, 5000), bytes: &bytes });
    assert_eq!(crawl.visits.len(), 1, "not whom we asked");
    crawl.handle(world.now, CrawlInput::Datagram { from: liar, bytes: &bytes });
    assert_eq!(crawl.visits.len(), 1 + CRAWL_PER_ADDRESS);
    crawl.handle(world.now, CrawlInput::Datagram { from: liar, bytes: &bytes });
    assert_eq!(crawl.rtts_ms.len(), 1, "an answer counts once");
}

#[test]
fn nobody_to_begin_with_is_an_end() {
    let world = World::new(1);
    let mut crawl = world.crawl(Duration::ZERO);
    crawl.visits.clear();
    crawl.queue.clear();
    let mut buffer = Vec::new();
    assert_eq!(crawl.poll(world.now, &mut buffer), CrawlOutput::Swept);
    assert_eq!(crawl.poll(world.now, &mut buffer), CrawlOutput::Done);
    assert_eq!(crawl.survey(world.now).rtt_ms, [None, None]);
}
