//! How fetching learns of peers: the configuration and the LAN name neighbours, the DHT finds strangers.
//!
//! Owns the translation between the two: a digest becomes a lookup, and what the lookup finds becomes leads. A hint that
//! only says where the piece table lies (an item of BEP 44) becomes a second lookup, for that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, TryRecvError};

use super::live::Live;
use super::udp::{Answers, DhtHandle};
use crate::config::Prefer;
use crate::dht::bencode::Value;
use crate::dht::{Ask, Event, Hint, Network, NodeId};
use crate::digest::{Digest, Midstate};
use crate::fetch::{Finder, Lead, Leads};
use crate::lan::{Neighbour, Neighbours};

/// What finds peers for the fetcher; `landed` hears of what came and may be announced.
pub(super) fn finder(live: &Live, neighbours: Neighbours, dht: Option<DhtHandle>, landed: Sender<Digest>) -> Finder {
    let named = live.clone();
    let config = live.config();
    let node = neighbours.own().0;
    let secret = config.sharing.secret.as_ref().map(|secret| secret.0.clone());
    Finder {
        neighbours: Arc::new(move || joined(&named.config().neighbours, &neighbours.announced())),
        lookup: Arc::new(move |digest| look_up(dht.as_ref()?, digest)),
        wire_name: Arc::new(move |digest| digest.on_the_wire(secret.as_deref()).to_string()),
        prefer: match config.prefer {
            Prefer::Speed => crate::fetch::Prefer::Speed,
            Prefer::Offload => crate::fetch::Prefer::Offload,
        },
        node,
        // Full, or nobody announces: the announcer's next look finds it.
        landed: Arc::new(move |digest| _ = landed.try_send(*digest)),
    }
}

/// Where to ask, each address once: those that the configuration names, then those that announced themselves.
pub(super) fn joined(named: &[SocketAddr], announced: &[Neighbour]) -> Vec<SocketAddr> {
    let mut all = named.to_vec();
    for neighbour in announced {
        if !all.contains(&neighbour.address) {
            all.push(neighbour.address);
        }
    }
    all
}

fn look_up(dht: &DhtHandle, digest: &Digest) -> Option<Leads> {
    let ask = Ask::Peers { key: dht.key(digest), network: Network::Overlay, traced: false };
    let mut search = Search { peers: dht.ask(ask)?, item: None, dht: dht.clone() };
    Some(Box::new(move || search.next()))
}

/// A lookup of a file, and that of its piece table where only its place is known.
struct Search {
    dht: DhtHandle,
    peers: Answers,
    item: Option<Answers>,
}

impl Search {
    fn next(&mut self) -> Result<Lead, TryRecvError> {
        loop {
            if let Some(lead) = self.next_of_item() {
                return Ok(lead);
            }
            match self.peers.next_within(Duration::ZERO) {
                Ok(Event::Peer { peer, .. }) => return Ok(Lead::Peer(peer)),
                Ok(Event::Hint { hint, .. }) => {
                    if let Some(table) = self.take_hint(&hint) {
                        return Ok(Lead::Table(table));
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) if self.item.is_none() => return Err(TryRecvError::Disconnected),
                Err(_) => return Err(TryRecvError::Empty),
            }
        }
    }

    fn take_hint(&mut self, hint: &Hint) -> Option<Vec<Midstate>> {
        if let Ok(target) = hint.bytes().try_into() {
            // Who else names a place of it is most likely right, too: one is looked into.
            if self.item.is_none() {
                self.item = self.dht.ask(Ask::Item { target: NodeId(target), network: Network::Overlay });
            }
            return None;
        }
        midstates(hint.bytes())
    }

    fn next_of_item(&mut self) -> Option<Lead> {
        loop {
            match self.item.as_mut()?.next_within(Duration::ZERO) {
                Ok(Event::Item { item, .. }) => {
                    self.item = None;
                    let table = Value::parse(&item).ok().and_then(Value::bytes).and_then(midstates)?;
                    return Some(Lead::Table(table));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => self.item = None,
            }
        }
    }
}

/// The piece table that these bytes are; whether it is the right one shows when it is used.
fn midstates(bytes: &[u8]) -> Option<Vec<Midstate>> {
    let (table, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && !table.is_empty()).then(|| table.iter().copied().map(Midstate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_whole_midstates() {
        assert_eq!(midstates(&[]), None);
        assert_eq!(midstates(&[1; 33]), None);
        assert_eq!(midstates(&[1; 64]), Some(vec![Midstate([1; 32]); 2]));
    }
}
