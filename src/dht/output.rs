//! What a DHT wants done, and what it found.

use std::net::SocketAddr;

use super::contact::{Contact, Family};
use super::input::AskId;
#[cfg(doc)]
use super::input::Input;
use super::message::Hint;
use crate::time::Time;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer that has it.
    Peer {
        /// Of this ask.
        ask: AskId,
        /// Its TCP address.
        peer: SocketAddr,
    },
    /// What a node was told of its pieces. A hint, not a fact.
    Hint {
        /// Of this ask.
        ask: AskId,
        /// The hint.
        hint: Hint,
    },
    /// The item; nothing more follows.
    Item {
        /// Of this ask.
        ask: AskId,
        /// It, bencoded; its hash was checked.
        item: Vec<u8>,
    },
    /// A lookup went on.
    Hop {
        /// Of this ask.
        ask: AskId,
        /// What happened.
        hop: Hop,
    },
    /// It is over: there will be no more of it.
    Done {
        /// This ask.
        ask: AskId,
        /// How it went.
        summary: Summary,
    },
    /// Whether we could be dialled.
    Dialled {
        /// Of this ask.
        ask: AskId,
        /// Whether a node reached us by TCP.
        reached: bool,
    },
    /// Somebody wants to be dialled: connect to `target`, and say by [`super::Input::Dialled`] how it went.
    Dial {
        /// Where to connect to.
        target: SocketAddr,
        /// Who asked.
        from: SocketAddr,
        /// His transaction.
        tx: Vec<u8>,
        /// How long his query was.
        len: usize,
    },
    /// Our own address in this family is this one now.
    Address {
        /// The family.
        family: Family,
        /// The address.
        address: SocketAddr,
    },
    /// A node of the overlay was found on mainline.
    Overlay {
        /// Its UDP address.
        peer: SocketAddr,
    },
}

/// One step of a lookup that is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A query went out.
    Asked {
        /// To whom.
        contact: Contact,
        /// How many answers led to it.
        hop: u8,
    },
    /// An answer came.
    Answered {
        /// From whom.
        contact: Contact,
        /// After so many milliseconds.
        ms: u64,
        /// With so many peers.
        peers: usize,
    },
    /// It is late, and others are asked.
    Stalled {
        /// Who.
        address: SocketAddr,
    },
    /// It did not answer.
    Lost {
        /// Who.
        address: SocketAddr,
    },
}

/// How an ask went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Queries sent, apart from those that store.
    pub queries: usize,
    /// Answers that came in time.
    pub answers: usize,
    /// Nodes that keep what was announced or put.
    pub stored: usize,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the datagram that stands in the buffer.
    Send {
        /// Where to.
        to: SocketAddr,
    },
    /// Tell whoever it concerns.
    Event(Event),
    /// Nothing more to do before this.
    WakeAt(Time),
}
