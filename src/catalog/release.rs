//! `Release` and `InRelease`: an archive's statement about its indexes.
//!
//! Owns the fields that decide how an archive is used, and the list of SHA-256 promises. Takes the text out of a
//! clear-signed file (RFC 9580 §7) as apt does, but refuses to judge the signature: apt judges it, on every client.
//! Other checksums than SHA-256 are not read; an archive without them has no promises.

use super::path::join;
use super::stanza::{Line, Lines, checksum};
use super::{CatalogError, Promise};
use crate::limits::{RELEASE_FILES_MAX, RELEASE_LEN_MAX};

/// What a Release says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Release {
    /// `Origin`: whose archive it is, e.g. `Debian`.
    pub origin: Option<String>,
    /// `Label`.
    pub label: Option<String>,
    /// `Suite`, e.g. `stable`.
    pub suite: Option<String>,
    /// `Codename`, e.g. `bookworm`.
    pub codename: Option<String>,
    /// `Date`: when it was made, in seconds since 1970-01-01 UTC.
    pub date: Option<u64>,
    /// `Valid-Until`: when clients stop to accept it, in seconds since 1970-01-01 UTC.
    pub valid_until: Option<u64>,
    /// `Acquire-By-Hash`: whether its indexes also lie below `by-hash`.
    pub acquire_by_hash: bool,
    /// The files of its `SHA256` field, sorted by name, each name once.
    pub files: Vec<ReleaseEntry>,
}

/// A file that a Release names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleaseEntry {
    /// Its path below the Release's folder, e.g. `main/binary-amd64/Packages.xz`.
    pub name: String,
    /// What is promised of it.
    pub promise: Promise,
}

impl Release {
    /// What is promised of the file called `name` (a path below the Release's folder).
    #[must_use]
    pub fn promise_of(&self, name: &str) -> Option<Promise> {
        let at = self.files.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        Some(self.files[at].promise)
    }
}

/// Reads a `Release`, or an `InRelease` with its signature. What follows the signature is ignored. Names that lead out of
/// the Release's folder are left out.
///
/// # Errors
/// [`CatalogError::NotARelease`] for anything else, for a file cut short as far as that shows, and for one that
/// contradicts itself; [`CatalogError::ReleaseTooLarge`] beyond its bounds.
pub fn parse_release(bytes: &[u8]) -> Result<Release, CatalogError> {
    if bytes.len() > RELEASE_LEN_MAX {
        return Err(CatalogError::ReleaseTooLarge);
    }
    let signed_text;
    let text = if first_line(bytes).0 == CLEAR_SIGNED {
        signed_text = split(bytes)?.0;
        &signed_text
    } else {
        bytes
    };
    let mut reading = Reading::default();
    let mut lines = Lines::new(text);
    while let Some(line) = lines.next()? {
        match line {
            Line::Field(name, value) => reading.field(name, value)?,
            Line::More(line) if reading.in_files => reading.file(line)?,
            Line::Overlong(_) if reading.in_files => {
                return Err(CatalogError::NotARelease("a line of its file list is too long"));
            }
            Line::More(_) | Line::Overlong(_) => {}
            Line::Other => return Err(CatalogError::NotARelease("it has lines that are no fields")),
            Line::End => break,
        }
    }
    reading.finish()
}

const CLEAR_SIGNED: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const SIGNATURE_END: &[u8] = b"-----END PGP SIGNATURE-----";

/// The first line without its ending and trailing blanks, and what follows it.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    (bytes[..end].trim_ascii_end(), &bytes[bytes.len().min(end + 1)..])
}

/// A clear-signed file in its two parts.
#[derive(Debug, PartialEq, Eq)]
pub struct ClearSigned<'a> {
    /// What is signed, as a detached signature has it.
    pub text: Vec<u8>,
    /// The signatures, in their armour.
    pub signature: &'a [u8],
}

/// What a clear-signed file signs, as a detached signature over it has it, and that signature in its armour; `None` for a file
/// that is not clear-signed.
///
/// # Errors
/// Those of [`parse_release`] for what is around the text: what is judged is what is read.
pub fn split_signed(bytes: &[u8]) -> Result<Option<ClearSigned<'_>>, CatalogError> {
    if first_line(bytes).0 != CLEAR_SIGNED {
        return Ok(None);
    }
    let (mut text, signature) = split(bytes)?;
    // The last line's ending belongs to the signature below it (RFC 9580 §7.2).
    text.pop();
    Ok(Some(ClearSigned { text, signature }))
}

