//! Whether others reach our TCP port, by the word of nodes of different networks: one alone could make us announce an
//! address where nobody is served, or keep us from announcing. In each family by nodes of it: a router may pass the port on in
//! one alone, and what is announced in the other would lead nowhere.

use std::net::IpAddr;

use super::address::Reach;
use super::common::{Common, Settled};
use super::contact::{Contact, Prefix};
use super::id::NodeId;
use super::message::{Query, Want};
use super::node::{Node, Purpose};
use super::output::Summary;
use super::{AskId, Dht, Event, Family, Network, Open};
use crate::limits::{DIAL_TIME, DIALS, GUARDED_ADDRESSES, WITNESS_CHOICE, WITNESSES, WITNESSES_ASKED};
use crate::sorted::SortedSet;
use crate::time::Time;

/// Nodes that were asked to dial us, and what they said so far.
pub(super) struct Witnesses {
    /// So many must have reached us.
    needed: usize,
    waiting: usize,
    reached: usize,
}

impl Witnesses {
    /// Whom to ask, of these: one a network.
    pub(super) fn chosen(contacts: Vec<Contact>) -> (Witnesses, Vec<Contact>) {
        let mut networks = SortedSet::new();
        let is_new = |contact: &Contact| networks.insert(Prefix::of(contact.address.ip()));
        let chosen: Vec<Contact> = contacts.into_iter().filter(is_new).take(WITNESSES_ASKED).collect();
        let needed = WITNESSES.min(chosen.len()).max(1);
        (Witnesses { needed, waiting: chosen.len(), reached: 0 }, chosen)
    }

    /// One of them said so, or will say nothing any more.
    pub(super) fn note(&mut self, reached: bool) {
        self.waiting = self.waiting.saturating_sub(1);
        self.reached += usize::from(reached);
    }

    /// What is to be believed, once that is known.
    pub(super) fn verdict(&self) -> Option<bool> {
        let is_reached = self.reached >= self.needed;
        (is_reached || self.waiting == 0).then_some(is_reached)
    }
}

impl Node {
    /// Asks some of the contacts to dial us; first for a token, which shows them that we receive where we send from.
    pub(super) fn ask_to_be_dialled(&mut self, ask: AskId, port: u16, now: Time, common: &mut Common) {
        let place = NodeId(common.rng.bytes());
        let (witnesses, chosen) = Witnesses::chosen(self.table.closest(&place, WITNESS_CHOICE));
        self.witnesses.insert(ask, witnesses);
        for contact in chosen {
            let query = Query::GetPeers { key: place, want: Want::default() };
            let purpose = Purpose::Token(ask, port);
            if !common.may_ask(true, now) || !self.ask(contact.address, Some(contact.id), query, purpose, now, common)
            {
                self.witnesses.get_mut(&ask).into_iter().for_each(|witnesses| witnesses.note(false));
            }
        }
        self.settle_dial(ask, now, common);
    }

    pub(super) fn note_dialled(&mut self, ask: AskId, reached: bool, now: Time, common: &mut Common) {
        if let Some(witnesses) = self.witnesses.get_mut(&ask) {
            witnesses.note(reached);
            self.settle_dial(ask, now, common);
        }
    }

    fn settle_dial(&mut self, ask: AskId, now: Time, common: &mut Common) {
        let Some(reached) = self.witnesses.get(&ask).and_then(Witnesses::verdict) else { return };
        self.witnesses.remove(&ask);
        self.address.note_dialled(reached, now);
        common.settled.push(Settled::Dialled(ask, self.seat.family, reached));
    }
}

impl Dht {
    pub(super) fn ask_dial(&mut self, ask: AskId, port: u16, now: Time) {
        let joined: Vec<&mut Node> =
            self.nodes.iter_mut().filter(|node| node.network() == Network::Overlay && node.table.len() > 0).collect();
        if joined.is_empty() {
            self.common.events.push_back(Event::Done { ask, summary: Summary::default() });
            return;
        }
        self.asks.insert(ask, Open { under_way: joined.len(), summary: Summary::default() });
        joined.into_iter().for_each(|node| node.ask_to_be_dialled(ask, port, now, &mut self.common));
    }

    /// The nodes of a family have reached us, or have not. Who asked hears of the first that have.
    pub(super) fn settle_dial(&mut self, ask: AskId, family: Family, reached: bool, now: Time) {
        if let Some(at) = self.seat_of(Network::Overlay, family)
            && reached
            && self.nodes[self.reached_at].address.dialled() != Some(true)
            && std::mem::replace(&mut self.reached_at, at) != at
        {
            self.own.renew(now);
        }
        let Some(open) = self.asks.get_mut(&ask) else { return };
        open.under_way -= 1;
        if reached || open.under_way == 0 {
            self.asks.remove(&ask);
            self.common.events.push_back(Event::Dialled { ask, reached });
        }
    }

    /// The node that announces our files: others reach it. It stays the same though one dial fails, for those that were asked
    /// may be gone, until another is reached.
    pub(super) fn announcer(&self) -> Option<usize> {
        let is_able = |at: &usize| {
            let node = &self.nodes[*at];
            node.network() == Network::Overlay && node.table.len() > 0 && node.address.reach() == Reach::Open
        };
        let may_be = |at: &usize| is_able(at) && self.nodes[*at].address.dialled() != Some(false);
        Some(self.reached_at).filter(is_able).or_else(|| (0..self.nodes.len()).find(may_be))
    }

    /// Whether this machine may be dialled for itself now; then it counts.
    pub(super) fn may_dial(&mut self, ip: IpAddr, now: Time) -> bool {
        self.dials.retain(|_, at| now.since(*at) < DIAL_TIME);
        let may = self.dialling < DIALS && self.dials.len() < GUARDED_ADDRESSES && !self.dials.contains_key(&ip);
        if may {
            self.dials.insert(ip, now);
            self.dialling += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(network: u8, host: u8) -> Contact {
        Contact { id: NodeId([network; 20]), address: ([203, 0, network, host], 9978).into() }
    }

    #[test]
    fn two_networks_must_agree_where_there_are_two() {
        let (mut witnesses, asked) =
            Witnesses::chosen(vec![contact(1, 1), contact(1, 2), contact(2, 1), contact(3, 1)]);
        assert_eq!(asked, [contact(1, 1), contact(2, 1), contact(3, 1)]);
        witnesses.note(true);
        assert_eq!(witnesses.verdict(), None, "one may lie");
        witnesses.note(false);
        assert_eq!(witnesses.verdict(), None);
        witnesses.note(true);
        assert_eq!(witnesses.verdict(), Some(true));
        let (mut witnesses, _) = Witnesses::chosen(vec![contact(1, 1), contact(2, 1)]);
        witnesses.note(true);
        witnesses.note(false);
        assert_eq!(witnesses.verdict(), Some(false));
    }

    #[test]
    fn one_is_believed_where_there_is_one_and_nobody_where_there_is_none() {
        let (mut witnesses, asked) = Witnesses::chosen(vec![contact(1, 1), contact(1, 2)]);
        assert_eq!(asked.len(), 1);
        witnesses.note(true);
        assert_eq!(witnesses.verdict(), Some(true));
        assert_eq!(Witnesses::chosen(Vec::new()).0.verdict(), Some(false));
        let many = (0..100).map(|n| contact(n, 1)).collect();
        assert_eq!(Witnesses::chosen(many).1.len(), WITNESSES_ASKED);
    }
}
