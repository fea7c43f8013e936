//! Several mirrors for one archive: what one does not give, or gives wrong, another does, and who failed is asked later.

mod support;

use std::time::Duration;

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, Response, get, get_with};
use support::daemon::Daemon;
use support::mirror::{Blackhole, Fault, Mirror};
use support::{Scratch, noise, wait_until};

use apt_p2p::digest::Digest;

/// A proxy that knows two mirrors of `archive.example.org`, the first before the second.
struct House {
    _scratch: Scratch,
    first: Mirror,
    second: Mirror,
    daemon: Daemon,
}

impl House {
    fn start() -> House {
        let (first, second) = (Mirror::start(), Mirror::start());
        let scratch = Scratch::new();
        let daemon = start(&scratch, &[first.url(""), second.url("")]);
        House { _scratch: scratch, first, second, daemon }
    }

    /// Puts a file on both; its path.
    fn put(&self, content: &[u8]) -> String {
        let path = path_of(content);
        self.first.put(&path, content);
        self.second.put_dated(&path, content, "Sat, 01 Mar 2025 11:00:00 GMT");
        path
    }

    fn get(&self, path: &str) -> Response {
        get(self.daemon.address, &url(path))
    }

    /// How often each was asked for a path.
    fn asked(&self, path: &str) -> (usize, usize) {
        (self.first.seen(path).len(), self.second.seen(path).len())
    }
}

fn start(scratch: &Scratch, mirrors: &[String]) -> Daemon {
    let rules: Vec<_> = mirrors.iter().map(|url| format!("archive.example.org={url}")).collect();
    let mut flags = vec!["--allow-upstream", "127.0.0.0/8"];
    rules.iter().for_each(|rule| flags.extend(["--upstream", rule]));
    Daemon::start_with(&scratch.path().join("cache"), &flags)
}

fn path_of(content: &[u8]) -> String {
    format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(content))
}

fn url(path: &str) -> String {
    format!("http://archive.example.org{path}")
}

#[test]
fn who_answers_with_an_error_is_asked_after_the_other_from_then_on() {
    let house = House::start();
    for (n, fault) in [Fault::Status(503), Fault::Status(500)].into_iter().enumerate() {
        let content = noise(90_000, n as u64);
        let path = house.put(&content);
        house.first.fault(&path, fault);
        let got = house.get(&path);
        assert!(got.is_good() && got.body == content, "{}: {}", got.status, got.text());
        let first_asked = if n == 0 { 1 } else { 0 };
        assert_eq!(house.asked(&path), (first_asked, 1), "the first one rests once it has failed");
    }
    // It is asked all the same, for what the other does not have.
    let content = noise(90_000, 7);
    let path = path_of(&content);
    house.first.put(&path, content.as_slice());
    let got = house.get(&path);
    assert!(got.is_good() && got.body == content);
    assert_eq!(house.asked(&path), (1, 1));
}

#[test]
fn a_file_that_one_does_not_have_is_no_fault_of_it() {
    let house = House::start();
    for n in 0..2 {
        let content = noise(1000, n);
        let path = path_of(&content);
        house.second.put(&path, content.as_slice());
        assert!(house.get(&path).body == content);
        assert_eq!(house.asked(&path), (1, 1), "the first one is asked first");
    }
}

#[test]
fn what_one_cuts_or_stops_sending_the_other_goes_on_with() {
    for fault in [Fault::Short(300_000), Fault::StallAfter(300_000)] {
        let house = House::start();
        let content = noise(1_000_000, 1);
        let path = house.put(&content);
        house.first.fault(&path, fault.clone());
        let got = house.get(&path);
        assert!(got.is_good() && got.body == content, "{fault:?}: {}", got.status);
        assert_eq!(house.asked(&path), (1, 1), "{fault:?}");
        let start = house.second.seen(&path)[0].range_start();
        assert!(start == Some(300_000), "{fault:?}: from {start:?}");
        assert_eq!(house.second.sent(&path), 700_000, "{fault:?}");
        let next = noise(1000, 2);
        let path = house.put(&next);
        assert!(house.get(&path).body == next);
        assert_eq!(house.asked(&path), (0, 1), "{fault:?}: who stopped rests");
    }
}

