//! DNS-SD over multicast DNS (RFC 6762, RFC 6763): neighbours find each other, and clients find the proxy.
//!
//! Announces `_apt-p2p._tcp` (for neighbours: network and id in its TXT record; OpenWrt's system announces no id) and
//! `_apt_proxy._tcp` (which auto-apt-proxy and squid-deb-proxy-client browse); browses the first. Only with private addresses that need no interface
//! beside them: what is announced is no business of a router's outer side, and apt cannot use a link-local IPv6 address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crossbeam_channel::after;
use mdns_sd::{
    IfKind, IfPredicate, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperty,
    UnregisterStatus,
};

use super::{LanId, Neighbour, Neighbours};
use crate::limits::{BROWSE_PAUSE, BROWSE_PAUSE_MAX, NEIGHBOUR_PORT_MIN};

const NEIGHBOUR_TYPE: &str = "_apt-p2p._tcp.local.";
const PROXY_TYPE: &str = "_apt_proxy._tcp.local.";

/// How long a goodbye may take where nobody says otherwise.
const GOODBYE_TIME: Duration = Duration::from_millis(500);

/// What is announced.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// This machine's name, without a domain.
    pub host: String,
    /// The network that its files are shared in; neighbours of another one are none.
    pub network: String,
    /// The proxy's port; none when it does not serve the LAN.
    pub proxy_port: Option<u16>,
    /// The peer edge's port; none when nothing is shared.
    pub peer_port: Option<u16>,
}

impl Announcement {
    /// Whether there is nothing to announce.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxy_port.is_none() && self.peer_port.is_none()
    }
}

/// Why there is no discovery.
#[derive(Debug)]
pub struct DiscoveryError(mdns_sd::Error);

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "multicast DNS cannot be used ({}); name the neighbours with --neighbour", self.0)
    }
}

impl std::error::Error for DiscoveryError {}

impl From<mdns_sd::Error> for DiscoveryError {
    fn from(error: mdns_sd::Error) -> DiscoveryError {
        DiscoveryError(error)
    }
}

/// Announces us and hears of others until it is dropped.
pub struct Discovery {
    service: ServiceDaemon,
    names: Vec<String>,
    /// Said, each till it has been heard.
    goodbyes: Vec<Receiver<UnregisterStatus>>,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "announced as {:?}", self.names)
    }
}

/// Hears of neighbours; runs on a thread of its own until the [`Discovery`] ends.
pub struct Listener {
    service: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    network: String,
    neighbours: Neighbours,
}

impl Discovery {
    /// Begins to announce, and to listen, if we are a neighbour ourselves.
    ///
    /// # Errors
    /// [`DiscoveryError`] when there is no multicast to be had.
    pub fn start(
        announcement: &Announcement,
        neighbours: Neighbours,
    ) -> Result<(Discovery, Option<Listener>), DiscoveryError> {
        let service = ServiceDaemon::new()?;
        service.disable_interface(IfKind::Predicate(IfPredicate::new(|interface| !is_inner(interface.ip()))))?;
        let events = announcement.peer_port.map(|_| service.browse(NEIGHBOUR_TYPE)).transpose()?;
        let mut discovery = Discovery { service, names: Vec::new(), goodbyes: Vec::new() };
        let own = neighbours.own();
        // Two daemons may run on one machine: the id tells their names apart.
        let name = format!("{}-{}", announcement.host, &own.to_string()[..6]);
        if let Some(port) = announcement.peer_port {
            let txt = vec![("id", own.to_string()), ("net", announcement.network.clone())];
            discovery.announce(NEIGHBOUR_TYPE, &name, &announcement.host, port, &txt)?;
        }
        if let Some(port) = announcement.proxy_port {
            discovery.announce(PROXY_TYPE, &name, &announcement.host, port, &[])?;
        }
        let (service, network) = (discovery.service.clone(), announcement.network.clone());
        let listener = events.map(|events| Listener { service, events, network, neighbours });
        Ok((discovery, listener))
    }

    /// Says goodbye, so that nobody asks a machine that is gone; does not wait until that is said.
    pub fn leave(&mut self) {
        self.goodbyes.extend(self.names.drain(..).filter_map(|name| self.service.unregister(&name).ok()));
    }

    /// Waits until it is, for each goodbye no longer than is `left`.
    pub fn wait_until_gone(&mut self, left: &dyn Fn() -> Duration) {
        for goodbye in self.goodbyes.drain(..) {
            goodbye.recv_timeout(left()).ok();
        }
    }

    fn announce(
        &mut self,
        kind: &str,
        name: &str,
        host: &str,
        port: u16,
        txt: &[(&str, String)],
    ) -> Result<(), DiscoveryError> {
        let txt: Vec<TxtProperty> = txt.iter().map(|pair| pair.into()).collect();
        let info = ServiceInfo::new(kind, name, &format!("{host}.local."), (), port, txt)?.enable_addr_auto();
        self.names.push(info.get_fullname().to_owned());
        Ok(self.service.register(info)?)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.leave();
        self.wait_until_gone(&|| GOODBYE_TIME);
        self.service.shutdown().ok();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hears of {} neighbours", self.neighbours.announced().len())
    }
}

