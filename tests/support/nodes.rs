//! DHTs on sockets of their own, by the real clock: a loop other than the daemon's, for the tests beside real clients.

#![allow(dead_code, unreachable_pub, reason = "the tests and the example use different parts of it")]
#![allow(clippy::disallowed_methods, reason = "a loop reads the clock")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use apt_p2p::dht::{Ask, AskId, Config, Dht, Event, Hop, Input, Network, NodeId, NodeStatus, Output, Summary};
use apt_p2p::limits::DATAGRAM_READ_LEN;
use apt_p2p::time::Time;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};

/// Beyond the sockets' tokens.
const WAKER: Token = Token(usize::MAX);

struct Node {
    socket: UdpSocket,
    address: SocketAddr,
    dht: Dht,
    wakes_at: Time,
    is_silent: bool,
}

/// A datagram on its way to this node or from it; with whom.
struct Late {
    node: usize,
    other: SocketAddr,
    bytes: Vec<u8>,
    is_received: bool,
}

/// What an ask brought; times in milliseconds since it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    began: Instant,
    pub first_ms: Option<f64>,
    pub done_ms: Option<f64>,
    pub peers: Vec<SocketAddr>,
    pub item: Option<Vec<u8>>,
    pub hops: Vec<(f64, Hop)>,
    pub summary: Summary,
}

/// Several nodes in one loop.
pub struct Nodes {
    poll: Poll,
    events: Events,
    nodes: Vec<Node>,
    start: Instant,
    next_ask: u64,
    asks: BTreeMap<AskId, Asked>,
    /// The shortest round trip and the longest, in milliseconds.
    lag: Option<(u64, u64)>,
    /// By when they arrive.
    late: BTreeMap<(Time, u64), Late>,
}

impl Nodes {
    /// One node for each address and configuration.
    pub fn bind(nodes: impl IntoIterator<Item = (SocketAddr, Config)>) -> Nodes {
        let poll = Poll::new().expect("epoll");
        let start = Instant::now();
        let bind = |(token, (address, config)): (usize, (SocketAddr, Config))| {
            let mut socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            poll.registry().register(&mut socket, Token(token), Interest::READABLE).expect("registered once");
            let address = socket.local_addr().expect("bound");
            Node { socket, address, dht: Dht::new(config, Time(0)), wakes_at: Time(0), is_silent: false }
        };
        let nodes = nodes.into_iter().enumerate().map(bind).collect();
        let (events, asks, late) = (Events::with_capacity(256), BTreeMap::new(), BTreeMap::new());
        Nodes { poll, events, nodes, start, next_ask: 0, asks, lag: None, late }
    }

    /// From now on each pair of machines has a round trip of its own between these, in milliseconds: the one that sends to
    /// strangers keeps datagrams for half of it, and so does the one that receives.
    pub fn lag(&mut self, least: u64, most: u64) {
        self.lag = Some((least, most));
    }

