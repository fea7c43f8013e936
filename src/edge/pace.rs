//! Who may send how much now, so that all strangers together get no more than may be uploaded. No clock, no socket.
//!
//! A token bucket, filled as time passes, is shared out in slices: each peer that waits gets the same part of a slice,
//! however many connections it has, and what it does not use goes back before the next slice. A peer that waits for its
//! own network does not wait here, and holds up nobody.
//!
//! Owns the count of the peers that are served: with more of them nobody would get enough to be worth the asking.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use mio::Token;

use crate::limits::{PACE_BURST_TIME, PACE_LEN_MIN, PACE_TIME, PEER_RATE_MIN, PEERS_SERVED};
use crate::time::Time;

/// The allowance of all paced connections.
pub(super) struct Pace {
    /// Bytes a second.
    rate: u64,
    tokens: u64,
    /// Thousandths of a byte that time has brought beyond them.
    rest: u64,
    last: Time,
    peers: HashMap<IpAddr, Peer>,
    /// Peers that wait, each once, in their order.
    order: VecDeque<IpAddr>,
}

#[derive(Default)]
struct Peer {
    /// What it may still send of its part.
    credit: u64,
    /// Its connections that wait.
    waiting: VecDeque<Token>,
    /// Its connections with an answer under way.
    served: usize,
}

