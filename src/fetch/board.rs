//! Which flights there are, and which may go next.
//!
//! Two requests for the same thing share a flight. The queue is bounded in all and for each host. One host keeps at most half
//! of the threads busy, and the last threads go to hosts that keep none, so that dead mirrors delay nobody else.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use super::{Goal, Job, Object};
use crate::digest::Digest;
use crate::limits::{FETCH_THREADS, FETCH_THREADS_KEPT, FETCH_THREADS_PER_HOST, FLIGHTS, FLIGHTS_PER_HOST};
use crate::store::IndexId;
use crate::stream::{Outcome, Stream};
use crate::time::Time;

/// One download or revalidation, shared by all who wait for it.
#[derive(Debug)]
pub struct Flight {
    /// What it does.
    pub job: Job,
    /// Where its bytes appear.
    pub stream: Arc<Stream>,
    /// With a Release file: the snapshot that was given out.
    pub snapshot: OnceLock<IndexId>,
    /// Whether the bytes came from the mirror just now, for the log.
    pub from_mirror: AtomicBool,
    /// Whether a mirror of its host could not be reached …
    pub(super) found_away: AtomicBool,
    /// … and whether another could.
    pub(super) answered: AtomicBool,
    /// Whether some of them came from peers.
    pub from_peers: AtomicBool,
    /// Whether the mirror was asked for them.
    pub(super) asks_mirror: AtomicBool,
    /// Whether a client has had an answer from it.
    pub(super) has_client: AtomicBool,
    /// Whether it goes on though nobody follows it.
    pub(super) for_ourselves: AtomicBool,
    /// Whether others may have what it brings; known once the mirror has answered.
    pub(super) public: AtomicBool,
    pub(super) started: Time,
    /// For the page; written by the thread that flies it.
    progress: Mutex<Progress>,
}

/// How far a flight is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    is_begun: bool,
    /// Bytes that were here before it began.
    before: u64,
    from_mirror: u64,
    from_peers: u64,
    /// Bytes a second lately, and where they were when that was last looked at.
    rate: u64,
    looked: Option<(Time, u64)>,
}

impl Progress {
    fn here(&self) -> u64 {
        self.before + self.from_mirror + self.from_peers
    }

    /// The rate of the last seconds: each look counts for a third.
    fn look(&mut self, now: Time) {
        let here = self.here();
        if let Some((then, before)) = self.looked.replace((now, here)) {
            let ms = u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = here.saturating_sub(before).saturating_mul(1000) / ms;
            self.rate = if self.rate == 0 { rate } else { (2 * self.rate + rate) / 3 };
        }
    }
}

/// A flight as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// What is fetched; of what needs credentials the host alone.
    pub object: Object,
    /// Bytes of it that are here.
    pub here: u64,
    /// Its length, once that is known.
    pub len: Option<u64>,
    /// Bytes that came a second, lately.
    pub rate: u64,
    /// Of the bytes, those that peers gave.
    pub from_peers: u64,
    /// Whether it has not begun yet: others have their turn.
    pub is_waiting: bool,
}

impl Flight {
    /// What it brings, for the log and the page: what needs credentials may have a name that is one.
    pub(super) fn told(&self) -> String {
        let Object { host, path, .. } = &self.job.object;
        match self.job.credentials {
            None => format!("{host}/{path}"),
            Some(_) => format!("{host}/…"),
        }
    }

    fn under_way(&self) -> UnderWay {
        let progress = *self.progress();
        let promised = match self.job.goal {
            Goal::Promised { len, .. } => len,
            _ => None,
        };
        let len = match self.stream.outcome() {
            Some(Outcome::Growing(head)) => head.len.or(promised),
            _ => promised,
        };
        let mut object = self.job.object.clone();
        if self.job.credentials.is_some() {
            // What needs credentials may have a name that is one.
            object.path = "…".into();
        }
        UnderWay {
            object,
            here: len.map_or(progress.here(), |len| len.min(progress.here())),
            len,
            rate: progress.rate,
            from_peers: progress.from_peers,
            is_waiting: !progress.is_begun,
        }
    }

