//! A client's connection: whatever comes in whatever order, answers leave in the order of their requests and say where they
//! end, and no bound is passed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|moves: &[u8]| apt_p2p::edge::play_conn(moves));
