//! How fetching learns of peers: what the daemon hands over, and what a lookup brings.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::TryRecvError;

use super::plan::{NodeName, Prefer};
use super::swarm::Swarms;
use crate::digest::{Digest, Midstate};

/// Somebody or something that may help with a file.
#[derive(Debug, Clone)]
pub enum Lead {
    /// This peer may have it.
    Peer(SocketAddr),
    /// Its midstates, as somebody says.
    Table(Vec<Midstate>),
}

/// What a lookup has found, one lead at a time and without waiting: `Empty` while it goes on, `Disconnected` when it is over.
pub type Leads = Box<dyn FnMut() -> Result<Lead, TryRecvError> + Send>;

/// Begins a lookup, without waiting; dropping its leads ends it. `None`: nobody.
pub type Lookup = Arc<dyn Fn(&Digest) -> Option<Leads> + Send + Sync>;

/// How fetching learns of peers.
#[derive(Clone)]
pub struct Finder {
    /// The peers on this LAN.
    pub neighbours: Arc<dyn Fn() -> Vec<SocketAddr> + Send + Sync>,
    /// Looks for peers that have a file.
    pub lookup: Lookup,
    /// What the file is called between peers.
    pub wire_name: Arc<dyn Fn(&Digest) -> String + Send + Sync>,
    /// What is to be spared.
    pub prefer: Prefer,
    /// What this daemon is called among its neighbours.
    pub node: NodeName,
    /// Hears of each file that came and that others may have.
    pub landed: Arc<dyn Fn(&Digest) + Send + Sync>,
}

impl Swarms {
    /// The file under way that is called so between peers.
    pub(super) fn named(&self, name: &Digest) -> Option<Digest> {
        let (name, hub) = (name.to_string(), self.lock());
        hub.members.values().find(|member| member.shared.name == name).map(|member| member.shared.target.digest)
    }
}
