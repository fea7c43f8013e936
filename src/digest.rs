//! SHA-256 identities: of whole files, of the pieces inside them, of names.
//!
//! A file is known by its [`Digest`]. While its bytes stream through a [`PieceHasher`], the chaining value after each
//! whole piece (the [`Midstate`]) falls off on the way: piece *i* is right exactly if compressing it from midstate
//! *i−1* gives midstate *i*, so pieces can later be checked in any order without a second hash (FIPS 180-4, §6.2).

use std::fmt;
use std::str::FromStr;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// Bytes in a piece; the last piece of a file may be shorter. The size that the original apt-p2p measured: four
/// packages in five are one piece.
pub const PIECE_LEN: u64 = 524_288;

const BLOCK_LEN: usize = 64;

/// SHA-256's initial value (FIPS 180-4, §5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The SHA-256 of a whole file: its identity in the store and between peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
}

/// What is wrong with a text that should be 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotADigest;

impl fmt::Display for NotADigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a SHA-256 digest (64 hexadecimal digits)")
    }
}

impl std::error::Error for NotADigest {}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        Digest::from_hex(text.as_bytes()).ok_or(NotADigest)
    }
}

impl Digest {
    /// The digest that 64 hexadecimal digits (either case) stand for.
    #[must_use]
    pub fn from_hex(hex: &[u8]) -> Option<Digest> {
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

impl Digest {
    /// What stands for the digest between peers, in keys and paths: itself, or in a network with a secret its HMAC.
    #[must_use]
    pub fn on_the_wire(&self, secret: Option<&[u8]>) -> Digest {
        secret.map_or(*self, |secret| hmac(secret, &self.0))
    }
}

/// HMAC-SHA256 (RFC 2104).
#[must_use]
pub fn hmac(secret: &[u8], text: &[u8]) -> Digest {
    let mut block = [0; 64];
    if secret.len() > block.len() {
        block[..32].copy_from_slice(&Digest::of(secret).0);
    } else {
        block[..secret.len()].copy_from_slice(secret);
    }
    let inner = Digest::of(&[&block.map(|byte| byte ^ 0x36)[..], text].concat());
    Digest::of(&[&block.map(|byte| byte ^ 0x5c)[..], &inner.0[..]].concat())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes bytes as lower-case hexadecimal digits, many at once: each request's path and tag have a digest in them.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for part in bytes.chunks(text.len() / 2) {
        for (pair, byte) in text.chunks_exact_mut(2).zip(part) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        f.write_str(std::str::from_utf8(&text[..2 * part.len()]).expect("digits are ASCII"))?;
    }
    Ok(())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..6])?;
        f.write_str("…")
    }
}

/// SHA-256's chaining value after a whole number of pieces, big-endian, without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Midstate(pub [u8; 32]);

impl Midstate {
    /// What the first piece starts from: SHA-256's initial value.
    pub const INITIAL: Midstate = Midstate(words_as_bytes(INITIAL));
}

const fn words_as_bytes(words: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = words[at / 4].to_be_bytes()[at % 4];
        at += 1;
    }
    bytes
}

impl fmt::Debug for Midstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..6])?;
        f.write_str("…")
    }
}

/// Hashes a file as it streams by and yields the midstate after each whole piece. Each byte is hashed once.
#[derive(Clone)]
pub struct PieceHasher {
    state: [u32; 8],
    len: u64,
    partial: [u8; BLOCK_LEN],
}

impl Default for PieceHasher {
    fn default() -> Self {
        PieceHasher { state: INITIAL, len: 0, partial: [0; BLOCK_LEN] }
    }
}

