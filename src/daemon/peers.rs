//! The peer edge: made of the configuration, the store and the fetcher. The proxy runs without it too.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::rand::{GetRandomFlags, getrandom};

use super::live::Live;
use super::threads;
use crate::config::Share;
use crate::edge::{self, Asked, Behind, Edge, EdgeConfig, EdgeHandle, Upload};
use crate::fetch::{Clock, Fetcher, Shelf};
use crate::lan::LanId;
use crate::limits::{PEER_CONNECTIONS, PEER_CONNECTIONS_PER_ADDRESS, PEER_IDLE_TIME};
use crate::peer::{Parts, Peer, UnderWay};

/// The peer edge, running.
pub(super) struct PeerEdge {
    handle: EdgeHandle,
    thread: JoinHandle<()>,
}

impl PeerEdge {
    /// Reaches its counters.
    pub(super) fn handle(&self) -> &EdgeHandle {
        &self.handle
    }

    /// Asks it to end.
    pub(super) fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until it has ended.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            log::error!("the peer edge ended in a panic");
        }
    }
}

/// Where peers are served, if anything is shared. What prevents it is logged: the proxy must never fail because of it.
pub(super) fn listen(live: &Live) -> Option<TcpListener> {
    let sharing = &live.config().sharing;
    if sharing.share == Share::Off {
        return None;
    }
    let listener = edge::bind(sharing.peer_listen);
    let told = |error: &io::Error| {
        let address = sharing.peer_listen;
        if error.kind() == io::ErrorKind::AddrInUse {
            log::error!(
                "{address} (TCP) is in use, so no peer is served: is apt-p2p running already? Another can be given with \
                 --peer-listen"
            );
        } else {
            log::error!("no peer is served, for {address} (TCP) cannot be used: {error}");
        }
    };
    listener.inspect_err(told).ok()
}

/// Starts the peer edge.
pub(super) fn start(
    live: &Live,
    listener: TcpListener,
    own: LanId,
    (shelf, fetcher, clock): (&Shelf, &Fetcher, &Clock),
) -> Option<PeerEdge> {
    let started = run(live, listener, own, (shelf, fetcher, clock));
    started.inspect_err(|error| log::error!("no peer is served: {error}")).ok()
}

fn run(
    live: &Live,
    listener: TcpListener,
    own: LanId,
    (shelf, fetcher, clock): (&Shelf, &Fetcher, &Clock),
) -> io::Result<PeerEdge> {
    let config = live.config();
    let address = listener.local_addr()?;
    let (rule, rates) = (live.clone(), live.clone());
    let is_neighbour: Arc<dyn Fn(IpAddr) -> bool + Send + Sync> = Arc::new(move |ip| rule.config().is_neighbour(ip));
    let (shelf, fetcher) = (shelf.clone(), fetcher.clone());
    let peer = Peer::new(Parts {
        store: Arc::new(move || shelf.get()),
        growing: Arc::new(move |name| {
            let (stream, asks_mirror) = fetcher.shared_flight(name)?;
            Some(UnderWay { stream, asks_mirror })
        }),
        is_neighbour: Arc::clone(&is_neighbour),
        clock: Arc::clone(clock),
        network: config.sharing.network.clone(),
        secret: config.sharing.secret.as_ref().map(|secret| secret.0.clone()),
        node: own.to_string(),
    });
    let takes_all = config.sharing.share == Share::Internet;
    let admitted = Arc::clone(&is_neighbour);
    let (edge, handle) = Edge::new(EdgeConfig {
        listeners: vec![listener],
        behind: Behind::Here(Arc::new(move |asked: &Asked<'_>| peer.reply(asked))),
        admits: Arc::new(move |ip| takes_all || admitted(ip)),
        recall: None,
        upload: Some(Upload { rate: Arc::new(move || rates.config().upload_rate), is_free: is_neighbour }),
        idle_time: PEER_IDLE_TIME,
        connections_max: PEER_CONNECTIONS,
        per_address_max: PEER_CONNECTIONS_PER_ADDRESS,
    })?;
    let thread = threads::start("peer-edge", move || edge.run())?;
    log::info!("peers are served at {address} (TCP)");
    Ok(PeerEdge { handle, thread })
}

/// A name for this daemon among its neighbours, new at each start.
pub(super) fn lan_id() -> io::Result<LanId> {
    let mut bytes = [0; 20];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(LanId(bytes))
}
