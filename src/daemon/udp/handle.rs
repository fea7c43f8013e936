//! How other threads reach the DHT's loop: asks by a bounded queue, what must not be lost by a map that the loop empties.
//!
//! Nobody here waits for the loop but [`DhtHandle::report`] and [`DhtHandle::stop`], and they only for a moment.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use mio::Waker;

use crate::dht::{self, Ask, Event, Hint, NodeId, NodeStatus, Traffic};
use crate::digest::Digest;
use crate::limits::{ANNOUNCED, DHT_ANSWERS, DHT_REPORT_TIME, DHT_STOP_TIME, WISHES_PER_TURN};
use crate::sorted::SortedMap;

/// Reaches a running DHT from other threads; clones reach the same. When the last one is dropped, the DHT ends.
#[derive(Clone)]
pub struct DhtHandle(Arc<Reached>);

struct Reached {
    asks: Sender<Box<Letter>>,
    mailbox: Arc<Mailbox>,
    network: String,
    secret: Option<Vec<u8>>,
    /// The TCP port at which others reach us; 0: none.
    port: AtomicU16,
    addresses: Vec<SocketAddr>,
    /// Closed when the loop's thread has ended.
    ended: Receiver<()>,
}

/// What waits in the queue.
pub(super) enum Letter {
    /// Look this up; the answers go there for as long as somebody holds the other end of the ticket.
    Ask(Ask, Asker),
    /// Say how it goes.
    Report(Sender<Box<DhtReport>>),
}

/// The loop's end of an ask.
pub(super) struct Asker {
    pub(super) events: Sender<Box<Event>>,
    pub(super) ticket: std::sync::Weak<()>,
}

impl DhtHandle {
    pub(super) fn new(
        asks: Sender<Box<Letter>>,
        mailbox: Arc<Mailbox>,
        config: &dht::Config,
        addresses: Vec<SocketAddr>,
        ended: Receiver<()>,
    ) -> DhtHandle {
        let (network, secret) = (config.network.clone(), config.secret.clone());
        let port = AtomicU16::new(config.port.unwrap_or(0));
        DhtHandle(Arc::new(Reached { asks, mailbox, network, secret, port, addresses, ended }))
    }

    /// Asks for something; answers come as they are found. `None` at once: too much is asked already, or the DHT has
    /// ended, which to the asker is the same as "nobody".
    #[must_use]
    pub fn ask(&self, what: Ask) -> Option<Answers> {
        let (sender, events) = bounded(DHT_ANSWERS);
        let ticket = Arc::new(());
        let asker = Asker { events: sender, ticket: Arc::downgrade(&ticket) };
        self.0.asks.try_send(Box::new(Letter::Ask(what, asker))).ok()?;
        self.0.mailbox.wake();
        Some(Answers { events, ticket: Some(ticket), mailbox: Arc::clone(&self.0.mailbox) })
    }

    /// Announces a key from now on, again and again, until [`DhtHandle::withdraw`]. Never waits; beyond
    /// [`ANNOUNCED`] keys it is not announced.
    pub fn announce(&self, key: NodeId, hint: Option<Hint>) {
        self.0.mailbox.wish(key, Wish::Announce(hint));
    }

    /// Announces a key no longer.
    pub fn withdraw(&self, key: NodeId) {
        self.0.mailbox.wish(key, Wish::Withdraw);
    }

    /// Others are to reach us at this TCP port from now on: if it is another, what is announced is withdrawn. For one thread.
    #[cfg(feature = "port-mapping")]
    pub fn serve_at(&self, port: u16) {
        if self.0.port.load(Ordering::Relaxed) != port {
            // Whoever sees it there finds that what he announces then is not withdrawn.
            self.0.mailbox.serve_at(port);
            self.0.port.store(port, Ordering::Release);
        }
    }

    /// Where others reach us: the TCP port, and how often this machine has moved; none: nothing is served.
    #[must_use]
    pub fn place(&self) -> Option<(u16, u32)> {
        let port = Some(self.0.port.load(Ordering::Acquire)).filter(|port| *port != 0)?;
        Some((port, self.0.mailbox.moves.load(Ordering::Relaxed)))
    }

    /// Somewhere to join, beside those that the DHT was started with.
    pub fn enter(&self, address: SocketAddr) {
        self.0.mailbox.enter(vec![address]);
    }

    /// Where the record of this file lies.
    #[must_use]
    pub fn key(&self, digest: &Digest) -> NodeId {
        dht::key(&self.0.network, self.0.secret.as_deref(), digest)
    }

