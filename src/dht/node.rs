//! One Kademlia node: in one network, in one address family. Asks others, and keeps what its lookups learn.
//!
//! Owns the routing table, the queries in flight and the lookups; what others ask of it is in `answer`.

use std::net::SocketAddr;

use super::address::{Address, Reach};
use super::calls::{Call, Calls, Late};
use super::common::{Common, Ended};
use super::contact::{Contact, Family, is_sendable};
use super::id::NodeId;
use super::lookup::Lookup;
use super::message::{Body, Message, Query, Reply, Want};
use super::neighbourhood::Neighbourhood;
use super::quarantine::Quarantine;
use super::records::{Items, Records};
use super::running::{Goal, Owner, Running, settle};
use super::storing::Storing;
use super::table::Table;
use super::token::Tokens;
use super::witnesses::Witnesses;
use super::{AskId, Event, Hop};
use crate::limits::{
    ANNOUNCE_WIDTH, CALLS, CLOSEST, ENTRANCES, LOOKUP_SEEDS, LOOKUPS, MAINLINE_RECORD_TIME, PATIENCE, RECORD_TIME,
    SPARE_NODES, UPKEEP_LOOKUPS,
};
use crate::sorted::{SortedMap, SortedSet};
use crate::time::Time;

/// What a query in flight is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Lookup(u64),
    Store(u64),
    /// To see whether it is there.
    Ping,
    /// To join the network by somebody whose id is not known.
    Join,
    /// For a token, to ask to be dialled at this port.
    Token(AskId, u16),
    /// To be dialled.
    Dial(AskId),
}

impl Purpose {
    /// Whether the answer comes when a dial has ended, and never where we were dialled a moment ago: what says nothing of who is
    /// asked, or of the way there.
    fn is_slow(&self) -> bool {
        matches!(self, Purpose::Dial(_))
    }
}

/// What makes a node.
pub(super) struct Seat {
    /// The overlay's name; none on mainline.
    pub(super) network: Option<Vec<u8>>,
    pub(super) family: Family,
    pub(super) tx_len: usize,
    /// Whether private addresses are as good as others: the network was bootstrapped from one.
    pub(super) is_private: bool,
    /// Whether it asks and announces without ever answering (BEP 43).
    pub(super) read_only: bool,
    pub(super) reach: Option<Reach>,
}

pub(super) struct Node {
    pub(super) seat: Seat,
    pub(super) id: NodeId,
    pub(super) table: Table,
    pub(super) records: Records,
    pub(super) items: Items,
    pub(super) tokens: Tokens,
    pub(super) address: Address,
    /// Silent on this network; on the other the same address may answer.
    pub(super) quarantine: Quarantine,
    calls: Calls<Purpose>,
    pub(super) lookups: SortedMap<u64, Running>,
    pub(super) storing: SortedMap<u64, Storing>,
    /// Asks of ours to be dialled.
    pub(super) witnesses: SortedMap<AskId, Witnesses>,
    /// Where our own announcements were made lately.
    pub(super) neighbourhoods: Vec<Neighbourhood>,
    next_number: u64,
    /// Where to join: addresses whose ids are not known.
    pub(super) entrances: SortedSet<SocketAddr>,
    pub(super) join_at: Time,
    pub(super) joins: u32,
    /// Whether it joins however many contacts it has.
    pub(super) is_joining: bool,
    /// When each level of the table is looked into next.
    pub(super) refresh_at: Vec<Time>,
}

