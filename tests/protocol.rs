//! The DHT as a sequence of inputs, as the fuzzer drives it, for a moment; and the examples of docs/PROTOCOL.md.

#[path = "fuzz/dht_sequence.rs"]
mod dht_sequence;

use std::collections::BTreeSet;

use apt_p2p::dht::message::{Body, Message};
use apt_p2p::dht::{key, rendezvous};
use apt_p2p::digest::Digest;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_the_bounds_hold(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        dht_sequence::drive(&bytes);
    }
}

/// The lines of all blocks of this kind in docs/PROTOCOL.md.
fn examples(kind: &str) -> Vec<&'static str> {
    let document = include_str!("../docs/PROTOCOL.md");
    let blocks = document.split("\n```").filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n'));
    blocks.flat_map(str::lines).collect()
}

/// The bytes that a line of an example stands for.
fn plain(line: &str) -> Vec<u8> {
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().expect("a beginning").as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

#[test]
fn the_examples_in_the_document_are_what_is_written() {
    let mut kinds = BTreeSet::new();
    for line in examples("krpc") {
        let bytes = plain(line);
        let message = Message::parse(&bytes).unwrap_or_else(|| panic!("no message: {line}"));
        let mut written = Vec::new();
        message.write(&mut written);
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&bytes));
        kinds.insert(match message.body {
            Body::Query { query, .. } => format!("{query:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
            Body::Reply(_) => "reply".into(),
            Body::Error { .. } => "error".into(),
        });
    }
    let all = ["AnnouncePeer", "Dial", "FindNode", "Get", "GetPeers", "Ping", "Put", "error", "reply"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn the_keys_in_the_document_are_the_programs() {
    let digest = Digest::of(b"a package");
    let secret = Some(&b"secret"[..]);
    let ours = [
        format!("file {}", key("apt-p2p", None, &digest)),
        format!("private-file {}", key("apt-p2p", secret, &digest)),
        format!("rendezvous {}", rendezvous("apt-p2p", None)),
        format!("private-rendezvous {}", rendezvous("apt-p2p", secret)),
    ];
    assert_eq!(examples("keys"), ours);
}
