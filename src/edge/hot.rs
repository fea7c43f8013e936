//! The edge's small memory of hot answers: files that clients ask for again and again are given without a worker. No
//! socket, no clock.
//!
//! A worker says of an answer at which version of the store it is right for everybody ([`Reply::Again`]). It is given
//! again while that is the version, which any change of the store ends, whichever process made it. Refuses to know what
//! a request means: one that says anything of ranges, conditions, credentials or doubts goes to a worker.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::client::{Client, Turn};
use super::config::Recall;
use super::exchange::{Answer, Body, Doubt, Note, Reply};
use super::head::Request;
use super::verbs::Input;
use crate::limits::{HOT_TARGET_LEN, HOT_TIME};
use crate::time::Time;

/// The memory.
pub(super) struct Hot {
    /// Without it, nothing is kept.
    recall: Option<Recall>,
    kept: Kept,
}

impl Hot {
    /// Room for `answers_max`.
    pub(super) fn new(recall: Option<Recall>, answers_max: usize) -> Hot {
        Hot { recall, kept: Kept::new(answers_max) }
    }

    /// A client's turn ended: gives it what the memory has for it; whether that calls for another turn.
    pub(super) fn answers(&mut self, client: &mut Client, turn: Turn, ahead_max: usize, now: Time) -> bool {
        if std::mem::take(&mut client.is_cut) {
            // A worker is to look at the disk.
            self.kept.all.clear();
        }
        turn == Turn::Waits && self.answer(client, ahead_max, now)
    }

    /// Answers the next requests of a client, as far as the memory reaches; whether it answered any.
    fn answer(&mut self, client: &mut Client, ahead_max: usize, now: Time) -> bool {
        let Some(recall) = &self.recall else { return false };
        let mut any = false;
        while let Some(request) = client.conn.waiting_request(ahead_max)
            && is_plain(request)
            && self.kept.has(&request.target)
            && (recall.allows)(client.peer)
            && let Some(answer) = self.kept.give(request, (client.peer, client.local), (recall.version)(), now)
            && let Some((number, _)) = client.conn.next_request(ahead_max)
        {
            client.conn.handle(now, Input::Reply(number, Some(Reply::Now(answer))));
            any = true;
        }
        any
    }

    /// Keeps what a worker says may be given again, and passes its reply on.
    pub(super) fn keep(&mut self, client: &Client, number: u64, reply: Reply, now: Time) -> Reply {
        let Reply::Again { answer, version, doubt } = reply else { return reply };
        if let Some(recall) = &self.recall
            && let Some(request) = client.conn.request(number).filter(|request| is_plain(request))
            && (recall.version)() == Some(version)
        {
            self.kept.put((request, client.local, version, doubt), &answer, now);
        }
        Reply::Now(answer)
    }

    /// Lets go what can not be given any more: a file that was deleted takes room on the disk till it is closed.
    pub(super) fn tick(&mut self, now: Time) {
        if let Some(recall) = &self.recall {
            self.kept.expire((recall.version)(), now);
        }
    }
}

/// Whether an answer depends on nothing but the target and the address that the client connected to.
fn is_plain(request: &Request) -> bool {
    let is_bounded = request.target.len() <= HOT_TARGET_LEN;
    let asks_file = matches!(request.method.as_str(), "GET" | "HEAD");
    is_bounded
        && asks_file
        && request.lines.iter().all(|(name, value)| match *name {
            "User-Agent" | "Accept" => true,
            "Cache-Control" => !value.to_ascii_lowercase().contains("no-cache"),
            _ => false,
        })
}

/// The answers, all of one version.
struct Kept {
    all: HashMap<String, Entry>,
    version: Option<u64>,
    max: usize,
    /// Counts what was given, to tell which of two was given later.
    uses: u64,
}

struct Entry {
    /// One name may be another file at another address of ours: a path there, a host here.
    local: SocketAddr,
    head: Vec<u8>,
    file: Arc<File>,
    len: u64,
    source: &'static str,
    /// Who asks for it with a reason to have it looked at.
    doubt: Doubt,
    until: Time,
    used: u64,
}

impl Kept {
    fn new(max: usize) -> Kept {
        Kept { all: HashMap::new(), version: None, max, uses: 0 }
    }

    fn has(&self, target: &str) -> bool {
        self.all.contains_key(target)
    }

