//! Text inside a page: escaped, cut to a length, and numbers as people read them.

use std::fmt::{self, Write as _};

/// Text that is no markup.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| push(f, c))
    }
}

/// The same, cut after so many bytes of the page: what others name must not make it large.
pub(super) struct Cut<'a>(pub(super) &'a str, pub(super) usize);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = self.1;
        for c in self.0.chars() {
            let len = escape(c).map_or(c.len_utf8(), str::len);
            if len > room {
                return f.write_char('…');
            }
            room -= len;
            push(f, c)?;
        }
        Ok(())
    }
}

fn push(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match escape(c) {
        Some(escaped) => f.write_str(escaped),
        None => f.write_char(c),
    }
}

fn escape(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&#39;",
        // Some are no part of a page, and some turn the text around them.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "\u{fffd}",
        c if c.is_control() => "\u{fffd}",
        _ => return None,
    })
}

/// A whole number, in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The same with the word for it.
pub(super) fn several(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// How long ago, in words that do not change each second.
pub(super) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => "just now".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_and_nothing_too_long() {
        assert_eq!(Escaped("<a b='c\"&\u{7}\u{202e}é").to_string(), "&lt;a b=&#39;c&quot;&amp;\u{fffd}\u{fffd}é");
        assert_eq!(Cut("<<<", 8).to_string(), "&lt;&lt;…");
        assert_eq!(Cut("éé", 3).to_string(), "é…");
        assert_eq!(Cut("abc", 3).to_string(), "abc");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [5, 61, 3599, 3600, 7199, 90_000, 172_800].map(ago),
            ["just now", "1 min ago", "59 min ago", "1 h ago", "1 h ago", "25 h ago", "2 d ago"]
        );
    }
}