#[test]
fn who_is_slow_is_left_while_another_is_there() {
    let house = House::start();
    let content = noise(1_000_000, 3);
    let path = house.put(&content);
    house.first.set_rate(10_000);
    let got = house.get(&path);
    assert!(got.is_good() && got.body == content);
    let start = house.second.seen(&path)[0].range_start().expect("a part of it came from the first");
    assert_eq!(house.second.sent(&path), 1_000_000 - start);
    house.daemon.wait_for_log("the mirror is slow after ");
}

#[test]
fn who_neither_accepts_nor_answers_is_left_for_the_other() {
    let hole = Blackhole::new();
    let silent = Mirror::start();
    for first in [format!("http://{}", hole.address), silent.url("")] {
        let (scratch, second) = (Scratch::new(), Mirror::start());
        let daemon = start(&scratch, &[first, second.url("")]);
        for n in 0..2 {
            let content = noise(1000, 10 + n);
            let path = path_of(&content);
            second.put(&path, content.as_slice());
            silent.fault(&path, Fault::Silent);
            let got = get(daemon.address, &url(&path));
            assert!(got.is_good() && got.body == content, "{}: {}", got.status, got.text());
        }
    }
    assert_eq!(silent.all_seen().len(), 1, "the second file was asked of the other at once");
}

#[test]
fn who_was_only_slow_to_answer_is_waited_for_when_no_other_has_it() {
    let house = House::start();
    let content = noise(80_000, 4);
    let path = path_of(&content);
    house.first.put(&path, content.as_slice());
    house.first.fault(&path, Fault::Silent);
    let mut client = Client::connect(house.daemon.address);
    client.ask("GET", &url(&path), &[]);
    wait_until(Duration::from_secs(30), "the first is asked again", || house.asked(&path) == (2, 1));
    house.first.repair();
    // Its answer to the second request was silence, too: it closes that connection, and is asked once more.
    let got = client.read("GET");
    assert!(got.is_good() && got.body == content, "{}: {}", got.status, got.text());
}

#[test]
fn a_wrong_file_from_one_is_fetched_from_the_other_before_anybody_sees_it() {
    for fault in [Fault::Flip(500), Fault::Length(20_000), Fault::Length(70_000), Fault::Html] {
        let (house, content) = (House::start(), noise(30_000, 5));
        let mut archive = Archive::new(vec![Package { content: content.clone(), ..Package::new("a", "1", 1) }]);
        archive.date += 1;
        archive.publish(&house.first, None);
        archive.publish(&house.second, None);
        for name in ["InRelease", "main/binary-amd64/Packages"] {
            assert!(house.get(&format!("{SUITE}/{name}")).is_good(), "{name}");
        }
        house.daemon.wait_for_log("learnt ");
        let path = format!("/debian/{}", archive.packages[0].path());
        house.first.fault(&path, fault.clone());
        let got = house.get(&path);
        assert!(got.is_good() && got.body == content, "{fault:?}: {} {}", got.status, got.text());
        assert_eq!(house.asked(&path), (1, 1), "{fault:?}");
    }
}

#[test]
fn a_wrong_file_that_was_seen_in_part_comes_right_from_the_other_at_the_next_request() {
    let house = House::start();
    let content = noise(600_000, 6);
    let path = house.put(&content);
    house.first.fault(&path, Fault::Flip(1000));
    assert!(!house.get(&path).whole, "its end was never sent");
    let got = house.get(&path);
    assert!(got.is_good() && got.body == content);
    assert_eq!(house.asked(&path), (1, 1));
}

#[test]
fn a_release_and_what_nothing_promises_come_from_whoever_has_them() {
    let house = House::start();
    let archive = Archive::new(vec![Package::new("a", "1", 100)]);
    archive.publish(&house.second, None);
    let release = format!("{SUITE}/InRelease");
    for (n, fault) in [Fault::Status(502), Fault::Html].into_iter().enumerate() {
        let house = House::start();
        archive.publish(&house.second, None);
        house.first.fault(&release, fault.clone());
        assert_eq!(house.get(&release).text(), archive.release(), "{fault:?}");
        assert_eq!(house.asked(&release), (1, 1), "{n}");
    }
    house.first.fault("/debian/pool/main/x/x_1_all.deb", Fault::Status(500));
    house.second.put("/debian/pool/main/x/x_1_all.deb", "unplaced");
    assert_eq!(house.get("/debian/pool/main/x/x_1_all.deb").text(), "unplaced");
    house.first.fault("/debian/doc/README", Fault::Status(500));
    house.second.put("/debian/doc/README", "foreign");
    let apt = ["User-Agent: Debian APT-HTTP/1.3 (2.6.1)"];
    let foreign = support::client::get_with(house.daemon.address, &url("/debian/doc/README"), &apt);
    assert_eq!(foreign.text(), "foreign");
    assert!(house.first.seen("/debian/doc/README").is_empty(), "the first rests by now");
}

