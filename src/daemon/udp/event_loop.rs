//! The loop: one thread, mio, and turns that are bounded in each of their parts.
//!
//! A turn: what other threads left, a burst of datagrams, what time brings; then everything that the state machine wants
//! done; then sleep until a socket, a thread or the clock has news.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use mio::{Events, Poll, Token, Waker};

use super::super::{clock, threads};
use super::DhtOptions;
use super::askers::Askers;
use super::contacts::{self, Known};
use super::dials::{Dialler, Dials};
use super::entrances::Entrances;
use super::handle::{DhtHandle, DhtReport, Letter, Mailbox, Wish};
use super::sockets::Sockets;
use super::watch::Watch;
use crate::dht::{Dht, Event, Family, Input, Output};
use crate::fetch::Clock;
use crate::limits::{CONTACTS_SAVE_TIME, DHT_ASKS, UPKEEP_TIME};
use crate::time::Time;

const WAKER: Token = Token(0);
const SOCKETS: usize = 1;
const DIALS: usize = 16;

/// Contacts of an earlier run that are visited at a time, so that they do not use up what upkeep may send.
const VISITS: usize = 32;

struct EventLoop {
    poll: Poll,
    clock: Clock,
    started: Time,
    dht: Dht,
    network: String,
    sockets: Sockets,
    dials: Dials,
    askers: Askers,
    asks: Receiver<Box<Letter>>,
    mailbox: Arc<Mailbox>,
    entrances: Entrances,
    watch: Watch,
    /// The file of contacts, and what stands in it.
    file: Option<PathBuf>,
    saved: Vec<Known>,
    save_at: Time,
    saving: Option<JoinHandle<()>>,
    /// Contacts that are still to be visited.
    to_visit: VecDeque<Known>,
    visit_at: Time,
    wake_at: Time,
    /// What the state machine wrote last.
    buffer: Vec<u8>,
}

/// Makes the sockets and starts the thread.
pub(super) fn start(options: DhtOptions) -> io::Result<DhtHandle> {
    let poll = Poll::new()?;
    let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?));
    let sockets = Sockets::bind(&options.listen, poll.registry().try_clone()?, SOCKETS)?;
    let dials = Dials::new(poll.registry().try_clone()?, DIALS);
    let clock = clock::boot_clock();
    let now = clock();
    let config = crate::dht::Config { families: sockets.families(), ..options.config };
    let (sender, asks) = bounded(DHT_ASKS);
    let (alive, ended) = bounded(0);
    let handle = DhtHandle::new(sender, Arc::clone(&mailbox), &config, sockets.addresses(), ended);
    let saved = options.contacts.as_ref().map_or_else(Vec::new, |path| contacts::read(path, &config.network));
    let event_loop = EventLoop {
        watch: Watch::new(&config.families, now),
        network: config.network.clone(),
        entrances: Entrances::new(options.bootstrap, config.is_private, Arc::clone(&mailbox)),
        dht: Dht::new(config, now),
        poll,
        clock,
        started: now,
        sockets,
        dials,
        askers: Askers::default(),
        asks,
        mailbox,
        file: options.contacts,
        to_visit: saved.iter().copied().collect(),
        saved,
        save_at: now + CONTACTS_SAVE_TIME,
        saving: None,
        visit_at: now,
        wake_at: now,
        buffer: Vec::new(),
    };
    threads::start("dht", move || {
        event_loop.run();
        drop::<crossbeam_channel::Sender<()>>(alive);
    })?;
    Ok(handle)
}

