//! What will be wanted soon is looked for before anybody waits for it.
//!
//! Owns two memories: lookups of files whose download waits for its turn (apt pipelines ten requests, four downloads of one
//! host run at once), and who has the new versions of packages that this LAN uses, looked for one by one when their index
//! changed. At night these are fetched too, if that is wanted. Refuses to be in anybody's way: it is one thread, bounded in
//! everything, and what it does not get to is looked for when it is asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};

use super::board::Flight;
use super::finder::{Lead, Leads};
use super::plan::{FlightId, Input};
use super::swarm::{Hub, Swarms};
use super::{Fetcher, Goal, Inner, Job, Object};
use crate::catalog;
use crate::digest::{Digest, NameHash, PieceTable};
use crate::limits::{
    FOUND_AHEAD, FOUND_AHEAD_TIME, LOOKUP_AHEAD_TIME, LOOKUP_TIME, LOOKUPS_AHEAD, NIGHT_SHARE, NIGHT_TURN,
    STRANGERS_PER_LOOKUP, WISH_PAUSE, WISHES,
};
use crate::stream::{Outcome, Step};
use crate::time::Time;

/// How often an open lookup is looked at.
const LEADS_TURN: Duration = Duration::from_millis(20);

/// What is done for files that will be wanted soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// Nothing.
    Off,
    /// They are looked up.
    #[default]
    Lookup,
    /// They are looked up, and fetched at night.
    Night,
}

/// A file that will be wanted soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where it lies.
    pub object: Object,
    /// Its identity.
    pub digest: Digest,
    /// Its length.
    pub len: u64,
}

/// What was looked for ahead.
pub(super) struct Ahead {
    wishes: (Sender<Box<Wish>>, Receiver<Box<Wish>>),
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    under_way: HashMap<Digest, (Time, Leads)>,
    found: HashMap<Digest, (Time, Vec<Lead>)>,
}

impl Ahead {
    pub(super) fn new() -> Ahead {
        Ahead { wishes: bounded(WISHES), known: Mutex::default() }
    }

    /// A lookup has begun whose download waits; when there are too many, or it is under way already, it ends.
    fn begin(&self, digest: Digest, now: Time, look_up: impl FnOnce() -> Option<Leads>) {
        let mut known = self.lock();
        known.under_way.retain(|_, (since, _)| now.since(*since) < LOOKUP_AHEAD_TIME);
        if known.under_way.len() < LOOKUPS_AHEAD
            && !known.under_way.contains_key(&digest)
            && let Some(leads) = look_up()
        {
            known.under_way.insert(digest, (now, leads));
        }
    }

    /// What is known of a file whose download begins: the lookup that is under way, and what an earlier one found.
    pub(super) fn take(&self, digest: &Digest, now: Time) -> (Option<Leads>, Vec<Lead>) {
        let mut known = self.lock();
        let leads = known.under_way.remove(digest).map(|(_, leads)| leads);
        let found = known.found.remove(digest).filter(|(at, _)| now.since(*at) < FOUND_AHEAD_TIME);
        (leads, found.map(|(_, found)| found).unwrap_or_default())
    }

    fn remember(&self, digest: Digest, found: Vec<Lead>, now: Time) {
        let mut known = self.lock();
        if known.found.len() >= FOUND_AHEAD
            && let Some(oldest) = known.found.iter().min_by_key(|(_, (at, _))| *at).map(|(digest, _)| *digest)
        {
            known.found.remove(&oldest);
        }
        known.found.insert(digest, (now, found));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of the lock panics")
    }
}

impl Fetcher {
    /// Whether anything is done for files that will be wanted soon.
    #[must_use]
    pub fn looks_ahead(&self) -> bool {
        self.0.parts.prefetch != Prefetch::Off
    }

    /// This file will be wanted soon. Never waits.
    pub fn wish(&self, wish: Wish) {
        if self.looks_ahead() && self.0.ahead.wishes.0.try_send(Box::new(wish)).is_err() {
            log::debug!("too much to look for ahead; the rest is looked for when it is asked for");
        }
    }

    /// Looks for one wish after another, and fetches them at night, until `end` is closed.
    pub fn work_ahead(&self, end: &Receiver<()>) {
        let mut to_fetch: VecDeque<Wish> = VecDeque::new();
        let mut fetched = 0;
        loop {
            let is_night = self.0.parts.prefetch == Prefetch::Night && (self.0.parts.is_night)();
            let turn = if is_night && !to_fetch.is_empty() { Duration::ZERO } else { NIGHT_TURN };
            select! {
                recv(end) -> _ => return,
                recv(self.0.ahead.wishes.1) -> wish => {
                    let wish = *wish.expect("we hold the other end ourselves");
                    self.0.look_for(&wish, end);
                    if self.0.parts.prefetch == Prefetch::Night && to_fetch.len() < WISHES {
                        to_fetch.push_back(wish);
                    }
                }
                default(turn) => {
                    if !is_night {
                        fetched = 0;
                    } else if let Some(wish) = to_fetch.pop_front()
                        && fetched + wish.len <= (self.0.parts.keep_len_max)() / NIGHT_SHARE
                    {
                        fetched += wish.len;
                        self.fetch_ahead(wish, end);
                    }
                }
            }
        }
    }

