//! A client that behaves as apt does, and what else the benchmarks of peers ask of a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::{Digest, PieceHasher};

use crate::proxy::Proxy;

/// Requests that apt has under way.
const PIPELINE: usize = 10;

/// One keep-alive connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        stream.set_nodelay(true).expect("TCP");
        Client(BufReader::with_capacity(64 * 1024, stream))
    }

    /// Fetches one file; its digest.
    pub fn get(&mut self, url: &str) -> Digest {
        self.ask(url);
        self.read(url)
    }

    /// Fetches all, ten under way, and checks each.
    pub fn get_all(&mut self, files: &[(String, Digest)]) {
        let mut asked = 0;
        for (read, (url, digest)) in files.iter().enumerate() {
            while asked < files.len().min(read + PIPELINE) {
                self.ask(&files[asked].0);
                asked += 1;
            }
            assert_eq!(self.read(url), *digest, "{url}");
        }
    }

    fn ask(&mut self, url: &str) {
        let text = format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.0.get_mut().write_all(text.as_bytes()).expect("a request");
    }

    fn read(&mut self, url: &str) -> Digest {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).expect("an answer");
            assert!(read > 0, "{url}: the answer ends in its head: {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{url}: {head}");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<u64>().ok());
        let mut left = len.expect("a length");
        let (mut hasher, mut buffer) = (PieceHasher::default(), vec![0; 64 * 1024]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.0.read(&mut buffer[..most]).expect("the body");
            assert!(read > 0, "{url}: the body ends {left} bytes early");
            hasher.update(&buffer[..read], |_| ());
            left -= read as u64;
        }
        hasher.finish()
    }
}

impl Proxy {
    /// Fetches what apt's update fetches, and waits until the packages are promised.
    pub fn update(&self, suite: &str) {
        let mut client = Client::connect(self.address);
        for name in ["InRelease", "main/binary-amd64/Packages.gz"] {
            client.get(&format!("{suite}/{name}"));
        }
        self.wait_for_log("learnt ", 60);
    }

    pub fn wait_for_log(&self, word: &str, seconds: u64) {
        let start = Instant::now();
        while !self.log().iter().any(|line| line.contains(word)) {
            assert!(
                start.elapsed() < Duration::from_secs(seconds),
                "{word:?} is logged in {seconds} s: {:#?}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Files that others find.
    pub fn announced(&self) -> u64 {
        let json =
            Command::new(env!("CARGO_BIN_EXE_apt-p2p")).args(["dht", "--json", "--cache"]).arg(&self.cache).output();
        let json: serde_json::Value =
            serde_json::from_slice(&json.expect("the program starts").stdout).unwrap_or_default();
        json["own_files_announced"].as_u64().unwrap_or(0)
    }

    /// What it says of its part of the DHT.
    pub fn dht(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_apt-p2p")).args(["dht", "--cache"]).arg(&self.cache).output();
        String::from_utf8_lossy(&output.expect("the program starts").stdout).into_owned()
    }
}
