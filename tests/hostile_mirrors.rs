//! Mirrors that mean harm: each lie has one outcome, nothing of it is kept, and the request after the repair gets the right
//! file. What merely goes wrong is in `lies.rs`.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, Response, get};
use support::daemon::Daemon;
use support::mirror::{Fault, Mirror};
use support::{Scratch, noise, wait_until};

use apt_p2p::digest::Digest;

const PACKAGES: &str = "main/binary-amd64/Packages";

struct House {
    scratch: Scratch,
    mirror: Mirror,
    daemon: Daemon,
}

impl House {
    fn new() -> House {
        House::with(&[])
    }

    fn with(flags: &[&str]) -> House {
        let scratch = Scratch::new();
        let flags = [&["--allow-upstream", "127.0.0.1"], flags].concat();
        let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
        House { scratch, mirror: Mirror::start(), daemon }
    }

    fn get(&self, path: &str) -> Response {
        get(self.daemon.address, &self.mirror.url(path))
    }

    /// Puts an archive with these index files on the mirror, and asks for each by its name.
    fn publish(&self, indexes: &[(&str, Vec<u8>)]) {
        let mut release = "Suite: stable\nDate: Sat, 01 Mar 2025 10:00:00 UTC\nSHA256:\n".to_owned();
        for (name, content) in indexes {
            writeln!(release, " {} {} {name}", Digest::of(content), content.len()).expect("a String takes all");
            self.mirror.put(&format!("{SUITE}/{name}"), content.clone());
        }
        self.mirror.put(&format!("{SUITE}/InRelease"), release);
        assert!(self.get(&format!("{SUITE}/InRelease")).is_good());
        for (name, content) in indexes {
            let got = self.get(&format!("{SUITE}/{name}"));
            assert!(got.is_good() && got.body == *content, "{name}: {}", got.status);
        }
    }

    /// An archive of one package, learnt.
    fn archive(&self, package: Package) -> Archive {
        let archive = Archive::new(vec![package]);
        archive.publish(&self.mirror, None);
        for name in ["InRelease", PACKAGES] {
            assert!(self.get(&format!("{SUITE}/{name}")).is_good(), "{name}");
        }
        self.daemon.wait_for_log("learnt ");
        archive
    }

    /// The answer to the lie, in one line; the line in the log says the same.
    fn refusal(&self, path: &str, name: &str) -> (u16, String) {
        let got = self.get(path);
        let text = got.text();
        assert_eq!(text.lines().count(), 1, "{name}: {} {text}", got.status);
        let why = text.trim_end().trim_start_matches("apt-p2p: ").to_owned();
        wait_until(Duration::from_secs(10), "the log says why", || {
            self.daemon.log().iter().any(|line| line.contains(path) && line.contains(&why))
        });
        (got.status, why)
    }

    /// The digests of all files in the cache, and the names of the drafts.
    fn kept(&self) -> (Vec<String>, Vec<String>) {
        let names = |dir: &std::path::Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let files = self.daemon.cache.join("files");
        let stored = names(&files).iter().flat_map(|folder| names(&files.join(folder))).collect();
        (stored, names(&self.daemon.cache.join("drafts")))
    }