    /// Whether keys are made with a secret: then nothing else may tell which file is meant.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.0.secret.is_some()
    }

    /// The overlay's name.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.0.network
    }

    /// The addresses of its sockets, at most one a family.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// How it goes; `None` when the loop is too busy to say within a second, or has ended.
    #[must_use]
    pub fn report(&self) -> Option<DhtReport> {
        let (sender, report) = bounded(1);
        self.0.asks.try_send(Box::new(Letter::Report(sender))).ok()?;
        self.0.mailbox.wake();
        report.recv_timeout(DHT_REPORT_TIME).ok().map(|report| *report)
    }

    /// Ends the DHT, and waits until its contacts are saved, but not for long. Whether it has ended.
    pub fn stop(&self) -> bool {
        self.begin_to_stop();
        self.has_stopped_within(DHT_STOP_TIME)
    }

    /// Ends the DHT, without waiting.
    pub(in crate::daemon) fn begin_to_stop(&self) {
        self.0.mailbox.stop();
    }

    /// Whether it has ended, which is waited for no longer than this.
    pub(in crate::daemon) fn has_stopped_within(&self, limit: Duration) -> bool {
        self.0.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

impl fmt::Debug for DhtHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhtHandle({:?})", self.0.addresses)
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        self.mailbox.stop();
    }
}

/// What an ask brings. It ends after [`Event::Done`], [`Event::Item`] or [`Event::Dialled`]; who drops it earlier
/// cancels the ask. What the asker does not read in time is lost, but never the end.
pub struct Answers {
    events: Receiver<Box<Event>>,
    /// Held for as long as somebody waits; none when it is over.
    ticket: Option<Arc<()>>,
    mailbox: Arc<Mailbox>,
}

impl Answers {
    /// The next answer, waited for no longer than `limit`.
    ///
    /// # Errors
    /// `Timeout` when none came in that time, `Disconnected` when it is over.
    pub fn next_within(&mut self, limit: Duration) -> Result<Event, RecvTimeoutError> {
        let event = self.events.recv_timeout(limit).map(|event| *event);
        match &event {
            Ok(event) if is_last(event) => self.ticket = None,
            Err(RecvTimeoutError::Disconnected) => self.ticket = None,
            _ => {}
        }
        event
    }

    /// The channel itself, to be selected on; closed when it is over.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Box<Event>> {
        &self.events
    }
}

impl Iterator for Answers {
    type Item = Event;

    /// The next answer; waits until there is one or it is over, which an ask always is after some seconds.
    fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().ok().map(|event| *event);
        if event.as_ref().is_none_or(is_last) {
            self.ticket = None;
        }
        event
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if self.ticket.take().is_some() {
            self.mailbox.note_gone();
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ticket.is_some() { "Answers(open)" } else { "Answers(over)" })
    }
}

/// Whether nothing follows it.
pub(super) fn is_last(event: &Event) -> bool {
    matches!(event, Event::Done { .. } | Event::Item { .. } | Event::Dialled { .. })
}

/// How a DHT goes, for people and for tests.
#[derive(Clone, Debug)]
pub struct DhtReport {
    /// The overlay's name.
    pub network: String,
    /// The addresses of its sockets.
    pub addresses: Vec<SocketAddr>,
    /// Each node: network and family.
    pub nodes: Vec<NodeStatus>,
    /// What they have done together.
    pub traffic: Traffic,
    /// What went over the sockets.
    pub datagrams: Datagrams,
    /// Asks that somebody waits for.
    pub asks: usize,
    /// Contacts that were saved last, or read at the start.
    pub contacts_saved: usize,
    /// Since the start; suspended time counts.
    pub uptime: Duration,
}

/// What went over the sockets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Datagrams that arrived.
    pub received: u64,
    /// Their bytes, without headers.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Their bytes, without headers.
    pub bytes_sent: u64,
    /// Datagrams that the system refused: no route, a firewall.
    pub refused: u64,
    /// Datagrams dropped because too many waited for the network.
    pub dropped: u64,
}

/// What is to become of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Announce(Option<Hint>),
    Withdraw,
}

/// What other threads leave for the loop and must not be lost.
pub(super) struct Mailbox {
    left: Mutex<Left>,
    waker: Waker,
    /// How often the network was another one; the loop counts.
    moves: AtomicU32,
}

#[derive(Default)]
pub(super) struct Left {
    /// The last wish for each key.
    pub(super) wishes: SortedMap<NodeId, Wish>,
    /// Addresses of bootstrap hosts.
    pub(super) entrances: Vec<SocketAddr>,
    /// Our port is another.
    pub(super) port: Option<u16>,
    /// Somebody has dropped his answers.
    pub(super) is_somebody_gone: bool,
    pub(super) is_to_stop: bool,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Mailbox {
        Mailbox { left: Mutex::default(), waker, moves: AtomicU32::new(0) }
    }

