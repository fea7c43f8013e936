//! How others see this node: its own address, and whether strangers reach it.
//!
//! Every answer says at which address it arrives (BEP 42, `ip`); most of the last answers, one vote a /24 or /48, decide.
//! Whether we can be reached shows when somebody asks whom we never sent anything: behind a NAT that does not happen.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::contact::Prefix;
use crate::limits::{ADDRESS_VOTES, ADDRESS_VOTES_MIN, REACH_TIME, REACH_TRIAL_TIME};
use crate::sorted::SortedMap;
use crate::time::Time;

/// Whether strangers' datagrams arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not known yet; the node acts as if they did, and does not announce.
    Unknown,
    /// They do.
    Open,
    /// They do not: the node answers nobody (`ro`) and announces nothing.
    Closed,
}

pub(super) struct Address {
    /// The last votes, the newest at the end.
    votes: VecDeque<(Prefix, SocketAddr)>,
    own: Option<SocketAddr>,
    /// What it was when [`Address::is_elsewhere`] was last asked; stays when the votes are forgotten.
    last: Option<IpAddr>,
    reach: Reach,
    /// When it was last found so.
    since: Time,
    /// Set by configuration: not measured.
    is_fixed: bool,
    /// Whether the last dial that was asked for arrived; none: there was none yet at this place and port.
    dialled: Option<bool>,
}

impl Address {
    /// `reach`: what the configuration says of it, if anything.
    pub(super) fn new(reach: Option<Reach>, now: Time) -> Address {
        Address {
            votes: VecDeque::new(),
            own: None,
            last: None,
            reach: reach.unwrap_or(Reach::Unknown),
            since: now,
            is_fixed: reach.is_some(),
            dialled: None,
        }
    }

