//! A miss becomes a stored file: downloads that are joined by all who ask for the same, and verified as they come.
//!
//! ```text
//! front ─ start(Job) ─▶ board ─▶ fetch thread ─▶ mirror ─▶ draft ─▶ store
//!                         └ Flight ◀── Stream ◀── visible bytes ┘
//! ```
//!
//! Owns flights, their queue, and what is asked of mirrors. Refuses to know sockets of clients, and HTTP's side towards
//! them. Threads are the daemon's: each calls [`Fetcher::work`].

mod agent;
mod ahead;
mod asking;
mod beside;
mod blocks;
mod board;
mod download;
mod errand;
mod failover;
mod finder;
mod let_go;
mod mirror;
mod names;
mod passage;
mod peer;
mod plan;
mod proxy;
mod recheck;
mod release;
mod signed;
mod sink;
mod swarm;
#[cfg(feature = "tls")]
mod tls;
mod trust;
mod unplaced;
mod url;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

pub use self::ahead::{Prefetch, Wish};
use self::blocks::Spare;
pub use self::board::{FROM_CACHE, Flight, Full, UnderWay};
pub use self::finder::{Finder, Lead, Leads, Lookup};
pub use self::mirror::{MirrorError, NearRule};
pub use self::names::{AddressRule, NameThread};
pub use self::passage::Passage;
pub use self::plan::{NodeName, Prefer};
pub use self::proxy::Proxy;
pub use self::signed::{Policy, Signatures};
pub use self::swarm::FromPeers;

use self::ahead::Ahead;
use self::board::Board;
use self::failover::Resting;
use self::mirror::Mirrors;
use self::swarm::Swarms;
use crate::catalog::ReleaseFile;
use crate::digest::{Digest, NameHash};
use crate::limits::{REVALIDATE_MEMORY, REVALIDATE_TIME};
pub use crate::store::Shelf;
use crate::store::Store;
use crate::stream::{Failure, Stream};
use crate::time::{Stamp, Time};
use crate::troubles::without_passwords;

/// Reads the clock that never goes back.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;
/// Reads the calendar.
pub type Calendar = Arc<dyn Fn() -> Stamp + Send + Sync>;
/// The URLs where an object can be had, best first.
pub type Upstreams = Arc<dyn Fn(&Object) -> Vec<String> + Send + Sync>;

/// What is known of where an object comes from.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// Whether a current index or Release promises it.
    pub is_promised: bool,
    /// That Release's `Origin`.
    pub origin: Option<&'a str>,
    /// The addresses of the hosts that its archive was fetched from.
    pub addresses: &'a [IpAddr],
}

/// Whether an object is one of a public archive: others may know that we want it, and have it of us.
pub type PublicRule = Arc<dyn Fn(&Object, Provenance<'_>) -> bool + Send + Sync>;

/// Something on the web: `http://host/path?query`, its path decoded and normalised (see `catalog::normalise`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// In lower case, with the port unless it is 80.
    pub host: String,
    /// Without a leading slash.
    pub path: String,
    /// The query, as the client sent it.
    pub query: Option<String>,
}

impl Object {
    /// Its key in the catalog.
    #[must_use]
    pub fn name(&self) -> NameHash {
        NameHash::of(&self.host, &self.path)
    }
}

/// What is to be had, and by which proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// The file with this digest.
    Promised {
        /// Its identity.
        digest: Digest,
        /// Its length, where the promise says it.
        len: Option<u64>,
        /// The client doubts what is stored: hash that again before serving it.
        recheck: bool,
    },
    /// A Release file: revalidated, and understood.
    Release {
        /// The folder that it lies in.
        dir: String,
        /// Which of them.
        file: ReleaseFile,
    },
    /// Anything in an archive that nothing promises: revalidated on each use.
    Unplaced {
        /// A web page in its place is a captive portal, not the file.
        never_html: bool,
    },
    /// The stored file with this digest, if the mirror accepts this client's credentials for it.
    Accepted {
        /// The stored file.
        digest: Digest,
    },
    /// The mirror's answer as it is; nothing is kept.
    Pass,
}

