//! A Release: whatever is read from it obeys its own rules, and reads the same when it is signed.
#![no_main]

use apt_p2p::catalog::{encode, normalise, parse_release};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(release) = parse_release(bytes) else { return };
    assert!(release.files.windows(2).all(|pair| pair[0].name < pair[1].name));
    for entry in &release.files {
        assert_eq!(normalise(&encode(&entry.name)).as_ref(), Ok(&entry.name));
        assert_eq!(release.promise_of(&entry.name), Some(entry.promise));
    }
    // A dash would need an escape, and blanks at a line's end are not signed, so they go.
    let differs = |line: &[u8]| line.starts_with(b"-") || line.last().is_some_and(u8::is_ascii_whitespace);
    if bytes.split(|byte| *byte == b'\n').any(differs) {
        return;
    }
    let head: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n";
    let tail: &[u8] = b"\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n";
    if let Ok(signed) = parse_release(&[head, bytes, tail].concat()) {
        assert_eq!(signed, release);
    }
});
