//! The DHT: Kademlia nodes on two networks, as a state machine (BEP 5, 32, 42, 43, 44; docs/PROTOCOL.md).
//!
//! Owns what is known of others and what they are asked; refuses to know sockets, clocks, threads, files. Two verbs:
//! [`Dht::handle`] takes in what happened, then [`Dht::poll`] is called until it answers [`Output::WakeAt`].
//!
//! ```text
//! datagram ─▶ guard ─▶ node (overlay │ mainline, IPv4 │ IPv6) ─▶ reply
//! ask ─▶ lookup ⇄ calls in flight ─▶ events: peers as they are found, then the end
//! time ─▶ stalls, refreshes, announcements
//! ```

mod address;
mod answer;
pub mod bencode;
mod calls;
mod common;
mod config;
mod contact;
mod crawl;
mod guard;
mod id;
mod input;
mod key;
mod lookup;
mod meeting;
pub mod message;
mod neighbourhood;
mod node;
mod output;
mod own;
mod quarantine;
mod records;
mod rng;
mod running;
mod status;
mod storing;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod upkeep;
mod witnesses;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use self::address::Reach;
pub use self::config::{Config, Mainline};
pub use self::contact::{Contact, Family, is_sendable};
pub use self::crawl::{Crawl, CrawlInput, CrawlOutput, CrawlPlan, Sessions, Still, Survey};
pub use self::id::{Distance, NodeId};
pub use self::input::{Ask, AskId, Input, Network};
pub use self::key::{key, rendezvous};
pub use self::message::{Hint, item_target};
pub use self::output::{Event, Hop, Output, Summary};
pub use self::rng::Rng;
pub use self::status::{NodeStatus, Traffic};

use self::answer::Asked;
use self::bencode::Value;
use self::common::{Common, Settled};
use self::message::{Body, Message, Want};
use self::node::{Node, Seat};
use self::own::Own;
use self::running::{Goal, Owner};
use crate::digest::Digest;
use crate::limits::{CLOSEST, ITEM_LEN, SAVED_CONTACTS, UPKEEP_PAUSE, UPKEEP_TIME};
use crate::sorted::SortedMap;
use crate::time::Time;

struct Open {
    /// Lookups or dials of it that are under way, one a family.
    under_way: usize,
    summary: Summary,
}

/// The DHT's state.
pub struct Dht {
    config: Config,
    common: Common,
    /// The overlay's first.
    nodes: Vec<Node>,
    asks: SortedMap<AskId, Open>,
    own: Own,
    /// The node by which others reached our port: it announces.
    reached_at: usize,
    rendezvous_at: Time,
    /// Looks for others in a row that found nobody.
    vain_meetings: u32,
    upkeep_at: Time,
    /// When each address last asked to be dialled.
    dials: SortedMap<IpAddr, Time>,
    dialling: usize,
}

impl Dht {
    /// Nodes that know nobody yet: [`Input::Entrance`] and [`Input::Known`] tell them where to begin.
    #[must_use]
    pub fn new(config: Config, now: Time) -> Dht {
        let mut common = Common::new(config.seed, now);
        let mut nodes = Vec::new();
        for network in [Network::Overlay, Network::Mainline] {
            if network == Network::Mainline && config.mainline == Mainline::Off {
                continue;
            }
            for family in &config.families {
                let is_overlay = network == Network::Overlay;
                let seat = Seat {
                    network: is_overlay.then(|| config.network.as_bytes().to_vec()),
                    family: *family,
                    tx_len: config.tx_len.clamp(2, 4),
                    is_private: if is_overlay { config.is_private } else { config.is_mainline_private },
                    read_only: !is_overlay && config.mainline == Mainline::Ask,
                    reach: config.reach,
                };
                nodes.push(Node::new(seat, &mut common, now));
            }
        }
        Dht {
            config,
            common,
            nodes,
            asks: SortedMap::new(),
            own: Own::default(),
            reached_at: 0,
            rendezvous_at: now,
            vain_meetings: 0,
            upkeep_at: now,
            dials: SortedMap::new(),
            dialling: 0,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.receive(from, bytes, now),
            Input::Ask { ask, what } => self.begin(ask, what, now),
            Input::Cancel(ask) => self.cancel(ask),
            Input::Entrance(address) => self.enter(address, now),
            Input::Known(network, address) => self.visit(network, address, now),
            Input::Announce { key, hint } => {
                if !self.own.add(key, hint, now) {
                    log::debug!("{key} is not announced: there are too many files");
                }
            }
            Input::Withdraw(key) => self.own.remove(&key),
            Input::Port(port) => {
                if self.config.port.replace(port) != Some(port) {
                    self.nodes.iter_mut().for_each(|node| node.address.forget_dial());
                    self.own.clear();
                }
            }
            Input::Dialled { from, tx, len, reached } => {
                self.dialling = self.dialling.saturating_sub(1);
                if let Some(at) = self.seat_of(Network::Overlay, Family::of(from)) {
                    self.nodes[at].dialled(from, tx, len, reached, &mut self.common);
                }
            }
            Input::Rejoin(family) => self.rejoin(family, now),
            Input::Tick => {}
        }
        self.run(now);
    }

