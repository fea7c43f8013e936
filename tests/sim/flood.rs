//! A node that is flooded: garbage, spoofed queries and announcements, 50,000 datagrams a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use apt_p2p::dht::message::{Body, Message, Query, Want};
use apt_p2p::dht::{Ask, Input, Network, NodeId, item_target};

use super::net::{Luck, Net, Plan, announce, check, peers};

const TARGET: usize = 30;
const A_SECOND: u64 = 50_000;
const SECONDS: u64 = 15;

/// What went in and out, a millisecond at a time, of addresses that have not shown that they are no forgeries.
#[derive(Default)]
struct Ledger {
    received: BTreeMap<u64, u64>,
    sent: BTreeMap<u64, u64>,
    /// Those that have: they answered what they were asked, or knew a token that was sent to them.
    shown: BTreeSet<SocketAddr>,
    tokens: BTreeMap<SocketAddr, Vec<u8>>,
}

impl Ledger {
    fn note_sent(&mut self, net: &mut Net) {
        for (to, bytes) in std::mem::take(&mut net.seen) {
            if let Some(Message { body: Body::Reply(reply), .. }) = Message::parse(&bytes)
                && let Some(token) = reply.token
            {
                self.tokens.insert(to, token);
            }
            // Who lives in the network answers what it is asked.
            if !self.shown.contains(&to) && net.at(to).is_none() {
                *self.sent.entry(net.now.0).or_default() += bytes.len() as u64;
            }
        }
    }

    fn note_received(&mut self, now: u64, from: SocketAddr, len: usize) {
        if !self.shown.contains(&from) {
            *self.received.entry(now).or_default() += len as u64;
        }
    }

    /// Over any ten seconds at most four times what came, and 320 KB.
    fn check(&self, end: u64) {
        let begin = *self.received.keys().next().expect("something came");
        let sum = |of: &BTreeMap<u64, u64>, from: u64| of.range(from..from + 10_000).map(|(_, len)| len).sum::<u64>();
        for from in (begin.saturating_sub(10_000)..end).step_by(50) {
            let (received, sent) = (sum(&self.received, from), sum(&self.sent, from));
            assert!(sent <= 4 * received + 320 * 1024, "{sent} bytes went back for {received} from {from} ms on");
        }
    }
}

struct Attack {
    luck: Luck,
    ledger: Ledger,
    item: NodeId,
}

impl Attack {
    /// One datagram, from an address that may be anybody's.
    fn strike(&mut self, net: &mut Net, kind: u64) {
        let spoofed = SocketAddr::from((Ipv4Addr::from(0x6300_0000 + self.luck.below(0xff_ffff) as u32), 5000));
        // Some hundred addresses are the attacker's own: there it gets answers, and so tokens.
        let own = SocketAddr::from((Ipv4Addr::from(0x4d00_0000 + self.luck.below(300) as u32 * 256), 5000));
        let want = Want { v4: true, v6: true };
        let key = self.luck.id();
        let (from, query) = match kind {
            0 => return self.garbage(net, spoofed),
            1 => (spoofed, Query::Get { target: self.item, want }),
            2 => (spoofed, Query::GetPeers { key, want }),
            3 => (spoofed, Query::AnnouncePeer { key, port: None, token: b"12345678".to_vec(), hint: None }),
            _ => match self.ledger.tokens.get(&own).cloned() {
                Some(token) => {
                    self.ledger.shown.insert(own);
                    (own, Query::AnnouncePeer { key, port: None, token, hint: None })
                }
                None => (own, Query::GetPeers { key, want }),
            },
        };
        let message = Message {
            tx: self.luck.bytes::<2>().to_vec(),
            network: Some(b"apt-p2p".to_vec()),
            seen_as: None,
            read_only: false,
            body: Body::Query { id: self.luck.id(), query },
        };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.arrive(net, from, &bytes);
    }

    fn garbage(&mut self, net: &mut Net, from: SocketAddr) {
        let len = usize::try_from(self.luck.below(1400)).expect("small");
        let mut bytes: Vec<u8> = (0..len).map(|_| self.luck.bytes::<1>()[0]).collect();
        bytes.splice(0..0, b"d1:ad2:id20:".iter().copied().take(len % 13));
        self.arrive(net, from, &bytes);
    }

    fn arrive(&mut self, net: &mut Net, from: SocketAddr, bytes: &[u8]) {
        self.ledger.note_received(net.now.0, from, bytes.len());
        net.input(TARGET, Input::Datagram { from, bytes });
        self.ledger.note_sent(net);
    }
}

/// Floods one node with these kinds of datagrams while it looks for things.
fn flood(kinds: &[u64], a_second: u64) {
    let mut net = Net::new(Plan { nodes: 60, ..Plan::default() });
    net.run_for(Duration::from_secs(300));
    let (item, key) = ([b"990:".as_slice(), &[7; 990]].concat(), net.luck.id());
    net.ask_and_wait(5, Ask::Put { item: item.clone(), network: Network::Overlay });
    net.ask_and_wait(6, announce(key));
    let mut attack = Attack { luck: Luck(7), ledger: Ledger::default(), item: item_target(&item) };
    net.watched = Some(TARGET);
    let (mut asks, mut late) = (Vec::new(), Vec::new());
    for ms in 0..SECONDS * 1000 {
        for n in 0..a_second / 1000 {
            attack.strike(&mut net, kinds[usize::try_from(n).expect("small") % kinds.len()]);
        }
        if ms % 500 == 250 {
            asks.push(net.ask(TARGET, peers(key)));
        }
        net.run_for(Duration::from_millis(1));
        attack.ledger.note_sent(&mut net);
        if ms % 1000 == 0 {
            check::all_bounds(&net);
        }
    }
    let end = net.now.0;
    net.run_for(Duration::from_secs(12));
    attack.ledger.note_sent(&mut net);
    attack.ledger.check(end);
    check::all_bounds(&net);
    for ask in asks {
        let asked = &net.machines[TARGET].asks[&ask];
        assert!(!asked.peers.is_empty(), "kinds {kinds:?}: a lookup found nothing");
        late.extend(asked.done_ms());
    }
    late.sort_unstable();
    assert_eq!(late.len(), usize::try_from(SECONDS * 2).expect("small"), "kinds {kinds:?}: a lookup does not end");
    assert!(late.last().is_some_and(|ms| *ms <= 2500), "kinds {kinds:?}: lookups took {late:?} ms");
}

#[test]
fn a_flood_of_everything_is_survived() {
    flood(&[0, 1, 2, 3, 4], A_SECOND);
}

#[test]
fn a_flood_of_forged_queries_for_a_large_item_is_no_weapon() {
    flood(&[1], A_SECOND / 10);
    // So few that the allowance for them is what counts.
    flood(&[1], 1000);
}
