//! The commands that ask the running proxy and the DHT, run as they are: beside running proxies, and without one.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use apt_p2p::catalog::ReleaseFile;
use apt_p2p::dht::Hint;
use apt_p2p::digest::Digest;
use apt_p2p::store::{NewSnapshot, Options, Store};
use apt_p2p::stream::Head;
use apt_p2p::time::Stamp;
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::overlay::{first_node, report};
use support::{Scratch, noise, wait_until};

const LONG: Duration = Duration::from_secs(30);

fn proxy(cache: &Path, ip: &str, bootstrap: &str) -> Daemon {
    let listen = format!("{ip}:0");
    let flags = ["--share", "internet", "--network", "test", "--mainline", "off"];
    Daemon::start_with(cache, &[&flags[..], &["--peer-listen", &listen, "--bootstrap", bootstrap]].concat())
}

fn run(cache: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words).arg("--cache").arg(cache).env("HOME", "/nonexistent").env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What follows one JSON value (RFC 8259), if the text begins with one.
fn after_json(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = |close: char, rest: &str| rest.trim_start().strip_prefix(close).map(str::len);
    match text.chars().next()? {
        open @ ('{' | '[') => {
            let close = if open == '{' { '}' } else { ']' };
            let mut rest = &text[1..];
            if let Some(len) = end(close, rest) {
                return Some(&rest[rest.len() - len..]);
            }
            loop {
                if open == '{' {
                    rest = rest.trim_start().starts_with('"').then(|| after_json(rest))??;
                    rest = rest.trim_start().strip_prefix(':')?;
                }
                rest = after_json(rest)?.trim_start();
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => return rest.strip_prefix(close),
                }
            }
        }
        '"' => {
            let mut is_escaped = false;
            let at = text[1..].find(|c: char| {
                let is_end = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            })?;
            Some(&text[at + 2..])
        }
        _ => {
            let len =
                text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.')).unwrap_or(text.len());
            let is_value = matches!(&text[..len], "true" | "false" | "null") || text[..len].parse::<f64>().is_ok();
            is_value.then_some(&text[len..])
        }
    }
}

/// Each line is one JSON object.
fn is_json(text: &str) -> bool {
    !text.is_empty() && text.lines().all(|line| line.starts_with('{') && after_json(line) == Some(""))
}

#[test]
fn the_json_check_sees_what_is_wrong() {
    assert!(is_json("{}\n{\"a\":[1,-2.5,{\"b\":null}],\"c\":\"x\\\"}\",\"d\":true}"));
    for bad in
        ["", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\":[1,]}", "{\"a\":1}}", "{\"a\":yes}", "1"]
    {
        assert!(!is_json(bad), "{bad}");
    }
}

#[test]
fn dht_lookup_and_crawl_beside_running_proxies() {
    let scratch = Scratch::new();
    let first = first_node("127.0.0.41");
    let begin = first.addresses()[0].to_string();
    let proxies: Vec<Daemon> =
        (2..=4).map(|n| proxy(&scratch.path().join(n.to_string()), &format!("127.0.0.4{n}"), &begin)).collect();
    let is_joined = || first.report().is_some_and(|report| report.nodes[0].contacts == 3);
    wait_until(LONG, "all three joined", is_joined);
    let cache = &proxies[0].cache;
    let dht = || out(&run(cache, &["dht", "--json"]));
    wait_until(LONG, "the first proxy knows the three others", || dht().contains("\"contacts\":3,"));
    let json = dht();
    assert!(is_json(&json) && json.starts_with("{\"network\":\"test\",\"addresses\":[\"127.0.0.42:"), "{json}");
    let text = out(&run(cache, &["dht"]));
    for word in ["network       test", "table       3 contacts", "seen at     127.0.0.42:", "a day at this rate"] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }

    let digest = Digest::of(b"a package");
    first.announce(first.key(&digest), Hint::new(&[7; 32]));
    let is_announced = || first.report().is_some_and(|report| report.traffic.announced == 1);
    wait_until(LONG, "it is announced", is_announced);
    let (digest, unknown) = (digest.to_string(), Digest::of(b"another").to_string());
    let alone = scratch.path().join("alone");
    let own = ["--network", "test", "--bootstrap", &begin];
    for (cache, more) in [(cache, &[][..]), (&alone, &own), (cache, &own)] {
        let output = run(cache, &[&["lookup", &digest], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), told(&output));
        let text = out(&output);
        for word in
            ["asked", "answered in ", &format!("it is at {begin}\n"), "says to have it:\n", "first peer after "]
        {
            assert!(text.contains(word), "{word:?} in\n{text}");
        }
        assert!(text.contains("it is said to have 2 pieces"), "{text}");
        assert_eq!(told(&output).contains("a node of its own"), !more.is_empty(), "{}", told(&output));

        let output = run(cache, &[&["lookup", &unknown], more].concat());
        let warnings = usize::from(!more.is_empty());
        assert_eq!((output.status.code(), told(&output).lines().count()), (Some(1), warnings), "{}", told(&output));
        assert!(out(&output).contains("nobody is known to have it\nover after "), "{}", out(&output));

        let output = run(cache, &[&["lookup", "--json", &digest], more].concat());
        let json = out(&output);
        assert!(is_json(&json) && output.status.success(), "{json}");
        let last = json.lines().last().expect("lines");
        assert!(
            last.starts_with("{\"event\":\"done\"") && last.contains(&format!("\"peers\":[\"{begin}\"]")),
            "{last}"
        );
    }

    let output = run(&alone, &[&["crawl"], &own[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = out(&output);
    for word in ["nodes           4, 0 of them with IPv6\n", "answer          4, 100%\n", "AP 0.1: 4, 100%\n"] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
    let json = out(&run(&alone, &[&["crawl", "--json"], &own[..]].concat()));
    assert!(is_json(&json) && json.contains("\"nodes\":4,") && json.contains("\"silent\":0,"), "{json}");
    assert_eq!(report(&first).nodes[0].contacts, 3, "no command is taken into a table");
    assert!(!alone.exists(), "a node of one command keeps nothing");
}

#[test]
fn without_a_proxy_or_a_dht_one_line_says_what_to_do() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let digest = Digest::of(b"a package").to_string();
    wait_until(LONG, "the control socket", || daemon.cache.join("control").exists());
    for (cache, words, status, says) in [
        (&scratch.path().join("none"), vec!["dht"], 1, "start it, or name its folder with --cache"),
        (&daemon.cache, vec!["dht"], 1, "has no DHT"),
        (&daemon.cache, vec!["lookup", &digest], 1, "has no DHT"),
        (&daemon.cache, vec!["lookup", "ab12"], 2, "DIGEST ab12: expected a SHA-256, 64 hexadecimal digits"),
        (&daemon.cache, vec!["crawl", "--duration", "long"], 2, "--duration long: expected a time"),
    ] {
        let output = run(cache, &words);
        let line = told(&output);
        assert_eq!((output.status.code(), line.lines().count()), (Some(status), 1), "{words:?}: {line}");
        assert!(line.contains(says) && out(&output).is_empty(), "{words:?}: {line}");
    }
    assert_eq!(run(&daemon.cache, &["lookup"]).status.code(), Some(2));
}

#[test]
fn a_cache_has_one_control_socket() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let cache = daemon.cache.clone();
    let asked = || told(&run(&cache, &["dht"]));
    wait_until(LONG, "it is answered", || asked().contains("has no DHT"));
    let second = Daemon::start(&scratch);
    second.wait_for_log("another apt-p2p runs on");
    assert_eq!(second.terminate(), Some(0));
    assert!(asked().contains("has no DHT"), "the first one still answers: {}", asked());
    daemon.kill9();
    assert!(cache.join("control").exists() && asked().contains("no apt-p2p runs on"), "{}", asked());
    let third = Daemon::start(&scratch);
    wait_until(LONG, "the stale socket is replaced", || asked().contains("has no DHT"));
    assert_eq!(third.terminate(), Some(0));
    assert!(!cache.join("control").exists());
}