    fn downloads(&self) -> String {
        let status = get(self.daemon.address, "/status.json").text();
        let (_, rest) = status.split_once("\"downloads\":").expect("a number of them");
        rest.trim_start().chars().take_while(char::is_ascii_digit).collect()
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [head.replace('\n', "\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

#[test]
fn an_answer_that_is_none_is_refused_in_one_line_and_nothing_of_it_is_kept() {
    let house = House::new();
    let content = noise(50_000, 1);
    let ok = "HTTP/1.1 200 OK\nContent-Length";
    let chunked = |sizes: &str| answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", sizes.as_bytes());
    let partly =
        |range: &str| answer(&format!("HTTP/1.1 206 Partial Content\nContent-Length: 50000{range}"), &content);
    for (name, lie, status) in [
        ("206 to a plain request", partly("\nContent-Range: bytes 0-49999/50000"), 502),
        ("206 from elsewhere", partly("\nContent-Range: bytes 5-50004/50005"), 502),
        ("206 from nowhere", partly(""), 502),
        ("206 with nonsense", partly("\nContent-Range: bytes 9-5/3"), 502),
        ("a chunk of all bytes", chunked("FFFFFFFFFFFFFFFF\r\nhello"), 502),
        ("a chunk beyond all numbers", chunked("10000000000000000\r\nhello"), 502),
        ("a chunk of less than nothing", chunked("-5\r\nhello"), 502),
        ("a chunk that is no number", chunked("zz\r\nhello"), 502),
        ("a chunk's size without an end", chunked(&"1".repeat(100_000)), 502),
        ("chunks that do not end where they say", chunked("3\r\nhello\r\n0\r\n\r\n"), 502),
        ("a length beyond all numbers", answer(&format!("{ok}: 18446744073709551616"), b"hello"), 502),
        ("two lengths", answer(&format!("{ok}: 5\nContent-Length: 50000"), &content), 502),
        ("a folded line", answer(&format!("{ok}: 50000\nX: a\n b"), &content), 502),
        ("a NUL in the head", answer(&format!("{ok}: 50000\nX: a\0b"), &content), 502),
        ("packed, though nobody asked", answer(&format!("{ok}: 5\nContent-Encoding: gzip"), b"hello"), 502),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), 502),
        ("no head", b"<html>Please log in.</html>".to_vec(), 502),
        ("nothing", Vec::new(), 504),
        ("100 and the end", answer("HTTP/1.1 100 Continue", b""), 504),
        ("101", answer("HTTP/1.1 101 Switching Protocols\nUpgrade: x", b""), 502),
        ("204", answer("HTTP/1.1 204 No Content", b""), 502),
        ("304 to what was not asked", answer("HTTP/1.1 304 Not Modified", b""), 502),
        ("a status of two digits", answer("HTTP/1.1 99 X\nContent-Length: 0", b""), 502),
        ("a status beyond all", answer("HTTP/1.1 999 X\nContent-Length: 0", b""), 502),
        ("a redirect to nowhere", answer("HTTP/1.1 302 Found\nContent-Length: 0", b""), 502),
    ] {
        let path = house.mirror.put_by_hash(content.clone());
        house.mirror.fault(&path, Fault::Raw(lie));
        assert_eq!(house.refusal(&path, name).0, status, "{name}");
        let (stored, _) = house.kept();
        assert!(stored.is_empty(), "{name}: {stored:?}");
    }
    // Where nothing promises a length, that of the mirror counts, and so does its end: the answer begins, and is cut.
    let path = house.mirror.put_by_hash(content.clone());
    house.mirror.fault(&path, Fault::Raw(answer(&format!("{ok}: 9223372036854775808"), b"hello")));
    let cut = house.get(&path);
    assert_eq!((cut.status, cut.whole, cut.body.as_slice()), (200, false, b"hello".as_slice()));
    assert!(house.kept().0.is_empty());
    house.mirror.repair();
    assert_eq!(house.get(&path).body, content);
}

#[test]
fn the_rest_of_a_file_is_taken_only_from_where_it_was_asked() {
    for (name, range) in [
        ("from before", "bytes 0-2999999/3000000"),
        ("from behind", "bytes 2000001-2999999/3000000"),
        ("of a longer file", "bytes 2000000-3999999/4000000"),
        ("of nonsense", "bytes 2000000-1/x"),
    ] {
        let house = House::new();
        let content = noise(3_000_000, 1);
        let path = house.mirror.put_by_hash(content.clone());
        let head = format!("HTTP/1.1 206 Partial Content\nContent-Length: 1000000\nContent-Range: {range}");
        house.mirror.fault(&path, Fault::CutThen(2_000_000, answer(&head, &content[2_000_000..])));
        let cut = house.get(&path);
        assert!(cut.status == 200 && !cut.whole && cut.body == content[..cut.body.len()], "{name}");
        assert!(house.kept().0.is_empty(), "{name}");
        house.mirror.repair();
        assert_eq!(house.get(&path).body, content, "{name}");
    }
}

#[test]
fn a_body_of_which_nobody_knows_the_end_fills_no_disk() {
    let house = House::with(&["--max-size", "20M"]);
    let digest = Digest::of(b"what never comes").to_string();
    let by_hash = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{digest}");
    for path in [by_hash.as_str(), "/debian/pool/main/e/endless_1_all.deb"] {
        let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &noise(1 << 20, 7), b"\r\n"].concat();
        house.mirror.fault(path, Fault::Endless(answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b""), chunk));
        let mut client = Client::connect(house.daemon.address);
        client.ask("GET", &house.mirror.url(path), &[]);
        assert_eq!(client.head().status, 200);
        client.read_some(60_000_000);
        house.daemon.wait_for_log("there is no end after 10485760 bytes");
        drop(client);
        // Nobody waits for it any more.
        wait_until(Duration::from_secs(30), "it is ended", || house.downloads() == "0");
        assert_eq!(house.kept(), (vec![], vec![]), "{path}");
    }
}

