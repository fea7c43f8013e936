//! What a node answers to others: BEP 5's, BEP 44's and our own queries.

use std::net::SocketAddr;

use super::Event;
use super::common::Common;
use super::contact::{Contact, Family, is_sendable};
use super::id::NodeId;
use super::message::{Body, Hint, Message, Query, Reply, Want, item_target};
use super::node::{Node, Purpose};
use crate::limits::{CLOSEST, ITEM_LEN, PING_LEN, VALUES};
use crate::time::Time;

/// A refusal (BEP 5 and BEP 44, "Errors").
type Refusal = (i64, &'static str);

const BAD_TOKEN: Refusal = (203, "bad token");

/// A query that arrived.
pub(super) struct Asked {
    pub(super) from: SocketAddr,
    /// The length of its datagram.
    pub(super) len: usize,
    /// Its transaction.
    pub(super) tx: Vec<u8>,
    /// Whether its sender answers nobody.
    pub(super) read_only: bool,
    pub(super) id: NodeId,
    /// The closest nodes that the sibling in the other family knows, where they are wanted.
    pub(super) siblings: Vec<Contact>,
}

impl Node {
    /// Answers a query, and meets its sender.
    pub(super) fn answer(&mut self, asked: Asked, query: Query, now: Time, common: &mut Common) {
        let (from, len) = (asked.from, asked.len);
        self.note_stranger(from, now, common);
        if self.is_read_only() {
            return;
        }
        let sender = Contact { id: asked.id, address: from };
        if !asked.read_only {
            self.meet(sender, now, common);
        }
        let body = match self.reply_to(&asked, query, now, common) {
            Some(Ok(reply)) => Body::Reply(Box::new(reply)),
            Some(Err((code, text))) => Body::Error { code, text: text.into() },
            None => return,
        };
        let message =
            Message { tx: asked.tx, network: self.seat.network.clone(), seen_as: Some(from), read_only: false, body };
        common.reply(from, message, len);
    }

    /// The reply; none now if it comes later.
    fn reply_to(
        &mut self,
        asked: &Asked,
        query: Query,
        now: Time,
        common: &mut Common,
    ) -> Option<Result<Reply, Refusal>> {
        let from = asked.from;
        let reply = Reply::from(self.id);
        Some(match query {
            Query::Ping => Ok(reply),
            Query::FindNode { target, want } => Ok(self.with_nodes(reply, &target, want, asked)),
            Query::Unknown { target: Some(target) } => Ok(self.with_nodes(reply, &target, Want::default(), asked)),
            Query::Unknown { target: None } => Err((204, "unknown method")),
            Query::GetPeers { key, want } => {
                let (values, hints) = self.records.peers(&key, VALUES, now, &mut common.rng);
                let hints = if self.seat.network.is_some() { hints } else { Vec::new() };
                let reply = Reply { values, hints, token: Some(self.tokens.make(from.ip())), ..reply };
                Ok(self.with_nodes(reply, &key, want, asked))
            }
            Query::Get { target, want } => {
                let item = self.items.item(&target, now).map(<[u8]>::to_vec);
                let reply = Reply { item, token: Some(self.tokens.make(from.ip())), ..reply };
                Ok(self.with_nodes(reply, &target, want, asked))
            }
            Query::AnnouncePeer { key, port, token, hint } => {
                self.keep_peer(from, key, port, &token, hint, now, common).map(|()| reply)
            }
            Query::Put { token, item, is_mutable } => {
                self.keep_item(from, &token, &item, is_mutable, now, common).map(|()| reply)
            }
            Query::Dial { port, token } => return self.take_dial(asked, port, &token, now, common).err().map(Err),
        })
    }

    fn with_nodes(&self, reply: Reply, target: &NodeId, want: Want, asked: &Asked) -> Reply {
        let mut nodes = Vec::new();
        if want == Want::default() || want.includes(self.seat.family) {
            // Nobody needs to be told of himself.
            nodes = self.table.closest(target, CLOSEST + 1);
            nodes.retain(|contact| contact.address != asked.from);
            nodes.truncate(CLOSEST);
        }
        match self.seat.family {
            Family::V4 => Reply { nodes, nodes6: asked.siblings.clone(), ..reply },
            Family::V6 => Reply { nodes: asked.siblings.clone(), nodes6: nodes, ..reply },
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what an announcement says, and what the node is told with each input"
    )]
    fn keep_peer(
        &mut self,
        from: SocketAddr,
        key: NodeId,
        port: Option<u16>,
        token: &[u8],
        hint: Option<Hint>,
        now: Time,
        common: &mut Common,
    ) -> Result<(), Refusal> {
        self.check_token(from, token, now, common)?;
        let peer = SocketAddr::new(from.ip(), port.unwrap_or(from.port()));
        if !self.is_sendable(SocketAddr::new(from.ip(), 1024)) {
            return Err((203, "not an address that others reach"));
        }
        let is_public = is_sendable(SocketAddr::new(from.ip(), 1024), false);
        if is_public && peer.port() < 1024 {
            return Err((203, "port below 1024"));
        }
        let hint = hint.filter(|_| self.seat.network.is_some());
        self.records.put(key, peer, hint, now);
        Ok(())
    }

    fn keep_item(
        &mut self,
        from: SocketAddr,
        token: &[u8],
        item: &[u8],
        is_mutable: bool,
        now: Time,
        common: &mut Common,
    ) -> Result<(), Refusal> {
        if is_mutable {
            return Err((204, "only immutable items are kept"));
        }
        if item.len() > ITEM_LEN {
            return Err((205, "item too big"));
        }
        self.check_token(from, token, now, common)?;
        self.items.put(item_target(item), item, from.ip(), now);
        Ok(())
    }

    /// Somebody wants to know whether he can be reached by TCP: only his own address is dialled, and only after he has
    /// shown that he receives there.
    fn take_dial(
        &mut self,
        asked: &Asked,
        port: u16,
        token: &[u8],
        now: Time,
        common: &mut Common,
    ) -> Result<(), Refusal> {
        let from = asked.from;
        if self.seat.network.is_none() {
            return Err((204, "unknown method"));
        }
        self.check_token(from, token, now, common)?;
        let target = SocketAddr::new(from.ip(), port);
        if !self.is_sendable(target) {
            return Err((203, "not an address to dial"));
        }
        common.events.push_back(Event::Dial { target, from, tx: asked.tx.clone(), len: asked.len });
        Ok(())
    }

    /// A dial ended: the reply that was owed.
    pub(super) fn dialled(&self, from: SocketAddr, tx: Vec<u8>, len: usize, reached: bool, common: &mut Common) {
        let reply = Reply { dialled: Some(reached), ..Reply::from(self.id) };
        let message = Message {
            tx,
            network: self.seat.network.clone(),
            seen_as: Some(from),
            read_only: false,
            body: Body::Reply(Box::new(reply)),
        };
        common.reply(from, message, len);
    }

    fn check_token(&self, from: SocketAddr, token: &[u8], now: Time, common: &mut Common) -> Result<(), Refusal> {
        if !self.tokens.is_ours(token, from.ip()) {
            return Err(BAD_TOKEN);
        }
        common.guard.verify(from, now);
        Ok(())
    }

    /// Who asks without having been asked shows that strangers reach us. A neighbour is none: no router stands before him.
    fn note_stranger(&mut self, from: SocketAddr, now: Time, common: &mut Common) {
        if !self.is_sendable(SocketAddr::new(from.ip(), 1024)) {
            return;
        }
        let is_known = if self.seat.is_private {
            // Machines of a private network may share an address.
            common.guard.is_verified(from, now) || self.is_asking(|to| to == from)
        } else {
            let ip = from.ip();
            common.guard.knows(ip, now) || self.quarantine.knows(ip) || self.is_asking(|to| to.ip() == ip)
        };
        if !is_known {
            self.address.note_reached(now);
        }
    }

    /// A node that asks may be a contact: it is asked back, for its address may be forged.
    fn meet(&mut self, sender: Contact, now: Time, common: &mut Common) {
        let is_welcome = self.may_be_known(&sender)
            && self.table.wants(&sender)
            && !self.quarantine.holds(sender.address, now)
            && !self.is_asking(|to| to == sender.address);
        // What goes to an address that may be forged is counted, whatever it is.
        let may_ping =
            is_welcome && common.has_spare(now) && common.guard.may_reply(sender.address, PING_LEN, 0, now);
        if may_ping && common.may_ask(false, now) {
            self.ask(sender.address, Some(sender.id), Query::Ping, Purpose::Ping, now, common);
        }
    }
}

impl Want {
    pub(super) fn includes(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}
