//! What peers get of the real program, and what they do not.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, Response, connect_from, get, get_with, statuses_until_closed};
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::{Scratch, noise};

use apt_p2p::digest::{Digest, PIECE_LEN, PieceHasher};
use apt_p2p::edge::{Answer, Asked, Behind, Body, Edge, EdgeConfig, EdgeHandle, Reply, Upload};

/// A proxy that shares one archive, with one package of three pieces.
struct House {
    _scratch: Scratch,
    mirror: Mirror,
    archive: Archive,
    daemon: Daemon,
    peers: SocketAddr,
}

impl House {
    fn start(is_public: bool) -> House {
        let (scratch, mirror) = (Scratch::new(), Mirror::start());
        let long = Package::new("long", "1", 2 * usize::try_from(PIECE_LEN).expect("small") + 5000);
        let archive = Archive::new(vec![long, Package::new("short", "1", 40_000)]);
        archive.publish(&mirror, None);
        let prefix = format!("{}/debian", mirror.address);
        let mut flags = vec!["--allow-upstream", "127.0.0.0/8", "--share", "lan"];
        flags.extend(["--peer-listen", "127.0.0.1:0", "--bootstrap", "none"]);
        if is_public {
            flags.extend(["--public", &prefix]);
        }
        let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
        daemon.wait_for_log("peers are served at ");
        let peers = daemon.log().iter().find_map(|line| {
            let (address, _) = line.split_once("peers are served at ")?.1.split_once(' ')?;
            address.parse().ok()
        });
        let house = House { _scratch: scratch, mirror, archive, daemon, peers: peers.expect("an address") };
        house.update();
        house
    }

    /// What apt does first; till the packages are promised.
    fn update(&self) {
        for name in ["InRelease", "main/binary-amd64/Packages"] {
            assert!(self.proxied(&format!("{SUITE}/{name}"), &[]).is_good(), "{name}");
        }
        self.daemon.wait_for_log("learnt ");
    }

    fn proxied(&self, path: &str, lines: &[&str]) -> Response {
        get_with(self.daemon.address, &self.mirror.url(path), lines)
    }

    fn fetch(&self, package: &Package) {
        assert!(self.proxied(&format!("/debian/{}", package.path()), &[]).body == package.content);
    }

    fn status_of(&self, digest: &str) -> u16 {
        get(self.peers, &format!("/~/{digest}")).status
    }
}

fn table(content: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    PieceHasher::default().update(content, |midstate| raw.extend(midstate.0));
    raw
}

