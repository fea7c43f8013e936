//! The edge's thread: mio, the sockets, and sendfile. What happens on a connection is decided in `conn`.
//!
//! Sockets are edge-triggered and registered once for both directions: each is taken to be ready until it says
//! otherwise. A connection that still could go on when its turn ends waits in a queue, so that nobody starves.

mod admit;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use super::asks::Asks;
use super::backend::{Backends, Errand};
use super::client::{Client, Turn};
use super::config::{Answerer, Asked, Behind, EdgeConfig, Upload};
use super::descriptors::{Shares, share_descriptors};
use super::door::Door;
use super::exchange::{Answer, Body, Reply, Slots};
use super::hot::Hot;
use super::mailbox::{EdgeHandle, Mailbox};
use super::pace::Pace;
use super::tunnel::Tunnels;
use super::verbs::Input;
use crate::limits::{ANSWERS_PER_TURN, HOT_ANSWERS, PIPELINE, READ_LEN, TURN_LEN};
use crate::time::Time;

const WAKER: Token = Token(0);
const LISTENERS: usize = 1;
const BACKENDS: usize = 1 << 10;
const CLIENTS: usize = 1 << 11;
const FAR_SIDES: usize = 1 << 20;
/// Zero is before everything.
const START: Time = Time(1000);
const TICK: Duration = Duration::from_secs(1);

/// The edge, before its thread runs.
pub struct Edge {
    poll: Poll,
    listeners: Vec<TcpListener>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    backends: Backends,
    /// Answers in place of workers.
    answerer: Option<Arc<Answerer>>,
    admits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    upload: Option<Upload>,
    /// None while strangers may have all there is.
    pace: Option<Pace>,
    asks: Asks,
    hot: Hot,
    idle_time: Duration,
    mailbox: Arc<Mailbox>,
    tunnels: Tunnels,
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
    /// Listeners at which more wait than were let in at once.
    crowded: Vec<usize>,
    door: Door,
    buffer: Vec<u8>,
    start: Instant,
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
        let hot_max = if config.recall.is_some() { HOT_ANSWERS } else { 0 };
        let Shares { connections, files, hot } = share_descriptors(config.connections_max, hot_max);
        #[expect(clippy::disallowed_methods, reason = "the edge's loop reads its own clock")]
        let start = Instant::now();
        // Strangers must not fill the log.
        let (backends, answerer, level) = match config.behind {
            Behind::Workers { socket, count, slots } => {
                (Backends::new(&socket, count, slots, BACKENDS), None, log::Level::Info)
            }
            Behind::Here(answerer) => {
                (Backends::new(Path::new(""), 0, Slots::default(), BACKENDS), Some(answerer), log::Level::Debug)
            }
        };
        let mailbox = Arc::new(Mailbox::new(waker, level));
        let ours = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let tunnels = Tunnels::new(poll.registry().try_clone()?, FAR_SIDES, ours);
        let edge = Edge {
            poll,
            listeners,
            clients: Vec::new(),
            free: Vec::new(),
            backends,
            answerer,
            admits: config.admits,
            pace: config.upload.as_ref().and_then(|upload| (upload.rate)()).map(|rate| Pace::new(rate, START)),
            upload: config.upload,
            asks: Asks::new(START),
            hot: Hot::new(config.recall, hot),
            idle_time: config.idle_time,
            mailbox: Arc::clone(&mailbox),
            tunnels,
            ready: VecDeque::new(),
            asking: VecDeque::new(),
            by_address: HashMap::new(),
            connections_max: connections,
            per_address_max: config.per_address_max,
            files_max: files,
            next_serial: 0,
            accept_again: false,
            crowded: Vec::new(),
            door: Door::default(),
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
            let wait = self.wait(next_tick);
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the edge cannot wait for its sockets: {error}");
            }
            let now = self.now();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    token if token.0 >= FAR_SIDES => {
                        let token = self.tunnels.hear(event);
                        self.make_ready(token);
                    }
                    token if token.0 >= CLIENTS => {
                        if let Some(client) = self.client(token) {
                            client.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                            client.is_ended |= event.is_read_closed() || event.is_error();
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
            for listener in std::mem::take(&mut self.crowded) {
                self.accept(listener, now);
            }
            for _ in 0..self.ready.len() {
                let Some(token) = self.ready.pop_front() else { break };
                self.take_turn(token, now);
            }
            match self.answerer.clone() {
                Some(answerer) => self.answer_here(&answerer, now),
                None => self.ask_workers(now),
            }
            self.release(now);
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
        }
    }

