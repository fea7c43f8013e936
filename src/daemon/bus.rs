//! The index is a memory map: a page of it that its disk does not give, or does not take back, ends the process (SIGBUS).
//! So does a panic in what `openwrt/cross` builds, by a trap and without a word of its own (SIGTRAP or SIGILL, by processor).
//!
//! Owns the last words, so that whoever reads the log knows why. systemd and procd start the program anew; without a disk
//! that works it passes everything through, and waits for one.

use std::io;

use libc::siginfo_t;
use signal_hook::consts::{SIGBUS, SIGILL, SIGTRAP};
use signal_hook::low_level::exit;
use signal_hook_registry::register_unchecked;

const LAST_WORDS: &[u8] =
    b"error: the disk with the cache's index fails or is gone (SIGBUS): the process ends. Started anew, \
it passes everything through from the mirrors until the disk is back\n";
/// As after any failure: supervisors start it again.
const STATUS: i32 = 1;

const BUG: &[u8] =
    b"error: a bug ended the process. Whoever has this build's symbols finds the place by its address, 0x";

/// Has the process say why it ends.
pub(super) fn watch() -> io::Result<()> {
    before_the_end(SIGBUS, |_| say(LAST_WORDS))?;
    for trap in [SIGTRAP, SIGILL] {
        before_the_end(trap, |info| {
            say(BUG);
            #[expect(unsafe_code, reason = "the field is one of a union")]
            // SAFETY: it is there for these two signals.
            say(&line_of(unsafe { info.si_addr() }.addr()));
        })?;
    }
    Ok(())
}

/// A signal after which nothing goes on: `last_words`, and the end.
fn before_the_end(signal: i32, last_words: fn(&siginfo_t)) -> io::Result<()> {
    let end = move |info: &siginfo_t| {
        last_words(info);
        exit(STATUS);
    };
    #[expect(unsafe_code, reason = "what a signal handler may do is its author's to know")]
    // SAFETY: it makes two kinds of calls, write(2) and _exit(2), both safe in a handler, and never returns to what failed.
    unsafe { register_unchecked(signal, end) }.map(|_| ())
}

fn say(words: &[u8]) {
    #[expect(unsafe_code, reason = "in a signal handler only calls that are safe there may be made")]
    // SAFETY: write(2) is one of them.
    unsafe {
        libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len());
    }
}

/// A number in hexadecimal, and the end of its line; nothing is allocated.
fn line_of(number: usize) -> [u8; 17] {
    let mut line = [b'\n'; 17];
    for (place, digit) in line[..16].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number as u64 >> (60 - 4 * place)) as usize & 15];
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_line() {
        assert_eq!(&line_of(0x0028_1b94), b"0000000000281b94\n");
    }
}
