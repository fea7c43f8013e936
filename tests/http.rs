//! HTTP as apt and people speak it, against the real program.

mod support;

use support::archive::{Archive, Package, SUITE};
use support::client::{Client, Response, get, get_with};
use support::daemon::{BINARY, Daemon};
use support::mirror::{DATE, Fault, Mirror};
use support::{Scratch, noise, wait_until};

fn house() -> (Scratch, Mirror, Daemon) {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    (scratch, Mirror::start(), daemon)
}

#[test]
fn proxy_form_and_path_form_are_the_same_file() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(100_000, 1);
    let path = mirror.put_by_hash(&content[..]);
    let cold = get(daemon.address, &mirror.url(&path));
    assert!(cold.is_good() && cold.body == content);
    assert_eq!(cold.header("last-modified"), Some(DATE));
    assert_eq!(cold.header("content-length"), Some("100000"));
    let warm = get(daemon.address, &format!("/{}{path}", mirror.address));
    assert!(warm.is_good() && warm.body == content);
    assert_eq!(warm.header("last-modified"), Some(DATE));
    assert_eq!(mirror.seen(&path).len(), 1);
}

#[test]
fn of_two_mirrors_one_may_be_away() {
    let scratch = Scratch::new();
    let mirror = Mirror::start();
    let (away, here) = ("m.example.org=http://127.0.0.9:9", format!("m.example.org={}", mirror.url("")));
    let flags = ["--upstream", away, "--upstream", &here, "--allow-upstream", "127.0.0.0/8"];
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
    let files: Vec<_> = (0..40).map(|n| noise(2000, 500 + n)).collect();
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(daemon.address)).collect();
    let paths: Vec<_> = files.iter().map(|content| mirror.put_by_hash(&content[..])).collect();
    // More than there are threads for one host: most of them wait while the first find out who is away.
    for (n, path) in paths.iter().enumerate() {
        clients[n % 4].ask("GET", &format!("http://m.example.org{path}"), &[]);
    }
    for (n, content) in files.iter().enumerate() {
        let got = clients[n % 4].read("GET");
        assert!(got.is_good() && got.body == *content, "{n}: {} {}", got.status, got.text());
    }
}

#[test]
fn an_index_that_is_asked_for_right_behind_its_release_is_of_that_release() {
    let (_scratch, mirror, daemon) = house();
    let mut archive = Archive::new(vec![Package::new("a", "1", 100)]);
    archive.publish(&mirror, None);
    let release = mirror.url(&format!("{SUITE}/InRelease"));
    let index = mirror.url(&format!("{SUITE}/main/binary-amd64/Packages"));
    let mut client = Client::connect(daemon.address);
    assert!(client.get(&release, &["Cache-Control: no-cache"]).is_good());
    assert!(client.get(&index, &[]).text().contains("Version: 1\n"));
    for version in ["2", "3"] {
        archive.packages = vec![Package::new("a", version, 100)];
        archive.date += 86_400;
        archive.publish(&mirror, None);
        client.ask("GET", &release, &["Cache-Control: no-cache"]);
        client.ask("GET", &index, &[]);
        assert!(client.read("GET").text() == archive.release());
        let packages = client.read("GET").text();
        assert!(packages.contains(&format!("Version: {version}\n")), "{packages}");
    }
}

#[test]
fn head_has_the_head_and_no_body() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(5000, 2);
    let path = mirror.put_by_hash(&content[..]);
    let mut client = Client::connect(daemon.address);
    for _ in 0..2 {
        client.ask("HEAD", &mirror.url(&path), &[]);
        let head = client.read("HEAD");
        assert_eq!((head.status, head.header("content-length")), (200, Some("5000")));
        let whole = client.get(&mirror.url(&path), &[]);
        assert!(whole.body == content, "the connection is still in step");
    }
}

