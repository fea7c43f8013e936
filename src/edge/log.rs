//! What the log says of a request: one line each.

use std::fmt;

/// An exchange that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) source: &'static str,
    pub(super) remark: String,
    pub(super) joined: bool,
    pub(super) ms: u64,
    /// Whether the whole answer went out.
    pub(super) whole: bool,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Log { method, target, status, bytes, source, remark, ms, whole, .. } = self;
        if *status == 0 {
            return write!(f, "{method} {target} client left before the answer, after {ms} ms");
        }
        write!(f, "{method} {target} {status} {bytes} bytes from {source} in {ms} ms")?;
        if !remark.is_empty() {
            // What a mirror said may be in it: it stays on its line.
            let line = remark.replace(char::is_control, " ");
            write!(f, ": {line}")?;
        }
        if !whole { f.write_str(", cut off") } else { Ok(()) }
    }
}
