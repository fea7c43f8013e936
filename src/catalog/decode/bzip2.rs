//! bzip2, as its author's library writes it: stream after stream.

use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;

use super::Source;

pub(super) struct Bzip2<'a> {
    plain: MultiBzDecoder<Source<'a>>,
    /// Whether there is any byte: the library takes none at all for a whole file.
    begun: bool,
}

impl<'a> Bzip2<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Bzip2 { plain: MultiBzDecoder::new(source), begun: false }
    }
}

impl Read for Bzip2<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.begun && self.plain.get_mut().fill_buf()?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.begun = true;
        self.plain.read(buf)
    }
}
