//! Clients that mean harm, for the tests of what becomes of them and for the measurement of what others feel.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use super::client::{Client, connect_from, statuses_until_closed};

/// A test holds both ends' connections.
pub fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
}

/// An address of this machine that nobody else uses.
pub fn from(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 3, net, host)
}

/// Says `bytes`, and no more; the statuses of all answers until the proxy closes.
pub fn said(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut stream = connect_from(from(0, 1), to);
    stream.write_all(bytes.as_ref()).expect("taken");
    statuses_until_closed(&stream)
}

/// 1,000 connections that say nothing, or half of something.
pub fn half_open(address: SocketAddr) -> Vec<TcpStream> {
    let open = |n: u16| {
        let mut stream = connect_from(from(2, n.to_be_bytes()[0] + 1), address);
        if n.is_multiple_of(2) {
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("taken");
        }
        stream
    };
    (0..1000).map(open).collect()
}

/// A head of 400 MiB; it must not be taken.
pub fn send_long_head(address: SocketAddr) {
    let mut stream = connect_from(from(4, 1), address);
    let part = vec![b'a'; 1 << 20];
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("taken");
    let taken = (0..400).take_while(|_| stream.write_all(&part).is_ok()).count();
    assert!(taken < 400, "all of it was taken");
}

/// 50,000 requests at once on one connection; each must be answered.
pub fn pipeline(address: SocketAddr) {
    let stream = connect_from(from(5, 1), address);
    let mut sending = stream.try_clone().expect("a descriptor");
    let sender = thread::spawn(move || {
        let requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
        (0..50).for_each(|_| sending.write_all(&requests).expect("taken"));
    });
    let mut client = Client::from(stream);
    for _ in 0..50_000 {
        assert_eq!(client.read("GET").status, 406);
    }
    sender.join().expect("all were taken");
}

/// 64 connections that come at once, each with a request; each must be answered.
pub fn burst(address: SocketAddr) {
    let mut all: Vec<TcpStream> = (0..64).map(|_| connect_from(from(6, 1), address)).collect();
    for stream in &mut all {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("taken");
    }
    for stream in all {
        assert_eq!(Client::from(stream).read("GET").status, 406);
    }
}
