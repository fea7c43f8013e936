//! Flights for what no index promises: kept by its name, and asked for again at each use.
//!
//! Its bytes cannot be checked, so they are shown as they come, a cut body is never kept, and a web page in place of a
//! package is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::beside::unwanted;
use super::board::Flight;
use super::download::{Cut, refusal};
use super::failover::{Failed, worse};
use super::mirror::{Answer, Ask, strong_validator};
use super::sink::{Landed, Sink};
use super::{Inner, News, bad_gateway, failure};
use crate::catalog::{self, Place};
use crate::limits::{FRUITLESS_TRIES, TRIES};
use crate::store::{FileMeta, NameRecord, Stored, Want};
use crate::stream::{Failure, Head};

impl Inner {
    pub(super) fn fetch_unplaced(&self, flight: &Flight, never_html: bool) {
        let known = self.known_unplaced(flight);
        let unless = known.as_ref().map(|(record, _)| &record.head);
        let mut last = None;
        let mut rounds = self.rounds(flight);
        while let Some(turn) = rounds.next() {
            let ask = Ask { unless, credentials: self.credentials(flight), ..Ask::default() };
            let url = turn.url.as_str();
            let failed = match self.in_time(&turn, || self.ask(flight, url, ask)) {
                Err(error) => self.failed(flight, &error),
                Ok(answer) if answer.status == 304 => match known {
                    Some((record, stored)) => return self.confirm_unplaced(flight, record, stored),
                    None => Failed::Nonsense(bad_gateway(format!("{url}: 304 without a condition"))),
                },
                Ok(answer) if answer.status == 200 && never_html && has_html(&answer.head) => {
                    let why = format!("{url} is a web page, not the file; is this a login page?");
                    Failed::Nonsense(bad_gateway(why))
                }
                Ok(mut answer) if answer.status == 200 => {
                    match self.take_unplaced(flight, url, &mut answer) {
                        true => self.note_good(&rounds, url),
                        false => self.note_bad(&rounds, url),
                    }
                    return;
                }
                Ok(answer) => Failed::Refused(refusal(url, &answer)),
            };
            last = Some(worse(last, self.note_failed(&mut rounds, turn, failed)));
        }
        let last = last.unwrap_or_else(|| bad_gateway("no mirror is known for it"));
        if last.status >= 500 {
            self.serve_known_unplaced(flight, &last);
        } else {
            self.give_up(flight, &last);
        }
    }

    fn known_unplaced(&self, flight: &Flight) -> Option<(NameRecord, Stored)> {
        let store = self.store()?;
        let record = store.name(flight.job.object.name()).ok()??;
        let stored = store.open_file(&record.digest, self.today()).ok()??;
        Some((record, stored))
    }

    fn confirm_unplaced(&self, flight: &Flight, record: NameRecord, stored: Stored) {
        let object = &flight.job.object;
        self.note_fresh(object.name());
        flight.stream.stored(stored.file, Head { len: Some(stored.len), ..record.head });
        if catalog::place(&object.path) == Place::Package {
            let (host, path) = (object.host.clone(), object.path.clone());
            self.tell(News::Package { host, path, came: flight.job.credentials.is_none() && !record.private });
        }
    }

    /// Whether the mirror did its part.
    fn take_unplaced(&self, flight: &Flight, url: &str, answer: &mut Answer) -> bool {
        let keep = answer.framed && answer.head.len.is_none_or(|len| self.keeps(len));
        let draft = if keep { self.draft(Want::Unknown) } else { None };
        let mut sink = Sink::new(&flight.stream, draft, None, None).keep_at_most((self.parts.keep_len_max)());
        flight.from_mirror.store(true, Ordering::Relaxed);
        let head = answer.head.clone();
        sink.begin(&head);
        let read = self.read_to_end(flight, url, answer, &mut sink);
        // That the client has left is no fault of the mirror's.
        let is_good = read.as_ref().err().is_none_or(|failure| failure.status == 503);
        match read {
            Ok(()) => self.keep_unplaced(flight, sink, head),
            Err(failure) => self.give_up(flight, &failure),
        }
        is_good
    }

