//! The numbers of the page, of `status` and of `/metrics`: counted where they arise, put together here.

use std::sync::{Arc, Mutex};

use super::clock::today;
use super::live::Live;
use super::udp::{DhtHandle, DhtReport};
use crate::config::Share;
use crate::dht::{Family, Network};
use crate::digest::Digest;
use crate::edge::{EdgeHandle, Stats};
use crate::fetch::{Clock, Fetcher, Shelf, UnderWay};
use crate::lan::Neighbours;
use crate::limits::{
    ARCHIVES_TOLD_LEN, CLOCK_SLACK_S, DAMAGE_TIME_S, DISK_FREE_MIN, FLIGHT_NAME_LEN, FLIGHTS_TOLD, SIGNED_TOLD_LEN,
    SLOW_NUMBERS_TIME,
};
use crate::report::{self, Archive, Dht, Flight, History, Numbers, Sharing, counted, is_reached};
use crate::signatures::Verdict;
use crate::store::{Damage, Store};
use crate::time::{Stamp, Time};
use crate::troubles;

/// Counts what there is to count.
pub(super) type Count = Arc<dyn Fn() -> Numbers + Send + Sync>;

/// Where things are counted.
struct Sources {
    live: Live,
    shelf: Shelf,
    fetcher: Fetcher,
    edge: EdgeHandle,
    /// None when no peer is served.
    peers: Option<(EdgeHandle, u16)>,
    dht: Option<DhtHandle>,
    neighbours: Neighbours,
    /// That of the machine's uptime.
    clock: Clock,
}

/// What counts, and its numbers; `clock` is that of the machine's uptime.
pub(super) fn count(
    live: &Live,
    (shelf, fetcher): (&Shelf, &Fetcher),
    (edge, peer_edge): (&EdgeHandle, Option<&EdgeHandle>),
    (dht, peer_port, neighbours): (Option<&DhtHandle>, Option<u16>, Neighbours),
    clock: &Clock,
) -> (Arc<Counter>, Count) {
    let (live, shelf, fetcher, clock) = (live.clone(), shelf.clone(), fetcher.clone(), Arc::clone(clock));
    let (edge, peers, dht) = (edge.clone(), peer_edge.cloned().zip(peer_port), dht.cloned());
    let counter = Arc::new(Counter::new(Sources { live, shelf, fetcher, edge, peers, dht, neighbours, clock }));
    (Arc::clone(&counter), Arc::new(move || counter.numbers()))
}

/// What is counted, and what is wrong, at the moment it is asked.
pub(super) struct Counter {
    sources: Sources,
    start: Time,
    history: Mutex<History>,
    slow: Mutex<(Option<Time>, Slow)>,
}

/// What takes a look at the disk, or a word with another thread.
#[derive(Clone, Default)]
struct Slow {
    /// Known suites, some of them told.
    archives: (usize, Vec<Archive>),
    bytes_free: Option<u64>,
    dht: Option<Dht>,
}

impl Counter {
    fn new(sources: Sources) -> Counter {
        let start = (sources.clock)();
        Counter { sources, start, history: Mutex::new(History::new(start)), slow: Mutex::default() }
    }

    /// Looks how fast downloads are, and what belongs to the step of the history that is over; called once a second.
    pub(super) fn look(&self) {
        self.sources.fetcher.look_at_flights();
        let traffic = self.counters().traffic();
        let mut history = self.history.lock().expect("no holder of the lock panics");
        history.note((self.sources.clock)(), traffic);
    }

    /// All of it.
    fn numbers(&self) -> Numbers {
        let sources = &self.sources;
        let mut numbers = self.counters();
        numbers.history = self.history.lock().expect("no holder of the lock panics").steps(numbers.traffic());
        numbers.now = today();
        let flights = sources.fetcher.under_way();
        numbers.downloads = flights.len();
        numbers.flights = flights.into_iter().take(FLIGHTS_TOLD).map(flight).collect();
        numbers.sharing = self.sharing();
        numbers.bytes_max = sources.live.bytes_max();
        numbers.troubles = troubles::last();
        let store = sources.shelf.get();
        let slow = self.slow(store.as_ref());
        (numbers.archives_known, numbers.archives) = slow.archives;
        (numbers.bytes_free, numbers.sharing.dht) = (slow.bytes_free, slow.dht);
        match &store {
            Some(store) => {
                numbers.stored = store.held().ok().map(|usage| (usage.files, usage.bytes));
                let damage = store.damage().unwrap_or_default();
                numbers.damaged = damage.files;
                numbers.problems.extend(disk_problem(damage, numbers.now));
            }
            None => numbers.problems.push(format!(
                "The cache folder {} cannot be used, so nothing is kept and everything comes from the mirrors. The log says \
                 why; it is used again by itself when that is mended.",
                sources.live.config().cache.display()
            )),
        }
        let more = [full_disk(&numbers), clock_behind(&numbers), self.unshared(&numbers.sharing)];
        numbers.problems.extend(more.into_iter().flatten());
        numbers
    }

