//! A connection to which anything happens, in any order, and what must hold all the same: played by the fuzzer, and by a
//! test with noise.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::{Conn, Input, Log, Output};
use crate::edge::exchange::{Answer, Body, Note, Reply};
use crate::limits::{HEAD_LEN, IDLE_TIME, PIPELINE, READ_LEN, STREAM_WINDOW_LEN};
use crate::stream::{Failure, Head, Outcome, Stream};
use crate::time::Time;

struct Game {
    conn: Conn,
    now: Time,
    /// What the client got, and what the log says of it.
    got: Vec<u8>,
    logs: Vec<Log>,
    closed: bool,
    shut: bool,
    /// Requests that are with workers.
    asked: Vec<u64>,
    next_number: u64,
    /// The last that went to a worker for the second time.
    again: Option<u64>,
    streams: Vec<Growing>,
    file: Arc<File>,
}

/// A body that grows: how much of it is there, and whether it has ended.
struct Growing {
    stream: Arc<Stream>,
    begun: bool,
    pushed: u64,
    over: bool,
}

/// Plays what `moves` say: an operation, what it is about, and for some of them bytes.
///
/// # Panics
/// When an answer is not what its head says, or a bound is passed.
pub fn play(moves: &[u8]) {
    let mut game = Game {
        conn: Conn::new(Time(1000), IDLE_TIME, Arc::new(|| ())),
        now: Time(1000),
        got: Vec::new(),
        logs: Vec::new(),
        closed: false,
        shut: false,
        asked: Vec::new(),
        next_number: 0,
        again: None,
        streams: Vec::new(),
        file: Arc::new(File::open("/proc/self/exe").expect("it runs")),
    };
    let mut moves = moves.iter().copied().collect::<VecDeque<u8>>();
    while let (Some(operation), Some(about)) = (moves.pop_front(), moves.pop_front()) {
        game.make(operation, about, &mut moves);
        game.drain();
        game.ask();
        assert!(game.conn.exchanges.len() <= PIPELINE + 1 && game.conn.input.len() < HEAD_LEN + READ_LEN);
        if game.closed {
            break;
        }
    }
    game.check();
}

impl Game {
    fn make(&mut self, operation: u8, about: u8, moves: &mut VecDeque<u8>) {
        let input = match operation % 8 {
            0 | 1 if !self.conn.wants_bytes() => return,
            0 => {
                let bytes: Vec<u8> = moves.drain(..usize::from(about).min(moves.len())).collect();
                return self.conn.handle(self.now, Input::Bytes(&bytes));
            }
            1 => {
                let method = if about & 1 == 0 { "GET" } else { "HEAD" };
                let version = u8::from(about & 2 == 0);
                let name = if about & 4 == 0 { "x.deb" } else { "InRelease" };
                let text = format!("{method} /{name} HTTP/1.{version}\r\nHost: x\r\n\r\n");
                return self.conn.handle(self.now, Input::Bytes(text.as_bytes()));
            }
            2 if self.asked.is_empty() => return,
            2 => {
                let number = self.asked.remove(usize::from(about) % self.asked.len());
                let what = moves.pop_front().unwrap_or(0);
                Input::Reply(number, self.reply(what))
            }
            3 => return self.grow(about, moves.pop_front().unwrap_or(0)),
            4 => {
                self.now = self.now + Duration::from_millis(u64::from(about) * 100);
                Input::Tick
            }
            5 => Input::Held,
            6 => Input::End,
            _ => Input::Reply(u64::from(about), None),
        };
        if let Input::Reply(number, None) = &input {
            self.asked.retain(|asked| asked != number);
        }
        self.conn.handle(self.now, input);
    }

