//! Sizes and times as people write them.

use std::time::Duration;

/// `1048576`, `1024K`, `1M`, `1MiB`: powers of 1024.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `90s`, `15m`, `36h`, `3d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number = text[..text.len() - 1].trim().parse::<u64>().ok()?;
    number.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("5K", 5120), ("50G", 50 << 30), ("1 MiB", 1 << 20), ("7B", 7)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in ["", "K", "-1", "1.5G", "5X", "99999999999T"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_duration("3d"), Some(Duration::from_secs(259_200)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for bad in ["", "d", "3", "-3d", "3w", "99999999999999999999d", "é"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