impl EventLoop {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let now = (self.clock)();
            if self.take_letters(now) {
                break;
            }
            self.note_time(now);
            let (dht, clock) = (&mut self.dht, &self.clock);
            self.sockets.receive(|from, bytes| dht.handle(clock(), Input::Datagram { from, bytes }));
            self.dht.handle(now, Input::Tick);
            self.sockets.flush();
            self.do_all();
            let pause = if self.has_more() { Duration::ZERO } else { self.next_time().since((self.clock)()) };
            match self.poll.poll(&mut events, Some(pause)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    log::error!("the DHT ends, because it cannot wait for its sockets: {error}");
                    break;
                }
                _ => {}
            }
            let now = (self.clock)();
            for event in &events {
                if let Some(input) = self.dials.note_ready(event.token()) {
                    self.dht.handle(now, input);
                }
                self.sockets.note_ready(event.token(), event.is_readable(), event.is_writable());
            }
        }
        self.save_last();
    }

    /// What other threads want; whether that is the end.
    fn take_letters(&mut self, now: Time) -> bool {
        let left = self.mailbox.open();
        if left.is_to_stop {
            return true;
        }
        for (key, wish) in left.wishes {
            match wish {
                Wish::Announce(hint) => self.dht.handle(now, Input::Announce { key, hint }),
                Wish::Withdraw => self.dht.handle(now, Input::Withdraw(key)),
            }
        }
        if let Some(port) = left.port {
            self.dht.handle(now, Input::Port(port));
        }
        for address in left.entrances {
            self.dht.handle(now, Input::Entrance(address));
        }
        for _ in 0..DHT_ASKS {
            match self.asks.try_recv().map(|letter| *letter) {
                Ok(Letter::Ask(what, asker)) => {
                    if let Some(ask) = self.askers.admit(asker) {
                        self.dht.handle(now, Input::Ask { ask, what });
                    }
                }
                Ok(Letter::Report(sender)) => {
                    // An asker that stopped waiting has dropped its end.
                    sender.try_send(Box::new(self.report(now))).ok();
                }
                Err(_) => break,
            }
        }
        if left.is_somebody_gone {
            for ask in self.askers.take_abandoned() {
                self.dht.handle(now, Input::Cancel(ask));
            }
        }
        false
    }

    /// What time brings besides the state machine's own.
    fn note_time(&mut self, now: Time) {
        if self.watch.has_slept(now) {
            log::info!("the machine was suspended: the DHT joins again");
            self.sockets.families().into_iter().for_each(|family| self.rejoin(family, now));
        }
        if self.watch.is_due(now) {
            let moved = self.watch.moved();
            for family in moved.into_iter().chain(self.sockets.mend()) {
                let name = if family == Family::V4 { "IPv4" } else { "IPv6" };
                log::info!("the network has changed: the DHT joins again over {name}");
                self.rejoin(family, now);
            }
        }
        while let Some(input) = self.dials.take_late(now) {
            self.dht.handle(now, input);
        }
        if now >= self.visit_at && !self.to_visit.is_empty() {
            self.visit_at = now + UPKEEP_TIME;
            for (network, address) in self.to_visit.drain(..VISITS.min(self.to_visit.len())) {
                self.dht.handle(now, Input::Known(network, address));
            }
        }
        if self.entrances.is_due(now) {
            self.enter(now);
        }
        if now >= self.save_at {
            self.save_at = now + CONTACTS_SAVE_TIME;
            self.save();
        }
    }

    fn enter(&mut self, now: Time) {
        if self.dht.status().iter().any(|node| node.contacts > 0) && !self.entrances.is_first() {
            return self.entrances.postpone(now);
        }
        if let Err(error) = self.entrances.look_up(now) {
            log::warn!("bootstrap hosts are not looked up: {error}");
        }
    }

    fn rejoin(&mut self, family: Family, now: Time) {
        self.dht.handle(now, Input::Rejoin(family));
        self.mailbox.note_move();
        self.entrances.restart();
        contacts::visit_again(&mut self.to_visit, &self.saved, family);
        self.visit_at = now;
    }

    /// Does what the state machine wants done.
    fn do_all(&mut self) {
        loop {
            let now = (self.clock)();
            match self.dht.poll(now, &mut self.buffer) {
                Output::Send { to } => {
                    if self.sockets.send(to, &self.buffer) && self.watch.is_news(Family::of(to), now) {
                        log::info!("the network is back");
                        self.rejoin(Family::of(to), now);
                    }
                }
                Output::Event(event) => self.note_event(event, now),
                Output::WakeAt(at) => {
                    self.wake_at = at;
                    return;
                }
            }
        }
    }

    fn note_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Dial { target, from, tx, len } => {
                if let Err(dialler) = self.dials.begin(target, Dialler { from, tx, len }, now) {
                    self.dht.handle(now, dialler.told(false));
                }
            }
            Event::Address { address, .. } => log::info!("others see this machine as {address}"),
            Event::Overlay { peer } => log::debug!("{peer} may be a node of {}", self.network),
            event => self.askers.give(event),
        }
    }

    fn has_more(&self) -> bool {
        self.sockets.has_more() || !self.asks.is_empty() || self.mailbox.has_more()
    }

    fn next_time(&self) -> Time {
        let visit_at = (!self.to_visit.is_empty()).then_some(self.visit_at);
        [self.dials.next_time(), visit_at].into_iter().flatten().fold(self.wake_at, Time::min)
    }

    fn report(&self, now: Time) -> DhtReport {
        DhtReport {
            network: self.network.clone(),
            addresses: self.sockets.addresses(),
            nodes: self.dht.status(),
            traffic: self.dht.traffic(now),
            datagrams: self.sockets.counts,
            asks: self.askers.len(),
            contacts_saved: self.saved.len(),
            uptime: now.since(self.started),
        }
    }

    // ── contacts ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn gather(&mut self) {
        let now = self.dht.contacts().into_iter().map(|(network, contact)| (network, contact.address)).collect();
        self.saved = contacts::merged(now, &self.saved);
    }

    /// Saves the contacts by a thread of its own: a slow disk must not hold the loop.
    fn save(&mut self) {
        let is_busy = self.saving.as_ref().is_some_and(|thread| !thread.is_finished());
        self.gather();
        let Some(path) = self.file.clone().filter(|_| !is_busy && !self.saved.is_empty()) else { return };
        let (network, saved) = (self.network.clone(), self.saved.clone());
        let write = move || {
            if let Err(error) = contacts::write(&path, &network, &saved) {
                log::warn!("the DHT's contacts cannot be saved in {}: {error}", path.display());
            }
        };
        match threads::start("dht-save", write) {
            Ok(thread) => self.saving = Some(thread),
            Err(error) => log::warn!("the DHT's contacts are not saved: {error}"),
        }
    }

    /// The same at the end, when there is nothing else to do.
    fn save_last(&mut self) {
        if let Some(thread) = self.saving.take() {
            thread.join().ok();
        }
        self.save();
        if let Some(thread) = self.saving.take() {
            thread.join().ok();
        }
    }
}
