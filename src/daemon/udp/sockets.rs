//! The UDP sockets, one a family: bounded bursts in, a bounded queue out, and a new socket for a broken one.
//!
//! The system reads and writes one datagram a call here: there is no way to read several that needs no unsafe code, and
//! writing several saves little, because we send few. mio is edge-triggered: a socket counts as readable and writable until it says otherwise. What the system refuses to
//! send (no route, a firewall) is counted and forgotten. A network is lost when all is refused for want of a way, and there is none
//! to the Internet either: whoever names nodes to us chooses where we send to, and can choose what is refused.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::handle::Datagrams;
use super::watch::way_out;
use crate::dht::Family;
use crate::limits::{DATAGRAM_READ_LEN, DATAGRAMS_KEPT, DATAGRAMS_PER_TURN};

/// Errors in a row after which a socket is taken to be broken, or its network to be lost.
const ERRORS_IN_A_ROW: usize = 16;

struct Socket {
    family: Family,
    /// Where it is bound, with the port that the system chose.
    address: SocketAddr,
    /// None while it is broken and no other can be made.
    socket: Option<UdpSocket>,
    is_readable: bool,
    is_writable: bool,
    /// Datagrams that wait until it is writable.
    kept: VecDeque<(SocketAddr, Vec<u8>)>,
    errors_received: usize,
    errors_sent: usize,
}

/// The sockets. The token of each is its number and `first_token`.
pub(super) struct Sockets {
    list: Vec<Socket>,
    registry: Registry,
    first_token: usize,
    buffer: Vec<u8>,
    pub(super) counts: Datagrams,
}

impl Sockets {
    /// Makes the sockets. `[::]:PORT` makes two; where the machine lacks a family there is only the other.
    ///
    /// # Errors
    /// When a port is in use, or no socket can be made.
    pub(super) fn bind(listen: &[SocketAddr], registry: Registry, first_token: usize) -> io::Result<Sockets> {
        let counts = Datagrams::default();
        let buffer = vec![0; DATAGRAM_READ_LEN];
        let mut sockets = Sockets { list: Vec::new(), registry, first_token, buffer, counts };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in listen {
            match sockets.add(*address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => last = error,
                Ok(()) => {}
            }
            if address.is_ipv6() && address.ip().is_unspecified() {
                let port = sockets.list.last().map_or(address.port(), |socket| socket.address.port());
                let at = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                match sockets.add(at(port)) {
                    // Nobody asked for this port: any other will do.
                    Err(_) if address.port() == 0 => last = sockets.add(at(0)).err().unwrap_or(last),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                    Err(error) => last = error,
                    Ok(()) => {}
                }
            }
        }
        if sockets.list.is_empty() { Err(last) } else { Ok(sockets) }
    }

    fn add(&mut self, address: SocketAddr) -> io::Result<()> {
        let family = Family::of(address);
        if self.list.iter().any(|socket| socket.family == family) {
            return Ok(());
        }
        let mut socket = make(address)?;
        let address = socket.local_addr()?;
        let token = Token(self.first_token + self.list.len());
        self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.list.push(Socket {
            family,
            address,
            socket: Some(socket),
            is_readable: true,
            is_writable: true,
            kept: VecDeque::new(),
            errors_received: 0,
            errors_sent: 0,
        });
        Ok(())
    }

