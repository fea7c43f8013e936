//! A network that is not there: many DHTs in virtual time, with links that delay and lose, NATs, partitions, and nodes
//! that are silent, slow, or lie. The same seed makes the same run.

#![allow(dead_code, unreachable_pub, reason = "tests, the benchmark and the example use different parts of it")]

#[path = "check.rs"]
pub mod check;
#[path = "liar.rs"]
mod liar;
#[path = "queue.rs"]
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use apt_p2p::dht::{
    Ask, AskId, Config, Contact, Dht, Event, Family, Hop, Input, Mainline, Network, NodeId, Output, Reach,
};
use apt_p2p::time::Time;

use check::Meter;
use queue::Queue;

/// A NAT forgets what nothing was sent to for this long, and whom it lets in for what (RFC 4787 asks for 2 minutes, many
/// home routers have 30 s to 60 s).
const NAT_TIME: Duration = Duration::from_secs(60);
/// The machines that all others know: they are there from the beginning, and always.
pub const ENTRANCES: usize = 4;

/// What a network is like.
#[derive(Clone, Debug)]
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
    /// Nodes that answer after 0.3 s to 2 s, of 100.
    pub slow: u64,
    /// Nodes that lie, of 100.
    pub lying: u64,
    /// Whether these know all others, and lie about where the closest are.
    pub is_slanderous: bool,
    /// Half of the sessions are over this; zero: nobody leaves.
    pub half_session: Duration,
    /// All join within this.
    pub join_time: Duration,
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
            slow: 0,
            lying: 0,
            is_slanderous: false,
            half_session: Duration::ZERO,
            join_time: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Honest,
    Silent,
    Slow,
    Liar,
}

/// What lets strangers' datagrams in, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    None,
    /// Lets in whoever is at an address that was sent to.
    Address,
    /// The same, from that port alone.
    Port,
}

pub struct Machine {
    pub address: SocketAddr,
    pub kind: Kind,
    pub nat: Nat,
    pub dht: Option<Box<Dht>>,
    /// What its NAT lets in until it forgets, and when it last saw anything go out.
    opened: HashMap<SocketAddr, Time>,
    sent_at: Time,
    pub asks: BTreeMap<AskId, Asked>,
    /// When it wants to be woken, and for when that is queued.
    wakes_at: Time,
    queued_at: Time,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    pub came_up: Time,
    /// While it is, nothing reaches it, and it does nothing.
    pub is_stopped: bool,
    /// Counts its sessions.
    session: u32,
    pub meter: Meter,
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
    pub hops: u8,
    pub stored: usize,
    pub queries: usize,
}

impl Asked {
    /// Milliseconds to the first peer.
    pub fn first_ms(&self) -> Option<u64> {
        self.first.map(|at| at.0 - self.began.0)
    }

    pub fn done_ms(&self) -> Option<u64> {
        self.done.map(|at| at.0 - self.began.0)
    }
}

enum Happening {
    Arrive { to: u32, packet: u32 },
    Wake { machine: u32 },
    Leave { machine: u32, session: u32 },
    Return { machine: u32 },
}

struct Packet {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// SplitMix64: the network's own luck is not the DHT's.
pub struct Luck(pub u64);

impl Luck {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_be_bytes()[0])
    }

    pub fn id(&mut self) -> NodeId {
        NodeId(self.bytes())
    }

    pub fn pick(&mut self, from: &[usize]) -> usize {
        from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }
}

pub struct Net {
    pub plan: Plan,
    pub now: Time,
    pub luck: Luck,
    pub machines: Vec<Machine>,
    queue: Queue<Happening>,
    packets: Vec<Packet>,
    free: Vec<u32>,
    next_ask: u64,
    /// While set, machines below this number and those from it on do not reach each other.
    pub split_at: Option<usize>,
    buffer: Vec<u8>,
    pub datagrams: u64,
    /// What this machine sent to whom, if it is watched.
    pub watched: Option<usize>,
    pub seen: Vec<(SocketAddr, Vec<u8>)>,
}

impl Net {
    /// All machines, each told of the entrances; they join over `join_time`.
    pub fn new(plan: Plan) -> Net {
        let mut luck = Luck(plan.seed);
        let machines = (0..plan.nodes).map(|n| Machine::new(n, &plan, &mut luck)).collect();
        let mut net = Net {
            plan,
            now: Time(0),
            luck,
            machines,
            queue: Queue::new(),
            packets: Vec::new(),
            free: Vec::new(),
            next_ask: 0,
            split_at: None,
            buffer: Vec::new(),
            datagrams: 0,
            watched: None,
            seen: Vec::new(),
        };
        let join_ms = u64::try_from(net.plan.join_time.as_millis()).expect("a while").max(1);
        for machine in 0..net.machines.len() {
            let wait = if machine < ENTRANCES { machine as u64 * 100 } else { 1000 + net.luck.below(join_ms) };
            net.queue.push(Time(wait), Happening::Return { machine: number(machine) });
        }
        net
    }

