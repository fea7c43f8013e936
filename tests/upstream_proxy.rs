//! A proxy between this one and the mirrors: only where the configuration names one, and in the way that proxies expect.

mod support;

use std::process::Command;

use support::client::{Client, get};
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::proxy::{CREDENTIALS, Proxy};
use support::tls;
use support::{Scratch, noise};

#[test]
fn http_mirrors_are_asked_by_whole_urls_and_those_of_this_network_without_it() {
    let (scratch, proxy, mirror, near) =
        (Scratch::new(), Proxy::start(), Mirror::start(), Mirror::start_on("127.0.0.9"));
    let (url, rule) = (proxy.url(), format!("mirror.example.org={}", mirror.url("")));
    // The mirror's own address is refused where it is fetched from directly, and so it is where the proxy would.
    let flags = ["--upstream-proxy", &url, "--upstream", &rule, "--allow-upstream", "127.0.0.9"];
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &flags);
    let content = noise(1000, 1);
    let path = near.put_by_hash(&content[..]);
    assert!(get(daemon.address, &near.url(&path)).body == content);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    let refused = get(daemon.address, &mirror.url(&mirror.put_by_hash(&noise(1000, 9)[..])));
    assert!(refused.status == 403 && proxy.asked().is_empty(), "{}: {:?}", refused.status, proxy.asked());
    // A name is the proxy's to look up.
    let (host, port) = ("archive.example.org", mirror.address.port());
    for n in 2..4 {
        let content = noise(300_000, n);
        let path = mirror.put_by_hash(&content[..]);
        let got = get(daemon.address, &format!("http://{host}:{port}{path}"));
        assert!(got.is_good() && got.body == content, "{}: {}", got.status, got.text());
        let head = proxy.seen().pop().expect("it was asked");
        assert_eq!(head[0], format!("GET http://{host}:{port}{path} HTTP/1.1"));
        let told = |name: &str| {
            let is_it = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
            head.iter().find(is_it).map(|line| line[name.len() + 2..].to_owned())
        };
        assert_eq!(told("host"), Some(format!("{host}:{port}")));
        assert_eq!(told("proxy-authorization").as_deref(), Some(CREDENTIALS));
    }
}

#[test]
fn https_mirrors_and_tunnels_are_asked_for_by_connect() {
    let Some(listener) = tls::listen("127.0.43.23:443") else { return };
    let (scratch, proxy, mirror) = (Scratch::new(), Proxy::start(), Mirror::start());
    tls::serve(listener, mirror.address);
    // What is named is near, so that the tests' address has to come by a name that the proxy knows.
    let Some(also) = tls::listen("127.0.0.1:443") else { return };
    tls::serve(also, mirror.address);
    let url = proxy.url();
    let daemon = Daemon::try_start(&scratch.path().join("cache"), &["--upstream-proxy", &url], tls::trusting());
    let daemon = daemon.expect("it starts");
    let content = noise(200_000, 1);
    let path = mirror.put_by_hash(&content[..]);
    let got = get(daemon.address, &format!("/HTTPS///mirror.example.org{path}"));
    assert!(got.is_good() && got.body == content, "{}: {}", got.status, got.text());
    assert_eq!(proxy.asked(), ["CONNECT mirror.example.org:443 HTTP/1.1"]);
    let mut client = Client::connect(daemon.address);
    client.ask("CONNECT", "mirror.example.org:443", &[]);
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 Connected"));
    // What the proxy refuses, it refuses in its own words.
    let mut client = Client::connect(daemon.address);
    client.ask("CONNECT", "forbidden.example.org:443", &[]);
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 403 Forbidden by the proxy"));
    drop(client);
    daemon.wait_for_log("CONNECT forbidden.example.org:443 403 ");
    // An address inside the network is refused here, however it is written: nobody knows what the proxy would do.
    for near in
        ["127.0.43.23:443", "localhost:443", "sub.localhost.:443", "127.1:443", "2130706433:443", "0x7f.1:443"]
    {
        let mut client = Client::connect(daemon.address);
        client.ask("CONNECT", near, &[]);
        assert_eq!(client.head().status, 403, "{near}");
    }
    assert_eq!(proxy.asked().len(), 3);
}

#[test]
fn the_environment_s_proxies_are_not_asked() {
    let (scratch, proxy, mirror) = (Scratch::new(), Proxy::start(), Mirror::start());
    let mut command = Command::new(BINARY);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, proxy.url());
    }
    let flags = ["--allow-upstream", "127.0.0.0/8"];
    let daemon = Daemon::try_start(&scratch.path().join("cache"), &flags, command).expect("it starts");
    let content = noise(1000, 1);
    let path = mirror.put_by_hash(&content[..]);
    assert!(get(daemon.address, &mirror.url(&path)).body == content);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[test]
fn a_proxy_that_is_away_or_wants_another_password_is_named() {
    let (scratch, proxy) = (Scratch::new(), Proxy::start());
    let wrong = format!("http://you:pass@{}", proxy.address);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let away = format!("http://{}", closed.expect("loopback"));
    for (n, (url, status, words)) in [(wrong, 502, "407"), (away, 504, "refused")].into_iter().enumerate() {
        let flags = ["--upstream-proxy", &url];
        let daemon = Daemon::start_with(&scratch.path().join(n.to_string()), &flags);
        let got = get(daemon.address, "http://archive.example.org/debian/pool/main/a/a_1_all.deb");
        assert!(got.status == status && got.text().contains(words), "{}: {}", got.status, got.text());
    }
}

#[test]
fn what_stands_behind_a_refused_connect_never_reaches_the_proxy() {
    let (scratch, proxy) = (Scratch::new(), Proxy::start());
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &["--upstream-proxy", &proxy.url()]);
    let mut client = Client::connect(daemon.address);
    client.send(
        "CONNECT forbidden.example.org:443 HTTP/1.1\r\nHost: forbidden.example.org\r\n\r\n\
         GET http://192.168.1.1/ HTTP/1.1\r\nHost: 192.168.1.1\r\n\r\n",
    );
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 403 Forbidden by the proxy"));
    daemon.wait_for_log("CONNECT forbidden.example.org:443 403 ");
    // It kept the connection open for another request, and got none.
    assert_eq!(proxy.asked(), ["CONNECT forbidden.example.org:443 HTTP/1.1"]);
}