    /// Nodes that hear nothing any more, and those that do.
    pub fn silence(&mut self, is_silent: impl Fn(usize) -> bool) {
        (0..self.nodes.len()).for_each(|node| self.nodes[node].is_silent = is_silent(node));
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Ends a turn that waits.
    pub fn waker(&self) -> Waker {
        Waker::new(self.poll.registry(), WAKER).expect("one waker")
    }

    /// What one node knows of itself on mainline.
    pub fn status(&self, node: usize) -> NodeStatus {
        let all = self.nodes[node].dht.status();
        all.into_iter().find(|status| status.network == Network::Mainline).expect("it takes part in mainline")
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Tells one node something.
    pub fn input(&mut self, node: usize, input: Input<'_>) {
        let now = self.now();
        self.nodes[node].dht.handle(now, input);
        self.drain(node);
    }

    /// Tells all of them where to join.
    pub fn enter(&mut self, entrance: SocketAddr) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].address != entrance {
                self.input(node, Input::Entrance(entrance));
            }
        }
    }

    /// Asks, and turns until it is answered, or `limit` is over.
    pub fn ask(&mut self, node: usize, what: Ask, limit: Duration) -> Asked {
        self.ask_all([(node, what)], limit).pop().expect("one ask")
    }

    /// The same with many asks at once.
    pub fn ask_all(&mut self, all: impl IntoIterator<Item = (usize, Ask)>, limit: Duration) -> Vec<Asked> {
        let end = Instant::now() + limit;
        let begin = |(node, what)| {
            self.next_ask += 1;
            let ask = AskId(self.next_ask);
            let asked = Asked {
                began: Instant::now(),
                first_ms: None,
                done_ms: None,
                peers: Vec::new(),
                item: None,
                hops: Vec::new(),
                summary: Summary::default(),
            };
            self.asks.insert(ask, asked);
            self.input(node, Input::Ask { ask, what });
            (node, ask)
        };
        let begun: Vec<(usize, AskId)> = all.into_iter().map(begin).collect();
        while begun.iter().any(|(_, ask)| self.asks[ask].done_ms.is_none()) && Instant::now() < end {
            self.turn(Duration::from_millis(100));
        }
        let take = |(node, ask)| {
            self.input(node, Input::Cancel(ask));
            self.asks.remove(&ask).expect("inserted above")
        };
        begun.into_iter().map(take).collect()
    }

    /// Who has what has this key.
    pub fn peers(&mut self, node: usize, key: NodeId, limit: Duration) -> Asked {
        self.ask(node, Ask::Peers { key, network: Network::Mainline, traced: true }, limit)
    }

    /// Waits for datagrams, the waker or a node's time, at most for `limit`, and lets the nodes act.
    pub fn turn(&mut self, limit: Duration) {
        let now = self.now();
        let next = self.nodes.iter().filter(|node| !node.is_silent).map(|node| node.wakes_at);
        let next = next.chain(self.late.keys().map(|(at, _)| *at)).min().unwrap_or(now);
        let wait = next.since(now).min(limit);
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            result => result.expect("epoll"),
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for node in ready.into_iter().filter(|token| *token != WAKER.0) {
            self.read(node);
        }
        let now = self.now();
        while let Some(due) = self.late.first_entry().filter(|due| due.key().0 <= now) {
            let late = due.remove();
            match late.is_received {
                true => self.input(late.node, Input::Datagram { from: late.other, bytes: &late.bytes }),
                false => drop(self.nodes[late.node].socket.send_to(&late.bytes, late.other)),
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].wakes_at <= now && !self.nodes[node].is_silent {
                self.input(node, Input::Tick);
            }
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_millis()).expect("not that long"))
    }

    fn read(&mut self, node: usize) {
        let mut buffer = [0; DATAGRAM_READ_LEN];
        loop {
            match self.nodes[node].socket.recv_from(&mut buffer) {
                Ok(_) if self.nodes[node].is_silent => {}
                Ok((len, from)) if self.lag.is_some() => self.keep(node, from, &buffer[..len], true),
                Ok((len, from)) => self.input(node, Input::Datagram { from, bytes: &buffer[..len] }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What an earlier datagram met: its receiver is gone.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{}: {error}", self.nodes[node].address),
            }
        }
    }

    fn keep(&mut self, node: usize, other: SocketAddr, bytes: &[u8], is_received: bool) {
        let (least, most) = self.lag.expect("only with a lag");
        let (own, other_port) = (u64::from(self.nodes[node].address.port()), u64::from(other.port()));
        // The same for both directions, and nothing alike for the next pair.
        let mixed = (own.min(other_port) << 16 | own.max(other_port)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let rtt = least + mixed % (most - least + 1);
        self.next_ask += 1;
        let due = (Time(self.now().0 + rtt / 2), self.next_ask);
        self.late.insert(due, Late { node, other, bytes: bytes.to_vec(), is_received });
    }

    fn drain(&mut self, node: usize) {
        let mut buffer = Vec::new();
        loop {
            let now = self.now();
            match self.nodes[node].dht.poll(now, &mut buffer) {
                Output::Send { to } if self.lag.is_some() && self.nodes.iter().all(|node| node.address != to) => {
                    self.keep(node, to, &buffer, false);
                }
                // A full socket loses datagrams, as the network does.
                Output::Send { to } => drop(self.nodes[node].socket.send_to(&buffer, to)),
                Output::Event(event) => self.note(event),
                Output::WakeAt(at) => {
                    self.nodes[node].wakes_at = at;
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: Event) {
        let ms = |asked: &Asked| asked.began.elapsed().as_secs_f64() * 1000.0;
        let (Event::Peer { ask, .. } | Event::Item { ask, .. } | Event::Hop { ask, .. } | Event::Done { ask, .. }) =
            event
        else {
            return;
        };
        let Some(asked) = self.asks.get_mut(&ask) else { return };
        let at = ms(asked);
        match event {
            Event::Peer { peer, .. } => {
                asked.first_ms.get_or_insert(at);
                asked.peers.push(peer);
            }
            Event::Item { item, .. } => (asked.item, asked.done_ms) = (Some(item), Some(at)),
            Event::Hop { hop, .. } => asked.hops.push((at, hop)),
            Event::Done { summary, .. } => (asked.summary, asked.done_ms) = (summary, Some(at)),
            _ => {}
        }
    }
}
