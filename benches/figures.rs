//! The figures that the proxy is held to, measured on the machine at hand:
//!
//! ```text
//! cargo bench --bench figures                 all of them
//! cargo bench --bench figures -- sharing      only those with this word in their name
//! ```
//!
//! `sharing`   20 clients, one uncached 50 MB file, upstream at 3 MB/s, 25 MB/s and full speed
//! `blackhole` 50 clients ask a mirror that never answers; hits and another mirror's misses meanwhile
//! `readers`   300 clients that read at 100 KB/s, and one more
//! `memory`    private memory idle, with 50 keep-alive clients, after 10,000 requests, after a 2 GB file
//! `learning`  CPU and memory of learning the archive that this machine's apt uses, and what its next version writes
//!
//! Traffic stays on loopback, but for `learning` and `memory`, which fetch that archive's index through the proxy.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks and starts threads")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "support/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::{Digest, PieceHasher};
use proxy::{Proxy, archive_of_this_machine};

const MB: u64 = 1_000_000;

fn main() {
    let word = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let all: [(&str, fn()); 5] = [
        ("sharing", sharing),
        ("blackhole", blackhole),
        ("readers", readers),
        ("learning", learning),
        ("memory", memory),
    ];
    for (name, run) in all {
        if name.contains(&word) {
            println!("── {name}");
            run();
        }
    }
}

fn sharing() {
    println!(
        "{:>12} {:>9} {:>9} {:>7} {:>9} {:>8}",
        "upstream", "direct s", "last s", "ratio", "1st byte", "fetches"
    );
    for (name, rate) in [("3 MB/s", 3 * MB), ("25 MB/s", 25 * MB), ("full speed", 0)] {
        let upstream = Upstream::start("127.0.0.1", rate);
        let path = upstream.add_by_hash(50_000_000);
        let direct = at_once(1, upstream.address, &path);
        let direct_20 = at_once(20, upstream.address, &path);
        let before = upstream.fetches(&path);
        let proxy = start();
        let url = format!("http://{}{path}", upstream.address);
        let (first, last) = at_once(20, proxy.address, &url);
        // At a bounded rate the transfer takes what the upstream takes for one; at full speed, what this machine takes to
        // hand the file to 20 clients.
        let own = if rate > 0 { direct.1 } else { direct_20.1 };
        println!(
            "{name:>12} {:>9.2} {:>9.2} {:>9.2} {:>7.2} {:>6} ms {:>8}",
            direct.1.as_secs_f64(),
            direct_20.1.as_secs_f64(),
            last.as_secs_f64(),
            last.as_secs_f64() / own.as_secs_f64(),
            first.as_millis(),
            upstream.fetches(&path) - before
        );
        let warm = at_once(20, proxy.address, &url).1;
        println!("{:>12} 20 clients again, now stored: {:.2} s", "", warm.as_secs_f64());
    }
}

/// Clients that fetch the same at once; when the last of them had its first byte, and its last.
fn at_once(count: usize, address: SocketAddr, url: &str) -> (Duration, Duration) {
    let start = Instant::now();
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let url = url.to_owned();
            thread::spawn(move || (get(address, &url, Some(start)).0, start.elapsed()))
        })
        .collect();
    let times: Vec<_> =
        clients.into_iter().map(|client| client.join().expect("a client gets the right file")).collect();
    let last = |pick: fn(&(Duration, Duration)) -> Duration| times.iter().map(pick).max().expect("clients");
    (last(|times| times.0), last(|times| times.1))
}

