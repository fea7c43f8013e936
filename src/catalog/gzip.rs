//! gzip (RFC 1952): members one after the other, each with its checksum and its length.
//!
//! The inflating is miniz_oxide's. What flate2 puts around it brings tables of 16 KB for a checksum that is computed here a
//! byte at a time: a sixtieth of a router's package.

use std::io::{self, BufRead, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// Flags of a member's head (§2.3.1).
const HEAD_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

pub(super) struct Gzip<R> {
    source: R,
    state: Box<InflateState>,
    /// Of the member's plain bytes so far; the length as the format has it, without what exceeds 32 bits.
    checksum: u32,
    len: u32,
    /// Whether a member has begun that has not ended.
    inside: bool,
    /// Whether any member was seen; none at all is no file.
    begun: bool,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(source: R) -> Self {
        let state = InflateState::new_boxed(DataFormat::Raw);
        Gzip { source, state, checksum: !0, len: 0, inside: false, begun: false }
    }

    fn begin_member(&mut self) -> io::Result<()> {
        let mut head = [0; 10];
        self.source.read_exact(&mut head)?;
        let flags = head[3];
        if head[..3] != [0x1f, 0x8b, 8] || flags & RESERVED != 0 {
            return Err(damaged());
        }
        if flags & EXTRA != 0 {
            let mut len = [0; 2];
            self.source.read_exact(&mut len)?;
            self.skip(u64::from(u16::from_le_bytes(len)))?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                self.skip_text()?;
            }
        }
        if flags & HEAD_CHECKSUM != 0 {
            self.skip(2)?;
        }
        self.state.reset(DataFormat::Raw);
        (self.checksum, self.len, self.inside, self.begun) = (!0, 0, true, true);
        Ok(())
    }

    fn end_member(&mut self) -> io::Result<()> {
        let mut end = [0; 8];
        self.source.read_exact(&mut end)?;
        let [checksum, len] = [&end[..4], &end[4..]].map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        if checksum != !self.checksum || len != self.len {
            return Err(damaged());
        }
        self.inside = false;
        Ok(())
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.source).take(len), &mut io::sink())?;
        if skipped < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// A text ends with a zero.
    fn skip_text(&mut self) -> io::Result<()> {
        let mut byte = [1];
        while byte[0] != 0 {
            self.source.read_exact(&mut byte)?;
        }
        Ok(())
    }

    /// Some more of the member's plain bytes; none at its end.
    fn read_member(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.source.fill_buf()?;
            let is_last = input.is_empty();
            let step = inflate(&mut self.state, input, buf, MZFlush::None);
            self.source.consume(step.bytes_consumed);
            let plain = &buf[..step.bytes_written];
            self.checksum = plain.iter().fold(self.checksum, |sum, byte| add(sum, *byte));
            // The length is taken modulo 2^32.
            self.len = self.len.wrapping_add(plain.len() as u32);
            match step.status {
                Ok(MZStatus::StreamEnd) => {
                    self.end_member()?;
                    return Ok(plain.len());
                }
                Ok(_) | Err(MZError::Buf) if !plain.is_empty() => return Ok(plain.len()),
                Ok(_) | Err(MZError::Buf) if is_last => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(MZError::Buf) => {}
                Err(_) => return Err(damaged()),
            }
        }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.inside {
                let read = self.read_member(buf)?;
                if read > 0 {
                    return Ok(read);
                }
            } else {
                if self.begun && self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_member()?;
            }
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no gzip, or damaged")
}

/// CRC-32 (§8) of one more byte.
fn add(sum: u32, byte: u8) -> u32 {
    TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut sum, mut bit) = (at as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_head_may_have_is_passed() {
        let mut bytes = flate2::GzBuilder::new()
            .extra(&b"extra"[..])
            .filename(&b"Packages"[..])
            .comment(&b"of today"[..])
            .write(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut bytes, b"plain").expect("memory grows");
        let mut bytes = bytes.finish().expect("memory grows");
        // Its own checksum, behind everything else: 10 bytes, 2 and 5, 9, 9.
        bytes[3] |= HEAD_CHECKSUM;
        bytes.splice(35..35, [1, 2]);
        let mut plain = String::new();
        Gzip::new(&bytes[..]).read_to_string(&mut plain).expect("whole");
        assert_eq!(plain, "plain");
    }
}
