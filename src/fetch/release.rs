//! Flights for Release files: revalidated with the mirror, understood before anybody gets them, and kept as snapshots.
//!
//! What is no Release (a captive portal's page, a cut file) is never kept and never shown. A Release with an older date
//! than the one we have replaces nothing. When the mirror is away, the newest snapshot serves of which everything that
//! clients use is stored.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::board::Flight;
use super::failover::{Failed, worse};
use super::mirror::{Answer, Ask};
use super::signed::Origin;
use super::{Inner, News, bad_gateway, failure, gateway_timeout};
use crate::catalog::{self, Release, ReleaseFile};
use crate::digest::NameHash;
use crate::limits::{COPY_LEN, RELEASE_LEN_MAX, RELEASE_TIME};
use crate::store::{FileMeta, Finished, NewSnapshot, Snapshot, Store, StoreError, Want};
use crate::stream::{Failure, Head};
use crate::time::Stamp;

impl Inner {
    pub(super) fn fetch_release(&self, flight: &Flight, dir: &str, file: ReleaseFile) {
        let host = &flight.job.object.host;
        let known = self.known_snapshot(flight, dir, file);
        if known.is_some() && flight.job.credentials.is_none() && self.is_away(host) {
            let away = gateway_timeout(format!("{host} did not answer just now"));
            return self.serve_known_release(flight, dir, file, &away);
        }
        let unless = known.as_ref().map(|snapshot| &snapshot.head);
        let mut last = None;
        let mut rounds = self.rounds(flight);
        while let Some(turn) = rounds.next() {
            let ask = Ask { unless, credentials: self.credentials(flight), ..Ask::default() };
            let tried = self.in_time(&turn, || match self.ask(flight, &turn.url, ask) {
                Err(error) => Err(self.failed(flight, &error)),
                Ok(mut answer) => {
                    let from = Origin { dir, file, url: Some(&turn.url) };
                    match (answer.status, &known) {
                        (304, Some(snapshot)) => {
                            self.give(flight, snapshot, from);
                            Ok(())
                        }
                        (200, _) => self.take_release(flight, from, &turn.url, &mut answer, known.as_ref()),
                        _ => Err(Failed::Refused(super::download::refusal(&turn.url, &answer))),
                    }
                }
            });
            match tried {
                Ok(()) => return self.note_good(&rounds, &turn.url),
                Err(failed) => last = Some(worse(last, self.note_failed(&mut rounds, turn, failed))),
            }
        }
        let last = last.unwrap_or_else(|| bad_gateway("no mirror is known for it"));
        if last.status >= 500 {
            self.serve_known_release(flight, dir, file, &last);
        } else {
            self.give_up(flight, &last);
        }
    }

    /// The newest snapshot that may be given out; none where its Release file is lost. What is older is not asked about: a
    /// mirror that is behind would confirm it, and it would stand in the place of the newer one.
    fn known_snapshot(&self, flight: &Flight, dir: &str, file: ReleaseFile) -> Option<Snapshot> {
        let store = self.store()?;
        let snapshots = store.snapshots(&flight.job.object.host, dir, file).ok()?;
        let from = Origin { dir, file, url: None };
        for snapshot in snapshots {
            let stored = store.open_file(&snapshot.digest, self.today()).ok().flatten()?;
            // What was stored before signatures were enforced must not stand in the way of what is right.
            if self.refused_stored(flight, from, (snapshot.digest, &stored)).is_none() {
                return Some(snapshot);
            }
        }
        None
    }

    /// Reads, understands and keeps a new Release file, and gives it out, unless the one that is known is newer.
    fn take_release(
        &self,
        flight: &Flight,
        from: Origin<'_>,
        url: &str,
        answer: &mut Answer,
        known: Option<&Snapshot>,
    ) -> Result<(), Failed> {
        let bytes = self.read_whole(url, answer)?;
        flight.from_mirror.store(true, Ordering::Relaxed);
        let release = catalog::parse_release(&bytes).map_err(|error| {
            Failed::Nonsense(bad_gateway(format!("{url} is no Release file ({error}); is this a login page?")))
        })?;
        if let Some(refused) = self.refused(flight, from, &bytes) {
            log::warn!("{}", refused.reason);
            return Err(Failed::Nonsense(refused));
        }
        let Some(store) = self.store() else {
            self.show_unkept(flight, answer.head.clone(), &bytes);
            return Ok(());
        };
        if let Some(known) =
            known.filter(|known| release.date.is_some_and(|date| known.outdates(Stamp(date), self.today())))
        {
            log::warn!("{} is older than the Release we have; keeping ours", flight.told());
            self.give(flight, known, Origin { url: None, ..from });
            return Ok(());
        }
        match self.keep_release(flight, &store, from, &release, &bytes, answer.head.clone()) {
            Ok(snapshot) => {
                // Whoever judges it reads it again, and a Release may have megabytes.
                drop((bytes, release));
                self.give(flight, &snapshot, from);
            }
            Err(error) => {
                log::warn!("{error}; the Release passes through without being kept");
                self.show_unkept(flight, answer.head.clone(), &bytes);
            }
        }
        Ok(())
    }

