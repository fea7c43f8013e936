//! Patches of an archive's Packages (pdiffs), as Debian's archive makes them: what `diff --ed` says, and an index of them.

use std::fmt::Write as _;
use std::process::Command;

use apt_p2p::digest::Digest;

use super::Scratch;
use super::archive::gzip;

/// Where they lie below the suite.
pub const DIR: &str = "main/binary-amd64/Packages.diff";

/// The patches, oldest first: each leads from one version to the next.
#[derive(Clone, Default)]
pub struct Diffs(Vec<Patch>);

#[derive(Clone)]
struct Patch {
    name: String,
    /// What it is applied to: digest and length.
    from: (Digest, usize),
    script: Vec<u8>,
}

impl Diffs {
    /// Adds the patch that makes `after` of `before`.
    pub fn add(&mut self, scratch: &Scratch, before: &str, after: &str) {
        let (old, new) = (scratch.path().join("before"), scratch.path().join("after"));
        std::fs::write(&old, before).expect("a scratch file");
        std::fs::write(&new, after).expect("a scratch file");
        let output = Command::new("diff").arg("--ed").args([&old, &new]).output().expect("diff is essential");
        assert_eq!(output.status.code(), Some(1), "the versions differ");
        let name = format!("2025-03-{:02}-0800.00", self.0.len() + 1);
        self.0.push(Patch { name, from: (Digest::of(before.as_bytes()), before.len()), script: output.stdout });
    }

    /// `Packages.diff/Index`, if there are any.
    pub fn index(&self, current: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut text = format!("SHA256-Current: {} {}\n", Digest::of(current.as_bytes()), current.len());
        let mut list = |field: &str, line: &dyn Fn(&Patch) -> String| {
            writeln!(text, "{field}:").expect("a String takes all");
            self.0.iter().for_each(|patch| writeln!(text, " {}", line(patch)).expect("a String takes all"));
        };
        list("SHA256-History", &|patch| format!("{} {} {}", patch.from.0, patch.from.1, patch.name));
        list("SHA256-Patches", &|patch| {
            format!("{} {} {}", Digest::of(&patch.script), patch.script.len(), patch.name)
        });
        list("SHA256-Download", &|patch| {
            let packed = gzip(&patch.script);
            format!("{} {} {}.gz", Digest::of(&packed), packed.len(), patch.name)
        });
        Some(text)
    }

    /// The patches as they lie on a mirror: name, content.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.0.iter().map(|patch| (format!("{}.gz", patch.name), gzip(&patch.script))).collect()
    }
}