fn blackhole() {
    let upstream = Upstream::start("127.0.0.2", 0);
    let warm = upstream.add_by_hash(10_000);
    let proxy = start();
    get(proxy.address, &format!("http://{}{warm}", upstream.address), None);
    let hole = Blackhole::new();
    let started = AtomicUsize::new(0);
    let (mut hits, mut misses) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for n in 0..50 {
            let (started, hole) = (&started, &hole);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(proxy.address).expect("the proxy accepts");
                let path = format!("http://{}/debian/pool/a/a_{n}_all.deb", hole.address);
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("a request");
                started.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 256];
                stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a time-out");
                let read = stream.read(&mut head).expect("an answer in time");
                assert!(head[..read].starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&head[..read]));
            });
        }
        while started.load(Ordering::SeqCst) < 50 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(200));
        for _ in 0..50 {
            let url = |path: &str| format!("http://{}{path}", upstream.address);
            let start = Instant::now();
            hits.push(get(proxy.address, &url(&warm), Some(start)).0);
            let cold = upstream.add_by_hash(10_001 + misses.len() as u64);
            let start = Instant::now();
            misses.push(get(proxy.address, &url(&cold), Some(start)).0);
        }
    });
    println!("first byte beside 50 requests that hang: {}", spread("hits", &mut hits));
    println!("                                         {}", spread("another mirror's misses", &mut misses));
}

fn readers() {
    let upstream = Upstream::start("127.0.0.1", 0);
    let path = upstream.add_by_hash(20_000_000);
    let small = upstream.add_by_hash(10_000);
    let proxy = start();
    let url = format!("http://{}{path}", upstream.address);
    let small_url = format!("http://{}{small}", upstream.address);
    get(proxy.address, &small_url, None);
    let start = Instant::now();
    let firsts = Mutex::new(Vec::new());
    let mut quick = Vec::new();
    let slowest = Mutex::new(f64::MAX);
    thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(|| {
                let mut stream = request(proxy.address, &url);
                let mut buffer = vec![0; 10_000];
                stream.read_exact(&mut buffer[..1]).expect("a first byte");
                firsts.lock().expect("no panic").push(start.elapsed());
                let begun = Instant::now();
                let mut read = 0;
                while begun.elapsed() < Duration::from_secs(8) {
                    read += stream.read(&mut buffer).expect("more bytes");
                    let due = Duration::from_secs_f64(read as f64 / 100_000.0);
                    thread::sleep(due.saturating_sub(begun.elapsed()));
                }
                let rate = read as f64 / begun.elapsed().as_secs_f64();
                let mut slowest = slowest.lock().expect("no panic");
                *slowest = slowest.min(rate);
            });
        }
        while firsts.lock().expect("no panic").len() < 300 {
            thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..100 {
            let start = Instant::now();
            get(proxy.address, &small_url, Some(start));
            quick.push(start.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        println!("private memory meanwhile: {:.1} MB", proxy.private_mb());
    });
    println!("{}", spread("300 readers' first byte", &mut firsts.into_inner().expect("no panic")));
    println!("slowest of them: {:.0} KB/s", slowest.into_inner().expect("no panic") / 1000.0);
    println!("{}", spread("one more client, whole 10 KB file", &mut quick));
}

fn learning() {
    println!("70,000 packages, then a version in which 1.5% of them moved:");
    let upstream = Upstream::start("127.0.0.1", 0);
    let proxy = start();
    for (times, version) in [(1, 1), (2, 2)] {
        upstream.publish_index(70_000, version);
        let base = format!("http://{}/debian/dists/x", upstream.address);
        let archive = Archive {
            in_release: format!("{base}/InRelease"),
            packages: format!("{base}/main/binary-amd64/Packages.gz"),
            packages_name: format!("version {version}"),
        };
        let (idle, cpu, written) = (proxy.private_mb(), proxy.thread_cpu_s("learn"), proxy.thread_written("learn"));
        let peak = proxy.learn(&archive, times);
        println!(
            "{}: {:.2} s of CPU, at most {:.1} MB above idle, {} KB written",
            archive.packages_name,
            proxy.thread_cpu_s("learn") - cpu,
            peak - idle,
            (proxy.thread_written("learn") - written) / 1000
        );
        // A Release is asked for again only after ten seconds.
        thread::sleep(Duration::from_millis(10_100));
    }
    proxy.print_log("learnt");
    drop(proxy);
    let Some(archive) = Archive::of_this_machine() else { return println!("no http archive in apt's sources") };
    let proxy = start();
    let idle = proxy.private_mb();
    let peak = proxy.learn(&archive, 1);
    println!(
        "{}: {:.2} s of CPU, at most {:.1} MB above idle ({idle:.1} MB)",
        archive.packages_name,
        proxy.thread_cpu_s("learn"),
        peak - idle
    );
    proxy.print_log("learnt");
}