    pub(super) fn read_whole(&self, url: &str, answer: &mut Answer) -> Result<Vec<u8>, Failed> {
        let (begun, mut bytes, mut buffer) = (self.now(), Vec::new(), vec![0; COPY_LEN]);
        while bytes.len() <= RELEASE_LEN_MAX {
            let read = match answer.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::Silent(bad_gateway(format!("{url}: {error}")))),
            };
            bytes.extend_from_slice(&buffer[..read]);
            if self.now().since(begun) > RELEASE_TIME {
                let seconds = RELEASE_TIME.as_secs();
                let why = format!("{url} did not come within {seconds} s");
                return Err(Failed::Silent(gateway_timeout(why)));
            }
        }
        let len = bytes.len() as u64;
        self.count(|received| received.bytes += len);
        if len > RELEASE_LEN_MAX as u64 {
            let why = format!("{url} is longer than any Release file ({RELEASE_LEN_MAX} bytes)");
            return Err(Failed::Nonsense(bad_gateway(why)));
        }
        if answer.head.len.is_some_and(|announced| announced != len) {
            return Err(Failed::Nonsense(bad_gateway(format!("{url} ended early, after {len} bytes"))));
        }
        Ok(bytes)
    }

    fn keep_release(
        &self,
        flight: &Flight,
        store: &Store,
        Origin { dir, file, .. }: Origin<'_>,
        release: &Release,
        bytes: &[u8],
        head: Head,
    ) -> Result<Snapshot, StoreError> {
        let host = &flight.job.object.host;
        let mut draft = store.draft(Want::Unknown)?;
        draft.append(bytes)?;
        let meta = FileMeta { owner: flight.owner(), head: head.clone(), public: false };
        let Finished { digest, len, .. } = draft.finish(meta, self.today()).map_err(StoreError::from)?;
        let new = NewSnapshot {
            digest,
            len,
            date: Stamp(release.date.unwrap_or(0)),
            fetched: self.today(),
            head,
            by_hash: release.acquire_by_hash,
            origin: release.origin.clone(),
        };
        let entries = release.files.iter().map(|entry| {
            let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
            (NameHash::of(host, &path), entry.promise)
        });
        store.add_snapshot(host, dir, file, new, entries)
    }

    /// Hands a snapshot's Release file to those who wait, if it may be.
    fn give(&self, flight: &Flight, snapshot: &Snapshot, from: Origin<'_>) {
        let host = flight.job.object.host.clone();
        let stored = self.store().and_then(|store| store.open_file(&snapshot.digest, self.today()).ok().flatten());
        let Some(stored) = stored else {
            return self.give_up(flight, &failure(503, "the stored Release file is gone; ask again"));
        };
        if let Some(refused) = self.refused_stored(flight, from, (snapshot.digest, &stored)) {
            return self.give_up(flight, &refused);
        }
        // Set before anybody sees it, who may ask again at once.
        if from.url.is_some() {
            self.note_fresh(flight.job.object.name());
        }
        // Set before the stream is: whoever sees the outcome sees the snapshot.
        flight.snapshot.set(snapshot.id).ok();
        flight.stream.stored(Arc::clone(&stored.file), Head { len: Some(stored.len), ..snapshot.head.clone() });
        // Who uses a suite of which nothing changes any more asks for its Release alone.
        if let Some(store) = self.store()
            && let Err(error) = store.mark_wanted(&host, from.dir, flight.job.object.name(), self.today())
        {
            log::debug!("{error}");
        }
        self.tell(News::Release { host, dir: from.dir.to_owned() });
        self.report(flight, from, (snapshot.digest, &stored));
    }

    /// The mirror is away: the newest set of which everything is here, else the newest.
    pub(super) fn serve_known_release(&self, flight: &Flight, dir: &str, file: ReleaseFile, failure: &Failure) {
        let host = &flight.job.object.host;
        let from = Origin { dir, file, url: None };
        let choice = self.store().and_then(|store| {
            let snapshots = store.snapshots(host, dir, file).ok()?;
            let here = |s: &&Snapshot| {
                let stored = store.open_file(&s.digest, self.today()).ok().flatten();
                // Nobody can say any more whether these credentials are still good.
                stored.is_some_and(|stored| {
                    stored.owner.is_none() && self.refused_stored(flight, from, (s.digest, &stored)).is_none()
                })
            };
            let complete = |s: &&Snapshot| store.is_complete(host, dir, s, self.today()).unwrap_or(false);
            let best = snapshots.iter().filter(here).find(complete).or_else(|| snapshots.iter().find(here));
            best.cloned()
        });
        match choice {
            Some(snapshot) => {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(snapshot.date.0));
                log::warn!("{}; serving the {} of {date} that is stored", failure.reason, flight.told());
                self.give(flight, &snapshot, from);
            }
            None => self.give_up(flight, failure),
        }
    }

    /// Without a disk: the whole Release from memory.
    fn show_unkept(&self, flight: &Flight, head: Head, bytes: &[u8]) {
        let mut sink = super::sink::Sink::new(&flight.stream, None, None, None);
        sink.begin(&Head { len: Some(bytes.len() as u64), ..head });
        for chunk in bytes.chunks(crate::limits::COPY_LEN) {
            if sink.append(chunk).is_err() {
                break;
            }
        }
        if let Err(error) = sink.finish(FileMeta::default(), self.today()) {
            self.give_up(flight, &failure(500, error.to_string()));
        }
    }
}