impl Node {
    pub(super) fn new(seat: Seat, common: &mut Common, now: Time) -> Node {
        let id = NodeId(common.rng.bytes());
        let life = if seat.network.is_some() { RECORD_TIME } else { MAINLINE_RECORD_TIME };
        Node {
            id,
            table: Table::new(id),
            records: Records::new(life),
            items: Items::default(),
            tokens: Tokens::new(&mut common.rng, now),
            address: Address::new(seat.reach, now),
            quarantine: Quarantine::default(),
            calls: Calls::new(seat.tx_len),
            lookups: SortedMap::new(),
            storing: SortedMap::new(),
            witnesses: SortedMap::new(),
            neighbourhoods: Vec::new(),
            next_number: 0,
            entrances: SortedSet::new(),
            join_at: now,
            joins: 0,
            is_joining: false,
            refresh_at: Vec::new(),
            seat,
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.seat.read_only || self.address.reach() == Reach::Closed
    }

    /// Whether this may be asked, or named to others.
    pub(super) fn is_sendable(&self, address: SocketAddr) -> bool {
        is_sendable(address, self.seat.is_private)
    }

    pub(super) fn is_asking(&self, is_such: impl FnMut(SocketAddr) -> bool) -> bool {
        self.calls.any(is_such)
    }

    pub(super) fn calls_len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn lookups_len(&self) -> usize {
        self.lookups.len()
    }

    pub(super) fn stall_ms(&self) -> u64 {
        u64::try_from(self.calls.stall_time().as_millis()).unwrap_or(u64::MAX)
    }

    /// Somewhere to join the network.
    pub(super) fn add_entrance(&mut self, address: SocketAddr, now: Time) {
        if self.entrances.len() >= ENTRANCES {
            self.entrances.pop_first();
        }
        self.entrances.insert(address);
        self.join_at = self.join_at.min(now);
    }

    /// The network may be another: what was learnt of it does not count, the contacts do.
    pub(super) fn rejoin(&mut self, now: Time) {
        self.address.forget(now);
        self.quarantine = Quarantine::default();
        self.table.forgive();
        self.refresh_at.clear();
        (self.join_at, self.joins, self.is_joining) = (now, 0, true);
    }

    /// Asks an address whether it is a node.
    pub(super) fn visit(&mut self, address: SocketAddr, now: Time, common: &mut Common) {
        if !self.quarantine.holds(address, now) && !self.table.has(address) && common.may_ask(false, now) {
            let query = Query::FindNode { target: self.id, want: Want::default() };
            self.ask(address, None, query, Purpose::Join, now, common);
        }
    }

    // ── lookups ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Begins a lookup; whether there is room for it.
    pub(super) fn start(&mut self, target: NodeId, goal: Goal, owner: Owner, now: Time) -> bool {
        let is_urgent = matches!(owner, Owner::Ask { .. });
        let same = |running: &&Running| matches!(running.owner, Owner::Ask { .. }) == is_urgent;
        let room = if is_urgent { LOOKUPS } else { UPKEEP_LOOKUPS };
        if self.lookups.values().filter(same).count() >= room {
            return false;
        }
        let is_patient = !matches!(goal, Goal::Peers | Goal::Item);
        let patient_until = if is_patient { now + PATIENCE } else { now };
        let is_own = matches!(owner, Owner::Announcer(_));
        let near = self.neighbourhoods.iter().find(|near| is_own && near.is_good(now) && near.includes(&target));
        let wanted = match near {
            Some(_) => CLOSEST,
            None if is_own => ANNOUNCE_WIDTH,
            None if goal.is_storing() => CLOSEST + SPARE_NODES,
            None => CLOSEST,
        };
        let mut lookup = Lookup::new(target, is_urgent, patient_until, wanted);
        (lookup.is_brief, lookup.is_storing) = (is_urgent && !is_patient, goal.is_storing());
        if let Some(near) = near {
            near.offer(&mut lookup);
        }
        let seeds = if near.is_some() { CLOSEST } else { LOOKUP_SEEDS };
        for contact in self.table.seeds(&target, seeds) {
            if !self.quarantine.holds(contact.address, now) {
                lookup.offer(contact);
            }
        }
        let number = self.number();
        let running = Running { lookup, goal, owner, peers: SortedSet::new(), hints: SortedSet::new() };
        self.lookups.insert(number, running);
        true
    }

    pub(super) fn cancel(&mut self, ask: AskId) {
        self.witnesses.remove(&ask);
        self.lookups.retain(|_, running| !matches!(running.owner, Owner::Ask { ask: of, .. } if of == ask));
    }

    /// Sends what lookups may send, those first that somebody waits for; ends those that are done.
    pub(super) fn pump(&mut self, now: Time, common: &mut Common) {
        for urgent in [true, false] {
            let numbers: Vec<u64> =
                self.lookups.iter().filter(|(_, it)| it.is_urgent() == urgent).map(|(n, _)| *n).collect();
            for number in numbers {
                self.pump_one(number, now, common);
            }
        }
    }

    fn pump_one(&mut self, number: u64, now: Time, common: &mut Common) {
        loop {
            let room = self.calls.len() < CALLS;
            let Some(running) = self.lookups.get_mut(&number) else { return };
            let is_urgent = running.is_urgent();
            let Some((contact, hop)) = running.lookup.next() else { break };
            if !room || !common.may_ask(is_urgent, now) {
                running.lookup.unask(&contact);
                return;
            }
            let query = running.query();
            running.trace(common, Hop::Asked { contact, hop });
            self.ask(contact.address, Some(contact.id), query, Purpose::Lookup(number), now, common);
        }
        if self.lookups.get(&number).is_some_and(|running| running.lookup.is_done(now))
            && let Some(running) = self.lookups.remove(&number)
        {
            self.finish(running, now, common);
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    // ── queries of ours ──────────────────────────────────────────────────────────────────────────────────────────

    /// Sends a query; whether there was room for it. The allowance was asked before.
    pub(super) fn ask(
        &mut self,
        to: SocketAddr,
        id: Option<NodeId>,
        query: Query,
        purpose: Purpose,
        now: Time,
        common: &mut Common,
    ) -> bool {
        if !self.is_sendable(to) {
            if let Purpose::Lookup(number) = purpose
                && let Some(running) = self.lookups.get_mut(&number)
            {
                running.lookup.note_loss(to);
            }
            return false;
        }
        let Some(tx) = self.calls.begin(to, id, purpose, now, &mut common.rng) else { return false };
        let message = Message {
            tx,
            network: self.seat.network.clone(),
            seen_as: None,
            read_only: self.is_read_only(),
            body: Body::Query { id: self.id, query },
        };
        common.send(to, message);
        true
    }

    /// The query that somebody answers.
    fn take_call(&mut self, tx: &[u8], from: SocketAddr, now: Time) -> Option<Call<Purpose>> {
        let call = self.calls.answered(tx, from)?;
        if !call.purpose.is_slow() {
            self.calls.note_round_trip(&call, now);
        }
        Some(call)
    }

    pub(super) fn receive_reply(
        &mut self,
        from: SocketAddr,
        tx: &[u8],
        seen_as: Option<SocketAddr>,
        reply: Reply,
        now: Time,
        common: &mut Common,
    ) {
        let Some(call) = self.take_call(tx, from, now) else { return };
        let contact = Contact { id: reply.id, address: from };
        common.guard.verify(from, now);
        self.quarantine.release(from);
        // Whoever names a contact by a false id has it asked by that; it answers by its own, as it did before.
        let is_expected = call.id.is_none_or(|id| id == contact.id) || self.table.id_at(from) == Some(contact.id);
        if is_expected && self.may_be_known(&contact) {
            self.table.note_answer(contact, now);
        } else {
            // It has another id by now, under which others may name it, or one that is not to be known.
            self.table.forget(from);
        }
        if let Some(seen_as) = seen_as
            && self.is_sendable(SocketAddr::new(seen_as.ip(), 1024))
            && self.address.note_vote(from, seen_as)
        {
            self.take_address(common);
        }
        match call.purpose {
            Purpose::Lookup(number) => self.note_lookup_answer(number, &call, reply, now, common),
            Purpose::Store(number) => self.note_stored(number, from, true, now, common),
            Purpose::Ping => {}
            Purpose::Join => self.note_joined(from, &reply, now),
            Purpose::Token(ask, port) => {
                let token = reply.token.unwrap_or_default();
                let dial = Query::Dial { port, token };
                if !common.may_ask(true, now) || !self.ask(from, call.id, dial, Purpose::Dial(ask), now, common) {
                    self.note_dialled(ask, false, now, common);
                }
            }
            Purpose::Dial(ask) => self.note_dialled(ask, reply.dialled == Some(true), now, common),
        }
    }

    /// An error is an answer too: the node is there, but does not help.
    pub(super) fn receive_error(&mut self, from: SocketAddr, tx: &[u8], now: Time, common: &mut Common) {
        let Some(call) = self.take_call(tx, from, now) else { return };
        common.guard.verify(from, now);
        self.note_no_answer(&call, now, common);
    }

    /// In a network of our own, ids must belong to addresses (BEP 42): so nobody chooses his place.
    pub(super) fn may_be_known(&self, contact: &Contact) -> bool {
        contact.id != self.id && (self.seat.network.is_none() || contact.id.belongs_to(contact.address.ip()))
    }

    fn note_lookup_answer(
        &mut self,
        number: u64,
        call: &Call<Purpose>,
        reply: Reply,
        now: Time,
        common: &mut Common,
    ) {
        let Some(mut running) = self.lookups.remove(&number) else { return };
        let hop = running.lookup.note_answer(call.to, reply.id, reply.token.clone());
        let ms = u64::try_from(now.since(call.sent).as_millis()).unwrap_or(u64::MAX);
        let peers = reply.values.len();
        running.trace(common, Hop::Answered { contact: Contact { id: reply.id, address: call.to }, ms, peers });
        // Who has another id by now leads nowhere, but what it keeps counts: whoever announced knew it by this one, or by
        // the one before.
        if let Some(hop) = hop {
            self.offer_named(&mut running.lookup, call.to, &reply, hop, now);
        }
        let is_over = running.take_findings(call.to, &reply, self.seat.is_private, common);
        if is_over {
            let ended = Ended { queries: running.lookup.queries(), answers: running.lookup.answers(), stored: 0 };
            return settle(running.owner, ended, common);
        }
        self.lookups.insert(number, running);
    }

    /// Offers a lookup whom a reply names, as far as they may be asked.
    fn offer_named(&self, lookup: &mut Lookup, by: SocketAddr, reply: &Reply, hop: u8, now: Time) {
        let nodes = match self.seat.family {
            Family::V4 => &reply.nodes,
            Family::V6 => &reply.nodes6,
        };
        for contact in nodes.iter().take(2 * CLOSEST) {
            let is_usable = self.is_sendable(contact.address) && self.may_be_known(contact);
            // Others may still give out the id that a node had before: we have heard it ourselves.
            let is_former = self.table.id_at(contact.address).is_some_and(|id| id != contact.id);
            if !is_usable || is_former {
                continue;
            }
            if self.quarantine.holds(contact.address, now) {
                lookup.offer_silent(*contact, by);
            } else {
                lookup.offer_named(*contact, hop, by);
            }
        }
    }

    fn note_joined(&mut self, by: SocketAddr, reply: &Reply, now: Time) {
        let own = self.id;
        let joining = |running: &Running| running.owner == Owner::Table && running.lookup.target == own;
        if !self.lookups.values().any(joining) {
            self.start(own, Goal::Nodes, Owner::Table, now);
        }
        let mut lookups = std::mem::take(&mut self.lookups);
        for running in lookups.values_mut().filter(|running| joining(running)) {
            self.offer_named(&mut running.lookup, by, reply, 1, now);
        }
        self.lookups = lookups;
    }

    // ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Calls that are late by now.
    pub(super) fn note_time(&mut self, now: Time, common: &mut Common) {
        while let Some(late) = self.calls.late(now) {
            match late {
                Late::Stalled(call) if call.purpose.is_slow() => {}
                Late::Lost(call) if call.purpose.is_slow() => self.note_no_answer(&call, now, common),
                Late::Stalled(call) => {
                    if !self.table.has(call.to) {
                        self.quarantine.suspect(call.to, now);
                    }
                    match call.purpose {
                        Purpose::Lookup(number) => self.note_stall(number, &call, now, common),
                        Purpose::Store(number) => self.note_store_late(number, call.to, now, common),
                        _ => {}
                    }
                }
                Late::Lost(call) => {
                    self.table.note_miss(call.to);
                    let is_trusted = self.table.at(call.to).is_some_and(|entry| entry.misses < 2);
                    if !is_trusted {
                        self.quarantine.note_silence(call.to, now);
                    }
                    self.note_no_answer(&call, now, common);
                }
            }
        }
    }

    /// A lookup's query is late: the same may be asked again, in case that it or its answer is lost.
    fn note_stall(&mut self, number: u64, call: &Call<Purpose>, now: Time, common: &mut Common) {
        let Some(running) = self.lookups.get_mut(&number) else { return };
        running.trace(common, Hop::Stalled { address: call.to });
        if !running.lookup.note_stall(call.to) {
            return;
        }
        let (query, is_urgent) = (running.query(), running.is_urgent());
        let is_asked =
            common.may_ask(is_urgent, now) && self.ask(call.to, call.id, query, Purpose::Lookup(number), now, common);
        if !is_asked && let Some(running) = self.lookups.get_mut(&number) {
            running.lookup.note_stall(call.to);
        }
    }

    fn note_no_answer(&mut self, call: &Call<Purpose>, now: Time, common: &mut Common) {
        match call.purpose {
            Purpose::Lookup(number) => {
                if let Some(running) = self.lookups.get_mut(&number) {
                    running.lookup.note_loss(call.to);
                    running.trace(common, Hop::Lost { address: call.to });
                }
            }
            Purpose::Store(number) => self.note_stored(number, call.to, false, now, common),
            Purpose::Dial(ask) | Purpose::Token(ask, _) => self.note_dialled(ask, false, now, common),
            Purpose::Ping | Purpose::Join => {}
        }
    }

    /// The next time that something is due, apart from upkeep.
    pub(super) fn next_time(&self, now: Time) -> Option<Time> {
        let patience = self.lookups.values().map(|running| running.lookup.patient_until()).filter(|at| *at > now);
        self.calls.next_time().into_iter().chain(patience).min()
    }

    /// Where our own announcements are being looked up.
    pub(super) fn announcing(&self) -> impl Iterator<Item = NodeId> {
        self.lookups.values().filter_map(|running| match running.owner {
            Owner::Announcer(key) => Some(key),
            _ => None,
        })
    }

    /// Our address is known, or another: the id must belong to it.
    fn take_address(&mut self, common: &mut Common) {
        let Some(own) = self.address.own() else { return };
        if !self.id.belongs_to(own.ip()) {
            self.set_id(NodeId::random_for(own.ip(), &mut common.rng));
        }
        common.has_moved |= self.address.is_elsewhere() && self.seat.network.is_some();
        common.events.push_back(Event::Address { family: self.seat.family, address: own });
    }

    pub(super) fn set_id(&mut self, id: NodeId) {
        self.id = id;
        self.table.set_own(id);
        self.refresh_at.clear();
    }
}
