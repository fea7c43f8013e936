//! Tunnels: what clients ask for by `CONNECT`. Bytes are passed on both ways at once, and nobody looks at them.
//!
//! Owns the sockets to the far sides, from their dial to their end, and what one side sent and the other does not take yet:
//! then that side is not read any further. Refuses to know names: it dials the addresses that it is given, one after
//! another, and none at which this proxy itself listens.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::client::{Client, Turn};
use super::exchange::Way;
use super::log::Log;
use super::pace;
use super::verbs::Input;
use crate::limits::{
    CONNECT_TIMEOUT, SEND_BUFFER_LEN, TUNNEL_IDLE_TIME, TUNNEL_IDLE_TIME_FULL, TUNNELS, TUNNELS_PER_ADDRESS,
};
use crate::time::Time;

/// Bytes of a status line that hold its status: `HTTP/1.1 200`.
const STATUS_LEN: usize = 12;

const OPEN: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// All tunnels of an edge, by their clients' tokens. The far side's token is that and `first_token`.
pub(super) struct Tunnels {
    all: HashMap<Token, Tunnel>,
    registry: Registry,
    first_token: usize,
    /// Where this proxy listens: a tunnel that leads there could be led there again.
    ours: Vec<SocketAddr>,
}

/// What a client is told in place of a tunnel: the status, and why.
type Refusal = (u16, String);

struct Tunnel {
    far: TcpStream,
    peer: IpAddr,
    /// Until it is open.
    dial: Option<Dial>,
    readable: bool,
    writable: bool,
    /// From the client to the far side, and back.
    up: Pipe,
    down: Pipe,
    /// Bytes of `down` that are our own; none where another proxy answers the client.
    head_len: u64,
    /// What the client has sent meanwhile, till another proxy has said that the tunnel is open: if it does not, it would take
    /// that for the next request, and for ours.
    early: Option<Vec<u8>>,
    /// When anything was last passed on.
    active: Time,
}

struct Dial {
    address: SocketAddr,
    /// Addresses that come next.
    rest: VecDeque<SocketAddr>,
    /// When the next one is dialled instead, and when it is over.
    until: Time,
    end: Time,
    greeting: Vec<u8>,
}

/// One side of a tunnel, and what it was last found ready for.
struct Side<'a> {
    stream: &'a mut TcpStream,
    readable: &'a mut bool,
    writable: &'a mut bool,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Bytes that were read and not taken yet: no more than one read brings.
    held: Vec<u8>,
    /// The sender has ended, …
    ended: bool,
    /// … and the receiver knows.
    shut: bool,
    /// Bytes that were taken.
    passed: u64,
    /// The first that were read: as many as a status needs.
    start: Vec<u8>,
}

impl Tunnels {
    pub(super) fn new(registry: Registry, first_token: usize, ours: Vec<SocketAddr>) -> Tunnels {
        Tunnels { all: HashMap::new(), registry, first_token, ours }
    }

