//! One request to a peer: a range of a file, or its piece table (docs/PROTOCOL.md, "Between peers: HTTP").
//!
//! Trusts nothing: a peer is dialled at its literal address, every phase is bounded, and what is not exactly the range
//! that was asked for is no answer. Refuses redirects and proxies.

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, BodyReader};

use super::plan::{End, Fetching, NodeName};
use crate::digest::{Digest, PieceTable, pieces};
use crate::limits::{
    PEER_CONNECT_TIME, PEER_HEAD_LEN, PEER_HEAD_TIME, PEER_IDLE, PEER_PAUSE_MAX, PEER_READ_LEN, PEER_STALL_TIME,
    TABLE_LEN_MAX,
};

/// A pause where a peer names none.
const PAUSE: Duration = Duration::from_secs(5);

/// Peers are named by their addresses.
#[derive(Debug)]
struct Literal;

impl Resolver for Literal {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let address = uri.authority().and_then(|authority| authority.as_str().parse::<SocketAddr>().ok());
        let mut all = self.empty();
        all.push(address.ok_or(ureq::Error::HostNotFound)?);
        Ok(all)
    }
}

/// The door to all peers; shared by the peer threads.
#[derive(Debug)]
pub(super) struct Peers(Agent);

/// A range that a peer sends: never more bytes than were asked for.
pub(super) struct Sent {
    /// The table that it stands for.
    pub(super) vouches: Option<Digest>,
    body: BodyReader<'static>,
    left: u64,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to come under {:?}", self.left, self.vouches)
    }
}

impl Sent {
    /// Reads what is there, at least a byte; an end before the range's own is a cut.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, End> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let read = self.body.read(&mut into[..most]).map_err(|error| end_of_io(&error))?;
        if read == 0 {
            return Err(End::Cut);
        }
        self.left -= read as u64;
        if self.left == 0 {
            // Reads the framing's end, so that the connection can be kept.
            self.body.read(&mut [0; 1]).map_err(|error| end_of_io(&error))?;
        }
        Ok(read)
    }
}

impl Peers {
    pub(super) fn new() -> Peers {
        let config = super::agent::config()
            .timeout_connect(Some(PEER_CONNECT_TIME))
            .timeout_send_request(Some(PEER_HEAD_TIME))
            .timeout_recv_response(Some(PEER_HEAD_TIME))
            .timeout_per_read(Some(PEER_STALL_TIME))
            .max_response_header_size(PEER_HEAD_LEN)
            .input_buffer_size(PEER_READ_LEN)
            .output_buffer_size(1024)
            .max_idle_connections(PEER_IDLE)
            .max_idle_connections_per_host(2)
            .build();
        Peers(Agent::with_parts(config, DefaultConnector::default(), Literal))
    }

    /// Asks for bytes of the file that is called `name` between peers and is `len` bytes long, from one that has all of it.
    pub(super) fn ask(&self, peer: SocketAddr, name: &str, range: &Range<u64>, len: u64) -> Result<Sent, End> {
        let (sent, node) = self.request(peer, name, range, len)?;
        if sent.vouches.is_none() && (pieces(len) > 1 || node.is_some()) {
            // It has nothing to stand for yet, and may wait long for the rest.
            return Err(End::Fetching(Fetching { node, asks_mirror: true, grows: true }));
        }
        Ok(sent)
    }

    /// Asks for all of a file from a neighbour that fetches it itself.
    pub(super) fn follow(&self, peer: SocketAddr, name: &str, len: u64) -> Result<Sent, End> {
        let (sent, _) = self.request(peer, name, &(0..len), len)?;
        match sent.vouches {
            // It has it by now.
            Some(_) => Err(End::Stopped),
            None => Ok(sent),
        }
    }

