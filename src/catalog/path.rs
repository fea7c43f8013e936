//! Paths below a host: from a request line to one spelling, and what lies at them.
//!
//! Owns the spelling under which everything else knows a path (decoded, no leading slash, no `.`, `..` or empty
//! segments) and the guess at a path's kind from its name alone. Refuses to know hosts, queries and what exists.
//!
//! Sources: RFC 3986 §2 and §3.3; the repository format (the Debian wiki's "DebianRepository/Format"); apt's
//! `acquire-item.cc` for what a client asks for.

use std::fmt;

use crate::digest::Digest;
use crate::limits::PATH_LEN_MAX;

/// Why a request's path cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathError {
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// A control character, a backslash, an encoded slash, a `?` or a `#` (where a query or fragment would start).
    Character,
    /// What the escapes stand for is no UTF-8.
    Encoding,
    /// A `..` segment.
    Parent,
    /// More than [`PATH_LEN_MAX`] bytes when decoded.
    Length,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Escape => f.write_str("a % in the path is not followed by two hexadecimal digits"),
            PathError::Character => f.write_str("the path has a character that no archive uses"),
            PathError::Encoding => f.write_str("the path is not UTF-8"),
            PathError::Parent => f.write_str("the path has a .. segment"),
            PathError::Length => write!(f, "the path is longer than {PATH_LEN_MAX} bytes"),
        }
    }
}

impl std::error::Error for PathError {}

/// The one spelling of a raw request path (a leading slash is optional, a query must be cut off before): escapes
/// decoded, empty and `.` segments dropped (apt asks for `/repo/./InRelease` in flat archives). `/` is the empty string.
///
/// # Errors
/// See [`PathError`]; nothing that fails here can lie in an archive.
pub fn normalise(raw_path: &str) -> Result<String, PathError> {
    let mut path = String::new();
    for raw_segment in raw_path.split('/') {
        let segment = decode_segment(raw_segment)?;
        match segment.as_str() {
            "" | "." => continue,
            ".." => return Err(PathError::Parent),
            _ => {}
        }
        if path.len() + 1 + segment.len() > PATH_LEN_MAX {
            return Err(PathError::Length);
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&segment);
    }
    Ok(path)
}

fn decode_segment(raw: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(raw.len().min(PATH_LEN_MAX));
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => escape(&mut rest).ok_or(PathError::Escape)?,
            b'?' | b'#' => return Err(PathError::Character),
            plain => plain,
        };
        if is_forbidden(decoded) || decoded == b'/' {
            return Err(PathError::Character);
        }
        if bytes.len() == PATH_LEN_MAX {
            return Err(PathError::Length);
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| PathError::Encoding)
}

fn escape(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut nibble = || char::from(rest.next()?).to_digit(16);
    let (high, low) = (nibble()?, nibble()?);
    u8::try_from(high << 4 | low).ok()
}

/// What no path holds, decoded or not: a control character would split heads and log lines, a backslash is a slash to
/// some servers.
fn is_forbidden(byte: u8) -> bool {
    byte.is_ascii_control() || byte == b'\\'
}

/// A path as it stands in a URL: everything is escaped but what RFC 3986 allows in a segment, and `+`, which some
/// stores behind a mirror's name read as a space.
#[must_use]
pub fn encode(path: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut url = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*,;=".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(HEX[usize::from(byte >> 4)]));
            url.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    url
}

/// Writes `base/name` into `out` in the spelling of [`normalise`]; false, with `out` in no particular state, if a name
/// out of an index (not escaped) points out of the base, is not relative, is empty or overlong, or has a forbidden character.
pub(super) fn join(out: &mut String, base: &str, name: &str) -> bool {
    out.clear();
    out.push_str(base);
    if name.starts_with('/') || name.bytes().any(is_forbidden) {
        return false;
    }
    for segment in name.split('/') {
        match segment {
            "" | "." => continue,
            ".." => return false,
            _ => {}
        }
        if out.len() + 1 + segment.len() > PATH_LEN_MAX {
            return false;
        }
        if !out.is_empty() {
            out.push('/');
        }
        out.push_str(segment);
    }
    out.len() > base.len()
}

/// Which of a Release's three forms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReleaseFile {
    /// `InRelease`: signed in itself.
    InRelease,
    /// `Release`.
    Release,
    /// `Release.gpg`: the signature of `Release`.
    Signature,
}