/// What a flight does.
#[derive(Clone, Debug)]
pub struct Job {
    /// What was asked for.
    pub object: Object,
    /// How to get and check it.
    pub goal: Goal,
    /// The by-hash path of the same file, asked first: it stays when the mirror moves on.
    pub by_hash: Option<String>,
    /// The client's `Authorization`.
    pub credentials: Option<String>,
}

/// Something new that others may want to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A Release changed, or was found unchanged for the first time since the start.
    Release {
        /// Where it lies.
        host: String,
        /// Its folder.
        dir: String,
    },
    /// A client asked for this index file, and it is stored.
    Index {
        /// Where it lies.
        host: String,
        /// Its path: by name, or by hash.
        path: String,
        /// The file.
        digest: Digest,
    },
    /// A package was asked for, or has come, that no learnt index promises.
    Package {
        /// Where it lies.
        host: String,
        /// Its path.
        path: String,
        /// It has come, and needed no credentials: the archive has it.
        came: bool,
    },
}

/// What the daemon hands to the fetcher.
pub struct Parts {
    /// Where files are kept.
    pub shelf: Shelf,
    /// Where objects are fetched from.
    pub upstreams: Upstreams,
    /// Which addresses may be fetched from.
    pub allowed: AddressRule,
    /// Where clients reach this proxy: nothing is fetched from there.
    pub ours: Arc<[SocketAddr]>,
    /// The proxy by which mirrors are reached, and which are reached without it.
    pub proxy: Option<(Proxy, NearRule)>,
    /// Which files others may have.
    pub is_public: PublicRule,
    /// The clock.
    pub clock: Clock,
    /// The calendar.
    pub calendar: Calendar,
    /// Files longer than this pass through without being kept.
    pub keep_len_max: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Who learns from what was fetched; full: the news is dropped, and comes again with the next request.
    pub news: Sender<Box<News>>,
    /// Who may have what; without it, all comes from mirrors.
    pub finder: Option<Finder>,
    /// Who judges the signatures under Releases.
    pub signatures: Signatures,
    /// What is done for files that will be wanted soon.
    pub prefetch: Prefetch,
    /// Whether nobody minds what the line carries now.
    pub is_night: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Starts and joins flights; clones share everything.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    parts: Parts,
    board: Board,
    mirrors: Mirrors,
    swarms: Option<Arc<Swarms>>,
    ahead: Arc<Ahead>,
    /// Where each archive's host was last fetched from.
    places: Mutex<HashMap<String, Vec<IpAddr>>>,
    /// When the mirror last confirmed a mutable name.
    checked: Mutex<HashMap<NameHash, Time>>,
    /// When a host was last found away.
    away: Mutex<HashMap<String, Time>>,
    /// Mirrors that are asked after the others of their archive.
    resting: Resting,
    /// What the next body is read into.
    spare: Spare,
    received: Mutex<Received>,
}

/// What came from mirrors since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of bodies.
    pub bytes: u64,
    /// Requests that a mirror answered.
    pub answers: u64,
    /// Requests that failed: no answer, or one that could not be used.
    pub failures: u64,
}

impl Fetcher {
    /// A fetcher without threads, and the queue that name threads serve.
    #[must_use]
    pub fn new(parts: Parts) -> (Fetcher, NameThread) {
        let (allowed, proxy) = (Arc::clone(&parts.allowed), parts.proxy.clone());
        let (mirrors, name_thread) = Mirrors::new(allowed, &parts.ours, proxy, Arc::clone(&parts.clock));
        let (shelf, clock, calendar) = (&parts.shelf, &parts.clock, &parts.calendar);
        let ahead = Arc::new(Ahead::new());
        let swarms = parts.finder.clone().map(|finder| {
            let clocks = (Arc::clone(clock), Arc::clone(calendar));
            Arc::new(Swarms::new(finder, shelf.clone(), clocks, Arc::clone(&ahead)))
        });
        let inner = Inner {
            swarms,
            ahead,
            parts,
            board: Board::default(),
            mirrors,
            places: Mutex::default(),
            checked: Mutex::default(),
            away: Mutex::default(),
            resting: Resting::default(),
            spare: Spare::default(),
            received: Mutex::default(),
        };
        (Fetcher(Arc::new(inner)), name_thread)
    }

