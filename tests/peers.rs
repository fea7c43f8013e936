//! Files from a mirror and from peers at once, through the real fetcher: honest peers, and all the others.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::{Digest, PIECE_LEN};
use apt_p2p::fetch::{self, Fetcher, Finder, Flight, Goal, Job, Lead, Object, Parts, Prefer, Wish};
use apt_p2p::limits::{FETCH_THREADS, PEER_FETCH_THREADS};
use apt_p2p::store::{Options, Shelf, Store, Want};
use apt_p2p::stream::{Head, Outcome, Step};
use apt_p2p::time::{Stamp, Time};
use support::mirror::{DATE, Fault, Mirror};
use support::peer::{Habit, Peer};
use support::{Scratch, noise};

/// A fetcher with neighbours and strangers, and a mirror.
struct House {
    _scratch: Scratch,
    store: Store,
    mirror: Mirror,
    fetcher: Fetcher,
    /// What was looked up.
    lookups: Arc<Mutex<Vec<Digest>>>,
}

#[derive(Default)]
struct With {
    neighbours: Vec<SocketAddr>,
    strangers: Vec<SocketAddr>,
    prefer: Prefer,
    hint: Option<Vec<apt_p2p::digest::Midstate>>,
    /// How many times faster its clock goes, and once more.
    haste: u64,
}

impl House {
    fn new(with: With) -> House {
        let scratch = Scratch::new();
        let store = Store::open(&Options { dir: scratch.path().join("cache") }).expect("a store");
        House::on(scratch, store, with)
    }

    fn on(scratch: Scratch, store: Store, with: With) -> House {
        let mirror = Mirror::start();
        let shelf = Shelf::from(store.clone());
        let With { neighbours, strangers, prefer, hint, haste } = with;
        let lookups = Arc::new(Mutex::new(Vec::new()));
        let looked_up = Arc::clone(&lookups);
        let finder = Finder {
            neighbours: Arc::new(move || neighbours.clone()),
            lookup: Arc::new(move |digest| {
                looked_up.lock().expect("no panic").push(*digest);
                let (leads, found) = crossbeam_channel::bounded(64);
                hint.iter().for_each(|hint| leads.send(Lead::Table(hint.clone())).expect("room"));
                strangers.iter().for_each(|peer| leads.send(Lead::Peer(*peer)).expect("room"));
                Some(Box::new(move || found.try_recv()))
            }),
            wire_name: Arc::new(ToString::to_string),
            prefer,
            node: [0; 20],
            landed: Arc::new(|_| ()),
        };
        let start = Instant::now();
        let (news, _) = crossbeam_channel::bounded(1);
        let (fetcher, _names) = Fetcher::new(Parts {
            shelf,
            upstreams: Arc::new(|object| vec![format!("http://{}/{}", object.host, object.path)]),
            allowed: Arc::new(|_, _| true),
            ours: Arc::new([]),
            proxy: None,
            clock: Arc::new(move || Time(u64::try_from(start.elapsed().as_millis()).expect("short") * (1 + haste))),
            calendar: Arc::new(|| Stamp(1_740_823_200)),
            keep_len_max: Arc::new(|| u64::MAX),
            news,
            finder: Some(finder),
            signatures: fetch::Signatures {
                judge: Arc::new(apt_p2p::signatures::Judge::new(Arc::new(Vec::new))),
                policy: Arc::new(|| fetch::Policy::Off),
            },
            prefetch: apt_p2p::fetch::Prefetch::Night,
            is_night: Arc::new(|| true),
            is_public: Arc::new(|_, _| true),
        });
        for _ in 0..FETCH_THREADS {
            let fetcher = fetcher.clone();
            thread::spawn(move || fetcher.work());
        }
        for _ in 0..PEER_FETCH_THREADS {
            let fetcher = fetcher.clone();
            thread::spawn(move || fetcher.work_peers());
        }
        House { _scratch: scratch, store, mirror, fetcher, lookups }
    }

    fn start(&self, content: &[u8], len: Option<u64>) -> Arc<Flight> {
        let digest = Digest::of(content);
        let object = Object { host: self.mirror.address.to_string(), path: digest.to_string(), query: None };
        let goal = Goal::Promised { digest, len, recheck: false };
        self.fetcher.start(Job { object, goal, by_hash: None, credentials: None }).expect("room")
    }