    fn request(
        &self,
        peer: SocketAddr,
        name: &str,
        range: &Range<u64>,
        len: u64,
    ) -> Result<(Sent, Option<NodeName>), End> {
        let last = range.end - 1;
        let lines = [(header::RANGE, format!("bytes={}-{last}", range.start))];
        let response = self.get(&format!("http://{peer}/~/{name}"), &lines)?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        let count = range.end - range.start;
        let is_exact = text(headers, header::CONTENT_LENGTH.as_str()) == Some(&count.to_string())
            && match status {
                206 => {
                    let expected = format!("bytes {}-{last}/{len}", range.start);
                    text(headers, header::CONTENT_RANGE.as_str()) == Some(&expected)
                }
                200 => count == len,
                _ => false,
            };
        let is_coded =
            [header::TRANSFER_ENCODING, header::CONTENT_ENCODING].iter().any(|name| headers.contains_key(name));
        if !is_exact || is_coded {
            return Err(end_of_status(status, headers));
        }
        let vouches = match text(headers, "piece-table").map(str::parse::<Digest>) {
            Some(Err(_)) => return Err(End::Unusable),
            Some(Ok(hash)) => Some(hash),
            None => None,
        };
        let node = node_name(headers);
        let vouches = vouches.filter(|_| pieces(len) > 1);
        Ok((Sent { vouches, body: response.into_body().into_reader(), left: count }, node))
    }

    /// Asks for the file's piece table; whenever bytes of it come, `goes_on` says whether it is still wanted.
    pub(super) fn table(
        &self,
        peer: SocketAddr,
        name: &str,
        len: u64,
        goes_on: impl Fn() -> Result<(), End>,
    ) -> Result<PieceTable, End> {
        let table_len = 32 * (pieces(len) - 1);
        if table_len > TABLE_LEN_MAX {
            return Err(End::NotHere);
        }
        let response = self.get(&format!("http://{peer}/~/{name}/pieces"), &[])?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        if status != 200 || text(headers, header::CONTENT_LENGTH.as_str()) != Some(&table_len.to_string()) {
            return Err(end_of_status(status, headers));
        }
        let mut sent = Sent { vouches: None, body: response.into_body().into_reader(), left: table_len as u64 };
        let (mut bytes, mut filled) = (vec![0; table_len], 0);
        while filled < table_len {
            filled += sent.read(&mut bytes[filled..])?;
            goes_on()?;
        }
        PieceTable::parse(&bytes, len).ok_or(End::Unusable)
    }

    fn get(&self, url: &str, lines: &[(header::HeaderName, String)]) -> Result<Response<Body>, End> {
        let call = || {
            let request = lines.iter().fold(self.0.get(url), |request, (name, value)| request.header(name, value));
            request.call()
        };
        match call() {
            // A connection kept from before may have been closed by the peer at this very moment.
            Err(ureq::Error::Io(error)) if error.kind() != io::ErrorKind::ConnectionRefused => call(),
            other => other,
        }
        .map_err(|error| match error {
            ureq::Error::Timeout(_) => End::Silent,
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => End::Cut,
            _ => End::Unusable,
        })
    }
}

/// What an answer means that is not the range.
fn end_of_status(status: u16, headers: &HeaderMap) -> End {
    let named =
        text(headers, header::RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    match status {
        202 => End::Fetching(Fetching {
            node: node_name(headers),
            asks_mirror: text(headers, "asks-mirror") == Some("yes"),
            grows: false,
        }),
        404 | 410 => End::NotHere,
        429 | 503 => End::Later { pause: named.unwrap_or(PAUSE).min(PEER_PAUSE_MAX), is_busy: true },
        _ => End::Unusable,
    }
}

/// What a neighbour calls itself.
fn node_name(headers: &HeaderMap) -> Option<NodeName> {
    let hex = text(headers, "node")?.as_bytes();
    let mut name = [0; 20];
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    if pairs.len() != name.len() {
        return None;
    }
    for (byte, pair) in name.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(name)
}

fn end_of_io(error: &io::Error) -> End {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => End::Silent,
        _ if error.kind() == io::ErrorKind::TimedOut => End::Silent,
        _ => End::Cut,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
