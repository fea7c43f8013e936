//! Decompression of indexes in bounded memory.
//!
//! Owns the choice of decoder and what is required of all of them: bytes that end too early are an error, never a short
//! success; what follows the end is an error; members one after the other are one file; neither a dictionary nor the
//! plain bytes grow beyond their bounds. Refuses `.lzma` and `.lz4`, which no archive offers alone; and, in a build without
//! their features, bzip2 and zstd by name, so that the same index is learnt in another compression.
//!
//! Formats: RFC 1952 (gzip), RFC 8878 (zstd), the `.xz` file format 1.2, bzip2 as its author's library writes it.

#[cfg(feature = "bzip2")]
mod bzip2;
#[cfg(feature = "zstd")]
mod zstd;

use std::io::{self, BufReader, Read};

use lzma_rust2::XzReader;

use super::CatalogError;
use super::gzip::Gzip;
use crate::limits::{DICTIONARY_LEN_MAX, INDEX_BUFFER_LEN, PLAIN_INDEX_LEN_MAX};

/// How an index is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.bz2`
    Bzip2,
    /// `.zst`
    Zstd,
}

impl Compression {
    /// What the ending of `name` tells; `None` for one that is known and not supported (`.lzma`, `.lz4`).
    #[must_use]
    pub fn of(name: &str) -> Option<Compression> {
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "gz" => Some(Compression::Gzip),
            "xz" => Some(Compression::Xz),
            "bz2" => Some(Compression::Bzip2),
            "zst" => Some(Compression::Zstd),
            "lzma" | "lz4" => None,
            _ => Some(Compression::Plain),
        }
    }

    /// Whether this build has a decoder for it.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        match self {
            Compression::Plain | Compression::Gzip | Compression::Xz => true,
            Compression::Bzip2 => cfg!(feature = "bzip2"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }
}

/// A reader that yields the plain bytes of `reader`'s. Its errors are best turned into a [`CatalogError`] with `from`.
pub fn decoder<'a, R: Read + 'a>(compression: Compression, reader: R) -> Decoder<'a> {
    // One kind of source: five decoders for each kind would be a twentieth of the program.
    let reader: Box<dyn Read + 'a> = Box::new(reader);
    let source = BufReader::with_capacity(INDEX_BUFFER_LEN, Patient(reader));
    let format = match compression {
        Compression::Plain => Format::Plain(source),
        Compression::Gzip => Format::Gzip(Gzip::new(source)),
        Compression::Xz => Format::Xz(Box::new(Xz::new(source))),
        #[cfg(feature = "bzip2")]
        Compression::Bzip2 => Format::Bzip2(Box::new(bzip2::Bzip2::new(source))),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Format::Zstd(Box::new(zstd::Zstd::new(source))),
        #[cfg(not(all(feature = "bzip2", feature = "zstd")))]
        _ => Format::NotBuiltIn,
    };
    Decoder { format, passed: 0, failed: false }
}

/// See [`decoder`].
pub struct Decoder<'a> {
    format: Format<'a>,
    /// Plain bytes yielded so far.
    passed: u64,
    /// No format promises anything about a read after an error, so there is none.
    failed: bool,
}

type Source<'a> = BufReader<Patient<'a>>;

enum Format<'a> {
    Plain(Source<'a>),
    Gzip(Gzip<Source<'a>>),
    Xz(Box<Xz<'a>>),
    #[cfg(feature = "bzip2")]
    Bzip2(Box<bzip2::Bzip2<'a>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::Zstd<'a>>),
    #[cfg(not(all(feature = "bzip2", feature = "zstd")))]
    NotBuiltIn,
}

impl Read for Decoder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Not every format tells an empty buffer from the end.
        if buf.is_empty() {
            return Ok(0);
        }
        if self.failed {
            return Err(io::Error::other("the index was found damaged before"));
        }
        let result = self.read_bounded(buf);
        self.failed = result.is_err();
        result
    }
}