fn memory() {
    let proxy = start();
    println!("{:>28} {:>6.1} MB", "fresh", proxy.private_mb());
    if let Some(archive) = Archive::of_this_machine() {
        proxy.learn(&archive, 1);
    }
    thread::sleep(Duration::from_secs(7));
    println!("{:>28} {:>6.1} MB", "archive learnt, idle", proxy.private_mb());
    let upstream = Upstream::start("127.0.0.1", 0);
    let small: Vec<_> = (0..100).map(|n| upstream.add_by_hash(10_000 + n)).collect();
    let url = |path: &String| format!("http://{}{path}", upstream.address);
    let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(proxy.address).expect("accepted")).collect();
    let ask = |n: usize, mut client: &TcpStream| {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url(&small[n % small.len()]));
        client.write_all(request.as_bytes()).expect("a request");
        read_answer(&mut client);
    };
    clients.iter().enumerate().for_each(|(n, client)| ask(n, client));
    println!("{:>28} {:>6.1} MB", "50 keep-alive clients", proxy.private_mb());
    for n in 0..10_000 {
        ask(n, &clients[n % clients.len()]);
    }
    println!("{:>28} {:>6.1} MB", "after 10,000 requests", proxy.private_mb());
    let big = upstream.add_by_hash(2_000_000_000);
    let seen = Arc::new(Mutex::new(0.0_f64));
    let done = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) == 0 {
                let now = proxy.private_mb();
                let mut seen = seen.lock().expect("no panic");
                *seen = seen.max(now);
                drop(seen);
                thread::sleep(Duration::from_millis(20));
            }
        });
        get(proxy.address, &url(&big), None);
        done.store(1, Ordering::SeqCst);
    });
    println!("{:>28} {:>6.1} MB", "during a 2 GB file, at most", seen.lock().expect("no panic"));
    println!("{:>28} {:>6.1} MB", "after it", proxy.private_mb());
}

fn spread(name: &str, times: &mut [Duration]) -> String {
    times.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
    format!("{name}: p50 {:.1} ms, max {:.1} ms of {}", ms(p50), ms(max), times.len())
}

/// The real archive that this machine's apt is configured with, read from apt itself.
struct Archive {
    in_release: String,
    packages: String,
    packages_name: String,
}

impl Archive {
    fn of_this_machine() -> Option<Archive> {
        let (suite, index) = archive_of_this_machine()?;
        let (in_release, packages) = (format!("{suite}/InRelease"), format!("{suite}/{index}"));
        Some(Archive { in_release, packages, packages_name: index })
    }
}

/// The program, sharing nothing.
fn start() -> Proxy {
    Proxy::start(&["--share", "off"])
}

impl Proxy {
    /// Fetches the archive's index, waits until it is learnt, and tells the most private memory seen meanwhile.
    fn learn(&self, archive: &Archive, times: usize) -> f64 {
        get(self.address, &archive.in_release, None);
        get(self.address, &archive.packages, None);
        let mut peak = 0.0_f64;
        let start = Instant::now();
        while self.log().iter().filter(|line| line.contains("learnt ")).count() < times {
            assert!(start.elapsed() < Duration::from_secs(60), "the index is learnt within a minute");
            peak = peak.max(self.private_mb());
            thread::sleep(Duration::from_millis(10));
        }
        peak
    }

    /// Bytes that a thread has handed to the kernel to write.
    fn thread_written(&self, name: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives");
        let written = |task: fs::DirEntry| -> Option<u64> {
            let comm = fs::read_to_string(task.path().join("comm")).ok()?;
            let io = fs::read_to_string(task.path().join("io")).ok().filter(|_| comm.trim() == name)?;
            io.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
        };
        tasks.flatten().filter_map(written).sum()
    }

