//! DHT nodes that obey JSON lines, to be tested and measured beside other programs' nodes.
//!
//! ```text
//! dht_agent --n 10 --base-port 43000 [--ip 127.4.%d.1] [--bootstrap IP:PORT[,…]] [--tx-len 4]
//! {"op":"get_peers","node":3,"ih":"…40 hex digits…"}      also announce, put, get, add_nodes, stats, quit
//! ```
//!
//! They serve on mainline and take private addresses; what they announce is the port that their datagrams come from.

#![allow(clippy::disallowed_methods, reason = "it reads its input in a thread")]

#[path = "../tests/support/nodes.rs"]
mod nodes;

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use apt_p2p::dht::{Ask, Config, Family, Hop, Input, Mainline, Network, NodeId, Reach, item_target};
use nodes::Nodes;
use serde_json::{Value, json};

fn main() {
    let count: usize = option("n", "1").parse().expect("--n is a number");
    let port: u16 = option("base-port", "43000").parse().expect("--base-port is a port");
    let tx_len = option("tx-len", "4").parse().expect("--tx-len is a number");
    let ip = option("ip", "127.0.0.1");
    let place = |n: usize| -> SocketAddr {
        let ip = ip.replace("%d", &(n + 1).to_string()).parse().expect("--ip is an address");
        SocketAddr::new(ip, port + u16::try_from(n).expect("few nodes"))
    };
    let mut nodes = Nodes::bind((0..count).map(|n| (place(n), config(tx_len))));
    let bootstrap = option("bootstrap", &place(0).to_string());
    for entrance in bootstrap.split(',') {
        nodes.enter(entrance.parse().expect("--bootstrap names addresses"));
    }
    let addresses: Vec<Value> =
        nodes.addresses().iter().map(|at| json!({"ip": at.ip().to_string(), "port": at.port()})).collect();
    println!("{}", json!({"ready": true, "nodes": addresses}));
    let lines = read_lines(&nodes);
    loop {
        match lines.try_recv() {
            Ok(line) => {
                let request: Value = serde_json::from_str(&line).expect("a line is JSON");
                if request["op"] == "quit" {
                    return;
                }
                println!("{}", answer(&mut nodes, &request));
                std::io::stdout().flush().expect("somebody reads");
            }
            Err(TryRecvError::Empty) => nodes.turn(Duration::from_secs(1)),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

fn option(name: &str, default: &str) -> String {
    let flag = format!("--{name}");
    std::env::args().skip_while(|arg| *arg != flag).nth(1).unwrap_or_else(|| default.to_owned())
}

fn config(tx_len: usize) -> Config {
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed)).expect("randomness");
    Config {
        mainline: Mainline::Serve,
        families: vec![Family::V4],
        is_private: true,
        is_mainline_private: true,
        reach: Some(Reach::Open),
        tx_len,
        ..Config::new(seed)
    }
}

fn read_lines(nodes: &Nodes) -> Receiver<String> {
    let (sender, lines) = sync_channel(64);
    let waker = nodes.waker();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(sender);
        waker.wake().ok();
    });
    lines
}

fn answer(nodes: &mut Nodes, request: &Value) -> Value {
    let number = |name: &str| usize::try_from(request[name].as_u64().unwrap_or(0)).expect("a small number");
    let place = |name: &str| NodeId(unhex(&request[name]).try_into().expect("20 bytes"));
    let node = number("node");
    let limit = Duration::from_secs(request["timeout"].as_u64().unwrap_or(10));
    let network = Network::Mainline;
    match request["op"].as_str().unwrap_or_default() {
        "announce" => {
            let asked = nodes.ask(node, Ask::Announce { key: place("ih"), network, hint: None }, limit);
            let port = nodes.addresses()[node].port();
            json!({"ok": asked.summary.stored > 0, "port": port, "stored": asked.summary.stored, "ms": asked.done_ms})
        }
        "get_peers" => {
            let asked = nodes.peers(node, place("ih"), limit);
            let peers: Vec<String> = asked.peers.iter().map(ToString::to_string).collect();
            let mut found = json!({
                "peers": peers, "first_ms": asked.first_ms, "done_ms": asked.done_ms,
                "queries": asked.summary.queries, "answers": asked.summary.answers,
            });
            if request["traced"] == true {
                found["hops"] = asked.hops.iter().map(|(ms, hop)| hop_line(*ms, hop)).collect();
            }
            found
        }
        "put" => {
            let bytes = unhex(&request["v"]);
            let item = [format!("{}:", bytes.len()).as_bytes(), &bytes].concat();
            let target = item_target(&item).to_string();
            let asked = nodes.ask(node, Ask::Put { item, network }, limit);
            json!({"target": target, "acks": asked.summary.stored, "ms": asked.done_ms})
        }
        "get" => {
            let asked = nodes.ask(node, Ask::Item { target: place("target"), network }, limit);
            let bytes = asked.item.as_deref().and_then(byte_string).map(hex);
            json!({"v": bytes, "ms": asked.done_ms})
        }
        "add_nodes" => {
            for address in request["addrs"].as_array().into_iter().flatten() {
                let ip = address[0].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
                let port = address[1].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
                let address = SocketAddr::new(ip, port);
                for node in 0..nodes.len() {
                    if nodes.addresses()[node] != address {
                        nodes.input(node, Input::Known(network, address));
                    }
                }
            }
            json!({"ok": true})
        }
        "stats" => {
            let all = (0..nodes.len()).map(|node| {
                let status = nodes.status(node);
                json!({"port": nodes.addresses()[node].port(), "table": status.contacts, "stall_ms": status.stall_ms})
            });
            json!({"rss_kb": resident_kb(), "nodes": all.collect::<Vec<_>>()})
        }
        op => json!({"err": format!("unknown op {op}")}),
    }
}

fn hop_line(ms: f64, hop: &Hop) -> String {
    match hop {
        Hop::Asked { contact, hop } => format!("{ms:.1} asked {contact} hop {hop}"),
        Hop::Answered { contact, ms: rtt, peers } => format!("{ms:.1} answered {contact} {rtt} ms {peers} peers"),
        Hop::Stalled { address } => format!("{ms:.1} stalled {address}"),
        Hop::Lost { address } => format!("{ms:.1} lost {address}"),
    }
}

/// What a bencoded byte string holds.
fn byte_string(item: &[u8]) -> Option<&[u8]> {
    let colon = item.iter().position(|byte| *byte == b':')?;
    item[..colon].iter().all(u8::is_ascii_digit).then_some(&item[colon + 1..])
}

fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|line| line.starts_with("VmRSS"))?.split_whitespace().nth(1)?.parse().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().expect("hex digits").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(|pair| byte(pair).expect("hex digits")).collect()
}
