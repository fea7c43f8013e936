//! What peers cost and what they bring: the same proxy with `--share off` and with sharing, side by side in one run.
//!
//! ```text
//! cargo bench --bench peers                     all of it
//! cargo bench --bench peers -- slower 25 80     only the parts with this name, mirrors of 25 MB/s, a round trip of 80 ms
//! ```
//!
//! `slower`  50 packages, and one of 10 KB many times: without peers, with half of the DHT's nodes silent, with eight peers
//!           of which four are silent, slow or lying; mirrors at 3 and 25 MB/s and full speed, near and 80 ms away
//! `silent`  a DHT of 24 nodes of which 12 are silent: a cold file of 40 KB
//! `faster`  100 MB from a mirror at 3 MB/s and four peers at 3 MB/s each
//! `lan`     100 MB from three neighbours over 1 Gbit/s, in network namespaces (as root)
//! `memory`  the index of the archive that this machine's apt uses learnt, and 5,000 files announced (takes an hour)
//!
//! Each pair of DHT nodes has a round trip of its own between 20 and 200 ms. Traffic stays on loopback and in namespaces,
//! but for `memory`, which fetches that archive's index through the proxy.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks and starts threads")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

mod client;
mod lan;
mod network;
#[path = "../../tests/support/nodes.rs"]
mod nodes;
#[path = "../support/proxy.rs"]
mod proxy;
mod server;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use apt_p2p::digest::Digest;
use client::Client;
use network::Network;
use proxy::Proxy;
use server::{File, Habit, Server};

const MB: u64 = 1_000_000;
/// Nodes of the DHT, unless said otherwise.
const NODES: u8 = 60;
/// What a good peer gives, and how far it is.
const PEER_RATE: u64 = 3 * MB;
const PEER_RTT: Duration = Duration::from_millis(40);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| words.first().is_none_or(|word| name == word);
    match words.first().map(String::as_str) {
        // What it runs of itself in a network namespace.
        Some("serve") => return lan::serve(&words[1..]),
        Some("fetch") => return lan::fetch(&words[1..]),
        _ => {}
    }
    type Part = fn(&[String]);
    let all: [(&str, Part); 5] =
        [("slower", slower), ("silent", silent), ("faster", faster), ("lan", lan::lan), ("memory", memory)];
    for (name, run) in all {
        if is_wanted(name) {
            println!("── {name}");
            run(words.get(1..).unwrap_or_default());
        }
    }
}

/// What there is besides the mirror.
#[derive(Clone, Copy, PartialEq, Debug)]
enum With {
    NoPeers,
    HalfOfNodesSilent,
    /// So many, of which half are so.
    Peers(usize, Habit),
}

/// What is measured.
struct Case {
    /// Of the mirror, in bytes a second; 0: as fast as it goes.
    rate: u64,
    rtt: Duration,
    with: With,
    nodes: u8,
    /// Lengths of the packages of one round.
    packages: Vec<u64>,
    rounds: u64,
    /// How many files are fetched one by one, and how long they are.
    small: (u64, u64),
}

/// A mirror, a DHT and two proxies that differ in one thing.
struct World {
    mirror: Server,
    _network: Network,
    peers: Vec<Server>,
    off: Proxy,
    on: Proxy,
    rounds: Vec<Vec<File>>,
    small: Vec<File>,
}

