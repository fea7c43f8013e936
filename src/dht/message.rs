//! KRPC messages as types (BEP 5, 32, 42, 43, 44, and our extensions: docs/PROTOCOL.md).
//!
//! Owns what a datagram means; refuses to know who sent it or what to do about it. Keys that are not known are ignored.

use std::net::SocketAddr;

use super::bencode::{Value, Writer};
use super::contact::{Contact, Family, read_address, read_contacts, write_address, write_contacts};
use super::id::NodeId;
use crate::limits::{DATAGRAM_READ_LEN, HINT_LEN, ITEM_LEN, TOKEN_LEN, TX_LEN, VALUES_READ};

/// `v` of our messages: client and version.
const VERSION: &[u8; 4] = b"AP\x00\x01";

/// A datagram's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Transaction id, as the querying node chose it.
    pub tx: Vec<u8>,
    /// `n`: the overlay's name; none on mainline.
    pub network: Option<Vec<u8>>,
    /// `ip`: the address that the receiver is seen at (BEP 42).
    pub seen_as: Option<SocketAddr>,
    /// `ro`: the sender answers no queries (BEP 43).
    pub read_only: bool,
    /// The rest.
    pub body: Body,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Somebody asks.
    Query {
        /// The asking node.
        id: NodeId,
        /// What it asks.
        query: Query,
    },
    /// An answer.
    Reply(Box<Reply>),
    /// A refusal.
    Error {
        /// Its number (BEP 5, BEP 44).
        code: i64,
        /// For people.
        text: String,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Are you there?
    Ping,
    /// Who is close to this place?
    FindNode {
        /// The place.
        target: NodeId,
        /// In which families.
        want: Want,
    },
    /// Who has this?
    GetPeers {
        /// Its key.
        key: NodeId,
        /// In which families.
        want: Want,
    },
    /// I have this.
    AnnouncePeer {
        /// Its key.
        key: NodeId,
        /// The TCP port; none: the port that the datagram came from (`implied_port`).
        port: Option<u16>,
        /// What the asked node gave out before.
        token: Vec<u8>,
        /// Ours: the piece table, or where it is.
        hint: Option<Hint>,
    },
    /// What is the item there?
    Get {
        /// SHA-1 of the item.
        target: NodeId,
        /// In which families.
        want: Want,
    },
    /// Keep this item.
    Put {
        /// What the asked node gave out before.
        token: Vec<u8>,
        /// The item, bencoded.
        item: Vec<u8>,
        /// Whether it is a mutable one, with key and signature, which nobody here keeps.
        is_mutable: bool,
    },
    /// Ours: try to reach me by TCP at the address that this comes from.
    Dial {
        /// The TCP port.
        port: u16,
        /// What the asked node gave out before.
        token: Vec<u8>,
    },
    /// A method that is not known; with a `target` it is answered like `find_node`.
    Unknown {
        /// The target, if it has one.
        target: Option<NodeId>,
    },
}

/// In which families nodes are wanted (BEP 32); the one that the query came by, if none is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// Ours: the piece table of a file of 2 to 4 pieces (32, 64 or 96 bytes), or the target (20 bytes) of the item that holds it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hint(Box<[u8]>);

