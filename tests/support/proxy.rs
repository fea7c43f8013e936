//! A proxy upstream: asked by whole URLs for http, by CONNECT for the rest, with a name and a password.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// `Proxy-Authorization` of `me:pass`.
pub const CREDENTIALS: &str = "Basic bWU6cGFzcw==";

/// A proxy on loopback that leads to loopback.
pub struct Proxy {
    pub address: SocketAddr,
    /// The request line and the header lines of each request.
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let proxy = Proxy { address: listener.local_addr().expect("bound"), seen: Arc::default() };
        let seen = Arc::clone(&proxy.seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || serve(&stream, &seen));
            }
        });
        proxy
    }

    /// Its URL, as one who has a name here writes it.
    pub fn url(&self) -> String {
        format!("http://me:pass@{}", self.address)
    }

    pub fn seen(&self) -> Vec<Vec<String>> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The request lines alone.
    pub fn asked(&self) -> Vec<String> {
        self.seen().into_iter().map(|head| head[0].clone()).collect()
    }
}

/// Answers one request after another; `None` ends it.
fn serve(client: &TcpStream, seen: &Mutex<Vec<Vec<String>>>) -> Option<()> {
    let mut reader = BufReader::new(client);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        seen.lock().expect("no panic").push(head.clone());
        let said = |text: &str| (&*client).write_all(text.as_bytes()).ok();
        if !head.contains(&format!("Proxy-Authorization: {CREDENTIALS}"))
            && !head.contains(&format!("proxy-authorization: {CREDENTIALS}"))
        {
            said("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let words: Vec<&str> = head[0].split(' ').collect();
        match words[0] {
            "CONNECT" if words[1].contains("forbidden") => {
                said("HTTP/1.1 403 Forbidden by the proxy\r\nContent-Length: 0\r\n\r\n")?;
            }
            "CONNECT" => {
                let far = TcpStream::connect(found(words[1])).ok()?;
                said("HTTP/1.1 200 Connected\r\n\r\n")?;
                return relay(client, &far);
            }
            method => {
                let rest = words[1].strip_prefix("http://")?;
                let (authority, path) = rest.split_at(rest.find('/')?);
                let mut far = TcpStream::connect(found(authority)).ok()?;
                let lines = head[1..].join("\r\n");
                far.write_all(format!("{method} {path} HTTP/1.1\r\n{lines}\r\n\r\n").as_bytes()).ok()?;
                far.shutdown(Shutdown::Write).ok()?;
                let mut answer = Vec::new();
                far.read_to_end(&mut answer).ok()?;
                (&*client).write_all(&answer).ok()?;
            }
        }
    }
}

/// It knows names that nobody else does: this machine's.
fn found(authority: &str) -> String {
    ["archive.example.org", "mirror.example.org"]
        .iter()
        .fold(authority.to_owned(), |authority, name| authority.replace(name, "127.0.0.1"))
}

fn relay(near: &TcpStream, far: &TcpStream) -> Option<()> {
    let (mut up, mut far_up) = (near.try_clone().ok()?, far.try_clone().ok()?);
    thread::spawn(move || {
        std::io::copy(&mut up, &mut far_up).ok();
        far_up.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut &*far, &mut &*near).ok();
    near.shutdown(Shutdown::Write).ok()
}