#[test]
fn a_public_file_is_given_whole_in_part_and_with_its_table() {
    let house = House::start(true);
    let (long, short) = (&house.archive.packages[0], &house.archive.packages[1]);
    house.fetch(long);
    house.fetch(short);
    let (url, raw) = (format!("/~/{}", long.digest()), table(&long.content));
    let mut client = Client::connect(house.peers);
    for round in 0..2 {
        let whole = client.get(&url, &[]);
        assert!(whole.status == 200 && whole.body == long.content, "round {round}");
        assert_eq!(whole.header("piece-table"), Some(Digest::of(&raw).to_string().as_str()));
        let part = client.get(&url, &["Range: bytes=524288-1048575"]);
        assert!(part.status == 206 && part.body == long.content[524_288..1_048_576], "round {round}");
        assert!(part.header("piece-table").is_some());
        assert_eq!(client.get(&url, &["Range: bytes=9999999-"]).status, 416);
        assert!(client.get(&format!("{url}/pieces"), &[]).body == raw && raw.len() == 64);
        client.ask("HEAD", &url, &[]);
        assert_eq!(client.read("HEAD").header("content-length"), Some(long.content.len().to_string().as_str()));
        house.daemon.wait_until_recorded(&long.digest());
    }
    let (plain, pieces) = (format!("/~/{}", short.digest()), format!("/~/{}/pieces", short.digest()));
    client.send([&plain, &pieces, &url].map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).concat());
    let first = client.read("GET");
    assert!(first.body == short.content && first.header("piece-table").is_none());
    assert_eq!(client.read("GET").status, 404);
    assert!(client.read("GET").body == long.content);
    let status = client.get("/~/", &[]).text();
    assert!(status.contains(r#""network":"apt-p2p""#) && status.contains(r#""busy":0}"#), "{status}");
}

#[test]
fn the_example_in_the_document_is_what_is_said() {
    let house = House::start(true);
    let long = &house.archive.packages[0];
    house.fetch(long);
    let document = include_str!("../docs/PROTOCOL.md");
    let (_, rest) = document.split_once("```http\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let example = example.replace("<name>", &long.digest());
    let example = example.replace("<table>", &Digest::of(&table(&long.content)).to_string()).replace('\n', "\r\n");
    let (request, head) = example.split_at(example.find("HTTP/1.1 206").expect("an answer"));
    let mut stream = TcpStream::connect(house.peers).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    stream.write_all(request.as_bytes()).expect("taken");
    let mut answer = vec![0; head.len() + 524_288];
    stream.read_exact(&mut answer).expect("an answer as long as the example's");
    assert_eq!(String::from_utf8_lossy(&answer[..head.len()]), head);
    assert!(answer[head.len()..] == long.content[524_288..1_048_576]);
}

#[test]
fn an_index_is_shared_and_a_release_is_not() {
    let house = House::start(true);
    let index = house.archive.packages_index();
    assert_eq!(house.status_of(&Digest::of(index.as_bytes()).to_string()), 200);
    assert_eq!(house.status_of(&Digest::of(house.archive.release().as_bytes()).to_string()), 404);
}

#[test]
fn what_is_not_public_is_not_there() {
    let house = House::start(false);
    house.fetch(&house.archive.packages[0]);
    assert_eq!(house.status_of(&house.archive.packages[0].digest()), 404);
}

#[test]
fn what_nothing_promises_or_credentials_opened_is_not_there() {
    let house = House::start(true);
    let unplaced = noise(5000, 9);
    house.mirror.put("/debian/pool/main/u/u_1_all.deb", unplaced.clone());
    assert!(house.proxied("/debian/pool/main/u/u_1_all.deb", &[]).body == unplaced);
    assert_eq!(house.status_of(&Digest::of(&unplaced).to_string()), 404);
    let short = &house.archive.packages[1];
    let theirs = house.proxied(&format!("/debian/{}", short.path()), &["Authorization: Basic dTpw"]);
    assert!(theirs.body == short.content);
    assert_eq!(house.status_of(&short.digest()), 404);
}

#[test]
fn what_an_index_names_no_more_is_not_there() {
    let house = House::start(true);
    let old = house.archive.packages[1].clone();
    house.fetch(&old);
    assert_eq!(house.status_of(&old.digest()), 200);
    house.daemon.wait_until_recorded(&old.digest());
    let mut next = house.archive.clone();
    next.date += 86_400;
    next.packages[1] = Package::new("short", "2", 41_000);
    next.publish(&house.mirror, None);
    support::wait_until(std::time::Duration::from_secs(30), "the new index is learnt", || {
        house.proxied(&format!("{SUITE}/InRelease"), &["Cache-Control: no-cache"]);
        house.proxied(&format!("{SUITE}/main/binary-amd64/Packages"), &[]);
        house.daemon.log().iter().filter(|line| line.contains("learnt ")).count() >= 2
    });
    assert_eq!(house.status_of(&old.digest()), 404);
}

#[test]
fn nothing_else_is_behind_the_peers_port() {
    let house = House::start(true);
    let seen = house.mirror.seen(&format!("{SUITE}/InRelease")).len();
    let url = house.mirror.url(&format!("{SUITE}/InRelease"));
    for request in [
        format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /{}{SUITE}/InRelease HTTP/1.1\r\nHost: x\r\n\r\n", house.mirror.address),
        format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", house.mirror.address),
        "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n".into(),
        "GET /~/../ HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GET /debian/ HTTP/1.0\r\n\r\n".into(),
        "\x16\x03\x01\x02\r\n\r\n".into(),
    ] {
        let mut client = Client::connect(house.peers);
        client.send(&request);
        let answer = client.read("GET");
        assert!(matches!(answer.status, 400 | 404) && client.is_closed(), "{request}: {}", answer.status);
    }
    let mut client = Client::connect(house.peers);
    client.send("\x13BitTorrent protocol");
    assert!(client.is_closed(), "without a word");
    assert_eq!(house.mirror.seen(&format!("{SUITE}/InRelease")).len(), seen);
}

#[test]
fn the_end_waits_for_no_peer() {
    // A disk that is busy may hold one of them up; who waits for a peer waits half a minute, each time.
    let is_quick = (0..3).any(|_| {
        let house = House::start(true);
        house.fetch(&house.archive.packages[0]);
        // One that has asked and does not read, and one that says nothing.
        let mut reader = Client::connect(house.peers);
        reader.send(format!("GET /~/{} HTTP/1.1\r\nHost: x\r\n\r\n", house.archive.packages[0].digest()));
        let _silent = Client::connect(house.peers);
        let start = Instant::now();
        assert_eq!(house.daemon.terminate(), Some(0));
        start.elapsed() < Duration::from_secs(2)
    });
    assert!(is_quick, "it waits for a peer");
}

/// An edge that gives all strangers, and everybody is one, so many bytes a second of an endless file.
struct PacedEdge {
    address: SocketAddr,
    handle: EdgeHandle,
    thread: std::thread::JoinHandle<()>,
    _scratch: Scratch,
}

impl PacedEdge {
    fn start(len: u64, rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> PacedEdge {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let scratch = Scratch::new();
        let file = std::fs::File::create_new(scratch.path().join("endless")).expect("a scratch file");
        file.set_len(len).expect("it may have holes");
        let file = Arc::new(std::fs::File::open(scratch.path().join("endless")).expect("it is there"));
        let (edge, handle) = Edge::new(EdgeConfig {
            listeners: vec![listener],
            behind: Behind::Here(Arc::new(move |_: &Asked<'_>| {
                let body = Body::File { file: Arc::clone(&file), start: 0, len };
                Reply::Now(Answer::new(200, Vec::new(), Some(len), body, "cache"))
            })),
            admits: Arc::new(|_| true),
            recall: None,
            upload: Some(Upload { rate: Arc::new(rate), is_free: Arc::new(|_| false) }),
            idle_time: Duration::from_secs(30),
            connections_max: 32,
            per_address_max: 16,
        })
        .expect("an edge");
        PacedEdge { address, handle, thread: std::thread::spawn(move || edge.run()), _scratch: scratch }
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().expect("no panic");
    }
}

/// Bytes that each of `connections` from these addresses of ours reads of an endless answer in `time`, at `rate`.
fn read_at_rate(rate: u64, addresses: &[&str], time: Duration) -> Vec<u64> {
    let edge = PacedEdge::start(64 << 20, move || Some(rate));
    let address = edge.address;
    let readers: Vec<_> = addresses
        .iter()
        .map(|from| {
            let from: std::net::Ipv4Addr = from.parse().expect("an address");
            let mut stream = connect_from(from, address);
            std::thread::spawn(move || {
                stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").expect("taken");
                stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
                let (mut total, mut part, start) = (0, vec![0; 64 * 1024], Instant::now());
                while start.elapsed() < time {
                    total += stream.read(&mut part).unwrap_or(0) as u64;
                }
                total
            })
        })
        .collect();
    let read = readers.into_iter().map(|reader| reader.join().expect("no panic")).collect();
    edge.stop();
    read
}

fn is_near(got: u64, wanted: u64) -> bool {
    got.abs_diff(wanted) * 20 <= wanted
}

#[test]
fn strangers_share_the_upload_rate() {
    const RATE: u64 = 256 * 1024;
    // One peer; and four, of which one has three connections.
    let alone = ["127.0.0.2"];
    let four = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.5", "127.0.0.5"];
    for from in [&alone[..], &four] {
        let mut tries = Vec::new();
        let is_fair = (0..3).any(|_| {
            let start = Instant::now();
            let read = read_at_rate(RATE, from, Duration::from_secs(6));
            let mut each = read[..from.len().min(3)].to_vec();
            each.extend((read.len() > 3).then(|| read[3..].iter().sum::<u64>()));
            let sum = each.iter().sum();
            // Never more than that, however long a try took.
            assert!(sum as f64 <= RATE as f64 * start.elapsed().as_secs_f64() * 1.05, "{read:?}");
            let (all, share) = (RATE * 6, RATE * 6 / each.len() as u64);
            tries.push(read);
            // A machine that stood still for a moment gave less; a wrong share is wrong each time.
            is_near(sum, all) && each.iter().all(|bytes| bytes.abs_diff(share) * 10 <= share)
        });
        assert!(is_fair, "{tries:?}");
    }
}

#[test]
fn another_upload_rate_is_taken_up_while_peers_are_served() {
    // At this rate nothing comes for a quarter of an hour after the first bytes.
    let rate = Arc::new(AtomicU64::new(1));
    let asked = Arc::clone(&rate);
    let edge = PacedEdge::start(8 << 20, move || match asked.load(Ordering::SeqCst) {
        0 => None,
        rate => Some(rate),
    });
    for next in [64 << 20, 0] {
        let mut client = Client::connect(edge.address);
        client.ask("GET", "/x", &[]);
        assert_eq!(client.head().status, 200);
        client.read_some(100);
        rate.store(next, Ordering::SeqCst);
        client.read_some((8 << 20) - 100);
        rate.store(1, Ordering::SeqCst);
    }
    edge.stop();
}

/// What a hostile connection does, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Attack {
    HalfOpen,
    SlowHead,
    Garbage,
    LongHead,
    BitTorrent,
    NeverReads,
    RangeFlood,
}

impl Attack {
    fn bytes(self, digest: &str) -> Vec<u8> {
        match self {
            Attack::HalfOpen => Vec::new(),
            Attack::SlowHead => b"GET /~/ HT".to_vec(),
            Attack::Garbage => noise(200, 7).into_iter().chain(*b"\r\n\r\n").collect(),
            Attack::LongHead => [&b"GET /~/ HTTP/1.1\r\nX: "[..], &[b'x'; 9000]].concat(),
            Attack::BitTorrent => [&b"\x13BitTorrent protocol"[..], &[0; 48]].concat(),
            Attack::NeverReads => format!("GET /~/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(10).into_bytes(),
            Attack::RangeFlood => (0..100)
                .map(|n| format!("GET /~/{digest} HTTP/1.1\r\nHost: x\r\nRange: bytes={n}-{n}\r\n\r\n"))
                .collect::<String>()
                .into_bytes(),
        }
    }
}

#[test]
fn each_attack_ends_as_it_should() {
    let house = House::start(true);
    let (long, digest) = (&house.archive.packages[0], house.archive.packages[0].digest());
    house.fetch(long);
    let from = |n: u8| std::net::Ipv4Addr::new(127, 1, 0, n);
    for (attack, statuses) in
        [(Attack::Garbage, &["400"][..]), (Attack::LongHead, &["431"]), (Attack::BitTorrent, &[])]
    {
        let mut stream = connect_from(from(1), house.peers);
        stream.write_all(&attack.bytes(&digest)).expect("taken");
        assert_eq!(statuses_until_closed(&stream), statuses, "{attack:?}");
    }
    // Of one address no more than sixteen at once: the longest idle one makes room …
    let held: Vec<TcpStream> = (0..17).map(|_| connect_from(from(2), house.peers)).collect();
    assert_eq!(statuses_until_closed(&held[0]), [""; 0]);
    drop(held);
    // … and where each is busy, the newest is told to come again.
    let busy = |_| {
        let mut deaf = connect_from(from(6), house.peers);
        deaf.write_all(&Attack::NeverReads.bytes(&digest)).expect("taken");
        deaf.read_exact(&mut [0]).expect("an answer begins");
        deaf
    };
    let deaf: Vec<TcpStream> = (0..16).map(busy).collect();
    assert_eq!(statuses_until_closed(&connect_from(from(6), house.peers)), ["503"]);
    drop(deaf);
    // Each range is answered, in order, and nothing else.
    let mut flood = connect_from(from(3), house.peers);
    flood.write_all(&Attack::RangeFlood.bytes(&digest)).expect("taken");
    flood.shutdown(std::net::Shutdown::Write).expect("connected");
    let mut answers = Vec::new();
    flood.read_to_end(&mut answers).expect("all answers, and the end");
    let text = String::from_utf8_lossy(&answers);
    let ranges: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Content-Range: bytes ")).collect();
    let len = long.content.len();
    assert_eq!(ranges, (0..100).map(|n| format!("{n}-{n}/{len}")).collect::<Vec<_>>());
    // Who says nothing, and who reads nothing, is replaced or left alone; others are served.
    let mut silent = connect_from(from(4), house.peers);
    silent.write_all(&Attack::SlowHead.bytes(&digest)).expect("taken");
    let mut deaf = connect_from(from(5), house.peers);
    deaf.write_all(&Attack::NeverReads.bytes(&digest)).expect("taken");
    assert!(get(house.peers, &format!("/~/{digest}")).body == long.content);
}

#[test]
fn a_thousand_hostile_connections_cost_little_and_keep_no_client_waiting() {
    let house = House::start(true);
    let (long, digest) = (&house.archive.packages[0], house.archive.packages[0].digest());
    house.fetch(long);
    house.daemon.wait_until_recorded(&digest);
    // Whatever is made once is made.
    assert!(get(house.peers, &format!("/~/{digest}")).body == long.content);
    let before = house.daemon.private_kb();
    let kinds = [
        Attack::HalfOpen,
        Attack::SlowHead,
        Attack::Garbage,
        Attack::LongHead,
        Attack::BitTorrent,
        Attack::NeverReads,
        Attack::RangeFlood,
    ];
    let mut hostile: Vec<TcpStream> = Vec::new();
    for n in 0..1000_u16 {
        let attack = kinds[usize::from(n) % kinds.len()];
        let [high, low] = (n / 4).to_be_bytes();
        let mut stream = connect_from(std::net::Ipv4Addr::new(127, 2, high, low.max(1)), house.peers);
        // It may be refused already.
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        stream.write_all(&attack.bytes(&digest)).ok();
        hostile.push(stream);
        if n % 100 == 99 {
            house.fetch(long);
        }
    }
    let after = house.daemon.private_kb();
    assert!(after <= before + 5000, "{before} KB before, {after} KB with them");
    house.fetch(long);
    drop(hostile);
    support::wait_until(Duration::from_secs(30), "peers are served again", || house.status_of(&digest) == 200);
}