/// What a path is, judged by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A mutable name; `dir` is the folder that holds it, e.g. `debian/dists/bookworm`, or a flat archive's folder.
    Release {
        /// The folder.
        dir: String,
        /// Which form.
        file: ReleaseFile,
    },
    /// `…/by-hash/ALGORITHM/HEX`: a file that is named by its content.
    ByHash {
        /// The folder above `by-hash`, where the same file also lies under its name.
        dir: String,
        /// The digest, if the algorithm is SHA-256.
        digest: Option<Digest>,
    },
    /// What a Release may name: the well-known indexes anywhere, and all else below a suite's folder in `dists`.
    Index,
    /// A binary or source package or a part of one, which an index may name.
    Package,
    /// Something else in an archive: installer images, `project/trace`, …
    Archive,
    /// No archive that we can tell: changelogs, mirror lists, `meta-release`, the root.
    Foreign,
}

/// What lies at `path` (in the spelling of [`normalise`]).
#[must_use]
pub fn place(path: &str) -> Place {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(file) = release_file(name)
        && !is_below_component(dir)
    {
        return Place::Release { dir: dir.to_owned(), file };
    }
    if let Some((dir, digest)) = by_hash(path) {
        return Place::ByHash { dir: dir.to_owned(), digest };
    }
    if is_index_name(dir, name) {
        return Place::Index;
    }
    let installer = dir.split('/').any(|segment| segment.starts_with("installer-"));
    if is_package_name(name) && !installer {
        return Place::Package;
    }
    if dists_end(path).is_some() && release_dirs(path).next().is_some() {
        return Place::Index;
    }
    if installer || path.split('/').any(|segment| matches!(segment, "dists" | "pool" | "project")) {
        return Place::Archive;
    }
    Place::Foreign
}

fn release_file(name: &str) -> Option<ReleaseFile> {
    match name {
        "InRelease" => Some(ReleaseFile::InRelease),
        "Release" => Some(ReleaseFile::Release),
        "Release.gpg" => Some(ReleaseFile::Signature),
        _ => None,
    }
}

/// Below `dists/…/main/binary-amd64` a `Release` describes only that folder, and the suite's Release names it.
fn is_below_component(dir: &str) -> bool {
    let below = dists_end(dir).and_then(|end| dir[end..].rsplit_once('/'));
    below.is_some_and(|(_, last)| last.starts_with("binary-") || last == "source")
}

fn by_hash(path: &str) -> Option<(&str, Option<Digest>)> {
    let (rest, hex) = path.rsplit_once('/')?;
    let (rest, algorithm) = rest.rsplit_once('/')?;
    let dir = match rest.strip_suffix("by-hash")? {
        "" => "",
        above => above.strip_suffix('/')?,
    };
    let digest = if algorithm == "SHA256" { Digest::from_hex(hex.as_bytes()) } else { None };
    Some((dir, digest))
}

/// Where the file that lies at `path` also lies by its hash, in an archive that offers that (`Acquire-By-Hash`).
#[must_use]
pub fn by_hash_path(path: &str, digest: &Digest) -> String {
    match path.rsplit_once('/') {
        Some((dir, _)) => format!("{dir}/by-hash/SHA256/{digest}"),
        None => format!("by-hash/SHA256/{digest}"),
    }
}

/// The names by which apt knows indexes (`apt-get indextargets`), with or without a compression.
fn is_index_name(dir: &str, name: &str) -> bool {
    let above = dir.rsplit('/').next().unwrap_or("");
    above.strip_suffix(".diff").is_some_and(is_index_stem) || is_index_stem(stem(name))
}

/// The index that names a patch of an index: `…/Packages.diff/Index` for all else in that folder.
#[must_use]
pub fn patches_index(path: &str) -> Option<String> {
    let (dir, name) = path.rsplit_once('/')?;
    let is_patch = name != "Index" && dir.rsplit('/').next()?.strip_suffix(".diff").is_some_and(is_index_stem);
    is_patch.then(|| format!("{dir}/Index"))
}