    pub(super) fn families(&self) -> Vec<Family> {
        self.list.iter().map(|socket| socket.family).collect()
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|socket| socket.address).collect()
    }

    /// Whether this token is one of ours; if so the socket is looked at in the next turn.
    pub(super) fn note_ready(&mut self, token: Token, is_readable: bool, is_writable: bool) -> bool {
        let Some(socket) = token.0.checked_sub(self.first_token).and_then(|n| self.list.get_mut(n)) else {
            return false;
        };
        socket.is_readable |= is_readable;
        socket.is_writable |= is_writable;
        true
    }

    /// Whether a socket may have more to read, or may take what waits.
    pub(super) fn has_more(&self) -> bool {
        self.list.iter().any(|socket| {
            socket.socket.is_some() && (socket.is_readable || socket.is_writable && !socket.kept.is_empty())
        })
    }

    /// Gives `take` what has arrived, a burst of each socket.
    pub(super) fn receive(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) {
        for socket in &mut self.list {
            for _ in 0..DATAGRAMS_PER_TURN {
                let Some(udp) = socket.socket.as_ref().filter(|_| socket.is_readable) else { break };
                match udp.recv_from(&mut self.buffer) {
                    Ok((len, from)) => {
                        socket.errors_received = 0;
                        self.counts.received += 1;
                        self.counts.bytes_received += len as u64;
                        take(from, &self.buffer[..len]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.is_readable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => socket.note_receive_error(&error),
                }
            }
        }
    }

    /// Sends a datagram, or keeps it until the socket takes it. Whether the network is back with it, after it was lost.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: &[u8]) -> bool {
        let family = Family::of(to);
        let Some(socket) = self.list.iter_mut().find(|socket| socket.family == family) else { return false };
        if !socket.kept.is_empty() || !socket.is_writable {
            socket.keep(to, bytes, &mut self.counts);
            return false;
        }
        let was_lost = socket.is_lost();
        socket.send(to, bytes, &mut self.counts);
        was_lost && !socket.is_lost()
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        for socket in &mut self.list {
            while socket.is_writable
                && let Some((to, bytes)) = socket.kept.pop_front()
            {
                socket.send(to, &bytes, &mut self.counts);
            }
        }
    }

    /// Makes new sockets for broken ones, at the same port; the families that have one again.
    pub(super) fn mend(&mut self) -> Vec<Family> {
        let mut mended = Vec::new();
        for (n, socket) in self.list.iter_mut().enumerate() {
            if socket.socket.is_some() {
                continue;
            }
            let made = make(socket.address).and_then(|mut udp| {
                let token = Token(self.first_token + n);
                self.registry.register(&mut udp, token, Interest::READABLE | Interest::WRITABLE)?;
                Ok(udp)
            });
            match made {
                Ok(udp) => {
                    socket.socket = Some(udp);
                    (socket.is_readable, socket.is_writable) = (true, true);
                    (socket.errors_received, socket.errors_sent) = (0, 0);
                    mended.push(socket.family);
                }
                Err(error) => log::debug!("no socket at {}: {error}", socket.address),
            }
        }
        mended
    }
}

impl Socket {
    fn is_lost(&self) -> bool {
        self.errors_sent >= ERRORS_IN_A_ROW
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8], counts: &mut Datagrams) {
        let Some(udp) = &self.socket else {
            counts.refused += 1;
            return;
        };
        match udp.send_to(bytes, to) {
            Ok(len) => {
                self.errors_sent = 0;
                counts.sent += 1;
                counts.bytes_sent += len as u64;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.is_writable = error.kind() == io::ErrorKind::Interrupted;
                self.keep(to, bytes, counts);
            }
            Err(error) => {
                counts.refused += 1;
                log::debug!("nothing can be sent to {to}: {error}");
                self.note_refused(&error, |from| way_out(from).is_some());
                if is_fatal(&error) {
                    self.drop_broken(&error);
                }
            }
        }
    }

    fn note_refused(&mut self, error: &io::Error, has_way_out: impl Fn(IpAddr) -> bool) {
        if !is_way_lost(error) {
            return;
        }
        self.errors_sent += 1;
        if self.errors_sent == ERRORS_IN_A_ROW {
            if has_way_out(self.address.ip()) {
                self.errors_sent = 0;
            } else {
                log::info!("the network seems to be lost ({error}); the DHT goes on when it is back");
            }
        }
    }

    fn keep(&mut self, to: SocketAddr, bytes: &[u8], counts: &mut Datagrams) {
        if self.kept.len() < DATAGRAMS_KEPT {
            self.kept.push_back((to, bytes.to_vec()));
        } else {
            counts.dropped += 1;
        }
    }

    fn note_receive_error(&mut self, error: &io::Error) {
        self.errors_received += 1;
        if is_fatal(error) || self.errors_received >= ERRORS_IN_A_ROW {
            self.drop_broken(error);
        }
    }

    fn drop_broken(&mut self, error: &io::Error) {
        log::warn!("the socket at {} is broken ({error}); another will be made", self.address);
        // Closing it takes it out of the poll.
        self.socket = None;
        self.kept.clear();
    }
}

/// Whether the socket itself is no good, not the network or the destination.
fn is_fatal(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::BADF, Errno::NOTSOCK, Errno::PIPE, Errno::NOTCONN])
}

/// Whether no way leads to the destination, perhaps to none.
fn is_way_lost(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NETUNREACH, Errno::NETDOWN, Errno::ADDRNOTAVAIL])
}