#[test]
fn more_than_was_promised_is_cut_off_before_its_last_bytes_are_shown() {
    let house = House::new();
    let archive = house.archive(Package::new("small", "1", 50_000));
    let small = format!("/debian/{}", archive.packages[0].path());
    let stanza = b"Package: a\nFilename: pool/a_1_all.deb\nSize: 1\nSHA256: x\n\n".repeat(1000);
    let chunk = [format!("{:x}\r\n", stanza.len()).as_bytes(), &stanza, b"\r\n"].concat();
    let endless = Fault::Endless(answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b""), chunk);
    house.mirror.fault(&small, endless.clone());
    let (status, why) = house.refusal(&small, "a small one");
    assert!(status == 502 && why.contains("sends more than it announced"), "{why}");
    // An index that goes on with stanzas, a billion of them.
    let index = noise(3_000_000, 5);
    let release = format!("Suite: s\nSHA256:\n {} {} {PACKAGES}\n", Digest::of(&index), index.len());
    house.mirror.put("/endless/dists/s/InRelease", release);
    assert!(house.get("/endless/dists/s/InRelease").is_good());
    let path = format!("/endless/dists/s/{PACKAGES}");
    house.mirror.fault(&path, endless);
    let cut = house.get(&path);
    assert!(cut.status == 200 && !cut.whole && cut.body.len() < index.len(), "{} bytes", cut.body.len());
    house.mirror.repair();
    house.mirror.put(&path, index.clone());
    assert_eq!(house.get(&path).body, index);
    assert_eq!(house.get(&small).body, archive.packages[0].content);
}

#[test]
fn what_goes_on_without_a_byte_of_the_body_is_ended() {
    let house = House::new();
    let package = Package::new("a", "1", 200_000);
    let archive = house.archive(package.clone());
    let whole = format!("/debian/{}", archive.packages[0].path());
    // All of the body, and then trailers for good.
    let body = [format!("{:x}\r\n", package.content.len()).as_bytes(), &package.content, b"\r\n0\r\n"].concat();
    let begin = answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", &body);
    house.mirror.fault(&whole, Fault::Endless(begin, b"X-Trailer: a\r\n".to_vec()));
    let greeting = house.mirror.put_by_hash(noise(1000, 1));
    house.mirror.fault(&greeting, Fault::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()));
    thread::scope(|scope| {
        let trailers = scope.spawn(|| house.get(&whole));
        let (status, why) = house.refusal(&greeting, "heads before the head");
        assert!(status == 502 && why.contains("sent a head of over"), "{status} {why}");
        let trailers = trailers.join().expect("an answer");
        assert!(trailers.is_good() && trailers.body == package.content, "{}", trailers.status);
    });
    wait_until(Duration::from_secs(30), "neither goes on", || house.downloads() == "0");
}

#[test]
fn no_redirect_leads_into_the_network_or_back_to_us() {
    let house = House::new();
    let ours = house.daemon.address;
    let path = house.mirror.put_by_hash(noise(1000, 1));
    let back = house.mirror.put_by_hash(noise(1000, 2));
    let inside = "is an address inside a private network";
    for (to, status, why) in [
        ("http://169.254.169.254/latest/meta-data/".to_owned(), 403, inside),
        ("http://10.0.0.1/x".into(), 403, inside),
        ("http://[::1]/x".into(), 403, inside),
        ("http://[::ffff:10.0.0.1]/x".into(), 403, inside),
        ("http://0.0.0.0/x".into(), 403, inside),
        ("http://127.0.0.9/x".into(), 403, inside),
        (format!("http://{ours}/{}{back}", house.mirror.address), 403, "this proxy itself"),
        (format!("http://{ours}/status.json"), 403, "this proxy itself"),
        ("gopher://mirror.example.org/x".into(), 502, "which is refused"),
        (format!("http://mirror.example.org/{}", "a".repeat(2000)), 502, "the mirror answers 302"),
    ] {
        house.mirror.fault(&path, Fault::Redirect(to.clone()));
        let (got, text) = house.refusal(&path, &to);
        assert!(got == status && text.contains(why), "{to}: {got} {text}");
    }
    assert!(house.mirror.seen(&back).is_empty(), "nothing came round by us");
    // A client that asks us for ourselves is not sent round either.
    let round = get(ours, &format!("/{ours}/{}{back}", house.mirror.address));
    assert!(round.status == 403 && round.text().contains("this proxy itself"), "{} {}", round.status, round.text());
    house.mirror.repair();
    assert!(house.get(&path).is_good());
}

