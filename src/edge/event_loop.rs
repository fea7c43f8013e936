//! The edge's thread: mio, the sockets, and sendfile. What happens on a connection is decided in `conn`.
//!
//! Sockets are edge-triggered and registered once for both directions: each is taken to be ready until it says
//! otherwise. A connection that still could go on when its turn ends waits in a queue, so that nobody starves.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::backend::{Backends, Errand};
use super::conn::{Conn, Input, Log, Output};
use super::exchange::Slots;
use super::mailbox::{EdgeHandle, Mailbox};
use crate::limits::{DESCRIPTORS_KEPT, PIPELINE, READ_LEN, TURN_LEN};
use crate::time::Time;

const WAKER: Token = Token(0);
const LISTENERS: usize = 1;
const BACKENDS: usize = 1 << 10;
const CLIENTS: usize = 1 << 11;
const TICK: Duration = Duration::from_secs(1);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 2\r\n\
    Content-Length: 50\r\nConnection: close\r\n\r\napt-p2p: too many connections; try again shortly.\n";

/// What an edge is made of.
pub struct EdgeConfig {
    /// Where clients connect.
    pub listeners: Vec<std::net::TcpListener>,
    /// The private socket of the workers.
    pub backend: PathBuf,
    /// How many workers there are.
    pub backends: usize,
    /// Shared with them.
    pub slots: Slots,
    /// Connections at once; fewer where the system allows fewer descriptors.
    pub connections_max: usize,
    /// Of these, from one address.
    pub per_address_max: usize,
}

struct Client {
    stream: TcpStream,
    conn: Conn,
    serial: u64,
    peer: IpAddr,
    local: SocketAddr,
    readable: bool,
    writable: bool,
    /// Whether it stands in `ready`, and in `asking`.
    is_ready: bool,
    is_asking: bool,
}

/// The edge, before its thread runs.
pub struct Edge {
    poll: Poll,
    listeners: Vec<TcpListener>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    backends: Backends,
    mailbox: Arc<Mailbox>,
    /// Connections that have something to do.
    ready: VecDeque<Token>,
    /// Connections whose requests wait for a worker, each once: they take turns.
    asking: VecDeque<Token>,
    by_address: HashMap<IpAddr, usize>,
    connections_max: usize,
    per_address_max: usize,
    /// Requests ahead of their turn that may hold a file each.
    files_max: usize,
    next_serial: u64,
    /// The system had no descriptor for a new connection; the listeners stay silent about it.
    accept_again: bool,
    buffer: Vec<u8>,
    start: Instant,
}

/// What ended a connection's turn.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Turn {
    Waits,
    HasMore,
    Over,
}

