//! Many clients, one download; and mirrors that answer never.

#![expect(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use support::client::{Client, get};
use support::daemon::Daemon;
use support::mirror::{Blackhole, Mirror};
use support::{Scratch, noise, wait_until};

#[test]
fn twenty_clients_share_one_download_and_each_gets_bytes_while_it_runs() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let content = Arc::new(noise(12_000_000, 1));
    let path = mirror.put_by_hash(&content[..]);
    let url = mirror.url(&path);
    // The mirror stops after a third, until every client has had its share of that.
    mirror.hold_after(4_000_000);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(daemon.address)).collect();
    for client in &mut clients {
        client.ask("GET", &url, &[]);
    }
    for client in &mut clients {
        assert_eq!(client.head().status, 200);
        assert!(client.read_some(3_900_000) == content[..3_900_000]);
    }
    // One leaves, a late one comes: neither disturbs the others.
    clients.pop();
    let mut late = Client::connect(daemon.address);
    late.ask("GET", &url, &[]);
    assert_eq!(late.head().status, 200);
    assert!(late.read_some(1_000_000) == content[..1_000_000]);
    mirror.release();
    for client in &mut clients {
        assert!(client.read_some(8_100_000) == content[3_900_000..]);
    }
    assert!(late.read_some(11_000_000) == content[1_000_000..]);
    assert_eq!(mirror.seen(&path).len(), 1);
}

#[test]
fn a_download_goes_on_when_its_first_client_leaves() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let content = noise(3_000_000, 2);
    let path = mirror.put_by_hash(&content[..]);
    mirror.hold_after(1_000_000);
    let mut first = Client::connect(daemon.address);
    first.ask("GET", &mirror.url(&path), &[]);
    first.head();
    first.read_some(500_000);
    drop(first);
    mirror.release();
    wait_until(Duration::from_secs(20), "the mirror sends all", || mirror.sent(&path) == 3_000_000);
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    assert_eq!(mirror.seen(&path).len(), 1);
}

#[test]
fn a_mirror_that_answers_never_delays_nobody_else() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let warm = mirror.put_by_hash(&b"warm"[..]);
    get(daemon.address, &mirror.url(&warm));
    let hole = Blackhole::new();
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let mut client = Client::connect(daemon.address);
            client.ask("GET", &format!("http://{}/debian/pool/a/a_{n}_all.deb", hole.address), &[]);
            client
        })
        .collect();
    // These must be answered while all others hang: each of those takes the connect time-out of 5 s.
    for n in 0..20_u64 {
        assert_eq!(get(daemon.address, &mirror.url(&warm)).body, b"warm");
        let content = noise(1000, n);
        assert!(get(daemon.address, &mirror.url(&mirror.put_by_hash(&content[..]))).body == content);
    }
    assert!(waiting.iter().all(Client::is_waiting), "40 requests took longer than a dead mirror");
    for mut client in waiting {
        let answer = client.read("GET");
        assert_eq!(answer.status, 504, "{}", answer.text());
    }
}

#[test]
fn three_hundred_slow_readers_and_one_quick_one() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let content = noise(20_000_000, 3);
    let (path, small) = (mirror.put_by_hash(&content[..]), mirror.put_by_hash(&b"small"[..]));
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    get(daemon.address, &mirror.url(&small));
    let mut slow: Vec<_> = (0..300)
        .map(|_| {
            let mut client = Client::connect(daemon.address);
            client.ask("GET", &mirror.url(&path), &[]);
            client
        })
        .collect();
    for client in &mut slow {
        assert_eq!(client.head().status, 200);
        assert!(client.read_some(10_000) == content[..10_000]);
    }
    // All of them hang on a full socket now, and cost no thread.
    for _ in 0..20 {
        assert_eq!(get(daemon.address, &mirror.url(&small)).body, b"small");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let threads: usize =
        status.lines().find_map(|l| l.strip_prefix("Threads:")).expect("a line").trim().parse().expect("a number");
    assert!(threads < 40, "{threads} threads");
    assert!(daemon.private_kb() < 12 * 1024, "{} KB", daemon.private_kb());
    for client in &mut slow {
        assert!(client.read_some(10_000) == content[10_000..20_000]);
    }
}

#[test]
fn a_flood_of_pipelined_requests_is_answered_in_order_and_bounded() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let mut writer = Client::connect(daemon.address);
    let requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let before = daemon.private_kb();
    let mut stream = std::net::TcpStream::connect(daemon.address).expect("accepted");
    // This one never reads: it must be held back by its own socket, not by our memory.
    stream.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    while let Ok(len) = std::io::Write::write(&mut stream, requests.as_bytes()) {
        sent += len;
        if sent > 50_000_000 {
            break;
        }
    }
    for _ in 0..10 {
        writer.send(&requests);
        for _ in 0..1000 {
            assert_eq!(writer.read("GET").status, 406);
        }
    }
    assert!(daemon.private_kb() < before + 4096, "{} KB, {before} KB before", daemon.private_kb());
}

#[test]
fn a_burst_of_connections_is_answered() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    for _ in 0..5 {
        let address = daemon.address;
        let burst: Vec<_> = (0..64).map(|_| thread::spawn(move || get(address, "/").status)).collect();
        assert!(burst.into_iter().all(|client| client.join().expect("an answer") == 406));
    }
}
