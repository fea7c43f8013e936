//! Peers on loopback, honest and otherwise.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use apt_p2p::digest::{Digest, Midstate, PIECE_LEN, PieceHasher, PieceTable};

/// How a peer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Habit {
    Honest,
    /// Bytes a second.
    Slow(u64),
    /// One bit of this piece is wrong.
    Flips(usize),
    /// The pieces before this one are false, and the table goes with them.
    FalseTable(usize),
    /// It reads requests and answers none.
    Silent,
    /// Every connection ends after this many bytes of a body.
    Vanishes(usize),
    /// What comes from this piece on is not sent before [`Peer::release`].
    HoldsFrom(usize),
    /// It names another table than it sends.
    OtherTable,
    Status(u16),
    Html,
    /// 206 with another range than was asked for.
    OtherRange,
    /// 200 with the whole file, whatever was asked for.
    Whole,
    EndlessHead,
}

struct File {
    content: Vec<u8>,
    table: Vec<u8>,
}

pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    habit: Habit,
    files: BTreeMap<String, File>,
    sent: AtomicU64,
    seen: Mutex<Vec<String>>,
    is_released: Mutex<bool>,
    released: Condvar,
}

/// The midstates of a file, the last piece's left out.
pub fn table_of(content: &[u8]) -> PieceTable {
    let (mut hasher, mut midstates) = (PieceHasher::default(), Vec::new());
    hasher.update(content, |midstate| midstates.push(midstate));
    midstates.truncate(content.len().div_ceil(PIECE_LEN as usize) - 1);
    PieceTable::new(midstates, content.len() as u64).expect("it fits")
}

fn raw(midstates: &[Midstate]) -> Vec<u8> {
    midstates.iter().flat_map(|midstate| midstate.0).collect()
}

impl Peer {
    pub fn start(habit: Habit, contents: &[&[u8]]) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let file = |content: &&[u8]| {
            let name = Digest::of(content).to_string();
            let (mut content, truth) = (content.to_vec(), table_of(content));
            let mut table = raw(truth.midstates());
            match habit {
                Habit::Flips(piece) => content[piece * PIECE_LEN as usize + 1000] ^= 1,
                Habit::FalseTable(until) => {
                    (0..until).for_each(|piece| content[piece * PIECE_LEN as usize] ^= 1);
                    table[..32 * until].copy_from_slice(&raw(&table_of(&content).midstates()[..until]));
                }
                _ => {}
            }
            (name, File { content, table })
        };
        let files = contents.iter().map(file).collect();
        let shared = Arc::new(Shared {
            habit,
            files,
            sent: AtomicU64::new(0),
            seen: Mutex::default(),
            is_released: Mutex::new(false),
            released: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&ours);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Peer { address, shared }
    }

    /// Bytes of bodies sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Sends what was held.
    pub fn release(&self) {
        *self.shared.is_released.lock().expect("no panic") = true;
        self.shared.released.notify_all();
    }

    /// Requests: target and range.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().expect("no panic").clone()
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).ok();
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(request)) = lines.next() {
            let mut range = String::new();
            for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    range = value.to_owned();
                }
            }
            let target = request.split(' ').nth(1).unwrap_or("").to_owned();
            self.seen.lock().expect("no panic").push(format!("{target} {range}"));
            if self.answer(stream, &target, &range).is_none() {
                return;
            }
        }
    }

    /// `None` closes the connection.
    fn answer(&self, mut stream: &TcpStream, target: &str, range: &str) -> Option<()> {
        let name = target.trim_start_matches("/~/");
        match &self.habit {
            Habit::Silent => {
                thread::sleep(Duration::from_secs(30));
                return None;
            }
            Habit::Status(status) => {
                let head = format!("HTTP/1.1 {status} No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
                return stream.write_all(head.as_bytes()).ok();
            }
            Habit::Html => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin";
                return stream.write_all(head.as_bytes()).ok();
            }
            Habit::EndlessHead => {
                stream.write_all(b"HTTP/1.1 206 Partial\r\n").ok()?;
                for _ in 0..100_000 {
                    stream.write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").ok()?;
                }
                return None;
            }
            _ => {}
        }
        let Some(file) = self.files.get(name.trim_end_matches("/pieces")) else {
            return stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").ok();
        };
        if name.ends_with("/pieces") {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.table.len());
            stream.write_all(head.as_bytes()).ok()?;
            return stream.write_all(&file.table).ok();
        }
        let (start, end) = range.split_once('-')?;
        let (mut start, mut end): (usize, usize) = (start.parse().ok()?, end.parse::<usize>().ok()? + 1);
        let len = file.content.len();
        let mut status = "206 Partial";
        match self.habit {
            Habit::OtherRange => (start, end) = (0, (end - start).min(len)),
            Habit::Whole => (start, end, status) = (0, len, "200 OK"),
            _ => {}
        }
        let named = if self.habit == Habit::OtherTable { &b"another"[..] } else { &file.table[..] };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{len}\r\nPiece-Table: {}\r\n\r\n",
            end - start,
            end - 1,
            Digest::of(named)
        );
        stream.write_all(head.as_bytes()).ok()?;
        if let Habit::HoldsFrom(piece) = self.habit {
            let held = (piece * PIECE_LEN as usize).clamp(start, end);
            self.send(stream, &file.content[start..held])?;
            start = held;
            let is_released = self.is_released.lock().expect("no panic");
            drop(self.released.wait_while(is_released, |released| !*released && start < end).expect("no panic"));
        }
        self.send(stream, &file.content[start..end])
    }

    fn send(&self, mut stream: &TcpStream, body: &[u8]) -> Option<()> {
        let part = match self.habit {
            Habit::Slow(rate) => usize::try_from(rate / 20).expect("small"),
            _ => 64 * 1024,
        };
        let mut sent = 0;
        for part in body.chunks(part) {
            if let Habit::Vanishes(after) = self.habit
                && sent >= after
            {
                return None;
            }
            // Counted first: whoever has the last part may look.
            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
            stream.write_all(part).ok()?;
            sent += part.len();
            if let Habit::Slow(_) = self.habit {
                thread::sleep(Duration::from_millis(50));
            }
        }
        Some(())
    }
}