    /// Starts a flight for `job`, or joins the one that is under way.
    ///
    /// # Errors
    /// [`Full`] when as many flights as [`crate::limits::FLIGHTS`] allows are under way.
    pub fn start(&self, job: Job) -> Result<Arc<Flight>, Full> {
        let flight = self.start_soon(job)?;
        self.wake();
        Ok(flight)
    }

    /// The same, but it may go only after [`Fetcher::wake`]: a thread that is woken may take the CPU from the one that wakes
    /// it, which has its client to see to first.
    ///
    /// # Errors
    /// See [`Fetcher::start`].
    pub fn start_soon(&self, job: Job) -> Result<Arc<Flight>, Full> {
        let flight = self.0.board.start(job, (self.0.parts.clock)())?;
        if self.0.board.has_to_wait(&flight) {
            self.look_up_waiting(&flight.job);
        }
        Ok(flight)
    }

    /// Has what was started go.
    pub fn wake(&self) {
        self.0.board.wake();
    }

    /// A flight for a file that no client has asked for: it is fetched whether or not anybody follows it.
    ///
    /// # Errors
    /// See [`Fetcher::start`].
    pub fn start_for_ourselves(&self, job: Job) -> Result<(), Full> {
        self.start(job)?.for_ourselves.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Flies one flight after another; never returns.
    pub fn work(&self) -> ! {
        loop {
            let flight = self.0.board.take();
            self.0.fly(&flight);
            self.0.board.land(&flight);
            // Only now: a client's last bytes wait for no disk.
            if let Some(store) = self.0.store()
                && let Err(error) = store.commit_full(self.0.today())
            {
                log::warn!("{error}; what was downloaded is served from its drafts");
                if error.is_of_disk() {
                    self.0.parts.shelf.suspect();
                }
            }
        }
    }

    /// Asks peers, one after another; never returns, unless there is nobody to ask.
    pub fn work_peers(&self) {
        if let Some(swarms) = &self.0.swarms {
            swarms.work();
        }
    }

    /// What came from peers since the start.
    #[must_use]
    pub fn from_peers(&self) -> FromPeers {
        self.0.swarms.as_ref().map_or_else(FromPeers::default, |swarms| swarms.received())
    }

    /// Whether the mirror confirmed this mutable name so recently that it need not be asked again.
    #[must_use]
    pub fn is_fresh(&self, name: NameHash) -> bool {
        let checked = self.0.checked.lock().expect("no holder of the lock panics");
        checked.get(&name).is_some_and(|at| (self.0.parts.clock)().since(*at) < REVALIDATE_TIME)
    }

    /// The flight that brings a file which others may have, by its name on the wire: its stream, and whether it has asked the
    /// mirror.
    #[must_use]
    pub fn shared_flight(&self, name: &Digest) -> Option<(Arc<Stream>, bool)> {
        let finder = self.0.parts.finder.as_ref()?;
        // Without a secret it is the digest itself.
        let is_plain = (finder.wire_name)(name) == name.to_string();
        let digest = if is_plain { *name } else { self.0.swarms.as_ref()?.named(name)? };
        self.0.board.shared_flight(&digest)
    }

    /// Whether others may have this file: one of a public archive, promised by a current index.
    #[must_use]
    pub fn is_public(&self, object: &Object, digest: &Digest) -> bool {
        self.0.is_public_object(object, digest)
    }

    /// Flights under way; those that have begun first.
    #[must_use]
    pub fn under_way(&self) -> Vec<UnderWay> {
        self.0.board.under_way()
    }

    /// Looks how fast they are; called about once a second.
    pub fn look_at_flights(&self) {
        self.0.board.look(self.0.now());
    }

    /// What came from mirrors since the start.
    #[must_use]
    pub fn received(&self) -> Received {
        *self.0.received.lock().expect("no holder of the lock panics")
    }

    /// Passes news on to whoever learns.
    pub fn tell(&self, news: News) {
        self.0.tell(news);
    }
}

impl Inner {
    fn fly(&self, flight: &Flight) {
        let host = &flight.job.object.host;
        if self.went_away_while_queued(host, flight.started) && !self.may_share(flight) {
            return self.mirror_away(flight, &gateway_timeout(format!("{host} does not answer")));
        }
        match &flight.job.goal {
            Goal::Promised { digest, len, recheck } => self.fetch_promised(flight, *digest, *len, *recheck),
            Goal::Release { dir, file } => self.fetch_release(flight, dir, *file),
            Goal::Unplaced { never_html } => self.fetch_unplaced(flight, *never_html),
            Goal::Accepted { digest } => self.ask_acceptance(flight, *digest),
            Goal::Pass => self.pass_through(flight),
        }
        // A host of several mirrors is away when none of them answers.
        if flight.found_away.load(Ordering::Relaxed) && !flight.answered.load(Ordering::Relaxed) {
            self.note_away(host);
        }
    }

