//! DNS-SD over multicast DNS (RFC 6762, RFC 6763), spoken by a process of its own.
//!
//! Announces `_apt-p2p._tcp` (for neighbours: network and id in its TXT record; OpenWrt's system announces no id) and
//! `_apt_proxy._tcp` (which auto-apt-proxy and squid-deb-proxy-client browse), browses the first, and tells what it hears, a line
//! each. Only with private addresses that need no interface beside them: what is announced is no business of a router's
//! outer side, and apt cannot use a link-local IPv6 address.
//!
//! The library remembers what any machine of the LAN says, 300 MB of it a second, and does nothing else while more comes. So
//! the kernel bounds what this process may have, and it is ended by that without harm: `discovery` starts another.

use std::ffi::CStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use mdns_sd::{
    IfKind, IfPredicate, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperty,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setpriority_process, setrlimit,
};
use rustix::thread::set_name;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{LanId, Neighbour};
use crate::limits::{
    GOODBYE_TIME, MDNS_DATA_MAX, MDNS_LINE_LEN, MDNS_QUESTIONS, NEIGHBOUR_PORT_MIN, THREAD_STACK_LEN,
};

/// The name that the program is run by to be this process.
pub const NAME: &str = "apt-p2p-mdns";
const SHOWN_NAME: &CStr = c"apt-p2p-mdns";

const NEIGHBOUR_TYPE: &str = "_apt-p2p._tcp.local.";
const PROXY_TYPE: &str = "_apt_proxy._tcp.local.";
/// The proxy is to be served first.
const NICENESS: i32 = 10;

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// This machine's name, without a domain.
    pub host: String,
    /// The network that its files are shared in; neighbours of another one are none.
    pub network: String,
    /// Our id among neighbours.
    pub id: LanId,
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

    /// As the responder's arguments.
    pub(super) fn words(&self) -> [String; 5] {
        let port = |port: Option<u16>| port.unwrap_or_default().to_string();
        [self.host.clone(), self.network.clone(), self.id.to_string(), port(self.proxy_port), port(self.peer_port)]
    }

    fn from_words(words: &[String]) -> Option<Announcement> {
        let [host, network, id, proxy_port, peer_port] = words else { return None };
        let port = |text: &String| text.parse().ok().map(|port: u16| (port != 0).then_some(port));
        Some(Announcement {
            host: host.clone(),
            network: network.clone(),
            id: LanId::from_hex(id)?,
            proxy_port: port(proxy_port)?,
            peer_port: port(peer_port)?,
        })
    }
}

/// What the responder tells, a line each.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One announces itself by this name.
    Neighbour(String, Neighbour),
    /// Who had this name is none any more.
    Left(String),
    /// Whoever is there has been asked often enough to have been heard of.
    Settled,
    /// It ends, and why.
    Trouble(String),
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Neighbour(name, Neighbour { id, address }) => {
                write!(f, "neighbour {address} {} {name}", id.map_or("-".to_owned(), |id| id.to_string()))
            }
            Heard::Left(name) => write!(f, "left {name}"),
            Heard::Settled => f.write_str("settled "),
            Heard::Trouble(why) => write!(f, "trouble {why}"),
        }
    }
}

impl Heard {
    pub(super) fn parse(line: &str) -> Option<Heard> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "neighbour" => {
                let mut words = rest.splitn(3, ' ');
                let address = words.next()?.parse().ok()?;
                let id = match words.next()? {
                    "-" => None,
                    id => Some(LanId::from_hex(id)?),
                };
                Some(Heard::Neighbour(words.next()?.to_owned(), Neighbour { id, address }))
            }
            "left" => Some(Heard::Left(rest.to_owned())),
            "settled" => Some(Heard::Settled),
            "trouble" => Some(Heard::Trouble(rest.to_owned())),
            _ => None,
        }
    }
}

/// Is the responder, until its standard input ends.
///
/// # Errors
/// What was told as the last line, too.
pub fn run(words: &[String]) -> Result<(), String> {
    // Who is run by a path in /proc is "exe" to `ps` and `top`.
    set_name(SHOWN_NAME).ok();
    let ended = heed_no_signal().and_then(|()| {
        close_inherited();
        bound_ourselves()?;
        panic::set_hook(Box::new(|panic| {
            tell(&Heard::Trouble(format!("multicast DNS failed: {panic}"))).ok();
        }));
        let announcement =
            Announcement::from_words(words).ok_or("this is run by apt-p2p itself, and by nobody else")?;
        respond(&announcement)
    });
    ended.inspect_err(|why| {
        tell(&Heard::Trouble(why.clone())).ok();
    })
}

/// Those that the daemon gets, too, are for it: its end is heard, with a goodbye.
fn heed_no_signal() -> Result<(), String> {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// LMDB opens its file for children, too: a disk in use by us could not be unmounted.
fn close_inherited() {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        #[expect(unsafe_code, reason = "nobody in this process owns what it was born with")]
        // SAFETY: this is called before anything is opened here; a number that is not open is refused by the kernel.
        unsafe {
            libc::close(descriptor);
        }
    }
}

/// What hostile announcements may cost.
fn bound_ourselves() -> Result<(), String> {
    let most = getrlimit(Resource::Data).maximum.map_or(MDNS_DATA_MAX, |most| most.min(MDNS_DATA_MAX));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Data, limit)
        .map_err(|error| format!("memory for multicast DNS cannot be bounded: {error}"))?;
    // Its end at that bound is no fault that is to be looked into.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    // The systemd unit refuses this, as it does to the daemon.
    setpriority_process(None, NICENESS).ok();
    Ok(())
}

