//! Nodes that our own announcements met lately, for those that follow: it makes 5,000 files cheap.
//!
//! An announcement looks for more nodes than it needs. Those of its [`Neighbourhood`] that come next begin with these,
//! whose tokens are good: they ask only the [`NEAR_ASKED`] closest, who know what is closest to the key, and whoever
//! these name and is not known yet. Not even that can be left out: whoever is asked names the eight closest to one key,
//! so of what lies about it, and not at it, one lookup hears little.

use std::net::SocketAddr;

use super::contact::Contact;
use super::id::NodeId;
use super::lookup::Lookup;
use crate::limits::{ANNOUNCE_WIDTH, CLOSEST, NEAR_ASKED, NEAR_NODES, TOKEN_TIME};
use crate::sorted::SortedSet;
use crate::time::Time;

/// A part of the space, and nodes of it.
pub(super) struct Neighbourhood {
    /// The first and the last place of it.
    pub(super) part: (NodeId, NodeId),
    nodes: Vec<(Contact, Vec<u8>)>,
    /// Who did not answer the last time: lost datagrams are no reason to leave a node out, two in a row are.
    silent: SortedSet<SocketAddr>,
    /// How many were left out.
    gone: usize,
    until: Time,
}

impl Neighbourhood {
    /// About the target of a lookup that met `nodes`, closest first; none if that are too few.
    pub(super) fn new(target: &NodeId, nodes: &[(Contact, Vec<u8>)], now: Time) -> Option<Neighbourhood> {
        let furthest = nodes.iter().take(ANNOUNCE_WIDTH).next_back()?;
        let bits = furthest.0.id.common_bits(target) + 1;
        let part = target.sharing(bits);
        let mut near =
            Neighbourhood { part, nodes: Vec::new(), silent: SortedSet::new(), gone: 0, until: now + TOKEN_TIME };
        near.learn(nodes);
        (near.nodes.len() >= CLOSEST).then_some(near)
    }

    pub(super) fn includes(&self, key: &NodeId) -> bool {
        (self.part.0..=self.part.1).contains(key)
    }

    /// Whether its tokens are good, and its nodes are still there.
    pub(super) fn is_good(&self, now: Time) -> bool {
        now < self.until && self.gone <= CLOSEST / 4
    }

    /// Keeps those of it that a lookup met.
    pub(super) fn learn(&mut self, met: &[(Contact, Vec<u8>)]) {
        for (contact, token) in met {
            let is_known = self.nodes.iter().any(|(known, _)| known.address == contact.address);
            if self.includes(&contact.id) && !is_known && self.nodes.len() < NEAR_NODES {
                self.nodes.push((*contact, token.clone()));
            }
        }
    }

    /// What an announcement of this key begins with.
    pub(super) fn offer(&self, lookup: &mut Lookup) {
        let mut nodes: Vec<&(Contact, Vec<u8>)> = self.nodes.iter().collect();
        nodes.sort_unstable_by_key(|(contact, _)| contact.id.distance(&lookup.target));
        for (n, (contact, token)) in nodes.into_iter().enumerate() {
            if n < NEAR_ASKED {
                lookup.offer(*contact);
            } else {
                lookup.offer_met(*contact, token.clone());
            }
        }
    }

    /// One of its nodes keeps what it was told, or does not.
    pub(super) fn note_stored(&mut self, to: SocketAddr, is_kept: bool) {
        if is_kept {
            self.silent.remove(&to);
        } else if !self.silent.insert(to) {
            let before = self.nodes.len();
            self.nodes.retain(|(contact, _)| contact.address != to);
            self.gone += before - self.nodes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn an_announcement_asks_the_two_closest_and_whom_they_name() {
        let mut rng = Rng::new([1; 32]);
        let address = |n: u16| SocketAddr::from(([203, n.to_be_bytes()[0], n.to_be_bytes()[1], 1], 5000));
        let mut all: Vec<(Contact, Vec<u8>)> =
            (0..2000).map(|n| (Contact { id: NodeId(rng.bytes()), address: address(n) }, vec![1])).collect();
        let target = NodeId(rng.bytes());
        all.sort_by_key(|(contact, _)| contact.id.distance(&target));
        // What lies about the target was met, but not all of it.
        let met: Vec<_> =
            all.iter().take(30).enumerate().filter(|(n, _)| *n != 5).map(|(_, it)| it.clone()).collect();
        let near = Neighbourhood::new(&target, &met, Time(0)).expect("enough nodes");
        assert!(near.includes(&target) && near.nodes.iter().all(|(contact, _)| near.includes(&contact.id)));
        let key = target.random_beside(159, &mut rng);
        let mut lookup = Lookup::new(key, false, Time(0), CLOSEST);
        near.offer(&mut lookup);
        let mut asked = || std::iter::from_fn(|| lookup.next()).map(|(contact, _)| contact).collect::<Vec<_>>();
        assert_eq!(asked(), [all[0].0, all[1].0]);
        (0..8).for_each(|n| lookup.offer_named(all[n].0, 1, all[0].0.address));
        assert!(!lookup.is_done(Time(0)));
        let named = lookup.next().expect("one that was not known").0;
        assert_eq!(named, all[5].0);
        [0, 1, 5].into_iter().for_each(|n| _ = lookup.note_answer(all[n].0.address, all[n].0.id, Some(vec![2])));
        assert!(lookup.is_done(Time(0)));
        let closest: Vec<Contact> = lookup.closest().map(|(contact, _)| contact).take(CLOSEST).collect();
        assert_eq!(closest, all[..CLOSEST].iter().map(|(contact, _)| *contact).collect::<Vec<_>>());
        assert!(Neighbourhood::new(&target, &met[..7], Time(0)).is_none());
    }

    #[test]
    fn one_lost_datagram_leaves_no_node_out_and_too_many_silent_ones_end_it() {
        let node = |n: u8| Contact { id: NodeId([n; 20]), address: SocketAddr::from(([203, 0, n, 1], 5000)) };
        let nodes: Vec<_> = (0..24).map(|n| (node(n), Vec::new())).collect();
        let mut near = Neighbourhood::new(&NodeId([0; 20]), &nodes, Time(0)).expect("enough nodes");
        let len = near.nodes.len();
        for n in 0..4 {
            near.note_stored(node(n).address, false);
            near.note_stored(node(n).address, true);
            near.note_stored(node(n).address, false);
        }
        assert!(near.nodes.len() == len && near.is_good(Time(0)));
        (0..4).for_each(|n| near.note_stored(node(n).address, false));
        assert!(near.nodes.len() == len - 4 && !near.is_good(Time(0)));
    }
}
