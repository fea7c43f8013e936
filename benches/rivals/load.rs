//! Clients that cost little: one thread, sockets that do not block, bodies that the kernel throws away unread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::archive::File;
use apt_p2p::digest::PieceHasher;

/// A request, and the length of its answer's body.
pub struct Wanted {
    pub text: String,
    pub len: u64,
}

/// What a load brought.
pub struct Load {
    pub answers: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub cpu_s: f64,
}

/// What is done with a body.
#[derive(Clone, Copy)]
pub enum Then<'a> {
    Drop,
    /// Its digest must be right.
    Check(&'a File),
    /// Hashed and written, as apt does.
    Save(&'a Path),
}

/// When the first byte and the last had come.
pub struct Fetched {
    pub first_byte: Duration,
    pub whole: Duration,
}

const HEAD_LEN: usize = 16 * 1024;
const PART_LEN: usize = 256 * 1024;

/// Keeps `connections` busy, each with the next of `wanted` as soon as it has an answer, for `time`.
pub fn keep_up(
    address: SocketAddr,
    wanted: &[Wanted],
    connections: usize,
    time: Duration,
    cpu_s: &dyn Fn() -> f64,
) -> Load {
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(256);
    let mut all: Vec<Busy> = (0..connections).map(|n| Busy::connect(address, &poll, n, wanted)).collect();
    let mut buffer = vec![0; PART_LEN];
    let (mut answers, mut bytes) = (0, 0);
    let mut begun: Option<(Instant, f64)> = None;
    let start = Instant::now();
    loop {
        if begun.is_none() && start.elapsed() >= time / 5 {
            begun = Some((Instant::now(), cpu_s()));
            (answers, bytes) = (0, 0);
        }
        if let Some((since, before)) = begun
            && since.elapsed() >= time
        {
            let seconds = since.elapsed().as_secs_f64();
            return Load { answers, bytes, seconds, cpu_s: cpu_s() - before };
        }
        poll.poll(&mut events, Some(Duration::from_millis(50))).expect("epoll");
        for event in &events {
            all[event.token().0].go_on(wanted, &mut buffer, &mut answers, &mut bytes);
        }
    }
}

/// A connection that always waits for an answer.
struct Busy {
    stream: mio::net::TcpStream,
    next: usize,
    head: Vec<u8>,
    /// Of the body; none before its head is here.
    left: Option<u64>,
}

impl Busy {
    fn connect(address: SocketAddr, poll: &Poll, n: usize, wanted: &[Wanted]) -> Busy {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        stream.set_nonblocking(true).expect("a socket");
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(n), Interest::READABLE).expect("epoll");
        let mut busy = Busy { stream, next: n % wanted.len(), head: Vec::new(), left: None };
        busy.ask(wanted);
        busy
    }

    fn ask(&mut self, wanted: &[Wanted]) {
        // Its buffer is empty: the former answer is here.
        self.stream.write_all(wanted[self.next].text.as_bytes()).expect("a request");
        self.left = None;
    }

    fn go_on(&mut self, wanted: &[Wanted], buffer: &mut [u8], answers: &mut u64, bytes: &mut u64) {
        loop {
            let (most, flags) = match self.left {
                None => (HEAD_LEN, RecvFlags::empty()),
                // The kernel throws these away without copying them.
                Some(left) => (usize::try_from(left).map_or(PART_LEN, |left| left.min(PART_LEN)), RecvFlags::TRUNC),
            };
            let len = match recv(self.stream.as_fd(), &mut buffer[..most], flags) {
                Ok((_, 0)) => panic!("the server closed the connection"),
                Ok((_, len)) => len as u64,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Err(error) => panic!("the connection broke: {error}"),
            };
            let body = match &mut self.left {
                Some(left) => {
                    *left -= len;
                    len
                }
                None => {
                    self.head.extend_from_slice(&buffer[..usize::try_from(len).expect("a part")]);
                    let Some(end) = head_len(&self.head, wanted[self.next].len) else { continue };
                    let body = (self.head.len() - end) as u64;
                    self.head.clear();
                    self.left = Some(wanted[self.next].len - body);
                    body
                }
            };
            *bytes += body;
            if self.left == Some(0) {
                *answers += 1;
                self.next = (self.next + 1) % wanted.len();
                self.ask(wanted);
            }
        }
    }
}

/// The length of a head that is whole; it must be the right one.
fn head_len(head: &[u8], len: u64) -> Option<usize> {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    assert!(text.contains(&format!("content-length: {len}\r\n")), "{text}");
    Some(end)
}

/// Seconds, at the median, from a request to the end of its answer, one after the other on one connection; for at most two
/// seconds.
pub fn one_by_one(address: SocketAddr, wanted: &[Wanted], count: usize) -> f64 {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("TCP");
    let (mut times, mut buffer) = (Vec::new(), vec![0; PART_LEN]);
    let begun = Instant::now();
    for n in 0..count {
        let start = Instant::now();
        ask(&mut stream, &wanted[n % wanted.len()], start, &mut buffer, &mut |_| ());
        times.push(start.elapsed().as_secs_f64());
        if begun.elapsed() >= Duration::from_secs(2) {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One request on a connection of its own.
pub fn fetch(address: SocketAddr, wanted: &Wanted, then: Then<'_>) -> Fetched {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("TCP");
    let mut hasher = PieceHasher::default();
    let mut saved = match then {
        Then::Save(folder) => Some(std::fs::File::create(folder.join("saved")).expect("a scratch file")),
        Then::Drop | Then::Check(_) => None,
    };
    let mut buffer = vec![0; PART_LEN];
    let start = Instant::now();
    let first_byte = ask(&mut stream, wanted, start, &mut buffer, &mut |part| {
        if !matches!(then, Then::Drop) {
            hasher.update(part, |_| ());
        }
        if let Some(file) = &mut saved {
            file.write_all(part).expect("a scratch file");
        }
    });
    let whole = start.elapsed();
    if let Then::Check(file) = then {
        assert_eq!(hasher.finish().to_string(), file.digest, "{}", file.path);
    }
    Fetched { first_byte, whole }
}

/// Asks and reads; when the first byte came.
fn ask(
    stream: &mut TcpStream,
    wanted: &Wanted,
    start: Instant,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]),
) -> Duration {
    stream.write_all(wanted.text.as_bytes()).expect("a request");
    let (mut first, mut have) = (None, 0);
    let mut left = loop {
        let len = stream.read(&mut buffer[have..]).expect("an answer");
        assert!(len > 0, "the answer ends in its head: {}", String::from_utf8_lossy(&buffer[..have]));
        first.get_or_insert_with(|| start.elapsed());
        have += len;
        if let Some(end) = head_len(&buffer[..have], wanted.len) {
            take(&buffer[end..have]);
            break wanted.len - (have - end) as u64;
        }
    };
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let len = stream.read(&mut buffer[..most]).expect("the body");
        assert!(len > 0, "the body ends {left} bytes early");
        take(&buffer[..len]);
        left -= len as u64;
    }
    first.expect("a byte came")
}
