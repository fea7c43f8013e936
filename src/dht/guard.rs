//! What this node lets strangers make it do: queries answered for each address, and bytes sent to addresses that may be
//! forged.
//!
//! An address is *verified* when it answered one of our queries, or shows a token of ours: a forger sees neither.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{
    AMPLIFICATION, GUARDED_ADDRESSES, QUERY_BURST, QUERY_RATE, UNVERIFIED_BURST_LEN, UNVERIFIED_RATE, VERIFIED,
    VERIFIED_TIME,
};
use crate::sorted::{LargeMap, SortedMap};
use crate::time::Time;

/// So many units, refilled steadily.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// In thousandths.
    level: u64,
    filled: Time,
}

impl Bucket {
    pub(super) fn full(burst: u64, now: Time) -> Bucket {
        Bucket { level: burst * 1000, filled: now }
    }

    /// Refills with `rate` a second up to `burst`; what is there then, in whole units.
    pub(super) fn fill(&mut self, rate: u64, burst: u64, now: Time) -> u64 {
        let ms = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(ms.saturating_mul(rate)).min(burst * 1000);
        self.filled = now;
        self.level / 1000
    }

    /// Takes `count` units out, if they are there.
    pub(super) fn take(&mut self, count: u64) -> bool {
        match self.level.checked_sub(count * 1000) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

pub(super) struct Guard {
    queries: LargeMap<IpAddr, Bucket>,
    unverified: Bucket,
    verified: SortedMap<SocketAddr, Time>,
    /// Queries that were not answered.
    pub(super) refused: u64,
}

impl Guard {
    pub(super) fn new(now: Time) -> Guard {
        Guard {
            queries: LargeMap::default(),
            unverified: Bucket::full(UNVERIFIED_BURST_LEN, now),
            verified: SortedMap::new(),
            refused: 0,
        }
    }

    /// Whether a query from this address is answered. Machines of a private network may share an address, and are trusted not
    /// to flood.
    pub(super) fn admits(&mut self, from: SocketAddr, is_private: bool, now: Time) -> bool {
        if is_private && !super::contact::is_sendable(SocketAddr::new(from.ip(), 1024), false) {
            return true;
        }
        let line = line_of(from.ip());
        if self.queries.len() >= GUARDED_ADDRESSES && !self.queries.contains_key(&line) {
            // More addresses than a home has contacts, all at once: most of them are forged. A neighbour gives way.
            let next = self.queries.range(line..).next().or_else(|| self.queries.iter().next());
            let next = next.map(|(ip, _)| *ip);
            next.and_then(|ip| self.queries.remove(&ip));
        }
        let bucket = self.queries.get_or_insert(line, Bucket::full(QUERY_BURST, now));
        bucket.fill(QUERY_RATE, QUERY_BURST, now);
        let is_admitted = bucket.take(1);
        self.refused += u64::from(!is_admitted);
        is_admitted
    }

    /// Whoever is at this address is there: it answered, or knows a token.
    pub(super) fn verify(&mut self, address: SocketAddr, now: Time) {
        if self.verified.len() >= VERIFIED && !self.verified.contains_key(&address) {
            let next = self.verified.range(address..).next().or_else(|| self.verified.iter().next());
            let next = next.map(|(address, _)| *address);
            next.and_then(|address| self.verified.remove(&address));
        }
        self.verified.insert(address, now);
    }

    /// Whether somebody at this machine's address answered us lately.
    pub(super) fn knows(&self, ip: IpAddr, now: Time) -> bool {
        let ports = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        self.verified.range(ports).any(|(_, at)| now.since(*at) < VERIFIED_TIME)
    }

    /// Forgets who has recovered, and who was verified long ago.
    pub(super) fn tick(&mut self, now: Time) {
        self.queries.retain(|_, bucket| bucket.fill(QUERY_RATE, QUERY_BURST, now) < QUERY_BURST);
        self.verified.retain(|_, at| now.since(*at) < VERIFIED_TIME);
    }

    pub(super) fn is_verified(&self, address: SocketAddr, now: Time) -> bool {
        self.verified.get(&address).is_some_and(|at| now.since(*at) < VERIFIED_TIME)
    }

    /// Whether a reply of `len` bytes may go out for a query of `query_len`: to verified addresses always, to others if it
    /// is small, or while the allowance for all of them lasts.
    pub(super) fn may_reply(&mut self, to: SocketAddr, len: usize, query_len: usize, now: Time) -> bool {
        if len <= query_len * AMPLIFICATION || self.is_verified(to, now) {
            return true;
        }
        self.unverified.fill(UNVERIFIED_RATE, UNVERIFIED_BURST_LEN, now);
        self.unverified.take(len as u64)
    }
}

/// What one customer has: an address, or the /64 in which it can make as many as it likes.
fn line_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => std::net::Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(0xcb00_0000 + n), 5000))
    }

    #[test]
    fn one_address_has_a_burst_and_a_rate() {
        let mut guard = Guard::new(Time(0));
        let answered =
            |guard: &mut Guard, at: Time| (0..1000).filter(|_| guard.admits(address(1), false, at)).count() as u64;
        assert_eq!(answered(&mut guard, Time(0)), QUERY_BURST);
        assert_eq!(answered(&mut guard, Time(0) + Duration::from_secs(2)), 2 * QUERY_RATE);
        assert!(guard.admits(address(2), false, Time(0)));
        assert_eq!(guard.refused, 1000 - QUERY_BURST + 1000 - 2 * QUERY_RATE);
    }

    #[test]
    fn all_addresses_of_an_ipv6_line_have_one_share() {
        let mut guard = Guard::new(Time(0));
        let of = |n: u16| SocketAddr::from((std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n), 5000));
        assert_eq!((0..1000).filter(|n| guard.admits(of(*n), false, Time(0))).count() as u64, QUERY_BURST);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let mut guard = Guard::new(Time(0));
        (0..50_000).for_each(|n| assert!(guard.admits(address(n), false, Time(0))));
        assert!(guard.queries.len() <= GUARDED_ADDRESSES);
        (0..50_000).for_each(|n| guard.verify(address(n), Time(0)));
        assert!(guard.verified.len() <= VERIFIED);
    }

    #[test]
    fn unverified_addresses_get_little_in_any_ten_seconds() {
        let mut guard = Guard::new(Time(0));
        let mut sent = Vec::new();
        for ms in 0..60_000 {
            if guard.may_reply(address(1), 1000, 100, Time(ms)) {
                sent.push((ms, 1000_u64));
            }
        }
        for start in 0..50_000 {
            let within =
                sent.iter().filter(|(at, _)| (start..start + 10_000).contains(at)).map(|(_, len)| len).sum::<u64>();
            assert!(within <= 320 * 1024, "{within} bytes from {start} ms on");
        }
        assert!(guard.may_reply(address(1), 400, 100, Time(60_000)));
        guard.verify(address(1), Time(60_000));
        assert!((0..1000).all(|_| guard.may_reply(address(1), 1232, 100, Time(60_000))));
        let later = Time(60_000) + VERIFIED_TIME;
        assert!(guard.knows(address(1).ip(), Time(60_000)) && !guard.is_verified(address(1), later));
        guard.tick(later);
        assert!(guard.verified.is_empty());
    }
}
