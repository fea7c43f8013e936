//! What others may have of us: the peer face, on a port and an event loop of its own.
//!
//! Owns the meaning of a peer's request (`answer`, pure) and the way from it to the store. Runs on the peer edge's thread:
//! each request costs a read or two of the index and an open file, nothing that waits. Refuses everything but the files
//! of [`Store::open_shared`], their piece tables, and a word on itself: nothing here reaches the LAN face, or makes this
//! machine fetch anything.

mod answer;
mod names;

use std::net::IpAddr;
use std::sync::Arc;

use self::answer::{Found, Route, route};
use self::names::Names;
use crate::digest::Digest;
use crate::edge::{Answer, Asked, Body, Conditions, Reply};
use crate::store::{self, Store, StoreError};
use crate::stream::{Outcome, Stream};
use crate::time::Time;

/// A file that is being fetched here.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// Where its bytes appear.
    pub stream: Arc<Stream>,
    /// Whether the mirror was asked for it, or somebody else is still waited for.
    pub asks_mirror: bool,
}

/// Finds the flight that brings a file, by its name on the wire: the store does not know it yet.
pub type Growing = Arc<dyn Fn(&Digest) -> Option<UnderWay> + Send + Sync>;

/// What the daemon hands to the peer face.
pub struct Parts {
    /// The store, once its disk is there.
    pub store: Arc<dyn Fn() -> Option<Store> + Send + Sync>,
    /// What is being fetched right now and may be shared: this file's flight.
    pub growing: Growing,
    /// Who is a neighbour, and no stranger.
    pub is_neighbour: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Time + Send + Sync>,
    /// The network's name.
    pub network: String,
    /// The network's secret.
    pub secret: Option<Vec<u8>>,
    /// What this node calls itself: 40 hexadecimal digits.
    pub node: String,
}

/// The peer face.
pub struct Peer {
    parts: Parts,
    names: Names,
}

impl Peer {
    /// The face, without its edge.
    #[must_use]
    pub fn new(parts: Parts) -> Peer {
        let names = Names::new(parts.secret.clone());
        Peer { parts, names }
    }

    /// Answers one request.
    #[must_use]
    pub fn reply(&self, asked: &Asked<'_>) -> Reply {
        let range = asked.request.lines.iter().find(|(name, _)| *name == "Range").map(|(_, value)| value.clone());
        let conditions = Conditions { range, ..Conditions::default() };
        let answer = match route(&asked.request.method, &asked.request.target) {
            Route::Status => answer::status(&self.parts.network, &self.parts.node, asked.busy),
            Route::Nothing => answer::nothing(),
            Route::Nonsense => answer::nonsense(),
            Route::File(_) | Route::Pieces(_) if asked.is_over => answer::busy(),
            Route::File(name) => match self.file(&name, asked.peer) {
                Ok(found) => return read_ahead(answer::file(found, &conditions)),
                Err(error) => answer::failed(&error.to_string()),
            },
            Route::Pieces(name) => match self.pieces(&name) {
                Ok(Some(table)) => answer::pieces(table),
                Ok(None) => answer::not_here(),
                Err(error) => answer::failed(&error.to_string()),
            },
        };
        Reply::Now(answer)
    }

    fn file(&self, name: &Digest, peer: IpAddr) -> Result<Found, StoreError> {
        let Some(store) = (self.parts.store)() else { return Ok(Found::NotHere) };
        if let Some(digest) = self.digest(&store, name)?
            && let Some(stored) = store.open_shared(&digest)?
        {
            let table = answer::raw_table(&store.piece_table(&digest)?.unwrap_or_default());
            return Ok(Found::Here { file: stored.file, len: stored.len, table });
        }
        if !(self.parts.is_neighbour)(peer) {
            return Ok(Found::NotHere);
        }
        let Some(UnderWay { stream, asks_mirror }) = (self.parts.growing)(name) else {
            return Ok(Found::NotHere);
        };
        let node = self.parts.node.clone();
        Ok(match stream.outcome() {
            Some(Outcome::Growing(head)) => Found::Growing { stream, len: head.len, node },
            None => Found::Coming { node, asks_mirror },
            Some(_) => Found::NotHere,
        })
    }

    fn pieces(&self, name: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(store) = (self.parts.store)() else { return Ok(None) };
        let Some(digest) = self.digest(&store, name)? else { return Ok(None) };
        if store.open_shared(&digest)?.is_none() {
            return Ok(None);
        }
        let table = answer::raw_table(&store.piece_table(&digest)?.unwrap_or_default());
        Ok(Some(table).filter(|table| !table.is_empty()))
    }

    /// The file that a name on the wire stands for.
    fn digest(&self, store: &Store, name: &Digest) -> Result<Option<Digest>, StoreError> {
        self.names.digest(store, name, (self.parts.clock)())
    }
}

/// The same answer, its file on the way from the disk.
fn read_ahead(reply: Reply) -> Reply {
    if let Reply::Now(Answer { body: Body::File { file, start, len }, .. }) = &reply {
        store::read_ahead(file, *start, *len);
    }
    reply
}