    /// So many bytes are here before any comes.
    pub(super) fn note_start(&self, before: u64) {
        let mut progress = self.progress();
        if progress.from_mirror + progress.from_peers == 0 {
            progress.before = before;
        }
    }

    /// More bytes came from the mirror; without peers, so many are here now.
    pub(super) fn note_mirror(&self, bytes: u64, here: u64) {
        let mut progress = self.progress();
        progress.from_mirror += bytes;
        if progress.from_peers == 0 {
            // Some may have been thrown away.
            progress.from_mirror = here.saturating_sub(progress.before);
        }
    }

    /// So many bytes came from peers, in all.
    pub(super) fn note_peers(&self, bytes: u64) {
        self.progress().from_peers = bytes;
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no holder of the lock panics")
    }

    /// A client gets its answer from it; whether another has had one before.
    #[must_use]
    pub fn join(&self) -> bool {
        self.has_client.swap(true, Ordering::Relaxed)
    }

    /// Where its bytes came from so far, in the log's words.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match (self.from_mirror.load(Ordering::Relaxed), self.from_peers.load(Ordering::Relaxed)) {
            (false, false) => FROM_CACHE,
            (true, false) => "mirror",
            (false, true) => "peers",
            (true, true) => "mirror+peers",
        }
    }
}

/// What the log says of bytes that were here already: the edge counts them by this word, and has the same.
pub const FROM_CACHE: &str = "cache";

/// No more flights can be started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many downloads at once; try again in a few seconds")
    }
}

impl std::error::Error for Full {}

/// What makes two jobs the same. A promised file is the same wherever it comes from, but whoever names a host that sends
/// nothing must not keep it from those who ask another for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    File { digest: Digest, host: String, credentials: Option<String> },
    Name(Object, Goal, Option<String>),
}

impl Key {
    fn of(job: &Job) -> Key {
        match job.goal {
            Goal::Promised { digest, .. } => {
                Key::File { digest, host: job.object.host.clone(), credentials: job.credentials.clone() }
            }
            _ => Key::Name(job.object.clone(), job.goal.clone(), job.credentials.clone()),
        }
    }
}

#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// All flights that are queued or under way.
    flights: HashMap<Key, Arc<Flight>>,
    queue: VecDeque<Arc<Flight>>,
    busy: HashMap<String, usize>,
}

impl Board {
    /// Queues a flight, or joins the one that does the same. It goes when a thread looks, or with [`Board::wake`].
    pub(super) fn start(&self, job: Job, now: Time) -> Result<Arc<Flight>, Full> {
        let key = Key::of(&job);
        let mut state = self.lock();
        if let Some(flight) = state.flights.get(&key)
            && flight.stream.joinable()
        {
            return Ok(Arc::clone(flight));
        }
        let on_host = state.flights.values().filter(|known| known.job.object.host == job.object.host).count();
        if state.flights.len() >= FLIGHTS || on_host >= FLIGHTS_PER_HOST {
            return Err(Full);
        }
        let flight = Arc::new(Flight {
            job,
            stream: Arc::default(),
            snapshot: OnceLock::new(),
            from_mirror: AtomicBool::new(false),
            found_away: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            from_peers: AtomicBool::new(false),
            asks_mirror: AtomicBool::new(false),
            has_client: AtomicBool::new(false),
            for_ourselves: AtomicBool::new(false),
            public: AtomicBool::new(false),
            started: now,
            progress: Mutex::default(),
        });
        // A flight that nobody can join any more gives up its place here; it still lands by itself.
        state.flights.insert(key, Arc::clone(&flight));
        state.queue.push_back(Arc::clone(&flight));
        Ok(flight)
    }