impl Decoder<'_> {
    fn read_bounded(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.format {
            Format::Plain(plain) => plain.read(buf),
            Format::Gzip(gzip) => gzip.read(buf),
            Format::Xz(xz) => xz.read(buf),
            #[cfg(feature = "bzip2")]
            Format::Bzip2(bzip2) => bzip2.read(buf),
            #[cfg(feature = "zstd")]
            Format::Zstd(zstd) => zstd.read(buf),
            #[cfg(not(all(feature = "bzip2", feature = "zstd")))]
            Format::NotBuiltIn => Err(io::Error::other(CatalogError::NotBuiltIn)),
        }?;
        self.passed += read as u64;
        if self.passed > PLAIN_INDEX_LEN_MAX {
            return Err(io::Error::other(CatalogError::DecompressedTooLarge));
        }
        Ok(read)
    }
}

/// Reads again after a signal: not every decoder can be resumed behind such an error.
struct Patient<'a>(Box<dyn Read + 'a>);

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

struct Xz<'a>(XzReader<Source<'a>>);

impl<'a> Xz<'a> {
    fn new(source: Source<'a>) -> Self {
        // The reader counts its own needs into the limit: 40 KiB and a chunk of compressed bytes (64 KiB).
        const OWN_KB: usize = 40 + 64;
        let limit_kb = u32::try_from(DICTIONARY_LEN_MAX / 1024 + OWN_KB).expect("a dictionary is below 4 GiB");
        Xz(XzReader::new_mem_limit(source, true, limit_kb))
    }
}

impl Read for Xz<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|error| {
            let refused = error.kind() == io::ErrorKind::OutOfMemory && error.raw_os_error().is_none();
            if refused { io::Error::other(CatalogError::DictionaryTooLarge) } else { error }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::io::Write as _;