    pub(super) fn own(&self) -> Option<SocketAddr> {
        self.own
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Somebody says how it sees us; whether that changed what we believe.
    pub(super) fn note_vote(&mut self, voter: SocketAddr, seen_as: SocketAddr) -> bool {
        if voter.is_ipv4() != seen_as.is_ipv4() || seen_as.ip().is_unspecified() || seen_as.port() == 0 {
            return false;
        }
        let prefix = Prefix::of(voter.ip());
        self.votes.retain(|(known, _)| *known != prefix);
        self.votes.push_back((prefix, seen_as));
        if self.votes.len() > ADDRESS_VOTES {
            self.votes.pop_front();
        }
        if self.own == Some(seen_as) {
            // What is believed stays so. This is what most answers say.
            return false;
        }
        // A NAT may show another port to each: the machine's address is decided first.
        let Some((ip, count)) = commonest(self.votes.iter().map(|(_, vote)| vote.ip())) else { return false };
        let with_ip = self.votes.iter().map(|(_, vote)| *vote).filter(|vote| vote.ip() == ip);
        let Some((best, _)) = commonest(with_ip) else { return false };
        // The first word counts until there are others, so that a small network works; then the majority does.
        let is_enough = self.own.is_none() || count >= ADDRESS_VOTES_MIN && count * 2 > self.votes.len();
        if !is_enough || self.own == Some(best) {
            return false;
        }
        // Another port alone is a NAT's whim, not a move.
        let has_moved = self.own.is_none_or(|own| own.ip() != best.ip());
        self.own = Some(best);
        has_moved
    }

    /// Whether this is another machine's address than the last time: records of us lead nowhere then.
    pub(super) fn is_elsewhere(&mut self) -> bool {
        let ip = self.own.map(|own| own.ip());
        let is_elsewhere = self.last.is_some() && ip.is_some() && self.last != ip;
        self.last = ip.or(self.last);
        is_elsewhere
    }

    /// The network may be another: nothing that was said or seen counts any more.
    pub(super) fn forget(&mut self, now: Time) {
        self.votes.clear();
        (self.own, self.dialled) = (None, None);
        if !self.is_fixed {
            (self.reach, self.since) = (Reach::Unknown, now);
        }
    }

    /// A stranger's datagram arrived, or a dial did.
    pub(super) fn note_reached(&mut self, now: Time) {
        if !self.is_fixed {
            (self.reach, self.since) = (Reach::Open, now);
        }
    }

    /// Others were asked to dial us, and did, or could not.
    pub(super) fn note_dialled(&mut self, reached: bool, now: Time) {
        self.dialled = Some(reached);
        if reached {
            self.note_reached(now);
        }
    }

    /// Our port is another: what is known of the former says nothing.
    pub(super) fn forget_dial(&mut self) {
        self.dialled = None;
    }

    pub(super) fn dialled(&self) -> Option<bool> {
        self.dialled
    }

    /// What is not confirmed is doubted; what was given up is tried again.
    pub(super) fn tick(&mut self, now: Time, is_joined: bool) {
        if self.is_fixed {
            return;
        }
        let age = now.since(self.since);
        let next = match self.reach {
            // Alone in a network nobody can reach anybody.
            Reach::Unknown if !is_joined => {
                self.since = now;
                return;
            }
            Reach::Unknown if age >= REACH_TRIAL_TIME => Reach::Closed,
            Reach::Open | Reach::Closed if age >= REACH_TIME => Reach::Unknown,
            _ => return,
        };
        (self.reach, self.since) = (next, now);
    }
}

/// What is there most often, and how often.
fn commonest<T: Ord>(all: impl Iterator<Item = T>) -> Option<(T, usize)> {
    let mut counts: SortedMap<T, usize> = SortedMap::new();
    for one in all {
        *counts.get_or_insert(one, 0) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(a: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, a, 1], port))
    }

    #[test]
    fn the_majority_of_prefixes_decides() {
        let mut address = Address::new(None, Time(0));
        assert!(address.note_vote(at(1, 1), at(100, 5000)));
        for _ in 0..50 {
            assert!(!address.note_vote(at(2, 1), at(66, 5000)), "one liar has one vote");
        }
        for n in 3..8 {
            assert!(!address.note_vote(at(n, 1), at(100, 5000)));
        }
        assert_eq!(address.own(), Some(at(100, 5000)));
        // The provider gives another address: soon most say so.
        let moved = (10..40).position(|n| address.note_vote(at(n, 1), at(101, 5000)));
        assert!(moved.is_some_and(|after| after < ADDRESS_VOTES));
        assert_eq!(address.own(), Some(at(101, 5000)));
    }

    #[test]
    fn the_same_address_again_is_no_move() {
        let mut address = Address::new(None, Time(0));
        for (n, is_elsewhere) in [(100, false), (100, false), (101, true), (101, false)] {
            address.forget(Time(0));
            assert!(address.note_vote(at(1, 1), at(n, 5000)));
            assert_eq!(address.is_elsewhere(), is_elsewhere);
        }
    }

    #[test]
    fn a_move_is_noticed_behind_a_nat_that_shows_a_port_of_its_own_to_each() {
        let mut address = Address::new(None, Time(0));
        (1..20).for_each(|n| _ = address.note_vote(at(n, 1), at(100, 5000 + u16::from(n))));
        assert_eq!(address.own().map(|own| own.ip()), Some(at(100, 1).ip()));
        (20..60).for_each(|n| _ = address.note_vote(at(n, 1), at(101, 5000 + u16::from(n))));
        assert_eq!(address.own().map(|own| own.ip()), Some(at(101, 1).ip()));
    }

    #[test]
    fn reach_is_measured_and_doubted() {
        let mut address = Address::new(None, Time(0));
        address.tick(Time(0) + REACH_TRIAL_TIME, false);
        assert_eq!(address.reach(), Reach::Unknown, "nobody is there");
        let now = Time(0) + REACH_TRIAL_TIME + REACH_TRIAL_TIME;
        address.tick(now, true);
        assert_eq!(address.reach(), Reach::Closed);
        address.tick(now + REACH_TIME, true);
        assert_eq!(address.reach(), Reach::Unknown);
        address.note_reached(now + REACH_TIME);
        address.tick(now + REACH_TIME + REACH_TRIAL_TIME, true);
        assert_eq!(address.reach(), Reach::Open);
        let mut fixed = Address::new(Some(Reach::Closed), Time(0));
        fixed.note_reached(Time(1));
        fixed.tick(Time(u64::MAX), true);
        assert_eq!(fixed.reach(), Reach::Closed);
    }
}