/// Whom a peer is taken for: an IPv6 network is one customer's.
pub(super) fn group(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => std::net::Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

impl Pace {
    pub(super) fn new(rate: u64, now: Time) -> Pace {
        let mut pace = Pace { rate, tokens: 0, rest: 0, last: now, peers: HashMap::new(), order: VecDeque::new() };
        pace.tokens = pace.in_time(PACE_BURST_TIME);
        pace
    }

    /// Another rate from now on.
    pub(super) fn retune(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// What `peer` may send now.
    pub(super) fn credit(&self, peer: IpAddr) -> u64 {
        self.peers.get(&peer).map_or(0, |peer| peer.credit)
    }

    /// Notes that it sent so much.
    pub(super) fn spend(&mut self, peer: IpAddr, len: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.credit = peer.credit.saturating_sub(len);
        }
    }

    /// A connection could send, and may not.
    pub(super) fn hold(&mut self, address: IpAddr, token: Token) {
        let peer = self.peers.entry(address).or_default();
        if peer.waiting.is_empty() {
            self.order.push_back(address);
        }
        peer.waiting.push_back(token);
    }

    /// Another connection of the same peer, for what this one left of its part.
    pub(super) fn next_of(&mut self, address: IpAddr) -> Option<Token> {
        let peer = self.peers.get_mut(&address).filter(|peer| peer.credit > 0)?;
        let token = peer.waiting.pop_front()?;
        if peer.waiting.is_empty() {
            self.order.retain(|waiting| *waiting != address);
        }
        Some(token)
    }

    /// Shares out what time has brought; the connections that may go on.
    pub(super) fn release(&mut self, now: Time) -> Vec<Token> {
        self.fill(now);
        if self.order.is_empty() || self.tokens < self.slice() {
            return Vec::new();
        }
        for peer in self.peers.values_mut() {
            self.tokens += std::mem::take(&mut peer.credit);
        }
        let count = usize::try_from(self.tokens / PACE_LEN_MIN).unwrap_or(usize::MAX).clamp(1, self.order.len());
        let share = self.tokens / count as u64;
        let mut released = Vec::with_capacity(count);
        for address in self.order.drain(..count).collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&address) else { continue };
            peer.credit = share;
            self.tokens -= share;
            released.extend(peer.waiting.pop_front());
            if !peer.waiting.is_empty() {
                self.order.push_back(address);
            }
        }
        released
    }

    /// When the next slice can be shared out, if anybody waits.
    pub(super) fn wake_at(&self, now: Time) -> Option<Time> {
        let missing = self.slice().saturating_sub(self.tokens).max(1);
        let ms = (missing * 1000).div_ceil(self.rate);
        (!self.order.is_empty()).then(|| (self.last + Duration::from_millis(ms)).max(now))
    }

    /// An answer to this peer begins.
    pub(super) fn begin(&mut self, address: IpAddr) {
        self.peers.entry(address).or_default().served += 1;
    }

    /// One ended.
    pub(super) fn end(&mut self, address: IpAddr) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.served = peer.served.saturating_sub(1);
        }
        self.forget(address);
    }

    /// A connection is gone.
    pub(super) fn leave(&mut self, address: IpAddr, token: Token) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.waiting.retain(|waiting| *waiting != token);
            if peer.waiting.is_empty() {
                self.order.retain(|waiting| *waiting != address);
            }
        }
        self.forget(address);
    }

    /// Whether one more peer would be too many; one that is served already never is.
    pub(super) fn is_over(&self, address: IpAddr) -> bool {
        let is_served = self.peers.get(&address).is_some_and(|peer| peer.served > 0);
        !is_served && self.served() >= self.served_max()
    }

    /// Of a hundred places for peers, how many are taken.
    pub(super) fn busy(&self) -> u8 {
        u8::try_from((self.served() * 100 / self.served_max()).min(100)).expect("at most 100")
    }

    fn served(&self) -> usize {
        self.peers.values().filter(|peer| peer.served > 0).count()
    }

    fn served_max(&self) -> usize {
        usize::try_from(self.rate / PEER_RATE_MIN).unwrap_or(usize::MAX).clamp(1, PEERS_SERVED)
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(peer) = self.peers.get(&address)
            && peer.waiting.is_empty()
            && peer.served == 0
        {
            self.tokens += peer.credit;
            self.peers.remove(&address);
        }
    }

    fn fill(&mut self, now: Time) {
        let ms = u64::try_from(now.since(self.last).as_millis()).unwrap_or(u64::MAX);
        let thousandths = self.rate.saturating_mul(ms).saturating_add(self.rest);
        self.last = now;
        self.rest = thousandths % 1000;
        self.tokens = (self.tokens + thousandths / 1000).min(self.in_time(PACE_BURST_TIME));
    }

    fn slice(&self) -> u64 {
        self.in_time(PACE_TIME)
    }

    /// What the rate brings in this time, and at least enough to be worth sending.
    fn in_time(&self, time: Duration) -> u64 {
        (self.rate.saturating_mul(u64::try_from(time.as_millis()).expect("short")) / 1000).max(PACE_LEN_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 256 * 1024;

    fn peer(n: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(n).expect("few peers")])
    }

    /// What each connection got in `ms`; each belongs to the peer named and always has more to send.
    fn run(rate: u64, connections: &[usize], ms: u64) -> Vec<u64> {
        let mut pace = Pace::new(rate, Time(0));
        let mut sent = vec![0; connections.len()];
        for (token, owner) in connections.iter().enumerate() {
            pace.hold(peer(*owner), Token(token));
        }
        let mut now = Time(0);
        while now < Time(ms) {
            let mut ready: VecDeque<Token> = pace.release(now).into();
            while let Some(token) = ready.pop_front() {
                let owner = peer(connections[token.0]);
                let len = pace.credit(owner);
                pace.spend(owner, len);
                sent[token.0] += len;
                pace.hold(owner, token);
                ready.extend(pace.next_of(owner));
            }
            let next = pace.wake_at(now).expect("all have more");
            assert!(next > now, "it would spin at {now}");
            now = next;
        }
        sent
    }

    fn is_near(got: u64, wanted: u64) -> bool {
        got.abs_diff(wanted) * 20 <= wanted
    }

    #[test]
    fn the_rate_is_kept_and_shared_among_peers_not_connections() {
        for rate in [4096, RATE, 100 << 20] {
            let alone = run(rate, &[1], 5000);
            assert!(is_near(alone[0], rate * 5), "{rate}: {alone:?}");
            let ten_and_one = run(rate, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2], 10_000);
            let (ten, one) = (ten_and_one[..10].iter().sum::<u64>(), ten_and_one[10]);
            assert!(is_near(ten + one, rate * 10) && is_near(ten, one), "{rate}: {ten_and_one:?}");
            assert!(ten_and_one[..10].iter().all(|sent| *sent > 0), "{rate}: {ten_and_one:?}");
        }
    }

    #[test]
    fn what_a_slow_peer_leaves_is_for_the_others() {
        let mut pace = Pace::new(RATE, Time(0));
        pace.hold(peer(1), Token(1));
        assert_eq!(pace.release(Time(0)), [Token(1)]);
        // It sent nothing: its network is full.
        pace.hold(peer(2), Token(2));
        assert!(pace.release(Time(10)).is_empty());
        assert_eq!(pace.release(Time(60)), [Token(2)]);
        assert!(pace.credit(peer(2)) >= pace.slice() && pace.credit(peer(1)) == 0);
    }

    #[test]
    fn another_rate_counts_from_then_on() {
        let mut pace = Pace::new(RATE, Time(0));
        let sent = |pace: &mut Pace, from: u64, to: u64| {
            let mut total = 0;
            for now in (from..to).step_by(10) {
                pace.hold(peer(1), Token(1));
                if !pace.release(Time(now)).is_empty() {
                    total += pace.credit(peer(1));
                    pace.spend(peer(1), u64::MAX);
                }
                pace.leave(peer(1), Token(1));
            }
            total
        };
        let before = sent(&mut pace, 0, 5000);
        pace.retune(4 * RATE);
        let after = sent(&mut pace, 5000, 10_000);
        assert!(is_near(before, RATE * 5) && is_near(after, 4 * RATE * 5), "{before} {after}");
    }

    #[test]
    fn more_peers_than_it_is_worth_are_refused_and_those_served_go_on() {
        let mut pace = Pace::new(RATE, Time(0));
        let most = pace.served_max();
        assert_eq!((most, pace.busy()), (16, 0));
        for n in 0..most {
            assert!(!pace.is_over(peer(n)));
            pace.begin(peer(n));
        }
        assert!(pace.is_over(peer(most)) && !pace.is_over(peer(0)) && pace.busy() == 100);
        pace.end(peer(3));
        assert!(!pace.is_over(peer(most)) && pace.busy() < 100);
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let mut pace = Pace::new(RATE, Time(0));
        pace.hold(peer(1), Token(1));
        pace.begin(peer(1));
        pace.leave(peer(1), Token(1));
        pace.end(peer(1));
        assert!(pace.peers.is_empty() && pace.order.is_empty() && pace.wake_at(Time(0)).is_none());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let ip = |text: &str| group(text.parse().expect("an address"));
        assert_eq!(ip("2001:db8:1:2:3::4"), ip("2001:db8:1:2::"));
        assert_ne!(ip("2001:db8:1:3::"), ip("2001:db8:1:2::"));
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
    }
}
