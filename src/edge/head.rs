//! A request's head: from bytes to what a worker is told. PURE.
//!
//! Owns the strictness (RFC 9112): what two readers could understand differently is refused here, so that nothing behind
//! the edge ever sees it. httparse does the reading; bare line feeds are accepted, folded lines are not.

use httparse::{Error as ParseError, Request as Parser};

use crate::limits::{HEAD_LEN, HEADER_LINES};

/// Header lines that are handed on, as they were received; all others end here.
const FORWARDED: [&str; 9] = [
    "Range",
    "If-Range",
    "If-Modified-Since",
    "If-None-Match",
    "Cache-Control",
    "Pragma",
    "Authorization",
    "User-Agent",
    "Accept",
];

/// A request whose head is whole and clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD` or `CONNECT`.
    pub method: String,
    /// The request target, as received: visible ASCII.
    pub target: String,
    /// HTTP/1.1, else 1.0.
    pub is_1_1: bool,
    /// Whether the connection is to stay open after the answer.
    pub keep_alive: bool,
    /// The `Host` line.
    pub host: Option<String>,
    /// The lines that are handed on.
    pub lines: Vec<(&'static str, String)>,
}

/// Why a head is refused: the status, and what is wrong in a few words. The connection is closed behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub reason: &'static str,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// Finds the end of a head in a buffer that grows, looking at each byte once.
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    looked_at: usize,
    /// Whether the line so far is empty but for a carriage return.
    line_has_text: bool,
    any_line: bool,
}

impl HeadEnd {
    /// The head's length with its empty line, once it is whole. `bytes` is the same buffer as before, and longer. Empty
    /// lines before the head count to it (RFC 9112, §2.2).
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.looked_at) {
            self.looked_at += 1;
            match byte {
                b'\n' if !self.line_has_text && self.any_line => return Some(self.looked_at),
                b'\n' => {
                    self.any_line |= self.line_has_text;
                    self.line_has_text = false;
                }
                b'\r' => {}
                _ => self.line_has_text = true,
            }
        }
        None
    }
}

/// Reads a whole head, empty line included.
///
/// # Errors
/// [`Refusal`] for everything that is not one clean request without a body.
pub fn parse(head: &[u8]) -> Result<Request, Refusal> {
    if head.len() > HEAD_LEN {
        return Err(refuse(431, "the request's head is too long"));
    }
    let head = head.trim_ascii_start();
    refuse_folds_and_controls(head)?;
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES];
    let mut parser = Parser::new(&mut lines);
    match parser.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(refuse(400, "the request's head is cut")),
        Err(ParseError::TooManyHeaders) => return Err(refuse(431, "the request has too many header lines")),
        Err(ParseError::Version) => return Err(refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(_) => return Err(refuse(400, "this is no HTTP request")),
    }
    let method = parser.method.unwrap_or("");
    let target = parser.path.unwrap_or("");
    let is_1_1 = parser.version == Some(1);
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refuse(400, "the address has characters that must be percent-encoded"));
    }
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        is_1_1,
        keep_alive: is_1_1,
        host: None,
        lines: Vec::new(),
    };
    let mut length_seen = false;
    for line in parser.headers.iter() {
        request.take_line(line, &mut length_seen)?;
    }
    if !matches!(method, "GET" | "HEAD" | "CONNECT") {
        return Err(refuse(405, "only GET and HEAD are answered here"));
    }
    if is_1_1 && request.host.is_none() && target.starts_with('/') {
        return Err(refuse(400, "the Host line is missing"));
    }
    Ok(request)
}

impl Request {
    fn take_line(&mut self, line: &httparse::Header<'_>, length_seen: &mut bool) -> Result<(), Refusal> {
        let name = line.name;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Transfer-Encoding") {
            return Err(refuse(501, "requests with a body are not taken"));
        }
        if is("Content-Length") {
            if std::mem::replace(length_seen, true) {
                return Err(refuse(400, "Content-Length stands twice"));
            }
            return match line.value {
                b"0" => Ok(()),
                digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                    Err(refuse(413, "requests with a body are not taken"))
                }
                _ => Err(refuse(400, "Content-Length is no number")),
            };
        }
        if is("Host") {
            let host = clean(line.value)?;
            return match self.host.replace(host) {
                Some(_) => Err(refuse(400, "Host stands twice")),
                None => Ok(()),
            };
        }
        if is("Connection") || is("Proxy-Connection") {
            let value = String::from_utf8_lossy(line.value).to_ascii_lowercase();
            for option in value.split(',') {
                match option.trim() {
                    "close" => self.keep_alive = false,
                    "keep-alive" if !self.is_1_1 => self.keep_alive = true,
                    _ => {}
                }
            }
            return Ok(());
        }
        if let Some(known) = FORWARDED.into_iter().find(|known| is(known)) {
            if self.lines.iter().any(|(name, _)| *name == known) {
                return Err(refuse(400, "a header line stands twice"));
            }
            self.lines.push((known, clean(line.value)?));
        }
        Ok(())
    }
}