    /// Wakes a thread for what was started.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Whether a flight stands behind others that keep all threads busy that it may have.
    pub(super) fn has_to_wait(&self, flight: &Arc<Flight>) -> bool {
        let state = self.lock();
        let is_queued = state.queue.iter().any(|queued| Arc::ptr_eq(queued, flight));
        is_queued && (!state.may_fly(flight) || state.busy.values().sum::<usize>() >= FETCH_THREADS)
    }

    /// The next flight whose host has a thread to spare; waits for one.
    pub(super) fn take(&self) -> Arc<Flight> {
        let mut state = self.lock();
        loop {
            if let Some(at) = state.queue.iter().position(|flight| state.may_fly(flight)) {
                let flight = state.queue.remove(at).expect("a position in the queue");
                *state.busy.entry(flight.job.object.host.clone()).or_default() += 1;
                flight.progress().is_begun = true;
                return flight;
            }
            state = self.work.wait(state).expect("no holder of the lock panics");
        }
    }

    pub(super) fn land(&self, flight: &Arc<Flight>) {
        let key = Key::of(&flight.job);
        let mut state = self.lock();
        if state.flights.get(&key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            state.flights.remove(&key);
        }
        let host = &flight.job.object.host;
        if let Some(busy) = state.busy.get_mut(host) {
            *busy -= 1;
            if *busy == 0 {
                state.busy.remove(host);
            }
        }
        let has_more = !state.queue.is_empty();
        drop(state);
        // The place that got free may be one that another thread skipped for this host.
        if has_more {
            self.work.notify_one();
        }
    }

    pub(super) fn shared_flight(&self, digest: &Digest) -> Option<(Arc<Stream>, bool)> {
        let state = self.lock();
        let is_shared = |(key, flight): &(&Key, &Arc<Flight>)| {
            matches!(key, Key::File { digest: brought, credentials: None, .. } if brought == digest)
                && flight.public.load(Ordering::Relaxed)
                && flight.stream.joinable()
        };
        // Of several hosts', the one that is farthest.
        let here = |(_, flight): &(&Key, &Arc<Flight>)| flight.progress().here();
        let (_, flight) = state.flights.iter().filter(is_shared).max_by_key(here)?;
        Some((Arc::clone(&flight.stream), flight.asks_mirror.load(Ordering::Relaxed)))
    }

    /// Looks how fast each flight is; called about once a second.
    pub(super) fn look(&self, now: Time) {
        self.lock().flights.values().for_each(|flight| flight.progress().look(now));
    }