    /// Reads the body; where it is cut, asks for the rest as long as the mirror still has the same.
    fn read_to_end(
        &self,
        flight: &Flight,
        url: &str,
        answer: &mut Answer,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let head = answer.head.clone();
        let mut fruitless = 0;
        for _ in 0..TRIES {
            let before = sink.len();
            let why = match self.copy(flight, answer, sink, 0, head.len) {
                Ok(()) if head.len.is_none_or(|len| len == sink.len()) => return Ok(()),
                Ok(()) => "it ended early".to_owned(),
                Err(Cut::Mirror(why)) => why,
                Err(Cut::LetGo | Cut::Slow) => unreachable!("only a promised file has peers, or is hurried"),
                Err(Cut::TooLong) => return Err(bad_gateway(format!("{url} sends more than it announced"))),
                Err(Cut::Unwanted) => return Err(unwanted()),
            };
            fruitless = if sink.len() > before { 0 } else { fruitless + 1 };
            // A weak one names several versions.
            let resumable = head.len.is_some() && strong_validator(&head).is_some();
            if !resumable || fruitless >= FRUITLESS_TRIES {
                return Err(bad_gateway(format!("{url}: {why} after {} bytes", sink.len())));
            }
            let ask = Ask {
                from: sink.len(),
                same_as: Some(&head),
                credentials: self.credentials(flight),
                ..Ask::default()
            };
            match self.ask(flight, url, ask) {
                Ok(rest) if rest.status == 206 && may_be_of(&rest.head, &head) => *answer = rest,
                Ok(_) => return Err(bad_gateway(format!("{url} changed while it was fetched"))),
                Err(error) => return Err(self.failure_of(flight, &error)),
            }
        }
        Err(bad_gateway(format!("{url} was cut {TRIES} times")))
    }

    fn keep_unplaced(&self, flight: &Flight, sink: Sink<'_>, head: Head) {
        let meta = FileMeta { owner: flight.owner(), head: head.clone(), public: false };
        let finished = match sink.finish(meta, self.today()) {
            Ok(Landed::Kept(finished)) => finished,
            Ok(Landed::Passed) => return,
            Ok(Landed::Wrong { got }) => unreachable!("nothing was promised, and yet {got} is wrong"),
            Err(error) => return self.give_up(flight, &failure(500, error.to_string())),
        };
        let object = &flight.job.object;
        let record = NameRecord {
            digest: finished.digest,
            len: finished.len,
            head,
            checked: self.today(),
            url: format!("{}/{}", object.host, object.path),
            private: flight.job.credentials.is_some(),
        };
        if let Some(store) = self.store()
            && let Err(error) = store.put_name(object.name(), &record)
        {
            log::warn!("{error}");
        }
        self.note_fresh(object.name());
        let (host, path) = (object.host.clone(), object.path.clone());
        self.tell(match catalog::place(&path) {
            Place::Package => News::Package { host, path, came: flight.job.credentials.is_none() },
            _ => News::Index { host, path, digest: finished.digest },
        });
    }

    /// The mirror is away: what is stored under the name serves, unless it needs credentials that nobody can check.
    pub(super) fn serve_known_unplaced(&self, flight: &Flight, failure: &Failure) {
        match self.known_unplaced(flight) {
            Some((record, stored)) if stored.owner.is_none() && !record.private => {
                log::warn!("{}; serving the {} that is stored", failure.reason, record.url);
                let file = Arc::clone(&stored.file);
                flight.stream.stored(file, Head { len: Some(stored.len), ..record.head });
            }
            _ => self.give_up(flight, failure),
        }
    }
}

/// Whether a part of a file may be of the one that began with this head: nothing that both say differs.
fn may_be_of(part: &Head, head: &Head) -> bool {
    fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    agree(part.len.as_ref(), head.len.as_ref())
        && agree(part.etag.as_ref(), head.etag.as_ref())
        && agree(part.last_modified.as_ref(), head.last_modified.as_ref())
}

/// A web page, by what its server calls it.
fn has_html(head: &Head) -> bool {
    head.content_type.as_deref().is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_another_version_is_none() {
        let head = |etag: Option<&str>, last_modified: Option<&str>| Head {
            len: Some(9),
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
            ..Head::default()
        };
        let begun = head(Some("\"1\""), Some("Sat, 01 Mar 2025 10:00:00 GMT"));
        assert!(
            may_be_of(&begun, &begun)
                && may_be_of(&head(None, None), &begun)
                && may_be_of(&head(Some("\"1\""), None), &begun)
        );
        assert!(!may_be_of(&head(Some("\"2\""), None), &begun));
        assert!(!may_be_of(&head(None, Some("Sun, 02 Mar 2025 10:00:00 GMT")), &begun));
        assert!(!may_be_of(&Head { len: Some(8), ..begun.clone() }, &begun));
        assert_eq!(strong_validator(&head(Some("W/\"1\""), None)), None);
    }
}