impl PieceHasher {
    /// A hasher that has already seen `pieces` whole pieces, which led to `midstate`.
    #[must_use]
    pub fn resume(midstate: Midstate, pieces: u64) -> PieceHasher {
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(midstate.0.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        PieceHasher { state, len: pieces * PIECE_LEN, partial: [0; BLOCK_LEN] }
    }

    /// Bytes seen so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The midstate, if the bytes so far are whole pieces.
    #[must_use]
    pub fn at_piece_end(&self) -> Option<Midstate> {
        self.len.is_multiple_of(PIECE_LEN).then(|| self.midstate())
    }

    /// Whether no byte was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hashes `bytes`; `on_midstate` is called with the midstate after each piece that they complete, in order.
    pub fn update(&mut self, mut bytes: &[u8], mut on_midstate: impl FnMut(Midstate)) {
        while !bytes.is_empty() {
            let left_in_piece = usize::try_from(PIECE_LEN - self.len % PIECE_LEN).expect("a piece fits usize");
            let (now, later) = bytes.split_at(left_in_piece.min(bytes.len()));
            self.compress(now);
            if self.len.is_multiple_of(PIECE_LEN) {
                on_midstate(self.midstate());
            }
            bytes = later;
        }
    }

    /// The digest of all bytes seen.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        let bits = self.len.wrapping_mul(8).to_be_bytes();
        let filled = self.filled();
        let mut tail = [0; 2 * BLOCK_LEN];
        tail[..filled].copy_from_slice(&self.partial[..filled]);
        tail[filled] = 0x80;
        let end = if filled < BLOCK_LEN - 8 { BLOCK_LEN } else { 2 * BLOCK_LEN };
        tail[end - 8..end].copy_from_slice(&bits);
        let (blocks, _) = tail[..end].as_chunks::<BLOCK_LEN>();
        compress256(&mut self.state, blocks);
        Digest(self.midstate().0)
    }

    fn filled(&self) -> usize {
        usize::try_from(self.len % BLOCK_LEN as u64).expect("less than a block")
    }

    fn compress(&mut self, mut bytes: &[u8]) {
        let filled = self.filled();
        self.len += bytes.len() as u64;
        if filled > 0 {
            let take = bytes.len().min(BLOCK_LEN - filled);
            self.partial[filled..filled + take].copy_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if filled + take < BLOCK_LEN {
                return;
            }
            compress256(&mut self.state, &[self.partial]);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        compress256(&mut self.state, blocks);
        self.partial[..rest.len()].copy_from_slice(rest);
    }

    fn midstate(&self) -> Midstate {
        Midstate(words_as_bytes(self.state))
    }
}

/// How many pieces a file of `len` bytes has; an empty one has none.
#[must_use]
pub fn pieces(len: u64) -> usize {
    usize::try_from(len.div_ceil(PIECE_LEN)).expect("a file has fewer pieces than memory has bytes")
}

/// The midstates after each piece but the last of a file whose length is known.
///
/// It comes from others, and says nothing by itself: a piece shows that it leads from one entry to the next, and only an
/// unbroken chain of right pieces up to the digest shows that an entry is true.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceTable(Vec<Midstate>);

impl fmt::Debug for PieceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table of {} midstates", self.0.len())
    }
}

impl PieceTable {
    /// The table with these midstates, if a file of `len` bytes can have it.
    #[must_use]
    pub fn new(midstates: Vec<Midstate>, len: u64) -> Option<PieceTable> {
        (midstates.len() + 1 == pieces(len)).then_some(PieceTable(midstates))
    }

    /// The table in its raw form, 32 bytes a midstate, if a file of `len` bytes can have it.
    #[must_use]
    pub fn parse(bytes: &[u8], len: u64) -> Option<PieceTable> {
        let (midstates, []) = bytes.as_chunks::<32>() else { return None };
        PieceTable::new(midstates.iter().copied().map(Midstate).collect(), len)
    }

    /// What names it between peers: the SHA-256 of its raw form.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = Sha256::new();
        self.0.iter().for_each(|midstate| hasher.update(midstate.0));
        Digest(hasher.finalize().into())
    }

    /// The midstates, first to last.
    #[must_use]
    pub fn midstates(&self) -> &[Midstate] {
        &self.0
    }

    /// The midstate that piece `piece` starts from.
    #[must_use]
    pub fn before(&self, piece: usize) -> Midstate {
        piece.checked_sub(1).map_or(Midstate::INITIAL, |at| self.0[at])
    }

    /// The midstate that piece `piece` leads to; `None` for the last one, which leads to the digest.
    #[must_use]
    pub fn after(&self, piece: usize) -> Option<Midstate> {
        self.0.get(piece).copied()
    }
}

/// A piece while its bytes come, each hashed once.
pub struct PieceCheck(PieceHasher, Option<Midstate>);

impl PieceCheck {
    /// Begins piece number `piece`, which starts from `before`.
    #[must_use]
    pub fn new(before: Midstate, piece: usize) -> PieceCheck {
        PieceCheck(PieceHasher::resume(before, piece as u64), None)
    }

    /// Takes the next bytes of the piece: never more than it has.
    pub fn update(&mut self, bytes: &[u8]) {
        let end = &mut self.1;
        self.0.update(bytes, |midstate| *end = Some(midstate));
    }

    /// Whether the bytes were a whole piece that leads to `after`.
    #[must_use]
    pub fn leads_to(&self, after: Midstate) -> bool {
        self.1 == Some(after)
    }

