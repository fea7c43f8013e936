//! Several mirrors for one archive: in which order they are asked, and who is asked later since it failed or was slow.
//!
//! Owns that memory. Refuses to leave anybody out: who rests is asked after the others, and who was only slow is asked again,
//! with patience, when no other gives the file.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use super::board::Flight;
use super::mirror::MirrorError;
use super::{Inner, Object, let_go, url};
use crate::limits::{MIRROR_HURRY_TIME, MIRROR_REST_MAX, MIRROR_REST_TIME, MIRRORS_KNOWN};
use crate::stream::Failure;
use crate::time::Time;

/// Mirrors that rest, by where they are asked: scheme, host and port.
#[derive(Default)]
pub(super) struct Resting(Mutex<HashMap<String, Rest>>);

#[derive(Clone, Copy)]
struct Rest {
    until: Time,
    /// How long it was; the next one in a row is twice as long.
    len: Duration,
}

/// The mirrors of one object, in the order in which they are asked.
pub(super) struct Rounds {
    queue: VecDeque<Turn>,
    /// Whether there are more than one.
    several: bool,
}

/// How a mirror failed.
pub(super) enum Failed {
    /// It cannot be reached.
    Away(Failure),
    /// It fell silent.
    Silent(Failure),
    /// It answered with a status that is no file.
    Refused(Failure),
    /// It answered with what cannot be used.
    Nonsense(Failure),
    /// It must not be asked.
    Private(Failure),
}

/// A mirror that is asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) url: String,
    /// Another can be asked: this one must not be slow.
    pub(super) is_hurried: bool,
    is_second: bool,
}

impl Resting {
    /// Puts those that rest behind the others, whose turn comes first before whose turn comes later.
    fn order(&self, urls: &mut [String], now: Time) {
        let resting = self.0.lock().expect("no holder of the lock panics");
        let until = |url: &str| resting.get(url::origin(url)).map_or(Time(0), |rest| rest.until);
        urls.sort_by_key(|url| Some(until(url)).filter(|until| *until > now));
    }

    /// It failed, or was slow; it is the longer asked later the oftener that is so.
    fn rest(&self, url: &str, now: Time) {
        let mut resting = self.0.lock().expect("no holder of the lock panics");
        let origin = url::origin(url);
        if resting.len() >= MIRRORS_KNOWN && !resting.contains_key(origin) {
            resting.retain(|_, rest| rest.until > now);
        }
        if resting.len() >= MIRRORS_KNOWN && !resting.contains_key(origin) {
            return;
        }
        let len = resting.get(origin).map_or(MIRROR_REST_TIME, |rest| (rest.len * 2).min(MIRROR_REST_MAX));
        resting.insert(origin.to_owned(), Rest { until: now + len, len });
    }

    fn forgive(&self, url: &str) {
        self.0.lock().expect("no holder of the lock panics").remove(url::origin(url));
    }

    fn is_resting(&self, url: &str, now: Time) -> bool {
        let resting = self.0.lock().expect("no holder of the lock panics");
        resting.get(url::origin(url)).is_some_and(|rest| rest.until > now)
    }
}

impl Rounds {
    fn new(urls: Vec<String>) -> Rounds {
        let first = urls.first().map_or("", |url| url::origin(url));
        let several = urls.iter().any(|url| url::origin(url) != first);
        let turn = |url| Turn { url, is_hurried: false, is_second: false };
        Rounds { queue: urls.into_iter().map(turn).collect(), several }
    }

    /// The next mirror.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let turn = self.queue.pop_front()?;
        let origin = url::origin(&turn.url);
        let is_hurried =
            !turn.is_second && self.queue.iter().any(|later| !later.is_second && url::origin(&later.url) != origin);
        Some(Turn { is_hurried, ..turn })
    }

    /// It was too slow for one that is hurried: its second turn comes after all others.
    pub(super) fn again(&mut self, turn: Turn) {
        self.queue.push_back(Turn { is_second: true, ..turn });
    }

    /// It cannot be reached: what else it was to be asked for it is not.
    pub(super) fn skip(&mut self, url: &str) {
        if self.several {
            self.queue.retain(|later| url::origin(&later.url) != url::origin(url));
        }
    }
}

impl Inner {
    /// Where the flight's object can be had, best first: by hash, which stays when the mirror moves on, and who rests last.
    pub(super) fn urls(&self, flight: &Flight) -> Vec<String> {
        let object = &flight.job.object;
        let mut urls = Vec::new();
        if let Some(path) = &flight.job.by_hash {
            urls.extend((self.parts.upstreams)(&Object { path: path.clone(), ..object.clone() }));
        }
        urls.extend((self.parts.upstreams)(object));
        self.resting.order(&mut urls, self.now());
        urls
    }

    pub(super) fn rounds(&self, flight: &Flight) -> Rounds {
        Rounds::new(self.urls(flight))
    }

    /// A mirror failed, or was slow. Only where there are others does it matter: no client can fill the memory.
    pub(super) fn note_bad(&self, rounds: &Rounds, url: &str) {
        if rounds.several {
            self.resting.rest(url, self.now());
        }
    }

    /// A mirror gave what it was to give.
    pub(super) fn note_good(&self, rounds: &Rounds, url: &str) {
        if rounds.several {
            self.resting.forgive(url);
        }
    }

    /// Does `work` in no more time than this turn leaves.
    pub(super) fn in_time<T>(&self, turn: &Turn, work: impl FnOnce() -> T) -> T {
        if turn.is_hurried { let_go::hurried(MIRROR_HURRY_TIME, work) } else { work() }
    }

