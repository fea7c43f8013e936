//! What the nodes of one process share: randomness, the guard, the allowance for queries of our own, and the way out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::guard::{Bucket, Guard};
use super::message::Message;
use super::rng::Rng;
use super::{AskId, Event, Family};
use crate::limits::{OWN_BURST, OWN_KEPT, OWN_RATE, REPLIES};
use crate::time::Time;

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) message: Message,
    /// Of a reply: how long the query was.
    pub(super) answers: Option<usize>,
}

/// For whom something was done, and with what result.
pub(super) enum Settled {
    /// A lookup of this ask ended in one of the nodes.
    Ask(AskId, Ended),
    /// One of our own files was announced to so many nodes.
    Announced(super::id::NodeId, usize),
    /// Of this ask: whether the nodes of a family have reached us.
    Dialled(AskId, Family, bool),
}

/// How an ask's lookup ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) queries: usize,
    pub(super) answers: usize,
    /// Nodes that keep what was announced or put.
    pub(super) stored: usize,
}

pub(super) struct Common {
    pub(super) rng: Rng,
    pub(super) guard: Guard,
    own: Bucket,
    pub(super) out: VecDeque<Outgoing>,
    replies: usize,
    pub(super) events: VecDeque<Event>,
    pub(super) settled: Vec<Settled>,
    /// Queries sent for lookups that somebody waits for, and for upkeep.
    pub(super) sent: [u64; 2],
    pub(super) replied: u64,
    /// Our address on the overlay is another: what others recorded of us leads nowhere.
    pub(super) has_moved: bool,
    /// Whether the allowance was too small for something since the last input.
    pub(super) is_held: bool,
}

impl Common {
    pub(super) fn new(seed: [u8; 32], now: Time) -> Common {
        Common {
            rng: Rng::new(seed),
            guard: Guard::new(now),
            own: Bucket::full(OWN_BURST, now),
            out: VecDeque::new(),
            replies: 0,
            events: VecDeque::new(),
            settled: Vec::new(),
            sent: [0; 2],
            replied: 0,
            has_moved: false,
            is_held: false,
        }
    }

    /// Takes the right to send one query; upkeep leaves a reserve to those that somebody waits for.
    pub(super) fn may_ask(&mut self, is_urgent: bool, now: Time) -> bool {
        let level = self.own.fill(OWN_RATE, OWN_BURST, now);
        let may = (is_urgent || level > OWN_KEPT) && self.own.take(1);
        self.is_held |= !may;
        self.sent[usize::from(!is_urgent)] += u64::from(may);
        may
    }

    /// The same for what ends a lookup: if it may not go out, the lookup was in vain, so it takes from the reserve.
    pub(super) fn may_store(&mut self, is_urgent: bool, now: Time) -> bool {
        self.own.fill(OWN_RATE, OWN_BURST, now);
        let may = self.own.take(1);
        self.sent[usize::from(!is_urgent)] += u64::from(may);
        may
    }

    /// Whether upkeep may begin something.
    pub(super) fn has_spare(&mut self, now: Time) -> bool {
        self.own.fill(OWN_RATE, OWN_BURST, now) > OWN_KEPT
    }

    pub(super) fn send(&mut self, to: SocketAddr, message: Message) {
        self.out.push_back(Outgoing { to, message, answers: None });
    }

    /// Queues a reply; when too many wait, it is dropped.
    pub(super) fn reply(&mut self, to: SocketAddr, message: Message, query_len: usize) {
        if self.replies < REPLIES {
            self.replies += 1;
            self.out.push_back(Outgoing { to, message, answers: Some(query_len) });
        }
    }

    /// Encodes the next message into `buffer`; where it goes. A reply that would be more than its query may bring is
    /// made smaller, or not sent.
    pub(super) fn next_datagram(&mut self, now: Time, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        while let Some(Outgoing { to, mut message, answers }) = self.out.pop_front() {
            buffer.clear();
            message.write(buffer);
            let Some(query_len) = answers else {
                if buffer.len() <= crate::limits::DATAGRAM_LEN {
                    return Some(to);
                }
                // By a network's name that is very long: nobody could be asked so.
                continue;
            };
            self.replies -= 1;
            loop {
                let fits = buffer.len() <= crate::limits::DATAGRAM_LEN;
                if fits && self.guard.may_reply(to, buffer.len(), query_len, now) {
                    self.replied += 1;
                    return Some(to);
                }
                if !message.shrink(fits) {
                    break;
                }
                buffer.clear();
                message.write(buffer);
            }
        }
        None
    }
}
