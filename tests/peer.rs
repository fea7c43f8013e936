//! What peers get of the real program, and what they do not.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, Response, get, get_with};
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::{Scratch, noise};

use apt_p2p::digest::{Digest, PIECE_LEN, PieceHasher};
use apt_p2p::edge::{Answer, Asked, Behind, Body, Edge, EdgeConfig, Reply, Upload};

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
    let house = House::start(true);
    house.fetch(&house.archive.packages[0]);
    // One that has asked and does not read, and one that says nothing.
    let mut reader = Client::connect(house.peers);
    reader.send(format!("GET /~/{} HTTP/1.1\r\nHost: x\r\n\r\n", house.archive.packages[0].digest()));
    let _silent = Client::connect(house.peers);
    let start = Instant::now();
    assert_eq!(house.daemon.terminate(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Bytes that each of `connections` from these addresses of ours reads of an endless answer in `time`, at `rate`.
fn read_at_rate(rate: u64, addresses: &[&str], time: Duration) -> Vec<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let scratch = Scratch::new();
    let len = 64 << 20;
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
        upload: Some(Upload { rate, is_free: Arc::new(|_| false) }),
        idle_time: Duration::from_secs(30),
        connections_max: 32,
        per_address_max: 16,
    })
    .expect("an edge");
    let thread = std::thread::spawn(move || edge.run());
    let readers: Vec<_> = addresses
        .iter()
        .map(|from| {
            let from: std::net::Ipv4Addr = from.parse().expect("an address");
            let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
            let socket = socket.expect("a socket");
            rustix::net::bind(&socket, &SocketAddr::from((from, 0))).expect("loopback is 127.0.0.0/8");
            rustix::net::connect(&socket, &address).expect("it listens");
            let mut stream = TcpStream::from(socket);
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
    handle.stop();
    thread.join().expect("no panic");
    read
}

fn is_near(got: u64, wanted: u64) -> bool {
    got.abs_diff(wanted) * 20 <= wanted
}

#[test]
fn strangers_share_the_upload_rate() {
    let (rate, time) = (256 * 1024, Duration::from_secs(6));
    let alone = read_at_rate(rate, &["127.0.0.2"], time);
    assert!(is_near(alone[0], rate * 6), "{alone:?}");
    // Four peers, of which one has three connections.
    let from = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.5", "127.0.0.5"];
    let read = read_at_rate(rate, &from, time);
    let each = [read[0], read[1], read[2], read[3..].iter().sum()];
    assert!(is_near(each.iter().sum(), rate * 6), "{read:?}");
    assert!(each.iter().all(|bytes| bytes.abs_diff(rate * 6 / 4) * 10 <= rate * 6 / 4), "{read:?}");
}
