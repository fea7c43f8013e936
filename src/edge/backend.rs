//! The edge's connections to its own workers: as many as there are workers, a few clean requests at a time on each.
//!
//! Each request goes where the fewest wait: while there is a free worker, nobody stands behind another. Only when more
//! come than there are workers do several go to one connection, in one write: it is the waking of threads that costs.
//!
//! Refuses to trust what comes back further than its end: the reply itself lies in the slot. A connection that closes,
//! or says something else than a bodiless answer, is opened anew.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::exchange::{Reply, SlotId, Slots};
use super::head::Request;
use crate::limits::{ERRAND_PATIENCE, ERRANDS_PER_WORKER, WORKER_TIME};
use crate::time::Time;

/// The header line in which the edge says for whom a worker is asked: slot, client, the address it connected to, method.
pub const ASKED_FOR: &str = "X-For";

/// A request that is with a worker: whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    /// The connection.
    pub(super) conn: Token,
    /// Tells the connection from a former one with the same token.
    pub(super) serial: u64,
    /// The request's number there.
    pub(super) number: u64,
}

/// The connections to the workers.
pub(super) struct Backends {
    path: PathBuf,
    slots: Slots,
    all: Vec<Backend>,
    first_token: usize,
}

#[derive(Default)]
struct Backend {
    stream: Option<UnixStream>,
    /// It has answered once: tiny_http has a thread for it. Only one that has not may be busy at a time, since of several
    /// new connections at once tiny_http may leave some waiting.
    proven: bool,
    /// In the order of their answers.
    busy: VecDeque<(Errand, SlotId, Time)>,
    /// The text of the last of them, and how many they are.
    unsent: (String, usize),
    readable: bool,
    heard: Vec<u8>,
}

impl Backends {
    pub(super) fn new(path: &Path, count: usize, slots: Slots, first_token: usize) -> Backends {
        let all = (0..count).map(|_| Backend::default()).collect();
        Backends { path: path.to_owned(), slots, all, first_token }
    }

    /// Whether `token` is one of these connections.
    pub(super) fn has(&self, token: Token) -> bool {
        (self.first_token..self.first_token + self.all.len()).contains(&token.0)
    }

    /// Whether a request can be sent now.
    pub(super) fn has_free(&self, now: Time) -> bool {
        self.free(now).is_some()
    }

    fn free(&self, now: Time) -> Option<usize> {
        let unproven_busy = self.all.iter().any(|backend| !backend.proven && !backend.busy.is_empty());
        let has_room = |backend: &Backend| match backend.proven {
            true => {
                let is_stuck = backend.busy.front().is_some_and(|(.., since)| now.since(*since) >= ERRAND_PATIENCE);
                backend.busy.len() < ERRANDS_PER_WORKER && !is_stuck
            }
            false => backend.busy.is_empty() && !unproven_busy,
        };
        let free = self.all.iter().enumerate().filter(|(_, backend)| has_room(backend));
        free.min_by_key(|(_, backend)| backend.busy.len()).map(|(at, _)| at)
    }

    /// Takes a request for a worker, if there is a free one. It goes out with [`Backends::flush`].
    pub(super) fn take(&mut self, errand: Errand, request: &Request, from: (IpAddr, SocketAddr), now: Time) {
        let Some(at) = self.free(now) else { return };
        let slot = self.slots.open();
        let backend = &mut self.all[at];
        encode(&mut backend.unsent.0, slot, request, from);
        backend.unsent.1 += 1;
        backend.busy.push_back((errand, slot, now));
    }

    /// Sends what was taken; one of those for whom that failed, if any, and its reply, if a worker has left one all the same.
    /// It is called until there is none.
    pub(super) fn flush(&mut self, registry: &Registry) -> Option<(Errand, Option<Reply>)> {
        for (at, backend) in self.all.iter_mut().enumerate() {
            let token = Token(self.first_token + at);
            if backend.unsent.1 > 0
                && let Err(error) = backend.send(&self.path, registry, token)
            {
                log::error!("the private socket {}: {error}", self.path.display());
            }
            if backend.stream.is_none()
                && let Some((errand, slot, _)) = backend.busy.pop_front()
            {
                return Some((errand, self.slots.close(slot)));
            }
        }
        None
    }

    /// Whether this connection may have something to read.
    pub(super) fn make_readable(&mut self, token: Token) {
        self.all[token.0 - self.first_token].readable = true;
    }

