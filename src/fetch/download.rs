//! Flights that bring a file: promised ones, which must match their digest, and what merely passes through.

use std::io::Read;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::beside::{Course, Stop, begin_anew, unwanted};
use super::board::Flight;
use super::mirror::{Answer, Ask, MirrorError};
use super::sink::{Landed, Sink, SinkError};
use super::swarm::Swarm;
use super::{Inner, News, Provenance, bad_gateway, failure, gateway_timeout};
use crate::digest::{Digest, PIECE_LEN};
use crate::limits::{COPY_LEN, FRUITLESS_TRIES, HOST_MEMORY, TRIES, UNWATCHED_REST_LEN, UNWATCHED_TIME};
use crate::store::{Draft, FileMeta, Store, StoreError, Want};
use crate::stream::{Failure, Head};
use crate::time::Time;

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// The mirror stopped early or fell silent.
    Mirror(String),
    /// Nobody waits for it.
    Unwanted,
    /// It brought more bytes than it may.
    TooLong,
    /// Peers have the rest.
    LetGo,
}

/// Which part of a body is copied.
struct Part {
    /// Bytes that are here already.
    skip: u64,
    /// Where the file ends.
    total: Option<u64>,
    /// Where the copy may end.
    until: Option<u64>,
}

impl Inner {
    pub(super) fn fetch_promised(&self, flight: &Flight, digest: Digest, len: Option<u64>, recheck: bool) {
        if let Some(store) = self.store()
            && self.serve_stored(flight, &store, digest, recheck)
        {
            return;
        }
        let draft = self.draft(Want::Digest { digest, len }).filter(|_| len.is_none_or(|len| self.keeps(len)));
        let mut sink = Sink::new(&flight.stream, draft, Some(digest), len).keep_at_most((self.parts.keep_len_max)());
        flight.public.store(self.is_public(flight, &digest), Ordering::Relaxed);
        match self.download(flight, &mut sink, digest, len) {
            Ok(head) => self.land_promised(flight, sink, digest, head),
            Err(failure) => {
                if sink.forget_useless() {
                    self.poison(flight, digest);
                }
                self.give_up(flight, &failure);
            }
        }
    }

    /// The file may have come while the flight was queued, or is there and in doubt.
    fn serve_stored(&self, flight: &Flight, store: &Store, digest: Digest, recheck: bool) -> bool {
        if recheck && !self.is_right(flight, store, digest) {
            return false;
        }
        let Ok(Some(stored)) = store.open_file(&digest, self.today()) else { return false };
        // What came with somebody's credentials is not given to another without the mirror's word.
        if stored.owner.is_some() {
            return false;
        }
        flight.stream.stored(stored.file, Head { len: Some(stored.len), ..stored.head });
        true
    }

    /// Fetches until the sink has the promised length.
    fn download(
        &self,
        flight: &Flight,
        sink: &mut Sink<'_>,
        digest: Digest,
        len: Option<u64>,
    ) -> Result<Head, Failure> {
        if let Some(head) = sink.resumed_head()
            && len.or(head.len) == Some(sink.len())
        {
            sink.begin(&head);
            return Ok(head);
        }
        let mut course = Course::new(flight, digest, len);
        self.join_swarm(&mut course, sink, len);
        if course.swarm.is_none() {
            // Without a length or a right to share it, or it is told only by the mirror's head.
            flight.asks_mirror.store(true, Ordering::Relaxed);
            match self.ask_mirrors(&mut course, sink, None) {
                Ok(head) => return Ok(head),
                Err(Stop::LetGo | Stop::Away(_)) if course.swarm.is_some() => {}
                Err(stop) => return Err(course.failure(stop)),
            }
        }
        self.with_peers(&mut course, sink)
    }

