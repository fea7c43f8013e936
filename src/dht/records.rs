//! What others announced to this node: peers by key, and items by their hash (BEP 5, BEP 44).
//!
//! Bounded in all and for each key. When a bound is reached the largest holder gives way: of the prefix (/24, /48) that holds
//! most, the record that comes next in the order of the keys. So no owner of many addresses crowds out the others, whatever
//! keys he chooses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Bound;
use std::time::Duration;

use super::contact::Prefix;
use super::id::NodeId;
use super::message::Hint;
use super::rng::Rng;
use crate::limits::{EVICTION_STEPS, HINTS_LEN, ITEM_TIME, ITEMS, PEERS_PER_KEY, RECORDS, SWEPT_RECORDS};
use crate::sorted::{LargeMap, LargeSet, SortedMap, SortedSet};
use crate::time::Time;

/// A peer's address in 18 bytes: there may be many thousands of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peer([u8; 18]);

/// An announced peer, apart from its key and address.
struct Record {
    expires: Time,
    hint: Option<Hint>,
}

/// Peers by key.
pub(super) struct Records {
    life: Duration,
    /// One flat map: most keys have one peer, and a list for each would take twice the memory.
    records: LargeMap<(NodeId, Peer), Record>,
    keys: usize,
    hints_len: usize,
    held: LargeMap<Prefix, u32>,
    /// Who holds more than one, the largest holder last. Most hold one, and take no memory here.
    largest: LargeSet<(u32, Prefix)>,
    /// Where the last search for expired ones ended.
    swept: (NodeId, Peer),
    /// The last one that gave way.
    evicted: (NodeId, Peer),
}

const FIRST_PEER: Peer = Peer([0; 18]);
const LAST_PEER: Peer = Peer([0xff; 18]);

impl Peer {
    fn of(address: SocketAddr) -> Peer {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&ip.octets());
        bytes[16..].copy_from_slice(&address.port().to_be_bytes());
        Peer(bytes)
    }

    fn address(self) -> SocketAddr {
        let (ip, port) = self.0.split_at(16);
        let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).expect("16 of 18 bytes"));
        let port = u16::from_be_bytes(port.try_into().expect("2 of 18 bytes"));
        SocketAddr::new(IpAddr::V6(ip).to_canonical(), port)
    }

    fn prefix(self) -> Prefix {
        Prefix::of(self.address().ip())
    }
}