    /// The file as a client gets it; `None` if it is cut or refused.
    fn get(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.mirror.put(&format!("/{}", Digest::of(content)), content);
        follow(&self.start(content, Some(content.len() as u64)))
    }

    /// The file must come right and be stored right.
    fn gets(&self, content: &[u8], what: &str) {
        let got = self.get(content).unwrap_or_else(|| panic!("{what}: no file"));
        assert!(got == content, "{what}: a wrong file");
        let digest = Digest::of(content);
        self.store.commit(Stamp(1_740_823_201)).expect("the disk takes it");
        assert!(self.store.verify_file(&digest, Stamp(0)).expect("it can be read"), "{what}: a wrong file is stored");
        let table = self.store.piece_table(&digest).expect("the index").unwrap_or_default();
        assert_eq!(table, support::peer::table_of(content).midstates(), "{what}: a wrong table is stored");
    }
}

fn follow(flight: &Arc<Flight>) -> Option<Vec<u8>> {
    let (wake, woken) = sync_channel(1);
    let follower = flight.stream.follow(Arc::new(move || {
        wake.try_send(()).ok();
    }));
    let wait = || woken.recv_timeout(Duration::from_secs(60)).expect("news within a minute");
    let mut bytes = Vec::new();
    loop {
        match follower.outcome() {
            None => wait(),
            Some(Outcome::Growing(_)) => break,
            Some(Outcome::Stored(file, head)) => {
                bytes.resize(usize::try_from(head.len?).expect("small"), 0);
                file.read_exact_at(&mut bytes, 0).expect("it is there");
                return Some(bytes);
            }
            Some(Outcome::Failed(failure)) => {
                println!("{}", failure.reason);
                return None;
            }
        }
    }
    loop {
        match follower.next() {
            Step::File { file, until } => {
                let at = bytes.len();
                bytes.resize(usize::try_from(until).expect("small"), 0);
                file.read_exact_at(&mut bytes[at..], at as u64).expect("it is there");
                follower.seek(until);
            }
            Step::Memory { chunk, skip } => {
                bytes.extend(&chunk[skip..]);
                follower.seek(bytes.len() as u64);
            }
            Step::Wait => wait(),
            Step::End => return Some(bytes),
            Step::Broken => return None,
        }
    }
}

/// A mirror that takes seconds for a file of some pieces.
const SLOW_MIRROR: u64 = 1_000_000;

fn file(pieces: usize) -> Vec<u8> {
    noise(pieces * PIECE_LEN as usize - 7777, pieces as u64)
}

fn addresses(peers: &[Peer]) -> Vec<SocketAddr> {
    peers.iter().map(|peer| peer.address).collect()
}

#[test]
fn honest_peers_fill_the_end_while_the_mirror_streams() {
    let content = file(12);
    let peers = [Peer::start(Habit::Honest, &[&content]), Peer::start(Habit::Honest, &[&content])];
    let house = House::new(With { strangers: addresses(&peers), ..With::default() });
    house.mirror.set_rate(SLOW_MIRROR);
    house.gets(&content, "two strangers");
    let from_peers: u64 = peers.iter().map(Peer::sent).sum();
    let from_mirror = house.mirror.sent(&format!("/{}", Digest::of(&content)));
    assert!(from_mirror < content.len() as u64 / 2, "{from_mirror} bytes from the mirror");
    assert!(from_peers > content.len() as u64 / 2, "{from_peers} bytes from peers");
    assert_eq!(house.fetcher.from_peers().liars, 0);
}

#[test]
fn every_size_comes_from_peers_alone_when_the_mirror_is_away() {
    for len in
        [1, 5000, PIECE_LEN as usize, PIECE_LEN as usize + 1, 2 * PIECE_LEN as usize, 5 * PIECE_LEN as usize - 1]
    {
        let content = noise(len, len as u64);
        let peer = Peer::start(Habit::Honest, &[&content]);
        let house = House::new(With { strangers: vec![peer.address], ..With::default() });
        house.mirror.set_down(true);
        house.gets(&content, &format!("{len} bytes"));
    }
}

