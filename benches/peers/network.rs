//! Nodes of the DHT, one thread for all, each pair with a round trip of its own as on the Internet.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use apt_p2p::daemon::{DhtHandle, DhtOptions, run_dht};
use apt_p2p::dht::{Ask, Config, Family, Hint, Mainline, Network as Which, Reach, item_target, key};
use mio::Waker;

use crate::nodes::Nodes;
use crate::server::File;

/// The overlay's name.
pub const NAME: &str = "bench";
/// The round trips of two machines, in milliseconds (as benches/wan.py).
const LAG: (u64, u64) = (20, 200);

fn config(node: u8) -> Config {
    Config {
        network: NAME.into(),
        mainline: Mainline::Off,
        families: vec![Family::V4],
        is_private: true,
        reach: Some(Reach::Open),
        ..Config::new([node; 32])
    }
}

/// `count` nodes in loops of the daemon's own, without a round trip: these dial who asks for it, without which nothing is
/// announced.
pub fn dialling(count: u8) -> Vec<DhtHandle> {
    let start = |node: u8| {
        let listen = SocketAddr::from(([127, 38, node, 1], 20_000 + u16::from(node)));
        run_dht(DhtOptions::new(config(node), listen)).expect("loopback")
    };
    let nodes: Vec<DhtHandle> = (0..count).map(start).collect();
    nodes[1..].iter().for_each(|node| node.enter(nodes[0].addresses()[0]));
    nodes
}

enum Command {
    /// Every second node hears nothing any more.
    SilenceHalf,
    /// These files are announced by so many nodes.
    Announce(Vec<File>, usize),
}

/// The other nodes; gone when it is dropped.
pub struct Network {
    pub addresses: Vec<SocketAddr>,
    commands: Option<SyncSender<(Command, SyncSender<()>)>>,
    waker: Waker,
}

impl Network {
    /// `count` nodes at 127.`net`.*.1.
    pub fn start(net: u8, count: u8) -> Network {
        let place = |node: u8| SocketAddr::from(([127, net, node, 1], 20_000 + u16::from(node)));
        let mut nodes = Nodes::bind((0..count).map(|node| (place(node), config(node))));
        let addresses = nodes.addresses();
        nodes.enter(addresses[0]);
        let (commands, received) = sync_channel(1);
        let waker = nodes.waker();
        thread::spawn(move || turn(nodes, &received));
        let network = Network { addresses, commands: Some(commands), waker };
        // They know one another before it counts.
        thread::sleep(Duration::from_secs(3));
        network
    }

    pub fn silence_half(&self) {
        self.tell(Command::SilenceHalf);
    }

    /// Has the first `peers` nodes announce these files, each at its own address.
    pub fn announce(&self, files: Vec<File>, peers: usize) {
        self.tell(Command::Announce(files, peers));
    }

    fn tell(&self, command: Command) {
        let (done, is_done) = sync_channel(1);
        self.commands.as_ref().expect("it lives").send((command, done)).expect("the thread lives");
        self.waker.wake().expect("it wakes");
        is_done.recv().expect("the thread lives");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.commands = None;
        self.waker.wake().expect("it wakes");
    }
}

fn turn(mut nodes: Nodes, commands: &Receiver<(Command, SyncSender<()>)>) {
    loop {
        match commands.try_recv() {
            Ok((Command::SilenceHalf, done)) => {
                nodes.silence(|node| node % 2 == 1);
                done.send(()).ok();
            }
            Ok((Command::Announce(files, peers), done)) => {
                announce(&mut nodes, &files, peers);
                nodes.lag(LAG.0, LAG.1);
                done.send(()).ok();
            }
            Err(TryRecvError::Empty) => nodes.turn(Duration::from_secs(1)),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

fn announce(nodes: &mut Nodes, files: &[File], peers: usize) {
    for files in files.chunks(16) {
        let asks = files.iter().flat_map(|file| {
            let item = [format!("{}:", file.table.len()).as_bytes(), &file.table].concat();
            // As apt-p2p does: a short table lies beside the peers, a longer one in an item.
            let hint = Hint::new(&file.table).or_else(|| Hint::new(&item_target(&item).0)).filter(|_| has_item(file));
            let put = (peers > 0 && has_item(file)).then_some((0, Ask::Put { item, network: Which::Overlay }));
            let announce = Ask::Announce { key: key(NAME, None, &file.digest), network: Which::Overlay, hint };
            (0..peers).map(move |node| (node, announce.clone())).chain(put)
        });
        let asked = nodes.ask_all(asks, Duration::from_secs(120));
        let lost = asked.iter().filter(|asked| asked.summary.stored == 0).count();
        if lost > 0 {
            println!("{lost} of {} announcements reached nobody", asked.len());
        }
    }
}

/// Whether the table of this file is known to the DHT.
fn has_item(file: &File) -> bool {
    (1..=31).contains(&(file.table.len() / 32))
}
