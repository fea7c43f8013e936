//! What the black-box tests share: a mirror that lies, the real program, clients, archives, and the machine's own apt.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests start threads and read clocks")]

pub mod apt;
pub mod archive;
pub mod attack;
pub mod client;
pub mod daemon;
pub mod diffs;
pub mod internet;
pub mod loopdisk;
pub mod mainline;
pub mod mirror;
pub mod netns;
pub mod overlay;
pub mod peer;
pub mod proxy;
pub mod relay;
pub mod source;
pub mod tls;
#[cfg(feature = "tls")]
pub mod tls_answer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A folder for one test, gone when it ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("apt-p2p-it-{}-{n}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).expect("the temporary folder can be written to");
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Something that the machine lacks: an error where everything must be there, else a word of why nothing was tested.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "under CI this must be there: {why}");
    println!("skipped: {why}");
}

/// Waits until `holds`, at most for `limit`.
pub fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "{what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes that differ all along, from a seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*, Marsaglia 2003
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
