//! A lookup under way: why and for whom it is made, what it asks, and what it passes on as it finds it.

use std::net::SocketAddr;

use super::common::{Common, Ended, Settled};
use super::contact::{Prefix, is_sendable};
use super::id::NodeId;
use super::input::AskId;
use super::lookup::Lookup;
use super::message::{Hint, Query, Reply, Want, item_target};
use super::node::Node;
use super::output::{Event, Hop};
use crate::limits::{ITEM_LEN, PEERS_FOUND, VALUES, VALUES_READ};
use crate::sorted::SortedSet;
use crate::time::Time;

/// Why a lookup is made.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// To meet the nodes there.
    Nodes,
    /// To find who has it.
    Peers,
    /// To tell the nodes there that we have it.
    Announce { port: Option<u16>, hint: Option<Hint> },
    /// To get the item there.
    Item,
    /// To put an item there.
    Put { item: Vec<u8> },
}

impl Goal {
    pub(super) fn is_storing(&self) -> bool {
        matches!(self, Goal::Announce { .. } | Goal::Put { .. })
    }
}

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Somebody who waits; `traced` hears of each hop.
    Ask { ask: AskId, traced: bool },
    /// Our own announcement of this key.
    Announcer(NodeId),
    /// The search for nodes of the overlay on mainline.
    Rendezvous,
    /// The table.
    Table,
}

/// A lookup under way, for whom, and what it has passed on.
pub(super) struct Running {
    pub(super) lookup: Lookup,
    pub(super) goal: Goal,
    pub(super) owner: Owner,
    /// Peers that the asker knows already.
    pub(super) peers: SortedSet<SocketAddr>,
    pub(super) hints: SortedSet<(Prefix, Hint)>,
}

impl Running {
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self.owner, Owner::Ask { .. })
    }

    pub(super) fn query(&self) -> Query {
        let (target, want) = (self.lookup.target, Want::default());
        match self.goal {
            Goal::Nodes => Query::FindNode { target, want },
            Goal::Peers | Goal::Announce { .. } => Query::GetPeers { key: target, want },
            Goal::Item | Goal::Put { .. } => Query::Get { target, want },
        }
    }

    pub(super) fn trace(&self, common: &mut Common, hop: Hop) {
        if let Owner::Ask { ask, traced: true } = self.owner {
            common.events.push_back(Event::Hop { ask, hop });
        }
    }

    /// Passes on what was looked for, private addresses only if they are as good as others; whether that was all of it.
    pub(super) fn take_findings(
        &mut self,
        from: SocketAddr,
        reply: &Reply,
        is_private: bool,
        common: &mut Common,
    ) -> bool {
        match self.goal {
            Goal::Peers => self.take_peers(from, reply, is_private, common),
            Goal::Announce { .. } if self.owner == Owner::Rendezvous => {
                self.take_peers(from, reply, is_private, common);
            }
            Goal::Item => {
                let item = reply
                    .item
                    .as_ref()
                    .filter(|item| item.len() <= ITEM_LEN && item_target(item) == self.lookup.target);
                if let (Some(item), Owner::Ask { ask, .. }) = (item, self.owner) {
                    common.events.push_back(Event::Item { ask, item: item.clone() });
                    return true;
                }
            }
            Goal::Nodes | Goal::Announce { .. } | Goal::Put { .. } => {}
        }
        false
    }

    fn take_peers(&mut self, from: SocketAddr, reply: &Reply, is_private: bool, common: &mut Common) {
        // No more of one node than it should name, so that a liar does not crowd out the others.
        for peer in reply.values.iter().take(VALUES) {
            let is_new = self.peers.len() < PEERS_FOUND && is_sendable(*peer, is_private) && self.peers.insert(*peer);
            match self.owner {
                Owner::Ask { ask, .. } if is_new => common.events.push_back(Event::Peer { ask, peer: *peer }),
                Owner::Rendezvous if is_new => common.events.push_back(Event::Overlay { peer: *peer }),
                _ => {}
            }
        }
        for hint in &reply.hints {
            if let Owner::Ask { ask, .. } = self.owner
                && self.hints.len() < VALUES_READ
                && self.hints.insert((Prefix::of(from.ip()), hint.clone()))
            {
                common.events.push_back(Event::Hint { ask, hint: hint.clone() });
            }
        }
    }
}

impl Node {
    /// What this node keeps for others is found first: in a network of two there is nobody else to keep it.
    pub(super) fn look_at_home(&mut self, ask: AskId, now: Time, common: &mut Common) {
        let is_it = |running: &Running| matches!(running.owner, Owner::Ask { ask: of, .. } if of == ask);
        let Some(number) = self.lookups.iter().find(|(_, running)| is_it(running)).map(|(n, _)| *n) else { return };
        let Some(mut running) = self.lookups.remove(&number) else { return };
        let target = running.lookup.target;
        let (values, hints) = self.records.peers(&target, VALUES, now, &mut common.rng);
        let item = self.items.item(&target, now).map(<[u8]>::to_vec);
        let found = Reply { values, hints, item, ..Reply::from(self.id) };
        if running.take_findings(SocketAddr::from(([0; 4], 0)), &found, self.seat.is_private, common) {
            return settle(running.owner, Ended::default(), common);
        }
        self.lookups.insert(number, running);
    }
}

/// Tells whoever waits for the end.
pub(super) fn settle(owner: Owner, ended: Ended, common: &mut Common) {
    match owner {
        Owner::Ask { ask, .. } => common.settled.push(Settled::Ask(ask, ended)),
        Owner::Announcer(key) => common.settled.push(Settled::Announced(key, ended.stored)),
        Owner::Rendezvous | Owner::Table => {}
    }
}
