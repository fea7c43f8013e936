//! What a DHT is told, and what is asked of it.

use std::net::SocketAddr;

use super::contact::Family;
use super::id::NodeId;
use super::message::Hint;
#[cfg(doc)]
use super::output::Event;

/// What is asked of the DHT, chosen by the asker; events name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// Which of the two networks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Network {
    /// That of apt-p2p's nodes.
    Overlay,
    /// BitTorrent's.
    Mainline,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Somebody asks for something.
    Ask {
        /// The asker's number for it.
        ask: AskId,
        /// What.
        what: Ask,
    },
    /// Nobody waits for this any more.
    Cancel(AskId),
    /// Somewhere to join; asked on both networks.
    Entrance(SocketAddr),
    /// A node from an earlier run, or that somebody else knows.
    Known(Network, SocketAddr),
    /// Announce this key from now on.
    Announce {
        /// The file's key.
        key: NodeId,
        /// Its piece table, or where it is.
        hint: Option<Hint>,
    },
    /// Announce it no longer.
    Withdraw(NodeId),
    /// Others are to reach us at this TCP port from now on. All that is announced is withdrawn: nobody is to be sent to a port
    /// that was not dialled yet.
    Port(u16),
    /// A dial that was asked for by [`Event::Dial`](super::Event::Dial) ended.
    Dialled {
        /// As the event said.
        from: SocketAddr,
        /// As the event said.
        tx: Vec<u8>,
        /// As the event said.
        len: usize,
        /// Whether the connection came about.
        reached: bool,
    },
    /// The network may be another in this family: the machine slept, or moved. What others said of our address is
    /// forgotten, nobody counts as silent, and it joins as at the start.
    Rejoin(Family),
    /// Time passed.
    Tick,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Who has the file with this key? Answered by [`Event::Peer`](super::Event::Peer),
    /// [`Event::Hint`](super::Event::Hint) and [`Event::Done`](super::Event::Done).
    Peers {
        /// The key.
        key: NodeId,
        /// On which network.
        network: Network,
        /// Whether each hop is told by [`Event::Hop`](super::Event::Hop).
        traced: bool,
    },
    /// Tell the nodes near this key that we have it, once, now.
    Announce {
        /// The key.
        key: NodeId,
        /// On which network.
        network: Network,
        /// The piece table, or where it is.
        hint: Option<Hint>,
    },
    /// Which item lies there? Answered by [`Event::Item`](super::Event::Item) and [`Event::Done`](super::Event::Done).
    Item {
        /// Its hash.
        target: NodeId,
        /// On which network.
        network: Network,
    },
    /// Put an item.
    Put {
        /// It, bencoded.
        item: Vec<u8>,
        /// On which network.
        network: Network,
    },
    /// Which nodes are close to this place?
    Nodes {
        /// The place.
        target: NodeId,
        /// On which network.
        network: Network,
        /// Whether each hop is told.
        traced: bool,
    },
    /// Can I be reached by TCP, in any family? Answered by [`Event::Dialled`](super::Event::Dialled), or by
    /// [`Event::Done`](super::Event::Done) where nobody is known who could dial. What is announced is announced in a family in
    /// which it was so.
    Dial {
        /// The port.
        port: u16,
    },
}