    /// What is only read.
    fn counters(&self) -> Numbers {
        let Sources { edge, peers, fetcher, clock, .. } = &self.sources;
        let (stats, from_peers) = (edge.stats(), fetcher.from_peers());
        Numbers {
            uptime_s: clock().since(self.start).as_secs(),
            connections: stats.connections,
            requests: stats.requests,
            hits: stats.hits,
            joined: stats.joined,
            misses: stats.misses,
            bytes_from_mirrors: fetcher.received().bytes,
            bytes_from_neighbours: from_peers.neighbours,
            bytes_from_strangers: from_peers.strangers,
            liars: from_peers.liars,
            bytes_to_peers: peers.as_ref().map(|(edge, _)| edge.stats().bytes_sent()),
            ..Numbers::default()
        }
    }

    fn sharing(&self) -> Sharing {
        let Sources { live, peers, neighbours, .. } = &self.sources;
        let config = live.config();
        let stats = peers.as_ref().map_or_else(Stats::default, |(edge, _)| edge.stats());
        Sharing {
            with: match config.sharing.share {
                Share::Internet => "internet",
                Share::Lan => "lan",
                Share::Off => "off",
            },
            port: peers.as_ref().map(|(_, port)| *port),
            connections: stats.connections,
            neighbours: super::finding::joined(&config.neighbours, &neighbours.announced()).len(),
            dht: None,
        }
    }

    /// Sharing that is wanted and does not go on.
    fn unshared(&self, sharing: &Sharing) -> Option<String> {
        let config = self.sources.live.config();
        let is_missing = match config.sharing.share {
            Share::Internet => sharing.port.is_none() || self.sources.dht.is_none(),
            Share::Lan => sharing.port.is_none(),
            Share::Off => false,
        };
        is_missing.then(|| {
            format!(
                "Nothing is shared as it should be, for {} cannot be used: does another apt-p2p run? Another address can be \
                 given with --peer-listen.",
                config.sharing.peer_listen
            )
        })
    }

    /// At most a few seconds old; who finds another looking takes what there is.
    fn slow(&self, store: Option<&Store>) -> Slow {
        let now = (self.sources.clock)();
        {
            let mut known = self.slow.lock().expect("no holder of the lock panics");
            if known.0.is_some_and(|at| now.since(at) < SLOW_NUMBERS_TIME) {
                return known.1.clone();
            }
            known.0 = Some(now);
        }
        let slow = Slow {
            archives: store.map(|store| self.archives(store)).unwrap_or_default(),
            bytes_free: store.and_then(|store| store.bytes_free().ok()),
            dht: self.sources.dht.as_ref().and_then(DhtHandle::report).as_ref().map(dht),
        };
        self.slow.lock().expect("no holder of the lock panics").1 = slow.clone();
        slow
    }

    fn archives(&self, store: &Store) -> (usize, Vec<Archive>) {
        archives(store, &|host, dir, release| self.sources.fetcher.signed_by(host, dir, release))
    }
}

fn flight(flight: UnderWay) -> Flight {
    let UnderWay { object, here, len, rate, from_peers, is_waiting } = flight;
    let name = cut(format!("{}/{}", object.host, object.path), FLIGHT_NAME_LEN);
    Flight { name, here, len, rate, from_peers, is_waiting }
}

