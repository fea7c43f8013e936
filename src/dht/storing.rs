//! What a lookup ends with: announcements and items go to the closest nodes that it met.
//!
//! Own announcements look for more nodes than they need. For all keys so close by that their closest nodes are among
//! these, no other lookup is made while the tokens are good: a [`Neighbourhood`]. It makes 5,000 files cheap.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::common::{Common, Ended};
use super::contact::Contact;
use super::id::NodeId;
use super::message::{Hint, Query};
use super::node::{Node, Purpose};
use super::running::{Goal, Owner, Running, settle};
use crate::limits::{CLOSEST, NEIGHBOURHOODS, TOKEN_TIME};
use crate::time::Time;

/// Announcements or puts on their way.
pub(super) struct Storing {
    owner: Owner,
    ended: Ended,
    waiting: usize,
}

/// A part of the space of which all nodes are known.
pub(super) struct Neighbourhood {
    /// The first and the last place of it.
    pub(super) part: (NodeId, NodeId),
    nodes: Vec<(Contact, Vec<u8>)>,
    /// Who did not answer the last time: lost datagrams are no reason to leave a node out, two in a row are.
    silent: BTreeSet<SocketAddr>,
    /// How many were left out.
    gone: usize,
    until: Time,
}

impl Neighbourhood {
    /// What a lookup that met `nodes`, closest first, knows all nodes of; none if that are too few.
    fn new(target: &NodeId, nodes: Vec<(Contact, Vec<u8>)>, now: Time) -> Option<Neighbourhood> {
        // Whoever shares more bits with the target than the furthest is closer than it, and was met.
        let bits = nodes.last()?.0.id.common_bits(target) + 1;
        let part = target.sharing(bits);
        let inside = nodes.iter().filter(|(contact, _)| contact.id.common_bits(target) >= bits).count();
        let until = now + TOKEN_TIME;
        (inside >= CLOSEST).then(|| Neighbourhood { part, nodes, silent: BTreeSet::new(), gone: 0, until })
    }

    /// Whether its tokens are good, and its nodes still the closest to all keys of it.
    pub(super) fn is_good(&self, now: Time) -> bool {
        now < self.until && self.gone <= CLOSEST / 4
    }

    fn note_stored(&mut self, to: SocketAddr, is_kept: bool) {
        if is_kept {
            self.silent.remove(&to);
        } else if !self.silent.insert(to) {
            let before = self.nodes.len();
            self.nodes.retain(|(contact, _)| contact.address != to);
            self.gone += before - self.nodes.len();
        }
    }

    fn closest(&self, key: &NodeId) -> Vec<(Contact, Vec<u8>)> {
        let mut nodes = self.nodes.clone();
        nodes.sort_by_key(|(contact, _)| contact.id.distance(key));
        nodes.truncate(CLOSEST);
        nodes
    }
}

impl Node {
    /// A lookup is over.
    pub(super) fn finish(&mut self, running: Running, now: Time, common: &mut Common) {
        let Running { lookup, goal, owner, .. } = running;
        let ended = Ended { queries: lookup.queries(), answers: lookup.answers(), stored: 0 };
        let met = lookup.closest().filter_map(|(contact, token)| Some((contact, token?.clone())));
        let mut met: Vec<(Contact, Vec<u8>)> = match goal {
            Goal::Announce { .. } | Goal::Put { .. } => met.collect(),
            Goal::Nodes | Goal::Peers | Goal::Item => Vec::new(),
        };
        if matches!(owner, Owner::Announcer(_)) {
            self.neighbourhoods.retain(|near| near.is_good(now));
            if self.neighbourhoods.len() < NEIGHBOURHOODS {
                self.neighbourhoods.extend(Neighbourhood::new(&lookup.target, met.clone(), now));
            }
        }
        met.truncate(CLOSEST);
        self.store(lookup.target, &goal, owner, ended, met, now, common);
    }

    /// Announces a key of a neighbourhood, without a lookup.
    pub(super) fn announce_near(
        &mut self,
        at: usize,
        key: NodeId,
        port: Option<u16>,
        hint: Option<Hint>,
        now: Time,
        common: &mut Common,
    ) {
        let nodes = self.neighbourhoods[at].closest(&key);
        let goal = Goal::Announce { port, hint };
        self.store(key, &goal, Owner::Announcer(key), Ended::default(), nodes, now, common);
    }

