//! Request heads: what passes is one clean request, and nothing in it can start another line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let Ok(request) = apt_p2p::edge::parse_head(head) else { return };
    assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()));
    let values = request.lines.iter().map(|(_, value)| value).chain(&request.host);
    assert!(values.flat_map(|value| value.bytes()).all(|byte| matches!(byte, b' '..=b'~' | b'\t')));
});
