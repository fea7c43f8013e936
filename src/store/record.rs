//! Records of the index as bytes. What comes from the disk is not trusted: a record that does not fit is an error.
//!
//! Numbers are big-endian. A text is its length in two bytes and its bytes; an optional one has a length of 0xffff for
//! none. The first byte of a key tells the kind of record:
//!
//! | key | value |
//! |---|---|
//! | `F` digest | file: stored, unreferenced since (0: referenced), public, owner, length, head |
//! | `P` digest | piece table: the midstates after piece 1 … n−1 |
//! | `N` name hash | what was last found under a name: digest, length, checked, private, head, host/path |
//! | `S` hash of host/dir, which file | the snapshots of a Release, newest first, with host and dir |
//! | `I` hash of host/path | an index that was learnt: id, digest of what was learnt, host, base, path |
//! | `B` hash of host/base, id | that this index lies below this base |
//! | `E` id, name hash | a promise: digest, length, retired |
//! | `W` hash of host/dir, name hash | when a client last asked for this index file, or for the Release itself |
//! | `U` hash of host/path with a star for the version | when a version of this package was last fetched for a client |
//! | `X` digest | when wrong bytes under this digest were shown to a client |
//! | `D` | how many files the disk has spoilt, when the last was found |
//! | `L` | addresses that lied: each 16 bytes (IPv4 mapped), how often, when last |
//! | `C` | counters: files, their bytes, the next id |
//! | `V` | the format's version |

use std::net::{IpAddr, Ipv6Addr};

use super::liars::Liar;
use crate::catalog::{Promise, ReleaseFile};
use crate::digest::{Digest, NameHash};
use crate::stream::Head;
use crate::time::Stamp;

/// The version of this format; another one means an index made anew.
pub(super) const VERSION: &[u8] = b"apt-p2p 2";

/// A record that is not what its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Names an index or a snapshot among the promises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct IndexId(pub(super) u32);

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    pub(super) stored: Stamp,
    pub(super) unreferenced: Stamp,
    /// Whether an index of a public archive promised it when it was fetched: others may have it.
    pub(super) public: bool,
    /// The host whose credentials opened it, if it needed any.
    pub(super) owner: Option<String>,
    pub(super) len: u64,
    pub(super) head: Head,
}

/// What was last found under a mutable or unplaced name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// The file's digest.
    pub digest: Digest,
    /// Its length.
    pub len: u64,
    /// What the mirror said of it.
    pub head: Head,
    /// When the mirror was last asked.
    pub checked: Stamp,
    /// `host/path`.
    pub url: String,
    /// Whether it came with somebody's credentials.
    pub private: bool,
}

/// A Release as it was at one time, and with it what its index files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Names its promises.
    pub id: IndexId,
    /// The Release file itself.
    pub digest: Digest,
    /// Its length.
    pub len: u64,
    /// Its `Date`; 0 if it has none.
    pub date: Stamp,
    /// When it came.
    pub fetched: Stamp,
    /// Whether its index files can be had by hash.
    pub by_hash: bool,
    /// What the mirror said of the file.
    pub head: Head,
    /// Its `Origin`.
    pub origin: Option<String>,
}

/// The snapshots of one Release file, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) host: String,
    pub(super) dir: String,
    pub(super) snapshots: Vec<Snapshot>,
}

/// An index that was learnt, or is being learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexRecord {
    pub(super) id: IndexId,
    pub(super) learnt: Option<Digest>,
    pub(super) host: String,
    pub(super) base: String,
    pub(super) path: String,
}

/// A promise in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) promise: Promise,
    /// No current index names it any more; it is served while the file is here.
    pub(super) retired: bool,
}

/// Addresses that lied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiarsRecord(pub(super) Vec<Liar>);

/// Sums that are kept in step with the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) next_id: u32,
}

/// The byte by which a Release's form is known.
pub(super) fn which(file: ReleaseFile) -> u8 {
    match file {
        ReleaseFile::InRelease => b'i',
        ReleaseFile::Release => b'r',
        ReleaseFile::Signature => b's',
    }
}

