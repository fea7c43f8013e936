//! Bencoding: what is read, written anew value by value, reads the same.
#![no_main]

use apt_p2p::dht::bencode::{Value, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = Value::parse(bytes) else { return };
    assert_eq!(value.raw(), bytes);
    let mut written = Vec::new();
    write(value, &mut Writer::new(&mut written));
    assert!(written.len() <= bytes.len());
    let again = Value::parse(&written).expect("our own");
    let mut twice = Vec::new();
    write(again, &mut Writer::new(&mut twice));
    assert_eq!(twice, written);
});

fn write(value: Value<'_>, out: &mut Writer<'_>) {
    if let Some(bytes) = value.bytes() {
        out.bytes(bytes);
    } else if let Some(int) = value.int() {
        out.int(int);
    } else if value.raw().first() == Some(&b'l') {
        out.list(|list| value.list().for_each(|item| write(item, list)));
    } else {
        // A dictionary is read by its keys alone; an integer of more than 64 bits is a value that nobody asks for.
        value.field(b"a");
        out.raw(value.raw());
    }
}