fn respond(announcement: &Announcement) -> Result<(), String> {
    let responder = Responder::start(announcement).map_err(|error| {
        format!("multicast DNS cannot be used ({error}); --neighbour names the neighbours without it")
    })?;
    let events = match announcement.peer_port {
        Some(_) => Some(responder.service.browse(NEIGHBOUR_TYPE).map_err(|error| error.to_string())?),
        None => None,
    };
    let has_left = Arc::new(AtomicBool::new(false));
    let leaving = Arc::clone(&has_left);
    let leave = move || {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        leaving.store(true, Ordering::Relaxed);
        responder.leave();
        // The library would go on for as long as more comes than it can answer.
        std::process::exit(0);
    };
    #[expect(clippy::disallowed_methods, reason = "this is another process than the daemon's")]
    let leaver = Builder::new().stack_size(THREAD_STACK_LEN).spawn(leave).map_err(|error| error.to_string())?;
    // Where nobody listens any more, the end is near, and the goodbye comes first.
    if let Some(events) = events
        && hear(&events, &announcement.network).is_ok()
        && !has_left.load(Ordering::Relaxed)
    {
        // The library stops telling us when more comes at once than it keeps for us.
        return Err("more is announced by multicast DNS on this LAN than can be heard".to_owned());
    }
    leaver.join().map_err(|_| "a panic".to_owned())
}

struct Responder {
    service: ServiceDaemon,
    names: Vec<String>,
}

impl Responder {
    fn start(announcement: &Announcement) -> Result<Responder, mdns_sd::Error> {
        let service = ServiceDaemon::new()?;
        service.disable_interface(IfKind::Predicate(IfPredicate::new(|interface| !is_inner(interface.ip()))))?;
        let mut responder = Responder { service, names: Vec::new() };
        if let Some(port) = announcement.peer_port {
            let txt = [("id", announcement.id.to_string()), ("net", announcement.network.clone())];
            responder.announce(NEIGHBOUR_TYPE, announcement, port, &txt)?;
        }
        if let Some(port) = announcement.proxy_port {
            responder.announce(PROXY_TYPE, announcement, port, &[])?;
        }
        Ok(responder)
    }

    fn announce(
        &mut self,
        kind: &str,
        Announcement { host, id, .. }: &Announcement,
        port: u16,
        txt: &[(&str, String)],
    ) -> Result<(), mdns_sd::Error> {
        // Two daemons may run on one machine: the id tells their names apart.
        let name = format!("{host}-{}", &id.to_string()[..6]);
        let txt: Vec<TxtProperty> = txt.iter().map(|pair| pair.into()).collect();
        let info = ServiceInfo::new(kind, &name, &format!("{host}.local."), (), port, txt)?.enable_addr_auto();
        self.names.push(info.get_fullname().to_owned());
        self.service.register(info)
    }

    /// Says goodbye, so that nobody asks a machine that is gone.
    fn leave(self) {
        let goodbyes: Vec<_> = self.names.iter().filter_map(|name| self.service.unregister(name).ok()).collect();
        for goodbye in goodbyes {
            goodbye.recv_timeout(GOODBYE_TIME).ok();
        }
        self.service.shutdown().ok();
    }
}

/// Tells who comes and goes, until discovery ends or nobody listens.
fn hear(events: &Receiver<ServiceEvent>, network: &str) -> io::Result<()> {
    let mut questions = 0;
    while let Ok(event) = events.recv() {
        let heard = match event {
            ServiceEvent::SearchStarted(_) => {
                questions += 1;
                if questions != MDNS_QUESTIONS {
                    continue;
                }
                Heard::Settled
            }
            ServiceEvent::ServiceResolved(service) => match announced_by(&service, network) {
                Some(neighbour) => Heard::Neighbour(service.fullname, neighbour),
                None => Heard::Left(service.fullname),
            },
            ServiceEvent::ServiceRemoved(_, name) => Heard::Left(name),
            _ => continue,
        };
        tell(&heard)?;
    }
    Ok(())
}

fn tell(heard: &Heard) -> io::Result<()> {
    let mut line = heard.to_string();
    if line.len() >= MDNS_LINE_LEN || line.contains(char::is_control) {
        // Nobody would choose a name that is more than a line.
        let Heard::Trouble(_) = heard else { return Ok(()) };
        line = line.replace(char::is_control, " ").chars().take(MDNS_LINE_LEN / 4 - 1).collect();
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
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

    #[test]
    fn what_is_told_is_understood() {
        let address = SocketAddr::from(([192, 168, 1, 1], 9978));
        let named = |id| Heard::Neighbour("a router._apt-p2p._tcp.local.".to_owned(), Neighbour { id, address });
        for heard in [
            named(None),
            named(Some(LanId([7; 20]))),
            Heard::Left("who was here".to_owned()),
            Heard::Settled,
            Heard::Trouble("no multicast".to_owned()),
        ] {
            assert_eq!(Heard::parse(&heard.to_string()), Some(heard));
        }
        for bad in ["", "left", "neighbour 192.168.1.1:9978 -", "neighbour 192.168.1.1 - x", "neighbour [::1]:1 7 x"]
        {
            assert_eq!(Heard::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_announcement_is_handed_over_as_words() {
        let announcement = Announcement {
            host: "nas".to_owned(),
            network: "a school's".to_owned(),
            id: LanId([9; 20]),
            proxy_port: None,
            peer_port: Some(9978),
        };
        let words = announcement.words();
        assert_eq!(Announcement::from_words(&words), Some(announcement));
        assert_eq!(Announcement::from_words(&words[..4]), None);
        assert_eq!(Announcement::from_words(&[]), None);
    }
}
