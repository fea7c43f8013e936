//! A promised file from the mirror and from peers at once: the flight's thread does what the plan says.
//!
//! Owns the course of one such flight. The mirror's part is `download`'s, the peers' is `swarm`'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::board::Flight;
use super::download::Cut;
use super::let_go::LetGo;
use super::plan::{MirrorNews, Target};
use super::sink::Sink;
use super::swarm::{Next, Swarm};
use super::{GATEWAY_TIMEOUT, Goal, Inner, bad_gateway, failure, gateway_timeout, url};
use crate::digest::{Digest, PIECE_LEN};
use crate::limits::{BEGIN_TIME, TABLE_LEN_MAX};
use crate::stream::{Failure, Head};
use crate::time::Time;

/// How often the plan hears of the mirror's progress inside a piece.
const TELL_TIME: Duration = Duration::from_millis(50);

/// What is known of a flight on its way.
pub(super) struct Course<'a> {
    pub(super) flight: &'a Flight,
    pub(super) digest: Digest,
    /// What the index promises.
    pub(super) len: Option<u64>,
    /// What the mirror said, once it answered.
    pub(super) head: Option<Head>,
    pub(super) swarm: Option<Swarm>,
    /// Peers are not taken in any more.
    is_alone: bool,
    /// Ends the request to the mirror that is under way.
    let_go: Option<LetGo>,
    /// The mirror that said so, by scheme, host and port …
    pub(super) origin: Option<String>,
    /// … and the URLs whose bytes are in place.
    givers: Vec<String>,
}

/// Why the mirrors brought no more.
pub(super) enum Stop {
    /// Peers have the rest.
    LetGo,
    /// None of them helps.
    Away(Failure),
    /// Nothing will help.
    Failed(Failure),
}

/// Why a flight ends that nobody waits for.
pub(super) const UNWANTED: &str = "no client waited for it any more";

/// Nobody waits for the flight.
pub(super) fn unwanted() -> Failure {
    failure(503, UNWANTED)
}

impl<'a> Course<'a> {
    pub(super) fn new(flight: &'a Flight, digest: Digest, len: Option<u64>) -> Course<'a> {
        let (origin, givers) = (None, Vec::new());
        Course { flight, digest, len, head: None, swarm: None, is_alone: false, let_go: None, origin, givers }
    }

    /// Whether a request failed because nobody needs it any more.
    pub(super) fn is_let_go(&self) -> bool {
        self.let_go.as_ref().is_some_and(LetGo::is_over)
    }

    /// A mirror's bytes begin.
    pub(super) fn note_giver(&mut self, url: &str, head: &Head) {
        self.head = Some(head.clone());
        self.origin = Some(url::origin(url).to_owned());
        if !self.givers.iter().any(|giver| giver == url) {
            self.givers.push(url.to_owned());
        }
    }

    pub(super) fn take_givers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.givers)
    }

    pub(super) fn failure(&self, stop: Stop) -> Failure {
        match stop {
            Stop::Away(failure) | Stop::Failed(failure) => failure,
            Stop::LetGo => bad_gateway(format!("the download of {} was let go", self.digest)),
        }
    }
}

impl Inner {
    /// Whether peers may be asked for what a flight brings.
    pub(super) fn may_share(&self, flight: &Flight) -> bool {
        self.swarms.is_some()
            && matches!(flight.job.goal, Goal::Promised { digest, .. } if self.is_public(flight, &digest))
    }

    /// Takes peers in, if the file is a public one, long enough to be known, and goes to the disk.
    pub(super) fn join_swarm(&self, course: &mut Course<'_>, sink: &Sink<'_>, len: Option<u64>) {
        // What no table can be had for is no peer's matter; a length may also be a mirror's mere word.
        let len = len.filter(|len| len.div_ceil(PIECE_LEN) <= (TABLE_LEN_MAX / 32) as u64);
        if let (Some(swarms), Some(len), Some(file)) = (&self.swarms, len, sink.file())
            && course.swarm.is_none()
            && !course.is_alone
            && self.may_share(course.flight)
            && sink.len() < len
        {
            let target = Target { digest: course.digest, len, front: sink.len() };
            course.flight.note_start(sink.len());
            let swarm = swarms.join(target, Arc::clone(file));
            if course.head.is_some() {
                // The mirror answers already.
                swarm.asked(None);
            }
            course.swarm = Some(swarm);
        }
    }