impl World {
    fn new(Case { rate, rtt, with, nodes, packages, rounds, small }: Case) -> World {
        static CASE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(40);
        let case = CASE.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let seed = |round: u64, n: u64| u64::from(case) << 32 | round << 16 | n;
        let mirror = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), rate, rtt, Habit::Honest);
        let set = |round| (0..).zip(&packages).map(|(n, len)| File::new(*len, seed(round, n))).collect::<Vec<_>>();
        let rounds: Vec<Vec<File>> = (1..=rounds).map(set).collect();
        let small: Vec<File> = (0..small.0).map(|n| File::new(small.1, seed(0, n))).collect();
        let all: Vec<&File> = rounds.iter().flatten().chain(&small).collect();
        publish(&mirror, &all);
        let network = Network::start(case, nodes);
        let peers = match with {
            With::Peers(count, bad) => start_peers(&network, count, bad, &all),
            With::NoPeers | With::HalfOfNodesSilent => Vec::new(),
        };
        let large = rounds.iter().flatten().filter(|file| !file.table.is_empty()).cloned().collect();
        network.announce(if peers.is_empty() { Vec::new() } else { large }, peers.len());
        let off = Proxy::start(&["--share", "off"]);
        let on = Proxy::start(&sharing(network.addresses[0], &mirror, case).each_ref().map(String::as_str));
        let suite = format!("http://{}/debian/dists/x", mirror.address);
        off.update(&suite);
        on.update(&suite);
        // It has met the others.
        std::thread::sleep(Duration::from_secs(4));
        if with == With::HalfOfNodesSilent {
            network.silence_half();
        }
        World { mirror, _network: network, peers, off, on, rounds, small }
    }

    fn urls(&self, files: &[File]) -> Vec<(String, Digest)> {
        let url = |file: &File| (format!("http://{}{}", self.mirror.address, pool_path(file)), file.digest);
        files.iter().map(url).collect()
    }
}

fn sharing(entrance: SocketAddr, mirror: &Server, case: u8) -> [String; 12] {
    let public = format!("{}/debian", mirror.address);
    let (listen, bootstrap) = (format!("127.{case}.250.1:20250"), entrance.to_string());
    let flags = ["--share", "internet", "--network", network::NAME, "--mainline", "off", "--public", &public];
    let flags = [&flags[..], &["--peer-listen", &listen, "--bootstrap", &bootstrap]].concat();
    std::array::from_fn(|n| flags[n].to_owned())
}

/// Good peers and others, in turn.
fn start_peers(network: &Network, count: usize, bad: Habit, files: &[&File]) -> Vec<Server> {
    let start = |n: usize| {
        let habit = if n.is_multiple_of(2) { Habit::Honest } else { bad };
        let peer = Server::start(network.addresses[n], PEER_RATE, PEER_RTT, habit);
        files.iter().for_each(|file| peer.share(file));
        peer
    };
    (0..count).map(start).collect()
}

/// Sizes of 50 packages, 31 MB in all, spread as Debian's are: 40 of one piece, six of 2 to 4, three of 5 to 8, one of 18.
fn package_len(n: u64) -> u64 {
    match n {
        0..40 => 10_000 + 250 * n * n,
        40..46 => 700_000 + 260_000 * (n - 40),
        46..49 => 2_500_000 + 500_000 * (n - 46),
        _ => 9_000_000,
    }
}

fn pool_path(file: &File) -> String {
    format!("/debian/pool/main/p/{}.deb", file.digest)
}