fn is_index_stem(stem: &str) -> bool {
    let after = |prefix| stem.strip_prefix(prefix).is_some_and(|rest: &str| !rest.is_empty());
    matches!(stem, "Packages" | "Sources")
        || ["Contents-", "Translation-", "Components-", "Commands-"].into_iter().any(after)
        // Followed by a size: a source package may be called icons-something.
        || stem.strip_prefix("icons-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            && stem.contains(".tar")
}

/// `name` without the ending that tells its compression.
#[must_use]
pub fn stem(name: &str) -> &str {
    let endings = [".xz", ".gz", ".bz2", ".zst", ".lzma", ".lz4"];
    endings.into_iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

fn is_package_name(name: &str) -> bool {
    let signed = [".asc", ".sig"].into_iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let whole = [".deb", ".udeb", ".ddeb", ".dsc", ".changes", ".buildinfo"];
    whole.into_iter().any(|ending| signed.len() > ending.len() && signed.ends_with(ending))
        || is_part_of_source(stem(signed), signed)
}

/// `….tar.xz`, `….diff.gz`: the parts of a source package are compressed, each in its own way.
fn is_part_of_source(stem: &str, name: &str) -> bool {
    stem.len() < name.len() && (stem.ends_with(".tar") || stem.ends_with(".diff"))
}

/// The folders whose Release may name an index at `path`, the deepest first: each that holds it, up to the one below
/// `dists`, or, outside of `dists`, up to the host's root (the empty string).
pub fn release_dirs(path: &str) -> impl Iterator<Item = &str> {
    let shortest = dists_end(path);
    std::iter::successors(folder(path), |dir| folder(dir))
        .take_while(move |dir| shortest.is_none_or(|end| dir.len() > end))
}

/// The folder that holds `path`; the host's root is the empty string, and in no folder.
fn folder(path: &str) -> Option<&str> {
    (!path.is_empty()).then(|| path.rfind('/').map_or("", |slash| &path[..slash]))
}

/// Where the last `dists/` ends, if `path` goes on behind it: `debian/dists/` of `debian/dists/bookworm/Release`.
fn dists_end(path: &str) -> Option<usize> {
    let deeper = path.rfind("/dists/").map(|at| at + "/dists/".len());
    deeper.or_else(|| path.starts_with("dists/").then_some("dists/".len()))
}

/// What file names in the indexes below a Release's folder are relative to: the folder that holds `dists`
/// (`debian` for `debian/dists/bookworm`). Without `dists` the archive is flat, and it is the folder itself; see also
/// [`flat_base`].
#[must_use]
pub fn base_of(release_dir: &str) -> &str {
    match dists_end(release_dir) {
        Some(end) => release_dir[..end - "dists/".len()].trim_end_matches('/'),
        None => release_dir,
    }
}

/// What `filename` in an index of a flat archive at `release_dir` is relative to.
///
/// That is the URI of the `sources.list` line, which nobody tells us: `deb http://host/repo/lucid ./` and
/// `deb http://host/repo lucid/` lead to the same Release at `repo/lucid`. The index of the second names `lucid/x.deb`:
/// so the folders with which the file name begins are taken off the end of the Release's folder where they agree.
#[must_use]
pub fn flat_base<'a>(release_dir: &'a str, filename: &str) -> &'a str {
    let name_dir = match filename.rsplit_once('/') {
        Some((dir, _)) => dir.trim_start_matches("./"),
        None => return release_dir,
    };
    let starts = name_dir.match_indices('/').map(|(slash, _)| slash).chain([name_dir.len()]);
    let longest = starts.filter_map(|end| strip_folders(release_dir, &name_dir[..end])).next_back();
    longest.unwrap_or(release_dir)
}

