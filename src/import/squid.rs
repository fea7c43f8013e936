//! Where the body begins in a file of squid's disk cache.
//!
//! Such a file begins with a byte 3 and the length of squid's own notes (a 32-bit number of that machine), which counts
//! both; then come the answer's head as the mirror sent it, and its body (squid 3 to 6, `StoreMeta`, observed).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::limits::SQUID_HEAD_LEN;

/// The offset of the body; `None` if this is no file of squid's.
///
/// # Errors
/// Those of the disk.
pub(super) fn body_start(file: &File) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; SQUID_HEAD_LEN];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
        // All others are told by their first bytes.
        if len >= 5 && notes_len(&bytes[..len]).is_none() {
            return Ok(None);
        }
    }
    Ok(body_at(&bytes[..len]))
}

fn notes_len(bytes: &[u8]) -> Option<usize> {
    let [3, len @ ..] = bytes.get(..5)? else { return None };
    let len = u32::from_ne_bytes(len.try_into().ok()?);
    usize::try_from(len).ok().filter(|len| (5..SQUID_HEAD_LEN).contains(len))
}

fn body_at(bytes: &[u8]) -> Option<u64> {
    let head_start = notes_len(bytes)?;
    let head = bytes.get(head_start..)?;
    if !head.starts_with(b"HTTP/1.") {
        return None;
    }
    let end = memchr::memmem::find(head, b"\r\n\r\n")? + 4;
    Some((head_start + end) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(notes: &[u8], rest: &[u8]) -> Vec<u8> {
        let len = u32::try_from(5 + notes.len()).expect("short");
        [&[3], &len.to_ne_bytes()[..], notes, rest].concat()
    }

    #[test]
    fn the_body_follows_the_head() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        let file = stored(b"any notes", &[&head[..], b"body"].concat());
        assert_eq!(body_at(&file), Some(file.len() as u64 - 4));
        for cut in 0..file.len() - 4 {
            assert_eq!(body_at(&file[..cut]), None, "cut after {cut}");
        }
    }

    #[test]
    fn other_files_are_none() {
        let deb = b"!<arch>\ndebian-binary   ";
        for other in
            [&deb[..], &[3], &[3, 0, 0, 0, 0], &[3, 255, 255, 255, 255, 0], &stored(b"x", b"no head\r\n\r\n")]
        {
            assert_eq!(body_at(other), None, "{other:?}");
        }
    }
}
