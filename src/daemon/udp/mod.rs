//! The DHT's thread: UDP sockets on both families, a clock, and the state machine of `dht` between them.
//!
//! Owns sockets, names of bootstrap hosts, saved contacts and dials; refuses to know messages. [`run_dht`] starts it,
//! also without a daemon around it: in tests, examples and benches.
//!
//! ```text
//! other threads ─▶ DhtHandle ─▶ queue, waker ─▶ loop ─▶ Dht::handle
//!                     Answers ◀─ bounded channel ◀─ loop ◀─ Dht::poll ─▶ sockets
//! ```

mod askers;
mod contacts;
mod dials;
mod entrances;
mod event_loop;
mod handle;
mod sockets;
mod walk;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::dht;

pub(super) use self::contacts::read as saved_contacts;
pub use self::handle::{Answers, Datagrams, DhtHandle, DhtReport};
pub use self::walk::CrawlNews;
pub(super) use self::walk::walk;

/// What makes a running DHT.
#[derive(Clone, Debug)]
pub struct DhtOptions {
    /// Its networks. `families` is set to those that there are sockets for.
    pub config: dht::Config,
    /// Where its sockets are: at most one a family. `[::]:PORT` takes IPv4 too, by a socket of its own.
    pub listen: Vec<SocketAddr>,
    /// The file of contacts: read at the start, written now and then and at the end.
    pub contacts: Option<PathBuf>,
    /// Where it joins, `HOST:PORT`; names are looked up by a thread of their own, again while nobody is known.
    pub bootstrap: Vec<String>,
}

impl DhtOptions {
    /// A DHT that knows nobody and keeps nothing.
    #[must_use]
    pub fn new(config: dht::Config, listen: SocketAddr) -> DhtOptions {
        DhtOptions { config, listen: vec![listen], contacts: None, bootstrap: Vec::new() }
    }
}

/// Starts the DHT's thread, named `dht`.
///
/// # Errors
/// When no socket can be made: [`io::ErrorKind::AddrInUse`] before all.
pub fn run_dht(options: DhtOptions) -> io::Result<DhtHandle> {
    event_loop::start(options)
}
