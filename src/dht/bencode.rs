//! Bencoding (BEP 3): a reader that checks a whole datagram once and then hands out slices of it, and a writer.
//!
//! Owns syntax alone. Bounded by [`BENCODE_DEPTH`] and by the datagram; nothing is copied. Keys of a dictionary may come
//! unsorted, as some clients send them; of two equal ones the first counts.

use std::io::Write as _;

use crate::limits::BENCODE_DEPTH;

/// What is wrong with bytes that should be bencoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not bencoded")
    }
}

impl std::error::Error for Malformed {}

/// One value inside a checked datagram; `raw` is its own encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value<'a> {
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// Checks that `bytes` are exactly one value.
    ///
    /// # Errors
    /// [`Malformed`] when they are not, or nest deeper than [`BENCODE_DEPTH`].
    pub fn parse(bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
        match value_end(bytes, 0, BENCODE_DEPTH) {
            Some(end) if end == bytes.len() => Ok(Value { raw: bytes }),
            _ => Err(Malformed),
        }
    }

    /// The value's own encoding.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// A byte string.
    #[must_use]
    pub fn bytes(self) -> Option<&'a [u8]> {
        string(self.raw, 0).map(|(bytes, _)| bytes)
    }

    /// A byte string of exactly `N` bytes.
    #[must_use]
    pub fn array<const N: usize>(self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    /// An integer.
    #[must_use]
    pub fn int(self) -> Option<i64> {
        let digits = self.raw.strip_prefix(b"i")?.strip_suffix(b"e")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The items of a list; of anything else none.
    pub fn list(self) -> impl Iterator<Item = Value<'a>> {
        let start = if self.raw.first() == Some(&b'l') { 1 } else { self.raw.len() };
        Items { raw: self.raw, at: start }
    }

    /// What a dictionary has under `key`; anything else has nothing.
    #[must_use]
    pub fn field(self, key: &[u8]) -> Option<Value<'a>> {
        let [value] = self.fields([key]);
        value
    }

    /// What a dictionary has under each of `keys`, found in one pass.
    #[must_use]
    pub fn fields<const N: usize>(self, keys: [&[u8]; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        let mut at = if self.raw.first() == Some(&b'd') { 1 } else { self.raw.len() };
        while let Some((name, start)) = string(self.raw, at)
            && let Some(end) = value_end(self.raw, start, BENCODE_DEPTH)
        {
            if let Some(n) = keys.iter().position(|key| *key == name) {
                found[n].get_or_insert(Value { raw: &self.raw[start..end] });
            }
            at = end;
        }
        found
    }
}

/// The values inside a list or a dictionary that was checked.
struct Items<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let end = value_end(self.raw, self.at, BENCODE_DEPTH)?;
        let raw = &self.raw[self.at..end];
        self.at = end;
        Some(Value { raw })
    }
}

/// Where the value that begins at `at` ends.
fn value_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'i' => int_end(bytes, at + 1),
        b'0'..=b'9' => string(bytes, at).map(|(_, end)| end),
        b'l' if depth > 0 => {
            let mut at = at + 1;
            while *bytes.get(at)? != b'e' {
                at = value_end(bytes, at, depth - 1)?;
            }
            Some(at + 1)
        }
        b'd' if depth > 0 => {
            let mut at = at + 1;
            while *bytes.get(at)? != b'e' {
                (_, at) = string(bytes, at)?;
                at = value_end(bytes, at, depth - 1)?;
            }
            Some(at + 1)
        }
        _ => None,
    }
}

fn int_end(bytes: &[u8], start: usize) -> Option<usize> {
    let len = bytes[start..].iter().take(21).position(|byte| *byte == b'e')?;
    let digits = &bytes[start..start + len];
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_number = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    is_number.then_some(start + len + 1)
}

/// The byte string that begins at `at`, and where it ends.
fn string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut len = 0_usize;
    for (i, byte) in bytes.get(at..)?.iter().enumerate() {
        match byte {
            // Five digits are more than any datagram has bytes.
            b'0'..=b'9' if i < 5 => len = len * 10 + usize::from(byte - b'0'),
            b':' if i > 0 => {
                let start = at + i + 1;
                return Some((bytes.get(start..start + len)?, start + len));
            }
            _ => return None,
        }
    }
    None
}

/// Writes bencoded values; the caller gives dictionaries' keys in order (BEP 3).
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// By hand: each datagram has a dozen of them, and formatting took a tenth of the time that one costs.
    fn length(&mut self, mut len: usize) {
        let first = self.out.len();
        loop {
            self.out.push(b"0123456789"[len % 10]);
            len /= 10;
            if len == 0 {
                break;
            }
        }
        self.out[first..].reverse();
        self.out.push(b':');
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        write!(self.out, "i{value}e").expect("a Vec takes all");
    }

    /// Something that is bencoded already.
    pub fn raw(&mut self, raw: &[u8]) {
        self.out.extend_from_slice(raw);
    }

    /// A dictionary, written by `fill`.
    pub fn dict(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        self.out.push(b'd');
        fill(self);
        self.out.push(b'e');
    }

    /// A list, written by `fill`.
    pub fn list(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        self.out.push(b'l');
        fill(self);
        self.out.push(b'e');
    }

    /// A key and its byte string.
    pub fn pair(&mut self, key: &[u8], bytes: &[u8]) {
        self.bytes(key);
        self.bytes(bytes);
    }

    /// A key and its integer.
    pub fn pair_int(&mut self, key: &[u8], value: i64) {
        self.bytes(key);
        self.int(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_exactly_one_value_is_refused() {
        for bad in [
            &b""[..],
            b"i",
            b"ie",
            b"i-e",
            b"i1",
            b"i12x3e",
            b"5:abcd",
            b"5",
            b":",
            b"1a:x",
            b"000001:x",
            b"l",
            b"li1e",
            b"d",
            b"di1ei2ee",
            b"d1:ae",
            b"i1ei2e",
            b"99999:",
            b"e",
            b"x",
            b"i111111111111111111111e",
        ] {
            assert_eq!(Value::parse(bad), Err(Malformed), "{}", String::from_utf8_lossy(bad));
        }
        assert!(Value::parse(&b"l".repeat(10_000)).is_err(), "no stack is used up");
    }

    #[test]
    fn fields_lists_and_their_raw_forms_are_found() {
        let value = Value::parse(b"d1:ai-7e1:bl1:x2:yze1:cd1:k0:e1:ai9ee").expect("good");
        assert_eq!(value.field(b"a").and_then(Value::int), Some(-7));
        let list = value.field(b"b").expect("there");
        assert_eq!(list.list().filter_map(Value::bytes).collect::<Vec<_>>(), [&b"x"[..], b"yz"]);
        let inner = value.field(b"c").expect("there");
        assert_eq!((inner.raw(), inner.field(b"k").and_then(Value::array::<0>)), (&b"d1:k0:e"[..], Some([])));
        assert!(value.field(b"z").is_none() && list.field(b"a").is_none() && inner.list().next().is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        Writer::new(&mut out).dict(|dict| {
            dict.pair(b"a", b"\x00\xff");
            dict.bytes(b"l");
            dict.list(|list| list.int(i64::MIN));
            dict.pair_int(b"n", 0);
        });
        assert_eq!(out, b"d1:a2:\x00\xff1:lli-9223372036854775808ee1:ni0ee");
        let value = Value::parse(&out).expect("our own");
        let first = value.field(b"l").and_then(|list| list.list().next()).and_then(Value::int);
        assert_eq!(first, Some(i64::MIN));
    }
}
