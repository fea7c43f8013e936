//! Peers' requests: whatever comes, the answer is one of those that docs/PROTOCOL.md knows, its head is one clean head, and
//! it gives no more of a file than there is.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use apt_p2p::digest::{Digest, PIECE_LEN};
use apt_p2p::edge::{Asked, Body, Reply, parse_head};
use apt_p2p::peer::{Parts, Peer};
use apt_p2p::store::{FileMeta, Options, Store, Want};
use apt_p2p::time::{Stamp, Time};
use libfuzzer_sys::fuzz_target;

const LEN: u64 = PIECE_LEN + 1000;

/// A face with one public file, and its digest.
static FACE: LazyLock<(Peer, Digest)> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("apt-p2p-fuzz-{}", std::process::id()));
    let store = Store::open(&Options { dir }).expect("a store");
    let content = vec![7; LEN as usize];
    let digest = Digest::of(&content);
    let mut draft = store.draft(Want::Digest { digest, len: Some(LEN) }).expect("a draft");
    draft.append(&content).expect("room");
    draft.finish(FileMeta { public: true, ..FileMeta::default() }, Stamp(1_740_823_200)).expect("right");
    store.commit(Stamp(1_740_823_200)).expect("recorded");
    let peer = Peer::new(Parts {
        store: Arc::new(move || Some(store.clone())),
        growing: Arc::new(|_| None),
        is_neighbour: Arc::new(|_| true),
        clock: Arc::new(|| Time(1000)),
        network: "fuzz".into(),
        secret: None,
        node: "0".repeat(40),
    });
    (peer, digest)
});

fuzz_target!(|input: (u8, &[u8])| {
    let ((kind, text), (peer, digest)) = (input, &*FACE);
    let method = if kind & 8 == 0 { "GET" } else { "HEAD" };
    let around = |before: String, after: &str| [before.as_bytes(), text, after.as_bytes()].concat();
    let head = match kind & 3 {
        0 => text.to_vec(),
        1 => around(format!("{method} "), " HTTP/1.1\r\n\r\n"),
        2 => around(format!("{method} /~/"), " HTTP/1.1\r\n\r\n"),
        _ => around(format!("{method} /~/{digest} HTTP/1.1\r\nRange: "), "\r\n\r\n"),
    };
    let Ok(request) = parse_head(&head) else { return };
    let is_over = kind & 16 != 0;
    let asked = Asked { request: &request, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), busy: kind, is_over };
    let Reply::Now(answer) = peer.reply(&asked) else { panic!("nothing is being fetched") };
    assert!(matches!(answer.status, 200 | 206 | 400 | 404 | 416 | 429), "{}", answer.status);
    let text = std::str::from_utf8(&answer.head).expect("ASCII");
    assert!(text.ends_with("\r\n") && !text.contains("\r\n\r\n") && text.is_ascii());
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let announced = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let announced: u64 = announced.and_then(|len| len.parse().ok()).expect("a length");
    match answer.body {
        Body::Empty => assert_eq!(announced, 0),
        Body::Bytes(bytes) => assert_eq!(announced, bytes.len() as u64),
        Body::File { start, len, .. } => {
            assert!(!is_over && matches!(answer.status, 200 | 206));
            assert!(len == announced && len > 0 && start + len <= LEN);
        }
        Body::Stream { .. } | Body::Tunnel(_) => panic!("nothing is being fetched"),
    }
});