/// A value that is handed on: printable ASCII.
fn clean(value: &[u8]) -> Result<String, Refusal> {
    let printable = value.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    match std::str::from_utf8(value) {
        Ok(text) if printable => Ok(text.trim().to_owned()),
        _ => Err(refuse(400, "a header line has characters that are not ASCII")),
    }
}

/// A line that begins with a space continues the one before, for some; a lone carriage return ends a line, for some.
fn refuse_folds_and_controls(head: &[u8]) -> Result<(), Refusal> {
    let mut previous = 0;
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b' ' | b'\t' if previous == b'\n' => return Err(refuse(400, "a header line is folded")),
            b'\r' if head.get(at + 1) != Some(&b'\n') => return Err(refuse(400, "a carriage return stands alone")),
            b'\r' | b'\n' | b'\t' => {}
            0..=0x1f | 0x7f => return Err(refuse(400, "the head has control characters")),
            _ => {}
        }
        previous = byte;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(head: &str) -> Result<Request, u16> {
        parse(head.as_bytes()).map_err(|refusal| refusal.status)
    }

    #[test]
    fn apt_s_own_request() {
        let head = "GET http://mirror.example.org/debian/dists/x/InRelease HTTP/1.1\r\nHost: mirror.example.org\r\n\
                    Cache-Control: max-age=0\r\nAccept: text/*\r\nUser-Agent: Debian APT-HTTP/1.3 (2.6.1)\r\n\r\n";
        let parsed = request(head).expect("clean");
        assert_eq!(parsed.target, "http://mirror.example.org/debian/dists/x/InRelease");
        assert!(parsed.is_1_1 && parsed.keep_alive);
        assert_eq!(parsed.host.as_deref(), Some("mirror.example.org"));
        let names: Vec<_> = parsed.lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Cache-Control", "Accept", "User-Agent"]);
    }

    #[test]
    fn who_keeps_the_connection() {
        for (head, keeps) in [
            ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
            ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, Close\r\n\r\n", false),
            ("GET /x HTTP/1.0\r\n\r\n", false),
            ("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET /x HTTP/1.1\nHost: a\n\n", true),
            ("\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ] {
            assert_eq!(request(head).map(|request| request.keep_alive), Ok(keeps), "{head:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |lines: &str| format!("GET /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let long = format!("X: {}\r\n", "a".repeat(HEAD_LEN));
        let many = "X: a\r\n".repeat(HEADER_LINES + 1);
        for (head, status) in [
            (with("Content-Length: 5\r\n"), 413),
            (with("Content-Length: 9223372036854775808\r\n"), 413),
            (with("Content-Length: 0\r\nContent-Length: 0\r\n"), 400),
            (with("Content-Length: 0, 0\r\n"), 400),
            (with("Content-Length: +0\r\n"), 400),
            (with("Content-Length:\r\n"), 400),
            (with("Transfer-Encoding: chunked\r\n"), 501),
            (with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 501),
            (with("X: a\r\n b\r\n"), 400),
            (with("X : a\r\n"), 400),
            (with(" X: a\r\n"), 400),
            (with("X: a\rY: b\r\n"), 400),
            (with("X: a\0b\r\n"), 400),
            (with("Host: b\r\n"), 400),
            (with("Range: bytes=0-1\r\nRange: bytes=2-3\r\n"), 400),
            (with("User-Agent: é\r\n"), 400),
            (with(&long), 431),
            (with(&many), 431),
            ("GET /x HTTP/1.1\r\n\r\n".into(), 400),
            ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), 505),
            ("GET  /x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
            ("POST /x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
            ("GET /x HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
            ("PRI * HTTP/2.0\r\n\r\n".into(), 505),
            ("GET /x\r\n\r\n".into(), 400),
            ("\x16\x03\x01\x02\n\n".into(), 400),
        ] {
            assert_eq!(request(&head).map(|_| ()), Err(status), "{head:?}");
        }
        assert!(request(&with("Content-Length: 0\r\n")).is_ok());
    }

    fn ends(bytes: &[u8], step: usize) -> Option<usize> {
        let mut end = HeadEnd::default();
        (step..bytes.len() + step).step_by(step).find_map(|upto| end.find(&bytes[..upto.min(bytes.len())]))
    }

    #[test]
    fn the_end_is_found_whatever_the_pieces() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\n\r\nrest", Some(18)),
            ("GET / HTTP/1.1\n\nrest", Some(16)),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
            ("GET / HTTP/1.1\r\nX: a\r\n", None),
            ("\r\n\r\n\r\n", None),
        ] {
            for step in 1..8 {
                assert_eq!(ends(bytes.as_bytes(), step), expected, "{bytes:?} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            HeadEnd::default().find(&bytes);
        }

        #[test]
        fn what_passes_is_one_line_each(noise in "[ -~\r\n\t]{0,120}") {
            if let Ok(request) = request(&format!("GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: {noise}\r\n\r\n")) {
                prop_assert!(request.lines.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
            }
        }
    }
}