#[cfg(feature = "tls")]
#[test]
fn no_redirect_leads_from_https_back_to_http() {
    let scratch = Scratch::new();
    let (mirror, content) = (Mirror::start(), noise(1000, 1));
    let path = mirror.put_by_hash(content.clone());
    let whole = format!("HTTP/1.1 200 OK\nContent-Length: {}", content.len());
    let honest = support::tls_answer::start(answer(&whole, &content));
    let location = format!("HTTP/1.1 302 Found\nContent-Length: 0\nLocation: {}", mirror.url(&path));
    let redirecting = support::tls_answer::start(answer(&location, b""));
    let cache = scratch.path().join("cache");
    let (honest, redirecting) =
        (format!("honest.example.org=https://{honest}"), format!("other.example.org=https://{redirecting}"));
    let flags = ["--allow-upstream", "127.0.0.1", "--upstream", &honest, "--upstream", &redirecting];
    let daemon = match Daemon::try_start(&cache, &flags, support::tls_answer::trusting()) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip(&format!("a mount namespace of one's own: {why}")),
    };
    let refused = get(daemon.address, &format!("/other.example.org{path}"));
    assert!(refused.status == 502 && refused.text().contains("which is refused"), "{}", refused.text());
    assert!(mirror.all_seen().is_empty());
    let got = get(daemon.address, &format!("/honest.example.org{path}"));
    assert!(got.is_good() && got.body == content, "{} {}", got.status, got.text());
}

fn stanza(name: &str, len: usize, digest: &Digest) -> String {
    format!("Package: a\nFilename: {name}\nSize: {len}\nSHA256: {digest}\n\n")
}

#[test]
fn names_in_an_index_lead_nowhere_but_into_their_archive() {
    let house = House::new();
    let (good, evil) = (noise(70_000, 1), noise(1000, 2));
    let digest = Digest::of(&evil);
    let mut index = String::new();
    let names = [
        "../../etc/passwd",
        "/etc/passwd",
        "pool/../../other/pool/main/x_1_all.deb",
        "pool/a\0b_1_all.deb",
        "pool/a\\..\\b_1_all.deb",
        "pool/a_1_all.deb\n ../../b_1_all.deb",
        "..",
        "",
        &"a/".repeat(600),
    ];
    names.iter().for_each(|name| index.push_str(&stanza(name, evil.len(), &digest)));
    index.push_str(&stanza("pool/main/g_1_all.deb", good.len(), &Digest::of(&good)));
    house.publish(&[(PACKAGES, index.into_bytes())]);
    house.daemon.wait_for_log("Packages: 1 files: 1 new");
    house
        .daemon
        .wait_for_log(&format!("{} entries have no SHA-256 or length, or a name that leads out", names.len()));
    house.mirror.put("/debian/pool/main/g_1_all.deb", good.clone());
    assert_eq!(house.get("/debian/pool/main/g_1_all.deb").body, good);
    // Another archive's package of that name is whatever its own mirror says.
    house.mirror.put("/other/pool/main/x_1_all.deb", good.clone());
    assert_eq!(house.get("/other/pool/main/x_1_all.deb").body, good);
    let beside = std::fs::read_dir(house.scratch.path()).expect("ours").flatten().count();
    assert_eq!(beside, 1, "there is the cache, and nothing beside it");
}

