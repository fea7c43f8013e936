//! Who comes in, and who makes room for that.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::{CLIENTS, Edge};
use crate::edge::client::Client;
use crate::edge::conn::Conn;
use crate::edge::pace;
use crate::limits::ACCEPTS_PER_TURN;
use crate::time::Time;

impl Edge {
    /// Lets in who waits, but no more than can be heard out before the next come: these may take their places.
    pub(super) fn accept(&mut self, listener: usize, now: Time) {
        if self.crowded.contains(&listener) {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(socket) = self.listeners.get(listener) else { return };
            match socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer.ip().to_canonical(), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has left already, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.accept_again, true) {
                        log::warn!("cannot take a new connection: {error}; raise the limit on open files");
                    }
                    return;
                }
            }
        }
        self.crowded.push(listener);
    }

    fn admit(&mut self, mut stream: TcpStream, peer: IpAddr, now: Time) {
        if !(self.admits)(peer) {
            return;
        }
        let paced = self.upload.as_ref().filter(|upload| !(upload.is_free)(peer)).map(|_| pace::group(peer));
        let group = paced.unwrap_or(peer);
        let from_there = self.by_address.get(&group).copied().unwrap_or(0);
        // Who has its share makes room among its own: it takes nobody else's place.
        let has_room = if from_there >= self.per_address_max {
            self.close_longest_idle(now, |client| client.group() == group)
        } else {
            self.clients.len() - self.free.len() < self.connections_max || self.close_longest_idle(now, |_| true)
        };
        let Ok(local) = stream.local_addr() else { return };
        if !has_room {
            return self.door.turn_away(&mut stream, &mut self.buffer, peer, now);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let token = Token(CLIENTS + index);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            log::error!("cannot watch a new connection: {error}");
            self.free.push(index);
            return;
        }
        *self.by_address.entry(group).or_default() += 1;
        self.next_serial += 1;
        let mailbox = Arc::clone(&self.mailbox);
        let conn = Conn::new(now, self.idle_time, Arc::new(move || mailbox.leave(token)));
        let (serial, told) = (self.next_serial, Arc::clone(&self.mailbox));
        self.clients[index] = Some(Client::new(stream, conn, serial, (peer, local), paced, told));
        self.make_ready(token);
    }

    /// Closes the idlest connection of those that `may_go`; whether there was one.
    fn close_longest_idle(&mut self, now: Time, may_go: impl Fn(&Client) -> bool) -> bool {
        let idle = self.clients.iter().enumerate().filter_map(|(index, client)| {
            let client = client.as_ref().filter(|client| client.conn.is_idle() && may_go(client))?;
            // Many are of the same moment.
            Some((client.conn.active(), client.serial, index))
        });
        let Some((.., index)) = idle.min() else { return false };
        self.close(Token(CLIENTS + index), now);
        true
    }
}