    fn thread_cpu_s(&self, name: &str) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives");
        let ticks = |stat: String| -> Option<(String, f64)> {
            let (head, tail) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = tail.split_whitespace().collect();
            let total = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
            Some((head.split_once('(')?.1.to_owned(), total))
        };
        let stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        stats.filter_map(ticks).filter(|(thread, _)| thread == name).map(|(_, ticks)| ticks / 100.0).sum()
    }
}

/// What lies under a path.
#[derive(Clone)]
enum Body {
    /// So many bytes of [`pattern`].
    Pattern(u64),
    Bytes(Arc<Vec<u8>>),
}

/// A mirror that serves bytes at a bounded rate.
struct Upstream {
    address: SocketAddr,
    files: Arc<Mutex<BTreeMap<String, Body>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// `rate` in bytes a second; 0 is full speed.
    fn start(ip: &str, rate: u64) -> Upstream {
        let listener = TcpListener::bind((ip, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let upstream = Upstream { address, files: Arc::default(), log: Arc::default() };
        let (files, log) = (Arc::clone(&upstream.files), Arc::clone(&upstream.log));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Else the body waits for the head's acknowledgement.
                stream.set_nodelay(true).ok();
                let (files, log) = (Arc::clone(&files), Arc::clone(&log));
                thread::spawn(move || serve(&stream, &files, &log, rate));
            }
        });
        upstream
    }

    /// A file of `len` bytes under the path that its digest names.
    fn add_by_hash(&self, len: u64) -> String {
        let mut hasher = PieceHasher::default();
        let block = pattern();
        let mut left = len;
        while left > 0 {
            let now = left.min(block.len() as u64);
            hasher.update(&block[..usize::try_from(now).expect("a block")], |_| ());
            left -= now;
        }
        let digest = hasher.finish();
        let path = format!("/debian/dists/x/main/binary-amd64/by-hash/SHA256/{digest}");
        self.files.lock().expect("no panic").insert(path.clone(), Body::Pattern(len));
        path
    }

    /// A suite with one index of `count` packages, 1.5% of which differ from one version to the next.
    fn publish_index(&self, count: u32, version: u32) {
        let mut text = String::new();
        for n in 0..count {
            let edition = if n % 67 == 0 { version } else { 1 };
            writeln!(
                text,
                "Package: package{n}\nVersion: {edition}\nArchitecture: amd64\nFilename: \
                 pool/main/p/package{n}/package{n}_{edition}_amd64.deb\nSize: {}\nSHA256: {}\nDescription: a package of \
                 some use to somebody, described in a line of usual length\n",
                n + 1000,
                Digest::of(&[n.to_be_bytes(), edition.to_be_bytes()].concat())
            )
            .expect("a String takes all");
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).expect("memory grows");
        let index = gzip.finish().expect("memory grows");
        let date = ["Sat, 01 Mar 2025 10:00:00 UTC", "Sun, 02 Mar 2025 10:00:00 UTC"][version as usize - 1];
        let (digest, len) = (Digest::of(&index), index.len());
        let release = format!("Origin: X\nDate: {date}\nSHA256:\n {digest} {len} main/binary-amd64/Packages.gz\n");
        let mut files = self.files.lock().expect("no panic");
        let base = "/debian/dists/x";
        files.insert(format!("{base}/InRelease"), Body::Bytes(Arc::new(release.into_bytes())));
        files.insert(format!("{base}/main/binary-amd64/Packages.gz"), Body::Bytes(Arc::new(index)));
    }

    fn fetches(&self, path: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|line| line.contains(path)).count()
    }
}

fn pattern() -> Vec<u8> {
    (0..65_536_u32).map(|i| u8::try_from(i * 31 % 251).expect("below 251")).collect()
}

