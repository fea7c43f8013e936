//! A walk over all nodes of the overlay, as a state machine: who is there, who answers, how fast, for how long.
//!
//! It asks `find_node` alone, which every node answers anyway, never for a file's key: nobody learns what others have.
//! Polite: so many queries a second in all, each node twice a sweep, read-only (BEP 43), so nobody takes it into his
//! table. The first question is for the asked node's own neighbourhood, which finds all around it; the second, when it
//! answered, for a random place, which leads out of it; who did not answer gets the first one again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::bencode::Value;
use super::contact::{Contact, Family, is_sendable};
use super::guard::Bucket;
use super::id::NodeId;
use super::message::{Body, Message, Query, Reply, Want};
use super::rng::Rng;
use crate::limits::{
    CALL_TIME, CRAWL_NODES, CRAWL_PER_ADDRESS, CRAWL_RATE, CRAWL_SESSIONS, CRAWL_SWEEP_TIME, CRAWL_TRIES,
    CRAWL_VERSIONS,
};
use crate::sorted::{LargeMap, SortedMap};
use crate::time::Time;

/// Ages at which it is told how many sessions reach them: the original's "another hour" and "5 h", and those around.
const AGES: [Duration; 4] = [
    Duration::from_secs(20 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(24 * 3600),
];

/// What makes a crawl.
#[derive(Clone, Debug)]
pub struct CrawlPlan {
    /// Where randomness comes from.
    pub seed: [u8; 32],
    /// The overlay's name.
    pub network: String,
    /// The families that there are sockets for.
    pub families: Vec<Family>,
    /// Whether private addresses are as good as public ones.
    pub is_private: bool,
    /// How long to go on; zero: one sweep.
    pub duration: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum CrawlInput<'a> {
    /// A node to begin with.
    Known(SocketAddr),
    /// A datagram arrived.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum CrawlOutput {
    /// Send the datagram that stands in the buffer.
    Send {
        /// Where to.
        to: SocketAddr,
    },
    /// A sweep is over: a good time to look at [`Crawl::survey`].
    Swept,
    /// All is over.
    Done,
    /// Nothing more to do before this.
    WakeAt(Time),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the queue, after so many tries.
    Waiting(u8),
    /// Asked so many times.
    Asked(u8),
    /// It answered; in the queue for the second question.
    WaitingAgain,
    /// It answered, and was asked the second one.
    AskedAgain,
    Answered,
    Silent,
}

#[derive(Debug)]
struct Visit {
    id: Option<NodeId>,
    state: State,
    /// Since when it answers, and when it last did.
    session: Option<(Time, Time)>,
}

/// The walk.
pub struct Crawl {
    plan: CrawlPlan,
    id: NodeId,
    rng: Rng,
    allowance: Bucket,
    visits: LargeMap<SocketAddr, Visit>,
    queue: VecDeque<SocketAddr>,
    calls: SortedMap<[u8; 4], (SocketAddr, Time)>,
    /// Calls in the order in which they are lost.
    timers: VecDeque<(Time, [u8; 4])>,
    begun: Time,
    sweep_began: Time,
    is_sweeping: bool,
    is_done: bool,
    sweeps: usize,
    queries: u64,
    is_cut: bool,
    rtts_ms: Vec<u32>,
    versions: SortedMap<String, usize>,
    ended: Vec<(Time, Time)>,
}

impl Crawl {
    /// A walk that knows nobody yet: [`CrawlInput::Known`] tells it where to begin.
    #[must_use]
    pub fn new(plan: CrawlPlan, now: Time) -> Crawl {
        let mut rng = Rng::new(plan.seed);
        Crawl {
            id: NodeId(rng.bytes()),
            rng,
            plan,
            allowance: Bucket::full(1, now),
            visits: LargeMap::default(),
            queue: VecDeque::new(),
            calls: SortedMap::new(),
            timers: VecDeque::new(),
            begun: now,
            sweep_began: now,
            is_sweeping: true,
            is_done: false,
            sweeps: 0,
            queries: 0,
            is_cut: false,
            rtts_ms: Vec::new(),
            versions: SortedMap::new(),
            ended: Vec::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: CrawlInput<'_>) {
        match input {
            CrawlInput::Known(address) => self.meet(address, None),
            CrawlInput::Datagram { from, bytes } => self.receive(from, bytes, now),
            CrawlInput::Tick => {}
        }
        self.note_time(now);
        if !self.is_sweeping && !self.is_done && now >= self.sweep_began + CRAWL_SWEEP_TIME {
            self.begin_sweep(now);
        }
    }

    /// The next thing to do; a datagram is written into `buffer`.
    pub fn poll(&mut self, now: Time, buffer: &mut Vec<u8>) -> CrawlOutput {
        if self.is_done {
            return CrawlOutput::Done;
        }
        if !self.is_sweeping {
            return CrawlOutput::WakeAt(self.sweep_began + CRAWL_SWEEP_TIME);
        }
        if self.queue.is_empty() && self.calls.is_empty() {
            self.sweeps += 1;
            self.is_sweeping = false;
            self.is_done = self.sweep_began + CRAWL_SWEEP_TIME > self.begun + self.plan.duration;
            return CrawlOutput::Swept;
        }
        self.allowance.fill(CRAWL_RATE, 1, now);
        if !self.queue.is_empty() && self.allowance.take(1) {
            return CrawlOutput::Send { to: self.ask_next(now, buffer) };
        }
        let refilled = now + Duration::from_millis(1000 / CRAWL_RATE);
        let lost = self.timers.front().map(|(at, _)| *at);
        let next = if self.queue.is_empty() { lost } else { Some(lost.map_or(refilled, |at| at.min(refilled))) };
        CrawlOutput::WakeAt(next.unwrap_or(refilled).max(now + Duration::from_millis(1)))
    }

    /// What was seen so far; who answers and how fast, of the sweep that is under way or was the last.
    #[must_use]
    pub fn survey(&self, now: Time) -> Survey {
        let count = |is: fn(&Visit) -> bool| self.visits.values().filter(|visit| is(visit)).count();
        let mut rtts_ms = self.rtts_ms.clone();
        rtts_ms.sort_unstable();
        let mut versions: Vec<(String, usize)> =
            self.versions.iter().map(|(version, count)| (version.clone(), *count)).collect();
        versions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Survey {
            sweeps: self.sweeps,
            took: now.since(self.begun),
            queries: self.queries,
            nodes: self.visits.len(),
            answered: count(|visit| matches!(visit.state, State::WaitingAgain | State::AskedAgain | State::Answered)),
            silent: count(|visit| visit.state == State::Silent),
            v6: self.visits.keys().filter(|address| address.is_ipv6()).count(),
            is_cut: self.is_cut,
            rtt_ms: [0.5, 0.9].map(|share| quantile(&rtts_ms, share)),
            versions,
            sessions: self.sessions(now),
        }
    }

    fn sessions(&self, now: Time) -> Sessions {
        let open: Vec<(Time, Time)> = self.visits.values().filter_map(|visit| visit.session).collect();
        let all = || self.ended.iter().chain(&open);
        let length = |session: &(Time, Time)| session.1.since(session.0);
        // What lies between two sweeps is not seen: a session is as long as its nearest sweep says.
        let slack = CRAWL_SWEEP_TIME / 2;
        let still = AGES.into_iter().filter_map(|age| {
            let could: Vec<_> = all().filter(|session| now.since(session.0) + slack >= age).collect();
            let did = could.iter().filter(|session| length(session) + slack >= age).count();
            (self.sweeps > 1 && !could.is_empty()).then_some(Still { age, of: could.len(), count: did })
        });
        Sessions { seen: all().count(), ended: self.ended.len(), still: still.collect() }
    }

    fn begin_sweep(&mut self, now: Time) {
        self.sweep_began = now;
        self.is_sweeping = true;
        self.rtts_ms.clear();
        self.versions.clear();
        // Who was silent is asked again only if somebody still names it.
        self.visits.retain(|_, visit| visit.session.is_some());
        for (address, visit) in self.visits.iter_mut() {
            visit.state = State::Waiting(0);
            self.queue.push_back(*address);
        }
    }

    /// Somebody is named: if it may be asked and is new, it will be.
    fn meet(&mut self, address: SocketAddr, id: Option<NodeId>) {
        let is_ours = self.plan.families.contains(&Family::of(address));
        if !is_ours || !is_sendable(address, self.plan.is_private) || self.visits.contains_key(&address) {
            return;
        }
        let ports = SocketAddr::new(address.ip(), 0)..=SocketAddr::new(address.ip(), u16::MAX);
        let is_crowded = !self.plan.is_private && self.visits.range(ports).count() >= CRAWL_PER_ADDRESS;
        if is_crowded || self.visits.len() >= CRAWL_NODES {
            self.is_cut |= !is_crowded;
            return;
        }
        self.visits.insert(address, Visit { id, state: State::Waiting(0), session: None });
        self.queue.push_back(address);
    }

    fn ask_next(&mut self, now: Time, buffer: &mut Vec<u8>) -> SocketAddr {
        let to = self.queue.pop_front().expect("polled only while somebody waits");
        let place = NodeId(self.rng.bytes());
        let visit = self.visits.get_mut(&to).expect("who waits is known");
        let mut target = place;
        visit.state = match visit.state {
            State::Waiting(tries) => {
                target = visit.id.unwrap_or(place);
                State::Asked(tries + 1)
            }
            _ => State::AskedAgain,
        };
        let tx = self.rng.bytes();
        self.queries += 1;
        self.calls.insert(tx, (to, now));
        self.timers.push_back((now + CALL_TIME, tx));
        let is_both = self.plan.families.len() > 1;
        let message = Message {
            tx: tx.to_vec(),
            network: Some(self.plan.network.clone().into_bytes()),
            seen_as: None,
            read_only: true,
            body: Body::Query {
                id: self.id,
                query: Query::FindNode { target, want: Want { v4: is_both, v6: is_both } },
            },
        };
        buffer.clear();
        message.write(buffer);
        to
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        let Some(message) = Message::parse(bytes) else { return };
        let Ok(tx) = <[u8; 4]>::try_from(message.tx.as_slice()) else { return };
        let is_asked = self.calls.get(&tx).is_some_and(|(to, _)| *to == from);
        if !is_asked || message.network.as_deref() != Some(self.plan.network.as_bytes()) {
            return;
        }
        let (_, sent) = self.calls.remove(&tx).expect("looked up above");
        let reply = match message.body {
            Body::Reply(reply) => Some(reply),
            Body::Error { .. } => None,
            Body::Query { .. } => return,
        };
        let visit = self.visits.get_mut(&from).expect("who was asked is known");
        visit.session = Some((visit.session.map_or(now, |(since, _)| since), now));
        if visit.state == State::AskedAgain {
            visit.state = State::Answered;
        } else {
            visit.state = State::WaitingAgain;
            self.queue.push_back(from);
            self.rtts_ms.push(u32::try_from(now.since(sent).as_millis()).unwrap_or(u32::MAX));
            self.note_version(bytes);
        }
        if let Some(reply) = reply {
            self.take_nodes(from, &reply);
        }
    }

    fn take_nodes(&mut self, from: SocketAddr, reply: &Reply) {
        if let Some(visit) = self.visits.get_mut(&from) {
            visit.id = Some(reply.id);
        }
        // An id that does not belong to its address is one that nodes refuse too (BEP 42).
        let may_be = |contact: &&Contact| contact.id.belongs_to(contact.address.ip());
        let named: Vec<Contact> = reply.nodes.iter().chain(&reply.nodes6).filter(may_be).copied().collect();
        named.into_iter().for_each(|contact| self.meet(contact.address, Some(contact.id)));
    }

    fn note_version(&mut self, bytes: &[u8]) {
        let version =
            Value::parse(bytes).ok().and_then(|top| top.field(b"v")).and_then(Value::bytes).map(<[u8]>::to_vec);
        let mut name = version.as_deref().map_or_else(|| "none given".into(), version_name);
        if self.versions.len() >= CRAWL_VERSIONS && !self.versions.contains_key(&name) {
            name = "others".into();
        }
        *self.versions.get_or_insert(name, 0) += 1;
    }

    /// Calls that nobody answered: once more, or it is silent.
    fn note_time(&mut self, now: Time) {
        while let Some((at, tx)) = self.timers.front().copied()
            && (at <= now || !self.calls.contains_key(&tx))
        {
            self.timers.pop_front();
            let Some((to, _)) = self.calls.remove(&tx) else { continue };
            let visit = self.visits.get_mut(&to).expect("who was asked is known");
            let State::Asked(tries) = visit.state else {
                visit.state = State::Answered;
                continue;
            };
            if tries < CRAWL_TRIES {
                visit.state = State::Waiting(tries);
                self.queue.push_back(to);
                continue;
            }
            visit.state = State::Silent;
            if let Some(session) = visit.session.take()
                && self.ended.len() < CRAWL_SESSIONS
            {
                self.ended.push(session);
            }
        }
    }
}

/// The words of BEP 5's `v`: two letters for the client, two bytes for its version.
fn version_name(bytes: &[u8]) -> String {
    match bytes {
        [a, b, major, minor] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() => {
            format!("{}{} {major}.{minor}", char::from(*a), char::from(*b))
        }
        other => other.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn quantile(sorted: &[u32], share: f64) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index")]
    let at = (share * last as f64).round() as usize;
    Some(sorted[at])
}

/// What a crawl saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Sweeps that are over.
    pub sweeps: usize,
    /// How long it took so far.
    pub took: Duration,
    /// Queries sent.
    pub queries: u64,
    /// Nodes that were named in the last sweep, or known from the one before.
    pub nodes: usize,
    /// Of these, those that answered.
    pub answered: usize,
    /// Of these, those that did not: gone, or unreachable.
    pub silent: usize,
    /// Nodes with an IPv6 address.
    pub v6: usize,
    /// Whether more were named than a crawl takes.
    pub is_cut: bool,
    /// Round trips that half, and nine in ten, of the answers took no longer than.
    pub rtt_ms: [Option<u32>; 2],
    /// Clients by name and version, and how many have each; the most common first.
    pub versions: Vec<(String, usize)>,
    /// How long nodes stay.
    pub sessions: Sessions,
}

/// How long nodes stay, as repeated sweeps see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Times that a node was seen to be there.
    pub seen: usize,
    /// Of these, those that were seen to end.
    pub ended: usize,
    /// How many reach an age.
    pub still: Vec<Still>,
}

/// Of the sessions that began long enough ago, how many were as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Still {
    /// The age.
    pub age: Duration,
    /// Sessions that began so long ago or longer.
    pub of: usize,
    /// Of these, those that lasted so long.
    pub count: usize,
}

#[cfg(test)]
mod tests;