#[test]
fn names_in_a_release_lead_nowhere_but_below_it() {
    let house = House::new();
    let (index, other) = (b"Package: a\n\n".to_vec(), noise(5000, 1));
    let digest = Digest::of(&other);
    let mut release = "Suite: s\nSHA256:\n".to_owned();
    for name in ["../../../victim/dists/s/main/binary-amd64/Packages", "/victim/x", "a/../../Packages", "a\0b"] {
        writeln!(release, " {digest} {} {name}", other.len()).expect("a String takes all");
    }
    writeln!(release, " {} {} {PACKAGES}", Digest::of(&index), index.len()).expect("a String takes all");
    house.mirror.put("/evil/dists/s/InRelease", release);
    assert!(house.get("/evil/dists/s/InRelease").is_good());
    // The neighbour's index is fetched by its name and compared with nothing of that.
    let path = format!("/victim/dists/s/{PACKAGES}");
    house.mirror.put(&path, index.clone());
    assert_eq!(house.get(&path).body, index);
    house.mirror.put(&format!("/evil/dists/s/{PACKAGES}"), index.clone());
    assert_eq!(house.get(&format!("/evil/dists/s/{PACKAGES}")).body, index);
}

#[test]
fn a_release_without_an_end_is_refused_in_bounded_memory() {
    let house = House::new();
    let path = format!("{SUITE}/InRelease");
    let before = house.daemon.private_kb();
    let line = format!(" {} 1 main/binary-amd64/Packages\n", Digest::of(b"x")).repeat(100);
    let begin = answer("HTTP/1.1 200 OK\nConnection: close", b"Suite: stable\nSHA256:\n");
    house.mirror.fault(&path, Fault::Endless(begin, line.into_bytes()));
    let (status, why) = house.refusal(&path, "no end");
    assert!(status == 502 && why.contains("is longer than any Release file"), "{status} {why}");
    let many = (0..20_000).fold("Suite: stable\nSHA256:\n".to_owned(), |mut release, n| {
        writeln!(release, " {} 1 main/{n}/Packages", Digest::of(b"x")).expect("a String takes all");
        release
    });
    house.mirror.repair();
    house.mirror.put(&path, many);
    let (status, why) = house.refusal(&path, "too many files");
    assert!(status == 502 && why.contains("16384 files"), "{status} {why}");
    let after = house.daemon.private_kb();
    assert!(after <= before + 8_000, "{before} KB before, {after} KB after");
    assert_eq!(house.kept().0, [""; 0]);
}

#[test]
fn of_contradictory_entries_none_makes_a_wrong_file_right() {
    let house = House::new();
    let mut contents = [noise(70_000, 1), noise(70_000, 2)];
    contents.sort_by_key(|content| Digest::of(content).0);
    let [lower, higher] = &contents;
    let both = |name: &str| [higher, lower].map(|content| stanza(name, content.len(), &Digest::of(content))).concat();
    let long = noise(90_000, 3);
    let index = [
        both("pool/one_1_all.deb"),
        both("pool/two_1_all.deb"),
        stanza("pool/right_1_all.deb", long.len(), &Digest::of(&long)),
        stanza("pool/short_1_all.deb", long.len() - 1, &Digest::of(&long)),
        // Within one stanza.
        stanza("pool/x_1_all.deb", 5, &Digest::of(&long)).replace("Size: 5", "Size: 5\nSize: 6"),
    ]
    .concat();
    house.publish(&[(PACKAGES, index.into_bytes())]);
    house.daemon.wait_for_log("4 files: 4 new");
    house.daemon.wait_for_log("2 contradict others");
    house.daemon.wait_for_log("1 entries have no SHA-256");
    for (name, content) in [("one", lower), ("two", higher), ("right", &long), ("short", &long)] {
        house.mirror.put(&format!("/debian/pool/{name}_1_all.deb"), content.clone());
    }
    // The first in order of digests counts. Whoever has the other is refused, and nothing of it is kept.
    let (status, why) = house.refusal("/debian/pool/short_1_all.deb", "another length");
    assert!(status == 502 && why.contains("not the same file"), "{why}");
    assert!(!house.get("/debian/pool/two_1_all.deb").is_good());
    house.daemon.wait_for_log("it was thrown away");
    assert_eq!(house.get("/debian/pool/one_1_all.deb").body, *lower);
    assert_eq!(house.get("/debian/pool/two_1_all.deb").body, *lower, "what counts is here now");
    assert_eq!(house.get("/debian/pool/right_1_all.deb").body, long);
    // What its digest proves is right, whatever length somebody promised for it.
    assert_eq!(house.get("/debian/pool/short_1_all.deb").body, long);
    let wrong = Digest::of(higher).to_string();
    assert!(!house.kept().0.contains(&wrong) && !house.kept().1.iter().any(|name| name.contains(&wrong)));
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("memory grows");
    encoder.finish().expect("memory grows")
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut options = lzma_rust2::XzOptions::with_preset(1);
    options.lzma_options.dict_size = 1 << 16;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("the options hold");
    encoder.write_all(plain).expect("memory grows");
    encoder.finish().expect("memory grows")
}

