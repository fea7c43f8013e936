//! A whole DHT, driven by bytes: datagrams good and bad, asks, announcements, time. After each step what must always
//! hold is checked, by rules written here anew. The fuzzer and `tests/protocol.rs` both use it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use apt_p2p::dht::message::{Body, Message, Query, Reply, Want};
use apt_p2p::dht::{
    Ask, AskId, Config, Contact, Dht, Event, Family, Hint, Input, Mainline, Network, NodeId, Output, item_target,
};
use apt_p2p::limits;
use apt_p2p::time::Time;

/// More outputs of one input than this: it does not end.
const OUTPUTS: usize = 5000;

struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte());
        (!from.is_empty()).then(|| from[at % from.len()].clone())
    }

    fn some(&mut self, len: usize) -> Vec<u8> {
        self.0.by_ref().take(len).copied().collect()
    }

    fn id(&mut self) -> NodeId {
        let byte = self.byte();
        let mut id = [byte.wrapping_mul(31); 20];
        id[0] = byte;
        id[19] = self.byte();
        NodeId(id)
    }

    fn address(&mut self) -> SocketAddr {
        let [kind, n] = [self.byte(), self.byte()];
        let ip = match kind % 16 {
            0 => Ipv4Addr::new(127, 0, 0, n).into(),
            1 => Ipv4Addr::new(10, 0, 0, n).into(),
            2 => Ipv4Addr::new(n, 0, 0, 1).into(),
            3 => Ipv4Addr::new(224 | n, 0, 0, 1).into(),
            4 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n.into()).into(),
            5 => Ipv4Addr::new(10, 0, 0, n).to_ipv6_mapped().into(),
            6 => Ipv6Addr::new(0x2002, u16::from(n) << 8, 1, 0, 0, 0, 0, 1).into(),
            7 | 8 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 1)),
            _ => Ipv4Addr::new(203, n, kind, 1).into(),
        };
        let port = if kind & 0xe0 == 0xe0 { u16::from(n) } else { 5000 + u16::from(kind >> 4) };
        SocketAddr::new(ip, port)
    }

    fn want(&mut self) -> Want {
        let byte = self.byte();
        Want { v4: byte & 1 == 1, v6: byte & 2 == 2 }
    }

    fn hint(&mut self) -> Option<Hint> {
        let byte = self.byte();
        Hint::new(&vec![byte; [0, 20, 32, 64, 96][usize::from(byte) % 5]])
    }

    fn item(&mut self) -> Vec<u8> {
        let byte = self.byte();
        let len = [0, 5, 900, 996, 997, 1200][usize::from(byte) % 6];
        [format!("{len}:").as_bytes(), &vec![byte; len]].concat()
    }
}

struct Sequence<'a> {
    bytes: Bytes<'a>,
    dht: Dht,
    is_private: bool,
    now: Time,
    /// Our own queries that nobody has answered.
    asked: VecDeque<(SocketAddr, Message)>,
    /// Tokens that were given out.
    tokens: Vec<(SocketAddr, Vec<u8>)>,
    dials: Vec<(SocketAddr, Vec<u8>, usize)>,
    /// Who may have shown that he is where he says.
    verified: BTreeSet<SocketAddr>,
    /// When how many bytes came in, and went back to who was not verified.
    flow: VecDeque<(Time, usize, usize)>,
    asks: u64,
    /// Asks, and whether each is over.
    over: BTreeMap<AskId, bool>,
}