    /// The next thing to do; a datagram is written into `buffer`.
    pub fn poll(&mut self, now: Time, buffer: &mut Vec<u8>) -> Output {
        while let Some(event) = self.common.events.pop_front() {
            match event {
                Event::Overlay { peer } => {
                    self.visit(Network::Overlay, peer, now);
                    return Output::Event(Event::Overlay { peer });
                }
                Event::Item { ask, .. } => {
                    // The other family need not go on.
                    if let Some(open) = self.asks.get(&ask) {
                        let summary = open.summary;
                        self.common.events.push_back(Event::Done { ask, summary });
                    }
                    self.cancel(ask);
                    return Output::Event(event);
                }
                Event::Dial { target, from, tx, len } => {
                    if self.may_dial(target.ip(), now) {
                        return Output::Event(Event::Dial { target, from, tx, len });
                    }
                }
                event => return Output::Event(event),
            }
        }
        match self.common.next_datagram(now, buffer) {
            Some(to) => Output::Send { to },
            None => Output::WakeAt(self.next_time(now)),
        }
    }

    /// What each node knows of itself.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        let status = |node: &Node| NodeStatus {
            network: node.network(),
            family: node.seat.family,
            id: node.id,
            address: node.address.own(),
            reach: node.address.reach(),
            contacts: node.table.len(),
            records: node.records.len(),
            keys: node.records.keys(),
            items: node.items.len(),
            calls: node.calls_len(),
            lookups: node.lookups_len(),
            stall_ms: node.stall_ms(),
        };
        self.nodes.iter().map(status).collect()
    }

    /// What all nodes have done.
    #[must_use]
    pub fn traffic(&self, now: Time) -> Traffic {
        Traffic {
            asked: self.common.sent[0],
            upkeep: self.common.sent[1],
            replied: self.common.replied,
            refused: self.common.guard.refused,
            own: self.own.len(),
            announced: self.own.announced(now),
        }
    }

    /// Contacts to begin with at the next start, those first that are known for longest.
    #[must_use]
    pub fn contacts(&self) -> Vec<(Network, Contact)> {
        let mut all = Vec::new();
        for node in &self.nodes {
            let mut entries: Vec<_> = node.table.entries().iter().filter(|entry| entry.misses == 0).collect();
            entries.sort_by_key(|entry| entry.since);
            all.extend(
                entries
                    .into_iter()
                    .take(SAVED_CONTACTS / self.nodes.len())
                    .map(|entry| (node.network(), entry.contact)),
            );
        }
        all
    }

    /// The key of a file on the overlay.
    #[must_use]
    pub fn key(&self, digest: &Digest) -> NodeId {
        key(&self.config.network, self.config.secret.as_deref(), digest)
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        if !contact::is_sendable(from, true) {
            return;
        }
        let Some(message) = Message::parse(bytes) else { return };
        let network = match &message.network {
            Some(name) if *name == self.config.network.as_bytes() => Network::Overlay,
            Some(_) => return,
            None => Network::Mainline,
        };
        let Some(at) = self.seat_of(network, Family::of(from)) else { return };
        let Message { tx, seen_as, read_only, body, .. } = message;
        match body {
            Body::Reply(reply) => self.nodes[at].receive_reply(from, &tx, seen_as, *reply, now, &mut self.common),
            Body::Error { code, text } => {
                log::debug!("{from} answers with error {code}: {text:?}");
                self.nodes[at].receive_error(from, &tx, now, &mut self.common);
            }
            Body::Query { id, query } => {
                if !self.common.guard.admits(from, self.nodes[at].seat.is_private, now) {
                    return;
                }
                let siblings = self.siblings(at, &query);
                let asked = Asked { from, len: bytes.len(), tx, read_only, id, siblings };
                self.nodes[at].answer(asked, query, now, &mut self.common);
            }
        }
    }

    /// Contacts in the other family, if the query wants them (BEP 32).
    fn siblings(&self, at: usize, query: &message::Query) -> Vec<Contact> {
        let (target, want) = match query {
            message::Query::FindNode { target, want } | message::Query::Get { target, want } => (target, *want),
            message::Query::GetPeers { key, want } => (key, *want),
            _ => return Vec::new(),
        };
        let other = match self.nodes[at].seat.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        match self.seat_of(self.nodes[at].network(), other) {
            Some(at) if want != Want::default() && want.includes(other) => {
                self.nodes[at].table.closest(target, CLOSEST)
            }
            _ => Vec::new(),
        }
    }

    fn seat_of(&self, network: Network, family: Family) -> Option<usize> {
        self.nodes.iter().position(|node| node.network() == network && node.seat.family == family)
    }

    fn begin(&mut self, ask: AskId, what: Ask, now: Time) {
        let (network, target, goal, traced) = match what {
            Ask::Peers { key, network, traced } => (network, key, Goal::Peers, traced),
            Ask::Announce { key, network, hint } => {
                (network, key, Goal::Announce { port: self.config.port, hint }, false)
            }
            Ask::Item { target, network } => (network, target, Goal::Item, false),
            Ask::Put { item, network } => (network, item_target(&item), Goal::Put { item }, false),
            Ask::Nodes { target, network, traced } => (network, target, Goal::Nodes, traced),
            Ask::Dial { port } => return self.ask_dial(ask, port, now),
        };
        let mut open = Open { under_way: 0, summary: Summary::default() };
        // An item that nobody keeps is not put.
        let is_vain = matches!(&goal, Goal::Put { item } if item.len() > ITEM_LEN || Value::parse(item).is_err());
        for node in self.nodes.iter_mut().filter(|node| node.network() == network && !is_vain) {
            let owner = Owner::Ask { ask, traced };
            open.under_way += usize::from(node.start(target, goal.clone(), owner, now));
        }
        if open.under_way == 0 {
            self.common.events.push_back(Event::Done { ask, summary: Summary::default() });
        } else {
            self.asks.insert(ask, open);
        }
        self.nodes.iter_mut().for_each(|node| node.look_at_home(ask, now, &mut self.common));
    }

    fn cancel(&mut self, ask: AskId) {
        self.asks.remove(&ask);
        self.nodes.iter_mut().for_each(|node| node.cancel(ask));
    }

    fn enter(&mut self, address: SocketAddr, now: Time) {
        for network in [Network::Overlay, Network::Mainline] {
            let at = self.seat_of(network, Family::of(address));
            if let Some(at) = at.filter(|at| self.nodes[*at].is_sendable(address)) {
                self.nodes[at].add_entrance(address, now);
            }
        }
        self.upkeep_at = self.upkeep_at.min(now);
    }

    fn rejoin(&mut self, family: Family, now: Time) {
        for node in self.nodes.iter_mut().filter(|node| node.seat.family == family) {
            node.rejoin(now);
        }
        self.upkeep_at = self.upkeep_at.min(now);
        (self.rendezvous_at, self.vain_meetings) = (self.rendezvous_at.min(now), 0);
    }

    fn visit(&mut self, network: Network, address: SocketAddr, now: Time) {
        if let Some(at) = self.seat_of(network, Family::of(address)) {
            self.nodes[at].visit(address, now, &mut self.common);
        }
    }

    /// What time and inputs have made possible.
    fn run(&mut self, now: Time) {
        self.common.is_held = false;
        for node in &mut self.nodes {
            node.note_time(now, &mut self.common);
        }
        if now >= self.upkeep_at {
            self.upkeep(now);
        }
        if std::mem::take(&mut self.common.has_moved) {
            self.own.renew(now);
        }
        self.share_address();
        self.announce(now);
        for node in &mut self.nodes {
            node.pump(now, &mut self.common);
        }
        for settled in std::mem::take(&mut self.common.settled) {
            match settled {
                Settled::Ask(ask, ended) => self.settle(ask, ended),
                Settled::Dialled(ask, family, reached) => self.settle_dial(ask, family, reached, now),
                Settled::Announced(key, stored) => self.own.note_announced(key, stored, now, &mut self.common.rng),
            }
        }
    }

    fn settle(&mut self, ask: AskId, ended: common::Ended) {
        let Some(open) = self.asks.get_mut(&ask) else { return };
        open.summary.queries += ended.queries;
        open.summary.answers += ended.answers;
        open.summary.stored += ended.stored;
        open.under_way -= 1;
        if open.under_way == 0 {
            let summary = open.summary;
            self.asks.remove(&ask);
            self.common.events.push_back(Event::Done { ask, summary });
        }
    }

    fn upkeep(&mut self, now: Time) {
        self.upkeep_at = now + UPKEEP_TIME;
        self.common.guard.tick(now);
        for node in &mut self.nodes {
            let next = node.upkeep(now, &mut self.common).max(now + UPKEEP_PAUSE);
            self.upkeep_at = self.upkeep_at.min(next);
        }
        self.meet_overlay(now);
        if self.rendezvous_at > now {
            self.upkeep_at = self.upkeep_at.min(self.rendezvous_at);
        }
    }

    /// Begins what announcements are due, as far as there is room.
    fn announce(&mut self, now: Time) {
        let Some(at) = self.announcer() else { return };
        let (node, own) = (&mut self.nodes[at], &mut self.own);
        while !own.is_paused(now) && self.common.has_spare(now) {
            node.neighbourhoods.retain(|near| near.is_good(now));
            let next = if let Some(near) = node.neighbourhoods.first() {
                let next = own.next_within(near.part, now);
                if next.is_none() {
                    node.neighbourhoods.remove(0);
                    continue;
                }
                // In turn, so that no node has all the work.
                node.neighbourhoods.rotate_left(1);
                next
            } else if own.next_time().is_none_or(|at| at > now) {
                return;
            } else {
                // What is close to one that is being looked up waits for what that finds.
                let (busy, close) = (Vec::from_iter(node.announcing()), node.table.levels().saturating_sub(6));
                own.next(now, |key: &NodeId| busy.iter().all(|other| other.common_bits(key) < close.max(1)))
            };
            let Some((key, hint)) = next else { return };
            let goal = Goal::Announce { port: self.config.port, hint };
            if !node.start(key, goal, Owner::Announcer(key), now) {
                return own.postpone(key, now);
            }
        }
    }

    fn next_time(&self, now: Time) -> Time {
        let mut next = self.upkeep_at;
        for node in &self.nodes {
            next = node.next_time(now).map_or(next, |at| next.min(at));
        }
        if let Some(at) = self.announcer() {
            // A due announcement may have to wait for the allowance, or for another one.
            let soonest = now + Duration::from_millis(200);
            next = self.own.next_time().map_or(next, |at| next.min(at.max(soonest)));
            if !self.nodes[at].neighbourhoods.is_empty() {
                next = next.min(self.own.next_early_time().max(soonest));
            }
        }
        if self.common.is_held {
            // Lookups that the allowance stopped go on when it is refilled.
            next = next.min(now + Duration::from_millis(100));
        }
        next.max(now + Duration::from_millis(1))
    }
}

impl Node {
    fn network(&self) -> Network {
        if self.seat.network.is_some() { Network::Overlay } else { Network::Mainline }
    }
}
