//! The two verbs of a connection: what happens to it, and what it wants next.

use std::fs::File;
use std::sync::Arc;

use super::exchange::{Reply, Way};
use super::log::Log;

/// What happens to a connection.
pub(super) enum Input<'a> {
    /// Bytes came from the client.
    Bytes(&'a [u8]),
    /// The client sends no more.
    End,
    /// A worker's reply to the request with this number; `None`: it failed.
    Reply(u64, Option<Reply>),
    /// So many bytes of the last [`Output::Send`] or [`Output::SendFile`] went out.
    Sent(u64),
    /// The file of the last [`Output::SendFile`] ends too early.
    FileCut,
    /// What it could send was held back, by us: it is no slow reader.
    Held,
    /// The tunnel of the last [`Output::Dial`] cannot be had, with what the client is told.
    NoWay(u16, String),
    /// Time passed; also called when nothing else happens, about once a second.
    Tick,
}

/// What a connection wants next.
#[derive(Debug)]
pub(super) enum Output<'a> {
    /// Send these bytes; `more` will follow at once.
    Send { bytes: &'a [u8], more: bool },
    /// Send `len` bytes of a file.
    SendFile { file: Arc<File>, at: u64, len: u64 },
    /// Make a tunnel of it; from its opening on, nothing of this is asked any more, until it has ended.
    Dial(Way),
    /// An exchange ended.
    Log(Log),
    /// The answer was the last: shut down the sending side, and wait for the client's end.
    Shutdown,
    /// Close now.
    Close,
    /// Nothing until something happens.
    Wait,
}
