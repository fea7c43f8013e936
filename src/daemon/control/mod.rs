//! The control socket: what one-shot commands ask the running daemon (`control.rs` has the words).
//!
//! One thread, one client at a time, one request a connection, each read and write bounded in time. The socket lies in
//! the cache folder and only this user may open it. A lock on the folder says whose it is, and ends with its process:
//! a socket without it was left by a crash.

mod dht;

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, chmod, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::udp::DhtHandle;
use crate::control::{Answer, Format, Request, SOCKET};
use crate::dht::{Ask, Event, Network};
use crate::digest::Digest;
use crate::fetch::{Clock, Shelf};
use crate::limits::{CONTROL_REQUEST_LEN, CONTROL_TIME, STORE_RETRY_TIME};
use crate::report::Trace;

/// Commands that wait for their turn; more are refused by the system.
const BACKLOG: i32 = 8;

/// The socket's file, and the lock on its folder.
pub(super) struct Place {
    path: PathBuf,
    lock: File,
}

impl Place {
    /// Whether the lock is on this folder, and not on what was mounted there before.
    pub(super) fn is_of(&self, folder: &Path) -> bool {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        fs::metadata(folder).is_ok_and(|there| self.lock.metadata().is_ok_and(|ours| id(ours) == id(there)))
    }

