//! A whole DHT as a sequence of inputs: every bound holds, nothing goes to where nobody is, each input ends.
#![no_main]

#[path = "../dht_sequence.rs"]
mod dht_sequence;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dht_sequence::drive(bytes));