    fn give(
        &mut self,
        request: &Request,
        (client, local): (IpAddr, SocketAddr),
        version: Option<u64>,
        now: Time,
    ) -> Option<Answer> {
        self.follow(version);
        let entry = self.all.get_mut(&request.target).filter(|entry| entry.local == local && now < entry.until)?;
        if request.method == "GET" && (entry.doubt)(client) {
            return None;
        }
        // What a failing disk has cut is for a worker to find out. A deleted file stays whole while it is open.
        if entry.file.metadata().is_ok_and(|metadata| metadata.len() != entry.len) {
            self.all.remove(&request.target);
            return None;
        }
        self.uses += 1;
        entry.used = self.uses;
        Some(Answer {
            status: 200,
            head: entry.head.clone(),
            body: Body::File { file: Arc::clone(&entry.file), start: 0, len: entry.len },
            close: false,
            note: Note { source: entry.source, ..Note::default() },
        })
    }

    fn put(
        &mut self,
        (request, local, version, doubt): (&Request, SocketAddr, u64, Doubt),
        answer: &Answer,
        now: Time,
    ) {
        let Answer { status: 200, head, body: Body::File { file, start: 0, len }, close: false, note } = answer
        else {
            return;
        };
        self.follow(Some(version));
        if self.max == 0 {
            return;
        }
        if self.all.len() >= self.max && !self.has(&request.target) {
            let oldest = self.all.iter().min_by_key(|(_, entry)| entry.used).map(|(target, _)| target.clone());
            oldest.and_then(|target| self.all.remove(&target));
        }
        self.uses += 1;
        let entry = Entry {
            local,
            head: head.clone(),
            file: Arc::clone(file),
            len: *len,
            source: note.source,
            doubt,
            until: now + HOT_TIME,
            used: self.uses,
        };
        self.all.insert(request.target.clone(), entry);
    }

    fn expire(&mut self, version: Option<u64>, now: Time) {
        self.follow(version);
        self.all.retain(|_, entry| now < entry.until);
    }

