//! `Packages`, `Sources` and `*.diff/Index`: the files that an archive has below its Releases.
//!
//! Owns which fields of a stanza make a promise and to which path it belongs. Streams: memory depends neither on the
//! index's length nor on that of a stanza. Refuses to pass on a name that leads out of its archive; such entries, and
//! those without a SHA-256 or a length, are skipped and counted.
//!
//! Fields: Debian Policy §5.4 and §5.6; the Debian wiki's "DebianRepository/Format"; apt's `diffindex` reader.

use std::io::Read;
use std::ops::ControlFlow;

use super::path::{base_of, flat_base, join, stem};
use super::stanza::{Line, Lines, checksum, number};
use super::{CatalogError, Compression, Promise};
use crate::digest::Digest;
use crate::limits::{PATH_LEN_MAX, SOURCE_FILES_MAX};

/// The indexes that are learnt from; all others (Contents, Translation, …) are files like any other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IndexKind {
    /// `Packages`: binary packages.
    Packages,
    /// `Sources`: source packages, several files each.
    Sources,
    /// `Packages.diff/Index` and its like: the patches from older versions of the index beside it.
    DiffIndex,
}

/// The kind and compression of an index with this name in a Release (`main/binary-amd64/Packages.xz`); `None` if it is
/// not learnt from, or not in this compression.
#[must_use]
pub fn index_kind(name: &str) -> Option<(IndexKind, Compression)> {
    let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
    let kind = match stem(file) {
        "Packages" => IndexKind::Packages,
        "Sources" => IndexKind::Sources,
        "Index" if dir.ends_with(".diff") => IndexKind::DiffIndex,
        _ => return None,
    };
    Some((kind, Compression::of(file)?))
}

/// An index and where it lies, which decides what its names are relative to.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// Its kind, see [`index_kind`].
    pub kind: IndexKind,
    /// The folder of the Release that names it, e.g. `debian/dists/bookworm`.
    pub release_dir: &'a str,
    /// Its name there, e.g. `main/binary-amd64/Packages.xz`.
    pub name: &'a str,
}

/// What became of the entries of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Entries that were passed on.
    pub entries: u64,
    /// Entries that were not: without a SHA-256 or a length, or with a name that leads out of the archive.
    pub skipped: u64,
}

/// Receives each entry: the path below the host, in the spelling of [`normalise`](super::normalise), and its promise.
/// `Break` ends the reading.
pub type Sink<'a> = dyn FnMut(&str, Promise) -> ControlFlow<()> + 'a;

/// Reads the plain bytes of `index` and passes its entries to `sink`, in their order there.
///
/// # Errors
/// Those of `reader` (a [`Decoder`](super::Decoder) finds damage while it is read, so entries may have been passed on
/// before), [`CatalogError::NotAnIndex`] when there is something but no stanza of the kind, and
/// [`CatalogError::Stopped`] when the sink broke off.
pub fn read_index(index: Index<'_>, reader: impl Read, sink: &mut Sink<'_>) -> Result<Tally, CatalogError> {
    let flat = !index.name.contains('/') || base_of(index.release_dir) == index.release_dir;
    let mut patch_dir = String::new();
    let base = match index.kind {
        IndexKind::DiffIndex => {
            let dir = index.name.rsplit_once('/').map_or("", |(dir, _)| dir);
            join(&mut patch_dir, index.release_dir, dir);
            Base::Fixed(&patch_dir)
        }
        _ if flat => Base::Flat(index.release_dir),
        _ => Base::Fixed(base_of(index.release_dir)),
    };
    let mut out = Out { base, sink, path: String::new(), tally: Tally::default(), stopped: false };
    let mut reading: Box<dyn Stanza> = match index.kind {
        IndexKind::Packages => Box::new(Package::default()),
        IndexKind::Sources => Box::new(Source::default()),
        IndexKind::DiffIndex => Box::new(Patches::default()),
    };
    read_stanzas(&mut Lines::new(reader), reading.as_mut(), &mut out)?;
    Ok(out.tally)
}

