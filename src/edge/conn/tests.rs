//! Transcripts: what happens on a connection, and what it does then. Time is made up.

mod bodies;
mod tunnels;

use std::fs::File;

use super::*;
use crate::limits::IDLE_TIME;
use crate::stream::{Failure, Head, Stream};
use proptest::prelude::*;

/// A connection with a client that reads everything at once.
struct Pair {
    conn: Conn,
    now: Time,
    /// What the client got.
    got: Vec<u8>,
    logs: Vec<Log>,
    dialled: Vec<Way>,
    shut: bool,
    closed: bool,
}

impl Pair {
    fn new() -> Pair {
        let now = Time(1000);
        let conn = Conn::new(now, IDLE_TIME, Arc::new(|| ()));
        Pair { conn, now, got: Vec::new(), logs: Vec::new(), dialled: Vec::new(), shut: false, closed: false }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.conn.handle(self.now, input);
        self.drain();
    }

    fn say(&mut self, text: &str) {
        self.handle(Input::Bytes(text.as_bytes()));
    }

    fn pass(&mut self, ms: u64) {
        self.now = Time(self.now.0 + ms);
        self.handle(Input::Tick);
    }

    /// A stream that is followed has these bytes, and no more.
    fn bring(&mut self, stream: &Stream, bytes: &[u8]) {
        let len = bytes.len() as u64;
        stream.begin(Head { len: Some(len), ..Head::default() }, None);
        stream.push(bytes, std::time::Duration::ZERO).expect("followed");
        stream.finish(len);
        self.drain();
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
                    self.shut = true;
                    continue;
                }
                Output::Log(log) => {
                    self.logs.push(log);
                    continue;
                }
                Output::Dial(way) => {
                    self.dialled.push(way);
                    continue;
                }
                Output::Send { bytes, .. } => {
                    // Half of it, to see that the rest follows.
                    let half = bytes.len().div_ceil(2);
                    self.got.extend_from_slice(&bytes[..half]);
                    half as u64
                }
                Output::SendFile { file, at, len } => {
                    let mut bytes = vec![0; usize::try_from(len).expect("small")];
                    std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, at).expect("the file has it");
                    self.got.extend_from_slice(&bytes);
                    len
                }
            };
            self.conn.handle(self.now, Input::Sent(sent));
        }
        panic!("a connection that never comes to rest");
    }

    /// The requests that go to workers now.
    fn requests(&mut self) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some((number, request)) = self.conn.next_request(PIPELINE) {
            all.push((number, request.target.clone()));
        }
        all
    }

    fn reply(&mut self, number: u64, body: &str) {
        let answer = answer(200, Body::Bytes(body.as_bytes().to_vec()), Some(body.len() as u64));
        self.handle(Input::Reply(number, Some(Reply::Now(answer))));
    }

    fn text(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.got)).expect("text")
    }

    /// The bodies of what the client got, where each has a length.
    fn bodies(&mut self) -> Vec<String> {
        let text = self.text();
        let mut rest = text.as_str();
        let mut bodies = Vec::new();
        while let Some((head, after)) = rest.split_once("\r\n\r\n") {
            let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
            let (body, next) = after.split_at(len.parse().expect("a number"));
            bodies.push(body.to_owned());
            rest = next;
        }
        assert_eq!(rest, "", "something stands behind the last body");
        bodies
    }
}

