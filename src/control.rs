//! How a command speaks with the running daemon: a Unix socket in the cache folder, one request and its answer.
//!
//! ```text
//! request   one line: the words of a Request
//! answer    lines; ">" and what is printed, and as the last one
//!           "=" and the exit status, or "!" and why there is no answer
//! ```
//!
//! An answer without its last line was cut short. Owns names and framing, and the asking side; the answering side is
//! `daemon`'s.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::limits::{CONTROL_ANSWER_TIME, CONTROL_LINE_LEN, CONTROL_TIME};

/// The socket's name in the cache folder.
pub const SOCKET: &str = "control";

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: JSON.
    Json,
}

/// What the daemon can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What the proxy counts.
    Status(Format),
    /// How the DHT goes.
    Dht(Format),
    /// Who has this file; each step is told as it happens.
    Lookup(Digest, Format),
}

impl Request {
    /// Understands a line; `None`: it is no request that this version knows.
    #[must_use]
    pub fn parse(line: &str) -> Option<Request> {
        let words: Vec<&str> = line.split(' ').collect();
        let format = match *words.get(1)? {
            "text" => Format::Text,
            "json" => Format::Json,
            _ => return None,
        };
        match words[..] {
            ["status", _] => Some(Request::Status(format)),
            ["dht", _] => Some(Request::Dht(format)),
            ["lookup", _, digest] => Some(Request::Lookup(digest.parse().ok()?, format)),
            _ => None,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Status(format) => write!(f, "status {format}"),
            Request::Dht(format) => write!(f, "dht {format}"),
            Request::Lookup(digest, format) => write!(f, "lookup {format} {digest}"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

/// Why there is no answer, or not all of it.
#[derive(Debug)]
pub enum ControlError {
    /// Nobody listens in this cache folder.
    NoDaemon(PathBuf),
    /// The daemon belongs to another user.
    Denied(PathBuf),
    /// The daemon says why not.
    Refused(String),
    /// It ended in the middle.
    Cut,
    /// The daemon is too busy, or the connection broke.
    Broken(io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::NoDaemon(cache) => {
                write!(f, "no apt-p2p runs on {}: start it, or name its folder with --cache", cache.display())
            }
            ControlError::Denied(cache) => {
                write!(f, "the apt-p2p that runs on {} is another user's: ask as that user", cache.display())
            }
            ControlError::Refused(why) => f.write_str(why),
            ControlError::Cut => f.write_str("the answer was cut short: the running apt-p2p has ended"),
            ControlError::Broken(error) => write!(f, "the running apt-p2p does not answer: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// Asks the daemon of this cache folder and writes what it answers to `out` as it comes; the exit status.
///
/// # Errors
/// [`ControlError`]; an `out` that takes no more is no error.
pub fn ask(cache: &Path, request: &Request, out: &mut impl Write) -> Result<u8, ControlError> {
    let mut stream = UnixStream::connect(cache.join(SOCKET)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ControlError::Denied(cache.to_owned()),
        _ => ControlError::NoDaemon(cache.to_owned()),
    })?;
    let prepare = |stream: &mut UnixStream| {
        stream.set_write_timeout(Some(CONTROL_TIME))?;
        stream.set_read_timeout(Some(CONTROL_ANSWER_TIME))?;
        stream.write_all(format!("{request}\n").as_bytes())
    };
    prepare(&mut stream).map_err(ControlError::Broken)?;
    read_answer(BufReader::new(stream), out)
}

fn read_answer(mut answer: impl BufRead, out: &mut impl Write) -> Result<u8, ControlError> {
    loop {
        let mut line = String::new();
        (&mut answer).take(CONTROL_LINE_LEN).read_line(&mut line).map_err(ControlError::Broken)?;
        let Some(line) = line.strip_suffix('\n') else { return Err(ControlError::Cut) };
        match line.split_at_checked(1) {
            Some((">", text)) => {
                // Who reads no more is not waited for; the answer is read to its end, for the status.
                writeln!(out, "{text}").and_then(|()| out.flush()).ok();
            }
            Some(("=", status)) => return status.parse().map_err(|_| ControlError::Cut),
            Some(("!", why)) => return Err(ControlError::Refused(why.to_owned())),
            _ => return Err(ControlError::Cut),
        }
    }
}

/// The answering side of the framing.
#[derive(Debug)]
pub struct Answer<W>(W);

impl<W: Write> Answer<W> {
    /// An answer that is written to `out`.
    pub fn new(out: W) -> Answer<W> {
        Answer(out)
    }

    /// Lines to be printed.
    ///
    /// # Errors
    /// When the asker is gone.
    pub fn print(&mut self, lines: &str) -> io::Result<()> {
        let framed: String = lines.lines().flat_map(|line| [">", line, "\n"]).collect();
        self.0.write_all(framed.as_bytes())
    }

    /// The end, with the exit status.
    ///
    /// # Errors
    /// When the asker is gone.
    pub fn end(mut self, status: u8) -> io::Result<()> {
        writeln!(self.0, "={status}")
    }

    /// The end, with the reason why there is no answer.
    ///
    /// # Errors
    /// When the asker is gone.
    pub fn refuse(mut self, why: &str) -> io::Result<()> {
        writeln!(self.0, "!{}", why.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_and_others_are_none() {
        let digest = Digest::of(b"a package");
        for request in [
            Request::Status(Format::Json),
            Request::Dht(Format::Text),
            Request::Dht(Format::Json),
            Request::Lookup(digest, Format::Json),
        ] {
            assert_eq!(Request::parse(&request.to_string()), Some(request));
        }
        for bad in ["", "dht", "dht xml", "dht text more", "lookup text", "lookup text ab12", "stop text"] {
            assert_eq!(Request::parse(bad), None, "{bad}");
        }
    }

    fn read(answer: &str) -> (Result<u8, String>, String) {
        let mut out = Vec::new();
        let status = read_answer(answer.as_bytes(), &mut out).map_err(|error| error.to_string());
        (status, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn an_answer_is_printed_and_ends_with_its_status() {
        let mut written = Vec::new();
        let mut answer = Answer::new(&mut written);
        answer.print("one\n\n=two\n").expect("memory takes all");
        answer.end(1).expect("memory takes all");
        let written = String::from_utf8(written).expect("text");
        assert_eq!(read(&written), (Ok(1), "one\n\n=two\n".into()));
        for cut in 0..written.len() {
            assert!(read(&written[..cut]).0.is_err(), "cut after {cut}");
        }
        let mut written = Vec::new();
        Answer::new(&mut written).refuse("not\nnow").expect("memory takes all");
        assert_eq!(read(std::str::from_utf8(&written).expect("text")), (Err("not now".into()), String::new()));
        assert!(read(&format!(">{}\n=0\n", "x".repeat(1 << 20))).0.is_err(), "an endless line");
    }
}
