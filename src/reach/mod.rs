//! How strangers get through the router of this LAN: it is asked to pass our port on, by PCP, NAT-PMP or UPnP-IGD.
//!
//! Owns the mapping of one port, for TCP and UDP: asking for it, renewing it, ending it. Each of these waits for the
//! router, for bounded time: they belong on a thread of their own. Refuses to believe the router further than that:
//! whether strangers come through shows when some dial us. Without the feature `port-mapping` there is none of this.
//!
//! IPv6 needs no mapping; a firewall that is closed there stays closed.

mod igd;
mod route;
mod wire;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use self::igd::Igd;
use self::wire::{Answer, Request, Transport};
use crate::limits::{MAPPING_ANSWER_TIME, MAPPING_STRAYS, MAPPING_TIME_S, MAPPING_TRIES};

/// Where this machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The router that its packets leave by.
    pub router: Ipv4Addr,
    /// Its own address there.
    pub own: Ipv4Addr,
}

impl Place {
    /// Where we are now, if that is behind a router that gives out private addresses. `listen`: the address that the
    /// port is bound to.
    #[must_use]
    pub fn look(listen: Ipv4Addr) -> Option<Place> {
        let router = route::router(&std::fs::read_to_string("/proc/net/route").ok()?)?;
        // A connected UDP socket knows the address that it would send from, and sends nothing.
        let socket = UdpSocket::bind((listen, 0)).ok()?;
        socket.connect((router, wire::PORT)).ok()?;
        match socket.local_addr().ok()? {
            SocketAddr::V4(own) if is_behind_a_router(*own.ip()) => Some(Place { router, own: *own.ip() }),
            _ => None,
        }
    }
}

/// RFC 1918, and what providers share out (RFC 6598).
fn is_behind_a_router(own: Ipv4Addr) -> bool {
    let [first, second, ..] = own.octets();
    own.is_private() || first == 100 && second & 0xc0 == 64
}

/// How a router was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The Port Control Protocol, RFC 6887.
    Pcp,
    /// Its forerunner, RFC 6886.
    NatPmp,
    /// UPnP's Internet Gateway Device.
    Igd,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Pcp => "PCP",
            Way::NatPmp => "NAT-PMP",
            Way::Igd => "UPnP",
        })
    }
}

/// What the router promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// How it was asked.
    pub way: Way,
    /// The TCP port at which strangers reach us.
    pub outer_port: u16,
    /// For so long.
    pub lifetime: Duration,
}

/// Why there is no mapping.
#[derive(Debug)]
pub struct ReachError {
    router: Ipv4Addr,
    port: u16,
    /// What became of PCP and NAT-PMP, and of UPnP.
    why: [String; 2],
}

impl fmt::Display for ReachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReachError { router, port, why: [pcp, igd] } = self;
        write!(
            f,
            "the router {router} passes no port on to us (PCP and NAT-PMP: {pcp}; UPnP: {igd}): who shares with strangers \
             turns that on there, or has it pass port {port} on, TCP and UDP"
        )
    }
}

impl std::error::Error for ReachError {}

/// Asks for the mapping of one port.
pub struct Mapper {
    port: u16,
    /// Names our mapping to the router: nobody else can end it.
    nonce: [u8; 12],
    held: Option<Held>,
}

/// A mapping that we have.
struct Held {
    place: Place,
    means: Means,
    tcp: u16,
    udp: Option<u16>,
}

enum Means {
    Pcp,
    NatPmp,
    Igd(Igd),
}

impl Means {
    fn way(&self) -> Way {
        match self {
            Means::Pcp => Way::Pcp,
            Means::NatPmp => Way::NatPmp,
            Means::Igd(_) => Way::Igd,
        }
    }

    /// Asks for a mapping of one transport; what was given.
    fn ask(&self, place: Place, request: &Request, nonce: &[u8; 12]) -> Result<(u16, u32), NoMapping> {
        let router = SocketAddr::from((place.router, wire::PORT));
        match self {
            Means::Pcp => ask_pcp(router, place.own, request, nonce),
            Means::NatPmp => ask_nat_pmp(router, place.own, request),
            Means::Igd(igd) => igd.map(place.own, request).map_err(NoMapping::Igd),
        }
    }
}

/// Why one way leads nowhere.
#[derive(Debug)]
enum NoMapping {
    /// No answer, or the system refuses to ask.
    Silent(io::Error),
    OtherVersion,
    Refused(u16),
    Igd(String),
}