    /// Does what the plan says until the file is whole.
    pub(super) fn with_peers(&self, course: &mut Course<'_>, sink: &mut Sink<'_>) -> Result<Head, Failure> {
        let host = &course.flight.job.object.host;
        // Whoever waits is not to wait for a mirror again that was just found away, while peers may have it.
        let mut is_skipped = course.head.is_none() && self.is_away(host);
        let mut worst = is_skipped.then(|| gateway_timeout(format!("{host} does not answer")));
        if is_skipped {
            course.swarm.as_ref().inspect(|swarm| swarm.tell_of_mirror(MirrorNews::Skipped));
        }
        let mut unwatched: Option<Time> = None;
        let begun = self.now();
        if course.head.is_some() {
            course.swarm.as_ref().inspect(|swarm| {
                swarm.moved(sink.len());
                swarm.tell_of_mirror(MirrorNews::Idle);
            });
        }
        loop {
            let Some(swarm) = course.swarm.as_ref().filter(|_| !course.is_alone && sink.file().is_some()) else {
                // The disk takes no more, or no peer helps: the rest comes from the mirror alone.
                (course.swarm, course.let_go, course.is_alone) = (None, None, true);
                return self.ask_mirrors(course, sink, None).map_err(|stop| course.failure(stop));
            };
            let next = swarm.next();
            course.flight.note_peers(swarm.bytes());
            match next {
                Next::Whole => return Ok(self.landed(course)),
                Next::GiveUp if is_skipped => {
                    is_skipped = false;
                    // It is asked all the same, unless another has just found it away again.
                    let is_away = self.went_away_while_queued(host, course.flight.started);
                    worst = worst.filter(|_| is_away);
                    swarm.tell_of_mirror(if is_away { MirrorNews::Failed } else { MirrorNews::Wanted });
                }
                Next::GiveUp => {
                    let unknown = || bad_gateway(format!("neither a mirror nor a peer has {}", course.digest));
                    return Err(worst.unwrap_or_else(unknown));
                }
                Next::Append(bytes) => {
                    begin(course, sink);
                    sink.append(&bytes).map_err(|_| unwanted())?;
                    course.flight.stream.tell();
                    swarm.moved(sink.len());
                }
                Next::Graft(graft) => {
                    // What is in place is shown only when it is proved.
                    match sink.graft(&graft, swarm.len()) {
                        Ok(true) => {
                            begin(course, sink);
                            return Ok(self.landed(course));
                        }
                        Ok(false) => self.mirror_lied(course, sink)?,
                        Err(error) => {
                            log::warn!("{error}; what peers gave cannot be read, and the mirror is asked for it");
                            course.is_alone = true;
                        }
                    }
                }
                Next::Again => {
                    self.begin_early(course, sink, begun);
                    if self.is_unwanted(course.flight, sink.len(), course.len, &mut unwatched) {
                        return Err(unwanted());
                    }
                }
                Next::Fetch(until, let_go) => {
                    swarm.asked(until);
                    worst = self.stream_beside(course, sink, until, let_go)?.or(worst);
                }
            }
        }
    }

    /// Streams from the mirror until it has given what was asked or is let go; why it does not help any more.
    fn stream_beside(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        until: Option<u64>,
        let_go: LetGo,
    ) -> Result<Option<Failure>, Failure> {
        course.flight.asks_mirror.store(true, Ordering::Relaxed);
        course.let_go = Some(let_go.clone());
        let before = sink.len();
        let fetched = let_go.during(|| self.ask_mirrors(course, sink, until));
        let swarm = course.swarm.as_ref().expect("it stays to the end");
        swarm.moved(sink.len());
        let failure = match fetched {
            Err(Stop::Failed(failure)) => return Err(failure),
            Err(Stop::Away(failure)) if !let_go.is_over() => failure,
            // It says that this is all, and would say so again.
            Ok(_) if sink.len() <= before => bad_gateway(format!("the mirror has less of {}", course.digest)),
            Ok(_) | Err(_) => {
                swarm.tell_of_mirror(MirrorNews::Idle);
                return Ok(None);
            }
        };
        let is_away = failure.status == GATEWAY_TIMEOUT;
        swarm.tell_of_mirror(if is_away { MirrorNews::Away } else { MirrorNews::Failed });
        Ok(Some(failure))
    }

