//! Decompression: no panic, no more memory than allowed (run with `-rss_limit_mb=64`), and the same bytes however they
//! are read. The first byte chooses the format.
#![no_main]

use std::io::Read;

use apt_p2p::catalog::{Compression, decoder};
use libfuzzer_sys::fuzz_target;

/// Enough to pass through several blocks; a bomb is not waited for.
const PLAIN_LEN_MAX: u64 = 4 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let compression = match choice % 5 {
        0 => Compression::Plain,
        1 => Compression::Gzip,
        2 => Compression::Xz,
        3 => Compression::Bzip2,
        _ => Compression::Zstd,
    };
    let mut whole = Vec::new();
    let result = decoder(compression, bytes).take(PLAIN_LEN_MAX).read_to_end(&mut whole);
    let mut small = [0; 7];
    let mut reader = decoder(compression, bytes);
    let mut at = 0;
    while at < whole.len() {
        match reader.read(&mut small) {
            Ok(0) => panic!("ends early at {at} of {}", whole.len()),
            Ok(read) => {
                let same = read.min(whole.len() - at);
                assert_eq!(small[..same], whole[at..at + same]);
                at += read;
            }
            // A smaller buffer may meet damage before the bytes ahead of it are passed on.
            Err(_) => {
                assert!(result.is_err());
                assert!(reader.read(&mut small).is_err(), "an error is for good");
                break;
            }
        }
    }
});
