//! A small HTTP client that takes nothing for granted.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// The body ended where the framing says.
    pub whole: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A whole answer with status 200 or 206.
    pub fn is_good(&self) -> bool {
        matches!(self.status, 200 | 206) && self.whole
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        stream.set_nodelay(true).expect("TCP");
        Client::from(stream)
    }

    /// From this address of the machine.
    pub fn connect_from(from: &str, address: SocketAddr) -> Client {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
        let from = SocketAddr::new(from.parse().expect("an address"), 0);
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        bind(&socket, &from).expect("loopback");
        connect(&socket, &address).expect("the proxy accepts");
        Client { stream: TcpStream::from(socket), buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy reads");
    }

    /// Sends a request with extra header lines.
    pub fn ask(&mut self, method: &str, target: &str, lines: &[&str]) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: proxy\r\n");
        lines.iter().for_each(|line| text.extend([line, "\r\n"]));
        self.send(text + "\r\n");
    }

    pub fn get(&mut self, target: &str, lines: &[&str]) -> Response {
        self.ask("GET", target, lines);
        self.read("GET")
    }

    /// The same connection, to send by while it is read from.
    pub fn sending_side(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket")
    }

    /// All that is still to come.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("connected");
    }

    /// Whether the other side has closed, with nothing left to read.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more()
    }

    /// Whether nothing has come, nor the end.
    pub fn is_waiting(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let is_silent = matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).expect("a socket");
        self.buffer.is_empty() && is_silent
    }

    /// Reads until there is more; false at the end.
    fn more(&mut self) -> bool {
        let mut part = [0; 64 * 1024];
        match self.stream.read(&mut part) {
            Ok(0) => false,
            Ok(len) => {
                self.buffer.extend_from_slice(&part[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the proxy says nothing: {error}"),
        }
    }

    /// The next line.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn take(&mut self, len: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < len {
            if !self.more() {
                into.append(&mut self.buffer);
                return false;
            }
        }
        into.extend(self.buffer.drain(..len));
        true
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> Response {
        let mut response = Response::default();
        let Some(status) = self.line() else { return response };
        response.status = status.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status line");
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a header line");
            response.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        response
    }

    /// Reads one answer.
    pub fn read(&mut self, method: &str) -> Response {
        let mut response = self.head();
        let Response { status, headers, body, whole } = &mut response;
        if *status == 0 {
            return response;
        }
        if method == "HEAD" || *status == 304 {
            *whole = true;
        } else if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
            *whole = loop {
                let Some(len) = self.line().and_then(|line| usize::from_str_radix(&line, 16).ok()) else {
                    break false;
                };
                if !self.take(len, body) || self.line().is_none() {
                    break false;
                }
                if len == 0 {
                    break true;
                }
            };
        } else if let Some(len) = headers.get("content-length") {
            *whole = self.take(len.parse().expect("a number"), body);
        } else {
            while self.more() {}
            body.append(&mut self.buffer);
            *whole = true;
        }
        response
    }

    /// At least `len` bytes of a body, as they come.
    pub fn read_some(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(self.take(len, &mut bytes), "the body ends after {} bytes", bytes.len());
        bytes
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Client {
        Client { stream, buffer: Vec::new() }
    }
}

/// A connection from this address of ours.
pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    // Else a proxy that is started meanwhile would hold it, too.
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).expect("loopback is 127.0.0.0/8");
    rustix::net::connect(&socket, &to).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    stream
}

/// The statuses of all answers until the other side closes.
pub fn statuses_until_closed(mut stream: &TcpStream) -> Vec<String> {
    let mut text = Vec::new();
    // Closed with bytes of ours unread: that comes as a reset.
    stream.read_to_end(&mut text).ok();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|line| line[..3].to_owned()).collect()
}

/// One request on a connection of its own.
pub fn get(proxy: SocketAddr, target: &str) -> Response {
    get_with(proxy, target, &[])
}

/// One request to a proxy that may be ending: what came of an answer, if anything.
pub fn try_get(proxy: SocketAddr, target: &str) -> Option<Response> {
    let mut stream = TcpStream::connect(proxy).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut buffer = Vec::new();
    // What came before a reset came.
    stream.read_to_end(&mut buffer).ok();
    let response = Client { stream, buffer }.read("GET");
    (response.status != 0).then_some(response)
}

/// The same with header lines.
pub fn get_with(proxy: SocketAddr, target: &str, lines: &[&str]) -> Response {
    Client::connect(proxy).get(target, lines)
}
