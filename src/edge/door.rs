//! Whom there is no place for: what they are told, and how often the log hears of it.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown};

use mio::net::TcpStream;

use crate::limits::REFUSALS_LOG_TIME;
use crate::time::Time;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 2\r\n\
    Content-Length: 50\r\nConnection: close\r\n\r\napt-p2p: too many connections; try again shortly.\n";

/// Counts those who were turned away.
#[derive(Default)]
pub(super) struct Door {
    /// Since that was last logged, and when.
    refused: (u64, Option<Time>),
}

impl Door {
    /// One line for somebody new. A request that has come already is read: a close over it would take the line away.
    pub(super) fn turn_away(&mut self, stream: &mut TcpStream, buffer: &mut [u8], peer: IpAddr, now: Time) {
        self.refused.0 += 1;
        if self.refused.1.is_none_or(|told| now.since(told) >= REFUSALS_LOG_TIME) {
            log::warn!("refused {} connections, the last from {peer}: too many at once", self.refused.0);
            self.refused = (0, Some(now));
        }
        stream.write_all(FULL).ok();
        stream.shutdown(Shutdown::Write).ok();
        let _read = stream.read(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_counts_its_own_bytes() {
        let text = std::str::from_utf8(FULL).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