#[test]
fn whatever_a_peer_does_the_file_comes_right() {
    let content = file(6);
    for habit in [
        Habit::Flips(5),
        Habit::Flips(3),
        Habit::FalseTable(2),
        Habit::FalseTable(5),
        Habit::Slow(50_000),
        Habit::Silent,
        Habit::Vanishes(700_000),
        Habit::Vanishes(0),
        Habit::Status(404),
        Habit::Status(429),
        Habit::Status(202),
        Habit::Status(500),
        Habit::Html,
        Habit::OtherRange,
        Habit::OtherTable,
        Habit::Whole,
        Habit::EndlessHead,
    ] {
        // With a mirror that does its part, and beside an honest peer without one.
        let bad = Peer::start(habit.clone(), &[&content]);
        let house = House::new(With { strangers: vec![bad.address], ..With::default() });
        house.mirror.set_rate(8 * SLOW_MIRROR);
        house.gets(&content, &format!("{habit:?}, with a mirror"));
        let good = Peer::start(Habit::Honest, &[&content]);
        let house = House::new(With { neighbours: vec![bad.address, good.address], ..With::default() });
        house.mirror.set_down(true);
        house.gets(&content, &format!("{habit:?}, without a mirror"));
        assert!(
            house.fetcher.from_peers().liars <= u64::from(matches!(habit, Habit::Flips(_) | Habit::FalseTable(_)))
        );
        let asked = bad.seen().len();
        assert!(asked <= 24, "{habit:?}: asked {asked} times");
    }
}

#[test]
fn a_liar_is_asked_no_more_and_after_two_lies_not_even_after_a_restart() {
    let contents = [file(2), file(3), file(4)];
    let all: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let liar = Peer::start(Habit::Flips(1), &all);
    let mut scratch = Scratch::new();
    let store = Store::open(&Options { dir: scratch.path().join("cache") }).expect("a store");
    for (n, content) in contents.iter().enumerate() {
        let asked_before = liar.seen().len();
        // Each house is a restart.
        let house = House::on(scratch, store.clone(), With { neighbours: vec![liar.address], ..With::default() });
        house.mirror.set_rate(SLOW_MIRROR);
        house.gets(content, "beside a liar");
        let lies = house.fetcher.from_peers().liars;
        assert_eq!(lies, u64::from(n < 2), "file {n}");
        assert_eq!(liar.seen().len() == asked_before, n == 2, "file {n}");
        scratch = Scratch::new();
        std::mem::swap(&mut scratch, &mut { house }._scratch);
    }
}

#[test]
fn a_false_hint_hurts_nobody_and_a_true_one_saves_asking() {
    let content = file(4);
    let truth = support::peer::table_of(&content).midstates().to_vec();
    let mut lie = truth.clone();
    lie[1].0[0] ^= 1;
    for (hint, asks_for_table) in [(truth, false), (lie, true)] {
        let peer = Peer::start(Habit::Honest, &[&content]);
        let house = House::new(With { strangers: vec![peer.address], hint: Some(hint), ..With::default() });
        house.mirror.set_down(true);
        house.gets(&content, "a hint");
        assert_eq!(peer.seen().iter().any(|seen| seen.contains("/pieces")), asks_for_table);
        assert_eq!(house.fetcher.from_peers().liars, 0);
    }
}