    /// The mirror cannot be reached: what is stored serves, where the goal allows that.
    fn mirror_away(&self, flight: &Flight, failure: &Failure) {
        match &flight.job.goal {
            Goal::Release { dir, file } => self.serve_known_release(flight, dir, *file, failure),
            Goal::Unplaced { .. } => self.serve_known_unplaced(flight, failure),
            Goal::Promised { .. } | Goal::Accepted { .. } | Goal::Pass => self.give_up(flight, failure),
        }
    }

    fn store(&self) -> Option<Store> {
        self.parts.shelf.get()
    }

    fn now(&self) -> Time {
        (self.parts.clock)()
    }

    fn today(&self) -> Stamp {
        (self.parts.calendar)()
    }

    fn tell(&self, news: News) {
        if self.parts.news.try_send(Box::new(news)).is_err() {
            log::debug!("too much to learn at once; the rest is learnt when it is next asked for");
        }
    }

    fn note_fresh(&self, name: NameHash) {
        remember(&self.checked, name, self.now());
    }

    fn note_away(&self, host: &str) {
        remember(&self.away, host.to_owned(), self.now());
    }

    /// Whether `host` was found away after a flight to it was queued: then its turn would only block a thread.
    fn went_away_while_queued(&self, host: &str, queued: Time) -> bool {
        let away = self.away.lock().expect("no holder of the lock panics");
        away.get(host).is_some_and(|at| *at > queued)
    }

    /// Whether `host` was found away so recently that what is stored serves at once.
    fn is_away(&self, host: &str) -> bool {
        let away = self.away.lock().expect("no holder of the lock panics");
        away.get(host).is_some_and(|at| self.now().since(*at) < REVALIDATE_TIME)
    }

    fn count(&self, add: impl FnOnce(&mut Received)) {
        add(&mut self.received.lock().expect("no holder of the lock panics"));
    }
}

fn remember<K: std::hash::Hash + Eq>(memory: &Mutex<HashMap<K, Time>>, key: K, now: Time) {
    let mut memory = memory.lock().expect("no holder of the lock panics");
    if memory.len() >= REVALIDATE_MEMORY {
        memory.retain(|_, at| now.since(*at) < REVALIDATE_TIME);
    }
    if memory.len() < REVALIDATE_MEMORY {
        memory.insert(key, now);
    }
}

/// Clients are told the reason, and what is logged of an upstream's address is not for all of them.
fn failure(status: u16, reason: impl Into<String>) -> Failure {
    let reason = without_passwords(&reason.into()).into_owned();
    Failure { status, reason, retry_after: None, challenge: None }
}

fn bad_gateway(reason: impl Into<String>) -> Failure {
    failure(502, reason)
}

/// What a mirror that is away is told as (RFC 9110, section 15.6.5).
const GATEWAY_TIMEOUT: u16 = 504;

fn gateway_timeout(reason: impl Into<String>) -> Failure {
    failure(GATEWAY_TIMEOUT, reason)
}