    pub fn is_up(&self, machine: usize) -> bool {
        self.machines[machine].dht.is_some()
    }

    /// Machines that are up, answer truly, and can be reached.
    pub fn open(&self) -> Vec<usize> {
        self.honest().into_iter().filter(|n| self.machines[*n].nat == Nat::None).collect()
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
        let mut happenings = Vec::new();
        while let Some(at) = self.queue.next(end, &mut happenings) {
            self.now = at;
            for happening in happenings.drain(..) {
                self.happen(happening);
            }
        }
        self.now = end;
    }

    /// Asks, runs until it is done, and takes what it brought.
    pub fn ask_and_wait(&mut self, machine: usize, what: Ask) -> Asked {
        let ask = self.ask(machine, what);
        for _ in 0..3000 {
            if self.machines[machine].asks[&ask].done.is_some() {
                break;
            }
            self.run_for(Duration::from_millis(10));
        }
        self.machines[machine].asks.remove(&ask).expect("asked above")
    }

    /// A machine leaves now, without a word.
    pub fn leave(&mut self, machine: usize) {
        if let Some(dht) = self.machines[machine].dht.take() {
            check::bounds(&dht, self.now, self.plan.seed);
        }
        self.machines[machine].session += 1;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { to, packet } => {
                let Packet { from, bytes } = &mut self.packets[packet as usize];
                let (from, bytes) = (*from, std::mem::take(bytes));
                self.arrive(to as usize, from, &bytes);
                self.packets[packet as usize].bytes = bytes;
                self.free.push(packet);
            }
            Happening::Wake { machine } => {
                let it = &mut self.machines[machine as usize];
                it.queued_at = Time(u64::MAX);
                if it.is_stopped {
                    // It is woken when it goes on.
                } else if it.wakes_at <= self.now {
                    self.input(machine as usize, Input::Tick);
                } else {
                    self.wake(machine as usize);
                }
            }
            Happening::Leave { machine, session } => {
                if self.machines[machine as usize].session == session {
                    self.leave(machine as usize);
                    let away = self.session() / 4 + Duration::from_secs(1);
                    self.queue.push(self.now + away, Happening::Return { machine });
                }
            }
            Happening::Return { machine } => self.come_up(machine as usize),
        }
    }

    /// How long a session lasts: half of them end by `half_session`, as the original's peers did (exponential).
    fn session(&mut self) -> Duration {
        let share = (self.luck.below(1_000_000) + 1) as f64 / 1_000_001.0;
        self.plan.half_session.mul_f64(-share.log2())
    }

    fn come_up(&mut self, machine: usize) {
        let config = Config {
            mainline: Mainline::Off,
            families: vec![Family::V4],
            reach: (machine < ENTRANCES).then_some(Reach::Open),
            ..Config::new(self.luck.bytes())
        };
        let it = &mut self.machines[machine];
        it.dht = Some(Box::new(Dht::new(config, self.now)));
        it.opened.clear();
        (it.wakes_at, it.queued_at) = (Time(u64::MAX), Time(u64::MAX));
        (it.datagrams_sent, it.bytes_sent, it.came_up, it.meter) = (0, 0, self.now, Meter::default());
        let session = it.session;
        for entrance in (0..ENTRANCES).filter(|entrance| *entrance != machine) {
            let address = self.machines[entrance].address;
            self.input(machine, Input::Entrance(address));
        }
        if machine >= ENTRANCES && !self.plan.half_session.is_zero() {
            let stay = self.session();
            self.queue.push(self.now + stay, Happening::Leave { machine: number(machine), session });
        }
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let kind = self.machines[to].kind;
        match kind {
            _ if !self.is_up(to) || self.machines[to].is_stopped => {}
            Kind::Silent if check::is_query(bytes) => {}
            Kind::Liar if check::is_query(bytes) => self.lie(to, from, bytes),
            _ => self.input(to, Input::Datagram { from, bytes }),
        }
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
                    self.machines[machine].wakes_at = at;
                    self.wake(machine);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn wake(&mut self, machine: usize) {
        let it = &mut self.machines[machine];
        if it.wakes_at < it.queued_at {
            it.queued_at = it.wakes_at;
            self.queue.push(it.wakes_at, Happening::Wake { machine: number(machine) });
        }
    }

    fn note(&mut self, machine: usize, event: Event) {
        let now = self.now;
        let (Event::Peer { ask, .. }
        | Event::Item { ask, .. }
        | Event::Hop { ask, .. }
        | Event::Done { ask, .. }
        | Event::Hint { ask, .. }
        | Event::Dialled { ask, .. }) = event
        else {
            return;
        };
        let Some(asked) = self.machines[machine].asks.get_mut(&ask) else { return };
        match event {
            Event::Peer { peer, .. } => {
                asked.first.get_or_insert(now);
                asked.peers.push(peer);
            }
            Event::Item { item, .. } => (asked.item, asked.done) = (Some(item), Some(now)),
            Event::Hop { hop: Hop::Answered { contact, .. }, .. } => asked.answered.push(contact),
            Event::Hop { hop: Hop::Asked { hop, .. }, .. } => asked.hops = asked.hops.max(hop + 1),
            Event::Done { summary, .. } => {
                (asked.done, asked.stored, asked.queries) = (Some(now), summary.stored, summary.queries);
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
        if sender.kind != Kind::Liar {
            sender.meter.note(now, bytes, self.plan.seed);
            check::datagram(to, bytes, self.plan.seed);
        }
        sender.pass_out(to, now, &mut self.luck);
        let (from, is_slow) = (sender.address, sender.kind == Kind::Slow);
        if self.watched == Some(machine) {
            self.seen.push((to, bytes.to_vec()));
        }
        let Some(receiver) = self.at(to) else { return };
        let is_split = self.split_at.is_some_and(|at| (machine < at) != (receiver < at));
        if is_split || self.luck.below(1000) < self.plan.loss || !self.machines[receiver].lets_in(from, now) {
            return;
        }
        let one_way = self.rtt_ms(machine, receiver) / 2;
        let slowness = if is_slow { 300 + self.luck.below(1700) } else { 0 };
        let ms = one_way * 9 / 10 + self.luck.below(one_way / 5 + 1) + slowness;
        let packet = self.packet(from, bytes);
        self.queue.push(now + Duration::from_millis(ms), Happening::Arrive { to: number(receiver), packet });
    }

    fn packet(&mut self, from: SocketAddr, bytes: &[u8]) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.packets.push(Packet { from, bytes: Vec::new() });
            number(self.packets.len() - 1)
        });
        let packet = &mut self.packets[at as usize];
        packet.from = from;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        at
    }

    /// Which machine is at an address.
    pub fn at(&self, address: SocketAddr) -> Option<usize> {
        let SocketAddr::V4(v4) = address else { return None };
        let machine = u32::from(*v4.ip()).checked_sub(FIRST_IP)? / IP_STEP;
        let machine = machine as usize;
        (self.machines.get(machine)?.address == address).then_some(machine)
    }

    fn rtt_ms(&self, a: usize, b: usize) -> u64 {
        let (low, high) = (a.min(b) as u64, a.max(b) as u64);
        let mixed = Luck(low << 32 | high ^ self.plan.seed << 16).next();
        let (least, most) = self.plan.rtt_ms;
        least + mixed % (most - least + 1)
    }
}