/// Claims a dictionary of 1.5 GiB in the first block's header, with a right checksum (.xz §3.1, §5.3.1).
fn with_large_dictionary(mut xz: Vec<u8>) -> Vec<u8> {
    let crc_at = 12 + (usize::from(xz[12]) + 1) * 4 - 4;
    assert_eq!(xz[14..16], [0x21, 1]);
    xz[16] = 37;
    let mut crc = flate2::Crc::new();
    crc.update(&xz[12..crc_at]);
    xz[crc_at..crc_at + 4].copy_from_slice(&crc.sum().to_le_bytes());
    xz
}

#[test]
fn an_index_that_is_a_bomb_is_not_learnt_and_its_packages_pass_through() {
    let zeros = vec![0; 16 << 20];
    let line = b"Package: a\n".repeat(1 << 20);
    let stanzas: String = (0..10_000).map(|n| stanza(&format!("pool/{n}_1_all.deb"), 1, &Digest::of(b"x"))).collect();
    for (name, index, why) in [
        ("Packages.gz", gzip(&zeros).repeat(65), "the index is larger than 1024 MiB without its compression"),
        ("Packages.xz", xz(&zeros).repeat(65), "the index is larger than 1024 MiB without its compression"),
        ("Packages.gz", gzip(&line).repeat(94), "the index is larger than 1024 MiB without its compression"),
        ("Packages.gz", gzip(stanzas.as_bytes()).repeat(101), "the index has more than 1000000 files"),
        ("Packages.gz", gzip(b"Package: a\n").repeat(2)[..40].to_vec(), "the compressed index is damaged"),
        ("Packages.gz", gzip(&zeros), "no index of packages"),
        ("Packages.xz", with_large_dictionary(xz(&zeros)), "is not offered in another compression"),
    ] {
        let house = House::new();
        let content = noise(70_000, 1);
        house.mirror.put("/debian/pool/0_1_all.deb", content.clone());
        let before = house.daemon.private_kb();
        let mut most = 0;
        house.publish(&[(&format!("main/binary-amd64/{name}"), index)]);
        wait_until(Duration::from_secs(120), why, || {
            most = most.max(house.daemon.private_kb());
            // Clients are served all the while.
            assert_eq!(house.get("/debian/pool/0_1_all.deb").body, content);
            house.daemon.log().iter().any(|line| line.contains(why))
        });
        assert!(most <= before + 8_000, "{name}, {why}: {before} KB before, {most} KB at most");
        assert_eq!(house.get("/debian/pool/0_1_all.deb").body, content);
    }
}

#[test]
fn where_one_compression_is_a_bomb_the_index_is_learnt_in_another() {
    let content = noise(70_000, 1);
    let index = stanza("pool/a_1_all.deb", content.len(), &Digest::of(&content)).into_bytes();
    // The head of a zstd frame with a window of 2^25 bytes; a build without zstd refuses it for its name.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 15 << 3].to_vec();
    for (ending, bomb) in [("xz", with_large_dictionary(xz(&index))), ("zst", zstd)] {
        let house = House::new();
        let indexes = [(format!("{PACKAGES}.{ending}"), bomb), (format!("{PACKAGES}.gz"), gzip(&index))];
        let mut release = "Suite: stable\nSHA256:\n".to_owned();
        for (name, packed) in &indexes {
            writeln!(release, " {} {} {name}", Digest::of(packed), packed.len()).expect("a String takes all");
            house.mirror.put(&format!("{SUITE}/{name}"), packed.clone());
        }
        house.mirror.put(&format!("{SUITE}/InRelease"), release);
        assert!(house.get(&format!("{SUITE}/InRelease")).is_good());
        assert_eq!(house.get(&format!("{SUITE}/{PACKAGES}.{ending}")).body, indexes[0].1);
        house.daemon.wait_for_log("learning it in another compression");
        house.daemon.wait_for_log("1 files: 1 new");
        house.mirror.put("/debian/pool/a_1_all.deb", noise(70_000, 2));
        assert!(!house.get("/debian/pool/a_1_all.deb").is_good(), "what it promises holds");
        house.mirror.put("/debian/pool/a_1_all.deb", content.clone());
        assert_eq!(house.get("/debian/pool/a_1_all.deb").body, content);
    }
}
