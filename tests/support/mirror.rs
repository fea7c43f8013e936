//! A mirror on loopback that serves files from memory, and lies on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::Digest;

pub const DATE: &str = "Sat, 01 Mar 2025 10:00:00 GMT";

/// What goes wrong with a path.
#[derive(Clone, Debug)]
pub enum Fault {
    /// One bit at this offset.
    Flip(usize),
    /// A captive portal's page, with status 200.
    Html,
    /// The right length announced, this many bytes sent.
    Short(usize),
    /// Chunked, and ended after this many bytes without a last chunk.
    ShortChunked(usize),
    /// Chunked, whole, without a length.
    Chunked,
    Status(u16),
    /// The request is read and never answered.
    Silent,
    /// The request is answered after the repair.
    Late,
    /// This many bytes, then nothing, the connection open.
    StallAfter(usize),
    /// This length announced and sent, padded or cut.
    Length(usize),
    Redirect(String),
    /// Without these credentials: 401.
    Credentials(String),
    /// Without these credentials: 401; a `HEAD`: 403.
    GetAlone(String),
    /// A ranged request gets this file's bytes instead, as if it were the same.
    OtherRest(Vec<u8>),
    /// A head that does not end.
    EndlessHead,
    /// These bytes in place of an answer, then the end.
    Raw(Vec<u8>),
    /// Cut after so many bytes; who asks for the rest gets these bytes in place of an answer.
    CutThen(usize, Vec<u8>),
    /// A beginning, and then the same again and again, for as long as somebody takes it.
    Endless(Vec<u8>, Vec<u8>),
}

#[derive(Clone)]
struct File {
    content: Arc<Vec<u8>>,
    last_modified: String,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    /// The first byte asked for.
    pub fn range_start(&self) -> Option<u64> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    faults: BTreeMap<String, Fault>,
    seen: Vec<Seen>,
    connections: usize,
    sent: BTreeMap<String, u64>,
    /// Bytes a second, over all connections; 0: as fast as it goes.
    rate: u64,
    down: bool,
    /// While set, bodies stop after this many bytes.
    held_after: Option<u64>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

pub struct Mirror {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Mirror {
    pub fn start() -> Mirror {
        Mirror::start_on("127.0.0.1")
    }

    pub fn start_on(ip: &str) -> Mirror {
        Mirror::start_with(TcpListener::bind((ip, 0)).expect("loopback"))
    }

    pub fn start_with(listener: TcpListener) -> Mirror {
        let mirror = Mirror { address: listener.local_addr().expect("bound"), shared: Arc::default() };
        let shared = Arc::clone(&mirror.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        mirror
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.put_dated(path, content, DATE);
    }

    pub fn put_dated(&self, path: &str, content: impl Into<Vec<u8>>, last_modified: &str) {
        let file = File { content: Arc::new(content.into()), last_modified: last_modified.to_owned() };
        self.lock().files.insert(path.to_owned(), file);
    }

    /// Puts a file under a path that its digest names: it is promised without an index.
    pub fn put_by_hash(&self, content: impl Into<Vec<u8>>) -> String {
        let content = content.into();
        let path = format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&content));
        self.put(&path, content);
        path
    }

    pub fn remove(&self, path: &str) {
        self.lock().files.remove(path);
    }

    pub fn fault(&self, path: &str, fault: Fault) {
        self.lock().faults.insert(path.to_owned(), fault);
    }

    pub fn repair(&self) {
        self.lock().faults.clear();
        self.shared.released.notify_all();
    }

    pub fn set_rate(&self, bytes_per_s: u64) {
        self.lock().rate = bytes_per_s;
    }

    /// Connections are closed at once.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Bodies stop after this many bytes, until [`Mirror::release`].
    pub fn hold_after(&self, bytes: u64) {
        self.lock().held_after = Some(bytes);
    }

    pub fn release(&self) {
        self.lock().held_after = None;
        self.shared.released.notify_all();
    }

    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.lock().seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }

    pub fn all_seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    pub fn forget_seen(&self) {
        self.lock().seen.clear();
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    pub fn sent(&self, path: &str) -> u64 {
        self.lock().sent.get(path).copied().unwrap_or(0)
    }

    /// Bytes of files, in all.
    pub fn sent_in_all(&self) -> u64 {
        self.lock().sent.values().sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("no test thread panics with the lock")
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        self.state.lock().expect("no test thread panics with the lock").connections += 1;
        stream.set_nodelay(true).ok();
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(request_line)) = lines.next() {
            let mut headers = BTreeMap::new();
            for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some((name, value)) = line.split_once(':') {
                    headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                }
            }
            let mut words = request_line.split(' ');
            let method = words.next().unwrap_or("").to_owned();
            let path = words.next().unwrap_or("").to_owned();
            let seen = Seen { method, path, headers };
            let (file, fault) = {
                let mut state = self.state.lock().expect("no test thread panics with the lock");
                if state.down {
                    return;
                }
                state.seen.push(seen.clone());
                (state.files.get(&seen.path).cloned(), state.faults.get(&seen.path).cloned())
            };
            if self.answer(stream, &seen, file, fault).is_none() {
                return;
            }
        }
    }

    /// `None` closes the connection.
    fn answer(&self, stream: &TcpStream, seen: &Seen, file: Option<File>, fault: Option<Fault>) -> Option<()> {
        let text = |status: &str, extra: &str, body: &str| {
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Type: text/html\r\n{extra}\r\n");
            let body = if seen.method == "HEAD" { "" } else { body };
            (&*stream).write_all(format!("{head}{body}").as_bytes()).ok()
        };
        match &fault {
            Some(Fault::Status(status)) => return text(&format!("{status} Fault"), "", "fault"),
            Some(Fault::Html) => {
                return text("200 OK", "", &format!("<html>{}</html>", "Please log in. ".repeat(500)));
            }
            Some(Fault::Redirect(to)) => return text("302 Found", &format!("Location: {to}\r\n"), ""),
            Some(Fault::GetAlone(_)) if seen.method == "HEAD" => return text("403 Forbidden", "", ""),
            Some(Fault::Credentials(wanted) | Fault::GetAlone(wanted))
                if seen.headers.get("authorization") != Some(wanted) =>
            {
                return text("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "no");
            }
            Some(Fault::Silent) => {
                self.until_repaired(&seen.path);
                return None;
            }
            Some(Fault::Late) => self.until_repaired(&seen.path),
            Some(Fault::EndlessHead) => {
                let mut out = stream;
                out.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
                for _ in 0..100_000 {
                    out.write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").ok()?;
                }
                return None;
            }
            Some(Fault::Raw(answer)) => {
                (&*stream).write_all(answer).ok();
                return None;
            }
            Some(Fault::CutThen(_, answer)) if seen.range_start().is_some() => {
                (&*stream).write_all(answer).ok();
                return None;
            }
            Some(Fault::Endless(begin, part)) => return self.send_endless(stream, &seen.path, begin, part),
            _ => {}
        }
        let Some(File { content, last_modified }) = file else { return text("404 Not Found", "", "not here") };
        if seen.headers.get("if-modified-since") == Some(&last_modified) {
            let head = format!("HTTP/1.1 304 Not Modified\r\nLast-Modified: {last_modified}\r\n\r\n");
            return (&*stream).write_all(head.as_bytes()).ok();
        }
        let fits = seen.headers.get("if-range").is_none_or(|validator| *validator == last_modified);
        let start = seen.range_start().filter(|_| fits).map(|start| usize::try_from(start).expect("small"));
        self.send(stream, seen, &content, &last_modified, start, fault)
    }

    fn send(
        &self,
        mut stream: &TcpStream,
        seen: &Seen,
        content: &[u8],
        last_modified: &str,
        start: Option<usize>,
        fault: Option<Fault>,
    ) -> Option<()> {
        let mut content = content.to_vec();
        match &fault {
            Some(Fault::Flip(at)) => content[*at] ^= 1,
            Some(Fault::Length(len)) => content.resize(*len, 0),
            Some(Fault::OtherRest(other)) if start.is_some() => content = other.clone(),
            _ => {}
        }
        let total = content.len();
        let from = start.unwrap_or(0);
        if from >= total && start.is_some() {
            let head = format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n");
            return stream.write_all(head.as_bytes()).ok();
        }
        let body = &content[from..];
        let (status, range) = match start {
            Some(from) => ("206 Partial", format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1)),
            None => ("200 OK", String::new()),
        };
        let chunked = matches!(fault, Some(Fault::ShortChunked(_) | Fault::Chunked));
        let framing = match chunked {
            true => "Transfer-Encoding: chunked\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {status}\r\n{framing}{range}Last-Modified: {last_modified}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        if seen.method == "HEAD" {
            return Some(());
        }
        let stop = match fault {
            Some(Fault::Short(len) | Fault::CutThen(len, _)) => len.min(body.len()),
            Some(Fault::ShortChunked(len) | Fault::StallAfter(len)) => len.min(body.len()),
            _ => body.len(),
        };
        self.send_body(stream, &seen.path, &body[..stop], chunked)?;
        match fault {
            Some(Fault::StallAfter(_)) => {
                self.until_repaired(&seen.path);
                None
            }
            Some(Fault::Short(_) | Fault::ShortChunked(_) | Fault::CutThen(..)) => None,
            _ if chunked => stream.write_all(b"0\r\n\r\n").ok(),
            _ => Some(()),
        }
    }

    fn send_endless(&self, mut stream: &TcpStream, path: &str, begin: &[u8], part: &[u8]) -> Option<()> {
        stream.write_all(begin).ok()?;
        while stream.write_all(part).is_ok() {
            *self.state.lock().expect("no panic").sent.entry(path.to_owned()).or_default() += part.len() as u64;
        }
        None
    }

    fn send_body(&self, mut stream: &TcpStream, path: &str, body: &[u8], chunked: bool) -> Option<()> {
        let begun = Instant::now();
        let mut sent = 0_u64;
        for part in body.chunks(16 * 1024) {
            let rate = {
                let mut state = self.state.lock().expect("no test thread panics with the lock");
                while state.held_after.is_some_and(|held| sent >= held) {
                    state = self.released.wait(state).expect("no test thread panics with the lock");
                }
                // Counted first: whoever has the last part may look.
                *state.sent.entry(path.to_owned()).or_default() += part.len() as u64;
                state.rate
            };
            if chunked {
                stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).ok()?;
            }
            stream.write_all(part).ok()?;
            if chunked {
                stream.write_all(b"\r\n").ok()?;
            }
            sent += part.len() as u64;
            if let Some(due_ms) = (sent * 1000).checked_div(rate) {
                thread::sleep(Duration::from_millis(due_ms).saturating_sub(begun.elapsed()));
            }
        }
        Some(())
    }

    fn until_repaired(&self, path: &str) {
        let state = self.state.lock().expect("no test thread panics with the lock");
        let broken = |state: &mut State| state.faults.contains_key(path);
        drop(self.released.wait_timeout_while(state, Duration::from_secs(60), broken));
    }
}

/// An address that neither accepts nor refuses: a listener whose queue is full.
pub struct Blackhole {
    pub address: SocketAddr,
    _sockets: Vec<rustix::fd::OwnedFd>,
}

impl Blackhole {
    pub fn new() -> Blackhole {
        Blackhole::on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn on(address: SocketAddr) -> Blackhole {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
        let socket = |flags| {
            socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)
                .expect("a socket")
        };
        let listener = socket(SocketFlags::empty());
        bind(&listener, &address).expect("loopback");
        listen(&listener, 0).expect("listens");
        let address: SocketAddr = getsockname(&listener).expect("bound").try_into().expect("an internet address");
        let mut sockets = vec![listener];
        // The queue takes one or two; a connection beyond them gets no answer.
        for _ in 0..4 {
            let filler = socket(SocketFlags::NONBLOCK);
            connect(&filler, &address).ok();
            sockets.push(filler);
        }
        Blackhole { address, _sockets: sockets }
    }
}