/// Puts the files on a mirror, with an index that promises them.
fn publish(mirror: &Server, files: &[&File]) {
    let mut text = String::new();
    for file in files {
        let (path, digest) = (pool_path(file), file.digest);
        let path = path.trim_start_matches("/debian/");
        writeln!(text, "Package: p{digest}\nVersion: 1\nFilename: {path}\nSize: {}\nSHA256: {digest}\n", file.len)
            .expect("a String takes all");
        mirror.put(&pool_path(file), file);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("memory grows");
    let index = gzip.finish().expect("memory grows");
    let (digest, len) = (Digest::of(&index), index.len());
    let release = format!(
        "Origin: X\nDate: Sat, 01 Mar 2025 10:00:00 UTC\nSHA256:\n {digest} {len} main/binary-amd64/Packages.gz\n"
    );
    mirror.put_bytes("/debian/dists/x/InRelease", release.into_bytes());
    mirror.put_bytes("/debian/dists/x/main/binary-amd64/Packages.gz", index);
}

fn slower(words: &[String]) {
    println!(
        "| mirror | round trip | beside it | 50 packages, off / on s | ratio | 10 KB p50, off / on ms | p99 | from peers |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let asked_rate = words.first().map(|word| word.parse::<u64>().expect("MB a second, 0 for full speed"));
    let asked_rtt = words.get(1).map(|word| word.parse::<u64>().expect("milliseconds"));
    for rate in [3, 25, 0].into_iter().filter(|rate| asked_rate.is_none_or(|asked| asked == *rate)) {
        for rtt in [0, 80].into_iter().filter(|rtt| asked_rtt.is_none_or(|asked| asked == *rtt)) {
            for (name, with) in [
                ("no peers", With::NoPeers),
                ("half of all nodes silent", With::HalfOfNodesSilent),
                ("half of 8 peers silent", With::Peers(8, Habit::Silent)),
                ("half of 8 peers at 50 KB/s", With::Peers(8, Habit::Slow)),
                ("half of 8 peers lying", With::Peers(8, Habit::Lies)),
            ] {
                if words.get(2).is_some_and(|word| !name.contains(word.as_str())) {
                    continue;
                }
                let rounds = match (rate, rtt) {
                    (3, _) => 3_u64,
                    // These take a tenth of a second, which varies by a tenth.
                    (0, 0) if with == With::NoPeers || with == With::HalfOfNodesSilent => 31,
                    (0, 0) => 15,
                    _ => 7,
                };
                let packages = (0..50).map(|n| package_len(n * 17 % 50)).collect();
                let (rtt_time, small) = (Duration::from_millis(rtt), (200, 10_000));
                let (rate_all, nodes) = (rate * MB, NODES);
                let world = World::new(Case { rate: rate_all, rtt: rtt_time, with, nodes, packages, rounds, small });
                print!(
                    "| {} | {rtt} ms | {name} ",
                    if rate == 0 { "full speed".into() } else { format!("{rate} MB/s") }
                );
                compare(&world);
            }
        }
    }
}

/// Both proxies in turn: sets of packages, then small files.
fn compare(world: &World) {
    let (off_50, on_50, ratio) = sets(world);
    let (mut off, mut on) = small_files(world);
    let from_peers: u64 = world.peers.iter().map(Server::sent).sum();
    println!(
        "| {:.3} / {:.3} | {:.3} | {} / {} | {} / {} | {:.1} MB |",
        off_50.as_secs_f64(),
        on_50.as_secs_f64(),
        ratio,
        ms(at(&mut off, 50)),
        ms(at(&mut on, 50)),
        ms(at(&mut off, 99)),
        ms(at(&mut on, 99)),
        from_peers as f64 / MB as f64
    );
}

/// What a round takes, off and on, and the ratio of these within a round: all at the median.
fn sets(world: &World) -> (Duration, Duration, f64) {
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for (n, set) in world.rounds.iter().enumerate() {
        let urls = world.urls(set);
        for turn in 0..2 {
            let is_off = (n + turn).is_multiple_of(2);
            let proxy = if is_off { &world.off } else { &world.on };
            let start = Instant::now();
            Client::connect(proxy.address).get_all(&urls);
            (if is_off { &mut off } else { &mut on }).push(start.elapsed());
        }
    }
    let mut ratios: Vec<f64> = off.iter().zip(&on).map(|(off, on)| on.as_secs_f64() / off.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    (at(&mut off, 50), at(&mut on, 50), ratios[ratios.len() / 2])
}

fn small_files(world: &World) -> (Vec<Duration>, Vec<Duration>) {
    let mut clients = [Client::connect(world.off.address), Client::connect(world.on.address)];
    let mut times = [Vec::new(), Vec::new()];
    for (n, (url, digest)) in world.urls(&world.small).into_iter().enumerate() {
        for turn in 0..2 {
            let which = (n + turn) % 2;
            let start = Instant::now();
            assert_eq!(clients[which].get(&url), digest);
            times[which].push(start.elapsed());
        }
    }
    times.into()
}

fn silent(_: &[String]) {
    println!("| round trip | mirror itself p50 / p99 ms | off | with 12 of 24 nodes silent |");
    println!("|---|---|---|---|");
    for rtt in [0, 80] {
        let world = World::new(Case {
            rate: 3 * MB,
            rtt: Duration::from_millis(rtt),
            with: With::HalfOfNodesSilent,
            nodes: 24,
            packages: Vec::new(),
            rounds: 0,
            small: (150, 40_000),
        });
        let mut own = Vec::new();
        let mut client = Client::connect(world.mirror.address);
        for file in &world.small {
            let start = Instant::now();
            assert_eq!(client.get(&pool_path(file)), file.digest);
            own.push(start.elapsed());
        }
        let (mut off, mut on) = small_files(&world);
        let span = |times: &mut Vec<Duration>| format!("{} / {}", ms(at(times, 50)), ms(at(times, 99)));
        println!("| {rtt} ms | {} | {} | {} |", span(&mut own), span(&mut off), span(&mut on));
    }
}

fn faster(_: &[String]) {
    println!("| what | 100 MB from a mirror at 3 MB/s alone | with four peers at 3 MB/s each | times as fast |");
    println!("|---|---|---|---|");
    let (rate, rtt) = (3 * MB, Duration::from_millis(20));
    let with = With::Peers(4, Habit::Honest);
    let packages = vec![100 * MB];
    let world = World::new(Case { rate, rtt, with, nodes: NODES, packages, rounds: 3, small: (0, 0) });
    let (off, on, _) = sets(&world);
    let (off, on) = (off.as_secs_f64(), on.as_secs_f64());
    println!("| peers 40 ms away | {off:.2} s | {on:.2} s | {:.2} |", off / on);
}

fn memory(_: &[String]) {
    const FILES: u64 = 5_000;
    let mirror = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), 0, Duration::ZERO, Habit::Honest);
    let files: Vec<File> = (0..FILES).map(|n| File::new(1000, n)).collect();
    publish(&mirror, &files.iter().collect::<Vec<_>>());
    let nodes = network::dialling(24);
    let proxy = Proxy::start(&sharing(nodes[0].addresses()[0], &mirror, 39).each_ref().map(String::as_str));
    println!("{:>40} {:>6.1} MB", "fresh", proxy.private_mb());
    proxy.update(&format!("http://{}/debian/dists/x", mirror.address));
    match proxy::archive_of_this_machine() {
        Some((suite, packages)) => {
            let mut client = Client::connect(proxy.address);
            client.get(&format!("{suite}/InRelease"));
            client.get(&format!("{suite}/{packages}"));
            let index = format!("learnt {suite}/{}:", packages.trim_end_matches(".xz")).replace("http://", "");
            proxy.wait_for_log(&index, 120);
        }
        None => println!("no http archive in apt's sources"),
    }
    println!("{:>40} {:>6.1} MB", "archive learnt", proxy.private_mb());
    let url = |file: &File| (format!("http://{}{}", mirror.address, pool_path(file)), file.digest);
    Client::connect(proxy.address).get_all(&files.iter().map(url).collect::<Vec<_>>());
    println!("{:>40} {:>6.1} MB", "5,000 files stored", proxy.private_mb());
    let start = Instant::now();
    let mut most = 0.0_f64;
    let (mut announced, mut said) = (0, 0);
    while announced < FILES && start.elapsed() < Duration::from_secs(3 * 3600) {
        std::thread::sleep(Duration::from_secs(5));
        most = most.max(proxy.private_mb());
        announced = proxy.announced();
        if announced >= said + 1000 {
            said = announced;
            let what = format!("{announced} announced after {} s", start.elapsed().as_secs());
            println!("{what:>40} {:>6.1} MB, at most {most:.1}", proxy.private_mb());
        }
    }
    proxy.print_log("learnt ");
    print!("{}", proxy.dht());
}

/// The time within which so many percent of them were.
fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}