fn answer(status: u16, body: Body, len: Option<u64>) -> Answer {
    let mut head = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    head.extend(len.map_or(String::new(), |len| format!("Content-Length: {len}\r\n")).bytes());
    Answer { status, head, body, close: false, note: Note { source: "test", ..Note::default() } }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn follow(pair: &mut Pair, number: u64, len: Option<u64>, start: u64) -> Arc<Stream> {
    follow_as(pair, number, len, start, false)
}

fn follow_as(pair: &mut Pair, number: u64, len: Option<u64>, start: u64, leads: bool) -> Arc<Stream> {
    let stream = Arc::new(Stream::default());
    let reply = Reply::Later {
        stream: Arc::clone(&stream),
        answer: Box::new(move |outcome| match outcome {
            Outcome::Failed(failure) => answer(failure.status, Body::Empty, Some(0)),
            _ => answer(200, Body::Stream { start, len, patient: true }, len),
        }),
        leads,
    };
    pair.handle(Input::Reply(number, Some(reply)));
    stream
}

#[test]
fn the_head_of_an_empty_file_ends_though_nothing_will_come() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(0), 0);
    stream.begin(Head { len: Some(0), ..Head::default() }, None);
    pair.drain();
    assert!(pair.got.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&pair.got));
}

#[test]
fn a_second_reply_to_a_request_is_none() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(10), 0);
    stream.begin(Head { len: Some(10), ..Head::default() }, None);
    pair.drain();
    let got = pair.got.clone();
    pair.handle(Input::Reply(0, None));
    assert_eq!(pair.got, got);
}

#[test]
fn a_head_waits_for_its_body_a_line_at_a_time() {
    let file = Arc::new(File::open("/proc/self/exe").expect("it runs"));
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(10), 0);
    stream.begin(Head { len: Some(10), ..Head::default() }, Some(file));
    pair.drain();
    let head = String::from_utf8(pair.got.clone()).expect("ASCII");
    assert!(head.ends_with("Content-Length: 10\r\n"), "{head}");
    // Longer than apt waits for a byte.
    for _ in 0..40 {
        pair.pass(1000);
    }
    let waited = String::from_utf8(pair.got[head.len()..].to_vec()).expect("ASCII");
    assert_eq!(waited, "X-Wait: 1\r\n".repeat(2));
    let so_far = pair.got.len();
    stream.finish(10);
    pair.drain();
    assert!(pair.got[so_far..].starts_with(b"\r\n") && pair.got.len() == so_far + 12);
    assert!(pair.logs[0].whole && pair.logs[0].bytes == 10);
    // One that breaks is cut within its head: no client takes that for an answer.
    pair.say(&get("/b"));
    pair.requests();
    let stream = follow(&mut pair, 1, Some(10), 0);
    stream.begin(Head { len: Some(10), ..Head::default() }, None);
    pair.drain();
    stream.fail(Failure { status: 502, reason: String::new(), retry_after: None, challenge: None });
    pair.drain();
    assert!(pair.closed && !pair.got.ends_with(b"\r\n\r\n"));
}

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    let mut pair = Pair::new();
    pair.say(&[get("/a"), get("/b"), get("/c")].concat());
    assert_eq!(pair.requests(), [(0, "/a".into()), (1, "/b".into()), (2, "/c".into())]);
    let first = follow(&mut pair, 0, Some(5), 0);
    pair.reply(2, "third");
    pair.reply(1, "second");
    assert_eq!(pair.text(), "");
    pair.bring(&first, b"first");
    assert_eq!(pair.bodies(), ["first", "second", "third"]);
    assert_eq!(pair.logs.iter().map(|log| log.bytes).collect::<Vec<_>>(), [5, 6, 5]);
    pair.say(&get("/d"));
    assert_eq!(pair.requests(), [(3, "/d".into())]);
}

#[test]
fn what_stands_behind_a_leader_goes_to_a_worker_when_its_answer_has_begun() {
    let mut pair = Pair::new();
    pair.say(&[get("/InRelease"), get("/Packages")].concat());
    assert_eq!(pair.requests(), [(0, "/InRelease".into())]);
    assert_eq!(pair.requests(), [], "not while the first is with a worker");
    let release = follow_as(&mut pair, 0, Some(2), 0, true);
    assert_eq!(pair.requests(), [], "nor before it is known which one it is");
    release.begin(Head { len: Some(2), ..Head::default() }, None);
    pair.drain();
    assert_eq!(pair.requests(), [(1, "/Packages".into())]);
}

