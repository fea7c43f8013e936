//! What makes a DHT: its networks, and what is known of this machine.

use super::address::Reach;
use super::contact::Family;

/// Whether the public BitTorrent DHT is used, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mainline {
    /// Asked and announced to, for the rendezvous alone; never answering.
    Ask,
    /// Answering too.
    Serve,
    /// Not at all.
    Off,
}

/// What makes a DHT.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where randomness comes from.
    pub seed: [u8; 32],
    /// The overlay's name.
    pub network: String,
    /// What keeps a private overlay's keys from others.
    pub secret: Option<Vec<u8>>,
    /// How mainline is used.
    pub mainline: Mainline,
    /// The families that there are sockets for.
    pub families: Vec<Family>,
    /// Whether private addresses are as good as public ones on the overlay.
    pub is_private: bool,
    /// Whether they are on mainline, which is full of strangers.
    pub is_mainline_private: bool,
    /// Whether strangers reach us, if that is known and need not be measured.
    pub reach: Option<Reach>,
    /// The TCP port that is announced; none: the one that our datagrams come from.
    pub port: Option<u16>,
    /// Bytes of our transaction ids: 4, or 2 for partners that can do no other.
    pub tx_len: usize,
}

impl Config {
    /// The usual: the public overlay, found by mainline, over IPv4 and IPv6.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Config {
        Config {
            seed,
            network: "apt-p2p".into(),
            secret: None,
            mainline: Mainline::Ask,
            families: vec![Family::V4, Family::V6],
            is_private: false,
            is_mainline_private: false,
            reach: None,
            port: None,
            tx_len: 4,
        }
    }
}