#[test]
fn ranges_of_hits_and_of_misses() {
    let (_scratch, mirror, daemon) = house();
    for round in 0..2 {
        for (n, (range, expected)) in
            [("bytes=10-19", 10..20), ("bytes=299990-", 299_990..300_000), ("bytes=-5", 299_995..300_000)]
                .into_iter()
                .enumerate()
        {
            let content = noise(300_000, n as u64);
            let path = mirror.put_by_hash(&content[..]);
            let part = get_with(daemon.address, &mirror.url(&path), &[&format!("Range: {range}")]);
            assert_eq!(part.status, 206, "round {round}: {range}");
            assert!(part.is_good() && part.body == content[expected.clone()], "round {round}: {range}");
            let told = format!("bytes {}-{}/300000", expected.start, expected.end - 1);
            assert_eq!(part.header("content-range"), Some(told.as_str()));
        }
    }
    let content = noise(300_000, 0);
    let url = mirror.url(&mirror.put_by_hash(&content[..]));
    assert_eq!(get_with(daemon.address, &url, &["Range: bytes=300000-"]).status, 416);
    let several = get_with(daemon.address, &url, &["Range: bytes=0-1,5-6"]);
    assert!(several.status == 200 && several.body == content);
}

#[test]
fn if_range_and_if_modified_since() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(1000, 3);
    let url = mirror.url(&mirror.put_by_hash(&content[..]));
    for _ in 0..2 {
        let right = get_with(daemon.address, &url, &["Range: bytes=500-", &format!("If-Range: {DATE}")]);
        assert!(right.status == 206 && right.body == content[500..]);
        let stale = get_with(daemon.address, &url, &["Range: bytes=500-", "If-Range: Sat, 01 Mar 2025 09:00:00 GMT"]);
        assert!(stale.status == 200 && stale.body == content);
        let known = get_with(daemon.address, &url, &[&format!("If-Modified-Since: {DATE}")]);
        assert_eq!((known.status, known.body.len()), (304, 0));
    }
}

#[test]
fn pipelined_answers_come_in_order_cold_and_warm() {
    let (_scratch, mirror, daemon) = house();
    let contents: Vec<_> = (0..10).map(|n| noise(1 + n * 30_000, n as u64)).collect();
    let urls: Vec<_> = contents.iter().map(|content| mirror.url(&mirror.put_by_hash(&content[..]))).collect();
    get(daemon.address, &urls[4]);
    let mut client = Client::connect(daemon.address);
    for _ in 0..3 {
        let requests: String = urls.iter().map(|url| format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        client.send(requests);
        for content in &contents {
            let answer = client.read("GET");
            assert!(answer.is_good() && answer.body == *content);
        }
    }
}

#[test]
fn http_1_0_closes_unless_it_asks_otherwise() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(1000, 4);
    let url = mirror.url(&mirror.put_by_hash(&content[..]));
    let mut client = Client::connect(daemon.address);
    client.send(format!("GET {url} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    let kept = client.read("GET");
    assert_eq!((kept.header("connection"), kept.body == content), (Some("keep-alive"), true));
    client.send(format!("GET {url} HTTP/1.0\r\n\r\n"));
    assert!(client.read("GET").body == content);
    assert!(client.is_closed());
}

#[test]
fn a_body_of_unknown_length_is_chunked_or_ends_with_the_connection() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(200_000, 5);
    mirror.put("/debian/pool/main/a/a_1_all.deb", content.clone());
    mirror.fault("/debian/pool/main/a/a_1_all.deb", Fault::Chunked);
    let url = mirror.url("/debian/pool/main/a/a_1_all.deb");
    let chunked = get(daemon.address, &url);
    assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
    assert!(chunked.is_good() && chunked.body == content);
    mirror.put("/debian/pool/main/b/b_1_all.deb", content.clone());
    mirror.fault("/debian/pool/main/b/b_1_all.deb", Fault::Chunked);
    let mut client = Client::connect(daemon.address);
    client.send(format!("GET {} HTTP/1.0\r\n\r\n", mirror.url("/debian/pool/main/b/b_1_all.deb")));
    let closed = client.read("GET");
    assert!(closed.body == content && closed.header("transfer-encoding").is_none());
}

#[test]
fn bare_line_feeds_and_a_half_closed_connection() {
    let (_scratch, mirror, daemon) = house();
    let content = noise(1000, 6);
    let url = mirror.url(&mirror.put_by_hash(&content[..]));
    let mut client = Client::connect(daemon.address);
    client.send(format!("GET {url} HTTP/1.1\nHost: x\n\n"));
    client.half_close();
    assert!(client.read("GET").body == content);
    assert!(client.is_closed());
}

#[test]
fn encoded_names_reach_the_mirror_as_it_knows_them() {
    let (_scratch, mirror, daemon) = house();
    mirror.put("/debian/pool/main/g/g%2b%2b_1~rc1_all.deb", "plus and tilde");
    for target in ["/debian/pool/main/g/g%2b%2b_1~rc1_all.deb", "/debian/pool/main/g/g++_1%7erc1_all.deb"] {
        assert_eq!(get(daemon.address, &mirror.url(target)).text(), "plus and tilde", "{target}");
    }
}

#[test]
fn what_is_no_archive_is_refused_in_one_line() {
    let (_scratch, mirror, daemon) = house();
    mirror.put("/search", "the web");
    let refused = get_with(daemon.address, &mirror.url("/search"), &["User-Agent: curl/8"]);
    assert_eq!((refused.status, refused.text().lines().count()), (403, 1));
    let apt = get_with(daemon.address, &mirror.url("/search"), &["User-Agent: Debian APT-HTTP/1.3 (2.6.1)"]);
    assert_eq!((apt.status, apt.text().as_str()), (200, "the web"));
    for (target, status) in [("/debian/../etc/passwd", 400), ("/a%2f..%2fb.deb", 400), ("/a%00.deb", 400)] {
        assert_eq!(get(daemon.address, &mirror.url(target)).status, status, "{target}");
    }
}

#[test]
fn clients_that_are_not_allowed_get_403_and_the_way_out() {
    let scratch = Scratch::new();
    let flags = ["--allow", "192.0.2.0/24", "--allow-upstream", "127.0.0.0/8"];
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
    let refused = get(daemon.address, "/mirror.example.org/debian/x.deb");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("--allow 127.0.0.1"), "{}", refused.text());
}