fn read_stanzas(
    lines: &mut Lines<impl Read>,
    reading: &mut dyn Stanza,
    out: &mut Out<'_, '_>,
) -> Result<(), CatalogError> {
    let (mut something, mut known) = (false, false);
    while let Some(line) = lines.next()? {
        something = true;
        match line {
            Line::End => reading.end(out),
            line => known |= reading.line(line, out),
        }
        if out.stopped {
            return Err(CatalogError::Stopped);
        }
    }
    // An archive without packages has an empty index.
    if something && !known { Err(CatalogError::NotAnIndex) } else { Ok(()) }
}

/// What is gathered of a stanza of one kind.
trait Stanza {
    /// Takes in a line other than [`Line::End`]; whether it is one by which the kind is known.
    fn line(&mut self, line: Line<'_>, out: &mut Out<'_, '_>) -> bool;

    /// Passes on what the stanza promised, and forgets it.
    fn end(&mut self, out: &mut Out<'_, '_>);
}

/// What names are relative to.
#[derive(Clone, Copy)]
enum Base<'a> {
    /// This folder.
    Fixed(&'a str),
    /// For each name what [`flat_base`] says of this folder.
    Flat(&'a str),
}

struct Out<'a, 's> {
    base: Base<'a>,
    sink: &'a mut Sink<'s>,
    path: String,
    tally: Tally,
    /// The sink broke off; it is not called again.
    stopped: bool,
}

impl Out<'_, '_> {
    fn give(&mut self, name: &[u8], promise: Promise) {
        let Ok(name) = std::str::from_utf8(name) else { return self.skip(1) };
        let base = match self.base {
            Base::Fixed(dir) => dir,
            Base::Flat(dir) => flat_base(dir, name),
        };
        if !join(&mut self.path, base, name) {
            return self.skip(1);
        }
        if !self.stopped {
            self.tally.entries += 1;
            self.stopped = (self.sink)(&self.path, promise).is_break();
        }
    }

    fn skip(&mut self, entries: usize) {
        self.tally.skipped += entries as u64;
    }
}

/// A stanza of `Packages`.
#[derive(Default)]
struct Package {
    filename: Vec<u8>,
    len: Option<u64>,
    digest: Option<Digest>,
    /// Whether the field that goes on is one that we read: none of them has a second line.
    open: bool,
    /// A field that we read is there twice, or is nothing that it should be.
    spoilt: bool,
}

impl Package {
    fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.open = true;
        if name.eq_ignore_ascii_case(b"Filename") {
            self.spoilt |= !self.filename.is_empty() || value.is_empty() || value.len() > PATH_LEN_MAX;
            if !self.spoilt {
                self.filename.extend_from_slice(value);
            }
        } else if name.eq_ignore_ascii_case(b"Size") {
            self.spoilt |= self.len.is_some();
            self.len = number(value);
        } else if name.eq_ignore_ascii_case(b"SHA256") {
            self.spoilt |= self.digest.is_some();
            self.digest = Digest::from_hex(value);
        } else {
            self.open = false;
            return name.eq_ignore_ascii_case(b"Package");
        }
        true
    }

    fn is_read(name: &[u8]) -> bool {
        [&b"Filename"[..], b"Size", b"SHA256"].into_iter().any(|field| name.eq_ignore_ascii_case(field))
    }
}

impl Stanza for Package {
    fn line(&mut self, line: Line<'_>, _: &mut Out<'_, '_>) -> bool {
        match line {
            Line::Field(name, value) => return self.field(name, value),
            Line::Overlong(b"") | Line::More(_) => self.spoilt |= self.open,
            Line::Overlong(name) => {
                self.open = Package::is_read(name);
                self.spoilt |= self.open;
            }
            Line::Other | Line::End => {}
        }
        false
    }