/// Keys, by kind.
pub(super) mod key {
    use super::{Digest, IndexId, NameHash, ReleaseFile};

    pub(in crate::store) const COUNTERS: &[u8] = b"C";
    pub(in crate::store) const DAMAGE: &[u8] = b"D";
    pub(in crate::store) const LIARS: &[u8] = b"L";
    pub(in crate::store) const VERSION: &[u8] = b"V";

    pub(in crate::store) fn of_digest(kind: u8, digest: &Digest) -> [u8; 33] {
        let mut key = [kind; 33];
        key[1..].copy_from_slice(&digest.0);
        key
    }

    pub(in crate::store) fn of_name(kind: u8, name: NameHash) -> [u8; 17] {
        let mut key = [kind; 17];
        key[1..].copy_from_slice(&name.0);
        key
    }

    pub(in crate::store) fn suite(host: &str, dir: &str, file: ReleaseFile) -> [u8; 18] {
        let mut key = [super::which(file); 18];
        key[..17].copy_from_slice(&of_name(b'S', NameHash::of(host, dir)));
        key
    }

    pub(in crate::store) fn base(host: &str, base: &str, id: IndexId) -> [u8; 21] {
        let mut key = [0; 21];
        key[..17].copy_from_slice(&of_name(b'B', NameHash::of(host, base)));
        key[17..].copy_from_slice(&id.0.to_be_bytes());
        key
    }

    pub(in crate::store) fn entries(id: IndexId) -> [u8; 5] {
        let mut key = [b'E'; 5];
        key[1..].copy_from_slice(&id.0.to_be_bytes());
        key
    }

    pub(in crate::store) fn entry(id: IndexId, name: NameHash) -> [u8; 21] {
        let mut key = [0; 21];
        key[..5].copy_from_slice(&entries(id));
        key[5..].copy_from_slice(&name.0);
        key
    }

    pub(in crate::store) fn wanted(host: &str, dir: &str, name: NameHash) -> [u8; 33] {
        let mut key = [0; 33];
        key[..17].copy_from_slice(&of_name(b'W', NameHash::of(host, dir)));
        key[17..].copy_from_slice(&name.0);
        key
    }
}

/// Puts values one behind the other.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn bytes(mut self, bytes: &[u8]) -> Out {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(self, number: u64) -> Out {
        self.bytes(&number.to_be_bytes())
    }

    fn flag(self, flag: bool) -> Out {
        self.bytes(&[u8::from(flag)])
    }

    /// Cut where it is longer than any text that is kept: none of ours is.
    fn text(self, text: &str) -> Out {
        let len = text.floor_char_boundary(usize::from(u16::MAX - 1));
        let prefix = u16::try_from(len).expect("cut above").to_be_bytes();
        self.bytes(&prefix).bytes(&text.as_bytes()[..len])
    }

    fn maybe(self, text: Option<&str>) -> Out {
        match text {
            Some(text) => self.text(text),
            None => self.bytes(&u16::MAX.to_be_bytes()),
        }
    }

    fn head(self, head: &Head) -> Out {
        self.number(head.len.unwrap_or(u64::MAX))
            .maybe(head.last_modified.as_deref())
            .maybe(head.etag.as_deref())
            .maybe(head.content_type.as_deref())
    }
}

/// Takes values one behind the other.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(Malformed),
        }
    }

    fn digest(&mut self) -> Result<Digest> {
        Ok(Digest(self.array()?))
    }

    fn maybe(&mut self) -> Result<Option<String>> {
        let len = u16::from_be_bytes(self.array()?);
        if len == u16::MAX {
            return Ok(None);
        }
        let bytes = self.bytes(usize::from(len))?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| Malformed)
    }

    fn text(&mut self) -> Result<String> {
        self.maybe()?.ok_or(Malformed)
    }

    /// What stands in clients' heads: one line, as the mirror's was.
    fn line(&mut self) -> Result<Option<String>> {
        let is_plain = |text: &String| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        match self.maybe()? {
            Some(text) if !is_plain(&text) => Err(Malformed),
            line => Ok(line),
        }
    }

    fn head(&mut self) -> Result<Head> {
        Ok(Head {
            len: Some(self.number()?).filter(|len| *len != u64::MAX),
            last_modified: self.line()?,
            etag: self.line()?,
            content_type: self.line()?,
        })
    }

    fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// A record with its bytes.