fn serve(stream: &TcpStream, files: &Mutex<BTreeMap<String, Body>>, log: &Mutex<Vec<String>>, rate: u64) {
    let mut lines = BufReader::new(stream).lines();
    let mut out = stream;
    while let Some(Ok(request)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        log.lock().expect("no panic").push(request.clone());
        let path = request.split(' ').nth(1).unwrap_or("");
        let Some(body) = files.lock().expect("no panic").get(path).cloned() else {
            out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok();
            continue;
        };
        let (len, block) = match &body {
            Body::Pattern(len) => (*len, pattern()),
            Body::Bytes(bytes) => (bytes.len() as u64, bytes.to_vec()),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nLast-Modified: Sat, 01 Mar 2025 10:00:00 GMT\r\n\r\n"
        );
        if out.write_all(head.as_bytes()).is_err() {
            return;
        }
        let start = Instant::now();
        let mut sent = 0;
        while sent < len {
            let now = usize::try_from((len - sent).min(block.len() as u64)).expect("a block");
            if out.write_all(&block[..now]).is_err() {
                return;
            }
            sent += now as u64;
            if rate > 0 {
                let due = Duration::from_secs_f64(sent as f64 / rate as f64);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
        }
    }
}

/// An address that neither accepts nor refuses: a listener whose queue is full.
struct Blackhole {
    address: SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _fillers: Vec<rustix::fd::OwnedFd>,
}

impl Blackhole {
    fn new() -> Blackhole {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
        let socket = |flags| {
            socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)
                .expect("a socket")
        };
        let listener = socket(SocketFlags::empty());
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
        listen(&listener, 0).expect("listens");
        let address: SocketAddr = getsockname(&listener).expect("bound").try_into().expect("an internet address");
        let fillers: Vec<_> = (0..4)
            .map(|_| {
                let filler = socket(SocketFlags::NONBLOCK);
                connect(&filler, &address).ok();
                filler
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        Blackhole { address, _listener: listener, _fillers: fillers }
    }
}

fn request(proxy: SocketAddr, url: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).expect("the proxy accepts");
    // In one write: in several, each would wait for the other side's acknowledgement.
    let text = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).expect("a request");
    stream
}

/// Fetches `url` and checks each byte of what an [`Upstream`] sends; when the first came after `start`, and how many.
fn get(server: SocketAddr, url: &str, start: Option<Instant>) -> (Duration, u64) {
    let mut stream = request(server, url);
    read_body(
        &mut stream,
        start.unwrap_or_else(Instant::now),
        url.contains("/by-hash/SHA256/") && url.contains("127."),
    )
}

fn read_answer(stream: &mut impl Read) {
    read_body(stream, Instant::now(), true);
}

fn read_body(stream: &mut impl Read, start: Instant, check_bytes: bool) -> (Duration, u64) {
    let mut buffer = vec![0; 65_536];
    let mut head = Vec::new();
    let mut first = None;
    let body_start = loop {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "the answer ends in its head: {}", String::from_utf8_lossy(&head));
        first.get_or_insert_with(|| start.elapsed());
        head.extend_from_slice(&buffer[..read]);
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..body_start]).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let len = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
    let len = len.expect("a length");
    let pattern = pattern();
    let mut here = 0_u64;
    let mut check = |bytes: &[u8]| {
        let mut at = usize::try_from(here % pattern.len() as u64).expect("inside the pattern");
        let mut rest = bytes;
        while check_bytes && !rest.is_empty() {
            let now = rest.len().min(pattern.len() - at);
            assert!(rest[..now] == pattern[at..at + now], "wrong bytes behind byte {here}");
            (rest, at) = (&rest[now..], 0);
        }
        here += bytes.len() as u64;
        here
    };
    let mut total = check(&head[body_start..]);
    while total < len {
        let left = usize::try_from(len - total).unwrap_or(usize::MAX).min(buffer.len());
        let read = stream.read(&mut buffer[..left]).expect("the body");
        assert!(read > 0, "the body ends after {total} of {len} bytes");
        total = check(&buffer[..read]);
    }
    (first.expect("a byte came"), total)
}
