//! Transcripts: one node, and what it says to whom.

mod answering;
mod asking;
mod standing;

use super::message::{Query, Reply};
use super::*;
use crate::limits::{LOOKUP_AHEAD, LOOKUP_WIDTH, QUERY_BURST};

const START: Time = Time(1_000_000);

/// A node and the datagrams that it sent.
struct Bench {
    dht: Dht,
    now: Time,
    sent: Vec<(SocketAddr, Message, usize)>,
    events: Vec<Event>,
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, n, 1], 5000))
}

fn config() -> Config {
    Config { mainline: Mainline::Off, families: vec![Family::V4], ..Config::new([7; 32]) }
}

impl Bench {
    fn new(config: Config) -> Bench {
        let mut bench = Bench { dht: Dht::new(config, START), now: START, sent: Vec::new(), events: Vec::new() };
        bench.input(Input::Tick);
        bench
    }

    fn input(&mut self, input: Input<'_>) {
        self.dht.handle(self.now, input);
        let mut buffer = Vec::new();
        loop {
            match self.dht.poll(self.now, &mut buffer) {
                Output::Send { to } => {
                    let message = Message::parse(&buffer).expect("our own message");
                    self.sent.push((to, message, buffer.len()));
                }
                Output::Event(event) => self.events.push(event),
                Output::WakeAt(at) => {
                    assert!(at > self.now);
                    return;
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(50));
            self.input(Input::Tick);
        }
    }

    fn message(&mut self, from: SocketAddr, network: Option<&str>, tx: &[u8], body: Body) -> usize {
        let network = network.map(|name| name.as_bytes().to_vec());
        let message = Message { tx: tx.to_vec(), network, seen_as: None, read_only: false, body };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.input(Input::Datagram { from, bytes: &bytes });
        bytes.len()
    }

    fn query(&mut self, from: SocketAddr, query: Query) -> usize {
        self.message(
            from,
            Some("apt-p2p"),
            b"tx",
            Body::Query { id: NodeId([from.port().to_be_bytes()[1]; 20]), query },
        )
    }

    /// What was sent to `to`, and is forgotten then.
    fn taken(&mut self, to: SocketAddr) -> Vec<Body> {
        let (taken, rest) = std::mem::take(&mut self.sent).into_iter().partition(|(at, ..)| *at == to);
        self.sent = rest;
        let taken: Vec<(SocketAddr, Message, usize)> = taken;
        taken.into_iter().map(|(_, message, _)| message.body).collect()
    }

    fn reply(&mut self, to: SocketAddr) -> Reply {
        let replies = self.taken(to).into_iter().find_map(|body| match body {
            Body::Reply(reply) => Some(*reply),
            _ => None,
        });
        replies.expect("a reply")
    }

    fn refusal(&mut self, to: SocketAddr) -> i64 {
        let codes = self.taken(to).into_iter().find_map(|body| match body {
            Body::Error { code, .. } => Some(code),
            _ => None,
        });
        codes.expect("a refusal")
    }

    /// Answers the last query that went to `from`.
    fn answer(&mut self, from: SocketAddr, reply: Reply) {
        let asked = self.sent.iter().rev().find(|(to, message, _)| {
            *to == from && matches!(message.body, Body::Query { .. }) && message.network.is_none()
        });
        let tx = asked.expect("it was asked").1.tx.clone();
        self.message(from, None, &tx, Body::Reply(Box::new(reply)));
    }

    fn token(&mut self, from: SocketAddr) -> Vec<u8> {
        self.query(from, Query::GetPeers { key: NodeId([1; 20]), want: Want::default() });
        self.reply(from).token.expect("a token")
    }
}

/// What a stranger answers to the last query that went to `to`.
fn answer_last(bench: &mut Bench, to: SocketAddr, reply: Reply) {
    let at = bench.sent.iter().rposition(|(at, it, _)| *at == to && matches!(it.body, Body::Query { .. }));
    let (_, query, _) = bench.sent.remove(at.expect("a query"));
    bench.message(to, Some("apt-p2p"), &query.tx, Body::Reply(Box::new(reply)));
}

fn belonging(address: SocketAddr, n: u8) -> NodeId {
    NodeId::random_for(address.ip(), &mut Rng::new([n; 32]))
}