    /// Something happened at a far side; the client's token.
    pub(super) fn hear(&mut self, event: &Event) -> Token {
        let token = Token(event.token().0 - self.first_token);
        if let Some(tunnel) = self.all.get_mut(&token) {
            tunnel.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            tunnel.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
        token
    }

    /// One turn of a connection, which may be a tunnel or become one.
    pub(super) fn turn(
        &mut self,
        token: Token,
        client: &mut Client,
        buffer: &mut [u8],
        budget: &mut u64,
        now: Time,
        note: &mut impl FnMut(IpAddr, Log),
    ) -> Turn {
        loop {
            let passed = if self.all.contains_key(&token) {
                self.pass(token, client, buffer, budget, now)
            } else {
                let turn = client.turn(buffer, budget, now, note);
                let Some(way) = client.way.take() else { return turn };
                self.begin(token, client.peer, way, now).map(|()| None)
            };
            match passed {
                Ok(Some(turn)) => return turn,
                Ok(None) => {}
                Err((status, reason)) => {
                    self.all.remove(&token);
                    client.conn.handle(now, Input::NoWay(status, reason));
                }
            }
        }
    }

    /// Forgets the connection's tunnel, if there is one that was opened; its line for the log.
    pub(super) fn end(&mut self, token: Token, client: &mut Client, now: Time) -> Option<Log> {
        let Tunnel { dial: None, up, down, head_len, .. } = self.all.remove(&token)? else { return None };
        let status = if head_len > 0 { 200 } else { status_in(&down.start) };
        let bytes = down.passed.saturating_sub(head_len);
        Some(client.conn.end_tunnel(now, status, bytes, up.shut && down.shut))
    }

    fn begin(&mut self, token: Token, peer: IpAddr, way: Way, now: Time) -> Result<(), Refusal> {
        let peer = pace::group(peer);
        let from_there = self.all.values().filter(|tunnel| tunnel.peer == peer).count();
        if self.all.len() >= TUNNELS || from_there >= TUNNELS_PER_ADDRESS {
            return Err((503, "too many tunnels at once; try again shortly".into()));
        }
        let Way { to, greeting } = way;
        let (far, dial) = self.dial_next(token, to.into(), now + CONNECT_TIMEOUT, greeting, now)?;
        let tunnel = Tunnel {
            far,
            peer,
            dial: Some(dial),
            readable: true,
            writable: true,
            up: Pipe::default(),
            down: Pipe::default(),
            head_len: 0,
            early: None,
            active: now,
        };
        self.all.insert(token, tunnel);
        Ok(())
    }

    /// Begins to connect to the next address; each but the last may take half of the time that is left.
    fn dial_next(
        &self,
        token: Token,
        mut rest: VecDeque<SocketAddr>,
        end: Time,
        greeting: Vec<u8>,
        now: Time,
    ) -> Result<(TcpStream, Dial), Refusal> {
        let mut why = (502, "there is no address to connect to".to_owned());
        while let Some(address) = rest.pop_front() {
            let left = end.since(now);
            let until = now + if rest.is_empty() { left } else { left / 2 };
            match self.dial(token, address) {
                Ok(far) => return Ok((far, Dial { address, rest, until, end, greeting })),
                Err(error) => why = refused(address, &error),
            }
        }
        Err(why)
    }

    fn dial(&self, token: Token, address: SocketAddr) -> io::Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_LEN)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut stream = TcpStream::from_std(std::net::TcpStream::from(socket));
        if self.is_ours(address, stream.local_addr()?) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this proxy itself listens there"));
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, Token(self.first_token + token.0), interest)?;
        Ok(stream)
    }

    /// Whether a connection leads to this very proxy: to this machine, which then has both ends of it, and to a port of ours.
    fn is_ours(&self, address: SocketAddr, from: SocketAddr) -> bool {
        let ip = address.ip();
        let is_here = ip.is_loopback() || ip.is_unspecified() || ip == from.ip();
        is_here && self.ours.iter().any(|ours| ours.port() == address.port())
    }

    /// Passes on what there is, at most `budget` bytes; `None`: something has changed, and must be looked at again.
    fn pass(
        &mut self,
        token: Token,
        client: &mut Client,
        buffer: &mut [u8],
        budget: &mut u64,
        now: Time,
    ) -> Result<Option<Turn>, Refusal> {
        let idle_time = if self.all.len() >= TUNNELS { TUNNEL_IDLE_TIME_FULL } else { TUNNEL_IDLE_TIME };
        let tunnel = self.all.get_mut(&token).expect("its turn comes only while it is there");
        let Some(dial) = &tunnel.dial else {
            return Ok(Some(tunnel.pass(client, buffer, budget, (now, idle_time))));
        };
        let Some(dialled) = tunnel.dialled(dial.until, now) else { return Ok(Some(Turn::Waits)) };
        let Dial { address, rest, end, greeting, .. } = tunnel.dial.take().expect("it was there a moment ago");
        match dialled {
            Ok(()) => {
                tunnel.open(greeting, client.conn.open_tunnel());
                tunnel.active = now;
            }
            Err(error) if rest.is_empty() => return Err(refused(address, &error)),
            Err(_) => {
                let (far, dial) = self.dial_next(token, rest, end, greeting, now)?;
                let tunnel = self.all.get_mut(&token).expect("it was there a moment ago");
                (tunnel.far, tunnel.dial) = (far, Some(dial));
                (tunnel.readable, tunnel.writable) = (true, true);
            }
        }
        Ok(None)
    }
}

/// What another proxy told the client; 0: nothing.
fn status_in(start: &[u8]) -> u16 {
    let digits = start.strip_prefix(b"HTTP/1.1 ").or_else(|| start.strip_prefix(b"HTTP/1.0 "));
    digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

fn refused(address: SocketAddr, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            (504, format!("{address} did not accept a connection within {seconds} s"))
        }
        io::ErrorKind::InvalidInput => (403, format!("no tunnel leads to {address}: {error}")),
        _ => (502, format!("{address}: {error}")),
    }
}