pub(super) trait Record: Sized {
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Result<Self>;
}

impl Record for FileRecord {
    fn encode(&self) -> Vec<u8> {
        let out = Out::default().number(self.stored.0).number(self.unreferenced.0).flag(self.public);
        out.maybe(self.owner.as_deref()).number(self.len).head(&self.head).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let record = FileRecord {
            stored: Stamp(bytes.number()?),
            unreferenced: Stamp(bytes.number()?),
            public: bytes.flag()?,
            owner: bytes.maybe()?,
            len: bytes.number()?,
            head: bytes.head()?,
        };
        bytes.end().map(|()| record)
    }
}

impl Record for NameRecord {
    fn encode(&self) -> Vec<u8> {
        let out = Out::default().bytes(&self.digest.0).number(self.len).number(self.checked.0).flag(self.private);
        out.head(&self.head).text(&self.url).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let (digest, len) = (bytes.digest()?, bytes.number()?);
        let (checked, private) = (Stamp(bytes.number()?), bytes.flag()?);
        let record = NameRecord { digest, len, checked, private, head: bytes.head()?, url: bytes.text()? };
        bytes.end().map(|()| record)
    }
}

impl Record for Suite {
    fn encode(&self) -> Vec<u8> {
        let mut out = Out::default().text(&self.host).text(&self.dir);
        for snapshot in &self.snapshots {
            out = out.bytes(&snapshot.id.0.to_be_bytes()).bytes(&snapshot.digest.0).number(snapshot.len);
            out = out.number(snapshot.date.0).number(snapshot.fetched.0).flag(snapshot.by_hash);
            out = out.head(&snapshot.head).maybe(snapshot.origin.as_deref());
        }
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let mut suite = Suite { host: bytes.text()?, dir: bytes.text()?, snapshots: Vec::new() };
        while !bytes.0.is_empty() {
            suite.snapshots.push(Snapshot {
                id: IndexId(u32::from_be_bytes(bytes.array()?)),
                digest: bytes.digest()?,
                len: bytes.number()?,
                date: Stamp(bytes.number()?),
                fetched: Stamp(bytes.number()?),
                by_hash: bytes.flag()?,
                head: bytes.head()?,
                origin: bytes.maybe()?,
            });
        }
        Ok(suite)
    }
}

impl Record for IndexRecord {
    fn encode(&self) -> Vec<u8> {
        let out = Out::default().bytes(&self.id.0.to_be_bytes()).flag(self.learnt.is_some());
        let out = out.bytes(&self.learnt.map_or([0; 32], |digest| digest.0));
        out.text(&self.host).text(&self.base).text(&self.path).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let id = IndexId(u32::from_be_bytes(bytes.array()?));
        let (is_learnt, digest) = (bytes.flag()?, bytes.digest()?);
        let learnt = is_learnt.then_some(digest);
        let record = IndexRecord { id, learnt, host: bytes.text()?, base: bytes.text()?, path: bytes.text()? };
        bytes.end().map(|()| record)
    }
}

impl Record for Entry {
    fn encode(&self) -> Vec<u8> {
        Out::default().bytes(&self.promise.digest.0).number(self.promise.len).flag(self.retired).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let promise = Promise { digest: bytes.digest()?, len: bytes.number()? };
        let entry = Entry { promise, retired: bytes.flag()? };
        bytes.end().map(|()| entry)
    }
}

impl Record for Stamp {
    fn encode(&self) -> Vec<u8> {
        Out::default().number(self.0).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let stamp = Stamp(bytes.number()?);
        bytes.end().map(|()| stamp)
    }
}

