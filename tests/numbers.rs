//! The proxy's numbers beside what a mirror, the clients and the log have counted themselves.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, get, get_with};
use support::daemon::Daemon;
use support::mirror::{DATE, Fault, Mirror};
use support::{Scratch, noise, skip, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// Each line of the metrics: name with labels, and value.
fn metrics(daemon: &Daemon) -> BTreeMap<String, u64> {
    let text = get(daemon.address, "/metrics").text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.strip_prefix("apt_p2p_").expect("our name");
            (name.to_owned(), value.parse().expect("a whole number"))
        })
        .collect()
}

/// Requests and bytes by the word for their source, as the log has them.
fn logged(daemon: &Daemon) -> BTreeMap<String, (u64, u64)> {
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in daemon.log() {
        if let Some((before, after)) = line.split_once(" bytes from ") {
            let bytes: u64 = before.rsplit(' ').next().expect("a word").parse().expect("a number");
            let source = after.split(' ').next().expect("a word");
            let sum = all.entry(source.to_owned()).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
        }
    }
    all
}

#[test]
fn they_agree_with_the_mirror_s_and_the_clients_to_the_byte() {
    let scratch = Scratch::new();
    let (cache, mirror) = (scratch.path().join("cache"), Mirror::start());
    let flags = ["--allow-upstream", "127.0.0.0/8"];
    Archive::new(vec![Package::new("a", "1", 100)]).publish(&mirror, None);
    let release = mirror.url(&format!("{SUITE}/InRelease"));
    let loose = "/other/pool/l/loose_1_all.deb";
    mirror.put(loose, noise(120_000, 5));
    let before = Daemon::start_with(&cache, &flags);
    assert!(get(before.address, &release).is_good() && get(before.address, &mirror.url(loose)).is_good());
    assert_eq!(before.terminate(), Some(0));

    let (known, daemon) = (mirror.sent_in_all(), Daemon::start_with(&cache, &flags));
    let mut got = 0;
    let mut take = |path: &str, lines: &[&str], status: u16| {
        let answer = get_with(daemon.address, path, lines);
        assert!(answer.status == status && answer.whole, "{path}: {} {}", answer.status, answer.text());
        if answer.status < 300 {
            got += answer.body.len() as u64;
        }
    };
    // What has not changed at the mirror is served from here: two hits.
    take(&release, &[], 200);
    take(&mirror.url(loose), &[], 200);
    // A miss, and four hits: all of it, a part, nothing new, nothing beyond the end.
    let content = noise(700_001, 1);
    let url = mirror.url(&mirror.put_by_hash(&content[..]));
    take(&url, &[], 200);
    take(&url, &[], 200);
    take(&url, &["Range: bytes=700000-"], 206);
    take(&url, &[&format!("If-Modified-Since: {DATE}")], 304);
    take(&url, &["Range: bytes=700001-"], 416);
    // A miss in part: the mirror sends all of it.
    let other = mirror.url(&mirror.put_by_hash(noise(90_000, 2)));
    take(&other, &["Range: bytes=10-19"], 206);
    // No files: what is not there, what the mirror refuses, what is no archive's, and the page.
    take(&mirror.url("/debian/pool/n/none_1_all.deb"), &[], 404);
    mirror.fault("/debian/pool/f/fault_1_all.deb", Fault::Status(503));
    take(&mirror.url("/debian/pool/f/fault_1_all.deb"), &[], 503);
    take(&mirror.url("/index.php"), &[], 403);
    take("/", &[], 406);
    // Two that want the same at once, of whom the first goes away in the middle, and the download does not.
    let shared = noise(3_000_000, 3);
    let path = mirror.put_by_hash(&shared[..]);
    mirror.hold_after(1_000_000);
    let mut leaving = Client::connect(daemon.address);
    leaving.ask("GET", &mirror.url(&path), &[]);
    assert_eq!(leaving.head().status, 200);
    leaving.read_some(800_000);
    let mut staying = Client::connect(daemon.address);
    staying.ask("GET", &mirror.url(&path), &[]);
    assert_eq!(staying.head().status, 200);
    assert!(staying.read_some(800_000) == shared[..800_000]);
    drop(leaving);
    mirror.release();
    assert!(staying.read_some(2_200_000) == shared[800_000..]);
    got += 3_000_000;

    // The log has one line for each request, written when it is over.
    let requests = 14;
    wait_until(LONG, "all is over", || logged(&daemon).values().map(|sum| sum.0).sum::<u64>() == requests);
    let (log, told) = (logged(&daemon), metrics(&daemon));
    let (cache_log, mirror_log) = (log["cache"], log["mirror"]);
    assert_eq!(told["received_bytes_total{from=\"mirror\"}"], mirror.sent_in_all() - known);
    assert_eq!(told["received_bytes_total{from=\"mirror\"}"], 700_001 + 90_000 + 3_000_000);
    let of = |name: &str, result: &str| told[&format!("{name}{{result=\"{result}\"}}")];
    assert_eq!([of("requests_total", "hit"), of("sent_bytes_total", "hit")], [cache_log.0, cache_log.1]);
    assert_eq!(of("requests_total", "hit"), 6);
    assert_eq!(of("requests_total", "miss") + of("requests_total", "joined"), mirror_log.0);
    assert_eq!([of("requests_total", "miss"), of("requests_total", "joined")], [3, 1]);
    assert_eq!(of("sent_bytes_total", "joined"), 3_000_000);
    let sent: u64 = ["hit", "miss", "joined"].iter().map(|result| of("sent_bytes_total", result)).sum();
    assert_eq!(sent, cache_log.1 + mirror_log.1);
    // What the one who left had been sent is known here alone.
    let left = of("sent_bytes_total", "miss") - 700_001 - 10;
    assert!((800_000..3_000_000).contains(&left), "{left}");
    assert_eq!(sent, got + left);
    let status = get(daemon.address, "/status.json").text();
    for number in [format!("\"bytes_sent\":{sent},"), format!("\"hits\":{{\"count\":6,\"bytes\":{}}}", cache_log.1)] {
        assert!(status.contains(&number), "{number} in {status}");
    }
    // Each failure of a mirror is told, with what to do, and what is merely not there is none.
    assert!(status.contains("\"what\":\"") && status.contains("503"), "{status}");
    assert!(!status.contains("none_1_all"), "{status}");
}

#[test]
fn prometheus_understands_them() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let url = mirror.url(&mirror.put_by_hash(noise(5000, 1)));
    assert!(get(daemon.address, &url).is_good());
    let text = get(daemon.address, "/metrics").text();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else { return skip("promtool (prometheus)") };
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let said = promtool.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && told.trim().is_empty(), "{told}");
}