    /// Fetches from one URL after another.
    pub(super) fn ask_mirrors(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        until: Option<u64>,
    ) -> Result<Head, Stop> {
        let mut worst = None;
        for url in self.urls(course.flight) {
            let mut fruitless = 0;
            for _ in 0..TRIES {
                if fruitless == FRUITLESS_TRIES {
                    break;
                }
                let before = sink.len();
                match self.try_once(course, sink, &url, until) {
                    Ok(head) => return Ok(head),
                    Err(Try::LetGo) => return Err(Stop::LetGo),
                    Err(Try::Again(why)) => {
                        log::info!("{url}: {why} after {} bytes; trying again", sink.len());
                        fruitless = if sink.len() > before { 0 } else { fruitless + 1 };
                        worst = Some(bad_gateway(why));
                    }
                    Err(Try::Elsewhere(failure)) => {
                        worst = Some(worse(worst, failure));
                        break;
                    }
                    Err(Try::Stop(failure)) => return Err(Stop::Failed(failure)),
                }
            }
        }
        let unknown = || bad_gateway(format!("no mirror is known for {}", course.digest));
        Err(Stop::Away(worst.unwrap_or_else(unknown)))
    }

    /// One request and as much of its body as comes; with `until`, no more than up to there.
    fn try_once(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        url: &str,
        until: Option<u64>,
    ) -> Result<Head, Try> {
        let (flight, len) = (course.flight, course.len);
        let from = sink.len();
        let known = sink.resumed_head();
        let ask = Ask {
            from,
            until: until.unwrap_or(0),
            same_as: known.as_ref(),
            credentials: self.credentials(flight),
            ..Ask::default()
        };
        let mut answer = self.ask(flight, url, ask).map_err(|error| match course.is_let_go() {
            true => Try::LetGo,
            false => self.elsewhere(flight, &error),
        })?;
        let skip = match answer.status {
            200 if from > 0 && !begin_anew(course, sink) => from,
            200 => 0,
            206 if from > 0 || until.is_some() => 0,
            // There is nothing behind what is here: it was cut before its end could be told, not before it came.
            416 if from > 0 && answer.head.len == Some(from) && len.is_none_or(|len| len == from) => {
                return Ok(known.unwrap_or_default());
            }
            416 if from > 0 && begin_anew(course, sink) => return Err(Try::Again("the mirror has less".into())),
            _ => return Err(Try::Elsewhere(refusal(url, &answer))),
        };
        // Where the promise has no length, what clients were told must hold for whoever sends the rest.
        let len = len.or(sink.told_len());
        if let (Some(promised), Some(sent)) = (len, answer.head.len)
            && promised != sent
        {
            let why = format!("{url} is {sent} bytes long, and {promised} were promised: not the same file");
            return Err(Try::Elsewhere(bad_gateway(why)));
        }
        flight.public.store(self.is_public(flight, &course.digest), Ordering::Relaxed);
        let head = answer.head.clone();
        sink.begin(&head);
        flight.from_mirror.store(true, Ordering::Relaxed);
        course.head = Some(head.clone());
        let total = len.or(head.len);
        self.join_swarm(course, sink, total);
        match self.copy_beside(flight, &mut answer, sink, Part { skip, total, until }, course.swarm.as_ref()) {
            Ok(()) if until.is_some_and(|until| sink.len() >= until) => Ok(head),
            Ok(()) if total.is_none_or(|total| total == sink.len()) => Ok(head),
            Ok(()) => Err(Try::Again(format!("the mirror sent {} bytes of {total:?}", sink.len()))),
            Err(Cut::Mirror(_)) if course.is_let_go() => Err(Try::LetGo),
            // All of it is here; only the framing behind it has no end.
            Err(Cut::Mirror(_)) if total == Some(sink.len()) => Ok(head),
            Err(Cut::Mirror(why)) => Err(Try::Again(why)),
            Err(Cut::TooLong) => Err(Try::Stop(bad_gateway(format!("{url} sends more than it announced")))),
            Err(Cut::Unwanted) => Err(Try::Stop(unwanted())),
            Err(Cut::LetGo) => Err(Try::LetGo),
        }
    }