impl Edge {
    /// Prepares the sockets.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(config: EdgeConfig) -> io::Result<(Edge, EdgeHandle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut listeners = Vec::new();
        for (n, listener) in config.listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(LISTENERS + n), Interest::READABLE)?;
            listeners.push(listener);
        }
        let (connections_max, files_max) = share_descriptors(config.connections_max);
        let mailbox = Arc::new(Mailbox::new(waker));
        #[expect(clippy::disallowed_methods, reason = "the edge's loop reads its own clock")]
        let start = Instant::now();
        let edge = Edge {
            poll,
            listeners,
            clients: Vec::new(),
            free: Vec::new(),
            backends: Backends::new(&config.backend, config.backends, config.slots, BACKENDS),
            mailbox: Arc::clone(&mailbox),
            ready: VecDeque::new(),
            asking: VecDeque::new(),
            by_address: HashMap::new(),
            connections_max,
            per_address_max: config.per_address_max,
            files_max,
            next_serial: 0,
            accept_again: false,
            buffer: vec![0; READ_LEN],
            start,
        };
        Ok((edge, EdgeHandle::new(mailbox)))
    }

    /// Serves until [`EdgeHandle::stop`].
    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut next_tick = self.now() + TICK;
        loop {
            let wait = if self.ready.is_empty() { next_tick.since(self.now()) } else { Duration::ZERO };
            // Rounded up: a wait of less than a millisecond would spin.
            let wait = if wait.is_zero() { wait } else { wait + Duration::from_millis(1) };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the edge cannot wait for its sockets: {error}");
            }
            let now = self.now();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    token if token.0 >= CLIENTS => {
                        if let Some(client) = self.client(token) {
                            client.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                            client.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
                            self.make_ready(token);
                        }
                    }
                    token if self.backends.has(token) => self.hear_worker(token, now),
                    token => self.accept(token.0 - LISTENERS, now),
                }
            }
            if self.read_mail() {
                return self.close_all(now);
            }
            for _ in 0..self.ready.len() {
                let Some(token) = self.ready.pop_front() else { break };
                self.take_turn(token, now);
            }
            self.ask_workers(now);
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
        }
    }

    fn now(&self) -> Time {
        Time(1000 + u64::try_from(self.start.elapsed().as_millis()).expect("less than 500 million years"))
    }

    fn client(&mut self, token: Token) -> Option<&mut Client> {
        self.clients.get_mut(token.0.checked_sub(CLIENTS)?)?.as_mut()
    }

    fn make_ready(&mut self, token: Token) {
        if let Some(client) = self.client(token)
            && !std::mem::replace(&mut client.is_ready, true)
        {
            self.ready.push_back(token);
        }
    }

    /// Takes the letters; whether the edge is to stop.
    fn read_mail(&mut self) -> bool {
        let (news, stop) = self.mailbox.open(self.clients.len() - self.free.len());
        news.into_iter().for_each(|token| self.make_ready(token));
        stop
    }

    fn hear_worker(&mut self, token: Token, now: Time) {
        while let Some((errand, reply)) = self.backends.receive(self.poll.registry(), token) {
            self.deliver(errand, reply, now);
        }
    }

    fn deliver(&mut self, errand: Errand, reply: Option<super::Reply>, now: Time) {
        if let Some(client) = self.client(errand.conn)
            && client.serial == errand.serial
        {
            client.conn.handle(now, Input::Reply(errand.number, reply));
            self.make_ready(errand.conn);
        }
    }

    fn ask_workers(&mut self, now: Time) {
        let connections = self.clients.len() - self.free.len();
        let ahead_max = (self.files_max / connections.max(1)).clamp(1, PIPELINE);
        while self.backends.has_free() {
            let Some(token) = self.asking.pop_front() else { return };
            let Some(client) = self.clients.get_mut(token.0 - CLIENTS).and_then(Option::as_mut) else { continue };
            client.is_asking = false;
            let (serial, from) = (client.serial, (client.peer, client.local));
            let Some((number, request)) = client.conn.next_request(ahead_max) else { continue };
            let errand = Errand { conn: token, serial, number };
            let sent = self.backends.send(self.poll.registry(), errand, request, from, now);
            if client.conn.has_request(ahead_max) {
                client.is_asking = true;
                self.asking.push_back(token);
            }
            if !sent {
                self.deliver(errand, None, now);
            }
        }
    }

    fn accept(&mut self, listener: usize, now: Time) {
        loop {
            let Some(socket) = self.listeners.get(listener) else { return };
            match socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer.ip().to_canonical(), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has left already, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.accept_again, true) {
                        log::warn!("cannot take a new connection: {error}; raise the limit on open files");
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, peer: IpAddr, now: Time) {
        let from_there = self.by_address.get(&peer).copied().unwrap_or(0);
        let full = self.clients.len() - self.free.len() >= self.connections_max && !self.close_longest_idle(now);
        let Ok(local) = stream.local_addr() else { return };
        if full || from_there >= self.per_address_max {
            log::warn!("refused a connection from {peer}: too many at once");
            stream.write_all(FULL).ok();
            return;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let token = Token(CLIENTS + index);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            log::error!("cannot watch a new connection: {error}");
            self.free.push(index);
            return;
        }
        *self.by_address.entry(peer).or_default() += 1;
        self.next_serial += 1;
        let mailbox = Arc::clone(&self.mailbox);
        let conn = Conn::new(now, Arc::new(move || mailbox.leave(token)));
        self.clients[index] = Some(Client {
            stream,
            conn,
            serial: self.next_serial,
            peer,
            local,
            readable: true,
            writable: true,
            is_ready: false,
            is_asking: false,
        });
        self.make_ready(token);
    }

    fn close_longest_idle(&mut self, now: Time) -> bool {
        let idle = self.clients.iter().enumerate().filter_map(|(index, client)| {
            let client = client.as_ref().filter(|client| client.conn.is_idle())?;
            Some((client.conn.active(), index))
        });
        let Some((_, index)) = idle.min() else { return false };
        self.close(Token(CLIENTS + index), now);
        true
    }

    fn take_turn(&mut self, token: Token, now: Time) {
        let Some(mut client) = self.clients.get_mut(token.0 - CLIENTS).and_then(Option::take) else { return };
        client.is_ready = false;
        let turn = client.turn(&mut self.buffer, now, &mut |peer, log| self.mailbox.note(peer, &log));
        // The limit on requests ahead is looked at when the turn to ask comes.
        let asks = !client.is_asking && client.conn.has_request(PIPELINE);
        client.is_asking |= asks;
        self.clients[token.0 - CLIENTS] = Some(client);
        if asks {
            self.asking.push_back(token);
        }
        match turn {
            Turn::Waits => {}
            Turn::HasMore => self.make_ready(token),
            Turn::Over => self.close(token, now),
        }
    }

    fn close(&mut self, token: Token, now: Time) {
        let index = token.0 - CLIENTS;
        let Some(mut client) = self.clients.get_mut(index).and_then(Option::take) else { return };
        if let Some(log) = client.conn.cut_off(now) {
            self.mailbox.note(client.peer, &log);
        }
        self.poll.registry().deregister(&mut client.stream).ok();
        self.free.push(index);
        if let Some(count) = self.by_address.get_mut(&client.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&client.peer);
            }
        }
        drop(client);
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|listener| self.accept(listener, now));
        }
    }

    fn tick(&mut self, now: Time) {
        while let Some(errand) = self.backends.overdue(self.poll.registry(), now) {
            self.deliver(errand, None, now);
        }
        for index in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[index] {
                client.conn.handle(now, Input::Tick);
                self.make_ready(Token(CLIENTS + index));
            }
        }
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|listener| self.accept(listener, now));
        }
    }

    fn close_all(&mut self, now: Time) {
        (0..self.clients.len()).for_each(|index| self.close(Token(CLIENTS + index), now));
    }
}