#[test]
fn only_what_may_depend_on_a_release_waits_for_it() {
    let mut pair = Pair::new();
    pair.say(&[get("/a.deb"), get("/x/InRelease"), get("/y/InRelease"), get("/b.deb"), get("/c.deb")].concat());
    assert_eq!(pair.requests(), [(0, "/a.deb".into()), (1, "/x/InRelease".into()), (2, "/y/InRelease".into())]);
    pair.reply(0, "a");
    pair.reply(2, "y");
    assert_eq!(pair.requests(), [], "not while the first Release is with a worker");
    pair.reply(1, "x");
    assert_eq!(pair.requests(), [(3, "/b.deb".into()), (4, "/c.deb".into())]);
}

#[test]
fn no_more_than_the_pipeline_s_depth_is_taken_at_once() {
    let mut pair = Pair::new();
    pair.say(&get("/x").repeat(PIPELINE + 5));
    assert_eq!(pair.requests().len(), PIPELINE);
    assert!(!pair.conn.wants_bytes());
    pair.reply(0, "x");
    assert_eq!(pair.requests(), [(PIPELINE as u64, "/x".into())]);
    // With few descriptors, fewer are ahead of their turn.
    let mut pair = Pair::new();
    pair.say(&get("/x").repeat(3));
    assert!(pair.conn.next_request(1).is_some() && pair.conn.next_request(1).is_none());
    pair.reply(0, "x");
    assert!(pair.conn.next_request(1).is_some());
}

#[test]
fn a_whole_head_that_waits_its_turn_is_not_late() {
    let mut pair = Pair::new();
    pair.say(&get("/a").repeat(PIPELINE + 1));
    let asked = pair.requests();
    pair.pass(u64::try_from(HEAD_TIME.as_millis()).expect("small") + 1);
    pair.reply(asked[0].0, "a");
    let last = pair.requests();
    assert_eq!(last.len(), 1, "{last:?}");
    for (number, _) in asked[1..].iter().chain(&last) {
        pair.reply(*number, "a");
    }
    assert_eq!(pair.bodies().len(), PIPELINE + 1);
    assert!(!pair.closed);
}

#[test]
fn a_refusal_waits_for_what_stands_before_it_and_ends_the_connection() {
    let mut pair = Pair::new();
    pair.say(&[get("/a"), "POST / HTTP/1.1\r\nHost: x\r\n\r\n".into(), get("/c")].concat());
    assert_eq!(pair.requests(), [(0, "/a".into())]);
    assert_eq!(pair.text(), "");
    pair.reply(0, "a");
    let bodies = pair.bodies();
    assert_eq!((bodies.len(), bodies[0].as_str()), (2, "a"));
    assert!(pair.shut && !pair.closed && pair.logs[1].status == 405);
    // What still comes is thrown away, until the client closes.
    pair.say(&get("/d"));
    assert!(pair.requests().is_empty());
    pair.handle(Input::End);
    assert!(pair.closed);
}

#[test]
fn a_client_that_does_not_close_is_closed() {
    let mut pair = Pair::new();
    pair.say("GET / HTTP/1.0\r\n\r\n");
    pair.requests();
    pair.reply(0, "x");
    assert!(pair.text().contains("Connection: close\r\n") && pair.shut && !pair.closed);
    pair.pass(1999);
    assert!(!pair.closed);
    pair.pass(1);
    assert!(pair.closed);
}

