//! What has to be done now and then: recording what was downloaded, keeping the cache within its size, waiting for a
//! disk, looking at the machine's networks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::control::Held;
use super::counting::Counter;
use super::live::Live;
use crate::edge::EdgeHandle;
use crate::fetch::{Calendar, Clock, News, Shelf};
use crate::limits::{NETWORK_WATCH_TIME, SIZE_CHECK_TIME, STORE_RETRY_TIME};
use crate::store::{Options, Store, SweepOptions};
use crate::time::Time;

/// How often it looks around.
const TURN: Duration = Duration::from_secs(1);

/// The upkeep thread's things.
pub(super) struct Upkeep {
    pub(super) shelf: Shelf,
    pub(super) live: Live,
    pub(super) clock: Clock,
    pub(super) calendar: Calendar,
    pub(super) news: Sender<Box<News>>,
    /// Who sends files, and sees first that one cannot be read.
    pub(super) edges: Vec<EdgeHandle>,
    /// What is to be looked at each second.
    pub(super) counter: Arc<Counter>,
    /// Whose lock on the cache folder is ours.
    pub(super) control: Held,
    /// Closed when the daemon ends.
    pub(super) end: Receiver<()>,
}

impl Upkeep {
    /// Works until the daemon ends.
    pub(super) fn run(&self) {
        let mut next_open = (self.clock)() + STORE_RETRY_TIME;
        let mut next_size_check = Time(0);
        let mut next_look = (self.clock)() + NETWORK_WATCH_TIME;
        let (mut told, mut unreadable, mut why) = (false, 0, String::new());
        while self.end.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
            let now = (self.clock)();
            self.counter.look();
            if now >= next_look {
                next_look = now + NETWORK_WATCH_TIME;
                self.live.look_at_networks();
            }
            let Some(store) = self.shelf.get() else {
                if now >= next_open {
                    next_open = now + STORE_RETRY_TIME;
                    self.open_store(&mut why);
                }
                continue;
            };
            let so_far = self.edges.iter().map(|edge| edge.stats().unreadable).sum();
            if std::mem::replace(&mut unreadable, so_far) != so_far {
                self.shelf.suspect();
            }
            if let Some(trouble) = self.trouble(&store) {
                log::error!(
                    "{trouble}; until that is mended everything passes through from the mirrors, and nothing is kept. No \
                     restart is needed"
                );
                self.shelf.clear();
                // What was opened is closed when the last download has let go of it; then it can be opened anew.
                (told, next_open) = (false, now + TURN);
                continue;
            }
            if !told {
                told = true;
                self.tell_known_suites(&store);
            }
            if let Err(error) = store.commit_due((self.calendar)()) {
                log::warn!("{error}");
                if error.is_of_disk() {
                    self.shelf.suspect();
                }
            }
            if now >= next_size_check {
                next_size_check = now + SIZE_CHECK_TIME;
                if let Err(error) = store.forget_dead_readers() {
                    log::warn!("{error}");
                }
                self.keep_within_size(&store);
            }
        }
    }

    /// What is wrong with the disk, if anything is: it is another one by now, or it was suspected with good reason.
    fn trouble(&self, store: &Store) -> Option<String> {
        if !store.is_in_place() {
            let folder = self.live.config().cache.display().to_string();
            return Some(format!("the cache in {folder} is gone, or another disk is mounted there"));
        }
        if !self.shelf.take_suspicion() {
            return None;
        }
        store.probe().err().map(|error| format!("the disk of the cache fails: {error}"))
    }

    /// Opens the store if that can be; otherwise says why not, where that is news.
    fn open_store(&self, told: &mut String) {
        let options = Options { dir: self.live.config().cache.clone() };
        match if self.has_lock_on(&options.dir) { Store::open_again(&options) } else { Store::open(&options) } {
            Ok(store) => {
                log::info!("the cache in {} can be used now", options.dir.display());
                told.clear();
                self.live.measure(&store);
                self.shelf.put(store);
            }
            Err(error) => {
                let why = error.to_string();
                if *told != why {
                    log::warn!("the cache cannot be used yet: {why}");
                }
                *told = why;
            }
        }
    }

    fn has_lock_on(&self, folder: &Path) -> bool {
        let held = self.control.lock().expect("no holder of the lock panics");
        held.as_ref().is_some_and(|place| place.is_of(folder))
    }

    /// An index whose learning was cut short is learnt now.
    fn tell_known_suites(&self, store: &Store) {
        match store.suites() {
            Ok(suites) => {
                for (host, dir) in suites {
                    self.news.try_send(Box::new(News::Release { host, dir })).ok();
                }
            }
            Err(error) => log::warn!("{error}"),
        }
    }

    fn keep_within_size(&self, store: &Store) {
        let max_bytes = self.live.bytes_max();
        let held = store.usage().and_then(|usage| Ok(usage.bytes.saturating_add(store.draft_bytes()?)));
        if !held.is_ok_and(|bytes| bytes > max_bytes) {
            return;
        }
        let options = SweepOptions {
            max_bytes: Some(max_bytes),
            grace: self.live.config().grace,
            now: (self.calendar)(),
            dry_run: false,
        };
        match store.sweep(&options) {
            Ok(report) => log::info!("the cache was over its size: {report}"),
            Err(error) => log::warn!("{error}"),
        }
    }
}
