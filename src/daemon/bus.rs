//! The index is a memory map: a page of it that its disk does not give, or does not take back, ends the process (SIGBUS).
//!
//! Owns the last words, so that whoever reads the log knows why. systemd and procd start the program anew; without a disk
//! that works it passes everything through, and waits for one.

use std::io;

use signal_hook::consts::SIGBUS;
use signal_hook::low_level::{exit, register};

const LAST_WORDS: &[u8] =
    b"ERROR the disk with the cache's index fails or is gone (SIGBUS): the process ends. Started anew, \
it passes everything through from the mirrors until the disk is back\n";
/// As after any failure: supervisors start it again.
const STATUS: i32 = 1;

/// Has the process say why it ends.
pub(super) fn watch() -> io::Result<()> {
    let last_words = || {
        #[expect(unsafe_code, reason = "in a signal handler only calls that are safe there may be made")]
        // SAFETY: write(2) is one of them; the bytes are constant.
        unsafe {
            libc::write(libc::STDERR_FILENO, LAST_WORDS.as_ptr().cast(), LAST_WORDS.len());
        }
        exit(STATUS);
    };
    #[expect(unsafe_code, reason = "what a signal handler may do is its author's to know")]
    // SAFETY: it makes two calls, write(2) and _exit(2), both safe in a handler, and never returns to what failed.
    unsafe { register(SIGBUS, last_words) }.map(|_| ())
}