impl Client {
    /// Reads and sends until there is nothing to do, or others must have their turn.
    fn turn(&mut self, buffer: &mut [u8], now: Time, note: &mut impl FnMut(IpAddr, Log)) -> Turn {
        let mut budget = TURN_LEN;
        loop {
            let read = match self.read(buffer, now) {
                Ok(read) => read,
                Err(_) => return Turn::Over,
            };
            let before = budget;
            match self.send(&mut budget, now, note) {
                Turn::Over => return Turn::Over,
                _ if budget == 0 => return Turn::HasMore,
                _ if !read && before == budget => return Turn::Waits,
                _ => {}
            }
        }
    }

    /// Whether anything came.
    fn read(&mut self, buffer: &mut [u8], now: Time) -> io::Result<bool> {
        let mut any = false;
        while self.readable && self.conn.wants_bytes() {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.readable = false;
                    self.conn.handle(now, Input::End);
                    return Ok(true);
                }
                Ok(len) => {
                    any = true;
                    self.conn.handle(now, Input::Bytes(&buffer[..len]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    fn send(&mut self, budget: &mut u64, now: Time, note: &mut impl FnMut(IpAddr, Log)) -> Turn {
        loop {
            let sent = match self.conn.poll(now) {
                Output::Wait => return Turn::Waits,
                Output::Close => return Turn::Over,
                Output::Log(log) => {
                    note(self.peer, log);
                    continue;
                }
                Output::Shutdown => {
                    if self.stream.shutdown(std::net::Shutdown::Write).is_err() {
                        return Turn::Over;
                    }
                    continue;
                }
                _ if !self.writable => return Turn::Waits,
                _ if *budget == 0 => return Turn::HasMore,
                Output::Send { bytes, more } => {
                    let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
                    rustix::net::send(self.stream.as_fd(), bytes, flags)
                }
                Output::SendFile { file, at, len } => {
                    let mut offset = at;
                    let count = usize::try_from(len.min(*budget)).expect("a turn's length");
                    match rustix::fs::sendfile(self.stream.as_fd(), &*file, Some(&mut offset), count) {
                        Ok(0) => {
                            log::error!("a file of the cache is shorter than it was; its disk may be failing");
                            self.conn.handle(now, Input::FileCut);
                            continue;
                        }
                        other => other,
                    }
                }
            };
            match sent {
                Ok(len) => {
                    *budget = budget.saturating_sub(len as u64);
                    self.conn.handle(now, Input::Sent(len as u64));
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => return Turn::Over,
            }
        }
    }
}

/// How many connections there may be, and how many files beside them, with what the system allows.
fn share_descriptors(connections_max: usize) -> (usize, usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    // The soft limit is low for the sake of programs that use select(2).
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT).max(16);
    let connections = connections_max.min(allowed / 2);
    (connections, (allowed - connections).min(connections * PIPELINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_counts_its_own_bytes() {
        let text = std::str::from_utf8(FULL).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn descriptors_are_shared_between_clients_and_their_files() {
        let (connections, files) = share_descriptors(usize::MAX / 16);
        assert!(connections > 0 && files > 0);
    }
}
