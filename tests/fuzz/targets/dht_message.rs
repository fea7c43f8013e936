//! KRPC messages: what is understood means the same after it was written and read again, and is then written alike.
#![no_main]

use apt_p2p::dht::message::{Body, Message, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(mut message) = Message::parse(bytes) else { return };
    if let Body::Query { query: Query::Put { is_mutable, .. }, .. } = &mut message.body {
        // Nobody here writes one, so its key and signature are not kept.
        *is_mutable = false;
    }
    let mut written = Vec::new();
    message.write(&mut written);
    let again = Message::parse(&written).expect("our own");
    assert_eq!(again, message);
    let mut twice = Vec::new();
    again.write(&mut twice);
    assert_eq!(twice, written);
});
