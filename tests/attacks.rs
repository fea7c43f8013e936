//! Clients that mean harm: each gets the same short answer every time, nobody else waits, and nothing of it stays.
//!
//! How long others wait meanwhile is measured by `cargo bench --bench attack`.

#![expect(clippy::disallowed_methods, reason = "tests start threads")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::attack::{burst, from, half_open, pipeline, raise_descriptors, said, send_long_head};
use support::client::{Client, connect_from, get, get_with, statuses_until_closed};
use support::daemon::Daemon;
use support::mirror::Mirror;
use support::{Scratch, noise, wait_until};

/// Connections that the proxy holds at once, and those of them from one address.
const CONNECTIONS: usize = 1024;
const PER_ADDRESS: usize = 512;
/// Descriptors beside those of clients: the store, the mirrors, the workers, the log.
const OTHER_DESCRIPTORS: usize = 192;

struct House {
    _scratch: Scratch,
    mirror: Mirror,
    daemon: Daemon,
    content: Vec<u8>,
    path: String,
}

impl House {
    /// A proxy with one file of `len` bytes in its cache.
    fn new(len: usize) -> House {
        raise_descriptors();
        let scratch = Scratch::new();
        let (mirror, daemon) = (Mirror::start(), Daemon::start(&scratch));
        let content = noise(len, 1);
        let path = mirror.put_by_hash(content.clone());
        let house = House { _scratch: scratch, mirror, daemon, content, path };
        house.serves();
        house
    }

    fn url(&self) -> String {
        self.mirror.url(&self.path)
    }

    /// A client that means no harm gets the right file.
    fn serves(&self) {
        let got = get(self.daemon.address, &self.url());
        assert!(got.is_good() && got.body == self.content, "{} with {} bytes", got.status, got.body.len());
    }