    fn end(&mut self, out: &mut Out<'_, '_>) {
        match (self.digest, self.len) {
            (Some(digest), Some(len)) if !self.spoilt && !self.filename.is_empty() => {
                out.give(&self.filename, Promise { digest, len })
            }
            _ => out.skip(1),
        }
        self.filename.clear();
        (self.len, self.digest, self.open, self.spoilt) = (None, None, false, false);
    }
}

/// A stanza of `Sources`. Its folder may stand behind its files, so these are kept till the end.
#[derive(Default)]
struct Source {
    directory: Option<Vec<u8>>,
    files: Vec<(Promise, Vec<u8>)>,
    /// The field that goes on.
    open: SourceField,
    spoilt: bool,
    /// Files that cannot be passed on.
    skipped: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum SourceField {
    Directory,
    Checksums,
    #[default]
    Other,
}

impl SourceField {
    fn of(name: &[u8]) -> SourceField {
        if name.eq_ignore_ascii_case(b"Checksums-Sha256") {
            SourceField::Checksums
        } else if name.eq_ignore_ascii_case(b"Directory") {
            SourceField::Directory
        } else {
            SourceField::Other
        }
    }
}

impl Source {
    fn file(&mut self, line: &[u8]) {
        match checksum(line) {
            Some((promise, name))
                if !name.contains(&b'/') && name.len() <= PATH_LEN_MAX && self.files.len() < SOURCE_FILES_MAX =>
            {
                self.files.push((promise, name.to_owned()));
            }
            _ => self.skipped += 1,
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.open = SourceField::of(name);
        match self.open {
            SourceField::Directory => {
                self.spoilt |= self.directory.is_some() || value.len() > PATH_LEN_MAX;
                self.directory = Some(value[..value.len().min(PATH_LEN_MAX)].to_owned());
            }
            SourceField::Checksums => {
                self.spoilt |= !self.files.is_empty();
                if !value.is_empty() {
                    self.file(value);
                }
            }
            SourceField::Other => return name.eq_ignore_ascii_case(b"Package"),
        }
        true
    }
}

impl Stanza for Source {
    fn line(&mut self, line: Line<'_>, _: &mut Out<'_, '_>) -> bool {
        match line {
            Line::Field(name, value) => return self.field(name, value),
            Line::More(value) => match self.open {
                SourceField::Checksums => self.file(value),
                SourceField::Directory => self.spoilt = true,
                SourceField::Other => {}
            },
            Line::Overlong(b"") => match self.open {
                SourceField::Checksums => self.skipped += 1,
                SourceField::Directory => self.spoilt = true,
                SourceField::Other => {}
            },
            Line::Overlong(name) => {
                self.open = SourceField::of(name);
                self.spoilt |= self.open != SourceField::Other;
            }
            Line::Other | Line::End => {}
        }
        false
    }

    fn end(&mut self, out: &mut Out<'_, '_>) {
        let Source { directory, files, spoilt, skipped, .. } = std::mem::take(self);
        out.skip(skipped);
        let Some(mut name) = directory.filter(|_| !spoilt) else { return out.skip(files.len()) };
        name.push(b'/');
        // In a flat archive the folder may be empty, which must not make the name an absolute one.
        let dir_len = if name.len() == 1 { 0 } else { name.len() };
        for (promise, file) in files {
            name.truncate(dir_len);
            name.extend_from_slice(&file);
            out.give(&name, promise);
        }
    }
}

/// The stanza of a `*.diff/Index`: promises of the compressed patches, which is what apt fetches.
#[derive(Default)]
struct Patches {
    /// Whether the field that goes on is the list of them.
    open: bool,
}

impl Patches {
    fn patch(line: &[u8], out: &mut Out<'_, '_>) {
        match checksum(line) {
            Some((promise, name)) => out.give(name, promise),
            None => out.skip(1),
        }
    }
}

impl Stanza for Patches {
    fn line(&mut self, line: Line<'_>, out: &mut Out<'_, '_>) -> bool {
        match line {
            Line::Field(name, value) => {
                self.open = name.eq_ignore_ascii_case(b"SHA256-Download");
                if self.open && !value.is_empty() {
                    Patches::patch(value, out);
                }
                return name.len() > 3 && name[..3].eq_ignore_ascii_case(b"SHA");
            }
            Line::More(line) if self.open => Patches::patch(line, out),
            Line::Overlong(b"") if self.open => out.skip(1),
            Line::Overlong(name) if !name.is_empty() => self.open = false,
            _ => {}
        }
        false
    }