impl Hint {
    /// A hint, if it has one of the four lengths.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Hint> {
        matches!(bytes.len(), 20 | 32 | 64 | HINT_LEN).then(|| Hint(bytes.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is answered; what a query does not ask for stays empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answering node.
    pub id: NodeId,
    /// Nodes close to the target.
    pub nodes: Vec<Contact>,
    /// The same, over IPv6.
    pub nodes6: Vec<Contact>,
    /// To be shown with an announcement.
    pub token: Option<Vec<u8>>,
    /// Who has it.
    pub values: Vec<SocketAddr>,
    /// Ours: what they announced of its pieces, those named most first.
    pub hints: Vec<Hint>,
    /// The item, bencoded.
    pub item: Option<Vec<u8>>,
    /// Ours: whether the asking node could be dialled.
    pub dialled: Option<bool>,
}

impl Reply {
    /// A reply that says no more than who gives it.
    #[must_use]
    pub fn from(id: NodeId) -> Reply {
        Reply {
            id,
            nodes: Vec::new(),
            nodes6: Vec::new(),
            token: None,
            values: Vec::new(),
            hints: Vec::new(),
            item: None,
            dialled: None,
        }
    }
}

impl Message {
    /// Understands a datagram; `None`: it is no message, or one that breaks the rules.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Message> {
        if datagram.len() > DATAGRAM_READ_LEN {
            return None;
        }
        let top = Value::parse(datagram).ok()?;
        let [tx, kind, args, reply, error, method, network, seen_as, read_only] =
            top.fields([b"t", b"y", b"a", b"r", b"e", b"q", b"n", b"ip", b"ro"]);
        let tx = tx?.bytes()?;
        if tx.len() > TX_LEN {
            return None;
        }
        let body = match kind?.bytes()? {
            b"q" => parse_query(method?.bytes()?, args?)?,
            b"r" => parse_reply(reply?)?,
            b"e" => parse_error(error?),
            _ => return None,
        };
        Some(Message {
            tx: tx.to_vec(),
            network: network.and_then(Value::bytes).map(<[u8]>::to_vec),
            seen_as: seen_as.and_then(Value::bytes).and_then(read_address),
            read_only: read_only.and_then(Value::int) == Some(1),
            body,
        })
    }

    /// Appends the datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        Writer::new(out).dict(|top| {
            if let Body::Query { id, query } = &self.body {
                top.bytes(b"a");
                top.dict(|args| query.write(id, args));
            }
            if let Body::Error { code, text } = &self.body {
                top.bytes(b"e");
                top.list(|list| {
                    list.int(*code);
                    list.bytes(text.as_bytes());
                });
            }
            if let Some(address) = self.seen_as {
                let mut compact = Vec::with_capacity(18);
                write_address(&mut compact, address);
                top.pair(b"ip", &compact);
            }
            if let Some(network) = &self.network {
                top.pair(b"n", network);
            }
            if let Body::Query { query, .. } = &self.body {
                top.pair(b"q", query.method());
            }
            if let Body::Reply(reply) = &self.body {
                top.bytes(b"r");
                top.dict(|fields| reply.write(fields));
            }
            if self.read_only {
                top.pair_int(b"ro", 1);
            }
            top.pair(b"t", &self.tx);
            top.pair(b"v", VERSION);
            top.pair(
                b"y",
                match self.body {
                    Body::Query { .. } => b"q",
                    Body::Reply(_) => b"r",
                    Body::Error { .. } => b"e",
                },
            );
        });
    }
}

impl Message {
    /// Leaves out the next thing of a reply that can be missed: nodes give way first, then an item if the reply `fits` a
    /// datagram at all, then half of the peers. `false`: nothing can.
    pub(super) fn shrink(&mut self, fits: bool) -> bool {
        let Body::Reply(reply) = &mut self.body else { return false };
        if !reply.nodes6.is_empty() && !reply.nodes.is_empty() {
            reply.nodes6.clear();
        } else if reply.nodes.len() + reply.nodes6.len() > 4 && reply.item.is_none() {
            reply.nodes.truncate(4);
            reply.nodes6.truncate(4);
        } else if !reply.nodes.is_empty() || !reply.nodes6.is_empty() {
            reply.nodes.clear();
            reply.nodes6.clear();
        } else if reply.values.len() > 1 {
            reply.values.truncate(reply.values.len() / 2);
        } else if !reply.hints.is_empty() {
            reply.hints.clear();
        } else {
            return fits && reply.item.take().is_some();
        }
        true
    }
}

