//! CONNECT: what passes through a tunnel, where none leads, and what many of them cost.

#![expect(clippy::disallowed_methods, reason = "tests start threads, and hear of them once or twice")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::client::{Client, get};
use support::daemon::{BINARY, Daemon};
use support::mirror::{Blackhole, Mirror};
use support::netns::{NEEDS, Net};
use support::tls::listen;
use support::{Scratch, noise, skip, wait_until};

const FLAGS: [&str; 2] = ["--allow-upstream", "127.0.0.0/8"];

fn start(scratch: &Scratch, flags: &[&str]) -> Daemon {
    Daemon::start_with(&scratch.path().join("cache"), &[&FLAGS, flags].concat())
}

/// A server that does this to each of its connections.
fn far_side(address: &str, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Option<()> {
    let listener = listen(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    Some(())
}

/// Sends back what it gets, until that ends.
fn echo(mut stream: TcpStream) {
    let mut back = stream.try_clone().expect("a socket");
    std::io::copy(&mut stream, &mut back).ok();
}

fn connect(daemon: &Daemon, target: &str) -> Client {
    let mut client = Client::connect(daemon.address);
    client.ask("CONNECT", target, &[]);
    client
}

/// The status and the line that says why.
fn refusal(daemon: &Daemon, target: &str) -> (u16, String) {
    let response = connect(daemon, target).read("CONNECT");
    assert_eq!(response.text().lines().count(), 1, "{}", response.text());
    (response.status, response.text())
}

#[test]
fn both_directions_flow_at_once_and_each_ends_by_itself() {
    let (scratch, down, up) = (Scratch::new(), noise(3_000_000, 1), noise(2_000_000, 2));
    let (told, heard) = channel();
    let sent = down.clone();
    let serve = move |mut stream: TcpStream| {
        let (sent, mut out) = (sent.clone(), stream.try_clone().expect("a socket"));
        let writer = thread::spawn(move || out.write_all(&sent).map(|()| out).expect("it is read"));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("it ends");
        // The client has ended its side, and still listens.
        let mut out = writer.join().expect("no panic");
        out.write_all(b"the end").expect("it is read");
        told.send(got).expect("the test waits");
    };
    let Some(()) = far_side("127.0.43.1:443", serve) else { return };
    let daemon = start(&scratch, &[]);
    let mut client = connect(&daemon, "127.0.43.1:443");
    let head = client.head();
    assert_eq!((head.status, head.header("content-length")), (200, None));
    let mut sender = client.sending_side();
    let sending = thread::spawn({
        let up = up.clone();
        move || {
            sender.write_all(&up).expect("it is read");
            sender.shutdown(Shutdown::Write).expect("connected");
        }
    });
    let got = client.read_some(down.len() + b"the end".len());
    assert!(got[..down.len()] == down && got[down.len()..] == *b"the end");
    assert!(client.is_closed());
    assert!(heard.recv().expect("the far side ends") == up);
    sending.join().expect("no panic");
    daemon.wait_for_log(&format!("CONNECT 127.0.43.1:443 200 {} bytes from tunnel", down.len() + 7));
    assert!(!daemon.log().iter().any(|line| line.contains("CONNECT") && line.contains("cut off")));
    // Nobody here looked at it: it counts as nothing that was saved.
    assert!(get(daemon.address, "/status.json").text().contains("\"bytes_sent\":0,"));
}

#[test]
fn what_comes_with_the_request_is_the_far_side_s() {
    let Some(()) = far_side("127.0.43.2:443", echo) else { return };
    let scratch = Scratch::new();
    let daemon = start(&scratch, &[]);
    let mut client = Client::connect(daemon.address);
    let early = "early, \r\n\r\nGET / HTTP/1.1\r\n\r\n";
    client.send(format!("CONNECT 127.0.43.2:443 HTTP/1.1\r\nHost: x\r\n\r\n{early}"));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.read_some(early.len()), early.as_bytes());
}

#[test]
fn a_far_side_that_breaks_off_ends_the_tunnel_and_the_log_says_so() {
    let Some(()) = far_side("127.0.43.3:443", |mut stream| {
        stream.write_all(b"half").expect("it is read");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("one byte");
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
    }) else {
        return;
    };
    let scratch = Scratch::new();
    let daemon = start(&scratch, &[]);
    let mut client = connect(&daemon, "127.0.43.3:443");
    assert_eq!((client.head().status, client.read_some(4)), (200, b"half".to_vec()));
    client.send("x");
    assert!(client.is_closed());
    daemon.wait_for_log("CONNECT 127.0.43.3:443 200 4 bytes from tunnel");
    assert!(daemon.log().iter().any(|line| line.contains("CONNECT") && line.contains("cut off")));
}

#[test]
fn a_name_s_second_address_serves_where_the_first_refuses() {
    // Where the machine knows IPv6, localhost is ::1 first.
    let Some(()) = far_side("127.0.0.1:443", echo) else { return };
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &["--allow-upstream", "localhost"]);
    let mut client = connect(&daemon, "LOCALHOST:443");
    assert_eq!(client.head().status, 200);
    client.send("hello");
    assert_eq!(client.read_some(5), b"hello");
    let (status, why) = refusal(&daemon, "127.0.0.1:443");
    assert!(status == 403 && why.contains("--allow-upstream 127.0.0.1"), "a name does not open its addresses: {why}");
    let closed = Daemon::start_with(&scratch.path().join("closed"), &["--allow-upstream", "10.0.0.0/8"]);
    let (status, why) = refusal(&closed, "localhost:443");
    assert!(status == 403 && why.contains("--allow-upstream localhost"), "{why}");
}

