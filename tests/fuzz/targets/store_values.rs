//! The index on the disk: a record that is anything is an error or a record, never the end of the process.
#![no_main]

use std::sync::LazyLock;

use apt_p2p::store::fuzzed::Damaged;
use libfuzzer_sys::fuzz_target;

static STORE: LazyLock<Damaged> = LazyLock::new(|| {
    // In memory: each value is written to the index.
    let dir = std::path::Path::new("/dev/shm");
    let dir = if dir.is_dir() { dir.to_owned() } else { std::env::temp_dir() };
    Damaged::new(dir.join(format!("apt-p2p-fuzz-{}", std::process::id())))
});

fuzz_target!(|input: &[u8]| STORE.with(input));