#[test]
fn without_a_cache_there_is_no_control_socket_and_the_log_says_so() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("file");
    std::fs::write(&cache, "").expect("a scratch file");
    let daemon = Daemon::start_with(&cache, &[]);
    daemon.wait_for_log("the cache is away, so apt-p2p status, dht and lookup cannot ask this proxy");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_proxy_s_numbers_are_the_mirror_s_to_the_byte() {
    let scratch = Scratch::new();
    let (daemon, mirror) = (Daemon::start(&scratch), Mirror::start());
    let content = noise(700_000, 1);
    let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&content));
    mirror.put(&path, content.clone());
    for _ in 0..3 {
        assert_eq!(get(daemon.address, &mirror.url(&path)).body, content);
    }
    assert_eq!(mirror.sent(&path), 700_000);
    let mut told = String::new();
    // An answer is noted when it has been sent.
    wait_until(LONG, "three requests are noted", || {
        told = out(&run(&daemon.cache, &["status", "--json"]));
        told.contains("\"requests\":3")
    });
    assert_eq!(after_json(&told).map(str::trim), Some(""), "{told}");
    for number in ["\"requests\":3", "\"bytes_sent\":2100000", "\"bytes_from_mirrors\":700000", "\"liars\":0"] {
        assert!(told.contains(number), "{number} in {told}");
    }
    let text = out(&run(&daemon.cache, &["status"]));
    assert!(text.contains("Saved the mirrors                  1367 KB\n"), "{text}");
    // The same by HTTP; asking for numbers is a request, but no file.
    let json = get(daemon.address, "/status.json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert!(json.is_good() && json.text().contains("\"bytes_sent\":2100000,"), "{}", json.text());
    let metrics = get(daemon.address, "/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    for line in
        ["apt_p2p_received_bytes_total{from=\"mirror\"} 700000", "apt_p2p_sent_bytes_total{result=\"hit\"} 1400000"]
    {
        assert!(metrics.text().lines().any(|each| each == line), "{line} in {}", metrics.text());
    }
    let nobody = run(&scratch.path().join("elsewhere"), &["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(self::told(&nobody).contains("no apt-p2p runs on"), "{}", self::told(&nobody));
}

#[test]
fn status_is_whole_however_many_archives_are_known() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("cache");
    let store = Store::open(&Options { dir: cache.clone() }).expect("a store");
    for n in 0..400 {
        let new = NewSnapshot {
            digest: Digest::of(b"a Release"),
            len: 9,
            date: Stamp(1),
            fetched: Stamp(1),
            head: Head::default(),
            by_hash: false,
            origin: None,
        };
        let dir = format!("{}/dists/{n}", "d".repeat(200));
        store
            .add_snapshot("mirror.example.org", &dir, ReleaseFile::InRelease, new, std::iter::empty())
            .expect("room");
    }
    drop(store);
    let daemon = Daemon::start_with(&cache, &[]);
    let asked = || run(&daemon.cache, &["status", "--json"]);
    wait_until(LONG, "the proxy can be asked", || !told(&asked()).contains("no apt-p2p runs on"));
    let output = asked();
    let json = out(&output);
    assert!(output.status.success() && is_json(&json), "{} {}", told(&output), json.len());
    assert!(json.contains("\"archives_known\":400,"), "{json}");
}
