//! Letting a mirror go: ends a request that another thread waits for, from its connection's first packet on.
//!
//! The thread that fetches wears a [`LetGo`] while it waits; every connection that it waits on leaves its handle there,
//! and whoever has no more use for the mirror's bytes shuts the connection down. What is shut down is never reused.
//! Connections are made here, since one can wait long for a mirror that is away: ureq's own could not be let go. Through a
//! proxy, http is asked for by the whole URL, which ureq does not do.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with};
#[cfg(feature = "tls")]
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use super::Clock;
use crate::stream::Stream;
use crate::time::Time;

/// What ends a request; clones end the same one.
#[derive(Clone, Default)]
pub(super) struct LetGo(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_over: bool,
    socket: Option<Weak<TcpStream>>,
}

impl fmt::Debug for LetGo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LetGo")
    }
}

thread_local! {
    static WORN: RefCell<Option<LetGo>> = const { RefCell::new(None) };
    /// When the read that this thread is in must be over, whatever comes meanwhile.
    static UNTIL: Cell<Option<Time>> = const { Cell::new(None) };
    /// Whose followers are to hear of what has come before this thread waits for more.
    static STREAM: RefCell<Option<Arc<Stream>>> = const { RefCell::new(None) };
    static HURRY: Cell<Option<Duration>> = const { Cell::new(None) };
    /// Whether this thread has something better to do than to wait for a mirror.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Reads from a mirror; fails at `until`, however many bytes come till then that are none of the body: a chunk's size or a
/// trailer can go on for good.
pub(super) fn within<T>(until: Time, read: impl FnOnce() -> T) -> T {
    UNTIL.set(Some(until));
    let done = read();
    UNTIL.set(None);
    done
}

/// Does `work`, which moves a mirror's bytes to `stream`; its followers hear of them whenever the mirror has no more, and in
/// the end.
pub(super) fn telling<T>(stream: &Arc<Stream>, work: impl FnOnce() -> T) -> T {
    STREAM.set(Some(Arc::clone(stream)));
    let done = work();
    STREAM.set(None);
    stream.tell();
    done
}

/// Does `work` such that no mirror is waited for longer than `limit` without a byte: another can be asked.
pub(super) fn hurried<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    HURRY.set(Some(limit));
    let done = work();
    HURRY.set(None);
    done
}

/// Reads what a mirror has sent already: where there is nothing, the error is [`ErrorKind::WouldBlock`], and another read may
/// follow.
pub(super) fn at_once<T>(read: impl FnOnce() -> T) -> T {
    AT_ONCE.set(true);
    let done = read();
    AT_ONCE.set(false);
    done
}

/// How long this thread waits for bytes where it usually waits for `usual`.
pub(super) fn patience(usual: Duration) -> Duration {
    HURRY.get().map_or(usual, |limit| limit.min(usual))
}

impl LetGo {
    /// Ends the request; the one that waits for it gets an error.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        if let Some(socket) = state.socket.take().and_then(|socket| socket.upgrade()) {
            // It is an error only where the connection has ended by itself.
            socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// Whether it was ended.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Does `work` such that its requests can be ended from elsewhere.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        WORN.with_borrow_mut(|worn| *worn = Some(self.clone()));
        let done = work();
        WORN.with_borrow_mut(|worn| *worn = None);
        // The connection may be kept and used for something else.
        self.lock().socket = None;
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// Leaves the socket where it can be shut down, or ends at once: this thread is about to wait for it.
fn may_wait(socket: &Weak<TcpStream>) -> io::Result<()> {
    WORN.with_borrow(|worn| {
        let Some(worn) = worn else { return Ok(()) };
        let mut state = worn.lock();
        if state.is_over {
            return Err(io::Error::new(ErrorKind::ConnectionAborted, "let go"));
        }
        state.socket = Some(Weak::clone(socket));
        Ok(())
    })
}

/// The connector for mirrors, whose connections can be let go.
pub(super) struct LettingGo {
    /// Where we listen ourselves.
    ours: Arc<[SocketAddr]>,
    clock: Clock,
    #[cfg(feature = "tls")]
    tls: RustlsConnector,
}

impl fmt::Debug for LettingGo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LettingGo")
    }
}

impl LettingGo {
    /// A connector that does not connect to `ours`.
    pub(super) fn new(ours: Arc<[SocketAddr]>, clock: Clock) -> LettingGo {
        LettingGo {
            ours,
            clock,
            #[cfg(feature = "tls")]
            tls: RustlsConnector::default(),
        }
    }