    fn follow(&mut self, version: Option<u64>) {
        if self.version != version {
            self.version = version;
            self.all.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::parse_head;

    const LOCAL: ([u8; 4], u16) = ([192, 0, 2, 1], 9977);
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

    fn request(target: &str, lines: &str) -> Request {
        parse_head(format!("GET {target} HTTP/1.1\r\nHost: m\r\n{lines}\r\n").as_bytes()).expect("clean")
    }

    fn file(len: u64) -> Arc<File> {
        let file = rustix::fs::memfd_create("hot", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        let file = File::from(file);
        file.set_len(len).expect("it may have holes");
        Arc::new(file)
    }

    fn answer(status: u16, len: u64) -> Answer {
        let file = file(len);
        let note = Note { source: "cache", ..Note::default() };
        Answer { status, head: b"head".to_vec(), body: Body::File { file, start: 0, len }, close: false, note }
    }

    fn put(kept: &mut Kept, target: &str, version: u64, now: u64) {
        keep(kept, target, version, &answer(200, 5), Time(now));
    }

    fn keep(kept: &mut Kept, target: &str, version: u64, answer: &Answer, now: Time) {
        kept.put((&request(target, ""), LOCAL.into(), version, Arc::new(|_| false)), answer, now);
    }

    fn gives(kept: &mut Kept, target: &str, version: Option<u64>, now: u64) -> bool {
        kept.give(&request(target, ""), (CLIENT, LOCAL.into()), version, Time(now)).is_some()
    }

    #[test]
    fn what_was_kept_is_given_as_it_was() {
        let mut kept = Kept::new(4);
        put(&mut kept, "/m/a", 7, 1000);
        let given = kept.give(&request("/m/a", ""), (CLIENT, LOCAL.into()), Some(7), Time(1001)).expect("kept");
        assert_eq!((given.status, given.head.as_slice(), given.note.source), (200, b"head".as_slice(), "cache"));
        assert!(matches!(given.body, Body::File { start: 0, len: 5, .. }));
        assert!(!gives(&mut kept, "/m/b", Some(7), 1001));
        let elsewhere = SocketAddr::from(([192, 0, 2, 2], 9977));
        assert!(kept.give(&request("/m/a", ""), (CLIENT, elsewhere), Some(7), Time(1001)).is_none());
    }

    #[test]
    fn another_version_ends_all() {
        let mut kept = Kept::new(4);
        for (n, later) in [Some(8), Some(6), None].into_iter().enumerate() {
            put(&mut kept, "/m/a", 7, 1000);
            put(&mut kept, "/m/b", 7, 1000);
            assert!(gives(&mut kept, "/m/a", Some(7), 1001), "{n}");
            assert!(!gives(&mut kept, "/m/a", later, 1001), "{n}");
            assert!(kept.all.is_empty() && !gives(&mut kept, "/m/b", Some(7), 1001), "{n}: back again, but empty");
        }
        put(&mut kept, "/m/a", 7, 1000);
        kept.expire(Some(8), Time(1000));
        assert!(kept.all.is_empty(), "nobody has to ask for that");
    }

    #[test]
    fn after_its_time_a_worker_is_asked_again() {
        let mut kept = Kept::new(4);
        let end = 1000 + u64::try_from(HOT_TIME.as_millis()).expect("short");
        put(&mut kept, "/m/a", 7, 1000);
        assert!(gives(&mut kept, "/m/a", Some(7), end - 1) && !gives(&mut kept, "/m/a", Some(7), end));
        kept.expire(Some(7), Time(end));
        assert!(kept.all.is_empty());
    }

    #[test]
    fn the_one_given_longest_ago_makes_room() {
        let mut kept = Kept::new(2);
        put(&mut kept, "/m/a", 7, 1000);
        put(&mut kept, "/m/b", 7, 1000);
        assert!(gives(&mut kept, "/m/a", Some(7), 1001));
        put(&mut kept, "/m/b", 7, 1002);
        assert_eq!(kept.all.len(), 2, "the same again takes no room");
        assert!(gives(&mut kept, "/m/a", Some(7), 1003));
        put(&mut kept, "/m/c", 7, 1004);
        let has = ["/m/a", "/m/b", "/m/c"].map(|target| kept.has(target));
        assert_eq!(has, [true, false, true]);
        let mut none = Kept::new(0);
        put(&mut none, "/m/a", 7, 1000);
        assert!(none.all.is_empty());
    }

    #[test]
    fn only_whole_files_are_kept() {
        let mut kept = Kept::new(4);
        let whole = || answer(200, 5);
        for other in [
            answer(206, 5),
            Answer { close: true, ..whole() },
            Answer { body: Body::Empty, ..whole() },
            Answer { body: Body::Bytes(b"page".to_vec()), ..whole() },
            Answer { body: Body::File { file: file(5), start: 1, len: 4 }, ..whole() },
            Answer { body: Body::Stream { start: 0, len: Some(5), patient: true }, ..whole() },
        ] {
            keep(&mut kept, "/m/a", 7, &other, Time(1000));
            assert!(kept.all.is_empty(), "{other:?}");
        }
    }

    #[test]
    fn a_file_that_was_cut_is_for_a_worker() {
        let mut kept = Kept::new(4);
        let whole = answer(200, 5);
        keep(&mut kept, "/m/a", 7, &whole, Time(1000));
        let Body::File { file, .. } = &whole.body else { unreachable!("made above") };
        file.set_len(4).expect("ours");
        assert!(!gives(&mut kept, "/m/a", Some(7), 1001) && kept.all.is_empty());
    }

    #[test]
    fn who_has_a_reason_to_ask_again_is_sent_to_a_worker_and_others_are_served() {
        let mut kept = Kept::new(4);
        let doubt: Doubt = Arc::new(|client| client == CLIENT);
        kept.put((&request("/m/a", ""), LOCAL.into(), 7, doubt), &answer(200, 5), Time(1000));
        assert!(!gives(&mut kept, "/m/a", Some(7), 1001));
        let mut head = request("/m/a", "");
        head.method = "HEAD".into();
        assert!(kept.give(&head, (CLIENT, LOCAL.into()), Some(7), Time(1001)).is_some(), "it gets no bytes");
        let other = IpAddr::from([192, 0, 2, 8]);
        assert!(kept.give(&request("/m/a", ""), (other, LOCAL.into()), Some(7), Time(1001)).is_some());
    }

    #[test]
    fn what_needs_understanding_goes_to_a_worker() {
        for (lines, plain) in [
            ("", true),
            ("User-Agent: Debian APT-HTTP/1.3 (2.6.1)\r\nAccept: text/*\r\n", true),
            ("Cache-Control: max-age=0\r\n", true),
            ("Connection: close\r\n", true),
            ("Cache-Control: max-age=0, No-Cache\r\n", false),
            ("Pragma: no-cache\r\n", false),
            ("Range: bytes=0-\r\n", false),
            ("If-Range: x\r\n", false),
            ("If-Modified-Since: Sat, 01 Mar 2025 10:00:00 GMT\r\n", false),
            ("If-None-Match: x\r\n", false),
            ("Authorization: Basic eA==\r\n", false),
        ] {
            assert_eq!(is_plain(&request("/m/a", lines)), plain, "{lines:?}");
        }
        assert!(!is_plain(&Request { method: "CONNECT".into(), ..request("/m/a", "") }));
        assert!(!is_plain(&request(&format!("/{}", "a".repeat(HOT_TARGET_LEN)), "")), "nobody's usual name for it");
    }
}
