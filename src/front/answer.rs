//! What is sent: heads and bodies for files, growing streams and refusals. PURE: dates and lengths come in as values.

use std::fs::File;
use std::sync::Arc;

use crate::edge::{Answer, Body, Conditions, OURS, Part, Way, part};
use crate::fetch::Passage;
use crate::stream::{Failure, Head, Outcome};

/// Everything that a later answer needs to know of its request.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) conditions: Conditions,
    /// A client may have wrong bytes under this digest and resume behind them: it gets the whole file.
    pub(super) whole: bool,
    /// The last component of the path, from which the type is guessed.
    pub(super) name: String,
    /// The digest as an ETag, where the file is known by it.
    pub(super) etag: Option<String>,
    /// The `Date` of the answer.
    pub(super) date: String,
}

impl Wanted {
    /// A file that is here.
    pub(super) fn file(&self, file: Arc<File>, head: &Head, source: &'static str) -> Answer {
        let len = head.len.unwrap_or(0);
        self.sized(head, Some(len), source, |start, len| match len {
            Some(len) if len > 0 => Body::File { file: Arc::clone(&file), start, len },
            _ => Body::Empty,
        })
    }

    /// What a flight brings; `source` is where it is from.
    pub(super) fn outcome(&self, outcome: &Outcome, source: &'static str) -> Answer {
        match outcome {
            Outcome::Stored(file, head) => self.file(Arc::clone(file), head, source),
            Outcome::Growing(head) => {
                self.sized(head, head.len, source, |start, len| Body::Stream { start, len, patient: true })
            }
            Outcome::Failed(failure) => refuse(failure, &self.date),
        }
    }

    fn sized(
        &self,
        head: &Head,
        len: Option<u64>,
        source: &'static str,
        body: impl Fn(u64, Option<u64>) -> Body,
    ) -> Answer {
        let head = Head { etag: self.etag.clone().or_else(|| head.etag.clone()), ..head.clone() };
        let mut conditions = self.conditions.clone();
        if self.whole {
            (conditions.range, conditions.if_range) = (None, None);
        }
        let whole_len = len.map_or_else(String::new, |len| len.to_string());
        let mut lines = self.lines(&head);
        match part(&conditions, &head, len) {
            Part::NotModified => Answer::new(304, lines, None, Body::Empty, source),
            Part::Whole => Answer::new(200, lines, len, body(0, len), source),
            Part::Range { start, len: count } => {
                let last = start + count - 1;
                lines.push(("Content-Range", format!("bytes {start}-{last}/{whole_len}")));
                Answer::new(206, lines, Some(count), body(start, Some(count)), source)
            }
            Part::Unsatisfiable => {
                lines.push(("Content-Range", format!("bytes */{whole_len}")));
                Answer::new(416, lines, Some(0), Body::Empty, source)
            }
        }
    }

    fn lines(&self, head: &Head) -> Vec<(&'static str, String)> {
        let kind = head.content_type.clone().unwrap_or_else(|| content_type(&self.name).to_owned());
        let mut lines = vec![("Date", self.date.clone()), ("Content-Type", kind), ("Accept-Ranges", "bytes".into())];
        lines.extend(head.last_modified.clone().map(|date| ("Last-Modified", date)));
        lines.extend(head.etag.clone().map(|etag| ("ETag", etag)));
        lines
    }
}