    /// Reads what a worker said; whose errand is done, and with which reply. It is called until there is none.
    pub(super) fn receive(&mut self, registry: &Registry, token: Token) -> Option<(Errand, Option<Reply>)> {
        let backend = &mut self.all[token.0 - self.first_token];
        let mut end = backend.heard_end();
        if end.is_none() && !backend.read() {
            backend.forget(registry);
        }
        if backend.busy.is_empty() && !backend.heard.is_empty() {
            // Nobody has asked.
            backend.forget(registry);
        }
        end = end.or_else(|| backend.heard_end());
        if end.is_none() && backend.stream.is_some() {
            return None;
        }
        let (errand, slot, _) = backend.busy.pop_front()?;
        if let Some(len) = end {
            backend.proven = true;
            let is_clean = backend.heard.starts_with(b"HTTP/1.1 204");
            backend.heard.drain(..len);
            if !is_clean || backend.busy.is_empty() && !backend.heard.is_empty() {
                backend.forget(registry);
            }
        }
        Some((errand, self.slots.close(slot)))
    }

    /// A worker that is far too slow: its errand fails, and those behind it, unless their replies are there. It is called until
    /// there is none.
    pub(super) fn overdue(&mut self, registry: &Registry, now: Time) -> Option<(Errand, Option<Reply>)> {
        let late = |backend: &Backend| match backend.busy.front() {
            Some((.., since)) => backend.stream.is_none() || now.since(*since) >= WORKER_TIME,
            None => false,
        };
        let backend = self.all.iter_mut().find(|backend| late(backend))?;
        if backend.stream.is_some() {
            log::error!("a request worker gave no answer for {} s", WORKER_TIME.as_secs());
            backend.forget(registry);
        }
        let (errand, slot, _) = backend.busy.pop_front()?;
        Some((errand, self.slots.close(slot)))
    }
}

impl Backend {
    /// Sends what is unsent, on a connection that is made anew if it must be.
    fn send(&mut self, path: &Path, registry: &Registry, token: Token) -> io::Result<()> {
        let (text, count) = std::mem::take(&mut self.unsent);
        for _ in 0..2 {
            self.connect(path, registry, token)?;
            // The socket's buffer has room for far more than a few heads: a short write means that something is wrong.
            let stream = self.stream.as_mut().expect("connected above");
            if stream.write(text.as_bytes()).is_ok_and(|len| len == text.len()) {
                return Ok(());
            }
            self.forget(registry);
            if self.busy.len() > count {
                // Those before them were on the connection that broke; all of them fail.
                break;
            }
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn connect(&mut self, path: &Path, registry: &Registry, token: Token) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let mut stream = UnixStream::connect(path)?;
        registry.register(&mut stream, token, Interest::READABLE)?;
        self.stream = Some(stream);
        self.proven = false;
        Ok(())
    }

    fn forget(&mut self, registry: &Registry) {
        if let Some(mut stream) = self.stream.take() {
            registry.deregister(&mut stream).ok();
        }
        (self.proven, self.readable) = (false, false);
        self.heard.clear();
    }

    /// The end of the first answer that was heard whole.
    fn heard_end(&self) -> Option<usize> {
        self.heard.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
    }

    /// Reads what there is; false if the connection has ended or says too much.
    fn read(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut buffer = [0; 1024];
        while self.readable {
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) if self.heard.len() > 4096 => return false,
                Ok(len) => {
                    self.heard.extend_from_slice(&buffer[..len]);
                    // Less than there was room for was all. If the end stands behind it, the next request finds that out.
                    self.readable = len == buffer.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// The clean request: HEAD, so that the answer has no body whatever the worker says. What is the edge's own to say is one
/// line, since tiny_http reads each byte by byte into memory of its own.
fn encode(text: &mut String, slot: SlotId, request: &Request, (client, local): (IpAddr, SocketAddr)) {
    use std::fmt::Write as _;
    write!(text, "HEAD {} HTTP/1.1\r\n{ASKED_FOR}: {slot} {client} {local} {}\r\n", request.target, request.method)
        .expect("a String takes all");
    let host = request.host.as_ref().map(|host| ("Host", host));
    for (name, value) in host.into_iter().chain(request.lines.iter().map(|(name, value)| (*name, value))) {
        // An empty value is legal, and tiny_http would misread it.
        if !value.is_empty() {
            text.extend([name, ": ", value, "\r\n"]);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_speak_for_the_edge() {
        let head = b"GET http://mirror.example.org/x.deb HTTP/1.1\r\nHost: m\r\nX-For: 9.9 ::1 [::1]:1 GET\r\n\
                     User-Agent: a\r\n\r\n";
        let request = super::super::head::parse(head).expect("clean");
        let slot = Slots::default().open();
        let from = ("192.0.2.9".parse().expect("an address"), "192.0.2.1:9977".parse().expect("an address"));
        let mut text = String::new();
        encode(&mut text, slot, &request, from);
        assert_eq!(
            text,
            "HEAD http://mirror.example.org/x.deb HTTP/1.1\r\nX-For: 0.0 192.0.2.9 192.0.2.1:9977 GET\r\n\
             Host: m\r\nUser-Agent: a\r\n\r\n"
        );
    }
}
