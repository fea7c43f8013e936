//! Where the DHT joins: bootstrap hosts, whose names are looked up outside the loop, because the resolver takes its time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::threads;
use super::handle::Mailbox;
use crate::dht::is_sendable;
use crate::limits::{ENTRANCE_TIME, ENTRANCES};
use crate::time::Time;

/// Bootstrap hosts, and when their names are looked up next.
pub(super) struct Entrances {
    hosts: Vec<String>,
    /// Whether private addresses are asked too.
    is_private: bool,
    mailbox: Arc<Mailbox>,
    next_at: Time,
    tries: u32,
    /// A look-up under way: never more than one.
    thread: Option<JoinHandle<()>>,
}

impl Entrances {
    pub(super) fn new(hosts: Vec<String>, is_private: bool, mailbox: Arc<Mailbox>) -> Entrances {
        Entrances { hosts, is_private, mailbox, next_at: Time(0), tries: 0, thread: None }
    }

    /// Looks all of them up at the next turn: the network may be another.
    pub(super) fn restart(&mut self) {
        (self.next_at, self.tries) = (Time(0), 0);
    }

    /// Whether it is time to look them up, if nobody is known.
    pub(super) fn is_due(&self, now: Time) -> bool {
        !self.hosts.is_empty() && now >= self.next_at && self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether they were not looked up since the start, or since the network changed.
    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Puts the next look-up off.
    pub(super) fn postpone(&mut self, now: Time) {
        (self.next_at, self.tries) = (now + ENTRANCE_TIME, 1);
    }

    /// Looks the hosts up; their addresses come by the mailbox.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn look_up(&mut self, now: Time) -> io::Result<()> {
        self.next_at = now + ENTRANCE_TIME * (1 << self.tries.min(6));
        self.tries += 1;
        let (hosts, mailbox, is_private) = (self.hosts.clone(), Arc::clone(&self.mailbox), self.is_private);
        let level = if self.tries == 1 { log::Level::Warn } else { log::Level::Debug };
        self.thread = Some(threads::start("dht-names", move || {
            let mut found: Vec<SocketAddr> = Vec::new();
            for host in &hosts {
                match host.to_socket_addrs() {
                    Ok(addresses) => found.extend(usable(host, addresses, is_private, level)),
                    Err(error) => log::log!(level, "the address of {host} is not found: {error}; it is tried again"),
                }
            }
            found.truncate(ENTRANCES);
            mailbox.enter(found);
        })?);
        Ok(())
    }
}

/// Those of a host's addresses that may be asked; says so when there are others only.
fn usable(
    host: &str,
    addresses: impl Iterator<Item = SocketAddr>,
    is_private: bool,
    level: log::Level,
) -> Vec<SocketAddr> {
    let (usable, refused): (Vec<_>, Vec<_>) = addresses.partition(|address| is_sendable(*address, is_private));
    if let (true, Some(address)) = (usable.is_empty(), refused.first()) {
        log::log!(
            level,
            "{host} is at {address}, which is not asked: --bootstrap {address} makes the network a private one, where it is"
        );
    }
    usable
}
