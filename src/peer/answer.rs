//! A peer's request and what it gets: docs/PROTOCOL.md, "Between peers: HTTP". PURE.

use std::fs::File;
use std::sync::Arc;

use crate::digest::{Digest, Midstate};
use crate::edge::{Answer, Body, Conditions, OURS, Part, Reply, part};
use crate::limits::PEER_RETRY_S;
use crate::stream::{Head, Outcome, Stream};

/// What a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `/~/`
    Status,
    /// `/~/<name>`
    File(Digest),
    /// `/~/<name>/pieces`
    Pieces(Digest),
    /// Another path: there is nothing.
    Nothing,
    /// No path, or no request to read something.
    Nonsense,
}

/// Decides what is asked for.
pub(super) fn route(method: &str, target: &str) -> Route {
    if !matches!(method, "GET" | "HEAD") || !target.starts_with('/') {
        return Route::Nonsense;
    }
    let Some(rest) = target.strip_prefix("/~/") else { return Route::Nothing };
    let (name, pieces) = match rest.strip_suffix("/pieces") {
        Some(name) => (name, true),
        None => (rest, false),
    };
    match Digest::from_hex(name.as_bytes()) {
        _ if rest.is_empty() => Route::Status,
        Some(digest) if pieces => Route::Pieces(digest),
        Some(digest) => Route::File(digest),
        None => Route::Nothing,
    }
}

/// What there is of a file.
pub(super) enum Found {
    NotHere,
    /// All of it, with its piece table as bytes.
    Here {
        file: Arc<File>,
        len: u64,
        table: Vec<u8>,
    },
    /// It is being fetched, and this much can be read.
    Growing {
        stream: Arc<Stream>,
        len: Option<u64>,
        /// What we are called: of two that fetch the same, one follows the other.
        node: String,
    },
    /// It is being fetched, and there is nothing to show yet; maybe the mirror was not even asked.
    Coming {
        node: String,
        asks_mirror: bool,
    },
}

/// The piece table as it is sent and vouched for.
pub(super) fn raw_table(table: &[Midstate]) -> Vec<u8> {
    table.iter().flat_map(|midstate| midstate.0).collect()
}

/// A file, or a part of it.
pub(super) fn file(found: Found, conditions: &Conditions) -> Reply {
    match found {
        Found::NotHere => Reply::Now(not_here()),
        Found::Coming { node, asks_mirror } => {
            let asks = if asks_mirror { "yes" } else { "no" };
            let lines = vec![("Retry-After", "0".into()), ("Node", node), ("Asks-Mirror", asks.into())];
            Reply::Now(short(202, lines, ""))
        }
        Found::Here { file, len, table } => {
            let vouch = (!table.is_empty()).then(|| ("Piece-Table", Digest::of(&table).to_string()));
            let body = |start, len| match len {
                Some(len) if len > 0 => Body::File { file: Arc::clone(&file), start, len },
                _ => Body::Empty,
            };
            Reply::Now(sized(conditions, Some(len), vouch, "cache", body))
        }
        Found::Growing { stream, len, node } => {
            let conditions = conditions.clone();
            let answer = move |outcome: &Outcome| match outcome {
                Outcome::Growing(_) => {
                    let node = Some(("Node", node.clone()));
                    sized(&conditions, len, node, "flight", |start, len| Body::Stream { start, len, patient: false })
                }
                Outcome::Stored(..) | Outcome::Failed(_) => not_here(),
            };
            Reply::Later { stream, leads: false, answer: Box::new(answer) }
        }
    }
}

