//! Flights that bring a file: promised ones, which must match their digest, and what merely passes through.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::beside::{Course, Stop, UNWANTED};
use super::blocks::Blocks;
use super::board::Flight;
use super::failover::{Failed, worse};
use super::let_go;
use super::mirror::{Answer, Ask, MirrorError};
use super::sink::{Landed, Sink, SinkError};
use super::swarm::Swarm;
use super::{Inner, News, Object, Provenance, bad_gateway, failure, gateway_timeout};
use crate::catalog;
use crate::digest::Digest;
use crate::limits::{HOST_MEMORY, MIRROR_HURRY_TIME, MIRROR_RATE_MIN, TRIES, UNWATCHED_REST_LEN, UNWATCHED_TIME};
use crate::store::{Draft, FileMeta, Store, StoreError, Want};
use crate::stream::{Failure, Head};
use crate::time::Time;
use crate::troubles::TROUBLE;

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
    /// It brings little, and another mirror can be asked.
    Slow,
}

/// Which part of a body is copied.
#[derive(Default)]
pub(super) struct Part {
    /// Bytes that are here already.
    pub(super) skip: u64,
    /// Where the file ends.
    pub(super) total: Option<u64>,
    /// Where the copy may end.
    pub(super) until: Option<u64>,
    /// Whether it must not be slow.
    pub(super) is_hurried: bool,
}

impl Inner {
    pub(super) fn fetch_promised(&self, flight: &Flight, digest: Digest, len: Option<u64>, recheck: bool) {
        if let Some(store) = self.store()
            && self.serve_stored(flight, &store, digest, recheck)
        {
            return;
        }
        // Another mirror may have what one spoilt, as long as no client has seen a byte of that.
        for _ in 0..TRIES {
            if !self.fetch_from_mirrors(flight, digest, len) {
                return;
            }
            log::info!("another mirror is asked for {digest}");
        }
        self.give_up(flight, &bad_gateway(format!("no mirror has the {digest} that was promised")));
    }