#[test]
fn a_mirror_that_stops_in_the_middle_of_a_piece_is_let_go() {
    let content = file(6);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let house = House::new(With { neighbours: vec![peer.address], ..With::default() });
    house.mirror.fault(&format!("/{}", Digest::of(&content)), Fault::StallAfter(700_000));
    let start = Instant::now();
    house.gets(&content, "a stalled mirror");
    // The mirror's own time-out is 20 s.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_small_file_comes_from_a_neighbour_or_else_a_stranger_when_the_mirror_is_silent() {
    let content = noise(40_000, 3);
    for is_neighbour in [true, false] {
        let peer = Peer::start(Habit::Honest, &[&content]);
        let mut with = With::default();
        *(if is_neighbour { &mut with.neighbours } else { &mut with.strangers }) = vec![peer.address];
        let house = House::new(with);
        house.mirror.fault(&format!("/{}", Digest::of(&content)), Fault::Silent);
        let start = Instant::now();
        house.gets(&content, "a silent mirror");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn a_mirror_that_was_just_found_away_is_asked_after_all_where_peers_have_nothing() {
    for (prefer, len) in [(Prefer::Speed, 40_000), (Prefer::Speed, 2_000_000), (Prefer::Offload, 2_000_000)] {
        let content = noise(len, len as u64);
        let peer = Peer::start(Habit::Status(404), &[]);
        let house = House::new(With { neighbours: vec![peer.address], prefer, ..With::default() });
        house.mirror.set_down(true);
        assert!(house.get(&noise(100, 6)).is_none());
        house.mirror.set_down(false);
        let asked = peer.seen().len();
        house.gets(&content, "a mirror that is back");
        assert!(peer.seen().len() > asked, "{prefer:?}, {len}: the neighbour is asked before");
        assert_eq!(house.mirror.seen(&format!("/{}", Digest::of(&content))).len(), 1, "{prefer:?}, {len}");
    }
}

#[test]
fn a_mirror_that_brings_all_keeps_its_connection() {
    let house = House::new(With::default());
    for (n, len) in [40_000, 2_000_000, 30_000, 1_000_000].into_iter().enumerate() {
        house.gets(&noise(len, n as u64), "alone");
    }
    assert_eq!(house.mirror.connections(), 1);
}

#[test]
fn a_small_file_is_not_looked_up_while_the_mirror_does_its_part() {
    let content = noise(40_000, 4);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let house = House::new(With { strangers: vec![peer.address], ..With::default() });
    house.gets(&content, "a quick mirror");
    assert!(peer.seen().is_empty());
}

#[test]
fn a_false_byte_of_the_mirror_is_seen_where_it_meets_peers() {
    let content = file(6);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let house = House::new(With { neighbours: vec![peer.address], ..With::default() });
    let path = format!("/{}", Digest::of(&content));
    house.mirror.put(&path, content.clone());
    house.mirror.fault(&path, Fault::Flip(100));
    house.mirror.set_rate(SLOW_MIRROR);
    let flight = house.start(&content, Some(content.len() as u64));
    let got = follow(&flight);
    // A client that has seen it must not get a whole file. On a machine so busy that the peer gave all before the mirror's first
    // bytes were shown, they are thrown away, and nobody has to know. The stream has ended: what is asked is what was handed out.
    let was_seen = flight.stream.withdraw() && got.is_none();
    assert!(was_seen || got.as_ref().is_none_or(|got| *got == content), "a wrong file");
    assert_eq!(house.store.is_poisoned(&Digest::of(&content)).expect("the index"), was_seen);
    assert_eq!(house.fetcher.from_peers().liars, 0);
}

#[test]
fn a_client_that_comes_to_wrong_bytes_late_sees_none_of_them() {
    let content = file(2);
    let path = format!("/{}", Digest::of(&content));
    let house = House::new(With::default());
    house.mirror.put(&path, content.clone());
    house.mirror.fault(&path, Fault::Flip(100));
    for has_seen in [false, true] {
        house.mirror.hold_after(500_000);
        let flight = house.start(&content, Some(content.len() as u64));
        let follower = flight.stream.follow(Arc::new(|| ()));
        let has_more = || matches!(follower.outcome(), Some(Outcome::Growing(_)));
        support::wait_until(Duration::from_secs(20), "its beginning can be read", has_more);
        if has_seen {
            assert!(matches!(follower.next(), Step::File { .. }));
        }
        house.mirror.release();
        support::wait_until(Duration::from_secs(20), "it is known to be wrong", || !flight.stream.joinable());
        support::wait_until(Duration::from_secs(20), "it ends", || matches!(follower.next(), Step::Broken));
        assert_eq!(house.store.is_poisoned(&Digest::of(&content)).expect("the index"), has_seen);
    }
}

/// A draft of this file whose first bytes are these, as an earlier process left it, of what the mirror had at that date.
fn leave_draft(store: &Store, content: &[u8], first: &[u8], date: &str) {
    let want = Want::Digest { digest: Digest::of(content), len: Some(content.len() as u64) };
    let mut draft = store.draft(want).expect("the disk takes it");
    let last_modified = Some(date.to_owned());
    draft.begin(Head { len: Some(content.len() as u64), last_modified, ..Head::default() }).expect("room");
    draft.append(first).expect("room");
}

#[test]
fn a_wrong_beginning_that_an_earlier_try_left_is_noted_though_nobody_reads_it_again() {
    let content = file(3);
    let (digest, here) = (Digest::of(&content), 2 * PIECE_LEN as usize);
    let scratch = Scratch::new();
    let store = Store::open(&Options { dir: scratch.path().join("cache") }).expect("a store");
    let mut wrong = content[..here].to_vec();
    wrong[100] ^= 1;
    leave_draft(&store, &content, &wrong, DATE);
    let house = House::on(scratch, store, With::default());
    let path = format!("/{digest}");
    house.mirror.put(&path, content.clone());
    // Whoever that try was for may resume behind it, at once or never.
    let flight = house.start(&content, Some(content.len() as u64));
    support::wait_until(Duration::from_secs(20), "it fails", || !flight.stream.joinable());
    assert_eq!(house.mirror.seen(&path)[0].range_start(), Some(here as u64), "nothing was resumed");
    assert!(house.store.is_poisoned(&digest).expect("the index"));
}

#[test]
fn a_wrong_beginning_that_peers_prove_wrong_is_noted_too() {
    let content = file(6);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let scratch = Scratch::new();
    let store = Store::open(&Options { dir: scratch.path().join("cache") }).expect("a store");
    let mut wrong = content[..2 * PIECE_LEN as usize].to_vec();
    wrong[100] ^= 1;
    leave_draft(&store, &content, &wrong, DATE);
    let house = House::on(scratch, store, With { neighbours: vec![peer.address], ..With::default() });
    house.mirror.set_down(true);
    // Begun anew, or cut off where a piece of the peer's was shown behind it: whoever the earlier try was for may resume.
    let got = follow(&house.start(&content, Some(content.len() as u64)));
    assert!(got.is_none_or(|got| got == content), "a wrong file");
    assert!(house.store.is_poisoned(&Digest::of(&content)).expect("the index"));
}

#[test]
fn what_peers_wrote_stays_when_the_mirror_begins_anew() {
    let content = file(12);
    let peer = Peer::start(Habit::HoldsFrom(10), &[&content]);
    let scratch = Scratch::new();
    let store = Store::open(&Options { dir: scratch.path().join("cache") }).expect("a store");
    leave_draft(&store, &content, &content[..2 * PIECE_LEN as usize], "Fri, 01 Mar 2024 10:00:00 GMT");
    let house = House::on(scratch, store, With { neighbours: vec![peer.address], ..With::default() });
    let path = format!("/{}", Digest::of(&content));
    house.mirror.set_rate(SLOW_MIRROR);
    house.mirror.fault(&path, Fault::Late);
    thread::scope(|scope| {
        scope.spawn(|| house.gets(&content, "begun anew"));
        // Two pieces lie behind the first two when the mirror says that it has another file, and sends all of it.
        let has_two = || house.fetcher.from_peers().neighbours >= 2 * PIECE_LEN;
        support::wait_until(Duration::from_secs(20), "two pieces come from the peer", has_two);
        house.mirror.repair();
        support::wait_until(Duration::from_secs(20), "it begins anew", || house.mirror.sent(&path) >= 200_000);
        peer.release();
    });
    assert_eq!(house.mirror.seen(&path)[0].range_start(), Some(2 * PIECE_LEN), "nothing was resumed");
    assert_eq!(house.fetcher.from_peers().liars, 0);
}

#[test]
fn a_mirror_that_has_less_than_was_promised_is_not_asked_for_ever() {
    let content = file(4);
    let path = format!("/{}", Digest::of(&content));
    let house = House::new(With::default());
    // It announces no length; asked for more, it says that there is none.
    house.mirror.put(&path, &content[..1_200_000]);
    house.mirror.fault(&path, Fault::Chunked);
    assert!(follow(&house.start(&content, Some(content.len() as u64))).is_none());
    assert!(house.mirror.seen(&path).len() <= 4, "{} requests", house.mirror.seen(&path).len());
}

#[test]
fn what_peers_gave_and_the_disk_lost_comes_from_the_mirror() {
    let content = file(6);
    // All but the first piece comes from one that then lies.
    let peer = Peer::start(Habit::Flips(0), &[&content]);
    let house = House::new(With { neighbours: vec![peer.address], ..With::default() });
    let draft = house._scratch.path().join(format!("cache/drafts/{}.part", Digest::of(&content)));
    house.mirror.hold_after(100_000);
    thread::scope(|scope| {
        scope.spawn(|| house.gets(&content, "pieces that the disk lost"));
        let is_found = || house.fetcher.from_peers().liars == 1;
        support::wait_until(Duration::from_secs(20), "the first piece is a lie", is_found);
        assert!(house.fetcher.from_peers().neighbours >= 4 * PIECE_LEN);
        let file = std::fs::OpenOptions::new().write(true).open(&draft).expect("it grows");
        file.set_len(PIECE_LEN).expect("the cache is ours");
        house.mirror.release();
    });
}

#[test]
fn offload_asks_the_mirror_for_nothing_while_peers_give() {
    let (large, small) = (file(5), noise(40_000, 9));
    let peer = Peer::start(Habit::Honest, &[&large, &small]);
    let strangers = vec![peer.address];
    let house = House::new(With { strangers, prefer: Prefer::Offload, ..With::default() });
    house.gets(&large, "large");
    house.gets(&small, "small");
    assert!(house.mirror.all_seen().is_empty());
    let other = noise(50_000, 10);
    house.gets(&other, "what the peer does not have");
}

#[test]
fn to_keep_apt_alive_a_mirror_without_ranges_gives_a_piece_at_a_time() {
    let content = file(10);
    let peer = Peer::start(Habit::Slow(600_000), &[&content]);
    // 20 s without a byte to show are 4 s here.
    let house =
        House::new(With { strangers: vec![peer.address], prefer: Prefer::Offload, haste: 4, ..With::default() });
    house.gets(&content, "a slow peer");
    // The mirror here answers no range that has an end, and so each with the whole file.
    let seen = house.mirror.seen(&format!("/{}", Digest::of(&content)));
    let start = |range: &String| range.split(['=', '-']).nth(1).expect("a start").parse::<u64>().expect("a number");
    let starts: Vec<u64> = seen.iter().filter_map(|seen| seen.headers.get("range").map(start)).collect();
    assert!(!seen.is_empty() && starts.iter().all(|start| start.is_multiple_of(PIECE_LEN)), "{starts:?}");
}

#[test]
fn a_file_whose_length_only_the_mirror_knows_comes_from_peers_too() {
    let content = file(8);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let house = House::new(With { neighbours: vec![peer.address], ..With::default() });
    house.mirror.set_rate(SLOW_MIRROR);
    house.mirror.put(&format!("/{}", Digest::of(&content)), content.clone());
    assert!(follow(&house.start(&content, None)).expect("a file") == content);
    assert!(peer.sent() > 2 * PIECE_LEN);
}

#[test]
fn many_files_at_once_share_peers_and_all_come_right() {
    let contents: Vec<Vec<u8>> = (1..10).map(|n| noise(n * 400_000, n as u64)).collect();
    let all: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let peers = [
        Peer::start(Habit::Honest, &all),
        Peer::start(Habit::Slow(50_000), &all),
        Peer::start(Habit::Vanishes(300_000), &all),
        Peer::start(Habit::Honest, &all[..5]),
    ];
    let house = House::new(With { strangers: addresses(&peers), ..With::default() });
    house.mirror.set_rate(SLOW_MIRROR);
    thread::scope(|scope| {
        for content in &contents {
            scope.spawn(|| assert!(house.get(content).expect("a file") == *content));
        }
    });
    assert_eq!(house.fetcher.from_peers().liars, 0);
}

#[test]
fn an_answer_begins_before_peers_have_given_all_of_it() {
    let content = file(24);
    let peer = Peer::start(Habit::Slow(2_000_000), &[&content]);
    let house = House::new(With { strangers: vec![peer.address], haste: 2, ..With::default() });
    house.mirror.set_down(true);
    let flight = house.start(&content, Some(content.len() as u64));
    let client = thread::spawn({
        let flight = Arc::clone(&flight);
        move || follow(&flight)
    });
    let mut begun = None;
    support::wait_until(Duration::from_secs(60), "the answer begins", || {
        let sent = peer.sent();
        begun = flight.stream.outcome().map(|outcome| (outcome, sent));
        begun.is_some()
    });
    let (outcome, sent) = begun.expect("waited for");
    assert!(matches!(outcome, Outcome::Growing(head) if head.len == Some(content.len() as u64)));
    assert!(sent < content.len() as u64 * 9 / 10, "all was there already");
    assert!(client.join().expect("no panic").expect("a file") == content);
}

#[test]
fn what_waits_for_its_turn_is_looked_up_meanwhile() {
    let contents: Vec<Vec<u8>> = (0..8).map(|n| noise(1_000_000, 50 + n)).collect();
    let house = House::new(With { prefer: Prefer::Offload, ..With::default() });
    house.mirror.hold_after(0);
    let start = |content: &Vec<u8>| {
        house.mirror.put(&format!("/{}", Digest::of(content)), content.clone());
        house.start(content, Some(content.len() as u64))
    };
    // Four downloads of one host run at once; the mirror gives none of them a byte.
    let flights: Vec<_> = contents[..4].iter().map(start).collect();
    let is_asked = |content: &Vec<u8>| !house.mirror.seen(&format!("/{}", Digest::of(content))).is_empty();
    support::wait_until(Duration::from_secs(20), "four are under way", || contents[..4].iter().all(is_asked));
    let waiting: Vec<_> = contents[4..].iter().map(start).collect();
    let looked_up = house.lookups.lock().expect("no panic").clone();
    assert!(contents[4..].iter().all(|content| looked_up.contains(&Digest::of(content))), "{looked_up:?}");
    house.mirror.release();
    for (flight, content) in flights.iter().chain(&waiting).zip(&contents) {
        assert!(follow(flight).expect("a file") == *content);
    }
    let looked_up = house.lookups.lock().expect("no panic").clone();
    let times = |content: &Vec<u8>| looked_up.iter().filter(|digest| **digest == Digest::of(content)).count();
    assert!(contents[4..].iter().all(|content| times(content) == 1), "one lookup serves: {looked_up:?}");
}

#[test]
fn a_wish_is_looked_up_and_fetched_at_night_and_then_nobody_waits_for_it() {
    let content = file(3);
    let peer = Peer::start(Habit::Honest, &[&content]);
    let house = House::new(With { strangers: vec![peer.address], prefer: Prefer::Offload, ..With::default() });
    let (_end, end) = crossbeam_channel::bounded(0);
    let fetcher = house.fetcher.clone();
    thread::spawn(move || fetcher.work_ahead(&end));
    let (digest, len) = (Digest::of(&content), content.len() as u64);
    let object = Object { host: house.mirror.address.to_string(), path: digest.to_string(), query: None };
    house.fetcher.wish(Wish { object, digest, len });
    let is_here = || house.store.has_file(&digest).expect("the index");
    support::wait_until(Duration::from_secs(30), "it is here", is_here);
    assert!(house.mirror.all_seen().is_empty());
    assert_eq!(house.lookups.lock().expect("no panic").len(), 2, "ahead, and as every download");
    assert!(follow(&house.start(&content, Some(len))).expect("a file") == content);
}

#[test]
fn a_small_wish_is_fetched_at_night_and_looked_up_by_nobody() {
    let content = noise(80_000, 31);
    let house = House::new(With::default());
    house.mirror.put(&format!("/{}", Digest::of(&content)), &content[..]);
    let (_going, end) = crossbeam_channel::bounded(0);
    let fetcher = house.fetcher.clone();
    thread::spawn(move || fetcher.work_ahead(&end));
    let digest = Digest::of(&content);
    let object = Object { host: house.mirror.address.to_string(), path: digest.to_string(), query: None };
    house.fetcher.wish(Wish { object, digest, len: content.len() as u64 });
    let is_here = || house.store.open_file(&digest, Stamp(1_740_823_201)).expect("the index").is_some();
    support::wait_until(Duration::from_secs(20), "the file", is_here);
    assert_eq!(*house.lookups.lock().expect("no panic"), []);
}