impl Records {
    /// `life`: how long an announcement counts.
    pub(super) fn new(life: Duration) -> Records {
        Records {
            life,
            records: LargeMap::default(),
            keys: 0,
            hints_len: 0,
            held: LargeMap::default(),
            largest: LargeSet::default(),
            swept: (NodeId([0; 20]), FIRST_PEER),
            evicted: (NodeId([0; 20]), FIRST_PEER),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// `peer` has the file with this key.
    pub(super) fn put(&mut self, key: NodeId, peer: SocketAddr, hint: Option<Hint>, now: Time) {
        let peer = Peer::of(peer);
        let gone: Vec<Peer> =
            self.of(&key).filter(|(it, record)| *it == peer || record.expires <= now).map(|(it, _)| it).collect();
        gone.into_iter().for_each(|it| self.remove(key, it));
        while self.of(&key).count() >= PEERS_PER_KEY {
            self.evict_from(&key);
        }
        while self.records.len() >= RECORDS {
            self.evict();
        }
        let hint = hint.filter(|hint| self.hints_len + hint.bytes().len() <= HINTS_LEN);
        self.hints_len += hint.as_ref().map_or(0, |hint| hint.bytes().len());
        let is_first = self.of(&key).next().is_none();
        self.keys += usize::from(is_first);
        let held = self.held.get(&peer.prefix()).copied().unwrap_or(0);
        self.note_held(peer.prefix(), held, held + 1);
        self.records.insert((key, peer), Record { expires: now + self.life, hint });
    }

    /// Who has it: at most `count` of them, picked at random; and up to two hints, those that most prefixes gave.
    pub(super) fn peers(&self, key: &NodeId, count: usize, now: Time, rng: &mut Rng) -> (Vec<SocketAddr>, Vec<Hint>) {
        let live: Vec<(Peer, &Record)> = self.of(key).filter(|(_, record)| record.expires > now).collect();
        if live.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let start = usize::try_from(rng.below(live.len() as u64)).expect("below a length");
        let peers = live.iter().cycle().skip(start).take(live.len().min(count)).map(|(it, _)| it.address()).collect();
        let votes = live.iter().filter_map(|(it, record)| Some((it.prefix(), record.hint.clone()?)));
        (peers, tally(votes))
    }

    /// Drops what expired, a part of the records at a time.
    pub(super) fn tick(&mut self, now: Time) {
        let part: Vec<_> = self.records.range(self.swept..).take(SWEPT_RECORDS).collect();
        let next = match part.last() {
            Some((last, _)) if part.len() == SWEPT_RECORDS => **last,
            _ => (NodeId([0; 20]), FIRST_PEER),
        };
        let gone: Vec<_> = part.iter().filter(|(_, record)| record.expires <= now).map(|(at, _)| **at).collect();
        gone.into_iter().for_each(|(key, peer)| self.remove(key, peer));
        self.swept = next;
    }

    fn of(&self, key: &NodeId) -> impl Iterator<Item = (Peer, &Record)> {
        self.records.range((*key, FIRST_PEER)..=(*key, LAST_PEER)).map(|((_, peer), record)| (*peer, record))
    }

    fn remove(&mut self, key: NodeId, peer: Peer) {
        let Some(record) = self.records.remove(&(key, peer)) else { return };
        self.hints_len -= record.hint.as_ref().map_or(0, |hint| hint.bytes().len());
        let was_last = self.of(&key).next().is_none();
        self.keys -= usize::from(was_last);
        let held = self.held.get(&peer.prefix()).copied().expect("whoever has a record is counted");
        self.note_held(peer.prefix(), held, held - 1);
    }

    /// A prefix holds more records than before, or fewer.
    fn note_held(&mut self, prefix: Prefix, before: u32, now: u32) {
        self.largest.remove(&(before, prefix));
        if now > 1 {
            self.largest.insert((now, prefix));
        }
        if now == 0 {
            self.held.remove(&prefix);
        } else {
            self.held.insert(prefix, now);
        }
    }

    /// Of this key's records one of the prefix that has most of them, the oldest.
    fn evict_from(&mut self, key: &NodeId) {
        let mut counts = SortedMap::new();
        self.of(key).for_each(|(peer, _)| *counts.get_or_insert(peer.prefix(), 0_u32) += 1);
        let worst =
            self.of(key).max_by_key(|(peer, record)| (counts.get(&peer.prefix()), std::cmp::Reverse(record.expires)));
        if let Some(peer) = worst.map(|(peer, _)| peer) {
            self.remove(*key, peer);
        }
    }

    /// The next one of the largest holder; the next of all where nobody holds two. Where that is too far to walk, the one
    /// that was walked to.
    fn evict(&mut self) {
        let largest = self.largest.last().map(|(_, prefix)| *prefix);
        let after = (Bound::Excluded(self.evicted), Bound::Unbounded);
        let walk = self.records.range(after).chain(&self.records).map(|(at, _)| *at).take(EVICTION_STEPS);
        let mut reached = None;
        for (key, peer) in walk {
            reached = Some((key, peer));
            if largest.is_none_or(|largest| peer.prefix() == largest) {
                break;
            }
        }
        if let Some((key, peer)) = reached {
            self.evicted = (key, peer);
            self.remove(key, peer);
        }
    }
}

/// The two hints that most prefixes gave, one vote each.
pub(super) fn tally(votes: impl Iterator<Item = (Prefix, Hint)>) -> Vec<Hint> {
    let mut by_hint: SortedMap<Hint, SortedSet<Prefix>> = SortedMap::new();
    for (prefix, hint) in votes {
        by_hint.get_or_insert(hint, SortedSet::new()).insert(prefix);
    }
    let mut ranked: Vec<_> =
        by_hint.into_iter().map(|(hint, voters)| (std::cmp::Reverse(voters.len()), hint)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(2).map(|(_, hint)| hint).collect()
}

struct Item {
    expires: Time,
    /// Whose it is: who put it first. Were it who put it last, others' items could be taken over, to be crowded out.
    by: Prefix,
    bytes: Box<[u8]>,
}

/// Items by the hash of their content, so nobody can put a wrong one; full: of the prefix that put most, the one that
/// expires first goes.
#[derive(Default)]
pub(super) struct Items {
    by_target: SortedMap<NodeId, Item>,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.by_target.len()
    }

    pub(super) fn put(&mut self, target: NodeId, item: &[u8], from: IpAddr, now: Time) {
        if self.by_target.len() >= ITEMS && !self.by_target.contains_key(&target) {
            self.evict();
        }
        let former = self.by_target.get(&target).filter(|item| item.expires > now);
        let by = former.map_or_else(|| Prefix::of(from), |item| item.by);
        let item = Item { expires: now + ITEM_TIME, by, bytes: item.into() };
        self.by_target.insert(target, item);
    }

    fn evict(&mut self) {
        let mut held = SortedMap::new();
        for item in self.by_target.values() {
            *held.get_or_insert(item.by, 0_usize) += 1;
        }
        let worst =
            self.by_target.iter().max_by_key(|(_, item)| (held.get(&item.by), std::cmp::Reverse(item.expires)));
        let worst = worst.map(|(target, _)| *target);
        worst.and_then(|worst| self.by_target.remove(&worst));
    }

    pub(super) fn item(&self, target: &NodeId, now: Time) -> Option<&[u8]> {
        self.by_target.get(target).filter(|item| item.expires > now).map(|item| &*item.bytes)
    }

    pub(super) fn tick(&mut self, now: Time) {
        self.by_target.retain(|_, item| item.expires > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD_TIME;

    fn peer(a: u8, b: u8, c: u8) -> SocketAddr {
        SocketAddr::from(([a, b, c, 1], 9978))
    }

    fn key(n: u32) -> NodeId {
        let mut rng = Rng::new([9; 32]);
        let mut id = NodeId(rng.bytes());
        id.0[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        id
    }

    fn put(records: &mut Records, n: u32, peer: SocketAddr, now: Time) {
        records.put(key(n), peer, None, now);
    }

    #[test]
    fn a_record_is_found_until_it_expires() {
        let (mut records, mut rng) = (Records::new(RECORD_TIME), Rng::new([1; 32]));
        let hint = Hint::new(&[1; 32]);
        records.put(key(1), peer(1, 2, 3), hint.clone(), Time(0));
        records.put(key(1), peer(1, 2, 3), hint.clone(), Time(5));
        assert_eq!((records.len(), records.keys()), (1, 1));
        let end = Time(5) + RECORD_TIME;
        let (peers, hints) = records.peers(&key(1), 8, end - Duration::from_millis(1), &mut rng);
        assert_eq!((peers, hints), (vec![peer(1, 2, 3)], hint.into_iter().collect()));
        assert!(records.peers(&key(1), 8, end, &mut rng).0.is_empty());
        records.tick(end);
        assert_eq!((records.len(), records.keys(), records.hints_len, records.held.len()), (0, 0, 0, 0));
    }

    #[test]
    fn who_holds_most_gives_way_to_the_others() {
        let (mut records, mut rng) = (Records::new(RECORD_TIME), Rng::new([1; 32]));
        // 250 honest machines, each with a file of its own; then one owner of a whole /24 with any number.
        for n in 0..250 {
            put(&mut records, n, peer(11, u8::try_from(n).expect("below 250"), 1), Time(0));
        }
        for n in 0..2 * u32::try_from(RECORDS).expect("fits") {
            let liar = SocketAddr::from(([66, 66, 66, u8::try_from(n % 256).expect("below 256")], 9978));
            records.put(key(1000 + n), liar, None, Time(1));
            assert!(records.len() <= RECORDS);
        }
        let found = (0..250).filter(|n| !records.peers(&key(*n), 8, Time(2), &mut rng).0.is_empty()).count();
        assert_eq!(found, 250);
    }

    #[test]
    fn it_gives_way_wherever_its_keys_lie() {
        let mut records = Records::new(RECORD_TIME);
        let half = u32::try_from(RECORDS / 2).expect("fits");
        let honest = |n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            peer(11 + a, b, c)
        };
        (0..half).for_each(|n| put(&mut records, n, honest(n), Time(0)));
        // One after the other beside one place, so that hardly a random place leads to them, and then before that.
        for n in (0..half * 2).chain((0..half * 2).rev()) {
            let mut place = NodeId([0x66; 20]);
            place.0[16..].copy_from_slice(&n.to_be_bytes());
            let liar = SocketAddr::from(([66, 66, 66, n.to_be_bytes()[3]], 9978));
            records.put(place, liar, None, Time(1));
            assert!(records.len() <= RECORDS);
        }
        let held: u32 = records.held.values().sum();
        assert_eq!((records.len(), held as usize, records.largest.iter().count()), (RECORDS, RECORDS, 1));
        let honest = (0..half).filter(|n| records.of(&key(*n)).next().is_some()).count();
        let steps = RECORDS / EVICTION_STEPS + 1;
        assert!(honest + 2 * steps >= half as usize, "{honest} of {half} are left");
    }

    #[test]
    fn one_key_is_bounded_and_fair() {
        let (mut records, mut rng) = (Records::new(RECORD_TIME), Rng::new([1; 32]));
        for n in 0..10 {
            records.put(key(1), peer(11, n, 1), None, Time(0));
        }
        for n in 0..250 {
            let liar = SocketAddr::from(([66, 66, 66, n], 9978));
            records.put(key(1), liar, None, Time(1));
        }
        assert_eq!(records.len(), PEERS_PER_KEY);
        let (peers, _) = records.peers(&key(1), PEERS_PER_KEY, Time(2), &mut rng);
        assert_eq!(peers.iter().filter(|peer| peer.to_string().starts_with("11.")).count(), 10);
    }

    #[test]
    fn a_hint_has_one_vote_a_prefix_and_all_of_them_are_bounded() {
        let (mut records, mut rng) = (Records::new(RECORD_TIME), Rng::new([1; 32]));
        let (honest, lie) = (Hint::new(&[1; 32]).expect("a length"), Hint::new(&[2; 32]).expect("a length"));
        for n in 0..20 {
            let liar = SocketAddr::from(([66, 66, 66, n], 9978));
            records.put(key(1), liar, Some(lie.clone()), Time(0));
        }
        records.put(key(1), peer(11, 1, 1), Some(honest.clone()), Time(0));
        records.put(key(1), peer(11, 1, 2), Some(honest.clone()), Time(0));
        assert_eq!(records.peers(&key(1), 8, Time(1), &mut rng).1, [honest, lie]);
        for n in 0..20_000 {
            let hint = Hint::new(&[3; 96]);
            records.put(key(n), peer(11, u8::try_from(n % 200).expect("small"), 3), hint, Time(0));
        }
        assert!(records.hints_len <= HINTS_LEN && records.len() > 19_000);
    }

    #[test]
    fn who_put_most_items_gives_way_to_the_others() {
        let mut items = Items::default();
        for n in 0..20 {
            items.put(key(n), b"1:x", peer(11, u8::try_from(n).expect("small"), 1).ip(), Time(0));
        }
        for n in 0..2000 {
            items.put(key(1000 + n), b"1:x", peer(66, 66, 66).ip(), Time(1));
        }
        assert_eq!(items.len(), ITEMS);
        assert!((0..20).all(|n| items.item(&key(n), Time(2)).is_some()));
    }

    #[test]
    fn nobody_takes_an_item_over_by_putting_it_again() {
        let mut items = Items::default();
        let (honest, liar) = (peer(11, 1, 1).ip(), peer(66, 66, 66).ip());
        for from in [honest, liar] {
            items.put(key(0), b"1:x", from, Time(0));
        }
        (1..2000).for_each(|n| items.put(key(n), b"1:x", liar, Time(1)));
        assert!(items.item(&key(0), Time(2)).is_some());
        // What has expired is whose it is put by next.
        let later = Time(1) + ITEM_TIME;
        items.put(key(0), b"1:x", liar, later);
        assert_eq!(items.by_target.get(&key(0)).expect("kept").by, Prefix::of(liar));
    }

    #[test]
    fn items_are_kept_for_their_time_and_bounded() {
        let mut items = Items::default();
        for n in 0..=u32::try_from(ITEMS).expect("fits") {
            items.put(key(n), b"1:x", peer(1, 2, 3).ip(), Time(u64::from(n)));
        }
        assert_eq!(items.len(), ITEMS);
        assert_eq!(items.item(&key(0), Time(1)), None);
        assert_eq!(items.item(&key(1), Time(1)), Some(&b"1:x"[..]));
        assert_eq!(items.item(&key(1), Time(1) + ITEM_TIME), None);
        items.tick(Time(u64::MAX));
        assert_eq!(items.len(), 0);
    }
}