fn sized(
    conditions: &Conditions,
    len: Option<u64>,
    line: Option<(&'static str, String)>,
    source: &'static str,
    body: impl Fn(u64, Option<u64>) -> Body,
) -> Answer {
    let mut lines = vec![("Content-Type", "application/octet-stream".to_owned())];
    let whole_len = len.map_or_else(|| "*".to_owned(), |len| len.to_string());
    match part(conditions, &Head::default(), len) {
        Part::Range { start, len: count } => {
            lines.extend(line);
            lines.push(("Content-Range", format!("bytes {start}-{}/{whole_len}", start + count - 1)));
            Answer::new(206, lines, Some(count), body(start, Some(count)), source)
        }
        Part::Unsatisfiable => {
            lines.push(("Content-Range", format!("bytes */{whole_len}")));
            Answer::new(416, lines, Some(0), Body::Empty, source)
        }
        // Nothing is asked for on condition.
        Part::Whole | Part::NotModified => {
            lines.extend(line);
            Answer::new(200, lines, len, body(0, len), source)
        }
    }
}

/// A piece table.
pub(super) fn pieces(table: Vec<u8>) -> Answer {
    let lines = vec![("Content-Type", "application/octet-stream".into())];
    Answer::new(200, lines, Some(table.len() as u64), Body::Bytes(table), OURS)
}

/// A word on this node; its network's name needs no escapes.
pub(super) fn status(network: &str, node: &str, busy: u8) -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(r#"{{"version":"{version}","network":"{network}","node":"{node}","busy":{busy}}}"#);
    let lines = vec![("Content-Type", "application/json".into())];
    Answer::new(200, lines, Some(text.len() as u64), Body::Bytes(text.into_bytes()), OURS)
}

/// The file is not here, or not for others.
pub(super) fn not_here() -> Answer {
    short(404, Vec::new(), "not here\n")
}

/// More ask than can be served.
pub(super) fn busy() -> Answer {
    short(429, vec![("Retry-After", PEER_RETRY_S.to_string())], "enough others are served; come back later\n")
}

/// A path that is none of ours: who asks for it is no peer.
pub(super) fn nothing() -> Answer {
    Answer { close: true, ..not_here() }
}

/// What is no peer's request at all.
pub(super) fn nonsense() -> Answer {
    Answer { close: true, ..short(400, Vec::new(), "this is no proxy\n") }
}

/// The store failed; strangers need not know how.
pub(super) fn failed(why: &str) -> Answer {
    let mut answer = short(404, Vec::new(), "not here\n");
    answer.note.remark = why.to_owned();
    answer
}

fn short(status: u16, mut lines: Vec<(&'static str, String)>, text: &str) -> Answer {
    let body = if text.is_empty() { Body::Empty } else { Body::Bytes(text.as_bytes().to_vec()) };
    if !text.is_empty() {
        lines.push(("Content-Type", "text/plain".into()));
    }
    Answer::new(status, lines, Some(text.len() as u64), body, OURS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Conditions {
        Conditions { range: Some(text.into()), ..Conditions::default() }
    }

    fn answered(found: Found, conditions: &Conditions) -> (u16, String, Body) {
        match file(found, conditions) {
            Reply::Now(answer) => (answer.status, String::from_utf8(answer.head).expect("ASCII"), answer.body),
            Reply::Again { .. } => panic!("the peer edge keeps nothing"),
            Reply::Later { .. } => panic!("nothing to wait for"),
        }
    }

    fn here(table: Vec<u8>) -> Found {
        Found::Here { file: Arc::new(File::open("/dev/null").expect("it is there")), len: 10, table }
    }

    #[test]
    fn only_three_paths_mean_something() {
        let name = "ab".repeat(32);
        let digest = Digest([0xab; 32]);
        for (method, target, meaning) in [
            ("GET", "/~/".to_owned(), Route::Status),
            ("HEAD", format!("/~/{name}"), Route::File(digest)),
            ("GET", format!("/~/{}", name.to_uppercase()), Route::File(digest)),
            ("GET", format!("/~/{name}/pieces"), Route::Pieces(digest)),
            ("GET", format!("/~/{name}/"), Route::Nothing),
            ("GET", format!("/~/{name}/pieces/"), Route::Nothing),
            ("GET", format!("/~/{name}?x"), Route::Nothing),
            ("GET", format!("/~/../{name}"), Route::Nothing),
            ("GET", format!("/~//{name}"), Route::Nothing),
            ("GET", format!("/%7e/{name}"), Route::Nothing),
            ("GET", "/~".to_owned(), Route::Nothing),
            ("GET", "/~/pieces".to_owned(), Route::Nothing),
            ("GET", "/~//pieces".to_owned(), Route::Nothing),
            ("GET", "/".to_owned(), Route::Nothing),
            ("GET", "/mirror.example.org/debian/dists/x/InRelease".to_owned(), Route::Nothing),
            ("GET", format!("http://mirror.example.org/~/{name}"), Route::Nonsense),
            ("GET", "*".to_owned(), Route::Nonsense),
            ("CONNECT", "mirror.example.org:443".to_owned(), Route::Nonsense),
            ("CONNECT", format!("/~/{name}"), Route::Nonsense),
        ] {
            assert_eq!(route(method, &target), meaning, "{method} {target}");
        }
    }

    #[test]
    fn a_part_is_vouched_for_by_its_table() {
        let table = vec![7; 64];
        let (status, head, body) = answered(here(table.clone()), &range("bytes=2-4"));
        assert_eq!(status, 206);
        assert!(head.contains("Content-Range: bytes 2-4/10\r\nContent-Length: 3\r\n"), "{head}");
        assert!(head.contains(&format!("Piece-Table: {}\r\n", Digest::of(&table))), "{head}");
        assert!(matches!(body, Body::File { start: 2, len: 3, .. }));
        let (status, head, _) = answered(here(Vec::new()), &Conditions::default());
        assert!(status == 200 && !head.contains("Piece-Table"), "{head}");
        let (status, head, _) = answered(here(table), &range("bytes=10-"));
        assert!(status == 416 && head.contains("Content-Range: bytes */10\r\n") && !head.contains("Piece-Table"));
    }

    #[test]
    fn what_grows_is_not_vouched_for() {
        let node = "1f".repeat(20);
        let found = Found::Growing { stream: Arc::default(), len: Some(10), node: node.clone() };
        let Reply::Later { answer, .. } = file(found, &range("bytes=4-")) else { panic!("it grows") };
        let answer = answer(&Outcome::Growing(Head { len: Some(10), ..Head::default() }));
        assert!(
            answer.status == 206 && matches!(answer.body, Body::Stream { start: 4, len: Some(6), patient: false })
        );
        let head = String::from_utf8_lossy(&answer.head);
        assert!(!head.contains("Piece-Table") && head.contains(&format!("Node: {node}\r\n")), "{head}");
        let found = Found::Coming { node: node.clone(), asks_mirror: true };
        let (status, head, _) = answered(found, &Conditions::default());
        assert!(status == 202 && head.contains("Retry-After: 0\r\n") && head.contains("Asks-Mirror: yes\r\n"));
        assert!(head.contains(&format!("Node: {node}\r\n")) && head.contains("Content-Length: 0\r\n"), "{head}");
    }

    #[test]
    fn who_is_no_peer_is_closed() {
        assert!(nothing().close && nonsense().close && !not_here().close && !busy().close);
        assert!(String::from_utf8_lossy(&busy().head).contains("Retry-After: 5\r\n"));
    }

    proptest! {
        #[test]
        fn no_target_panics(target in "[ -~]{0,100}") {
            let _ = route("GET", &target);
            let _ = route("GET", &format!("/~/{target}"));
        }
    }
}
