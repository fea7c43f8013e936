//! A network that is not there: many DHTs in virtual time, with links that delay and lose, NATs, partitions, and nodes
//! that are silent or lie. The same seed makes the same run.

#![allow(dead_code, unreachable_pub, reason = "tests, the benchmark and the example use different parts of it")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use apt_p2p::dht::message::{Body, Message, Query, Reply};
use apt_p2p::dht::{
    Ask, AskId, Config, Contact, Dht, Event, Family, Input, Mainline, Network, NodeId, Output, Reach, Rng,
};
use apt_p2p::limits::{OWN_BURST, OWN_RATE};
use apt_p2p::time::Time;

/// What a network is like.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    /// Round trips between two nodes, in milliseconds; each pair has its own.
    pub rtt_ms: (u64, u64),
    /// Datagrams lost, of 1,000.
    pub loss: u64,
    /// Nodes behind a NAT, of 100.
    pub behind_nat: u64,
    /// Nodes that never answer, of 100.
    pub silent: u64,
    /// Nodes that lie, of 100.
    pub lying: u64,
    /// Half of the sessions are over this; zero: nobody leaves.
    pub half_session: Duration,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 1,
            nodes: 100,
            rtt_ms: (20, 200),
            loss: 20,
            behind_nat: 0,
            silent: 0,
            lying: 0,
            half_session: Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Honest,
    Silent,
    Liar,
}

pub struct Machine {
    pub address: SocketAddr,
    pub kind: Kind,
    pub behind_nat: bool,
    pub dht: Option<Dht>,
    /// Where it sent to, and when: what its NAT lets in.
    sent_to: HashMap<SocketAddr, Time>,
    pub asks: BTreeMap<AskId, Asked>,
    wakes_at: Time,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    began: Time,
}

/// What an ask brought.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub began: Time,
    pub first: Option<Time>,
    pub done: Option<Time>,
    pub peers: Vec<SocketAddr>,
    pub item: Option<Vec<u8>>,
    pub answered: Vec<Contact>,
    pub stored: usize,
    pub queries: usize,
}

enum Happening {
    Arrive { to: usize, from: SocketAddr, bytes: Box<[u8]> },
    Wake { machine: usize },
    Leave { machine: usize },
    Return { machine: usize },
}

pub struct Net {
    pub plan: Plan,
    pub now: Time,
    pub rng: Rng,
    pub machines: Vec<Machine>,
    by_address: HashMap<SocketAddr, usize>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    happenings: HashMap<u64, Happening>,
    next: u64,
    next_ask: u64,
    /// While set, machines below this number and those from it on do not reach each other.
    pub split_at: Option<usize>,
    buffer: Vec<u8>,
    pub datagrams: u64,
}

impl Net {
    /// All machines, each told of one that came before it; they join over half a minute.
    pub fn new(plan: Plan) -> Net {
        let mut rng = Rng::new(seed_bytes(plan.seed));
        let mut machines = Vec::new();
        for n in 0..plan.nodes {
            let ip = Ipv4Addr::from(0x0b00_0000 + u32::try_from(n).expect("fewer") * 257);
            // The first ones are where everybody joins: they are like routers of a public network.
            let luck = if n < 4 { 99 } else { rng.below(100) };
            let kind = match luck {
                luck if luck < plan.silent => Kind::Silent,
                luck if luck < plan.silent + plan.lying => Kind::Liar,
                _ => Kind::Honest,
            };
            let behind_nat = n >= 4 && kind == Kind::Honest && rng.below(100) < plan.behind_nat;
            machines.push(Machine {
                address: SocketAddr::from((ip, 9978)),
                kind,
                behind_nat,
                dht: None,
                sent_to: HashMap::new(),
                asks: BTreeMap::new(),
                wakes_at: Time(u64::MAX),
                datagrams_sent: 0,
                bytes_sent: 0,
                began: Time(0),
            });
        }
        let by_address = machines.iter().enumerate().map(|(n, machine)| (machine.address, n)).collect();
        let mut net = Net {
            plan,
            now: Time(0),
            rng,
            machines,
            by_address,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            next: 0,
            next_ask: 0,
            split_at: None,
            buffer: Vec::new(),
            datagrams: 0,
        };
        for machine in 0..net.machines.len() {
            let wait = if machine < 4 { machine as u64 * 100 } else { 1000 + net.rng.below(30_000) };
            net.at(Time(wait), Happening::Return { machine });
        }
        net
    }

    pub fn is_up(&self, machine: usize) -> bool {
        self.machines[machine].dht.is_some()
    }

    /// Honest machines that are up, and can be reached.
    pub fn open(&self) -> Vec<usize> {
        let is_open =
            |n: &usize| self.is_up(*n) && !self.machines[*n].behind_nat && self.machines[*n].kind == Kind::Honest;
        (0..self.machines.len()).filter(is_open).collect()
    }

