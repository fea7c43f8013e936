//! The line format of every index: fields, their continuation lines, stanzas between blank lines (deb822(5)).
//!
//! Owns the cutting of a stream of bytes into lines and lines into fields, in one fixed buffer. Refuses to keep or to
//! judge any of it. Bytes are bytes: an index may hold anything in fields that nobody here reads.

use std::io::{self, Read};

use memchr::memchr;

use super::Promise;
use crate::digest::Digest;
use crate::limits::INDEX_BUFFER_LEN;

/// One line of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// `Name: value`; spaces around the value are gone.
    Field(&'a [u8], &'a [u8]),
    /// A line that goes on with the field before it; spaces around it are gone.
    More(&'a [u8]),
    /// A line too long for the buffer: the name of its field, or empty if it is no field.
    Overlong(&'a [u8]),
    /// A line that is none of these.
    Other,
    /// A blank line or the end of the input behind a line that was not blank.
    End,
}

/// The lines of `reader`, CRLF or LF, one at a time.
pub(super) struct Lines<R> {
    reader: R,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    exhausted: bool,
    in_stanza: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Lines::with_buffer_len(reader, INDEX_BUFFER_LEN)
    }

    fn with_buffer_len(reader: R, len: usize) -> Self {
        let buf = vec![0; len].into_boxed_slice();
        Lines { reader, buf, start: 0, end: 0, exhausted: false, in_stanza: false }
    }

    /// The next line; `None` behind the end. Comment lines and repeated blank lines are left out.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some((line, whole)) = self.raw()? else {
                return Ok(std::mem::take(&mut self.in_stanza).then_some(Line::End));
            };
            let (from, to) = line;
            if !whole {
                self.skip_line()?;
            }
            let blank = whole && from == to;
            if blank && std::mem::take(&mut self.in_stanza) {
                return Ok(Some(Line::End));
            }
            if blank || self.buf[from] == b'#' {
                continue;
            }
            self.in_stanza = true;
            let line = &self.buf[from..to];
            return Ok(Some(if whole { split(line) } else { Line::Overlong(name_of(line)) }));
        }
    }

    /// Where the next line lies in the buffer, without its ending, and whether all of it does.
    fn raw(&mut self) -> io::Result<Option<((usize, usize), bool)>> {
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr(b'\n', &self.buf[searched..self.end]) {
                let from = std::mem::replace(&mut self.start, searched + at + 1);
                return Ok(Some(((from, without_return(&self.buf, from, searched + at)), true)));
            }
            if self.exhausted {
                let from = std::mem::replace(&mut self.start, self.end);
                return Ok((from < self.end).then(|| ((from, without_return(&self.buf, from, self.end)), true)));
            }
            if self.start == 0 && self.end == self.buf.len() {
                self.start = self.end;
                return Ok(Some(((0, self.end), false)));
            }
            let seen = self.end - self.start;
            self.fill()?;
            searched = self.start + seen;
        }
    }

    /// Moves what is unread to the buffer's front and reads more behind it.
    fn fill(&mut self) -> io::Result<()> {
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = self.reader.read(&mut self.buf[self.end..])?;
        self.exhausted = read == 0;
        self.end += read;
        Ok(())
    }

    /// Drops input up to the end of the line whose beginning fills the buffer. The beginning stays in the front half.
    fn skip_line(&mut self) -> io::Result<()> {
        let half = self.buf.len() / 2;
        loop {
            let read = self.reader.read(&mut self.buf[half..])?;
            if read == 0 {
                self.exhausted = true;
                (self.start, self.end) = (half, half);
                return Ok(());
            }
            if let Some(at) = memchr(b'\n', &self.buf[half..half + read]) {
                (self.start, self.end) = (half + at + 1, half + read);
                return Ok(());
            }
        }
    }
}

fn without_return(buf: &[u8], from: usize, to: usize) -> usize {
    if buf[from..to].last() == Some(&b'\r') { to - 1 } else { to }
}

/// Which kind of line it is; `line` is not empty.
fn split(line: &[u8]) -> Line<'_> {
    if matches!(line[0], b' ' | b'\t') {
        return Line::More(line.trim_ascii());
    }
    match memchr(b':', line) {
        Some(colon) if colon > 0 => Line::Field(&line[..colon], line[colon + 1..].trim_ascii()),
        _ => Line::Other,
    }
}

