//! An index of patches: every path that comes out stays inside the archive, in the one spelling that the store knows.
#![no_main]

use std::ops::ControlFlow;

use apt_p2p::catalog::{Index, IndexKind, encode, normalise, read_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (release_dir, name, root) in [
        ("d/dists/sid", "main/binary-amd64/Packages.diff/Index", "d/dists/sid/main/binary-amd64/Packages.diff/"),
        ("repo/lucid", "Index", "repo/lucid/"),
    ] {
        let index = Index { kind: IndexKind::DiffIndex, release_dir, name };
        let mut entries = 0;
        let result = read_index(index, bytes, &mut |path, _| {
            assert!(path.starts_with(root), "{path}");
            assert_eq!(normalise(&encode(path)).as_deref(), Ok(path));
            entries += 1;
            ControlFlow::Continue(())
        });
        if let Ok(tally) = result {
            assert_eq!(tally.entries, entries);
        }
    }
});