    fn reply(&mut self, what: u8) -> Option<Reply> {
        let len = u64::from(what >> 3);
        let body = match what & 7 {
            0 => return None,
            1 => Body::Empty,
            2 | 3 => Body::Bytes(vec![b'b'; usize::from(what >> 3)]),
            4 if len > 0 => Body::File { file: Arc::clone(&self.file), start: len, len },
            kind => {
                let stream = Arc::new(Stream::default());
                self.streams.push(Growing { stream: Arc::clone(&stream), begun: false, pushed: 0, over: false });
                let len = (kind == 5).then_some(len);
                let answer = move |outcome: &Outcome| match outcome {
                    Outcome::Failed(failure) => answer(failure.status, Body::Empty, Some(0)),
                    _ => answer(200, Body::Stream { start: 0, len, patient: what & 8 == 0 }, len),
                };
                return Some(Reply::Later { stream, answer: Box::new(answer), leads: kind == 7 });
            }
        };
        let len = match &body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { len, .. } => *len,
            _ => 0,
        };
        Some(Reply::Now(answer(200, body, Some(len))))
    }

    /// A download goes on, ends or fails.
    fn grow(&mut self, about: u8, what: u8) {
        let count = self.streams.len();
        let Some(growing) = self.streams.get_mut(usize::from(about) % count.max(1)).filter(|growing| !growing.over)
        else {
            return;
        };
        match what & 3 {
            0 => {
                let failure = Failure { status: 502, reason: String::new(), retry_after: None, challenge: None };
                growing.stream.fail(failure);
                growing.over = true;
            }
            _ if !growing.begun => {
                growing.stream.begin(Head::default(), None);
                growing.begun = true;
            }
            1 => {
                growing.stream.finish(growing.pushed);
                growing.over = true;
            }
            _ => {
                // Much: a window is full, and who has not taken it is cut off.
                let len = if what >= 0xf0 { STREAM_WINDOW_LEN } else { usize::from(what >> 2) + 1 };
                let bytes = vec![b's'; len];
                growing.pushed += bytes.len() as u64;
                // Nobody may follow it any more.
                growing.over = growing.stream.push(&bytes, Duration::ZERO).is_err();
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            let sent = match self.conn.poll(self.now) {
                Output::Wait => return,
                Output::Close => {
                    self.closed = true;
                    return;
                }
                Output::Shutdown => {
                    assert!(!std::mem::replace(&mut self.shut, true), "shut down twice");
                    continue;
                }
                Output::Log(log) => {
                    self.logs.push(log);
                    continue;
                }
                Output::Dial(_) => panic!("no answer here leads anywhere"),
                Output::Send { bytes, .. } => {
                    assert!(!bytes.is_empty() && !self.shut);
                    // Not all of it, to see that the rest follows.
                    let part = bytes.len().div_ceil(2);
                    self.got.extend_from_slice(&bytes[..part]);
                    part as u64
                }
                Output::SendFile { file, at, len } => {
                    assert!(len > 0 && !self.shut);
                    let mut bytes = vec![0; usize::try_from(len).expect("small")];
                    file.read_exact_at(&mut bytes, at).expect("the file has it");
                    self.got.extend_from_slice(&bytes);
                    len
                }
            };
            self.conn.handle(self.now, Input::Sent(sent));
        }
        panic!("a connection that never comes to rest");
    }

    fn ask(&mut self) {
        while let Some((number, request)) = self.conn.next_request(PIPELINE) {
            // Those that the edge refuses itself have numbers, too.
            let is_new = number >= self.next_number;
            assert!(is_new || self.again.is_none_or(|last| last < number), "{number} again");
            assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()));
            if is_new {
                self.next_number = number + 1;
            } else {
                self.again = Some(number);
            }
            self.asked.push(number);
        }
    }

    /// The client can tell where each answer begins and ends, and they are those of the log, in its order.
    fn check(&self) {
        let mut rest = self.got.as_slice();
        for (n, log) in self.logs.iter().enumerate() {
            if log.status == 0 {
                assert!(!log.whole);
                continue;
            }
            if !log.whole {
                assert!(self.closed && n + 1 == self.logs.len(), "something follows what was cut off");
                return;
            }
            let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
            let (head, body) = rest.split_at(end);
            let head = std::str::from_utf8(head).expect("ASCII");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", log.status)), "{head}: {log:?}");
            let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let len = if log.method == "HEAD" {
                0
            } else if line("Transfer-Encoding: chunked").is_some() {
                chunks_len(body)
            } else if let Some(len) = line("Content-Length: ") {
                len.parse().expect("a number")
            } else {
                assert!(line("Connection: close").is_some(), "{head}");
                body.len()
            };
            rest = &body[len..];
        }
        // Of the answer that is under way there is a beginning.
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 ") || b"HTTP/1.1 ".starts_with(rest));
    }
}

/// How long a chunked body is, with its framing.
fn chunks_len(body: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let line = body[at..].windows(2).position(|window| window == b"\r\n").expect("a size's line");
        let size = std::str::from_utf8(&body[at..at + line]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a size");
        at += line + 2 + size;
        assert_eq!(&body[at..at + 2], b"\r\n");
        at += 2;
        if size == 0 {
            return at;
        }
    }
}

fn answer(status: u16, body: Body, len: Option<u64>) -> Answer {
    let mut head = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    head.extend(len.map_or(String::new(), |len| format!("Content-Length: {len}\r\n")).bytes());
    Answer { status, head, body, close: false, note: Note::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_happens_the_client_can_tell_the_answers_apart(
            moves in proptest::collection::vec((0_u8..6, any::<u8>(), any::<u8>()), 0..80)
        ) {
            let moves: Vec<u8> = moves.into_iter().flat_map(|(operation, about, what)| match operation {
                // Clean requests go on for longer than noise does.
                0 => vec![1, about],
                2 | 3 => vec![operation, about, what],
                _ => vec![operation, about],
            }).collect();
            super::play(&moves);
        }
    }
}