#[test]
fn heads_that_do_not_come_and_idle_connections_are_closed() {
    let mut pair = Pair::new();
    pair.say("GET / HT");
    pair.pass(9999);
    pair.say("TP/1.1\r\nX: ");
    assert_eq!(pair.text(), "");
    pair.pass(1);
    assert!(pair.text().starts_with("HTTP/1.1 408 ") && pair.shut);
    let mut pair = Pair::new();
    pair.pass(59_999);
    assert!(!pair.closed);
    pair.pass(1);
    assert!(pair.closed);
    let mut pair = Pair::new();
    pair.say(&"X".repeat(HEAD_LEN));
    assert!(pair.text().starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_bittorrent_handshake_is_closed_without_a_word() {
    let mut pair = Pair::new();
    pair.say("\x13BitTorrent protocol");
    assert!(pair.closed && pair.got.is_empty() && pair.logs.is_empty());
}

#[test]
fn what_is_held_back_by_us_is_no_slow_reader() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let body = answer(200, Body::Bytes(vec![0; 1 << 20]), Some(1 << 20));
    pair.conn.handle(pair.now, Input::Reply(0, Some(Reply::Now(body))));
    for s in 1..600 {
        let now = Time(pair.now.0 + s * 1000);
        pair.conn.handle(now, Input::Held);
        pair.conn.handle(now, Input::Tick);
        assert!(matches!(pair.conn.poll(now), Output::Send { .. }), "closed after {s} s");
    }
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    pair.handle(Input::End);
    assert!(!pair.closed);
    pair.reply(0, "a");
    assert_eq!(pair.bodies(), ["a"]);
    assert!(pair.shut);
}

#[test]
fn a_worker_that_fails_is_an_error_of_ours() {
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    pair.handle(Input::Reply(0, None));
    assert!(pair.text().starts_with("HTTP/1.1 500 ") && pair.shut);
}

#[test]
fn a_reader_that_is_too_slow_is_closed_and_one_that_waits_for_the_mirror_is_not() {
    let mut conn = Conn::new(Time(0), IDLE_TIME, Arc::new(|| ()));
    conn.handle(Time(0), Input::Bytes(get("/a").as_bytes()));
    assert!(conn.next_request(PIPELINE).is_some());
    let body = answer(200, Body::Bytes(vec![0; 1 << 20]), Some(1 << 20));
    conn.handle(Time(0), Input::Reply(0, Some(Reply::Now(body))));
    let slow = |conn: &mut Conn, from: u64, bytes_each_s: u64| {
        for s in from..from + 121 {
            assert!(!matches!(conn.poll(Time(s * 1000)), Output::Close), "closed after {s} s");
            conn.handle(Time(s * 1000), Input::Sent(bytes_each_s));
            conn.handle(Time(s * 1000), Input::Tick);
        }
    };
    slow(&mut conn, 0, 1000);
    for s in 121..242 {
        conn.handle(Time(s * 1000), Input::Tick);
    }
    assert!(matches!(conn.poll(Time(242_000)), Output::Close));
    let mut pair = Pair::new();
    pair.say(&get("/a"));
    pair.requests();
    let stream = follow(&mut pair, 0, Some(10), 0);
    stream.begin(Head::default(), None);
    (0..600).for_each(|_| pair.pass(1000));
    assert!(!pair.closed);
}

proptest! {
    #[test]
    fn however_the_bytes_are_split_the_requests_are_the_same(
        paths in proptest::collection::vec("/[a-z%]{0,20}", 1..8), cuts in proptest::collection::vec(1_usize..40, 1..40)
    ) {
        let text: String = paths.iter().map(|path| get(path)).collect();
        let mut pair = Pair::new();
        let mut rest = text.as_bytes();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            pair.handle(Input::Bytes(part));
            rest = after;
        }
        let expected: Vec<_> = paths.iter().enumerate().map(|(n, path)| (n as u64, path.clone())).collect();
        prop_assert_eq!(pair.requests(), expected);
    }

    #[test]
    fn nothing_that_happens_panics(
        steps in proptest::collection::vec((0_u8..6, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..60)
    ) {
        let mut pair = Pair::new();
        for (kind, number, bytes) in steps {
            match kind {
                0 => pair.handle(Input::Bytes(&bytes)),
                1 => pair.say(&get("/x")),
                2 => pair.reply(number % 20, "body"),
                3 => drop(follow(&mut pair, number % 20, Some(number), number / 2)),
                4 => pair.pass(number % 100_000),
                _ => pair.handle(Input::Reply(number, None)),
            }
            pair.requests();
        }
    }
}