#[test]
fn no_tunnel_leads_elsewhere() {
    let Some(listener) = listen("127.0.43.4:443") else { return };
    drop(listener);
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch.path().join("cache"), &[]);
    for (target, status, words) in [
        ("mirror.example.org:80", 403, "port 443 only"),
        ("mirror.example.org:22", 403, "--upstream mirror.example.org/PATH=https://mirror.example.org:22/PATH"),
        ("mirror.example.org", 400, "HOST:PORT"),
        ("127.0.43.4:443", 403, "--allow-upstream 127.0.43.4"),
        ("[::1]:443", 403, "--allow-upstream [::1]"),
        ("[::ffff:127.0.0.1]:443", 403, "--allow-upstream"),
        ("169.254.169.254:443", 403, "--allow-upstream"),
        ("192.168.1.1:443", 403, "--allow-upstream"),
        ("10.0.0.1:443", 403, "--allow-upstream"),
        ("0.0.0.0:443", 403, "--allow-upstream"),
        ("[fe80::1]:443", 403, "--allow-upstream"),
        ("[64:ff9b::a9fe:a9fe]:443", 403, "--allow-upstream"),
    ] {
        let (got, why) = refusal(&daemon, target);
        assert!(got == status && why.contains(words), "{target}: {got} {why}");
    }
    // apt shows its user the status line alone.
    let mut client = connect(&daemon, "127.0.43.4:443");
    assert!(client.line().expect("a status line").contains("--allow-upstream 127.0.43.4"));
}

#[test]
fn none_leads_to_the_proxy_itself() {
    let Some(listener) = listen("127.0.43.5:443") else { return };
    drop(listener);
    let scratch = Scratch::new();
    let daemon = start(&scratch, &["--listen", "127.0.43.5:443", "--listen", "127.0.0.1:0"]);
    let (status, why) = refusal(&daemon, "127.0.43.5:443");
    assert!(status == 403 && why.contains("this proxy itself listens there"), "{why}");
}

#[test]
fn a_machine_s_own_public_address_is_no_way_round_either() {
    let Some(net) = Net::new() else { return skip(NEEDS) };
    let (ours, theirs) = (net.host(1), net.host(2));
    for host in [&ours, &theirs] {
        let listener = host.inside(|| TcpListener::bind((host.ip, 443))).expect("root may");
        thread::spawn(move || listener.incoming().flatten().for_each(echo));
    }
    let scratch = Scratch::new();
    ours.inside(|| {
        let daemon = Daemon::start_with(&scratch.path().join("cache"), &[]);
        let (status, why) = refusal(&daemon, "198.18.1.1:443");
        assert!(status == 403 && why.contains("of this machine"), "{why}");
        assert_eq!(get(daemon.address, "/198.18.1.1:443/debian/pool/a_1_all.deb").status, 403);
        let mut client = connect(&daemon, "198.18.2.1:443");
        assert_eq!(client.head().status, 200);
        client.send("hello");
        assert_eq!(client.read_some(5), b"hello");
    });
}

#[test]
fn the_operator_says_where_tunnels_lead() {
    let Some(()) = far_side("127.0.43.6:443", echo) else { return };
    let Some(()) = far_side("127.0.43.7:443", echo) else { return };
    let scratch = Scratch::new();
    let file = scratch.path().join("conf.toml");
    std::fs::write(&file, "allow-connect = ['*.example.org', '127.0.43.6']\n").expect("a scratch file");
    let daemon = start(&scratch, &["--config", file.to_str().expect("a plain path")]);
    assert_eq!(connect(&daemon, "127.0.43.6:443").head().status, 200);
    let (status, why) = refusal(&daemon, "127.0.43.7:443");
    assert!(status == 403 && why.contains("add --allow-connect 127.0.43.7"), "{why}");
    std::fs::write(&file, "allow-connect = 'none'\n").expect("a scratch file");
    daemon.signal("HUP");
    wait_until(Duration::from_secs(10), "the new setting", || {
        connect(&daemon, "127.0.43.6:443").read("HEAD").status == 403
    });
}