/// The text that a clear-signed file signs, and the signature. Lines are taken as they are, but for the escapes and the blanks
/// at their ends.
fn split(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), CatalogError> {
    let (_, mut rest) = first_line(bytes);
    let mut text = Vec::with_capacity(rest.len());
    // Armor headers ("Hash: SHA512") up to a blank line: not signed, so not read.
    loop {
        let (line, after) = first_line(rest);
        if after.is_empty() {
            return Err(CatalogError::NotARelease("it ends before its signature"));
        }
        rest = after;
        if line.is_empty() {
            break;
        }
    }
    let signature = loop {
        let (line, after) = first_line(rest);
        if line == SIGNATURE {
            break rest;
        }
        if after.is_empty() {
            return Err(CatalogError::NotARelease("it ends before its signature"));
        }
        match line {
            [b'-', b' ', unescaped @ ..] => text.extend_from_slice(unescaped),
            [b'-', ..] => {
                return Err(CatalogError::NotARelease("its signed text has a line that begins with a dash"));
            }
            plain => text.extend_from_slice(plain),
        }
        text.push(b'\n');
        rest = after;
    };
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        if line == SIGNATURE_END {
            return Ok((text, &signature[..signature.len() - after.len()]));
        }
        rest = after;
    }
    Err(CatalogError::NotARelease("its signature is cut short"))
}

#[derive(Default)]
struct Reading {
    release: Release,
    /// Whether the field that goes on is `SHA256`.
    in_files: bool,
    seen_files: bool,
    /// Whether a field was seen by which a Release is known.
    known: bool,
    path: String,
}

impl Reading {
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), CatalogError> {
        self.in_files = false;
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let release = &mut self.release;
        match name.to_ascii_lowercase().as_slice() {
            b"origin" => release.origin = text(),
            b"label" => release.label = text(),
            b"suite" => release.suite = text(),
            b"codename" => release.codename = text(),
            b"date" => release.date = date(value),
            b"valid-until" => release.valid_until = date(value),
            b"acquire-by-hash" => release.acquire_by_hash = is_yes(value),
            b"sha256" => {
                if self.seen_files {
                    return Err(CatalogError::NotARelease("it has two SHA256 fields"));
                }
                (self.in_files, self.seen_files) = (true, true);
                if !value.is_empty() {
                    self.file(value)?;
                }
            }
            b"md5sum" | b"sha1" | b"sha512" | b"components" | b"architectures" => {}
            _ => return Ok(()),
        }
        self.known = true;
        Ok(())
    }

    fn file(&mut self, line: &[u8]) -> Result<(), CatalogError> {
        if line.is_empty() {
            return Ok(());
        }
        let Some((promise, name)) = checksum(line) else {
            return Err(CatalogError::NotARelease("a line of its SHA256 field is no digest, length and name"));
        };
        if self.release.files.len() == RELEASE_FILES_MAX {
            return Err(CatalogError::ReleaseTooLarge);
        }
        if let Ok(name) = std::str::from_utf8(name)
            && join(&mut self.path, "", name)
        {
            self.release.files.push(ReleaseEntry { name: self.path.clone(), promise });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Release, CatalogError> {
        if !self.known {
            return Err(CatalogError::NotARelease("it has none of a Release's fields"));
        }
        let files = &mut self.release.files;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup();
        if files.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(CatalogError::NotARelease("it promises different things of one file"));
        }
        files.shrink_to_fit();
        Ok(self.release)
    }
}

/// apt's `StringToBool`.
fn is_yes(value: &[u8]) -> bool {
    [&b"yes"[..], b"true", b"with", b"on", b"enable", b"1"].into_iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Seconds since 1970-01-01 UTC of `Sat, 07 Feb 2026 10:00:00 UTC`; the weekday may be missing, the zone may be `GMT`,
/// `Z` or a difference such as `+0000`.
fn date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split_ascii_whitespace().skip_while(|word| word.ends_with(','));
    let day: u32 = small(words.next()?, 1..=31)?;
    let month = month(words.next()?)?;
    let year: u32 = small(words.next()?, 1970..=9999)?;
    let mut clock = words.next()?.split(':');
    let (hour, minute) = (small(clock.next()?, 0..=23)?, small(clock.next()?, 0..=59)?);
    let second = clock.next().map_or(Some(0), |second| small(second, 0..=60))?;
    let ahead = seconds_ahead(words.next().unwrap_or("UTC"))?;
    if clock.next().is_some() || words.next().is_some() || day > days_in(month, year) {
        return None;
    }
    let local = i64::from(days_since_1970(year, month, day)) * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    u64::try_from(local - ahead).ok()
}