impl fmt::Display for NoMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoMapping::Silent(error) => write!(f, "no answer ({error})"),
            NoMapping::OtherVersion => f.write_str("another version"),
            NoMapping::Refused(code) => write!(f, "refused with code {code}"),
            NoMapping::Igd(why) => f.write_str(why),
        }
    }
}

impl Mapper {
    /// For this port; `nonce`: random.
    #[must_use]
    pub fn new(port: u16, nonce: [u8; 12]) -> Mapper {
        Mapper { port, nonce, held: None }
    }

    /// Asks the router for a mapping, or to keep the one that there is. Takes up to 40 s with a router that is silent: to
    /// renew and to end what it gave, 10 s each time, then to ask anew.
    ///
    /// # Errors
    /// [`ReachError`] when no way leads to one.
    pub fn map(&mut self, place: Place) -> Result<Mapping, ReachError> {
        if let Some(mapping) = self.renew(place) {
            return Ok(mapping);
        }
        let why = match self.take(place, Means::Pcp, self.port) {
            Ok(mapping) => return Ok(mapping),
            Err(NoMapping::OtherVersion) => match self.take(place, Means::NatPmp, self.port) {
                Ok(mapping) => return Ok(mapping),
                Err(why) => why,
            },
            Err(why) => why,
        };
        let igd =
            Igd::find(place).map_err(NoMapping::Igd).and_then(|igd| self.take(place, Means::Igd(igd), self.port));
        igd.map_err(|igd| ReachError {
            router: place.router,
            port: self.port,
            why: [why.to_string(), igd.to_string()],
        })
    }

    /// Renews the mapping that there is. What cannot be kept, or was for another address, is ended: UPnP's may be for ever.
    fn renew(&mut self, place: Place) -> Option<Mapping> {
        let held = self.held.as_ref()?;
        if held.place == place {
            let request = self.request(Transport::Tcp, held.tcp);
            if let Ok((tcp, lifetime_s)) = held.means.ask(place, &request, &self.nonce) {
                let way = held.means.way();
                let udp = self.ask_udp(place, &held.means, tcp);
                self.held = self.held.take().map(|held| Held { tcp, udp, ..held });
                return Some(Mapping { way, outer_port: tcp, lifetime: Duration::from_secs(lifetime_s.into()) });
            }
        }
        self.end();
        None
    }

    fn request(&self, transport: Transport, outer_port: u16) -> Request {
        Request { transport, inner_port: self.port, outer_port, lifetime_s: MAPPING_TIME_S }
    }

    /// Without UDP files can be had from us all the same.
    fn ask_udp(&self, place: Place, means: &Means, outer_port: u16) -> Option<u16> {
        let asked = means.ask(place, &self.request(Transport::Udp, outer_port), &self.nonce);
        asked.inspect_err(|why| log::debug!("the router passes no UDP port on: {why}")).ok().map(|(port, _)| port)
    }

    fn take(&mut self, place: Place, means: Means, wanted: u16) -> Result<Mapping, NoMapping> {
        let (tcp, lifetime_s) = means.ask(place, &self.request(Transport::Tcp, wanted), &self.nonce)?;
        let udp = self.ask_udp(place, &means, tcp);
        let way = means.way();
        self.held = Some(Held { place, means, tcp, udp });
        Ok(Mapping { way, outer_port: tcp, lifetime: Duration::from_secs(lifetime_s.into()) })
    }

    /// Ends the mapping, if there is one: the port is not to lead to whoever has our address next.
    pub fn end(&mut self) {
        let Some(Held { place, means, tcp, udp }) = self.held.take() else { return };
        for (transport, outer_port) in [(Transport::Tcp, Some(tcp)), (Transport::Udp, udp)] {
            let Some(outer_port) = outer_port else { continue };
            let request = Request { transport, inner_port: self.port, outer_port, lifetime_s: 0 };
            let ended = match &means {
                Means::Igd(igd) => igd.end(&request).map_err(NoMapping::Igd),
                asked => asked.ask(place, &request, &self.nonce).map(|_| ()),
            };
            if let Err(why) = ended {
                log::debug!("the router's mapping of port {outer_port} ends by itself: {why}");
            }
        }
    }
}

impl fmt::Debug for Mapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapper({}, {:?})", self.port, self.held.as_ref().map(|held| held.tcp))
    }
}

fn ask_pcp(router: SocketAddr, own: Ipv4Addr, request: &Request, nonce: &[u8; 12]) -> Result<(u16, u32), NoMapping> {
    let bytes = wire::pcp_request(request, own, nonce);
    exchange(router, own, &bytes, |answer| wire::pcp_answer(answer, request, nonce))
}