    /// Whether the bytes were the last piece of the file with this digest.
    #[must_use]
    pub fn completes(self, digest: &Digest) -> bool {
        self.0.finish() == *digest
    }
}

/// Where a name lies in the catalog: the first 16 bytes of SHA-256(host ‖ `/` ‖ path), the host in lower case with its
/// port unless that is the scheme's own, the path decoded and without `.` or empty segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameHash(pub [u8; 16]);

impl NameHash {
    /// The hash of `path` (no leading slash) on `host`.
    #[must_use]
    pub fn of(host: &str, path: &str) -> NameHash {
        let whole = Sha256::new().chain_update(host).chain_update("/").chain_update(path).finalize();
        NameHash(whole[..16].try_into().expect("32 bytes have a first half"))
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..6])?;
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * 31 % 251).expect("below 251")).collect()
    }

    #[test]
    fn agrees_with_plain_sha256_for_every_length_around_a_block() {
        for len in (0..200).chain([PIECE_LEN as usize - 1, PIECE_LEN as usize, 2 * PIECE_LEN as usize + 77]) {
            let bytes = pattern(len);
            for step in [1.max(len / 3), 7, 64, 100_000] {
                let mut hasher = PieceHasher::default();
                bytes.chunks(step).for_each(|part| hasher.update(part, |_| ()));
                assert_eq!(hasher.finish(), Digest::of(&bytes), "{len} bytes by {step}");
                if len > 200 && step == 7 {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_midstate_resumes_to_the_same_digest() {
        let bytes = pattern(3 * PIECE_LEN as usize + 5);
        let mut midstates = Vec::new();
        let mut hasher = PieceHasher::default();
        hasher.update(&bytes, |m| midstates.push(m));
        assert_eq!(midstates.len(), 3);
        for (i, midstate) in midstates.iter().enumerate() {
            let pieces = i as u64 + 1;
            let mut resumed = PieceHasher::resume(*midstate, pieces);
            resumed.update(&bytes[(pieces * PIECE_LEN) as usize..], |_| ());
            assert_eq!(resumed.finish(), Digest::of(&bytes));
        }
    }

    #[test]
    fn a_piece_is_right_exactly_if_it_leads_from_one_midstate_to_the_next() {
        for len in [2 * PIECE_LEN as usize, 2 * PIECE_LEN as usize + 5, 3 * PIECE_LEN as usize - 1] {
            let bytes = pattern(len);
            let mut midstates = Vec::new();
            let mut hasher = PieceHasher::default();
            hasher.update(&bytes, |m| midstates.push(m));
            let count = pieces(len as u64);
            midstates.truncate(count - 1);
            let table = PieceTable::new(midstates, len as u64).expect("it fits");
            let right = |piece: usize, bytes: &[u8]| {
                let mut check = PieceCheck::new(table.before(piece), piece);
                bytes.chunks(70_001).for_each(|part| check.update(part));
                match table.after(piece) {
                    Some(after) => check.leads_to(after),
                    None => check.completes(&Digest::of(&pattern(len))),
                }
            };
            for (piece, content) in bytes.chunks(PIECE_LEN as usize).enumerate() {
                assert!(right(piece, content), "{len}: piece {piece}");
                assert!(!right(piece, &content[1..]), "{len}: piece {piece}, cut");
                let mut flipped = content.to_vec();
                flipped[content.len() / 2] ^= 1;
                assert!(!right(piece, &flipped), "{len}: piece {piece}, flipped");
            }
        }
    }

    #[test]
    fn a_table_must_have_the_length_that_its_file_asks_for() {
        let len = 3 * PIECE_LEN;
        let raw: Vec<u8> = (0..64).collect();
        let table = PieceTable::parse(&raw, len).expect("two midstates for three pieces");
        assert_eq!(table.hash(), Digest::of(&raw));
        for (bad, len) in
            [(&raw[..], len + 1), (&raw[..63], len), (&raw[..32], len), (&raw[..], PIECE_LEN), (&raw[..0], 0)]
        {
            assert_eq!(PieceTable::parse(bad, len), None, "{} bytes for {len}", bad.len());
        }
        assert_eq!((pieces(0), pieces(1), pieces(PIECE_LEN), pieces(PIECE_LEN + 1)), (0, 1, 1, 2));
    }

    #[test]
    fn hex_goes_both_ways_and_refuses_the_rest() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
        for bad in ["", "ba78", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(NotADigest), "{bad}");
        }
    }
}