    fn now(&self) -> Time {
        START + self.start.elapsed()
    }

    /// How long the loop may wait for its sockets.
    fn wait(&self, next_tick: Time) -> Duration {
        let is_busy =
            !self.ready.is_empty() || !self.crowded.is_empty() || self.answerer.is_some() && !self.asking.is_empty();
        if is_busy {
            return Duration::ZERO;
        }
        let now = self.now();
        let next_slice = self.pace.as_ref().and_then(|pace| pace.wake_at(now));
        let next = [next_slice, self.asks.wake_at()].into_iter().flatten().fold(next_tick, Time::min);
        let wait = next.since(now);
        // Rounded up: a wait of less than a millisecond would spin.
        if wait.is_zero() { wait } else { wait + Duration::from_millis(1) }
    }

    /// Lets those go on whose share has come.
    fn release(&mut self, now: Time) {
        let Some(pace) = &mut self.pace else { return };
        for token in pace.release(now) {
            if let Some(client) = self.client(token) {
                client.is_held = false;
            }
            self.make_ready(token);
        }
    }

    /// Takes up another rate, if it is another by now.
    fn retune(&mut self, now: Time) {
        let Some(upload) = &self.upload else { return };
        match ((upload.rate)(), &mut self.pace) {
            (Some(rate), Some(pace)) => pace.retune(rate),
            (Some(rate), pace) => *pace = Some(Pace::new(rate, now)),
            (None, None) => {}
            (None, pace) => {
                *pace = None;
                for client in self.clients.iter_mut().flatten() {
                    // The tick makes each ready.
                    (client.is_held, client.is_served) = (false, false);
                }
            }
        }
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
        self.backends.make_readable(token);
        while let Some((errand, reply)) = self.backends.receive(self.poll.registry(), token) {
            self.deliver(errand, reply, now);
        }
    }

    fn deliver(&mut self, errand: Errand, reply: Option<Reply>, now: Time) {
        if let Some(client) = self.clients.get_mut(errand.conn.0 - CLIENTS).and_then(Option::as_mut)
            && client.serial == errand.serial
        {
            let reply = reply.map(|reply| self.hot.keep(client, errand.number, reply, now));
            client.conn.handle(now, Input::Reply(errand.number, reply));
            self.make_ready(errand.conn);
        }
    }

    /// Requests of one connection that may be answered ahead of their turn: each answer holds a file.
    fn ahead_max(&self) -> usize {
        let connections = self.clients.len() - self.free.len();
        (self.files_max / connections.max(1)).clamp(1, PIPELINE)
    }

    fn ask_workers(&mut self, now: Time) {
        let ahead_max = self.ahead_max();
        while self.backends.has_free(now) {
            let Some(token) = self.asking.pop_front() else { break };
            let Some(client) = self.clients.get_mut(token.0 - CLIENTS).and_then(Option::as_mut) else { continue };
            client.is_asking = false;
            let (serial, from) = (client.serial, (client.peer, client.local));
            let Some((number, request)) = client.conn.next_request(ahead_max) else { continue };
            let errand = Errand { conn: token, serial, number };
            self.backends.take(errand, request, from, now);
            if client.conn.has_request(ahead_max) {
                client.is_asking = true;
                self.asking.push_back(token);
            }
        }
        while let Some((errand, reply)) = self.backends.flush(self.poll.registry()) {
            self.deliver(errand, reply, now);
        }
    }

    /// Answers requests on this thread, a bounded number before the sockets have their turn. Nothing is won by answering
    /// ahead of a request's turn: each answer holds a file.
    fn answer_here(&mut self, answerer: &Arc<Answerer>, now: Time) {
        self.asking.extend(self.asks.release(now).into_iter().flatten());
        for _ in 0..ANSWERS_PER_TURN {
            let Some(token) = self.asking.pop_front() else { return };
            let Some(client) = self.clients.get_mut(token.0 - CLIENTS).and_then(Option::as_mut) else { continue };
            if client.paced.is_some() && !self.asks.take(now) {
                self.asks.hold(token);
                continue;
            }
            client.is_asking = false;
            let (peer, paced) = (client.peer, client.paced);
            let Some((number, request)) = client.conn.next_request(1) else { continue };
            let pace = self.pace.as_mut();
            let (busy, is_over) = match (&pace, paced) {
                (Some(pace), Some(key)) => (pace.busy(), pace.is_over(key)),
                (Some(pace), None) => (pace.busy(), false),
                (None, _) => (0, false),
            };
            let reply = answerer(&Asked { request, peer, busy, is_over });
            if let (Some(pace), Some(key)) = (pace, paced)
                && has_file(&reply)
                && !std::mem::replace(&mut client.is_served, true)
            {
                pace.begin(key);
            }
            client.conn.handle(now, Input::Reply(number, Some(reply)));
            self.make_ready(token);
        }
    }

