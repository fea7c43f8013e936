//! The peer edge: made of the configuration, the store and the fetcher. The proxy runs without it too.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};

use super::live::Live;
use super::threads;
use crate::config::Share;
use crate::edge::{self, Asked, Behind, Edge, EdgeConfig, EdgeHandle, Upload};
use crate::fetch::{Clock, Fetcher, Shelf};
use crate::limits::{PEER_CONNECTIONS, PEER_CONNECTIONS_PER_ADDRESS, PEER_IDLE_TIME};
use crate::peer::{Parts, Peer};

/// Starts the peer edge, if anything is shared. What prevents it is logged: the proxy must never fail because of it.
pub(super) fn start(live: &Live, shelf: &Shelf, fetcher: &Fetcher, clock: &Clock) -> Option<EdgeHandle> {
    let sharing = &live.config().sharing;
    if sharing.share == Share::Off {
        return None;
    }
    match run(live, shelf, fetcher, clock) {
        Ok(handle) => Some(handle),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            log::error!(
                "{} (TCP) is in use, so no peer is served: is apt-p2p running already? Another can be given with \
                 --peer-listen",
                sharing.peer_listen
            );
            None
        }
        Err(error) => {
            log::error!("no peer is served, for {} (TCP) cannot be used: {error}", sharing.peer_listen);
            None
        }
    }
}

fn run(live: &Live, shelf: &Shelf, fetcher: &Fetcher, clock: &Clock) -> io::Result<EdgeHandle> {
    let config = live.config();
    let listener = edge::bind(config.sharing.peer_listen)?;
    let address = listener.local_addr()?;
    let rule = live.clone();
    let is_neighbour: Arc<dyn Fn(IpAddr) -> bool + Send + Sync> = Arc::new(move |ip| rule.config().is_neighbour(ip));
    let (shelf, fetcher) = (Arc::clone(shelf), fetcher.clone());
    let peer = Peer::new(Parts {
        store: Arc::new(move || shelf.get().cloned()),
        growing: Arc::new(move |digest| fetcher.shared_flight(digest)),
        is_neighbour: Arc::clone(&is_neighbour),
        clock: Arc::clone(clock),
        network: config.sharing.network.clone(),
        secret: config.sharing.secret.as_ref().map(|secret| secret.0.clone()),
        node: node()?,
    });
    let takes_all = config.sharing.share == Share::Internet;
    let admitted = Arc::clone(&is_neighbour);
    let (edge, handle) = Edge::new(EdgeConfig {
        listeners: vec![listener],
        behind: Behind::Here(Arc::new(move |asked: &Asked<'_>| peer.reply(asked))),
        admits: Arc::new(move |ip| takes_all || admitted(ip)),
        upload: config.upload_rate.map(|rate| Upload { rate, is_free: is_neighbour }),
        idle_time: PEER_IDLE_TIME,
        connections_max: PEER_CONNECTIONS,
        per_address_max: PEER_CONNECTIONS_PER_ADDRESS,
    })?;
    threads::start("peer-edge", move || edge.run())?;
    log::info!("peers are served at {address} (TCP)");
    Ok(handle)
}

/// A name for this node among its neighbours, new at each start.
fn node() -> io::Result<String> {
    let mut bytes = [0; 20];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