    /// Fetches a promised file; whether that is worth another try: the mirror sent another file, and none rests that is next.
    fn fetch_from_mirrors(&self, flight: &Flight, digest: Digest, len: Option<u64>) -> bool {
        let want = Want::Digest { digest, len };
        // What somebody's credentials open is no beginning for others, who may name the same digest at another host.
        let draft = if flight.job.credentials.is_some() { self.draft_aside(want) } else { self.draft(want) };
        let draft = draft.filter(|_| len.is_none_or(|len| self.keeps(len)));
        let mut sink = Sink::new(&flight.stream, draft, Some(digest), len).keep_at_most((self.parts.keep_len_max)());
        if sink.resumed_head().is_some() {
            flight.stream.presume_shown();
        }
        flight.public.store(self.is_public(flight, &digest), Ordering::Relaxed);
        let mut course = Course::new(flight, digest, len);
        let outcome = self.download(&mut course, &mut sink);
        // Peers write no more into a file that is about to be finished.
        let givers = course.take_givers();
        drop(course);
        match outcome {
            Ok(head) => self.land_promised(flight, sink, digest, head, &givers),
            Err(failure) => {
                if sink.forget_useless() {
                    self.poison(flight, digest);
                }
                self.give_up(flight, &failure);
                false
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
    fn download(&self, course: &mut Course<'_>, sink: &mut Sink<'_>) -> Result<Head, Failure> {
        let (flight, len) = (course.flight, course.len);
        if let Some(head) = sink.resumed_head()
            && len.or(head.len) == Some(sink.len())
        {
            sink.begin(&head);
            return Ok(head);
        }
        self.join_swarm(course, sink, len);
        if course.swarm.is_none() {
            // Without a length or a right to share it, or it is told only by the mirror's head.
            flight.asks_mirror.store(true, Ordering::Relaxed);
            match self.ask_mirrors(course, sink, None) {
                Ok(head) => return Ok(head),
                Err(Stop::LetGo | Stop::Away(_)) if course.swarm.is_some() => {}
                Err(stop) => return Err(course.failure(stop)),
            }
        }
        self.with_peers(course, sink)
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

    /// Keeps what came if it is the file; whether another mirror is to be asked for it.
    fn land_promised(&self, flight: &Flight, sink: Sink<'_>, digest: Digest, head: Head, givers: &[String]) -> bool {
        let public = flight.public.load(Ordering::Relaxed);
        let meta = FileMeta { owner: flight.owner(), head, public };
        match sink.finish(meta, self.today()) {
            Ok(Landed::Kept(_)) => {
                self.note_used(flight);
                if let Some(finder) = self.parts.finder.as_ref().filter(|_| public) {
                    (finder.landed)(&digest);
                }
                let Object { host, path, .. } = &flight.job.object;
                // Nobody is woken for a package.
                if catalog::place(path) != catalog::Place::Package {
                    self.tell(News::Index { host: host.clone(), path: path.clone(), digest });
                }
            }
            Ok(Landed::Passed) => {}
            Ok(Landed::Wrong { got }) => {
                let why = format!(
                    "{} from the mirror has SHA-256 {got}, and its index promises {digest}: it was thrown away",
                    flight.told()
                );
                log::warn!("{why}");
                let rounds = self.rounds(flight);
                givers.iter().for_each(|url| self.note_bad(&rounds, url));
                if flight.stream.outcome().is_none() && self.has_fresh_mirror(flight, givers) {
                    return true;
                }
                self.poison(flight, digest);
                self.give_up(flight, &bad_gateway(why));
            }
            Err(error) => self.give_up(flight, &failure(500, error.to_string())),
        }
        false
    }

    /// What came is wrong, and nobody is given more of it. Where a client may have some, apt keeps that and resumes behind it, so
    /// it must get the whole file.
    fn poison(&self, flight: &Flight, digest: Digest) {
        if flight.stream.withdraw() {
            self.mark_poisoned(digest);
        }
    }

    /// A client may have wrong bytes of it.
    pub(super) fn mark_poisoned(&self, digest: Digest) {
        if let Some(store) = self.store()
            && let Err(error) = store.mark_poisoned(&digest, self.today())
        {
            log::warn!("{error}");
        }
    }

    pub(super) fn give_up(&self, flight: &Flight, failure: &Failure) {
        self.count(|received| received.failures += 1);
        if failure.status >= 500 && failure.reason != UNWANTED {
            match flight.job.credentials {
                None => log::info!(target: TROUBLE, "{}", failure.reason),
                Some(_) => {
                    let host = &flight.job.object.host;
                    log::info!(target: TROUBLE, "{host} did not give a file that needs credentials; the log names it");
                }
            }
        }
        flight.stream.fail(failure.clone());
    }

    pub(super) fn pass_through(&self, flight: &Flight) {
        let mut last = None;
        let mut rounds = self.rounds(flight);
        while let Some(turn) = rounds.next() {
            let ask = Ask { credentials: self.credentials(flight), ..Ask::default() };
            let failed = match self.in_time(&turn, || self.ask(flight, &turn.url, ask)) {
                Ok(answer) if answer.status == 200 => return self.pass_body(flight, &turn.url, answer),
                Ok(answer) => Failed::Refused(refusal(&turn.url, &answer)),
                Err(error) => self.failed(flight, &error),
            };
            last = Some(worse(last, self.note_failed(&mut rounds, turn, failed)));
        }
        self.give_up(flight, &last.unwrap_or_else(|| bad_gateway("no mirror is known for it")));
    }

    fn pass_body(&self, flight: &Flight, url: &str, mut answer: Answer) {
        let mut sink = Sink::new(&flight.stream, None, None, None);
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
        let stored = self.store().and_then(|store| store.open_file(&digest, self.today()).ok().flatten());
        let Some(stored) = stored else {
            return self.give_up(flight, &failure(503, "the stored file is gone; ask again"));
        };
        let mut last = None;
        let mut rounds = self.rounds(flight);
        while let Some(turn) = rounds.next() {
            let failed = match self.in_time(&turn, || self.ask_permission(flight, &turn.url)) {
                Ok(answer) if matches!(answer.status, 200 | 206) => {
                    return flight.stream.stored(stored.file, Head { len: Some(stored.len), ..stored.head });
                }
                // Who is refused by one is not to try the next.
                Ok(answer) if matches!(answer.status, 401 | 403) => {
                    return self.give_up(flight, &refusal(&turn.url, &answer));
                }
                Ok(answer) => Failed::Refused(refusal(&turn.url, &answer)),
                Err(error) => self.failed(flight, &error),
            };
            last = Some(worse(last, self.note_failed(&mut rounds, turn, failed)));
        }
        self.give_up(flight, &last.unwrap_or_else(|| bad_gateway("no mirror is known for it")));
    }

    /// By `HEAD`, and where that is refused by a GET of one byte: storage may know no `HEAD`, or be opened by links that were
    /// signed for a GET alone.
    fn ask_permission(&self, flight: &Flight, url: &str) -> Result<Answer, MirrorError> {
        let ask = Ask { credentials: self.credentials(flight), head_only: true, ..Ask::default() };
        let answer = self.ask(flight, url, ask)?;
        if matches!(answer.status, 200 | 401) {
            return Ok(answer);
        }
        self.ask(flight, url, Ask { head_only: false, until: 1, ..ask })
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
        self.copy_beside(flight, answer, sink, Part { skip, total, ..Part::default() }, None)
    }

    /// The same beside peers: it goes on until they have the rest.
    pub(super) fn copy_beside(
        &self,
        flight: &Flight,
        answer: &mut Answer,
        sink: &mut Sink<'_>,
        part: Part,
        swarm: Option<&Swarm>,
    ) -> Result<(), Cut> {
        let_go::telling(&flight.stream, || self.copy_part(flight, answer, sink, part, swarm))
    }

    fn copy_part(
        &self,
        flight: &Flight,
        answer: &mut Answer,
        sink: &mut Sink<'_>,
        Part { mut skip, total, until, is_hurried }: Part,
        swarm: Option<&Swarm>,
    ) -> Result<(), Cut> {
        let mut blocks = Blocks::of(&mut answer.body, &self.spare);
        let mut unwatched: Option<Time> = None;
        let mut told = self.now();
        let mut lap = (told, 0);
        flight.note_start(sink.len());
        loop {
            // What is skipped lies before the sink's end, too.
            let bytes = blocks.next(sink.len() - skip).map_err(|error| Cut::Mirror(error.to_string()))?;
            let read = bytes.len() as u64;
            if read == 0 {
                return Ok(());
            }
            self.count(|received| received.bytes += read);
            lap.1 += read;
            let skipped = skip.min(read);
            skip -= skipped;
            let bytes = &bytes[usize::try_from(skipped).expect("at most what was read")..];
            if total.is_some_and(|total| sink.len() + bytes.len() as u64 > total) {
                sink.condemn();
                return Err(Cut::TooLong);
            }
            if !bytes.is_empty() {
                sink.append(bytes).map_err(|error| match error {
                    SinkError::Unwanted | SinkError::Shown => Cut::Unwanted,
                })?;
                if let Some(swarm) = swarm {
                    self.tell_swarm((flight, swarm), sink, total, until, &mut told)?;
                }
            }
            flight.note_mirror(read - skipped, sink.len());
            if until.is_some_and(|until| sink.len() >= until) {
                return Ok(());
            }
            if self.is_unwanted(flight, sink.len(), total, &mut unwatched) {
                return Err(Cut::Unwanted);
            }
            // Without a disk it is the clients who may be slow. What nobody waits for must not hold a thread for ever.
            let is_ours = flight.stream.followers() == 0;
            if (is_hurried || is_ours) && sink.file().is_some() && self.is_slow(&mut lap) {
                return Err(if is_hurried { Cut::Slow } else { Cut::Unwanted });
            }
        }
    }

    /// Whether less came in this lap than must; if it was enough, the next one begins when it is over.
    fn is_slow(&self, lap: &mut (Time, u64)) -> bool {
        let now = self.now();
        if now.since(lap.0) < MIRROR_HURRY_TIME {
            return false;
        }
        let (_, came) = std::mem::replace(lap, (now, 0));
        came < MIRROR_RATE_MIN * MIRROR_HURRY_TIME.as_secs()
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
        let store = self.store()?;
        self.taken(match store.draft(want) {
            // Another process writes it, or it waits to be recorded and belongs to another host.
            Err(StoreError::Busy { .. }) => store.draft_aside(want),
            draft => draft,
        })
    }

    /// The same of one that nobody goes on with when its flight has ended.
    fn draft_aside(&self, want: Want) -> Option<Draft> {
        self.taken(self.store()?.draft_aside(want))
    }

    fn taken(&self, draft: Result<Draft, StoreError>) -> Option<Draft> {
        draft
            .inspect_err(|error| {
                if error.is_of_disk() {
                    self.parts.shelf.suspect();
                }
                log::warn!("{error}; the file passes through without being kept");
            })
            .ok()
    }

    pub(super) fn keeps(&self, len: u64) -> bool {
        len <= (self.parts.keep_len_max)()
    }

    pub(super) fn failure_of(&self, flight: &Flight, error: &MirrorError) -> Failure {
        match error {
            MirrorError::Away(why) | MirrorError::Silent(why) => {
                flight.found_away.store(true, Ordering::Relaxed);
                gateway_timeout(why.clone())
            }
            MirrorError::Private(why) => failure(403, why.clone()),
            MirrorError::Nonsense(why) => bad_gateway(why.clone()),
        }
    }
}

/// A mirror's refusal, as it is passed on.
pub(super) fn refusal(url: &str, answer: &Answer) -> Failure {
    let status = match answer.status {
        status @ (401 | 403 | 404 | 410 | 429 | 500..=599) => status,
        _ => 502,
    };
    Failure {
        retry_after: answer.retry_after,
        challenge: answer.challenge.clone(),
        ..failure(status, format!("{url}: the mirror answers {}", answer.status))
    }
}

impl Flight {
    /// The host whose credentials opened what this flight brings, if it needed any.
    pub(super) fn owner(&self) -> Option<String> {
        self.job.credentials.is_some().then(|| self.job.object.host.clone())
    }
}