    pub(super) fn failed(&self, flight: &Flight, error: &MirrorError) -> Failed {
        let failure = self.failure_of(flight, error);
        match error {
            MirrorError::Away(_) => Failed::Away(failure),
            MirrorError::Silent(_) => Failed::Silent(failure),
            MirrorError::Private(_) => Failed::Private(failure),
            MirrorError::Nonsense(_) => Failed::Nonsense(failure),
        }
    }

    /// Draws from a failure whether and when this mirror is asked again; the failure, for whom no other helps.
    pub(super) fn note_failed(&self, rounds: &mut Rounds, turn: Turn, failed: Failed) -> Failure {
        let (failure, is_bad) = match &failed {
            Failed::Refused(failure) => (failure, matches!(failure.status, 429 | 500..)),
            Failed::Private(failure) => (failure, false),
            Failed::Away(failure) | Failed::Silent(failure) | Failed::Nonsense(failure) => (failure, true),
        };
        let failure = failure.clone();
        if is_bad {
            self.note_bad(rounds, &turn.url);
        }
        match failed {
            Failed::Away(_) => rounds.skip(&turn.url),
            Failed::Silent(_) if turn.is_hurried => {
                log::info!("{}; another mirror is asked", failure.reason);
                rounds.again(turn);
            }
            Failed::Silent(_) => rounds.skip(&turn.url),
            Failed::Refused(_) | Failed::Nonsense(_) | Failed::Private(_) => {}
        }
        failure
    }

    /// Whether a mirror that neither rests nor is one of these could still have the flight's object.
    pub(super) fn has_fresh_mirror(&self, flight: &Flight, givers: &[String]) -> bool {
        let (urls, now) = (self.urls(flight), self.now());
        let is_giver = |url: &String| givers.iter().any(|giver| url::origin(giver) == url::origin(url));
        urls.first().is_some_and(|url| !is_giver(url) && !self.resting.is_resting(url, now))
    }
}

/// Of two failures the one that says more: that something is there but wrong says more than that it is not there.
pub(super) fn worse(former: Option<Failure>, latter: Failure) -> Failure {
    match former {
        Some(former) if says_little(&latter) && !says_little(&former) => former,
        _ => latter,
    }
}

/// It is not there, or must not be asked for there.
fn says_little(failure: &Failure) -> bool {
    matches!(failure.status, 403 | 404 | 410)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("http://{name}.example.org/x")).collect()
    }

    fn ordered(resting: &Resting, now: Time) -> Vec<String> {
        let mut all = urls(&["a", "b", "c"]);
        resting.order(&mut all, now);
        all
    }

    #[test]
    fn who_failed_is_asked_later_for_a_while_and_the_longer_the_oftener() {
        let resting = Resting::default();
        let first = MIRROR_REST_TIME;
        resting.rest("http://a.example.org/y", Time(0));
        assert_eq!(ordered(&resting, Time(1)), urls(&["b", "c", "a"]));
        resting.rest("http://b.example.org/y", Time(5));
        assert_eq!(ordered(&resting, Time(6)), urls(&["c", "a", "b"]));
        let later = Time(6) + first;
        assert_eq!(ordered(&resting, later), urls(&["a", "b", "c"]));
        resting.rest("http://a.example.org/y", later);
        assert_eq!(ordered(&resting, later + first), urls(&["b", "c", "a"]), "the second time is longer");
        assert_eq!(ordered(&resting, later + first * 2), urls(&["a", "b", "c"]));
        for n in 0..20 {
            resting.rest("http://a.example.org/y", Time(n));
        }
        assert!(resting.is_resting("http://a.example.org/", Time(20) + MIRROR_REST_MAX - first));
        assert!(!resting.is_resting("http://a.example.org/", Time(20) + MIRROR_REST_MAX));
        assert!(!resting.is_resting("https://a.example.org/", Time(20)), "another port");
        resting.rest("http://c.example.org/y", Time(20));
        resting.forgive("http://c.example.org/z");
        assert!(!resting.is_resting("http://c.example.org/", Time(20)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let resting = Resting::default();
        for n in 0..MIRRORS_KNOWN + 5 {
            resting.rest(&format!("http://{n}.example.org/"), Time(0));
        }
        assert_eq!(resting.0.lock().expect("no panic").len(), MIRRORS_KNOWN);
        resting.rest("http://new.example.org/", Time(0) + MIRROR_REST_TIME);
        assert_eq!(resting.0.lock().expect("no panic").len(), 1, "those that rest no more make room");
    }

    #[test]
    fn all_but_the_last_are_hurried_and_the_slow_have_a_second_turn() {
        let mut rounds = Rounds::new(urls(&["a", "b", "a"]));
        let first = rounds.next().expect("three");
        assert!(first.is_hurried);
        rounds.again(first);
        let turns: Vec<_> = std::iter::from_fn(|| rounds.next()).map(|turn| (turn.url, turn.is_hurried)).collect();
        let expected: Vec<_> = urls(&["b", "a", "a"]).into_iter().zip([true, false, false]).collect();
        assert_eq!(turns, expected);
    }

    #[test]
    fn one_mirror_alone_is_never_hurried_nor_skipped() {
        let mut rounds = Rounds::new(urls(&["a", "a"]));
        assert!(!rounds.next().expect("two").is_hurried);
        rounds.skip("http://a.example.org/x");
        assert!(rounds.next().is_some());
        let mut rounds = Rounds::new(urls(&["a", "b", "a"]));
        let first = rounds.next().expect("three");
        rounds.skip(&first.url);
        assert_eq!(rounds.next().map(|turn| (turn.url, turn.is_hurried)), Some((urls(&["b"]).remove(0), false)));
        assert_eq!(rounds.next(), None);
    }
}