    fn request(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", self.url()).into_bytes()
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused_and_nothing_behind_it_is_read() {
    let house = House::new(1000);
    let second = "GET http://smuggled.example.org/debian/x.deb HTTP/1.1\r\nHost: x\r\n\r\n";
    let asked = house.mirror.all_seen().len();
    for (name, lines, status) in [
        ("a body", "Content-Length: 5\r\n\r\nhello", "413"),
        ("a body that ends the process of tiny_http", "Content-Length: 9223372036854775808\r\n\r\n", "413"),
        ("a length beyond all numbers", "Content-Length: 99999999999999999999999999\r\n\r\n", "413"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello", "400"),
        ("one length twice", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", "400"),
        ("two lengths in one line", "Content-Length: 0, 5\r\n\r\n", "400"),
        ("a negative length", "Content-Length: -1\r\n\r\n", "400"),
        ("chunks", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", "501"),
        ("a length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
        ("chunks in disguise", "Transfer-Encoding: xchunked\r\n\r\n", "501"),
        ("a folded line", "X: a\r\n Content-Length: 5\r\n\r\n", "400"),
        ("a blank before the colon", "Content-Length : 0\r\n\r\n", "400"),
        ("a bare carriage return", "X: a\rContent-Length: 5\r\n\r\n", "400"),
        ("a NUL", "X: a\0b\r\n\r\n", "400"),
        ("a second Host", "Host: y\r\n\r\n", "400"),
        ("a second Range", "Range: bytes=0-1\r\nRange: bytes=5-6\r\n\r\n", "400"),
        ("bytes beyond ASCII", "User-Agent: \u{e9}\r\n\r\n", "400"),
    ] {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n{lines}{second}", house.url());
        assert_eq!(said(house.daemon.address, request), [status], "{name}");
    }
    for (name, head, status) in [
        ("no version", "GET /x\r\n\r\n", "400"),
        ("another version", "GET /x HTTP/2.0\r\nHost: x\r\n\r\n", "505"),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("a TLS handshake", "\x16\x03\x01\x02\0\x01\n\n", "400"),
        ("another method", "POST /x HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("no Host", "GET /x HTTP/1.1\r\n\r\n", "400"),
        ("two blanks", "GET  /x HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
    ] {
        assert_eq!(said(house.daemon.address, [head, second].concat()), [status], "{name}");
    }
    // Bare line feeds are read as line ends, by RFC 9112 §2.2; what stands behind is the next request, and none of this one.
    let bare = "GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(said(house.daemon.address, bare), ["406", "406"]);
    assert_eq!(house.mirror.all_seen().len(), asked, "no mirror hears of any of it");
    house.serves();
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_any_mirror_hears_of_them() {
    let house = House::new(1000);
    let asked = house.mirror.all_seen().len();
    let long = format!("/debian/pool/{}.deb", "a/".repeat(600));
    let longer = format!("/debian/pool/{}.deb", "a".repeat(9000));
    for (path, status) in [
        ("/debian/../etc/passwd", 400),
        ("/../../../../etc/passwd", 400),
        ("/debian/%2e%2e/%2E%2e/etc/passwd", 400),
        ("/debian/.%2e/x.deb", 400),
        ("/debian/pool/a%2f..%2fb.deb", 400),
        ("/debian/pool/a%2fb.deb", 400),
        ("/debian/pool/a%5c..%5cb.deb", 400),
        ("/debian/pool/a\\b.deb", 400),
        ("/debian/pool/a%00.deb", 400),
        ("/debian/pool/a.deb%0d%0aX-Injected:%20yes", 400),
        ("/debian/pool/a.deb%0aX-Injected:%20yes", 400),
        ("/debian/pool/%7f.deb", 400),
        ("/debian/pool/%c0%ae%c0%ae/x.deb", 400),
        ("/debian/pool/%zz.deb", 400),
        ("/debian/pool/a.deb%", 400),
        ("/debian/pool/a.deb#b", 400),
        (long.as_str(), 400),
        (longer.as_str(), 431),
    ] {
        for target in [house.mirror.url(path), format!("/{}{path}", house.mirror.address)] {
            let got = get_with(house.daemon.address, &target, &["User-Agent: Debian APT-HTTP/1.3 (2.6.1)"]);
            assert_eq!((got.status, got.text().lines().count()), (status, 1), "{target}: {}", got.text());
            assert!(got.header("x-injected").is_none(), "{target}");
        }
    }
    for host in
        ["mirror%0d%0aX:y", "user@mirror.example.org", "mirror.example.org:0", "mirror.example.org:99999", "[::1", ""]
    {
        let got = get(house.daemon.address, &format!("http://{host}/debian/pool/a_1_all.deb"));
        assert_eq!((got.status, got.text().lines().count()), (400, 1), "{host}: {}", got.text());
    }
    assert_eq!(house.mirror.all_seen().len(), asked);
    // An escape in a query stays one: the mirror sees one line.
    house.mirror.put("/mirrors.txt?arch=%0d%0aX-Injected:%20yes", "one mirror");
    let query = house.mirror.url("/mirrors.txt?arch=%0d%0aX-Injected:%20yes");
    let got = get_with(house.daemon.address, &query, &["User-Agent: Debian APT-HTTP/1.3 (2.6.1)"]);
    assert_eq!((got.status, got.text().as_str(), got.header("x-injected")), (200, "one mirror", None));
    let seen = house.mirror.all_seen().pop().expect("it was asked");
    assert!(!seen.headers.contains_key("x-injected"));
    // What is the same file by another spelling is the same file.
    assert_eq!(get(house.daemon.address, &house.url().replace("/dists/", "/%64ists/%2e/./")).body, house.content);
}

#[test]
fn a_page_shows_what_a_client_says_of_itself_as_text() {
    let house = House::new(1000);
    let mut client = Client::connect(house.daemon.address);
    client.send("GET / HTTP/1.1\r\nHost: <script>alert(1)</script>\r\nAccept: text/html\r\n\r\n");
    let page = client.read("GET");
    assert!(page.status == 200 && !page.text().contains("alert(1)"), "{}", page.text());
}

#[test]
fn a_head_without_an_end_is_cut_off_at_its_bound() {
    let house = House::new(1000);
    let before = house.daemon.private_kb();
    let mut stream = connect_from(from(0, 1), house.daemon.address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").expect("taken");
    let (part, mut taken) = (vec![b'a'; 1 << 20], 0);
    while taken < 400 && stream.write_all(&part).is_ok() {
        taken += 1;
    }
    // What the kernel's buffers hold, and the megabyte that is thrown away so that the answer can be read.
    assert!(taken < 20, "{taken} MiB of a head were taken");
    assert_eq!(statuses_until_closed(&stream), ["431"]);
    // As many lines as fit are as bad.
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(100));
    assert_eq!(said(house.daemon.address, many), ["431"]);
    let after = house.daemon.private_kb();
    assert!(after <= before + 1000, "{before} KB before, {after} KB after");
    house.serves();
}

#[test]
fn heads_that_come_too_slowly_are_ended() {
    let house = House::new(1000);
    let mut slow: Vec<TcpStream> = (0..200).map(|_| connect_from(from(0, 1), house.daemon.address)).collect();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nX: {}", house.url(), "a".repeat(7000));
    let mut bytes = head.bytes();
    // A byte at a time keeps the connection busy, and the head young in the eyes of whoever looks at the last byte.
    for stream in &slow {
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a time-out");
    }
    let mut begun = [0; 3];
    while slow[199].read(&mut begun).is_err() {
        let byte = [bytes.next().expect("the head is longer than the proxy's patience")];
        for stream in &mut slow {
            stream.write_all(&byte).ok();
        }
        house.serves();
    }
    assert_eq!(&begun, b"HTT");
    for stream in &slow[..199] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        assert_eq!(statuses_until_closed(stream), ["408"]);
    }
}

#[test]
fn fifty_thousand_pipelined_requests_are_answered_in_order_while_others_are_served() {
    let house = House::new(1000);
    const COUNT: usize = 50_000;
    let stream = connect_from(from(0, 1), house.daemon.address);
    let mut sending = stream.try_clone().expect("a descriptor");
    let (path, host) = (house.path.clone(), house.mirror.address);
    let sender = thread::spawn(move || {
        for n in 0..COUNT {
            // Each asks for another byte, so that the order shows.
            let at = n % 1000;
            let request = format!("GET http://{host}{path} HTTP/1.1\r\nHost: x\r\nRange: bytes={at}-{at}\r\n\r\n");
            sending.write_all(request.as_bytes()).expect("taken");
        }
        sending.shutdown(Shutdown::Write).expect("connected");
    });
    let mut client = Client::from(stream);
    for n in 0..COUNT {
        let got = client.read("GET");
        assert_eq!((got.status, got.body.as_slice()), (206, &house.content[n % 1000..=n % 1000]), "request {n}");
        if n % 5000 == 0 {
            house.serves();
        }
    }
    sender.join().expect("all were taken");
    assert!(client.is_closed());
}

#[test]
fn who_asks_and_never_reads_holds_little_and_keeps_nobody_waiting() {
    let house = House::new(20_000_000);
    let before = house.daemon.private_kb();
    let request = house.request().repeat(10);
    let deaf: Vec<TcpStream> = (0..PER_ADDRESS)
        .map(|_| {
            let mut stream = connect_from(from(0, 1), house.daemon.address);
            stream.write_all(&request).expect("taken");
            stream.read_exact(&mut [0; 8]).expect("an answer begins");
            stream
        })
        .collect();
    // Its share is used up, and none of it is idle: it is told so. Others are not.
    assert_eq!(said(house.daemon.address, house.request()), ["503"]);
    house.serves();
    let with = house.daemon.private_kb();
    assert!(with <= before + 10_000, "{before} KB before, {with} KB with them");
    drop(deaf);
    wait_until(Duration::from_secs(30), "its places are free again", || {
        house.daemon.descriptors() < OTHER_DESCRIPTORS
    });
}

#[test]
fn ten_thousand_connections_take_no_more_places_than_there_are() {
    let house = House::new(1000);
    let before = house.daemon.private_kb();
    let held: Vec<TcpStream> =
        (0..10_000).map(|n: u16| connect_from(from(1, n.to_be_bytes()[0].max(1)), house.daemon.address)).collect();
    house.serves();
    let descriptors = house.daemon.descriptors();
    assert!(descriptors <= CONNECTIONS + OTHER_DESCRIPTORS, "{descriptors} descriptors");
    let with = house.daemon.private_kb();
    assert!(with <= before + 10_000, "{before} KB before, {with} KB with them");
    // The newest have a place; those before them were closed without a word.
    let is_open = |stream: &&TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        (&**stream).read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    wait_until(Duration::from_secs(30), "all others are closed", || {
        held.iter().filter(is_open).count() <= CONNECTIONS
    });
    assert!(held[9_500..].iter().all(|stream| is_open(&stream)));
    drop(held);
    wait_until(Duration::from_secs(30), "all places are free again", || {
        house.daemon.descriptors() < OTHER_DESCRIPTORS
    });
}

#[test]
fn one_address_takes_no_other_s_place_and_its_own_are_replaced() {
    let house = House::new(1000);
    let mut friend = Client::connect(house.daemon.address);
    assert_eq!(friend.get("/", &[]).status, 406);
    let held: Vec<TcpStream> = (0..2 * PER_ADDRESS).map(|_| connect_from(from(0, 1), house.daemon.address)).collect();
    assert_eq!(said(house.daemon.address, "GET / HTTP/1.0\r\n\r\n"), ["406"], "from the same address");
    assert_eq!(statuses_until_closed(&held[0]), [""; 0], "the longest idle one made room");
    assert_eq!(friend.get("/", &[]).status, 406, "kept all the while");
}

/// What ends all attacks at once.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn all_at_once_they_cost_little_leave_nothing_and_keep_nobody_waiting() {
    let house = House::new(100_000);
    let address = house.daemon.address;
    // Whatever is made once is made.
    burst(address);
    let (before, descriptors) = (house.daemon.private_kb(), house.daemon.descriptors());
    let over = AtomicBool::new(false);
    let mut most = 0;
    thread::scope(|scope| {
        let _stop = Stop(&over);
        let half_open = scope.spawn(|| half_open(address));
        scope.spawn(|| send_long_head(address));
        scope.spawn(|| {
            let huge = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n";
            while !over.load(Ordering::SeqCst) {
                assert_eq!(said(address, huge), ["413"]);
            }
        });
        let pipeline = scope.spawn(|| pipeline(address));
        let bursts = scope.spawn(|| (0..20).for_each(|_| burst(address)));
        while !bursts.is_finished() || !pipeline.is_finished() || !half_open.is_finished() {
            house.serves();
            most = most.max(house.daemon.private_kb());
        }
        bursts.join().expect("each connection was answered");
        drop(half_open.join());
    });
    assert!(most <= before + 10_000, "{before} KB before, {most} KB with them");
    wait_until(Duration::from_secs(30), "what they took is given back", || {
        house.daemon.private_kb() <= before + 1000 && house.daemon.descriptors() <= descriptors + 8
    });
    house.serves();
}