    fn end(&mut self, _: &mut Out<'_, '_>) {
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn read(index: Index<'_>, input: &[u8]) -> Result<(Vec<(String, Promise)>, Tally), CatalogError> {
        let mut seen = Vec::new();
        let tally = read_index(index, input, &mut |path, promise| {
            seen.push((path.to_owned(), promise));
            ControlFlow::Continue(())
        })?;
        assert_eq!(tally.entries, seen.len() as u64);
        Ok((seen, tally))
    }

    const PACKAGES: Index<'_> =
        Index { kind: IndexKind::Packages, release_dir: "debian/dists/sid", name: "main/binary-amd64/Packages.xz" };
    const SOURCES: Index<'_> =
        Index { kind: IndexKind::Sources, release_dir: "debian/dists/sid", name: "main/source/Sources" };
    const DIFFS: Index<'_> = Index {
        kind: IndexKind::DiffIndex,
        release_dir: "debian/dists/sid",
        name: "main/binary-amd64/Packages.diff/Index",
    };

    fn flat(kind: IndexKind, name: &'static str) -> Index<'static> {
        Index { kind, release_dir: "repo/lucid", name }
    }

    #[test]
    fn kinds_are_known_by_name() {
        use Compression::{Bzip2, Gzip, Plain, Xz, Zstd};
        for (name, expected) in [
            ("main/binary-amd64/Packages.xz", Some((IndexKind::Packages, Xz))),
            ("Packages", Some((IndexKind::Packages, Plain))),
            ("main/source/Sources.gz", Some((IndexKind::Sources, Gzip))),
            ("Sources.bz2", Some((IndexKind::Sources, Bzip2))),
            ("Packages.zst", Some((IndexKind::Packages, Zstd))),
            ("main/binary-amd64/Packages.diff/Index", Some((IndexKind::DiffIndex, Plain))),
            ("main/Contents-amd64.diff/Index", Some((IndexKind::DiffIndex, Plain))),
            ("Packages.lzma", None),
            ("Index", None),
            ("main/Contents-amd64.gz", None),
            ("main/i18n/Translation-en.xz", None),
            ("main/binary-amd64/Release", None),
            ("main/binary-amd64/Packages.xz.asc", None),
            ("", None),
        ] {
            assert_eq!(index_kind(name), expected, "{name}");
        }
    }

    #[test]
    fn packages_promise_their_files() {
        let (a, b) = (digest("a"), digest("b"));
        let input = format!(
            "Package: a\nFilename: pool/a/a_1%3a2.deb\nSize: 12\nMD5sum: 00\nSHA256: {a}\nDescription: x\n Filename: no\n\n\
             package: b\r\nFILENAME:./pool//b.deb \r\nsize: 7\r\nsha256: {b}\r\nDepends: {}\r\n",
            "long, ".repeat(20_000),
        );
        let (seen, tally) = read(PACKAGES, input.as_bytes()).expect("an index");
        let expected = [
            ("debian/pool/a/a_1%3a2.deb".to_owned(), Promise { digest: a, len: 12 }),
            ("debian/pool/b.deb".to_owned(), Promise { digest: b, len: 7 }),
        ];
        assert_eq!(seen, expected);
        assert_eq!(tally.skipped, 0);
    }

    #[test]
    fn entries_that_promise_nothing_safe_are_skipped_and_counted() {
        let sha = digest("a");
        let long = "x".repeat(PATH_LEN_MAX);
        let longer = "x".repeat(100_000);
        for bad in [
            "Filename: a.deb\nSize: 1".to_owned(),
            format!("Filename: a.deb\nSHA256: {sha}"),
            format!("Size: 1\nSHA256: {sha}"),
            format!("Filename: ../a.deb\nSize: 1\nSHA256: {sha}"),
            format!("Filename: /a.deb\nSize: 1\nSHA256: {sha}"),
            format!("Filename: a\0.deb\nSize: 1\nSHA256: {sha}"),
            format!("Filename: {long}\nSize: 1\nSHA256: {sha}"),
            format!("Filename: {longer}\nSize: 1\nSHA256: {sha}"),
            format!("Filename:\nSize: 1\nSHA256: {sha}"),
            format!("Filename: a.deb\nSize: -1\nSHA256: {sha}"),
            format!("Filename: a.deb\nSize: 1\nSHA256: {sha}0"),
            format!("Filename: a.deb\nSize: 1\nSize: 2\nSHA256: {sha}"),
            format!("Filename: a.deb\nFilename: b.deb\nSize: 1\nSHA256: {sha}"),
            format!("Filename: a.deb\n {longer}\nSize: 1\nSHA256: {sha}"),
            format!("Filename: a.deb\n b.deb\nSize: 1\nSHA256: {sha}"),
        ] {
            let good = format!("Filename: good.deb\nSize: 1\nSHA256: {sha}");
            let (seen, tally) = read(PACKAGES, format!("{bad}\n\n{good}\n").as_bytes()).expect("an index");
            assert_eq!((seen.len(), tally.skipped), (1, 1), "{bad:.80}");
            assert_eq!(seen[0].0, "debian/good.deb");
        }
        let latin = b"Filename: \xe9.deb\nSize: 1\nSHA256: ".iter().copied().chain(sha.to_string().into_bytes());
        assert_eq!(read(PACKAGES, &latin.collect::<Vec<_>>()).expect("an index").1, Tally { entries: 0, skipped: 1 });
    }

    #[test]
    fn sources_promise_each_of_their_files() {
        let (dsc, tar) = (digest("dsc"), digest("tar"));
        let input = format!(
            "Package: g++\nFiles:\n 00 1 no.dsc\nChecksums-Sha256:\n {dsc} 5 g.dsc\n {tar}  6 g.tar.xz\n x 1 bad\n {dsc} 1 a/b\n\
             Homepage: h\nDirectory: pool/main/g\n\nPackage: none\nChecksums-Sha256:\n {dsc} 5 g.dsc\n"
        );
        let (seen, tally) = read(SOURCES, input.as_bytes()).expect("an index");
        let expected = [
            ("debian/pool/main/g/g.dsc".to_owned(), Promise { digest: dsc, len: 5 }),
            ("debian/pool/main/g/g.tar.xz".to_owned(), Promise { digest: tar, len: 6 }),
        ];
        assert_eq!(seen, expected);
        assert_eq!(tally.skipped, 3);
    }

    #[test]
    fn a_source_of_very_many_files_is_cut() {
        let mut input = "Package: a\nDirectory: d\nChecksums-Sha256:\n".to_owned();
        for n in 0..SOURCE_FILES_MAX + 3 {
            writeln!(input, " {} 1 f{n}", digest("a")).expect("strings grow");
        }
        let (_, tally) = read(SOURCES, input.as_bytes()).expect("an index");
        assert_eq!(tally, Tally { entries: SOURCE_FILES_MAX as u64, skipped: 3 });
    }

    #[test]
    fn a_diff_index_promises_its_compressed_patches() {
        let (a, b) = (digest("a"), digest("b"));
        let input = format!(
            "SHA256-Current: {a} 9\nSHA256-History:\n {a} 9 T-1\nSHA256-Patches:\n {a} 2 T-1\nSHA256-Download:\n {b} 3 T-1.gz\n \
             {b} 4 ../x\nX-Patch-Precedence: merged\n"
        );
        let (seen, tally) = read(DIFFS, input.as_bytes()).expect("an index");
        let path = "debian/dists/sid/main/binary-amd64/Packages.diff/T-1.gz";
        assert_eq!(seen, [(path.to_owned(), Promise { digest: b, len: 3 })]);
        assert_eq!(tally.skipped, 1);
    }

    #[test]
    fn a_flat_archive_is_relative_to_its_line_in_sources_list() {
        let sha = digest("a");
        for (filename, path) in
            [("./a.deb", "repo/lucid/a.deb"), ("lucid/a.deb", "repo/lucid/a.deb"), ("b/a.deb", "repo/lucid/b/a.deb")]
        {
            let input = format!("Filename: {filename}\nSize: 1\nSHA256: {sha}\n");
            let (seen, _) = read(flat(IndexKind::Packages, "Packages.gz"), input.as_bytes()).expect("an index");
            assert_eq!(seen[0].0, path);
        }
        for directory in ["", ".", "./", "lucid"] {
            let input = format!("Package: a\nDirectory: {directory}\nChecksums-Sha256:\n {sha} 1 a.dsc\n");
            let (seen, _) = read(flat(IndexKind::Sources, "Sources"), input.as_bytes()).expect("an index");
            assert_eq!(seen[0].0, "repo/lucid/a.dsc", "{directory:?}");
        }
    }

    #[test]
    fn what_is_no_index_is_told_from_an_empty_one() {
        let page = b"<html>\n<head><title>Login: please</title>\n</head>\n\n</html>\n";
        for index in [PACKAGES, SOURCES, DIFFS] {
            for garbage in [&page[..], b"\0\0\0", b"Error: nothing here\n"] {
                assert!(matches!(read(index, garbage), Err(CatalogError::NotAnIndex)), "{index:?}");
            }
            for empty in [&b""[..], b"\n\n", b"\r\n"] {
                assert_eq!(read(index, empty).expect("empty").1, Tally::default(), "{index:?}");
            }
        }
    }

    #[test]
    fn the_sink_can_stop() {
        let input = format!("Filename: a\nSize: 1\nSHA256: {}\n\n", digest("a")).repeat(5);
        let mut calls = 0;
        let result = read_index(PACKAGES, input.as_bytes(), &mut |_, _| {
            calls += 1;
            if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(CatalogError::Stopped)));
        assert_eq!(calls, 2);
    }

    proptest! {
        #[test]
        fn what_an_index_says_is_what_is_read(
            packages in prop::collection::vec(("[a-z0-9+.~_%:]{1,20}", any::<u64>(), 0_usize..6, "[ -~]{0,300}"), 1..30),
            crlf in any::<bool>(),
            cut in any::<bool>(),
        ) {
            let mut input = String::new();
            let mut expected = Vec::new();
            for (name, len, order, noise) in packages {
                let digest = digest(&name);
                let mut fields = [
                    format!("Filename: pool/x{name}"),
                    format!("Size: {len}"),
                    format!("SHA256: {digest}"),
                    format!("Package: {noise}\n {noise}\n ."),
                ];
                fields.rotate_left(order % 4);
                fields.swap(0, order % 3);
                writeln!(input, "{}\n", fields.join("\n")).expect("strings grow");
                expected.push((format!("debian/pool/x{name}"), Promise { digest, len }));
            }
            if cut {
                input.truncate(input.trim_end().len());
            }
            if crlf {
                input = input.replace('\n', "\r\n");
            }
            let (seen, tally) = read(PACKAGES, input.as_bytes()).expect("an index");
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(tally.skipped, 0);
        }

        #[test]
        fn no_bytes_do_harm(input in prop::collection::vec(any::<u8>(), 0..400), field in "Filename|Checksums-Sha256|SHA256-Download") {
            let input = [format!("{field}: ").as_bytes(), &input].concat();
            for index in [PACKAGES, SOURCES, DIFFS] {
                let _ = read(index, &input);
            }
        }
    }
}
