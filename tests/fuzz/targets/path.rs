//! Request paths: what is accepted has one spelling and stays below its host.
#![no_main]

use apt_p2p::catalog::path::{base_of, encode, flat_base, normalise, place, release_dirs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    let Ok(path) = normalise(raw) else { return };
    assert!(path.is_empty() || path.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    assert!(!path.contains(|c: char| c.is_ascii_control() || c == '\\'));
    assert_eq!(normalise(&encode(&path)).as_ref(), Ok(&path));
    let _ = place(&path);
    for dir in release_dirs(&path) {
        assert!(path.starts_with(dir) && (dir.is_empty() || path.as_bytes()[dir.len()] == b'/'));
        assert!(dir.starts_with(base_of(dir)));
        assert!(dir.starts_with(flat_base(dir, raw)));
    }
});