fn is_one_of(error: &io::Error, all: &[Errno]) -> bool {
    all.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn make(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(UdpSocket::from_std(std::net::UdpSocket::from(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    fn sockets(listen: &[&str]) -> (Poll, Sockets) {
        let poll = Poll::new().expect("epoll");
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let sockets = Sockets::bind(&listen, poll.registry().try_clone().expect("a descriptor"), 5);
        (poll, sockets.expect("loopback"))
    }

    fn wait(poll: &mut Poll, sockets: &mut Sockets) {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(10))).expect("epoll");
        for event in &events {
            assert!(sockets.note_ready(event.token(), event.is_readable(), event.is_writable()));
        }
    }

    fn received(sockets: &mut Sockets) -> usize {
        let mut count = 0;
        sockets.receive(|_, _| count += 1);
        count
    }

    #[test]
    fn one_family_is_enough_and_none_is_not() {
        // An address of documentation is no machine's.
        let (_poll, sockets) = sockets(&["[2001:db8::1]:0", "127.0.0.1:0", "127.0.0.2:0"]);
        assert_eq!(sockets.families(), [Family::V4]);
        let again =
            |listen: &[SocketAddr]| Sockets::bind(listen, sockets.registry.try_clone().expect("a descriptor"), 9);
        assert_eq!(again(&sockets.addresses()).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        assert!(again(&["[2001:db8::1]:0".parse().expect("an address")]).is_err());
    }

    #[test]
    fn a_burst_is_bounded_and_the_rest_is_remembered() {
        let (mut poll, mut sockets) = sockets(&["127.0.0.1:0"]);
        let friend = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        assert_eq!(received(&mut sockets), 0);
        assert!(!sockets.has_more());
        for _ in 0..=DATAGRAMS_PER_TURN {
            friend.send_to(b"x", sockets.addresses()[0]).expect("loopback");
        }
        while !sockets.has_more() {
            wait(&mut poll, &mut sockets);
        }
        assert_eq!(received(&mut sockets), DATAGRAMS_PER_TURN);
        assert!(sockets.has_more());
        assert_eq!((received(&mut sockets), sockets.has_more()), (1, false));
        assert_eq!(sockets.counts.received, 1 + DATAGRAMS_PER_TURN as u64);
    }

    #[test]
    fn what_a_socket_does_not_take_waits_within_bounds() {
        let (_poll, mut sockets) = sockets(&["127.0.0.1:0"]);
        let friend = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let to = friend.local_addr().expect("bound");
        sockets.list[0].is_writable = false;
        for _ in 0..DATAGRAMS_KEPT + 3 {
            assert!(!sockets.send(to, b"kept"));
        }
        assert_eq!((sockets.counts.sent, sockets.counts.dropped), (0, 3));
        assert!(sockets.note_ready(Token(5), false, true) && sockets.has_more());
        sockets.flush();
        assert_eq!(sockets.counts.sent, DATAGRAMS_KEPT as u64);
        let mut buffer = [0; 8];
        assert_eq!(friend.recv(&mut buffer).expect("a datagram"), 4);
    }

    #[test]
    fn what_is_refused_is_counted_and_loses_no_network() {
        let (_poll, mut sockets) = sockets(&["127.0.0.1:0"]);
        let here = sockets.addresses()[0];
        // Broadcasting is refused to a socket that did not ask for it.
        let nowhere = SocketAddr::from(([255, 255, 255, 255], 9));
        for _ in 0..ERRORS_IN_A_ROW {
            assert!(!sockets.send(nowhere, b"x"));
        }
        assert_eq!(sockets.counts.refused, ERRORS_IN_A_ROW as u64);
        assert!(!sockets.send(here, b"x"), "it was not lost");
        assert!(!sockets.send("[::1]:9".parse().expect("an address"), b"x"), "there is no socket of that family");
    }

    #[test]
    fn a_network_is_lost_when_no_way_leads_anywhere_and_comes_back() {
        let (_poll, mut sockets) = sockets(&["127.0.0.1:0"]);
        let here = sockets.addresses()[0];
        let refuse = |sockets: &mut Sockets, has_way_out| {
            let error = io::Error::from(Errno::NETUNREACH);
            (0..ERRORS_IN_A_ROW).for_each(|_| sockets.list[0].note_refused(&error, |_| has_way_out));
        };
        refuse(&mut sockets, true);
        assert!(!sockets.send(here, b"x"), "a part of it that nobody reaches");
        refuse(&mut sockets, false);
        assert!(sockets.send(here, b"x"), "it is back");
        assert!(!sockets.send(here, b"x"), "that is told once");
    }

    #[test]
    fn a_broken_socket_is_made_anew_at_its_port() {
        let (mut poll, mut sockets) = sockets(&["127.0.0.1:0"]);
        let here = sockets.addresses()[0];
        for _ in 0..ERRORS_IN_A_ROW {
            sockets.list[0].note_receive_error(&io::Error::from(io::ErrorKind::Other));
        }
        assert!(sockets.list[0].socket.is_none() && !sockets.has_more());
        sockets.send(here, b"x");
        assert_eq!((sockets.counts.sent, sockets.counts.refused), (0, 1));
        let taken = std::net::UdpSocket::bind(here).expect("the port is free");
        assert_eq!(sockets.mend(), [], "somebody else has it");
        drop(taken);
        assert_eq!(sockets.mend(), [Family::V4]);
        assert_eq!(sockets.addresses(), [here]);
        received(&mut sockets);
        sockets.send(here, b"x");
        while !sockets.has_more() {
            wait(&mut poll, &mut sockets);
        }
        assert_eq!(received(&mut sockets), 1);
    }
}
