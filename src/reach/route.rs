//! Which router this machine's packets leave by, as the kernel's table tells it (proc(5)). PURE.

use std::net::Ipv4Addr;

/// A route is by way of a router (linux/route.h).
const RTF_GATEWAY: u32 = 0x2;

/// The router of the default route with the smallest metric, from what `/proc/net/route` holds.
pub(super) fn router(routes: &str) -> Option<Ipv4Addr> {
    let by_metric = routes.lines().filter_map(default_route).min_by_key(|(metric, _)| *metric);
    by_metric.map(|(_, router)| router)
}

/// `eth0 00000000 0101A8C0 0003 0 0 100 00000000 …`: interface, destination, router, flags, …, metric, mask; addresses as
/// words of this machine.
fn default_route(line: &str) -> Option<(u32, Ipv4Addr)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "00000000", router, flags, _, _, metric, "00000000", ..] = words.as_slice() else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let router = Ipv4Addr::from(u32::from_str_radix(router, 16).ok()?.to_ne_bytes());
    (flags & RTF_GATEWAY != 0).then_some((metric.parse().ok()?, router))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn line(to: [u8; 4], router: [u8; 4], flags: u32, metric: u32, mask: [u8; 4]) -> String {
        let word = u32::from_ne_bytes;
        let (to, router, mask) = (word(to), word(router), word(mask));
        format!("eth0\t{to:08X}\t{router:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn the_default_route_with_the_smallest_metric_counts() {
        let lan = line([192, 168, 1, 0], [0; 4], 1, 0, [255, 255, 255, 0]);
        let wifi = line([0; 4], [192, 168, 2, 1], 3, 600, [0; 4]);
        let wire = line([0; 4], [192, 168, 1, 1], 3, 100, [0; 4]);
        let table = [HEAD, &lan, &wifi, &wire].concat();
        assert_eq!(router(&table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(router(&[HEAD, &lan].concat()), None);
        let no_router = line([0; 4], [0; 4], 1, 0, [0; 4]);
        assert_eq!(router(&[HEAD, &no_router].concat()), None, "a line to a provider, without a router of ours");
        assert_eq!(router("garbage\n\n0 0 0 0 0 0 0 0"), None);
    }
}
