//! The request workers: the one file that knows tiny_http.
//!
//! Each takes one clean request at a time from the edge's private socket, puts the reply into the request's slot and
//! then answers 204, which tells the edge that the reply is there.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use tiny_http::{Request, Server};

use super::again::Again;
use super::answer::{self, Wanted};
use super::ask::Ask;
use super::find::Found;
use super::given::Given;
use super::page;
use super::route::{Route, TUNNEL_PORT, route};
use crate::catalog::Place;
use crate::digest::Digest;
use crate::edge::{Answer, CACHE, Doubt, Reply, Slots};
use crate::fetch::{Calendar, Fetcher, Flight, Job, Object, Shelf};
use crate::limits::OFFERED_MEMORY;
use crate::report::Numbers;
use crate::stream::{Failure, Outcome};
use crate::time::Stamp;
use crate::troubles::TROUBLE;

/// What the daemon hands to the front.
pub struct Parts {
    /// Where files are kept.
    pub shelf: Shelf,
    /// Who brings what is not.
    pub fetcher: Fetcher,
    /// The edge's slots.
    pub slots: Slots,
    /// Which clients are served.
    pub allow: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// To which hosts tunnels may lead.
    pub may_connect: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// The calendar.
    pub calendar: Calendar,
    /// The numbers on the page.
    pub numbers: Arc<dyn Fn() -> Numbers + Send + Sync>,
}

/// The LAN face; shared by its workers.
pub struct Front {
    parts: Parts,
    given: Given,
    again: Arc<Again>,
    /// Indexes that were offered for learning since the start.
    offered: Mutex<Vec<Digest>>,
}

impl Front {
    /// A front without workers.
    #[must_use]
    pub fn new(parts: Parts) -> Front {
        Front { parts, given: Given::default(), again: Arc::default(), offered: Mutex::default() }
    }

    /// One worker: answers requests from `server` until it is shut down.
    pub fn work(self: &Arc<Self>, server: &Server) {
        while let Ok(request) = server.recv() {
            self.serve(request);
        }
    }

