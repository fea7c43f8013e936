//! Where other threads leave word for the edge, and read its counters.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use mio::{Token, Waker};

use super::exchange::{CACHE, OURS, TUNNEL};
use super::log::Log;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections now.
    pub connections: usize,
    /// Requests answered.
    pub requests: u64,
    /// Of these, with what was stored.
    pub hits: Given,
    /// With a download that another client had brought about.
    pub joined: Given,
    /// With a download of their own. The rest are pages, refusals and tunnels.
    pub misses: Given,
    /// Answers that ended early because a file could not be read: its disk fails, or is gone.
    pub unreadable: u64,
}

/// Answers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// How many.
    pub count: u64,
    /// Bytes of files in them.
    pub bytes: u64,
}

impl Stats {
    /// Bytes of files sent; pages, refusals and tunnels do not count.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.hits.bytes + self.joined.bytes + self.misses.bytes
    }

    fn note(&mut self, entry: &Log) {
        self.requests += 1;
        let kind = match entry.source {
            OURS | TUNNEL | NOBODY => return,
            CACHE => &mut self.hits,
            _ if entry.joined => &mut self.joined,
            _ => &mut self.misses,
        };
        kind.count += 1;
        kind.bytes += entry.bytes;
    }
}

/// The source of an answer that its client did not wait for.
const NOBODY: &str = "";

/// Reaches a running edge from other threads; clones reach the same.
#[derive(Clone)]
pub struct EdgeHandle(Arc<Mailbox>);

impl EdgeHandle {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> EdgeHandle {
        EdgeHandle(mailbox)
    }

    /// Ends the edge's loop; connections are closed as they are.
    pub fn stop(&self) {
        self.0.lock().stop = true;
        self.0.waker.wake().ok();
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.lock().stats
    }
}

/// The edge's mailbox.
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    waker: Waker,
    /// Of the lines on requests.
    level: log::Level,
}

#[derive(Default)]
struct Letters {
    /// Connections whose streams have news: at most one for each request that is under way.
    news: Vec<Token>,
    stats: Stats,
    stop: bool,
}

impl Mailbox {
    pub(super) fn new(waker: Waker, level: log::Level) -> Mailbox {
        Mailbox { letters: Mutex::default(), waker, level }
    }

    /// Takes the letters: connections with news, and whether to stop.
    pub(super) fn open(&self, connections: usize) -> (Vec<Token>, bool) {
        let mut letters = self.lock();
        letters.stats.connections = connections;
        (std::mem::take(&mut letters.news), letters.stop)
    }

    /// One line for each request, and its numbers.
    pub(super) fn note(&self, peer: IpAddr, entry: &Log) {
        self.lock().stats.note(entry);
        log::log!(target: "request", self.level, "{peer} {entry}");
    }

    /// A file that is being sent cannot be read.
    pub(super) fn note_unreadable(&self, why: &str) {
        self.lock().stats.unreadable += 1;
        log::error!("a file of the cache {why}; its disk may be failing, or gone");
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().expect("no holder of the lock panics")
    }

    /// Says that a connection's stream has news.
    pub(super) fn leave(&self, token: Token) {
        let mut letters = self.lock();
        letters.news.push(token);
        // A former letter has woken the edge already.
        if letters.news.len() == 1 {
            drop(letters);
            self.waker.wake().ok();
        }
    }
}
