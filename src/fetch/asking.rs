//! A promised file from mirrors, one after another: each try goes on where the one before it ended.

use std::sync::atomic::Ordering;

use super::beside::{Course, Stop, begin_anew, unwanted};
use super::download::{Cut, Part, refusal};
use super::failover::{Failed, Turn, worse};
use super::mirror::Ask;
use super::sink::Sink;
use super::{Inner, bad_gateway, url};
use crate::limits::{FRUITLESS_TRIES, TRIES};
use crate::stream::{Failure, Head};

/// How a try ended that did not end well.
enum Try {
    /// The same URL may bring the rest.
    Again(String),
    /// Another mirror may have it.
    Elsewhere(Failed),
    /// Nothing will help.
    Stop(Failure),
    /// Peers have the rest.
    LetGo,
}

impl Inner {
    /// Fetches from one mirror after another.
    pub(super) fn ask_mirrors(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        until: Option<u64>,
    ) -> Result<Head, Stop> {
        let mut rounds = self.rounds(course.flight);
        let mut worst = None;
        while let Some(turn) = rounds.next() {
            let url = turn.url.as_str();
            match self.ask_one(course, sink, &turn, until) {
                Ok(head) => {
                    self.note_good(&rounds, url);
                    return Ok(head);
                }
                Err(Try::LetGo) => return Err(Stop::LetGo),
                Err(Try::Stop(failure)) => return Err(Stop::Failed(failure)),
                Err(Try::Again(why)) => {
                    self.note_bad(&rounds, url);
                    worst = Some(bad_gateway(why));
                }
                Err(Try::Elsewhere(failed)) => {
                    let failure = self.note_failed(&mut rounds, turn, failed);
                    worst = Some(worse(worst, failure));
                }
            }
        }
        let unknown = || bad_gateway(format!("no mirror is known for {}", course.digest));
        Err(Stop::Away(worst.unwrap_or_else(unknown)))
    }

    /// Fetches from one mirror, in several tries where none other can be asked.
    fn ask_one(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        turn: &Turn,
        until: Option<u64>,
    ) -> Result<Head, Try> {
        let url = turn.url.as_str();
        if turn.is_hurried {
            let tried = self.in_time(turn, || self.try_once(course, sink, turn, until));
            return tried.map_err(|error| match error {
                Try::Again(why) => {
                    let why = format!("{url}: {why} after {} bytes", sink.len());
                    Try::Elsewhere(Failed::Silent(bad_gateway(why)))
                }
                error => error,
            });
        }
        let (mut fruitless, mut last) = (0, String::new());
        for _ in 0..TRIES {
            if fruitless == FRUITLESS_TRIES {
                break;
            }
            let before = sink.len();
            match self.try_once(course, sink, turn, until) {
                Err(Try::Again(why)) => {
                    log::info!("{url}: {why} after {} bytes; trying again", sink.len());
                    fruitless = if sink.len() > before { 0 } else { fruitless + 1 };
                    last = why;
                }
                ended => return ended,
            }
        }
        Err(Try::Again(last))
    }

    /// One request and as much of its body as comes; with `until`, no more than up to there.
    fn try_once(
        &self,
        course: &mut Course<'_>,
        sink: &mut Sink<'_>,
        turn: &Turn,
        until: Option<u64>,
    ) -> Result<Head, Try> {
        let (flight, url) = (course.flight, turn.url.as_str());
        let from = sink.len();
        let known = sink.resumed_head();
        // Mirrors of one archive name the same file differently; whether it is the same, its digest says.
        let is_same_mirror = course.origin.as_deref().is_none_or(|origin| origin == url::origin(url));
        let ask = Ask {
            from,
            until: until.unwrap_or(0),
            same_as: known.as_ref().filter(|_| is_same_mirror),
            credentials: self.credentials(flight),
            ..Ask::default()
        };
        let mut answer = self.ask(flight, url, ask).map_err(|error| match course.is_let_go() {
            true => Try::LetGo,
            false => Try::Elsewhere(self.failed(flight, &error)),
        })?;
        let skip = match answer.status {
            200 if from > 0 && !begin_anew(course, sink) => from,
            200 => 0,
            206 if from > 0 || until.is_some() => 0,
            // There is nothing behind what is here: it was cut before its end could be told, not before it came.
            416 if from > 0 && answer.head.len == Some(from) && course.len.is_none_or(|len| len == from) => {
                let head = Head { len: Some(from), ..known.unwrap_or_default() };
                sink.begin(&head);
                return Ok(head);
            }
            416 if from > 0 && begin_anew(course, sink) => return Err(Try::Again("the mirror has less".into())),
            _ => return Err(Try::Elsewhere(Failed::Refused(refusal(url, &answer)))),
        };
        // Where the promise has no length, what clients were told must hold for whoever sends the rest, and so must what the
        // bytes before it came with.
        let begun = known.filter(|_| answer.status == 206).and_then(|head| head.len);
        let len = course.len.or(sink.told_len()).or(begun);
        if let (Some(promised), Some(sent)) = (len, answer.head.len)
            && promised != sent
        {
            let why = format!("{url} is {sent} bytes long, and {promised} were promised: not the same file");
            return Err(Try::Elsewhere(Failed::Nonsense(bad_gateway(why))));
        }
        flight.public.store(self.is_public(flight, &course.digest), Ordering::Relaxed);
        let head = answer.head.clone();
        sink.begin(&head);
        flight.from_mirror.store(true, Ordering::Relaxed);
        course.note_giver(url, &head);
        let total = len.or(head.len);
        self.join_swarm(course, sink, total);
        let part = Part { skip, total, until, is_hurried: turn.is_hurried };
        match self.copy_beside(flight, &mut answer, sink, part, course.swarm.as_ref()) {
            Ok(()) if until.is_some_and(|until| sink.len() >= until) => Ok(head),
            Ok(()) if total.is_none_or(|total| total == sink.len()) => Ok(head),
            Ok(()) => Err(Try::Again(format!("the mirror sent {} bytes of {total:?}", sink.len()))),
            Err(Cut::Mirror(_)) if course.is_let_go() => Err(Try::LetGo),
            // All of it is here; only the framing behind it has no end.
            Err(Cut::Mirror(_) | Cut::Slow) if total == Some(sink.len()) => Ok(head),
            Err(Cut::Mirror(why)) => Err(Try::Again(why)),
            Err(Cut::Slow) => Err(Try::Again("the mirror is slow".into())),
            Err(Cut::TooLong) => {
                // It is not the file; what clients have not seen of it is begun anew.
                begin_anew(course, sink);
                let why = format!("{url} sends more than it announced");
                Err(Try::Elsewhere(Failed::Nonsense(bad_gateway(why))))
            }
            Err(Cut::Unwanted) => Err(Try::Stop(unwanted())),
            Err(Cut::LetGo) => Err(Try::LetGo),
        }
    }
}