/// A refusal or failure: one line of plain text that says why, and what to do.
pub(super) fn refuse(failure: &Failure, date: &str) -> Answer {
    let mut lines = vec![("Date", date.to_owned())];
    lines.extend(failure.retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
    lines.extend(failure.challenge.clone().map(|challenge| ("WWW-Authenticate", challenge)));
    let mut answer = text(failure.status, lines, format!("apt-p2p: {}\n", failure.reason));
    answer.note.remark.clone_from(&failure.reason);
    answer
}

/// The same with its reason in the status line: of a refused tunnel apt shows its user nothing else.
pub(super) fn aloud(mut answer: Answer) -> Answer {
    let rest = answer.head.iter().position(|byte| *byte == b'\r').unwrap_or(0);
    // What is not ASCII has no place in a head.
    let reason: String = answer.note.remark.chars().filter(|c| (' '..='~').contains(c)).collect();
    let line = format!("HTTP/1.1 {} {reason}", answer.status);
    answer.head.splice(..rest, line.into_bytes());
    answer
}

/// A tunnel: what there is to say the edge says, when it has one.
pub(super) fn tunnel(passage: &Passage) -> Answer {
    let way = Way { to: passage.addresses(), greeting: passage.greeting.clone() };
    Answer::new(200, Vec::new(), None, Body::Tunnel(way), OURS)
}

/// A short text.
pub(super) fn text(status: u16, mut lines: Vec<(&'static str, String)>, body: String) -> Answer {
    lines.push(("Content-Type", "text/plain; charset=utf-8".into()));
    let body = body.into_bytes();
    Answer::new(status, lines, Some(body.len() as u64), Body::Bytes(body), OURS)
}

/// A page.
pub(super) fn html(date: &str, policy: String, body: String) -> Answer {
    let lines = vec![
        ("Date", date.to_owned()),
        ("Content-Type", "text/html; charset=utf-8".into()),
        ("Cache-Control", "no-store".into()),
        ("X-Content-Type-Options", "nosniff".into()),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer".into()),
        ("Cross-Origin-Resource-Policy", "same-origin".into()),
    ];
    let body = body.into_bytes();
    Answer::new(200, lines, Some(body.len() as u64), Body::Bytes(body), OURS)
}

/// Numbers for programs.
pub(super) fn typed(kind: &str, date: &str, body: String) -> Answer {
    let lines = vec![
        ("Date", date.to_owned()),
        ("Content-Type", kind.to_owned()),
        ("Cache-Control", "no-store".into()),
        ("X-Content-Type-Options", "nosniff".into()),
        ("Cross-Origin-Resource-Policy", "same-origin".into()),
    ];
    let body = body.into_bytes();
    Answer::new(200, lines, Some(body.len() as u64), Body::Bytes(body), OURS)
}

fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "deb" | "udeb" | "ddeb" => "application/vnd.debian.binary-package",
        "xz" => "application/x-xz",
        "gz" => "application/gzip",
        "bz2" => "application/x-bzip2",
        "zst" => "application/zstd",
        "gpg" | "asc" => "application/pgp-signature",
        _ if matches!(name, "InRelease" | "Release" | "Packages" | "Sources") => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: Option<&str>, whole: bool) -> Wanted {
        Wanted {
            conditions: Conditions { range: range.map(str::to_owned), ..Conditions::default() },
            whole,
            name: "a_1_all.deb".into(),
            etag: None,
            date: "Sat, 01 Mar 2025 10:00:00 GMT".into(),
        }
    }

    fn head_text(answer: &Answer) -> &str {
        std::str::from_utf8(&answer.head).expect("ASCII")
    }

    #[test]
    fn a_growing_file_of_known_length_is_sent_in_part() {
        let head = Head { len: Some(100), ..Head::default() };
        let answer = wanted(Some("bytes=90-"), false).outcome(&Outcome::Growing(head), "cache");
        assert_eq!(answer.status, 206);
        assert!(matches!(answer.body, Body::Stream { start: 90, len: Some(10), patient: true }));
        assert!(head_text(&answer).contains("Content-Range: bytes 90-99/100\r\nContent-Length: 10\r\n"));
    }

    #[test]
    fn a_poisoned_file_is_sent_whole() {
        let head = Head { len: Some(100), ..Head::default() };
        let answer = wanted(Some("bytes=90-"), true).outcome(&Outcome::Growing(head), "cache");
        assert_eq!(answer.status, 200);
        assert!(matches!(answer.body, Body::Stream { start: 0, len: Some(100), patient: true }));
    }

    #[test]
    fn an_unknown_length_is_not_announced() {
        let answer = wanted(None, false).outcome(&Outcome::Growing(Head::default()), "cache");
        assert!(matches!(answer.body, Body::Stream { start: 0, len: None, patient: true }));
        assert!(!head_text(&answer).contains("Content-Length"));
    }

    #[test]
    fn what_a_flight_had_here_already_counts_as_a_hit() {
        assert_eq!(crate::fetch::FROM_CACHE, crate::edge::CACHE);
    }

    #[test]
    fn a_failure_says_why_in_one_line() {
        let failure = Failure { status: 503, reason: "too busy".into(), retry_after: Some(2), challenge: None };
        let answer = wanted(None, false).outcome(&Outcome::Failed(failure), "cache");
        assert!(head_text(&answer).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head_text(&answer).contains("Retry-After: 2\r\n"));
        assert!(matches!(&answer.body, Body::Bytes(text) if text == b"apt-p2p: too busy\n"));
        let aloud = aloud(answer);
        assert!(head_text(&aloud).starts_with("HTTP/1.1 503 too busy\r\nDate: "));
    }
}