    /// Removes the socket's file.
    pub(super) fn remove(&self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Where the socket is, while there is one.
pub(super) type Held = Arc<Mutex<Option<Place>>>;

/// The control thread's things.
pub(super) struct Control {
    pub(super) cache: PathBuf,
    pub(super) shelf: Shelf,
    pub(super) dht: Option<DhtHandle>,
    pub(super) clock: Clock,
    pub(super) numbers: super::Count,
    pub(super) held: Held,
    /// Closed when the daemon ends.
    pub(super) end: Receiver<()>,
}

impl Control {
    /// Makes the socket as soon as the cache can be used, and again when another disk has taken its place; answers for as long
    /// as the daemon runs.
    pub(super) fn run(&self) {
        if self.shelf.get().is_none() {
            log::warn!("the cache is away, so apt-p2p status, dht and lookup cannot ask this proxy");
        }
        while self.has_cache() {
            match open(&self.cache) {
                Ok((place, listener)) => {
                    self.hold(Some(place));
                    self.serve(&listener);
                    self.hold(None);
                }
                Err(error) => return self.tell_no_socket(&error),
            }
        }
    }

    /// Waits for the cache; `false` when the daemon ends before.
    fn has_cache(&self) -> bool {
        while self.shelf.get().is_none() {
            if self.has_ended_within(STORE_RETRY_TIME) {
                return false;
            }
        }
        !self.has_ended_within(Duration::ZERO)
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        self.end.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    fn hold(&self, place: Option<Place>) {
        *self.held.lock().expect("no holder of the lock panics") = place;
    }

    fn tell_no_socket(&self, error: &io::Error) {
        let cache = self.cache.display();
        if error.kind() == io::ErrorKind::WouldBlock {
            log::warn!("another apt-p2p runs on {cache}: apt-p2p status, dht and lookup ask that one");
        } else {
            log::warn!("no control socket in {cache}: {error}; apt-p2p status, dht and lookup cannot ask this proxy");
        }
    }

    /// Answers until the daemon ends, or the cache is in another folder of this name.
    fn serve(&self, listener: &UnixListener) {
        let is_elsewhere = || {
            let held = self.held.lock().expect("no holder of the lock panics");
            self.shelf.get().is_some() && !held.as_ref().is_some_and(|place| place.is_of(&self.cache))
        };
        loop {
            match next_client(listener) {
                Ok(Some(stream)) => {
                    if let Err(error) = self.answer(&stream) {
                        log::debug!("a command was not answered: {error}");
                    }
                }
                Ok(None) if self.has_ended_within(Duration::ZERO) || is_elsewhere() => return,
                Ok(None) => {}
                // No descriptor is free: in a moment there may be one.
                Err(_) if self.has_ended_within(CONTROL_TIME) => return,
                Err(_) => {}
            }
        }
    }

    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(CONTROL_TIME))?;
        stream.set_write_timeout(Some(CONTROL_TIME))?;
        let line = read_line(stream)?;
        let answer = Answer::new(stream);
        match Request::parse(&line) {
            Some(Request::Status(format)) => self.tell_status(answer, format),
            Some(Request::Dht(format)) => self.tell_dht(answer, format),
            Some(Request::Lookup(digest, format)) => self.look_up(answer, &digest, format),
            None => answer.refuse("the running apt-p2p is of another version and does not know this command"),
        }?;
        stream.shutdown(Shutdown::Both)
    }

    fn tell_status(&self, mut answer: Answer<&UnixStream>, format: Format) -> io::Result<()> {
        let numbers = (self.numbers)();
        answer.print(&match format {
            Format::Text => numbers.text(),
            Format::Json => numbers.json(),
        })?;
        answer.end(0)
    }

    fn tell_dht(&self, mut answer: Answer<&UnixStream>, format: Format) -> io::Result<()> {
        let Some(node) = &self.dht else { return answer.refuse(NO_DHT) };
        let Some(report) = node.report() else { return answer.refuse("the DHT is too busy to say how it goes") };
        answer.print(&match format {
            Format::Text => dht::text(&report),
            Format::Json => dht::json(&report),
        })?;
        answer.end(0)
    }

    fn look_up(&self, mut answer: Answer<&UnixStream>, digest: &Digest, format: Format) -> io::Result<()> {
        let Some(node) = &self.dht else { return answer.refuse(NO_DHT) };
        let key = node.key(digest);
        let mut trace = Trace::new(key, format == Format::Json);
        answer.print(&trace.begin(digest, node.network()))?;
        let began = (self.clock)();
        let Some(events) = node.ask(Ask::Peers { key, network: Network::Overlay, traced: true }) else {
            return answer.refuse("the DHT is too busy for one more lookup");
        };
        // A command that is gone fails the next print, and dropping the events ends the lookup.
        for event in events {
            let ms = u64::try_from((self.clock)().since(began).as_millis()).unwrap_or(u64::MAX);
            answer.print(&trace.note(ms, &event))?;
            if matches!(event, Event::Done { .. }) {
                return answer.end(trace.status());
            }
        }
        answer.refuse("the DHT has too much to do, or has ended")
    }
}

const NO_DHT: &str =
    "the running apt-p2p has no DHT: it shares nothing with the Internet (--share), or its log says why";

/// The next command that asks, if one does before the folder is to be looked at again.
fn next_client(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    let time = Timespec::try_from(STORE_RETRY_TIME).ok();
    let is_there = poll(&mut [PollFd::new(listener, PollFlags::IN)], time.as_ref())? > 0;
    is_there.then(|| listener.accept().map(|(stream, _)| stream)).transpose()
}

/// The socket in this folder. `WouldBlock`: another process has it.
fn open(cache: &Path) -> io::Result<(Place, UnixListener)> {
    let folder = File::open(cache)?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    let path = cache.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    let place = Place { path, lock: folder };
    // Nobody can connect before it listens.
    chmod(&place.path, Mode::RUSR | Mode::WUSR)?;
    listen(&socket, BACKLOG)?;
    Ok((place, UnixListener::from(socket)))
}

/// The request, without its end of line.
fn read_line(mut stream: &UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut buffer = [0; CONTROL_REQUEST_LEN];
    loop {
        let room = CONTROL_REQUEST_LEN - line.len();
        let count = stream.read(&mut buffer[..room])?;
        line.extend_from_slice(&buffer[..count]);
        if line.last() == Some(&b'\n') {
            line.pop();
            return String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into());
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("apt-p2p-control-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder can be written to");
        path
    }

    #[test]
    fn the_folder_has_one_socket_and_a_stale_one_is_replaced() {
        let cache = folder("one");
        fs::write(cache.join(SOCKET), "left by a crash").expect("a scratch file");
        let (place, listener) = open(&cache).expect("a socket");
        let mode = fs::metadata(cache.join(SOCKET)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(place.is_of(&cache) && !place.is_of(&std::env::temp_dir()));
        assert_eq!(open(&cache).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        UnixStream::connect(cache.join(SOCKET)).expect("the first one still listens");
        place.remove();
        assert!(!cache.join(SOCKET).exists());
        drop((place, listener));
        assert!(open(&cache).is_ok(), "the lock is gone with its holder");
        fs::remove_dir_all(&cache).ok();
    }

    #[test]
    fn a_request_is_one_line_of_bounded_length() {
        let read = |bytes: &[u8]| {
            let (mut asker, daemon) = UnixStream::pair().expect("two ends");
            asker.write_all(bytes).expect("it fits the socket");
            drop(asker);
            read_line(&daemon).ok()
        };
        assert_eq!(read(b"dht text\n").as_deref(), Some("dht text"));
        assert_eq!(read(b"dht text"), None);
        assert_eq!(read(&[b'x'; 10_000]), None);
        assert_eq!(read(b"\xff\n"), None);
    }
}
