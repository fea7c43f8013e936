//! The thread that keeps the router's mapping of our port: made where we are behind a router, renewed, ended at the end.
//!
//! What strangers are told is the port that the router gave; whether they come through shows when some dial it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::rand::{GetRandomFlags, getrandom};

use super::ending::Ends;
use super::live::Live;
use super::threads;
use super::udp::DhtHandle;
use crate::fetch::Clock;
use crate::limits::{MAPPING_LOOK_TIME, MAPPING_RENEW_TIME, MAPPING_RETRY_MAX, MAPPING_RETRY_TIME};
use crate::reach::{Mapper, Place};
use crate::time::Time;

/// The mapping, kept.
pub(super) struct PortMapping {
    /// Dropped to end it.
    end: Option<Sender<()>>,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

impl Ends for PortMapping {
    fn begin(&mut self) {
        self.end = None;
    }

    fn wait(&mut self, left: &dyn Fn() -> Duration) {
        if self.ended.recv_timeout(left()) == Err(RecvTimeoutError::Timeout) {
            log::debug!("the router is slow; its mapping ends by itself");
        }
    }
}

struct Keeper {
    mapper: Mapper,
    dht: DhtHandle,
    clock: Clock,
    listen: Ipv4Addr,
    port: u16,
    place: Option<Place>,
    /// The port that the router gave.
    outer_port: Option<u16>,
    due: Time,
    failures: u32,
    end: Receiver<()>,
}

/// Starts the thread, if a mapping is wanted and of use. What prevents it is logged.
pub(super) fn start(live: &Live, dht: &DhtHandle, clock: &Clock, peers: SocketAddr) -> Option<PortMapping> {
    let listen = match peers.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(_) => return None,
    };
    if !live.config().port_mapping || listen.is_loopback() {
        return None;
    }
    let (end_sender, end) = bounded(0);
    let (alive, ended) = bounded::<()>(0);
    let mut nonce = [0; 12];
    let started = getrandom(&mut nonce, GetRandomFlags::empty()).map_err(std::io::Error::from).and_then(|_| {
        let keeper = Keeper {
            mapper: Mapper::new(peers.port(), nonce),
            dht: dht.clone(),
            clock: clock.clone(),
            listen,
            port: peers.port(),
            place: None,
            outer_port: None,
            due: Time(0),
            failures: 0,
            end,
        };
        threads::start("mapping", move || {
            keeper.run();
            drop(alive);
        })
    });
    started.inspect_err(|error| log::warn!("no router is asked to pass our port on: {error}")).ok()?;
    Some(PortMapping { end: Some(end_sender), ended })
}

impl Keeper {
    fn run(mut self) {
        loop {
            let pause = self.look();
            if self.end.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        self.mapper.end();
    }

    /// Asks for the mapping when it is time to, or when we are elsewhere; how long to wait until the next look.
    fn look(&mut self) -> Duration {
        let now = (self.clock)();
        let place = Place::look(self.listen);
        if place != self.place {
            self.place = place;
            (self.due, self.failures, self.outer_port) = (now, 0, None);
            self.dht.serve_at(self.port);
        }
        let Some(place) = place else { return MAPPING_LOOK_TIME };
        if now >= self.due {
            self.due = (self.clock)() + self.map(place);
        }
        self.due.since((self.clock)()).min(MAPPING_LOOK_TIME)
    }

    /// Asks for it; after how long again.
    fn map(&mut self, place: Place) -> Duration {
        match self.mapper.map(place) {
            Ok(mapping) => {
                self.failures = 0;
                let outer_port = mapping.outer_port;
                if self.outer_port.replace(outer_port) != Some(outer_port) {
                    log::info!("the router {} passes port {outer_port} on to us ({})", place.router, mapping.way);
                }
                self.dht.serve_at(outer_port);
                MAPPING_RENEW_TIME.min(mapping.lifetime / 2).max(MAPPING_LOOK_TIME)
            }
            Err(error) => {
                if self.failures == 0 {
                    log::info!("{error}");
                }
                self.outer_port = None;
                self.dht.serve_at(self.port);
                let pause = MAPPING_RETRY_TIME.saturating_mul(1 << self.failures.min(16)).min(MAPPING_RETRY_MAX);
                self.failures += 1;
                pause
            }
        }
    }
}