impl Query {
    fn method(&self) -> &'static [u8] {
        match self {
            Query::Ping => b"ping",
            Query::FindNode { .. } => b"find_node",
            Query::GetPeers { .. } => b"get_peers",
            Query::AnnouncePeer { .. } => b"announce_peer",
            Query::Get { .. } => b"get",
            Query::Put { .. } => b"put",
            Query::Dial { .. } => b"dial",
            Query::Unknown { .. } => b"unknown",
        }
    }

    fn write(&self, id: &NodeId, args: &mut Writer<'_>) {
        args.pair(b"id", &id.0);
        match self {
            Query::Ping | Query::Unknown { target: None } => {}
            Query::Unknown { target: Some(target) } => args.pair(b"target", &target.0),
            Query::FindNode { target, want } | Query::Get { target, want } => {
                args.pair(b"target", &target.0);
                want.write(args);
            }
            Query::GetPeers { key, want } => {
                args.pair(b"info_hash", &key.0);
                want.write(args);
            }
            Query::AnnouncePeer { key, port, token, hint } => {
                args.pair_int(b"implied_port", i64::from(port.is_none()));
                args.pair(b"info_hash", &key.0);
                args.pair_int(b"port", i64::from(port.unwrap_or(1)));
                if let Some(hint) = hint {
                    args.pair(b"pt", hint.bytes());
                }
                args.pair(b"token", token);
            }
            Query::Put { token, item, .. } => {
                // Not in BEP 44, but the `mainline` crate drops a put without it.
                args.pair(b"target", &item_target(item).0);
                args.pair(b"token", token);
                args.bytes(b"v");
                args.raw(item);
            }
            Query::Dial { port, token } => {
                args.pair_int(b"port", i64::from(*port));
                args.pair(b"token", token);
            }
        }
    }
}

impl Want {
    fn parse(names: Option<Value<'_>>) -> Want {
        let mut want = Want::default();
        for name in names.into_iter().flat_map(Value::list).filter_map(Value::bytes) {
            want.v4 |= name == b"n4";
            want.v6 |= name == b"n6";
        }
        want
    }

    fn write(self, args: &mut Writer<'_>) {
        if self == Want::default() {
            return;
        }
        args.bytes(b"want");
        args.list(|list| {
            for (wanted, name) in [(self.v4, b"n4"), (self.v6, b"n6")] {
                if wanted {
                    list.bytes(name);
                }
            }
        });
    }
}

impl Reply {
    fn write(&self, fields: &mut Writer<'_>) {
        let mut compact = Vec::new();
        fields.pair(b"id", &self.id.0);
        for (key, contacts) in [(&b"nodes"[..], &self.nodes), (b"nodes6", &self.nodes6)] {
            if !contacts.is_empty() {
                compact.clear();
                write_contacts(&mut compact, contacts);
                fields.pair(key, &compact);
            }
        }
        if let Some(dialled) = self.dialled {
            fields.pair_int(b"ok", i64::from(dialled));
        }
        if !self.hints.is_empty() {
            fields.bytes(b"pt");
            fields.list(|list| self.hints.iter().for_each(|hint| list.bytes(hint.bytes())));
        }
        if let Some(token) = &self.token {
            fields.pair(b"token", token);
        }
        if let Some(item) = &self.item {
            fields.bytes(b"v");
            fields.raw(item);
        }
        if !self.values.is_empty() {
            fields.bytes(b"values");
            fields.list(|list| {
                for value in &self.values {
                    compact.clear();
                    write_address(&mut compact, *value);
                    list.bytes(&compact);
                }
            });
        }
    }
}

fn parse_query(method: &[u8], args: Value<'_>) -> Option<Body> {
    let [id, target, info_hash, want, port, implied_port, hint, token, item, owner] =
        args.fields([b"id", b"target", b"info_hash", b"want", b"port", b"implied_port", b"pt", b"token", b"v", b"k"]);
    let id = NodeId(id?.array()?);
    let place = |value: Option<Value<'_>>| value.and_then(Value::array).map(NodeId);
    let token = || token.and_then(Value::bytes).map(<[u8]>::to_vec);
    let port = || u16::try_from(port?.int()?).ok().filter(|port| *port != 0);
    let want = Want::parse(want);
    let query = match method {
        b"ping" => Query::Ping,
        b"find_node" => Query::FindNode { target: place(target)?, want },
        b"get_peers" => Query::GetPeers { key: place(info_hash)?, want },
        b"announce_peer" => {
            let is_implied = implied_port.and_then(Value::int).is_some_and(|implied| implied != 0);
            let hint = hint.and_then(Value::bytes).and_then(Hint::new);
            let port = if is_implied { None } else { Some(port()?) };
            Query::AnnouncePeer { key: place(info_hash)?, port, token: token()?, hint }
        }
        b"get" => Query::Get { target: place(target)?, want },
        b"put" => Query::Put { token: token()?, item: item?.raw().to_vec(), is_mutable: owner.is_some() },
        b"dial" => Query::Dial { port: port()?, token: token()? },
        _ => Query::Unknown { target: place(target).or_else(|| place(info_hash)) },
    };
    Some(Body::Query { id, query })
}

