//! The edge's connections to its own workers: as many as there are workers, one clean request at a time on each.
//!
//! Refuses to trust what comes back further than its end: the reply itself lies in the slot. A connection that closes,
//! or says something else than a bodiless answer, is opened anew.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::exchange::{Reply, SlotId, Slots};
use super::head::Request;
use crate::limits::WORKER_TIME;
use crate::time::Time;

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
    busy: Option<(Errand, SlotId, Time)>,
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
    pub(super) fn has_free(&self) -> bool {
        self.free().is_some()
    }

    fn free(&self) -> Option<usize> {
        let unproven_busy = self.all.iter().any(|backend| !backend.proven && backend.busy.is_some());
        self.all.iter().position(|backend| backend.busy.is_none() && (backend.proven || !unproven_busy))
    }

    /// Sends a request to a free worker. False if that failed; the request is the caller's again.
    pub(super) fn send(
        &mut self,
        registry: &Registry,
        errand: Errand,
        request: &Request,
        from: (IpAddr, SocketAddr),
        now: Time,
    ) -> bool {
        let Some(at) = self.free() else { return false };
        let slot = self.slots.open();
        let text = encode(slot, request, from);
        let token = Token(self.first_token + at);
        for _ in 0..2 {
            if let Err(error) = self.all[at].connect(&self.path, registry, token) {
                log::error!("the private socket {}: {error}", self.path.display());
                break;
            }
            // The socket's buffer is empty and far larger than a head: a short write means that something is wrong.
            let stream = self.all[at].stream.as_mut().expect("connected above");
            match stream.write(text.as_bytes()) {
                Ok(len) if len == text.len() => {
                    self.all[at].busy = Some((errand, slot, now));
                    return true;
                }
                _ => self.all[at].forget(registry),
            }
        }
        self.slots.close(slot);
        false
    }

    /// Reads what a worker said; whose errand is done, and with which reply.
    pub(super) fn receive(&mut self, registry: &Registry, token: Token) -> Option<(Errand, Option<Reply>)> {
        let backend = &mut self.all[token.0 - self.first_token];
        let alive = backend.read();
        let whole = backend.heard.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        match (whole, alive) {
            (Some(len), _) => {
                let clean = len == backend.heard.len() && backend.heard.starts_with(b"HTTP/1.1 204");
                backend.heard.clear();
                let (errand, slot, _) = backend.busy.take()?;
                backend.proven = true;
                if !clean || !alive {
                    backend.forget(registry);
                }
                Some((errand, self.slots.close(slot)))
            }
            (None, true) => None,
            (None, false) => {
                let busy = backend.busy.take();
                backend.forget(registry);
                let (errand, slot, _) = busy?;
                Some((errand, self.slots.close(slot)))
            }
        }
    }

    /// A worker that is far too slow: its errand fails.
    pub(super) fn overdue(&mut self, registry: &Registry, now: Time) -> Option<Errand> {
        let late = |backend: &&mut Backend| backend.busy.is_some_and(|(.., since)| now.since(since) >= WORKER_TIME);
        let backend = self.all.iter_mut().find(late)?;
        let (errand, slot, _) = backend.busy.take()?;
        log::error!("a request worker gave no answer for {} s", WORKER_TIME.as_secs());
        backend.forget(registry);
        self.slots.close(slot);
        Some(errand)
    }
}

impl Backend {
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
        self.proven = false;
        self.heard.clear();
    }

    /// Reads all there is; false if the connection has ended or says too much.
    fn read(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) if self.heard.len() > 4096 => return false,
                Ok(len) => self.heard.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

/// The clean request: HEAD, so that the answer has no body whatever the worker says.
fn encode(slot: SlotId, request: &Request, (client, local): (IpAddr, SocketAddr)) -> String {
    let version = if request.is_1_1 { "1.1" } else { "1.0" };
    let mut text = format!(
        "HEAD {} HTTP/1.1\r\nHost: edge\r\nX-Slot: {slot}\r\nX-Method: {}\r\nX-Version: {version}\r\n\
         X-Client: {client}\r\nX-Local: {local}\r\n",
        request.target, request.method
    );
    let host = request.host.as_ref().map(|host| ("X-Host", host));
    for (name, value) in host.into_iter().chain(request.lines.iter().map(|(name, value)| (*name, value))) {
        // An empty value is legal, and tiny_http would misread it.
        if !value.is_empty() {
            text.extend([name, ": ", value, "\r\n"]);
        }
    }
    text.push_str("\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_speak_for_the_edge() {
        let head = b"GET http://mirror.example.org/x.deb HTTP/1.1\r\nHost: m\r\nX-Slot: 9.9\r\nX-Client: ::1\r\n\
                     User-Agent: a\r\n\r\n";
        let request = super::super::head::parse(head).expect("clean");
        let slot = Slots::default().open();
        let from = ("192.0.2.9".parse().expect("an address"), "192.0.2.1:9977".parse().expect("an address"));
        assert_eq!(
            encode(slot, &request, from),
            "HEAD http://mirror.example.org/x.deb HTTP/1.1\r\nHost: edge\r\nX-Slot: 0.0\r\nX-Method: GET\r\n\
             X-Version: 1.1\r\nX-Client: 192.0.2.9\r\nX-Local: 192.0.2.1:9977\r\nX-Host: m\r\nUser-Agent: a\r\n\r\n"
        );
    }
}