#[test]
fn who_refuses_or_does_not_answer_delays_nobody() {
    let Some(listener) = listen("127.0.43.8:443") else { return };
    drop(listener);
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    let daemon = start(&scratch, &[]);
    let (status, why) = refusal(&daemon, "127.0.43.8:443");
    assert!(status == 502 && why.contains("127.0.43.8:443: Connection refused"), "{why}");
    let _hole = Blackhole::on(([127, 0, 43, 9], 443).into());
    let mut silent: Vec<_> = (0..20).map(|_| connect(&daemon, "127.0.43.9:443")).collect();
    mirror.put("/debian/pool/main/a/a_1_all.deb", "a package");
    let url = mirror.url("/debian/pool/main/a/a_1_all.deb");
    assert_eq!(get(daemon.address, &url).text(), "a package");
    for client in &mut silent {
        let answer = client.read("CONNECT");
        assert!(answer.status == 504 && answer.text().contains("within 5 s"), "{}", answer.text());
    }
}

#[test]
fn a_resolver_that_says_nothing_delays_tunnels_alone() {
    let Some(probe) = listen("127.0.43.12:443") else { return };
    drop(probe);
    let _resolver = UdpSocket::bind("127.0.43.12:53").expect("nobody else is there");
    let (scratch, mirror) = (Scratch::new(), Mirror::start());
    let settings = scratch.path().join("resolv.conf");
    std::fs::write(&settings, "nameserver 127.0.43.12\n").expect("a scratch file");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    let mount = format!("mount --bind {} /etc/resolv.conf", settings.display());
    command.arg(format!("{mount} && exec \"$0\" \"$@\"")).arg(BINARY);
    let flags = ["--allow-upstream", "localhost"];
    let daemon = Daemon::try_start(&scratch.path().join("cache"), &flags, command).expect("it starts");
    let mut lost: Vec<_> = (0..4).map(|n| connect(&daemon, &format!("nobody-{n}.example.org:443"))).collect();
    mirror.put("/debian/pool/main/a/a_1_all.deb", "a package");
    let url = format!("http://localhost:{}/debian/pool/main/a/a_1_all.deb", mirror.address.port());
    assert_eq!(get(daemon.address, &url).text(), "a package");
    for client in &mut lost {
        let answer = client.read("CONNECT");
        assert!(answer.status == 504 && answer.text().contains("was not found within 5 s"), "{}", answer.text());
    }
}

#[test]
fn one_client_leaves_tunnels_to_others_and_each_is_freed() {
    let Some(()) = far_side("127.0.43.10:443", echo) else { return };
    let scratch = Scratch::new();
    let daemon = start(&scratch, &[]);
    let target = "127.0.43.10:443";
    let mut open: Vec<_> = (0..apt_p2p::limits::TUNNELS_PER_ADDRESS).map(|_| connect(&daemon, target)).collect();
    for client in &mut open {
        assert_eq!(client.head().status, 200);
    }
    let (status, why) = refusal(&daemon, target);
    assert!(status == 503 && why.contains("too many tunnels"), "{why}");
    let mut other = Client::connect_from("127.0.0.2", daemon.address);
    other.ask("CONNECT", target, &[]);
    assert_eq!(other.head().status, 200);
    drop(open.pop());
    wait_until(Duration::from_secs(10), "a place is free", || connect(&daemon, target).read("HEAD").status == 200);
}

/// Fills the way to the other side until it takes no more; how much it took.
fn flood(mut stream: &TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let (block, mut taken) = (vec![7; 64 * 1024], 0);
    loop {
        match stream.write(&block) {
            Ok(len) => taken += len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return taken,
            Err(error) => panic!("the tunnel broke: {error}"),
        }
    }
}

#[test]
fn sides_that_do_not_read_cost_little_memory_and_lose_nothing() {
    let (scratch, count) = (Scratch::new(), 8);
    let (told, heard) = channel();
    let full = Arc::new(Barrier::new(count + 1));
    let theirs = Arc::clone(&full);
    let serve = move |mut stream: TcpStream| {
        let taken = flood(&stream);
        told.send(taken).expect("the test waits");
        theirs.wait();
        stream.shutdown(Shutdown::Write).expect("connected");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("it ends");
        told.send(got.len()).expect("the test waits");
    };
    let Some(()) = far_side("127.0.43.11:443", serve) else { return };
    let daemon = start(&scratch, &[]);
    let before = daemon.private_kb();
    let mut clients: Vec<_> = (0..count).map(|_| connect(&daemon, "127.0.43.11:443")).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.head().status, 200));
    let down: usize = received(&heard, count);
    let up: Vec<usize> = clients.iter_mut().map(|client| flood(&client.sending_side())).collect();
    let grown = daemon.private_kb().saturating_sub(before);
    assert!(grown <= 1024, "{count} tunnels that are full both ways take {grown} KB");
    full.wait();
    let readers: Vec<JoinHandle<usize>> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                client.half_close();
                client.rest().len()
            })
        })
        .collect();
    let read: usize = readers.into_iter().map(|reader| reader.join().expect("no panic")).sum();
    assert_eq!(read, down, "what the far sides sent");
    assert_eq!(received(&heard, count), up.iter().sum::<usize>(), "what the clients sent");
}

fn received(heard: &Receiver<usize>, count: usize) -> usize {
    (0..count).map(|_| heard.recv_timeout(Duration::from_secs(60)).expect("each side ends")).sum()
}