impl Tunnel {
    /// How the dial ended; `None`: it goes on.
    fn dialled(&self, until: Time, now: Time) -> Option<io::Result<()>> {
        match (self.far.take_error(), self.far.peer_addr()) {
            (Ok(Some(error)) | Err(error), _) => Some(Err(error)),
            (Ok(None), Ok(_)) => Some(Ok(())),
            (Ok(None), Err(_)) if now < until => None,
            (Ok(None), Err(_)) => Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// The far side is there; `early` is what the client sent behind its request.
    fn open(&mut self, greeting: Vec<u8>, early: Vec<u8>) {
        if greeting.is_empty() {
            self.down.held = OPEN.to_vec();
            self.head_len = OPEN.len() as u64;
            self.up.held = early;
        } else {
            self.up.held = greeting;
            self.early = Some(early);
        }
    }

    fn pass(
        &mut self,
        client: &mut Client,
        buffer: &mut [u8],
        budget: &mut u64,
        (now, idle_time): (Time, Duration),
    ) -> Turn {
        let mut near =
            Side { stream: &mut client.stream, readable: &mut client.readable, writable: &mut client.writable };
        let mut far = Side { stream: &mut self.far, readable: &mut self.readable, writable: &mut self.writable };
        let before = *budget;
        let reads = self.early.is_none();
        let mut passed = self
            .up
            .pass(&mut near, &mut far, buffer, budget, reads)
            .and_then(|()| self.down.pass(&mut far, &mut near, buffer, budget, true));
        let is_told = self.down.start.len() == STATUS_LEN || self.down.ended;
        if let Some(early) = self.early.take_if(|_| is_told) {
            match status_in(&self.down.start) {
                200..300 => self.up.held = early,
                _ => self.up.ended = true,
            }
            passed = passed.and_then(|()| self.up.pass(&mut near, &mut far, buffer, budget, true));
        }
        if *budget < before {
            self.active = now;
        }
        let is_silent = now.since(self.active) >= idle_time;
        match passed {
            Err(_) => Turn::Over,
            Ok(()) if is_silent || self.up.shut && self.down.shut => Turn::Over,
            Ok(()) if *budget == 0 => Turn::HasMore,
            Ok(()) => Turn::Waits,
        }
    }
}

impl Pipe {
    /// Passes on what can be passed on, at most about `budget` bytes.
    fn pass(
        &mut self,
        from: &mut Side<'_>,
        into: &mut Side<'_>,
        buffer: &mut [u8],
        budget: &mut u64,
        reads: bool,
    ) -> io::Result<()> {
        loop {
            let taken = into.write(&self.held)?;
            self.held.drain(..taken);
            self.note(taken, budget);
            if !self.held.is_empty() {
                return Ok(());
            }
            // One that waits holds no memory.
            self.held = Vec::new();
            if self.ended {
                if !std::mem::replace(&mut self.shut, true) {
                    into.stream.shutdown(Shutdown::Write)?;
                }
                return Ok(());
            }
            if *budget == 0 || !reads {
                return Ok(());
            }
            let Some(len) = from.read(buffer)? else { return Ok(()) };
            self.ended = len == 0;
            let missing = STATUS_LEN - self.start.len();
            self.start.extend_from_slice(&buffer[..len.min(missing)]);
            let taken = into.write(&buffer[..len])?;
            self.note(taken, budget);
            self.held.extend_from_slice(&buffer[taken..len]);
        }
    }

    fn note(&mut self, taken: usize, budget: &mut u64) {
        self.passed += taken as u64;
        *budget = budget.saturating_sub(taken as u64);
    }
}

impl Side<'_> {
    /// Reads once; `None`: there is nothing now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while *self.readable {
            match self.stream.read(buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes what is taken now; how much.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len();
        while *self.writable && !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len - bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdStream};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::edge::conn::Conn;
    use crate::edge::exchange::{Answer, Body, Note, Reply};
    use crate::edge::mailbox::Mailbox;
    use crate::limits::{IDLE_TIME, READ_LEN, TURN_LEN};

    const TOKEN: Token = Token(7);
    const START: Time = Time(1000);

    /// A client that asks for a tunnel, and the edge's end of its connection. Time is made up.
    struct Bench {
        tunnels: Tunnels,
        client: Client,
        near: StdStream,
        _poll: mio::Poll,
    }

    impl Bench {
        fn new(to: Vec<SocketAddr>) -> Bench {
            let poll = mio::Poll::new().expect("a poll");
            let tunnels = Tunnels::new(poll.registry().try_clone().expect("its registry"), 1000, Vec::new());
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
            let near = StdStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            let (stream, peer) = listener.accept().expect("it has connected");
            stream.set_nonblocking(true).expect("a socket");
            let mut conn = Conn::new(START, IDLE_TIME, Arc::new(|| ()));
            conn.handle(START, Input::Bytes(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"));
            let (number, _) = conn.next_request(1).expect("a request");
            let body = Body::Tunnel(Way { to, greeting: Vec::new() });
            let answer = Answer { status: 200, head: Vec::new(), body, close: false, note: Note::default() };
            conn.handle(START, Input::Reply(number, Some(Reply::Now(answer))));
            let waker = mio::Waker::new(poll.registry(), Token(usize::MAX)).expect("a poll");
            let told = Arc::new(Mailbox::new(waker, log::Level::Debug));
            let client = Client::new(TcpStream::from_std(stream), conn, 1, (peer.ip(), peer), None, told);
            Bench { tunnels, client, near, _poll: poll }
        }

        fn turn(&mut self, now: Time) -> Turn {
            (self.client.readable, self.client.writable) = (true, true);
            if let Some(tunnel) = self.tunnels.all.get_mut(&TOKEN) {
                (tunnel.readable, tunnel.writable) = (true, true);
            }
            let (mut buffer, mut budget) = (vec![0; READ_LEN], TURN_LEN);
            self.tunnels.turn(TOKEN, &mut self.client, &mut buffer, &mut budget, now, &mut |_, _| ())
        }

        /// What the client has got by now.
        fn got(&mut self) -> String {
            let mut bytes = vec![0; 1000];
            let len = self.near.read(&mut bytes).expect("something came");
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        }
    }

    /// An address whose queue of connections is full: it neither accepts nor refuses.
    fn silent() -> (SocketAddr, Vec<StdStream>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        rustix::net::listen(&listener, 0).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let moment = Duration::from_millis(100);
        let streams = (0..8).map_while(|_| StdStream::connect_timeout(&address, moment).ok()).collect();
        (address, streams, listener)
    }

    #[test]
    fn half_of_the_time_is_left_for_the_next_address() {
        let (address, _streams, _listener) = silent();
        let live = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut bench = Bench::new(vec![address, live.local_addr().expect("bound")]);
        let half = START + CONNECT_TIMEOUT / 2;
        assert!(bench.turn(START) == Turn::Waits && bench.turn(half - Duration::from_millis(1)) == Turn::Waits);
        live.set_nonblocking(true).expect("a socket");
        assert!(live.accept().is_err(), "it is not dialled yet");
        assert!(bench.turn(half) == Turn::Waits);
        assert_eq!(bench.got(), "HTTP/1.1 200 Connection established\r\n\r\n");
        assert!(live.accept().is_ok());
    }

    #[test]
    fn who_never_accepts_is_told_of_in_time() {
        let (address, _streams, _listener) = silent();
        let mut bench = Bench::new(vec![address]);
        let end = START + CONNECT_TIMEOUT;
        assert!(bench.turn(START) == Turn::Waits && bench.turn(end - Duration::from_millis(1)) == Turn::Waits);
        assert!(bench.turn(end) == Turn::Waits);
        let told = bench.got();
        assert!(
            told.starts_with(&format!("HTTP/1.1 504 {address} did not accept a connection within 5 s\r\n")),
            "{told}"
        );
        assert!(bench.tunnels.all.is_empty());
    }

    #[test]
    fn a_tunnel_in_which_nothing_moves_is_closed() {
        let live = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut bench = Bench::new(vec![live.local_addr().expect("bound")]);
        assert!(bench.turn(START) == Turn::Waits);
        let (mut far, _) = live.accept().expect("it was dialled");
        let moment = Duration::from_millis(1);
        let mut silent_since = START;
        for _ in 0..3 {
            let late = silent_since + TUNNEL_IDLE_TIME - moment;
            assert!(bench.turn(late) == Turn::Waits);
            far.write_all(b"still here").expect("it is read");
            assert!(bench.turn(late) == Turn::Waits);
            silent_since = late;
        }
        assert!(bench.turn(silent_since + TUNNEL_IDLE_TIME) == Turn::Over);
        let log = bench.tunnels.end(TOKEN, &mut bench.client, silent_since).expect("it was open");
        assert_eq!((log.status, log.bytes, log.whole), (200, 30, false));
        assert!(bench.tunnels.all.is_empty());
    }
}