    /// Whether others may know of the file and have it: it is one of a public archive, and nobody's credentials opened it.
    pub(super) fn is_public(&self, flight: &Flight, digest: &Digest) -> bool {
        flight.job.credentials.is_none() && self.is_public_object(&flight.job.object, digest)
    }

    /// The same of what nobody's credentials opened.
    pub(super) fn is_public_object(&self, object: &super::Object, digest: &Digest) -> bool {
        let promise = match self.store().map(|store| store.origin_of(&object.host, &object.path, digest)) {
            Some(Ok(promise)) => promise,
            Some(Err(error)) => {
                log::warn!("{error}");
                return false;
            }
            None => None,
        };
        let addresses =
            self.places.lock().expect("no holder of the lock panics").get(&object.host).cloned().unwrap_or_default();
        let origin = promise.as_ref().and_then(|origin| origin.as_deref());
        let provenance = Provenance { is_promised: promise.is_some(), origin, addresses: &addresses };
        (self.parts.is_public)(object, provenance)
    }

    /// Notes where a host's files come from; of too many hosts the others are learnt again.
    fn note_place(&self, host: &str, addresses: &[IpAddr]) {
        let mut places = self.places.lock().expect("no holder of the lock panics");
        if places.len() >= HOST_MEMORY && !places.contains_key(host) {
            places.clear();
        }
        places.insert(host.to_owned(), addresses.to_vec());
    }

    fn land_promised(&self, flight: &Flight, sink: Sink<'_>, digest: Digest, head: Head) {
        let public = flight.public.load(Ordering::Relaxed);
        let meta = FileMeta { owner: flight.owner(), head, public };
        match sink.finish(meta, self.today()) {
            Ok(Landed::Kept(_)) => {
                self.note_used(flight);
                if let Some(finder) = self.parts.finder.as_ref().filter(|_| public) {
                    (finder.landed)(&digest);
                }
                self.tell(News::Index {
                    host: flight.job.object.host.clone(),
                    path: flight.job.object.path.clone(),
                    digest,
                });
            }
            Ok(Landed::Passed) => {}
            Ok(Landed::Wrong { got }) => {
                let object = &flight.job.object;
                let why = format!(
                    "{}/{} from the mirror has SHA-256 {got}, and its index promises {digest}: it was thrown away",
                    object.host, object.path
                );
                log::warn!("{why}");
                self.poison(flight, digest);
                self.give_up(flight, &bad_gateway(why));
            }
            Err(error) => self.give_up(flight, &failure(500, error.to_string())),
        }
    }

    /// Bytes that a client has seen were wrong: apt keeps them and resumes behind them, so it must get the whole file.
    pub(super) fn poison(&self, flight: &Flight, digest: Digest) {
        if flight.stream.shown() > 0
            && let Some(store) = self.store()
            && let Err(error) = store.mark_poisoned(&digest, self.today())
        {
            log::warn!("{error}");
        }
    }

    pub(super) fn give_up(&self, flight: &Flight, failure: &Failure) {
        self.count(|received| received.failures += 1);
        flight.stream.fail(failure.clone());
    }

    pub(super) fn pass_through(&self, flight: &Flight) {
        let mut sink = Sink::new(&flight.stream, None, None, None);
        let Some(url) = self.urls(flight).into_iter().next() else {
            return self.give_up(flight, &bad_gateway("no mirror is known for it"));
        };
        let ask = Ask { credentials: self.credentials(flight), ..Ask::default() };
        let mut answer = match self.ask(flight, &url, ask) {
            Ok(answer) => answer,
            Err(error) => return self.give_up(flight, &self.failure_of(flight, &error)),
        };
        if answer.status != 200 {
            return self.give_up(flight, &refusal(&url, &answer));
        }
        flight.from_mirror.store(true, Ordering::Relaxed);
        sink.begin(&answer.head.clone());
        let total = answer.head.len;
        match self.copy(flight, &mut answer, &mut sink, 0, total) {
            Ok(()) if total.is_none_or(|total| total == sink.len()) => {
                if let Err(error) = sink.finish(FileMeta::default(), self.today()) {
                    self.give_up(flight, &failure(500, error.to_string()));
                }
            }
            Ok(()) => self.give_up(flight, &bad_gateway(format!("{url} ended early"))),
            Err(cut) => self.give_up(flight, &bad_gateway(format!("{url}: {cut:?}"))),
        }
    }