impl Listener {
    /// Notes who comes and goes, until discovery ends.
    pub fn run(mut self) {
        let mut pause = BROWSE_PAUSE;
        loop {
            self.hear();
            // It has ended.
            if self.service.get_metrics().is_err() {
                return;
            }
            // The library stops telling us when more comes at once than it keeps for us, and begins with all that it remembers: that
            // may be too much again for as long as whoever said it wants.
            log::warn!(
                "more announcements on this LAN than can be heard; neighbours are looked for anew in {} s",
                pause.as_secs()
            );
            after(pause).recv().ok();
            pause = (2 * pause).min(BROWSE_PAUSE_MAX);
            match self.service.browse(NEIGHBOUR_TYPE) {
                Ok(events) => self.events = events,
                Err(_) => return,
            }
        }
    }

    fn hear(&self) {
        while let Ok(event) = self.events.recv() {
            match event {
                ServiceEvent::ServiceResolved(service) => self.resolved(&service),
                ServiceEvent::ServiceRemoved(_, name) => self.left(&name),
                _ => {}
            }
        }
    }

    fn left(&self, name: &str) {
        if self.neighbours.forget(name).is_some() {
            log::info!("a neighbour has left: {name:?}");
        }
    }

    fn resolved(&self, service: &ResolvedService) {
        let Some(neighbour) = announced_by(service, &self.network) else { return self.left(&service.fullname) };
        let address = neighbour.address;
        if self.neighbours.note(&service.fullname, neighbour) {
            log::info!("a neighbour on this LAN: {:?} at {address}", service.fullname);
        }
    }
}

/// The neighbour that announces itself so, if it is one of this network that can be asked.
fn announced_by(service: &ResolvedService, network: &str) -> Option<Neighbour> {
    let is_ours = service.get_property_val_str("net") == Some(network);
    // Below are the ports of other things, which are not to be asked by us because somebody says so.
    if !is_ours || service.port < NEIGHBOUR_PORT_MIN {
        return None;
    }
    let id = service.get_property_val_str("id").and_then(LanId::from_hex);
    let ip = best(service.addresses.iter().map(|address| address.to_ip_addr()))?;
    Some(Neighbour { id, address: SocketAddr::new(ip, service.port) })
}

/// The address to use of several: an IPv4 one, which every LAN has. Never one of the outer side: anybody on the LAN can
/// announce whatever he likes, and what is missed here is asked there.
fn best(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    addresses.filter(|ip| is_inner(*ip) && !ip.is_loopback()).min_by_key(|ip| (ip.is_ipv6(), *ip))
}

/// Whether this address is one of the inside, and says all that is needed to reach it.
fn is_inner(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_ipv4_address_is_preferred() {
        for (addresses, expected) in [
            (&["192.168.1.7", "fd00::7"][..], Some("192.168.1.7")),
            (&["fe80::1", "fd00::7", "2001:db8::7"], Some("fd00::7")),
            (&["2001:db8::7", "ff02::1", "::"], None),
            (&["203.0.113.7", "127.0.0.1", "::1", "fe80::1"], None),
            (&["203.0.113.7", "10.0.0.2"], Some("10.0.0.2")),
            (&[], None),
        ] {
            let parsed = addresses.iter().map(|text| text.parse().expect("an address"));
            let expected: Option<IpAddr> = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(best(parsed), expected, "{addresses:?}");
        }
    }

    fn service(port: u16, txt: &[(&str, &str)]) -> ResolvedService {
        let info = ServiceInfo::new(NEIGHBOUR_TYPE, "router", "router.local.", "192.168.1.1", port, txt);
        info.expect("what can be announced").as_resolved_service()
    }

    #[test]
    fn a_router_whose_system_announces_it_is_a_neighbour() {
        let id = LanId([7; 20]);
        let at = |port| SocketAddr::from(([192, 168, 1, 1], port));
        for (port, txt, expected) in [
            (9978, &[("net", "apt-p2p")][..], Some(Neighbour { id: None, address: at(9978) })),
            (
                7000,
                &[("net", "apt-p2p"), ("id", &id.to_string())],
                Some(Neighbour { id: Some(id), address: at(7000) }),
            ),
            (9978, &[("net", "example")], None),
            (9978, &[], None),
            (22, &[("net", "apt-p2p")], None),
        ] {
            assert_eq!(announced_by(&service(port, txt), "apt-p2p"), expected, "{port} {txt:?}");
        }
    }

    #[test]
    fn the_outer_side_is_left_alone() {
        for (text, inner) in [
            ("192.168.1.1", true),
            ("203.0.113.1", false),
            ("fd00::1", true),
            ("fe80::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_inner(text.parse().expect("an address")), inner, "{text}");
        }
    }
}
