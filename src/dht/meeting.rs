//! How nodes of an overlay meet: by one record on mainline, under a key that all of them know.

use super::id::NodeId;
use super::key::rendezvous;
use super::node::Node;
use super::running::{Goal, Owner};
use super::{Dht, Network, Reach};
use crate::limits::{ANNOUNCE_RETRY_TIME, CLOSEST, RENDEZVOUS_ALONE_TIME, RENDEZVOUS_TIME, UPKEEP_PAUSE};
use crate::time::Time;

impl Dht {
    /// Looks for nodes of the overlay on mainline, and is to be found there.
    pub(super) fn meet_overlay(&mut self, now: Time) {
        let joined = |node: &Node| node.network() == Network::Mainline && node.table.len() > 0;
        if now < self.rendezvous_at || !self.nodes.iter().any(joined) {
            return;
        }
        let overlay = self.nodes.iter().filter(|node| node.network() == Network::Overlay);
        let contacts = overlay.map(|node| node.table.len()).max().unwrap_or(0);
        let pause = match contacts {
            // Who came at the same moment has announced himself by the next time.
            0 => ANNOUNCE_RETRY_TIME.min(RENDEZVOUS_ALONE_TIME * (1 << self.vain_meetings.min(8))),
            few if few < CLOSEST => ANNOUNCE_RETRY_TIME,
            _ => RENDEZVOUS_TIME,
        };
        let key = rendezvous(&self.config.network, self.config.secret.as_deref());
        let is_open =
            self.nodes.iter().any(|node| node.network() == Network::Overlay && node.address.reach() != Reach::Closed);
        let mut has_room = false;
        for node in self.nodes.iter_mut().filter(|node| joined(node)) {
            // Nobody is to be sent to a node that he cannot reach.
            let goal = if is_open { Goal::Announce { port: None, hint: None } } else { Goal::Peers };
            has_room |= node.start(key, goal, Owner::Rendezvous, now);
        }
        if has_room {
            self.vain_meetings = if contacts == 0 { self.vain_meetings + 1 } else { 0 };
            self.rendezvous_at = now + pause;
        } else {
            // Other lookups have all the room, for some seconds.
            self.rendezvous_at = now + UPKEEP_PAUSE;
        }
    }

    /// Nodes of both networks send from one address: what one has heard of it gives the other an id that belongs to it, with
    /// which it may be known before it knows anybody. Else two that are alone would never take each other for nodes.
    pub(super) fn share_address(&mut self) {
        for at in 0..self.nodes.len() {
            let (own, family) = (self.nodes[at].address.own(), self.nodes[at].seat.family);
            let Some(own) = own else { continue };
            let is_ignorant = |node: &&mut Node| node.seat.family == family && node.address.own().is_none();
            for node in self.nodes.iter_mut().filter(is_ignorant) {
                if !node.id.belongs_to(own.ip()) {
                    node.set_id(NodeId::random_for(own.ip(), &mut self.common.rng));
                }
            }
        }
    }
}