/// Does what `bytes` say.
pub(crate) fn drive(bytes: &[u8]) {
    let mut bytes = Bytes(bytes.iter());
    let flags = bytes.byte();
    let is_private = flags & 1 == 1;
    let mainline = [Mainline::Ask, Mainline::Serve, Mainline::Off][usize::from(flags >> 1) % 3];
    let config = Config { is_private, is_mainline_private: is_private, mainline, ..Config::new([flags; 32]) };
    let now = Time(1_000_000);
    let mut sequence = Sequence {
        bytes,
        dht: Dht::new(config, now),
        is_private,
        now,
        asked: VecDeque::new(),
        tokens: Vec::new(),
        dials: Vec::new(),
        verified: BTreeSet::new(),
        flow: VecDeque::new(),
        asks: 0,
        over: BTreeMap::new(),
    };
    while let Some(op) = sequence.bytes.0.next() {
        sequence.step(*op);
    }
}

impl Sequence<'_> {
    fn step(&mut self, op: u8) {
        match op % 12 {
            0 => {
                let (from, len) = (self.bytes.address(), usize::from(self.bytes.byte()));
                let bytes = self.bytes.some(len);
                self.datagram(from, &bytes);
            }
            1 | 2 => self.query(),
            3..=5 => self.answer(),
            6 => self.ask(),
            7 => {
                let cancelled = AskId(self.asks.saturating_sub(u64::from(self.bytes.byte() % 8)));
                self.over.insert(cancelled, true);
                self.input(Input::Cancel(cancelled), None);
            }
            8 => {
                let (key, hint) = (self.bytes.id(), self.bytes.hint());
                let input = if op & 16 == 0 { Input::Announce { key, hint } } else { Input::Withdraw(key) };
                self.input(input, None);
            }
            9 if op & 64 == 64 && op & 128 == 128 => {
                let family = if op & 16 == 0 { Family::V4 } else { Family::V6 };
                self.input(Input::Rejoin(family), None);
            }
            9 => self.pass(),
            10 => {
                let address = self.bytes.address();
                let network = if op & 16 == 0 { Network::Overlay } else { Network::Mainline };
                let input = if op & 32 == 0 { Input::Entrance(address) } else { Input::Known(network, address) };
                self.input(input, None);
            }
            _ => match self.dials.pop() {
                Some((from, tx, len)) => {
                    self.input(Input::Dialled { from, tx, len, reached: op & 16 == 0 }, Some(from));
                }
                None => self.flood(),
            },
        }
    }

    fn pass(&mut self) {
        let [unit, count] = [self.bytes.byte(), self.bytes.byte()].map(u64::from);
        let step = [1, 10, 100, 1000, 60_000, 600_000, 3_600_000][usize::try_from(unit % 7).expect("small")];
        self.now = self.now + Duration::from_millis(step * (count % 16 + 1));
        self.input(Input::Tick, None);
    }

    fn network(&mut self) -> Option<Vec<u8>> {
        match self.bytes.byte() % 8 {
            0 | 1 => None,
            2 => Some(b"other".to_vec()),
            _ => Some(b"apt-p2p".to_vec()),
        }
    }

    fn query(&mut self) {
        let (mut from, id, kind) = (self.bytes.address(), self.bytes.id(), self.bytes.byte());
        let mut token = b"none".to_vec();
        if kind & 0x80 == 0
            && let Some((to, given)) = self.bytes.pick(&self.tokens)
        {
            (from, token) = (to, given);
            self.verified.insert(from);
        }
        let (key, want, port) = (self.bytes.id(), self.bytes.want(), u16::from(self.bytes.byte()) * 257);
        let query = match kind % 10 {
            0 => Query::Ping,
            1 => Query::FindNode { target: key, want },
            2 | 3 => Query::GetPeers { key, want },
            4 => Query::AnnouncePeer { key, port: (port > 0).then_some(port), token, hint: self.bytes.hint() },
            5 => Query::Get { target: item_target(&self.bytes.item()), want },
            6 | 7 => Query::Put { token, item: self.bytes.item(), is_mutable: false },
            8 => Query::Dial { port: port | 1, token },
            _ => Query::Unknown { target: (kind & 16 == 0).then_some(key) },
        };
        let (tx, network) = (usize::from(self.bytes.byte()) % 70, self.network());
        let read_only = kind & 32 == 32;
        let message =
            Message { tx: vec![kind; tx], network, seen_as: None, read_only, body: Body::Query { id, query } };
        self.mutated(from, &message);
    }

    /// An answer to a query of ours: honest, lying, or from somebody else.
    fn answer(&mut self) {
        let at = usize::from(self.bytes.byte());
        let Some((to, query)) = self.asked.remove(at % self.asked.len().max(1)) else { return };
        let how = self.bytes.byte();
        let id = self.bytes.id();
        let mut reply = Reply::from(id);
        for _ in 0..how % 20 {
            let contact = Contact { id: self.bytes.id(), address: self.bytes.address() };
            match Family::of(contact.address) {
                Family::V4 => reply.nodes.push(contact),
                Family::V6 => reply.nodes6.push(contact),
            }
            if how & 32 == 32 {
                reply.values.push(contact.address);
            }
        }
        reply.token = (how & 64 == 64).then(|| vec![how; [1, 8, 20, 64, 700][usize::from(how) % 5]]);
        reply.hints = self.bytes.hint().into_iter().collect();
        reply.item = how.is_multiple_of(7).then(|| self.bytes.item());
        reply.dialled = how.is_multiple_of(5).then_some(true);
        let body =
            if how == 255 { Body::Error { code: 203, text: "no".into() } } else { Body::Reply(Box::new(reply)) };
        let seen_as = (how & 16 == 16).then(|| self.bytes.address());
        let message = Message { tx: query.tx, network: query.network, seen_as, read_only: false, body };
        let from = if how % 11 == 10 { self.bytes.address() } else { to };
        self.verified.insert(to);
        self.mutated(from, &message);
    }

    /// Sends a message in which perhaps a few bytes are wrong.
    fn mutated(&mut self, from: SocketAddr, message: &Message) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes.truncate(limits::DATAGRAM_READ_LEN);
        let changes = self.bytes.byte();
        if changes >= 0xf0 {
            for _ in 0..changes & 3 {
                let at = usize::from(self.bytes.byte()) * usize::from(self.bytes.byte());
                let len = bytes.len();
                bytes[at % len] = self.bytes.byte();
            }
        }
        self.datagram(from, &bytes);
    }

    fn flood(&mut self) {
        let key = self.bytes.id();
        for n in 0..64_u8 {
            let from = SocketAddr::from(([198, 51, n, key.0[0]], 6000));
            let query = Query::GetPeers { key, want: Want { v4: true, v6: true } };
            let body = Body::Query { id: NodeId([n; 20]), query };
            let message =
                Message { tx: vec![n], network: Some(b"apt-p2p".to_vec()), seen_as: None, read_only: false, body };
            self.mutated(from, &message);
        }
    }

    fn ask(&mut self) {
        let kind = self.bytes.byte();
        let network = if kind & 16 == 0 { Network::Overlay } else { Network::Mainline };
        let (key, traced) = (self.bytes.id(), kind & 32 == 32);
        let what = match kind % 6 {
            0 => Ask::Peers { key, network, traced },
            1 => Ask::Announce { key, network, hint: self.bytes.hint() },
            2 => Ask::Item { target: item_target(&self.bytes.item()), network },
            3 => Ask::Put { item: self.bytes.item(), network },
            4 => Ask::Nodes { target: key, network, traced },
            _ => Ask::Dial { port: 9978 },
        };
        self.asks += 1;
        let ask = AskId(self.asks);
        self.over.insert(ask, false);
        self.input(Input::Ask { ask, what }, None);
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.flow.push_back((self.now, bytes.len(), 0));
        self.input(Input::Datagram { from, bytes }, Some(from));
    }

    fn input(&mut self, input: Input<'_>, from: Option<SocketAddr>) {
        self.dht.handle(self.now, input);
        let mut buffer = Vec::new();
        for _ in 0..OUTPUTS {
            match self.dht.poll(self.now, &mut buffer) {
                Output::Send { to } => self.sent(to, &buffer, from),
                Output::Event(event) => self.event(event),
                Output::WakeAt(at) => {
                    assert!(at > self.now, "it would be woken at once, for ever");
                    return self.check();
                }
            }
        }
        panic!("it does not end");
    }

    fn sent(&mut self, to: SocketAddr, bytes: &[u8], from: Option<SocketAddr>) {
        assert!(bytes.len() <= 1232, "{} bytes", bytes.len());
        let message = Message::parse(bytes).expect("what we send is understood");
        let is_query = matches!(message.body, Body::Query { .. });
        assert!(is_real(to, self.is_private || !is_query), "{to}");
        let is_ping = matches!(message.body, Body::Query { query: Query::Ping, .. });
        if Some(to) == from && (!is_query || is_ping) && !self.verified.contains(&to) {
            self.flow.push_back((self.now, 0, bytes.len()));
        }
        if is_query {
            self.asked.push_back((to, message));
            if self.asked.len() > 64 {
                self.asked.pop_front();
            }
        } else if let Body::Reply(reply) = message.body
            && let Some(token) = reply.token
        {
            self.tokens.push((to, token));
            if self.tokens.len() > 64 {
                self.tokens.remove(0);
            }
        }
    }

    fn event(&mut self, event: Event) {
        let (ask, is_end) = match event {
            Event::Peer { ask, peer } => {
                assert!(is_real(peer, self.is_private), "{peer}");
                (ask, false)
            }
            Event::Hint { ask, .. } | Event::Hop { ask, .. } | Event::Item { ask, .. } => (ask, false),
            Event::Done { ask, .. } | Event::Dialled { ask, .. } => (ask, true),
            Event::Dial { target, from, tx, len } => {
                assert_eq!(target.ip(), from.ip());
                assert!(is_real(target, self.is_private));
                return self.dials.push((from, tx, len));
            }
            Event::Address { .. } | Event::Overlay { .. } => return,
        };
        let is_over = self.over.insert(ask, is_end).unwrap_or(true);
        assert!(!is_over || matches!(event, Event::Dialled { .. }), "{event:?} after the end");
        if is_over {
            self.over.insert(ask, true);
        }
    }

    fn check(&mut self) {
        while self.flow.front().is_some_and(|(at, ..)| self.now.since(*at) >= Duration::from_secs(10)) {
            self.flow.pop_front();
        }
        let (received, sent) = self.flow.iter().fold((0, 0), |(a, b), (_, x, y)| (a + x, b + y));
        assert!(sent <= 4 * received + 320 * 1024, "{sent} bytes for {received}");
        assert!(self.dials.len() <= limits::DIALS);
        for status in self.dht.status() {
            assert!(status.records <= limits::RECORDS && status.keys <= status.records);
            assert!(status.items <= limits::ITEMS && status.calls <= limits::CALLS);
            assert!(status.lookups <= limits::LOOKUPS + limits::UPKEEP_LOOKUPS);
        }
        assert!(self.dht.contacts().len() <= limits::SAVED_CONTACTS);
    }
}

/// Whether a machine may be at this address. A private one may be answered, but not be asked from a public network.
fn is_real(address: SocketAddr, private_too: bool) -> bool {
    let is_private = match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            if a == 0 || a >= 224 {
                return false;
            }
            matches!((a, b), (10 | 127, _) | (169, 254) | (172, 16..=31) | (192, 168) | (100, 64..=127))
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            let is_private = ip.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80;
            if !is_private && first & 0xe000 != 0x2000 {
                return false;
            }
            if first == 0x2002 {
                let [_, _, a, b, c, d, ..] = ip.octets();
                return is_real(([a, b, c, d], address.port().max(1024)).into(), false) && address.port() != 0;
            }
            is_private
        }
    };
    address.port() != 0 && (private_too || !is_private && address.port() >= 1024)
}