    fn serve(self: &Arc<Self>, request: Request) {
        let headers = request.headers().iter().map(|h| (h.field.as_str().as_str(), h.value.as_str()));
        let mut has_started = false;
        match Ask::new(request.url(), headers) {
            Some(ask) => {
                let reply = self.reply(&ask);
                has_started = matches!(reply, Reply::Later { .. });
                // A stale slot means that the client has left.
                self.parts.slots.put(ask.slot, reply);
            }
            None => log::error!("a request without a slot on the private socket"),
        }
        // Raw: the edge looks for no more, and tiny_http's own lines cost more than all that the worker looks up.
        let mut writer = request.into_writer();
        if let Err(error) = writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").and_then(|()| writer.flush()) {
            log::debug!("the edge closed a worker's connection: {error}");
        }
        // The next answer on this connection waits for its end.
        drop(writer);
        if has_started {
            self.fetcher().wake();
        }
    }

    fn reply(self: &Arc<Self>, ask: &Ask) -> Reply {
        let date = self.date();
        if !(self.parts.allow)(ask.client) {
            let why = format!("{} is not among the clients that are served; start with --allow {0}", ask.client);
            log::info!(target: TROUBLE, "{why}");
            return Reply::Now(refuse(403, why, &date));
        }
        match route(ask) {
            Route::Page => {
                let numbers = (self.parts.numbers)();
                Reply::Now(answer::html(&date, page::policy(), page::html(ask, &numbers)))
            }
            Route::Status => {
                let json = (self.parts.numbers)().json();
                Reply::Now(answer::typed("application/json", &date, json))
            }
            Route::Metrics => {
                let metrics = (self.parts.numbers)().metrics();
                Reply::Now(answer::typed("text/plain; version=0.0.4; charset=utf-8", &date, metrics))
            }
            Route::ClientConf => Reply::Now(answer::text(200, vec![("Date", date)], page::client_conf(ask))),
            Route::Usage => Reply::Now(answer::text(406, vec![("Date", date)], page::usage(ask))),
            Route::Refuse(status, why) if ask.method == "CONNECT" => {
                Reply::Now(answer::aloud(refuse(status, why, &date)))
            }
            Route::Refuse(status, why) => Reply::Now(refuse(status, why, &date)),
            Route::Tunnel(host) => self.tunnel(&host, date),
            Route::Object(object, place) => self.object(ask, object, &place, date),
        }
    }

    fn tunnel(&self, host: &str, date: String) -> Reply {
        if !(self.parts.may_connect)(host) {
            let why = format!("no tunnel leads to {host}: --allow-connect names others; add --allow-connect {host}");
            return Reply::Now(answer::aloud(refuse(403, why, &date)));
        }
        let passage = self.fetcher().passage(host, TUNNEL_PORT);
        let stream = Arc::clone(&passage.stream);
        let answer = move |outcome: &Outcome| match outcome {
            Outcome::Failed(failure) => answer::aloud(answer::refuse(failure, &date)),
            Outcome::Growing(_) | Outcome::Stored(..) => answer::tunnel(&passage),
        };
        Reply::Later { stream, answer: Box::new(answer), leads: false }
    }

    fn object(self: &Arc<Self>, ask: &Ask, object: Object, place: &Place, date: String) -> Reply {
        let name = object.path.rsplit('/').next().unwrap_or("").to_owned();
        let host = object.host.clone();
        match self.find(ask, object, place) {
            Found::Here { stored, digest, snapshot, version } => {
                if let Some((dir, snapshot)) = snapshot {
                    self.given.note(ask.client, &host, &dir, snapshot.id);
                }
                crate::store::read_ahead(&stored.file, 0, stored.len);
                let head = crate::stream::Head { len: Some(stored.len), ..stored.head };
                let answer = self.wanted(ask, name, Some(digest), date).file(stored.file, &head, CACHE);
                match version {
                    Some(version) => Reply::Again { answer, version, doubt: self.doubt(digest) },
                    None => Reply::Now(answer),
                }
            }
            Found::Fly(job, digest) => self.fly(ask, job, digest, self.wanted(ask, name, digest, date)),
        }
    }

    fn fly(self: &Arc<Self>, ask: &Ask, job: Job, digest: Option<Digest>, mut wanted: Wanted) -> Reply {
        let flight = match self.fetcher().start_soon(job) {
            Ok(flight) => flight,
            Err(full) => {
                let busy = Failure { status: 503, reason: full.to_string(), retry_after: Some(2), challenge: None };
                return Reply::Now(answer::refuse(&busy, &wanted.date));
            }
        };
        // Again: the flight may follow one that has shown wrong bytes, and has noted that since.
        wanted.whole = self.must_be_whole(ask, digest);
        let (front, client, stream) = (Arc::clone(self), ask.client, Arc::clone(&flight.stream));
        // Index files that are asked for by name right behind a Release follow that one, and no older one.
        let leads = matches!(flight.job.goal, crate::fetch::Goal::Release { .. });
        let answer = move |outcome: &Outcome| {
            front.note_given(client, &flight);
            let mut answer = wanted.outcome(outcome, flight.source());
            answer.note.joined = flight.join();
            answer
        };
        Reply::Later { stream, answer: Box::new(answer), leads }
    }

    fn note_given(&self, client: IpAddr, flight: &Flight) {
        if let (Some(snapshot), crate::fetch::Goal::Release { dir, .. }) = (flight.snapshot.get(), &flight.job.goal) {
            self.given.note(client, &flight.job.object.host, dir, *snapshot);
        }
    }

    fn wanted(&self, ask: &Ask, name: String, digest: Option<Digest>, date: String) -> Wanted {
        Wanted {
            whole: self.must_be_whole(ask, digest),
            conditions: ask.conditions.clone(),
            name,
            etag: digest.map(|digest| format!("\"{digest}\"")),
            date,
        }
    }

    /// Whether the client may have wrong bytes of what it asks the rest of.
    fn must_be_whole(&self, ask: &Ask, digest: Option<Digest>) -> bool {
        let is_poisoned = |digest| self.shelf().get().is_some_and(|store| store.is_poisoned(digest).unwrap_or(false));
        ask.conditions.range.is_some() && digest.as_ref().is_some_and(is_poisoned)
    }

    /// Whether this index was not offered for learning yet.
    pub(super) fn offer_once(&self, digest: Digest) -> bool {
        let mut offered = self.offered.lock().expect("no holder of the lock panics");
        if offered.contains(&digest) {
            return false;
        }
        if offered.len() >= OFFERED_MEMORY {
            offered.remove(0);
        }
        offered.push(digest);
        true
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.parts.shelf
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.parts.fetcher
    }

    pub(super) fn given(&self) -> &Given {
        &self.given
    }

    pub(super) fn again(&self) -> &Again {
        &self.again
    }

    /// Who asks for a file that was given without a worker with a reason to have it hashed again.
    fn doubt(&self, digest: Digest) -> Doubt {
        let (again, calendar) = (Arc::clone(&self.again), Arc::clone(&self.parts.calendar));
        Arc::new(move |client| again.is_asked_again(client, digest, calendar()))
    }

    pub(super) fn today(&self) -> Stamp {
        (self.parts.calendar)()
    }

    fn date(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.today().0))
    }
}

fn refuse(status: u16, reason: String, date: &str) -> Answer {
    answer::refuse(&Failure { status, reason, retry_after: None, challenge: None }, date)
}