    /// Honest machines that are up.
    pub fn honest(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|n| self.is_up(*n) && self.machines[*n].kind == Kind::Honest).collect()
    }

    pub fn ask(&mut self, machine: usize, what: Ask) -> AskId {
        self.next_ask += 1;
        let ask = AskId(self.next_ask);
        self.machines[machine].asks.insert(ask, Asked { began: self.now, ..Asked::default() });
        self.input(machine, Input::Ask { ask, what });
        ask
    }

    pub fn input(&mut self, machine: usize, input: Input<'_>) {
        let now = self.now;
        if let Some(dht) = &mut self.machines[machine].dht {
            dht.handle(now, input);
            self.drain(machine);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _))) = self.queue.peek()
            && *at <= end
        {
            let Reverse((at, number)) = self.queue.pop().expect("peeked");
            self.now = at;
            let happening = self.happenings.remove(&number).expect("queued with its number");
            self.happen(happening);
        }
        self.now = end;
    }

    /// Asks, runs until it is done, and takes what it brought.
    pub fn ask_and_wait(&mut self, machine: usize, what: Ask) -> Asked {
        let ask = self.ask(machine, what);
        for _ in 0..600 {
            self.run_for(Duration::from_millis(50));
            if self.machines[machine].asks[&ask].done.is_some() {
                break;
            }
        }
        self.machines[machine].asks.remove(&ask).expect("asked above")
    }

    /// Any address but ours, of a kind that liars name.
    fn martian(&mut self) -> SocketAddr {
        let [a, b, c, d] = self.rng.bytes();
        let ip = match a % 6 {
            0 => [127, b, c, d],
            1 => [10, b, c, d],
            2 => [224, b, c, d],
            3 => [192, 168, c, d],
            4 => [0, b, c, d],
            _ => [198, 51, 100, d],
        };
        SocketAddr::from((ip, u16::from(b) << 8 | u16::from(c)))
    }

    fn at(&mut self, time: Time, happening: Happening) {
        self.next += 1;
        self.queue.push(Reverse((time, self.next)));
        self.happenings.insert(self.next, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { to, from, bytes } => self.arrive(to, from, &bytes),
            Happening::Wake { machine } => {
                if self.machines[machine].wakes_at <= self.now {
                    self.machines[machine].wakes_at = Time(u64::MAX);
                    self.input(machine, Input::Tick);
                }
            }
            Happening::Leave { machine } => {
                self.machines[machine].dht = None;
                let away = self.session() / 4 + Duration::from_secs(1);
                self.at(self.now + away, Happening::Return { machine });
            }
            Happening::Return { machine } => self.come_up(machine),
        }
    }

    /// How long a session lasts: half of them end by `half_session`, as the original's peers did (exponential).
    fn session(&mut self) -> Duration {
        let share = (self.rng.below(1_000_000) + 1) as f64 / 1_000_001.0;
        self.plan.half_session.mul_f64(-share.log2())
    }

    fn come_up(&mut self, machine: usize) {
        let seed = self.rng.bytes();
        let config = Config {
            mainline: Mainline::Off,
            families: vec![Family::V4],
            reach: (machine < 4).then_some(Reach::Open),
            ..Config::new(seed)
        };
        self.machines[machine].dht = Some(Dht::new(config, self.now));
        self.machines[machine].sent_to.clear();
        self.machines[machine].wakes_at = Time(u64::MAX);
        (self.machines[machine].datagrams_sent, self.machines[machine].began) = (0, self.now);
        for entrance in 0..4 {
            if entrance != machine {
                let address = self.machines[entrance].address;
                self.input(machine, Input::Entrance(address));
            }
        }
        if machine >= 4 && !self.plan.half_session.is_zero() {
            let stay = self.session();
            self.at(self.now + stay, Happening::Leave { machine });
        }
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        if !self.is_up(to) {
            return;
        }
        match self.machines[to].kind {
            Kind::Silent if matches!(Message::parse(bytes).map(|it| it.body), Some(Body::Query { .. })) => {}
            Kind::Liar if matches!(Message::parse(bytes).map(|it| it.body), Some(Body::Query { .. })) => {
                self.lie(to, from, bytes);
            }
            _ => self.input(to, Input::Datagram { from, bytes }),
        }
    }

    /// A liar's answer: nodes and peers that are not there, ever closer; another id than it has; too much of everything.
    fn lie(&mut self, liar: usize, to: SocketAddr, bytes: &[u8]) {
        let Some(Message { tx, network, body: Body::Query { query, .. }, .. }) = Message::parse(bytes) else {
            return;
        };
        let id = self.machines[liar].dht.as_ref().map_or(NodeId([0; 20]), |dht| dht.status()[0].id);
        let target = match query {
            Query::FindNode { target, .. } | Query::Get { target, .. } => target,
            Query::GetPeers { key, .. } => key,
            _ => id,
        };
        let mut reply = Reply { token: Some(b"lie".to_vec()), ..Reply::from(id) };
        for n in 0..30_u8 {
            let mut near = target;
            near.0[19] ^= n;
            let address = self.martian();
            reply.nodes.push(Contact { id: near, address });
            reply.values.push(self.martian());
        }
        match self.rng.below(4) {
            0 => reply.id = NodeId(self.rng.bytes()),
            1 => reply.item = Some(b"3:lie".to_vec()),
            2 => reply.values.clear(),
            _ => reply.nodes.truncate(8),
        }
        let seen_as = Some(self.martian());
        let message = Message { tx, network, seen_as, read_only: false, body: Body::Reply(Box::new(reply)) };
        let mut datagram = Vec::new();
        message.write(&mut datagram);
        self.transmit(liar, to, &datagram);
    }

    fn drain(&mut self, machine: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let now = self.now;
            let Some(dht) = &mut self.machines[machine].dht else { break };
            match dht.poll(now, &mut buffer) {
                Output::Send { to } => self.transmit(machine, to, &buffer),
                Output::Event(event) => self.note(machine, event),
                Output::WakeAt(at) => {
                    if at < self.machines[machine].wakes_at {
                        self.machines[machine].wakes_at = at;
                        self.at(at, Happening::Wake { machine });
                    }
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn note(&mut self, machine: usize, event: Event) {
        let now = self.now;
        let asks = &mut self.machines[machine].asks;
        match event {
            Event::Peer { ask, peer } => {
                if let Some(asked) = asks.get_mut(&ask) {
                    asked.first.get_or_insert(now);
                    asked.peers.push(peer);
                }
            }
            Event::Item { ask, item } => {
                if let Some(asked) = asks.get_mut(&ask) {
                    (asked.item, asked.done) = (Some(item), Some(now));
                }
            }
            Event::Hop { ask, hop: apt_p2p::dht::Hop::Answered { contact, .. } } => {
                if let Some(asked) = asks.get_mut(&ask) {
                    asked.answered.push(contact);
                }
            }
            Event::Done { ask, summary } => {
                if let Some(asked) = asks.get_mut(&ask) {
                    (asked.done, asked.stored, asked.queries) = (Some(now), summary.stored, summary.queries);
                }
            }
            _ => {}
        }
    }

    fn transmit(&mut self, machine: usize, to: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        let sender = &mut self.machines[machine];
        sender.datagrams_sent += 1;
        sender.bytes_sent += bytes.len() as u64;
        self.datagrams += 1;
        if sender.kind == Kind::Honest {
            self.check_sent(machine, to, bytes);
        }
        let from = self.machines[machine].address;
        if self.machines[machine].behind_nat {
            self.machines[machine].sent_to.insert(to, now);
        }
        let Some(receiver) = self.by_address.get(&to).copied() else { return };
        let is_split = self.split_at.is_some_and(|at| (machine < at) != (receiver < at));
        if is_split || self.rng.below(1000) < self.plan.loss {
            return;
        }
        if self.machines[receiver].behind_nat {
            let opened = self.machines[receiver].sent_to.get(&from).copied();
            if opened.is_none_or(|at| now.since(at) > Duration::from_secs(60)) {
                return;
            }
        }
        let one_way = self.rtt_ms(machine, receiver) / 2;
        let jitter = self.rng.below(one_way / 5 + 1);
        self.at(
            now + Duration::from_millis(one_way * 9 / 10 + jitter),
            Happening::Arrive { to: receiver, from, bytes: bytes.into() },
        );
    }

    fn rtt_ms(&self, a: usize, b: usize) -> u64 {
        let (low, high) = (a.min(b) as u64, a.max(b) as u64);
        let mixed =
            ((low * 0x9e37_79b9) ^ (high * 0x85eb_ca6b) ^ self.plan.seed).wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> 33;
        let (least, most) = self.plan.rtt_ms;
        least + mixed % (most - least + 1)
    }

    /// The rules of the wire, checked on each datagram of an honest node, by other means than its own.
    fn check_sent(&self, machine: usize, to: SocketAddr, bytes: &[u8]) {
        let plan = self.plan.seed;
        assert!(bytes.len() <= 1232, "seed {plan}: {} bytes were sent", bytes.len());
        let SocketAddr::V4(to) = to else { panic!("seed {plan}: there is only IPv4 here") };
        let [a, b, ..] = to.ip().octets();
        let is_martian = matches!(a, 0 | 10 | 127 | 224..=255) || a == 192 && b == 168 || a == 172 && b & 0xf0 == 16;
        assert!(!is_martian && to.port() >= 1024, "seed {plan}: sent to {to}");
        let sender = &self.machines[machine];
        let Some(dht) = &sender.dht else { return };
        let traffic = dht.traffic(self.now);
        let allowed = OWN_BURST + OWN_RATE * (self.now.since(sender.began).as_secs() + 1);
        assert!(traffic.asked + traffic.upkeep <= allowed, "seed {plan}: {traffic:?} exceeds {allowed}");
    }
}

pub fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}

pub fn peers(key: NodeId) -> Ask {
    Ask::Peers { key, network: Network::Overlay, traced: false }
}

pub fn announce(key: NodeId) -> Ask {
    Ask::Announce { key, network: Network::Overlay, hint: None }
}

pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (share * sorted.len() as f64) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