fn small(digits: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let plain = digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && range.contains(n))
}

fn month(name: &str) -> Option<u32> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let at = NAMES.iter().position(|month| name.eq_ignore_ascii_case(month))?;
    u32::try_from(at + 1).ok()
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_in(month: u32, year: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: u32, month: u32, day: u32) -> u32 {
    let before = year - 1;
    let years =
        365 * (year - 1970) + (before / 4 - before / 100 + before / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    years + (1..month).map(|m| days_in(m, year)).sum::<u32>() + day - 1
}

/// How far a zone's clock is ahead of UTC.
fn seconds_ahead(zone: &str) -> Option<i64> {
    if ["UTC", "GMT", "Z"].contains(&zone) {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    if minutes.len() != 2 {
        return None;
    }
    Some(sign * i64::from(small(hours, 0..=14)? * 3600 + small(minutes, 0..=59)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use proptest::prelude::*;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn plain() -> String {
        format!(
            "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 06 Sep 2025 08:14:42 UTC\n\
             Valid-Until: Sat, 13 Sep 2025 08:14:42 UTC\nAcquire-By-Hash: yes\nDescription: Debian 12 - no\n\
             MD5Sum:\n 00 5 main/Contents\nSHA256:\n {} 7 main/binary-amd64/Packages.xz\n {}      12 Contents-all.gz\n \
             {} 1 ../evil\n {} 1 /evil\nSHA512:\n 00 5 main/Contents\n",
            digest("p"),
            digest("c"),
            digest("e"),
            digest("e"),
        )
    }

    fn clear_signed(text: &str) -> String {
        let escaped: String = text
            .lines()
            .map(|line| if line.starts_with('-') { format!("- {line}\n") } else { format!("{line}\n") })
            .collect();
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{escaped}-----BEGIN PGP SIGNATURE-----\n\niQ==\n=Ab3d\n\
             -----END PGP SIGNATURE-----\n"
        )
    }

    fn refusal(bytes: &[u8]) -> &'static str {
        match parse_release(bytes) {
            Err(CatalogError::NotARelease(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_release_says_who_when_and_what() {
        let release = parse_release(plain().as_bytes()).expect("a Release");
        assert_eq!(release.origin.as_deref(), Some("Debian"));
        assert_eq!(release.label.as_deref(), Some("Debian"));
        assert_eq!(release.suite.as_deref(), Some("stable"));
        assert_eq!(release.codename.as_deref(), Some("bookworm"));
        assert_eq!(release.date, Some(1_757_146_482));
        assert_eq!(release.valid_until, Some(1_757_146_482 + 7 * 86_400));
        assert!(release.acquire_by_hash);
        let names: Vec<_> = release.files.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["Contents-all.gz", "main/binary-amd64/Packages.xz"]);
        assert_eq!(release.promise_of("Contents-all.gz"), Some(Promise { digest: digest("c"), len: 12 }));
        assert_eq!(release.promise_of("main/Contents"), None);
    }

    #[test]
    fn signed_and_plain_say_the_same() {
        let text = plain();
        let plain = parse_release(text.as_bytes()).expect("a Release");
        let signed = clear_signed(&text);
        for variant in [
            signed.clone(),
            signed.replace('\n', "\r\n"),
            signed.replace("\nSuite:", "\n- Suite:"),
            signed.replace("MESSAGE-----\n", "MESSAGE-----  \n"),
            format!("{signed}SHA256:\n {} 1 added\n", digest("x")),
            signed.trim_end().to_owned(),
        ] {
            assert_eq!(parse_release(variant.as_bytes()).expect("a Release"), plain, "{variant}");
        }
        assert_eq!(parse_release(text.replace('\n', "\r\n").as_bytes()).expect("a Release"), plain);
        assert_eq!(
            parse_release(text.to_uppercase().replace("CODENAME", "CoDeNaMe").as_bytes()).expect("one").date,
            plain.date
        );
    }

    #[test]
    fn a_signed_release_cut_anywhere_is_no_release() {
        let signed = clear_signed(&plain());
        for cut in 0..signed.len() - 1 {
            assert!(parse_release(&signed.as_bytes()[..cut]).is_err(), "at {cut}");
        }
    }

    #[test]
    fn what_stands_outside_of_the_signed_text_counts_for_nothing() {
        let signed = clear_signed(&plain()).replace("Hash: SHA256\n", "Hash: SHA256\nOrigin: Evil\n");
        assert_eq!(parse_release(signed.as_bytes()).expect("a Release").origin.as_deref(), Some("Debian"));
        let second = format!("{}\nOrigin: Evil\n", plain());
        assert_eq!(parse_release(second.as_bytes()).expect("a Release").origin.as_deref(), Some("Debian"));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        let hex = digest("a");
        for bytes in [
            "",
            "\n\n",
            "<!DOCTYPE html>\n<html><body>Please log in: here</body></html>\n",
            "Location: elsewhere\n",
            "\0\0\0\0",
            "Origin: x\nnonsense\n",
            "SHA256:\n 00 1 a\n",
            &format!("SHA256:\n {hex} 1\n"),
            &format!("SHA256:\n {hex} 1 a\nSHA256:\n {hex} 1 a\n"),
            &format!("SHA256:\n {hex} 1 a\n {hex} 2 ./a\n"),
            &format!("SHA256:\n {hex} 1 {}\n", "a".repeat(100_000)),
            &clear_signed(&plain()).replace(" Debian 12", "\n-x: y"),
        ] {
            assert!(!refusal(bytes.as_bytes()).is_empty(), "{bytes:.80}");
        }
    }

    #[test]
    fn a_release_without_sha256_has_no_promises() {
        let release = parse_release(b"Suite: x\nSHA512:\n 00 5 main/Contents\n").expect("a Release");
        assert!(release.files.is_empty());
        let twice = format!("SHA256: {0} 1 a\n {0} 1 a\n\n", digest("a"));
        assert_eq!(parse_release(twice.as_bytes()).expect("a Release").files.len(), 1);
    }

    #[test]
    fn a_release_beyond_its_bounds_is_refused_by_name() {
        assert!(matches!(parse_release(&vec![b'\n'; RELEASE_LEN_MAX + 1]), Err(CatalogError::ReleaseTooLarge)));
        let mut text = "SHA256:\n".to_owned();
        for n in 0..=RELEASE_FILES_MAX {
            text.push_str(&format!(" {} 1 f{n}\n", digest("a")));
        }
        assert!(matches!(parse_release(text.as_bytes()), Err(CatalogError::ReleaseTooLarge)));
    }

    #[test]
    fn dates_are_read_as_archives_write_them() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Sat, 07 Feb 2026 10:00:00 UTC", Some(1_770_458_400)),
            ("Sat,  7 Feb 2026  9:00:00 GMT", Some(1_770_454_800)),
            ("7 Feb 2026 10:00 Z", Some(1_770_458_400)),
            ("Sat, 07 Feb 2026 10:00:00 +0000", Some(1_770_458_400)),
            ("Sat, 07 Feb 2026 12:30:00 +0230", Some(1_770_458_400)),
            ("Sat, 07 Feb 2026 05:00:00 -0500", Some(1_770_458_400)),
            ("Thu, 29 Feb 2024 23:59:60 UTC", Some(1_709_251_200)),
            ("Fri, 31 Dec 9999 23:59:59 UTC", Some(253_402_300_799)),
            ("Thu, 29 Feb 2023 00:00:00 UTC", None),
            ("Thu, 31 Apr 2023 00:00:00 UTC", None),
            ("Thu, 00 Apr 2023 00:00:00 UTC", None),
            ("Thu, 01 Jan 1970 00:00:00 +0100", None),
            ("Thu, 01 Foo 2023 00:00:00 UTC", None),
            ("Thu, 01 Jan 2023 24:00:00 UTC", None),
            ("Thu, 01 Jan 2023 00:00:00 EST", None),
            ("Thu, 01 Jan 2023 00:00:00 +é", None),
            ("Thu, 01 Jan 2023 +1:00:00 UTC", None),
            ("Thu, 01 Jan 2023 1:2:3:4 UTC", None),
            ("2023-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(date(text.as_bytes()), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_listed_is_found(names in prop::collection::btree_set("[a-z]{1,8}(/[a-zA-Z.-]{1,8}x){0,3}", 0..40)) {
            let lines: String = names.iter().rev().map(|name| format!(" {} {} {name}\n", digest(name), name.len())).collect();
            let text = format!("Origin: x\nSHA256:\n{lines}");
            for text in [clear_signed(&text), text] {
                let release = parse_release(text.as_bytes()).expect("a Release");
                prop_assert_eq!(release.files.len(), names.len());
                for name in &names {
                    let promise = Promise { digest: digest(name), len: name.len() as u64 };
                    prop_assert_eq!(release.promise_of(name), Some(promise));
                }
            }
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), signed in any::<bool>()) {
            let head: &[u8] = if signed { b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" } else { b"SHA256:\n " };
            let _ = parse_release(&[head, &bytes].concat());
            let _ = date(&bytes);
        }
    }
}