const FIRST_IP: u32 = 0x0b00_0000;
/// No two machines are in one /24.
const IP_STEP: u32 = 257;

impl Machine {
    fn new(n: usize, plan: &Plan, luck: &mut Luck) -> Machine {
        let is_entrance = n < ENTRANCES;
        let of_100 = if is_entrance { 99 } else { luck.below(100) };
        let kind = match of_100 {
            it if it < plan.silent => Kind::Silent,
            it if it < plan.silent + plan.lying => Kind::Liar,
            it if it < plan.silent + plan.lying + plan.slow => Kind::Slow,
            _ => Kind::Honest,
        };
        let nat = match luck.below(100) {
            it if it >= plan.behind_nat || is_entrance || kind != Kind::Honest => Nat::None,
            it if it % 2 == 0 => Nat::Address,
            _ => Nat::Port,
        };
        Machine {
            address: SocketAddr::from((Ipv4Addr::from(FIRST_IP + number(n) * IP_STEP), 9978)),
            kind,
            nat,
            dht: None,
            opened: HashMap::new(),
            sent_at: Time(0),
            asks: BTreeMap::new(),
            wakes_at: Time(u64::MAX),
            queued_at: Time(u64::MAX),
            datagrams_sent: 0,
            bytes_sent: 0,
            came_up: Time(0),
            is_stopped: false,
            session: 0,
            meter: Meter::default(),
        }
    }

    /// A datagram leaves by the NAT, if there is one; after a silence it gets another port.
    fn pass_out(&mut self, to: SocketAddr, now: Time, luck: &mut Luck) {
        if self.nat == Nat::None {
            return;
        }
        if now.since(self.sent_at) > NAT_TIME {
            self.opened.clear();
            let port = u16::try_from(20_000 + luck.below(40_000)).expect("a port");
            self.address.set_port(port);
        }
        self.sent_at = now;
        if self.opened.len() > 256 {
            self.opened.retain(|_, at| now.since(*at) <= NAT_TIME);
        }
        self.opened.insert(self.opening(to), now);
    }

    fn lets_in(&self, from: SocketAddr, now: Time) -> bool {
        self.nat == Nat::None || self.opened.get(&self.opening(from)).is_some_and(|at| now.since(*at) <= NAT_TIME)
    }

    fn opening(&self, mut other: SocketAddr) -> SocketAddr {
        if self.nat == Nat::Address {
            other.set_port(0);
        }
        other
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2³²")
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
