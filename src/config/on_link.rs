//! The public IPv6 prefixes of this machine's inner networks, as the kernel's tables tell them (proc(5)).
//!
//! Owns the judgement which networks are inner; reads no file. An interface with a private network of its own is inner: who
//! is on that link is served by its private address anyway. One without may be anybody's. That the interface leads out
//! says nothing: the one interface of a NAS does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cidr::{Cidr, is_public};
use crate::sorted::SortedSet;

/// A route is by way of a neighbour (linux/route.h).
const RTF_GATEWAY: u32 = 0x2;
/// A route leads nowhere.
const RTF_REJECT: u32 = 0x200;
/// A route is to an address of this machine.
const RTF_LOCAL: u32 = 0x8000_0000;

/// What one line of a table says.
struct Route<'a> {
    to: IpAddr,
    bits: u32,
    flags: u32,
    interface: &'a str,
}

impl Route<'_> {
    /// Whether it is to machines on the link.
    fn is_on_link(&self) -> bool {
        self.bits > 0 && self.flags & (RTF_GATEWAY | RTF_REJECT | RTF_LOCAL) == 0
    }

    /// Of one network with many machines: half a site at most, and no single address.
    fn is_public_prefix(&self) -> bool {
        self.to.is_ipv6() && (49..128).contains(&self.bits) && is_public(self.to)
    }
}

/// The prefixes, from what `/proc/net/route` and `/proc/net/ipv6_route` hold. A line that is not understood counts as none.
#[must_use]
pub fn on_link(routes_v4: &str, routes_v6: &str) -> Vec<Cidr> {
    let routes: Vec<Route<'_>> =
        routes_v4.lines().filter_map(route_v4).chain(routes_v6.lines().filter_map(route_v6)).collect();
    let is_private = |r: &&Route<'_>| r.is_on_link() && is_of_a_site(r.to);
    let private: SortedSet<&str> = routes.iter().filter(is_private).map(|r| r.interface).collect();
    let prefixes = routes.iter().filter(|r| r.is_on_link() && r.is_public_prefix());
    prefixes.filter(|r| private.contains(&r.interface)).map(|r| Cidr::new(r.to, r.bits)).collect()
}

/// A network that somebody runs for himself (RFC 1918, RFC 4193); link-local addresses say nothing, every interface has one.
fn is_of_a_site(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// `eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF …`: interface, destination, gateway, flags, …, mask; addresses as words of
/// this machine.
fn route_v4(line: &str) -> Option<Route<'_>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, to, _, flags, _, _, _, mask, ..] = words.as_slice() else { return None };
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes);
    let bits = u32::from_be_bytes(address(mask)?).leading_ones();
    let flags = u32::from_str_radix(flags, 16).ok()?;
    Some(Route { to: IpAddr::V4(Ipv4Addr::from(address(to)?)), bits, flags, interface })
}

/// `<destination> <bits> <source> <bits> <gateway> <metric> <references> <uses> <flags> <interface>`, in hexadecimal.
fn route_v6(line: &str) -> Option<Route<'_>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [to, bits, _, _, _, _, _, _, flags, interface] = words.as_slice() else { return None };
    let to = IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(to, 16).ok().filter(|_| to.len() == 32)?));
    let bits = u32::from_str_radix(bits, 16).ok().filter(|bits| *bits <= 128)?;
    Some(Route { to, bits, flags: u32::from_str_radix(flags, 16).ok()?, interface })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "00000000000000000000000000000000";

    fn v6(to: &str, bits: u32, flags: u32, interface: &str) -> String {
        let to = u128::from(to.parse::<Ipv6Addr>().expect("an address"));
        format!("{to:032x} {bits:02x} {ZERO} 00 {ZERO} 00000100 00000001 00000000 {flags:08x}     {interface}\n")
    }

    fn v4(to: [u8; 4], mask: [u8; 4], flags: u32, interface: &str) -> String {
        let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
        format!("{interface}\t{:08X}\t00000000\t{flags:04X}\t0\t0\t0\t{:08X}\t0\t0\t0\n", word(to), word(mask))
    }

    const TITLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_inner_networks_of_a_router_or_a_nas_and_no_others() {
        let out_v4 = v4([0; 4], [0; 4], 3, "wan");
        let lan_v4 = v4([192, 168, 1, 0], [255, 255, 255, 0], 1, "lan");
        let wan_v4 = v4([203, 0, 113, 0], [255, 255, 255, 0], 1, "wan");
        let nas_v4 = v4([0; 4], [0; 4], 3, "lan");
        let lan = v6("2001:db8:1:2::", 64, 1, "lan");
        let ula = v6("fd00:1::", 64, 1, "lan");
        let none: [&str; 0] = [];
        for (what, routes_v4, routes_v6, expected) in [
            ("a LAN", [&lan_v4, &out_v4], vec![lan.clone(), v6("::", 0, 3, "wan")], &["2001:db8:1:2::/64"][..]),
            ("known by its ULA", [&out_v4, &out_v4], vec![lan.clone(), ula.clone()], &["2001:db8:1:2::/64"]),
            ("nothing private", [&out_v4, &out_v4], vec![lan.clone()], &none),
            ("a NAS", [&lan_v4, &nas_v4], vec![lan.clone(), v6("::", 0, 3, "lan")], &["2001:db8:1:2::/64"]),
            ("the provider's", [&wan_v4, &out_v4], vec![v6("2001:db8:9::", 64, 1, "wan")], &none),
            ("a provider's behind a LAN", [&lan_v4, &out_v4], vec![v6("2001:db8:9::", 64, 1, "wan")], &none),
            (
                "leads nowhere",
                [&lan_v4, &out_v4],
                vec![lan.clone(), v6("::", 0, 0x200, "lan")],
                &["2001:db8:1:2::/64"],
            ),
            ("not on the link", [&lan_v4, &out_v4], vec![v6("2001:db8:1:3::", 64, 3, "lan")], &none),
            ("rejected", [&lan_v4, &out_v4], vec![v6("2001:db8:1::", 56, 0x201, "lan")], &none),
            ("its own address", [&lan_v4, &out_v4], vec![v6("2001:db8:1:2::1", 128, 0x8020_0001, "lan")], &none),
            ("a neighbour", [&lan_v4, &out_v4], vec![v6("2001:db8:1:2::7", 128, 1, "lan")], &none),
            ("too wide", [&lan_v4, &out_v4], vec![v6("2001:db8::", 32, 1, "lan")], &none),
            ("everybody's", [&lan_v4, &out_v4], vec![v6("ff00::", 64, 1, "lan"), v6("fe80::", 64, 1, "lan")], &none),
        ] {
            let routes_v4 = format!("{TITLE}{}{}", routes_v4[0], routes_v4[1]);
            let expected: Vec<Cidr> = expected.iter().map(|text| text.parse().expect("a network")).collect();
            assert_eq!(on_link(&routes_v4, &routes_v6.concat()), expected, "{what}");
        }
    }

    #[test]
    fn what_is_no_table_is_no_network() {
        for text in ["", "\n\n", TITLE, "zz 40", "lan zz 00000000 0001 0 0 0 00FFFFFF", &format!("{ZERO} ff {ZERO}")]
        {
            assert_eq!(on_link(text, text), [], "{text}");
        }
    }
}
