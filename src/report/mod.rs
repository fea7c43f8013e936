//! What the program says of itself, for people and for programs: its numbers, a lookup as it happens, a crawl, and plain
//! words.
//!
//! Owns wording and layout; refuses to know where events come from and where lines go.

mod history;
mod metrics;
mod numbers;
mod survey;
mod trace;

use std::time::Duration;

pub use self::history::{History, Traffic};
pub use self::numbers::{Archive, Dht, Flight, Numbers, Sharing, is_reached};
pub use self::survey::{survey, sweep_line};
pub use self::trace::Trace;

/// A time in words.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, 0) => format!("{minutes} min"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, 0, _) => format!("{hours} h"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// A size in words, in powers of 1024.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KB", bytes >> 10),
        10_485_760..10_737_418_240 => format!("{} MB", bytes >> 20),
        _ => format!("{} GB", bytes >> 30),
    }
}

/// A size in few characters, in powers of 1024: `9 bytes`, `1.5 MB`, `12 GB`.
#[must_use]
pub fn amount(bytes: u64) -> String {
    let (mut tenths, mut unit) = bytes.checked_mul(10).map_or_else(|| (bytes / 1024 * 10, 1), |tenths| (tenths, 0));
    while tenths >= 10_240 && unit < 6 {
        tenths /= 1024;
        unit += 1;
    }
    let name = ["bytes", "KB", "MB", "GB", "TB", "PB", "EB"][unit];
    if unit > 0 && tenths < 100 && tenths % 10 > 0 {
        return format!("{}.{} {name}", tenths / 10, tenths % 10);
    }
    format!("{} {name}", tenths / 10)
}

/// `count` and the word for it.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `part` of `all`, if all were `measure`. Not in 128 bits, which routers' processors divide by kilobytes of program.
pub(crate) fn scaled(part: u64, all: u64, measure: u64) -> u64 {
    part.checked_mul(measure).map_or_else(|| part / (all / measure).max(1), |product| product / all.max(1))
}

/// `part` of `all` in percent.
fn percent(part: usize, all: usize) -> String {
    format!("{}%", (part * 100 + all / 2).checked_div(all).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_scaled_without_overflow() {
        for (part, all, percent) in
            [(0, 0, 0), (1, 3, 33), (3, 3, 100), (u64::MAX / 2, u64::MAX, 50), (u64::MAX, u64::MAX, 100)]
        {
            assert_eq!(scaled(part, all, 100), percent, "{part} of {all}");
        }
    }

    #[test]
    fn words_for_numbers() {
        for (seconds, text) in [(0, "0 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h")] {
            assert_eq!(time(Duration::from_secs(seconds)), text);
        }
        assert_eq!([size(9), size(10_240), size(20 << 20)], ["9 bytes", "10 KB", "20 MB"]);
        let amounts = [0, 1023, 1024, 1536, 10_485_759, 12 << 30, u64::MAX].map(amount);
        assert_eq!(amounts, ["0 bytes", "1023 bytes", "1 KB", "1.5 KB", "9.9 MB", "12 GB", "15 EB"]);
        assert_eq!([percent(1, 3), percent(0, 0), percent(2, 3)], ["33%", "0%", "67%"]);
        assert_eq!([counted(1, "peer", "peers"), counted(0, "peer", "peers")], ["1 peer", "0 peers"]);
    }
}
