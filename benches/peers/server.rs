//! What serves: a mirror, and peers of all habits, at a bounded rate over all connections and behind a round trip.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use apt_p2p::digest::{Digest, PIECE_LEN, PieceHasher};

/// Bytes that are the file's own; the rest is the same for all.
const OWN_LEN: usize = 32;
/// Bytes sent at a time.
const PART_LEN: usize = 16 * 1024;

/// A file that is made when it is sent.
#[derive(Clone)]
pub struct File {
    pub digest: Digest,
    pub len: u64,
    own: [u8; OWN_LEN],
    /// Its piece table, as it is sent.
    pub table: Arc<Vec<u8>>,
}

impl File {
    pub fn new(len: u64, seed: u64) -> File {
        let own = Digest::of(&seed.to_le_bytes()).0;
        let mut file = File { digest: Digest([0; 32]), len, own, table: Arc::default() };
        let (mut hasher, mut table) = (PieceHasher::default(), Vec::new());
        let mut part = vec![0; PART_LEN];
        let mut at = 0;
        while at < len {
            let now = usize::try_from((len - at).min(PART_LEN as u64)).expect("a part");
            file.fill(at, &mut part[..now]);
            hasher.update(&part[..now], |midstate| table.extend(midstate.0));
            at += now as u64;
        }
        let pieces = usize::try_from(len.div_ceil(PIECE_LEN)).expect("few");
        table.truncate(32 * (pieces - 1));
        file.digest = hasher.finish();
        file.table = Arc::new(table);
        file
    }

    fn fill(&self, at: u64, into: &mut [u8]) {
        static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
        let noise =
            NOISE.get_or_init(|| (0..1 << 15_u32).flat_map(|n: u32| Digest::of(&n.to_le_bytes()).0).collect());
        let mut at = usize::try_from(at).expect("it fits memory");
        let mut filled = 0;
        while filled < into.len() {
            let from = if at < OWN_LEN { &self.own[at..] } else { &noise[at % noise.len()..] };
            let now = from.len().min(into.len() - filled);
            into[filled..filled + now].copy_from_slice(&from[..now]);
            filled += now;
            at += now;
        }
    }
}

#[derive(Clone)]
enum Content {
    File(File),
    Bytes(Arc<Vec<u8>>),
}

/// How a server is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Habit {
    Honest,
    /// It reads requests and answers none.
    Silent,
    /// 50 KB a second.
    Slow,
    /// A bit of each answer is wrong.
    Lies,
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    files: Mutex<BTreeMap<String, Content>>,
    /// Bytes a second; 0: as fast as it goes.
    rate: u64,
    /// When the last of what was sent has left.
    due: Mutex<Instant>,
    rtt: Duration,
    habit: Habit,
    sent: AtomicU64,
}

impl Server {
    pub fn start(address: SocketAddr, rate: u64, rtt: Duration, habit: Habit) -> Server {
        let listener = TcpListener::bind(address).expect("a free address");
        let address = listener.local_addr().expect("bound");
        let rate = if habit == Habit::Slow { 50_000 } else { rate };
        let due = Mutex::new(Instant::now());
        let shared = Shared { files: Mutex::default(), rate, due, rtt, habit, sent: AtomicU64::new(0) };
        let server = Server { address, shared: Arc::new(shared) };
        let ours = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).ok();
                let shared = Arc::clone(&ours);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        server
    }

    pub fn put(&self, path: &str, file: &File) {
        self.insert(path, Content::File(file.clone()));
    }

    pub fn put_bytes(&self, path: &str, bytes: Vec<u8>) {
        self.insert(path, Content::Bytes(Arc::new(bytes)));
    }

    /// As a peer has it.
    pub fn share(&self, file: &File) {
        self.put(&format!("/~/{}", file.digest), file);
        self.insert(&format!("/~/{}/pieces", file.digest), Content::Bytes(Arc::clone(&file.table)));
    }

    /// Bytes of bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    fn insert(&self, path: &str, content: Content) {
        self.shared.files.lock().expect("no panic").insert(path.to_owned(), content);
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        // The handshake.
        thread::sleep(self.rtt);
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(request)) = lines.next() {
            let mut range = None;
            for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                range = line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned).or(range);
            }
            thread::sleep(self.rtt);
            if self.habit == Habit::Silent {
                thread::sleep(Duration::from_secs(60));
                return;
            }
            let path = request.split(' ').nth(1).unwrap_or("");
            let content = self.files.lock().expect("no panic").get(path).cloned();
            let Some(content) = content else {
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                if (&*stream).write_all(answer).is_err() {
                    return;
                }
                continue;
            };
            if self.send(stream, &content, range.as_deref()).is_none() {
                return;
            }
        }
    }

    /// `None` ends the connection.
    fn send(&self, mut stream: &TcpStream, content: &Content, range: Option<&str>) -> Option<()> {
        let (len, vouch) = match content {
            Content::File(file) if !file.table.is_empty() => {
                (file.len, format!("Piece-Table: {}\r\n", Digest::of(&file.table)))
            }
            Content::File(file) => (file.len, String::new()),
            Content::Bytes(bytes) => (bytes.len() as u64, String::new()),
        };
        let (start, end) = match range.and_then(|range| range.split_once('-')) {
            Some((start, end)) => (start.parse().ok()?, end.parse::<u64>().map_or(len, |last| last + 1)),
            None => (0, len),
        };
        let status = match range {
            Some(_) => format!("206 Partial\r\nContent-Range: bytes {start}-{}/{len}", end - 1),
            None => "200 OK".to_owned(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sat, 01 Mar 2025 10:00:00 GMT\r\n{vouch}\r\n",
            end - start
        );
        let mut buffer = head.into_bytes();
        let mut at = start;
        while at < end || !buffer.is_empty() {
            let (head_len, now) = (buffer.len(), usize::try_from((end - at).min(PART_LEN as u64)).expect("a part"));
            buffer.resize(head_len + now, 0);
            match content {
                Content::File(file) => file.fill(at, &mut buffer[head_len..]),
                Content::Bytes(bytes) => {
                    let at = usize::try_from(at).expect("it fits memory");
                    buffer[head_len..].copy_from_slice(&bytes[at..at + now]);
                }
            }
            if self.habit == Habit::Lies && matches!(content, Content::File(_)) {
                buffer[head_len] ^= 1;
            }
            self.pace(now as u64);
            stream.write_all(&buffer).ok()?;
            buffer.clear();
            at += now as u64;
            self.sent.fetch_add(now as u64, Ordering::Relaxed);
        }
        Some(())
    }

    /// Waits until the line has carried so many bytes more.
    fn pace(&self, sent: u64) {
        if self.rate == 0 {
            return;
        }
        let now = Instant::now();
        let due = {
            let mut due = self.due.lock().expect("no panic");
            // What was slept too long is made up for.
            let idle_until = now.checked_sub(Duration::from_millis(20)).unwrap_or(now);
            *due = (*due).max(idle_until) + Duration::from_nanos(sent * 1_000_000_000 / self.rate);
            *due
        };
        thread::sleep(due.saturating_duration_since(now));
    }
}