#[test]
fn private_mirrors_are_refused_unless_named_also_behind_a_redirect() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &["--allow-upstream", "127.0.0.1"]);
    let (near, far) = (Mirror::start(), Mirror::start_on("127.0.0.9"));
    let content = noise(1000, 7);
    let path = far.put_by_hash(&content[..]);
    let direct = get(daemon.address, &far.url(&path));
    assert_eq!(direct.status, 403);
    assert!(direct.text().contains("--allow-upstream 127.0.0.9"), "{}", direct.text());
    near.fault(&path, Fault::Redirect(far.url(&path)));
    assert_eq!(get(daemon.address, &near.url(&path)).status, 403);
    assert!(far.all_seen().is_empty(), "nothing was asked of an address that is not allowed");
}

#[test]
fn the_root_is_a_page_for_people_and_406_for_programs() {
    let (_scratch, _mirror, daemon) = house();
    let program = get(daemon.address, "/");
    assert_eq!(program.status, 406);
    let mut client = Client::connect(daemon.address);
    client.send("GET / HTTP/1.1\r\nHost: router.lan:9977\r\nAccept: text/html\r\n\r\n");
    let page = client.read("GET");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let line = "Acquire::http::Proxy \"http://router.lan:9977\";";
    assert!(page.text().contains(line), "{}", page.text());
    let policy = page.header("content-security-policy").expect("what a browser may do with it");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    client.send("GET /client.conf HTTP/1.1\r\nHost: router.lan:9977\r\n\r\n");
    let conf = client.read("GET");
    assert_eq!((conf.status, conf.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(conf.text().lines().any(|each| each == line), "{}", conf.text());
}

/// What opens the mirror's closed files.
const KEY: &str = "Basic Zm9vOmJhcg==";

fn with_key(daemon: &Daemon, url: &str) -> Response {
    get_with(daemon.address, url, &[&format!("Authorization: {KEY}")])
}

/// A mirror with one file of so many bytes, on which this goes wrong, and a proxy.
fn house_with(len: usize, fault: Fault) -> (Scratch, Mirror, Daemon, String, Vec<u8>) {
    let ((scratch, mirror, daemon), content) = (house(), noise(len, 8));
    let path = mirror.put_by_hash(&content[..]);
    mirror.fault(&path, fault);
    (scratch, mirror, daemon, path, content)
}

#[test]
fn credentials_are_forwarded_and_what_they_opened_stays_closed() {
    let (_scratch, mirror, daemon, path, content) = house_with(50_000, Fault::Credentials(KEY.into()));
    let url = mirror.url(&path);
    let refused = get(daemon.address, &url);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic realm=\"x\"")));
    let opened = with_key(&daemon, &url);
    assert!(opened.is_good() && opened.body == content);
    assert_eq!(get(daemon.address, &url).status, 401, "not without credentials");
    assert_eq!(get_with(daemon.address, &url, &["Authorization: Basic eDp5"]).status, 401, "not with wrong ones");
    let bodies = mirror.sent(&path);
    let again = with_key(&daemon, &url);
    assert!(again.is_good() && again.body == content);
    assert_eq!(mirror.sent(&path), bodies, "the second time only the permission is asked for");
    // Another host that claims the same digest is no way around it, whatever it answers to the question.
    let other = Mirror::start_on("127.0.0.7");
    assert_eq!(get(daemon.address, &other.url(&path)).status, 404);
    other.put(&path, "not that file");
    let claimed = get_with(daemon.address, &other.url(&path), &["Authorization: Basic eDp5"]);
    assert!(!claimed.is_good() && !claimed.body.starts_with(&content[..100]), "{}", claimed.status);
}

