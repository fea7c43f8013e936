//! What a full DHT takes of a router's memory, by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use apt_p2p::dht::message::{Body, Message, Query, Reply, Want};
use apt_p2p::dht::{Config, Contact, Dht, Family, Hint, Input, Mainline, NodeId, Output, Rng};
use apt_p2p::limits::RECORDS;
use apt_p2p::time::Time;

/// Bytes that are allocated now, as an allocator rounds them: 8 of its own, in steps of 16.
static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn rounded(len: usize) -> usize {
    (len + 8).next_multiple_of(16).max(32)
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; it hands everything on")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(rounded(layout.size()), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(rounded(layout.size()), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A node that is told things by nobody in particular.
struct Told {
    dht: Dht,
    now: Time,
    rng: Rng,
    sent: Vec<(SocketAddr, Message)>,
}

impl Told {
    fn input(&mut self, from: SocketAddr, message: &Message) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.dht.handle(self.now, Input::Datagram { from, bytes: &bytes });
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = Vec::new();
        loop {
            match self.dht.poll(self.now, &mut buffer) {
                Output::Send { to } => self.sent.push((to, Message::parse(&buffer).expect("our own"))),
                Output::Event(_) => {}
                Output::WakeAt(_) => return,
            }
        }
    }

    fn message(&self, tx: Vec<u8>, body: Body) -> Message {
        Message { tx, network: Some(b"apt-p2p".to_vec()), seen_as: None, read_only: false, body }
    }

    /// Somebody asks for a token, and announces with it.
    fn announce(&mut self, n: u32) {
        let from = SocketAddr::from((Ipv4Addr::from(0x0b00_0000 + n * 256), 9978));
        let (key, id) = (NodeId(self.rng.bytes()), NodeId(self.rng.bytes()));
        let query = Query::GetPeers { key, want: Want::default() };
        self.input(from, &self.message(b"a".to_vec(), Body::Query { id, query }));
        let token = self.sent.drain(..).find_map(|(to, message)| match message.body {
            Body::Reply(reply) if to == from => reply.token,
            _ => None,
        });
        // A quarter of the packages have two pieces and more.
        let hint = if n.is_multiple_of(4) { Hint::new(&[7; 32]) } else { None };
        let query = Query::AnnouncePeer { key, port: None, token: token.expect("a token"), hint };
        self.input(from, &self.message(b"b".to_vec(), Body::Query { id, query }));
        self.sent.clear();
    }

    /// A node with an id that belongs to its address answers whatever it is asked, and names others.
    fn join(&mut self) {
        let entrance = SocketAddr::from(([198, 51, 100, 1], 9978));
        self.dht.handle(self.now, Input::Entrance(entrance));
        self.drain();
        let mut nodes = 0_u32;
        for _ in 0..200_000 {
            let Some((to, message)) = self.sent.pop() else {
                self.now.0 += 1000;
                self.dht.handle(self.now, Input::Tick);
                self.drain();
                if self.now.0 > 48 * 3600 * 1000 {
                    return;
                }
                continue;
            };
            let Body::Query { query, .. } = message.body else { continue };
            let target = match query {
                Query::FindNode { target, .. } => target,
                _ => NodeId(self.rng.bytes()),
            };
            let mut reply = Reply::from(id_of(to));
            for _ in 0..8 {
                nodes = nodes.wrapping_add(1) % 200_000;
                let address = SocketAddr::from((Ipv4Addr::from(0x5000_0000 + nodes * 256), 9978));
                reply.nodes.push(Contact { id: id_of(address), address });
            }
            reply.nodes.sort_by_key(|contact| contact.id.distance(&target));
            let reply = self.message(message.tx, Body::Reply(Box::new(reply)));
            self.input(to, &reply);
        }
    }
}

/// The id of the node at an address: any of those that belong to it, but always the same.
fn id_of(address: SocketAddr) -> NodeId {
    NodeId::for_address(address.ip(), apt_p2p::digest::Digest::of(address.to_string().as_bytes()).0)
}

#[test]
fn twenty_thousand_records_and_a_full_table_take_three_megabytes() {
    let before = HELD.load(Ordering::Relaxed);
    let config = Config { mainline: Mainline::Off, families: vec![Family::V4], ..Config::new([3; 32]) };
    let dht = Dht::new(config, Time(0));
    let mut told = Told { dht, now: Time(0), rng: Rng::new([4; 32]), sent: Vec::new() };
    told.join();
    for n in 0..u32::try_from(RECORDS).expect("fits") {
        told.announce(n);
    }
    told.sent = Vec::new();
    let held = HELD.load(Ordering::Relaxed) - before;
    let status = &told.dht.status()[0];
    println!("{} records, {} contacts: {held} bytes", status.records, status.contacts);
    assert_eq!(status.records, RECORDS);
    assert!(status.contacts >= 250, "{} contacts", status.contacts);
    assert!(held <= 3 << 20, "{held} bytes");
}