impl Record for LiarsRecord {
    fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        for Liar { house, lies, last } in &self.0 {
            let address = match house {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => *ip,
            };
            out = out.bytes(&address.octets()).bytes(&lies.to_be_bytes()).number(last.0);
        }
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let mut liars = Vec::new();
        while !bytes.0.is_empty() {
            let house = IpAddr::V6(Ipv6Addr::from(bytes.array::<16>()?)).to_canonical();
            let lies = u32::from_be_bytes(bytes.array()?);
            liars.push(Liar { house, lies, last: Stamp(bytes.number()?) });
        }
        Ok(LiarsRecord(liars))
    }
}

impl Record for Counters {
    fn encode(&self) -> Vec<u8> {
        Out::default().number(self.files).number(self.bytes).bytes(&self.next_id.to_be_bytes()).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let (files, sum) = (bytes.number()?, bytes.number()?);
        let counters = Counters { files, bytes: sum, next_id: u32::from_be_bytes(bytes.array()?) };
        bytes.end().map(|()| counters)
    }
}

/// What a journal begins with: what the mirror said of the file.
impl Record for Head {
    fn encode(&self) -> Vec<u8> {
        Out::default().head(self).0
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut bytes = In(bytes);
        let head = bytes.head()?;
        bytes.end().map(|()| head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heads() -> impl Strategy<Value = Head> {
        let text = || proptest::option::of("[ -~]{0,40}");
        (proptest::option::of(0..u64::MAX), text(), text(), text())
            .prop_map(|(len, last_modified, etag, content_type)| Head { len, last_modified, etag, content_type })
    }

    fn round_trip<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
        let bytes = record.encode();
        assert_eq!(R::decode(&bytes).as_ref(), Ok(record));
    }

    proptest! {
        #[test]
        fn records_go_both_ways(
            digest in any::<[u8; 32]>(), numbers in any::<[u64; 3]>(), flag: bool, head in heads(), url in "\\PC{0,60}"
        ) {
            let [len, stored, unreferenced] = numbers.map(|n| n);
            let digest = Digest(digest);
            let (stored, unreferenced) = (Stamp(stored), Stamp(unreferenced));
            round_trip(&FileRecord { stored, unreferenced, public: !flag, owner: flag.then(|| url.clone()), len, head: head.clone() });
            let houses = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0])];
            round_trip(&LiarsRecord(houses.map(|house| super::Liar { house, lies: 2, last: stored }).to_vec()));
            round_trip(&NameRecord {
                digest, len, head: head.clone(), checked: stored, url: url.clone(), private: flag,
            });
            let snapshot = Snapshot {
                id: IndexId(7), digest, len, date: stored, fetched: unreferenced, by_hash: flag,
                head: head.clone(), origin: Some(url.clone()),
            };
            let snapshots = vec![snapshot.clone(), snapshot];
            round_trip(&Suite { host: url.clone(), dir: String::new(), snapshots });
            let learnt = flag.then_some(digest);
            round_trip(&IndexRecord { id: IndexId(9), learnt, host: url.clone(), base: url.clone(), path: url });
            round_trip(&Entry { promise: Promise { digest, len }, retired: flag });
            round_trip(&Counters { files: len, bytes: len, next_id: 5 });
            round_trip(&head);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FileRecord::decode(&bytes);
            let _ = NameRecord::decode(&bytes);
            let _ = Suite::decode(&bytes);
            let _ = IndexRecord::decode(&bytes);
            let _ = Entry::decode(&bytes);
            let _ = Counters::decode(&bytes);
            let _ = Head::decode(&bytes);
        }

        #[test]
        fn what_would_split_a_client_s_head_is_no_record(
            before in "[ -~]{0,20}", after in "[ -~]{0,20}", bad in "[\0-\x08\n-\x1f\x7f-\u{9f}]"
        ) {
            let head = Head { etag: Some(format!("{before}{bad}{after}")), ..Head::default() };
            assert_eq!(Head::decode(&head.encode()), Err(Malformed));
        }
    }
}