/// The name at the beginning of a line whose end was not seen.
fn name_of(beginning: &[u8]) -> &[u8] {
    // A name is far shorter than the half of the buffer that is still there.
    match split(&beginning[..beginning.len() / 2]) {
        Line::Field(name, _) => name,
        _ => b"",
    }
}

/// A decimal number of bytes, digits only.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// The digest, length and name in a line of a checksum field: `HEX LENGTH NAME`.
pub(super) fn checksum(line: &[u8]) -> Option<(Promise, &[u8])> {
    let (hex, rest) = word(line)?;
    let (len, name) = word(rest)?;
    let promise = Promise { digest: Digest::from_hex(hex)?, len: number(len)? };
    (!name.is_empty()).then_some((promise, name))
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    Some((&line[..end], line[end..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a byte count per read from a list, again and again, so that lines fall apart everywhere.
    struct Chunks<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Chunks<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let want = self.1[self.2 % self.1.len()].min(buf.len());
            self.2 += 1;
            self.0.read(&mut buf[..want])
        }
    }

    fn transcript(input: &[u8], buffer_len: usize, chunks: &[usize]) -> Vec<String> {
        let mut lines = Lines::with_buffer_len(Chunks(input, chunks.to_vec(), 0), buffer_len);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("memory reads") {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            seen.push(match line {
                Line::Field(name, value) => format!("{}={}", text(name), text(value)),
                Line::More(value) => format!("+{}", text(value)),
                Line::Overlong(name) => format!("{}…", text(name)),
                Line::Other => "?".into(),
                Line::End => ".".into(),
            });
        }
        seen
    }

    #[test]
    fn lines_are_told_apart() {
        let long = format!("Big: {}\nNext: 1\n", "x".repeat(100));
        let long_more = format!("A: 1\n {}\nB: 2", "x".repeat(64));
        for (input, expected) in [
            ("", ""),
            ("\n\r\n\n", ""),
            ("A: b\n", "A=b ."),
            ("A: b", "A=b ."),
            ("A:b \r\n c\r\n\r\n", "A=b +c ."),
            ("A:\n\tx:y\n\n\n# no\n\nB: c:d\n", "A= +x:y . B=c:d ."),
            ("A: 1\n# between\nB: 2\n \nC: 3", "A=1 B=2 + C=3 ."),
            ("no field\n:neither\n", "? ? ."),
            (&long, "Big… Next=1 ."),
            (&long[..90], "Big… ."),
            (&long_more, "A=1 … B=2 ."),
        ] {
            for chunks in [vec![1], vec![3], vec![2, 7, 1], vec![1000]] {
                assert_eq!(transcript(input.as_bytes(), 32, &chunks).join(" "), expected, "{input:?} by {chunks:?}");
            }
        }
    }

    #[test]
    fn a_line_as_long_as_the_buffer_is_whole_until_its_end_does_not_fit() {
        for (value_len, whole) in [(26, true), (27, true), (28, true), (29, false), (30, false)] {
            let input = format!("AB: {}\nC: d\n", "x".repeat(value_len - 1));
            let seen = transcript(input.as_bytes(), 32, &[1000]);
            assert_eq!(seen[0] != "AB…", whole, "{value_len}");
            assert_eq!(seen[1..], ["C=d", "."], "{value_len}");
        }
    }

    #[test]
    fn a_checksum_line_has_three_parts() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let line = format!("{hex}   12\tmain/with space");
        let (promise, name) = checksum(line.as_bytes()).expect("three parts");
        assert_eq!((promise.len, name), (12, &b"main/with space"[..]));
        for bad in
            ["", hex, &format!("{hex} 12"), &format!("{hex} +1 a"), &format!("{hex} 99999999999999999999 a"), "x 1 a"]
        {
            assert_eq!(checksum(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn how_reads_fall_changes_nothing(
            input in "[AB:# \n\r]{0,200}",
            chunks in prop::collection::vec(1_usize..40, 1..5),
        ) {
            let whole = transcript(input.as_bytes(), 32, &[1000]);
            prop_assert_eq!(transcript(input.as_bytes(), 32, &chunks), whole);
        }
    }
}
