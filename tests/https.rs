//! Archives on https: fetched by this proxy for clients that ask by http, and through its tunnels for those that do not.

mod support;

use support::apt::Apt;
use support::archive::{Archive, BASE, Key, Package};
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::tls::{self, AUTHORITY};
use support::{Scratch, noise};

use std::process::Command;

const FLAGS: [&str; 2] = ["--allow-upstream", "127.0.0.0/8"];

#[test]
fn an_https_mirror_serves_http_clients_by_rule_and_by_name() {
    let Some(listener) = tls::listen("127.0.43.20:443") else { return };
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    tls::serve(listener, mirror.address);
    let rule = "archive.example.org/debian=https://127.0.43.20/debian";
    let flags = [&FLAGS[..], &["--upstream", rule]].concat();
    let daemon = Daemon::try_start(&scratch.path().join("cache"), &flags, tls::trusting()).expect("it starts");
    let names = ["archive.example.org", "HTTPS///127.0.43.20"];
    for (n, name) in names.into_iter().enumerate() {
        let content = noise(200_000, n as u64);
        let path = mirror.put_by_hash(&content[..]);
        for target in [format!("http://{name}{path}"), format!("/{name}{path}")] {
            let got = get(daemon.address, &target);
            assert!(got.is_good() && got.body == content, "{target}: {} {}", got.status, got.text());
        }
        assert_eq!(mirror.seen(&path).len(), 1, "{name}: the second time it was stored");
    }
    let refused = get(daemon.address, "/HTTPS///127.0.43.20:8443/debian/pool/a_1_all.deb");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("--upstream NAME/PATH=https://127.0.43.20:8443/PATH"), "{}", refused.text());
}

#[test]
fn a_certificate_that_nobody_vouches_for_or_for_another_name_is_refused() {
    let (Some(good), Some(other)) = (tls::listen("127.0.43.21:443"), tls::listen("127.0.43.30:443")) else { return };
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    tls::serve(good, mirror.address);
    tls::serve(other, mirror.address);
    let path = mirror.put_by_hash(&noise(1000, 1)[..]);
    let strict = Daemon::start_with(&scratch.path().join("strict"), &FLAGS);
    let trusting = Daemon::try_start(&scratch.path().join("trusting"), &FLAGS, tls::trusting()).expect("it starts");
    for (daemon, host) in [(&strict, "127.0.43.21"), (&trusting, "127.0.43.30")] {
        let refused = get(daemon.address, &format!("/HTTPS///{host}{path}"));
        assert_eq!(refused.status, 502, "{}", refused.text());
        assert!(refused.text().to_lowercase().contains("certificate"), "{}", refused.text());
    }
    assert!(mirror.all_seen().is_empty());
}

#[test]
fn the_real_apt_updates_and_downloads_from_https_through_a_tunnel() {
    let Some(listener) = tls::listen("127.0.43.22:443") else { return };
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    let Some(key) = Key::make(&scratch) else { return };
    tls::serve(listener, mirror.address);
    let archive = Archive::new(vec![Package::new("a", "1", 300_000), Package::new("b", "1", 50)]);
    archive.publish(&mirror, Some(&key));
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &FLAGS);
    let ring = scratch.path().join("key.gpg");
    key.export(&ring);
    let line = format!("deb [signed-by={}] https://127.0.43.22{BASE} stable main\n", ring.display());
    let Some(apt) = Apt::new(&scratch, "apt", Some(daemon.address), 10, &line) else { return };
    let trust = format!("Acquire::https::CaInfo={AUTHORITY}");
    apt.run(&["-o", &trust, "update"]).expect("update");
    apt.run(&["-o", &trust, "install", "--download-only", "a", "b"]).expect("install");
    assert!(apt.downloaded("a_1_all.deb").expect("there") == archive.packages[0].content);
    daemon.wait_for_log("CONNECT 127.0.43.22:443 200 ");
    // And where none is led: apt says why.
    let flags = [&FLAGS[..], &["--allow-connect", "none"]].concat();
    let closed = Daemon::try_start(&scratch.path().join("closed"), &flags, Command::new(BINARY)).expect("it starts");
    let apt = Apt::new(&scratch, "apt2", Some(closed.address), 10, &line).expect("there was one");
    let refused = apt.run(&["-o", &trust, "-o", "Acquire::Retries=0", "update"]);
    assert!(refused.output.contains("--allow-connect 127.0.43.22"), "{}", refused.output);
}
