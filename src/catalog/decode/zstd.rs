//! zstd (RFC 8878), by ruzstd: frame after frame, each with a bounded window.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Source;
use crate::catalog::CatalogError;
use crate::limits::DICTIONARY_LEN_MAX;

/// zstd's frames, one after the other, skippable ones left out. Content checksums are not compared: a file that is
/// learnt from has had its SHA-256 compared.
pub(super) struct Zstd<'a> {
    source: Source<'a>,
    frame: FrameDecoder,
    /// Whether a frame has begun whose bytes are not all yielded.
    inside: bool,
    /// Whether any frame was seen; no frame at all is no file.
    begun: bool,
}

impl<'a> Zstd<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(DICTIONARY_LEN_MAX as u64);
        Zstd { source, frame, inside: false, begun: false }
    }

    fn begin_frame(&mut self) -> io::Result<()> {
        match self.frame.reset(&mut self.source) {
            Ok(()) => self.inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                return Err(io::Error::other(CatalogError::DictionaryTooLarge));
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        self.begun = true;
        Ok(())
    }
}

impl Read for Zstd<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside {
                if self.source.fill_buf()?.is_empty() && self.begun {
                    return Ok(0);
                }
                self.begin_frame()?;
                continue;
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frame.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            let read = self.frame.read(buf)?;
            if read > 0 {
                return Ok(read);
            }
            self.inside = false;
        }
    }
}