    /// Begins the answer when peers give the file, though nothing of it can be shown yet.
    fn begin_early(&self, course: &Course<'_>, sink: &mut Sink<'_>, begun: Time) {
        let is_coming = course.swarm.as_ref().is_some_and(|swarm| swarm.bytes() > 0);
        if is_coming && self.now().since(begun) >= BEGIN_TIME {
            begin(course, sink);
            sink.announce_early();
        }
    }

    /// Tells the plan how far the mirror is, at each piece's end and now and then inside one.
    pub(super) fn tell_swarm(
        &self,
        (flight, swarm): (&Flight, &Swarm),
        sink: &Sink<'_>,
        total: Option<u64>,
        until: Option<u64>,
        told: &mut Time,
    ) -> Result<(), Cut> {
        if sink.file().is_none() {
            swarm.close();
            return Ok(());
        }
        let (here, now) = (sink.len(), self.now());
        let at_end = here.is_multiple_of(crate::digest::PIECE_LEN) || Some(here) == total;
        if !at_end && now.since(*told) < TELL_TIME {
            return Ok(());
        }
        *told = now;
        flight.note_peers(swarm.bytes());
        if swarm.moved(here) || Some(here) == total || Some(here) == until {
            return Ok(());
        }
        Err(Cut::LetGo)
    }

    /// Peers' pieces are proved by the digest itself, and what the mirror sent does not lead to them: it is fetched
    /// again from peers, unless clients have seen it.
    fn mirror_lied(&self, course: &mut Course<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let object = &course.flight.job.object;
        let why = format!("{}/{} from the mirror is not what its index promises", object.host, object.path);
        let givers = course.take_givers();
        let rounds = self.rounds(course.flight);
        givers.iter().for_each(|url| self.note_bad(&rounds, url));
        let swarm = course.swarm.as_ref().expect("only with peers");
        match self.has_fresh_mirror(course.flight, &givers) {
            true => swarm.tell_of_mirror(MirrorNews::Idle),
            false => swarm.tell_of_mirror(MirrorNews::Failed),
        }
        let was_here = sink.resumed_head().is_some();
        if !begin_anew(course, sink) {
            log::warn!("{why}; clients have seen a part of it");
            sink.condemn();
            return Err(bad_gateway(why));
        }
        // Nobody was shown it now, but whoever an earlier try was for.
        if was_here {
            self.mark_poisoned(course.digest);
        }
        log::warn!("{why}; its bytes were thrown away, and peers are asked for them");
        Ok(())
    }

    fn landed(&self, course: &Course<'_>) -> Head {
        let bytes = course.swarm.as_ref().map_or(0, Swarm::bytes);
        if bytes > 0 {
            let object = &course.flight.job.object;
            log::info!("{}/{}: {bytes} bytes came from peers", object.host, object.path);
        }
        course.head.clone().unwrap_or_else(|| Head { len: course.len, ..Head::default() })
    }
}

/// Begins anew from the first byte, if no client has seen any; what peers wrote behind stays, and so does what is proved of it.
pub(super) fn begin_anew(course: &mut Course<'_>, sink: &mut Sink<'_>) -> bool {
    let is_anew = sink.restart().is_ok();
    if is_anew {
        course.givers.clear();
    }
    if let Some(swarm) = course.swarm.as_ref().filter(|_| is_anew) {
        swarm.moved(0);
    }
    is_anew
}

/// Peers bring the first bytes: there may be no word of the mirror's about the file.
fn begin(course: &Course<'_>, sink: &mut Sink<'_>) {
    course.flight.from_peers.store(true, Ordering::Relaxed);
    let unknown = || Head { len: course.len, ..Head::default() };
    sink.begin(&course.head.clone().unwrap_or_else(unknown));
}