    fn plain(
        &self,
        details: &ConnectionDetails<'_>,
        addrs: &[SocketAddr],
        base: Option<String>,
    ) -> Result<Plain, Error> {
        let stream = dial(addrs, details.timeout)?;
        if is_ourselves(&self.ours, stream.local_addr()?, stream.peer_addr()?) {
            return Err(Error::Other(Box::new(Ourselves)));
        }
        let (input_len, output_len) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let (socket, buffers) = (Arc::downgrade(&stream), LazyBuffers::new(input_len, output_len));
        Ok(Plain { stream, socket, buffers, clock: Arc::clone(&self.clock), base, is_next: true })
    }
}

/// A mirror's name or redirect leads to this very proxy, which would wait for itself.
#[derive(Debug)]
pub(super) struct Ourselves;

impl fmt::Display for Ourselves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("that is this proxy itself")
    }
}

impl std::error::Error for Ourselves {}

/// Whether a connection leads to one of our own sockets: one that listens everywhere is met at an address that is ours at
/// both ends.
fn is_ourselves(ours: &[SocketAddr], local: SocketAddr, peer: SocketAddr) -> bool {
    let (local, at) = (local.ip().to_canonical(), peer.ip().to_canonical());
    ours.iter().filter(|own| own.port() == peer.port()).any(|own| match own.ip().to_canonical() {
        everywhere if everywhere.is_unspecified() => at.is_loopback() || at == local,
        one => at == one,
    })
}

impl Connector<()> for LettingGo {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Box<dyn Transport>>, Error> {
        let through = details.config.proxy().filter(|_| details.uri.scheme_str() == Some("http"));
        let plain: Box<dyn Transport> = match (through, details.config.proxy()) {
            (Some(proxy), _) => {
                let addrs = details.resolver.resolve(proxy.uri(), details.config, details.timeout)?;
                let authority = details.uri.authority().map_or("", |authority| authority.as_str());
                Box::new(self.plain(details, &addrs, Some(format!("http://{authority}")))?)
            }
            (None, Some(_)) => ConnectProxyConnector::default()
                .connect(details, None::<()>)?
                .map(|through| Box::new(through) as Box<dyn Transport>)
                .ok_or(Error::ConnectionFailed)?,
            (None, None) => Box::new(self.plain(details, &details.addrs, None)?),
        };
        #[cfg(feature = "tls")]
        return Ok(self.tls.connect(details, Some(plain))?.map(|inner| Box::new(inner) as Box<dyn Transport>));
        #[cfg(not(feature = "tls"))]
        Ok(Some(plain))
    }
}

/// Connects to the first address that accepts; each but the last may take half of the time that those before it leave.
fn dial(addrs: &[SocketAddr], timeout: NextTimeout) -> Result<Arc<TcpStream>, Error> {
    let mut left = limit(timeout)?.unwrap_or(Duration::MAX);
    let mut last = io::Error::from(ErrorKind::ConnectionRefused);
    for (at, address) in addrs.iter().enumerate() {
        let share = if at + 1 < addrs.len() { left / 2 } else { left };
        left -= share;
        match connect_within(*address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Err(error.into()),
            Err(error) => last = error,
        }
    }
    if last.kind() == ErrorKind::TimedOut { Err(Error::Timeout(Timeout::Connect)) } else { Err(last.into()) }
}