/// `dir` without the `folders` at its end, if whole segments agree.
fn strip_folders<'a>(dir: &'a str, folders: &str) -> Option<&'a str> {
    if folders.is_empty() || folders == "." {
        return None;
    }
    match dir.strip_suffix(folders)? {
        "" => Some(""),
        above => above.strip_suffix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_patch_lies_beside_its_index() {
        let index = |path: &str| patches_index(path);
        let dir = "debian/dists/sid/main/binary-amd64/Packages.diff";
        assert_eq!(index(&format!("{dir}/T-1-F-2.gz")), Some(format!("{dir}/Index")));
        assert_eq!(index(&format!("{dir}/Index")), None);
        assert_eq!(index("debian/dists/sid/main/binary-amd64/Packages.gz"), None);
        assert_eq!(index("debian/pool/main/x/x.diff/x.gz"), None);
        assert_eq!(index("x"), None);
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (raw, path) in [
            ("/debian/dists/bookworm/InRelease", "debian/dists/bookworm/InRelease"),
            ("debian//dists/./bookworm/InRelease", "debian/dists/bookworm/InRelease"),
            ("/repo/./Packages.gz", "repo/Packages.gz"),
            ("/pool/g/g%2b%2b/g%2B+_1%3a2~rc1.deb", "pool/g/g++/g++_1:2~rc1.deb"),
            ("/a%20b/%c3%a9/", "a b/é"),
            ("/x/é", "x/é"),
            ("/..a/b..", "..a/b.."),
            ("/%2e/a", "a"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    #[test]
    fn what_cannot_lie_in_an_archive_is_refused() {
        let long = format!("/{}", "a".repeat(PATH_LEN_MAX));
        for (raw, why) in [
            ("/a/../b", PathError::Parent),
            ("/%2e%2E/b", PathError::Parent),
            ("/a%", PathError::Escape),
            ("/a%4", PathError::Escape),
            ("/a%zz", PathError::Escape),
            ("/a%+1", PathError::Escape),
            ("/a%2/b", PathError::Escape),
            ("/a%00b", PathError::Character),
            ("/a%0d%0ab", PathError::Character),
            ("/a\u{7f}", PathError::Character),
            ("/a%2fb", PathError::Character),
            ("/a\\b", PathError::Character),
            ("/a%5cb", PathError::Character),
            ("/a?b=c", PathError::Character),
            ("/a#b", PathError::Character),
            ("/a%ff", PathError::Encoding),
            (long.as_str(), PathError::Length),
        ] {
            assert_eq!(normalise(raw), Err(why), "{raw}");
        }
        assert!(normalise(&long[..PATH_LEN_MAX]).is_ok());
    }

    #[test]
    fn a_url_escapes_what_servers_misread() {
        assert_eq!(encode("pool/g++/a b%c_1:2~é.deb"), "pool/g%2b%2b/a%20b%25c_1:2~%c3%a9.deb");
    }

    #[test]
    fn each_path_has_a_place() {
        use Place::{Archive, Foreign, Index, Package};
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let release = |dir: &str, file| Place::Release { dir: dir.into(), file };
        let by_hash = |dir: &str, known: bool| Place::ByHash {
            dir: dir.into(),
            digest: known.then(|| hex.parse().expect("64 digits")),
        };
        for (path, place_of) in [
            ("debian/dists/bookworm/InRelease", release("debian/dists/bookworm", ReleaseFile::InRelease)),
            ("dists/focal/Release", release("dists/focal", ReleaseFile::Release)),
            ("repo/Release.gpg", release("repo", ReleaseFile::Signature)),
            ("InRelease", release("", ReleaseFile::InRelease)),
            (&format!("d/dists/s/main/by-hash/SHA256/{hex}"), by_hash("d/dists/s/main", true)),
            (&format!("d/dists/s/main/by-hash/MD5Sum/{hex}"), by_hash("d/dists/s/main", false)),
            ("repo/by-hash/SHA256/x", by_hash("repo", false)),
            (&format!("by-hash/SHA256/{hex}"), by_hash("", true)),
            ("debian/dists/sid/main/binary-amd64/Packages.xz", Index),
            ("debian/dists/sid/main/binary-amd64/Packages.diff/Index", Index),
            ("debian/dists/sid/main/binary-amd64/Packages.diff/T-2026-01-01-F-2025.gz", Index),
            ("debian/dists/sid/main/Contents-all.gz", Index),
            ("debian/dists/sid/main/dep11/icons-64x64@2.tar.gz", Index),
            ("debian/dists/sid/main/installer-amd64/current/images/SHA256SUMS", Index),
            ("debian/dists/sid/main/installer-amd64/current/images/netboot/netboot.tar.gz", Index),
            ("debian/dists/sid/main/binary-amd64/Release", Index),
            ("dists/source/Release", release("dists/source", ReleaseFile::Release)),
            ("repo/binary-amd64/Release", release("repo/binary-amd64", ReleaseFile::Release)),
            ("repo/Packages", Index),
            ("Sources.bz2", Index),
            ("debian/pool/main/h/hello/hello_2.10-3_amd64.deb", Package),
            ("debian/pool/main/i/icons-x/icons-x_1.tar.gz", Package),
            ("x/hello_2.10.orig.tar.gz.asc", Package),
            ("x/hello_2.10-3.diff.gz", Package),
            ("x/hello.dsc", Package),
            ("dists/stable/main/binary-i386/hello.deb", Package),
            ("debian/project/trace/master", Archive),
            ("debian/pool/main", Archive),
            ("debian/dists/README", Archive),
            ("images/installer-amd64/initrd.gz", Archive),
            ("changelogs/pool/x", Archive),
            ("meta-release", Foreign),
            ("mirrors.txt", Foreign),
            (".deb", Foreign),
            ("", Foreign),
        ] {
            assert_eq!(place(path), place_of, "{path}");
        }
    }

    #[test]
    fn a_release_is_looked_for_from_the_deepest_folder_up() {
        for (path, dirs) in [
            (
                "d/dists/b/main/binary-amd64/Packages",
                vec!["d/dists/b/main/binary-amd64", "d/dists/b/main", "d/dists/b"],
            ),
            ("dists/b/Contents-all.gz", vec!["dists/b"]),
            ("dists/README", vec![]),
            ("a/b/Packages", vec!["a/b", "a", ""]),
            ("Packages", vec![""]),
        ] {
            assert_eq!(release_dirs(path).collect::<Vec<_>>(), dirs, "{path}");
        }
    }

    #[test]
    fn file_names_are_relative_to_the_archive() {
        for (dir, base) in [
            ("debian/dists/bookworm", "debian"),
            ("security/dists/buster/updates", "security"),
            ("mirror/dists/debian/dists/sid", "mirror/dists/debian"),
            ("dists/focal", ""),
            ("repo/flat", "repo/flat"),
            ("", ""),
        ] {
            assert_eq!(base_of(dir), base, "{dir}");
        }
        for (dir, filename, base) in [
            ("repo", "./foo.deb", "repo"),
            ("repo", "foo.deb", "repo"),
            ("repo/lucid", "lucid/foo.deb", "repo"),
            ("repo/lucid", "./lucid/amd64/foo.deb", "repo"),
            ("lucid", "lucid/foo.deb", ""),
            ("x/stable/deb", "stable/deb/foo.deb", "x"),
            ("x/stable/deb", "deb/foo.deb", "x/stable"),
            ("x/alucid", "lucid/foo.deb", "x/alucid"),
            ("x/deb", "amd64/foo.deb", "x/deb"),
            ("", "amd64/foo.deb", ""),
        ] {
            assert_eq!(flat_base(dir, filename), base, "{dir} {filename}");
        }
    }

    #[test]
    fn names_out_of_an_index_stay_inside_the_archive() {
        let mut out = String::new();
        assert!(join(&mut out, "debian", "pool/./a//b_1%3a2.deb") && out == "debian/pool/a/b_1%3a2.deb");
        assert!(join(&mut out, "", "./a.deb") && out == "a.deb");
        for bad in
            ["", ".", "./", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "a\nb", &"a".repeat(PATH_LEN_MAX)]
        {
            assert!(!join(&mut out, "debian", bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(segments in prop::collection::vec("[^/\\\\\\p{Cc}]{1,12}", 0..6)) {
            let path = segments.into_iter().filter(|s| s != "." && s != "..").collect::<Vec<_>>().join("/");
            let url = encode(&path);
            prop_assert!(url.is_ascii() && !url.contains(['+', ' ', '?', '#']));
            prop_assert_eq!(normalise(&url), Ok(path));
        }

        #[test]
        fn no_request_can_do_harm(raw in "[a-z/.%2fF+~?\\\\\u{e9} ]{0,40}") {
            if let Ok(path) = normalise(&raw) {
                prop_assert!(!path.starts_with('/') && path.len() <= PATH_LEN_MAX);
                prop_assert!(path.is_empty() || path.split('/').all(|s| !matches!(s, "" | "." | "..")));
                prop_assert_eq!(normalise(&encode(&path)), Ok(path.clone()));
                let _ = place(&path);
                for dir in release_dirs(&path) {
                    prop_assert!(path.starts_with(dir));
                }
            }
        }
    }
}
