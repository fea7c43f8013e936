//! How much of a file a request gets: RFC 9110, §13 (conditions) and §14 (ranges). PURE.

use crate::stream::Head;

/// What decides how much of a file is sent, if any: the values of the lines of these names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `Range`
    pub range: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
}

/// What part of a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// 304: the client has it.
    NotModified,
    /// 200.
    Whole,
    /// 206: `len` bytes from `start`.
    Range {
        /// The first byte.
        start: u64,
        /// How many.
        len: u64,
    },
    /// 416: nothing lies there.
    Unsatisfiable,
}

/// Decides; `len` is the file's length, without which there are no ranges.
#[must_use]
pub fn part(conditions: &Conditions, head: &Head, len: Option<u64>) -> Part {
    if is_current(conditions, head) {
        return Part::NotModified;
    }
    let (Some(range), Some(len)) = (&conditions.range, len) else { return Part::Whole };
    if !if_range_holds(conditions.if_range.as_deref(), head) {
        return Part::Whole;
    }
    parse(range, len)
}

fn is_current(conditions: &Conditions, head: &Head) -> bool {
    if let Some(tags) = &conditions.if_none_match {
        let Some(etag) = &head.etag else { return false };
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return tags.trim() == "*" || tags.split(',').any(|tag| weak(tag) == weak(etag));
    }
    let (Some(since), Some(modified)) = (&conditions.if_modified_since, &head.last_modified) else { return false };
    if since == modified {
        return true;
    }
    match (httpdate::parse_http_date(since), httpdate::parse_http_date(modified)) {
        (Ok(since), Ok(modified)) => modified <= since,
        _ => false,
    }
}

/// The validator must be this very file's: a weak ETag or another date means that the client has something else.
fn if_range_holds(validator: Option<&str>, head: &Head) -> bool {
    match validator.map(str::trim) {
        None => true,
        Some(tag) if tag.starts_with('"') => head.etag.as_deref() == Some(tag),
        Some(date) => head.last_modified.as_deref() == Some(date),
    }
}

/// One range; several get the whole file, and so does what is no range at all (RFC 9110, §14.2 allows both).
fn parse(text: &str, len: u64) -> Part {
    let Some(range) = text.trim().strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.split_once('-') else { return Part::Whole };
    let (first, last) = (first.trim(), last.trim());
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    match (number(first), number(last)) {
        (Some(_), Some(_)) if first.is_empty() && last.is_empty() => Part::Whole,
        (Some(_), Some(suffix)) if first.is_empty() => match suffix.min(len) {
            0 => Part::Unsatisfiable,
            suffix => Part::Range { start: len - suffix, len: suffix },
        },
        (Some(start), Some(_)) if start >= len => Part::Unsatisfiable,
        (Some(start), Some(_)) if last.is_empty() => Part::Range { start, len: len - start },
        (Some(start), Some(end)) if start <= end => Part::Range { start, len: end.min(len - 1) - start + 1 },
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sat, 01 Mar 2025 10:00:00 GMT";

    fn head() -> Head {
        Head { last_modified: Some(DATE.into()), etag: Some("\"e\"".into()), ..Head::default() }
    }

    #[test]
    fn ranges() {
        let range = |start, len| Part::Range { start, len };
        for (text, expected) in [
            ("bytes=0-0", range(0, 1)),
            ("bytes=5-", range(5, 5)),
            ("bytes=5-7", range(5, 3)),
            ("bytes=5-700", range(5, 5)),
            ("bytes=-3", range(7, 3)),
            ("bytes=-300", range(0, 10)),
            ("bytes=5-99999999999999999999999", range(5, 5)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=7-5", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            let conditions = Conditions { range: Some(text.into()), ..Conditions::default() };
            assert_eq!(part(&conditions, &head(), Some(10)), expected, "{text}");
            assert_eq!(part(&conditions, &head(), None), Part::Whole, "{text} of an unknown length");
        }
        for (text, start, len) in [
            ("bytes=4294967290-4294967400", 4_294_967_290, 111),
            ("bytes=4294967296-", 1 << 32, 1 << 30),
            ("bytes=-100", (5 << 30) - 100, 100),
            ("bytes=1-", 1, (5 << 30) - 1),
        ] {
            let conditions = Conditions { range: Some(text.into()), ..Conditions::default() };
            assert_eq!(part(&conditions, &head(), Some(5 << 30)), range(start, len), "{text} of 5 GiB");
        }
        let nothing = Conditions { range: Some("bytes=0-".into()), ..Conditions::default() };
        assert_eq!(part(&nothing, &head(), Some(0)), Part::Unsatisfiable);
    }

    #[test]
    fn a_stale_if_range_gets_the_whole_file() {
        for (validator, expected) in [
            (DATE, Part::Range { start: 5, len: 5 }),
            ("\"e\"", Part::Range { start: 5, len: 5 }),
            ("\"f\"", Part::Whole),
            ("W/\"e\"", Part::Whole),
            ("Sat, 01 Mar 2025 09:00:00 GMT", Part::Whole),
            ("Sat, 01 Mar 2025 11:00:00 GMT", Part::Whole),
        ] {
            let conditions = Conditions {
                range: Some("bytes=5-".into()),
                if_range: Some(validator.into()),
                ..Conditions::default()
            };
            assert_eq!(part(&conditions, &head(), Some(10)), expected, "{validator}");
        }
    }

    #[test]
    fn conditions() {
        let since = |text: &str| Conditions { if_modified_since: Some(text.into()), ..Conditions::default() };
        assert_eq!(part(&since(DATE), &head(), Some(10)), Part::NotModified);
        assert_eq!(part(&since("Sat, 01 Mar 2025 11:00:00 GMT"), &head(), Some(10)), Part::NotModified);
        assert_eq!(part(&since("Sat, 01 Mar 2025 09:00:00 GMT"), &head(), Some(10)), Part::Whole);
        assert_eq!(part(&since("yesterday"), &head(), Some(10)), Part::Whole);
        let tags = |text: &str| Conditions { if_none_match: Some(text.into()), ..since(DATE) };
        assert_eq!(part(&tags("\"x\", W/\"e\""), &head(), Some(10)), Part::NotModified);
        assert_eq!(part(&tags("*"), &head(), Some(10)), Part::NotModified);
        assert_eq!(part(&tags("\"x\""), &head(), Some(10)), Part::Whole, "If-None-Match beats If-Modified-Since");
    }
}