    /// Takes what was left.
    pub(super) fn open(&self) -> Left {
        let mut left = self.lock();
        let mut taken = Left { is_to_stop: left.is_to_stop, ..Left::default() };
        while taken.wishes.len() < WISHES_PER_TURN
            && let Some((key, wish)) = left.wishes.pop_last()
        {
            taken.wishes.insert(key, wish);
        }
        std::mem::swap(&mut taken.entrances, &mut left.entrances);
        taken.port = left.port.take();
        std::mem::swap(&mut taken.is_somebody_gone, &mut left.is_somebody_gone);
        taken
    }

    /// Whether there are wishes that the last turn had no room for.
    pub(super) fn has_more(&self) -> bool {
        !self.lock().wishes.is_empty()
    }

    fn wish(&self, key: NodeId, wish: Wish) {
        let mut left = self.lock();
        if left.wishes.len() < ANNOUNCED || left.wishes.contains_key(&key) {
            left.wishes.insert(key, wish);
        }
        // A former wish has woken the loop already.
        if left.wishes.len() == 1 {
            drop(left);
            self.wake();
        }
    }

    pub(super) fn enter(&self, addresses: Vec<SocketAddr>) {
        let mut left = self.lock();
        left.entrances.extend(addresses);
        left.entrances.truncate(crate::limits::ENTRANCES);
        drop(left);
        self.wake();
    }

    #[cfg(feature = "port-mapping")]
    fn serve_at(&self, port: u16) {
        self.lock().port = Some(port);
        self.wake();
    }

    /// The network is another one.
    pub(super) fn note_move(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    fn note_gone(&self) {
        self.lock().is_somebody_gone = true;
        self.wake();
    }

    fn stop(&self) {
        self.lock().is_to_stop = true;
        self.wake();
    }

    fn wake(&self) {
        self.waker.wake().ok();
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::{AskId, Config, Network, Summary};
    use crate::limits::DHT_ASKS;
    use mio::{Poll, Token};

    /// A handle whose loop stands still: its ends of the queue and of the mailbox.
    fn still() -> (DhtHandle, Receiver<Box<Letter>>, Arc<Mailbox>) {
        let poll = Poll::new().expect("epoll");
        let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), Token(0)).expect("an eventfd")));
        let (sender, letters) = bounded(DHT_ASKS);
        let ended = bounded(0).1;
        let handle = DhtHandle::new(sender, Arc::clone(&mailbox), &Config::new([1; 32]), Vec::new(), ended);
        (handle, letters, mailbox)
    }

    fn ask(handle: &DhtHandle) -> Option<Answers> {
        handle.ask(Ask::Peers { key: NodeId([1; 20]), network: Network::Overlay, traced: false })
    }

    #[test]
    fn a_full_queue_means_nobody_at_once() {
        let (handle, letters, _mailbox) = still();
        let waiting: Vec<Answers> = (0..DHT_ASKS).map(|_| ask(&handle).expect("room")).collect();
        assert!(ask(&handle).is_none() && handle.report().is_none());
        letters.recv().expect("an ask");
        assert!(ask(&handle).is_some());
        drop((waiting, letters));
        assert!(ask(&handle).is_none(), "the loop has ended");
    }

    #[test]
    fn wishes_are_never_lost_and_the_last_one_counts() {
        let (handle, _letters, mailbox) = still();
        let key = |n: usize| NodeId([u8::try_from(n).expect("few"); 20]);
        (0..3 * DHT_ASKS).for_each(|n| handle.announce(key(n), None));
        handle.withdraw(key(5));
        let mut taken = SortedMap::new();
        while mailbox.has_more() {
            let left = mailbox.open();
            assert!(left.wishes.len() <= WISHES_PER_TURN);
            taken.extend(left.wishes);
        }
        assert_eq!((taken.len(), taken.get(&key(5))), (3 * DHT_ASKS, Some(&Wish::Withdraw)));
        drop(handle);
        assert!(mailbox.open().is_to_stop);
    }

    #[test]
    fn only_who_leaves_before_the_end_is_noted() {
        let (handle, letters, mailbox) = still();
        let mut answers = ask(&handle).expect("room");
        let Ok(Letter::Ask(_, asker)) = letters.recv().map(|letter| *letter) else { panic!("no ask") };
        asker.events.send(Box::new(Event::Done { ask: AskId(1), summary: Summary::default() })).expect("room");
        assert!(answers.next().is_some());
        drop(answers);
        assert!(!mailbox.open().is_somebody_gone);
        drop(ask(&handle));
        assert!(mailbox.open().is_somebody_gone && !mailbox.open().is_somebody_gone);
    }
}
