//! The rules that every honest node is held to, checked by other means than its own. A failure names the seed.

use std::net::SocketAddr;

use apt_p2p::dht::{Dht, NodeId};
use apt_p2p::limits::{
    ANNOUNCED, BUCKET_LEN, CALLS, FIRST_BUCKETS, ITEMS, LOOKUPS, OWN_BURST, OWN_RATE, RECORDS, RTT_BUCKETS,
    RTT_STEP_MS, STALL_MARGIN, UPKEEP_LOOKUPS,
};
use apt_p2p::time::Time;

use super::Net;

/// `y` is the last key of a message, and `q` says that it asks.
pub fn is_query(bytes: &[u8]) -> bool {
    bytes.ends_with(b"1:y1:qe")
}

/// The queries of one node. It is a bucket that leaks as fast as a node may ask: that it never holds more than the
/// burst means that the allowance is kept in every stretch of time, however short or long.
#[derive(Clone, Copy, Default)]
pub struct Meter {
    /// In thousandths.
    level: u64,
    at: Time,
    pub queries: u64,
}

impl Meter {
    pub fn note(&mut self, now: Time, bytes: &[u8], seed: u64) {
        if !is_query(bytes) {
            return;
        }
        let leaked = (now.0 - self.at.0).saturating_mul(OWN_RATE);
        self.level = self.level.saturating_sub(leaked) + 1000;
        self.at = now;
        self.queries += 1;
        assert!(self.level <= OWN_BURST * 1000, "seed {seed}: {} queries too many", self.level / 1000 - OWN_BURST);
    }
}

/// One datagram: not longer than it may be, and to an address that a stranger may send to.
pub fn datagram(to: SocketAddr, bytes: &[u8], seed: u64) {
    assert!(bytes.len() <= 1232, "seed {seed}: {} bytes were sent", bytes.len());
    let SocketAddr::V4(to) = to else { panic!("seed {seed}: there is only IPv4 here") };
    let [a, b, ..] = to.ip().octets();
    let is_private = a == 10 || a == 192 && b == 168 || a == 172 && b & 0xf0 == 16 || a == 100 && b & 0xc0 == 64;
    let is_martian = is_private || matches!(a, 0 | 127 | 224..=255) || a == 169 && b == 254;
    assert!(!is_martian && to.port() >= 1024, "seed {seed}: sent to {to}");
}

/// Each figure that a node knows of itself, against its bound.
pub fn bounds(dht: &Dht, now: Time, seed: u64) {
    // Of 2²⁴ nodes, which no network has, these levels would be filled.
    let contacts = FIRST_BUCKETS.iter().sum::<usize>() + BUCKET_LEN * 24;
    for node in dht.status() {
        let figures = [
            ("contacts", node.contacts, contacts),
            ("records", node.records, RECORDS),
            ("keys", node.keys, node.records),
            ("items", node.items, ITEMS),
            ("calls", node.calls, CALLS),
            ("lookups", node.lookups, LOOKUPS + UPKEEP_LOOKUPS),
        ];
        for (name, figure, bound) in figures {
            assert!(figure <= bound, "seed {seed}: {figure} {name}, but at most {bound} are allowed");
        }
        let stall = RTT_BUCKETS as u64 * RTT_STEP_MS + u64::try_from(STALL_MARGIN.as_millis()).expect("short");
        assert!(node.stall_ms <= stall, "seed {seed}: stalls after {} ms", node.stall_ms);
    }
    let traffic = dht.traffic(now);
    assert!(traffic.own <= ANNOUNCED && traffic.announced <= traffic.own, "seed {seed}: {traffic:?}");
}

/// All honest nodes of a network.
pub fn all_bounds(net: &Net) {
    for machine in net.honest() {
        bounds(net.machines[machine].dht.as_ref().expect("it is up"), net.now, net.plan.seed);
    }
}

/// The ids of the open nodes closest to a place, closest first, by asking all of them.
pub fn closest(net: &Net, target: &NodeId, count: usize, but: usize) -> Vec<NodeId> {
    let id = |machine: usize| Some(net.machines[machine].dht.as_ref()?.status()[0].id);
    let mut ids: Vec<NodeId> = net.open().into_iter().filter(|n| *n != but).filter_map(id).collect();
    let distance = |id: &NodeId| -> Vec<u8> { id.0.iter().zip(target.0).map(|(a, b)| a ^ b).collect() };
    ids.sort_by_key(distance);
    ids.truncate(count);
    ids
}
