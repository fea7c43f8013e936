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
            Node { socket, address, dht: Dht::new(config, Time(0)), wakes_at: Time(0) }
        };
        let nodes = nodes.into_iter().enumerate().map(bind).collect();
        Nodes { poll, events: Events::with_capacity(256), nodes, start, next_ask: 0, asks: BTreeMap::new() }
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
        let end = asked.began + limit;
        self.asks.insert(ask, asked);
        self.input(node, Input::Ask { ask, what });
        while self.asks[&ask].done_ms.is_none() && Instant::now() < end {
            self.turn(Duration::from_millis(100));
        }
        self.input(node, Input::Cancel(ask));
        self.asks.remove(&ask).expect("inserted above")
    }

    /// Who has what has this key.
    pub fn peers(&mut self, node: usize, key: NodeId, limit: Duration) -> Asked {
        self.ask(node, Ask::Peers { key, network: Network::Mainline, traced: true }, limit)
    }

    /// Waits for datagrams, the waker or a node's time, at most for `limit`, and lets the nodes act.
    pub fn turn(&mut self, limit: Duration) {
        let now = self.now();
        let next = self.nodes.iter().map(|node| node.wakes_at).min().unwrap_or(now);
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
        for node in 0..self.nodes.len() {
            if self.nodes[node].wakes_at <= now {
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
                Ok((len, from)) => self.input(node, Input::Datagram { from, bytes: &buffer[..len] }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What an earlier datagram met: its receiver is gone.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{}: {error}", self.nodes[node].address),
            }
        }
    }

    fn drain(&mut self, node: usize) {
        let mut buffer = Vec::new();
        loop {
            let now = self.now();
            match self.nodes[node].dht.poll(now, &mut buffer) {
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