fn cut(mut text: String, len: usize) -> String {
    if text.len() > len {
        let end = (0..=len).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Who signed a Release: by host, folder and file.
type SignedBy<'a> = &'a dyn Fn(&str, &str, &Digest) -> Option<Verdict>;

/// How many there are, and as many of them as fit an answer.
fn archives(store: &Store, signed_by: SignedBy<'_>) -> (usize, Vec<Archive>) {
    let all = store.newest_releases().unwrap_or_default();
    let (count, mut room) = (all.len(), ARCHIVES_TOLD_LEN);
    let told = all.into_iter().map_while(|(host, dir, newest)| {
        // What came with credentials may have a name that is one.
        let is_private = store.may_be_private(&newest.digest).unwrap_or(true);
        let name = if is_private { format!("{host}/…") } else { format!("{host}/{dir}") };
        let verdict = signed_by(&host, &dir, &newest.digest);
        let signed = verdict.map(|verdict| cut(verdict.to_string(), SIGNED_TOLD_LEN));
        room = room.saturating_sub(name.len() + signed.as_ref().map_or(0, String::len) + 1);
        let is_whole = room > 0 && store.is_complete(&host, &dir, &newest, today()).unwrap_or(false);
        (room > 0).then_some(Archive { name, date: newest.date, is_whole, signed })
    });
    (count, told.collect())
}

/// The overlay's part of it, which is where packages are found.
fn dht(report: &DhtReport) -> Dht {
    let nodes = report.nodes.iter().filter(|node| node.network == Network::Overlay);
    let families = nodes.map(|node| {
        let family = match node.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        (family, is_reached(node.reach), node.contacts)
    });
    let bytes = report.datagrams.bytes_sent.saturating_add(report.datagrams.bytes_received);
    Dht {
        network: report.network.clone(),
        families: families.collect(),
        files: (report.traffic.own, report.traffic.announced),
        bytes_a_day: bytes.saturating_mul(86_400) / report.uptime.as_secs().max(1),
    }
}

/// What to do about a disk that spoils files; old stories are none.
fn disk_problem(damage: Damage, now: Stamp) -> Option<String> {
    let is_new = damage.files > 0 && now.secs_since(damage.last) < DAMAGE_TIME_S;
    let files = counted(usize::try_from(damage.files).unwrap_or(usize::MAX), "file", "files");
    is_new.then(|| {
        format!(
            "The disk has spoilt {files} of the cache, the last within a week. They are fetched again; look at the disk, \
             for example with smartctl -a, and run apt-p2p verify."
        )
    })
}

fn full_disk(numbers: &Numbers) -> Option<String> {
    let free = numbers.bytes_free.filter(|free| *free < DISK_FREE_MIN)?;
    Some(format!(
        "The disk of the cache is full ({} free): nothing new is kept. Make room on it, or let old packages go with \
         apt-p2p cleanup --max-size SIZE.",
        report::amount(free)
    ))
}

/// No Release is dated after the day on which it is read.
fn clock_behind(numbers: &Numbers) -> Option<String> {
    let newest = numbers.archives.iter().map(|archive| archive.date).max()?;
    (newest.secs_since(numbers.now) > CLOCK_SLACK_S).then(|| {
        "This machine's clock is behind: an archive is newer than its today. Set it, or have it set by NTP; cleanup waits \
         for that."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ReleaseFile;
    use crate::store::test_dir::TestDir;
    use crate::store::{FileMeta, Finished, NewSnapshot, Options, Want};

    const NOW: Stamp = Stamp(1_700_000_000);

    fn open(dir: &TestDir) -> Store {
        Store::open(&Options { dir: dir.path().to_owned() }).expect("a store in a scratch folder")
    }

    /// Stores a Release, and says which file it is.
    fn add(store: &Store, dir: &str, owner: Option<&str>) -> Digest {
        let mut draft = store.draft(Want::Unknown).expect("a draft");
        draft.append(dir.as_bytes()).expect("room");
        let meta = FileMeta { owner: owner.map(str::to_owned), ..FileMeta::default() };
        let Finished { digest, len, .. } = draft.finish(meta, NOW).expect("right");
        let new = NewSnapshot {
            digest,
            len,
            date: NOW,
            fetched: NOW,
            head: Default::default(),
            by_hash: false,
            origin: None,
        };
        store.add_snapshot("h", dir, ReleaseFile::InRelease, new, std::iter::empty()).expect("an index");
        store.commit(NOW).expect("recorded");
        digest
    }

    #[test]
    fn what_needed_credentials_is_told_by_its_host_alone_also_when_its_release_is_lost() {
        let dir = TestDir::new();
        let store = open(&dir);
        add(&store, "public/dists/x", None);
        add(&store, "secret/dists/x", Some("h"));
        std::fs::remove_dir_all(dir.path().join("files")).expect("a folder");
        let (count, told) = archives(&store, &|_, _, _| None);
        let mut names: Vec<String> = told.into_iter().map(|archive| archive.name).collect();
        names.sort();
        assert_eq!((count, names), (2, vec!["h/public/dists/x".to_owned(), "h/…".to_owned()]));
    }

    #[test]
    fn who_signs_an_archive_is_that_file_s_and_keeps_no_other_from_being_told() {
        let dir = TestDir::new();
        let store = open(&dir);
        let digests: Vec<Digest> = (0..20).map(|n| add(&store, &format!("{n:02}/dists/x"), None)).collect();
        let signed_by = |_: &str, dir: &str, release: &Digest| {
            let n: usize = dir[..2].parse().expect("a number");
            assert_eq!(*release, digests[n]);
            Some(Verdict::Untrusted("é".repeat(1000 * n)))
        };
        let (count, told) = archives(&store, &signed_by);
        assert_eq!((count, told.len()), (20, 20));
        let signed = |archive: &Archive| archive.signed.clone().unwrap_or_default();
        assert!(told.iter().all(|archive| signed(archive).len() <= SIGNED_TOLD_LEN + "…".len()));
    }
}