fn ask_nat_pmp(router: SocketAddr, own: Ipv4Addr, request: &Request) -> Result<(u16, u32), NoMapping> {
    exchange(router, own, &wire::nat_pmp_request(request), |answer| wire::nat_pmp_answer(answer, request))
}

/// Asks until there is an answer, waiting twice as long each time (RFC 6886, 3.1).
fn exchange(
    router: SocketAddr,
    own: Ipv4Addr,
    bytes: &[u8],
    understand: impl Fn(&[u8]) -> Option<Answer>,
) -> Result<(u16, u32), NoMapping> {
    // Connected: nobody but the router is heard, and its refusal of the port comes as an error at once.
    let socket = UdpSocket::bind((own, 0)).map_err(NoMapping::Silent)?;
    socket.connect(router).map_err(NoMapping::Silent)?;
    let mut buffer = [0; 1100];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for round in 0..MAPPING_TRIES {
        socket.send(bytes).map_err(NoMapping::Silent)?;
        socket.set_read_timeout(Some(MAPPING_ANSWER_TIME * 2_u32.pow(round))).map_err(NoMapping::Silent)?;
        for _ in 0..MAPPING_STRAYS {
            match socket.recv(&mut buffer) {
                Ok(len) => match understand(&buffer[..len]) {
                    Some(Answer::Mapped { outer_port, lifetime_s }) => return Ok((outer_port, lifetime_s)),
                    Some(Answer::OtherVersion) => return Err(NoMapping::OtherVersion),
                    Some(Answer::Refused(code)) => return Err(NoMapping::Refused(code)),
                    None => {}
                },
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Err(NoMapping::Silent(error));
                }
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
    }
    Err(NoMapping::Silent(last))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a router on a thread")]
mod tests {
    use super::*;
    use std::thread::JoinHandle;

    const REQUEST: Request =
        Request { transport: Transport::Tcp, inner_port: 9978, outer_port: 9978, lifetime_s: 3600 };

    /// A router that answers each datagram with what is made of it, as often as told; what it was asked.
    fn router(answers: Vec<Option<Vec<u8>>>) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let answer_one = |answer: Option<Vec<u8>>| {
                let (len, from) = socket.recv_from(&mut buffer).expect("a request");
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).expect("loopback");
                }
                buffer[..len].to_vec()
            };
            answers.into_iter().map(answer_one).collect()
        });
        (address, thread)
    }

    #[test]
    fn a_lost_answer_is_asked_for_again() {
        let mapped = vec![0, 130, 0, 0, 0, 0, 0, 9, 0x26, 0xfa, 0x9c, 0x40, 0, 0, 0x0e, 0x10];
        let (address, thread) = router(vec![None, Some(vec![1, 2, 3]), Some(mapped)]);
        assert_eq!(ask_nat_pmp(address, Ipv4Addr::LOCALHOST, &REQUEST).expect("in the end"), (40_000, 3600));
        let asked = thread.join().expect("no panic");
        assert!(asked.iter().all(|bytes| *bytes == wire::nat_pmp_request(&REQUEST)));
    }

    #[test]
    fn another_version_and_a_refusal_are_final() {
        let (address, thread) = router(vec![Some(vec![0, 129, 0, 1, 0, 0, 0, 9])]);
        let asked = ask_pcp(address, Ipv4Addr::LOCALHOST, &REQUEST, &[7; 12]);
        assert!(matches!(asked, Err(NoMapping::OtherVersion)), "{asked:?}");
        thread.join().expect("no panic");
        let (address, thread) = router(vec![Some(vec![0, 130, 0, 2])]);
        let asked = ask_nat_pmp(address, Ipv4Addr::LOCALHOST, &REQUEST);
        assert!(matches!(asked, Err(NoMapping::Refused(2))), "{asked:?}");
        thread.join().expect("no panic");
    }

    #[test]
    fn a_router_that_listens_not_is_given_up_at_once() {
        let unused = UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
        let asked = ask_pcp(unused, Ipv4Addr::LOCALHOST, &REQUEST, &[7; 12]);
        assert!(matches!(&asked, Err(NoMapping::Silent(error)) if error.kind() == io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn who_has_a_public_address_asks_nobody() {
        for (own, behind) in
            [("192.168.1.7", true), ("100.64.0.1", true), ("100.128.0.1", false), ("203.0.113.1", false)]
        {
            assert_eq!(is_behind_a_router(own.parse().expect("an address")), behind, "{own}");
        }
    }
}