#[test]
fn names_and_passwords_in_addresses_are_told_to_nobody_but_their_mirror() {
    let (scratch, mirror, other) = (Scratch::new(), Mirror::start(), Mirror::start());
    let rule = format!("archive.example.org=http://jane-doe:secret@{}", mirror.address);
    let flags = ["--allow-upstream", "127.0.0.0/8", "--upstream", &rule];
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
    let ask = |target: &str| get_with(daemon.address, target, &["User-Agent: Debian APT-HTTP/1.3 (2.6.1)"]);
    let content = noise(1000, 1);
    let path = mirror.put_by_hash(&content[..]);
    assert!(ask(&url(&path)).body == content);
    let wanted = Some("Basic amFuZS1kb2U6c2VjcmV0");
    assert_eq!(mirror.seen(&path)[0].headers.get("authorization").map(String::as_str), wanted);

    let leads = format!("http://jane-doe:secret@{}/gone", other.address);
    let faults = [
        (Fault::Status(500), 500),
        (Fault::Status(404), 404),
        (Fault::Html, 502),
        (Fault::Raw(b"nonsense\r\n\r\n".to_vec()), 502),
        (Fault::Length(7), 502),
        (Fault::Redirect(leads), 404),
        (Fault::Redirect("ftp://jane-doe:secret@other.example.org/x".into()), 502),
    ];
    let mut told = Vec::new();
    for (n, (fault, status)) in (2..).zip(faults) {
        let by_hash = mirror.put_by_hash(&noise(1000, n)[..]);
        for path in [by_hash, format!("{SUITE}-{n}/InRelease"), format!("/debian/pool/main/x/x/x_{n}_all.deb")] {
            mirror.put(&path, noise(1000, n));
            mirror.fault(&path, fault.clone());
            let got = ask(&url(&path));
            let is_kept = got.status == 200 && !path.contains("InRelease") && !path.contains("by-hash");
            assert!(got.status == status || is_kept, "{fault:?} {path}: {} {}", got.status, got.text());
            told.push(got);
        }
    }
    let host = mirror.address;
    for target in [
        format!("http://jane-doe:secret@{host}{path}"),
        format!("/jane-doe:secret@{host}{path}"),
        format!("http://secret@{host}{path}"),
        format!("/HTTPS///jane-doe:secret@archive.example.org{path}"),
        format!("http://HTTPS///jane-doe:secret@archive.example.org{path}"),
    ] {
        let got = ask(&target);
        assert_eq!(got.status, 400, "{target}: {}", got.text());
        told.push(got);
    }
    let mut client = Client::connect(daemon.address);
    client.ask("CONNECT", "jane-doe:secret@archive.example.org:443", &[]);
    assert_eq!(client.read("CONNECT").status, 400);

    for (target, lines) in [("/", &["Accept: text/html"][..]), ("/status.json", &[]), ("/metrics", &[])] {
        let got = get_with(daemon.address, target, lines);
        assert!(got.is_good(), "{target}: {}", got.status);
        told.push(got);
    }
    daemon.wait_for_log("CONNECT archive.example.org:443 400");
    daemon.wait_for_log(&format!("http://{}{path}", mirror.address));
    for text in told.iter().map(|got| format!("{:?} {}", got.headers, got.text())).chain(daemon.log()) {
        let is_clean = ["secret", "jane-doe", "amFuZS1kb2"].iter().all(|word| !text.contains(word));
        assert!(is_clean, "{text}");
    }
    let status = told[told.len() - 2].text();
    assert!(status.contains(&format!("http://{}/", mirror.address)), "troubles name the mirror: {status}");
}
