//! What a DHT knows of itself, for people and for tests.

use std::net::SocketAddr;

use super::address::Reach;
use super::contact::Family;
use super::id::NodeId;
use super::input::Network;

/// What a node knows of itself, for people.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its network.
    pub network: Network,
    /// Its family.
    pub family: Family,
    /// Its id.
    pub id: NodeId,
    /// Its address, as others see it.
    pub address: Option<SocketAddr>,
    /// Whether strangers reach it.
    pub reach: Reach,
    /// Contacts in its routing table.
    pub contacts: usize,
    /// Records of others, and the keys that they are under.
    pub records: usize,
    /// See `records`.
    pub keys: usize,
    /// Items of others.
    pub items: usize,
    /// Queries in flight.
    pub calls: usize,
    /// Lookups under way.
    pub lookups: usize,
    /// How long an answer is waited for before others are asked, in milliseconds.
    pub stall_ms: u64,
}

/// What all nodes of a process have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Queries sent for lookups that somebody waited for.
    pub asked: u64,
    /// Queries sent for upkeep and announcements.
    pub upkeep: u64,
    /// Replies sent.
    pub replied: u64,
    /// Queries refused for their number.
    pub refused: u64,
    /// Files that we announce.
    pub own: usize,
    /// Of these, those that others can find now.
    pub announced: usize,
}