    fn take_turn(&mut self, token: Token, now: Time) {
        let Some(mut client) = self.clients.get_mut(token.0 - CLIENTS).and_then(Option::take) else { return };
        client.is_ready = false;
        let credit = |key| self.pace.as_ref().map_or(TURN_LEN, |pace| pace.credit(key));
        let most = client.paced.map_or(TURN_LEN, credit).min(TURN_LEN);
        let mut budget = most;
        let ahead_max = self.ahead_max();
        let mut note = |peer, log| self.mailbox.note(peer, &log);
        let turn = loop {
            let turn = self.tunnels.turn(token, &mut client, &mut self.buffer, &mut budget, now, &mut note);
            if !self.hot.answers(&mut client, turn, ahead_max, now) {
                break turn;
            }
        };
        let is_held = self.settle(token, &mut client, most - budget, turn);
        // The limit on requests ahead is looked at when the turn to ask comes.
        let asks = !client.is_asking && client.conn.has_request(PIPELINE);
        client.is_asking |= asks;
        self.clients[token.0 - CLIENTS] = Some(client);
        if asks {
            self.asking.push_back(token);
        }
        match turn {
            Turn::Waits => {}
            Turn::HasMore if is_held => {}
            Turn::HasMore => self.make_ready(token),
            Turn::Over => self.close(token, now),
        }
    }

    /// After a turn: what it sent is spent, and what it left is for others of the same peer; whether it must wait.
    fn settle(&mut self, token: Token, client: &mut Client, sent: u64, turn: Turn) -> bool {
        let (Some(pace), Some(key)) = (&mut self.pace, client.paced) else { return false };
        pace.spend(key, sent);
        let is_held = turn == Turn::HasMore && pace.credit(key) == 0;
        if is_held && !std::mem::replace(&mut client.is_held, true) {
            pace.hold(key, token);
        }
        if client.is_served && client.conn.is_idle() {
            client.is_served = false;
            pace.end(key);
        }
        if let Some(next) = pace.next_of(key) {
            if let Some(other) = self.client(next) {
                other.is_held = false;
            }
            self.make_ready(next);
        }
        is_held
    }

    fn close(&mut self, token: Token, now: Time) {
        let index = token.0 - CLIENTS;
        let Some(mut client) = self.clients.get_mut(index).and_then(Option::take) else { return };
        if let Some(log) = self.tunnels.end(token, &mut client, now).or_else(|| client.conn.cut_off(now)) {
            self.mailbox.note(client.peer, &log);
        }
        self.poll.registry().deregister(&mut client.stream).ok();
        self.free.push(index);
        if let (Some(pace), Some(key)) = (&mut self.pace, client.paced) {
            pace.leave(key, token);
            if client.is_served {
                pace.end(key);
            }
        }
        let group = client.group();
        if let Some(count) = self.by_address.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&group);
            }
        }
        drop(client);
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|listener| self.accept(listener, now));
        }
    }

    fn tick(&mut self, now: Time) {
        self.retune(now);
        self.hot.tick(now);
        while let Some((errand, reply)) = self.backends.overdue(self.poll.registry(), now) {
            self.deliver(errand, reply, now);
        }
        for index in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[index] {
                if client.is_held {
                    client.conn.handle(now, Input::Held);
                }
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

/// Whether an answer is a file, which counts as serving a peer.
fn has_file(reply: &Reply) -> bool {
    let is_file = |answer: &Answer| matches!(answer.body, Body::File { .. });
    match reply {
        Reply::Later { .. } => true,
        Reply::Now(answer) | Reply::Again { answer, .. } => is_file(answer),
    }
}
