//! What a lookup ends with: announcements and items go to the closest nodes that it met.
//!
//! A node that is late is told once more, since what it was told may be lost; if it is late again, or refuses, the next
//! closest is told instead, up to [`SPARE_NODES`] of them. So eight keep it, also where one datagram in twenty is lost.

use std::net::SocketAddr;

use super::common::{Common, Ended};
use super::contact::Contact;
use super::id::NodeId;
use super::message::Query;
use super::neighbourhood::Neighbourhood;
use super::node::{Node, Purpose};
use super::running::{Goal, Owner, Running, settle};
use crate::limits::{CLOSEST, NEIGHBOURHOODS, SPARE_NODES};
use crate::time::Time;

/// Announcements or puts of one key on their way.
pub(super) struct Storing {
    key: NodeId,
    goal: Goal,
    owner: Owner,
    ended: Ended,
    /// Closest first.
    nodes: Vec<Told>,
}

/// One of the nodes that are to keep it.
struct Told {
    contact: Contact,
    token: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be told if others do not keep it.
    Spare,
    Told,
    /// Late, and told once more.
    ToldAgain,
    /// It keeps it, or does not.
    Over,
}

impl Storing {
    /// What is sent to one of the nodes.
    fn query(&self, at: usize, is_overlay: bool) -> Option<Query> {
        let token = self.nodes[at].token.clone();
        match &self.goal {
            Goal::Announce { port, hint } => {
                // What nobody of ours would read is not sent to mainline.
                let hint = hint.clone().filter(|_| is_overlay);
                Some(Query::AnnouncePeer { key: self.key, port: *port, token, hint })
            }
            Goal::Put { item } => Some(Query::Put { token, item: item.clone(), is_mutable: false }),
            Goal::Nodes | Goal::Peers | Goal::Item => None,
        }
    }

    /// Which node this is, if it is waited for.
    fn awaited(&self, to: SocketAddr) -> Option<usize> {
        let is_it = |told: &Told| told.contact.address == to && told.state.is_awaited();
        self.nodes.iter().position(is_it)
    }
}

impl State {
    fn is_awaited(self) -> bool {
        matches!(self, State::Told | State::ToldAgain)
    }
}

impl Node {
    /// A lookup is over.
    pub(super) fn finish(&mut self, running: Running, now: Time, common: &mut Common) {
        let Running { lookup, goal, owner, .. } = running;
        let ended = Ended { queries: lookup.queries(), answers: lookup.answers(), stored: 0 };
        if !goal.is_storing() {
            return settle(owner, ended, common);
        }
        let met = lookup.closest().filter_map(|(contact, token)| Some((contact, token?.clone())));
        let met: Vec<(Contact, Vec<u8>)> = met.collect();
        if matches!(owner, Owner::Announcer(_)) {
            self.learn(&lookup.target, &met, now);
        }
        let told = |(contact, token)| Told { contact, token, state: State::Spare };
        let nodes = met.into_iter().take(CLOSEST + SPARE_NODES).map(told).collect();
        let number = self.number();
        self.storing.insert(number, Storing { key: lookup.target, goal, owner, ended, nodes });
        for _ in 0..CLOSEST {
            self.tell_next(number, now, common);
        }
        self.settle_stored(number, common);
    }

    /// Keeps what an announcement met for those that follow.
    fn learn(&mut self, target: &NodeId, met: &[(Contact, Vec<u8>)], now: Time) {
        self.neighbourhoods.retain(|near| near.is_good(now));
        if let Some(near) = self.neighbourhoods.iter_mut().find(|near| near.includes(target)) {
            near.learn(met);
        } else if self.neighbourhoods.len() < NEIGHBOURHOODS {
            self.neighbourhoods.extend(Neighbourhood::new(target, met, now));
        }
    }

    /// Tells the closest that was not told yet.
    fn tell_next(&mut self, number: u64, now: Time, common: &mut Common) {
        let Some(storing) = self.storing.get_mut(&number) else { return };
        let Some(at) = storing.nodes.iter().position(|told| told.state == State::Spare) else { return };
        self.tell(number, at, State::Told, now, common);
    }

    fn tell(&mut self, number: u64, at: usize, then: State, now: Time, common: &mut Common) {
        let Some(storing) = self.storing.get_mut(&number) else { return };
        let contact = storing.nodes[at].contact;
        let is_urgent = matches!(storing.owner, Owner::Ask { .. });
        let query = storing.query(at, self.seat.network.is_some());
        storing.nodes[at].state = then;
        let is_told = query.is_some_and(|query| {
            common.may_store(is_urgent, now)
                && self.ask(contact.address, Some(contact.id), query, Purpose::Store(number), now, common)
        });
        if !is_told && let Some(storing) = self.storing.get_mut(&number) {
            storing.nodes[at].state = State::Over;
        }
    }

    /// A node keeps what it was told, or does not.
    pub(super) fn note_stored(&mut self, number: u64, to: SocketAddr, is_kept: bool, now: Time, common: &mut Common) {
        self.neighbourhoods.iter_mut().for_each(|near| near.note_stored(to, is_kept));
        let Some(storing) = self.storing.get_mut(&number) else { return };
        let Some(at) = storing.awaited(to) else { return };
        storing.nodes[at].state = State::Over;
        storing.ended.stored += usize::from(is_kept);
        if !is_kept {
            self.tell_next(number, now, common);
        }
        self.settle_stored(number, common);
    }

    /// A node is late to say that it keeps it.
    pub(super) fn note_store_late(&mut self, number: u64, to: SocketAddr, now: Time, common: &mut Common) {
        let Some(storing) = self.storing.get(&number) else { return };
        let Some(at) = storing.awaited(to) else { return };
        if storing.nodes[at].state == State::Told {
            self.tell(number, at, State::ToldAgain, now, common);
        } else {
            self.note_stored(number, to, false, now, common);
        }
    }

    /// Whoever waits for it hears of the end, if it is one.
    fn settle_stored(&mut self, number: u64, common: &mut Common) {
        let is_over = |storing: &Storing| !storing.nodes.iter().any(|told| told.state.is_awaited());
        if self.storing.get(&number).is_some_and(is_over)
            && let Some(storing) = self.storing.remove(&number)
        {
            settle(storing.owner, storing.ended, common);
        }
    }
}