fn parse_reply(fields: Value<'_>) -> Option<Body> {
    let [id, nodes, nodes6, token, values, hints, item, dialled] =
        fields.fields([b"id", b"nodes", b"nodes6", b"token", b"values", b"pt", b"v", b"ok"]);
    let contacts = |value: Option<Value<'_>>, family| {
        value.and_then(Value::bytes).map_or(Vec::new(), |bytes| read_contacts(bytes, family))
    };
    let values = values.into_iter().flat_map(Value::list);
    let hints = hints.into_iter().flat_map(Value::list);
    Some(Body::Reply(Box::new(Reply {
        id: NodeId(id?.array()?),
        nodes: contacts(nodes, Family::V4),
        nodes6: contacts(nodes6, Family::V6),
        token: token.and_then(Value::bytes).filter(|it| it.len() <= TOKEN_LEN).map(<[u8]>::to_vec),
        values: values.filter_map(Value::bytes).filter_map(read_address).take(VALUES_READ).collect(),
        hints: hints.filter_map(Value::bytes).filter_map(Hint::new).take(2).collect(),
        item: item.map(Value::raw).filter(|raw| raw.len() <= ITEM_LEN).map(<[u8]>::to_vec),
        dialled: dialled.and_then(Value::int).map(|ok| ok == 1),
    })))
}

/// Some clients send errors of other shapes; that it is one is what counts.
fn parse_error(list: Value<'_>) -> Body {
    let mut items = list.list();
    let code = items.next().and_then(Value::int).unwrap_or(0);
    let text = items.next().and_then(Value::bytes).unwrap_or_default();
    Body::Error { code, text: String::from_utf8_lossy(text).into_owned() }
}