    /// Text that compresses like an index, and differs all along.
    fn text(len: usize) -> Vec<u8> {
        let mut text = String::new();
        let mut n = 7_u32;
        while text.len() < len {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            writeln!(text, "Package: name{}\nSHA256: {:08x}", n >> 20, n).expect("strings grow");
        }
        text.into_bytes()
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain).expect("memory grows");
        encoder.finish().expect("memory grows")
    }

    fn xz_with(plain: &[u8], dict_len: u32) -> Vec<u8> {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = dict_len;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("the options hold");
        encoder.write_all(plain).expect("memory grows");
        encoder.finish().expect("memory grows")
    }

    fn xz(plain: &[u8]) -> Vec<u8> {
        xz_with(plain, 1 << 16)
    }

    fn bzip2(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
        encoder.write_all(plain).expect("memory grows");
        encoder.finish().expect("memory grows")
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest)
    }

    type Encode = fn(&[u8]) -> Vec<u8>;
    const FORMATS: [(Compression, Encode); 4] =
        [(Compression::Gzip, gzip), (Compression::Xz, xz), (Compression::Bzip2, bzip2), (Compression::Zstd, zstd)];

    fn decode(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, CatalogError> {
        let mut plain = Vec::new();
        decoder(compression, bytes).read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for (compression, encode) in FORMATS {
            for len in [0, 1, 5000, 300_000] {
                let plain = text(len);
                assert_eq!(decode(compression, &encode(&plain)).expect("whole"), plain, "{compression:?} {len}");
            }
        }
        assert_eq!(decode(Compression::Plain, b"as it is").expect("whole"), b"as it is");
    }

    #[test]
    fn members_in_a_row_are_one_file() {
        for (compression, encode) in FORMATS {
            let (one, two) = (text(4000), text(900));
            let bytes = [encode(&one), encode(b""), encode(&two)].concat();
            assert_eq!(decode(compression, &bytes).expect("whole"), [one, two].concat(), "{compression:?}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_no_file() {
        for (compression, encode) in FORMATS {
            let bytes = encode(&text(3000));
            for cut in 0..bytes.len() {
                let result = decode(compression, &bytes[..cut]);
                assert!(matches!(result, Err(CatalogError::Corrupt(_))), "{compression:?} at {cut}: {result:?}");
            }
            let second = [bytes.clone(), bytes.clone()].concat();
            for cut in bytes.len() + 1..second.len() {
                let result = decode(compression, &second[..cut]);
                assert!(result.is_err(), "{compression:?} at {cut} of two");
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_an_error() {
        for (compression, encode) in FORMATS {
            for tail in [&b"x"[..], b"<html>", b"\0", &[0; 7], &text(300)] {
                let bytes = [&encode(&text(3000)), tail].concat();
                assert!(decode(compression, &bytes).is_err(), "{compression:?} and {tail:?}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_found_where_the_format_has_a_checksum() {
        for (compression, encode) in &FORMATS[..3] {
            let plain = text(3000);
            let bytes = encode(&plain);
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 0x10;
                // Header bytes such as a gzip file's time stamp change nothing.
                if let Ok(decoded) = decode(*compression, &bad) {
                    assert_eq!(decoded, plain, "{compression:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_dictionary_beyond_the_bound_is_refused_by_name() {
        let limit = u32::try_from(DICTIONARY_LEN_MAX).expect("below 4 GiB");
        let plain = text(2000);
        let fits = patch_dictionary(xz(&plain), 24);
        assert_eq!(decode(Compression::Xz, &fits).expect("16 MiB are allowed").len(), plain.len());
        let large = patch_dictionary(xz(&plain), 25);
        assert!(matches!(decode(Compression::Xz, &large), Err(CatalogError::DictionaryTooLarge)), "over {limit}");
        // A zstd frame header with a window of 2^(10+15) bytes and nothing behind it.
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 15 << 3];
        assert!(matches!(decode(Compression::Zstd, &zstd), Err(CatalogError::DictionaryTooLarge)));
    }

    /// Claims a dictionary of 2^24 (encoded 24) or 3·2^23 bytes (25) in the first block header, with a right checksum:
    /// encoding one for real would take the memory that the test is about.
    fn patch_dictionary(mut xz: Vec<u8>, code: u8) -> Vec<u8> {
        let header_len = (usize::from(xz[12]) + 1) * 4;
        let crc_at = 12 + header_len - 4;
        // Size, flags, filter id 0x21, one byte of properties, the dictionary's code (.xz §3.1, §5.3.1).
        assert_eq!(xz[14..16], [0x21, 1]);
        xz[16] = code;
        let crc = crc32(&xz[12..crc_at]).to_le_bytes();
        xz[crc_at..crc_at + 4].copy_from_slice(&crc);
        xz
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn zstd_frames_to_be_skipped_are_skipped_whole() {
        let skip = |len: u8, body: &[u8]| [&[0x50, 0x2a, 0x4d, 0x18, len, 0, 0, 0], body].concat();
        let bytes = [skip(3, b"abc"), zstd(b"text"), skip(0, b"")].concat();
        assert_eq!(decode(Compression::Zstd, &bytes).expect("whole"), b"text");
        assert!(decode(Compression::Zstd, &[zstd(b"text"), skip(3, b"ab")].concat()).is_err());
    }

    #[test]
    fn what_never_ends_is_stopped() {
        let mut decoder = decoder(Compression::Plain, io::repeat(0));
        let mut buf = vec![0; 1 << 20];
        let error = loop {
            match decoder.read(&mut buf) {
                Ok(read) => assert!(read > 0),
                Err(error) => break CatalogError::from(error),
            }
        };
        assert!(matches!(error, CatalogError::DecompressedTooLarge));
        assert!(decoder.read(&mut buf).is_err(), "an error is for good");
    }

    #[test]
    fn an_error_of_the_disk_is_told_from_a_damaged_file() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        for compression in [Compression::Plain, Compression::Gzip, Compression::Xz, Compression::Bzip2] {
            let error = decoder(compression, Bad).read(&mut [0; 9]).expect_err("the source fails");
            assert!(matches!(CatalogError::from(error), CatalogError::Read(_)), "{compression:?}");
        }
    }
}
