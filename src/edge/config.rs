//! What an edge is made of: its sockets, who answers, and how much may be sent.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Reply, Slots};
use super::head::Request;

/// What an edge is made of.
pub struct EdgeConfig {
    /// Where clients connect.
    pub listeners: Vec<std::net::TcpListener>,
    /// Who answers.
    pub behind: Behind,
    /// From which addresses connections are taken; others are closed at once.
    pub admits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// What lets it give a worker's answer again by itself; none: each request is asked.
    pub recall: Option<Recall>,
    /// How much strangers get; none: there are no strangers.
    pub upload: Option<Upload>,
    /// A connection without a request is closed after this.
    pub idle_time: Duration,
    /// Connections at once; fewer where the system allows fewer descriptors.
    pub connections_max: usize,
    /// Of these, from one address.
    pub per_address_max: usize,
}

/// Who answers the requests.
pub enum Behind {
    /// Workers, who may wait for the disk.
    Workers {
        /// Their private socket.
        socket: PathBuf,
        /// How many there are.
        count: usize,
        /// Shared with them.
        slots: Slots,
    },
    /// A function on the edge's own thread.
    Here(Arc<Answerer>),
}

/// Answers a request at once: its work must be bounded.
pub type Answerer = dyn Fn(&Asked<'_>) -> Reply + Send + Sync;

/// A request to an [`Answerer`].
#[derive(Debug)]
pub struct Asked<'a> {
    /// The request.
    pub request: &'a Request,
    /// Who asks.
    pub peer: IpAddr,
    /// Of a hundred places for those who share the upload, how many are taken.
    pub busy: u8,
    /// Whether this one would be one too many.
    pub is_over: bool,
}

/// What must hold when an answer is given again.
pub struct Recall {
    /// The version of what answers are made from, with which it must be the same still; none: nothing is kept. It is asked
    /// for each answer: it must be quick.
    pub version: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Which clients are served.
    pub allows: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// What may be sent, and by whom it is shared.
pub struct Upload {
    /// Bytes a second, or none: as many as go. It is asked for once a second, since it may change.
    pub rate: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Who may have all there is.
    pub is_free: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}