/// Where an immutable item lies: SHA-1 of its encoding (BEP 44).
#[must_use]
pub fn item_target(item: &[u8]) -> NodeId {
    use sha1::Digest as _;
    NodeId(sha1::Sha1::digest(item).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Message {
        Message::parse(text).expect("a message")
    }

    fn id(text: &str) -> NodeId {
        NodeId(text.as_bytes().try_into().expect("20 bytes"))
    }

    #[test]
    fn the_examples_of_bep_5_are_understood() {
        let asker = id("abcdefghij0123456789");
        for (text, query) in [
            (&b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"[..], Query::Ping),
            (
                b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
                Query::FindNode { target: id("mnopqrstuvwxyz123456"), want: Want::default() },
            ),
            (
                b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
                Query::GetPeers { key: id("mnopqrstuvwxyz123456"), want: Want::default() },
            ),
            (
                b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
                Query::AnnouncePeer {
                    key: id("mnopqrstuvwxyz123456"),
                    port: None,
                    token: b"aoeusnth".to_vec(),
                    hint: None,
                },
            ),
        ] {
            let message = parsed(text);
            assert_eq!(message.body, Body::Query { id: asker, query });
            assert_eq!((message.tx.as_slice(), message.network, message.read_only), (&b"aa"[..], None, false));
        }
        let reply = b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
        let Body::Reply(reply) = parsed(reply).body else { panic!("a reply") };
        assert_eq!(
            reply.values,
            [
                SocketAddr::from(([b'a', b'x', b'j', b'e'], u16::from_be_bytes(*b".u"))),
                SocketAddr::from(([b'i', b'd', b'h', b't'], u16::from_be_bytes(*b"nm"))),
            ]
        );
        let error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";
        assert_eq!(parsed(error).body, Body::Error { code: 201, text: "A Generic Error Ocurred".into() });
    }

    #[test]
    fn the_immutable_item_of_bep_44_has_its_target() {
        // BEP 44, "Test vectors", test 3.
        assert_eq!(item_target(b"12:Hello World!").to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    }

    #[test]
    fn a_later_method_is_understood_by_its_target_or_its_info_hash() {
        let text = b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q5:later1:t2:aa1:y1:qe";
        let query = Query::Unknown { target: Some(id("mnopqrstuvwxyz123456")) };
        assert_eq!(parsed(text).body, Body::Query { id: id("abcdefghij0123456789"), query });
    }

    #[test]
    fn the_example_of_bep_32_is_understood() {
        // BEP 32, "Example": IPv6 contacts are 38 bytes, and `want` names families.
        let text = [
            &b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node1:t2:aa1:y1:qe"[..],
        ]
        .concat();
        let query = Query::FindNode { target: id("mnopqrstuvwxyz123456"), want: Want { v4: true, v6: true } };
        assert_eq!(parsed(&text).body, Body::Query { id: id("abcdefghij0123456789"), query });
        let node = [&b"mnopqrstuvwxyz123456"[..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1, 0x1a, 0xe1]].concat();
        let text = [b"d1:rd2:id20:abcdefghij01234567896:nodes638:", &node[..], b"e1:t2:aa1:y1:re"].concat();
        let Body::Reply(reply) = parsed(&text).body else { panic!("a reply") };
        let address = "[2001:db8::1]:6881".parse().expect("an address");
        assert_eq!(reply.nodes6, [Contact { id: id("mnopqrstuvwxyz123456"), address }]);
    }

    #[test]
    fn what_breaks_the_rules_is_no_message() {
        for bad in [
            &b"d1:y1:qe"[..],
            b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe",
            b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe",
            b"d1:t2:aa1:y1:xe",
            b"d1:rd5:token1:xe1:t2:aa1:y1:re",
            b"le",
            b"",
        ] {
            assert_eq!(Message::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        let (asker, key, want) = (NodeId([1; 20]), NodeId([2; 20]), Want { v4: true, v6: true });
        let hint = Hint::new(&[9; 64]);
        let contact = |address: &str| Contact { id: key, address: address.parse().expect("an address") };
        let queries = [
            Query::Ping,
            Query::FindNode { target: key, want },
            Query::GetPeers { key, want: Want::default() },
            Query::AnnouncePeer { key, port: Some(9978), token: b"t".to_vec(), hint: hint.clone() },
            Query::AnnouncePeer { key, port: None, token: Vec::new(), hint: None },
            Query::Get { target: key, want },
            Query::Put { token: b"t".to_vec(), item: b"3:abc".to_vec(), is_mutable: false },
            Query::Dial { port: 9978, token: b"t".to_vec() },
            Query::Unknown { target: Some(key) },
        ];
        let reply = Reply {
            nodes: vec![contact("203.0.113.1:5000")],
            nodes6: vec![contact("[2001:db8::1]:5000")],
            token: Some(b"secret".to_vec()),
            values: vec![contact("203.0.113.2:1").address, contact("[2001:db8::2]:2").address],
            hints: hint.into_iter().collect(),
            item: Some(b"d1:ai1ee".to_vec()),
            dialled: Some(true),
            ..Reply::from(asker)
        };
        let mut bodies: Vec<Body> = queries.into_iter().map(|query| Body::Query { id: asker, query }).collect();
        bodies.extend([Body::Reply(Box::new(reply)), Body::Error { code: 203, text: "no".into() }]);
        for (n, body) in bodies.into_iter().enumerate() {
            let message = Message {
                tx: vec![7; n],
                network: (n % 2 == 0).then(|| b"apt-p2p".to_vec()),
                seen_as: Some(contact("203.0.113.9:99").address),
                read_only: n % 3 == 0,
                body,
            };
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            assert_eq!(parsed(&bytes), message);
        }
    }
}