    /// Whether the mirror would give this file to this client.
    pub(super) fn ask_acceptance(&self, flight: &Flight, digest: Digest) {
        let Some(url) = self.urls(flight).into_iter().next() else {
            return self.give_up(flight, &bad_gateway("no mirror is known for it"));
        };
        let ask = Ask { credentials: self.credentials(flight), head_only: true, ..Ask::default() };
        let stored = self.store().and_then(|store| store.open_file(&digest, self.today()).ok().flatten());
        match (self.ask(flight, &url, ask), stored) {
            (Err(error), _) => self.give_up(flight, &self.failure_of(flight, &error)),
            (Ok(answer), Some(stored)) if answer.status == 200 => {
                flight.stream.stored(stored.file, Head { len: Some(stored.len), ..stored.head });
            }
            (Ok(answer), None) if answer.status == 200 => {
                self.give_up(flight, &failure(503, "the stored file is gone; ask again"));
            }
            (Ok(answer), _) => self.give_up(flight, &refusal(&url, &answer)),
        }
    }

    /// Copies a body into the sink, leaving out its first `skip` bytes; `total` is where it must end.
    pub(super) fn copy(
        &self,
        flight: &Flight,
        answer: &mut Answer,
        sink: &mut Sink<'_>,
        skip: u64,
        total: Option<u64>,
    ) -> Result<(), Cut> {
        self.copy_beside(flight, answer, sink, Part { skip, total, until: None }, None)
    }

    /// The same beside peers: it goes on until they have the rest.
    fn copy_beside(
        &self,
        flight: &Flight,
        answer: &mut Answer,
        sink: &mut Sink<'_>,
        Part { mut skip, total, until }: Part,
        swarm: Option<&Swarm>,
    ) -> Result<(), Cut> {
        let mut buffer = vec![0; COPY_LEN];
        let mut unwatched: Option<Time> = None;
        let mut told = self.now();
        loop {
            let read = answer.body.read(&mut buffer).map_err(|error| Cut::Mirror(error.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            self.count(|received| received.bytes += read as u64);
            let skipped = usize::try_from(skip.min(read as u64)).expect("at most what was read");
            skip -= skipped as u64;
            let mut bytes = &buffer[skipped..read];
            if total.is_some_and(|total| sink.len() + bytes.len() as u64 > total) {
                sink.condemn();
                return Err(Cut::TooLong);
            }
            // What is asked for ends where a piece does; a mirror that knows no ranges sends more.
            while !bytes.is_empty() && until.is_none_or(|until| sink.len() < until) {
                // A peer may be writing the next piece: it is not entered before that is known.
                let to_next_piece = usize::try_from(PIECE_LEN - sink.len() % PIECE_LEN).expect("a piece fits memory");
                let now = bytes.split_off(..to_next_piece.min(bytes.len())).expect("no longer than it is");
                sink.append(now).map_err(|error| match error {
                    SinkError::Unwanted | SinkError::Shown => Cut::Unwanted,
                })?;
                if let Some(swarm) = swarm {
                    self.tell_swarm(swarm, sink, total, until, &mut told)?;
                }
            }
            *flight.progress.lock().expect("no holder of the lock panics") = sink.len();
            if until.is_some_and(|until| sink.len() >= until) {
                return Ok(());
            }
            if self.is_unwanted(flight, sink.len(), total, &mut unwatched) {
                return Err(Cut::Unwanted);
            }
        }
    }

    pub(super) fn is_unwanted(
        &self,
        flight: &Flight,
        here: u64,
        total: Option<u64>,
        since: &mut Option<Time>,
    ) -> bool {
        if flight.stream.followers() > 0 || flight.for_ourselves.load(Ordering::Relaxed) {
            *since = None;
            return false;
        }
        let now = self.now();
        let since = *since.get_or_insert(now);
        let nearly_done = total.is_some_and(|total| total.saturating_sub(here) <= UNWATCHED_REST_LEN);
        !nearly_done && now.since(since) >= UNWATCHED_TIME
    }

    /// Where the flight's object can be had: by hash first, which stays when the mirror moves on.
    pub(super) fn urls(&self, flight: &Flight) -> Vec<String> {
        let object = &flight.job.object;
        let mut urls = Vec::new();
        if let Some(path) = &flight.job.by_hash {
            urls.extend((self.parts.upstreams)(&super::Object { path: path.clone(), ..object.clone() }));
        }
        urls.extend((self.parts.upstreams)(object));
        urls
    }

    pub(super) fn ask(&self, flight: &Flight, url: &str, ask: Ask<'_>) -> Result<Answer, MirrorError> {
        let answer = self.mirrors.ask(url, ask);
        if let Ok(answer) = &answer {
            self.note_place(&flight.job.object.host, &answer.addresses);
            flight.answered.store(true, Ordering::Relaxed);
            self.count(|received| received.answers += 1);
        }
        answer
    }

    pub(super) fn credentials<'a>(&self, flight: &'a Flight) -> Option<&'a str> {
        flight.job.credentials.as_deref()
    }