fn connect_within(address: SocketAddr, limit: Duration) -> io::Result<Arc<TcpStream>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let stream = Arc::new(TcpStream::from(socket));
    match connect(&*stream, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let handle = Arc::downgrade(&stream);
    may_wait(&handle)?;
    let limit = Timespec::try_from(limit).ok();
    let ready = loop {
        match poll(&mut [PollFd::new(&*stream, PollFlags::OUT)], limit.as_ref()) {
            Err(Errno::INTR) => {}
            ready => break ready?,
        }
    };
    // Whoever lets it go meanwhile ends the wait too.
    may_wait(&handle)?;
    if ready == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.take_error()?.map_or(Ok(()), Err)?;
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that can be let go.
struct Plain {
    stream: Arc<TcpStream>,
    socket: Weak<TcpStream>,
    buffers: LazyBuffers,
    clock: Clock,
    /// With a proxy: what each request's path is put behind.
    base: Option<String>,
    /// Whether what is sent next begins a request.
    is_next: bool,
}

/// A request whose path is put behind `base`: what a proxy is asked (RFC 9112, section 3.2.2).
fn absolute(request: &[u8], base: &str) -> Vec<u8> {
    let path = request.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    [&request[..path], base.as_bytes(), &request[path..]].concat()
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl Transport for Plain {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(limit(timeout)?)?;
        may_wait(&self.socket)?;
        let output = &self.buffers.output()[..amount];
        let sent = match &self.base {
            Some(base) if std::mem::take(&mut self.is_next) => (&*self.stream).write_all(&absolute(output, base)),
            _ => (&*self.stream).write_all(output),
        };
        sent.map_err(|error| in_time(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let mut timeout = timeout.for_read();
        if let Some(until) = UNTIL.get() {
            timeout.after = timeout.after.min(until.since((self.clock)()).into());
        }
        let limit = limit(timeout)?.map(patience).or_else(|| HURRY.get());
        self.is_next = true;
        match recv(&*self.stream, self.buffers.input_append_buf(), RecvFlags::DONTWAIT) {
            Ok((len, _)) => {
                self.buffers.input_appended(len);
                return Ok(len > 0);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(Error::Io(error.into())),
        }
        if AT_ONCE.get() {
            return Err(Error::Io(ErrorKind::WouldBlock.into()));
        }
        STREAM.with_borrow(|stream| stream.iter().for_each(|stream| stream.tell()));
        self.stream.set_read_timeout(limit)?;
        may_wait(&self.socket)?;
        let len = loop {
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| in_time(error, timeout))?,
            }
        };
        self.buffers.input_appended(len);
        Ok(len > 0)
    }

    /// Whether it may be used for another request: it is silent, as it should be.
    fn is_open(&mut self) -> bool {
        let is_silent = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let is_silent = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
            stream.set_nonblocking(false)?;
            io::Result::Ok(is_silent)
        };
        is_silent(&self.stream).unwrap_or(false)
    }
}

/// How long a system call may wait.
fn limit(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|limit| *limit))
}

fn in_time(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts threads")]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// An address whose queue of connections is full: it neither accepts nor refuses.
    fn silent() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        rustix::net::listen(&listener, 0).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let moment = Duration::from_millis(100);
        let streams = (0..8).map_while(|_| TcpStream::connect_timeout(&address, moment).ok()).collect();
        (address, streams, listener)
    }

    #[test]
    fn a_connection_is_let_go_before_it_is_there() {
        let (address, _streams, _listener) = silent();
        let (let_go, (begun, is_begun)) = (LetGo::default(), mpsc::channel());
        let theirs = let_go.clone();
        let dialler = thread::spawn(move || {
            theirs.during(|| {
                begun.send(()).expect("it is waited for");
                connect_within(address, Duration::from_secs(3600))
            })
        });
        is_begun.recv().expect("it begins");
        let_go.end();
        let ended = dialler.join().expect("no panic");
        assert_eq!(ended.expect_err("nobody accepts").kind(), ErrorKind::ConnectionAborted);
    }

    #[test]
    fn our_own_sockets_are_known_at_every_address_of_ours() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (own, local, peer, is_ours) in [
            ("[::]:9977", "127.0.0.1:40000", "127.0.0.5:9977", true),
            ("[::]:9977", "192.0.2.7:40000", "192.0.2.7:9977", true),
            ("[::]:9977", "[::ffff:192.0.2.7]:40000", "192.0.2.7:9977", true),
            ("0.0.0.0:9977", "192.0.2.7:40000", "192.0.2.8:9977", false),
            ("[::]:9977", "192.0.2.7:40000", "192.0.2.7:80", false),
            ("192.0.2.7:9977", "192.0.2.7:40000", "192.0.2.7:9977", true),
            ("127.0.0.1:9977", "127.0.0.1:40000", "127.0.0.9:9977", false),
        ] {
            assert_eq!(is_ourselves(&[at(own)], at(local), at(peer)), is_ours, "{own}: {local} to {peer}");
        }
    }

    #[test]
    fn a_proxy_is_asked_by_the_whole_url() {
        let asked = absolute(b"GET /debian/a.deb HTTP/1.1\r\nHost: mirror\r\n\r\n", "http://mirror:81");
        assert_eq!(asked, b"GET http://mirror:81/debian/a.deb HTTP/1.1\r\nHost: mirror\r\n\r\n");
    }

    #[test]
    fn who_neither_accepts_nor_refuses_is_given_up_in_time() {
        let (address, _streams, _listener) = silent();
        let error = connect_within(address, Duration::from_millis(50)).expect_err("nobody accepts");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback");
        let error = connect_within(closed, Duration::from_secs(3600)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
