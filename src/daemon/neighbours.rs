//! Discovery on the LAN: made of the configuration. The proxy runs without it too.

use std::net::TcpListener;
use std::time::Duration;

use super::clock;
use super::ending::Ends;
use super::live::Live;
use super::threads;
use crate::lan::Neighbours;
use crate::lan::discovery::{Announcement, Discovery};

/// Announces the proxy to clients, and its peer edge to neighbours, of whom it hears then too, if that is wanted. What prevents
/// it is logged.
pub(super) fn discover(
    live: &Live,
    neighbours: &Neighbours,
    listeners: &[TcpListener],
    peer_port: Option<u16>,
) -> Option<Discovery> {
    let config = live.config();
    let mut listen = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    let announcement = Announcement {
        host: host(),
        network: config.sharing.network.clone(),
        id: neighbours.own(),
        proxy_port: listen.find(|address| !address.ip().is_loopback()).map(|address| address.port()),
        peer_port,
    };
    if !config.mdns || announcement.is_empty() {
        return None;
    }
    let (discovery, watch) = Discovery::new(announcement, neighbours.clone(), clock::clock());
    match threads::start("neighbours", move || watch.run()) {
        Ok(_) => Some(discovery),
        Err(error) => {
            log::warn!("multicast DNS cannot be used: {error}");
            None
        }
    }
}

impl Ends for Discovery {
    fn begin(&mut self) {
        self.leave();
    }

    fn wait(&mut self, left: &dyn Fn() -> Duration) {
        self.wait_until_gone(left);
    }
}

/// This machine's name, as far as it can be a label of the DNS.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let label = name.split('.').next().unwrap_or_default();
    let is_plain = !label.is_empty()
        && label.len() <= 50
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain { label.to_owned() } else { "apt-p2p".to_owned() }
}
