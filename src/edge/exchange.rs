//! What passes between the edge and its workers: the slot that a request names, and the reply that is put there.

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::stream::{Outcome, Stream};

/// Names a waiting request. Its generation keeps a late reply out of the next request's slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SlotId {
    index: u32,
    generation: u32,
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl FromStr for SlotId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<SlotId, ParseIntError> {
        let (index, generation) = text.split_once('.').unwrap_or((text, ""));
        Ok(SlotId { index: index.parse()?, generation: generation.parse()? })
    }
}

/// Whether a client that is about to be given an answer again has a reason to ask for it; notes that it was given.
pub type Doubt = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// How a request is answered.
pub enum Reply {
    /// With this.
    Now(Answer),
    /// With this, and so may be whoever asks for the same while the version is the same: it depends on nothing else.
    Again {
        /// The answer to this request.
        answer: Answer,
        /// Of the store, from before the worker looked.
        version: u64,
        /// Whose wish for the same is a reason to ask a worker.
        doubt: Doubt,
    },
    /// With what `answer` makes of the stream's first news. It runs on the edge's thread: it must be quick.
    Later {
        /// What is followed.
        stream: Arc<Stream>,
        /// Makes the answer.
        answer: Box<dyn FnOnce(&Outcome) -> Answer + Send>,
        /// The requests behind it on its connection depend on it: they go to workers once its answer has begun.
        leads: bool,
    },
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Now(answer) | Reply::Again { answer, .. } => answer.fmt(f),
            Reply::Later { stream, .. } => write!(f, "later, {stream:?}"),
        }
    }
}

/// A head and where its body comes from.
#[derive(Debug)]
pub struct Answer {
    /// The status in the head, for the log.
    pub status: u16,
    /// Status line and header lines, each with its line end; the edge adds `Connection`, `Transfer-Encoding` and the
    /// empty line.
    pub head: Vec<u8>,
    /// The body; `Content-Length` in the head is its length wherever that is known.
    pub body: Body,
    /// Close the connection after it.
    pub close: bool,
    /// For the log.
    pub note: Note,
}

impl Answer {
    /// An answer with these header lines; their values are printable ASCII.
    #[must_use]
    pub fn new(
        status: u16,
        lines: Vec<(&'static str, String)>,
        len: Option<u64>,
        body: Body,
        source: &'static str,
    ) -> Answer {
        use std::fmt::Write as _;
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in lines {
            // Values that come from mirrors were checked when they were read.
            head.extend([name, ": ", &value, "\r\n"]);
        }
        if let Some(len) = len {
            write!(head, "Content-Length: {len}\r\n").expect("a String takes all");
        }
        Answer { status, head: head.into_bytes(), body, close: false, note: Note { source, ..Note::default() } }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        // auto-apt-proxy looks for these very words.
        406 => "Usage Information",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// Where a body comes from.
#[derive(Debug)]
pub enum Body {
    /// There is none.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// `len` bytes of a file from `start`.
    File {
        /// The file.
        file: Arc<File>,
        /// The first byte.
        start: u64,
        /// How many.
        len: u64,
    },
    /// The followed stream from `start`: `len` bytes, or all if that is unknown.
    Stream {
        /// The first byte.
        start: u64,
        /// How many.
        len: Option<u64>,
        /// The head waits for the body's first byte, a line at a time: apt gives up when it sees nothing for 30 s.
        patient: bool,
    },
    /// Nobody's: the connection becomes a tunnel, or the edge says why it does not.
    Tunnel(Way),
}

/// Where a tunnel leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Addresses that may be dialled, in this order.
    pub to: Vec<SocketAddr>,
    /// What is said there first, if another proxy stands there: its answer is the client's. Otherwise the edge answers.
    pub greeting: Vec<u8>,
}

/// What the log says of an answer besides numbers.
#[derive(Debug, Default)]
pub struct Note {
    /// Where it came from: `cache`, `mirror`, …, or [`OURS`].
    pub source: &'static str,
    /// Why, for refusals; empty otherwise.
    pub remark: String,
    /// Whether it follows a download that another client has brought about.
    pub joined: bool,
}

/// The source of what is stored.
pub const CACHE: &str = "cache";

/// The source of pages and refusals, which count as nothing that was saved.
pub const OURS: &str = "apt-p2p";

/// The source of what passes through a tunnel: nobody here looks at it.
pub(super) const TUNNEL: &str = "tunnel";

/// The slots that edge and workers share; clones are the same slots.
#[derive(Clone, Default)]
pub struct Slots(Arc<Mutex<Vec<Slot>>>);

#[derive(Default)]
struct Slot {
    generation: u32,
    open: bool,
    reply: Option<Reply>,
}

impl Slots {
    /// Puts the reply where the edge finds it. False if nobody waits for it any more.
    pub fn put(&self, id: SlotId, reply: Reply) -> bool {
        let mut slots = self.lock();
        match slots.get_mut(id.index as usize) {
            Some(slot) if slot.open && slot.generation == id.generation => {
                slot.reply = Some(reply);
                true
            }
            _ => false,
        }
    }

    /// A slot for a new request. There are as many as requests are with workers at once.
    pub(super) fn open(&self) -> SlotId {
        let mut slots = self.lock();
        let index = slots.iter().position(|slot| !slot.open).unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let slot = &mut slots[index];
        slot.open = true;
        SlotId { index: u32::try_from(index).expect("few slots"), generation: slot.generation }
    }

    /// Takes the reply, if it came, and closes the slot.
    pub(super) fn close(&self, id: SlotId) -> Option<Reply> {
        let mut slots = self.lock();
        let slot = slots.get_mut(id.index as usize).filter(|slot| slot.open && slot.generation == id.generation)?;
        slot.open = false;
        slot.generation = slot.generation.wrapping_add(1);
        slot.reply.take()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slots", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        let note = Note::default();
        Reply::Now(Answer { status: 200, head: Vec::new(), body: Body::Empty, close: false, note })
    }

    #[test]
    fn a_late_reply_does_not_reach_the_next_request() {
        let slots = Slots::default();
        let first = slots.open();
        assert!(slots.close(first).is_none());
        let second = slots.open();
        assert_eq!((first.index, second.index), (0, 0));
        assert!(!slots.put(first, reply()));
        assert!(slots.put(second, reply()));
        assert!(slots.close(second).is_some());
        assert!(slots.close(second).is_none());
    }

    #[test]
    fn ids_are_texts_and_back() {
        let id = SlotId { index: 12, generation: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "12.", ".7", "a.b", "-1.2"] {
            assert!(bad.parse::<SlotId>().is_err(), "{bad}");
        }
    }
}
