//! UPnP's Internet Gateway Device, found by multicast and asked over HTTP: `igd-next` speaks it.
//!
//! Only the router itself is believed: any machine of the LAN could answer.

use std::net::{Ipv4Addr, SocketAddr};

use igd_next::{
    AddAnyPortError, AddPortError, Gateway, GatewayIpVersion, PortMappingProtocol, SearchError, SearchOptions,
    search_gateway,
};

use super::Place;
use super::wire::{Request, Transport};
use crate::limits::IGD_SEARCH_TIME;

/// How the mapping is called in the router's own list.
const NAME: &str = "apt-p2p";

/// A router that speaks UPnP.
pub(super) struct Igd(Gateway);

impl Igd {
    /// Looks for it; an error says why there is none.
    pub(super) fn find(place: Place) -> Result<Igd, String> {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddr::from((place.own, 0));
        options.timeout = Some(IGD_SEARCH_TIME);
        options.single_search_timeout = Some(IGD_SEARCH_TIME);
        options.gateway_ip_version = GatewayIpVersion::V4;
        let gateway = search_gateway(options).map_err(|error| match error {
            SearchError::NoResponseWithinTimeout => "no answer".to_owned(),
            error => error.to_string(),
        })?;
        if gateway.addr.ip() != place.router {
            return Err(format!("{} answers, and is not the router", gateway.addr.ip()));
        }
        Ok(Igd(gateway))
    }

    /// Maps a port; which one, and for how many seconds.
    pub(super) fn map(&self, own: Ipv4Addr, request: &Request) -> Result<(u16, u32), String> {
        let own = SocketAddr::from((own, request.inner_port));
        let protocol = protocol(request.transport);
        let add = |lifetime_s| self.0.add_port(protocol, request.outer_port, own, lifetime_s, NAME);
        match add(request.lifetime_s) {
            Ok(()) => Ok((request.outer_port, request.lifetime_s)),
            // It holds until it is ended.
            Err(AddPortError::OnlyPermanentLeasesSupported) => match add(0) {
                Ok(()) => Ok((request.outer_port, request.lifetime_s)),
                Err(error) => Err(error.to_string()),
            },
            Err(AddPortError::PortInUse) => {
                let any = |lifetime_s| self.0.add_any_port(protocol, own, lifetime_s, NAME);
                let added = match any(request.lifetime_s) {
                    Err(AddAnyPortError::OnlyPermanentLeasesSupported) => any(0),
                    added => added,
                };
                added.map(|port| (port, request.lifetime_s)).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends a mapping.
    pub(super) fn end(&self, request: &Request) -> Result<(), String> {
        let ended = self.0.remove_port(protocol(request.transport), request.outer_port);
        ended.map_err(|error| error.to_string())
    }
}

fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Tcp => PortMappingProtocol::TCP,
        Transport::Udp => PortMappingProtocol::UDP,
    }
}
