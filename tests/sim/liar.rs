//! What a lying node answers: nodes and peers that are not there, ever closer; another id than it has; too much of all. Or
//! slander: honest nodes at wrong ports, and by wrong ids.

use std::net::SocketAddr;

use apt_p2p::dht::message::{Body, Message, Query, Reply};
use apt_p2p::dht::{Contact, NodeId};

use super::Net;

impl Net {
    pub(super) fn lie(&mut self, liar: usize, to: SocketAddr, bytes: &[u8]) {
        let Some(Message { tx, network, body: Body::Query { query, .. }, .. }) = Message::parse(bytes) else {
            return;
        };
        let id = self.machines[liar].dht.as_ref().map_or(NodeId([0; 20]), |dht| dht.status()[0].id);
        let target = match query {
            Query::FindNode { target, .. } | Query::Get { target, .. } => target,
            Query::GetPeers { key, .. } => key,
            _ => id,
        };
        if self.plan.is_slanderous {
            let nodes = self.slander(&target);
            let body = Body::Reply(Box::new(Reply { nodes, ..Reply::from(id) }));
            return self.answer_falsely(liar, to, Message { tx, network, seen_as: Some(to), read_only: false, body });
        }
        let mut reply = Reply { token: Some(b"lie".to_vec()), ..Reply::from(id) };
        for _ in 0..30 {
            let address = self.martian();
            reply.nodes.push(Contact { id: self.near(&target), address });
            reply.values.push(self.martian());
        }
        match self.luck.below(6) {
            0 => reply.id = self.luck.id(),
            1 => reply.item = Some(b"3:lie".to_vec()),
            2 => reply.values.clear(),
            3 => reply.nodes.truncate(8),
            // More than anybody should take, in a datagram that is larger than any should be.
            4 => (0..150).for_each(|_| reply.values.push(self.martian())),
            // Others' addresses under ids that are close: they are flooded if it is believed.
            _ => {
                for n in 0..reply.nodes.len() {
                    let victim = usize::try_from(self.luck.below(self.machines.len() as u64)).expect("an index");
                    reply.nodes[n].address = self.machines[victim].address;
                }
            }
        }
        let seen_as = Some(self.martian());
        let body = Body::Reply(Box::new(reply));
        self.answer_falsely(liar, to, Message { tx, network, seen_as, read_only: false, body });
    }

    fn answer_falsely(&mut self, liar: usize, to: SocketAddr, message: Message) {
        let mut datagram = Vec::new();
        message.write(&mut datagram);
        self.transmit(liar, to, &datagram);
    }

    /// The honest nodes closest to a place, each by its id where it is not, and where it is by an id that its address may have.
    fn slander(&mut self, target: &NodeId) -> Vec<Contact> {
        let id = |net: &Net, n: usize| net.machines[n].dht.as_ref().map(|dht| dht.status()[0].id);
        let mut honest: Vec<(NodeId, SocketAddr)> =
            self.honest().into_iter().filter_map(|n| Some((id(self, n)?, self.machines[n].address))).collect();
        honest.sort_by_key(|(id, _)| id.distance(target));
        let mut nodes = Vec::new();
        for (id, address) in honest.into_iter().take(8) {
            let elsewhere = SocketAddr::new(address.ip(), address.port() ^ 1);
            nodes.push(Contact { id, address: elsewhere });
            nodes.push(Contact { id: NodeId::for_address(address.ip(), self.luck.bytes()), address });
        }
        nodes
    }

    fn near(&mut self, target: &NodeId) -> NodeId {
        let mut near = *target;
        near.0[17..].copy_from_slice(&self.luck.bytes::<3>());
        near
    }

    /// Any address but ours, of a kind that liars name.
    fn martian(&mut self) -> SocketAddr {
        let [a, b, c, d] = self.luck.bytes();
        let ip = match a % 6 {
            0 => [127, b, c, d],
            1 => [10, b, c, d],
            2 => [224, b, c, d],
            3 => [192, 168, c, d],
            4 => [0, b, c, d],
            _ => [198, 51, 100, d],
        };
        SocketAddr::from((ip, u16::from(b) << 8 | u16::from(c)))
    }
}
