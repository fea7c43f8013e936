//! Where nodes and peers are, and their compact forms (BEP 5, BEP 32).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::id::NodeId;

/// IPv4 or IPv6: each has a node and a routing table of its own (BEP 32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address; one that only wraps an IPv4 address is to be unwrapped before.
    #[must_use]
    pub fn of(address: SocketAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A node and where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Its UDP address.
    pub address: SocketAddr,
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.address)
    }
}

/// Appends 6 or 18 bytes: address and port, big-endian.
pub(super) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// The address that 6 or 18 bytes stand for.
pub(super) fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Appends contacts, 26 or 38 bytes each.
pub(super) fn write_contacts(out: &mut Vec<u8>, contacts: &[Contact]) {
    for contact in contacts {
        out.extend_from_slice(&contact.id.0);
        write_address(out, contact.address);
    }
}

/// The contacts that `bytes` stand for; a torn end is left out.
pub(super) fn read_contacts(bytes: &[u8], family: Family) -> Vec<Contact> {
    let len = match family {
        Family::V4 => 26,
        Family::V6 => 38,
    };
    let read = |chunk: &[u8]| {
        let (id, address) = chunk.split_first_chunk::<20>()?;
        Some(Contact { id: NodeId(*id), address: read_address(address)? })
    };
    bytes.chunks_exact(len).filter_map(read).collect()
}

/// What counts as one machine, or one owner of many, when votes are counted: /24 or /48.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Prefix([u8; 6]);

impl Prefix {
    pub(super) fn of(ip: IpAddr) -> Prefix {
        let mut prefix = [0; 6];
        match ip {
            IpAddr::V4(ip) => prefix[..3].copy_from_slice(&ip.octets()[..3]),
            IpAddr::V6(ip) => prefix.copy_from_slice(&ip.octets()[..6]),
        }
        Prefix(prefix)
    }
}

/// Whether datagrams may go to `address`. Strangers name addresses: what they name must not make us a weapon against a
/// host, or against this machine's own network, unless the network itself is private.
#[must_use]
pub fn is_sendable(address: SocketAddr, private_too: bool) -> bool {
    let (is_nowhere, is_private) = match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_reserved = a == 0 || a >= 240 || ip.is_multicast() || ip.is_broadcast();
            (is_reserved, ip.is_loopback() || ip.is_private() || ip.is_link_local() || a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => {
            let is_private = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            // Global unicast is 2000::/3 (RFC 4291); what is elsewhere wraps IPv4 addresses, or nobody has it.
            let is_elsewhere = !is_private && ip.segments()[0] & 0xe000 != 0x2000;
            (is_elsewhere || leads_inside(ip), is_private)
        }
    };
    if private_too {
        !is_nowhere && address.port() != 0
    } else {
        !is_nowhere && !is_private && address.port() >= 1024
    }
}

/// Whether a 6to4 gateway would send it on to an IPv4 address that is not on the Internet (RFC 3056, "Security
/// Considerations").
fn leads_inside(ip: Ipv6Addr) -> bool {
    let [0x20, 0x02, a, b, c, d, ..] = ip.octets() else { return false };
    !is_sendable(SocketAddr::from(([a, b, c, d], 1024)), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_forms_come_back() {
        for text in ["203.0.113.5:6881", "[2001:db8::5]:9978"] {
            let address: SocketAddr = text.parse().expect("an address");
            let contact = Contact { id: NodeId([3; 20]), address };
            let mut bytes = Vec::new();
            write_contacts(&mut bytes, &[contact, contact]);
            bytes.push(9);
            assert_eq!(read_contacts(&bytes, Family::of(address)), [contact, contact]);
        }
        assert_eq!(read_address(&[1; 7]), None);
        assert_eq!(read_address(&[]), None);
    }

    #[test]
    fn nothing_is_sent_to_martians() {
        for (text, public, private) in [
            ("203.0.113.5:6881", true, true),
            ("203.0.113.5:80", false, true),
            ("203.0.113.5:0", false, false),
            ("127.0.0.1:6881", false, true),
            ("10.1.2.3:6881", false, true),
            ("100.64.0.1:6881", false, true),
            ("169.254.1.1:6881", false, true),
            ("0.1.2.3:6881", false, false),
            ("224.0.0.251:5353", false, false),
            ("255.255.255.255:6881", false, false),
            ("[2001:db8::1]:6881", true, true),
            ("[fe80::1]:6881", false, true),
            ("[fd00::1]:6881", false, true),
            ("[ff02::1]:6881", false, false),
            ("[::ffff:10.0.0.1]:6881", false, false),
            ("[::10.0.0.1]:6881", false, false),
            ("[64:ff9b::a00:1]:6881", false, false),
            ("[fec0::1]:6881", false, false),
            ("[2002:cb00:7101::1]:6881", true, true),
            ("[2002:a00:1::1]:6881", false, false),
            ("[2002:7f00:1::1]:6881", false, false),
            ("[2002:e000:fb::1]:6881", false, false),
        ] {
            let address = text.parse().expect("an address");
            assert_eq!((is_sendable(address, false), is_sendable(address, true)), (public, private), "{text}");
        }
    }
}