    #[expect(clippy::too_many_arguments, reason = "what to store, for whom, where, and what each input brings")]
    fn store(
        &mut self,
        key: NodeId,
        goal: &Goal,
        owner: Owner,
        ended: Ended,
        nodes: Vec<(Contact, Vec<u8>)>,
        now: Time,
        common: &mut Common,
    ) {
        let number = self.number();
        let is_urgent = matches!(owner, Owner::Ask { .. });
        let mut storing = Storing { owner, ended, waiting: 0 };
        for (contact, token) in nodes {
            let query = match goal {
                Goal::Announce { port, hint } => {
                    // What nobody of ours would read is not sent to mainline.
                    let hint = hint.clone().filter(|_| self.seat.network.is_some());
                    Query::AnnouncePeer { key, port: *port, token, hint }
                }
                Goal::Put { item } => Query::Put { token, item: item.clone(), is_mutable: false },
                Goal::Nodes | Goal::Peers | Goal::Item => continue,
            };
            if common.may_store(is_urgent, now)
                && self.ask(contact.address, Some(contact.id), query, Purpose::Store(number), now, common)
            {
                storing.waiting += 1;
            }
        }
        if storing.waiting == 0 {
            return settle(owner, ended, common);
        }
        self.storing.insert(number, storing);
    }

    /// A node keeps what it was told, or does not.
    pub(super) fn note_stored(&mut self, number: u64, to: SocketAddr, is_kept: bool, common: &mut Common) {
        self.neighbourhoods.iter_mut().for_each(|near| near.note_stored(to, is_kept));
        let Some(storing) = self.storing.get_mut(&number) else { return };
        storing.waiting -= 1;
        storing.ended.stored += usize::from(is_kept);
        if storing.waiting == 0
            && let Some(storing) = self.storing.remove(&number)
        {
            settle(storing.owner, storing.ended, common);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn a_neighbourhood_has_the_closest_nodes_of_all_its_keys() {
        let mut rng = Rng::new([1; 32]);
        let address = SocketAddr::from(([203, 0, 113, 1], 5000));
        let all: Vec<(Contact, Vec<u8>)> =
            (0..2000).map(|_| (Contact { id: NodeId(rng.bytes()), address }, Vec::new())).collect();
        for _ in 0..50 {
            let target = NodeId(rng.bytes());
            let closest = |to: &NodeId, count| {
                let mut nodes = all.clone();
                nodes.sort_by_key(|(contact, _)| contact.id.distance(to));
                nodes.truncate(count);
                nodes
            };
            let Some(near) = Neighbourhood::new(&target, closest(&target, 3 * CLOSEST), Time(0)) else { continue };
            let (bits, mut key) = (near.part.0.common_bits(&near.part.1), NodeId(rng.bytes()));
            for _ in 0..20 {
                key = target.random_beside(bits + usize::from(key.0[0] % 8), &mut rng);
                assert_eq!(near.closest(&key), closest(&key, CLOSEST));
            }
        }
        assert!(Neighbourhood::new(&NodeId([0; 20]), all[..9].to_vec(), Time(0)).is_none());
    }

    #[test]
    fn one_lost_datagram_leaves_no_node_out_and_too_many_silent_ones_end_it() {
        let node = |n: u8| Contact { id: NodeId([n; 20]), address: SocketAddr::from(([203, 0, n, 1], 5000)) };
        let nodes = (0..24).map(|n| (node(n), Vec::new())).collect();
        let mut near = Neighbourhood::new(&NodeId([0; 20]), nodes, Time(0)).expect("enough nodes");
        for n in 0..4 {
            near.note_stored(node(n).address, false);
            near.note_stored(node(n).address, true);
            near.note_stored(node(n).address, false);
        }
        assert!(near.nodes.len() == 24 && near.is_good(Time(0)));
        (0..4).for_each(|n| near.note_stored(node(n).address, false));
        assert!(near.nodes.len() == 20 && !near.is_good(Time(0)));
    }
}
