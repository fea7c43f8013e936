//! Networks, and which addresses lie inside one's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with the number of its leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u32,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANetwork;

impl FromStr for Cidr {
    type Err = NotANetwork;

    /// `192.0.2.0/24`, `2001:db8::/32`, or a single address; `::ffff:192.0.2.0/120` is the first of these.
    fn from_str(text: &str) -> Result<Cidr, NotANetwork> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u32>().map_err(|_| NotANetwork)?)),
            None => (text, None),
        };
        let ip = ip.parse::<IpAddr>().map_err(|_| NotANetwork)?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(NotANetwork);
        }
        // Addresses are compared in their IPv4 form where they have one.
        match (ip.to_canonical(), bits.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(bits)) if ip.is_ipv6() => Ok(Cidr { ip: v4, bits }),
            _ => Ok(Cidr { ip, bits }),
        }
    }
}

impl Cidr {
    /// `bits` is at most the address's width.
    pub(super) fn new(ip: IpAddr, bits: u32) -> Cidr {
        Cidr { ip, bits }
    }

    /// Whether `ip` lies in it; an IPv4 address counts as such in its IPv6 form too.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differing = u32::from(net) ^ u32::from(ip);
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differing = u128::from(net) ^ u128::from(ip);
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Addresses that are never out on the Internet: of this machine, of the link, of private networks and of carriers'.
const LOCAL: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// Beside these, what is no machine's address at all.
const NOBODYS: [&str; 5] = ["0.0.0.0/8", "224.0.0.0/3", "192.0.0.0/24", "::/128", "ff00::/8"];

/// And what a network uses inside: its own translation to IPv4 (RFC 8215), and the site-local addresses of old (RFC 3879).
const INNER: [&str; 2] = ["64:ff9b:1::/48", "fec0::/10"];

fn parsed(text: &str) -> Cidr {
    text.parse().expect("a constant network")
}

/// The clients that are served unless others are named: those of this machine, its links and private networks.
pub(super) fn local_networks() -> Vec<Cidr> {
    LOCAL.into_iter().map(parsed).collect()
}

/// Whether an address is a neighbour's: of this machine, its link or a private network. What a carrier gives to its
/// customers (100.64.0.0/10) is private, and yet full of strangers.
pub(super) fn is_neighbour(ip: IpAddr) -> bool {
    LOCAL.into_iter().filter(|net| *net != "100.64.0.0/10").any(|net| parsed(net).contains(ip))
}

/// Whether an address is out on the Internet. One that only wraps an IPv4 address is what that is (RFC 4291 §2.5.5, RFC
/// 3056, RFC 6052).
pub(super) fn is_public(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if let IpAddr::V6(ip) = ip
        && let Some(inner) = embedded(ip)
    {
        return is_public(IpAddr::V4(inner));
    }
    !LOCAL.into_iter().chain(NOBODYS).chain(INNER).any(|net| parsed(net).contains(ip))
}

fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x2002, _) => Some(pair(b, c)),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => Some(pair(g, h)),
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0) && g != 0 => Some(pair(g, h)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks() {
        for (net, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::ffff:192.0.3.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.7", "192.0.3.7"),
            ("::ffff:192.0.2.0/120", "::ffff:192.0.2.7", "2001:db8::7"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:0:0/96", "203.0.113.9", "2001:db8::1"),
            ("::ffff:0:0/95", "::fffe:0:1", "203.0.113.9"),
        ] {
            let net: Cidr = net.parse().expect("a network");
            assert!(net.contains(ip(inside)), "{inside}");
            assert!(!net.contains(ip(outside)), "{outside}");
        }
        for bad in ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/-1", "mirror.example.org"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_out_on_the_internet() {
        for public in ["203.0.113.1", "8.8.8.8", "2001:db8::1", "2002:cb00:7101::1", "64:ff9b::cb00:7101"] {
            assert!(is_public(ip(public)), "{public}");
        }
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "2002:0a00:0001::1",
            "2002:7f00:0001::1",
            "64:ff9b::a00:1",
            "::10.0.0.1",
            "64:ff9b:1::cb00:7101",
            "64:ff9b:1:ffff::1",
            "fec0::1",
            "feff::1",
        ] {
            assert!(!is_public(ip(inside)), "{inside}");
        }
    }
}