    fn fetch_ahead(&self, wish: Wish, end: &Receiver<()>) {
        let Wish { object, digest, len } = wish;
        let name = format!("{}/{}", object.host, object.path);
        let goal = Goal::Promised { digest, len: Some(len), recheck: false };
        let Ok(flight) = self.start(Job { object, goal, by_hash: None, credentials: None }) else { return };
        let (wake, woken) = bounded(1);
        // As a client would: who is followed goes on.
        let follower = flight.stream.follow(Arc::new(move || _ = wake.try_send(())));
        loop {
            let step = match follower.outcome() {
                Some(Outcome::Stored(..)) => return,
                Some(Outcome::Failed(failure)) => {
                    return log::info!("{name} is not fetched ahead: {}", failure.reason);
                }
                Some(Outcome::Growing(_)) => follower.next(),
                None => Step::Wait,
            };
            match step {
                Step::File { until, .. } => follower.seek(until),
                // There is no disk that keeps it.
                Step::Memory { .. } | Step::Broken => return,
                Step::End => return log::info!("{name}: {len} bytes were fetched ahead"),
                Step::Wait => select! {
                    recv(end) -> _ => return,
                    recv(woken) -> _ => {}
                },
            }
        }
    }

    /// Looks a file up whose download has to wait for its turn.
    pub(super) fn look_up_waiting(&self, job: &Job) {
        let (Some(finder), Goal::Promised { digest, len: Some(len), .. }) = (&self.0.parts.finder, &job.goal) else {
            return;
        };
        if self.0.is_worth_lookup(*len) && job.credentials.is_none() && self.is_public(&job.object, digest) {
            self.0.ahead.begin(*digest, self.0.now(), || (finder.lookup)(digest));
        }
    }
}

impl Inner {
    /// A version of this package was fetched: its next one is looked for ahead.
    pub(super) fn note_used(&self, flight: &Flight) {
        let object = &flight.job.object;
        if let Some(package) = catalog::versionless(&object.path)
            && let Some(store) = self.store()
        {
            store.note_used(NameHash::of(&object.host, &package));
        }
    }

    fn is_worth_lookup(&self, len: u64) -> bool {
        self.swarms.as_ref().is_some_and(|swarms| swarms.lock().plans.is_worth_lookup(len))
    }

    /// Looks a wish up and remembers who has it, if others may know that it is wanted.
    fn look_for(&self, wish: &Wish, end: &Receiver<()>) {
        let Some(finder) = &self.parts.finder else { return };
        // What the mirror brings sooner than a lookup ends is nobody's business.
        if !self.is_worth_lookup(wish.len) || !self.is_public_object(&wish.object, &wish.digest) {
            return;
        }
        let Some(mut leads) = (finder.lookup)(&wish.digest) else { return };
        let (since, mut found) = (self.now(), Vec::new());
        while self.now().since(since) < LOOKUP_TIME && found.len() <= STRANGERS_PER_LOOKUP {
            match leads() {
                Ok(lead) => found.push(lead),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if end.recv_timeout(LEADS_TURN) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            }
        }
        log::debug!("{}/{}: {} leads were found ahead", wish.object.host, wish.object.path, found.len());
        self.ahead.remember(wish.digest, found, self.now());
        end.recv_timeout(WISH_PAUSE).ok();
    }
}

impl Swarms {
    /// Takes up for a flight what a lookup found before.
    pub(super) fn take_found(&self, hub: &mut Hub, (flight, len): (FlightId, u64), found: Vec<Lead>, now: Time) {
        for lead in found {
            match lead {
                Lead::Peer(peer) if self.may_ask(peer, false) => {
                    hub.plans.handle(now, Input::Lead { flight, peer, is_neighbour: false });
                }
                Lead::Peer(_) => {}
                Lead::Table(midstates) => {
                    if let Some(table) = PieceTable::new(midstates, len) {
                        hub.plans.handle(now, Input::Hint(flight, Arc::new(table)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    fn nobody() -> Option<Leads> {
        Some(Box::new(|| Err(TryRecvError::Empty)))
    }

    #[test]
    fn what_is_looked_for_ahead_is_bounded_and_forgotten_in_time() {
        let ahead = Ahead::new();
        for n in 0..2 * LOOKUPS_AHEAD {
            ahead.begin(digest(n), Time(0), nobody);
        }
        assert_eq!(ahead.lock().under_way.len(), LOOKUPS_AHEAD);
        assert!(ahead.take(&digest(0), Time(1)).0.is_some() && ahead.take(&digest(0), Time(1)).0.is_none());
        ahead.begin(digest(99), Time(0) + LOOKUP_AHEAD_TIME, nobody);
        assert_eq!(ahead.lock().under_way.len(), 1, "the others were given up");
        for n in 0..=FOUND_AHEAD {
            ahead.remember(digest(n), vec![Lead::Table(Vec::new())], Time(n as u64));
        }
        assert!(ahead.take(&digest(0), Time(300)).1.is_empty(), "the oldest was forgotten");
        assert_eq!(ahead.take(&digest(1), Time(300)).1.len(), 1);
        assert!(ahead.take(&digest(2), Time(2) + FOUND_AHEAD_TIME).1.is_empty(), "they may be gone");
    }
}
