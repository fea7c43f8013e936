//! Node ids, distances, and the rule that ties an id to an address (BEP 42).

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use super::rng::Rng;
use crate::digest::write_hex;

/// A place in the 160-bit space: a node's id, or a key under which something is stored (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 20]);

impl Ord for NodeId {
    /// The order of the bytes, compared as numbers: tables are searched by it for every datagram.
    fn cmp(&self, other: &NodeId) -> Ordering {
        words(&self.0).cmp(&words(&other.0))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &NodeId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn words(bytes: &[u8; 20]) -> (u128, u32) {
    let (high, low) = bytes.split_at(16);
    let high = u128::from_be_bytes(high.try_into().expect("16 of 20 bytes"));
    (high, u32::from_be_bytes(low.try_into().expect("4 of 20 bytes")))
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])?;
        f.write_str("…")
    }
}

/// How far apart two places are; to be compared with other distances only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Distance(NodeId);

impl NodeId {
    /// The XOR distance to `other`.
    #[must_use]
    pub fn distance(&self, other: &NodeId) -> Distance {
        Distance(NodeId(std::array::from_fn(|i| self.0[i] ^ other.0[i])))
    }

    /// Leading bits that both have in common, 0 to 160.
    #[must_use]
    pub fn common_bits(&self, other: &NodeId) -> usize {
        let Distance(NodeId(bytes)) = self.distance(other);
        match bytes.iter().position(|byte| *byte != 0) {
            Some(at) => at * 8 + bytes[at].leading_zeros() as usize,
            None => 160,
        }
    }

    /// The first and the last place whose first `bits` bits are those of `self`.
    pub(super) fn sharing(&self, bits: usize) -> (NodeId, NodeId) {
        let (mut first, mut last) = (*self, *self);
        let (whole, rest) = (bits / 8, bits % 8);
        if whole < 20 {
            let open = 0xff_u8 >> rest;
            first.0[whole] &= !open;
            last.0[whole] |= open;
            first.0[whole + 1..].fill(0);
            last.0[whole + 1..].fill(0xff);
        }
        (first, last)
    }

    /// The place that differs from `self` in one bit, the one after the first `bits`.
    pub(super) fn beside(&self, bits: usize) -> NodeId {
        let mut place = *self;
        if bits < 160 {
            place.0[bits / 8] ^= 0x80 >> (bits % 8);
        }
        place
    }

    /// A random place whose first `bits` bits are those of `self` and whose next one is not.
    #[must_use]
    pub(super) fn random_beside(&self, bits: usize, rng: &mut Rng) -> NodeId {
        let mut place = NodeId(rng.bytes());
        for bit in 0..160.min(bits + 1) {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let ours = self.0[byte] & mask;
            let wanted = if bit == bits { ours ^ mask } else { ours };
            place.0[byte] = place.0[byte] & !mask | wanted;
        }
        place
    }

    /// A random id that belongs to `ip` (BEP 42).
    #[must_use]
    pub(super) fn random_for(ip: IpAddr, rng: &mut Rng) -> NodeId {
        NodeId::for_address(ip, rng.bytes())
    }

    /// The id that belongs to `ip` and is else these bytes (BEP 42).
    #[must_use]
    pub fn for_address(ip: IpAddr, bytes: [u8; 32]) -> NodeId {
        let mut id = NodeId(*bytes.first_chunk().expect("32 bytes are more than 20"));
        if is_exempt(ip) {
            return id;
        }
        let crc = address_crc(ip, id.0[19] & 7).to_be_bytes();
        id.0[0] = crc[0];
        id.0[1] = crc[1];
        id.0[2] = crc[2] & 0xf8 | id.0[2] & 7;
        id
    }

    /// Whether a node at `ip` may have this id (BEP 42).
    #[must_use]
    pub fn belongs_to(&self, ip: IpAddr) -> bool {
        if is_exempt(ip) {
            return true;
        }
        let crc = address_crc(ip, self.0[19] & 7).to_be_bytes();
        self.0[0] == crc[0] && self.0[1] == crc[1] && (self.0[2] ^ crc[2]) & 0xf8 == 0
    }
}

/// Addresses that many machines have: the rule says nothing of them (BEP 42, "local network addresses").
fn is_exempt(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// CRC-32C of the masked address, with `r` in its first three bits (BEP 42, "Security Extension").
fn address_crc(ip: IpAddr, r: u8) -> u32 {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = (u32::from(ip) & 0x030f_3fff).to_be_bytes();
            bytes[0] |= r << 5;
            crc32c(&bytes)
        }
        IpAddr::V6(ip) => {
            let prefix = u64::try_from(u128::from(ip) >> 64).expect("64 bits");
            let mut bytes = (prefix & 0x0103_070f_1f3f_7fff).to_be_bytes();
            bytes[0] |= r << 5;
            crc32c(&bytes)
        }
    }
}

/// CRC-32C (Castagnoli, reflected), a bit at a time: it runs once for each new contact.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_42_hold() {
        // BEP 42, "Example": address, r, the first 21 bits and the last byte.
        for (ip, r, start) in [
            ("124.31.75.21", 1, [0x5f, 0xbf, 0xbf]),
            ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9]),
            ("65.23.51.170", 22, [0xa5, 0xd4, 0x32]),
            ("84.124.73.14", 65, [0x1b, 0x03, 0x21]),
            ("43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
        ] {
            let mut id = NodeId([7; 20]);
            id.0[..3].copy_from_slice(&start);
            id.0[19] = r;
            let ip: IpAddr = ip.parse().expect("an address");
            assert!(id.belongs_to(ip), "{ip}");
            id.0[1] ^= 1;
            assert!(!id.belongs_to(ip), "{ip}");
        }
    }

    #[test]
    fn made_ids_belong_and_local_ones_are_free() {
        let mut rng = Rng::new([1; 32]);
        for ip in ["203.0.113.9", "2001:db8::1", "2a00:1450::5"] {
            let ip: IpAddr = ip.parse().expect("an address");
            assert!((0..20).all(|_| NodeId::random_for(ip, &mut rng).belongs_to(ip)));
        }
        assert!(NodeId([0; 20]).belongs_to([127, 0, 0, 1].into()));
    }

    #[test]
    fn a_place_beside_another_differs_at_the_bit() {
        let mut rng = Rng::new([2; 32]);
        let id = NodeId(rng.bytes());
        for bits in [0, 1, 7, 8, 63, 159] {
            assert_eq!(id.random_beside(bits, &mut rng).common_bits(&id), bits);
        }
        assert_eq!(id.common_bits(&id), 160);
        for bits in [0, 1, 7, 8, 63, 159] {
            let (first, last) = id.sharing(bits);
            assert!(first <= id && id <= last && first.common_bits(&last) == bits);
            assert_eq!(id.beside(bits).common_bits(&id), bits);
        }
        assert_eq!(id.sharing(160), (id, id));
        assert!(id.distance(&id) < id.distance(&NodeId([0; 20])));
    }
}
