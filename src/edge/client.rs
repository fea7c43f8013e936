//! A connection with its socket: its turns to read and to send.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::conn::Conn;
use super::exchange::Way;
use super::log::Log;
use super::mailbox::Mailbox;
use super::verbs::{Input, Output};
use crate::time::Time;

/// A connection and its socket.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) conn: Conn,
    pub(super) serial: u64,
    pub(super) peer: IpAddr,
    pub(super) local: SocketAddr,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The other side has closed; an event said so.
    pub(super) is_ended: bool,
    /// Whether it stands in `ready`, and in `asking`.
    pub(super) is_ready: bool,
    pub(super) is_asking: bool,
    /// With whom it shares what may be uploaded; none: it may have all there is.
    pub(super) paced: Option<IpAddr>,
    /// Whether it waits for its share.
    pub(super) is_held: bool,
    /// Whether it counts among the peers that are being served.
    pub(super) is_served: bool,
    /// Where it is told that a file cannot be read.
    pub(super) mailbox: Arc<Mailbox>,
    /// Where it is to be led, when it becomes a tunnel.
    pub(super) way: Option<Way>,
    /// A file that it was sent could not be read to its end.
    pub(super) is_cut: bool,
}

/// What ended a connection's turn.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum Turn {
    Waits,
    HasMore,
    Over,
}

impl Client {
    /// Those with whom it shares the number of connections.
    pub(super) fn group(&self) -> IpAddr {
        self.paced.unwrap_or(self.peer)
    }

    /// A new one, at `peer` and connected to `local`.
    pub(super) fn new(
        stream: TcpStream,
        conn: Conn,
        serial: u64,
        (peer, local): (IpAddr, SocketAddr),
        paced: Option<IpAddr>,
        mailbox: Arc<Mailbox>,
    ) -> Client {
        Client {
            stream,
            conn,
            serial,
            peer,
            local,
            readable: true,
            writable: true,
            is_ended: false,
            is_ready: false,
            is_asking: false,
            paced,
            is_held: false,
            is_served: false,
            mailbox,
            way: None,
            is_cut: false,
        }
    }

    /// Reads and sends at most `budget` bytes, until there is nothing to do, or others must have their turn.
    pub(super) fn turn(
        &mut self,
        buffer: &mut [u8],
        budget: &mut u64,
        now: Time,
        note: &mut impl FnMut(IpAddr, Log),
    ) -> Turn {
        loop {
            let read = match self.read(buffer, now) {
                Ok(read) => read,
                Err(_) => return Turn::Over,
            };
            let before = *budget;
            match self.send(budget, now, note) {
                Turn::Over => return Turn::Over,
                Turn::HasMore => return Turn::HasMore,
                Turn::Waits if !read && before == *budget => return Turn::Waits,
                Turn::Waits => {}
            }
        }
    }

    /// Whether anything came.
    fn read(&mut self, buffer: &mut [u8], now: Time) -> io::Result<bool> {
        let mut any = false;
        while self.readable && self.conn.wants_bytes() {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.readable = false;
                    self.conn.handle(now, Input::End);
                    return Ok(true);
                }
                Ok(len) => {
                    any = true;
                    // Less than there was room for leaves nothing behind but the end, of which an event tells (epoll(7), Q9).
                    self.readable = len == buffer.len() || self.is_ended;
                    self.conn.handle(now, Input::Bytes(&buffer[..len]));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    fn send(&mut self, budget: &mut u64, now: Time, note: &mut impl FnMut(IpAddr, Log)) -> Turn {
        loop {
            let sent = match self.conn.poll(now) {
                Output::Wait => return Turn::Waits,
                Output::Close => return Turn::Over,
                Output::Log(log) => {
                    note(self.peer, log);
                    continue;
                }
                Output::Dial(way) => {
                    self.way = Some(way);
                    return Turn::Waits;
                }
                Output::Shutdown => {
                    if self.stream.shutdown(std::net::Shutdown::Write).is_err() {
                        return Turn::Over;
                    }
                    continue;
                }
                _ if !self.writable => return Turn::Waits,
                _ if *budget == 0 => return Turn::HasMore,
                Output::Send { bytes, more } => {
                    let most = usize::try_from(*budget).unwrap_or(usize::MAX);
                    // What must wait for its share does not follow at once.
                    let (bytes, more) = (&bytes[..most.min(bytes.len())], more && most > bytes.len());
                    let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
                    rustix::net::send(self.stream.as_fd(), bytes, flags)
                }
                Output::SendFile { file, at, len } => {
                    let mut offset = at;
                    let count = usize::try_from(len.min(*budget)).expect("a turn's length");
                    match rustix::fs::sendfile(self.stream.as_fd(), &*file, Some(&mut offset), count) {
                        Ok(0) => {
                            self.mailbox.note_unreadable("is shorter than it was");
                            self.is_cut = true;
                            self.conn.handle(now, Input::FileCut);
                            continue;
                        }
                        // Sockets fail otherwise.
                        Err(Errno::IO) => {
                            self.mailbox.note_unreadable("cannot be read");
                            self.is_cut = true;
                            self.conn.handle(now, Input::FileCut);
                            continue;
                        }
                        other => other,
                    }
                }
            };
            match sent {
                Ok(len) => {
                    *budget = budget.saturating_sub(len as u64);
                    self.conn.handle(now, Input::Sent(len as u64));
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => return Turn::Over,
            }
        }
    }
}