#[test]
fn where_head_is_refused_a_get_asks_whether_a_stored_file_may_be_given() {
    let (_scratch, mirror, daemon, path, content) = house_with(50_000, Fault::GetAlone(KEY.into()));
    for _ in 0..2 {
        let opened = with_key(&daemon, &mirror.url(&path));
        assert!(opened.is_good() && opened.body == content, "{}", opened.status);
        assert_eq!(get(daemon.address, &mirror.url(&path)).status, 401, "not without credentials");
    }
    let asked = mirror.seen(&path);
    let of_one_byte = asked.iter().filter(|seen| seen.headers.get("range").is_some_and(|range| range == "bytes=0-0"));
    assert_eq!(of_one_byte.count(), 3, "all but the first");
}

#[test]
fn what_credentials_opened_half_is_no_beginning_for_others() {
    let refusal = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (_scratch, mirror, daemon, path, content) = house_with(3_000_000, Fault::CutThen(1_600_000, refusal));
    let cut = with_key(&daemon, &mirror.url(&path));
    assert!(!cut.is_good());
    // It names the same digest, and has nothing of it.
    let other = Mirror::start_on("127.0.0.7");
    other.put(&path, vec![0; content.len()]);
    let claimed = get(daemon.address, &other.url(&path));
    assert!(!claimed.is_good() && !claimed.body.starts_with(&content[..100]), "{}", claimed.status);
    assert!(other.seen(&path).iter().all(|seen| seen.range_start().is_none()), "nothing of it was there");
}

#[test]
fn several_addresses_and_sigterm_and_sighup() {
    let scratch = Scratch::new();
    let file = scratch.path().join("conf.toml");
    std::fs::write(&file, "allow = ['192.0.2.1']\n").expect("a scratch file");
    let listen = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let flags = [&["--config", file.to_str().expect("a plain path")], &listen[..]].concat();
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
    wait_until(std::time::Duration::from_secs(10), "the second address", || {
        daemon.log().iter().any(|line| line.starts_with("listening on"))
    });
    assert_eq!(get(daemon.address, "/").status, 403);
    std::fs::write(&file, "allow = ['127.0.0.1']\n").expect("a scratch file");
    daemon.signal("HUP");
    wait_until(std::time::Duration::from_secs(10), "the new setting", || get(daemon.address, "/").status == 406);
    std::fs::write(&file, "alow = ['127.0.0.1']\n").expect("a scratch file");
    daemon.signal("HUP");
    daemon.wait_for_log("did you mean allow?");
    assert_eq!(get(daemon.address, "/").status, 406, "a wrong file changes nothing");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn sockets_handed_over_by_systemd_are_served() {
    let scratch = Scratch::new();
    // What systemd does: descriptor 3 is the socket, and the environment says so.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let script = format!(
        "exec 3<&{fd}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {BINARY} --share off --mdns off --port-mapping off \
         --listen 127.0.0.1:1 --cache {} 2>{}",
        scratch.path().join("cache").display(),
        scratch.path().join("log").display()
    );
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).expect("our descriptor");
    let mut child = std::process::Command::new("bash")
        .args(["-c", &script])
        .spawn()
        .expect("a shell that knows descriptors above 9");
    drop(socket);
    let answer = get(address, "/").status;
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(answer, 406);
    let log = std::fs::read_to_string(scratch.path().join("log")).expect("what it said");
    assert!(log.contains("listen is not obeyed"), "an address that does not count is named in vain: {log}");
}