    pub(super) fn under_way(&self) -> Vec<UnderWay> {
        let mut flights: Vec<_> = self.lock().flights.values().cloned().collect();
        // What has begun first, then what has waited longest.
        // Each is looked at once: they go on meanwhile, and a sort may not see that.
        flights.sort_by_cached_key(|flight| {
            (!flight.progress().is_begun, flight.started, flight.job.object.path.clone())
        });
        flights.iter().map(|flight| flight.under_way()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn may_fly(&self, flight: &Flight) -> bool {
        let all: usize = self.busy.values().sum();
        self.busy
            .get(&flight.job.object.host)
            .is_none_or(|busy| *busy < FETCH_THREADS_PER_HOST && all < FETCH_THREADS - FETCH_THREADS_KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Failure;

    fn job(host: &str, path: &str) -> Job {
        let object = Object { host: host.into(), path: path.into(), query: None };
        Job { object, goal: Goal::Pass, by_hash: None, credentials: None }
    }

    #[test]
    fn the_same_job_is_flown_once_until_it_lands_or_fails() {
        let board = Board::default();
        let first = board.start(job("a", "x"), Time(0)).expect("room");
        let second = board.start(job("a", "x"), Time(1)).expect("room");
        assert!(Arc::ptr_eq(&first, &second));
        first.stream.fail(Failure { status: 502, reason: "x".into(), retry_after: None, challenge: None });
        let third = board.start(job("a", "x"), Time(2)).expect("room");
        assert!(!Arc::ptr_eq(&first, &third));
        let (taken, next) = (board.take(), board.take());
        board.land(&taken);
        assert!(Arc::ptr_eq(&board.start(job("a", "x"), Time(3)).expect("room"), &third));
        board.land(&next);
        assert!(board.lock().flights.is_empty() && board.lock().busy.is_empty());
    }

    #[test]
    fn a_host_that_sends_nothing_keeps_no_file_from_those_who_ask_another() {
        let board = Board::default();
        let digest = Digest::of(b"it");
        let goal = Goal::Promised { digest, len: None, recheck: false };
        let start = |host: &str| board.start(Job { goal: goal.clone(), ..job(host, "x") }, Time(0)).expect("room");
        let (silent, good) = (start("silent"), start("good"));
        assert!(!Arc::ptr_eq(&silent, &good) && Arc::ptr_eq(&good, &start("good")));
        assert!(board.shared_flight(&digest).is_none(), "nobody knows yet whether it may be shared");
        silent.public.store(true, Ordering::Relaxed);
        good.public.store(true, Ordering::Relaxed);
        good.note_mirror(1, 1);
        let (shared, _) = board.shared_flight(&digest).expect("it is public");
        assert!(Arc::ptr_eq(&shared, &good.stream));
    }

    #[test]
    fn what_is_under_way_has_a_speed_and_no_secret_name() {
        let board = Board::default();
        board.start(job("a", "x"), Time(0)).expect("room");
        let flight = board.take();
        board.start(Job { credentials: Some("Basic x".into()), ..job("b", "key-5") }, Time(0)).expect("room");
        flight.note_start(1000);
        board.look(Time(1000));
        flight.note_mirror(500, 1500);
        flight.note_peers(2500);
        board.look(Time(2000));
        flight.note_mirror(3000, 2000);
        board.look(Time(3000));
        let told = board.under_way();
        let [first, second] = &told[..] else { panic!("{told:?}") };
        assert_eq!((first.here, first.from_peers, first.len, first.is_waiting), (7000, 2500, None, false));
        assert_eq!(first.rate, 3000);
        assert!(second.is_waiting && second.object.host == "b" && !second.object.path.contains("key"));
    }

    #[test]
    fn one_host_leaves_threads_and_places_to_others() {
        let board = Board::default();
        for n in 0..FLIGHTS_PER_HOST {
            board.start(job("dead", &n.to_string()), Time(0)).expect("room");
        }
        assert_eq!(board.start(job("dead", "more"), Time(0)).err(), Some(Full));
        board.start(job("alive", "x"), Time(0)).expect("room for another host");
        for _ in 0..FETCH_THREADS_PER_HOST {
            assert_eq!(board.take().job.object.host, "dead");
        }
        assert_eq!(board.take().job.object.host, "alive");
    }

    #[test]
    fn two_hosts_leave_the_last_threads_to_others() {
        let board = Board::default();
        for n in 0..2 * FETCH_THREADS {
            board.start(job(["slow", "slower"][n % 2], &n.to_string()), Time(0)).expect("room");
        }
        let taken: Vec<_> = (0..FETCH_THREADS - FETCH_THREADS_KEPT).map(|_| board.take()).collect();
        let waits = board.start(job("slow", "waits"), Time(0)).expect("room");
        assert!(board.has_to_wait(&waits));
        for host in ["third", "fourth"] {
            board.start(job(host, "x"), Time(0)).expect("room for another host");
            assert_eq!(board.take().job.object.host, host);
        }
        // Whoever lands makes room for the next of the two, once the others have theirs.
        taken[..=FETCH_THREADS_KEPT].iter().for_each(|flight| board.land(flight));
        assert_eq!(board.take().job.object.host, "slow");
    }
}