    /// A draft, if there is a disk that takes one.
    pub(super) fn draft(&self, want: Want) -> Option<Draft> {
        match self.store()?.draft(want) {
            Ok(draft) => Some(draft),
            // Another process writes it, or it waits to be recorded and belongs to another host.
            Err(StoreError::Busy { .. }) => self.store()?.draft_aside(want).ok(),
            Err(error) => {
                if error.is_of_disk() {
                    self.parts.shelf.suspect();
                }
                log::warn!("{error}; the file passes through without being kept");
                None
            }
        }
    }

    pub(super) fn keeps(&self, len: u64) -> bool {
        len <= (self.parts.keep_len_max)()
    }

    pub(super) fn failure_of(&self, flight: &Flight, error: &MirrorError) -> Failure {
        match error {
            MirrorError::Away(why) => {
                flight.found_away.store(true, Ordering::Relaxed);
                gateway_timeout(why.clone())
            }
            MirrorError::Private(why) => failure(403, why.clone()),
            MirrorError::Nonsense(why) => bad_gateway(why.clone()),
        }
    }

    fn elsewhere(&self, flight: &Flight, error: &MirrorError) -> Try {
        Try::Elsewhere(self.failure_of(flight, error))
    }
}

/// How a try ended that did not end well.
enum Try {
    /// The same URL may bring the rest.
    Again(String),
    /// Another URL may have it.
    Elsewhere(Failure),
    /// Nothing will help.
    Stop(Failure),
    /// Peers have the rest.
    LetGo,
}

/// A mirror's refusal, as it is passed on.
pub(super) fn refusal(url: &str, answer: &Answer) -> Failure {
    let status = match answer.status {
        status @ (401 | 403 | 404 | 410 | 429 | 500..=599) => status,
        _ => 502,
    };
    Failure {
        status,
        reason: format!("{url}: the mirror answers {}", answer.status),
        retry_after: answer.retry_after,
        challenge: answer.challenge.clone(),
    }
}

/// Of two failures the one that says more: that something is there but wrong says more than that it is not there.
fn worse(former: Option<Failure>, latter: Failure) -> Failure {
    match former {
        Some(former) if matches!(latter.status, 404 | 410) && !matches!(former.status, 404 | 410) => former,
        _ => latter,
    }
}

impl Flight {
    /// The host whose credentials opened what this flight brings, if it needed any.
    pub(super) fn owner(&self) -> Option<String> {
        self.job.credentials.is_some().then(|| self.job.object.host.clone())
    }
}
